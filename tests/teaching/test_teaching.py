"""The teaching loop against a plain re-implementation: its own scores by autograd, its own search, its own learning."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from models.resnet import ResNet18
from utils.explanations.explain_list import ExplainSettings, explain_list
from utils.images import whole_view
from utils.layout import Layout
from utils.lists import Example, write_examples
from utils.loading import ImageSet
from utils.resuming import Unfinished
from utils.teaching.loop import taught_explanations, teach
from utils.teaching.pool import Pool
from utils.teaching.selection import SelectorSettings, make_selector
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
    how = ExplainSettings(mask_sizes=(0.2,), image_size=SIZE, batch_size=4, workers=1, device="cpu", explanation="scout")
    layout = Layout(root / "out", "list_gt")
    (root / "out").mkdir()
    unfinished = Unfinished(root / "unfinished", {})
    unfinished.begin()
    explain_list(ResNet18(CLASSES), images, layout, ["a", "b", "c"], how, unfinished)
    return images, str(layout.explanation_list())


def settings(**changes):
    values = dict(pretrained="none", freeze_features=False, steps=2, lr=1e-3, momentum=0.9, weight_decay=1e-4, max_grad_norm=0.0)
    values |= dict(image_size=SIZE, batch_size=4, seed=0, workers=0, device="cpu")
    return StudentSettings(**(values | changes))


def sgd_course(pool, test, selection, how, iterations=3):
    """A student as released, and its lessons."""
    selector = make_selector(SelectorSettings(selection, alpha=0.5, seed=0))
    student = SGDStudent(pool, test, taught_explanations(selector, "auto"), how)
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
    plain = PlainCourse(make_network(CLASSES, "none", 0, "cpu"), images, ce_list, view, 0.5)
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
        right = sum((plain.student.fc.weight @ plain.features(("x", n))).argmax().item() == LABELS[n] for n in range(len(LABELS)))
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


def test_the_student_keeps_its_batch_norm_statistics(material):
    images, ce_list = material
    student, course = sgd_course(Pool(images, ce_list, CLASSES, "image", SIZE), images, "CMaxGrad", settings(), iterations=1)
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
