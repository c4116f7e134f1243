"""Tables and figures of a training run."""

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
    """Writes `<stem>.csv`, `<stem>_curves.png` and, if test labels are known, `<stem>_confusion.png` and `.csv` to `out`.

    Returns:
        The final loss and accuracies in percent, with warnings.
    """
    answers = evaluation.predict(test_view(network, test, recipe))
    counts = evaluation.confusion(answers, test.labels, len(classes))
    measured = {name: history[-1][name] for name in ("loss", "train_accuracy")}
    if counts.any():
        measured["test_accuracy"] = round(evaluation.accuracy(answers, test.labels), 3)
    if processes.is_first():
        write_history(Path(out), stem, history)
        _write_confusion(Path(out, f"{stem}_confusion.png"), counts, classes, measured)
    warnings = [checks.incomplete_test_list(test, classes), checks.one_answer(counts, classes, test.source)]
    return checks.with_warnings(measured, warnings)


def _write_confusion(path: Path, counts: np.ndarray, classes: Sequence[str], measured: dict) -> None:
    if not counts.any():
        figures.remove_matrix(path)
        return
    accuracy = measured["test_accuracy"]
    figures.confusion_matrix(path, counts, classes, f"test list: {accuracy:.1f} % correct")
    print(f"Test accuracy {accuracy:.2f} %. Confusion matrix: {path}")


@processes.first_only
def write_history(folder: Path, stem: str, history: Sequence[dict]) -> None:
    """Writes the epochs of a training as `<stem>.csv` and `<stem>_curves.png`."""
    write_table(folder / f"{stem}.csv", history)
    figures.training_curves(folder / f"{stem}_curves.png", history)
    print(f"Loss {history[-1]['loss']:.3f} in the last epoch. Curves: {folder / stem}_curves.png")
