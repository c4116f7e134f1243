"""Courses from random parts of the pool."""

from dataclasses import replace

from tests.helpers.noise import SIZE, noise_material, settings
from utils.data.loading import ImageSet
from utils.running.resuming import Unfinished
from utils.teaching.compare_courses import read_draws
from utils.teaching.draws import DrawSettings, drawn_rows, run_draws
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool
from utils.teaching.registry import SelectorSettings, make_selector


def test_a_draw_of_one_class_is_no_course(tmp_path, capsys):
    """Nine pictures of a class and one of another: draws without the one have no pair of classes; those with it have one lesson."""
    images, _ = noise_material(tmp_path)
    drawn = [drawn_rows(10, 1, draw).tolist() for draw in range(6)]
    other = next(number for number in range(10) if 0 < sum(number in rows for rows in drawn) < 6)
    rows = [replace(row, label=int(number == other)) for number, row in enumerate(images.rows)]
    images = ImageSet(rows, images.source, images.data_root, images.view)
    whole = OptimalStudent(Pool(images, None, 2, "attention", SIZE), images, False, settings())
    with_it = [other in rows for rows in drawn]
    unfinished = Unfinished(tmp_path / "unfinished", {})
    unfinished.begin()
    random = SelectorSettings("random", 0.5, 0)
    made = run_draws(
        whole, lambda draw: make_selector(random, draw), DrawSettings(6, 2, 1), tmp_path / "draws.csv", unfinished
    )
    assert f"{6 - sum(with_it)} of 6 hold images of one class alone" in capsys.readouterr().out
    assert len(made["draws"]["of_each"]) == len(read_draws(tmp_path / "draws.csv")) == sum(with_it)
