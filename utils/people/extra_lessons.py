"""Extra lessons for people below the pass mark, on the classes that the teacher confuses."""

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from scipy.special import softmax

from utils.base import processes
from utils.data.catalog import Dataset
from utils.data.images import whole_view
from utils.data.loading import ImageSet, open_list
from utils.people.teacher import RIDGE, fit_head, held_out_logits, network_of
from utils.teaching.course import lesson_entry, people_rows
from utils.teaching.loop import teach
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool
from utils.teaching.registry import make_selector
from utils.teaching.student import StudentSettings

RIVALS = 3  # classes that each class is compared with
ALPHA = 0.5  # of CMaxGrad, as in the teaching scripts
UNUSED = dict.fromkeys(("steps", "lr", "momentum", "weight_decay", "max_grad_norm"), 0)  # settings of the SGD student


def extra_lessons(course: dict, shown: set[str], dataset: Dataset, cfg) -> list[dict]:
    """Returns further lessons of a course, as in course.json, of training images that are not `shown` on the page yet.

    The course's selection teaches pairs of classes to an untaught student. Each class gets up to `cfg.extra_lessons`
    lessons with the `RIVALS` classes that the teacher confuses most with it. The most confused classes come first.
    No image is in two pairs, so there are fewer lessons if a class has few images.
    """
    how, ce_list, num_classes = network_of(course, cfg), course["ce_list"], len(dataset.classes)
    images = open_list(dataset, "train", cfg.data_root, partial(whole_view, size=how["image_size"]))
    pool = Pool(images, ce_list, num_classes, "attention", how["image_size"], cfg.outlined_share)
    people = people_rows(ce_list, pool.rows, num_classes)
    run = {name: getattr(cfg, name) for name in ("batch_size", "seed", "workers", "device")}
    settings = StudentSettings(**how, **UNUSED, **run, ridge=RIDGE, freeze_features=True)  # type: ignore[arg-type]
    selector_of = partial(make_selector, course["selection"], ALPHA, cfg.seed)
    untested = ImageSet(images.rows[:1], images.source, images.data_root, images.view)
    student = OptimalStudent(pool, untested, selector_of().explains, settings)
    labels, free = images.labels, torch.tensor([row.path not in shown for row in images.rows])
    confused = confusions(student.features.images.numpy(), labels.numpy(), num_classes)
    left = labels[free].bincount(minlength=num_classes).tolist()
    found: list[dict] = []
    for pair, number in share_images(confused, left, cfg.extra_lessons).items():
        rows = (free & torch.isin(labels, torch.tensor(pair))).nonzero()[:, 0]
        for lesson in teach(student.untaught(rows), selector_of(), number):
            choice = lesson.choice
            image, partner = (int(rows[row]) for row in (choice.image, choice.partner))
            free[[image, partner]] = False
            choice = replace(choice, image=image, partner=partner, partners={choice.counter: partner})
            found.append(lesson_entry(pool, people, len(found), choice))
    wanted = cfg.extra_lessons * num_classes
    if len(found) < wanted:
        processes.say(f"The page has {len(found)} of {wanted} extra lessons: too few training images are left.")
    return found


def confusions(features: np.ndarray, labels: np.ndarray, num_classes: int) -> np.ndarray:
    """Returns how much the teacher confuses two classes, (C, C): mean probabilities of held-out images, both ways."""
    logits = held_out_logits(features, labels, num_classes)
    if logits is None:
        logits = features @ fit_head(features, labels, num_classes).T
    believed = softmax(logits, axis=1)
    mean = np.stack([believed[labels == label].mean(0) for label in range(num_classes)])
    return mean + mean.T


def share_images(confused: np.ndarray, left: list[int], per_class: int) -> dict[tuple[int, int], int]:
    """Returns the number of lessons for pairs of classes, the most confused first. Class c has `left[c]` images."""
    wanted = Counter[tuple[int, int]]()
    for own, row in enumerate(confused):
        rivals = [int(other) for other in np.argsort(-row, kind="stable") if other != own][:RIVALS]
        for place, other in enumerate(rivals):
            wanted[min(own, other), max(own, other)] += len(range(place, per_class, len(rivals)))
    pairs = sorted(wanted, key=lambda pair: -confused[pair])
    left, given = list(left), dict.fromkeys(pairs, 0)
    for a, b in pairs * 2 * per_class:  # in turn, so that all get some if images run out
        if given[a, b] < wanted[a, b] and left[a] and left[b]:
            given[a, b] += 1
            left[a] -= 1
            left[b] -= 1
    return {pair: number for pair, number in given.items() if number}
