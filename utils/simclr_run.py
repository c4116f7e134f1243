"""The SimCLR variant from start to finish, for all its scripts: pre-training, and explanations by the features it gave."""

from functools import partial
from pathlib import Path

from models.simclr import SimCLR, load_encoder, save_simclr
from utils.explaining import ExplainSettings, explain_list, explanation_files
from utils.images import full_view, whole_view
from utils.layout import Layout
from utils.loading import open_list
from utils.probing import ProbeSettings, add_linear_probe, linear_head
from utils.reports import report_simclr
from utils.resuming import resumable
from utils.settings import chosen_dataset, pick
from utils.training import SimCLRRecipe, train_simclr


def run_simclr(cfg) -> dict:
    """Pre-trains SimCLR on a training list, without its labels, and writes checkpoint, table and curve.

    Args:
        cfg: the resolved settings of a pre-training script.

    Returns:
        What was measured.
    """
    images = open_list(chosen_dataset(cfg), "train", cfg.data_root, full_view, labels=False)
    model = SimCLR()
    checkpoint = Path(cfg.out) / f"simclr_checkpoint_{cfg.epochs}.tar"
    with resumable(cfg, [checkpoint]) as unfinished:
        history = train_simclr(model, images, pick(SimCLRRecipe, cfg), unfinished)
        save_simclr(checkpoint, model)
        return report_simclr(cfg.out, "simclr", history)


def run_simclr_explanations(cfg) -> dict:
    """Fits a linear head on a frozen SimCLR encoder and explains the training list by the two.

    Args:
        cfg: the resolved settings of an explanation script of the SimCLR variant.

    Returns:
        What was measured.
    """
    dataset = chosen_dataset(cfg)
    # The encoder looks at each image once or twice, so none is held: the list may be longer than memory.
    images = open_list(dataset, "train", cfg.data_root, partial(whole_view, size=cfg.image_size), budget=0)
    test = open_list(dataset, "test", cfg.data_root, partial(whole_view, size=cfg.image_size), budget=0)
    layout = Layout(Path(cfg.out), dataset.list_stem, simclr=True)
    teacher = load_encoder(cfg.checkpoint)
    how = pick(ExplainSettings, cfg)
    with resumable(cfg, explanation_files(layout, images.rows, len(dataset.classes), how)) as unfinished:
        if unfinished.state and layout.probe.exists():
            teacher.fc = linear_head(unfinished.state["head"])
        else:
            measured = add_linear_probe(teacher, images, test, dataset.classes, layout.probe, pick(ProbeSettings, cfg))
            unfinished.state = {"head": teacher.fc.state_dict(), "measured": measured}
            unfinished.save(unfinished.state)
        explained = explain_list(teacher, images, layout, dataset.classes, how, unfinished)
        return unfinished.state["measured"] | (explained or {})
