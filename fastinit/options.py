"""What every fill_* function takes besides its own arguments, and how `help` shows it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

from fastinit.address import Shard
from fastinit.fill import fill
from fastinit.progress import AnyProgress

Function = TypeVar("Function", bound=Callable[..., None])


class Options(TypedDict, total=False):
    """The keyword arguments of `fill`, which explains them; type checkers know them from here."""

    seed: int | None
    name: str | int
    shard: Shard | None
    dtype: object
    threads: int | None
    progress: AnyProgress
    stream: str


def _of_fill() -> tuple[list[inspect.Parameter], str]:
    """The keyword arguments of `fill`, and what its docstring says of them, of errors and of the guarantee."""
    parameters = inspect.signature(fill).parameters.values()
    text = inspect.cleandoc(fill.__doc__ or "")
    return [one for one in parameters if one.kind is one.KEYWORD_ONLY], text[max(text.find("\nseed "), 0) :]


_PARAMETERS, _EXPLAINED = _of_fill()


def shows_options(function: Function) -> Function:
    """Give a fill_* function the signature and the docstring with all options, in place of `**options`.

    It stays the function it was: no call of it passes through another one.
    """
    signature = inspect.signature(function)
    own = [one for one in signature.parameters.values() if one.kind is not one.VAR_KEYWORD]
    described: Any = function
    described.__signature__ = signature.replace(parameters=[*own, *_PARAMETERS])
    if function.__doc__ is not None:  # python -OO
        text = inspect.cleandoc(function.__doc__)
        described.__doc__ = f"{text}\n\nOptions of every fill_* function:\n{_EXPLAINED}\n"
    return function
