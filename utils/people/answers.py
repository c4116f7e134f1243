"""Reads people's answers from files of any known format.

Formats: the server's export (JSON or CSV), one participant's download (JSON), a Mechanical Turk batch (CSV), and the
public logs of explain_teach (JSON). The content of a file determines its format.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from utils.base.errors import InputError, first_of
from utils.people.page_key import PHASES, Key
from utils.people.store import LONGEST, is_secret_id, is_time

DAY = 24 * 60 * 60  # seconds
TURK_COLUMNS = {"AssignmentId", "Answer.trials"}  # WorkerId is missing in anonymized batches
EXPORT_COLUMNS = {"participant", "trial_id", "phase", "rt", "stimulus", "response", "build_id"}
LOG_LISTS = ("image_id", "gt_label", "is_train", "response", "time")
REJECTED_STATUS = "rejected in the column AssignmentStatus"
REJECTED_OFFLINE = "rejected in the column Reject"
REJECTED_ELSEWHERE = "rejected in another row of the same assignment"
ANSWERED_BEFORE = "answered again by the same person (the first answer counts)"
SUBMITTED_BEFORE = "already submitted by another participant (same trial ids)"
OTHER_BUILD = "given on another build of the course page"
NOT_WANTED = "left out by --leave-out"
UNKNOWN_FORMAT = "not a known format (our export or download, a Mechanical Turk CSV, explain_teach logs)"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one person to one image."""

    person: str  # name of the person in the report
    phase: str  # lesson (followed by feedback), test or label
    image: str  # path as in the lists; "image <number>" in the logs of explain_teach
    response: int  # the class that the person chose
    seconds: float | None  # response time; None if unknown
    truth: int | None  # true class; None if unknown
    group: str = ""  # teaching condition of the person, if the file names one


@dataclass(frozen=True)
class LeftOut:
    """Answers in a file that do not count: their number, or None for a whole row of a batch."""

    where: str
    person: str
    reason: str
    answers: int | None = None


@dataclass(frozen=True)
class Reading:
    """Content of answer files: the answers that count, and those that do not."""

    answers: list[Answer]
    left_out: list[LeftOut]


@dataclass
class Participant:
    """One participant of one file."""

    where: str  # file, and participant or line
    name: str
    trials: list[tuple[str, Answer]] = field(default_factory=list)  # with trial ids
    numbered: bool = False  # the name is a number within an export; another export may give it to someone else
    worker: str = ""  # worker and assignment ids of Mechanical Turk
    assignment: str = ""
    refused: str = ""  # why a row of a batch does not count
    other_builds: Counter[str] = field(default_factory=Counter)  # trials from other builds of the page, by build id


def read_answers(paths: Sequence[str | Path], key: Key | None, num_classes: int) -> list[Answer]:
    """Returns the answers that count, see `read_files`."""
    return read_files(paths, key, num_classes).answers


def read_files(
    paths: Sequence[str | Path], key: Key | None, num_classes: int, leave_out: Sequence[str] = ()
) -> Reading:
    """Reads answer files together.

    Each trial counts once. If a person answered an image twice in a phase, the first answer counts. Batches are read
    before exports, and exports before downloads: the first file with a trial determines whose it is (see `_person`).
    An assignment that is rejected in one row does not count in other rows either.

    Args:
        paths: answer files.
        key: key of the course page; the logs of explain_teach need none.
        num_classes: C; answers must be in 0 .. C-1.
        leave_out: people whose answers do not count.

    Raises:
        InputError: a file is missing or malformed, no answer counts, or a name in `leave_out` is unknown.
    """
    files = [(str(path), list(_read_file(path, key, num_classes))) for path in paths]
    files.sort(key=lambda file: min(map(_rank, file[1]), default=0))
    everybody = [(path, participant) for path, found in files for participant in found]
    rejected = {some.assignment for _, some in everybody if some.refused in (REJECTED_STATUS, REJECTED_OFFLINE)} - {""}
    people: dict[tuple[str, str], str] = {}  # (file of a numbered name, name) -> person
    owners: dict[str, tuple[str, str]] = {}  # trial id -> (file, person)
    answers: dict[tuple[str, str, str], Answer] = {}
    left_out: list[LeftOut] = []
    for path, participant in everybody:
        refused = participant.refused or (REJECTED_ELSEWHERE if participant.assignment in rejected else "")
        if refused:
            left_out.append(LeftOut(participant.where, participant.name, refused))
            continue
        person = _person(participant, path, people, owners)
        reasons = Counter({f"{OTHER_BUILD}, {build!r}": count for build, count in participant.other_builds.items()})
        for trial, answer in participant.trials:
            place = (person, answer.phase, answer.image)
            if trial in owners:
                reasons[SUBMITTED_BEFORE] += owners[trial][1] != person
                continue
            owners[trial] = (path, person)
            if person in leave_out:
                reasons[NOT_WANTED] += 1
            elif place in answers:
                reasons[ANSWERED_BEFORE] += 1
            else:
                answers[place] = replace(answer, person=person)
        left_out += [LeftOut(participant.where, person, reason, count) for reason, count in reasons.items() if count]
    if not answers:
        why = "; ".join(f"{part.where}: {part.reason}" for part in left_out[:3])
        raise InputError(
            f"No answers in {', '.join(map(str, paths))} count ({why or 'empty'}). Check --answers and --key."
        )
    known = sorted({*people.values(), *(part.person for part in left_out)})
    for name in leave_out:
        if name not in known:
            raise InputError(f"--leave-out {name}: no such person. Choose from {first_of(known, 10)}.")
    return Reading(list(answers.values()), left_out)


def _rank(participant: Participant) -> int:
    return 0 if participant.worker else 1 if participant.assignment else 2 if participant.numbered else 3


def _person(
    participant: Participant,
    path: str,
    people: dict[tuple[str, str], str],
    owners: dict[str, tuple[str, str]],
) -> str:
    """Returns the person behind a participant, and adds new ones to `people`.

    A name means the same person in all files, except for numbered names. Two names in different files are one person if
    they share a trial, but a worker of Mechanical Turk is never merged with an earlier name.
    """
    identity = (path if participant.numbered else "", participant.name)
    if identity not in people:
        shared = [owners[trial] for trial, _ in participant.trials if trial in owners]
        same = [person for file, person in shared if file != path and not participant.worker]
        taken = participant.name in people.values()
        people[identity] = same[0] if same else f"{participant.name} ({path})" if taken else participant.name
    return people[identity]


def _read_file(path: str | Path, key: Key | None, num_classes: int) -> Iterator[Participant]:
    """Yields the participants of a file of any format."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"Answer file {path} not found. Check --answers.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path} ({error}). Save it as UTF-8 text.") from None
    if text.lstrip()[:1] not in ("[", "{"):
        yield from _read_csv(text, path, key, num_classes)
        return
    content = _json(text, path)
    if isinstance(content, list) and content and all(isinstance(log, dict) and "image_id" in log for log in content):
        for number, log in enumerate(content, start=1):
            yield _log_participant(log, f"{path}, log {number}", num_classes)
    elif isinstance(content, dict) and isinstance(content.get("participants"), list):
        for number, entry in enumerate(content["participants"], start=1):
            where = f"{path}, participant number {number}"
            yield replace(_page_participant(entry, where, key, num_classes), numbered=True)
    elif isinstance(content, dict) and "trials" in content:
        yield _page_participant(content, str(path), key, num_classes)
    else:
        raise InputError(f"{path}: {UNKNOWN_FORMAT}.")


def _json(text: str, where: str | Path) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON ({error}). Download it again.") from None


def _read_csv(text: str, path: str | Path, key: Key | None, num_classes: int) -> Iterator[Participant]:
    """Yields the participants of a Mechanical Turk batch or of our export as CSV."""
    rows = _csv_rows(text, path)
    columns = next(rows, ("", {}))[1].keys()
    if columns >= TURK_COLUMNS:
        for where, row in rows:
            yield _turk_participant(row, where, key, num_classes)
    elif columns >= EXPORT_COLUMNS:
        participants: dict[str, Participant] = {}
        for where, row in rows:
            name = _checked_name(row["participant"], where)
            participant = participants.setdefault(name, Participant(where, name, numbered=True))
            numbers = {name: _json(row[name], f"{where}: {name}") for name in ("rt", "response")}
            _add_trial(participant, row | numbers, where, key, num_classes)
        yield from participants.values()
    else:
        raise InputError(f"{path}: {UNKNOWN_FORMAT}.")


def _csv_rows(text: str, path: str | Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Yields "file, line" and columns of the header and of each row; separators are commas, semicolons or tabs."""
    csv.field_size_limit(2**31 - 1)  # a batch has all answers of a person in one field
    header = text.split("\n", 1)[0]
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    yield str(path), dict.fromkeys(reader.fieldnames or (), "")
    line = reader.line_num + 1
    for row in reader:
        if None in row or None in row.values():
            raise InputError(f"{path}, line {line}: expected {len(reader.fieldnames)} fields. Download the file again.")
        yield f"{path}, line {line}", row
        line = reader.line_num + 1


def _turk_participant(row: dict[str, str], where: str, key: Key | None, num_classes: int) -> Participant:
    """Returns the participant of one row of a Mechanical Turk batch.

    Rejections are in AssignmentStatus or, in a batch reviewed offline, in the column Reject as an x or a reason (Amazon
    Mechanical Turk, Requester UI Guide, "Reviewing results offline").
    """
    columns = ("WorkerId", "AssignmentId", "AssignmentStatus", "Reject", "Answer.trials")
    worker, assignment, status, reject, text = (row.get(name, "").strip() for name in columns)
    name = _checked_name(worker or (f"assignment {assignment}" if assignment else where), where)
    trials = []
    if status.lower() == "rejected":
        refused = REJECTED_STATUS
    elif reject:
        refused = REJECTED_OFFLINE
    else:
        trials = _json(text, f"{where}: Answer.trials") if text else []
        refused = "" if trials else "no answers"
    participant = Participant(where, name, worker=worker, assignment=assignment, refused=refused)
    return _with_trials(participant, trials, key, num_classes)


def _page_participant(entry: object, where: str, key: Key | None, num_classes: int) -> Participant:
    """Returns a participant of our export or download."""
    if not isinstance(entry, dict) or not isinstance(entry.get("participant"), str):
        raise InputError(f"{where}: expected an object with participant and trials. Export the answers again.")
    name = _checked_name(entry["participant"], where)
    return _with_trials(Participant(f"{where} ({name})", name), entry.get("trials"), key, num_classes)


def _with_trials(participant: Participant, trials: object, key: Key | None, num_classes: int) -> Participant:
    if not isinstance(trials, list):
        raise InputError(f"{participant.where}: expected a list of trials. Export the answers again.")
    for number, trial in enumerate(trials, start=1):
        _add_trial(participant, trial, f"{participant.where}, trial {number}", key, num_classes)
    return participant


def _add_trial(participant: Participant, trial: object, where: str, key: Key | None, num_classes: int) -> None:
    """Adds one trial of the course page; trials from other builds of the page are only counted."""
    if key is None or not key.build_id:
        raise InputError(
            f"{where}: answers from a course page need its key ({key and key.path} not found). Check --key."
        )
    trial = trial if isinstance(trial, dict) else {}
    trial_id, phase, build, stimulus = (trial.get(name) for name in ("trial_id", "phase", "build_id", "stimulus"))
    if not is_secret_id(trial_id) or phase not in PHASES or not isinstance(build, str):
        changed = f"Invalid trial_id {trial_id!r:.60}, phase {phase!r:.60} or build_id {build!r:.60}"
        raise InputError(f"{where}: {changed} (reformatted by a spreadsheet?). Export the answers again.")
    if build != key.build_id:
        participant.other_builds[build] += 1
        return
    image = key.images.get(stimulus) if isinstance(stimulus, str) else None
    if image is None or image.phase != phase:
        raise InputError(f"{where}: {key.path} has no {phase} image {stimulus!r:.60}. Check --key.")
    if not is_time(trial.get("rt")):
        raise InputError(f"{where}: rt {trial.get('rt')!r:.60} must be milliseconds, 0 .. {LONGEST:g}. Correct it.")
    response = _checked_class(trial.get("response"), "response", where, num_classes)
    answer = Answer(participant.name, phase, image.path, response, trial["rt"] / 1000, image.label)
    participant.trials.append((trial_id, answer))


def _log_participant(log: dict, where: str, num_classes: int) -> Participant:
    """Returns the participant of one log of explain_teach (Mac Aodha et al., CVPR 2018).

    A log has clock times instead of response times, so the seconds of an answer include the feedback before it.
    """
    identity, lists = log.get("_id"), [log.get(name) for name in LOG_LISTS]
    name = identity.get("$oid") if isinstance(identity, dict) else None
    whole = isinstance(name, str) and all(isinstance(values, list) for values in lists)
    if not whole or len(set(map(len, lists))) != 1:
        names = ", ".join(LOG_LISTS)
        raise InputError(f"{where}: expected _id and lists of equal length: {names}. Download the file again.")
    participant = Participant(f"{where} (participant {name})", _checked_name(name, where))
    before = None
    for number, (image, truth, taught, response, clock) in enumerate(zip(*lists, strict=True), start=1):
        there = f"{participant.where}, answer {number}"
        try:
            moment = datetime.strptime(clock, "%H:%M:%S")
        except (TypeError, ValueError):
            raise InputError(f"{there}: time {clock!r:.60} must be HH:MM:SS. Correct it.") from None
        answer = Answer(
            name,
            "lesson" if taught else "test",
            f"image {image}",
            _checked_class(response, "response", there, num_classes),
            None if before is None else (moment - before).total_seconds() % DAY,  # the clock may pass midnight
            _checked_class(truth, "gt_label", there, num_classes),
            str(log.get("strategy", "")),
        )
        participant.trials.append((f"{name} {number}", answer))
        before = moment
    return participant


def _checked_name(name: str, where: str) -> str:
    if not name.strip() or not name.isprintable():
        raise InputError(f"{where}: participant {name!r:.60} must be printable text. Correct it.")
    return name


def _checked_class(value: object, name: str, where: str, num_classes: int) -> int:
    if type(value) is not int or not 0 <= value < num_classes:
        raise InputError(f"{where}: {name} {value!r:.60} is not in 0 .. {num_classes - 1}. Check --dataset.")
    return value


def read_teaching_images(path: str | Path, classes: Sequence[str]) -> list[tuple[str, int]]:
    """Reads `teaching_images.json` of an experiment of explain_teach: its logs name image n by its place in this table.

    Args:
        path: the table.
        classes: class names in label order; folder names in the table may contain spaces (`Cabbage White`).

    Returns:
        Path as in the lists, and label, of each image.

    Raises:
        InputError: the table is missing or malformed, or a folder is not a class.
    """
    try:
        urls = [PurePosixPath(entry["image_url"]).parts for entry in json.loads(Path(path).read_text(encoding="utf-8"))]
        images = [(folder, middle, owner.replace(" ", ""), name) for folder, middle, owner, name in urls]
        return [("./datasets/" + "/".join(parts), list(classes).index(parts[2])) for parts in images]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"Cannot read image names in {path} ({error}). Download it again, or check --dataset."
        ) from None
