"""The parser of the command line: an error is a line, with the nearest option or name, and a line of where to look."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

from fastinit.choices import nearest, unknown
from fastinit.cli.terminal import painter
from fastinit.printable import printable

USAGE = 2  # the exit code


class Parser(argparse.ArgumentParser):
    """argparse's, without abbreviations, and without a page of usage for an error."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **{"formatter_class": argparse.RawDescriptionHelpFormatter} | options)
        self.allow_abbrev = False
        self.words: Sequence[str] = ()

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """The options of a command line; SystemExit where it makes no sense."""
        options: argparse.Namespace
        options, rest = self.parse_known_args(words)
        if rest:
            getattr(options, "parser", self).error(f"{rest[0]!r} is left over; quote what has spaces")
        return options

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse, which calls this of a command's own parser too."""
        self.words = args or ()
        return super().parse_known_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, and end. An option that does not exist is why another seems to be missing."""
        options = list(self._option_string_actions)
        words = [word.partition("=")[0] for word in self.words]
        strange = next(
            (word for word in words if word.startswith("--") and len(word) > 2 and word not in options), None
        )
        if strange is not None:
            close = nearest(strange.replace("_", "-"), options, dashes=True)
            message = f"{strange} is no option" + (f"; did you mean {close}?" if close else "")
        paint = painter("stderr")
        said = f"{self.prog}: {paint('error:', 'alert')} {printable(message)}\n"
        self.exit(USAGE, f"{said}{paint(f'{self.prog} --help says more', 'soft')}\n")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse what is none of the choices, with the nearest of them."""
        if action.choices is not None and value not in action.choices:
            what = "/".join(action.option_strings) or str(action.metavar or action.dest)
            raise argparse.ArgumentError(None, unknown(what, value, action.choices))
