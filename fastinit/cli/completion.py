"""`fastinit completion`: a script that lets the shell complete commands, options, schemes and dtypes."""

from __future__ import annotations

import argparse
from typing import Any

from fastinit.cli.options import DONE, command

SHELLS = ("bash", "zsh", "tcsh")  # shtab's
EXAMPLES = """
  fastinit completion bash > ~/.local/share/bash-completion/completions/fastinit
  fastinit completion zsh > ~/.zfunc/_fastinit     # a folder of $fpath
"""


def add_to(commands: Any, whole: argparse.ArgumentParser) -> None:
    """Add the command, which completes the `whole` command line."""
    parser = command(commands, "completion", "print a script that completes this command line in a shell", EXAMPLES)
    parser.add_argument("shell", choices=SHELLS, help=", ".join(SHELLS))
    parser.set_defaults(run=lambda options: _run(whole, options.shell))


def _run(whole: argparse.ArgumentParser, shell: str) -> int:
    try:
        import shtab
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("completion needs shtab: pip install 'fastinit-kernels[completion]'") from error
    print(shtab.complete(whole, shell))
    return DONE
