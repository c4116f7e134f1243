"""The optimal student: head against Newton's method, saved network against head, draws against smaller pools."""

from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import pytest
import torch

from models.weights import load_classifier, save_checkpoint
from tests.helpers.noise import CLASSES, SIZE, noise_material, settings
from utils.data.loading import ImageSet, to_float
from utils.data.outputs import Layout
from utils.running.resuming import Unfinished
from utils.teaching.compare_courses import read_draws
from utils.teaching.course import CourseFiles
from utils.teaching.draws import drawn_rows, run_draws
from utils.teaching.loop import teach
from utils.teaching.optimal import OptimalStudent, learn_head
from utils.teaching.pool import Pool
from utils.teaching.registry import SELECTORS, make_selector
from utils.training.evaluation import share_right


def newton(features, labels, classes, ridge):
    """The minimum by Newton's method, with the loss written out term by term."""

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
    expected = newton(features, labels, 4, 0.01)
    torch.testing.assert_close(learn_head(features, labels, 4, 0.01), expected, rtol=1e-4, atol=1e-5)


def test_untaught_classes_tie():
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
    return list(teach(student, make_selector(selection, 0.5, seed), iterations))


@pytest.mark.parametrize("selection", SELECTORS)
@pytest.mark.parametrize("view", ["image", "attention"])
def test_the_classifier_has_the_answers_of_the_head(selection, view, material, tmp_path):
    student = student_of(material, view)
    course_of(student, selection)
    network = student.classifier()
    save_checkpoint(tmp_path / "student.pth.tar", {"arch": network.arch, "state_dict_m": network.state_dict()})
    images, network = material[0], load_classifier(str(tmp_path / "student.pth.tar"), ("a", "b", "c"))
    with torch.no_grad():
        saved = network(to_float(torch.stack([images[n] for n in range(10)]), "cpu"))
    torch.testing.assert_close(saved.logits.double(), student.survey(False).seen.logits, rtol=1e-3, atol=1e-3)
    assert student.accuracy()[1] == pytest.approx(share_right(saved.logits, images.labels))


def test_features_are_centered_scaled_and_attended(material):
    """By the pool's mean and mean norm, explanations too; against one forward pass per image."""
    student, (images, _) = student_of(material), material
    seen, network = student.survey(True).seen, student.classifier()
    with torch.no_grad():
        maps = torch.cat([network.feature_map(to_float(images[n][None], "cpu")) for n in range(10)]).double()
    f = maps.mean((2, 3))
    mean = f.mean(0)
    scale = (f - mean).norm(dim=1).mean()
    torch.testing.assert_close(seen.features.double(), (f - mean) / scale, rtol=1e-3, atol=1e-4)
    pool = Pool(images, material[1], CLASSES, "attention", SIZE)
    for number, counter in ((0, 1), (4, 2), (9, 1)):
        row = student.table[number, counter]
        w = pool.weights(row, 2)
        expected = ((maps[number] * w).sum((1, 2)) / w.sum() - mean) / scale
        torch.testing.assert_close(seen.explained.features[row].double(), expected, rtol=1e-3, atol=1e-4)


def test_maxgrad_replaces_the_head_of_an_untaught_student_by_a_random_one(material):
    student = student_of(material)
    survey = student.survey(True)
    seen = survey.seen
    assert not seen.codewords.any() and not seen.logits.any() and not student.classifier().fc.weight.any()
    first = [course_of(student_of(material), "CMaxGrad", 1, seed)[0].choice for seed in (0, 0, 1, 2, 3)]
    assert first[0] == first[1] and len({choice.image for choice in first}) > 1
    head = 0.05 * torch.randn(CLASSES, 512, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    assert survey.through(head).seen.logits[2].tolist() == pytest.approx((head @ seen.features[2].double()).tolist())


def test_draws_are_courses_on_a_part_of_the_pool(material, tmp_path):
    """A draw is the course of a student with a smaller pool. The student of the whole pool is unchanged."""
    images, ce_list = material
    whole = student_of(material, explain=False)
    unfinished = Unfinished(tmp_path / "unfinished", {})
    unfinished.folder.mkdir()
    selector_of = partial(make_selector, "KMaxGrad", 0.5, 0)
    run_draws(whole, selector_of, 3, 2, 0, tmp_path / "draws.csv", unfinished)
    curves = read_draws(tmp_path / "draws.csv")
    assert [len(curve) for curve in curves] == [2, 2, 2]
    for draw in range(3):
        rows = drawn_rows(10, 0, draw)
        assert len(rows) == 8 and rows.tolist() == sorted(set(rows.tolist()))
        part = ImageSet([images.rows[n] for n in rows], "part.txt", images.data_root, images.view)
        smaller = OptimalStudent(Pool(part, None, CLASSES, "attention", SIZE), images, False, settings())
        curve = [lesson.test_accuracy for lesson in course_of(smaller, "KMaxGrad", 2)]
        assert curve == pytest.approx(curves[draw], abs=1e-3)
    assert drawn_rows(10, 0, 0).tolist() != drawn_rows(10, 0, 1).tolist() != drawn_rows(10, 1, 1).tolist()
    assert course_of(whole, "KMaxGrad", 1)


def test_draws_of_one_class_have_no_lessons_and_draws_are_resumed(tmp_path, monkeypatch):
    """Nine pictures of one class and one of another: only draws with both have a lesson."""
    images, _ = noise_material(tmp_path)
    drawn = [drawn_rows(10, 1, draw).tolist() for draw in range(6)]
    other = next(number for number in range(10) if 0 < sum(number in rows for rows in drawn) < 6)
    rows = [replace(row, label=int(number == other)) for number, row in enumerate(images.rows)]
    images = ImageSet(rows, images.source, images.data_root, images.view)
    whole = OptimalStudent(Pool(images, None, 2, "attention", SIZE), images, False, settings())
    unfinished = Unfinished(tmp_path / "unfinished", {})
    unfinished.folder.mkdir()
    random, table = partial(make_selector, "random", 0.5, 0), tmp_path / "draws.csv"
    made = run_draws(whole, random, 6, 2, 1, table, unfinished)
    lessons = sum(other in rows for rows in drawn)
    assert len(made["draws"]["of_each"]) == len(read_draws(table)) == lessons
    monkeypatch.setattr(whole, "untaught", None)  # all draws are in the folder of the run; they are not taught again
    assert run_draws(whole, random, 6, 2, 1, table, unfinished) == made
    assert run_draws(whole, random, 0, 2, 1, table, Unfinished(tmp_path / "other", {})) == {} and not table.exists()


def test_students_of_an_earlier_course_are_removed(material, tmp_path):
    """Four lessons, two, one of two (the last student found no pair), and a course without --save-students."""
    pool = Pool(*material, CLASSES, "attention", SIZE)
    student, dataset = OptimalStudent(pool, material[0], True, settings()), SimpleNamespace(classes=("a", "b", "c"))
    for lessons, iterations, saved, left in ((4, 4, True, 4), (2, 2, True, 2), (1, 2, True, 2), (2, 2, False, 0)):
        how = SimpleNamespace(
            selection="random", iterations=iterations, ce_list=material[1], data_root=".", save_students=saved
        )
        files = CourseFiles(dataset, Layout(tmp_path), pool, True, how)
        for iteration in range(left):
            files.save_student(iteration, student)
        files.save_taught_student(student, lessons)
        names = sorted(path.name for path in tmp_path.glob("students_random/*"))
        assert names == [f"iter_{number:03d}.pt" for number in range(left)]
        assert (tmp_path / "student_random.pth.tar").exists() == saved


def test_ties_count_by_the_number_of_tied_classes():
    rows = [[2.0, 2.0, 1.0], [2.0, 2.0 + 1e-9, 1.0], [1.0, 3.0, 1.0], [0.0, 0.0, 0.0], [5.0, 4.0, 5.0]]
    logits = torch.tensor(rows, dtype=torch.float64)
    expected = 100 * (1 / 2 + 1 / 2 + 0 + 1 / 3 + 0) / 5
    assert share_right(logits, torch.tensor([0, 0, 0, 2, 1])) == pytest.approx(expected)
    assert share_right(torch.full((2, 3), torch.nan), torch.tensor([0, 1])) == 0
