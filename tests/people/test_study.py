"""The study of annotators: self-training, break-even, and study_annotators.py."""

import io
import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.helpers.runs import read_table
from utils.data.lists import UNKNOWN, Example, read_examples
from utils.people import study
from utils.people.study import ANNOTATORS, EXPERT, ON_SIMCLR, SELF_TRAINED, Alternative, Material, Study
from utils.training.probe import ProbeSettings, fit_probe

CLASSES, EXPERTS, REST, TESTED = 3, 12, 60, 90


class Cloud:
    """Images that are points around one center per class, and a linear head. It records the rows it learned from."""

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

    def head(self, labeled, seed):
        labels = torch.tensor([row.label for row in labeled])
        how = ProbeSettings(40, 16, 0.02, 1, seed, 0, "cpu")
        return fit_probe(self.seen(labeled), labels, CLASSES, how, quiet=True)[0]

    def right(self, head):
        return sum(head(self.points[row.path]).argmax().item() == row.label for row in self.test) / TESTED * 100

    def learner(self, labeled, seed):
        self.given.append(list(labeled))
        head = self.head(labeled, seed)
        return self.right(head), lambda: head(self.seen(self.rest)).softmax(1)


def study_of(cloud, rounds, confidence=0.9):
    return Study(cloud.material, cloud.learner, cloud.learner, 1, rounds, confidence)


def rows_after(made, planned):
    """Runs the steps that a study has not run; returns its rows."""
    for step in planned[made.state["steps"] :]:
        made.run(step)
    return made.state["rows"]


def plainly(cloud, confidence, rounds, seed):
    """Second implementation of self-training: trains a classifier in every round. Also returns the rows they learn."""
    found, given, own = [], [], {}
    for _ in range(rounds + 1):
        rows = [replace(row, label=own[row.path]) for row in cloud.rest if row.path in own]
        head = cloud.head([*cloud.expert, *rows], seed)
        right = [own[row.path] == row.label for row in cloud.rest if row.path in own]
        share = round(100 * sum(right) / len(right), 3) if right else ""
        found.append((share, round(cloud.right(head), 3)))
        given += [[*cloud.expert, *rows]]
        own = {}
        for row in cloud.rest:
            shares = [float(value) for value in torch.exp(head(cloud.points[row.path]))]
            if max(shares) / sum(shares) >= confidence:
                own[row.path] = shares.index(max(shares))
    return found, given


@pytest.mark.parametrize("rounds", [1, 4])
@pytest.mark.parametrize("confidence", [0.0, 0.9])
def test_self_training_against_a_second_implementation(confidence, rounds):
    cloud = Cloud()
    rows = rows_after(study_of(cloud, rounds, confidence), study.steps((1.0,), 2, 5, simclr=False))
    given = iter(cloud.given)
    for seed in (5, 6):
        own = [row for row in rows if row["seed"] == seed and row["annotator_accuracy"] == ""]
        found, learned = plainly(cloud, confidence, rounds, seed)
        assert [(row["label_accuracy"], row["test_accuracy"]) for row in own] == [found[0], found[-1]]
        assert [row["labels"] for row in own] == [EXPERT, SELF_TRAINED]
        changed = [rows for place, rows in enumerate(learned) if not place or rows != learned[place - 1]]
        assert [next(given) for _ in changed] == changed
        # Otherwise the comparison shows nothing.
        assert len(changed) > 1 and (confidence == 0 or EXPERTS < len(changed[-1]) < EXPERTS + REST)


def test_self_training_uses_no_true_label_of_the_rest_and_no_test_image():
    cloud, blind = Cloud(), Cloud()
    blind.material = replace(blind.material, rest=[replace(row, label=UNKNOWN) for row in blind.rest])
    planned = [step for step in study.steps((1.0,), 1, 3, simclr=True) if step.quality is None]
    found = [[row["test_accuracy"] for row in rows_after(study_of(one, 4), planned)] for one in (cloud, blind)]
    assert found[0] == found[1] and cloud.given == blind.given and len(cloud.given[1]) > EXPERTS
    tested = {row.path for row in cloud.test}
    assert not any(row.path in tested for given in cloud.given for row in given)
    assert all(given[:EXPERTS] == cloud.expert for given in cloud.given)


def test_a_study_resumes_after_any_step():
    planned = study.steps((0.5,), 1, 0, simclr=True)
    whole = rows_after(study_of(Cloud(), 2), planned)
    for stop in range(len(planned)):
        stopped, later, kept = study_of(Cloud(), 2), study_of(Cloud(), 2), io.BytesIO()
        rows_after(stopped, planned[:stop])
        torch.save(stopped.state, kept)
        kept.seek(0)
        later.state = torch.load(kept, weights_only=True)
        assert rows_after(later, planned) == whole


def test_simulated_labels_have_the_given_accuracy(data_root):
    """Of three people, two or three are right, or one is right, the others differ (3/4) and the draw is right (1/3)."""
    rest = read_examples(data_root / "toy/toy_gt_rest_tr.txt", 5) * 200
    three = 0.7**3 + 3 * 0.7**2 * 0.3 + 3 * 0.7 * 0.3**2 * (3 / 4) * (1 / 3)
    for quality, per_image, expected in ((0.2, 1, 0.2), (0.7, 1, 0.7), (0.7, 3, three)):
        labels = study.simulated_labels(rest, 5, quality, per_image, 0)
        assert np.mean(labels.numpy() == [row.label for row in rest]) == pytest.approx(expected, abs=0.03)


# ---------------------------------------------------------------- break-even


@pytest.mark.parametrize(
    ("right", "level", "expected"),
    [
        ((50, 60, 80), 70, 0.5),  # half-way between 0.4 and 0.6
        ((50, 60, 80), 60, 0.4),  # equal is not better
        ((50, 60, 80), 80, None),
        ((50, 60, 80), 49.9, 0.2),
        ((70, 60, 80), 65, 0.45),  # the last crossing counts
        ((70, 60, 60), 65, None),
    ],
)
def test_break_even_by_hand(right, level, expected):
    found = study.break_even((0.2, 0.4, 0.6), right, level)
    assert found == (None if expected is None else pytest.approx(expected))


def rows_of(labels, accuracies, quality=""):
    return [{"labels": labels, "annotator_accuracy": quality, "test_accuracy": value} for value in accuracies]


def test_findings_compare_the_seeds_one_by_one(tmp_path):
    people = [*rows_of(ANNOTATORS, (50.0, 40.0), 0.5), *rows_of(ANNOTATORS, (70.0, 80.0), 1.0)]
    rows = [*rows_of(EXPERT, (60.0, 50.0)), *people, *rows_of(SELF_TRAINED, (75.0, 70.0))]
    assert study.annotator_curve(rows) == {0.5: [50.0, 40.0], 1.0: [70.0, 80.0]}
    expert, trained = study.alternatives(rows)
    assert expert.by_seed == [0.625, 0.75] and trained.by_seed == [0.875, None]
    assert expert.pays_from == pytest.approx(0.5 + 0.5 * 10 / 30)  # 55 between 45 and 75
    assert trained.pays_from == pytest.approx(0.5 + 0.5 * 27.5 / 30)
    study.draw_study(tmp_path / "study.png", rows)
    assert (tmp_path / "study.png").stat().st_size > 1000


def test_sentences_name_the_break_even():
    found = Alternative(EXPERT, [72.0, 73.0], 0.7512, [0.5, None])
    start = "Compared with 'expert alone' (72.5 % right), annotators "
    assert found.sentence(0.2).startswith(f"{start}pay if they are right on more than 75 % of the images")
    assert found.sentence(0.2).endswith(" (by seed: 50 % to never).")
    never = replace(found, pays_from=None, by_seed=[None])
    assert never.sentence(0.2) == f"{start}never pay, even if they are always right."
    assert "at all measured accuracies, from 20 %." in replace(never, pays_from=0.2, by_seed=[0.2]).sentence(0.2)


# ---------------------------------------------------------------- the script


def test_the_script_with_everything_that_needs_no_people(tools, data_root, weights, tmp_path):
    command = ["train_butterflies_simclr", *tools.common(data_root), "--epochs", 1, "--batch-size", 10]
    assert tools.call(*command, cwd=tmp_path).status == 0
    simclr = ["--simclr-checkpoint", "toy/simclr_checkpoint_1.tar", "--simclr-image-size", 96]
    settings = ["--probe-epochs", 3, "--accuracy", 0.5, "--repeats", 2, "--confidence", 0.3]
    command = ["study_annotators", *tools.common(data_root), "--pretrained", weights, *settings, "--rounds"]
    done = tools.call(*command, 2, *simclr, cwd=tmp_path)
    assert done.status == 0, done.err
    rows = read_table(tmp_path / "toy/study_annotators.csv")
    without = [EXPERT, SELF_TRAINED, EXPERT + ON_SIMCLR, SELF_TRAINED + ON_SIMCLR]
    assert [row["labels"] for row in rows] == [*without[:2] * 2, *[ANNOTATORS] * 4, *without[2:] * 2]
    assert [row["label_accuracy"] for row in rows[6:8]] == ["100.0", "100.0"]
    record = json.loads((tmp_path / "toy/run_study_annotators.json").read_text())
    assert list(record["measured"]["without_people"]) == without
    assert done.out.count("Compared with") == 4
    assert tools.call(*command, 0, "--out", "people", cwd=tmp_path).status == 0  # the same rows of people
    same = [row for row in rows[:8] if row["labels"] != SELF_TRAINED]
    assert read_table(tmp_path / "people/study_annotators.csv") == same


def test_a_wrong_simclr_checkpoint_is_refused_before_training(tools, data_root, weights, tmp_path):
    command = ["study_annotators", *tools.common(data_root), "--pretrained", weights, "--simclr-checkpoint", weights]
    done = tools.call(*command, cwd=tmp_path)
    assert done.status == 2 and "--simclr-checkpoint" in done.err
    assert not [file for file in tmp_path.rglob("*") if file.is_file()]


def test_the_threshold_of_confidence_is_inclusive():
    found = torch.tensor([[0.95, 0.05, 0.0], [0.5, 0.25, 0.25], [0.1, 0.3, 0.6]], dtype=torch.float64)
    labels = [study.confident_labels(found, threshold).tolist() for threshold in (0.5, 0.6, 0.95, 0.951)]
    assert labels == [[0, 0, 2], [0, UNKNOWN, 2], [0, UNKNOWN, UNKNOWN], [UNKNOWN] * 3]
