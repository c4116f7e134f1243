"""The results: one command from the beginning to the page, twice with the same bytes; what its tables say, by hand."""

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from benchmarks.results import __main__ as results
from benchmarks.results import check, courses, disc, environment, explanations, page, stages
from benchmarks.results.overview import overview
from benchmarks.results.parts import PARTS
from benchmarks.results.table import Table
from benchmarks.results.work import Work, begin
from tests.conftest import IMAGES
from tests.helpers.noise import CLASSES, SIZE, noise_material, settings
from tests.helpers.working import HereWork
from utils.base.errors import InputError, RunError
from utils.data import toy_moths
from utils.data.images import decode, to_tensor, whole_view
from utils.data.lists import read_explanations
from utils.data.loading import ImageSet
from utils.data.outputs import IMG, MASK, TEACHING_SIZE, Layout, sibling
from utils.explanations.storage import listed_counters, read_masks
from utils.teaching.choice import Choice
from utils.teaching.optimal import OptimalStudent
from utils.teaching.pool import Pool
from utils.teaching.registry import SELECTORS

PROSE = "# Results\nBy hand.\n"


def files(folder):
    return {path.name: path.read_bytes() for path in sorted(Path(folder).glob("*.*"))}


# ---------------------------------------------------------------- from the beginning to the page


@pytest.fixture(scope="module")
def ran(weights, tmp_path_factory):
    """A working folder in which courses and explanations were made as quickly as they can be, and the settings of that run."""
    folder = tmp_path_factory.mktemp("results")
    only = ("courses", "explanations")
    cfg = results.Config(
        only, quick=True, pretrained=str(weights), out="one", page="page.md", seed=5, workers=1, device="cpu"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(toy_moths, "PER_CLASS", IMAGES)
        patch.setattr(results, "Work", HereWork)
        Path("page.md").write_text(PROSE)
        results.main(cfg)
    return folder, cfg


@pytest.fixture
def here(ran, monkeypatch):
    """That folder as working folder."""
    monkeypatch.chdir(ran[0])
    monkeypatch.setattr(results, "Work", HereWork)
    monkeypatch.setattr(toy_moths, "PER_CLASS", IMAGES)
    return ran[1]


def test_every_table_is_a_csv_a_figure_and_a_section_of_the_page(here):
    text = Path("page.md").read_text()
    names = [
        *(f"courses_toy{variant}" for variant in ("", "_simclr", "_sgd")),
        "courses",
        explanations.LOCALIZATION,
        explanations.DELETION,
    ]
    assert page.named(text) == names and text.startswith(PROSE)
    assert set(files("one")) == {f"{name}{suffix}" for name in names for suffix in (".csv", ".png")}
    assert files("page") == files("one")
    for name in names:
        shown = page.section(text, page.markers(name), "page.md")
        assert f"](page/{name}.png)" in shown and "python -m benchmarks.results --only" in shown
        assert page.from_markdown(shown) == check.read_csv(Path(f"one/{name}.csv"))
    listed = page.section(text, page.ENVIRONMENT, "page.md")
    assert re.findall("^- `([a-z]+)`: .*; seed 5; weights resnet18.pth", listed, flags=re.M) == [
        "courses",
        "explanations",
    ]
    assert list(check.differences(Path("page.md"), Path("one"))) == []


def test_every_selection_and_explanation_has_its_row(here):
    rows = check.read_csv(Path("one/courses_toy.csv"))
    keys = [(selection, kind) for kind in ("none", "scout", "margin", "disc") for selection in SELECTORS]
    assert [tuple(row[:2]) for row in rows[1:]] == keys + [
        (courses.POOL, kind) for kind in ("none", "scout", "margin", "disc")
    ]
    assert rows[0][2:5] == ["1", "2", "3"]
    sgd = [tuple(row[:2]) for row in check.read_csv(Path("one/courses_toy_sgd.csv"))[1:]]
    text = page.section(Path("page.md").read_text(), page.markers("courses_toy_sgd"), "page.md")
    assert "64 x 64 pixels" in text
    scout = [("random", "scout"), ("CMaxGrad", "scout"), ("KMaxGrad", "scout")]
    assert sgd == [*((name, "none") for name in SELECTORS if name != "CMaxGrad"), *scout]
    moths = check.read_csv(Path("one/explanations_localization.csv"))[1:]
    assert [row[0] for row in moths] == ["margin"] * 5 + ["scout"] * 5
    blurred = check.read_csv(Path("one/explanations_deletion.csv"))[1:]
    assert [row[0] for row in blurred] == ["margin", "margin", "scout", "scout", "disc", "disc"]
    assert len({tuple(row[2:3]) for row in blurred}) == 2  # each network has its own margin, whatever is blurred


def test_a_second_run_gives_the_same_bytes(here):
    again = replace(here, out="two", page="other.md", workers=2)
    results.main(again)
    assert files("two") == files("one")
    both = [Path(name).read_text().replace("(other/", "(page/") for name in ("page.md", "other.md")]
    assert both[1] == both[0].removeprefix(PROSE).lstrip()


def test_a_killed_run_goes_on_where_it_was(here, monkeypatch):
    """What was computed is not computed again; what is missing is."""
    for name in ("courses_toy/margin_KMaxGrad/0", explanations.DELETION):
        Path(f"one/work/kept/{name}.json").unlink()
    before, taught = files("one"), []
    for path in Path("one").glob("*.*"):
        path.unlink()
    teach = courses.draw_courses

    def teach_and_tell(student, make, how, begin):
        taught.append((type(make(0)).__name__, begin))
        return teach(student, make, how, begin)

    monkeypatch.setattr(courses, "draw_courses", teach_and_tell)
    measured = monkeypatch.setattr(explanations, "localize", lambda *_: pytest.fail("measured again"))
    results.main(replace(here, resume=True, page="none"))
    assert measured is None and taught == [("KMaxGrad", 0)]
    assert files("one") == before


def test_other_settings_are_not_gone_on_with(here):
    with pytest.raises(
        InputError, match=r"begun with other settings: seed \(was 5, is 6\); restore them, or start without --resume"
    ):
        results.main(replace(here, seed=6, resume=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ("course",)}, "--only course: there is no such part; choose from " + ", ".join(PARTS)),
        ({"page": str(results.TOP / "docs/results.md")}, "--quick is there to see that everything runs"),
        ({"pretrained": "nowhere.pt"}, "--pretrained nowhere.pt does not exist"),
    ],
)
def test_wrong_settings_are_one_sentence(here, changes, message):
    with pytest.raises(InputError, match=f"^.*{re.escape(message)}"):
        results.main(replace(here, out="three", **changes))
    assert not Path("three/work").exists()


def test_a_work_folder_begins_anew_and_is_not_taken_from_others(tmp_path):
    folder = tmp_path / "work"
    begin(folder, {"seed": 0}, resume=False)
    (folder / "x").touch()
    begin(folder, {"seed": 0}, resume=True)
    assert (folder / "x").exists()
    begin(folder, {"seed": 1}, resume=False)
    assert [path.name for path in folder.iterdir()] == ["made_by.json"]
    (folder / "made_by.json").unlink()
    (folder / "thesis.tex").touch()
    with pytest.raises(
        InputError, match="work holds files that are not of this command; move them, or give another --out"
    ):
        begin(folder, {"seed": 1}, resume=False)
    assert (folder / "thesis.tex").exists()


def test_a_work_folder_that_was_half_cleared_is_still_ours(tmp_path, monkeypatch):
    folder = tmp_path / "work"
    begin(folder, {"seed": 1}, resume=False)
    for name in ("a", "b", "c"):
        (folder / name / "deep").mkdir(parents=True)
    removed = []

    def killed(path):
        if removed:
            raise KeyboardInterrupt
        removed.append(path.rename(tmp_path / "gone"))

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("benchmarks.results.work.shutil.rmtree", killed)
        begin(folder, {"seed": 2}, resume=False)
    begin(folder, {"seed": 2}, resume=False)
    assert [path.name for path in folder.iterdir()] == ["made_by.json"]
    (folder / "made_by.json").write_text("{")  # damaged: not gone on with, but begun anew
    with pytest.raises(InputError, match=r"seed \(was None, is 2\)"):
        begin(folder, {"seed": 2}, resume=True)
    begin(folder, {"seed": 2}, resume=False)


# ---------------------------------------------------------------- work


@pytest.fixture
def work(tmp_path):
    return Work(str(tmp_path / "data"), "none", tmp_path / "work", 3, "cpu", 1, 1, quick=False)


def test_a_script_gets_the_settings_that_it_has_and_says_why_it_failed(work, tmp_path):
    """A real process, once; it finds no data."""
    with pytest.raises(RunError) as failed:
        work.script("simulate_people", "--dataset", "toy", "--out", str(tmp_path / "toy"), "--seed", "4")
    log = tmp_path / "work/logs/simulate_people.log"
    assert str(failed.value).startswith(f"simulate_people.py failed (exit status 2), see {log}; it said: ")
    assert "simulate_people.py: error: " in str(failed.value)
    first = log.read_text().splitlines()[0]
    assert "--seed 4" in first and "--seed 3" not in first and "--resume" not in first  # that script has none
    assert work._common("train_butterflies_resnet18", ("--seed", "4")) == [
        *("--data-root", str(tmp_path / "data"), "--workers", "1", "--device", "cpu", "--resume")
    ]


def test_what_is_kept_is_computed_once_for_the_same_settings(work):
    calls = []
    given = [
        work.kept("a/b", lambda: calls.append(1) or {"x": (1, 2)}, {"draws": draws, "sizes": (1,)})
        for draws in (3, 3, 6, 6)
    ]
    assert given == [{"x": [1, 2]}] * 4 and calls == [1, 1]
    with pytest.raises(ValueError):
        work.kept("c", lambda: float("nan"), {})
    assert not list((work.folder / "kept").rglob("*c*"))


def test_courses_are_taught_anew_where_their_settings_are_others(here):
    """What a course depends on: its draws, the student, and how it sees."""
    whole, sgd = courses.all_courses(True)[0], courses.all_courses(True)[-1]
    cfg = courses.Config(image_size=64, seed=5)
    settings = courses._settings(whole, cfg)
    assert settings == courses._settings(whole, replace(cfg, workers=9, selection="random", out="x"))
    assert settings != courses._settings(sgd, cfg) and sgd.view == "image"
    for other in (replace(cfg, ridge=0.1), replace(cfg, image_size=96), replace(cfg, alpha=0.1), replace(cfg, seed=6)):
        assert settings != courses._settings(whole, other)


def test_what_is_not_in_the_data_root_is_left_out_and_said(work, data_root, tmp_path, capsys):
    tables = [*courses.tables(work)]
    assert len(tables) == 5 and all(table.rows == [] for table in tables)
    sentence = "The dataset chinese_chars was not in the data root, so nothing was measured on it."
    assert tables[1].text == sentence and capsys.readouterr().out.splitlines().count(sentence) == 1
    there = replace(work, data_root=str(data_root))
    assert stages.absent(there, "toy") == stages.absent(there, "toy", ("rest",)) == "" and stages.absent_simclr(there)
    assert stages.absent(there, "butterflies_s300") and stages.absent(there, "nobodys_birds")
    # An earlier run's files of the table are of nothing any more.
    for name in ("courses_chinese_chars.csv", "courses_chinese_chars.png"):
        (tmp_path / name).touch()
    tables[1].write(tmp_path)
    assert not list(tmp_path.glob("courses*"))
    page.put(tmp_path / "page.md", tables[1], tmp_path)
    text = (tmp_path / "page.md").read_text()
    assert sentence in text and "|" not in text and list(check.differences(tmp_path / "page.md")) == []


# ---------------------------------------------------------------- the page, and its check


ROWS = [{"what": "a | b", "n": 1, "share": 2.5}, {"what": "c", "n": 10, "share": ""}]


@pytest.fixture
def shown(tmp_path):
    """A page with a table and prose around it."""
    table = Table("things", "Things", "What they are.", "make things", ROWS, lambda path: path.write_bytes(b"figure"))
    path = tmp_path / "page.md"
    path.write_text("Before.\n\n<!-- table things -->\nold\n<!-- end things -->\n\nBehind.\n")
    table.write(tmp_path)
    page.put(path, table, tmp_path)
    return path


def test_a_table_stands_between_its_markers_alone(shown, tmp_path):
    text = shown.read_text()
    assert text.startswith(
        "Before.\n\n<!-- table things -->\n### Things\n\nWhat they are.\n\n```\nmake things\n```\n\n| what | n | share |\n"
    )
    assert text.endswith("| c | 10 |  |\n\n![Things](page/things.png)\n<!-- end things -->\n\nBehind.\n")
    assert page.from_markdown(text) == [["what", "n", "share"], ["a | b", "1", "2.5"], ["c", "10", ""]]
    assert page.from_markdown(text) == check.read_csv(tmp_path / "page/things.csv")


def test_a_marker_without_its_end_is_named(shown):
    shown.write_text(shown.read_text().replace("<!-- end things -->\n", ""))
    with pytest.raises(
        InputError, match="page.md, line 3: no line '<!-- end things -->' follows '<!-- table things -->'; put it back"
    ):
        list(check.differences(shown))


def test_the_check_finds_what_differs(shown, tmp_path):
    csv = tmp_path / "page/things.csv"
    assert list(check.differences(shown)) == []
    shown.write_text(shown.read_text().replace("| 2.5 |", "| 2.6 |"))
    assert list(check.differences(shown)) == [f"things, row 1 (a | b), column share: the page says 2.6, {csv} 2.5."]
    shown.write_text(shown.read_text().replace("| 2.6 |", "| 2.5 |").replace("| c | 10 |  |\n", ""))
    assert list(check.differences(shown)) == [f"things: the page has 1 rows, {csv} 2."]
    shown.write_text(shown.read_text().replace("| 2.5 |", "| 2.5 | 7 |"))
    assert f"things, row 1: the page has 4 cells, {csv} 3." in check.differences(shown)
    shown.write_text(shown.read_text().replace("| 2.5 | 7 |", "| 2.5 |"))
    (tmp_path / "page/things.png").unlink()
    csv.rename(csv.with_name("others.csv"))
    assert list(check.differences(shown)) == [
        f"things: the page has it, {csv} has not.",
        f"things: its figure {tmp_path / 'page/things.png'} is missing.",
        f"others: {tmp_path / 'page/others.csv'} is shown nowhere on the page.",
    ]


def test_the_check_holds_the_page_against_a_run(shown, tmp_path, monkeypatch, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "things.csv").write_text("what,n,share\na | b,1,2.5\nc,11,\n")
    for out, status in (([], 0), (["--out", str(run)], 1)):
        monkeypatch.setattr(sys, "argv", ["check", "--page", str(shown), *out])
        with pytest.raises(SystemExit) as stop:
            check.main()
        assert stop.value.code == status
    said = capsys.readouterr().out.splitlines()
    assert said == [
        f"{shown} says what the CSVs say.",
        f"things, row 2 (c), column n: {tmp_path / 'page/things.csv'} says 10, {run / 'things.csv'} 11.",
    ]


def test_each_part_has_its_own_line_of_what_it_was_measured_on(work, tmp_path):
    path = tmp_path / "page.md"
    environment.put(path, "people", work)
    environment.put(path, "courses", work)
    environment.put(path, "people", replace(work, seed=4))
    lines = page.section(path.read_text(), page.ENVIRONMENT, path).splitlines()
    assert [line[: line.index(":")] for line in lines] == ["- `courses`", "- `people`"]
    assert "; seed 3; weights none." in lines[0] and "; seed 4; weights none." in lines[1]


# ---------------------------------------------------------------- courses, by hand


def test_differences_are_taken_draw_by_draw():
    """Two draws of two lessons. KMaxGrad's means are 60 and 50, random's 40 and 40: apart by 20 and 10, 15 on average, sd sqrt(50).
    MaxHerding's are 50 and 51."""
    curves = {
        ("random", "none"): [[30.0, 50.0], [40.0, 40.0]],
        ("KMaxGrad", "none"): [[50.0, 70.0], [40.0, 60.0]],
        ("MaxHerding", "none"): [[40.0, 60.0], [41.0, 61.0]],
        ("KMaxGrad", "margin"): [[52.0, 72.0], [41.0, 61.0]],
        ("random", "margin"): [[62.0, 62.0], [51.0, 51.0]],
    }
    compared = [
        column for other in ("random", "MaxHerding", "none") for column in (f"minus {other}", f"sd of minus {other}")
    ]
    columns = ("selection", "explanation", "1", "2", "mean", "sd", *compared)
    found = courses.rows(curves, {"none": [80.0, 90.0], "margin": [82.0, 91.0]})
    assert all(tuple(row) == columns for row in found)
    assert [tuple(row.values()) for row in found] == [
        ("random", "none", 35.0, 45.0, 40.0, 0.0, "", "", -10.5, 0.7, "", ""),
        ("KMaxGrad", "none", 45.0, 65.0, 55.0, 7.1, 15.0, 7.1, 4.5, 7.8, "", ""),
        ("MaxHerding", "none", 40.5, 60.5, 50.5, 0.7, 10.5, 0.7, "", "", "", ""),
        ("KMaxGrad", "margin", 46.5, 66.5, 56.5, 7.8, 0.0, 0.0, "", "", 1.5, 0.7),
        ("random", "margin", 56.5, 56.5, 56.5, 7.8, "", "", "", "", 16.5, 7.8),
        (courses.POOL, "none", "", "", 85.0, 7.1, "", "", "", "", "", ""),
        (courses.POOL, "margin", "", "", 86.5, 6.4, "", "", "", "", 1.5, 0.7),
    ]


def test_a_course_that_ends_early_is_compared_as_far_as_all_draws_go():
    curves = {("random", "none"): [[30.0, 50.0, 60.0], [40.0, 40.0]], ("MaxGrad", "none"): [[20.0, 30.0, 40.0]] * 2}
    random, other = courses.rows(curves, {})
    assert (random["1"], random["2"], random["3"]) == (35.0, 45.0, "") and (other["3"], other["minus random"]) == (
        40.0,
        -13.3,
    )


def test_the_overview_by_hand(tmp_path):
    """Two draws: KMaxGrad is ahead of random pairs by 15 without explanations, and by 10 with margin's; other kinds are left out."""
    keys = [(selection, kind) for kind in ("none", "scout", "margin") for selection in ("random", "KMaxGrad")]
    curves = {
        key: [[level], [level + 10.0]] for key, level in zip(keys, (40.0, 55.0, 1.0, 2.0, 45.0, 55.0), strict=True)
    }
    optimal = courses.Courses("courses_x", "x", "", "").groups(courses.rows(curves, {"none": [80.0, 90.0]}))
    few = {("random", "none"): [[20.0]], ("CMaxGrad", "scout"): [[17.0]], ("random", "scout"): [[18.0]]}
    sgd = courses.Courses("courses_x_sgd", "x", "", "", student="sgd", simclr=True).groups(courses.rows(few, {}))
    found = overview([*optimal, *sgd], "command")
    assert list(found.rows[0]) == [
        *("dataset", "student", "features", "explanation", "random", "KMaxGrad", courses.POOL, "CMaxGrad"),
        *(
            "KMaxGrad minus random",
            "sd of KMaxGrad minus random",
            "KMaxGrad minus MaxHerding",
            "sd of KMaxGrad minus MaxHerding",
        ),
        *("CMaxGrad minus random", "sd of CMaxGrad minus random"),
    ]
    assert [tuple(row.values()) for row in found.rows] == [
        ("x", "optimal", "pretrained", "margin", 50.0, 60.0, "", "", 10.0, 0.0, "", "", "", ""),
        ("x", "optimal", "pretrained", "none", 45.0, 60.0, 85.0, "", 15.0, 0.0, "", "", "", ""),
        ("x", "sgd", "SimCLR", "scout", 18.0, "", "", 17.0, "", "", "", "", -1.0, ""),
        ("x", "sgd", "SimCLR", "none", 20.0, "", "", "", "", "", "", "", "", ""),
    ]
    found.draw(tmp_path / "overview.png")
    assert (tmp_path / "overview.png").stat().st_size > 1000


def least_risk(features, labels, ridge):
    """The head (C, d) that minimises the mean risk and the ridge, by SciPy, image by image."""
    shape = (CLASSES, features.shape[1])

    def loss(flat):
        W, slope, value = flat.reshape(shape), np.zeros(shape), 0.0
        for f, c in zip(features, labels, strict=True):
            for k in set(range(CLASSES)) - {int(c)}:
                risk = np.exp(-0.5 * f @ (W[c] - W[k])) / len(features)
                value += risk
                slope[c] -= 0.5 * risk * f
                slope[k] += 0.5 * risk * f
        return value + ridge * (W**2).sum(), (slope + 2 * ridge * W).ravel()

    return minimize(
        loss, np.zeros(np.prod(shape)), jac=True, method="L-BFGS-B", options={"maxiter": 5000, "gtol": 1e-9}
    ).x.reshape(shape)


@pytest.mark.parametrize("explain", [True, False])
def test_the_ceiling_is_a_student_of_the_whole_pool(explain, tmp_path):
    """Against a plain minimisation over every image of a draw and every explanation of those images."""
    images, ce_list = noise_material(tmp_path)
    how = settings(ridge=1e-2)
    whole = OptimalStudent(Pool(images, ce_list, CLASSES, "attention", SIZE), images, explain, how)
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 7])
    pupil = whole.anew(rows)
    seen = pupil.survey(explain)
    features, labels = [*seen.features], [*seen.labels.tolist()]
    for place, label in enumerate(seen.labels.tolist()) if explain else ():
        for counter in set(range(CLASSES)) - {label}:
            features.append(seen.explained.features[seen.table[place, counter]])
            labels.append(label)
    assert len(features) == len(rows) * (3 if explain else 1)
    head = least_risk(torch.stack(features).double().numpy(), labels, how.ridge)
    answers = torch.from_numpy(pupil.features.test.double().numpy() @ head.T).argmax(1)
    wanted = 100 * (answers == images.labels).double().mean().item()
    assert courses.ceiling(whole.anew(rows), how.ridge) == pytest.approx(wanted)
    # One lesson is not the whole pool.
    taught = whole.anew(rows)
    taught.add(Choice(0, 1, 1, {}, None))
    taught.learn()
    assert taught.accuracies()[1] < wanted


# ---------------------------------------------------------------- the control


def test_discs_have_the_masks_areas_and_are_read_as_explanations(butterflies, tmp_path, monkeypatch, data_root):
    monkeypatch.chdir(butterflies.folder)
    explained, files = Layout(Path("margin"), "toy_gt"), Layout(tmp_path / "disc", "toy_gt")
    images = stages.open_list(
        stages.find("toy", data_root), "train", str(data_root), lambda image: whole_view(image, 64), budget=0
    )
    disc.write_discs(explained, files, images, 5)
    counters = listed_counters(explained, images.rows, 5)
    assert listed_counters(files, images.rows, 5) == counters
    middle = (
        torch.zeros(64, 64)
        .index_put((torch.arange(31, 33).repeat(2), torch.arange(31, 33).repeat_interleave(2)), torch.tensor(1.0))
        .bool()
    )
    for number, (row, some) in enumerate(zip(images.rows, counters, strict=True)):
        masks, discs = (read_masks(layout, row, some, TEACHING_SIZE) for layout in (explained, files))
        assert torch.equal(discs.sum((1, 2)), masks.sum((1, 2))) and discs[:, middle].all()
        assert not discs[:, 0].any() and not torch.equal(discs, masks)
        if number == 0:
            listed = read_explanations(files.explanation_list(), 5)[0]
            picture = to_tensor(decode(listed.path, "list"))
            assert torch.equal(picture[:, discs[0]], images[0][:, discs[0]])
            outside = picture[:, ~discs[0]]
            assert torch.equal(outside, outside[:, :1].expand_as(outside))
            assert Path(sibling(listed.path, IMG, MASK)).exists()
    pool = Pool(
        ImageSet(images.rows, images.source, str(data_root), lambda image: whole_view(image, 64)),
        str(files.explanation_list()),
        5,
        "attention",
        64,
    )
    assert len(pool.rows) == 80 and pool.weights(0, 2).sum() > 0


def test_rows_of_explanations_by_hand():
    found = {
        "margin": {
            "the teacher": [[3.621, 0.834, 0.999], [3.623, 0.434, -1.003]],
            "the second network": [[3.8, 0.7, 0.06]],
        }
    }
    rows = [tuple(row.values()) for row in explanations.deleted_rows(found)]
    assert rows == [
        ("margin", "the teacher", 3.62, 0.63, 0.28, 0.0, 1.42),
        ("margin", "the second network", 3.8, 0.7, "", 0.06, ""),
    ]
    assert str(rows[0][-2]) == "0.0"  # and not -0.0
    moths = explanations.localized_rows({"scout": {"explanation": [17.26, 14.3, 11.5, 16.5, 20.2, 14.4, 16.9]}})
    assert list(moths[0].values()) == ["scout", "explanation", 17.3, 14.3, 11.5, 16.5, 20.2, 14.4, 16.9]
    assert list(moths[0])[2:] == list(explanations.COLUMNS)
    assert json.dumps(moths)
