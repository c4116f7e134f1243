"""Simulated people: what they would answer, given by an accuracy, by real people's confusions, or by a network that took the course."""

from collections.abc import Sequence

import numpy as np

from utils.base.errors import InputError
from utils.people.aggregation import confusion_counts
from utils.people.page_key import Key
from utils.people.participants import Answer

SECONDS, SPREAD = 3.0, 0.5  # an answer takes 3 s in the median; the logarithm of its time varies by this


def symmetric(accuracy: float, num_classes: int) -> np.ndarray:
    """The confusion matrix (C, C) of somebody who is right with probability `accuracy` and errs evenly: row truth, column answer."""
    wrong = (1 - accuracy) / (num_classes - 1)
    return np.full((num_classes, num_classes), wrong) + (accuracy - wrong) * np.eye(num_classes)


def estimated(answers: Sequence[Answer], classes: Sequence[str]) -> np.ndarray:
    """The confusion matrix (C, C) of real people after their lessons: shares of their answers to images of each class.

    Raises:
        InputError: they were shown no image of a class.
    """
    counts = confusion_counts([answer for answer in answers if answer.phase != "lesson"], len(classes))
    empty = [name for name, row in zip(classes, counts, strict=True) if not row.any()]
    if empty:
        raise InputError(
            f"--confusion-of: nobody answered to an image of {empty[0]} after the lessons; give more answers."
        )
    return counts / counts.sum(1, keepdims=True)


def respond(truth: np.ndarray, matrix: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One answer to each image, drawn from the row of its class.

    Args:
        truth: classes, (N,).
        matrix: confusion matrix, (C, C).
        rng: where the draws come from.
    """
    reached = matrix.cumsum(1)[truth]  # (N, C)
    return (rng.random((len(truth), 1)) * reached[:, -1:] >= reached).sum(1)


def assign(images: int, people: int, per_image: int, rng: np.random.Generator) -> list[list[int]]:
    """Who labels what: each image goes to `per_image` people (to all where there are fewer), each person gets as many to within one.

    Returns:
        For each person the numbers of the images, in random order.
    """
    shares: list[list[int]] = [[] for _ in range(people)]
    for image in rng.permutation(images).tolist():
        draws = rng.random(people)
        for person in sorted(range(people), key=lambda person: (len(shares[person]), draws[person]))[:per_image]:
            shares[person].append(image)
    return shares


class Recorder:
    """Writes simulated answers down as the course page records real ones.

    Args:
        key: of the course page.
        dataset: name of the page's dataset.
        rng: where trial ids and response times come from.
    """

    def __init__(self, key: Key, dataset: str, rng: np.random.Generator) -> None:
        self._key = key
        self._rng = rng
        self._participants: list[dict] = []
        self.export = {"build_id": key.build_id, "dataset": dataset, "participants": self._participants}

    def add(self, answered: dict[str, list[tuple[str, int]]]) -> None:
        """One person: for each phase the ids of the images and the answers, in order."""
        trials: list[dict] = []
        elapsed = 0
        for phase, pairs in answered.items():
            for image_id, response in pairs:
                rt = round(1000 * SECONDS * float(np.exp(SPREAD * self._rng.standard_normal())))
                elapsed += rt
                trials.append(
                    {
                        "trial_id": self._rng.bytes(16).hex(),
                        "trial_index": len(trials),
                        "trial_type": phase,
                        "phase": phase,
                        "time_elapsed": elapsed,
                        "rt": rt,
                        "stimulus": image_id,
                        "response": int(response),
                        "build_id": self._key.build_id,
                    }
                )
        name = f"p{len(self._participants) + 1:04d}"
        self._participants.append({"participant": name, "trials": trials})


def known_images(key: Key, phase: str) -> dict[str, int]:
    """The images of a phase whose class the key knows, in the order of `Key.of_phase`, and that class: simulated people are right or wrong
    about it.

    Raises:
        InputError: there are images, and the key knows the class of none.
    """
    images = key.of_phase(phase)
    known = {name: image.label for name, image in images.items() if image.label is not None}
    if images and not known:
        raise InputError(
            f"{key.path} knows the class of no {phase} image, so that nobody can be simulated; let a network answer."
        )
    return known


def crowd(key: Key, dataset: str, matrices: Sequence[np.ndarray], per_image: int, seed: int) -> dict:
    """People who take the test and label the rest, each with a confusion matrix. Nobody answers to images whose class is unknown.

    Args:
        key: of the course page.
        dataset: name of the page's dataset.
        matrices: one per person, (C, C).
        per_image: labels that each image gets.
        seed: of all draws.

    Returns:
        The answers in the form of our server's export.
    """
    rng = np.random.default_rng(seed)
    recorder = Recorder(key, dataset, rng)
    known = {phase: known_images(key, phase) for phase in ("test", "label")}
    ids = {phase: list(images) for phase, images in known.items()}
    truth = {phase: np.array(list(images.values()), dtype=np.int64) for phase, images in known.items()}
    shares = assign(len(ids["label"]), len(matrices), per_image, rng)
    for matrix, share in zip(matrices, shares, strict=True):
        shown = {"test": rng.permutation(len(ids["test"])).tolist(), "label": share}
        recorder.add(
            {
                phase: [
                    (ids[phase][n], response)
                    for n, response in zip(numbers, respond(truth[phase][numbers], matrix, rng), strict=True)
                ]
                for phase, numbers in shown.items()
            }
        )
    return recorder.export


def one_person(key: Key, dataset: str, responses: dict[str, Sequence[int]], seed: int) -> dict:
    """Somebody who answers to every image of the phases given, in the order of `Key.of_phase`; returns the form of our export."""
    recorder = Recorder(key, dataset, np.random.default_rng(seed))
    recorder.add({phase: list(zip(key.of_phase(phase), answers, strict=True)) for phase, answers in responses.items()})
    return recorder.export
