"""What the database of answers holds, and what must always be true of it.

It is SQLite that sees to it, so that no fault in this program and no second process can break it: an image gets at most the wanted
number of labels, nobody answers an image twice, a trial is stored once, and is of somebody who takes part.
"""

SCHEMA_VERSION = 1
TABLES = {"study", "image", "participant", "trial", "lease"}

SCHEMA = (
    """CREATE TABLE study (
        only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
        build_id TEXT NOT NULL,
        dataset TEXT NOT NULL)""",
    # wanted: how many labels an image is to get; NULL where everybody answers (lessons, test).
    """CREATE TABLE image (
        id TEXT PRIMARY KEY,
        phase TEXT NOT NULL CHECK (phase IN ('lesson', 'test', 'label')),
        wanted INTEGER CHECK ((wanted IS NOT NULL) = (phase = 'label')),
        answers INTEGER NOT NULL DEFAULT 0 CHECK (answers >= 0 AND (wanted IS NULL OR answers <= wanted)))""",
    "CREATE INDEX open_image ON image (answers DESC, id) WHERE answers < wanted",
    # AUTOINCREMENT: the number of someone whose answers were deleted at their wish is not given to another person.
    "CREATE TABLE participant (number INTEGER PRIMARY KEY AUTOINCREMENT, secret TEXT NOT NULL UNIQUE)",
    """CREATE TABLE trial (
        trial_id TEXT PRIMARY KEY CHECK (length(trial_id) = 32 AND trial_id NOT GLOB '*[^0-9a-f]*'),
        participant INTEGER NOT NULL REFERENCES participant (number),
        trial_index INTEGER NOT NULL CHECK (typeof(trial_index) = 'integer' AND trial_index >= 0),
        time_elapsed NUMERIC NOT NULL CHECK (typeof(time_elapsed) IN ('integer', 'real') AND time_elapsed >= 0),
        rt NUMERIC NOT NULL CHECK (typeof(rt) IN ('integer', 'real') AND rt >= 0),
        stimulus TEXT NOT NULL REFERENCES image (id),
        response INTEGER NOT NULL CHECK (typeof(response) = 'integer' AND response >= 0),
        correct INTEGER CHECK (correct IN (0, 1)),
        UNIQUE (participant, stimulus))""",
    "CREATE INDEX trial_of_image ON trial (stimulus)",
    "CREATE TRIGGER count_answer AFTER INSERT ON trial BEGIN UPDATE image SET answers = answers + 1 WHERE id = NEW.stimulus; END",
    "CREATE TRIGGER uncount_answer AFTER DELETE ON trial BEGIN UPDATE image SET answers = answers - 1 WHERE id = OLD.stimulus; END",
    # A lease: until `expires` (seconds since 1970) a place among the labels of an image is kept for a person.
    """CREATE TABLE lease (
        participant INTEGER PRIMARY KEY REFERENCES participant (number),
        image TEXT NOT NULL REFERENCES image (id),
        expires REAL NOT NULL)""",
    "CREATE INDEX lease_of_image ON lease (image)",
    # Whoever deletes a participant, with whichever program, deletes the answers: SQLite's own shell does not look after foreign keys.
    """CREATE TRIGGER forget BEFORE DELETE ON participant BEGIN
        DELETE FROM lease WHERE participant = OLD.number;
        DELETE FROM trial WHERE participant = OLD.number;
        END""",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)
