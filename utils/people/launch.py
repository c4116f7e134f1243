"""How a script starts and ends that computes nothing: settings in, story told, errors as one sentence; torch is never loaded."""

import sys
from collections.abc import Callable
from pathlib import Path

from utils.base.errors import InputError, RunError
from utils.base.warned import plain_warnings
from utils.running import settings


def launch(main: Callable[..., None], config: type, description: str) -> None:
    """Runs a script as `utils.running.launch.launch` does, but without seed, device and run record.

    Args:
        main: tells the script's story; takes the checked configuration.
        config: the script's settings dataclass.
        description: the script's docstring.
    """
    script = Path(sys.argv[0]).stem
    try:
        with plain_warnings():
            cfg = settings.parse(config, description)
            settings.check(cfg)
            main(cfg)
    except InputError as error:
        _stop(script, error, 2)
    except (RunError, OSError) as error:
        _stop(script, error, 1)
    except KeyboardInterrupt:
        _stop(script, "stopped by Ctrl-C.", 130)


def _stop(script: str, reason: object, status: int) -> None:
    print(f"{script}.py: error: {reason}", file=sys.stderr)
    sys.exit(status)
