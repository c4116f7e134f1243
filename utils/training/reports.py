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
    """Writes `<stem>.csv`, `<stem>_curves.png` and, if test labels are known, `<stem>_confusion.png` and `.csv`.

    Args:
        out: the output folder.
        stem: start of the file names.
        network: the trained classifier.
        test: the test list.
        classes: class names in label order.
        history: result of `train_classifier`.
        recipe: settings of the training.

    Returns:
        The final loss and accuracies in percent, with warnings; None on ranks other than 0.
    """
    answers = evaluation.predict(test_view(network, test, recipe))
    counts = evaluation.confusion(answers, test.labels, len(classes))
    measured = _write_report(Path(out), stem, counts, evaluation.accuracy(answers, test.labels), classes, history)
    warnings = [checks.incomplete_test_list(test, classes), checks.one_answer(counts, classes, test.source)]
    return checks.with_warnings(measured, warnings)


@processes.first_only
def _write_report(
    folder: Path, stem: str, counts: np.ndarray, test_accuracy: float, classes: Sequence[str], history: Sequence[dict]
) -> dict:
    write_history(folder, stem, history)
    measured = {name: history[-1][name] for name in ("loss", "train_accuracy")}
    confusion = folder / f"{stem}_confusion.png"
    if not counts.any():
        figures.remove_matrix(confusion)
        return measured
    figures.confusion_matrix(confusion, counts, classes, f"test list: {test_accuracy:.1f} % correct")
    print(f"Test accuracy {test_accuracy:.2f} %. Confusion matrix: {confusion}")
    return measured | {"test_accuracy": round(test_accuracy, 3)}


@processes.first_only
def write_history(folder: Path, stem: str, history: Sequence[dict]) -> None:
    """Writes the epochs of a training as `<stem>.csv` and `<stem>_curves.png`."""
    write_table(folder / f"{stem}.csv", history)
    figures.training_curves(folder / f"{stem}_curves.png", history)
    print(f"Loss {history[-1]['loss']:.3f} in the last epoch. Curves: {folder / stem}_curves.png")
