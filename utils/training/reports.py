"""Tables and figures of a training run."""

from collections.abc import Sequence
from pathlib import Path

from models.resnet import Network
from utils.base import figures, processes
from utils.base.files import write_table
from utils.data.loading import ImageSet
from utils.running import checks
from utils.training import evaluation
from utils.training.classifier import test_view
from utils.training.epochs import Recipe


def report_classifier(
    out: str, stem: str, network: Network, test: ImageSet, classes: Sequence[str], history: list[dict], recipe: Recipe
) -> dict:
    """Writes the table and curves of a training and, if test labels are known, the confusion matrix of the test list.

    Returns the final loss and accuracies in percent, with warnings.
    """
    answers = evaluation.predict(test_view(network, test, recipe))
    counts = evaluation.confusion(answers, test.labels, len(classes))
    measured = {name: history[-1][name] for name in ("loss", "train_accuracy")}
    write_history(Path(out), stem, history)
    if counts.any():
        correct = measured["test_accuracy"] = round(evaluation.accuracy(answers, test.labels), 3)
        path = Path(out, f"{stem}_confusion.png")
        if processes.is_first():
            figures.confusion_matrix(path, counts, classes, f"test list: {correct:.1f} % correct")
        processes.say(f"Test accuracy {correct:.2f} %. Confusion matrix: {path}")
    warnings = [checks.incomplete_test_list(test, classes), checks.one_answer(counts, classes, test.source)]
    return checks.with_warnings(measured, warnings)


@processes.first_only
def write_history(folder: Path, stem: str, history: Sequence[dict]) -> None:
    """Writes the epochs of a training as `<stem>.csv` and `<stem>_curves.png`."""
    write_table(folder / f"{stem}.csv", history)
    figures.training_curves(folder / f"{stem}_curves.png", history)
    print(f"Loss {history[-1]['loss']:.3f} in the last epoch. Curves: {folder / stem}_curves.png")
