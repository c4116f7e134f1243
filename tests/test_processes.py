"""Several ranks give the results of one process; a rank that fails ends the run."""

import json
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
from tests.helpers.drawn_course import write_course
from tests.helpers.runs import content_of, forker
from utils.base.machine import threads
from utils.data import catalog
from utils.data.images import eval_view, full_view
from utils.data.loading import open_list, to_float
from utils.training import evaluation
from utils.training.classifier import ClassifierRecipe, random_load
from utils.training.epochs import epoch_order
from utils.training.features import FeatureMaps
from utils.training.simclr import SimCLRRecipe, simclr_load


@contextmanager
def starter(narrower):
    """Yields start(count, command, folder): runs a script on `count` ranks with `narrower` times narrower networks."""
    with forker(NARROWER=str(narrower)) as fork:

        def start(count, command, cwd, succeeds=True, **order):
            cwd.mkdir(exist_ok=True)
            done = fork(command, cwd, processes=count, **order)
            assert not succeeds or done.status == [0] * count, done.err
            return done

        yield start


@pytest.fixture(scope="module")
def start():
    with starter(narrower=8) as run:
        yield run


@pytest.fixture(scope="module")
def start_wide():
    with starter(narrower=1) as run:
        yield run


@pytest.fixture(scope="module")
def explained(start, data_root, tools, tmp_path_factory):
    """Folder of a teacher and explanations by one process, and the commands."""
    folder, tiny = tmp_path_factory.mktemp("one"), tools.common(data_root, workers=1)
    start(1, ["train_butterflies_resnet18", *tiny, "--epochs", 1, "--batch-size", 20, "--lr", 0.01], folder)
    explain = ["get_all_CE_butterflies", *tiny, "--mask-sizes", 0.3, 0.05, "--batch-size", 3]
    start(1, explain, folder)
    return SimpleNamespace(folder=folder, explain=explain, tiny=tiny)


def test_explanations_are_the_same_bytes(start, explained, tmp_path):
    name = "toy/checkpoint_pretrain_resnet18_s300.pth.tar"
    (tmp_path / "toy").mkdir()
    shutil.copyfile(explained.folder / name, tmp_path / name)
    done = start(3, explained.explain, tmp_path)
    one, three = content_of(explained.folder / "toy"), content_of(tmp_path / "toy")
    assert [file for file in three if one[file] != three[file]] == []
    assert all(file.startswith("teacher") for file in one.keys() - three.keys())
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
    settings = ["--ce-list", "./toy/toy_gt_CE.txt", "--out", "course", "--pretrained", "none", "--iterations", 2]
    command = ["train_butterflies_CMaxGrad", *explained.tiny, *settings, "--steps", 2, "--batch-size", 7, *arguments]
    contents = []
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "toy").symlink_to(explained.folder / "toy")
        start(count, command, folder)
        contents.append(content_of(folder / "course"))
    assert contents[0] == contents[1]
    assert json.loads((tmp_path / "2/course/run_train_butterflies_CMaxGrad.json").read_text())["processes"] == 2


def test_a_linear_head_is_the_same_up_to_rounding(start, explained, tmp_path):
    settings = ["--pretrained", "none", "--epochs", 2, "--batch-size", 7, "--lr", 0.1]
    heads = []
    for count in (1, 2):
        start(count, ["train_gull_resnet18_linear", *explained.tiny, *settings], tmp_path / str(count))
        path = tmp_path / str(count) / "toy/checkpoint_pretrain_resnet18_linear.pth.tar"
        heads.append(torch.load(path, weights_only=True)["state_dict_m"])
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-4, atol=1e-6)


def padded_parts(batch):
    """Parts of a batch on two ranks, without and with padding."""
    parts = batch[::2], batch[1::2]
    return [(part, part + batch[:1] * (len(parts[0]) - len(part))) for part in parts]


def images_and(recipe, data_root, tools, **more):
    common = dict(epochs=1, batch_size=9, lr=0.01, image_size=tools.size, crop_scale=0.08, seed=0, workers=0)
    settings = common | {"device": "cpu", "weight_decay": 0.0} | more
    return open_list(catalog.find("toy"), "train", str(data_root), full_view), recipe(**settings)


def test_the_gradient_of_two_ranks_is_that_of_the_batch(start_wide, explained, weights, data_root, tools, tmp_path):
    """Two batches of 11 and 9 images. Batch norm sees the parts; the gradient is that of the whole batch."""
    settings = ["--epochs", 1, "--batch-size", 11, "--lr", 0.01, "--weight-decay", 0, "--momentum", 0]
    start_wide(2, ["train_butterflies_resnet18", *explained.tiny, *settings, "--pretrained", weights], tmp_path)
    # Batch norm over few pixels multiplies rounding errors by a thousand, so both use one thread.
    with threads(1):
        images, recipe = images_and(ClassifierRecipe, data_root, tools, momentum=0.0, milestones=(), eval_every=1)
        torch.manual_seed(0)  # as the script seeds its head
        network = build("resnet18", 5)
        load_backbone(network, str(weights))
        network.train()
        optimizer = torch.optim.SGD(network.parameters(), recipe.lr)
        order = epoch_order(images, recipe, 1)
        for batch in (order[:11], order[11:]):
            optimizer.zero_grad()
            before, after = {name: value.clone() for name, value in network.named_buffers()}, []
            for part, padded in padded_parts(batch):
                network.load_state_dict(before, strict=False)
                pixels = torch.stack([random_load(images, recipe, 1, number) for number in padded])
                logits = network(to_float(pixels, "cpu")).logits[: len(part)]
                (F.cross_entropy(logits, images.labels[part], reduction="sum") / len(batch)).backward()
                after.append({name: value.clone() for name, value in network.named_buffers()})
            network.load_state_dict(after[0], strict=False)  # the statistics are those of rank 0
            optimizer.step()
    found = torch.load(tmp_path / "toy/checkpoint_pretrain_resnet18_s300.pth.tar", weights_only=True)["state_dict_m"]
    torch.testing.assert_close(found, dict(network.state_dict()), rtol=1e-3, atol=2e-5)


def test_the_reported_accuracy_is_that_of_the_saved_network(start_wide, explained, data_root, tools, tmp_path):
    """Each rank tests its share of the list with the batch-norm statistics of rank 0."""
    settings = ["--epochs", 2, "--batch-size", 10, "--lr", 0.003, "--eval-every", 2, "--seed", 2]
    start_wide(2, ["train_butterflies_resnet18", *explained.tiny, *settings], tmp_path)
    out, dataset = tmp_path / "toy", catalog.find("toy")
    test = open_list(dataset, "test", str(data_root), partial(eval_view, size=tools.size))
    network = load_classifier(str(out / "checkpoint_pretrain_resnet18_s300.pth.tar"), dataset.classes)
    answers = evaluation.predict(FeatureMaps(network, test, len(test), 1, "cpu"))
    accuracy = round(evaluation.accuracy(answers, test.labels), 3)
    record = json.loads((out / "run_train_butterflies_resnet18.json").read_text())
    assert record["measured"]["test_accuracy"] == accuracy
    assert float((out / "teacher.csv").read_text().splitlines()[-1].split(",")[-1]) == accuracy


def test_simclr_contrasts_the_images_of_all_ranks(start_wide, explained, data_root, tools, tmp_path):
    """The losses of two epochs, the second after Adam's steps of the first."""
    settings = ["--epochs", 2, "--batch-size", 13, "--lr", 1e-3]
    start_wide(2, ["train_gull_simclr", *explained.tiny, *settings], tmp_path)
    images, recipe = images_and(SimCLRRecipe, data_root, tools, temperature=0.5)
    torch.manual_seed(0)
    model = SimCLR().train()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    losses = []
    for epoch in (1, 2):
        order, total = epoch_order(images, recipe, epoch), 0
        for batch in (order[:13], order[13:]):
            projections = {}
            for part, padded in padded_parts(batch):
                views = torch.cat([simclr_load(images, recipe, epoch, number) for number in padded])
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
    assert [float(row.split(",")[1]) for row in rows] == pytest.approx(losses, rel=2e-3)
    assert abs(losses[0] - losses[1]) > 0.02 * losses[0]  # the steps matter


def test_the_simclr_variant_is_the_same_bytes(start, explained, tmp_path):
    start(1, ["train_gull_simclr", *explained.tiny, "--epochs", 1, "--batch-size", 10], tmp_path / "1")
    shutil.copytree(tmp_path / "1", tmp_path / "2")
    probe = ["--checkpoint", "{out}/simclr_checkpoint_1.tar", "--probe-epochs", 20, "--batch-size", 7]
    for count in (1, 2):
        start(count, ["get_all_CE_gull_simclr", *explained.tiny, *probe], tmp_path / str(count))
    assert content_of(tmp_path / "1") == content_of(tmp_path / "2")


def test_the_page_and_the_teacher_are_the_same_bytes(start, explained, data_root, tmp_path):
    settings = ["--test-images", 5, "--label-images", 4, "--batch-size", 7, "--device", "cpu", "--workers", 1]
    settings += ["--pretrained", explained.folder / "toy/checkpoint_pretrain_resnet18_s300.pth.tar"]
    for count in (1, 2):
        folder = tmp_path / str(count)
        folder.mkdir()
        write_course(folder, data_root)
        done = start(count, ["teach", "--dataset", "toy", "--data-root", data_root, *settings], folder)
        assert "teacher alone should be right" in done.out[0] and not any(done.out[1:])
    assert content_of(tmp_path / "1") == content_of(tmp_path / "2")


@pytest.mark.parametrize("script", ["train_gull_simclr", "train_butterflies_resnet18"])
def test_a_killed_run_resumes_with_the_same_number_of_ranks(script, start, explained, tmp_path):
    command = [script, *explained.tiny, "--epochs", 4, "--batch-size", 10, "--lr", 0.003]
    whole = start(2, command, tmp_path / "whole")
    assert "strides" not in whole.err[0]
    state = f"toy/.unfinished_{script}/state.pt"
    cut = start(2, command, tmp_path / "cut", False, watched=state, versions=3)  # killed after one or two epochs
    assert cut.status == [-signal.SIGKILL] * 2, cut.err
    learned = len(torch.load(tmp_path / "cut" / state, weights_only=True)["state"]["history"])
    other = start(1, [*command, "--resume"], tmp_path / "cut", False)
    assert other.status == [2] and "processes (was 2, is 1)" in other.err[0]
    done = start(2, [*command, "--resume"], tmp_path / "cut")
    assert 2 <= learned < 4 and f" {20 * learned}/80 " in done.err[0].split("\r")[1], done.err
    assert content_of(tmp_path / "cut") == content_of(tmp_path / "whole")


def test_torchrun_and_a_rank_that_fails(small_root, tools, tmp_path):
    """The second rank finds a damaged image and reports it."""
    repository = Path(__file__).parent.parent
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    settings = [*tools.common(small_root, workers=1), "--mask-sizes", 0.05, "--batch-size", 3]
    command = [*torchrun, repository / "get_all_CE_butterflies.py", *settings]

    def run():
        return subprocess.run(list(map(str, command)), cwd=tmp_path, capture_output=True, text=True, timeout=200)

    (tmp_path / "toy").mkdir()
    weights = build("resnet18", 5).state_dict()
    save_checkpoint(tmp_path / "toy/checkpoint_pretrain_resnet18_s300.pth.tar", {"state_dict_m": weights})
    done = run()
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "toy/counterfactual_gradcam_img/0.05").glob("*.png"))) == 20
    shutil.rmtree(tmp_path / "toy/counterfactual_gradcam_img")
    fourth = (small_root / "toy/toy_gt_tr.txt").read_text().splitlines()[3].split()[0]
    damaged = small_root / fourth.removeprefix("./datasets/")
    damaged.chmod(0o644)
    damaged.write_bytes(damaged.read_bytes()[:200])
    done = run()
    assert done.returncode != 0 and "toy_gt_tr.txt, line 4" in done.stderr
    assert "[rank" not in done.stderr  # torch's mark of tracebacks
