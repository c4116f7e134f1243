"""The study of annotators: self-training beside people, and from which accuracy on people pay."""

import csv
import io
import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from models.weights import load_classifier
from utils.data.catalog import MOTHS
from utils.data.images import decode, eval_view
from utils.data.lists import UNKNOWN, Example, locate, read_examples
from utils.people import study
from utils.people.break_even import Alternative, annotator_study, break_even, findings
from utils.people.study import ANNOTATORS, EXPERT, ON_SIMCLR, SELF_TRAINED, Learned, Material, Step, Study
from utils.training.probe import ProbeSettings, fit_probe
from utils.training.self_training import SelfTraining

CLASSES, EXPERTS, REST, TESTED = 3, 12, 60, 90


class Cloud:
    """Images that are points around one centre a class, and a linear head that learns them; it writes down what it was given."""

    def __init__(self, seed=0):
        rng = torch.Generator().manual_seed(seed)
        labels = torch.arange(EXPERTS + REST + TESTED) % CLASSES
        points = torch.randn(len(labels), 8, generator=rng) * 1.2 + 1.5 * torch.eye(8)[labels]
        rows = [Example(f"./datasets/cloud/{number}.png", int(label), number) for number, label in enumerate(labels)]
        self.points = {row.path: point for row, point in zip(rows, points, strict=True)}
        self.expert, self.rest, self.test = rows[:EXPERTS], rows[EXPERTS : EXPERTS + REST], rows[EXPERTS + REST :]
        self.material = Material(self.expert, self.rest, SimpleNamespace(), CLASSES)
        self.given = []

    def seen(self, rows):
        return torch.stack([self.points[row.path] for row in rows])

    def head(self, labelled, seed):
        labels = torch.tensor([row.label for row in labelled])
        how = ProbeSettings(40, 16, 0.02, 1, seed, 0, "cpu")
        return fit_probe(self.seen(labelled), labels, CLASSES, how, quiet=True)[0]

    def right(self, head):
        return sum(head(self.points[row.path]).argmax().item() == row.label for row in self.test) / TESTED * 100

    def learner(self, labelled, seed):
        self.given.append(list(labelled))
        head = self.head(labelled, seed)
        return Learned(self.right(head), lambda: head(self.seen(self.rest)).softmax(1))


def study_of(cloud, confidence=0.9, rounds=4, material=None, state=None):
    return Study(material or cloud.material, cloud.learner, cloud.learner, 1, SelfTraining(confidence, rounds), state)


def ran_through(made, planned):
    for step in planned[len(made.rows) :]:
        made.run(step)
    return made


def plainly(cloud, confidence, rounds, seed):
    """Self-training told once more: the labels by image, the classifier anew in every round, whether or not its labels are new."""
    found, own = [], {}
    for number in range(rounds + 1):
        head = cloud.head(
            [*cloud.expert, *(replace(row, label=own[row.path]) for row in cloud.rest if row.path in own)], seed
        )
        right = [own[row.path] == row.label for row in cloud.rest if row.path in own]
        share = round(100 * sum(right) / len(right), 3) if right else ""
        found.append((number, len(own), share, round(cloud.right(head), 3)))
        own = {}
        for row in cloud.rest:
            shares = [float(value) for value in torch.exp(head(cloud.points[row.path]))]
            if max(shares) / sum(shares) >= confidence:
                own[row.path] = shares.index(max(shares))
    return found


@pytest.mark.parametrize("confidence", [0.0, 0.7, 0.9, 1.0])
def test_self_training_is_that_of_a_plain_implementation(confidence):
    cloud = Cloud()
    made = ran_through(study_of(cloud, confidence), study.steps((1.0,), 2, 5, rounds=4, simclr=False))
    for seed in (5, 6):
        rows = [row for row in made.rows if row["seed"] == seed and row["annotator_accuracy"] == ""]
        assert [
            (row["round"], row["own_labels"], row["label_accuracy"], row["test_accuracy"]) for row in rows
        ] == plainly(cloud, confidence, 4, seed)
    if confidence == 0.9:  # or the above compares nothing
        assert 0 < made.rows[-1]["own_labels"] < REST and len({row["test_accuracy"] for row in rows}) > 1


def test_settled_labels_are_not_learned_again():
    cloud = Cloud()
    made = ran_through(study_of(cloud, 0.7, rounds=7), study.steps((1.0,), 1, 0, rounds=7, simclr=False))
    changed = [row["changed"] for row in made.rows if row["round"]]
    assert 0 in changed and changed[0] > 0 and not any(changed[changed.index(0) :])
    assert len(cloud.given) == 2 + sum(
        map(bool, changed)
    )  # the expert alone, the annotators, and the rounds that changed a label


def test_no_truth_of_the_rest_and_no_test_image_is_learned_from():
    """With the truth of the rest hidden, self-training ends at the same classifiers; only how right its labels are is not known."""
    cloud, blind = Cloud(), Cloud()
    planned = [step for step in study.steps((1.0,), 1, 3, rounds=4, simclr=True) if step.quality is None]
    made = ran_through(study_of(cloud), planned)
    hidden = replace(blind.material, rest=[replace(row, label=UNKNOWN) for row in blind.rest])
    unseen = ran_through(study_of(blind, material=hidden), planned)
    assert [row["test_accuracy"] for row in made.rows] == [row["test_accuracy"] for row in unseen.rows]
    assert cloud.given == blind.given and len(cloud.given[1]) > EXPERTS
    tested = {row.path for row in cloud.test}
    assert not any(row.path in tested for given in cloud.given for row in given)
    assert all(given[:EXPERTS] == cloud.expert for given in cloud.given)


def test_a_study_goes_on_from_any_step():
    planned = study.steps((0.5,), 1, 0, rounds=2, simclr=True)
    whole = ran_through(study_of(Cloud()), planned).rows
    for stop in range(len(planned)):
        made = ran_through(study_of(Cloud()), planned[:stop])
        kept = io.BytesIO()
        torch.save(made.state, kept)
        kept.seek(0)
        later = study_of(Cloud(), state=torch.load(kept, weights_only=True))
        assert ran_through(later, planned).rows == whole


def test_the_steps_of_a_study():
    planned = study.steps((0.8,), 2, 7, rounds=2, simclr=True)
    assert [(step.labels, step.quality, step.seed, step.round) for step in planned] == [
        *[(EXPERT, None, seed, 0) for seed in (7, 8)],
        *[(ANNOTATORS, quality, seed, 0) for quality in (0.8, 1.0) for seed in (7, 8)],
        *[(SELF_TRAINED, None, seed, number) for seed in (7, 8) for number in (1, 2)],
        *[(EXPERT + ON_SIMCLR, None, seed, 0) for seed in (7, 8)],
        *[(SELF_TRAINED + ON_SIMCLR, None, seed, number) for seed in (7, 8) for number in (1, 2)],
    ]
    assert study.steps((0.8,), 2, 7, rounds=0, simclr=False) == planned[:6]
    assert Step(0, 0.5).labels == ANNOTATORS


# ---------------------------------------------------------------- from which accuracy on people pay


@pytest.mark.parametrize(
    ("right", "level", "expected"),
    [
        ((50, 60, 80), 70, 0.5),  # half-way between 0.4 and 0.6
        ((50, 60, 80), 55, 0.3),
        ((50, 60, 80), 60, 0.4),  # as right as that is no better
        ((50, 60, 80), 80, None),
        ((50, 60, 80), 49.9, 0.2),
        ((50, 60, 80), 50, 0.2),
        ((70, 60, 80), 65, 0.45),  # once below it again, better than the level does not count
        ((70, 60, 60), 65, None),
    ],
)
def test_break_even_by_hand(right, level, expected):
    found = break_even((0.2, 0.4, 0.6), right, level)
    assert found == (None if expected is None else pytest.approx(expected))


def rows_of(labels, accuracies, quality=""):
    return [{"labels": labels, "annotator_accuracy": quality, "test_accuracy": value} for value in accuracies]


def test_findings_compare_the_seeds_one_by_one():
    people = [*rows_of(ANNOTATORS, (50.0, 40.0), 0.5), *rows_of(ANNOTATORS, (70.0, 80.0), 1.0)]
    found = findings([*rows_of(EXPERT, (60.0, 50.0)), *people, *rows_of(SELF_TRAINED, (75.0, 70.0))])
    assert (found.qualities, found.points) == ([0.5, 1.0], [[50.0, 40.0], [70.0, 80.0]])
    alone, trained = found.alternatives
    assert (alone.pays_from, alone.by_seed) == (
        pytest.approx(0.5 + 0.5 * 10 / 30),
        [0.75, 0.625],
    )  # 55 on the line from 45 to 75
    assert (trained.pays_from, trained.by_seed) == (pytest.approx(0.5 + 0.5 * 27.5 / 30), [None, 0.875])
    assert trained.range_of_seeds() == (0.875, None)
    assert found.as_measured() == {
        "the expert's images alone": {"test_accuracy": 55.0, "people_pay_from": 0.667, "by_seed": [0.75, 0.625]},
        "self-training": {"test_accuracy": 72.5, "people_pay_from": 0.958, "by_seed": [None, 0.875]},
    }


def test_sentences_say_from_where_on_people_pay(tmp_path):
    found = Alternative("self-training", [72.0, 73.0], 0.7512, [0.5, None])
    against = "Against self-training (72.5 % right), annotators "
    assert (
        found.sentence(0.2)
        == f"{against}pay if they are right on more than 75 % of the images (single seeds: 50 % to never)."
    )
    never = replace(found, pays_from=None, by_seed=[None, None])
    assert never.sentence(0.2) == f"{against}never pay, even if they are always right (single seeds: never)."
    other = Alternative("SimCLR features", [40.0], 0.2, [0.2])
    assert other.sentence(0.2).endswith(", from 20 % on; other features learn there, so it compares these too.")
    always = replace(found, right=[72.5], pays_from=0.2, by_seed=[0.2])
    assert always.sentence(0.2) == f"{against}pay at every accuracy measured, from 20 % on."
    never = [
        *rows_of(EXPERT, (99.0, 98.0)),
        *rows_of(ANNOTATORS, (50.0, 40.0), 0.5),
        *rows_of(ANNOTATORS, (70.0, 80.0), 1.0),
    ]
    annotator_study(tmp_path / "never.png", findings(never), "title")
    assert (tmp_path / "never.png").stat().st_size > 1000


# ---------------------------------------------------------------- the script


@pytest.fixture(scope="module")
def encoder(tools, data_root, tmp_path_factory):
    """A SimCLR checkpoint that knows next to nothing."""
    folder = tmp_path_factory.mktemp("simclr")
    done = tools.call(
        "train_butterflies_simclr", *tools.common(data_root), "--epochs", 1, "--batch-size", 10, cwd=folder
    )
    assert done.status == 0, done.err
    return folder / "toy/simclr_checkpoint_1.tar"


def rows_in(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_script_with_everything_that_needs_no_people(tools, data_root, weights, encoder, tmp_path):
    settings = [
        "--pretrained",
        weights,
        "--probe-epochs",
        3,
        "--accuracy",
        0.5,
        "--repeats",
        2,
        "--confidence",
        0.3,
        "--rounds",
        2,
    ]
    command = ["study_annotators", *tools.common(data_root), *settings]
    done = tools.call(*command, "--simclr-checkpoint", encoder, "--simclr-image-size", 96, cwd=tmp_path)
    assert done.status == 0, done.err
    rows, rounds = (rows_in(tmp_path / f"toy/study_annotators{ending}.csv") for ending in ("", "_rounds"))
    assert [row["labels"] for row in rows[6:]] == [
        label for label in (SELF_TRAINED, EXPERT + ON_SIMCLR, SELF_TRAINED + ON_SIMCLR) for _ in range(2)
    ]
    assert [(row["labels"], row["seed"], row["round"]) for row in rounds] == [
        (label, seed, number) for label in (SELF_TRAINED, SELF_TRAINED + ON_SIMCLR) for seed in "01" for number in "12"
    ]
    for row in rounds:
        last = next(one for one in rows if (one["labels"], one["seed"]) == (row["labels"], row["seed"]))
        if row["round"] == "2":
            assert (row["label_accuracy"], row["test_accuracy"]) == (last["label_accuracy"], last["test_accuracy"])
    record = json.loads((tmp_path / "toy/run_study_annotators.json").read_text())
    names = ["the expert's images alone", "self-training", "SimCLR features", "self-training on SimCLR features"]
    assert list(record["measured"]["without_people"]) == names and "simclr_checkpoint" in record["inputs"]
    assert [line.split(" (")[0] for line in done.out.splitlines() if line.startswith("Against")] == [
        f"Against {name}" for name in names
    ]
    alone = tools.call(
        *command[:-1], 0, "--out", "people", cwd=tmp_path
    )  # no self-training, no SimCLR: the rows of people are the same
    assert alone.status == 0, alone.err
    assert rows_in(tmp_path / "people/study_annotators.csv") == rows[:6]
    assert not (tmp_path / "people/study_annotators_rounds.csv").exists()
    at_96 = [*command, "--pretrained", encoder, "--image-size", 96, "--out", "at_96"]
    assert (
        tools.call(*at_96, cwd=tmp_path).status == 0
    )  # the encoder in the place of the network: the same without people
    without = [row for row in rows_in(tmp_path / "at_96/study_annotators.csv") if not row["annotator_accuracy"]]
    on_simclr = [
        row | {"labels": row["labels"].removesuffix(ON_SIMCLR)} for row in rows if row["labels"].endswith(ON_SIMCLR)
    ]
    assert without == on_simclr and len(without) == 4


def test_a_comparison_with_a_classifier_at_chance_is_warned_of(
    tools, data_root, weights, encoder, tmp_path, monkeypatch
):
    """Learners that are always right, and on SimCLR features always wrong."""
    accuracies = iter((100.0, 0.0))

    def made_up(material, *_):
        learned = Learned(next(accuracies), lambda: torch.eye(5)[[row.label for row in material.rest]])
        return lambda labelled, seed: learned

    monkeypatch.setattr("study_annotators.probe_learner", made_up)
    command = ["study_annotators", *tools.common(data_root), "--pretrained", weights, "--accuracy", 0.5, "--repeats", 1]
    done = tools.call(*command, "--simclr-checkpoint", encoder, cwd=tmp_path)
    assert done.status == 0, done.err
    guessing = [f"{who}, SimCLR features (0.0 % at best)" for who in (EXPERT, SELF_TRAINED)]
    assert (
        f"warning: No better than guessing on 15 images of 5 classes: {', '.join(guessing)}; a comparison" in done.out
    )


def test_a_network_that_trains_itself_is_the_one_of_the_training_script(tools, data_root, weights, tmp_path):
    """The study's finetuned self-training is train_butterflies_resnet18.py on a list with the first network's answers as labels."""
    learning = ["--pretrained", weights, "--epochs", 1, "--batch-size", 20, "--lr", 0.01, "--milestones", 1]
    start = [*tools.common(data_root), *learning]
    study_settings = ["--classifier", "finetune", "--accuracy", 1, "--repeats", 1, "--rounds", 1, "--confidence", 0]
    found = tools.call("study_annotators", *start, *study_settings, cwd=tmp_path)
    assert found.status == 0, found.err
    (rounds,) = rows_in(tmp_path / "toy/study_annotators_rounds.csv")
    assert tools.call("train_butterflies_resnet18", *start, "--out", "first", cwd=tmp_path).status == 0
    answered = answers(tmp_path / "first/checkpoint_pretrain_resnet18_s300.pth.tar", data_root, tools.size)
    (tmp_path / "list.txt").write_text((data_root / "toy/toy_gt_tr.txt").read_text() + answered)
    done = tools.call("train_butterflies_resnet18", *start, "--train-list", "list.txt", "--out", "second", cwd=tmp_path)
    assert done.status == 0, done.err
    record = json.loads((tmp_path / "second/run_train_butterflies_resnet18.json").read_text())
    assert float(rounds["test_accuracy"]) == record["measured"]["test_accuracy"]
    assert rounds["own_labels"] == rounds["changed"] == "20"


def answers(checkpoint, data_root, size):
    """The rest list with what a network answers in place of the labels."""
    network, lines = load_classifier(str(checkpoint), MOTHS), ""
    for row in read_examples(data_root / "toy/toy_gt_rest_tr.txt", 5):
        pixels = eval_view(decode(locate(row.path, data_root), ""), size)
        lines += f"{row.path} {network(pixels[None] / 255).logits.argmax().item()} {row.index + 1000}\n"
    return lines


def test_a_study_in_which_no_answer_is_sure_says_so(tools, data_root, weights, tmp_path):
    settings = ["--pretrained", weights, "--probe-epochs", 1, "--accuracy", 0.5, "--repeats", 1, "--confidence", 1]
    done = tools.call("study_annotators", *tools.common(data_root), *settings, cwd=tmp_path)
    assert done.status == 0, done.err
    assert (
        "warning: Self-training added nothing to the expert's images: no answer reached --confidence 1; lower it"
        in done.out
    )
    rows = rows_in(tmp_path / "toy/study_annotators.csv")
    assert (rows[-1]["label_accuracy"], rows[-1]["test_accuracy"]) == ("", rows[0]["test_accuracy"])


@pytest.mark.parametrize("classifier", ["probe", "finetune"])
def test_what_is_no_simclr_checkpoint_is_refused_at_once(tools, data_root, weights, tmp_path, classifier):
    lacks = f"--simclr-checkpoint {weights} lacks a projection, so its ResNet-18 is no SimCLR encoder"
    for path, said in (("none.tar", "--simclr-checkpoint: there is no file none.tar"), (weights, lacks)):
        command = ["study_annotators", *tools.common(data_root), "--pretrained", weights, "--classifier", classifier]
        done = tools.call(*command, "--simclr-checkpoint", path, cwd=tmp_path)
        assert done.status == 2 and said in done.err and done.err.count("\n") == 1
        assert not [file for file in tmp_path.rglob("*") if file.is_file()]
