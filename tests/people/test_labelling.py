"""The scripts about people's labels: from answers to a list and a report, and a classifier that learns from the list."""

import csv
import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch

from models.resnet import build
from models.weights import save_checkpoint
from tests.helpers.answering import CLASSES, batch, explain_teach_log, make_key, mturk_row
from utils.base import figures
from utils.data import catalog
from utils.data.images import decode, eval_view
from utils.data.lists import locate, read_examples
from utils.data.outputs import Layout
from utils.people import study
from utils.people.aggregation import AGGREGATIONS
from utils.people.answers import read_answers
from utils.people.labelling import Person, aggregate_part, describe_all, seen_by_person
from utils.people.page_key import read_key
from utils.people.participants import Answer
from utils.people.report import people_accuracy


@pytest.fixture
def finished(data_root, tmp_path):
    """A folder in which a course on the toy moths was finished: the key of its page."""
    rows = {
        split: read_examples(data_root / f"toy/{name}.txt", 5)
        for split, name in (("test", "toy_gt_te"), ("label", "toy_gt_rest_tr"))
    }
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
    assert "Labelled 18 of 20 images" in done.out and "is unknown" not in done.out
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
    assert (
        np.sum(report["label"]["confusion"])
        == report["label"]["answers"]
        == sum(p["labels"] for p in report["each"] if p["kept"])
    )
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
    text, report = (
        (finished / "toy/labels_CMaxGrad.txt").read_text(),
        json.loads((finished / "toy/labels_CMaxGrad.json").read_text()),
    )
    assert (
        text in done.out
        and "\n1 row, rejected in the column Reject: W1 (a.csv, line " in text
        and "\n1 row, no answers: W0 (" in text
    )
    assert report["left_out_of_the_files"] == {
        "rejected in the column Reject": {"rows": 1, "answers": 0},
        "no answers": {"rows": 1, "answers": 0},
    }
    assert [part["person"] for part in report["each_left_out"]] == ["W1", "W0"]
    assert [person["name"] for person in report["each"]] == ["W0", "W2"]
    ran(tools.call(*label, "--answers", "toy/answers_simulated.json", cwd=finished))
    assert "left_out_of_the_files" not in json.loads((finished / "toy/labels_CMaxGrad.json").read_text())


def without(path, name):
    """Takes a participant out of an export, as if nobody of that name had come; the others keep their names."""
    content = json.loads(path.read_text())
    content["participants"] = [one for one in content["participants"] if one["participant"] != name]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("script", ["label_butterflies", "label_gull"])
def test_who_is_left_out_is_as_if_never_there(tools, finished, data_root, script):
    """But for a line in the report: lists, tables and figures are those of answers without them."""
    ran(
        tools.call(
            "simulate_people", *data(data_root), "--people", 5, "--accuracy", 0.8, "--labels-per-image", 3, cwd=finished
        )
    )
    answers = finished / "toy/answers_simulated.json"
    given = {one["participant"]: len(one["trials"]) for one in json.loads(answers.read_text())["participants"]}
    label = [script, *data(data_root), "--answers", "toy/answers_simulated.json"]
    done = ran(tools.call(*label, "--leave-out", "p0002", "p0005", cwd=finished))
    counted = given["p0002"] + given["p0005"]
    told = f"{counted} answers, left out by --leave-out: p0002 (toy/answers_simulated.json, participant number 2 (p0002)), p0005 ("
    text = (finished / "toy/labels_CMaxGrad.txt").read_text()
    assert told in done.out and told in text and "3 people, 0 left out; see below" in text
    report = json.loads((finished / "toy/labels_CMaxGrad.json").read_text())
    reason = "left out by --leave-out"
    assert report["left_out_of_the_files"] == {reason: {"rows": 0, "answers": counted}}
    assert [(part["person"], part["answers"]) for part in report["each_left_out"]] == [
        (name, given[name]) for name in ("p0002", "p0005")
    ]
    made = {
        path.name: path.read_bytes()
        for path in (finished / "toy").glob("*")
        if path.name.startswith(("labels_", "toy_"))
    }
    for name in ("p0002", "p0005"):
        without(answers, name)
    ran(tools.call(*label, cwd=finished))
    for name, content in made.items():
        if not name.endswith((".txt", ".json")) or name.endswith("_tr.txt"):
            assert (finished / "toy" / name).read_bytes() == content, name
    plain = json.loads((finished / "toy/labels_CMaxGrad.json").read_text())
    assert {
        name: value for name, value in report.items() if name not in ("left_out_of_the_files", "each_left_out")
    } == plain


def test_many_people_and_classes_fit_in_memory():
    """A table of 1,000 by 1,000 classes for each of 100 people would take 800 MB; what they answered takes next to nothing."""
    people = [f"p{number:03d}" for number in range(100)]
    known = [Answer(name, "test", f"test {n}", (n * n) % 1000, None, n) for name in people for n in range(10)]
    asked = [
        Answer(name, "label", f"image {n}", (7 * n + place % 2) % 1000, None, None)
        for place, name in enumerate(people)
        for n in range(5)
    ]
    for method in ("majority", "one_coin"):
        tracemalloc.start()
        part = aggregate_part(asked, known, 1000, method, 0)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 50e6 and part.votes.people == people
        assert set(part.labels.label.tolist()) <= {7 * n + more for n in range(5) for more in (0, 1)}


def test_what_is_seen_of_people_by_hand():
    """Two people in three classes; of a third, who labelled nothing, and of images whose class is unknown, nothing counts."""
    given = [("b", 2, 1), ("a", 0, 0), ("b", 2, 1), ("b", 1, 1), ("c", 0, 0), ("a", None, 2)]
    answers = [
        Answer(name, "test", f"image {n}", response, None, truth) for n, (name, truth, response) in enumerate(given)
    ]
    seen = seen_by_person(answers, ["a", "b", "d"], 3).toarray()
    assert seen.tolist() == [[1, 0, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 0, 2, 0], [0] * 9]


def test_who_is_exactly_as_right_as_asked_for_is_kept():
    """Of all shares of up to 50 answers; the next larger number asks for more."""
    for total in range(1, 51):
        for right in range(1, total + 1):
            answers = [Answer("ann", "test", f"image {n}", int(n < right), None, 1) for n in range(total)]
            asked = [right / total, np.nextafter(right / total, 2), np.nextafter(right / total, 0)]
            assert [describe_all(answers, share)[0].kept for share in asked] == [True, False, True], (right, total)
            assert describe_all(answers, 0.55)[0].kept == (20 * right >= 11 * total), (right, total)


def test_labels_of_another_course_are_refused(tools, finished, data_root):
    """The key names its course; logs of explain_teach, which are of none, and keys that name none pass."""
    ran(tools.call("simulate_people", *data(data_root), "--accuracy", 1, "--people", 2, cwd=finished))
    path, label = finished / "toy/course_page_key.json", ["label_gull", *data(data_root), "--answers"]
    key = json.loads(path.read_text())
    path.write_text(json.dumps(key | {"selection": "random", "simclr": False}))
    done = tools.call(*label, "toy/answers_simulated.json", cwd=finished)
    assert done.status == 2 and done.err.strip().endswith(
        "--selection CMaxGrad: these answers were given on the page of the course random, as toy/course_page_key.json tells; give "
        "--selection random."
    )
    assert not list(finished.glob("toy/labels_*")) and not list(finished.glob("toy/*_tr.txt"))
    ran(tools.call(*label, "toy/answers_simulated.json", "--selection", "random", cwd=finished))
    assert "simclr" not in json.loads((finished / "toy/labels_random.json").read_text())
    (finished / "results.json").write_text(json.dumps([explain_teach_log()]))
    ran(tools.call(*label, "results.json", cwd=finished))
    path.write_text(json.dumps(key | {"selection": "random", "simclr": True}))
    done = ran(tools.call(*label, "toy/answers_simulated.json", "--selection", "random", cwd=finished))
    assert "toy, random of the SimCLR variant, majority: 2 people" in done.out
    assert json.loads((finished / "toy/labels_random.json").read_text())["simclr"] is True


def test_labels_of_an_earlier_run_go_with_it(tools, finished, data_root):
    ran(tools.call("simulate_people", *data(data_root), "--accuracy", 1, cwd=finished))
    label = ["label_butterflies", *data(data_root), "--answers"]
    ran(tools.call(*label, "toy/answers_simulated.json", cwd=finished))
    gone = [finished / "toy/toy_turker_label_gt_CMaxGrad_labeled_tr.txt", finished / "toy/labels_CMaxGrad.csv"]
    assert all(path.exists() for path in gone)
    (finished / "results.json").write_text(json.dumps([explain_teach_log()]))
    done = ran(tools.call(*label, "results.json", cwd=finished))
    assert "so no list is written, and that of an earlier run is removed; the report" in done.out
    assert not any(path.exists() for path in gone)
    assert json.loads((finished / "toy/labels_CMaxGrad.json").read_text())["list"] is None
    done = ran(tools.call(*label, "results.json", cwd=finished))
    assert "so no list is written; the report" in done.out


def test_labels_of_people_who_are_not_kept_are_not_nobody_s(tools, finished, data_root):
    """One who passed the test and stopped there, one who failed it and labelled."""
    ran(tools.call("simulate_people", *data(data_root), "--people", 2, "--accuracy", 1, 0, cwd=finished))
    path = finished / "toy/answers_simulated.json"
    answers = json.loads(path.read_text())
    good = answers["participants"][0]
    good["trials"] = [trial for trial in good["trials"] if trial["phase"] == "test"]
    path.write_text(json.dumps(answers))
    label = ["label_butterflies", *data(data_root), "--answers", "toy/answers_simulated.json"]
    assert "Labelled" in ran(tools.call(*label, cwd=finished)).out
    done = ran(tools.call(*label, "--min-accuracy", 0.6, cwd=finished))
    told = "None of those who labelled reached --min-accuracy 0.6, so no list is written, and that of an earlier run is removed;"
    assert told in done.out and "Nobody" not in done.out


def test_a_model_of_more_numbers_than_answers_is_warned_of(tools, finished, data_root):
    """Ten people give 15 answers to the test and 2 labels each, one gives 15 and 20: a confusion matrix has 20 numbers."""
    told = "--aggregation dawid_skene estimates 20 numbers of each person, who gave 17.0 answers on average, and may label worse"
    for people, method, warned in ((10, "dawid_skene", True), (1, "dawid_skene", False), (10, "one_coin", False)):
        ran(tools.call("simulate_people", *data(data_root), "--people", people, "--labels-per-image", 1, cwd=finished))
        answers = ["--answers", "toy/answers_simulated.json", "--aggregation", method]
        done = ran(tools.call("label_gull", *data(data_root), *answers, cwd=finished))
        assert done.out.count(f"warning: {told}") == done.out.count("--aggregation dawid_skene") == warned
        assert (finished / "toy/labels_CMaxGrad.txt").read_text().count(told) == warned
        report = json.loads((finished / "toy/labels_CMaxGrad.json").read_text())
        assert report.get("warnings", []) == measured(finished / "toy", "label_gull").get("warnings", [])
        assert len(report.get("warnings", [])) == warned and report["aggregation"] == method


def test_nobody_hides_behind_the_legend(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "save", lambda path, figure: drawn.append(figure) or figure.canvas.draw())
    people = [Person(f"p{n}", "", True, 20, 100.0, 9, 100.0, 3.0) for n in range(30)]
    people_accuracy(tmp_path / "people.png", people, 0.6, 20.0)
    assert not drawn[0].legends[0].get_window_extent().overlaps(drawn[0].axes[0].get_window_extent())


def test_perfect_labels_make_the_expert_s_list(tools, finished, data_root):
    for aggregated in AGGREGATIONS:
        ran(tools.call("simulate_people", *data(data_root), "--accuracy", 1, cwd=finished))
        label = ["--answers", "toy/answers_simulated.json", "--aggregation", aggregated, "--selection", "random"]
        ran(tools.call("label_butterflies", *data(data_root), *label, cwd=finished))
        rows = read_examples(finished / "toy/toy_turker_label_gt_random_labeled_tr.txt", 5)
        truth = [row for name in ("", "rest_") for row in read_examples(data_root / f"toy/toy_gt_{name}tr.txt", 5)]
        assert [(row.path, row.label) for row in rows] == [(row.path, row.label) for row in truth]


@pytest.mark.parametrize(("known", "sentence"), [(0, "no accuracy can be told"), (6, "accuracies are of the others")])
def test_the_report_says_what_it_cannot_measure(tools, finished, data_root, known, sentence):
    """The truth of `known` of 20 images is known to the page; people answered when all were."""
    ran(tools.call("simulate_people", *data(data_root), "--accuracy", 0.7, "--people", 6, cwd=finished))
    path = finished / "toy/course_page_key.json"
    key = json.loads(path.read_text())
    asked = [image for image in key["images"].values() if image["phase"] == "label"]
    for image in asked[known:]:
        image["label"] = None
    path.write_text(json.dumps(key))
    done = ran(
        tools.call("label_butterflies", *data(data_root), "--answers", "toy/answers_simulated.json", cwd=finished)
    )
    assert f"The true class of {20 - known} of 20 images of the label part is unknown: {sentence}." in done.out
    report = json.loads((finished / "toy/labels_CMaxGrad.json").read_text())
    table = {row["path"]: row for row in csv.DictReader((finished / "toy/labels_CMaxGrad.csv").open())}
    assert sum(row["truth"] == "" for row in table.values()) == 20 - known
    right = [int(table[image["path"]]["label"]) == image["label"] for image in asked[:known]]
    assert report["label"]["label_accuracy"] == (pytest.approx(100 * np.mean(right), abs=1e-3) if known else None)


def test_names_of_the_lists():
    courses = ("butterflies_s300", "gull", "toy")
    names = {name: Layout(Path("o"), catalog.find(name).list_stem).labeled_list("CMaxGrad").stem for name in courses}
    assert names["butterflies_s300"] == "butterflies_turker_label_gt_s300_CMaxGrad_labeled_tr"
    for name, dataset in zip(
        names, ("butterflies_after_labeling", "gull_after_labeling", "toy_after_labeling"), strict=True
    ):
        folder = catalog.find(name).out
        assert (
            catalog.find(dataset, selection="CMaxGrad").list_path("elsewhere", "train")
            == Path(folder) / f"{names[name]}.txt"
        )
        assert catalog.find(dataset, selection="CMaxGrad").list_path("elsewhere", "test") == catalog.find(
            name
        ).list_path("elsewhere", "test")
        assert (
            catalog.find(dataset, selection="CMaxGrad").out == dataset
        )  # the teacher's files in the course's folder stay


def test_logs_without_labels_make_a_report_alone(tools, tmp_path, data_root):
    (tmp_path / "results.json").write_text(json.dumps([explain_teach_log()]))
    done = ran(tools.call("label_butterflies", *data(data_root), "--answers", "results.json", cwd=tmp_path))
    assert "Nobody labelled an image" in done.out and "strict" in done.out
    assert not list(tmp_path.glob("toy/*_labeled_tr.txt"))
    assert json.loads((tmp_path / "toy/labels_CMaxGrad.json").read_text())["groups"] == {
        "strict": {"people": 1, "test_accuracy": 50.0}
    }


def test_what_label_scripts_refuse(tools, finished, data_root):
    ran(tools.call("simulate_people", *data(data_root), "--accuracy", 0.3, "--people", 2, cwd=finished))
    answers = ["--answers", "toy/answers_simulated.json"]
    before = tools.snapshot(finished)
    for wrong, message in (
        ([*answers, "--min-accuracy", 0.9], "--min-accuracy 0.9: none of 2 people"),
        ([*answers, "--min-accuracy", 1.5], "--min-accuracy 1.5 must lie in 0 .. 1"),
        (
            [*answers, "--key", "none.json"],
            "reading it needs the page's key, but none.json does not exist; correct --key",
        ),
        (
            [*answers, "--leave-out", "p0001", "p0007"],
            "--leave-out p0007: the files of answers hold nobody of that name, but p0001, p0002; correct",
        ),
        ([*answers, "--leave-out", "p0001", "p0002"], "left out by --leave-out); leave fewer people out."),
        (["--answers", "none.json"], "There is no file none.json"),
        ([], "There is no file toy/answers.json"),
    ):
        done = tools.call("label_gull", *data(data_root), *wrong, cwd=finished)
        assert done.status == 2 and message in done.err and "Traceback" not in done.err
    done = tools.call("label_butterflies", "--dataset", "no_such", "--data-root", data_root, *answers, cwd=finished)
    assert done.status == 2 and "--dataset 'no_such' is unknown" in done.err
    after = tools.snapshot(finished)
    assert {name: entry[1] for name, entry in after.items() if name in before} == {
        name: entry[1] for name, entry in before.items()
    }


def test_a_network_is_one_person(tools, finished, data_root):
    torch.manual_seed(3)
    network = build("resnet18", 5)
    content = {"arch": network.arch, "state_dict_m": network.state_dict(), "classes": list(CLASSES)}
    save_checkpoint(finished / "network.pth.tar", content)
    look = [
        "--who",
        "network",
        "--checkpoint",
        "network.pth.tar",
        "--image-size",
        tools.size,
        "--device",
        "cpu",
        "--workers",
        1,
    ]
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


TRAINING = [
    "--epochs",
    1,
    "--batch-size",
    20,
    "--lr",
    0.01,
    "--milestones",
    1,
    "--workers",
    1,
    "--device",
    "cpu",
    "--image-size",
    64,
]


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
    for quality, per_image, expected in (
        (0.2, 1, 0.2),
        (0.7, 1, 0.7),
        (0.7, 3, 0.7**3 + 3 * 0.7**2 * 0.3 + 0.7 * 0.3**2 * 3 * 0.75 / 3),
    ):
        drawn = study.simulated_labels(rest, 5, quality, per_image, 0)
        right = np.mean([row.label == true.label for row, true in zip(drawn, rest, strict=True)])
        # three people: two or more right, or one right and the others wrong in two ways (3/4), of which a draw finds the right one (1/3)
        assert right == pytest.approx(expected, abs=0.03)
        assert [row.path for row in drawn] == [row.path for row in rest]
    assert study.plan((0.8, 0.2), 2, 7) == [(q, s) for q in (None, 0.2, 0.8, 1.0) for s in (7, 8)]


def test_the_study_by_linear_probe(tools, tmp_path, data_root, weights):
    settings = [
        "--data-root",
        data_root,
        "--pretrained",
        weights,
        "--image-size",
        64,
        "--workers",
        1,
        "--device",
        "cpu",
    ]
    probe = ["--probe-epochs", 3, "--accuracy", 0.2, 0.6, "--repeats", 2]
    for out in ("one", "two"):
        ran(tools.call("study_annotators", "--dataset", "toy", *settings, *probe, "--out", out, cwd=tmp_path))
    rows = list(csv.DictReader((tmp_path / "one/study_annotators.csv").open()))
    assert [row["annotator_accuracy"] for row in rows] == ["", "", "0.2", "0.2", "0.6", "0.6", "1.0", "1.0", "", ""]
    assert [row["label_accuracy"] for row in rows[6:8]] == ["100.0", "100.0"]
    for name in ("study_annotators.csv", "study_annotators.png", "study_annotators_rounds.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    done = tools.call("study_annotators", "--dataset", "chinese_chars", *settings, *probe, cwd=tmp_path)
    assert done.status == 2 and "has no rest list; choose one that has: butterflies_s300, gull, toy" in done.err
