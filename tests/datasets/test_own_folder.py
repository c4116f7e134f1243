"""prepare.py folder: from a folder of one's own images, named as people name them, to a dataset that the scripts find."""

import csv
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from datasets.apart import refuse_name
from datasets.labels import label_by_table, read_labels
from datasets.names import LONGEST_STEM, Namer, file_name
from datasets.trees import Picture, walk
from PIL import Image
from utils.data.names import safe

from datasets import own, prepare
from datasets.splits import Shares, share_out
from tests.helpers.own_images import CLASSES, draw, draw_badly_named
from utils.base.errors import InputError
from utils.base.files import replacing
from utils.data import catalog
from utils.data.lists import locate, read_examples, write_examples
from utils.data.outputs import explanation_name

ROOT = Path(__file__).resolve().parents[2]


def tree(folder: Path, **classes: int) -> Path:
    """Classes of so many different pictures each."""
    for number, (name, count) in enumerate(sorted(classes.items())):
        for i in range(count):
            draw(folder / name / f"{i}.png", 1000 * number + i)
    return folder


def run(folder: Path, *options: object, name: str = "mine") -> int:
    """`prepare.py folder` into `data/` beside the folder."""
    return prepare.main(
        ["folder", str(folder), "--name", name, "--data-root", str(folder.parent / "data"), *map(str, options)]
    )


def said(capsys) -> str:
    """The one sentence of the error."""
    lines = [line for line in re.split(r"[\r\n]", capsys.readouterr().err) if line.startswith("prepare.py: error: ")]
    assert len(lines) == 1 and lines[0].endswith(".")
    return lines[0]


def described(made: Path) -> dict:
    return json.loads((made / "dataset.json").read_text())


def listed(made: Path) -> dict[str, list]:
    """The rows of the lists that dataset.json names, by split."""
    about = described(made)
    stems = {split: about[split] for split in ("train", "test", "rest") if about[split]}
    return {
        split: read_examples(made / f"{stem}.txt", len(about["classes"]), rest=split == "rest")
        for split, stem in stems.items()
    }


def counted(made: Path) -> dict[str, list[int]]:
    """Images per list and label, those without a label last where there are some."""
    labels = range(len(described(made)["classes"]))
    counts = {split: Counter(row.label for row in rows) for split, rows in listed(made).items()}
    return {
        split: [count[label] for label in labels] + ([count[-1]] if count[-1] else [])
        for split, count in counts.items()
    }


def table(path: Path) -> list[dict]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def left_out(made: Path) -> dict[str, str]:
    return (
        {row["path"]: row["reason"] for row in table(made / "skipped.csv")} if (made / "skipped.csv").exists() else {}
    )


# ---------------------------------------------------------------- from the folder to a classifier


@pytest.fixture(scope="module")
def badly_named(tmp_path_factory):
    """Twelve classes of six pictures, whose names are as people have them."""
    folder = draw_badly_named(tmp_path_factory.mktemp("own") / "Meine Bilder (2024)")
    for i in range(3):
        draw(folder / "unlabeled" / f"neu {i}.png", 9000 + i)
    draw(folder / "neu ohne Ordner.png", 9010)
    return folder


def test_a_folder_of_badly_named_images_trains_a_classifier(badly_named, tools, tmp_path, capsys):
    before = git("status", "--porcelain", "--untracked-files=no")
    root = badly_named.parent / "data"
    assert run(badly_named, "--expert", 3, "--things", "bird", "birds") == 0
    made = root / "mine"
    about = described(made)
    assert [about["display_names"][name] for name in about["classes"]] == sorted(
        CLASSES
    )  # in the order of their characters
    assert about["name"] == "mine" and about["things"] == ["bird", "birds"]
    assert counted(made) == {"train": [3] * 12, "test": [1] * 12, "rest": [2] * 12 + [4]}
    assert prepare.main(["check", "mine", "--data-root", str(root)]) == 0
    assert "No problems" in capsys.readouterr().out
    names = [row["file"] for row in table(made / "original_names.csv")]
    assert len(names) == len({name.casefold() for name in names}) == 12 * 6 + 4
    assert not any(re.search(r"\s", name) or name.startswith((".", "-")) for path in names for name in path.split("/"))
    for row in table(made / "original_names.csv"):
        assert (made / "images" / row["file"]).resolve() == (badly_named / row["original"]).resolve()
    settings = ["--dataset", "mine", "--data-root", root, "--image-size", 64, "--workers", 1, "--device", "cpu"]
    done = tools.call("train_butterflies_resnet18", *settings, "--epochs", 1, "--batch-size", 18, cwd=tmp_path)
    assert done.status == 0, done.err
    assert (tmp_path / "mine/checkpoint_pretrain_resnet18_s300.pth.tar").exists()
    done = tools.call(
        "train_gull_simclr", *["--dataset", "mine_rest", *settings[2:]], "--epochs", 1, "--batch-size", 14, cwd=tmp_path
    )
    assert done.status == 0, done.err  # pre-training asks for no labels
    done = tools.call(
        "train_gull_resnet18_linear", *["--dataset", "mine_rest", *settings[2:]], "--epochs", 1, cwd=tmp_path
    )
    assert (
        done.status == 2
        and "label -1 is out of range (0 .. 11): only lists to test by or to label may leave a class unknown"
        in done.err
    )
    assert git("status", "--porcelain", "--untracked-files=no") == before


def git(*words: str) -> str:
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True).stdout


def test_names_derived_from_the_longest_names_fit_a_file_system(badly_named, tmp_path):
    namer = Namer()
    for text in ("x" * 300, "蝶" * 100, "x" * 300):
        name = explanation_name(file_name(namer, f"{text}.png"), 1999, 1998, 9_999_999)
        with replacing(tmp_path / name) as temporary:
            temporary.write_text("")
        assert (tmp_path / name).exists()


def test_copies_need_their_originals_no_more(tmp_path):
    folder = tree(tmp_path / "pictures", a=3, b=3)
    before = {path: path.read_bytes() for path in folder.rglob("*.png")}
    assert run(folder, "--copy") == 0
    assert {path: path.read_bytes() for path in folder.rglob("*.png")} == before
    for path in before:
        path.unlink()
    made = tmp_path / "data/mine"
    assert sorted(path.read_bytes() for path in made.rglob("*.png")) == sorted(before.values())
    assert not any(path.is_symlink() for path in made.rglob("*"))


def test_the_same_seed_gives_the_same_bytes_and_replacing_leaves_the_originals(tmp_path):
    folder = tree(tmp_path / "pictures", a=9, b=12, c=7)
    contents = []
    for seed in (3, 3, 4):
        assert run(folder, "--expert", 3, "--seed", seed, "--force") == 0
        contents.append({path.name: path.read_bytes() for path in (tmp_path / "data/mine").iterdir() if path.is_file()})
    assert contents[0] == contents[1] != contents[2]
    assert len(list(folder.rglob("*.png"))) == 28 and all(path.stat().st_size for path in folder.rglob("*.png"))


# ---------------------------------------------------------------- names


def test_names_are_safe_and_each_is_given_once():
    namer = Namer()
    given = [
        file_name(namer, name)
        for name in ("a b.JPG", "x/a b.jpg", "A_B.jpg", "a_b_2.jpg", "a_b.png", "c.d e", "\u3000.png")
    ]
    assert given == ["a_b.jpg", "a_b_2.jpg", "A_B_3.jpg", "a_b_2_2.jpg", "a_b.png", "c.d_e", "_.png"]
    assert safe("..", 9) == safe(".", 9) == safe("", 9) == "_" and safe(".-a", 9) == "_a"
    assert safe("蝶" * 5, 10) == "蝶" * 3 and safe("u\u0308ber", 9) == "über" and safe("a\udcffb", 9) == "a_b"
    many = [namer.name("z" * 200, LONGEST_STEM) for _ in range(1200)]
    assert len(set(many)) == 1200 and max(map(len, many)) == LONGEST_STEM


@pytest.mark.parametrize(
    "name",
    [
        *("", "a b", "../x", "a/b", ".hidden", "-x", "ที่ x", "\u0301x", "x" * 81),
        *("toy", "gull", "CUBgull", "NAbirdsgull", "butterflies_whole", "x_after_labeling", "x_rest"),
        *("models", "bench", "results", "README.md", "Makefile", "prepare.py", "collect_labels.py"),
    ],
)
def test_names_that_cannot_be_a_dataset_s_are_refused(tmp_path, capsys, name):
    assert (
        prepare.main(
            ["folder", str(tree(tmp_path / "p", a=2, b=2)), f"--name={name}", "--data-root", str(tmp_path / "data")]
        )
        == 2
    )
    assert f"--name '{name}'" in said(capsys) and not (tmp_path / "data").exists()


def test_no_folder_of_the_repository_can_be_a_dataset_s():
    """Whatever is added to it."""
    tracked = {path.split("/")[0] for path in git("ls-files").splitlines()} | set(
        git("ls-files", "datasets").replace("datasets/", "").split()
    )
    for name in tracked:
        with pytest.raises(InputError, match="^--name '"):
            refuse_name(name)


@pytest.mark.parametrize("name", ["हिन्दी", "ที่", "my_birds", "Vögel-2", "gull2"])
def test_names_of_every_script_can_be_a_dataset_s(tmp_path, name):
    assert run(tree(tmp_path / "p", a=2, b=2), name=name) == 0
    assert catalog.find(name, tmp_path / "data").out == name


def test_force_replaces_nothing_but_datasets(tmp_path, capsys):
    folder = tree(tmp_path / "pictures", a=2, b=2)
    (tmp_path / "data/logs").mkdir(parents=True)
    (tmp_path / "data/logs/precious.json").touch()
    assert run(folder, "--force", name="logs") == 2
    assert said(capsys).endswith(
        "data/logs exists and is no dataset, for it has no dataset.json; choose another --name."
    )
    assert [path.name for path in (tmp_path / "data/logs").iterdir()] == ["precious.json"]


def test_one_of_a_kind_is_said_as_one(tmp_path, capsys):
    folder = tree(tmp_path / "pictures", a=1)
    (folder / ".DS_Store").touch()
    assert run(folder) == 2
    sentence = "holds usable images of 1 class (a), 1 in all (left out: 1, which is hidden: .DS_Store), and a classifier needs two"
    assert sentence in said(capsys)


# ---------------------------------------------------------------- how images are shared out


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        # a fifth of 10, 7, 4 and 2 rounded: 2, 1, 1, 0 and so 1; of 1 none
        ((), {"train": [8, 6, 3, 1, 1], "test": [2, 1, 1, 1, 0]}),
        (("--test-share", 0.5), {"train": [5, 3, 2, 1, 1], "test": [5, 4, 2, 1, 0]}),  # a half of 7 is rounded up
        (("--test-share", 0.95), {"train": [1, 1, 1, 1, 1], "test": [9, 6, 3, 1, 0]}),  # never all
        (("--expert", 3), {"train": [3, 3, 3, 1, 1], "test": [2, 1, 1, 1, 0], "rest": [5, 3, 0, 0, 0]}),
        # a quarter of 8, 6, 3, 1 and 1 rounded: 2, 1.5 and so 2, 1, and at least 1
        (("--expert-share", 0.25), {"train": [2, 2, 1, 1, 1], "test": [2, 1, 1, 1, 0], "rest": [6, 4, 2, 0, 0]}),
    ],
)
def test_each_class_is_shared_out_in_the_same_proportion(tmp_path, capsys, options, expected):
    folder = tree(tmp_path / "pictures", a=10, b=7, c=4, d=2, e=1)
    assert run(folder, *options) == 0
    assert counted(tmp_path / "data/mine") == expected
    rows = [row for rows in listed(tmp_path / "data/mine").values() for row in rows]
    assert len({row.path for row in rows}) == len(rows) == 24
    assert all(
        [row.index for row in rows] == list(range(len(rows))) for rows in listed(tmp_path / "data/mine").values()
    )
    assert "Without a test image, since they have too few: e." in capsys.readouterr().out


def test_a_class_is_drawn_by_the_seed_and_by_nothing_else():
    def pictures(**classes):
        return [
            Picture(f"{name}/{i:03d}", name, pixels=f"{name}{i}")
            for name, count in classes.items()
            for i in range(count)
        ]

    def of_a(lists):
        return {
            split: [picture.source for picture in members if picture.label == "a"] for split, members in lists.items()
        }

    alone, shares = pictures(a=40, b=9), Shares(expert=10, seed=1)
    shuffled = random.Random(0).sample(pictures(a=40, b=9, c=30), 79)
    assert of_a(share_out(alone, shares)) == of_a(share_out(shuffled, shares))
    assert of_a(share_out(alone, Shares(expert=10, seed=2))) != of_a(share_out(alone, shares))


def test_what_looks_the_same_stays_in_one_list(tmp_path, capsys):
    """Twelve pictures of a class, each there three times: as it is, with the same pixels in other bytes, and with the same bytes."""
    folder = tree(tmp_path / "pictures", a=12, b=5)
    for i in range(12):
        file = folder / f"a/{i}.png"
        Image.open(file).save(folder / f"a/again {i}.png", compress_level=0)
        (folder / f"a/copy {i}.png").write_bytes(file.read_bytes())
        assert file.read_bytes() != (folder / f"a/again {i}.png").read_bytes()
    assert run(folder, "--expert", 9, "--test-share", 0.25) == 0
    made = tmp_path / "data/mine"
    assert counted(made) == {"train": [9, 4], "test": [9, 1], "rest": [18, 0]}
    list_of = {}
    for row in table(made / "original_names.csv"):
        if row["class"] == "a":
            list_of.setdefault(re.sub(r"\D", "", row["original"]), set()).add(row["list"])
    assert len(list_of) == 12 and all(len(lists) == 1 for lists in list_of.values())
    assert "36 images look the same as others" in capsys.readouterr().out
    assert prepare.main(["check", "mine", "--data-root", str(tmp_path / "data")]) == 0


def test_twins_that_no_list_could_keep_apart_are_left_out(tmp_path):
    folder = tree(tmp_path / "pictures", a=4, b=4)
    for file, twin in {"a/0.png": "b/twin.png", "a/1.png": "unlabeled/known.png"}.items():
        Image.open(folder / file).save((folder / twin).parent.mkdir(exist_ok=True) or folder / twin, compress_level=0)
    for number in range(2):  # two new ones that look the same: both stay
        draw(folder / f"unlabeled/new {number}.png", 77)
    assert run(folder) == 0
    assert left_out(tmp_path / "data/mine") == {
        "a/0.png": "looks the same as an image of another class: b/twin.png",
        "b/twin.png": "looks the same as an image of another class: a/0.png",
        "unlabeled/known.png": "looks the same as an image with a label: a/1.png",
    }
    assert counted(tmp_path / "data/mine") == {"train": [2, 3], "test": [1, 1], "rest": [0, 0, 2]}


def test_check_finds_images_to_label_in_the_other_lists(found, capsys):
    root, _ = found
    path = root / "mine/mine_gt_rest_tr.txt"
    lists = listed(root / "mine")
    leaked = (lists["test"][1], lists["train"][2])
    write_examples(path, [*lists["rest"], *(replace(row, index=90 + i) for i, row in enumerate(leaked))])
    capsys.readouterr()
    assert prepare.main(["check", "mine", "--data-root", str(root)]) == 1
    assert capsys.readouterr().out.splitlines()[-3:] == [
        f"{path}, line 4: {lists['test'][1].path} has the same path as the test image {lists['test'][1].path}.",
        f"{path}, line 5: {lists['train'][2].path} has the same path as the training image {lists['train'][2].path}.",
        "2 problems.",
    ]


# ---------------------------------------------------------------- train/, test/, unlabeled/


def test_lists_that_the_user_has_divided_stay_divided(tmp_path, capsys):
    folder = tmp_path / "pictures"
    tree(folder / "Train", a=5, b=4)
    for i in range(3):
        draw(folder / f"test/a/{i}.png", 500 + i)
        draw(folder / f"test/b/{i}.png", 600 + i)
        draw(folder / f"unlabelled/deep/{i}.png", 700 + i)
    Image.open(folder / "Train/a/2.png").save(folder / "test/a/twin.png", compress_level=0)
    assert run(folder, "--expert", 3) == 0
    made = tmp_path / "data/mine"
    assert counted(made) == {"train": [3, 3], "test": [4, 3], "rest": [1, 1, 3]}
    assert left_out(made) == {"Train/a/2.png": "looks the same as an image of the test part: test/a/twin.png"}
    assert {row["original"].split("/")[0] for row in table(made / "original_names.csv") if row["list"] == "test"} == {
        "test"
    }
    assert run(folder, "--test-share", 0.5, "--force") == 2
    assert "--test-share 0.5" in said(capsys)
    draw(folder / "test/c/0.png", 800)
    assert run(folder, "--force") == 2
    assert "class c has test images and no other" in said(capsys)
    draw(folder / "val/a/0.png", 900)
    assert run(folder, "--force") == 2
    assert "Train/, test/, val/" in said(capsys)
    assert counted(made)["train"] == [3, 3]  # what was there is still there


def test_a_test_part_without_labels_is_for_people_to_label(tmp_path):
    folder = tmp_path / "pictures"
    tree(folder / "train", a=5, b=5)
    for i in range(3):
        draw(folder / f"test/{i}.png", 500 + i)
    assert run(folder) == 0
    assert counted(tmp_path / "data/mine") == {"train": [4, 4], "test": [1, 1], "rest": [0, 0, 3]}


@pytest.mark.parametrize(
    "train, test",
    [
        ("Training", "Testing"),
        ("training_set", "test_set"),
        ("Training", "Test"),
        ("TRAINSET", "testset"),
        ("seg_train", "seg_test/seg_test"),
    ],
)
def test_parts_by_the_other_names_that_collections_give_them(tmp_path, capsys, train, test):
    folder = tmp_path / "pictures"
    tree(folder / train, a=3, b=4)
    for i in range(2):
        draw(folder / test / f"a/{i}.png", 500 + i)
        draw(folder / test / f"b/{i}.png", 600 + i)
    assert run(folder) == 0
    made = tmp_path / "data/mine"
    assert described(made)["classes"] == ["a", "b"] and counted(made) == {"train": [3, 4], "test": [2, 2]}
    for held_out in ("valid", "Validation_set", "seg_pred"):
        draw(folder / held_out / "a/0.png", 900)
        assert run(folder, "--force") == 2
        assert f"{held_out}/" in said(capsys)
        shutil.rmtree(folder / held_out)


def test_classes_that_are_called_as_parts_are_stay_classes(tmp_path):
    folder = tree(tmp_path / "vehicles", train=3, bus=3, training_wheels=3)
    assert run(folder) == 0
    assert described(tmp_path / "data/mine")["classes"] == ["bus", "train", "training_wheels"]
    folder = tree(tmp_path / "divided/train", train=3, bus=3)
    tree(tmp_path / "divided/test", train=2, bus=2)
    assert run(tmp_path / "divided", name="again") == 0
    assert described(tmp_path / "data/again")["classes"] == ["bus", "train"]
    assert counted(tmp_path / "data/again") == {
        "train": [1, 1],
        "test": [2, 2],
    }  # two of each three look as those in test/ do


# ---------------------------------------------------------------- tables of labels


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_of_every_encoding_and_separator(tmp_path, encoding, separator):
    rows = [
        ["Bild", "Größe", "Art"],
        ["a, b.png", "1;2", "Großes\nOchsenauge"],
        ["ü/c.png", "", " 菜粉蝶 "],
        [],
        ["d.png", "", ""],
    ]
    with open(tmp_path / "t.csv", "w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=separator, quoting=csv.QUOTE_MINIMAL).writerows(rows)
    found = read_labels(tmp_path / "t.csv", "Bild", "Art")
    assert [(row.line, row.path, row.label) for row in found] == [
        (3, "a, b.png", "Großes Ochsenauge"),
        (4, "ü/c.png", "菜粉蝶"),
        (6, "d.png", ""),
    ]


def test_excel_s_own_first_line_is_no_header(tmp_path):
    (tmp_path / "t.csv").write_text("sep=;\npath;label\na.png;A;;\n")
    assert [(row.line, row.path, row.label) for row in read_labels(tmp_path / "t.csv", "path", "label")] == [
        (3, "a.png", "A")
    ]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "there is no column 'path'"),
        (b"file,class\na.png,A\n", "'file,class'; name the columns with --path-column and --label-column"),
        (b"path,label\n", "has a header and no rows"),
        (b"path,label\na.png,A,B\n", "line 2: 3 fields, and the header has 2"),
        (b"path,label\na.png,\xfc\n", "neither UTF-8 nor UTF-16"),
        (b'path,label\n"a.png,A\n' + b"x" * 200_000, "line 3: "),
    ],
)
def test_tables_that_cannot_be_used_are_refused(tmp_path, capsys, content, words):
    folder = tree(tmp_path / "pictures", a=2, b=2)
    (tmp_path / "t.csv").write_bytes(content)
    assert run(folder, "--labels", tmp_path / "t.csv") == 2
    sentence = said(capsys)
    assert words in sentence and "t.csv" in sentence and not (tmp_path / "data").exists()


def test_a_table_whose_name_is_no_text_can_be_told_of(tmp_path):
    folder = tree(tmp_path / "pictures", a=2, b=2)
    labels = tmp_path / os.fsdecode(b"t\xff.csv")
    labels.write_text(
        "path,label\nnone.png,a\n" + "".join(f"{name}/{i}.png,{name}\n" for name in "ab" for i in range(2))
    )
    assert run(folder, "--labels", labels) == 0
    assert left_out(tmp_path / "data/mine") == {
        "none.png": r"is named in t\xff.csv, and is no file of the folder: line 2"
    }


def listing(folder: Path, files: str, *rows: str) -> dict[str, str | None]:
    """The labels that files (empty ones, parted by blanks) get from rows `path,label` of a table that lies elsewhere."""
    top, table_of = folder / "pictures", folder / "elsewhere/labels.csv"
    for file in (top / name for name in files.split()):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    table_of.parent.mkdir()
    table_of.write_text("\n".join(["path,label", *rows]), encoding="utf-8")
    return {
        picture.source: picture.label
        for picture in label_by_table(walk(top), read_labels(table_of, "path", "label"), table_of)
    }


COMPOSED, DECOMPOSED = unicodedata.normalize("NFC", "é.png"), unicodedata.normalize("NFD", "é.png")
PATHS = {
    "of another machine": ("a/0.png b/0.png", [r"C:\Users\me\two\a\0.png,A", r"D:\b\0.png,B"], ["A", "B"]),
    "of another folder": ("a/0.png b/0.png", ["/home/me/two/a/0.png,A", "two/b/0.png,B"], ["A", "B"]),
    "that are flat here": ("0.png 1.png", [r"C:\two\a\0.png,A", "b/1.png,B"], ["A", "B"]),
    "without the first folder": ("Train/a/0.png Train/b/0.png", ["a/0.png,A", r"b\0.png,B"], ["A", "B"]),
    "the longest tail": ("0.png a/0.png", ["/x/a/0.png,A", "/x/b/0.png,B"], ["B", "A"]),
    "folders that contradict": ("a/0.png b/1.png", ["/x/c/0.png,C", "b/1.png,B"], [None, "B"]),
    "several that end so": ("Train/a/0.png Test/a/0.png", ["a/0.png,A"], [None, None]),
    "a certain one beside one of another folder": ("a/0.png", ["/x/a/0.png,B", "a/0.png,A"], ["A"]),
    "spelled in two ways": (f"a/{COMPOSED} b/{DECOMPOSED}", [f"a/{DECOMPOSED},A", f"b/{COMPOSED},B"], ["A", "B"]),
    "without their endings": ("a/0.png b/1.jpg 2.tif", ["0,A", r"b\1,B", "2,C"], ["A", "B", "C"]),
    "without their endings, several": ("a/0.png b/0.png c/0.png", ["0,A", "b/0,B"], [None, "B", None]),
    "without their endings, of kinds": ("0.png 0.jpg 1.png 1.xml", ["0,A", "1,B"], [None, None, "B", None]),
    "without their endings beside one that has none": ("0 a/0.png", ["0,A"], ["A", None]),
    "from the table without their endings": ("a/0.png 1.png", ["../pictures/a/0,A", "../pictures/1,B"], ["A", "B"]),
    "with points and without their endings": ("a.b.png a.png", ["a.b,A", "a,B"], ["A", "B"]),
    "spelled in two ways without their endings": (f"a/{DECOMPOSED}", [f"{COMPOSED.removesuffix('.png')},A"], ["A"]),
    "that differ in spelling alone": (f"{DECOMPOSED} {COMPOSED}", [f"{COMPOSED},A", f"{DECOMPOSED},B"], ["B", "A"]),
}


@pytest.mark.parametrize("kind", PATHS)
def test_which_files_the_paths_of_a_table_stand_for(tmp_path, kind):
    files, rows, expected = PATHS[kind]
    assert listing(tmp_path, files, *rows) == dict(zip(files.split(), expected, strict=True))


def test_a_table_that_names_no_files_is_told_of_by_its_columns(tmp_path, capsys):
    folder, labels = tree(tmp_path / "pictures", a=3, b=3), tmp_path / "labels.csv"
    labels.write_text("id,breed\nx0,a\nx1,b\n")
    assert run(folder, "--labels", labels, "--path-column", "id", "--label-column", "breed") == 2
    assert said(capsys).endswith(
        f"needs two classes; correct {labels}, whose column 'id' (--path-column) must name the images and 'breed' (--label-column) their "
        "classes."
    )
    assert not (tmp_path / "data").exists()


def test_a_table_of_a_competition_names_its_images_without_endings(tmp_path):
    folder, labels = tmp_path / "pictures", tmp_path / "labels.csv"
    for i in range(6):
        draw(folder / f"{i}{'ab'[i % 2]}.jpg", i)
    labels.write_text("id,breed\n" + "".join(f"{i}{'ab'[i % 2]},{'AB'[i % 2]}\n" for i in range(6)))
    assert run(folder, "--labels", labels, "--path-column", "id", "--label-column", "breed") == 0
    assert counted(tmp_path / "data/mine") == {"train": [2, 2], "test": [1, 1]}


def test_parts_of_the_folder_stay_apart_where_a_table_gives_the_labels(tmp_path, capsys):
    folder = tmp_path / "pictures"
    for number in range(16):
        draw(folder / ("Train" if number < 10 else "Test") / f"{number}.png", number)
    draw(folder / "Test/new.png", 50)
    draw(folder / "background/stone.png", 60)  # without a label, it is in nobody's way
    table_of = tmp_path / "labels.csv"
    labels = [f"{number}.png,{'ab'[number % 2]}\n" for number in range(16)]
    table_of.write_text("path,label\n" + "".join(labels))
    assert run(folder, "--labels", table_of) == 0
    made = tmp_path / "data/mine"
    assert counted(made) == {"train": [5, 5], "test": [3, 3], "rest": [0, 0, 2]}
    parts = {row["original"]: row["list"] for row in table(made / "original_names.csv")}
    assert all(parts[f"Train/{number}.png"] == "train" for number in range(10))
    assert all(parts[f"Test/{number}.png"] == "test" for number in range(10, 16))
    assert run(folder, "--labels", table_of, "--test-share", 0.5, "--force") == 2
    assert "--test-share 0.5" in said(capsys)
    table_of.write_text(
        "path,label\n" + "".join(labels[:10])
    )  # as of a competition, which keeps the labels of its test images
    assert run(folder, "--labels", table_of, "--force") == 0
    assert counted(made) == {"train": [4, 4], "test": [1, 1], "rest": [0, 0, 8]}
    table_of.write_text("path,label\nbackground/stone.png,a\n" + "".join(labels))
    assert run(folder, "--labels", table_of, "--force") == 2
    assert "holds Test/, Train/, background/: beside train/ and test/ only unlabeled/ may stand" in said(capsys)


def test_labels_come_from_a_table(tmp_path):
    folder = tmp_path / "pictures"
    for i in range(9):
        draw(folder / f"tief/{i}.png", i)
    for name in ("ohne.png", "leer.png", "Mu\u0308cke.png", "zwei.png"):
        draw(folder / name, sum(map(ord, name)))
    lines = ["label,x,path", *(f"{'AB'[i % 2]},,{'tief/' if i < 3 else ''}{i}.png" for i in range(8))]
    lines += ["B,,.\\tief\\8.png", f"B,,{folder / 'leer.png'}", "A,,./pictures/M\u00fccke.png"]
    lines += ["A,,zwei.png", "B,,zwei.png", "A,,../draussen.png", "A,,fehlt.png", "A,,tief/0.png", ",,ohne.png"]
    (folder / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "labels.csv").write_text("\n".join(lines), encoding="utf-8")
    assert run(folder, "--labels", tmp_path / "labels.csv") == 0
    made = tmp_path / "data/mine"
    classes = {
        unicodedata.normalize("NFC", row["original"]): row["class"] for row in table(made / "original_names.csv")
    }
    assert classes == {f"tief/{i}.png": "AB"[i % 2] for i in range(8)} | {
        "tief/8.png": "B",
        "leer.png": "B",
        "Mücke.png": "A",
        "ohne.png": "",
    }
    assert left_out(made) == {
        "zwei.png": "has two labels in labels.csv: 'A' in line 13, 'B' in line 14",
        "../draussen.png": "is named in labels.csv, and is no file of the folder: line 15",
        "fehlt.png": "is named in labels.csv, and is no file of the folder: line 16",
        "labels.csv": "is no picture, or one of a kind that is not taken",
    }
    assert counted(made)["rest"] == [0, 0, 1]


# ---------------------------------------------------------------- what is left out


def test_hostile_and_foreign_entries_are_left_out_and_listed(tmp_path, monkeypatch, capsys):
    folder = tree(tmp_path / "pictures", a=4, b=4)
    draw(tmp_path / "secret.png", 1)
    (folder / "a/out.png").symlink_to(tmp_path / "secret.png")
    (folder / "outside").symlink_to(tmp_path)
    (folder / "a/loop").symlink_to(folder)
    (folder / "a/self.png").symlink_to(folder / "a/self.png")
    (folder / "a/inner.png").symlink_to(folder / "a/0.png")
    os.mkfifo(folder / "b/pipe.png")
    place = socket.socket(socket.AF_UNIX)
    monkeypatch.chdir(folder)  # a socket's path must be short
    place.bind("s.png")
    place.close()
    monkeypatch.chdir(tmp_path)
    for name in (
        ".DS_Store",
        "Thumbs.db",
        "__MACOSX/x.png",
        ".git/x.png",
        "a/notes.txt",
        "a/film.mp4",
        "b/paper.pdf",
        "b/figure.eps",
    ):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n" if name.endswith("eps") else b"%PDF text"
        )
    (folder / "a/empty.png").write_bytes(b"")
    (folder / "a/cut.png").write_bytes((folder / "a/1.png").read_bytes()[:80])
    (folder / os.fsdecode(b"b/\xff\n.txt")).write_text("x")
    assert run(folder) == 0
    reasons = {path: reason.split(" (")[0] for path, reason in left_out(tmp_path / "data/mine").items()}
    no_picture = "is no picture, or one of a kind that is not taken"
    assert reasons == {
        "a/out.png": "is a link that leads out of the folder",
        "outside": "is a link that leads out of the folder",
        "a/loop": "is a link to something that is no file",
        "a/self.png": "is a link that leads nowhere",
        "b/pipe.png": "is neither a file nor a folder",
        "s.png": "is neither a file nor a folder",
        ".DS_Store": "is hidden",
        ".git": "is hidden",
        "Thumbs.db": "is a file or folder of the system",
        "__MACOSX": "is a file or folder of the system",
        **dict.fromkeys(("a/notes.txt", "a/film.mp4", "b/paper.pdf", "b/figure.eps", "b/\\xff\\n.txt"), no_picture),
        "a/empty.png": "is empty",
        "a/cut.png": "does not decode",
    }
    assert counted(tmp_path / "data/mine") == {
        "train": [4, 3],
        "test": [1, 1],
    }  # the link to a/0.png is one of a's five
    out = capsys.readouterr().out
    assert "Left out: 17 (all in" in out and f"  5, each of which {no_picture}, such as a/film.mp4" in out


def test_of_pairs_of_raw_and_jpeg_the_raw_ones_are_left_out(tmp_path, capsys):
    folder = tmp_path / "pictures"
    for name, start in (("a", 0), ("b", 50)):
        for i in range(3):
            draw(folder / name / f"IMG_{i}.jpg", start + i)
            preview = Image.open(folder / name / f"IMG_{i}.jpg").resize((8, 8))
            preview.save(folder / name / f"IMG_{i}.NEF", "TIFF", tiffinfo={254: 1, 330: 8, 271: "NIKON CORPORATION"})
    assert run(folder) == 0
    assert counted(tmp_path / "data/mine") == {"train": [2, 2], "test": [1, 1]}
    reason = "does not decode (only a preview of it can be read here, as of cameras' raw files)"
    assert left_out(tmp_path / "data/mine") == {f"{name}/IMG_{i}.NEF": reason for name in "ab" for i in range(3)}
    assert "  6, each of which does not decode, such as a/IMG_0.NEF" in capsys.readouterr().out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read_is_left_out(tmp_path):
    folder = tree(tmp_path / "pictures", a=4, b=4, c=2)
    (folder / "a/0.png").chmod(0)
    (folder / "c").chmod(0)
    try:
        assert run(folder) == 0
    finally:
        (folder / "c").chmod(0o755)
    assert left_out(tmp_path / "data/mine") == dict.fromkeys(("c", "a/0.png"), "cannot be read (Permission denied)")


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        ({}, "usable images of 0 classes (none), 0 in all (left out: nothing)"),
        ({"a": 3}, "usable images of 1 class (a), 3 in all"),
        ({"a": 1, "b": 1}, "no class has two different images"),
    ],
)
def test_too_few_images_are_refused(tmp_path, capsys, classes, words):
    folder = tree(tmp_path / "pictures", **classes)
    folder.mkdir(exist_ok=True)
    assert run(folder) == 2
    assert words in said(capsys) and not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    "options",
    [
        ("--expert", 0),
        ("--expert", -1),
        ("--expert-share", 0),
        ("--expert", 3, "--expert-share", 0.5),
        ("--test-share", 1),
        ("--test-share", "nan"),
        ("--labels", "none.csv"),
        ("--things", "bird"),
    ],
)
def test_settings_that_make_no_sense_are_refused(tmp_path, capsys, options):
    assert run(tree(tmp_path / "pictures", a=3, b=3), *options) == 2
    assert str(options[0]) in said(capsys) and not (tmp_path / "data").exists()


def test_images_and_dataset_must_not_lie_one_in_the_other(tmp_path, capsys):
    folder = tree(tmp_path / "data/mine/images", a=3, b=3)
    before = sorted(tmp_path.rglob("*"))
    for place, root in ((folder, tmp_path / "data"), (folder, folder), (tmp_path / "data/mine", tmp_path / "data")):
        assert prepare.main(["folder", str(place), "--name", "mine", "--data-root", str(root), "--force"]) == 2
        assert "one in the other" in said(capsys) and sorted(tmp_path.rglob("*")) == before


def test_the_scripts_must_not_write_among_the_images(tmp_path, monkeypatch, capsys):
    folder = tree(tmp_path / "birds", a=3, b=3)
    for place, name in ((tmp_path, "birds"), (folder, "mine"), (tmp_path.parent, tmp_path.name)):
        monkeypatch.chdir(place)
        assert run(folder, name=name) == 2
        assert said(capsys) == (
            f"prepare.py: error: --name {name}: run from here, the scripts would write into {place / name}, and the images lie in "
            f"{folder}; give another --name, or run from elsewhere."
        )
    assert not (tmp_path / "data").exists()
    monkeypatch.chdir(tmp_path)
    assert run(folder, name="bird") == 0


def test_a_folder_that_scripts_wrote_into_is_no_folder_of_images(tmp_path, capsys):
    folder = tree(tmp_path / "mine", a=3, b=3)
    for content in ("[]", "no JSON", '{"script": "of_another_program"}', "{}"):  # others call files so too
        (folder / "run_1.json").write_text(content)
        assert run(folder, "--force") == 0
    (folder / "run_train_gull_CMaxGrad_KMaxGrad.json").write_text('{"script": "train_gull_CMaxGrad", "seed": 0}')
    assert run(folder, "--force") == 2
    assert said(capsys).endswith(
        f"{folder} is a folder that scripts wrote into (run_train_gull_CMaxGrad_KMaxGrad.json is a record of a run); give the folder "
        "that holds the images alone."
    )
    assert run(tmp_path / "nowhere", name="other") == 2
    assert "is not a folder" in said(capsys)


# ---------------------------------------------------------------- whole or not at all

KILLED = """
import os, signal, sys
sys.path.insert(0, {root!r})
from datasets import own, prepare
signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may have made processes ignore it
put, count = own._put, 0
def killed(*arguments):
    global count
    count += 1
    if count == 5:
        os.kill(os.getpid(), signal.{signal})
    put(*arguments)
own._put = killed
sys.exit(prepare.main(sys.argv[1:]))
"""


@pytest.mark.parametrize(("name", "status", "left"), [("SIGKILL", -signal.SIGKILL, 1), ("SIGINT", 130, 0)])
def test_a_stopped_run_leaves_what_was_there(tmp_path, name, status, left):
    folder, data = tree(tmp_path / "pictures", a=5, b=5), tmp_path / "data"
    (data / "mine").mkdir(parents=True)
    (data / "mine/earlier.txt").write_text("earlier")
    (data / "mine/dataset.json").touch()
    command = [
        sys.executable,
        "-c",
        KILLED.format(root=str(ROOT), signal=name),
        "folder",
        folder,
        "--name",
        "mine",
        "--data-root",
        data,
    ]
    assert subprocess.run([*command, "--force"], capture_output=True).returncode == status
    assert (data / "mine/earlier.txt").read_text() == "earlier"
    others = [path.name for path in data.iterdir() if path.name != "mine"]
    assert len(others) == left and all(re.fullmatch(r"\.mine\.\d+\.part", other) for other in others)
    assert run(folder, "--force") == 0
    assert os.listdir(data) == ["mine"]  # the next run clears away what the killed one left
    assert counted(data / "mine") == {"train": [4, 4], "test": [1, 1]} and len(list(folder.rglob("*.png"))) == 10


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device", "x.png")

    monkeypatch.setattr(own.shutil, "copyfile", full)
    assert run(tree(tmp_path / "pictures", a=3, b=3), "--copy") == 1
    assert "No space left on device" in capsys.readouterr().err and list((tmp_path / "data").iterdir()) == []


def test_a_data_root_without_links_is_told_of_copies(tmp_path, monkeypatch, capsys):
    def unable(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(own.os, "symlink", unable)
    assert run(tree(tmp_path / "pictures", a=3, b=3)) == 2
    assert "give --copy" in said(capsys) and list((tmp_path / "data").iterdir()) == []


# ---------------------------------------------------------------- datasets are found


@pytest.fixture
def found(tmp_path):
    """A data root with the dataset `mine` of three classes, and what its description says."""
    assert run(tree(tmp_path / "pictures", Ab=4, b=4, c=4), "--expert", 2) == 0
    return tmp_path / "data", described(tmp_path / "data/mine")


def test_a_dataset_is_found_by_its_name(found):
    root, _ = found
    dataset = catalog.find("mine", root)
    assert (dataset.classes, dataset.display_names, dataset.things) == (
        ("Ab", "b", "c"),
        ["Ab", "b", "c"],
        ("picture", "pictures"),
    )
    assert (dataset.out, dataset.list_stem) == ("mine", "mine_gt")
    assert dataset.list_path(root, "rest") == root / "mine/mine_gt_rest_tr.txt"
    assert all(Path(locate(row.path, root)).exists() for row in read_examples(dataset.list_path(root, "test"), 3))
    assert catalog.find("mine_rest", root).list_path(root, "train") == root / "mine/mine_gt_rest_tr.txt"
    for name in ("yours", "mine/../mine", "", ".", "toy_after_labeling_after_labeling", "yours_rest"):
        with pytest.raises(InputError, match=f"--dataset '{re.escape(name)}' is unknown.*toy.*mine"):
            catalog.find(name, root)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"name": "other"}, "name is 'other', and the folder's is 'mine'"),
        ({"classes": "Ab"}, "classes must be a list of two or more names"),
        ({"classes": ["Ab"]}, "classes must be a list of two or more names"),
        ({"classes": ["Ab", "b", " "]}, "classes must be a list of two or more names"),
        ({"classes": ["Ab", "b", "b"]}, "the class 'b' stands twice"),
        ({"classes": ["Ab", "b", "../c"]}, "'../c' holds a path separator"),
        (
            {"classes": ["Ab", "b", ".."]},
            "'..' is no name of a folder; call the class and its folder otherwise, such as '_'",
        ),
        ({"classes": ["Ab", "b", "Red Fox"]}, "'Red Fox' holds a blank, which separates the fields of a list; call"),
        (
            {"classes": ["Ab", "b", "Red Fox"]},
            "otherwise, such as 'Red_Fox', and say in display_names what people are to read",
        ),
        ({"classes": ["Ab", "b", "c\u200b"]}, "holds U+200B, which cannot be seen"),
        ({"classes": ["Ab", "b", "c\0"]}, "holds U+0000, which cannot be seen"),
        ({"classes": ["Ab", "b", "\ud83d"]}, "classes must be a list of two or more names"),
        ({"classes": ["Ab", "b", 3]}, "classes must be a list of two or more names"),
        ({"classes": ["Ab", "b", "c" * 256]}, "is 256 bytes long, and 255 are the most"),
        ({"train": ""}, "train must be the name of a list"),
        ({"test": None}, "test must be the name of a list"),
        ({"test": "../x"}, "test must be the name of a list"),
        (
            {"train": "/pictures/mine_gt_tr"},
            "train must be the name of a list in the same folder, without .txt; it is '/pictures/mine_gt_tr'",
        ),
        ({"train": ["mine_gt_tr"]}, "train must be the name of a list"),
        ({"rest": None}, "rest must be the name of a list"),
        ({"test": "\ud83d"}, "test must be the name of a list"),
        ({"name": ["mine"]}, "name is ['mine'], and the folder's is 'mine'; give both the same name"),
        ({"display_names": ["Ab"]}, "display_names must give class names"),
        ({"display_names": {"c": 5}}, "display_names must give class names"),
        ({"things": "bird"}, "things must be two words"),
        ({"things": ["bird", 2]}, "things must be two words"),
        ({"rest": "mine_gt_rest_tr.txt"}, "mine_gt_rest_tr.txt.txt does not exist"),
        ({"display_names": {"d": "D"}}, "display_names has 'd', which is no class"),
        ({"display_names": {"c": ""}}, "display_names must give class names"),
        ({"display_names": {"c": "b"}}, "two classes are shown as 'b'"),
        ({"things": ["bird"]}, "things must be two words"),
    ],
)
def test_a_description_that_is_wrong_is_named(found, tools, tmp_path, change, words):
    root, about = found
    (root / "mine/dataset.json").write_text(json.dumps(about | change))
    done = tools.call("train_gull_simclr", "--dataset", "mine", "--data-root", root, cwd=tmp_path)
    assert (
        done.status == 2
        and f"{root / 'mine/dataset.json'}: " in done.err
        and words in done.err
        and done.err.count("\n") == 1
    )


@pytest.mark.parametrize("content", ["", "[]", "{", "\xff", "[" * 100_000])
def test_a_description_that_is_none_is_named(found, content):
    root, _ = found
    (root / "mine/dataset.json").write_bytes(content.encode("latin-1"))
    with pytest.raises(InputError, match="mine/dataset.json"):
        catalog.find("mine", root)


def test_names_for_people_may_be_left_out(found):
    root, about = found
    (root / "mine/dataset.json").write_text(
        json.dumps({name: about[name] for name in ("name", "train", "test")} | {"classes": ["RedFox", "b", "c"]})
    )
    dataset = catalog.find("mine", root)
    assert dataset.display_names == ["Red Fox", "b", "c"] and dataset.rest == ""


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("mine", "mine_turker_label_gt"),
        ("toy", "toy_turker_label_gt"),
        ("butterflies", "butterflies_turker_label_gt_s300"),
    ],
)
def test_after_labeling_follows_out_and_selection(found, tmp_path, monkeypatch, name, stem):
    root, _ = found
    monkeypatch.chdir(tmp_path)

    def train(**settings):
        return catalog.find(f"{name}_after_labeling", root, **{"selection": "CMaxGrad"} | settings).list_path(
            root, "train"
        )

    assert train() == Path(f"{name}/{stem}_CMaxGrad_labeled_tr.txt")
    assert train(selection="random") == Path(f"{name}/{stem}_random_labeled_tr.txt")
    assert train(out="study/one") == Path(
        f"study/one/{stem}_CMaxGrad_labeled_tr.txt"
    )  # where nothing is there: what was asked for
    Path(name).mkdir()
    (Path(name) / f"{stem}_CMaxGrad_labeled_tr.txt").touch()
    assert train(out="study/one") == Path(f"{name}/{stem}_CMaxGrad_labeled_tr.txt")
    Path("study/one").mkdir(parents=True)
    Path(f"study/one/{stem}_CMaxGrad_labeled_tr.txt").touch()
    assert train(out="study/one") == Path(f"study/one/{stem}_CMaxGrad_labeled_tr.txt")
    after = catalog.find(f"{name}_after_labeling", root, selection="CMaxGrad", out=f"{tmp_path}/study/one")
    assert after.list_path(root, "train") == tmp_path / f"study/one/{stem}_CMaxGrad_labeled_tr.txt"
    assert after.out == f"{name}_after_labeling"  # the teacher's files in the course's folder stay


def test_a_classifier_learns_the_list_of_the_course_that_it_is_told(found, tools, tmp_path):
    root, _ = found
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/mine_turker_label_gt_random_labeled_tr.txt").write_bytes(
        (root / "mine/mine_gt_tr.txt").read_bytes()
    )
    settings = [
        "--dataset",
        "mine_after_labeling",
        "--data-root",
        root,
        "--image-size",
        64,
        "--epochs",
        1,
        "--workers",
        1,
        "--device",
        "cpu",
    ]
    done = tools.call("train_butterflies_resnet18", *settings, cwd=tmp_path)
    assert done.status == 2 and "mine/mine_turker_label_gt_CMaxGrad_labeled_tr.txt does not exist" in done.err
    done = tools.call("train_butterflies_resnet18", *settings, "--selection", "random", cwd=tmp_path)
    assert done.status == 0, done.err
    assert (tmp_path / "mine_after_labeling/run_train_butterflies_resnet18.json").exists()
