"""`prepare.py folder`: from a folder of the user's own images to a dataset."""

import csv
import json
import os
import random
import re
import subprocess
import unicodedata
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from datasets.folder import LONGEST_STEM, check_places, file_name, label_by_table, read_table, unique_name
from datasets.splits import Picture, share_out
from tests.helpers import archives
from tests.helpers.archives import one_error
from tests.helpers.own_images import CLASSES, draw, draw_badly_named, draw_classes
from utils.base.errors import InputError
from utils.base.files import TableReader
from utils.data.lists import read_examples
from utils.data.outputs import explanation_name

ROOT = Path(__file__).resolve().parents[2]


def run(folder: Path, *options: object, name: str = "mine") -> int:
    """`prepare.py folder` with the data root `data/` next to the folder."""
    return archives.run("folder", folder, f"--name={name}", "--data-root", folder.parent / "data", *options)


def described(made: Path) -> dict:
    return json.loads((made / "dataset.json").read_text())


def listed(made: Path) -> dict[str, list]:
    """The rows of the lists in dataset.json, by split."""
    about = described(made)
    stems = {split: about[split] for split in ("train", "test", "rest") if about[split]}
    count = len(about["classes"])
    return {split: read_examples(made / f"{stem}.txt", count, rest=split == "rest") for split, stem in stems.items()}


def counted(made: Path) -> dict[str, list[int]]:
    """Images per list and label; the number of images without a label last, if there are any."""
    labels = range(len(described(made)["classes"]))
    counts = {split: Counter(row.label for row in rows) for split, rows in listed(made).items()}
    return {split: [n[label] for label in labels] + ([n[-1]] if n[-1] else []) for split, n in counts.items()}


def table(path: Path) -> list[dict]:
    return list(TableReader(path.read_text(encoding="utf-8")))


def left_out(made: Path) -> dict[str, str]:
    return {row["path"]: row["reason"] for row in table(made / "skipped.csv")}


# ---------------------------------------------------------------- names and places


def test_badly_named_images_become_a_dataset(tmp_path):
    folder = draw_badly_named(tmp_path / "Meine Bilder (2024)")
    for i in range(3):
        draw(folder / "unlabeled" / f"neu {i}.png", 9000 + i)
    draw(folder / "neu ohne Ordner.png", 9010)
    assert run(folder, "--expert", 3, "--things", "bird", "birds") == 0
    made = tmp_path / "data/mine"
    about = described(made)
    assert [about["display_names"][name] for name in about["classes"]] == sorted(CLASSES)
    assert about["name"] == "mine" and about["things"] == ["bird", "birds"]
    assert counted(made) == {"train": [3] * 12, "test": [1] * 12, "rest": [2] * 12 + [4]}
    assert archives.run("check", "mine", "--data-root", tmp_path / "data") == 0
    names = [row["file"] for row in table(made / "original_names.csv")]
    assert len(names) == len({name.casefold() for name in names}) == 12 * 6 + 4
    assert not any(re.search(r"\s", name) or name.startswith((".", "-")) for path in names for name in path.split("/"))
    for row in table(made / "original_names.csv"):
        assert (made / "images" / row["file"]).resolve() == (folder / row["original"]).resolve()


def test_names_are_safe_and_unique():
    taken = {}
    files = ("a b.JPG", "x/a b.jpg", "A_B.jpg", "a_b_2.jpg", "a_b.png", "c.d e", "\u3000.png")
    given = [file_name(name, taken) for name in files]
    assert given == ["a_b.jpg", "a_b_2.jpg", "A_B_3.jpg", "a_b_2_2.jpg", "a_b.png", "c.d_e", "_.png"]
    many = [unique_name("z" * 200, LONGEST_STEM, taken) for _ in range(1200)]
    assert len(set(many)) == 1200 and max(map(len, many)) == LONGEST_STEM
    for text in ("x" * 300, "蝶" * 100):
        assert len(explanation_name(file_name(f"{text}.png", {}), 1999, 1998, 9_999_999).encode()) < 255


def test_names_that_a_dataset_can_have(tmp_path):
    folder, root = draw_classes(tmp_path / "p", a=1), tmp_path / "data"
    for name in ("हिन्दी", "ที่", "my_birds", "Vögel-2", "gull2"):
        check_places(folder, name, root)
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    refused = {path.split("/")[0] for path in tracked if "/" in path} | {"toy", "CUBgull", "NAbirdsgull", "x_rest"}
    for name in [*refused, "butterflies_whole", "x_after_labeling", "", "a b", "a/b", ".hidden", "-x", "x" * 81]:
        with pytest.raises(InputError, match="^--name '"):
            check_places(folder, name, root)


def test_copies_do_not_need_their_originals(tmp_path):
    folder = draw_classes(tmp_path / "pictures", a=3, b=3)
    assert run(folder, "--copy") == 0
    copies = [path.read_bytes() for path in (tmp_path / "data/mine").rglob("*.png") if not path.is_symlink()]
    assert sorted(copies) == sorted(path.read_bytes() for path in folder.rglob("*.png"))


def test_images_dataset_and_outputs_must_not_overlap(tmp_path, monkeypatch, capsys):
    folder = draw_classes(tmp_path / "data/mine/images", a=3, b=3)
    (tmp_path / "data/mine/dataset.json").touch()
    before = sorted(tmp_path.rglob("*"))
    for place, root in ((folder, tmp_path / "data"), (folder, folder), (tmp_path / "data/mine", tmp_path / "data")):
        assert archives.run("folder", place, "--name", "mine", "--data-root", root, "--force") == 2
        assert "overlap" in one_error(capsys) and sorted(tmp_path.rglob("*")) == before
    folder = draw_classes(tmp_path / "birds", a=3, b=3)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/logs").mkdir()
    assert run(folder, "--force", name="logs") == 2
    assert "data/logs exists but is not a dataset" in one_error(capsys)
    assert run(folder, name="birds") == 2
    assert f"overlap with the results in {tmp_path / 'birds'}" in one_error(capsys)


# ---------------------------------------------------------------- lists


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # a fifth of 10, 7, 4 and 2, rounded: 2, 1, 1 and 0, so 1; of 1 none
        ((), {"train": [8, 6, 3, 1, 1], "test": [2, 1, 1, 1, 0]}),
        (("--test-share", 0.95), {"train": [1, 1, 1, 1, 1], "test": [9, 6, 3, 1, 0]}),  # never all
        (("--expert", 3), {"train": [3, 3, 3, 1, 1], "test": [2, 1, 1, 1, 0], "rest": [5, 3, 0, 0, 0]}),
        # a quarter of 8, 6, 3, 1 and 1, rounded: 2, 2, 1, and at least 1
        (("--expert-share", 0.25), {"train": [2, 2, 1, 1, 1], "test": [2, 1, 1, 1, 0], "rest": [6, 4, 2, 0, 0]}),
    ],
)
def test_each_class_is_split_in_the_same_proportion(tmp_path, options, expected):
    assert run(draw_classes(tmp_path / "pictures", a=10, b=7, c=4, d=2, e=1), *options) == 0
    assert counted(tmp_path / "data/mine") == expected
    lists = listed(tmp_path / "data/mine").values()
    assert all([row.index for row in rows] == list(range(len(rows))) for rows in lists)
    assert len({row.path for rows in lists for row in rows}) == sum(map(len, lists)) == 24


def test_the_draw_of_a_class_depends_only_on_the_seed_and_its_images(tmp_path):
    def train(pictures, seed):
        lists = share_out(pictures, test_share=0.2, expert=10, expert_share=1.0, seed=seed)
        return [picture.source for picture in lists["train"] if picture.label == "a"]

    sizes = {"a": 40, "b": 9, "c": 30}
    every = [Picture(f"{name}/{i:03d}", name, pixels=f"{name}{i}") for name, n in sizes.items() for i in range(n)]
    assert train(every[:49], 1) == train(random.Random(0).sample(every, 79), 1) != train(every[:49], 2)


def test_images_that_look_the_same_stay_in_one_list(tmp_path):
    folder = draw_classes(tmp_path / "pictures", a=12, b=5)
    for i in range(12):
        file = folder / f"a/{i}.png"
        Image.open(file).save(folder / f"a/again {i}.png", compress_level=0)
        (folder / f"a/copy {i}.png").write_bytes(file.read_bytes())
    assert run(folder, "--expert", 9, "--test-share", 0.25) == 0
    assert counted(tmp_path / "data/mine") == {"train": [9, 4], "test": [9, 1], "rest": [18, 0]}
    lists = {
        (re.sub(r"\D", "", row["original"]), row["list"]) for row in table(tmp_path / "data/mine/original_names.csv")
    }
    assert len([number for number, _ in lists if int(number) > 4]) == 7  # each image and its twins are in one list


def test_images_that_look_the_same_but_differ_in_label_are_left_out(tmp_path):
    folder = draw_classes(tmp_path / "pictures", a=4, b=4)
    for file, twin in {"a/0.png": "b/twin.png", "a/1.png": "unlabeled/known.png"}.items():
        (folder / twin).parent.mkdir(exist_ok=True)
        Image.open(folder / file).save(folder / twin, compress_level=0)
    for number in range(2):
        draw(folder / f"unlabeled/new {number}.png", 77)
    assert run(folder) == 0
    assert left_out(tmp_path / "data/mine") == {
        "a/0.png": "looks the same as an image of another class: b/twin.png",
        "b/twin.png": "looks the same as an image of another class: a/0.png",
        "unlabeled/known.png": "looks the same as an image with a label: a/1.png",
    }
    assert counted(tmp_path / "data/mine") == {"train": [2, 3], "test": [1, 1], "rest": [0, 0, 2]}


def test_groups_stay_in_one_list():
    """Random groups, some of several classes, from a column."""
    for seed in range(300):
        rng = random.Random(seed)
        groups = {str(n): str(rng.randrange(8)) for n in range(rng.randint(6, 40))}
        pictures = [Picture(n, rng.choice("abc"), pixels=f"pixels {n}", group=group) for n, group in groups.items()]
        lists = share_out(pictures, 0.2, rng.choice([None, 3]), 0.7, seed)
        placed = [(picture.source, name) for name, members in lists.items() for picture in members]
        assert sorted(source for source, _ in placed) == sorted(groups) and lists["train"] and lists["test"]
        assert len({(groups[source], name) for source, name in placed}) == len(set(groups.values()))


def test_the_remedy_fits_the_cause(tmp_path, capsys):
    nested = draw_classes(tmp_path / "nested/birds", a=3, b=3).parent
    packed, linked = (draw_classes(tmp_path / name, a=3) for name in ("packed", "linked"))
    (packed / "b.zip").touch()
    (linked / "b").symlink_to(nested / "birds/b")
    remedies = {nested: "birds, give that folder", packed: "is an archive. Unpack it (1)", linked: "cp -rL"}
    for folder, words in (remedies | {packed / "b.zip": "unpack archives first"}).items():
        assert run(folder, "--force") == 2 and words in one_error(capsys)


@pytest.mark.parametrize(("train", "test"), [("Train", "test"), ("Training", "Testing"), ("seg_train", "test_set")])
def test_a_split_of_the_user_is_kept(tmp_path, capsys, train, test):
    folder = tmp_path / "pictures"
    draw_classes(folder / train, a=5, b=4)
    draw_classes(folder / test, 500, a=3, b=3)
    draw_classes(folder / "unlabelled", 7000, deep=2)
    draw(folder / test / "loose.png", 7900)
    Image.open(folder / train / "a/2.png").save(folder / test / "a/twin.png", compress_level=0)
    assert run(folder, "--expert", 3) == 0
    made = tmp_path / "data/mine"
    assert counted(made) == {"train": [3, 3], "test": [4, 3], "rest": [1, 1, 3]}
    assert left_out(made) == {f"{train}/a/2.png": f"looks the same as a test image: {test}/a/twin.png"}
    tested = {row["original"].split("/")[0] for row in table(made / "original_names.csv") if row["list"] == "test"}
    assert tested == {test}
    draw(folder / test / "c/0.png", 800)
    assert run(folder, "--force") == 2
    assert "has only test images of c" in one_error(capsys)
    draw(folder / "val/a/0.png", 900)
    assert run(folder, "--force") == 2
    assert "val/" in one_error(capsys) and counted(made)["train"] == [3, 3]


def test_classes_may_be_named_like_splits(tmp_path):
    assert run(draw_classes(tmp_path / "vehicles", train=3, bus=3)) == 0
    assert described(tmp_path / "data/mine")["classes"] == ["bus", "train"]


# ---------------------------------------------------------------- tables of labels


@pytest.mark.parametrize(("separator", "encoding"), [(",", "utf-8"), (";", "utf-8-sig"), ("\t", "utf-8")])
def test_tables_are_read_with_each_separator(tmp_path, separator, encoding):
    rows = [["Bild", "Größe", "Art"], ["a, b.png", "1;2", "Großes\nOchsenauge"], ["ü/c.png", "", " 菜粉蝶 "], []]
    with open(tmp_path / "t.csv", "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator).writerows([*rows, ["d.png", "", ""]])
    expected = [("a, b.png", "Großes Ochsenauge", 3, "1;2"), ("ü/c.png", "菜粉蝶", 4, ""), ("d.png", "", 6, "")]
    assert read_table(tmp_path / "t.csv", "Bild", "Art", "Größe") == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"file,class\na.png,A\n", "only file, class. Set --path-column and --label-column"),
        (b"path,label\nx0,A\nx1,B\n", "usable images of 0 classes"),
        (b"path,label\na.png,A,B\n", "line 2: wrong number of fields"),
        (b"path,label\na.png,\xfc\n", "'CSV UTF-8'"),
        (b'path,label\n"a.png,A\n' + b"x" * 200_000, "wrong number of fields"),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, capsys, content, words):
    folder = draw_classes(tmp_path / "pictures", a=2, b=2)
    (tmp_path / "t.csv").write_bytes(content)
    assert run(folder, "--labels", tmp_path / "t.csv") == 2
    assert words in one_error(capsys) and not (tmp_path / "data").exists()


COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")
PATHS = {
    "below the folder": ("a/0.png b/0.png", ["a/0.png,A", r".\b\0.png,B"], ["A", "B"]),
    "below the table": ("a/0.png b/0.png", ["../pictures/a/0.png,A", "../pictures/b/0,B"], ["A", "B"]),
    "absolute": ("a/0.png b/0.png", ["{top}/a/0.png,A", "{top}/b/0.png,B"], ["A", "B"]),
    "only the file name": ("a/0.png b/1.png", ["0.png,A", "1,B"], ["A", "B"]),
    "contradicting folders": ("a/0.png b/1.png", ["/x/c/0.png,C", "b/1.png,B"], [None, "B"]),
    "ambiguous": ("Train/a/0.png Test/a/0.png", ["a/0.png,A"], [None, None]),
    "also of another folder": ("a/0.png", ["/x/a/0.png,B", "a/0.png,A"], ["A"]),
    "composed or not": (f"a/{COMPOSED} b/{DECOMPOSED}", [f"a/{DECOMPOSED},A", f"b/{COMPOSED},B"], ["A", "B"]),
    "without endings": ("a/0.png b/1.jpg 2.tif", ["0,A", r"b\1,B", "2,C"], ["A", "B", "C"]),
    "without endings, several types": ("0.png 0.jpg 1.png 1.xml", ["0,A", "1,B"], [None, None, "B", None]),
}


@pytest.mark.parametrize("kind", PATHS)
def test_paths_of_a_table_are_matched_to_files(tmp_path, kind):
    files, rows, expected = PATHS[kind]
    top, file = tmp_path / "pictures", tmp_path / "elsewhere/labels.csv"
    file.parent.mkdir()
    file.write_text("\n".join(["path,label", *rows]).replace("{top}", str(top)), encoding="utf-8")
    pictures = label_by_table(files.split(), {}, top, file, "path", "label")
    assert [picture.label for picture in pictures] == expected


def test_a_table_gives_labels_and_keeps_the_split_of_the_folder(tmp_path, capsys):
    folder = tmp_path / "pictures"
    for number in range(16):
        draw(folder / ("Train" if number < 10 else "Test") / f"{number}.png", number)
    for number, name in enumerate(("Test/new.png", "background/stone.png", "Train/two labels.png")):
        draw(folder / name, 50 + number)
    labels = [f"{number}.png,{'ab'[number % 2]}\n" for number in range(16)]
    more = ["two labels.png,a\n", "two labels.png,b\n", "nowhere.png,a\n", "new.png,\n"]
    (folder / "labels.csv").write_text("path,label\n" + "".join(labels + more))
    assert run(folder, "--labels", folder / "labels.csv") == 0
    assert counted(tmp_path / "data/mine") == {"train": [5, 5], "test": [3, 3], "rest": [0, 0, 2]}
    assert left_out(tmp_path / "data/mine") == {
        "Train/two labels.png": "two labels in labels.csv: lines 18 and 19",
        "nowhere.png": "listed in labels.csv, but not in the folder: line 20",
    }
    (folder / "labels.csv").write_text("path,label\nbackground/stone.png,a\n" + "".join(labels))
    assert run(folder, "--labels", folder / "labels.csv", "--force") == 2
    assert "Found Test/, Train/, background/" in one_error(capsys)


# ---------------------------------------------------------------- files left out, and settings


def test_other_files_are_left_out_and_listed(tmp_path, capsys):
    folder = draw_classes(tmp_path / "pictures", a=4, b=4)
    draw(tmp_path / "secret.png", 1)
    for link, target in {"a/out.png": "secret.png", "outside": ".", "a/inner.png": "pictures/a/0.png"}.items():
        (folder / link).symlink_to(tmp_path / target)
    os.mkfifo(folder / "b/pipe.png")
    for number, name in enumerate((".cache.png", "@eaDir/x.png", ".git/x.png")):
        draw(folder / name, 700 + number)
    for name in ("a/notes.txt", "a/IMG_1.NEF", "b/figure.eps"):
        (folder / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    (folder / "a/cut.png").write_bytes((folder / "a/1.png").read_bytes()[:80])
    (folder / os.fsdecode(b"b/\xff\n.txt")).write_text("x")
    assert run(folder) == 0
    reasons = {path: re.split(r" \(|\. ", reason)[0] for path, reason in left_out(tmp_path / "data/mine").items()}
    assert reasons == {
        **{"a/out.png": "link out of the folder", "outside": "link to a folder"},
        **dict.fromkeys(("a/IMG_1.NEF", "b/figure.eps"), "is a raw camera file or EPS"),
        **dict.fromkeys(("a/notes.txt", "a/cut.png", "b/\\xff\\n.txt"), "cannot be decoded"),
    }
    # the link to a/0.png is one of a's five
    assert counted(tmp_path / "data/mine") == {"train": [4, 3], "test": [1, 1]}
    assert "Left out: cannot be decoded (3); is a raw" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("classes", "options", "words"),
    [
        ({"a": 3}, (), "usable images of 1 classes, but a classifier needs two (left out: nothing)"),
        ({"a": 1, "b": 1}, (), "no class has two different images"),
        ({"a": 3, "b": 3}, ("--expert", 0), "--expert"),
        ({"a": 3, "b": 3}, ("--labels", "none.csv"), "--labels"),
    ],
)
def test_wrong_input_is_refused(tmp_path, capsys, classes, options, words):
    assert run(draw_classes(tmp_path / "pictures", **classes), *options) == 2
    assert words in one_error(capsys) and not (tmp_path / "data").exists()
