"""What `--help` says before it lists the settings: a docstring, laid out for the terminal that shows it."""

import argparse
import re
import shutil
import textwrap

WIDEST = 100  # columns; longer lines are hard to read


def laid_out(docstring: str) -> str:
    """A docstring for `--help`: paragraphs wrapped to the terminal's width, indented lines, which are commands, as they stand.

    Args:
        docstring: paragraphs are parted by blank lines.
    """
    width = min(shutil.get_terminal_size().columns, WIDEST)
    blocks = []
    for block in re.split(r"\n\s*\n", docstring.strip("\n")):
        told = not block.startswith(" ")
        blocks.append(
            textwrap.fill(" ".join(block.split()), width, break_on_hyphens=False, break_long_words=False)
            if told
            else block
        )
    return "\n\n".join(blocks)


def command_line(module: str, docstring: str) -> argparse.ArgumentParser:
    """The command line, still without arguments, of a module that is run as `python -m <module>`; its docstring begins the help."""
    shown = argparse.RawDescriptionHelpFormatter
    return argparse.ArgumentParser(prog=f"python -m {module}", description=laid_out(docstring), formatter_class=shown)
