"""The replay of people's answers: file numbers, statistics by hand, and invariants on made-up people."""

import json

import numpy as np
import pytest

from benchmarks.results import crowd
from tests.helpers.answering import explain_teach_log
from utils.base.errors import InputError
from utils.people.aggregation import Votes
from utils.people.answers import Answer, read_experiment
from utils.people.teacher import make_teacher

CLASSES = ("grass", "mound", "stem")


def experiment(folder, strategy, numbers, labels, table=285):
    """Writes an experiment whose picture n is c/images/<class n % 3>/<n>.png; its table has a space in the folder."""
    folder.mkdir()
    folders = [f"{name[:2]} {name[2:]}" for name in CLASSES]
    urls = [{"image_url": f"c/images/{folders[number % 3]}/{number}.png"} for number in range(table)]
    (folder / "teaching_images.json").write_text(json.dumps(urls))
    clock = [f"10:00:{second:02}" for second in range(len(numbers))]
    log = explain_teach_log(strategy=strategy, image_id=numbers, gt_label=labels, time=clock)
    log |= {"response": [0] * len(numbers), "is_train": [1] + [0] * (len(numbers) - 1)}
    (folder / "results.json").write_text(json.dumps([log]))
    return folder


@pytest.mark.parametrize("strategy", ["random", "random_feedback"])
def test_numbers_after_the_removed_picture_are_one_too_high(strategy, tmp_path):
    """Only in chinese_chars, and only in sessions with random pictures. The removed picture has no file."""
    folder = experiment(tmp_path / "chinese_chars", strategy, [283, 282, 284, 285], [2, 0, 1, 2])
    assert [answer.image for answer in read_experiment(folder, CLASSES)] == [
        *("image 283", "./datasets/c/images/grass/282.png"),
        *("./datasets/c/images/mound/283.png", "./datasets/c/images/stem/284.png"),
    ]


@pytest.mark.parametrize(("name", "strategy"), [("chinese_chars", "strict"), ("chinese_chars_crowd", "random")])
def test_other_numbers_are_those_of_the_table(name, strategy, tmp_path):
    folder = experiment(tmp_path / name, strategy, [282, 283, 284], [0, 1, 2])
    paths = [f"./datasets/c/images/{CLASSES[number % 3]}/{number}.png" for number in (282, 283, 284)]
    assert [answer.image for answer in read_experiment(folder, CLASSES)] == paths


def test_logs_of_another_table_are_refused(tmp_path):
    folder = experiment(tmp_path / "chinese_chars_crowd", "strict", [5, 6], [2, 1])
    with pytest.raises(InputError, match="differ on image 6"):
        read_experiment(folder, CLASSES)


def person(name, group, lessons, tests):
    """Answers of a person: pairs of class and response."""
    parts = [("lesson", truth, response) for truth, response in lessons]
    parts += [("test", truth, response) for truth, response in tests]
    return [
        Answer(name, phase, f"{phase} {n}", response, None, truth, group)
        for n, (phase, truth, response) in enumerate(parts)
    ]


def test_people_who_learned_a_class_are_right_on_it():
    """Half of each fold learned class 0 only, the other half class 1 only."""
    answers, items = [], [(0, 0), (0, 0), (1, 1), (1, 1)]
    for number in range(4 * crowd.FOLDS):
        learned = number // crowd.FOLDS % 2
        given = [(truth, truth if truth == learned else 1 - truth) for truth, _ in items]
        answers += person(f"p{number:02}", "", given, given)
    assert crowd.lesson_auc(answers, 2) == [1.0] * crowd.FOLDS
    turned = [one if one.phase == "test" else crowd.replace(one, response=1 - one.response) for one in answers]
    assert crowd.lesson_auc(turned, 2) == [0.0] * crowd.FOLDS


def test_standard_errors_by_hand():
    """Accuracies 100, 50 and 0 %: standard deviation 50, standard error 50 / sqrt(3)."""
    tests = [(0, 0), (1, 1)], [(0, 0), (1, 0)], [(0, 1), (1, 0)]
    answers = [one for n, given in enumerate(tests) for one in person(f"p{n}", "b", [], given)]
    answers += [one for n in (7, 8) for one in person(f"p{n}", "a", [], tests[1])]
    assert [tuple(row.values()) for row in crowd.conditions("x", answers)] == [
        ("x", "a", 2, 50.0, 0.0),
        ("x", "b", 3, 50.0, 28.9),
    ]


def test_reliability_by_hand():
    certainty, right = np.array([0.45, 0.5, 0.55, 0.95, 1.0]), np.array([True, True, False, False, True])
    assert [tuple(row.values()) for row in crowd.reliability(certainty, right)] == [
        (0.0, 0.5, 1, 45.0, 100.0),
        (0.5, 0.6, 2, 52.5, 50.0),
        (0.95, 0.99, 1, 95.0, 0.0),
        (0.99, 1.0, 1, 100.0, 100.0),
    ]


@pytest.fixture(scope="module")
def log():
    """30 images of 3 classes, 12 people who are right on two thirds; images have 4 to 12 answers."""
    rng = np.random.default_rng(0)
    truth, labels = np.arange(30) % 3, np.repeat(np.arange(3), 8)
    features, expert = (np.eye(3)[some] + rng.normal(0, 0.6, (len(some), 3)) for some in (truth, labels))
    images = [f"image {number:02}" for number in range(30)]
    answers = [
        Answer(f"p{one:02}", "test", images[i], int(truth[i] if rng.random() < 2 / 3 else rng.integers(3)), None, None)
        for i in range(30)
        for one in rng.permutation(12)[: rng.integers(4, 13)]
    ]
    known = np.array([(one, c, c, 0.5) for one in range(12) for c in range(3)])
    return crowd.Log(Votes.of(answers), known, truth, make_teacher(expert, labels, images, features, 3)[0])


WAYS = [("teacher", "uncertain"), ("teacher", "even"), ("teacher_fixed", "uncertain")]


@pytest.mark.parametrize(("method", "order"), WAYS)
def test_a_replay_starts_with_the_teacher_and_never_asks_more_than_was_recorded(log, method, order, monkeypatch):
    fit, asked = crowd.fit_crowd, []

    def seen(answers, *how):
        asked.append(answers.votes)
        return fit(answers, *how)

    monkeypatch.setattr(crowd, "fit_crowd", seen)
    teacher = crowd.draw_teacher(log.teacher, 5, 0, 3)
    found = list(crowd.replay(log, method, order, teacher, 0, 3))
    recorded, everything, before = np.bincount(log.votes.image), triples(log.votes), set()
    assert [answers for answers, *_ in found] == [k for k in crowd.ANSWERS if k <= recorded.mean()]
    prior = teacher.prior(log.votes.images)
    assert (found[0][1] == prior.argmax(1)).all() and found[0][2] == pytest.approx(prior.max(1))
    for votes in asked:
        given, got = triples(votes), np.bincount(votes.image, minlength=30)
        assert before <= given <= everything and len(given) == len(votes.image)
        before = given
        if order == "even":
            assert (got >= np.minimum(got.max() - 1, recorded)).all()
    assert set(np.multiply(crowd.ANSWERS[:6], 30)) <= {len(votes.image) for votes in asked}


def triples(votes):
    return set(zip(votes.image.tolist(), votes.person.tolist(), votes.answer.tolist(), strict=True))


def test_same_seed_same_rows(log, monkeypatch):
    monkeypatch.setattr(crowd, "DRAWS", 2)
    monkeypatch.setattr(crowd, "PER_CLASS", (5, "all"))
    labels, certainties = crowd.replay_all(log, 1)
    assert (labels, certainties) == crowd.replay_all(log, 1) != crowd.replay_all(log, 2)
    assert len(labels) == 3 * 5 + 2 * 4 * 7 and certainties
    first = [row for row in labels if row["expert_per_class"] == "all" and row["answers_per_image"] == 0]
    assert len({row["accuracy"] for row in first}) == 1 and {row["accuracy_sd"] for row in first} == {0.0}
    for row in labels:
        assert row["answers_per_image"] >= (1 if row["expert_per_class"] == "" else 0)
