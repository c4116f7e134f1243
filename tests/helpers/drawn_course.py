"""A short course on the drawn moths with rectangles as explanations; needs no network weights."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from utils.data.catalog import MOTHS
from utils.data.lists import locate, read_examples
from utils.data.outputs import explanation_name

TESTED, LABELLED = 5, 6  # test images and images to label of the page in `tests/people/conftest.py`
SIDE = 96  # of the explanation pictures in pixels; moths have 128
KINDS = {
    "image": "counterfactual_gradcam_img",
    "mask": "counterfactual_gradcam_mask",
    "human": "demo/counterfactual_gradcam_mask",
}


def write_course(folder: Path, data_root: Path, lessons: int = 3, leave_out: tuple[str, ...] = ()) -> dict:
    """Writes `<folder>/toy/course_CMaxGrad.json` and its pictures.

    Lesson n shows a moth of kind n. The student answers the next kind. Explanations are rectangles. The renderings in
    `leave_out` (`mask`, `human`) are not written: the paper's lists may lack them.
    """
    rows = read_examples(data_root / "toy/toy_gt_tr.txt", len(MOTHS))
    of_class = [[row for row in rows if row.label == label] for label in range(len(MOTHS))]
    entries = []
    for label in range(lessons):
        own, explanations = of_class[label][0], {}
        for wrong in set(range(len(MOTHS))) - {label}:
            partner = of_class[wrong][1 + label % 2]
            mine, other = (_explain(folder, data_root, *pair, leave_out) for pair in ((own, wrong), (partner, label)))
            entry = {"image": mine["image"], "human": mine["human"], "partner": partner.path}
            entry |= {"partner_explanation": other["image"], "partner_human": other["human"]}
            explanations[str(wrong)] = entry
        answer = (label + 1) % len(MOTHS)
        partner = {"image": explanations[str(answer)]["partner"], "label": answer}
        entry = {"iteration": label, "image": own.path, "label": label, "answer": answer, "score": 1.0}
        entries.append({**entry, "partner": partner, "explanations": explanations})
    course = {"dataset": "toy", "classes": list(MOTHS), "selection": "CMaxGrad", "seed": 0, "mask_size": 0.05}
    course["lessons"] = entries
    (folder / "toy/course_CMaxGrad.json").write_text(json.dumps(course))
    return course


def write_faithfulness(folder: Path, values: list[float]) -> None:
    """Writes the faithfulness of image and partner of each lesson of `write_course`, for its `answer`."""
    lessons = json.loads((folder / "toy/course_CMaxGrad.json").read_text())["lessons"]
    pairs = [lesson["explanations"][str(lesson["answer"])] for lesson in lessons]
    paths = [path for pair in pairs for path in (pair["image"], pair["partner_explanation"])]
    rows = [f"{path},{value}\n" for path, value in zip(paths, values, strict=True)]
    (folder / "toy/toy_gt_CE_faithfulness.csv").write_text("".join(["path,faithfulness\n", *rows]))


def copied(data_root: Path, target: Path) -> Path:
    """Makes a writable copy of the data root."""
    shutil.copytree(data_root, target, copy_function=shutil.copyfile)
    for path in (target, *target.rglob("*")):
        path.chmod(0o755)
    return target


def with_photographs(data_root: Path, target: Path) -> Path:
    """Copies the toy dataset; half of the test and rest images become JPEGs under their old names."""
    copied(data_root, target)
    for stem in ("toy_gt_te", "toy_gt_rest_tr"):
        for row in read_examples(target / f"toy/{stem}.txt", len(MOTHS))[::2]:
            with Image.open(locate(row.path, target)) as image:
                image.convert("RGB").save(locate(row.path, target), format="JPEG", quality=95)
    return target


def page_data(out: Path) -> dict:
    """Contents of data.js of the page in the output folder `out`."""
    text = (out / "course_page/data.js").read_text()
    assert text.startswith("window.COURSE = ") and text.endswith(";\n")
    return json.loads(text.removeprefix("window.COURSE = ").removesuffix(";\n"))


def rectangle(label: int, wrong: int) -> np.ndarray:
    """Mask of the explanation of `label` against `wrong`, bool (SIDE, SIDE)."""
    mask = np.zeros((SIDE, SIDE), bool)
    mask[10 + 8 * label : 40 + 8 * label, 12 + 9 * wrong : 36 + 9 * wrong] = True
    return mask


def _explain(folder: Path, data_root: Path, row, wrong: int, leave_out: tuple[str, ...]) -> dict[str, str | None]:
    """Draws the renderings of an explanation. Returns their listed paths, or None if left out."""
    with Image.open(locate(row.path, data_root)) as image:
        pixels = np.array(image.convert("RGB").resize((SIDE, SIDE)))
    inside = rectangle(row.label, wrong)
    edge = inside & ~np.pad(inside, 2)[:-4, 2:-2] | inside & ~np.pad(inside, 2)[4:, 2:-2]
    drawn = {
        "image": np.where(inside[..., None], pixels, pixels[inside].mean(0).astype(np.uint8)),
        "mask": inside.astype(np.uint8) * 255,
        "human": np.where(edge[..., None], np.array([255, 0, 0], np.uint8), pixels),
    }
    paths = dict.fromkeys(drawn)
    for kind in set(drawn).difference(leave_out):
        paths[kind] = f"./toy/{KINDS[kind]}/0.05/{explanation_name(row.path, row.label, wrong, row.index)}"
        (folder / paths[kind]).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(drawn[kind]).save(folder / paths[kind])
    return paths
