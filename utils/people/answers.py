"""Reads people's answers from files of any known format.

Formats: the server's export (JSON or CSV), a download from the page (JSON), a Mechanical Turk batch (CSV), and the
public logs of explain_teach (JSON). The content of a file determines its format.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path, PurePosixPath

from utils.base.errors import InputError, first_of
from utils.base.files import TableReader
from utils.people.page_key import PHASES, Key
from utils.people.store import is_secret_id, is_time

TURK_COLUMNS = {"AssignmentId", "Answer.trials"}  # anonymized batches have no WorkerId
EXPORT_COLUMNS = {"participant", "trial_id", "phase", "rt", "stimulus", "response", "build_id"}
LOG_LISTS = ("image_id", "gt_label", "is_train", "response", "time")
REMOVED = 283  # image number in the logs of chinese_chars whose picture was removed from the table
REJECTED = "rejected on Mechanical Turk"
UNKNOWN_FORMAT = "unknown format (expected our export or download, a Mechanical Turk CSV, or explain_teach logs)"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of one person to one image."""

    person: str  # name of the person in the report
    phase: str  # lesson (followed by feedback), test, label or gold
    image: str  # path as in the lists; "image <number>" in the logs of explain_teach
    response: int  # the class that the person chose
    seconds: float | None  # response time; None if unknown
    truth: int | None  # true class; None if unknown
    group: str = ""  # teaching condition, if there are several


@dataclass(frozen=True)
class LeftOut:
    """Answers that do not count."""

    where: str  # file, and participant or row
    person: str
    reason: str
    answers: int = 1  # a whole row of a Mechanical Turk batch counts as one


@dataclass
class Participant:
    """One participant of one file."""

    where: str  # file, and participant or row
    name: str
    numbered: bool = False  # the name is a number within an export, so other exports may use it for someone else
    assignment: str = ""  # of Mechanical Turk
    refused: str = ""  # why a row of a batch does not count
    trials: list[tuple[str, Answer]] = field(default_factory=list)  # with trial ids
    other_builds: Counter[str] = field(default_factory=Counter)  # number of trials by build id


def read_answers(
    paths: Sequence[str | Path], key: Key, leave_out: Sequence[str] = ()
) -> tuple[list[Answer], list[LeftOut]]:
    """Reads answer files together.

    Each trial counts once. If a person answered an image twice in a phase, the first answer counts. The first file that
    contains a trial determines whose it is; batches come first, then exports, then downloads.

    `key` is the key of the course page or pages; the logs of explain_teach need only its classes. People in `leave_out`
    do not count. Returns the answers that count, and what was left out.
    """
    files = [(str(path), list(_read_file(path, key))) for path in paths]
    files.sort(key=lambda file: [(not one.assignment, not one.numbered) for one in file[1]][:1])
    everybody = [(path, participant) for path, participants in files for participant in participants]
    # A batch downloaded before and after the review contains the same assignment twice.
    rejected = {some.assignment for _, some in everybody if some.refused == REJECTED} - {""}
    people: set[str] = set()
    owners: dict[str, str] = {}  # trial id -> person
    answers: dict[tuple[str, str, str], Answer] = {}
    left_out: list[LeftOut] = []
    for path, participant in everybody:
        if participant.refused or participant.assignment in rejected:
            left_out.append(LeftOut(participant.where, participant.name, participant.refused or REJECTED))
            continue
        # Participants who share a trial are one person. On a shared computer, though, a second worker of Mechanical
        # Turk may submit the trials of the first again.
        shared = [owners[trial] for trial, _ in participant.trials if trial in owners and not participant.assignment]
        taken = participant.numbered and participant.name in people
        person = shared[0] if shared else f"{participant.name} ({path})" if taken else participant.name
        people.add(person)
        reasons = Counter({f"from build {build!r} of the page": n for build, n in participant.other_builds.items()})
        for trial, answer in participant.trials:
            place = (person, answer.phase, answer.image)
            if trial in owners:
                reasons["already submitted by another participant"] += owners[trial] != person
                continue
            owners[trial] = person
            if person in leave_out:
                reasons["left out by --leave-out"] += 1
            elif place in answers:
                reasons["answered again by the same person"] += 1
            else:
                answers[place] = replace(answer, person=person)
        left_out += [LeftOut(participant.where, person, reason, count) for reason, count in reasons.items() if count]
    if not answers:
        why = "; ".join(f"{one.where}: {one.reason}" for one in left_out[:3]) or "they are empty"
        raise InputError(f"No answers in {', '.join(map(str, paths))} count ({why}). Check --answers and --key.")
    known = sorted(people | {one.person for one in left_out})
    for name in leave_out:
        if name not in known:
            raise InputError(f"--leave-out {name}: no such person. Choose from {first_of(known, 10)}.")
    return list(answers.values()), left_out


def _read_file(path: str | Path, key: Key) -> Iterator[Participant]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"Answer file {path} not found. Check --answers.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Cannot read {path} ({error}). Save it as UTF-8 text.") from None
    if text.lstrip()[:1] not in ("[", "{"):
        yield from _read_csv(text, path, key)
        return
    content = _json(text, str(path))
    if isinstance(content, list) and content and all(isinstance(log, dict) and "image_id" in log for log in content):
        for number, log in enumerate(content, start=1):
            yield _log_participant(log, f"{path}, log {number}", key)
    elif isinstance(content, dict) and isinstance(content.get("participants"), list):
        for number, entry in enumerate(content["participants"], start=1):
            where = f"{path}, participant number {number}"
            yield replace(_page_participant(entry, where, key), numbered=True)
    elif isinstance(content, dict) and "trials" in content:
        yield _page_participant(content, str(path), key)
    else:
        raise InputError(f"{path}: {UNKNOWN_FORMAT}.")


def _json(text: str, where: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not valid JSON ({error}). Download it again.") from None


def _read_csv(text: str, path: str | Path, key: Key) -> Iterator[Participant]:
    """Yields the participants of a Mechanical Turk batch or of our export as CSV."""
    reader = TableReader(text)
    columns = set(reader.fieldnames or ())
    if not columns >= TURK_COLUMNS and not columns >= EXPORT_COLUMNS:
        raise InputError(f"{path}: {UNKNOWN_FORMAT}.")
    exported: dict[str, list[dict]] = {}  # trials by participant
    for number, row in enumerate(reader, start=2):
        where = f"{path}, row {number}"
        if None in row or None in row.values():
            raise InputError(f"{where}: expected {len(reader.fieldnames or ())} fields. Download the file again.")
        if columns >= TURK_COLUMNS:
            yield _turk_participant(row, where, key)
        else:
            numbers = {name: _json(row[name], f"{where}: {name}") for name in ("rt", "response")}
            exported.setdefault(row["participant"], []).append(row | numbers)
    for name, trials in exported.items():
        entry = {"participant": name, "trials": trials}
        yield replace(_page_participant(entry, str(path), key), numbered=True)


def _turk_participant(row: dict[str, str], where: str, key: Key) -> Participant:
    """Returns the participant of one row of a Mechanical Turk batch.

    Rejections are in AssignmentStatus or, in a batch reviewed offline, in the column Reject as an x or a reason (Amazon
    Mechanical Turk, Requester UI Guide, "Reviewing results offline").
    """
    columns = ("WorkerId", "AssignmentId", "AssignmentStatus", "Reject", "Answer.trials")
    worker, assignment, status, reject, text = (row.get(name, "").strip() for name in columns)
    rejected = status.lower() == "rejected" or reject
    trials = _json(text, f"{where}: Answer.trials") if text and not rejected else []
    refused = REJECTED if rejected else "" if trials else "no answers"
    name = worker or (f"assignment {assignment}" if assignment else where)
    participant = _page_participant({"participant": name, "trials": trials}, where, key)
    return replace(participant, where=where, assignment=assignment, refused=refused)


def _page_participant(entry: object, where: str, key: Key) -> Participant:
    """Returns a participant with answers to the course page; trials from other builds of the page are only counted."""
    if not isinstance(entry, dict) or not isinstance(entry.get("participant"), str):
        raise InputError(f"{where}: expected an object with participant and trials. Export the answers again.")
    name, trials = entry["participant"], entry.get("trials")
    participant = Participant(f"{where} ({name})", name)
    if not isinstance(trials, list) or not all(isinstance(trial, dict) for trial in trials):
        raise InputError(f"{participant.where}: expected a list of trials. Export the answers again.")
    if not trials:
        return participant
    if not key.build_id:
        raise InputError(f"{where}: this needs the key of the course page ({key.path} not found). Check --key.")
    pages = {page.build_id: page for page in key.pages}
    for number, trial in enumerate(trials, start=1):
        there = f"{participant.where}, trial {number}"
        trial_id, phase, build, stimulus, rt = map(trial.get, ("trial_id", "phase", "build_id", "stimulus", "rt"))
        if not is_secret_id(trial_id) or phase not in PHASES or not isinstance(build, str) or not is_time(rt):
            values = f"trial_id {trial_id!r:.60}, phase {phase!r:.60}, build_id {build!r:.60} or rt {rt!r:.60}"
            raise InputError(f"{there}: invalid {values} (reformatted by a spreadsheet?). Export the answers again.")
        if build not in pages:
            participant.other_builds[build] += 1
            continue
        page = pages[build]
        image = page.images.get(stimulus) if isinstance(stimulus, str) else None
        if image is None or image.part != phase:
            raise InputError(f"{there}: {page.path} has no {phase} image {stimulus!r:.60}. Check --key.")
        response = _checked_class(trial.get("response"), there, key)
        answer = Answer(name, image.phase, image.path, response, rt / 1000, image.label, page.condition)
        participant.trials.append((trial_id, answer))
    return participant


def _log_participant(log: dict, where: str, key: Key) -> Participant:
    """Returns the participant of one log of explain_teach (Mac Aodha et al., CVPR 2018).

    A log has clock times instead of response times, so the seconds of an answer include the feedback before it.
    """
    try:
        name = log["_id"]["$oid"]
        rows = list(zip(*(log[column] for column in LOG_LISTS), strict=True))
        clock = [datetime.strptime(row[-1], "%H:%M:%S") for row in rows]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        lists = ", ".join(LOG_LISTS)
        raise InputError(f"{where}: expected _id and equally long {lists} ({error}). Download it again.") from None
    participant = Participant(f"{where} (participant {name})", name)
    for number, (image, truth, taught, response, _) in enumerate(rows):
        there = f"{where}, answer {number + 1}"
        phase = "lesson" if taught else "test"
        seconds = (clock[number] - clock[number - 1]).seconds if number else None  # also right across midnight
        response, truth = (_checked_class(value, there, key) for value in (response, truth))
        answer = Answer(name, phase, f"image {image}", response, seconds, truth, str(log.get("strategy", "")))
        participant.trials.append((f"{name} {number}", answer))
    return participant


def _checked_class(value: object, where: str, key: Key) -> int:
    if type(value) is not int or not 0 <= value < len(key.classes):
        raise InputError(f"{where}: class {value!r:.60} is not in 0 .. {len(key.classes) - 1}. Check --dataset.")
    return value


def read_teaching_images(path: str | Path, classes: Sequence[str]) -> list[tuple[str, int]]:
    """Reads `teaching_images.json` of explain_teach: path (as in the lists) and label of image n of its logs.

    Class folders in the table may contain spaces (`Cabbage White`).
    """
    urls = [PurePosixPath(entry["image_url"]).parts for entry in json.loads(Path(path).read_text(encoding="utf-8"))]
    images = [(folder, middle, owner.replace(" ", ""), name) for folder, middle, owner, name in urls]
    return [("./datasets/" + "/".join(parts), list(classes).index(parts[2])) for parts in images]


def read_experiment(folder: str | Path, classes: Sequence[str]) -> list[Answer]:
    """Reads an experiment of explain_teach (`results.json`, `teaching_images.json`), with images as in the lists.

    In `chinese_chars`, sessions with random pictures used a table with one more picture. It has no file and keeps its
    number; later numbers are one too high.
    """
    answers, _ = read_answers([Path(folder, "results.json")], Key("", "", "", tuple(classes), {}))
    table, found = read_teaching_images(Path(folder, "teaching_images.json"), classes), []
    for answer in answers:
        number = int(answer.image.removeprefix("image "))
        older = Path(folder).name == "chinese_chars" and answer.group in ("random", "random_feedback")
        if not older or number != REMOVED:
            path, label = table[number - (older and number > REMOVED)]
            if label != answer.truth:
                raise InputError(f"{folder}: the logs and teaching_images.json differ on {answer.image}.")
            answer = replace(answer, image=path)
        found.append(answer)
    return found
