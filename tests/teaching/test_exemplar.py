"""The exemplar student: its answers against a plain second implementation, what selections see of it, and what it cannot do."""

import dataclasses
import importlib
import math

import pytest
import torch

from tests.helpers.noise import CLASSES, LABELS, SIZE, noise_material, settings
from utils.base.errors import InputError
from utils.data.loading import to_float
from utils.data.outputs import Layout
from utils.running.resuming import Unfinished
from utils.running.settings import check
from utils.teaching.choice import Choice
from utils.teaching.course import CourseFiles, CourseSettings
from utils.teaching.draws import DrawSettings, draw_courses
from utils.teaching.exemplar import UNSEEN, ExemplarStudent, evidence
from utils.teaching.loop import teach
from utils.teaching.maxgrad import log_psi
from utils.teaching.pool import Pool
from utils.teaching.selection import SELECTORS, SelectorSettings, make_selector
from utils.teaching.students import STUDENTS


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    """Ten noise pictures, and noise masks and pictures for their explanations."""
    return noise_material(tmp_path_factory.mktemp("exemplar"))


def student_of(material, explain=True, view="attention", **changes):
    images, ce_list = material
    return ExemplarStudent(Pool(images, ce_list, CLASSES, view, SIZE), images, explain, settings(**changes))


def course_of(student, selection, iterations=3, seed=0):
    return list(teach(student, make_selector(SelectorSettings(selection, 0.5, seed)), iterations, quiet=True))


def plain(x, exemplars, labels, classes, beta):
    """p(c | x) once more, number by number."""

    def cosine(u, v):
        return sum(a * b for a, b in zip(u, v, strict=True)) / math.sqrt(sum(a * a for a in u) * sum(b * b for b in v))

    sums = [
        sum(math.exp(beta * cosine(x, e)) for e, c in zip(exemplars, labels, strict=True) if c == k)
        for k in range(classes)
    ]
    return [one / sum(sums) for one in sums]


def test_shares_by_hand():
    """One exemplar of class 0 ahead, one of class 1 at a right angle, one of class 1 behind; nothing of class 2; lengths do not count."""
    exemplars, labels = torch.tensor([[2.0, 0.0], [0.0, 0.5], [-3.0, 0.0]]), torch.tensor([0, 1, 1])
    p = evidence(torch.tensor([[7.0, 0.0]]), exemplars, labels, 3, beta=2.0).softmax(1)[0].tolist()
    total = math.exp(2) + 1 + math.exp(-2)
    assert p == pytest.approx([math.exp(2) / total, (1 + math.exp(-2)) / total, 0.0]) and p[2] == 0


@pytest.mark.parametrize("beta", [0.1, 5.0, 40.0])
def test_shares_against_loops(beta):
    rng = torch.Generator().manual_seed(1)
    features, exemplars = (
        torch.randn(6, 4, generator=rng, dtype=torch.float64),
        torch.randn(7, 4, generator=rng, dtype=torch.float64),
    )
    labels = torch.tensor([0, 1, 1, 3, 0, 0, 1])
    p = evidence(features, exemplars, labels, 4, beta).softmax(1)
    for row, x in zip(p.tolist(), features.tolist(), strict=True):
        assert row == pytest.approx(plain(x, exemplars.tolist(), labels.tolist(), 4, beta))


def test_the_order_of_lessons_and_the_length_of_features_do_not_count():
    rng = torch.Generator().manual_seed(2)
    features, exemplars = torch.randn(5, 4, generator=rng), torch.randn(6, 4, generator=rng)
    labels, order = torch.arange(6) % 3, torch.tensor([4, 2, 0, 5, 1, 3])
    z = evidence(features, exemplars, labels, 3, 5.0)
    torch.testing.assert_close(evidence(3 * features, exemplars[order] / 2, labels[order], 3, 5.0), z)
    doubled = evidence(features, torch.cat([exemplars, exemplars]), torch.cat([labels, labels]), 3, 5.0)
    torch.testing.assert_close(doubled, z + math.log(2))  # all twice: every sum doubles, and no share changes


def test_the_largest_beta_keeps_numbers():
    z = evidence(torch.tensor([[1.0, 0.0]]), torch.tensor([[-1.0, 0.0]]), torch.tensor([0]), 3, 1000.0)
    assert z[0].tolist() == [-1000.0, UNSEEN, UNSEEN] and z.softmax(1)[0].tolist() == [1.0, 0.0, 0.0]
    assert log_psi(z, torch.tensor([1]), torch.eye(3)).isfinite().all()


def test_psi_of_its_predictions_is_the_squared_gradient_of_the_risk():
    z = torch.tensor([0.3, -0.2, 1.1], dtype=torch.float64, requires_grad=True)
    risk = sum(torch.exp(-(z[1] - z[k]) / 2) for k in (0, 2))
    (gradient,) = torch.autograd.grad(risk, z)
    found = log_psi(z.detach()[None], torch.tensor([1]), torch.eye(3))
    assert found.item() == pytest.approx((2 * gradient).square().sum().log().item())


def test_explanations_are_further_exemplars(material):
    """After a lesson its pool, explanations and test list are seen as the formula says of features that a network gave image by image."""
    student, (images, ce_list) = student_of(material, beta=3.0), material
    student.add(Choice(0, 1, 1, {1: 1}, None))
    student.learn()
    pool = Pool(images, ce_list, CLASSES, "attention", SIZE)
    network = student._network
    with torch.no_grad():
        maps = torch.cat([network.feature_map(to_float(images[n][None], "cpu")) for n in range(10)]).double()
    f = maps.mean((2, 3))

    def attended(number, counter):
        w = pool.weights(int(pool.table[number, counter]), 2)
        return (maps[number] * w).sum((1, 2)) / w.sum() - f.mean(0)

    centred = f - f.mean(0)
    taught = torch.stack([centred[0], centred[1], attended(0, 1), attended(1, 0)]).tolist()
    seen = student.survey(True)
    for number in range(10):
        expected = plain(centred[number].tolist(), taught, [0, 1, 0, 1], CLASSES, 3.0)
        assert seen.logits[number].softmax(0).tolist() == pytest.approx(expected, abs=1e-4)
    row = seen.table[4, 2]
    expected = plain(attended(4, 2).tolist(), taught, [0, 1, 0, 1], CLASSES, 3.0)
    assert seen.explained.logits[row].softmax(0).tolist() == pytest.approx(expected, abs=1e-4)
    torch.testing.assert_close(seen.features.norm(dim=1), torch.ones(10))
    assert torch.equal(seen.codewords, torch.eye(3, dtype=torch.float64))
    answers = seen.logits.argmax(1)
    assert student.accuracies() == (100.0, pytest.approx(10.0 * (answers == images.labels).sum().item()))


@pytest.mark.parametrize("selection", SELECTORS)
@pytest.mark.parametrize("view", ["image", "attention"])
def test_every_selection_teaches_it(selection, view, material, tmp_path):
    """To the end, with finite scores; and after an interruption to the same course."""

    def course(unfinished, iterations):
        student, selector = student_of(material, view=view), make_selector(SelectorSettings(selection, 0.5, 3))
        return list(teach(student, selector, iterations, unfinished=unfinished, quiet=True))

    whole = course(None, 4)
    assert len(whole) >= 3 and all(LABELS[lesson.choice.image] != LABELS[lesson.choice.partner] for lesson in whole)
    assert all(lesson.choice.score is None or math.isfinite(lesson.choice.score) for lesson in whole)
    unfinished = Unfinished(tmp_path / "unfinished", {})
    unfinished.begin()
    course(unfinished, 2)
    again = Unfinished(tmp_path / "unfinished", {})
    assert again.go_on() and course(again, 4) == whole


def test_an_untaught_student_answers_at_chance_and_maxgrad_looks_through_a_drawn_head(material):
    student = student_of(material)
    assert student.survey(True).logits.softmax(1).flatten().tolist() == pytest.approx([1 / 3] * 30)
    first = [course_of(student_of(material), "CMaxGrad", 1, seed)[0].choice for seed in (0, 0, 1, 2, 3)]
    assert first[0] == first[1] and len({choice.image for choice in first}) > 1


def test_draws_are_taught_from_nothing(material):
    whole = student_of(material, explain=False)
    course_of(whole, "random")
    draw = DrawSettings(2, 2, 0)
    fresh, after = (
        list(draw_courses(one, lambda n: make_selector(SelectorSettings("KMaxGrad", 0.5, 0), n), draw))
        for one in (student_of(material, explain=False), whole)
    )
    assert fresh == after


def course_settings(**changes):
    values = dict(
        selection="random", student="exemplar", iterations=1, pretrained="none", seed=0, ce_list="CE.txt", data_root="."
    )
    return CourseSettings(**(values | dict(image_size=SIZE, save_students=False) | changes))


def test_it_cannot_be_saved(material, tmp_path):
    """Said before anything is looked at or written; the other kinds can be."""
    pool = Pool(*material, CLASSES, "attention", SIZE)
    with pytest.raises(
        InputError, match="--save-students: --student exemplar is no network that a checkpoint could hold"
    ):
        CourseFiles(None, Layout(tmp_path), pool, True, course_settings(save_students=True))
    with pytest.raises(InputError, match="--student exemplar answers by likeness"):
        student_of(material).network()
    assert [kind for kind, one in STUDENTS.items() if not one.has_network] == ["exemplar"]


def test_beta_is_a_setting_of_every_teaching_script():
    for family in ("butterflies", "gull"):
        for variant in ("", "_simclr"):
            config = importlib.import_module(f"train_{family}_CMaxGrad{variant}").Config()
            assert config.beta == 5.0
            for beta in (0.0, -1.0, 1001.0, math.nan):
                with pytest.raises(InputError, match="--beta .* must (lie above 0 and not above 1000|be finite)"):
                    check(dataclasses.replace(config, beta=beta))
