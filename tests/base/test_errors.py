"""One-line warnings, and names that a terminal cannot print."""

import io
import sys
import warnings
from dataclasses import dataclass

import pytest

from utils.base.errors import InputError, first_of, plain_warnings, printable
from utils.running import settings
from utils.running.launch import launch


@dataclass(frozen=True)
class NoSettings:
    """Settings of a script without any."""


def test_names_in_messages():
    assert first_of(["a", "b", "c"], 3) == "a, b, c" and first_of(["a", "b", "c"], 1) == "a and 2 more"
    assert printable("a\u00a0b\n蝶") == "a\\xa0b\\n蝶"


def test_each_warning_is_one_line_and_printed_once(capsys):
    before = warnings.showwarning
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with plain_warnings():
            ignored = "Grad strides do not match bucket view strides. This may indicate"
            for text in ("a thing is\n  old", "a thing is\n  old", ignored, "another"):
                warnings.warn(text, FutureWarning, stacklevel=1)
        with plain_warnings(shown=False):
            warnings.warn("not shown", stacklevel=1)
    assert capsys.readouterr().err == "warning: a thing is old\nwarning: another\n"
    assert warnings.showwarning is before


def test_a_script_prints_plain_warnings_while_it_resolves_its_settings(monkeypatch, capsys):
    def warn(cfg):
        warnings.warn("a thing is old", stacklevel=1)
        raise InputError("stopped.")

    monkeypatch.setattr(settings, "resolve", warn)
    monkeypatch.setattr("sys.argv", ["script.py"])
    with warnings.catch_warnings(), pytest.raises(SystemExit):
        warnings.simplefilter("always")
        launch(lambda cfg: None, NoSettings, "")
    assert capsys.readouterr().err == "warning: a thing is old\nscript.py: error: stopped.\n"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_names_that_a_terminal_cannot_print_are_escaped(encoding, monkeypatch):
    stdout = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    monkeypatch.setattr("sys.argv", ["script.py"])
    monkeypatch.setattr(settings, "resolve", lambda cfg: cfg)
    launch(lambda cfg: print("蝶, file \udcff.png"), NoSettings, "")
    stdout.flush()
    name = "蝶" if encoding == "utf-8" else "\\u8776"
    assert stdout.buffer.getvalue().decode(encoding) == f"{name}, file \\udcff.png\n"
