"""Names of files: what one script writes is what the next one looks for, and names tell back what they were made of."""

import importlib
from pathlib import Path

import pytest

from utils.data.outputs import (
    DEMO,
    IMG,
    MASK,
    Layout,
    listed_size,
    mask_size,
    people_list,
    run_records,
    sibling,
    variant_of,
)

OUT = Path("out")


def expected(script, setting, list_stem="names_gt"):
    """The file that a script's setting names where nobody gives another."""
    default = getattr(importlib.import_module(script).Config(), setting)
    return Path((default[0] if isinstance(default, tuple) else default).format(out=OUT, list=list_stem))


@pytest.mark.parametrize("family", ["butterflies", "gull"])
def test_every_script_looks_for_what_the_one_before_it_writes(family):
    layout, simclr = Layout(OUT, "names_gt"), Layout(OUT, "names_gt", "simclr")
    teacher = layout.teacher_head if family == "gull" else layout.teacher
    assert expected(f"get_all_CE_{family}", "checkpoint") == teacher
    epochs = importlib.import_module(f"train_{family}_simclr").Config().epochs
    assert expected(f"get_all_CE_{family}_simclr", "checkpoint") == simclr.simclr_network(epochs)
    for name, files in ((f"train_{family}_CMaxGrad", layout), (f"train_{family}_CMaxGrad_simclr", simclr)):
        assert expected(name, "ce_list") == files.explanation_list()
    assert expected(f"label_{family}", "key") == expected("simulate_people", "key") == layout.course_page_key()
    assert expected("simulate_people", "checkpoint") == layout.taught_student("CMaxGrad")


def test_renderings_of_one_explanation_lie_side_by_side():
    for variant in ("", "simclr"):
        folders = {kind: Layout(OUT, "names_gt", variant).explanations(kind, 0.05) for kind in (IMG, MASK, DEMO)}
        assert sibling(f"./{folders[IMG]}/x.png", IMG, MASK) == f"./{folders[MASK]}/x.png"
        assert sibling(f"/a/{folders[MASK]}/x.png", MASK, IMG) == f"/a/{folders[IMG]}/x.png"
        assert {mask_size(f"./{folder}/x.png") for folder in folders.values()} == {0.05}
    assert mask_size("./out/pictures/x.png") is None


def test_the_list_for_people_is_found_from_that_for_machines():
    for variant in ("", "simclr"):
        layout = Layout(OUT, "names_gt", variant)
        assert people_list(str(layout.explanation_list())) == layout.explanation_list(people=True)
    assert people_list("a/b.c_CE.txt") == Path("a/b.c_CE_HTML.txt")


def test_the_lists_name_the_size_that_teaching_uses():
    assert [listed_size(sizes) for sizes in ((0.01, 0.05, 0.3), (0.1, 0.3), (0.05,))] == [0.05, 0.1, 0.05]


def test_records_are_found_and_tell_their_script(tmp_path):
    layout = Layout(tmp_path)
    scripts = ["get_all_CE_gull", "get_all_CE_gull_simclr", "train_gull_CMaxGrad"]
    for script in scripts:
        layout.run_record(script).touch()
    assert sorted(path.stem for path in run_records(tmp_path, "get_all_CE_*")) == [
        f"run_{script}" for script in scripts[:2]
    ]
    assert sorted(path.stem for path in run_records(tmp_path, "*")) == [f"run_{script}" for script in scripts]
    assert layout.run_record(scripts[2], "random").name == "run_train_gull_CMaxGrad_random.json"
    assert [variant_of(layout.run_record(script).stem) for script in scripts] == ["", "simclr", ""]
    lists = [Layout(tmp_path, "names_gt", variant).explanation_list() for variant in ("", "simclr")]
    assert [variant_of(path.stem) for path in lists] == ["", "simclr"]


def test_variants_and_selections_never_share_a_file():
    layouts = [Layout(OUT, "names_gt", variant) for variant in ("", "simclr")]
    several = [
        path
        for layout in layouts
        for selection in ("CMaxGrad", "random")
        for path in (
            layout.course(selection),
            layout.students(selection),
            layout.teaching_list(selection),
            layout.evolution(selection),
        )
    ]
    several += [
        path for layout in layouts for path in (layout.heatmaps, layout.contact_sheet, layout.comparison, layout.probe)
    ]
    several += [Layout(OUT).unfinished("train_gull_CMaxGrad", selection) for selection in ("", "CMaxGrad", "random")]
    assert len(set(several)) == len(several)
