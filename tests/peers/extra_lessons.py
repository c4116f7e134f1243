"""A simulation, not a study: how many more people reach the pass mark with extra lessons, and how many these are.

    python -m tests.peers.extra_lessons ../shared/data/explain_teach

Learners follow Bayesian knowledge tracing (Corbett & Anderson, 1995), fitted to the public logs for each class: they
know the class or not, learn it in a lesson on it, guess, and slip. Wrong answers are drawn from the logs. After 20
lessons and 20 test images, learners below 70 % get ten lessons and a second test. Each of 10 draws fits a bootstrap
sample of the people and simulates 1,000 learners. Takes 4 minutes.
"""

import sys
from itertools import permutations

import numpy as np
from scipy.optimize import minimize

from tests.people.test_pass_mark import next_lesson
from utils.data.catalog import BUTTERFLIES, CHARACTERS
from utils.people.answers import read_experiment

EXPERIMENTS = {"butterflies_crop": BUTTERFLIES, "chinese_chars": CHARACTERS, "chinese_chars_crowd": CHARACTERS}
POLICIES = ("no second test", "second test at once", "lessons on each class in turn", "lessons as on the page")
MARK, ASKED, EXTRA, DRAWS, LEARNERS = 0.7, 20, 10, 10, 1000
START = (0.3, 0.2, 0.4, 0.1)  # known at first, learned in a lesson, guess, slip


def fit(people, label):
    """Returns the most likely numbers of a class, as in `START`."""
    own = [[(a.response == label, a.phase == "lesson") for a in answers if a.truth == label] for answers in people]
    padded = np.array([some + [(0, np.nan)] * (max(map(len, own)) - len(some)) for some in own], dtype=float)

    def loss(numbers):
        known, learn, guess, slip = numbers
        yes, no = np.full(len(own), known), np.full(len(own), 1 - known)  # the learner knows the class, or does not
        for right, lesson in padded.transpose(1, 2, 0):
            there = ~np.isnan(lesson)
            yes = yes * np.where(there, np.where(right, 1 - slip, slip), 1)
            no = no * np.where(there, np.where(right, guess, 1 - guess), 1)
            yes, no = yes + no * learn * (lesson == 1), no - no * learn * (lesson == 1)
        return -np.log(yes + no).sum()

    return minimize(loss, START, bounds=((0.01, 0.99), (0.001, 0.99), (0.01, 0.9), (0.01, 0.45))).x


def simulate(numbers, wrong, page, policy, seed):
    """Returns the share right in the first test, whether the learner passes in the end, and the extra lessons."""
    rng, trials = np.random.default_rng(seed), []
    known = rng.random(len(numbers)) < numbers[:, 0]

    def answer(phase, image):
        label = page[1]["images"][image]["label"]
        right = rng.random() < (1 - numbers[label, 3] if known[label] else numbers[label, 2])
        response = label if right else int(rng.choice(len(wrong), p=wrong[label]))
        trials.append({"phase": phase, "stimulus": image, "response": response})
        known[label] |= phase == "lesson" and rng.random() < numbers[label, 1]
        return right

    def take(phase, number):
        return np.mean([answer(phase, f"{label}") for label in rng.permutation(np.arange(number) % len(numbers))])

    take("lesson", ASKED)
    first = take("test", ASKED)
    if first >= MARK or policy == POLICIES[0]:
        return first, first >= MARK, 0
    if policy == POLICIES[2]:
        take("lesson", EXTRA)
    for _ in range(EXTRA if policy == POLICIES[3] else 0):
        answer("lesson", next_lesson(*page, trials)[0])
    return first, take("test", ASKED) >= MARK, EXTRA * (policy in POLICIES[2:])


def one_draw(everybody, count, seed):
    """Returns for each policy: percent right in the first test, its spread, percent who pass, lessons per person."""
    people = [everybody[number] for number in np.random.default_rng(seed).integers(0, len(everybody), len(everybody))]
    wrong = 0.5 * (1 - np.eye(count))
    mistakes = [(a.truth, a.response) for own in people for a in own if a.response != a.truth]
    np.add.at(wrong, tuple(np.array(mistakes).T), 1)
    pairs = 9 * list(permutations(range(count), 2))
    extra = [{"image": f"lesson {n}", "label": a, "answer": b} for n, (a, b) in enumerate(pairs)]
    images = {lesson["image"]: lesson for lesson in extra} | {f"{label}": {"label": label} for label in range(count)}
    page = {"classes": range(count), "extra": extra}, {"images": images}
    crowd = np.array([fit(people, label) for label in range(count)]), wrong / wrong.sum(1, keepdims=True)
    runs = [[simulate(*crowd, page, policy, (seed, one)) for one in range(LEARNERS)] for policy in POLICIES]
    first, passed, lessons = np.array(runs, dtype=float).transpose(2, 0, 1)
    return np.stack([100 * first.mean(1), 100 * first.std(1), 100 * passed.mean(1), lessons.mean(1)])


for experiment, classes in EXPERIMENTS.items():
    answers = read_experiment(f"{sys.argv[1]}/{experiment}", classes)
    everybody = [[a for a in answers if a.person == name] for name in dict.fromkeys(a.person for a in answers)]
    tests = [100 * np.mean([a.response == a.truth for a in own if a.phase == "test"]) for own in everybody]
    print(f"{experiment}: {len(everybody)} people, {np.mean(tests):.1f} % of the test right, sd {np.std(tests):.1f}")
    draws = np.array([one_draw(everybody, len(classes), seed) for seed in range(DRAWS)])  # (draws, 4, policies)
    for policy, mean, sd in zip(POLICIES, draws.mean(0).T, draws.std(0).T, strict=True):
        told = f"{mean[0]:.1f} % of the first test, sd {mean[1]:.1f}; {mean[2]:.1f} % pass (sd {sd[2]:.1f})"
        print(f"  {policy}: {told}; {mean[3]:.1f} extra lessons per person (sd {sd[3]:.1f})", flush=True)
