"""People's answers: read from every kind of file, aggregated, written as a list, learned by a classifier; and simulated people."""

import csv
import hashlib
import io
import itertools
import json
import math
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from models.resnet import build
from utils.base import checkpoints
from utils.base.errors import InputError
from utils.data import catalog
from utils.data.images import decode, eval_view
from utils.data.lists import Example, locate, read_examples
from utils.data.outputs import Layout
from utils.people import aggregation, simulated, study
from utils.people.aggregation import Votes, aggregate, agreement, dawid_skene, majority, prior_counts
from utils.people.answers import Answer, read_answers, read_files, read_key
from utils.people.labelling import aggregate_part, describe_all
from utils.people.tables import csv_rows

SHARED = Path(__file__).resolve().parents[2] / "shared/data"
CLASSES = catalog.MOTHS
BUILD = "0123456789abcdef"


def image_id(phase, path):
    return hashlib.sha256(f"{phase} {path}".encode()).hexdigest()[:16]


def make_key(path, rows):
    """A key as the course page's builder writes it; `rows` by phase."""
    images = {
        image_id(phase, row.path): {"phase": phase, "path": row.path, "label": row.label, "index": row.index}
        for phase, of_phase in rows.items()
        for row in of_phase
    }
    key = {"build_id": BUILD, "dataset": "toy", "classes": list(CLASSES), "images": images}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(key))
    return read_key(path, "toy", CLASSES)


@pytest.fixture
def key(tmp_path):
    """A key of ten images per phase, two of each class."""
    rows = {
        phase: [Example(f"./datasets/toy/images/{phase}{i}.png", i % 5, first + i) for i in range(10)]
        for phase, first in (("lesson", 0), ("test", 0), ("label", 10))
    }
    return make_key(tmp_path / "toy/course_page_key.json", rows)


def make_trial(key, phase, number, response, person="ann", **changes):
    image = list(key.of_phase(phase))[number]
    trial_id = hashlib.sha256(f"{person} {phase} {number}".encode()).hexdigest()[:32]
    trial = {"trial_id": trial_id, "trial_index": number, "trial_type": phase, "phase": phase, "time_elapsed": 1500, "rt": 1234.5}
    return trial | {"stimulus": image, "response": response, "build_id": BUILD} | changes


def download(trials, person="ann"):
    return {"build_id": BUILD, "dataset": "toy", "participant": person, "trials": trials}


def export(people):
    entries = [{"participant": name, "trials": trials} for name, trials in people.items()]
    return {"build_id": BUILD, "dataset": "toy", "participants": entries}


def csv_text(rows):
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, fieldnames=list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def mturk_row(worker, trials, status="Submitted"):
    return {
        "HITId": "3X",
        "AssignmentId": f"A{worker}",
        "WorkerId": worker,
        "AssignmentStatus": status,
        "Answer.build_id": BUILD,
        "Answer.trials": json.dumps(trials, indent=1),
    }


# --- reading ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def trials(key):
    return [make_trial(key, "lesson", 0, 1, correct=False), make_trial(key, "test", 3, 3), make_trial(key, "label", 9, 0)]


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


def explain_teach_log(**changes):
    log = {
        "_id": {"$oid": "5a09"},
        "strategy": "strict",
        "image_id": [184, 417, 1600],
        "gt_label": [4, 1, 2],
        "response": [1, 1, 0],
        "is_train": [1, 0, 0],
        "time": ["23:59:50", "23:59:58", "00:00:03"],
    }
    return log | changes


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
    "has no test image 00": {"stimulus": "00"},
    r"has no test image \['a'\]": {"stimulus": ["a"]},
    "belongs to build other": {"build_id": "other"},
    "needs a trial_id and a phase": {"phase": "lunch"},
    "needs a trial_id": {"trial_id": 7},
}


@pytest.mark.parametrize("message", WRONG_TRIALS)
def test_wrong_trials_are_named(key, tmp_path, message):
    wrong = make_trial(key, "test", 1, 1) | WRONG_TRIALS[message]
    for name, content in (("download.json", download), ("export.json", lambda trials: export({"ann": trials}))):
        (tmp_path / name).write_text(json.dumps(content([make_trial(key, "test", 0, 1), wrong])))
        with pytest.raises(InputError, match=rf"{name}.*\(ann\), trial 2.*{message}"):
            read_answers([tmp_path / name], key, 5)


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


# --- batches of Mechanical Turk and tables of other countries ---------------------------------------------------------------------


def batch(path, *rows, **dialect):
    """A batch with the columns in which Mechanical Turk takes decisions; each row a dictionary, as `mturk_row` makes them."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*mturk_row("", []), "Approve", "Reject"], restval="", quoting=csv.QUOTE_ALL, **dialect)
    writer.writeheader()
    writer.writerows(rows)
    path.write_text(text.getvalue())
    return path


def labels_of(key, person, number=2):
    return [make_trial(key, "label", place, place % 5, person) for place in range(number)]


def people_and_left_out(paths, key):
    """Number of answers by person, and what is left out: line or place, person, reason's first words, number."""
    reading = read_files(paths, key, 5)
    left_out = [(part.where.split(", ")[-1], part.person, " ".join(part.reason.split()[:3]), part.answers) for part in reading.left_out]
    return dict(Counter(answer.person for answer in reading.answers)), left_out


def test_a_rejection_counts_in_whichever_column_it_stands(key, tmp_path):
    rows = [mturk_row(f"W{number}", labels_of(key, f"W{number}")) for number in range(6)]
    decisions = [{"Approve": "x"}, {}, {"Reject": "x"}, {"Reject": " Clicked the same button "}, {"AssignmentStatus": "Rejected"}]
    decisions.append({"AssignmentStatus": " rejected ", "Reject": "late", "Approve": " "})
    path = batch(tmp_path / "a.csv", *(row | decision for row, decision in zip(rows, decisions, strict=True)))
    lines = [line for line, _ in csv_rows(path.read_text(), path)][1:]
    kept, left_out = people_and_left_out([path], key)
    assert kept == {"W0": 2, "W1": 2}
    assert [(where, person) for where, person, *_ in left_out] == [(f"line {lines[n]}", f"W{n}") for n in (2, 3, 4, 5)]
    reasons = [part.reason for part in read_files([path], key, 5).left_out]
    assert reasons == ["rejected in the column Reject"] * 2 + ["rejected in the column AssignmentStatus"] * 2


@pytest.mark.parametrize("decision", [{"Approve": "x", "Reject": "bad"}, {"Approve": "x", "AssignmentStatus": "Rejected"}])
def test_decisions_that_contradict_each_other_are_asked_about(key, tmp_path, decision):
    path = batch(tmp_path / "a.csv", mturk_row("W", labels_of(key, "W")) | decision)
    with pytest.raises(InputError, match="line 2: Approve is filled, and yet .*; decide, and empty one of the columns"):
        read_answers([path], key, 5)


def test_an_assignment_rejected_in_one_download_is_left_out_of_all(key, tmp_path):
    rows = [mturk_row(name, labels_of(key, name)) for name in ("ann", "bob")]
    before = batch(tmp_path / "before.csv", *rows)
    after = batch(tmp_path / "after.csv", rows[0], rows[1] | {"AssignmentStatus": "Rejected"})
    for paths in ([before, after], [after, before]):
        kept, left_out = people_and_left_out(paths, key)
        assert kept == {"ann": 2}
        assert sorted(reason for _, person, reason, _ in left_out if person == "bob") == ["rejected in another", "rejected in the"]


def test_rows_without_answers_or_cut_by_a_spreadsheet_are_counted(key, tmp_path):
    whole = mturk_row("ann", labels_of(key, "ann"))
    long = json.dumps([trial | {"trial_id": f"{n:032x}"} for n, trial in enumerate(labels_of(key, "bob", 1) * 300)])
    assert len(long) > 32_767
    cells = ["", "  ", "[]", long[:32_767], whole["Answer.trials"][:100]]
    rows = [mturk_row(f"W{number}", []) | {"Answer.trials": cell} for number, cell in enumerate(cells)]
    kept, left_out = people_and_left_out([batch(tmp_path / "a.csv", whole, *rows)], key)
    assert kept == {"ann": 2}
    assert [(person, reason) for _, person, reason, _ in left_out] == [
        ("W0", "no answers"),
        ("W1", "no answers"),
        ("W2", "no answers"),
        ("W3", "answers cut short,"),
        ("W4", "answers cut short,"),
    ]
    with pytest.raises(InputError, match=r"there is no answer in it \(left out: .*line 2: no answers"):
        read_answers([batch(tmp_path / "b.csv", rows[0])], key, 5)


def test_rows_without_a_worker_are_people_of_their_own(key, tmp_path):
    rows = [mturk_row("", labels_of(key, name)) | {"AssignmentId": name} for name in ("A1", "A2", "")]
    path = batch(tmp_path / "a.csv", *rows)
    lines = [line for line, _ in csv_rows(path.read_text(), path)]
    expected = {"assignment A1": 2, "assignment A2": 2, f"{path}, line {lines[3]}": 2}
    assert people_and_left_out([path], key) == (expected, [])
    nameless = [{name: cell for name, cell in row.items() if name != "WorkerId"} for row in rows]
    (tmp_path / "b.csv").write_text(csv_text(nameless))  # made anonymous by leaving out the column; the same trials are the same people
    assert people_and_left_out([path, tmp_path / "b.csv"], key) == (expected, [])


def test_a_worker_is_one_person_over_batches_and_assignments(key, tmp_path):
    first = mturk_row("W", labels_of(key, "first", 3))
    second = mturk_row(" W ", labels_of(key, "second", 4)) | {"AssignmentId": "A2"}
    expected = {"W": 4}, [("A2", "W", "answered again by", 3)]
    one = batch(tmp_path / "one.csv", first, second)
    two = [batch(tmp_path / "first.csv", first), batch(tmp_path / "second.csv", second)]
    for paths in ([one], two):
        kept, left_out = people_and_left_out(paths, key)
        assert kept == expected[0] and [part[1:] for part in left_out] == [part[1:] for part in expected[1]]


def test_two_workers_who_hand_in_the_same_are_two_people(key, tmp_path):
    """Else everything that the second ever did would be the first's."""
    same, own = labels_of(key, "same"), make_trial(key, "label", 5, 1, "own")
    one = batch(tmp_path / "one.csv", mturk_row("W1", same))
    two = batch(tmp_path / "two.csv", mturk_row("W2", [*same, own]))
    kept, left_out = people_and_left_out([one, two], key)
    assert kept == {"W1": 2, "W2": 1} and [part[1:] for part in left_out] == [("W2", "handed in by", 2)]
    (tmp_path / "mine.json").write_text(json.dumps(download(same, "00ff")))
    assert people_and_left_out([tmp_path / "mine.json", one], key)[0] == {"00ff": 2}  # a download and the batch: one person


TABLES = {
    "as it comes": (",", "utf-8", ""),
    "byte-order mark": (",", "utf-8-sig", ""),
    "semicolons": (";", "utf-8-sig", ""),
    "semicolons, named": (";", "utf-8", "sep=;\n"),
    "Unicode text": ("\t", "utf-16", ""),
    "Unicode text, big": ("\t", "utf-16-be", "\ufeff"),
    "UTF-16 without mark": (";", "utf-16-le", ""),
    "Western Windows": (";", "cp1252", ""),
    "empty rows": (",", "utf-8", "\n"),
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_other_countries_hold_the_same(key, tmp_path, trials, table):
    separator, encoding, before = TABLES[table]
    row = mturk_row("ann", trials) | {"HITId": "Wer trägt das Grün?"}
    path = batch(tmp_path / "a.csv", row, mturk_row("bob", trials) | {"Reject": "schläft"}, delimiter=separator)
    text = before + path.read_text() + separator * (len(row) + 1) + "\n"
    path.write_bytes(text.encode(encoding))
    expected = (tmp_path / "a.json", path)
    expected[0].write_text(json.dumps(download(trials)))
    assert read_answers([path], key, 5) == read_answers([expected[0]], key, 5)
    answers = [{"participant": "ann"} | {"correct": ""} | trial | {"rt": str(trial["rt"]).replace(".", ",")} for trial in trials]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(answers[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(answers)
    path.write_bytes((before + text.getvalue()).encode(encoding))
    assert read_answers([path], key, 5) == read_answers([expected[0]], key, 5)


@pytest.mark.parametrize(("column", "value"), [("trial_id", "1.23457E+31"), ("stimulus", "1.23457E+15"), ("participant", " ")])
def test_ids_that_a_spreadsheet_rounded_are_named(key, tmp_path, trials, column, value):
    rows = [{"participant": "ann"} | {"correct": ""} | trial for trial in trials]
    rows[1][column] = value
    (tmp_path / "a.csv").write_text(csv_text(rows))
    with pytest.raises(InputError, match=rf"a.csv, line 3: {column} "):
        read_answers([tmp_path / "a.csv"], key, 5)


def test_people_without_a_name_are_not_one_person(key, tmp_path, trials):
    for name, content in (("a.json", download(trials, "")), ("b.json", export({" ": trials}))):
        (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"{name}.*: participant is empty"):
            read_answers([tmp_path / name], key, 5)


# --- aggregation -----------------------------------------------------------------------------------------------------------------


def votes_of(rows):
    """Votes from (image, person, answer) of consecutive numbers."""
    image, person, answer = np.array(rows).T
    return Votes([str(i) for i in range(image.max() + 1)], [str(p) for p in range(person.max() + 1)], image, person, answer)


def make_crowd(seed, images, people, per_image, accuracies):
    """True classes and answers, drawn plainly with NumPy's frozen legacy generator: the same numbers for ever."""
    rng = np.random.RandomState(seed)
    truth, rows = rng.randint(0, 5, images), []
    for image in range(images):
        for person in rng.permutation(people)[:per_image]:
            right = rng.random_sample() < accuracies[person]
            rows.append((image, person, truth[image] if right else (truth[image] + 1 + rng.randint(0, 4)) % 5))
    return truth, votes_of(rows)


def test_majority_by_hand():
    votes = votes_of([(0, 0, 2), (0, 1, 2), (0, 2, 4), (1, 0, 1), (1, 1, 3), (2, 2, 0), (3, 0, 4), (3, 1, 0), (3, 2, 3)])
    found = majority(votes, 5, np.array([0.5, 0.9, 0.8]), 0)
    assert found.label.tolist() == [2, 3, 0, 0]  # most, trusted more, alone, trusted most
    assert found.certainty.tolist() == pytest.approx([2 / 3, 1 / 2, 1, 1 / 3]) and found.drawn == 0


def test_ties_are_drawn_fairly_and_by_the_seed():
    rows = [(image, person, answer) for image in range(3000) for person, answer in enumerate((1, 4))]
    found = [majority(votes_of(rows), 5, np.ones(2), seed) for seed in (0, 0, 1)]
    assert found[0].drawn == 3000 and set(found[0].label) == {1, 4}
    assert abs((found[0].label == 1).mean() - 0.5) < 4 * math.sqrt(0.25 / 3000)
    assert (found[0].label == found[1].label).all() and (found[0].label != found[2].label).any()


def test_the_order_of_answers_does_not_matter():
    answers = [Answer(f"p{p}", "label", f"i{i}", (p * i) % 5, None, None) for i in range(30) for p in range(4)]
    one, other = Votes.of(answers), Votes.of(answers[::-1])
    for method in ("majority", "dawid_skene"):
        first, second = (aggregate(votes, 5, method, np.zeros((4, 5, 5)), 3) for votes in (one, other))
        assert first.label.tolist() == second.label.tolist() and first.certainty.tolist() == second.certainty.tolist()


def one_step_plainly(votes, posterior, believed, per_class):
    """An EM step written as the model reads, by loops over probabilities, without logarithms."""
    images, classes = posterior.shape
    votes_list = list(zip(votes.image.tolist(), votes.person.tolist(), votes.answer.tolist(), strict=True))
    prior = [(sum(posterior[i][j] for i in range(images)) + per_class) for j in range(classes)]
    prior = [value / sum(prior) for value in prior]
    confusion = {}
    for p in range(len(votes.people)):
        for j in range(classes):
            counts = [believed[p][j][k] for k in range(classes)]
            for i, person, answer in votes_list:
                if person == p:
                    counts[answer] += posterior[i][j]
            confusion[p, j] = [count / sum(counts) for count in counts]
    new, likelihood = [], 0.0
    for i in range(images):
        joint = [prior[j] * math.prod(confusion[p, j][k] for image, p, k in votes_list if image == i) for j in range(classes)]
        new.append([value / sum(joint) for value in joint])
        likelihood += math.log(sum(joint))
    return prior, confusion, new, likelihood


def test_an_em_step_against_plain_loops():
    _, votes = make_crowd(8, 25, 6, 4, [0.9, 0.7, 0.5, 0.8, 0.3, 0.6])
    posterior = np.random.RandomState(0).dirichlet(np.ones(5), 25)
    believed = np.random.RandomState(1).random_sample((6, 5, 5)) + 0.1
    prior, confusion = aggregation.maximise(votes, posterior, believed, 0.7)
    new, likelihood = aggregation.expect(votes, prior, confusion)
    plain = one_step_plainly(votes, posterior, believed, 0.7)
    assert prior == pytest.approx(np.array(plain[0])) and new == pytest.approx(np.array(plain[2])) and likelihood == pytest.approx(plain[3])
    assert all(confusion[p, j] == pytest.approx(np.array(row)) for (p, j), row in plain[1].items())


# Made once with crowd-kit 1.4.2 (DawidSkene(n_iter=5000, tol=1e-13), whose M-step has no prior but a floor of 1e-10), krippendorff
# 0.9.0 and NumPy 2.4.6, on `make_crowd` of these arguments: right labels; sum of image number x label; shares of the classes; diagonal
# of the first person's confusion matrix; mean probability of the label; Krippendorff's alpha.
CROWD_KIT = {
    (0, 400, 10, 3, (0.8,) * 10): (
        362,
        160006,
        [0.235045, 0.183733, 0.158332, 0.217559, 0.205331],
        [0.842142, 0.790085, 0.793277, 0.898035, 0.709431],
        0.961498,
        0.539009017,
    ),
    (1, 400, 12, 5, (0.9,) * 4 + (0.5,) * 4 + (0.2,) * 4): (
        332,
        155114,
        [0.244811, 0.166666, 0.23066, 0.149511, 0.208352],
        [0.970689, 0.749547, 0.841979, 0.912576, 0.967855],
        0.945734,
        0.147445527,
    ),
    (6, 120, 8, 8, (0.7,) * 8): (
        115,
        14946,
        [0.150943, 0.207499, 0.266521, 0.158409, 0.216628],
        [0.723673, 0.558481, 0.562854, 0.631238, 0.807831],
        0.998053,
        0.390421366,
    ),
}


@pytest.mark.parametrize("arguments", CROWD_KIT, ids=["good", "mixed", "everybody"])
def test_dawid_skene_gives_what_crowd_kit_gives(arguments):
    right, checksum, prior, diagonal, certainty, alpha = CROWD_KIT[arguments]
    truth, votes = make_crowd(*arguments)
    nothing = np.full((len(votes.people), 5, 5), 1e-10)
    found = dawid_skene(votes, nothing, per_class=1e-10, tolerance=1e-9)
    label = found.posterior.argmax(1)
    assert ((label == truth).sum(), (label * np.arange(len(label))).sum()) == (right, checksum)
    assert found.prior == pytest.approx(prior, abs=2e-6) and np.diag(found.confusion[0]) == pytest.approx(diagonal, abs=2e-6)
    assert found.posterior.max(1).mean() == pytest.approx(certainty, abs=2e-6)
    assert agreement(votes, 5)["alpha"] == pytest.approx(alpha, abs=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_dawid_skene_beats_the_majority_where_many_are_bad(seed):
    truth, votes = make_crowd(seed, 400, 12, 5, [0.9] * 4 + [0.2] * 8)
    plain = majority(votes, 5, np.ones(12), seed).label
    found = dawid_skene(votes, np.tile(prior_counts(5), (12, 1, 1)))
    assert found.converged and (np.diff(found.objective) >= -1e-9).all()  # EM climbs
    assert (found.posterior.argmax(1) == truth).mean() > (plain == truth).mean() + 0.1
    accuracy = np.trace(found.confusion, axis1=1, axis2=2) / 5
    assert accuracy[:4].min() > accuracy[4:].max()


def test_what_people_did_on_the_test_helps_both_methods():
    truth, votes = make_crowd(5, 300, 12, 3, [0.9] * 4 + [0.2] * 8)
    seen = np.stack([np.full((5, 5), 4 * (1 - a) / 4) + np.eye(5) * (4 * a - (1 - a)) for a in [0.9] * 4 + [0.2] * 8])
    for method in ("majority", "dawid_skene"):
        right = [(aggregate(votes, 5, method, known, 0).label == truth).mean() for known in (0 * seen, seen)]
        assert right[1] > right[0]


def test_few_answers_do_not_mislead_dawid_skene():
    """Thirty answers from each of twenty people: without a prior EM finds confusions that nobody has."""
    truth, votes = make_crowd(2, 200, 20, 3, [0.6] * 20)
    right = (aggregate(votes, 5, "dawid_skene", np.zeros((20, 5, 5)), 0).label == truth).mean()
    bare = (dawid_skene(votes, np.full((20, 5, 5), 0.01), 0.01).posterior.argmax(1) == truth).mean()
    assert right > bare + 0.05


def test_many_answers_to_one_image_do_not_underflow():
    votes = votes_of([(image, person, image % 5) for image in range(5) for person in range(3000)])
    found = dawid_skene(votes, np.tile(prior_counts(5), (3000, 1, 1)))
    assert found.posterior.argmax(1).tolist() == [0, 1, 2, 3, 4] and np.isfinite(found.objective).all()


def test_agreement_by_hand():
    """The worked example of Krippendorff, Computing Krippendorff's Alpha-Reliability (2011): four observers, twelve units."""
    units = ["111", "2232", "3333", "3333", "2222", "1234", "4444", "1121", "2222", "555", "11", "3"]
    rows = [(unit, person, int(value) - 1) for unit, values in enumerate(units) for person, value in enumerate(values)]
    found = agreement(votes_of(rows), 5)
    assert found["alpha"] == pytest.approx(0.743, abs=5e-4)
    pairs = [[a == b for a, b in itertools.combinations(values, 2)] for values in units if len(values) > 1]
    assert found["raw"] == pytest.approx(np.mean([np.mean(equal) for equal in pairs]))


def test_agreement_that_says_nothing_is_none():
    assert agreement(votes_of([(0, 0, 1), (1, 1, 2)]), 5) == {"raw": None, "alpha": None}
    assert agreement(votes_of([(0, 0, 1), (0, 1, 1)]), 5) == {"raw": 1.0, "alpha": None}  # one class only: no chance to disagree
    _, votes = make_crowd(3, 4000, 3, 3, [0.2] * 3)
    assert abs(agreement(votes, 5)["alpha"]) < 0.03  # guessing


# --- simulated people ------------------------------------------------------------------------------------------------------------


def test_symmetric_people_are_right_as_often_as_stated():
    matrix = simulated.symmetric(0.6, 5)
    assert matrix.sum(1) == pytest.approx(1) and np.diag(matrix) == pytest.approx(0.6)
    truth = np.repeat(np.arange(5), 4000)
    answers = simulated.respond(truth, matrix, np.random.default_rng(0))
    counts = np.zeros((5, 5))
    np.add.at(counts, (truth, answers), 1 / 4000)
    assert np.abs(counts - matrix).max() < 4 * math.sqrt(0.24 / 4000)
    certain = np.eye(5)[[1, 1, 1, 4, 0]]
    assert (simulated.respond(truth, certain, np.random.default_rng(1)) == np.array([1, 1, 1, 4, 0])[truth]).all()


@pytest.mark.parametrize(("images", "people", "per_image"), [(50, 7, 3), (10, 4, 4), (9, 2, 5), (3, 8, 1)])
def test_everybody_gets_as_many_images_and_none_twice(images, people, per_image):
    shares = simulated.assign(images, people, per_image, np.random.default_rng(0))
    assert all(len(set(share)) == len(share) for share in shares)
    assert Counter(itertools.chain(*shares)) == dict.fromkeys(range(images), min(per_image, people))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_confusions_of_real_people_are_copied():
    answers = [Answer("a", "test", f"{t} {k}", k, None, t) for t in range(5) for k in (t, t, (t + 1) % 5)]
    expected = (2 * np.eye(5) + np.eye(5)[(np.arange(5) + 1) % 5]) / 3
    lessons = [Answer("a", "lesson", "x", 0, None, 3)] * 9
    assert simulated.estimated(answers + lessons, CLASSES) == pytest.approx(expected)
    with pytest.raises(InputError, match="nobody answered to an image of Tipped"):
        simulated.estimated(answers[:-3] + lessons, CLASSES)


def test_a_crowd_answers_as_the_page_records_it(key, tmp_path):
    matrices = [simulated.symmetric(1.0, 5), simulated.symmetric(0.0, 5), simulated.symmetric(1.0, 5)]
    made = [simulated.crowd(key, "toy", matrices, 2, seed) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    (tmp_path / "a.json").write_text(json.dumps(made[0]))
    answers = read_answers([tmp_path / "a.json"], key, 5)
    assert Counter(answer.phase for answer in answers) == {"test": 30, "label": 20}
    assert all((answer.response == answer.truth) == (answer.person != "p0002") for answer in answers)
    assert set(Counter(answer.image for answer in answers if answer.phase == "label").values()) == {2}
    trials = [trial for person in made[0]["participants"] for trial in person["trials"]]
    assert len({trial["trial_id"] for trial in trials}) == len(trials)
    for person in made[0]["participants"]:
        assert [trial["trial_index"] for trial in person["trials"]] == list(range(len(person["trials"])))
        assert [trial["time_elapsed"] for trial in person["trials"]] == np.cumsum([trial["rt"] for trial in person["trials"]]).tolist()
    contract = ["trial_id", "trial_index", "trial_type", "phase", "time_elapsed", "rt", "stimulus", "response", "build_id"]
    assert all(list(trial) == contract for trial in trials)


# --- the scripts -----------------------------------------------------------------------------------------------------------------


@pytest.fixture
def finished(data_root, tmp_path):
    """A folder in which a course on the toy moths was finished: the key of its page."""
    rows = {split: read_examples(data_root / f"toy/{name}.txt", 5) for split, name in (("test", "toy_gt_te"), ("label", "toy_gt_rest_tr"))}
    make_key(tmp_path / "toy/course_page_key.json", rows)
    return tmp_path


def data(data_root):
    return ["--dataset", "toy", "--data-root", data_root]


def ran(done):
    assert done.status == 0, done.err
    return done


@pytest.mark.parametrize("script", ["label_butterflies", "label_gull"])
def test_from_answers_to_a_list(tools, finished, data_root, script):
    people = ["--people", 8, "--labels-per-image", 3, "--accuracy", 1.0, 0.9, 0.9, 0.0]
    ran(tools.call("simulate_people", *data(data_root), *people, cwd=finished))
    key = read_key(finished / "toy/course_page_key.json", "toy", CLASSES)
    path = finished / "toy/answers_simulated.json"
    answers = json.loads(path.read_text())
    skipped = list(key.of_phase("label"))[:2]
    for person in answers["participants"]:  # two images that nobody came to
        person["trials"] = [trial for trial in person["trials"] if trial["stimulus"] not in skipped]
    path.write_text(json.dumps(answers))
    label = [script, *data(data_root), "--answers", "{out}/answers_simulated.json", "--min-accuracy", 0.5]
    runs = []
    for _ in range(2):
        done = ran(tools.call(*label, cwd=finished))
        runs.append(tools.snapshot(finished / "toy"))
    assert {name: digest for name, (_, digest) in runs[0].items() if not name.startswith("run_")} == {
        name: digest for name, (_, digest) in runs[1].items() if not name.startswith("run_")
    }
    assert "Labelled 18 of 20 images" in done.out
    rows = read_examples(finished / "toy/toy_turker_label_gt_CMaxGrad_labeled_tr.txt", 5)
    expert, rest = (read_examples(data_root / f"toy/toy_gt_{name}tr.txt", 5) for name in ("", "rest_"))
    assert [(row.path, row.label) for row in rows[:20]] == [(row.path, row.label) for row in expert]
    assert [row.path for row in rows[20:]] == [row.path for row in rest[2:]]
    assert [row.index for row in rows] == list(range(38))
    report = json.loads((finished / "toy/labels_CMaxGrad.json").read_text())
    assert (report["people"], report["people_left_out"], report["unlabelled_images"]) == (8, 2, 2)
    assert [person["kept"] for person in report["each"]] == [True, True, True, False] * 2
    assert [person["test_accuracy"] for person in report["each"]][0::4] == [100, 100]
    right = [row.label == true.label for row, true in zip(rows[20:], rest[2:], strict=True)]
    assert report["label"]["label_accuracy"] == pytest.approx(100 * np.mean(right), abs=1e-3)
    assert np.sum(report["label"]["confusion"]) == report["label"]["answers"] == sum(p["labels"] for p in report["each"] if p["kept"])
    table = list(csv.DictReader((finished / "toy/labels_CMaxGrad.csv").open()))
    assert {row["path"]: int(row["label"]) for row in table} == {row.path: row.label for row in rows[20:]}
    for ending in (".txt", "_confusion.png", "_people.png"):
        assert (finished / f"toy/labels_CMaxGrad{ending}").stat().st_size > 100


def test_the_report_says_what_is_left_out_and_why(tools, finished, data_root):
    ran(tools.call("simulate_people", *data(data_root), "--accuracy", 1, "--people", 3, cwd=finished))
    people = json.loads((finished / "toy/answers_simulated.json").read_text())["participants"]
    rows = [mturk_row(f"W{number}", one["trials"]) for number, one in enumerate(people)]
    batch(finished / "a.csv", rows[0], rows[1] | {"Reject": "x"}, rows[2], mturk_row("W0", people[0]["trials"][:0]))
    label = ["label_butterflies", *data(data_root)]
    done = ran(tools.call(*label, "--answers", "a.csv", cwd=finished))
    text, report = (finished / "toy/labels_CMaxGrad.txt").read_text(), json.loads((finished / "toy/labels_CMaxGrad.json").read_text())
    assert text in done.out and "\n1 row, rejected in the column Reject: W1 (a.csv, line " in text and "\n1 row, no answers: W0 (" in text
    assert report["left_out_of_the_files"] == {
        "rejected in the column Reject": {"rows": 1, "answers": 0},
        "no answers": {"rows": 1, "answers": 0},
    }
    assert [part["person"] for part in report["each_left_out"]] == ["W1", "W0"]
    assert [person["name"] for person in report["each"]] == ["W0", "W2"]
    ran(tools.call(*label, "--answers", "toy/answers_simulated.json", cwd=finished))
    assert "left_out_of_the_files" not in json.loads((finished / "toy/labels_CMaxGrad.json").read_text())


def test_perfect_labels_make_the_expert_s_list(tools, finished, data_root):
    for aggregated in ("majority", "dawid_skene"):
        ran(tools.call("simulate_people", *data(data_root), "--accuracy", 1, cwd=finished))
        label = ["--answers", "toy/answers_simulated.json", "--aggregation", aggregated, "--selection", "random"]
        ran(tools.call("label_butterflies", *data(data_root), *label, cwd=finished))
        rows = read_examples(finished / "toy/toy_turker_label_gt_random_labeled_tr.txt", 5)
        truth = [row for name in ("", "rest_") for row in read_examples(data_root / f"toy/toy_gt_{name}tr.txt", 5)]
        assert [(row.path, row.label) for row in rows] == [(row.path, row.label) for row in truth]


def test_names_of_the_lists():
    courses = ("butterflies_s300", "gull", "toy")
    names = {name: Layout(Path("o"), catalog.find(name).list_stem).labeled_list("CMaxGrad").stem for name in courses}
    assert names["butterflies_s300"] == "butterflies_turker_label_gt_s300_CMaxGrad_labeled_tr"
    for name, dataset in zip(names, ("butterflies_after_labeling", "gull_after_labeling", "toy_after_labeling"), strict=True):
        folder = catalog.find(name).out
        assert catalog.find(dataset).list_path("elsewhere", "train") == Path(folder) / f"{names[name]}.txt"
        assert catalog.find(dataset).list_path("elsewhere", "test") == catalog.find(name).list_path("elsewhere", "test")
        assert catalog.find(dataset).out == dataset  # the teacher's files in the course's folder stay


def test_logs_without_labels_make_a_report_alone(tools, tmp_path, data_root):
    (tmp_path / "results.json").write_text(json.dumps([explain_teach_log()]))
    done = ran(tools.call("label_butterflies", *data(data_root), "--answers", "results.json", cwd=tmp_path))
    assert "Nobody labelled an image" in done.out and "strict" in done.out
    assert not list(tmp_path.glob("toy/*_labeled_tr.txt"))
    assert json.loads((tmp_path / "toy/labels_CMaxGrad.json").read_text())["groups"] == {"strict": {"people": 1, "test_accuracy": 50.0}}


def test_what_label_scripts_refuse(tools, finished, data_root):
    ran(tools.call("simulate_people", *data(data_root), "--accuracy", 0.3, "--people", 2, cwd=finished))
    answers = ["--answers", "toy/answers_simulated.json"]
    before = tools.snapshot(finished)
    for wrong, message in (
        ([*answers, "--min-accuracy", 0.9], "--min-accuracy 0.9: none of 2 people"),
        ([*answers, "--min-accuracy", 1.5], "--min-accuracy 1.5 must lie in 0 .. 1"),
        ([*answers, "--key", "none.json"], "reading it needs the page's key, but none.json does not exist; correct --key"),
        (["--answers", "none.json"], "There is no file none.json"),
        ([], "There is no file toy/answers.json"),
    ):
        done = tools.call("label_gull", *data(data_root), *wrong, cwd=finished)
        assert done.status == 2 and message in done.err and "Traceback" not in done.err
    done = tools.call("label_butterflies", "--dataset", "gull_standin", "--data-root", data_root, *answers, cwd=finished)
    assert done.status == 2 and "gull_standin" in done.err
    after = tools.snapshot(finished)
    assert {name: entry[1] for name, entry in after.items() if name in before} == {name: entry[1] for name, entry in before.items()}


def test_a_network_is_one_person(tools, finished, data_root):
    torch.manual_seed(3)
    network = build("resnet18", 5)
    content = {"arch": network.arch, "state_dict_m": network.state_dict(), "classes": list(CLASSES)}
    checkpoints.save(finished / "network.pth.tar", content)
    look = ["--who", "network", "--checkpoint", "network.pth.tar", "--image-size", tools.size, "--device", "cpu", "--workers", 1]
    ran(tools.call("simulate_people", *data(data_root), *look, cwd=finished))
    key = read_key(finished / "toy/course_page_key.json", "toy", CLASSES)
    answers = read_answers([finished / "toy/answers_simulated.json"], key, 5)
    assert len(answers) == 35 and {answer.person for answer in answers} == {"p0001"}
    network.eval()
    for answer in answers[::6]:
        pixels = eval_view(decode(locate(answer.image, data_root), ""), tools.size)
        assert answer.response == network(pixels[None] / 255).logits.argmax().item()


def test_simulated_people_may_confuse_what_real_people_confused(tools, finished, data_root):
    logs = [explain_teach_log(gt_label=[t] * 3, response=[(t + 1) % 5] * 3, _id={"$oid": str(t)}) for t in range(5)]
    (finished / "results.json").write_text(json.dumps(logs))
    real = ["--who", "confusion", "--confusion-of", "results.json", "--people", 4]
    ran(tools.call("simulate_people", *data(data_root), *real, cwd=finished))
    key = read_key(finished / "toy/course_page_key.json", "toy", CLASSES)
    answers = read_answers([finished / "toy/answers_simulated.json"], key, 5)
    assert all(answer.response == (answer.truth + 1) % 5 for answer in answers)


TRAINING = ["--epochs", 1, "--batch-size", 20, "--lr", 0.01, "--milestones", 1, "--workers", 1, "--device", "cpu", "--image-size", 64]


def measured(folder, script):
    """What a run wrote down."""
    return json.loads((folder / f"run_{script}.json").read_text())["measured"]


def test_the_classifier_learns_from_the_list_and_the_study_agrees(tools, finished, data_root, weights):
    """The study's classifiers are those that the training script makes of the same labels, to the last digit."""
    teacher, start = "train_butterflies_resnet18", ["--data-root", data_root, "--pretrained", weights, *TRAINING]
    ran(tools.call("simulate_people", *data(data_root), "--accuracy", 1, cwd=finished))
    ran(tools.call("label_butterflies", *data(data_root), "--answers", "toy/answers_simulated.json", cwd=finished))
    ran(tools.call(teacher, "--dataset", "toy_after_labeling", *start, cwd=finished))
    ran(tools.call(teacher, "--dataset", "toy", *start, "--out", "alone", cwd=finished))
    study_settings = ["--classifier", "finetune", "--accuracy", 1, "--repeats", 1, *start]
    ran(tools.call("study_annotators", "--dataset", "toy", *study_settings, cwd=finished))
    found = measured(finished / "toy", "study_annotators")
    alone, after = (measured(finished / folder, teacher)["test_accuracy"] for folder in ("alone", "toy_after_labeling"))
    assert (found["expert_alone"], found["annotators"]) == (round(alone, 2), {"1": round(after, 2)})
    list_of = ["--train-list", "toy/toy_turker_label_gt_CMaxGrad_labeled_tr.txt"]
    ran(tools.call("train_gull_resnet18_linear", "--dataset", "toy", *list_of, *start, "--out", "linear", cwd=finished))
    shutil.rmtree(finished / "toy")
    done = tools.call(teacher, "--dataset", "toy_after_labeling", *start, cwd=finished)
    assert done.status == 2 and "toy/toy_turker_label_gt_CMaxGrad_labeled_tr.txt does not exist" in done.err


def test_the_study_draws_labels_of_the_accuracy_asked_for(data_root):
    rest = read_examples(data_root / "toy/toy_gt_rest_tr.txt", 5) * 200
    for quality, per_image, expected in ((0.2, 1, 0.2), (0.7, 1, 0.7), (0.7, 3, 0.7**3 + 3 * 0.7**2 * 0.3 + 0.7 * 0.3**2 * 3 * 0.75 / 3)):
        drawn = study.simulated_labels(rest, 5, quality, per_image, 0)
        right = np.mean([row.label == true.label for row, true in zip(drawn, rest, strict=True)])
        # three people: two or more right, or one right and the others wrong in two ways (3/4), of which a draw finds the right one (1/3)
        assert right == pytest.approx(expected, abs=0.03)
        assert [row.path for row in drawn] == [row.path for row in rest]
    assert study.plan((0.8, 0.2), 2, 7) == [(q, s) for q in (None, 0.2, 0.8, 1.0) for s in (7, 8)]


def test_the_study_by_linear_probe(tools, tmp_path, data_root, weights):
    settings = ["--data-root", data_root, "--pretrained", weights, "--image-size", 64, "--workers", 1, "--device", "cpu"]
    probe = ["--probe-epochs", 3, "--accuracy", 0.2, 0.6, "--repeats", 2]
    for out in ("one", "two"):
        ran(tools.call("study_annotators", "--dataset", "toy", *settings, *probe, "--out", out, cwd=tmp_path))
    rows = list(csv.DictReader((tmp_path / "one/study_annotators.csv").open()))
    assert [row["annotator_accuracy"] for row in rows] == ["", "", "0.2", "0.2", "0.6", "0.6", "1.0", "1.0"]
    assert [row["label_accuracy"] for row in rows[-2:]] == ["100.0", "100.0"]
    for name in ("study_annotators.csv", "study_annotators.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    done = tools.call("study_annotators", "--dataset", "chinese_chars", *settings, *probe, cwd=tmp_path)
    assert done.status == 2 and "has no rest list; choose one that has: butterflies_s300, gull, toy" in done.err
