"""Simulated people: their answers follow an accuracy, a confusion matrix of real people, or a network."""

from collections.abc import Mapping, Sequence

import numpy as np

from utils.base.errors import InputError
from utils.people.aggregation import confusion_counts
from utils.people.answers import Answer
from utils.people.page_key import Key

SECONDS, SPREAD = 3.0, 0.5  # median of the response time, and standard deviation of its logarithm


def estimated(answers: Sequence[Answer], classes: Sequence[str]) -> np.ndarray:
    """Returns the confusion matrix (C, C) of real people after their lessons."""
    counts = confusion_counts([answer for answer in answers if answer.phase != "lesson"], len(classes))
    empty = [name for name, row in zip(classes, counts, strict=True) if not row.any()]
    if empty:
        raise InputError(f"--confusion-of: no answers to images of {empty[0]} after the lessons. Add answer files.")
    return counts / counts.sum(1, keepdims=True)


def respond(truth: np.ndarray, matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draws one answer per image, (N,): from the row of its true class (N,) in a confusion matrix (C, C)."""
    reached = matrix.cumsum(1)[truth]  # (N, C)
    return (rng.random((len(truth), 1)) * reached[:, -1:] >= reached).sum(1)


def assign(images: int, people: int, per_image: int, rng: np.random.Generator) -> list[list[int]]:
    """Assigns each image to at most `per_image` people, who get the same number of images (within one).

    Returns image indices of each person, in random order.
    """
    shares: list[list[int]] = [[] for _ in range(people)]
    for image in rng.permutation(images).tolist():
        draws = rng.random(people)
        for person in sorted(range(people), key=lambda person: (len(shares[person]), draws[person]))[:per_image]:
            shares[person].append(image)
    return shares


def person_trials(key: Key, answered: Mapping[str, Sequence[tuple[str, int]]], rng: np.random.Generator) -> list[dict]:
    """Returns one person's trials as the course page records them.

    `answered` has image ids and answers, in order, by phase; `rng` draws trial ids and response times.
    """
    trials: list[dict] = []
    elapsed = 0
    for phase, pairs in answered.items():
        for image_id, response in pairs:
            rt = round(1000 * SECONDS * float(np.exp(SPREAD * rng.standard_normal())))
            elapsed += rt
            trial = {"trial_id": rng.bytes(16).hex(), "trial_index": len(trials), "trial_type": phase, "phase": phase}
            trial |= {"time_elapsed": elapsed, "rt": rt, "stimulus": image_id, "response": int(response)}
            trials.append(trial | {"build_id": key.build_id})
    return trials


def export(key: Key, people: Sequence[list[dict]]) -> dict:
    """Returns the trials of people in the format of the server's export."""
    participants = [{"participant": f"p{n:04d}", "trials": trials} for n, trials in enumerate(people, start=1)]
    return {"build_id": key.build_id, "dataset": key.dataset, "participants": participants}


def crowd(key: Key, matrices: Sequence[np.ndarray], per_image: int, seed: int) -> dict:
    """Simulates people who take the test and label the rest; returns their answers as `export` does.

    `matrices` are the people's confusion matrices, (C, C); `per_image` people label each image. Images of unknown class
    get no answers.
    """
    rng = np.random.default_rng(seed)
    ids, truth = {}, {}
    for phase in ("test", "label"):
        images = key.of_phase(phase)
        known = {name: image.label for name, image in images.items() if image.label is not None}
        if images and not known:
            raise InputError(f"{key.path}: the classes of all {phase} images are unknown. Use --who network.")
        ids[phase], truth[phase] = list(known), np.array(list(known.values()), dtype=np.int64)
    people = []
    for matrix, share in zip(matrices, assign(len(ids["label"]), len(matrices), per_image, rng), strict=True):
        answered = {}
        for phase, numbers in (("test", rng.permutation(len(ids["test"])).tolist()), ("label", share)):
            responses = respond(truth[phase][numbers], matrix, rng)
            answered[phase] = [(ids[phase][n], response) for n, response in zip(numbers, responses, strict=True)]
        people.append(person_trials(key, answered, rng))
    return export(key, people)


def one_person(key: Key, responses: Mapping[str, Sequence[int]], seed: int) -> dict:
    """Simulates a person who answers all images of the given phases, in the order of `Key.of_phase`."""
    answered = {phase: list(zip(key.of_phase(phase), answers, strict=True)) for phase, answers in responses.items()}
    return export(key, [person_trials(key, answered, np.random.default_rng(seed))])
