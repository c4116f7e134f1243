"""Which way of explaining made the explanations in an output folder: what the records of explanation runs say."""

import json
from pathlib import Path

from utils.data.outputs import run_records, variant_of

EXPLAINING = "get_all_CE_*"  # the scripts that explain


def last_records(out: str | Path) -> dict[str, Path]:
    """The records of the runs whose files lie in an output folder, the last of each variant (as in `Layout.variant`)."""
    records = sorted(run_records(out, EXPLAINING), key=lambda path: path.stat().st_mtime)
    return {variant_of(path.stem): path for path in records}


def explained_by(ce_list: str | Path) -> str | None:
    """The name of the explainer that made an explanation list; None where no record beside it tells (the paper's lists have none)."""
    record = last_records(Path(ce_list).parent).get(variant_of(Path(ce_list).stem))
    try:
        settings = json.loads(record.read_text(encoding="utf-8"))["settings"] if record else {}
        return str(settings["explanation"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
