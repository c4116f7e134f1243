"""What people answered, read from every kind of file it comes in: our server's export (JSON or CSV), one participant's download,
a Mechanical Turk batch, and the public logs of explain_teach. The kind is recognised by a file's content."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from utils.base.errors import InputError, first_of
from utils.people.page_key import IMAGE_ID, PHASES, Key, is_count
from utils.people.participants import Answer, Participant, checked_name, in_telling_order, who_is_who
from utils.people.tables import csv_rows, parsed_json, parsed_number, read_text, separator, shown
from utils.people.trials import LONGEST, is_secret_id, is_time
from utils.people.turk import NEEDED, Submission, submissions

DAY = 24 * 60 * 60  # seconds
LOGGED = (
    "image_id",
    "gt_label",
    "is_train",
    "response",
    "time",
)  # the lists of a log of explain_teach, in the order of their use
REJECTED_ELSEWHERE = "rejected in another row of the same assignment"
ANSWERED_BEFORE = "answered again by the same person (the first answer counts)"
OTHER_BUILD = "given on another build of the course page"
HANDED_IN_BEFORE = "handed in by somebody else already (the same trial ids)"
NOT_WANTED = "left out by --leave-out"
NAMES_SHOWN = 10  # of the people of whom one may be meant


@dataclass(frozen=True)
class LeftOut:
    """What a file holds that does not count.

    Attributes:
        where: file, and participant or line.
        person: whose.
        reason: why.
        answers: how many answers of it; None: all of the row.
    """

    where: str
    person: str
    reason: str
    answers: int | None = None


@dataclass(frozen=True)
class Reading:
    """What files of answers hold: the answers that count, and what does not."""

    answers: list[Answer]
    left_out: list[LeftOut]


def read_answers(paths: Sequence[str | Path], key: Key | None, num_classes: int) -> list[Answer]:
    """The answers that count, as `read_files` finds them."""
    return read_files(paths, key, num_classes).answers


def read_files(
    paths: Sequence[str | Path], key: Key | None, num_classes: int, leave_out: Sequence[str] = ()
) -> Reading:
    """Reads any number of answer files together.

    A trial that stands in several files (a download and an export, two exports of one server) counts once, and tells that their
    participants are one person, unless they are two workers of Mechanical Turk. Of several answers of a person to an image in one
    phase the first counts, those of batches before others. An assignment that is rejected in one file is left out of all. Answers to
    another build of the page are left out as well.

    Args:
        paths: the files.
        key: of the course page that the answers were given on; logs of explain_teach need none.
        num_classes: C; answers must lie in 0 .. C-1.
        leave_out: people whose answers do not count, as the report calls them.

    Raises:
        InputError: a file is missing, of no known kind or malformed; the message names file and line or participant. Or somebody who is to
            be left out is not there, or nothing counts.
    """
    files = in_telling_order([(path, list(_read_file(path, key, num_classes))) for path in paths])
    rows = [
        participant.submission for _, participants in files for participant in participants if participant.submission
    ]
    rejected = {row.assignment for row in rows if row.rejected} - {""}
    called = who_is_who(
        [(path, [some for some in participants if not _reason(some, rejected)]) for path, participants in files]
    )
    people = iter(called)
    answers: dict[tuple[str, str, str], Answer] = {}
    owners: dict[str, str] = {}
    left_out: list[LeftOut] = []
    for participant in (participant for _, participants in files for participant in participants):
        reason = _reason(participant, rejected)
        if reason:
            left_out.append(LeftOut(participant.where, participant.name, reason))
        else:
            person = next(people)
            left_out += _add(participant, person, person not in leave_out, owners, answers)
    if not answers:
        why = f" (left out: {'; '.join(f'{part.where}: {part.reason}' for part in left_out[:3])})" if left_out else ""
        raise InputError(
            f"{', '.join(map(str, paths)) or '--answers'}: there is no answer in it{why}; {_remedy(left_out, key)}."
        )
    _check_names(leave_out, {*called, *(part.person for part in left_out)})
    return Reading(list(answers.values()), left_out)


def _remedy(left_out: Sequence[LeftOut], key: Key | None) -> str:
    """What to do where no answer counts."""
    if any(part.reason == NOT_WANTED for part in left_out):
        return "leave fewer people out"
    if key and any(part.reason.startswith(OTHER_BUILD) for part in left_out):
        return f"{key.path} is of build {key.build_id}: give the right --key"
    return "give files with answers"


def _check_names(leave_out: Sequence[str], people: set[str]) -> None:
    """Makes sure that whoever is to be left out is among the people.

    Raises:
        InputError: nobody is called so.
    """
    for name in leave_out:
        if name not in people:
            known = first_of(sorted(people), NAMES_SHOWN)
            raise InputError(
                f"--leave-out {name}: the files of answers hold nobody of that name, but {known}; correct it."
            )


def _reason(participant: Participant, rejected: set[str]) -> str:
    """Why a row of a batch is left out; "" if it is not, or is none."""
    row = participant.submission
    return "" if row is None else row.reason or (REJECTED_ELSEWHERE if row.assignment in rejected else "")


def _add(
    participant: Participant,
    person: str,
    wanted: bool,
    owners: dict[str, str],
    answers: dict[tuple[str, str, str], Answer],
) -> list[LeftOut]:
    """Adds a participant's answers to those of all, if they are `wanted`, and the person to the `owners` of trials in any case: nobody else
    gave them. Returns what of them does not count."""
    reasons = participant.left_out.copy()
    for trial, answer in participant.trials:
        place = (person, answer.phase, answer.image)
        if trial in owners:
            reasons[HANDED_IN_BEFORE] += owners[trial] != person
            continue
        owners[trial] = person
        if not wanted:
            reasons[NOT_WANTED] += 1
        elif place in answers:
            reasons[ANSWERED_BEFORE] += 1
        else:
            answers[place] = replace(answer, person=person)
    return [LeftOut(participant.where, person, reason, count) for reason, count in reasons.items() if count]


def _read_file(path: str | Path, key: Key | None, num_classes: int) -> Iterator[Participant]:
    """The participants of a file of any kind."""
    text = read_text(path)
    if text.lstrip()[:1] not in ("[", "{"):
        yield from _read_csv(text, path, key, num_classes)
        return
    content = parsed_json(text, path)
    if isinstance(content, list) and content and all(isinstance(log, dict) and "image_id" in log for log in content):
        yield from (
            _explain_teach_log(log, f"{path}, log {number}", num_classes) for number, log in enumerate(content, start=1)
        )
    elif isinstance(content, dict) and isinstance(content.get("participants"), list):
        for number, entry in enumerate(content["participants"], start=1):
            yield _page_participant(entry, f"{path}, participant number {number}", key, num_classes, numbered=True)
    elif isinstance(content, dict) and "trials" in content:
        yield _page_participant(content, str(path), key, num_classes, numbered=False)
    else:
        raise InputError(
            f"{path} holds no answers in a known form (our export or download, Mechanical Turk CSV, explain_teach logs)."
        )


def _page_participant(entry: object, where: str, key: Key | None, num_classes: int, numbered: bool) -> Participant:
    """One participant of our export or download."""
    if (
        not isinstance(entry, dict)
        or not isinstance(entry.get("participant"), str)
        or not isinstance(entry.get("trials"), list)
    ):
        raise InputError(f"{where}: expected an object with participant and trials; export the answers anew.")
    name = checked_name(entry["participant"], where)
    participant = Participant(name, f"{where} ({name})", numbered=numbered)
    for number, trial in enumerate(entry["trials"], start=1):
        _take(participant, trial, f"{participant.where}, trial {number}", key, num_classes)
    return participant


def _take(participant: Participant, trial: object, where: str, key: Key | None, num_classes: int) -> None:
    """Adds a trial, as the course page records it, to those of a participant. What another build of the page asked is left out.

    Raises:
        InputError: it is malformed, or about an image that the page does not show in that phase.
    """
    if key is None or not key.build_id:
        place = f", but {key.path} does not exist" if key else ""
        raise InputError(f"{where} was given on a course page: reading it needs the page's key{place}; correct --key.")
    trial = trial if isinstance(trial, dict) else {}
    trial_id, phase, build = trial.get("trial_id"), trial.get("phase"), trial.get("build_id")
    if not isinstance(trial_id, str) or not trial_id or not isinstance(build, str) or phase not in PHASES:
        needed = f"a trial needs a trial_id, a build_id and a phase out of {', '.join(PHASES)}"
        raise InputError(f"{where}: {needed}; export the answers anew.")
    if build == key.build_id:
        participant.trials.append((trial_id, _page_answer(trial, participant.name, where, key, num_classes)))
    else:
        participant.left_out[f"{OTHER_BUILD}, {shown(build)}"] += 1


def _page_answer(trial: dict, person: str, where: str, key: Key, num_classes: int) -> Answer:
    """The answer of a trial of the page whose key it is."""
    phase, stimulus, milliseconds = trial["phase"], trial.get("stimulus"), trial.get("rt")
    image = key.images.get(stimulus) if isinstance(stimulus, str) else None
    if image is None or image.phase != phase:
        raise InputError(
            f"{where}: {key.path} has no {phase} image {shown(stimulus)}; give the key of the page that was answered."
        )
    if not is_time(milliseconds):
        allowed = f"milliseconds, 0 .. {LONGEST:g}, without separators of thousands"
        raise InputError(f"{where}: rt {shown(milliseconds)} must be {allowed}; correct it.")
    response = _checked_class(trial.get("response"), "response", where, num_classes)
    return Answer(person, phase, image.path, response, milliseconds / 1000, image.label)


def _checked_class(value: object, name: str, where: str, num_classes: int) -> int:
    if not is_count(value) or value >= num_classes:
        raise InputError(
            f"{where}: {name} {shown(value)} is out of range (0 .. {num_classes - 1}); correct it, or --dataset."
        )
    return value


def _read_csv(text: str, path: str | Path, key: Key | None, num_classes: int) -> Iterator[Participant]:
    """A batch of Mechanical Turk, or our export as CSV."""
    rows = csv_rows(text, path)
    columns = next(rows, (1, {}))[1]
    if columns.keys() >= NEEDED:
        for submission in submissions(rows, path):
            yield _turk_participant(submission, path, key, num_classes)
    elif {"participant", "trial_id", "phase", "rt", "stimulus", "response", "build_id"} <= columns.keys():
        participants: dict[str, Participant] = {}
        separated_by = separator(text)
        for line, row in rows:
            where = f"{path}, line {line}"
            name = checked_name(row["participant"], where)
            numbers = {
                name: parsed_number(row[name], kind, separated_by) for name, kind in (("rt", float), ("response", int))
            }
            trial = _whole_ids(row, where) | numbers
            participant = participants.setdefault(name, Participant(name, where, numbered=True))
            _take(participant, trial, where, key, num_classes)
        yield from participants.values()
    else:
        raise InputError(
            f"{path} holds no answers in a known form (our export or download, Mechanical Turk CSV, explain_teach logs)."
        )


def _turk_participant(row: Submission, path: str | Path, key: Key | None, num_classes: int) -> Participant:
    """A row of a Mechanical Turk batch. Where it does not tell the worker, the assignment is a person of its own."""
    where = f"{path}, line {row.line}"
    told = row.worker or (f"assignment {row.assignment}" if row.assignment else "")
    name = checked_name(told, where) if told else where
    if row.reason:
        return Participant(name, where, submission=row)
    participant = _page_participant(
        {"participant": name, "trials": row.trials}, where, key, num_classes, numbered=False
    )
    return replace(participant, where=where, submission=row)


def _whole_ids(row: dict[str, str], where: str) -> dict[str, str]:
    """A row of our export whose ids a spreadsheet has not taken for numbers and rounded, which could make two of them one."""
    for name, whole in (("trial_id", is_secret_id(row["trial_id"])), ("stimulus", IMAGE_ID.fullmatch(row["stimulus"]))):
        if not whole:
            raise InputError(
                f"{where}: {name} {shown(row[name])} is none; a spreadsheet may have changed it: export the answers anew."
            )
    return row


def _explain_teach_log(log: dict, where: str, num_classes: int) -> Participant:
    """One person's log of explain_teach (Mac Aodha et al., CVPR 2018): parallel lists, one entry per image shown.

    It has no response times but the clock time of each answer, so an answer's seconds run from the answer before it, and count
    the feedback that came between.
    """
    lists = {name: values for name in LOGGED if isinstance(values := log.get(name), list)}
    identity = log.get("_id")
    name = identity.get("$oid") if isinstance(identity, dict) else None
    if not isinstance(name, str) or len(lists) < len(LOGGED):
        raise InputError(f"{where}: expected _id and the lists {', '.join(LOGGED)}; replace the file.")
    checked_name(name, where, "_id")
    group = checked_name(told, where, "strategy") if (told := str(log.get("strategy", ""))) else ""
    if len({len(values) for values in lists.values()}) != 1:
        raise InputError(f"{where} (participant {name}): {', '.join(lists)} differ in length; replace the file.")
    participant = Participant(name, f"{where} (participant {name})")
    before = None
    for number, (image, truth, taught, response, clock) in enumerate(zip(*lists.values(), strict=True), start=1):
        there = f"{participant.where}, answer {number}"
        moment = _clock(clock, there)
        answer = Answer(
            name,
            "lesson" if taught else "test",
            f"image {image}",
            _checked_class(response, "response", there, num_classes),
            None if before is None else (moment - before) % DAY,  # midnight may lie between
            _checked_class(truth, "gt_label", there, num_classes),
            group,
        )
        participant.trials.append((f"{name} {number}", answer))
        before = moment
    return participant


def _clock(text: object, where: str) -> float:
    """Seconds since midnight of `HH:MM:SS`."""
    if not isinstance(text, str) or not re.fullmatch(r"\d\d:\d\d:\d\d", text):
        raise InputError(f"{where}: time {shown(text)} must be HH:MM:SS; correct it.")
    try:
        moment = datetime.strptime(text, "%H:%M:%S")
    except ValueError:
        raise InputError(f"{where}: time {shown(text)} must be HH:MM:SS; correct it.") from None
    return moment.hour * 3600.0 + moment.minute * 60 + moment.second
