"""People's answers, read from every kind of file: the page's, the server's, Mechanical Turk's, and the explain-teach release's."""

import csv
import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.answering import (
    BUILD,
    CLASSES,
    batch,
    csv_text,
    download,
    explain_teach_log,
    export,
    make_trial,
    mturk_row,
)
from utils.base.errors import InputError
from utils.people.answers import read_answers, read_files
from utils.people.labelling import aggregate_part, describe_all
from utils.people.page_key import read_key
from utils.people.participants import Answer

SHARED = Path(__file__).resolve().parents[3] / "shared/data"


def test_every_kind_of_file_gives_the_same_answers(key, trials, tmp_path):
    texts = {
        "download.json": json.dumps(download(trials)),
        "export.json": json.dumps(export({"ann": trials})),
        "export.csv": csv_text([{"participant": "ann"} | {"correct": ""} | trial for trial in reversed(trials)][::-1]),
        "batch.csv": "\ufeff" + csv_text([mturk_row("ann", trials), mturk_row("bob", trials, "Rejected")]),
    }
    expected = [
        Answer("ann", "lesson", "./datasets/toy/images/lesson0.png", 1, 1.2345, 0),
        Answer("ann", "test", "./datasets/toy/images/test3.png", 3, 1.2345, 3),
        Answer("ann", "label", "./datasets/toy/images/label9.png", 0, 1.2345, 4),
    ]
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
        assert read_answers([tmp_path / name], key, 5) == expected, name
    everything = [tmp_path / name for name in texts]
    assert read_answers(everything, key, 5) == expected  # the same trials again count once


def test_a_batch_may_hold_more_in_a_field_than_python_expects(key, tmp_path):
    trial = make_trial(key, "label", 0, 1)
    many = [trial | {"trial_id": f"{number:032x}"} for number in range(1000)]
    (tmp_path / "batch.csv").write_text(csv_text([mturk_row("ann", many)]))
    limit = csv.field_size_limit()
    assert len(json.dumps(many)) > limit
    assert len(read_answers([tmp_path / "batch.csv"], key, 5)) == 1  # one image: the first answer counts
    assert csv.field_size_limit() == limit


def test_numbered_people_of_two_exports_are_two_unless_they_share_a_trial(key, tmp_path):
    ann = [make_trial(key, "label", number, 1, "ann") for number in (0, 1)]
    bob = [make_trial(key, "label", 0, 2, "bob")]
    early, late, other = tmp_path / "early.json", tmp_path / "late.json", tmp_path / "other.json"
    early.write_text(json.dumps(export({"p0001": ann[:1]})))
    late.write_text(json.dumps(export({"p0001": bob, "p0002": ann})))  # numbers move when people join
    other.write_text(json.dumps(download(ann, "00ff")))
    people = Counter(answer.person for answer in read_answers([early, late, other], key, 5))
    assert people == {"p0001": 2, f"p0001 ({late})": 1}


def test_the_first_of_several_answers_counts(key, tmp_path):
    again = make_trial(key, "test", 0, 3, trial_id="f" * 32)
    (tmp_path / "a.json").write_text(json.dumps(download([make_trial(key, "test", 0, 1), again])))
    assert [answer.response for answer in read_answers([tmp_path / "a.json"], key, 5)] == [1]


def test_people_are_left_out_by_their_names_in_the_report(key, tmp_path):
    """Whoever else hands in the same trials did not give them; two numbered people of the same number are told apart by the file."""
    ann, bob = ([make_trial(key, "label", number, 1, name) for number in range(3)] for name in ("ann", "bob"))
    batch(
        tmp_path / "batch.csv",
        mturk_row("W1", ann),
        mturk_row("W2", [*ann, *bob[:1]]),
        mturk_row("W3", bob[1:], "Rejected"),
    )
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    one.write_text(json.dumps(export({"p0001": [make_trial(key, "test", 0, 1, "cid")]})))
    other.write_text(json.dumps(export({"p0001": [make_trial(key, "test", 1, 2, "dan")]})))
    files = [tmp_path / "batch.csv", one, other]

    def left(*names):
        reading = read_files(files, key, 5, names)
        gone = [(part.person, part.answers) for part in reading.left_out if part.reason == "left out by --leave-out"]
        return Counter(answer.person for answer in reading.answers), gone

    everybody = {"W1": 3, "W2": 1, "p0001": 1, f"p0001 ({other})": 1}
    assert left() == (everybody, [])
    assert left("W1") == ({"W2": 1, "p0001": 1, f"p0001 ({other})": 1}, [("W1", 3)])
    assert left(f"p0001 ({other})", "W2") == ({"W1": 3, "p0001": 1}, [("W2", 1), (f"p0001 ({other})", 1)])
    assert left("W3") == (everybody, [])  # the batch leaves this worker out already
    with pytest.raises(
        InputError, match=r"^--leave-out W4: .* nobody of that name, but W1, W2, W3, p0001, p0001 \(.*; correct it\.$"
    ):
        left("W1", "W4")


def test_explain_teach_logs(tmp_path):
    (tmp_path / "results.json").write_text(json.dumps([explain_teach_log()]))
    assert read_answers([tmp_path / "results.json"], None, 5) == [
        Answer("5a09", "lesson", "image 184", 1, None, 4, "strict"),
        Answer("5a09", "test", "image 417", 1, 8.0, 1, "strict"),
        Answer("5a09", "test", "image 1600", 0, 5.0, 2, "strict"),  # over midnight
    ]


def test_published_means_of_explain_teach():
    """Mean test accuracies of Mac Aodha et al. (CVPR 2018) on butterflies, by strategy, from their logs."""
    logs = SHARED / "explain_teach/butterflies_crop/results.json"
    if not logs.exists():
        pytest.skip(f"the public logs are not at {logs}")
    people = describe_all(read_answers([logs], None, 5), 0)
    groups = {}
    for person in people:
        groups.setdefault(person.group, []).append(person.test_accuracy)
    assert {name: (len(values), round(float(np.mean(values)), 2)) for name, values in groups.items()} == {
        "random": (49, 65.20),
        "random_feedback": (39, 67.31),
        "strict_1vall": (39, 65.00),
        "explain_1vall": (33, 68.33),
    }


def test_contradictory_truths_are_no_truth(tmp_path):
    """explain_teach's characters: some images have two classes in the logs."""
    logs = [explain_teach_log(_id={"$oid": "a"}), explain_teach_log(_id={"$oid": "b"}, gt_label=[4, 3, 2])]
    (tmp_path / "results.json").write_text(json.dumps(logs))

    answers = [answer for answer in read_answers([tmp_path / "results.json"], None, 5) if answer.phase == "test"]
    part = aggregate_part(answers, [], 5, "majority", 0)
    assert (part.votes.images, part.truth.tolist()) == (["image 1600", "image 417"], [2, -1])


WRONG_TRIALS = {
    "response 5 is out of range": {"response": 5},
    "response True is out of range": {"response": True},
    "response 1.0 is out of range": {"response": 1.0},
    "rt -1 must be": {"rt": -1},
    "rt nan must be": {"rt": math.nan},
    "rt 1 must be": {"rt": "1"},
    r"rt 10000.*000 must be milliseconds, 0 .. 1e\+12, without": {"rt": 10**400},  # no float holds it
    "rt 1000000000001 must be": {"rt": 10**12 + 1},
    r"has no test image \\x1b\[2J\\nx{55}\.\.\.;": {"stimulus": "\x1b[2J\n" + "x" * 100},
    "has no test image 00": {"stimulus": "00"},
    r"has no test image \['a'\]": {"stimulus": ["a"]},
    "needs a trial_id, a build_id and a phase out of lesson, test, label": {"phase": "lunch"},
    "needs a trial_id": {"trial_id": 7},
    "needs a trial_id, a build_id": {"build_id": None},
}


@pytest.mark.parametrize("message", WRONG_TRIALS)
def test_wrong_trials_are_named(key, tmp_path, message):
    wrong = make_trial(key, "test", 1, 1) | WRONG_TRIALS[message]
    for name, content in (("download.json", download), ("export.json", lambda trials: export({"ann": trials}))):
        (tmp_path / name).write_text(json.dumps(content([make_trial(key, "test", 0, 1), wrong])))
        with pytest.raises(InputError, match=rf"{name}.*\(ann\), trial 2.*{message}"):
            read_answers([tmp_path / name], key, 5)


@pytest.mark.parametrize("name", ["\ud800x", "\x1b[31mred", "two\nlines", "a" * 201])
def test_names_that_no_report_can_repeat_are_refused(key, tmp_path, name):
    """A lone half of a character cannot be written to a file at all, and a terminal obeys escape sequences."""
    trials, told = (
        [make_trial(key, "test", 0, 1)],
        "participant must be at most 200 characters, all of them printable; correct it.",
    )
    (tmp_path / "a.json").write_text(json.dumps(download(trials, name)))
    (tmp_path / "b.json").write_text(json.dumps(export({"ann": trials, name: trials})))
    batch(tmp_path / "c.csv", mturk_row("ann", trials), mturk_row("bob", trials) | {"WorkerId": "?"})
    (tmp_path / "d.csv").write_text(csv_text([{"participant": "?"} | trial for trial in trials]))
    for table in ("c.csv", "d.csv"):
        text = (tmp_path / table).read_text()
        (tmp_path / table).write_text(text.replace("?", f'"{name}"' if table == "d.csv" else name), errors="replace")
    files = {"a.json": "a.json", "b.json": "b.json, participant number 2"}
    if name.isascii():  # a text file cannot hold the other one
        files |= {"c.csv": r"c.csv, line \d+", "d.csv": "d.csv, line 2"}
    for file, place in files.items():
        with pytest.raises(InputError, match=f"{place}: {told}$") as refused:
            read_answers([tmp_path / file], key, 5)
        assert str(refused.value).isprintable()


def test_names_of_rows_that_are_left_out_are_repeated_too(key, tmp_path):
    trials = [make_trial(key, "test", 0, 1)]
    path = batch(tmp_path / "a.csv", mturk_row("ann", trials), mturk_row("\x1b[31m", trials, "Rejected"))
    with pytest.raises(InputError, match=r"a.csv, line \d+: participant must be at most 200 characters"):
        read_answers([path], key, 5)


@pytest.mark.parametrize("field", ["rt", "response"])
def test_a_number_of_thousands_of_digits_is_named(key, tmp_path, field):
    """Python reads none of more than 4,300 digits, and says so with another error than that of text that is no JSON."""
    trials = [make_trial(key, "test", 0, 1)]
    whole, digits = json.dumps(trials[0][field]), "1" * 5000
    told = "holds a number of more than 4300 digits; replace it."
    (tmp_path / "a.json").write_text(
        json.dumps(download(trials)).replace(f'"{field}": {whole}', f'"{field}": {digits}')
    )
    row = mturk_row("ann", trials)
    row["Answer.trials"] = row["Answer.trials"].replace(f'"{field}": {whole}', f'"{field}": {digits}')
    batch(tmp_path / "b.csv", row)
    for file, place in (("a.json", "a.json"), ("b.csv", "b.csv, line 2: Answer.trials")):
        with pytest.raises(InputError, match=f"{place} {told}$"):
            read_answers([tmp_path / file], key, 5)


def test_answers_to_another_build_are_left_out_and_counted(key, tmp_path):
    """Of a page that was built anew while answers came in: its other images are in no key of ours, and nothing of them is checked."""
    own = [make_trial(key, "test", number, 1) for number in range(2)]
    other = [make_trial(key, "label", number, 9, "bob", build_id="fedc", stimulus="0" * 16) for number in range(3)]
    batch(tmp_path / "a.csv", mturk_row("ann", own), mturk_row("bob", other))
    (tmp_path / "b.json").write_text(json.dumps(export({"p0001": [*other, *own]})))
    (tmp_path / "c.csv").write_text(csv_text([{"participant": "p0001"} | trial for trial in [*other, *own]]))
    for file, place, person in (
        ("a.csv", ", line ", "bob"),
        ("b.json", ", participant number 1", "p0001"),
        ("c.csv", ", line 2", "p0001"),
    ):
        reading = read_files([tmp_path / file], key, 5)
        assert len(reading.answers) == 2 and {answer.phase for answer in reading.answers} == {"test"}
        [part] = reading.left_out
        assert part.where.startswith(f"{tmp_path / file}{place}") and part.person == person and part.answers == 3
        assert part.reason == "given on another build of the course page, fedc"
    (tmp_path / "d.json").write_text(json.dumps(download(other)))
    told = rf"d.json: there is no answer in it \(left out: .*d.json \(ann\): given on another build of the course page, fedc\); {key.path} is "
    with pytest.raises(InputError, match=f"{told}of build {BUILD}: give the right --key.$"):
        read_files([tmp_path / "d.json"], key, 5)


WRONG_FILES = {
    "no known form": ("holds no answers in a known form", {"a": 1}),
    "nobody": ("there is no answer in it", {"participants": []}),
    "no list": ("participant number 1: expected an object", {"participants": [{"participant": "p", "trials": {}}]}),
    "no trial": ("trial 1: a trial needs", {"participants": [{"participant": "p", "trials": ["?"]}]}),
    "not JSON": ("is not JSON", '{"participants": ['),
    "too deep": ("is not JSON", "[" * 100_000),
    "no CSV columns": ("known form", "a,b\n1,2\n"),
    "CSV fields": ("line 3: 1 fields, but the header has 3", "AssignmentId,WorkerId,Answer.trials\n1,2,[]\n3\n"),
    "CSV quotes": ("line 2: this is not CSV", 'AssignmentId,WorkerId,Answer.trials\n"1,2,[]\n'),
    "empty": ("known form", ""),
    "MTurk trials": ("line 2: Answer.trials is not JSON", "AssignmentId,WorkerId,Answer.trials\n1,2,{\n"),
    "MTurk object": ("line 2: expected an object", "AssignmentId,WorkerId,Answer.trials\n1,2,{}\n"),
    "log lists": ("log 1: expected _id and the lists", [explain_teach_log(response=None)]),
    "log lengths": (r"participant 5a09\): .* differ in length", [explain_teach_log(response=[1])]),
    "log name": ("log 1: _id must be at most 200 characters", [explain_teach_log(_id={"$oid": "a\nb"})]),
    "log strategy": ("log 1: strategy must be at most 200 characters", [explain_teach_log(strategy="\ud800")]),
    "log response": ("answer 3: response 9 is out of range", [explain_teach_log(response=[1, 1, 9])]),
    "log truth": ("answer 1: gt_label -1 is out of range", [explain_teach_log(gt_label=[-1, 1, 1])]),
    "log time": ("answer 2: time 25:00:00 must be", [explain_teach_log(time=["23:00:00", "25:00:00", "23:00:00"])]),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_files_are_named(key, tmp_path, case):
    message, content = WRONG_FILES[case]
    path = tmp_path / "answers"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=rf"answers.*{message}"):
        read_answers([path], key, 5)


def test_csv_errors_name_the_line(key, tmp_path, trials):
    rows = [{"participant": "ann"} | {"correct": ""} | trial for trial in trials]
    rows[1]["response"] = "many"
    (tmp_path / "export.csv").write_text(csv_text(rows))
    with pytest.raises(InputError, match=r"export.csv, line 3: response many is out of range"):
        read_answers([tmp_path / "export.csv"], key, 5)


def test_page_answers_need_the_right_key(key, tmp_path, trials):
    (tmp_path / "a.json").write_text(json.dumps(download(trials)))
    with pytest.raises(InputError, match=r"a.json.*reading it needs the page's key"):
        read_answers([tmp_path / "a.json"], None, 5)
    with pytest.raises(InputError, match="There is no file"):
        read_answers([tmp_path / "b.json"], key, 5)
    for dataset, classes in (("gull", CLASSES), ("toy", CLASSES[::-1])):
        with pytest.raises(InputError, match=r"course_page_key.json belongs to --dataset toy"):
            read_key(key.path, dataset, classes)
    broken = json.loads(Path(key.path).read_text())
    broken["images"][next(iter(broken["images"]))]["label"] = 5
    Path(key.path).write_text(json.dumps(broken))
    with pytest.raises(InputError, match="needs phase, path, label and index"):
        read_key(key.path, "toy", CLASSES)
