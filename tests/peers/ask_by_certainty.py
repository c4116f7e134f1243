"""Simulated people label butterflies_s300 through the running server: by certainty, and evenly 4 times per image.

    python -m tests.peers.ask_by_certainty --data-root ../shared/data --weights ../shared/weights/resnet18_imagenet.pt

Thirty people answer 20 test images and then label, one image in `--seconds` each. Each has the confusion matrix of a
random person of the public butterfly logs (test answers, shrunk to the crowd as in our model). There are 10 expert
images per class. By certainty, people give a third of the answers at most. The model of label.py then makes all labels.
Features are kept in --cache. Draws run at the same time; each takes 6 minutes.
"""

import argparse
import json
import signal
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from models.resnet import build
from models.weights import load_backbone
from tests.helpers.collecting import Process, opaque, sent_trial
from utils.data import catalog
from utils.data.images import eval_view, whole_view
from utils.data.loading import open_list
from utils.data.outputs import Layout
from utils.people.aggregation import SHRINK, Aggregator
from utils.people.answers import read_answers, read_experiment
from utils.people.labelling import aggregate_parts, describe_all
from utils.people.page_key import read_page_key
from utils.people.teacher import load_teacher, make_teacher, save_teacher
from utils.training.features import FeatureMaps

PEOPLE, TESTED, EXPERT, EVEN = 30, 20, 10, 4
SPLITS = {"train": whole_view, "test": eval_view, "rest": eval_view}


def material(args):
    """Returns the features, labels and paths of each list, and the confusion matrices of the people of the logs."""
    dataset = catalog.find("butterflies_s300", args.data_root)
    images = {name: open_list(dataset, name, args.data_root, partial(view, size=224)) for name, view in SPLITS.items()}
    if not args.cache.exists():
        network = build("resnet18", 0)
        load_backbone(network, args.weights, "auto")
        network.eval().freeze_backbone()
        maps = {name: FeatureMaps(network, some, 64, 1, "cpu", budget=0) for name, some in images.items()}
        np.savez(args.cache, **{name: some.pooled().half().numpy() for name, some in maps.items()})
    features = dict(np.load(args.cache))
    lists = {
        name: (features[name], some.labels.numpy(), [row.path for row in some.rows]) for name, some in images.items()
    }
    answers = read_experiment(Path(args.data_root, "explain_teach/butterflies_crop"), dataset.classes)
    names = sorted({answer.person for answer in answers})
    counts = np.zeros((len(names), 5, 5))
    for answer in answers:
        if answer.phase == "test":
            counts[names.index(answer.person), answer.truth, answer.response] += 1
    crowd = counts.sum(0) / counts.sum((0, 2))[:, None]
    matrices = counts + SHRINK * crowd
    return dataset, lists, matrices / matrices.sum(2, keepdims=True)


def write_page(out, dataset, lists, teacher, draw):
    """Writes a course page without pictures, its key and the teacher."""
    images = {}
    tested = set(draw.permutation(len(lists["test"][1]))[:TESTED].tolist())
    for phase, split in (("test", "test"), ("label", "rest")):
        for number, (label, path) in enumerate(zip(*lists[split][1:], strict=True)):
            if phase == "label" or number in tested:
                images[opaque(phase, number)] = {"phase": phase, "path": path, "label": int(label), "index": number}
    head = {"build_id": opaque("peers"), "dataset": dataset.name, "classes": dataset.classes}
    (out / "course_page").mkdir(parents=True)
    (out / "course_page/data.js").write_text(f"window.COURSE = {json.dumps(head)};\n")
    (out / "course_page_key.json").write_text(json.dumps({**head, "images": images}))
    save_teacher(out / "teacher_features.npz", teacher)
    return SimpleNamespace(out=out, key={"images": images}, build_id=head["build_id"])


def collect(page, matrices, seed, most, seconds, *settings):
    """Returns the accuracy of the labels after some numbers of answers, up to `most`, and the number of answers."""
    server, found, given, lock = Process(page, *settings), {}, 0, threading.Lock()
    marks = [most // 4, most // 2, most]

    def take(number):
        nonlocal given
        draw = np.random.default_rng((seed, number))

        def answer(person, names):
            truths = [page.key["images"][name]["label"] for name in names]
            responses = [int(draw.choice(5, p=matrices[number, truth])) for truth in truths]
            trials = [sent_trial(page, *pair) for pair in zip(names, responses, strict=True)]
            return len(server.post("/api/trials", participant=person, trials=trials)["stored"])

        person = server.post("/api/join")["participant"]
        answer(person, [name for name, image in page.key["images"].items() if image["phase"] == "test"])
        while given < most and (image := server.post("/api/next", participant=person)["image"]):
            time.sleep(seconds * draw.uniform(0.5, 1.5))
            with lock:
                given += given < most and answer(person, [image])
                if given in marks and given not in found:
                    found[given] = server.request("GET", f"/export.json?token={server.token}")[1]

    with ThreadPoolExecutor(PEOPLE) as pool:
        list(pool.map(take, range(PEOPLE)))
    found[given] = server.request("GET", f"/export.json?token={server.token}")[1]
    server.stop(signal.SIGINT)
    return {number: accuracy(page, content) for number, content in sorted(found.items())}


def accuracy(page, content, method="teacher"):
    """Returns the percentage of labels that are right with label.py's model."""
    path = page.out / f"answers_{threading.get_ident()}.json"
    path.write_bytes(content)
    layout = Layout(page.out)
    key = read_page_key(layout)
    answers, _ = read_answers([path], key)
    how = Aggregator(method, 0, load_teacher(layout.teacher_features))
    part = aggregate_parts(answers, describe_all(answers, 0), key, how)["label"]
    return 100 * float((part.labels.label == part.truth).mean())


def one_draw(args, dataset, lists, people, seed):
    draw = np.random.default_rng(seed)
    features, labels, _ = lists["train"]
    expert = np.concatenate([draw.permutation(np.flatnonzero(labels == label))[:EXPERT] for label in range(5)])
    others = np.concatenate([lists[split][0] for split in ("test", "rest")])
    paths = [path for split in ("test", "rest") for path in lists[split][2]]
    teacher, _ = make_teacher(features[expert], labels[expert], paths, others, 5)
    believed = teacher.prior(lists["rest"][2]).argmax(1)
    matrices = people[draw.permutation(len(people))[:PEOPLE]]
    most = EVEN * len(believed)
    with tempfile.TemporaryDirectory() as folder:
        pages = [write_page(Path(folder, name), dataset, lists, teacher, draw) for name in ("even", "certain")]
        even = collect(pages[0], matrices, seed, most, 0, "--order", "even", "--labels-per-image", EVEN)
        certain = collect(pages[1], matrices, seed, most // 3, args.seconds)
    alone = 100 * float((believed == lists["rest"][1]).mean())
    print(f"draw {seed}: people {100 * np.trace(matrices.mean(0)) / 5:.1f}, teacher {alone:.1f}", flush=True)
    for name, curve in (("evenly", even), ("by certainty", certain)):
        shown = ", ".join(f"{number} answers {right:.1f}" for number, right in curve.items())
        print(f"draw {seed}: {name}: {shown}", flush=True)
    return even[max(even)], certain[max(certain)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--cache", type=Path, default=Path(tempfile.gettempdir(), "ask_by_certainty.npz"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0)
    args = parser.parse_args()
    shared = material(args)
    with ThreadPoolExecutor(args.seeds) as pool:
        results = np.array(list(pool.map(lambda seed: one_draw(args, *shared, seed), range(args.seeds))))
    print("mean and standard deviation: evenly, by certainty:", results.mean(0).round(2), results.std(0).round(2))
    assert results[:, 1].mean() >= results[:, 0].mean()


if __name__ == "__main__":
    main()
