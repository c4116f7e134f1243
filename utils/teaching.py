"""The teaching loop: score the pool, choose a pair, add it, let the student learn, see what it knows."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial

import torch
from torch import Tensor

from models.resnet import FEATURES, ResNet18
from utils import evaluation, processes
from utils.errors import RunError
from utils.features import FeatureMaps
from utils.loading import ImageSet, to_float
from utils.maxgrad import log_psi, margin_risk
from utils.pool import Pool
from utils.randomness import generator
from utils.resuming import Unfinished
from utils.selection import Choice, Selection, choose, choose_random, combine_scores
from utils.student import attend


@dataclass
class TeachingSet:
    """What the student has been taught, on its device.

    An attended explanation is a region of an image that is in the set anyway, so images are held once and items point to them.

    Attributes:
        student: who learns.
        images: distinct pictures in [0, 1], (U, 3, s, s); or, where the student's backbone is frozen, what it made of them once
            and for all: feature maps (U, d, H, W).
        owner: for each item the picture it looks at, (M,).
        weights: where it looks, (M, H, W).
        labels: its class, (M,).
    """

    student: ResNet18
    images: Tensor
    owner: Tensor
    weights: Tensor
    labels: Tensor
    _numbers: dict = field(default_factory=dict)

    @classmethod
    def empty(cls, student: ResNet18, pool: Pool, image_size: int, device: str) -> "TeachingSet":
        empty = torch.empty(0, device=device)
        indices = torch.empty(0, dtype=torch.long, device=device)
        shape = (FEATURES, pool.grid, pool.grid) if student.backbone_frozen else (3, image_size, image_size)
        return cls(student, empty.view(0, *shape), indices, empty.view(0, pool.grid, pool.grid), indices)

    def __len__(self) -> int:
        return len(self.labels)

    def add(self, key: tuple, picture: Callable[[], Tensor], weights: Tensor, label: int) -> None:
        """Adds an item; `picture` (uint8 (3, s, s)) is called only if no item with this key is there yet."""
        device = self.images.device
        if key not in self._numbers:
            self._numbers[key] = len(self._numbers)
            image = to_float(picture()[None], device)
            if self.student.backbone_frozen:
                with torch.no_grad():
                    image = self.student.feature_map(image)
            # Joining loses the layout that convolutions are fastest in.
            self.images = torch.cat([self.images, image]).contiguous(memory_format=torch.channels_last)
        self.owner = torch.cat([self.owner, torch.tensor([self._numbers[key]], device=device)])
        self.weights = torch.cat([self.weights, weights[None].to(device)])
        self.labels = torch.cat([self.labels, torch.tensor([label], device=device)])

    def features(self) -> Tensor:
        """What the student sees in every item, (M, d)."""
        feature_map = self.images if self.student.backbone_frozen else self.student.feature_map(self.images)
        return attend(feature_map[self.owner], self.weights)


def add_choice(taught: TeachingSet, pool: Pool, choice: Choice, explain: bool) -> None:
    """Adds x_i, x_j and, if `explain`, E(x_i; a, b), E(x_j; b, a), in this order."""
    labels = pool.images.labels.tolist()
    whole = torch.ones(pool.grid, pool.grid)
    pair = ((choice.image, choice.partner), (choice.partner, choice.image))
    for number, _ in pair:
        taught.add(("image", number), lambda number=number: pool.images[number], whole, labels[number])
    for number, other in pair if explain else ():
        row = pool.table[number, labels[other]].item()
        if pool.view == "attention":
            taught.add(("image", number), lambda number=number: pool.images[number], pool.weights(row), labels[number])
        else:
            taught.add(("explanation", row), lambda row=row: pool.explained[row], whole, labels[number])


@torch.inference_mode()
def survey(pool: Pool, seen: FeatureMaps, seen_explanations: FeatureMaps | None, explain: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Looks at the whole pool through the student's eyes, in evaluation mode on the deterministic view.

    Args:
        pool: images and explanations.
        seen: how the student sees the images.
        seen_explanations: how it sees the explanations that are pictures of their own; None where they are regions of the images.
        explain: whether the explanations are scored as well.

    Returns:
        On the CPU: its logits (N, C), log psi of the images (N,), and log psi of the explanations (N, C), -inf at b = c_i; without
        `explain` all of the last are -inf.
    """
    labels, head = pool.images.labels, seen.network.fc
    num_classes = head.out_features
    logits = torch.zeros(len(pool), num_classes)
    explained = torch.zeros(len(pool), num_classes, dtype=torch.float64)
    for numbers, feature_map in seen:
        logits[numbers] = head(feature_map.mean((2, 3))).cpu()
        if explain and seen_explanations is None:
            weights = torch.stack([pool.image_weights(number) for number in numbers]).to(seen.device)  # (B, C, H, W)
            regions = head(attend(feature_map, weights)).flatten(0, 1)  # (B C, C)
            truth = labels[numbers].to(seen.device).repeat_interleave(num_classes)
            explained[numbers] = log_psi(regions, truth, head.weight).view(-1, num_classes).cpu()
    if explain and seen_explanations is not None:
        explained[pool.table >= 0] = _score_pictures(seen_explanations)[pool.table[pool.table >= 0]]
    logits, explained = processes.merged(logits, seen.device), processes.merged(explained, seen.device)
    explained = explained.scatter(1, labels[:, None], -math.inf) if explain else torch.full_like(explained, -math.inf)
    return logits, log_psi(logits, labels, head.weight.cpu()), explained


def _score_pictures(seen: FeatureMaps) -> Tensor:
    """log psi of every explanation picture, (N (C-1),); 0 where another process looks."""
    head, labels = seen.network.fc, seen.images.labels
    scores = torch.zeros(len(labels), dtype=torch.float64)
    for numbers, feature_map in seen:
        scores[numbers] = log_psi(head(feature_map.mean((2, 3))), labels[numbers].to(seen.device), head.weight).cpu()
    return scores


def learn(taught: TeachingSet, optimizer: torch.optim.Optimizer, how: "TeachingSettings") -> None:
    """Trains on the whole teaching set as one batch, `how.steps` times; batch norm keeps its statistics (evaluation mode).

    Raises:
        RunError: the risk is no longer a finite number.
    """
    student = taught.student.eval()
    # Frozen features stay what they are from step to step, so they are pooled once.
    frozen = taught.features() if student.backbone_frozen else None
    for _ in range(how.steps):
        features = taught.features() if frozen is None else frozen
        risk = margin_risk(student.fc(features), taught.labels)
        if not math.isfinite(risk.item()):
            raise RunError(f"The student's risk became {risk.item()} with {len(taught)} items taught; lower --lr or set --max-grad-norm.")
        optimizer.zero_grad()
        risk.backward()
        if how.max_grad_norm:
            torch.nn.utils.clip_grad_norm_(student.parameters(), how.max_grad_norm)
        optimizer.step()


@dataclass(frozen=True)
class Lesson:
    """One iteration: what was chosen, and the student's accuracy after learning it, in percent."""

    iteration: int
    choice: Choice
    train_accuracy: float
    test_accuracy: float


@dataclass(frozen=True)
class TeachingSettings:
    """Settings of a course.

    Attributes:
        selection: CMaxGrad scores and teaches images and explanations; MaxGrad scores and random draws images alone, and
            neither teaches explanations.
        iterations: lessons.
        steps: SGD steps per lesson.
        alpha: weight of the image against its explanation in the score.
        lr, momentum, weight_decay: of SGD. Momentum is carried over from lesson to lesson.
        max_grad_norm: a gradient longer than this is scaled down to it (one hard item can make it e^10 times as long as the others);
            0: never.
        image_size: side of the images in pixels.
        batch_size: images per forward pass over the pool and the test list.
        seed: of the random selection.
        workers: threads that load.
        device: where the student lives.
    """

    selection: Selection
    iterations: int
    steps: int
    alpha: float
    lr: float
    momentum: float
    weight_decay: float
    max_grad_norm: float
    image_size: int
    batch_size: int
    seed: int
    workers: int
    device: str

    @property
    def explain(self) -> bool:
        """Whether explanations are scored and taught."""
        return self.selection == "CMaxGrad"


def teach(
    student: ResNet18,
    pool: Pool,
    test: ImageSet,
    how: TeachingSettings,
    before_choice: Callable[[int, ResNet18], None],
    unfinished: Unfinished | None = None,
) -> Iterator[Lesson]:
    """Teaches `student` lesson by lesson (Wang & Vasconcelos, ICCV 2021, algorithm CMaxGrad; baselines MaxGrad and random).

    Ends early, after a printed sentence, where no pair remains.

    Args:
        student: learns in place.
        pool: what can be taught.
        test: the test list in test view, only measured.
        how: selection, number of lessons and so on.
        before_choice: called with the iteration and the student that is about to choose.
        unfinished: where the course stands; it goes on after the last lesson saved there. None: nothing is saved.

    Yields:
        Each lesson after the student has learned it; first those of an interrupted run.
    """
    labels = pool.images.labels
    remaining = torch.ones(len(pool), dtype=torch.bool)
    taught = TeachingSet.empty(student, pool, how.image_size, how.device)
    look = partial(FeatureMaps, student, batch_size=how.batch_size, workers=how.workers, device=how.device)
    seen_test, seen_pool = look(test), look(pool.images)
    seen_explanations = look(pool.explained) if pool.view == "image" else None
    rng = generator(how.seed)
    learning = [parameter for parameter in student.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, how.lr, momentum=how.momentum, weight_decay=how.weight_decay, fused=True)
    lessons = _lessons_so_far(unfinished, student, optimizer, rng)
    for lesson in lessons:
        add_choice(taught, pool, lesson.choice, how.explain)
        remaining[[lesson.choice.image, lesson.choice.partner]] = False
    yield from tuple(lessons)
    for iteration in range(len(lessons), how.iterations):
        before_choice(iteration, student)
        if how.selection == "random":
            choice = choose_random(labels, remaining, student.fc.out_features, rng)
        else:
            scores = survey(pool, seen_pool, seen_explanations, how.explain)
            choice = _choose_by_score(*scores, pool.images.labels, remaining, how)
        if choice is None:
            processes.say(f"The course ends after {iteration} of {how.iterations} lessons: no pair of two classes remains.")
            return
        add_choice(taught, pool, choice, how.explain)
        remaining[[choice.image, choice.partner]] = False
        learn(taught, optimizer, how)
        processes.align(student)
        with torch.inference_mode():
            train_accuracy = evaluation.accuracy(student.fc(taught.features()).argmax(1), taught.labels)
        lessons.append(Lesson(iteration, choice, train_accuracy, evaluation.accuracy(evaluation.predict(seen_test), test.labels)))
        if unfinished:
            unfinished.save_when_due(partial(_course_state, lessons, student, optimizer, rng))
        yield lessons[-1]


def _course_state(lessons: Sequence[Lesson], student: ResNet18, optimizer: torch.optim.Optimizer, rng: torch.Generator) -> dict:
    return {
        "lessons": [asdict(lesson) for lesson in lessons],
        "student": student.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": rng.get_state(),
    }


def _lessons_so_far(
    unfinished: Unfinished | None, student: ResNet18, optimizer: torch.optim.Optimizer, rng: torch.Generator
) -> list[Lesson]:
    """Puts student, optimizer and generator where an unfinished course left them; returns its lessons."""
    state = unfinished.state if unfinished else None
    if state is None:
        return []
    student.load_state_dict(state["student"])
    optimizer.load_state_dict(state["optimizer"])
    rng.set_state(state["rng"])
    return [Lesson(**(lesson | {"choice": Choice(**lesson["choice"])})) for lesson in state["lessons"]]


def _choose_by_score(
    logits: Tensor, image_scores: Tensor, explained_scores: Tensor, labels: Tensor, remaining: Tensor, how: TeachingSettings
) -> Choice | None:
    scores = combine_scores(image_scores, explained_scores, labels, how.alpha if how.explain else 1.0)
    return choose(scores, logits, labels, remaining)
