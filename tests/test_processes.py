"""Several processes, as torchrun starts them: the files are those of one process where the maths says so, and nobody hangs."""

import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from models.resnet import build
from models.simclr import SimCLR, nt_xent
from models.weights import load_backbone, load_classifier, save_checkpoint
from utils.base import figures
from utils.base.files import write_table
from utils.base.machine import threads
from utils.data import catalog
from utils.data.images import eval_view, full_view
from utils.data.loading import open_list, to_float
from utils.training import evaluation
from utils.training.classifier import ClassifierRecipe, random_load
from utils.training.epochs import epoch_order
from utils.training.features import FeatureMaps
from utils.training.simclr import SimCLRRecipe, simclr_load

ONE_EPOCH = ["--epochs", 1, "--batch-size", 20, "--lr", 0.01]


@contextmanager
def starter(folder, narrower):
    """Runs scripts as several processes, with networks so many times narrower: start(number, command, working folder)."""
    said = open(folder / "ranks.txt", "w")
    command, environment = (
        [sys.executable, str(Path(__file__).with_name("helpers") / "ranks.py")],
        os.environ | {"NARROWER": str(narrower)},
    )
    forker = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=environment
    )

    def run(count, command, cwd, **order):
        script, *arguments = map(str, command)
        cwd.mkdir(exist_ok=True)
        forker.stdin.write(
            json.dumps(order | {"processes": count, "script": script, "arguments": arguments, "cwd": str(cwd)}) + "\n"
        )
        forker.stdin.flush()
        return SimpleNamespace(**json.loads(forker.stdout.readline()))

    yield run
    forker.stdin.close()
    forker.wait()
    said.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    with starter(tmp_path_factory.mktemp("ranks"), narrower=8) as run:
        yield run


@pytest.fixture(scope="module")
def start_wide(tmp_path_factory):
    """As `start`, with the networks that the test itself computes with."""
    with starter(tmp_path_factory.mktemp("ranks"), narrower=1) as run:
        yield run


def content_of(folder):
    """Name -> bytes of every file below a folder but the run records."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith("run_"))
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def explained(start, data_root, tools, tmp_path_factory):
    """A working folder where a teacher was trained and its explanations made by one process, and the commands."""
    folder, tiny = tmp_path_factory.mktemp("one"), tools.common(data_root, workers=1)
    teacher = ["train_butterflies_resnet18", *tiny, *ONE_EPOCH]
    explain = ["get_all_CE_butterflies", *tiny, "--mask-sizes", 0.3, 0.05, "--batch-size", 3]
    for command in (teacher, explain):
        done = start(1, command, folder)
        assert done.status == [0], done.err
    return SimpleNamespace(folder=folder, explain=explain, tiny=tiny)


def test_explanations_are_the_same_bytes(start, explained, tmp_path):
    (tmp_path / "toy").mkdir()
    name = "toy/checkpoint_pretrain_resnet18_s300.pth.tar"
    shutil.copyfile(explained.folder / name, tmp_path / name)
    done = start(3, explained.explain, tmp_path)
    assert done.status == [0, 0, 0], done.err
    one, three = content_of(explained.folder / "toy"), content_of(tmp_path / "toy")
    assert [file for file in three if one[file] != three[file]] == []
    assert {file for file in one if file not in three} == {
        "teacher.csv",
        "teacher_curves.png",
        "teacher_confusion.png",
        "teacher_confusion.csv",
    }
    assert [text.count("explaining") > 0 for text in done.err] == [True, False, False]  # one progress bar


@pytest.mark.parametrize(
    "arguments",
    [
        ["--student", "sgd", "--explanation-view", "image", "--selection", "CMaxGrad", "--save-students"],
        ["--student", "sgd", "--freeze-features"],
        ["--selection", "KMaxGrad", "--save-students", "--draws", 2],
    ],
)
def test_courses_are_the_same_bytes(arguments, start, explained, tmp_path):
    lists = ["--ce-list", "./toy/toy_gt_CE.txt", "--out", "course"]
    command = [
        "train_butterflies_CMaxGrad",
        *explained.tiny,
        *lists,
        "--pretrained",
        "none",
        "--iterations",
        2,
        "--steps",
        2,
    ]
    contents = []
    for count in (1, 2):
        (tmp_path / str(count)).mkdir()
        (tmp_path / str(count) / "toy").symlink_to(explained.folder / "toy")
        done = start(count, [*command, "--batch-size", 7, *arguments], tmp_path / str(count))
        assert done.status == [0] * count, done.err
        contents.append(content_of(tmp_path / str(count) / "course"))
    assert contents[0] == contents[1]
    assert json.loads((tmp_path / "2/course/run_train_butterflies_CMaxGrad.json").read_text())["processes"] == 2


def test_a_linear_head_is_the_same(start, explained, tmp_path):
    heads = []
    for count in (1, 2):
        command = [
            "train_gull_resnet18_linear",
            *explained.tiny,
            "--pretrained",
            "none",
            "--epochs",
            2,
            "--batch-size",
            7,
            "--lr",
            0.1,
        ]
        done = start(count, command, tmp_path / str(count))
        assert done.status == [0] * count, done.err
        heads.append(
            torch.load(tmp_path / str(count) / "toy/checkpoint_pretrain_resnet18_linear.pth.tar", weights_only=True)
        )
    torch.testing.assert_close(heads[0]["state_dict_m"], heads[1]["state_dict_m"], rtol=1e-4, atol=1e-6)


def images_and(recipe, data_root, tools, **more):
    common = dict(
        epochs=1,
        batch_size=9,
        lr=0.01,
        image_size=tools.size,
        crop_scale=0.08,
        seed=0,
        workers=0,
        device="cpu",
        weight_decay=0.0,
    )
    return open_list(catalog.find("toy"), "train", str(data_root), full_view), recipe(**(common | more))


def test_a_batch_in_two_parts_teaches_what_the_maths_says(start_wide, explained, weights, data_root, tools, tmp_path):
    """Two batches of 9 and 11, 5 + 4 and 6 + 5 images; batch norm sees the parts, the gradient is that of the whole."""
    settings = [
        "--epochs",
        1,
        "--batch-size",
        11,
        "--lr",
        0.01,
        "--weight-decay",
        0,
        "--momentum",
        0,
        "--pretrained",
        weights,
    ]
    done = start_wide(2, ["train_butterflies_resnet18", *explained.tiny, *settings], tmp_path)
    assert done.status == [0, 0], done.err
    # With one thread, as each of the two has: batch norm over the few pixels of five small pictures multiplies the last digits,
    # which depend on the number of threads, by a thousand.
    with threads(1):
        more = dict(batch_size=11, momentum=0.0, milestones=(), eval_every=1)
        images, recipe = images_and(ClassifierRecipe, data_root, tools, **more)
        torch.manual_seed(0)  # as the script seeds its head
        network = build("resnet18", 5)
        load_backbone(network, str(weights))
        optimizer = torch.optim.SGD(network.parameters(), recipe.lr)
        order = epoch_order(images, recipe, 1)
        for batch in (order[:11], order[11:]):
            optimizer.zero_grad()
            before = None
            for part in (batch[::2], batch[1::2]):
                filled = part + batch[:1] * (len(batch[::2]) - len(part))
                pixels = torch.stack([random_load(images, recipe, 1, number) for number in filled])
                network.train()
                if before is not None:
                    after_first = {name: value.clone() for name, value in network.named_buffers()}
                    network.load_state_dict(before, strict=False)
                else:
                    before = {name: value.clone() for name, value in network.named_buffers()}
                logits = network(to_float(pixels, "cpu")).logits[: len(part)]
                (F.cross_entropy(logits, images.labels[part], reduction="sum") / len(batch)).backward()
            network.load_state_dict(after_first, strict=False)  # the statistics are those of process 0
            optimizer.step()
    found = torch.load(tmp_path / "toy/checkpoint_pretrain_resnet18_s300.pth.tar", weights_only=True)["state_dict_m"]
    torch.testing.assert_close(found, dict(network.state_dict()), rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("seed", [0, 2])  # with statistics of its own in each process, both would tell another accuracy
def test_the_accuracy_told_is_that_of_the_saved_network(seed, start_wide, explained, data_root, tools, tmp_path):
    """Each process measures its share of the test list, and its batch-norm statistics have followed its own images."""
    settings = ["--epochs", 2, "--batch-size", 10, "--lr", 0.003, "--eval-every", 2, "--seed", seed]
    done = start_wide(2, ["train_butterflies_resnet18", *explained.tiny, *settings], tmp_path)
    assert done.status == [0, 0], done.err
    out, dataset = tmp_path / "toy", catalog.find("toy")
    test = open_list(dataset, "test", str(data_root), partial(eval_view, size=tools.size))
    network = load_classifier(str(out / "checkpoint_pretrain_resnet18_s300.pth.tar"), dataset.classes)
    answers = evaluation.predict(FeatureMaps(network, test, len(test), 1, "cpu"))
    confusions = figures.confusions(evaluation.confusion(answers, test.labels, len(dataset.classes)), dataset.classes)
    write_table(tmp_path / "confusions.csv", confusions, figures.CONFUSIONS)
    assert (out / "teacher_confusion.csv").read_text() == (tmp_path / "confusions.csv").read_text()
    right = round(evaluation.accuracy(answers, test.labels), 3)
    assert json.loads((out / "run_train_butterflies_resnet18.json").read_text())["measured"]["test_accuracy"] == right
    assert float((out / "teacher.csv").read_text().splitlines()[-1].split(",")[-1]) == right


def test_simclr_gathers_negatives_from_all_processes(start_wide, explained, data_root, tools, tmp_path):
    """One step of SGD's gradient cannot be read from Adam's, so the loss is compared: epoch 1 and, after its steps, epoch 2."""
    done = start_wide(
        2, ["train_gull_simclr", *explained.tiny, "--epochs", 2, "--batch-size", 13, "--lr", 1e-3], tmp_path
    )
    assert done.status == [0, 0], done.err
    images, recipe = images_and(SimCLRRecipe, data_root, tools, temperature=0.5)
    torch.manual_seed(0)
    model = SimCLR().train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for epoch in (1, 2):
        order, total = epoch_order(images, recipe, epoch), 0
        for batch in (order[:13], order[13:]):
            projections = {}
            for part in (batch[::2], batch[1::2]):
                filled = part + batch[:1] * (len(batch[::2]) - len(part))
                views = torch.cat([simclr_load(images, recipe, epoch, number) for number in filled])
                z = model(to_float(views, "cpu")).unflatten(0, (-1, 2))
                projections |= {number: z[place] for place, number in enumerate(part)}
            pairs = torch.stack([projections[number] for number in batch])
            loss = nt_xent(torch.cat([pairs[:, 0], pairs[:, 1]]), 0.5)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item() * len(batch)
        losses.append(total / len(order))
    rows = (tmp_path / "toy/simclr.csv").read_text().splitlines()[1:]
    found = [float(row.split(",")[1]) for row in rows]
    assert found == pytest.approx(losses, rel=2e-3)
    assert abs(losses[0] - losses[1]) > 0.02 * losses[0]  # the steps matter


def test_the_simclr_variant_runs_in_two_processes(start, explained, tmp_path):
    simclr = ["train_gull_simclr", *explained.tiny, "--epochs", 1, "--batch-size", 10]
    probe = ["--checkpoint", "{out}/simclr_checkpoint_1.tar", "--probe-epochs", 20, "--batch-size", 7]
    explain = ["get_all_CE_gull_simclr", *explained.tiny, *probe]
    assert start(1, simclr, tmp_path / "1").status == [0]
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    for count in (1, 2):
        done = start(count, explain, tmp_path / str(count))
        assert done.status == [0] * count, done.err
    assert content_of(tmp_path / "1") == content_of(tmp_path / "2")


@pytest.mark.parametrize("script", ["train_gull_simclr", "train_butterflies_resnet18"])
def test_a_killed_run_goes_on_with_the_same_number_of_processes(script, start, explained, tmp_path):
    command = [script, *explained.tiny, "--epochs", 4, "--batch-size", 10, "--lr", 0.003]
    whole = start(2, command, tmp_path / "whole")
    assert whole.status == [0, 0] and "strides" not in whole.err[0], whole.err
    state = f"toy/.unfinished_{script}/state.pt"
    cut = start(2, command, tmp_path / "cut", watched=state, versions=3)  # at the start, after one epoch, after two
    assert cut.status == [-signal.SIGKILL] * 2, cut.err
    learned = len(torch.load(tmp_path / "cut" / state, weights_only=True)["state"]["history"])
    other = start(1, [*command, "--resume"], tmp_path / "cut")
    assert other.status == [2] and "processes (was 2, is 1)" in other.err[0]
    done = start(2, [*command, "--resume"], tmp_path / "cut")
    assert done.status == [0, 0] and 2 <= learned < 4, done.err
    assert "Going on with the unfinished run" in done.out[0] and f" {20 * learned}/80 " in done.err[0].split("\r")[1], (
        done.err
    )
    assert content_of(tmp_path / "cut") == content_of(tmp_path / "whole")


def test_a_last_image_alone_joins_the_batch_before_it(start, explained, tmp_path):
    """20 images in batches of 19: the processes share one batch of 20 instead of one of 19 and one that tells nothing."""
    tables = []
    for batch_size in (19, 20):
        done = start(
            2,
            ["train_gull_simclr", *explained.tiny, "--epochs", 2, "--batch-size", batch_size],
            tmp_path / str(batch_size),
        )
        assert done.status == [0, 0], done.err
        tables.append((tmp_path / str(batch_size) / "toy/simclr.csv").read_text())
    assert tables[0] == tables[1]


def test_a_dead_teacher_is_refused_by_every_process(start_wide, explained, tmp_path):
    network = build("resnet18", 5)
    network.layer4[1].bn2.bias.data.fill_(-1000.0)  # behind it, ReLU leaves nothing
    save_checkpoint(tmp_path / "dead.tar", {"state_dict_m": network.state_dict()})
    done = start_wide(2, [*explained.explain, "--checkpoint", "dead.tar"], tmp_path)
    assert 2 in done.status and set(done.status) <= {2, -9}, done.err  # who is slower is stopped
    assert any("--checkpoint: every map of this network is constant" in said for said in done.err)
    assert not [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".txt", ".npz")]


def torchrun(count, command, cwd):
    script, *arguments = map(str, command)
    repository = Path(__file__).parent.parent
    words = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={count}",
        str(repository / f"{script}.py"),
    ]
    return subprocess.run([*words, *arguments], cwd=cwd, capture_output=True, text=True, timeout=200)


def test_torchrun_itself_and_a_process_that_dies(small_root, tools, tmp_path):
    """The second batch, which is the second process's, holds a broken image: it says so, and the run ends instead of waiting."""
    (tmp_path / "toy").mkdir()
    save_checkpoint(
        tmp_path / "toy/checkpoint_pretrain_resnet18_s300.pth.tar", {"state_dict_m": build("resnet18", 5).state_dict()}
    )
    command = ["get_all_CE_butterflies", *tools.common(small_root, workers=1), "--mask-sizes", 0.05, "--batch-size", 3]
    done = torchrun(2, command, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "toy/counterfactual_gradcam_img/0.05").glob("*.png"))) == 20
    shutil.rmtree(tmp_path / "toy/counterfactual_gradcam_img")
    fourth = (small_root / "toy/toy_gt_tr.txt").read_text().splitlines()[3].split()[0]
    broken = small_root / fourth.removeprefix("./datasets/")
    broken.chmod(0o644)
    broken.write_bytes(broken.read_bytes()[:200])
    done = torchrun(2, command, tmp_path)
    assert done.returncode != 0
    assert "get_all_CE_butterflies.py: error in process 1: " in done.stderr and "toy_gt_tr.txt, line 4" in done.stderr
    assert "[rank" not in done.stderr  # torch marks tracebacks of processes with it
