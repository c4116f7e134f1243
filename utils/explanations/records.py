"""Which way of explaining made the explanations in an output folder: what the records of explanation runs say."""

import json
from pathlib import Path

RECORDS = "run_get_all_CE_*.json"
SIMCLR = "_simclr"  # how the names of the SimCLR variant's records and explanation lists end


def last_records(out: str | Path) -> dict[bool, Path]:
    """The records of the runs whose files lie in an output folder: the last of the scripts (False) and of their SimCLR variant (True)."""
    records = sorted(Path(out).glob(RECORDS), key=lambda path: path.stat().st_mtime)
    return {path.stem.endswith(SIMCLR): path for path in records}


def explained_by(ce_list: str | Path) -> str | None:
    """The name of the explainer that made an explanation list; None where no record beside it tells (the paper's lists have none)."""
    record = last_records(Path(ce_list).parent).get(Path(ce_list).stem.endswith(SIMCLR))
    try:
        settings = json.loads(record.read_text(encoding="utf-8"))["settings"] if record else {}
        return str(settings["explanation"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
