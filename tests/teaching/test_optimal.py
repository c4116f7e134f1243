"""The optimal student: its head against Newton's method, its saved network against its head, and its course against its protocol."""

import pytest
import torch

from models.weights import load_classifier, save_checkpoint
from tests.helpers.noise import CLASSES, SIZE, noise_material, settings
from utils.base.errors import InputError
from utils.data.loading import ImageSet, to_float
from utils.teaching.choice import Choice
from utils.teaching.draws import DrawSettings, draw_courses, drawn_rows
from utils.teaching.loop import teach
from utils.teaching.optimal import OptimalStudent, learn_head
from utils.teaching.pool import Pool
from utils.teaching.registry import SELECTORS, SelectorSettings, make_selector
from utils.training.evaluation import share_right


def newton(features, labels, classes, ridge):
    """The minimum once more, by Newton's method on the loss written out term by term."""

    def loss(w):
        W = w.view(classes, -1)
        terms = [
            torch.exp(-0.5 * (f @ (W[c] - W[k])))
            for f, c in zip(features, labels.tolist(), strict=True)
            for k in range(classes)
            if k != c
        ]
        return sum(terms) / len(labels) + ridge * (W**2).sum()

    w = torch.zeros(classes * features.shape[1], dtype=torch.float64)
    for _ in range(30):
        w = w.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(w), w)
        w = (w - torch.linalg.solve(torch.autograd.functional.hessian(loss, w), gradient)).detach()
    return w.view(classes, -1)


@pytest.mark.parametrize("count", [2, 7])
def test_the_head_is_the_minimum(count):
    rng = torch.Generator().manual_seed(count)
    features, labels = torch.randn(count, 4, generator=rng, dtype=torch.float64), torch.arange(count) % 3
    torch.testing.assert_close(
        learn_head(features, labels, 4, 0.01), newton(features, labels, 4, 0.01), rtol=1e-4, atol=1e-5
    )


def test_classes_that_were_not_taught_tie():
    features = torch.eye(5, dtype=torch.float64)[:2]
    z = torch.randn(6, 5, dtype=torch.float64) @ learn_head(features, torch.tensor([1, 3]), 5, 1e-3).T
    assert (z[:, [0, 2]] - z[:, [4]]).abs().max() < 1e-12
    assert (z[:, 1] - z[:, 3]).abs().min() > 1e-3


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Ten noise pictures, and noise masks and pictures for their explanations."""
    return noise_material(tmp_path_factory.mktemp("optimal"))


def student_of(material, view="attention", explain=True, **changes):
    images, ce_list = material
    return OptimalStudent(Pool(images, ce_list, CLASSES, view, SIZE), images, explain, settings(**changes))


def course_of(student, selection, iterations=3, seed=0):
    return list(teach(student, make_selector(SelectorSettings(selection, 0.5, seed)), iterations, quiet=True))


@pytest.mark.parametrize("selection", SELECTORS)
@pytest.mark.parametrize("view", ["image", "attention"])
def test_the_saved_student_gives_the_answers_of_its_head(selection, view, material, tmp_path):
    student = student_of(material, view)
    course_of(student, selection)
    network = student.network()
    save_checkpoint(tmp_path / "student.pth.tar", {"arch": network.arch, "state_dict_m": network.state_dict()})
    images = material[0]
    with torch.no_grad():
        saved = load_classifier(str(tmp_path / "student.pth.tar"), ("a", "b", "c"))(
            to_float(torch.stack([images[n] for n in range(10)]), "cpu")
        )
    torch.testing.assert_close(saved.logits.double(), student.survey(False).logits, rtol=1e-3, atol=1e-3)
    assert student.accuracies()[1] == pytest.approx(share_right(saved.logits, images.labels))


def test_features_are_centred_scaled_and_attended(material):
    """By the pool's mean and mean norm, explanations too; against a forward pass per image."""
    student, (images, _) = student_of(material), material
    seen, network = student.survey(True), student.network()
    with torch.no_grad():
        maps = torch.cat([network.feature_map(to_float(images[n][None], "cpu")) for n in range(10)]).double()
    f = maps.mean((2, 3))
    mean = f.mean(0)
    scale = (f - mean).norm(dim=1).mean()
    torch.testing.assert_close(seen.features.double(), (f - mean) / scale, rtol=1e-3, atol=1e-4)
    pool = Pool(images, material[1], CLASSES, "attention", SIZE)
    for number, counter in ((0, 1), (4, 2), (9, 1)):
        row = seen.table[number, counter]
        w = pool.weights(row, 2)
        attended = (maps[number] * w).sum((1, 2)) / w.sum()
        torch.testing.assert_close(
            seen.explained.features[row].double(), (attended - mean) / scale, rtol=1e-3, atol=1e-4
        )


def test_an_untaught_student_knows_nothing_and_maxgrad_looks_through_a_drawn_head(material):
    student = student_of(material)
    seen = student.survey(True)
    assert not seen.codewords.any() and not seen.logits.any() and not student.network().fc.weight.any()
    first = [course_of(student_of(material), "CMaxGrad", 1, seed)[0].choice for seed in (0, 0, 1, 2, 3)]
    assert first[0] == first[1] and len({choice.image for choice in first}) > 1
    head = 0.05 * torch.randn(CLASSES, 512, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert seen.through(head).logits[2].tolist() == pytest.approx((head @ seen.features[2].double()).tolist())


def test_the_head_depends_on_the_teaching_set_alone(material):
    """An interrupted course goes on from its lessons: the same items give the same head, bit by bit."""
    whole, again = student_of(material), student_of(material)
    for lesson in course_of(whole, "KMaxGrad"):
        again.add(lesson.choice)
    again.learn()
    assert torch.equal(whole.state_dict()["head"], again.state_dict()["head"])
    assert whole.accuracies() == again.accuracies()


def test_explanations_are_taught_or_not(material):
    """Taught items: two images, and two explanations where they are taught."""
    for explain, count in ((True, 4), (False, 2)):
        student = student_of(material, explain=explain)
        student.add(Choice(0, 1, 1, {1: 1}, None))
        assert len(student._taught) == count
        assert (student.survey(True).explained is None) == (not explain)


def test_draws_are_courses_of_a_part_of_the_pool(material):
    """A draw's student is one whose pool was that part from the beginning."""
    images, ce_list = material
    whole = student_of(material, explain=False)
    curves = list(
        draw_courses(
            whole, lambda draw: make_selector(SelectorSettings("KMaxGrad", 0.5, 0), draw), DrawSettings(3, 2, 0)
        )
    )
    assert [len(curve) for curve in curves] == [2, 2, 2]
    for draw in range(3):
        rows = drawn_rows(10, 0, draw)
        assert len(rows) == 8 and rows.tolist() == sorted(set(rows.tolist()))
        part = ImageSet([images.rows[n] for n in rows], "part.txt", images.data_root, images.view)
        alone = OptimalStudent(Pool(part, None, CLASSES, "attention", SIZE), images, False, settings())
        assert [lesson.test_accuracy for lesson in course_of(alone, "KMaxGrad", 2)] == pytest.approx(curves[draw])
    assert drawn_rows(10, 0, 0).tolist() != drawn_rows(10, 0, 1).tolist() != drawn_rows(10, 1, 1).tolist()
    assert course_of(whole, "KMaxGrad", 1)  # the whole pool is still there


def test_weights_that_are_not_finite(material, tmp_path):
    state = student_of(material).network().state_dict()
    state["conv1.weight"][0] = torch.nan
    torch.save({name: value for name, value in state.items() if not name.startswith("fc.")}, tmp_path / "w.pt")
    with pytest.raises(
        InputError, match="--pretrained .*w.pt has 'conv1.weight' with values that are not finite numbers"
    ):
        student_of(material, pretrained=str(tmp_path / "w.pt")).survey(False)
