"""The teaching loop against a plain re-implementation: its own scores by autograd, its own search, its own learning."""

import math
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from models.resnet import build
from utils.base.errors import InputError
from utils.base.randomness import generator
from utils.data.images import whole_view
from utils.data.lists import Example, read_explanations, write_examples, write_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import Layout
from utils.explanations.explain_list import ExplainSettings, explain_list
from utils.running.resuming import Unfinished
from utils.teaching.choice import Choice
from utils.teaching.cmaxgrad import CMaxGrad
from utils.teaching.course import lesson_entry, measured, teaching_rows
from utils.teaching.loop import taught_explanations, teach
from utils.teaching.maxgrad import log_psi
from utils.teaching.pool import Pool
from utils.teaching.registry import SELECTORS, STUDENTS, SelectorSettings, make_selector
from utils.teaching.sgd import SGDStudent, make_network
from utils.teaching.student import StudentSettings, attend

SIZE, CLASSES = 64, 3
LABELS = (0, 1, 2, 0, 1, 2, 0, 1, 0, 0)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Ten noise pictures and their explanations by an untrained network."""
    root = tmp_path_factory.mktemp("teaching")
    rng = torch.Generator().manual_seed(0)
    rows = []
    for index, label in enumerate(LABELS):
        pixels = torch.randint(0, 256, (SIZE, SIZE, 3), dtype=torch.uint8, generator=rng)
        path = root / f"{index}.png"
        Image.fromarray(pixels.numpy()).save(path)
        rows.append(Example(str(path), label, index))
    write_examples(root / "list_gt_tr.txt", rows)
    images = ImageSet(rows, root / "list_gt_tr.txt", root, partial(whole_view, size=SIZE))
    torch.manual_seed(5)
    how = ExplainSettings(
        mask_sizes=(0.2,), image_size=SIZE, batch_size=4, workers=1, device="cpu", explanation="scout"
    )
    layout = Layout(root / "out", "list_gt")
    (root / "out").mkdir()
    unfinished = Unfinished(root / "unfinished", {})
    unfinished.begin()
    explain_list(build("resnet18", CLASSES), images, layout, ["a", "b", "c"], how, unfinished)
    return images, str(layout.explanation_list())


def settings(**changes):
    values = dict(
        pretrained="none",
        ridge=1e-3,
        freeze_features=False,
        steps=2,
        lr=1e-3,
        momentum=0.9,
        weight_decay=1e-4,
        max_grad_norm=0.0,
    )
    values |= dict(arch="resnet18", image_size=SIZE, batch_size=4, seed=0, workers=0, device="cpu")
    return StudentSettings(**(values | changes))


def sgd_course(pool, test, selection, how, iterations=3):
    """A student as released, and its lessons."""
    selector = make_selector(SelectorSettings(selection, alpha=0.5, seed=0))
    student = SGDStudent(pool, test, taught_explanations(selector, "by_selection"), how)
    return student, teach(student, selector, iterations)


class PlainCourse:
    """The method once more, one image at a time, with nothing shared with the product but the network."""

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
        ("CMaxGrad", "attention", False, 0.0),
        ("MaxGrad", "attention", False, 0.0),
        ("CMaxGrad", "image", True, 0.0),
        ("CMaxGrad", "attention", True, 0.0),
        ("CMaxGrad", "attention", False, 0.1),
        ("CMaxGrad", "attention", True, 0.1),
    ],
)
def test_a_course_against_a_plain_one(material, selection, view, frozen, max_grad_norm):
    images, ce_list = material
    how = settings(freeze_features=frozen, max_grad_norm=max_grad_norm)
    lessons = list(sgd_course(Pool(images, ce_list, CLASSES, view, SIZE), images, selection, how)[1])
    plain = PlainCourse(make_network("resnet18", CLASSES, "none", 0, "cpu"), images, ce_list, view, 0.5)
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
        right = sum(
            (plain.student.fc.weight @ plain.features(("x", n))).argmax().item() == LABELS[n]
            for n in range(len(LABELS))
        )
        assert lesson.test_accuracy == pytest.approx(100 * right / len(LABELS))
    assert len(lessons) == 3 and (plain.cut > 0) == (max_grad_norm > 0)


def test_the_course_ends_early_where_no_pair_remains(material, capsys):
    images, ce_list = material
    pool = Pool(images, ce_list, CLASSES, "attention", SIZE)
    for selection in ("CMaxGrad", "MaxGrad", "random"):
        lessons = list(sgd_course(pool, images, selection, settings(steps=1), iterations=20)[1])
        assert 3 <= len(lessons) <= 5
        assert "no pair of two classes remains" in capsys.readouterr().out
        used = [n for lesson in lessons for n in (lesson.choice.image, lesson.choice.partner)]
        assert len(used) == len(set(used))


class FirstPair:
    """A method in ten lines: the first remaining image, and the first of another class."""

    explains, looks = False, False

    def __init__(self, rng, alpha):
        self.calls = 0

    def choose(self, seen, remaining):
        self.calls += 1
        i, *others = remaining.nonzero()[:, 0].tolist()
        j = next(n for n in others if seen.labels[n] != seen.labels[i])
        return Choice(i, j, seen.labels[j].item(), {seen.labels[j].item(): j}, None)

    def state_dict(self):
        return {"calls": self.calls}

    def load_state_dict(self, state):
        self.calls = state["calls"]


@pytest.mark.parametrize("student", STUDENTS)
def test_a_method_is_one_class_and_one_line(material, monkeypatch, student, tmp_path):
    """A registered selector makes a course with every student, and goes on after an interruption."""
    images, ce_list = material
    monkeypatch.setitem(SELECTORS, "first", FirstPair)
    pool = Pool(images, ce_list, CLASSES, "attention", SIZE)

    def course(unfinished, iterations):
        selector = make_selector(SelectorSettings("first", alpha=0.5, seed=0))
        taught = STUDENTS[student](pool, images, taught_explanations(selector, "yes"), settings(lr=1e-5))
        return list(teach(taught, selector, iterations, unfinished=unfinished)), selector.calls

    whole = course(None, 3)[0]
    assert [(lesson.choice.image, lesson.choice.partner) for lesson in whole] == [(0, 1), (2, 3), (4, 5)]
    unfinished = Unfinished(tmp_path / "unfinished", {})
    unfinished.begin()
    course(unfinished, 1)
    again = Unfinished(tmp_path / "unfinished", {})
    assert again.go_on()
    assert course(again, 3) == (whole, 3)


def test_controls_teach_explanations_or_not():
    selectors = {name: make_selector(SelectorSettings(name, 0.5, 0)) for name in SELECTORS}
    taught = {
        name: [taught_explanations(selector, wanted) for wanted in ("by_selection", "yes", "no")]
        for name, selector in selectors.items()
    }
    assert {name for name, (own, _, _) in taught.items() if own} == {"CMaxGrad", "KMaxGrad"}
    assert all(of[1:] == [True, False] for of in taught.values())


@pytest.mark.parametrize("selection", SELECTORS)
def test_a_pool_without_explanations(material, selection):
    """Images alone are taught; CMaxGrad then chooses as MaxGrad does."""
    images, _ = material
    pool = Pool(images, None, CLASSES, "attention", SIZE)
    lessons = list(sgd_course(pool, images, selection, settings(lr=1e-5))[1])
    assert len(lessons) == 3
    if selection == "CMaxGrad":
        assert lessons == list(sgd_course(pool, images, "MaxGrad", settings(lr=1e-5))[1])


def test_a_missing_explanation_is_not_scored_and_not_taught(material):
    images, ce_list = material
    pool = Pool(images, ce_list, CLASSES, "attention", SIZE)
    pool.table[3] = -1  # image 3 has none
    student, course = sgd_course(pool, images, "CMaxGrad", settings(), iterations=1)
    seen = student.survey(True)
    scores = CMaxGrad(generator(0), 0.5).scores(seen)
    alone = log_psi(seen.logits, seen.labels, seen.codewords)
    torch.testing.assert_close(scores[3, 1:], (alone[3] + math.log(0.5)).expand(2))
    assert scores[2, 0] > alone[2] + math.log(0.5)
    student.add(Choice(3, 1, 1, {1: 1}, None))
    assert student._taught.labels.tolist() == [0, 1, 1]  # x_3, x_1, E(x_1; 1, 0)


def some_explained(ce_list, path, kept):
    """An explanation list with those rows of another whose (index, counter) `kept` takes."""
    rows = read_explanations(ce_list, CLASSES)
    write_explanations(path, [row for row in rows if kept(row.index, row.counter)])
    return str(path)


@pytest.mark.parametrize("view", ["image", "attention"])
@pytest.mark.parametrize("kind", STUDENTS)
def test_a_course_from_a_list_that_explains_against_one_class_each(material, tmp_path, kind, view):
    """Each image is explained against the next class alone, so of a pair of classes one image has an explanation."""
    images, ce_list = material
    pool = Pool(
        images,
        some_explained(ce_list, tmp_path / "one.txt", lambda i, b: b == (LABELS[i] + 1) % CLASSES),
        CLASSES,
        view,
        SIZE,
    )
    whole = Pool(images, ce_list, CLASSES, view, SIZE)
    for number, label in enumerate(LABELS):
        assert [row >= 0 for row in pool.table[number].tolist()] == [b == (label + 1) % CLASSES for b in range(CLASSES)]
        row, same = (int(one.table[number, (label + 1) % CLASSES]) for one in (pool, whole))
        assert pool.rows[row] == whole.rows[same]
    student = STUDENTS[kind](pool, images, True, settings())
    selector = make_selector(SelectorSettings("CMaxGrad", alpha=0.5, seed=0))
    for lesson in teach(student, selector, 3):
        pair = lesson.choice
        taught = teaching_rows(pool, pair, True)
        assert len(taught) == 3  # one of a and b is the next class of the other
        entry = lesson_entry(pool, None, lesson.iteration, pair)
        assert entry["explanations"] == {} and entry["answer"] == pair.counter  # the other image of the pair has none
        assert entry["partners"] == {str(wrong): images.rows[row].path for wrong, row in pair.partners.items()}
        assert entry["partners"][str(pair.counter)] == entry["partner"]["image"]
        assert "partners" not in lesson_entry(whole, None, lesson.iteration, pair)
    seen = student.survey(True)
    scores, alone = selector.scores(seen), log_psi(seen.logits, seen.labels, seen.codewords)
    for number, label in enumerate(LABELS):
        against = (label + 2) % CLASSES
        torch.testing.assert_close(scores[number, against], alone[number] + math.log(0.5))
        assert scores[number, (label + 1) % CLASSES] > scores[number, against]


def test_a_list_that_lost_rows_is_told_from_one_that_explains_against_fewer_classes(material, tmp_path):
    images, ce_list = material
    for kept, says in {
        lambda i, b: (
            (i, b) != (3, 2)
        ): r"has no explanation of .*3.png \(line 4 of .*list_gt_tr.txt\) against class 2; explain",
        lambda i, b: (
            b == (LABELS[i] + 1) % CLASSES and i != 7
        ): r"has 0 explanations of .*7.png \(line 8 of .*, and 1 of others; explain",
    }.items():
        with pytest.raises(InputError, match=says):
            Pool(images, some_explained(ce_list, tmp_path / "some.txt", kept), CLASSES, "attention", SIZE)


def test_the_student_keeps_its_batch_norm_statistics(material):
    images, ce_list = material
    student, course = sgd_course(
        Pool(images, ce_list, CLASSES, "image", SIZE), images, "CMaxGrad", settings(), iterations=1
    )
    before = {name: value.clone() for name, value in student.network().state_dict().items()}
    list(course)
    moved = {name for name, value in student.network().state_dict().items() if not torch.equal(before[name], value)}
    assert "conv1.weight" in moved and "fc.weight" in moved
    assert not any("running" in name or "num_batches" in name for name in moved)


def test_attention_with_equal_weights_is_global_average_pooling():
    feature_map = torch.randn(2, 8, 3, 3)
    torch.testing.assert_close(attend(feature_map, torch.full((2, 3, 3), 0.25)), feature_map.mean((2, 3)))


def test_attention_on_one_position_is_that_position():
    feature_map, weights = torch.randn(2, 8, 3, 3), torch.zeros(2, 4, 3, 3)
    weights[:, :, 1, 2] = 0.7
    torch.testing.assert_close(attend(feature_map, weights), feature_map[:, :, 1, 2][:, None].expand(2, 4, 8))


def test_accuracies_are_reported_after_eight_lessons():
    taken = [SimpleNamespace(test_accuracy=float(number)) for number in range(1, 21)]
    after = {"1": 1.0, "2": 2.0, "3": 3.0, "5": 5.0, "7": 7.0, "10": 10.0, "15": 15.0, "20": 20.0}
    assert measured(taken) == {"lessons": 20, "test_accuracy_after": after, "test_accuracy_mean": 10.5}
    assert list(measured(taken[:4])["test_accuracy_after"]) == ["1", "2", "3"]
