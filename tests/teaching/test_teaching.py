"""The teaching loop against a second implementation with its own scores (autograd), search and training."""

import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.helpers.noise import CLASSES, LABELS, SIZE, noise_material, settings
from utils.data.lists import read_explanations, write_explanations
from utils.running.resuming import Unfinished
from utils.teaching.course import lesson_entry, measured, teaching_rows
from utils.teaching.loop import taught_explanations, teach
from utils.teaching.maxgrad import log_psi
from utils.teaching.pool import Pool
from utils.teaching.registry import SELECTORS, STUDENTS, make_selector
from utils.teaching.selector import Choice, Selector
from utils.teaching.sgd import SGDStudent
from utils.teaching.student import attend, make_network


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return noise_material(tmp_path_factory.mktemp("teaching"))


def sgd_course(pool, test, selection, how, iterations=3):
    """A published student, and its lessons."""
    selector = make_selector(selection, 0.5, 0)
    student = SGDStudent(pool, test, taught_explanations(selector, "by_selection"), how)
    return student, teach(student, selector, iterations)


class PlainCourse:
    """The method, one image at a time. Only the network is shared with the tested code."""

    def __init__(self, student, images, ce_list, view, alpha):
        self.student, self.view, self.alpha = student, view, alpha
        self.x = [images[n].float()[None] / 255 for n in range(len(images))]
        self.E, self.w = {}, {}
        self.cut = 0
        for line in Path(ce_list).read_text().splitlines():
            path, _, counter, index = line.split()
            key = int(index), int(counter)
            self.E[key] = self.read(path)[None] / 255
            self.w[key] = self.read(path.replace("_img/", "_mask/"))[0] / 255

    @staticmethod
    def read(path):
        with Image.open(path) as image:
            return torch.from_numpy(np.array(image.convert("RGB"))).permute(2, 0, 1).float()

    def features(self, item):
        kind, key = item
        if kind == "x":
            return self.student.feature_map(self.x[key]).mean((2, 3))[0]
        if self.view == "image":
            return self.student.feature_map(self.E[key]).mean((2, 3))[0]
        F = self.student.feature_map(self.x[key[0]])[0]
        total, weight = 0, 0
        h, w = F.shape[1:]
        for y in range(h):
            for x in range(w):
                block = self.w[key][y * SIZE // h : (y + 1) * SIZE // h, x * SIZE // w : (x + 1) * SIZE // w].mean()
                total, weight = total + block * F[:, y, x], weight + block
        return total / weight

    def risk(self, f, W, c):
        return sum(torch.exp(-0.5 * torch.dot(f, W[c] - W[k])) for k in range(CLASSES) if k != c)

    def psi(self, item):
        f = self.features(item).detach().double().requires_grad_()
        label = LABELS[item[1] if item[0] == "x" else item[1][0]]
        (gradient,) = torch.autograd.grad(self.risk(f, self.student.fc.weight.detach().double(), label), f)
        return (2 * gradient).square().sum().item()

    def choose(self, remaining, explain):
        s = {}
        for i in remaining:
            for b in range(CLASSES):
                if b != LABELS[i]:
                    s[i, b] = self.psi(("x", i))
                    if explain:
                        s[i, b] = self.alpha * s[i, b] + (1 - self.alpha) * self.psi(("E", (i, b)))
        i = max(s, key=s.get)[0]
        logits = (self.student.fc.weight @ self.features(("x", i))).tolist()
        for b in sorted((c for c in range(CLASSES) if c != LABELS[i]), key=lambda c: -logits[c]):
            candidates = [j for j in remaining if LABELS[j] == b]
            if candidates:
                return i, b, max(candidates, key=lambda j: max(value for (k, _), value in s.items() if k == j))
        return None

    def learn(self, items, optimizer, how):
        for _ in range(how.steps):
            losses = [self.risk(self.features(item), self.student.fc.weight, label) for item, label in items]
            optimizer.zero_grad()
            (sum(losses) / len(losses)).backward()
            gradients = [p.grad for group in optimizer.param_groups for p in group["params"]]
            length = sum(gradient.square().sum() for gradient in gradients).sqrt().item()
            if 0 < how.max_grad_norm < length:
                for gradient in gradients:
                    gradient *= how.max_grad_norm / length
                self.cut += 1
            optimizer.step()


@pytest.mark.parametrize(
    ("selection", "view", "frozen", "max_grad_norm"),
    [
        ("CMaxGrad", "image", False, 0.0),
        ("MaxGrad", "attention", False, 0.0),
        ("CMaxGrad", "image", True, 0.0),
        ("CMaxGrad", "attention", True, 0.0),
        ("CMaxGrad", "attention", False, 0.1),
    ],
)
def test_a_course_against_a_plain_one(material, selection, view, frozen, max_grad_norm):
    images, ce_list = material
    how = settings(freeze_features=frozen, max_grad_norm=max_grad_norm, steps=2, weight_decay=1e-4)
    lessons = list(sgd_course(Pool(images, ce_list, CLASSES, view, SIZE), images, selection, how)[1])
    plain = PlainCourse(make_network(settings(), CLASSES), images, ce_list, view, 0.5)
    learning = plain.student.fc.parameters() if frozen else plain.student.parameters()
    optimizer = torch.optim.SGD(learning, how.lr, momentum=how.momentum, weight_decay=how.weight_decay)
    remaining, items = list(range(len(LABELS))), []
    for lesson in lessons:
        i, b, j = plain.choose(remaining, explain=selection == "CMaxGrad")
        assert (lesson.choice.image, lesson.choice.counter, lesson.choice.partner) == (i, b, j)
        remaining = [n for n in remaining if n not in (i, j)]
        items += [(("x", i), LABELS[i]), (("x", j), b)]
        if selection == "CMaxGrad":
            items += [(("E", (i, b)), LABELS[i]), (("E", (j, LABELS[i])), b)]
        plain.learn(items, optimizer, how)
        answers = [(plain.student.fc.weight @ plain.features(("x", n))).argmax().item() for n in range(len(LABELS))]
        right = sum(answer == label for answer, label in zip(answers, LABELS, strict=True))
        assert lesson.test_accuracy == pytest.approx(100 * right / len(LABELS))
    assert len(lessons) == 3 and (plain.cut > 0) == (max_grad_norm > 0)


class FirstPair(Selector):
    """The first remaining image, and the first of another class."""

    calls = 0

    def choose(self, survey, remaining):
        self.calls += 1
        i, *others = remaining.nonzero()[:, 0].tolist()
        j = next(n for n in others if survey.labels[n] != survey.labels[i])
        return Choice(i, j, survey.labels[j].item(), {survey.labels[j].item(): j}, None)

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


@pytest.mark.parametrize("student", STUDENTS)
def test_a_selection_that_does_not_look_costs_no_pass_and_courses_are_resumed(material, monkeypatch, student, tmp_path):
    images, ce_list = material
    monkeypatch.setitem(SELECTORS, "first", FirstPair)
    pool, passes, look = Pool(images, ce_list, CLASSES, "attention", SIZE), [], STUDENTS[student].look
    monkeypatch.setattr(STUDENTS[student], "look", lambda self, explain: passes.append(1) or look(self, explain))

    def course(unfinished, iterations):
        selector = make_selector("first", 0.5, 0)
        taught = STUDENTS[student](pool, images, taught_explanations(selector, "yes"), settings(lr=1e-5))
        return list(teach(taught, selector, iterations, unfinished)), selector.calls

    whole = course(None, 3)[0]
    assert len(passes) == (student == "optimal")  # one pass for its features
    assert [(lesson.choice.image, lesson.choice.partner) for lesson in whole] == [(0, 1), (2, 3), (4, 5)]
    unfinished = Unfinished(tmp_path / "unfinished", {})
    unfinished.folder.mkdir()
    course(unfinished, 1)
    again = Unfinished(tmp_path / "unfinished", {})
    again.go_on()
    assert course(again, 3) == (whole, 3)


def test_controls_teach_explanations_or_not():
    for name in SELECTORS:
        selector = make_selector(name, 0.5, 0)
        assert taught_explanations(selector, "by_selection") == (name in ("CMaxGrad", "EXPLAIN", "KMaxGrad"))
        assert taught_explanations(selector, "yes") and not taught_explanations(selector, "no")


@pytest.mark.parametrize("selection", SELECTORS)
def test_a_pool_without_explanations(material, selection):
    """Only images are taught, and CMaxGrad chooses like MaxGrad. The course ends early when no pair remains."""
    pool, how = Pool(material[0], None, CLASSES, "attention", SIZE), settings(lr=1e-5)
    lessons = list(sgd_course(pool, material[0], selection, how, iterations=20)[1])
    assert 3 <= len(lessons) <= 5
    used = [n for lesson in lessons for n in (lesson.choice.image, lesson.choice.partner)]
    assert len(used) == len(set(used))
    if selection == "CMaxGrad":
        assert lessons == list(sgd_course(pool, material[0], "MaxGrad", how, iterations=20)[1])


@pytest.mark.parametrize("view", ["image", "attention"])
@pytest.mark.parametrize("kind", STUDENTS)
def test_a_list_that_explains_each_image_against_the_next_class_only(material, tmp_path, kind, view):
    images, ce_list = material
    some = [row for row in read_explanations(ce_list, CLASSES) if row.counter == (row.label + 1) % CLASSES]
    write_explanations(tmp_path / "one.txt", some)
    pool, whole = (Pool(images, str(path), CLASSES, view, SIZE) for path in (tmp_path / "one.txt", ce_list))
    for number, label in enumerate(LABELS):
        assert [row >= 0 for row in pool.table[number].tolist()] == [b == (label + 1) % CLASSES for b in range(CLASSES)]
    student, selector = STUDENTS[kind](pool, images, True, settings()), make_selector("CMaxGrad", 0.5, 0)
    for lesson in teach(student, selector, 3):
        pair = lesson.choice
        assert len(teaching_rows(pool, pair, True)) == 3  # one of the two classes is the next of the other
        entry = lesson_entry(pool, None, lesson.iteration, pair)
        assert entry["explanations"] == {} and entry["answer"] == pair.counter  # the partner has no explanation
        assert entry["partners"] == {str(wrong): images.rows[row].path for wrong, row in pair.partners.items()}
        assert entry["partners"][str(pair.counter)] == entry["partner"]["image"]
        assert "partners" not in lesson_entry(whole, None, lesson.iteration, pair)
    survey = student.survey(True)
    scores, of_images = selector.scores(survey), log_psi(survey.seen.logits, survey.labels, survey.seen.codewords)
    for number, label in enumerate(LABELS):
        against = (label + 2) % CLASSES
        torch.testing.assert_close(scores[number, against], of_images[number] + math.log(0.5))
        assert scores[number, (label + 1) % CLASSES] > scores[number, against]


def test_attention_pools_the_region():
    """Equal weights are global average pooling; a single position is that position."""
    feature_map, weights = torch.randn(2, 8, 3, 3), torch.zeros(2, 4, 3, 3)
    torch.testing.assert_close(attend(feature_map, torch.full((2, 3, 3), 0.25)), feature_map.mean((2, 3)))
    weights[:, :, 1, 2] = 0.7
    torch.testing.assert_close(attend(feature_map, weights), feature_map[:, :, 1, 2][:, None].expand(2, 4, 8))


def test_accuracies_are_reported_after_eight_lessons():
    lessons = [SimpleNamespace(test_accuracy=float(number)) for number in range(1, 21)]
    after = {"1": 1.0, "2": 2.0, "3": 3.0, "5": 5.0, "7": 7.0, "10": 10.0, "15": 15.0, "20": 20.0}
    assert measured(lessons) == {"lessons": 20, "test_accuracy_after": after, "test_accuracy_mean": 10.5}
    assert list(measured(lessons[:4])["test_accuracy_after"]) == ["1", "2", "3"]
