"""A database in a bad state: damaged, locked, moved, not ours. What can be read is exported, and nothing is made worse."""

import json
import re
import sqlite3
import stat
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

import collect_labels
from tests.helpers.collecting import (
    REPOSITORY,
    SECRET,
    WRONG_INPUT,
    build_page,
    foreign_database,
    joined,
    other_schema,
    post_trials,
    rows_of,
    run,
    sent_trial,
    stored_trial,
    study_of,
)
from utils.base.errors import InputError, RunError
from utils.people import database as databases
from utils.people import export, server
from utils.people import store as stores
from utils.people.built_page import read_built_page
from utils.people.database import DatabaseTrouble
from utils.people.store import Store


def answered(page, people=60):
    """A closed database of many answers: `people` times the test. Returns its path and its answers as (trial id, response)."""
    path = page.out / "answers.sqlite"
    with closing(Store(path, study_of(page))) as store:
        for number in range(people):
            person = store.join()
            trials = [stored_trial(page, image, (number + place) % 3) for place, image in enumerate(page.test)]
            store.add_trials(person, {name: trial for one in trials for name, trial in one.items()})
    return path, set(rows_of(path, "SELECT trial_id, response FROM trial"))


def root_of(path, name):
    """Number and size of the first page of a table or index."""
    return rows_of(path, f"SELECT rootpage FROM sqlite_master WHERE name = '{name}'")[0][0], rows_of(
        path, "PRAGMA page_size"
    )[0][0]


def overwrite(path, number, size, content=b"\x55"):
    """Damages one page."""
    with open(path, "r+b") as file:
        file.seek((number - 1) * size)
        file.write(content * size)


def leaves(path, size):
    """The pages that hold trials: table leaves with many rows."""
    content = path.read_bytes()
    pages = [content[start : start + size] for start in range(0, len(content), size)]
    trials = {trial.encode() for (trial,) in rows_of(path, "SELECT trial_id FROM trial")}
    held = {
        number: sum(trial in page for trial in trials) for number, page in enumerate(pages, start=1) if page[0] == 0x0D
    }
    return {number: count for number, count in held.items() if count}


@contextmanager
def held(path, *statements):
    """Another program has the database open, in the midst of a transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        for statement in statements:
            other.execute(statement)
        yield


def exported(path, target, page=None):
    """What a damaged database's export says, and the answers in it."""
    with pytest.raises(RunError) as said:
        export.write_export(path, target, page)
    trials = [trial for one in json.loads(target.read_text())["participants"] for trial in one["trials"]]
    return str(said.value), {(trial["trial_id"], trial["response"]) for trial in trials}


def test_of_a_damaged_leaf_all_other_answers_are_exported(page):
    path, answers = answered(page)
    _, size = root_of(path, "trial")
    found = leaves(path, size)
    lost = min(found)
    assert len(found) > 2
    overwrite(path, lost, size)
    said, kept = exported(path, page.out / "a.json")
    assert kept < answers and len(kept) == len(answers) - found[lost] > 100
    assert f"{len(kept)} answers could be read and are in {page.out}/a.json, {found[lost]} not" in said
    with pytest.raises(RunError):
        export.write_export(path, page.out / "a.csv", None)
    assert len((page.out / "a.csv").read_text().splitlines()) == len(kept) + 1


@pytest.mark.parametrize(
    "name", ["trial", "sqlite_autoindex_trial_1", "sqlite_autoindex_trial_2", "trial_of_image", "lease", "participant"]
)
def test_where_only_the_way_to_them_is_damaged_all_answers_are_exported(page, name):
    """The page that the rows are found by; the rows themselves are on others."""
    path, answers = answered(page)
    overwrite(path, *root_of(path, name))
    said, kept = exported(path, page.out / "a.json")
    assert kept == answers and f"{len(answers)} answers could be read" in said and ", 0 not;" in said


@pytest.mark.parametrize("name", ["study", "image", "sqlite_autoindex_image_1"])
def test_what_the_page_s_key_knows_need_not_be_readable(page, name):
    path, answers = answered(page)
    overwrite(path, *root_of(path, name))
    assert exported(path, page.out / "a.json", read_built_page(page.out))[1] == answers
    assert json.loads((page.out / "a.json").read_text())["build_id"] == page.build_id


@pytest.mark.parametrize("share", [0.6, 0.75, 0.9])
def test_of_a_file_that_was_cut_short_the_rest_is_exported(page, share):
    """As by a copy that was broken off: the answers on the pages that are left, and the number of the others."""
    path, answers = answered(page)
    size = root_of(path, "trial")[1]
    held = leaves(path, size)
    pages = int(path.stat().st_size * share) // size
    rest = sum(count for number, count in held.items() if number <= pages)
    with open(path, "r+b") as file:
        file.truncate(pages * size)
    said, kept = exported(path, page.out / "a.json", read_built_page(page.out))
    assert kept < answers and len(kept) == rest > 0 and f"a.json, {len(answers) - rest} not" in said


def test_deleted_answers_stay_deleted_in_an_export_of_what_can_be_read(page):
    """Pages out of use keep what was deleted from them."""
    path, _ = answered(page)
    _, size = root_of(path, "trial")
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("DELETE FROM trial WHERE participant <= 30")
    answers = set(rows_of(path, "SELECT trial_id, response FROM trial"))
    overwrite(path, *root_of(path, "trial"))
    assert exported(path, page.out / "a.json")[1] == answers and len(answers) == 30 * len(page.test)


@pytest.mark.parametrize("number", [1, 2])
def test_where_nothing_can_be_read_nothing_is_written(page, monkeypatch, capsys, number):
    path, _ = answered(page, 1)
    size = root_of(path, "trial")[1]
    if number == 1:
        with open(path, "r+b") as file:
            file.seek(100)  # after the header: the schema
            file.write(b"\x55" * (size - 100))
    else:
        overwrite(path, *root_of(path, "trial"))
    status, said = run(monkeypatch, capsys, "--out", page.out, "--export", page.out / "a.json")
    assert status == WRONG_INPUT and "is damaged, and no answer in it can be read" in said and said.count("\n") == 1
    assert not (page.out / "a.json").exists()


def test_a_damaged_database_takes_no_more_and_keeps_the_page_waiting(page, capsys):
    path, _ = answered(page)
    overwrite(path, min(leaves(path, root_of(path, "trial")[1])), root_of(path, "trial")[1])
    before = path.read_bytes()
    with closing(Store(path, study_of(page))) as store:
        assert "is damaged" in str(store.damage)
        client = server.create_app(read_built_page(page.out), store, SECRET).test_client()
        assert client.get("/").status_code == client.get("/api/hello").status_code == 200
        sends = [
            ("/api/join", {}),
            ("/api/next", {"participant": SECRET}),
            ("/api/trials", {"participant": SECRET, "trials": [{"trial_id": SECRET}]}),
        ]
        for address, body in sends:
            answer = client.post(address, json=body)
            assert (answer.status_code, answer.get_json()) == (
                503,
                {"error": "The server cannot store answers now; try again later."},
            )
        for address in ("/progress", "/export.json", "/export.csv"):
            answer = client.get(f"{address}?token={SECRET}")
            assert answer.status_code == 503 and "answers.sqlite is damaged" in answer.get_json()["error"]
        with pytest.raises(DatabaseTrouble, match="is damaged"):
            store.progress()
    assert path.read_bytes() == before
    assert "Traceback" not in capsys.readouterr().out


@pytest.mark.parametrize("trouble", ["damaged", "moved"])
def test_the_end_tells_of_it_too(page, monkeypatch, capsys, trouble):
    path, _ = answered(page)
    if trouble == "damaged":
        overwrite(path, *root_of(path, "image"))
    monkeypatch.setattr(collect_labels, "serve", lambda *_: path.rename(page.out / "elsewhere"))
    monkeypatch.setattr("sys.argv", ["collect_labels.py", "--out", str(page.out)])
    with pytest.raises(SystemExit) as stop:
        collect_labels.launch(collect_labels.main, collect_labels.Config, "")
    said = capsys.readouterr()
    assert stop.value.code == WRONG_INPUT and said.err.count("\n") == 1 and "Stopped" not in said.out
    assert f"answers.sqlite {'is damaged' if trouble == 'damaged' else 'was moved, replaced or removed'}" in said.err
    assert ("Until then no answers are taken" in said.out) == (trouble == "damaged")


def test_damage_that_shows_while_the_server_runs_is_remembered(client, page, store):
    person = joined(client)
    store._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    number, size = root_of(store.path, "trial")
    overwrite(store.path, number, size)
    store._database.execute("PRAGMA shrink_memory")
    assert post_trials(client, person, sent_trial(page, page.test[0]))[0] == 503
    overwrite(store.path, number, size, b"\x0d")
    assert client.post("/api/join", json={}).status_code == 503


LOCKS = {
    "unsaved changes": ["BEGIN IMMEDIATE"],
    "an exclusive lock": ["PRAGMA locking_mode = EXCLUSIVE", "BEGIN EXCLUSIVE"],
}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_database_that_another_program_holds_is_left_alone(page, monkeypatch, capsys, lock):
    path, _ = answered(page, 1)
    monkeypatch.setattr(databases, "LOCK_TIMEOUT", 0.1)
    with held(path, *LOCKS[lock]):
        status, said = run(monkeypatch, capsys, "--out", page.out, "--port", 0)
        assert status == WRONG_INPUT and "another program holds it" in said and "leave the file where it is" in said
        assert "move it away" not in said and said.count("\n") == 1
        if lock == "an exclusive lock":
            status, said = run(monkeypatch, capsys, "--out", page.out, "--export", page.out / "a.json")
            assert status == WRONG_INPUT and "another program holds it" in said and not (page.out / "a.json").exists()
        else:
            export.write_export(path, page.out / "a.json", None)  # who only reads need not wait
    Store(path, study_of(page)).close()


def test_a_lock_while_the_server_runs_passes(page, monkeypatch, capsys):
    monkeypatch.setattr(databases, "LOCK_TIMEOUT", 0.1)
    monkeypatch.setattr(stores, "TURN_TIMEOUT", 0.1)
    with closing(Store(page.out / "answers.sqlite", study_of(page))) as store:
        client = server.create_app(read_built_page(page.out), store, SECRET).test_client()
        person, trial = joined(client), sent_trial(page, page.test[0])
        with held(store.path, "BEGIN IMMEDIATE"):
            assert post_trials(client, person, trial)[0] == 503
            assert (
                client.get(f"/progress?token={SECRET}").status_code
                == client.get(f"/export.csv?token={SECRET}").status_code
                == 200
            )
        assert post_trials(client, person, trial)[1]["stored"] == [trial["trial_id"]]
        with store._lock:  # a request that waits for another program has the turn
            assert post_trials(client, person, trial)[0] == 503
    assert "another program holds it" in capsys.readouterr().out
    assert databases.LOCK_TIMEOUT < 1


def test_the_page_is_told_before_its_patience_ends():
    patience = int(re.search(r"PATIENCE = (\d+);", (REPOSITORY / "utils/people/page/course.js").read_text())[1]) / 1000
    assert databases.LOCK_TIMEOUT + stores.TURN_TIMEOUT < patience


@pytest.mark.parametrize("change", ["moved", "replaced", "removed", "its log removed"])
def test_a_database_that_loses_its_name_is_entrusted_nothing(client, page, store, change):
    """SQLite goes on writing to a file that nobody finds again."""
    person = joined(client)
    path = page.out / ("answers.sqlite-wal" if change == "its log removed" else "answers.sqlite")
    path.rename(page.out / "elsewhere")
    if change == "replaced":
        path.write_bytes((page.out / "elsewhere").read_bytes())
    status, _ = post_trials(client, person, sent_trial(page, page.test[0]))
    assert (
        status == 503
        and "was moved, replaced or removed" in client.get(f"/progress?token={SECRET}").get_json()["error"]
    )
    (page.out / "elsewhere").rename(path)
    assert post_trials(client, person, sent_trial(page, page.test[0]))[0] == 200


def test_an_empty_file_is_begun_and_exports_nothing(page, monkeypatch, capsys):
    path = page.out / "answers.sqlite"
    for make in (path.touch, lambda: sqlite3.connect(path).executescript("VACUUM")):
        path.unlink(missing_ok=True)
        make()
        status, said = run(monkeypatch, capsys, "--out", page.out, "--export", page.out / "a.json")
        assert status == WRONG_INPUT and "answers.sqlite is empty" in said and not (page.out / "a.json").exists()
        with closing(Store(path, study_of(page))) as store:
            assert store.join()


def test_an_emptied_file_whose_log_holds_answers_is_left_alone(page, monkeypatch, capsys):
    """SQLite would remove the log."""
    path, log = page.out / "answers.sqlite", page.out / "answers.sqlite-wal"
    path.touch()
    log.write_bytes(b"answers")
    for arguments in (["--port", 0], ["--export", page.out / "a.json"]):
        status, said = run(monkeypatch, capsys, "--out", page.out, *arguments)
        assert status == WRONG_INPUT and "answers.sqlite-wal" in said and "still holds data" in said
    assert (path.read_bytes(), log.read_bytes()) == (b"", b"answers")


def make_folder(page):
    (page.out / "answers.sqlite").mkdir()


def make_dangling_link(page):
    (page.out / "answers.sqlite").symlink_to(page.out / "no/answers.sqlite")


BAD_FILES = {
    "a folder": (make_folder, "is a folder", "is a folder"),
    "a link to nowhere": (make_dangling_link, "cannot be opened (No such file or directory)", "does not exist"),
    "another program's database": (
        foreign_database,
        "is a database of another program",
        "is a database of another program",
    ),
    "another version": (other_schema, "use the version that made it", "use the version that made it"),
    "no database": (
        lambda page: (page.out / "answers.sqlite").write_text("x" * 5000),
        "is no SQLite database",
        "is no SQLite database",
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_file_that_is_no_database_of_ours_is_told_alike_and_not_touched(page, monkeypatch, capsys, case):
    spoil, at_start, at_export = BAD_FILES[case]
    spoil(page)
    path = page.out / "answers.sqlite"
    before = path.read_bytes() if path.is_file() else None
    for arguments, words in ((["--port", 0], at_start), (["--export", page.out / "a.json"], at_export)):
        status, said = run(monkeypatch, capsys, "--out", page.out, *arguments)
        assert status == WRONG_INPUT and words in said and said.count("\n") == 1, said
        assert (path.read_bytes() if path.is_file() else None) == before and not (page.out / "a.json").exists()


def errors_of_sqlite(path):
    """Errors as SQLite raises them, with the state that each tells."""

    def raised(name, *statements, content=None):
        if content is not None:
            (path / name).write_bytes(content)
        with closing(sqlite3.connect(path / name, isolation_level=None, timeout=0)) as database:
            with pytest.raises(sqlite3.Error) as error:
                for statement in statements:
                    database.execute(statement).fetchall()
        return error.value

    full = ("PRAGMA max_page_count = 2", "CREATE TABLE t (a)", "INSERT INTO t VALUES (zeroblob(99999))")
    with held(path / "locked", "CREATE TABLE t (a)", "BEGIN EXCLUSIVE"):
        yield databases.LOCKED, raised("locked", "SELECT * FROM t")
    yield databases.FULL, raised("full", *full)
    yield databases.NO_DATABASE, raised("text", "SELECT * FROM t", content=b"x" * 5000)
    yield databases.READ_ONLY, raised("locked", "PRAGMA query_only = ON", "INSERT INTO t VALUES (1)")
    yield databases.FOREIGN, raised("locked", "SELECT * FROM study")
    yield databases.FOREIGN, raised("locked", "SELECT build_id FROM t")
    yield databases.DAMAGED, raised("locked", "INSERT INTO t VALUES (CAST(x'ff' AS TEXT))", "SELECT a FROM t")
    yield databases.OTHER, raised("locked", "SELECT nothing(1)")
    (path / "locked").unlink()
    (path / "locked").mkdir()
    yield databases.CANNOT_OPEN, sqlite3.OperationalError("unable to open database file")


def test_states_are_told_by_code_and_without_one_by_message(tmp_path):
    """Python 3.10 does not hand SQLite's codes on."""
    told = list(errors_of_sqlite(tmp_path))
    assert len(told) == 9
    for state, error in told:
        assert databases.state_of(error) is databases.state_of(type(error)(str(error))) is state, error


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (5 | 2 << 8, "LOCKED"),
        (1032, "MOVED"),
        (8 | 1 << 8, "READ_ONLY"),
        (10 | 3 << 8, "FAULTY_DISK"),
        (11 | 1 << 8, "DAMAGED"),
        (7, "OTHER"),
    ],
)
def test_extended_codes_are_of_the_kind_of_their_primary_ones(code, state):
    error = sqlite3.OperationalError("words that tell nothing")
    error.sqlite_errorcode = code
    assert databases.state_of(error) is getattr(databases, state)


def test_every_state_has_a_sentence_of_its_own_with_a_remedy():
    states = [value for value in vars(databases).values() if isinstance(value, databases.State)]
    assert len({state.what for state in states}) == len(states) and len({state.remedy for state in states}) == len(
        states
    )
    for state in states:
        said = str(DatabaseTrouble(state, Path("out/answers.sqlite"), "why"))
        assert (
            said.startswith("out/answers.sqlite ")
            and said.endswith(".")
            and said.count("(why); ") == 1
            and "{" not in said
        )
    assert "move" not in databases.LOCKED.remedy


def test_exports_are_as_private_as_the_database(page):
    path, _ = answered(page, 1)
    for name in ("a.json", "a.csv"):
        (page.out / name).write_text("an older export")
        (page.out / name).chmod(0o644)
        export.write_export(path, page.out / name, None)
        assert stat.S_IMODE((page.out / name).stat().st_mode) == 0o600
    with pytest.raises(InputError, match="is a folder; give the name of a file"):
        (page.out / "b.json").mkdir()
        export.write_export(path, page.out / "b.json", None)


def test_names_that_mean_something_to_sqlite_are_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a?mode=memory", "b#c", "file:d", "%41"):
        page = build_page(Path(name))
        path, answers = answered(page, 1)
        export.write_export(path, Path("a.json"), None)
        assert len(json.loads(Path("a.json").read_text())["participants"]) == 1
        assert path.is_file() and len(answers) == len(page.test)


@pytest.mark.parametrize("logged", [False, True])
def test_where_nothing_can_be_written_beside_the_database_a_copy_is_read(page, monkeypatch, logged):
    """As in a read-only folder, where SQLite cannot open a database of this kind."""
    path, answers = answered(page, 2)
    begin, seen = export._begin, []

    def only_elsewhere(database, of, pragmas):
        (opened,) = [row[2] for row in database.execute("PRAGMA database_list")]
        seen.append(Path(opened))
        if Path(opened) == path:
            raise DatabaseTrouble(databases.CANNOT_OPEN, of)
        begin(database, of, pragmas)

    with closing(Store(path, study_of(page))) as store:
        if logged:
            store.add_trials(store.join(), stored_trial(page, page.test[0]))
        monkeypatch.setattr(export, "_begin", only_elsewhere)
        export.write_export(path, page.out / "a.json", None)
    assert json.loads((page.out / "a.json").read_text())["participants"][-1]["participant"] == (
        "p0003" if logged else "p0002"
    )
    assert len(seen) == 2 and not seen[1].exists()
