"""How every script starts and ends: settings in, story told, record written; errors as one sentence."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

from utils import devices, records, settings
from utils.errors import InputError, RunError
from utils.files import output_folder


def launch(main: Callable[..., dict], config: type, description: str) -> None:
    """Runs a script.

    Args:
        main: tells the script's story; takes the resolved configuration, returns what it measured (JSON values).
        config: the script's settings dataclass.
        description: the script's docstring.

    The process ends with status 0, 2 (wrong input), 1 (the run went wrong) or 130 (Ctrl-C), and without a traceback unless
    the fault is ours.
    """
    script = Path(sys.argv[0]).stem
    try:
        cfg = settings.resolve(settings.parse(config, description))
        output_folder(cfg.out)
        devices.make_repeatable(cfg.seed)
        started = time.perf_counter()
        measured = main(cfg)
        measured["seconds"] = round(time.perf_counter() - started, 2)
        print(f"Settings and measurements: {records.write_run_record(script, cfg, measured)}")
    except InputError as error:
        _stop(script, error, 2)
    except (RunError, OSError) as error:
        _stop(script, error, 1)
    except KeyboardInterrupt:
        _stop(script, "stopped by Ctrl-C.", 130)


def _stop(script: str, reason: object, status: int) -> None:
    print(f"{script}.py: error: {reason}", file=sys.stderr)
    sys.exit(status)
