"""File names: what one script writes, the next one reads; no two outputs share a name."""

import importlib
from pathlib import Path

import pytest

from utils.base.errors import InputError
from utils.data.outputs import DEMO, IMG, MASK, Layout, listed_size, mask_size, people_list, sibling
from utils.running.records import read_explanation_record

OUT = Path("out")


def default(script, setting):
    """The file that a script's setting names by default."""
    value = getattr(importlib.import_module(script).Config(), setting)
    return Path((value[0] if isinstance(value, tuple) else value).format(out=OUT, list="names_gt"))


@pytest.mark.parametrize("family", ["butterflies", "gull"])
def test_scripts_read_what_the_ones_before_them_write(family):
    layout, simclr = Layout(OUT, "names_gt"), Layout(OUT, "names_gt", "simclr")
    teacher = layout.teacher_head if family == "gull" else layout.teacher
    assert default(f"get_all_CE_{family}", "checkpoint") == teacher
    epochs = importlib.import_module(f"train_{family}_simclr").Config().epochs
    assert default(f"get_all_CE_{family}_simclr", "checkpoint") == simclr.simclr_network(epochs)
    for name, files in ((f"train_{family}_CMaxGrad", layout), (f"train_{family}_CMaxGrad_simclr", simclr)):
        assert default(name, "ce_list") == files.explanation_list()
    assert default("simulate_people", "key") == layout.course_page_key()


@pytest.mark.parametrize("variant", ["", "simclr"])
def test_files_of_one_explanation_list(variant):
    layout = Layout(OUT, "names_gt", variant)
    folders = {kind: layout.explanations(kind, 0.05) for kind in (IMG, MASK, DEMO)}
    assert sibling(f"./{folders[IMG]}/x.png", IMG, MASK) == f"./{folders[MASK]}/x.png"
    assert sibling(f"/a/{folders[MASK]}/x.png", MASK, IMG) == f"/a/{folders[IMG]}/x.png"
    assert {mask_size(f"./{folder}/x.png") for folder in folders.values()} == {0.05}
    assert people_list(str(layout.explanation_list())) == layout.explanation_list(people=True)
    assert layout.explanation_record.name == f"names_gt_CE{variant and '_'}{variant}.json"
    assert mask_size("./out/pictures/x.png") is None
    assert [listed_size(sizes) for sizes in ((0.01, 0.05, 0.3), (0.1, 0.3), (0.05,))] == [0.05, 0.1, 0.05]


def test_explanation_records(tmp_path):
    record = tmp_path / "names_gt_CE.json"
    assert read_explanation_record(tmp_path / "names_gt_CE.txt") == {}
    record.write_text('{"mask_size": 0.05}')
    assert read_explanation_record(tmp_path / "names_gt_CE.txt") == {"mask_size": 0.05}
    for content in ("[1]", "{"):
        record.write_text(content)
        with pytest.raises(InputError, match="names_gt_CE.json .* Run the explanation script again.$"):
            read_explanation_record(tmp_path / "names_gt_CE.txt")


def test_variants_and_selections_never_share_a_file():
    several = [Layout(OUT).unfinished("train_gull_CMaxGrad", selection) for selection in ("", "CMaxGrad", "random")]
    for one in (Layout(OUT, "names_gt", variant) for variant in ("", "simclr")):
        several += [one.heatmaps, one.contact_sheet, one.comparison, one.probe, one.explanation_record]
        for name in (one.course, one.students, one.teaching_list, one.evolution, one.taught_student):
            several += [name("CMaxGrad"), name("random")]
    assert len(set(several)) == len(several) == 33
