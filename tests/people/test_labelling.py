"""From answers to a list and a report with label.py, and a classifier that learns from the list."""

import csv
import json

import numpy as np
import pytest
import torch

from models.resnet import build
from models.weights import save_checkpoint
from tests.helpers.answering import CLASSES, batch, explain_teach_log, image_id, make_key, make_trial, mturk_row
from utils.data.images import decode, eval_view
from utils.data.lists import locate, read_examples
from utils.people.aggregation import Aggregator
from utils.people.answers import Answer, read_answers
from utils.people.labelling import aggregate_parts, describe_all, known_answers
from utils.people.page_key import read_key
from utils.people.teacher import make_teacher, save_teacher

LIST = "toy/toy_turker_label_gt_KMaxGrad_labeled_tr.txt"
TRAINING = ["--epochs", 1, "--batch-size", 20, "--lr", 0.01, "--milestones", 1]


@pytest.fixture
def finished(data_root, tmp_path):
    """A folder with the key of a course page on the toy moths."""
    names = {"test": "toy_gt_te", "label": "toy_gt_rest_tr"}
    rows = {phase: read_examples(data_root / f"toy/{name}.txt", 5) for phase, name in names.items()}
    make_key(tmp_path / "toy/course_page_key.json", rows)
    edit(tmp_path / "toy/course_page_key.json", lambda key: key.update(selection="KMaxGrad"))
    return tmp_path


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.fixture
def script(tools, finished, data_root):
    """Runs a script on the toy moths; label.py reads the simulated answers by default."""

    def run(name, *settings, status=0):
        if name == "label" and "--answers" not in settings:
            settings = ["--answers", "{out}/answers_simulated.json", *settings]
        done = tools.call(name, "--dataset", "toy", "--data-root", data_root, *settings, cwd=finished)
        assert done.status == status, done.err
        return done.err if status else done.out

    return run


def skip_images(finished, places):
    """Removes all answers to some images to label; returns their names."""
    skipped = list(read_key(finished / "toy/course_page_key.json", "toy", CLASSES).of_phase("label"))[places]

    def skip(answers):
        for person in answers["participants"]:
            person["trials"] = [trial for trial in person["trials"] if trial["stimulus"] not in skipped]

    edit(finished / "toy/answers_simulated.json", skip)
    return skipped


def report_in(folder, selection="KMaxGrad"):
    return json.loads((folder / f"toy/labels_{selection}.json").read_text())


def test_from_answers_to_a_list(tools, finished, data_root, script):
    script("simulate_people", "--people", 8, "--labels-per-image", 3, "--accuracy", 1.0, 0.9, 0.9, 0.0)
    skip_images(finished, slice(2))
    runs = []
    for _ in range(2):
        said = script("label", "--min-accuracy", 0.5)
        found = tools.snapshot(finished / "toy")
        runs.append({name: digest for name, (_, digest) in found.items() if not name.startswith("run_")})
    assert runs[0] == runs[1] and "Labeled 18 of 20 images" in said
    rows = read_examples(finished / LIST, 5)
    expert, rest = (read_examples(data_root / f"toy/toy_gt_{name}tr.txt", 5) for name in ("", "rest_"))
    assert [(row.path, row.label) for row in rows[:20]] == [(row.path, row.label) for row in expert]
    assert [row.path for row in rows[20:]] == [row.path for row in rest[2:]]
    assert [row.index for row in rows] == list(range(38))
    report = report_in(finished)
    assert (report["people"], report["people_left_out"], report["unlabeled_images"]) == (8, 2, 2)
    assert [person["kept"] for person in report["each"]] == [True, True, True, False] * 2
    assert [person["test_accuracy"] for person in report["each"]][0::4] == [100, 100]
    right = [row.label == true.label for row, true in zip(rows[20:], rest[2:], strict=True)]
    assert report["label"]["label_accuracy"] == pytest.approx(100 * np.mean(right), abs=1e-3)
    answers = sum(person["labels"] for person in report["each"] if person["kept"])
    assert np.sum(report["confusion"]["label"]) == report["label"]["answers"] == answers
    table = list(csv.DictReader((finished / "toy/labels_KMaxGrad.csv").open()))
    assert {row["path"]: int(row["label"]) for row in table} == {row.path: row.label for row in rows[20:]}
    for ending in (".txt", "_confusion.png"):
        assert (finished / f"toy/labels_KMaxGrad{ending}").stat().st_size > 100


def test_gold_images_show_who_is_tired(finished, script, data_root):
    """Two people pass the test and contradict each other afterwards; one of them is wrong about gold images."""
    test, rest = (read_examples(data_root / f"toy/toy_gt_{name}.txt", 5) for name in ("te", "rest_tr"))
    parts = {"test": test[::2], "gold": test[1::2], "label": rest}
    key, rows = make_key(finished / "toy/course_page_key.json", parts), []
    edit(finished / "toy/course_page_key.json", lambda key: key.update(selection="KMaxGrad"))
    for who, error in (("awake", 0), ("tired", 1)):
        places = [(phase, number) for phase in parts for number in range(len(parts[phase]))]
        said = [(parts[phase][number].label + error * (phase != "test")) % 5 for phase, number in places]
        trials = [make_trial(key, *place, answer, who) for place, answer in zip(places, said, strict=True)]
        rows.append(mturk_row(who, trials) | {"Answer.comment": 'tired,\n"very"'})
    script("label", "--answers", batch(finished / "a.csv", *rows), "--aggregation", "one_coin")
    awake, tired = report_in(finished)["each"]
    assert [one["test_accuracy"] for one in (awake, tired)] == [100, 100] and awake["weight"] > tired["weight"]
    counts = [[one[name] for name in ("gold_answers", "gold_accuracy", "labels")] for one in (awake, tired)]
    assert counts == [[7, 100, 20], [7, 0, 20]]
    labeled = [(row.path, row.label) for row in read_examples(finished / LIST, 5)[20:]]
    assert labeled == [(row.path, row.label) for row in rest]


def test_the_report_says_what_does_not_count(finished, script):
    script("simulate_people", "--accuracy", 1, "--people", 3)
    people = json.loads((finished / "toy/answers_simulated.json").read_text())["participants"]
    rows = [mturk_row(f"W{number}", one["trials"]) for number, one in enumerate(people)]
    batch(finished / "a.csv", rows[0], rows[1] | {"Reject": "x"}, rows[2], mturk_row("W0", []))
    said, report = script("label", "--answers", "a.csv"), report_in(finished)
    assert "\n1 x rejected on Mechanical Turk: W1 (a.csv, row 3)" in said
    assert (finished / "toy/labels_KMaxGrad.txt").read_text() in said
    assert report["answers_left_out"] == {"rejected on Mechanical Turk": 1, "no answers": 1}
    assert [one["person"] for one in report["each_left_out"]] == ["W1", "W0"]
    assert [person["name"] for person in report["each"]] == ["W0", "W2"]


def test_the_key_names_the_course(finished, script):
    """Auto needs a key with a selection; another selection is an error. Logs of explain_teach have no key."""
    script("simulate_people", "--accuracy", 1, "--people", 2)
    said = script("label", "--selection", "random", status=2)
    assert "--selection random: the course in toy/course_page_key.json is KMaxGrad. Omit" in said
    (finished / "results.json").write_text(json.dumps([explain_teach_log()]))
    table = finished / "toy/labels_random.csv"
    table.touch()  # of an earlier run
    said = script("label", "--answers", "results.json", "--key", "none.json", "--selection", "random")
    assert "No labels from people who are kept" in said and not table.exists()
    (person,) = report_in(finished, "random")["each"]
    assert (person["group"], person["test_accuracy"]) == ("strict", 50)
    edit(finished / "toy/course_page_key.json", lambda key: key.update(simclr=True))
    assert "toy, KMaxGrad (SimCLR variant), dawid_skene: 2 people" in script("label")
    edit(finished / "toy/course_page_key.json", lambda key: key.pop("selection"))
    assert "names no selection. Pass --selection." in script("label", status=2)
    said = script("label", "--answers", "results.json", "--key", "none.json", status=2)
    assert "--selection auto: none.json not found" in said


def test_wrong_settings_are_named(tools, finished, script):
    script("simulate_people", "--accuracy", 0.3, "--people", 2)
    before = tools.snapshot(finished)
    for wrong, message in (
        (["--min-accuracy", 0.9], "None of 2 participants answered the test and reached --min-accuracy. Lower it."),
        (["--min-accuracy", 1.5], "--min-accuracy 1.5"),
        (["--key", "none.json"], "this needs the key of the course page (none.json not found)"),
        (["--leave-out", "p0007"], "--leave-out p0007: no such person. Choose from p0001, p0002."),
        (["--leave-out", "p0001", "p0002"], "left out by --leave-out). Check"),
        (["--answers", "none.json"], "Answer file none.json not found"),
    ):
        said = script("label", *wrong, status=2)
        assert message in said and "Traceback" not in said
    after = tools.snapshot(finished)
    assert {name: after[name][1] for name in before} == {name: digest for name, (_, digest) in before.items()}


def test_exact_thresholds_are_reached():
    """All shares of up to 50 answers; the next larger number is not reached."""
    for total in range(1, 51):
        for right in range(1, total + 1):
            answers = [Answer("ann", "test", f"image {n}", int(n < right), None, 1) for n in range(total)]
            asked = [right / total, np.nextafter(right / total, 2), np.nextafter(right / total, 0)]
            assert [describe_all(answers, share)[0].kept for share in asked] == [True, False, True], (right, total)


# ---------------------------------------------------------------- with a teacher


@pytest.fixture
def teacher(finished, data_root):
    """A teacher that is often right, in its file."""
    rows = [read_examples(data_root / f"toy/toy_gt_{name}.txt", 5) for name in ("tr", "te", "rest_tr")]
    rng, others = np.random.default_rng(0), [*rows[1], *rows[2]]
    labels, other_labels = (np.array([row.label for row in some]) for some in (rows[0], others))
    expert, features = (rng.normal(np.eye(5, 16)[some], 0.4) for some in (labels, other_labels))
    teacher, _ = make_teacher(expert, labels, [row.path for row in others], features, 5)
    save_teacher(finished / "toy/teacher_features.npz", teacher)
    return teacher


def table_in(folder):
    return list(csv.DictReader((folder / "toy/labels_KMaxGrad.csv").open()))


def test_the_teacher_labels_images_without_answers(finished, script, teacher):
    script("simulate_people", "--people", 6, "--labels-per-image", 2, "--accuracy", 0.9)
    skipped = skip_images(finished, slice(0, None, 9))
    images = read_key(finished / "toy/course_page_key.json", "toy", CLASSES).images
    said = script("label", "--fixed-teacher")
    assert "toy, KMaxGrad, teacher: 6 people" in said and "Labeled 20 of 20 images" in said
    table = {row["path"]: row for row in table_in(finished)}
    assert sorted(row["answers"] for row in table.values()) == ["0"] * 3 + ["2"] * 17
    for one in skipped:
        (prior,), row = teacher.prior([images[one].path]), table[images[one].path]
        assert (int(row["label"]), float(row["certainty"])) == (prior.argmax(), pytest.approx(prior.max(), abs=1e-4))
    script("label")
    taught = {row["path"]: row["certainty"] for row in table_in(finished)}
    assert all(taught[images[one].path] != table[images[one].path]["certainty"] for one in skipped)
    certainties = sorted(float(row["certainty"]) for row in table_in(finished))
    limit = (certainties[6] + certainties[7]) / 2
    said, report = script("label", "--min-certainty", limit), report_in(finished)
    assert f"7 of 20 labels are below --min-certainty {limit} and left out of the list.\n" in said
    assert (report["labeled_images"], report["unlabeled_images"]) == (13, 7) and len(table_in(finished)) == 20
    listed = {row.path for row in read_examples(finished / LIST, 5)[20:]}
    assert listed == {row["path"] for row in table_in(finished) if float(row["certainty"]) > limit}
    said = script("label", "--min-certainty", 1)
    assert "No labels from people who are kept are left, so there is no labeled list." in said
    assert not (finished / LIST).exists() and report_in(finished)["list"] is None


def test_people_of_two_conditions_label_together(finished, script):
    """Their pages name the images differently. One condition teaches well."""
    keys = [f"{folder}/course_page_key.json" for folder in ("toy", "plain")]
    (finished / "plain").mkdir()
    content = json.loads((finished / keys[0]).read_text())
    images = {name[::-1]: image for name, image in content["images"].items()}
    (finished / keys[1]).write_text(json.dumps(content | {"build_id": 16 * "f", "images": images}))
    for seed, (key, accuracy) in enumerate(zip(keys, (0.9, 0.4), strict=True)):
        people = ["--accuracy", accuracy, "--people", 9, "--labels-per-image", 4, "--seed", seed]
        script("simulate_people", "--key", key, *people)
        (finished / "toy/answers_simulated.json").rename(finished / f"{accuracy}.json")
    said = script("label", "--answers", "0.9.json", "0.4.json", "--key", *keys)
    assert "Labeled 20 of 20 images" in said and {row["answers"] for row in table_in(finished)} == {"8"}
    report = report_in(finished)
    assert [(row["condition"], row["people"]) for row in report["conditions"]] == [("plain", 9), ("toy", 9)]
    (row,) = report["differences"]
    assert row["low"] < -50 < row["high"] < 0 and row["p"] < 0.01 and "baseline  difference" in said


def test_the_teacher_is_chosen_if_it_knows_the_images(finished, script, teacher):
    script("simulate_people", "--people", 3, "--accuracy", 0.8)
    (finished / "results.json").write_text(json.dumps([explain_teach_log()]))
    path = finished / "toy/teacher_features.npz"
    assert "toy, KMaxGrad, dawid_skene: 1 people" in script("label", "--answers", "results.json")
    assert "toy, KMaxGrad, majority: 3 people" in script("label", "--aggregation", "majority")
    _, *others = teacher.paths.items()
    for wrong in (teacher._replace(paths=dict(others)), teacher._replace(head=np.zeros((4, 16))), None):
        path.unlink(missing_ok=True)
        if wrong:
            save_teacher(path, wrong)
        said = script("label", "--aggregation", "teacher", status=2)
        assert said.count("\n") == 1 and "error: --aggregation teacher: toy/teacher_features.npz is missing or" in said
        assert "toy, KMaxGrad, dawid_skene: 3 people" in script("label")
    path.write_bytes(b"PK")
    assert "teacher_features.npz is damaged" in script("label", status=2)


def test_the_report_shows_what_is_known_of_people(finished, data_root, script, teacher):
    """Seven lessons of the first person. The second stops after the test, the third is bad."""
    script("simulate_people", "--people", 3, "--accuracy", 1, 0.8, 0.1, "--labels-per-image", 2)
    paths = [row.path for row in read_examples(data_root / "toy/toy_gt_tr.txt", 5)][:7]

    def add_lessons(key):
        images = {"phase": "lesson", "label": 1, "index": 0}
        key["images"] |= {image_id("lesson", path): images | {"path": path} for path in paths}

    edit(finished / "toy/course_page_key.json", add_lessons)
    key = read_key(finished / "toy/course_page_key.json", "toy", CLASSES)

    def take_lessons(answers):
        first, second, _ = answers["participants"]
        first["trials"] = [make_trial(key, "lesson", n, 1, correct=True) for n in range(7)] + first["trials"]
        second["trials"] = [trial for trial in second["trials"] if trial["phase"] == "test"]

    edit(finished / "toy/answers_simulated.json", take_lessons)
    for method in ("teacher", "dawid_skene", "one_coin", "majority"):
        said = script("label", "--aggregation", method)
        first, second, third = report_in(finished)["each"]
        assert (first["lesson_answers"], first["lesson_accuracy"], first["test_accuracy"]) == (7, 100, 100)
        assert second["estimated_accuracy"] is second["weight"] is None and "estimated_accuracy  weight" in said
        if method == "majority":
            assert first["estimated_accuracy"] is first["weight"] is None
        else:
            assert 0 < third["estimated_accuracy"] < first["estimated_accuracy"] < 100
            assert 0 <= third["weight"] < first["weight"] < np.log2(5)


def test_lessons_count_half_after_the_fifth_of_a_person():
    answers = [Answer(person, "lesson", f"{n}", n, None, 1) for n in range(7) for person in "ab"][:-1]
    answers[10] = Answer("a", "lesson", "5", 0, None, None)  # unknown truth
    answers += [Answer("b", "test", "x", 2, None, 1), Answer("b", "test", "y", 2, None, None)]
    answers += [Answer("a", "label", "z", 2, None, 1)]
    found = [(one.person, one.image, weight) for one, weight in known_answers(answers)]
    assert found == [("b", "5", 0.5), ("a", "6", 0.5), ("b", "x", 1.0)]
    assert [weight for _, weight in known_answers(answers, test=False)] == [0.5, 0.5]


def test_test_answers_weight_labels_but_not_the_test(key):
    """Of two people who always disagree, one is right in the test."""
    answers = [
        Answer(person, phase, image.path, (image.label + wrong) % 5, None, image.label)
        for phase in ("test", "label")
        for image in key.of_phase(phase).values()
        for person, wrong in (("ann", 0), ("bob", 1))
    ]
    people = describe_all(answers, 0)
    parts = aggregate_parts(answers, people, key, Aggregator("majority", 0))
    assert parts["test"].labels.drawn == 10 and parts["label"].labels.drawn == 0
    assert (parts["label"].labels.label == parts["label"].truth).all()
    lessons = [Answer("bob", "lesson", f"{n}", 2, None, 2) for n in range(7)]
    parts = aggregate_parts([*lessons, *answers], people, key, Aggregator("majority", 0))
    assert parts["test"].labels.drawn == 0 and not (parts["test"].labels.label == parts["test"].truth).any()


# ---------------------------------------------------------------- networks as people, and learning from labels


def test_a_network_is_one_person(tools, finished, data_root, script):
    torch.manual_seed(3)
    network = build("resnet18", 5)
    content = {"arch": network.arch, "state_dict_m": network.state_dict(), "classes": list(CLASSES)}
    save_checkpoint(finished / "network.pth.tar", content)
    look = ["--checkpoint", "network.pth.tar", "--image-size", tools.size, "--device", "cpu", "--workers", 1]
    script("simulate_people", "--who", "network", *look)
    key = read_key(finished / "toy/course_page_key.json", "toy", CLASSES)
    answers, _ = read_answers([finished / "toy/answers_simulated.json"], key)
    assert len(answers) == 35 and {answer.person for answer in answers} == {"p0001"}
    network.eval()
    for answer in answers[::6]:
        pixels = eval_view(decode(locate(answer.image, data_root), ""), tools.size)
        assert answer.response == network(pixels[None] / 255).logits.argmax().item()


def test_simulated_people_may_confuse_what_real_people_confused(finished, script):
    logs = [explain_teach_log(gt_label=[t] * 3, response=[(t + 1) % 5] * 3, _id={"$oid": str(t)}) for t in range(5)]
    (finished / "results.json").write_text(json.dumps(logs))
    script("simulate_people", "--who", "confusion", "--confusion-of", "results.json", "--people", 4)
    key = read_key(finished / "toy/course_page_key.json", "toy", CLASSES)
    answers, _ = read_answers([finished / "toy/answers_simulated.json"], key)
    assert all(answer.response == (answer.truth + 1) % 5 for answer in answers)


def test_the_classifier_learns_from_the_list_and_the_study_agrees(tools, finished, data_root, weights, script):
    """The study's classifiers are those that the training script makes of the same labels, to the last digit."""

    def measured(folder, name):
        return json.loads((finished / folder / f"run_{name}.json").read_text())["measured"]

    teacher, start = "train_butterflies_resnet18", [*tools.common(data_root)[2:], "--pretrained", weights, *TRAINING]
    script("simulate_people", "--accuracy", 1)
    script("label")
    for settings in (["--dataset", "toy_after_labeling"], ["--dataset", "toy", "--out", "before"]):
        assert tools.call(teacher, *settings, *start, cwd=finished).status == 0
    script("study_annotators", "--classifier", "finetune", "--accuracy", 1, "--repeats", 1, *start)
    found = measured("toy", "study_annotators")
    before, after = (measured(out, teacher)["test_accuracy"] for out in ("before", "toy_after_labeling"))
    assert found["without_people"]["expert alone"]["test_accuracy"] == round(before, 2)
    assert found["annotators"] == {"1": round(after, 2)}
