"""What a training run leaves to look at: a table, curves, a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from models.resnet import Network
from utils.base import figures, processes
from utils.base.files import write_table
from utils.data.loading import ImageSet
from utils.running import checks
from utils.training import evaluation
from utils.training.classifier import test_view
from utils.training.epochs import Recipe


def report_classifier(
    out: str,
    stem: str,
    network: Network,
    test: ImageSet,
    classes: Sequence[str],
    history: Sequence[dict],
    recipe: Recipe,
) -> dict | None:
    """Writes `<stem>.csv`, `<stem>_curves.png` and, if a class of the test list is known, `<stem>_confusion.png` and `.csv` below `out`.

    Args:
        out: the output folder.
        stem: how the files' names begin.
        network: the trained classifier.
        test: the test list.
        classes: class names in label order.
        history: what `train_classifier` returned.
        recipe: how it was trained.

    Returns:
        What was measured: final loss and accuracies in percent, and what speaks against them; None but in the first process.
    """
    answers = evaluation.predict(test_view(network, test, recipe))
    counts = evaluation.confusion(answers, test.labels, len(classes))
    doubts = [
        checks.incomplete_test_list(test, classes),
        checks.one_answer(counts, classes, test.source),
    ]
    measured = _write_classifier_report(
        Path(out), stem, counts, evaluation.accuracy(answers, test.labels), classes, history
    )
    return checks.with_warnings(measured, doubts)


@processes.first_only
def _write_classifier_report(
    folder: Path, stem: str, counts: np.ndarray, test_accuracy: float, classes: Sequence[str], history: Sequence[dict]
) -> dict:
    write_table(folder / f"{stem}.csv", history)
    figures.training_curves(folder / f"{stem}_curves.png", history)
    last = history[-1]
    measured = {"loss": last["loss"], "train_accuracy": last["train_accuracy"]}
    confusion = folder / f"{stem}_confusion.png"
    if not counts.any():
        figures.remove_matrix(confusion)
        print(f"Picture: {folder / stem}_curves.png")
        return measured
    figures.confusion_matrix(confusion, counts, classes, f"test list: {test_accuracy:.1f} % right")
    print(f"Test accuracy {test_accuracy:.2f} %. Pictures: {folder / stem}_curves.png, {confusion}")
    return measured | {"test_accuracy": round(test_accuracy, 3)}


@processes.first_only
def report_simclr(out: str, stem: str, history: Sequence[dict]) -> dict:
    """Writes `<stem>.csv` and `<stem>_curves.png` below `out`; returns the last loss."""
    folder = Path(out)
    write_table(folder / f"{stem}.csv", history)
    figures.training_curves(folder / f"{stem}_curves.png", history)
    print(f"NT-Xent loss {history[-1]['loss']:.3f}. Picture: {folder / stem}_curves.png")
    return {"loss": history[-1]["loss"]}
