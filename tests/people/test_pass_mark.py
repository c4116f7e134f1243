"""Pass mark and extra lessons: what teach.py prepares, and what the page chooses for a person."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.many_classes import TWELVE, build_many
from utils.people.extra_lessons import RIVALS, confusions, share_images
from utils.people.teacher import fit_head


def test_extra_pairs_are_of_new_images(marked):
    """No picture of a prepared pair is in the course or in a test, and no image is in two pairs."""
    out, course, key = marked
    path_of = {name: image["path"] for name, image in key["images"].items()}
    lessons = json.loads((out / "course_CMaxGrad.json").read_text())["lessons"]
    shown = {path for entry in lessons for path in (entry["image"], *entry.get("partners", {}).values())}
    shown |= {pair["partner"] for entry in lessons for pair in entry["explanations"].values()}
    shown |= {path_of[name] for part in (course["test"], course["pass"]["test"], course["label"]) for name in part}
    pictures = []
    for lesson in course["extra"]:
        assert key["images"][lesson["image"]]["phase"] == "lesson" and lesson["label"] != lesson["answer"]
        assert {*lesson["pairs"], *lesson.get("partners", {})} == {str(lesson["answer"])}
        pictures.append(path_of[lesson["image"]])
        pictures += [key["explanations"][name] for name in lesson.get("partners", {}).values()]
        partners = [Path(key["explanations"][pair["partner"]]).name for pair in lesson["pairs"].values()]
        pictures += [f"./datasets/birds/images/{name.split('_groundtruth')[0]}.png" for name in partners]
    assert not set(pictures) & shown and len(pictures) == len(set(pictures))
    assert {*pictures} <= {f"./datasets/birds/images/tr_{number}.png" for number in range(9 * 7)}
    assert any(lesson["pairs"] for lesson in course["extra"]) and course["pass"]["shown"] == 3


def test_the_two_tests_are_balanced_and_of_different_images(marked):
    _, course, key = marked
    tests = [course["test"], course["pass"]["test"]]
    assert [len(set(test)) for test in tests] == [4, 4] and not {*tests[0]} & {*tests[1]}
    one, two = ([key["images"][name] for name in test] for test in tests)
    assert sorted(image["label"] for image in one) == sorted(image["label"] for image in two)
    assert {image["phase"] for image in one + two} == {"test"} and len({image["path"] for image in one + two}) == 8
    assert set(course["pass"]["checks"]) == {*tests[0], *tests[1]}  # other tests check their values


def test_confusions_against_plain_loops():
    """Held-out probabilities of the other class, both ways; without held-out images, those of the head itself."""
    rng = np.random.default_rng(0)
    labels, features = np.repeat([0, 1, 2], [1, 4, 3]), rng.normal(size=(8, 6))
    features[labels == 2] = features[4] + 0.1 * rng.normal(size=(3, 6))
    logits = np.exp(features @ fit_head(features, labels, 3).T)
    mean = [[np.mean([row[b] / row.sum() for row in logits[labels == a]]) for b in range(3)] for a in range(3)]
    expected = [[mean[a][b] + mean[b][a] for b in range(3)] for a in range(3)]
    assert np.allclose(confusions(features, labels, 3), expected)
    assert not np.allclose(confusions(features[1:], labels[1:] - 1, 2)[0, 1], expected[1][2])


@pytest.mark.parametrize("seed", range(20))
def test_lessons_share_the_images_fairly(seed):
    """Nobody gets images that are not there; each class gets its lessons with its rivals while images last."""
    rng = np.random.default_rng(seed)
    confused = rng.random((6, 6))
    confused += confused.T
    left = rng.integers(0, 40, 6).tolist()
    given = share_images(confused, left, 7)
    assert list(given) == sorted(given, key=lambda pair: -confused[pair])
    used = [sum(number for pair, number in given.items() if label in pair) for label in range(6)]
    assert all(u <= n for u, n in zip(used, left, strict=True))
    rivals = [sorted(set(range(6)) - {a}, key=lambda b, a=a: -confused[a, b])[:RIVALS] for a in range(6)]
    full = {}
    for a in range(6):
        for place in range(7):
            pair = tuple(sorted((a, rivals[a][place % RIVALS])))
            full[pair] = full.get(pair, 0) + 1
    assert share_images(confused, [100] * 6, 7) == full
    for pair, number in full.items():  # fewer only if a class has no image left
        got = given.get(pair, 0)
        assert got == number or (got < number and any(used[label] == left[label] for label in pair))


def test_a_pass_mark_needs_two_tests(tmp_path):
    with pytest.raises(AssertionError, match="--pass-mark needs a second test"):
        build_many(tmp_path, "birds", TWELVE[:5], 2, settings=["--pass-mark", 0.7])


def next_lesson(course, key, trials):
    """The extra lesson that the page should show: a plain second implementation."""
    count, lessons = len(course["classes"]), 0
    wrong = min(1.0, 4 / (count - 1))
    prior = np.full((count, count), wrong / (5 + wrong * (count - 1)))
    np.fill_diagonal(prior, 5 / (5 + wrong * (count - 1)))
    known = 20 * prior
    for trial in trials:
        lessons += trial["phase"] == "lesson"
        weight = 1 if trial["phase"] == "test" else 0.5 if lessons > 5 else 0
        known[key["images"][trial["stimulus"]]["label"], trial["response"]] += weight
    excess = known / known.sum(1, keepdims=True) - prior
    done, need = {trial["stimulus"] for trial in trials}, {}
    shown = [{lesson["label"], lesson["answer"]} for lesson in course["extra"] if lesson["image"] in done]
    for lesson in (lesson for lesson in course["extra"] if lesson["image"] not in done):
        a, b = lesson["label"], lesson["answer"]
        need[lesson["image"]] = (excess[a, b] + excess[b, a]) / (1 + shown.count({a, b}))
    return [image for image, value in need.items() if value > max(need.values()) - 1e-9]


def test_the_page_chooses_as_a_second_implementation(browser, marked):
    """Random answers of a person who failed the first test, with up to two extra lessons."""
    from tests.helpers.person import DESKTOP, Person, resize, show_state

    out, course, key = marked
    resize(browser, DESKTOP)
    browser.get((out / "course_page/index.html").as_uri())
    browser.execute_script("localStorage.clear()")
    browser.refresh()
    person = Person(browser, course)
    person.click("I agree")
    person.click("Start the first lesson")
    person.sees("Which kind")
    state, rng, chosen = person.state, np.random.default_rng(0), set()
    for number in range(24):
        extra = rng.permutation(course["extra"])[: number % 3]
        images = [lesson["image"] for lesson in course["lessons"]] + course["test"] + [one["image"] for one in extra]
        trials = []
        for place, image in enumerate(images):
            phase, label = key["images"][image]["phase"], key["images"][image]["label"]
            wrong = int((label + rng.integers(1, 9)) % 9)
            response = label if phase == "lesson" and rng.random() < 0.5 else wrong
            trials.append({"stimulus": image, "phase": phase, "response": response, "time_elapsed": place})
        show_state(person, {**state, "trials": trials, "screen": "lesson"})
        person.sees(f"Lesson {number % 3 + 1} of 3")
        expected = next_lesson(course, key, trials)
        assert person.shown()[0] == expected[0]
        chosen.add(expected[0])
    assert len(chosen) > 8
