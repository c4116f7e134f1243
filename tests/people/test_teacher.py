"""The teacher's features, head, temperature and folds, and its file."""

import json
import math
import shutil

import numpy as np
import pytest
import torch

from models.resnet import build
from models.weights import load_backbone
from tests.helpers.drawn_course import write_course
from tests.helpers.runs import content_of
from utils.base.errors import InputError
from utils.data.images import decode, eval_view, whole_view
from utils.data.lists import locate, read_examples
from utils.people.teacher import fit_head, fit_temperature, held_out_logits, load_teacher, make_teacher, save_teacher
from utils.teaching.optimal import learn_head


def make(seed=0, images=23, per_class=6, classes=3, d=8, clear=1.0):
    """A teacher, with raw features of expert and others, and the expert's labels."""
    rng = np.random.default_rng(seed)
    centers, labels = rng.normal(size=(classes, d)) * clear, np.repeat(np.arange(classes), per_class)
    expert = (5 + centers[labels] + rng.normal(size=(len(labels), d))).astype(np.float16)
    others = (5 + centers[rng.integers(classes, size=images)] + rng.normal(size=(images, d))).astype(np.float16)
    paths = [f"image {number}" for number in range(images)]
    return make_teacher(expert, labels, paths, others, classes), expert, others, labels


def probabilities(logits):
    """Softmax with a floor of 1e-6, by loops."""
    rows = [[math.exp(z - max(row)) for z in row] for row in logits.tolist()]
    rows = [[e / sum(row) + 1e-6 for e in row] for row in rows]
    return np.array([[e / sum(row) for e in row] for row in rows])


def test_features_are_standardized_by_the_experts():
    (teacher, right), expert, others, labels = make()
    mean = expert.astype(float).mean(0)
    norm = np.mean([math.sqrt(((row - mean) ** 2).sum()) for row in expert.astype(float)])
    for found, raw in ((teacher.expert, expert), (teacher.features, others)):
        assert found.dtype == np.float16 and found == pytest.approx((raw.astype(float) - mean) / norm, abs=2e-3)
    assert 0 <= right <= 100 and teacher.expert_labels.tolist() == labels.tolist()
    images = ["image 7", "image 2"]
    logits = teacher.features[[7, 2]].astype(float) @ teacher.head.T / teacher.temperature
    assert teacher.prior(images) == pytest.approx(probabilities(logits), rel=1e-9)


def test_the_head_is_the_minimum():
    """The penalized risk, by loops over classes, is higher at all of many points nearby."""
    rng = np.random.default_rng(1)
    features, targets = rng.normal(size=(12, 4)), rng.dirichlet(np.ones(3), 12)

    def loss(head):
        risks = [
            targets[i, c] * sum(math.exp((z[k] - z[c]) / 2) for k in range(3) if k != c)
            for i, z in enumerate(features @ head.T)
            for c in range(3)
        ]
        return sum(risks) / 12 + 1e-3 * (head**2).sum()

    head = fit_head(features.astype(np.float16), targets, 3)
    features = features.astype(np.float16).astype(float)
    assert all(loss(head + rng.normal(size=head.shape) * 1e-2) > loss(head) for _ in range(50))


def test_held_out_images_are_judged_by_the_heads_of_other_folds():
    """Seven, five and four images of three classes, in mixed order: four folds, each with every class."""
    rng = np.random.default_rng(0)
    labels = rng.permutation([0] * 7 + [1] * 5 + [2] * 4)
    features = rng.normal(size=(16, 5)) + 2 * np.eye(3, 5)[labels]
    found, place = held_out_logits(features, labels, 3), np.empty(16, int)
    place[sorted(range(16), key=lambda number: (labels[number], number))] = range(16)
    for number, (label, fold) in enumerate(zip(labels, place % 4, strict=True)):
        others = place % 4 != fold
        shares = [int((~others & (labels == one)).sum()) for one in range(3)]
        assert shares[0] in (1, 2) and shares[1] in (1, 2) and shares[2] == 1 and not others[number]
        seen = torch.from_numpy(features[others]), torch.from_numpy(labels[others])
        head = learn_head(*seen, 3, 1e-3).numpy()
        assert found[number] == pytest.approx(head @ features[number], abs=0.02), label


def test_the_temperature_is_the_best_of_a_grid_and_bounded():
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=200)
    logits = 6 * (np.eye(4)[labels] + rng.normal(size=(200, 4)))

    def loss(t):
        z = logits / t
        return np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(200), labels])

    grid = np.exp(np.linspace(math.log(0.3), math.log(20), 2001))
    best = fit_temperature(logits, labels)
    assert 1 < best < 19 and best == pytest.approx(grid[np.argmin([loss(t) for t in grid])], rel=3e-3)
    assert fit_temperature(3.0 * np.eye(4)[labels], labels) == pytest.approx(0.3, rel=1e-3)
    assert fit_temperature(1e3 * np.eye(4)[(labels + 1) % 4], labels) == pytest.approx(20, rel=1e-3)


def test_no_image_is_judged_by_a_head_that_learned_its_own_answers():
    (teacher, _), *_ = make()
    images = [f"image {number}" for number in range(22, -1, -1)]
    rng = np.random.default_rng(3)
    posterior, answered = rng.dirichlet(np.ones(3), 23), np.arange(23) % 3 > 0
    before = teacher.taught_prior(images, posterior, answered)
    for changed in (8, 9):
        other = posterior.copy()
        other[changed] = np.roll(other[changed], 1)
        same = (teacher.taught_prior(images, other, answered) == before).all(1)
        assert same.tolist() == [not answered[changed] or n % 5 == changed % 5 for n in range(23)]
    for n in (0, 8, 22):  # by hand
        others = [m for m in range(23) if answered[m] and m % 5 != n % 5]
        seen = np.vstack([teacher.expert, teacher.features[[22 - m for m in others]]]).astype(float)
        targets = torch.from_numpy(np.vstack([np.eye(3)[teacher.expert_labels], posterior[others]]))
        head = learn_head(torch.from_numpy(seen), targets, 3, 1e-3).numpy()
        logits = teacher.features[22 - n].astype(float) @ head.T / teacher.temperature
        assert before[n] == pytest.approx(probabilities(logits[None])[0], abs=1e-3)
    nobody = teacher.taught_prior(images, posterior, np.zeros(23, bool))
    assert nobody == pytest.approx(teacher.prior(images), abs=1e-3)


def test_a_class_with_a_single_image_leaves_the_temperature_at_1():
    rng = np.random.default_rng(0)
    expert, labels = rng.normal(size=(5, 4)).astype(np.float16), np.array([0, 0, 1, 1, 2])
    teacher, right = make_teacher(expert, labels, ["a"], expert[:1], 3)
    assert (teacher.temperature, right) == (1.0, None)
    same, _ = make_teacher(np.ones((3, 4), np.float16), np.arange(3), ["a"], np.ones((1, 4), np.float16), 3)
    assert same.prior(["a"]) == pytest.approx(1 / 3)  # features without any variance


def test_a_prior_never_excludes_a_class():
    (teacher, _), *_ = make(clear=30)
    sure = teacher._replace(head=teacher.head * 1e4)
    prior = sure.prior(list(teacher.paths))
    assert np.isfinite(np.log(prior)).all() and prior.min() > 9e-7 and prior.sum(1) == pytest.approx(1)


def test_a_teacher_is_read_as_it_was_saved(tmp_path):
    """If two lists share an image, the last row counts."""
    (teacher, _), *_ = make()
    rows = {"a": 3, "b": 1}
    for number, one in enumerate((teacher, teacher._replace(paths=rows))):
        path = tmp_path / f"{number}.npz"
        save_teacher(path, one)
        read = load_teacher(path)
        images = list(one.paths)
        assert np.array_equal(read.prior(images), one.prior(images)) and read.features.dtype == np.float16
        assert (list(read.paths), read.temperature) == (images, one.temperature)
        assert np.array_equal(read.expert, one.expert) and np.array_equal(read.head, one.head)
    save_teacher(tmp_path / "again.npz", teacher)
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "0.npz").read_bytes()
    assert load_teacher(tmp_path / "missing.npz") is None


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "teacher_features.npz"
    save_teacher(path, make()[0][0])
    whole = path.read_bytes()
    np.savez(tmp_path / "other.npz", head=np.zeros(3))
    np.save(tmp_path / "array.npy", np.zeros(3))
    others = ((tmp_path / name).read_bytes() for name in ("other.npz", "array.npy"))
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :]
    for content in (b"", whole[:-300], whole[:99], flipped, b"no archive", *others):
        path.write_bytes(content)
        with pytest.raises(InputError, match=r"teacher_features.npz is damaged \(\w+\). Build the page again"):
            load_teacher(path)


# ---------------------------------------------------------------- teach.py


@pytest.fixture(scope="module")
def work(data_root, weights, tmp_path_factory):
    """A working folder with a drawn course that names its network."""
    folder = tmp_path_factory.mktemp("teacher")
    course = write_course(folder, data_root)
    course["network"] = {"arch": "resnet18", "pretrained": str(weights), "normalize": "none", "image_size": 64}
    (folder / "toy/course_CMaxGrad.json").write_text(json.dumps(course))
    return folder


@pytest.fixture
def teach(data_root, tools):
    def run(folder, *settings):
        parts = "--test-images 5 --label-images 4 --image-size 64 --workers 1 --device cpu --batch-size 7".split()
        return tools.call("teach", "--dataset", "toy", "--data-root", data_root, *parts, *settings, cwd=folder)

    return run


def test_features_are_those_of_the_network_of_the_course(work, teach, data_root, weights):
    """All test and rest images by the test view, the expert's whole; normalized as the course says."""
    done = teach(work)
    assert done.status == 0, done.err
    teacher = load_teacher(work / "toy/teacher_features.npz")
    lists = [read_examples(data_root / f"toy/toy_gt_{name}.txt", 5) for name in ("tr", "te", "rest_tr")]
    network = build("resnet18", 0)
    load_backbone(network, str(weights), "none")
    network.eval()

    @torch.no_grad()
    def encoded(rows, view):
        pixels = torch.stack([view(decode(locate(row.path, data_root), ""), 64) for row in rows]) / 255
        return network.feature_map(pixels).mean((2, 3)).numpy()

    expert = encoded(lists[0], whole_view)
    others = [*lists[1], *lists[2]]
    raw, labels = encoded(others, eval_view), np.array([row.label for row in lists[0]])
    expected, right = make_teacher(expert, labels, [row.path for row in others], raw, 5)
    assert list(teacher.paths) == [row.path for row in others] and teacher.expert_labels.tolist() == labels.tolist()
    for found, wanted in ((teacher.expert, expected.expert), (teacher.features, expected.features)):
        assert found.astype(float) == pytest.approx(wanted.astype(float), abs=0.02)
    measured = json.loads((work / "toy/run_teach.json").read_text())["measured"]
    assert measured["teacher_accuracy"] == pytest.approx(right, abs=11)  # one or two of twenty images
    assert f"should be right on {measured['teacher_accuracy']:.1f} % of the images" in done.out


def test_without_weights_there_is_no_teacher_and_the_page_is_the_same(work, teach, tmp_path):
    """An earlier file is removed. Weights that --pretrained names must exist."""
    shutil.copytree(work, tmp_path / "work")
    folder, remark = tmp_path / "work", "The labels will be made without a teacher"
    file, path = folder / "toy/teacher_features.npz", folder / "toy/course_CMaxGrad.json"
    assert remark not in teach(folder).out and file.exists()
    page = content_of(folder / "toy/course_page")
    assert not [name for name in page if "teacher" in name] and b"teacher_features" not in b"".join(page.values())
    done = teach(folder, "--pretrained", "none")
    assert (done.status, done.out.count(remark), file.exists()) == (0, 1, False)
    assert content_of(folder / "toy/course_page") == page
    assert "teacher_accuracy" not in json.loads((folder / "toy/run_teach.json").read_text())["measured"]
    course = json.loads(path.read_text())
    for network in (course["network"] | {"pretrained": "missing.pth"}, None):
        file.write_bytes(b"of an earlier page")
        path.write_text(json.dumps({name: value for name, value in course.items() if network or name != "network"}))
        if network:
            path.write_text(json.dumps(course | {"network": network}))
        done = teach(folder)
        assert (done.status, done.out.count(remark), file.exists()) == (0, 1, False)
        assert ("missing.pth" in done.out) == bool(network)
    done = teach(folder, "--pretrained", "missing.pth")
    assert done.status == 2 and "--pretrained: cannot read missing.pth" in done.err
