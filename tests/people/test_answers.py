"""Answer files of all formats: the page's, the server's, Mechanical Turk's, and those of explain_teach."""

import itertools
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.answering import CLASSES, batch, csv_text, download, explain_teach_log, export, make_trial, mturk_row
from utils.base.errors import InputError
from utils.people.aggregation import Aggregator
from utils.people.answers import Answer, read_answers, read_teaching_images
from utils.people.labelling import aggregate_parts, describe_all
from utils.people.page_key import Key, read_key

NO_KEY = Key("", "", "", CLASSES, {})  # enough for the logs of explain_teach
SHARED = Path(__file__).resolve().parents[3] / "shared/data"


def labels_of(key, person, number=2):
    return [make_trial(key, "label", place, place % 5, person) for place in range(number)]


def saved(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def counted(paths, key):
    """Returns the number of answers by person; and person, first words of the reason and number of those left out."""
    answers, left_out = read_answers(paths, key)
    reasons = [(one.person, " ".join(one.reason.split()[:3]), one.answers) for one in left_out]
    return dict(Counter(answer.person for answer in answers)), reasons


def test_every_format_gives_the_same_answers(key, trials, tmp_path):
    rows = [{"participant": "ann"} | {"correct": ""} | trial for trial in trials]
    texts = {
        "download.json": json.dumps(download(trials)),
        "export.json": json.dumps(export({"ann": trials})),
        "export.csv": csv_text(rows),
        "batch.csv": "\ufeff" + csv_text([mturk_row("ann", trials), mturk_row("bob", trials, "Rejected")]),
    }
    for separator in ";\t":
        batch(tmp_path / "batch.csv", mturk_row("ann", trials), delimiter=separator)
        texts[f"batch{ord(separator)}.csv"] = "\ufeff" + (tmp_path / "batch.csv").read_text()
    expected = [
        Answer("ann", "lesson", "./datasets/toy/images/lesson0.png", 1, 1.2345, 0),
        Answer("ann", "test", "./datasets/toy/images/test3.png", 3, 1.2345, 3),
        Answer("ann", "label", "./datasets/toy/images/label9.png", 0, 1.2345, 4),
    ]
    files = [saved(tmp_path / name, text) for name, text in texts.items()]
    for paths in (*([path] for path in files), files):  # the same trials again count once
        assert read_answers(paths, key)[0] == expected, paths


# ---------------------------------------------------------------- Mechanical Turk


def test_rejections_count_in_both_columns_and_in_all_files(key, tmp_path):
    rows = [mturk_row(f"W{number}", labels_of(key, f"W{number}")) for number in range(5)]
    decisions = [{"Approve": "x"}, {"Reject": "x"}, {"Reject": " Clicked "}, {"AssignmentStatus": "Rejected"}, {}]
    reviewed = batch(tmp_path / "a.csv", *(row | one for row, one in zip(rows, decisions, strict=True)))
    kept, left_out = counted([reviewed], key)
    assert kept == {"W0": 2, "W4": 2}
    assert left_out == [(f"W{number}", "rejected on Mechanical", 1) for number in (1, 2, 3)]
    before = batch(tmp_path / "b.csv", *rows)
    for paths in ([before, reviewed], [reviewed, before]):
        kept, left_out = counted(paths, key)
        assert kept == {"W0": 2, "W4": 2} and len(left_out) == 6


def test_rows_without_answers_are_counted(key, tmp_path):
    empty = [mturk_row(f"W{number}", []) | {"Answer.trials": cell} for number, cell in enumerate(("", "  ", "[]"))]
    kept, left_out = counted([batch(tmp_path / "a.csv", mturk_row("ann", labels_of(key, "ann")), *empty)], key)
    assert kept == {"ann": 2} and left_out == [(f"W{number}", "no answers", 1) for number in range(3)]
    with pytest.raises(InputError, match=r"b.csv count \(.*b.csv, row 2: no answers\). Check --answers"):
        read_answers([batch(tmp_path / "b.csv", empty[0])], key)


def test_rows_without_a_worker_are_people_of_their_own(key, tmp_path):
    rows = [mturk_row("", labels_of(key, name)) | {"AssignmentId": name} for name in ("A1", "A2")]
    path = batch(tmp_path / "a.csv", *rows)
    anonymous = csv_text([{name: cell for name, cell in row.items() if name != "WorkerId"} for row in rows])
    for paths in ([path], [path, saved(tmp_path / "b.csv", anonymous)]):
        assert counted(paths, key) == ({"assignment A1": 2, "assignment A2": 2}, [])


# ---------------------------------------------------------------- who is who


def test_numbers_of_two_exports_are_two_people_unless_they_share_a_trial(key, tmp_path):
    ann, bob = labels_of(key, "ann"), [make_trial(key, "label", 0, 2, "bob")]
    early = saved(tmp_path / "early.json", export({"p0001": ann[:1]}))
    late = saved(tmp_path / "late.json", export({"p0001": bob, "p0002": ann}))  # numbers change when people join
    other = saved(tmp_path / "other.json", download(ann, "00ff"))
    assert counted([early, late, other], key) == ({"p0001": 2, f"p0001 ({late})": 1}, [])


def test_a_worker_is_one_person_in_all_batches(key, tmp_path):
    """Two assignments with answers to the same images, and a download of the second, in any order: the first counts."""
    first, second = ([make_trial(key, phase, 3, n, f"{n}") for phase in ("test", "label")] for n in (0, 1))
    both = batch(tmp_path / "b.csv", mturk_row("W", first), mturk_row(" W ", second) | {"AssignmentId": "B2"})
    mine = saved(tmp_path / "d.json", download(second, "00ff"))
    for paths in itertools.permutations([both, mine]):
        assert counted(paths, key) == ({"W": 2}, [("W", "answered again by", 2)])
        assert [answer.response for answer in read_answers(paths, key)[0]] == [0, 0]


def test_an_export_joins_two_downloads_of_one_person(key, tmp_path):
    ann, bob = labels_of(key, "ann"), [make_trial(key, "label", 0, 3, "bob")]
    contents = (download(ann[:1], "aa"), download(ann[1:], "bb"), export({"p0001": ann, "p0002": bob}))
    files = [saved(tmp_path / f"{number}.json", content) for number, content in enumerate(contents)]
    for paths in itertools.permutations(files):
        assert counted(paths, key) == ({"p0001": 2, "p0002": 1}, [])


def test_two_workers_who_submit_the_same_are_two_people(key, tmp_path):
    """Otherwise all answers of the second would be the first's. A download of the same trials joins the first."""
    same = labels_of(key, "same")
    one = batch(tmp_path / "one.csv", mturk_row("W1", same))
    two = batch(tmp_path / "two.csv", mturk_row("W2", [*same, make_trial(key, "label", 5, 1, "own")]))
    mine = saved(tmp_path / "mine.json", download(same, "00ff"))
    for paths in ([one, two, mine], [mine, one, two]):
        assert counted(paths, key) == ({"W1": 2, "W2": 1}, [("W2", "already submitted by", 2)])


def test_people_are_left_out_by_their_names_in_the_report(key, tmp_path):
    ann = labels_of(key, "ann", 3)
    rows = mturk_row("W1", ann), mturk_row("W2", [*ann, *labels_of(key, "bob", 1)])
    files = [batch(tmp_path / "batch.csv", *rows)]
    for number, name in enumerate(("one", "other")):
        files.append(saved(tmp_path / name, export({"p0001": [make_trial(key, "test", number, 1, name)]})))

    def left(*names):
        answers, left_out = read_answers(files, key, names)
        gone = {one.person: one.answers for one in left_out if one.reason == "left out by --leave-out"}
        return Counter(answer.person for answer in answers), gone

    other = f"p0001 ({files[2]})"
    assert left() == ({"W1": 3, "W2": 1, "p0001": 1, other: 1}, {})
    assert left("W1") == ({"W2": 1, "p0001": 1, other: 1}, {"W1": 3})  # W2 did not give W1's answers
    assert left(other, "W2") == ({"W1": 3, "p0001": 1}, {"W2": 1, other: 1})
    with pytest.raises(InputError, match=r"^--leave-out W4: no such person. Choose from W1, W2, p0001, p0001 \("):
        left("W1", "W4")


# ---------------------------------------------------------------- explain_teach


def test_explain_teach_logs(tmp_path):
    path = saved(tmp_path / "results.json", [explain_teach_log()])
    assert read_answers([path], NO_KEY)[0] == [
        Answer("5a09", "lesson", "image 184", 1, None, 4, "strict"),
        Answer("5a09", "test", "image 417", 1, 8.0, 1, "strict"),
        Answer("5a09", "test", "image 1600", 0, 5.0, 2, "strict"),  # over midnight
    ]


def test_published_means_of_explain_teach():
    """Mean test accuracies of Mac Aodha et al. (CVPR 2018) on butterflies, and the classes of images in their table."""
    folder = SHARED / "explain_teach/butterflies_crop"
    if not folder.exists():
        pytest.skip(f"the public logs are not at {folder}")
    answers, groups = read_answers([folder / "results.json"], NO_KEY)[0], {}
    for person in describe_all(answers, 0):
        groups.setdefault(person.group, []).append(person.test_accuracy)
    assert {name: (len(values), round(float(np.mean(values)), 2)) for name, values in groups.items()} == {
        "random": (49, 65.20),
        "random_feedback": (39, 67.31),
        "strict_1vall": (39, 65.00),
        "explain_1vall": (33, 68.33),
    }
    classes = ("CabbageWhite", "Monarch", "Queen", "RedAdmiral", "Viceroy")
    images = read_teaching_images(folder / "teaching_images.json", classes)
    assert all(images[int(answer.image.removeprefix("image "))][1] == answer.truth for answer in answers)


def test_contradictory_truths_are_unknown(tmp_path):
    """Some characters of explain_teach have two classes in the logs."""
    logs = [explain_teach_log(_id={"$oid": "a"}), explain_teach_log(_id={"$oid": "b"}, gt_label=[4, 3, 2])]
    answers, _ = read_answers([saved(tmp_path / "results.json", logs)], NO_KEY)
    part = aggregate_parts(answers, describe_all(answers, 0), NO_KEY, Aggregator("majority", 0))["test"]
    assert (part.votes.images, part.truth.tolist()) == (["image 1600", "image 417"], [2, -1])


# ---------------------------------------------------------------- errors

WRONG_TRIALS = {
    r"class 5 is not in 0 \.\. 4": {"response": 5},
    "class True is not in": {"response": True},
    "rt -1 ": {"rt": -1},
    "has no test image '00'. Check --key": {"stimulus": "00"},
    "invalid trial_id .*, phase 'lunch'": {"phase": "lunch"},
    r"invalid trial_id '1E\+31'.*Export the answers again": {"trial_id": "1E+31"},
    "build_id None": {"build_id": None},
}


@pytest.mark.parametrize("message", WRONG_TRIALS)
def test_wrong_trials_are_named(key, tmp_path, message):
    wrong = make_trial(key, "test", 1, 1) | WRONG_TRIALS[message]
    for content in (download, lambda trials: export({"ann": trials})):
        path = saved(tmp_path / "a.json", content([make_trial(key, "test", 0, 1), wrong]))
        with pytest.raises(InputError, match=rf"a.json.*\(ann\), trial 2.*{message}"):
            read_answers([path], key)


def test_answers_to_another_build_are_counted(key, tmp_path):
    """The page was built again while answers came in; the new key does not contain the images of the earlier build."""
    own = [make_trial(key, "test", number, 1) for number in range(2)]
    other = [make_trial(key, "label", n, 9, "bob", build_id="fedc", stimulus="0" * 16) for n in range(3)]
    rows = [{"participant": "p0001"} | trial for trial in [*other, *own]]
    for content in (export({"p0001": [*other, *own]}), csv_text(rows)):
        answers, left_out = read_answers([saved(tmp_path / "a", content)], key)
        assert len(answers) == 2 and [one.answers for one in left_out] == [3]
        assert left_out[0].reason == "from build 'fedc' of the page"
    with pytest.raises(InputError, match=r"count \(.*build 'fedc' of the page\). Check --answers and --key"):
        read_answers([saved(tmp_path / "d.json", download(other))], key)


TURK = "AssignmentId,WorkerId,Answer.trials\n"
WRONG_FILES = {
    "unknown format": ("unknown format", {"a": 1}),
    "no list": ("participant number 1 .*: expected a list of trials", {"participants": [{"participant": "p"}]}),
    "no participant": ("participant number 1: expected an object", {"participants": [{"trials": {}}]}),
    "not JSON": ("is not valid JSON", '{"participants": ['),
    "too deep": ("is not valid JSON", "[" * 100_000),
    "empty": ("unknown format", ""),
    "CSV fields": ("row 3: expected 3 fields", TURK + "1,2,[]\n3\n"),
    "CSV trials": ("row 2: Answer.trials is not valid JSON", TURK + "1,2,{\n"),
    "log lengths": ("log 1: expected _id and equally long", [explain_teach_log(response=[1])]),
    "log response": ("answer 3: class 9 is not in", [explain_teach_log(response=[1, 1, 9])]),
    "log time": ("log 1: .*25:00:00", [explain_teach_log(time=["23:00:00", "25:00:00", "23:00:00"])]),
}


@pytest.mark.parametrize("case", WRONG_FILES)
def test_wrong_files_are_named(key, tmp_path, case):
    message, content = WRONG_FILES[case]
    with pytest.raises(InputError, match=rf"answers.*{message}"):
        read_answers([saved(tmp_path / "answers", content)], key)


def test_page_answers_need_the_right_key(key, tmp_path, trials):
    path = saved(tmp_path / "a.json", download(trials))
    with pytest.raises(InputError, match=r"a.json.*this needs the key of the course page"):
        read_answers([path], NO_KEY)
    for dataset, classes in (("gull", CLASSES), ("toy", CLASSES[::-1])):
        with pytest.raises(InputError, match="course_page_key.json"):
            read_key(key.path, dataset, classes)
