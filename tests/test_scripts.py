"""The scripts end to end on a small dataset: all documented files, and their content against second implementations."""

import math
import re
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import binary_erosion
from torchvision.models import resnet18

from tests.helpers.runs import content_of, load, read_table
from utils.base.errors import InputError
from utils.base.files import write_json, write_table
from utils.data import images, lists
from utils.data.catalog import MOTHS
from utils.teaching import compare_courses

STEMS = {"": "counterfactual_gradcam", "_simclr": "counterfactual_gradcam_simclr"}
MEAN, STD = (torch.tensor(values).view(3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
VARIANTS = pytest.mark.parametrize("variant", ["", "_simclr"])


def picture(path, mode="RGB", size=64):
    """A PNG as an array, after checking its mode and size."""
    with Image.open(path) as image:
        assert (image.format, image.mode, image.size) == ("PNG", mode, (size, size)), path
        return np.array(image)


def view(root, listed, how=images.whole_view, size=64):
    """A listed image as the networks see it, uint8 (3, s, s)."""
    with Image.open(lists.locate(listed, root)) as image:
        return how(image.convert("RGB"), size=size)


def torchvision_network(state):
    """torchvision's own ResNet-18 with the whole state dict."""
    network = resnet18()
    network.fc = torch.nn.Linear(512, 5, bias="fc.bias" in state)
    network.load_state_dict(state)
    return network.eval()


@torch.no_grad()
def feature_map(network, pixels, normalise=True, last="layer4"):
    """Feature map of uint8 images (N, 3, s, s) after torchvision's layer `last`."""
    x = pixels.float() / 255
    x = (x - MEAN) / STD if normalise else x
    for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"):
        x = getattr(network, name)(x)
        if name == last:
            return x


def by_name(row):
    """End of the file name of an explanation, after the name of its image."""
    return f"_groundtruth_{row.label}_counter_{row.counter}_index_{row.index}.png"


# ---------------------------------------------------------------- every script


def test_every_script_records_its_settings_and_measurements(space):
    keys = {"script", "settings", "inputs", "seed", "git_commit", "versions", "device", "processes", "measured"}
    for run in space.runs.values():
        record = load(space.out / f"run_{run.script}.json")
        assert set(record) == keys
        assert (record["script"], record["seed"], record["device"]) == (run.script, 0, "cpu")
        assert set(record["versions"]) == {"torch", "torchvision", "numpy"}
        assert record["settings"]["image_size"] == 64
        assert not [value for value in record["settings"].values() if isinstance(value, str) and "{" in value]
        measured = record["measured"]
        assert measured["seconds"] > 0 and len(measured) > 1
        accuracies = [v for k, v in measured.items() if "accuracy" in k and not isinstance(v, dict)]
        assert all(0 <= accuracy <= 100 for accuracy in accuracies)


def test_no_script_wrote_outside_its_output_folder(space, drawn_toy, tools):
    root, before = drawn_toy
    assert tools.snapshot(root) == before
    others = {"pictures", "optimal"} if "image" in space.runs else set()
    assert {path.name for path in space.folder.iterdir()} == {"toy", "margin"} | others
    assert not list(space.folder.rglob("*.part*")) + list(space.folder.rglob(".*"))


def test_every_figure_opens_and_is_not_blank(space):
    figures = list(space.out.glob("*.png"))
    assert len(figures) == (13 if space.family == "butterflies" else 11)
    for path in figures:
        with Image.open(path) as figure:
            assert min(figure.size) > 200 and np.ptp(np.array(figure.convert("RGB"))) > 200, path


# ---------------------------------------------------------------- teachers


def test_a_teachers_table_has_a_row_per_epoch(space):
    table = read_table(space.out / ("teacher.csv" if space.family == "butterflies" else "teacher_linear.csv"))
    assert [row["epoch"] for row in table] == ["1", "2"]
    assert list(table[0]) == ["epoch", "lr", "loss", "train_accuracy", "test_accuracy"]
    assert [float(row["lr"]) for row in table] == pytest.approx([0.01, 0.001])  # --milestones 1
    assert [row["test_accuracy"] == "" for row in table] == [True, False]  # --eval-every 2
    assert all(math.isfinite(float(row["loss"])) and 0 <= float(row["train_accuracy"]) <= 100 for row in table)


def teacher_of(space, weights):
    """The trained teacher, rebuilt from its checkpoint by torchvision only."""
    name = "resnet18_s300" if space.family == "butterflies" else "resnet18_linear"
    content = torch.load(space.out / f"checkpoint_pretrain_{name}.pth.tar", weights_only=True)
    assert set(content) == {"epoch", "arch", "state_dict_m", "classes"}
    assert (content["epoch"], content["arch"]) == (2, "resnet18" if space.family == "butterflies" else "linear")
    assert tuple(content["classes"]) == MOTHS
    state = content["state_dict_m"]
    if space.family == "gull":
        assert {name: tuple(value.shape) for name, value in state.items()} == {"weight": (5, 512)}
        backbone = {k: v for k, v in torch.load(weights, weights_only=True).items() if not k.startswith("fc.")}
        state = backbone | {"fc.weight": state["weight"]}
    return torchvision_network(state)


def test_a_checkpoint_is_the_network_that_was_measured(space, weights, data_root):
    network = teacher_of(space, weights)
    rows = lists.read_examples(data_root / "toy/toy_gt_te.txt", 5)
    pixels = torch.stack([view(data_root, row.path, images.eval_view) for row in rows])
    answers = network.fc(feature_map(network, pixels).mean((2, 3))).argmax(1)
    right = 100 * (answers == torch.tensor([row.label for row in rows])).float().mean().item()
    script = space.commands["teacher"][0]
    assert load(space.out / f"run_{script}.json")["measured"]["test_accuracy"] == pytest.approx(right, abs=0.01)


def test_the_resnet_learns(butterflies, weights):
    start, trained = torch.load(weights, weights_only=True), teacher_of(butterflies, weights).state_dict()
    assert not torch.equal(start["conv1.weight"], trained["conv1.weight"])
    assert not torch.equal(start["bn1.running_mean"], trained["bn1.running_mean"])


def test_simclr_saves_the_state_dict_of_the_public_releases(space):
    state = torch.load(space.out / "simclr_checkpoint_2.tar", weights_only=True)
    encoder = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    network = resnet18()
    network.fc = torch.nn.Identity()
    network.load_state_dict(encoder)  # every tensor, and no other
    others = {name: tuple(value.shape) for name, value in state.items() if not name.startswith("encoder.")}
    assert others == {"projector.0.weight": (512, 512), "projector.2.weight": (64, 512)}
    table = read_table(space.out / "simclr.csv")
    assert list(table[0]) == ["epoch", "loss"] and [row["epoch"] for row in table] == ["1", "2"]
    assert 0 < float(table[1]["loss"]) < math.log(15) + 4  # 16 views a batch: -log of a softmax of 15, cosines over 0.5


# ---------------------------------------------------------------- explanations


def sizes(variant):
    return ["0.05", "0.30"] if variant == "" else ["0.05"]


@VARIANTS
def test_explanation_lists_name_every_wrong_answer_in_every_rendering(space, variant, data_root):
    examples = lists.read_examples(data_root / "toy/toy_gt_tr.txt", 5)
    wanted = [
        (row.path, row.label, counter, row.index) for row in examples for counter in range(5) if counter != row.label
    ]
    folders = {"": f"{STEMS[variant]}_img", "_HTML": f"demo{variant}/counterfactual_gradcam_mask"}
    for kind, folder in folders.items():
        path = space.out / f"toy_gt_CE{variant}{kind}.txt"
        rows = lists.read_explanations(path, 5)
        assert [(row.label, row.counter, row.index) for row in rows] == [entry[1:] for entry in wanted]
        for row, (source, *_rest) in zip(rows, wanted, strict=True):
            assert row.path == f"./toy/{folder}/0.05/{Path(source).stem}{by_name(row)}"
            assert (space.folder / row.path).is_file()
    names = {Path(row.path).name for row in rows}
    assert len(names) == 80
    for folder in (f"{STEMS[variant]}_img", f"{STEMS[variant]}_mask", f"demo{variant}/counterfactual_gradcam_mask"):
        assert sorted(path.name for path in (space.out / folder).iterdir()) == sizes(variant)
        for size in sizes(variant):
            assert {path.name for path in (space.out / folder / size).iterdir()} == names


@VARIANTS
@pytest.mark.parametrize("out", ["toy", "margin"])
def test_file_label_and_picture_agree(space, variant, out, data_root):
    """For machines, pixels inside the mask are kept and their mean is outside. For people, only the border is red."""
    examples = {row.index: row for row in lists.read_examples(data_root / "toy/toy_gt_tr.txt", 5)}
    out = space.folder / out
    for row in lists.read_explanations(out / f"toy_gt_CE{variant}.txt", 5):
        source = view(data_root, examples[row.index].path).permute(1, 2, 0).numpy()
        for size in sizes(variant):
            name = f"{size}/{Path(row.path).name}"
            mask = picture(out / f"{STEMS[variant]}_mask" / name, "L")
            assert set(np.unique(mask)) <= {0, 255} and mask.any()
            inside = mask == 255
            machine = picture(out / f"{STEMS[variant]}_img" / name)
            assert (machine[inside] == source[inside]).all()
            assert (machine[~inside] == np.round(source[inside].mean(0, dtype=np.float64)).astype(np.uint8)).all()
            people = picture(out / f"demo{variant}/counterfactual_gradcam_mask" / name)
            border = inside & ~binary_erosion(inside, np.ones((5, 5)), border_value=0)  # within 2 pixels of outside
            assert (people[border] == (255, 0, 0)).all() and (people[~border] == source[~border]).all()


def maps_and_images(path, data_root):
    """The maps of a list, after checking its rows, and its images."""
    maps = np.load(path, allow_pickle=False)
    examples = lists.read_examples(data_root / "toy/toy_gt_tr.txt", 5)
    assert maps["path"].tolist() == [row.path for row in examples]
    assert maps["label"].tolist() == [row.label for row in examples]
    return maps, torch.stack([view(data_root, row.path) for row in examples])


@VARIANTS
def test_heat_maps_are_those_of_the_listed_images(space, variant, data_root, weights):
    maps, pixels = maps_and_images(space.out / f"heatmaps{variant}.npz", data_root)
    assert maps["attribution"].shape == (20, 5, 2, 2) and maps["confidence"].shape == (20, 2, 2)
    for name in ("attribution", "confidence"):
        values = maps[name]
        low, high = values.min((-2, -1)), values.max((-2, -1))
        assert values.dtype == np.float32 and values.min() > 0
        assert np.allclose(low, 1e-7) and (np.isclose(high, 1) | np.isclose(high, 1e-7)).all()
    network = teacher_of(space, weights) if variant == "" else simclr_teacher(space)
    assert np.allclose(maps["attribution"], attribution_maps(network, pixels, variant == ""), atol=1e-3)


def attribution_maps(network, pixels, normalise):
    """A_c of every class by its closed form, scaled to 0 .. 1, (N, C, H, W)."""
    maps = torch.einsum("ck,nkhw->nchw", network.fc.weight, feature_map(network, pixels, normalise)).relu()
    low, high = maps.amin((2, 3), keepdim=True), maps.amax((2, 3), keepdim=True)
    return torch.where(high > low, (maps - low) / (high - low), 0).clamp(min=1e-7).detach().numpy()


def simclr_teacher(space, out=None):
    """Encoder and linear head of the SimCLR variant, rebuilt from their two checkpoints by torchvision only."""
    state = torch.load(space.out / "simclr_checkpoint_2.tar", weights_only=True)
    head = torch.load((out or space.out) / "checkpoint_linear_simclr.pth.tar", weights_only=True)
    assert set(head) == {"epoch", "arch", "state_dict_m", "classes"} and head["epoch"] == 30
    encoder = {name.removeprefix("encoder."): value for name, value in state.items() if name.startswith("encoder.")}
    return torchvision_network(encoder | {f"fc.{name}": value for name, value in head["state_dict_m"].items()})


@VARIANTS
def test_margins_class_maps_are_hirescam_of_the_listed_images(space, variant, data_root, weights):
    maps, pixels = maps_and_images(space.folder / f"margin/heatmaps{variant}.npz", data_root)
    assert (maps["class_maps"].shape, maps["class_maps"].dtype) == ((20, 5, 16, 16), np.float16)
    network = teacher_of(space, weights) if variant == "" else simclr_teacher(space, space.folder / "margin")
    first = feature_map(network, pixels, normalise=variant == "", last="layer1").detach().requires_grad_()
    logits = network.fc(network.layer4(network.layer3(network.layer2(first))).mean((2, 3)))
    gradients = [torch.autograd.grad(logits[:, c].sum(), first, retain_graph=True)[0] for c in range(5)]
    expected = torch.stack([(gradient * first.detach()).sum(1) for gradient in gradients], dim=1).numpy()
    # A channel that rounding moves across 0 changes a gradient by a step, here or there.
    assert np.mean(np.abs(maps["class_maps"] - expected) < 1e-3 * np.abs(expected).max()) > 0.98


# ---------------------------------------------------------------- courses

COURSES = {
    "CMaxGrad": ("toy", "CMaxGrad", ""),
    "MaxGrad": ("toy", "MaxGrad", ""),
    "random": ("toy", "random", ""),
    "image": ("pictures", "CMaxGrad", ""),
    "optimal": ("optimal", "CMaxGrad", ""),
    "KMaxGrad": ("optimal", "KMaxGrad", ""),
    "CMaxGrad_simclr": ("toy", "CMaxGrad", "_simclr"),
}
EXPLAINING = ("CMaxGrad", "KMaxGrad")

RAN = [("butterflies", name) for name in COURSES] + [
    ("gull", name) for name in ("CMaxGrad", "random", "CMaxGrad_simclr")
]


@pytest.fixture(params=RAN, ids="-".join)
def course(request):
    """Each course in turn: the workspace, the output folder, the selection and the variant."""
    family, name = request.param
    space = request.getfixturevalue(family)
    out, selection, variant = COURSES[name]
    return space, space.folder / out, selection, variant


def teaching_list(out, selection, variant):
    return lists.read_examples(out / selection / f"toy_Lt_gt_CE{variant}_tr.txt", 5)


def test_a_teaching_list_is_pairs_followed_by_their_explanations(course, data_root):
    space, out, selection, variant = course
    rows = teaching_list(out, selection, variant)
    examples = {row.path: row for row in lists.read_examples(data_root / "toy/toy_gt_tr.txt", 5)}
    explanations = {row.path: row for row in lists.read_explanations(space.out / f"toy_gt_CE{variant}.txt", 5)}
    per_lesson = 4 if selection in EXPLAINING else 2
    assert len(rows) == 3 * per_lesson
    for lesson in range(3):
        first, second, *explained = rows[lesson * per_lesson : (lesson + 1) * per_lesson]
        assert first == examples[first.path] and second == examples[second.path] and first.label != second.label
        for row, image, other in zip(explained, (first, second), (second, first), strict=False):
            found = explanations[row.path]
            assert (row.label, row.index) == (found.label, found.index) == (image.label, image.index)
            assert found.counter == other.label
            assert Path(row.path).name == f"{Path(image.path).stem}{by_name(found)}"
    assert len({row.path for row in rows}) == len(rows)  # nothing is taught twice


def test_a_course_answers_every_wrong_answer(course, data_root, weights):
    space, out, selection, variant = course
    content = load(out / f"course_{selection}{variant}.json")
    keys = "dataset classes selection student explanation ce_list network seed mask_size lessons pictures"
    assert list(content) == keys.split()
    assert list(content["network"].values()) == ["resnet18", str(weights), "auto", 64]
    assert (content["dataset"], tuple(content["classes"]), content["selection"]) == ("toy", MOTHS, selection)
    assert (content["seed"], content["mask_size"]) == (0, 0.05)
    assert content["student"] == ("optimal" if out.name == "optimal" else "sgd")
    assert content["explanation"] == "scout"
    taught = teaching_list(out, selection, variant)
    per_lesson = 4 if selection in EXPLAINING else 2
    label_of = {row.path: row.label for row in lists.read_examples(data_root / "toy/toy_gt_tr.txt", 5)}
    for number, lesson in enumerate(content["lessons"]):
        assert set(lesson) == {"iteration", "image", "label", "answer", "score", "partner", "explanations"}
        a, b = lesson["label"], lesson["answer"]
        assert (lesson["iteration"], a) == (number, label_of[lesson["image"]])
        assert b != a and lesson["partner"] == {"image": lesson["partner"]["image"], "label": b}
        assert label_of[lesson["partner"]["image"]] == b
        assert (lesson["score"] is None) == (selection == "random")
        rows = taught[number * per_lesson : (number + 1) * per_lesson]
        assert [row.path for row in rows[:2]] == [lesson["image"], lesson["partner"]["image"]]
        assert set(lesson["explanations"]) == {str(r) for r in range(5) if r != a}
        assert lesson["explanations"][str(b)]["partner"] == lesson["partner"]["image"]
        for r, answer in lesson["explanations"].items():
            check_answer(space.folder, lesson, int(r), answer, label_of)
        if selection in EXPLAINING:
            own = lesson["explanations"][str(b)]
            assert [row.path for row in rows[2:]] == [own["image"], own["partner_explanation"]]
    seen = [path for lesson in content["lessons"] for path in (lesson["image"], lesson["partner"]["image"])]
    assert len(set(seen)) == len(seen) == 6


def check_answer(folder, lesson, r, answer, label_of):
    """Checks that answer `r` of a lesson shows existing pictures of the right images and classes."""
    a = lesson["label"]
    assert set(answer) == {"image", "human", "partner", "partner_explanation", "partner_human"}
    assert label_of[answer["partner"]] == r
    shown = {"image": (lesson["image"], a, r), "partner_explanation": (answer["partner"], r, a)}
    for (key, (source, label, counter)), people in zip(shown.items(), ("human", "partner_human"), strict=True):
        assert f"{Path(source).stem}_groundtruth_{label}_counter_{counter}_index_" in answer[key]
        assert "_img/0.05/" in answer[key] and "/counterfactual_gradcam_mask/0.05/" in answer[people]
        assert Path(answer[key]).name == Path(answer[people]).name
        assert (folder / answer[key]).is_file() and (folder / answer[people]).is_file()


def test_accuracies_are_percent_one_per_lesson(course):
    _, out, selection, variant = course
    table = read_table(out / f"evolution_{selection}{variant}.csv")
    assert [row["iteration"] for row in table] == ["0", "1", "2"]
    for split in ("train", "test"):
        values = np.load(out / f"all_{split}_acc_iter_{selection}{variant}.npy")
        assert values.shape == (3,) and (values >= 0).all() and (values <= 100).all()
        assert [float(row[f"{split}_accuracy"]) for row in table] == pytest.approx(values, abs=1e-3)
    right = np.load(out / f"all_test_acc_iter_{selection}{variant}.npy") * 15 / 100  # of 15 test images
    shares = 60 if out.name == "optimal" else 1  # classes that were not taught tie: 1/2, 1/3, 1/4 or 1/5 of an image
    assert np.allclose(right * shares, np.round(right * shares))


STUDENTS = pytest.mark.parametrize(
    "course", [ran for ran in RAN if "CMaxGrad" in ran[1] or ran[1] == "image"], indirect=True, ids="-".join
)


def students_of(out, selection, variant):
    """The saved students of a course, in order."""
    paths = sorted((out / f"students_{selection}{variant}").iterdir())
    assert [path.name for path in paths] == ["iter_000.pt", "iter_001.pt", "iter_002.pt"]
    return [torch.load(path, weights_only=True) for path in paths]


@STUDENTS
def test_the_first_student_is_untaught_and_drawn_by_the_seed(course, weights):
    first, second, third = students_of(*course[1:])
    for key, value in torch.load(weights, weights_only=True).items():
        assert key.startswith("fc.") or torch.equal(first[key], value)
    heads = {}
    for seed in (0, 1):
        torch.manual_seed(seed)
        network = resnet18()
        network.fc = torch.nn.Linear(512, 5, bias=False)
        heads[seed] = network.fc.weight
    assert torch.equal(first["fc.weight"], heads[0]) and not torch.equal(first["fc.weight"], heads[1])
    for key in ("fc.weight", "layer4.1.conv2.weight"):
        assert not torch.equal(first[key], second[key]) and not torch.equal(second[key], third[key])
    assert torch.equal(first["bn1.running_mean"], third["bn1.running_mean"])  # batch norm keeps its statistics


@STUDENTS
def test_accuracies_are_those_of_the_saved_students(course, data_root):
    """Student k, saved before iteration k, was measured after iteration k - 1; the final student was measured last."""
    _, out, selection, variant = course
    measured = np.load(out / f"all_test_acc_iter_{selection}{variant}.npy")
    rows = lists.read_examples(data_root / "toy/toy_gt_te.txt", 5)
    pixels = torch.stack([view(data_root, row.path, images.eval_view) for row in rows])
    labels = torch.tensor([row.label for row in rows])
    taught = torch.load(out / f"student_{selection}{variant}.pth.tar", weights_only=True)
    assert (taught["epoch"], taught["arch"], taught["classes"]) == (3, "resnet18", list(MOTHS))
    for k, state in enumerate([*students_of(*course[1:])[1:], taught["state_dict_m"]], start=1):
        network = torchvision_network(state)
        answers = network.fc(feature_map(network, pixels).mean((2, 3))).argmax(1)
        assert 100 * (answers == labels).float().mean().item() == pytest.approx(measured[k - 1], abs=1e-3)


def test_a_course_ends_early_and_may_lack_pictures_for_people(butterflies, data_root, weights, tools):
    """The paper's lists come without such pictures and without a record."""
    folder, listed = butterflies.folder, butterflies.folder / "bare/bare_CE.txt"
    listed.parent.mkdir()
    try:
        shutil.copyfile(butterflies.out / "toy_gt_CE.txt", listed)
        settings = ["--pretrained", weights, "--iterations", 30, "--selection", "random", "--out", "bare"]
        settings += [*tools.common(data_root), "--ce-list", "./bare/bare_CE.txt"]
        done = tools.call("train_butterflies_CMaxGrad", *settings, cwd=folder)
        assert done.status == 0, done.err
        course = load(folder / "bare/course_random.json")
        lessons = course["lessons"]
        assert (course["explanation"], course["mask_size"]) == (None, 0.05)
        assert 5 <= len(lessons) <= 10 and f"after {len(lessons)} of 30 lessons" in done.out
        assert np.load(folder / "bare/all_test_acc_iter_random.npy").shape == (len(lessons),)
        for answer in (answer for lesson in lessons for answer in lesson["explanations"].values()):
            assert answer["human"] is answer["partner_human"] is None and (folder / answer["image"]).is_file()
    finally:
        shutil.rmtree(listed.parent)


def test_courses_are_compared_by_their_draws_if_all_have_some(tmp_path, capsys):
    for selection, curves in {"KMaxGrad": [[40, 60, 80], [60, 70, 70]], "random": [[20, 30, 40], [20, 20, 50]]}.items():
        np.save(tmp_path / f"all_test_acc_iter_{selection}.npy", [10.0, 20.0, 30.0])
        rows = [(draw, lesson, value) for draw, curve in enumerate(curves) for lesson, value in enumerate(curve, 1)]
        columns = ("draw", "lesson", "test_accuracy")
        write_table(tmp_path / f"draws_{selection}.csv", [dict(zip(columns, row, strict=True)) for row in rows])
    np.save(tmp_path / "all_test_acc_iter_MaxGrad.npy", [11.0, 22.0])
    with Image.open(compare_courses.compare(tmp_path, ["KMaxGrad", "random"])) as figure:
        assert np.ptp(np.array(figure.convert("RGB"))) > 200
    header, best, other = capsys.readouterr().out.splitlines()
    assert header.split()[:4] == ["1", "2", "3", "mean"]
    assert best == "KMaxGrad  50.0  65.0  75.0    63.3  (60.0 to 66.7 over 2 draws)"
    assert other == "random    20.0  25.0  45.0    30.0  (30.0 to 30.0 over 2 draws)"
    compare_courses.compare(tmp_path, ["KMaxGrad", "MaxGrad"])  # MaxGrad has no draws
    assert capsys.readouterr().out.splitlines()[1:] == [
        "KMaxGrad  10.0  20.0  30.0    20.0",
        "MaxGrad   11.0  22.0     -    16.5  of 2 lessons",
    ]
    for selection, lr in (("KMaxGrad", 0.1), ("MaxGrad", 0.2)):
        record = {"settings": {"lr": lr, "selection": selection, "workers": lr}, "inputs": {}, "processes": 1}
        write_json(tmp_path / f"run_train_butterflies_CMaxGrad_{selection}.json", record)
    compare_courses.compare(tmp_path, ["KMaxGrad", "MaxGrad"])
    said = "warning: These runs differ in more than the selection: lr (KMaxGrad 0.1, MaxGrad 0.2)."
    assert capsys.readouterr().out.splitlines()[3:] == [said]
    with pytest.raises(InputError, match="Run the course with --selection balanced first"):
        compare_courses.compare(tmp_path, ["KMaxGrad", "balanced"])


# ---------------------------------------------------------------- the same seed, another process


@pytest.fixture(scope="session")
def repeated(butterflies, tools, tmp_path_factory):
    """The butterflies' chain again, in new processes and with other numbers of threads."""
    folder = tmp_path_factory.mktemp("repeated")

    def run(*names):
        commands = butterflies.commands
        return {name: tools.spawn(*commands[name], "--workers", workers, cwd=folder) for name, workers in names}

    with ThreadPoolExecutor(2) as both:
        chains = [both.submit(run, ("teacher", 0), ("CE", 0), ("CMaxGrad", 3)), both.submit(run, ("simclr", 3))]
    ran = chains[0].result() | chains[1].result()
    assert [done.err for done in ran.values() if done.status] == []
    return folder / "toy", ran


def test_the_same_seed_gives_the_same_bytes(butterflies, repeated):
    second, first = content_of(repeated[0]), content_of(butterflies.out)
    assert len(second) > 500
    assert [name for name, value in second.items() if first[name] != value] == []
    kinds = {Path(name).suffix for name in second}
    assert {".tar", ".txt", ".png", ".npz", ".npy", ".json", ".csv", ".pt"} <= kinds


def test_stderr_has_only_progress_bars(repeated):
    for done in repeated[1].values():
        lines = [line for line in done.err.replace("\r", "\n").split("\n") if line.strip()]
        assert lines and all(re.search(r"\d+%\|.*\]$", line.strip()) for line in lines), done.err
        assert done.err.endswith("\n") and "run_" in done.out
