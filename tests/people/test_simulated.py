"""Simulated people."""

import itertools
import json
import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tests.helpers.answering import CLASSES
from utils.base.errors import InputError
from utils.people import simulated
from utils.people.aggregation import symmetric
from utils.people.answers import Answer, read_answers


def test_symmetric_people_are_right_as_often_as_stated():
    matrix = symmetric(0.6, 5)
    assert matrix.sum(1) == pytest.approx(1) and np.diag(matrix) == pytest.approx(0.6)
    truth = np.repeat(np.arange(5), 4000)
    answers = simulated.respond(truth, matrix, np.random.default_rng(0))
    counts = np.zeros((5, 5))
    np.add.at(counts, (truth, answers), 1 / 4000)
    assert np.abs(counts - matrix).max() < 4 * math.sqrt(0.24 / 4000)


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
    with pytest.raises(InputError, match="no answers to images of Tipped"):
        simulated.estimated(answers[:-3] + lessons, CLASSES)


def test_nobody_answers_to_images_whose_class_is_unknown(key):
    first, *others = key.of_phase("label")
    unknown = replace(key, images=key.images | {first: replace(key.images[first], label=None)})
    people = simulated.crowd(unknown, [symmetric(1.0, 5)] * 3, 2, 0)["participants"]
    trials = [trial for person in people for trial in person["trials"] if trial["phase"] == "label"]
    assert Counter(trial["stimulus"] for trial in trials) == dict.fromkeys(others, 2)
    nothing = replace(key, images={name: replace(image, label=None) for name, image in key.images.items()})
    with pytest.raises(InputError, match="the classes of all test images are unknown. Use --who network"):
        simulated.crowd(nothing, [symmetric(1.0, 5)], 2, 0)


def test_a_crowd_answers_as_the_page_records_it(key, tmp_path):
    matrices = [symmetric(1.0, 5), symmetric(0.0, 5), symmetric(1.0, 5)]
    made = [simulated.crowd(key, matrices, 2, seed) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    (tmp_path / "a.json").write_text(json.dumps(made[0]))
    answers = read_answers([tmp_path / "a.json"], key)[0]
    assert Counter(answer.phase for answer in answers) == {"test": 30, "label": 20}
    assert all((answer.response == answer.truth) == (answer.person != "p0002") for answer in answers)
    assert set(Counter(answer.image for answer in answers if answer.phase == "label").values()) == {2}
    trials = [trial for person in made[0]["participants"] for trial in person["trials"]]
    assert len({trial["trial_id"] for trial in trials}) == len(trials)
    for person in made[0]["participants"]:
        names = ("trial_index", "time_elapsed", "rt")
        index, elapsed, rt = ([trial[name] for trial in person["trials"]] for name in names)
        assert index == list(range(len(index))) and elapsed == np.cumsum(rt).tolist()
    contract = "trial_id trial_index trial_type phase time_elapsed rt stimulus response build_id"
    assert all(list(trial) == contract.split() for trial in trials)
