"""What a run that ended well may be worth nothing for: rules on what it measured, each a sentence for the user or None.

A run that breaks one of these rules is no error, since a baseline may mean to, but its results must not be taken for good ones. The
sentences stand in the run record as `warnings`, and the launcher prints them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import overload

import numpy as np
from torch import Tensor

from utils.base.errors import first_of
from utils.data.lists import UNKNOWN
from utils.data.loading import ImageSet

DEVIATIONS = 3  # standard deviations above chance that guessing reaches once in 700 times
STILL_FALLING = 0.01  # of the loss of guessing: a probe whose loss falls by more over its last tenth has not converged
NO_CONTRAST = 0.999  # of the loss of projections that do not differ
ROUNDED = 1e-3  # percent: as far as accuracies are rounded
NAMED = 10  # classes that a sentence names at most


@overload
def with_warnings(measured: dict, sentences: Iterable[str | None]) -> dict: ...


@overload
def with_warnings(measured: dict | None, sentences: Iterable[str | None]) -> dict | None: ...


def with_warnings(measured: dict | None, sentences: Iterable[str | None]) -> dict | None:
    """What was measured, with the sentences that are not None behind the `warnings` it has; without any it has no such key.

    Args:
        measured: plain values; None (in a process that writes no record) stays None.
        sentences: what the rules below returned.
    """
    if measured is None:
        return None
    found = [*measured.get("warnings", ()), *filter(None, sentences)]
    return measured | {"warnings": found} if found else measured


def constant_maps(constant: int, explanations: int) -> str | None:
    """Explanations whose map is constant: their masks point nowhere."""
    if constant == 0:
        return None
    return (
        f"{constant} of {explanations} explanations have a constant map, so their masks point at nothing; where they are many, train the "
        "teacher anew, and give it as --checkpoint."
    )


def missing_classes(test: ImageSet, classes: Sequence[str]) -> str | None:
    """Classes of which a test list has no image.

    Args:
        test: the list.
        classes: class names in label order.
    """
    present = set(test.labels.tolist())
    missing = [name for label, name in enumerate(classes) if label not in present]
    if not missing or present == {UNKNOWN}:  # of a list whose classes are all unknown, `unknown_classes` tells
        return None
    return (
        f"{test.source} has no image of {first_of(missing, NAMED)}: the test accuracy says nothing of that, and the confusion matrix has "
        "an empty row there; add some."
    )


def repeated_images(images: ImageSet) -> str | None:
    """Lines of a list that name a picture which another line names already: a course may show it twice.

    Args:
        images: the list.
    """
    first: dict[str, int] = {}
    again = [
        (row.path, line) for line, row in enumerate(images.rows, start=1) if first.setdefault(row.path, line) != line
    ]
    if not again:
        return None
    (path, line), *more = again
    others = f", and {len(more)} more are named again" if more else ""
    return (
        f"{images.source}, line {line}: {path} stands in line {first[path]} too{others}; a course may show it twice: remove what repeats, "
        "and explain the list anew."
    )


def unknown_classes(test: ImageSet) -> str | None:
    """A test list with images whose class is unknown, on which nothing can be measured."""
    unknown = len(test) - test.num_known
    if unknown == 0:
        return None
    if unknown == len(test):
        return f"The classes of all {unknown} images of {test.source} are unknown: no test accuracy can be told."
    return f"The classes of {unknown} of {len(test)} images of {test.source} are unknown: test accuracies are of the others."


def untaught_classes(lessons: int, shown: int, num_classes: int) -> str | None:
    """A course of two classes a lesson that is too short to show each class once.

    Args:
        lessons: how many it has.
        shown: classes of which it shows an image.
        num_classes: C.
    """
    if 2 * lessons >= num_classes:
        return None
    return (
        f"The course shows {shown} of {num_classes} classes, and nobody learns the others from it; raise --iterations to "
        f"{math.ceil(num_classes / 2)} or more."
    )


def one_answer(confusion: np.ndarray, classes: Sequence[str], source: object) -> str | None:
    """A classifier that answers the same to every image of a list of several classes.

    Args:
        confusion: counts (C, C), row the true class, column the answer.
        classes: class names in label order.
        source: the list's file.
    """
    answered = np.flatnonzero(confusion.sum(0))
    if len(answered) > 1 or np.count_nonzero(confusion.sum(1)) < 2:
        return None
    return f"The classifier answers {classes[answered[0]]} to every image of {source}; train it anew, with another --lr or more --epochs."


def chance(labels: Tensor, num_classes: int) -> float:
    """How often guessing is right on a list, 0 .. 1: 1 / C, or more where always answering the most frequent class is right more often.

    Args:
        labels: of the list, (N,). Where those that are known are all of one class they say nothing of telling it from others
            (`missing_classes` tells), and it is 1 / C.
        num_classes: C.
    """
    counts = _counts(labels)
    return max(1 / num_classes, counts.max() / counts.sum()) if np.count_nonzero(counts) > 1 else 1 / num_classes


def _counts(labels: Tensor) -> np.ndarray:
    """How many images of a list are of each class, as far as classes are known."""
    return np.bincount(labels[labels != UNKNOWN].cpu().numpy())


def _guessing(labels: Tensor, num_classes: int) -> str:
    """`guessing on 40 images of 2 classes`, and how many are of one class where they are unequal."""
    share, images = chance(labels, num_classes), _counts(labels).sum()
    unequal = f", {100 * share:.1f} % of them of one class," if share > 1 / num_classes else ""
    return f"guessing on {images} images of {num_classes} classes{unequal}"


def guesses(accuracy: float, labels: Tensor, num_classes: int, source: object) -> str | None:
    """A classifier that is not more often right than guessing on the very list that it was trained on.

    Args:
        accuracy: in percent.
        labels, num_classes: as in `chance`.
        source: how the sentence calls the list.
    """
    share = chance(labels, num_classes)
    if accuracy > 100 * share + ROUNDED:
        return None
    largest = ", the share of its largest class" if share > 1 / num_classes else ""
    return (
        f"The classifier is right on {accuracy:.1f} % of {source}, no more than guessing ({100 * share:.1f} %{largest}); train it anew, "
        "with another --lr or more --epochs."
    )


def chance_level(share: float, images: int) -> float:
    """The accuracy in percent that guessing, right with a chance of `share`, hardly exceeds: the share and three standard deviations of a
    binomial one."""
    return 100 * (share + DEVIATIONS * math.sqrt(share * (1 - share) / images))


def never_above_chance(test_accuracies: Sequence[float], labels: Tensor, num_classes: int, remedies: str) -> str | None:
    """Accuracies on a test list of which none can be told from guessing.

    Args:
        test_accuracies: in percent, after each lesson or of each classifier; at least one.
        labels: of the test list, as in `chance`; none known: nothing was measured. Where it is so short that even 100 % might be guessed,
            no more than `chance` is asked for.
        num_classes: C.
        remedies: the settings that the sentence names.
    """
    images, share = _counts(labels).sum(), chance(labels, num_classes)
    if images == 0 or max(test_accuracies) > guessable(share, images):
        return None
    return (
        f"The test accuracy never left chance: {max(test_accuracies):.1f} % at best, where {_guessing(labels, num_classes)} may reach "
        f"{min(chance_level(share, images), 100):.1f} %; try other values of {remedies}."
    )


def guessable(share: float, images: int) -> float:
    """The accuracy in percent that must be exceeded not to be taken for guessing: `chance_level`, or the share where that cannot be."""
    level = chance_level(share, images)
    return (level if level < 100 else 100 * share) + ROUNDED


def some_at_chance(
    test_accuracies: Mapping[str, Sequence[float]], labels: Tensor, num_classes: int, remedies: str
) -> str | None:
    """Classifiers that cannot be told from guessing although others can: what is compared with them says nothing.

    Args:
        test_accuracies: in percent, by name of the classifier, one or more each.
        labels, num_classes, remedies: as in `never_above_chance`, which tells of the case that all of them are at chance.
    """
    best, images = {name: max(values) for name, values in test_accuracies.items()}, _counts(labels).sum()
    if images == 0:
        return None
    level = guessable(chance(labels, num_classes), images)
    guessing = [f"{name} ({value:.1f} % at best)" for name, value in best.items() if value <= level]
    if not guessing or len(guessing) == len(best):
        return None
    return (
        f"No better than {_guessing(labels, num_classes).rstrip(',')}: {first_of(guessing, NAMED)}; a comparison with that says nothing: "
        f"try other values of {remedies}."
    )


def not_converged(losses: Sequence[float], labels: Tensor) -> str | None:
    """A linear probe that has not learned, or had not finished learning.

    Args:
        losses: mean cross entropy of every epoch, at least one.
        labels: of the training list, (N,); guessing has as its loss the entropy of their shares, log C where classes are equal.
    """
    shares = np.array([count for count in _counts(labels) if count]) / _counts(labels).sum()
    guessing, last = float(-(shares * np.log(shares)).sum()), losses[-1]
    before = losses[max(0, len(losses) - 1 - max(1, len(losses) // 10))]
    if last >= guessing:
        return (
            f"The linear probe has learned nothing: its loss of {last:.3f} is not below that of guessing ({guessing:.3f}); change "
            "--probe-lr, raise --probe-epochs, or replace the encoder."
        )
    if before - last > STILL_FALLING * guessing:
        return (
            f"The linear probe has not converged: its loss still fell from {before:.3f} to {last:.3f} over the last tenth of its epochs; "
            "raise --probe-epochs or --probe-lr."
        )
    return None


def no_contrast(loss: float, batch_sizes: Sequence[int]) -> str | None:
    """SimCLR whose projections do not tell one image from another.

    Args:
        loss: mean NT-Xent of the last epoch.
        batch_sizes: images of each of its batches, each B >= 2; projections that do not differ have the loss log(2 B - 1).
    """
    blind = sum(size * math.log(2 * size - 1) for size in batch_sizes) / sum(batch_sizes)
    if loss < NO_CONTRAST * blind:
        return None
    return (
        f"SimCLR does not tell images apart: its loss of {loss:.3f} is that of projections that do not differ ({blind:.3f}); lower --lr or "
        "raise --epochs."
    )


def random_features(pretrained: str, frozen: bool = True) -> str | None:
    """Features that were drawn at random and are not trained either.

    Args:
        pretrained: the setting of that name.
        frozen: whether the features stay as they are.
    """
    if pretrained != "none" or not frozen:
        return None
    return (
        "--pretrained none: the features are drawn at random by --seed and stay so, since only the head learns; give imagenet or the path "
        "of a state dict."
    )


def too_few_answers(people: int, answers: int, num_classes: int) -> str | None:
    """Dawid and Skene's model where it has more numbers a person than there are answers to tell them from.

    Args:
        people: whose answers it weighed, at least one.
        answers: all of theirs to the test and of the labels.
        num_classes: C; a person's confusion matrix has C (C - 1) free numbers.
    """
    numbers = num_classes * (num_classes - 1)
    if answers >= people * numbers:
        return None
    return (
        f"--aggregation dawid_skene estimates {numbers} numbers of each person, who gave {answers / people:.1f} answers on average, "
        "and may label worse than the majority unless people's errors are systematic; give one_coin, which estimates one, if they are not."
    )


def nothing_confident(own_labels: Sequence[int], confidence: float) -> str | None:
    """Self-training in which no answer was confident enough to be learned from.

    Args:
        own_labels: how many there were, in each of its rounds; none where nothing trained itself.
        confidence: the setting of that name.
    """
    if not own_labels or any(own_labels):
        return None
    return (
        f"Self-training added nothing to the expert's images: no answer reached --confidence {confidence:g}; lower it, or train longer "
        "(--epochs, --probe-epochs)."
    )
