"""Compares our labels with CROWDLAB (cleanlab) and crowd-kit: same teachers, same answers. pytest does not run this.

    python -m venv peers && peers/bin/pip install -r requirements.txt cleanlab crowd-kit
    peers/bin/python -m benchmarks.results --only crowd --data-root datasets --pretrained WEIGHTS
    peers/bin/python -m tests.peers.crowdlab --data-root datasets

Each image has k answers, or as many as were recorded; CROWDLAB needs two. Prints the percentage of right labels, and
how much more ours has: means and standard deviations of the draws.
"""

import argparse
import warnings
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pandas as pd
from cleanlab.multiannotator import get_label_quality_multiannotator
from crowdkit.aggregation import GLAD, DawidSkene, OneCoinDawidSkene

from benchmarks.results import crowd
from utils.data.catalog import find
from utils.people.aggregation import Aggregator, Crowd, aggregate, fit_crowd, taught_prior
from utils.people.answers import read_experiment
from utils.people.teacher import load_teacher

COUNTS = (10, 20)  # expert images per class


def crowdlab(votes, prior):
    """CROWDLAB's labels, with the teacher's probabilities as those of the classifier."""
    table = np.full((len(votes.images), len(votes.people)), np.nan)
    table[votes.image, votes.person] = votes.answer
    table = pd.DataFrame(table[:, ~np.isnan(table).all(0)])  # cleanlab refuses people without answers
    found = get_label_quality_multiannotator(table, prior, verbose=False)
    return found["label_quality"]["consensus_label"].to_numpy()


def crowd_kit(method, votes):
    answers = pd.DataFrame({"task": votes.image, "worker": votes.person, "label": votes.answer})
    return method.fit_predict(answers).reindex(range(len(votes.images))).to_numpy()


def compare(log, count, k, draw, seed):
    """Returns the accuracy (%) of every method on one draw."""
    votes, place = crowd.shuffled(log.votes, np.random.default_rng((seed, draw, 1)))
    votes = crowd.taken(votes, place < k)
    teacher = crowd.draw_teacher(log.teacher, count, seed, draw)
    classes = teacher.classes
    answers = Crowd(votes, log.known, classes)
    plain = Crowd(votes, log.known[:0], classes)  # without lessons, which the peers do not use
    fixed, taught = teacher.prior(votes.images), taught_prior(answers, teacher)
    labels = {
        "ours": fit_crowd(answers, taught, taught).posterior.argmax(1),
        "ours, fixed teacher": fit_crowd(answers, fixed, fixed).posterior.argmax(1),
        "ours, fixed teacher, no lessons": fit_crowd(plain, fixed, fixed).posterior.argmax(1),
        "CROWDLAB": crowdlab(votes, fixed),
    }
    if count == COUNTS[0]:  # the same for all
        labels |= {
            "our dawid_skene": aggregate(votes, classes, log.known, Aggregator("dawid_skene", draw)).label,
            "our one_coin": aggregate(votes, classes, log.known, Aggregator("one_coin", draw)).label,
            "crowd-kit DawidSkene": crowd_kit(DawidSkene(n_iter=100), votes),
            "crowd-kit OneCoinDawidSkene": crowd_kit(OneCoinDawidSkene(n_iter=100), votes),
            "crowd-kit GLAD": crowd_kit(GLAD(), votes),
        }
    return {name: 100 * float((label == log.truth).mean()) for name, label in labels.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data-root", default="datasets")
    parser.add_argument("--out", default="results", help="folder of benchmarks.results, with the teachers' features")
    parser.add_argument("--draws", type=int, default=5)
    how = parser.parse_args()
    warnings.simplefilter("ignore")
    for dataset, experiments in crowd.EXPERIMENTS.items():
        classes = find(dataset, how.data_root).classes
        folders = [Path(how.data_root, "explain_teach", name) for name in experiments]
        answers = [answer for folder in folders for answer in read_experiment(folder, classes)]
        log = crowd.make_log(answers, load_teacher(Path(how.out, "work", dataset, "crowd", "teacher_features.npz")))
        for count in COUNTS:
            for k in (2, 3, 5, 8):
                each = [compare(log, count, k, draw, 0) for draw in range(how.draws)]
                for name in each[0]:
                    values, lead = [one[name] for one in each], [one["ours"] - one[name] for one in each]
                    shown = f"{fmean(values):.1f} ({stdev(values):.1f}) | {fmean(lead):+.1f} ({stdev(lead):.1f})"
                    print(f"| {dataset} | {count} | {k} | {name} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
