"""`progress=True`: tqdm's own bar, in a terminal and in a notebook."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import cache
from typing import Any

Progress = Callable[[int, int], object]  # called with what is done, and with all there is to do
AnyProgress = Progress | bool | None  # what a caller may pass: True for a bar


def following(progress: object, unit: str = "B") -> Progress | None:
    """What a call reports to: the caller's function, a bar for True, nothing for None and False.

    TypeError for anything else, ModuleNotFoundError for True without tqdm.
    """
    if progress is None or progress is False:
        return None
    if progress is True:
        return _Bar(unit).show
    if not callable(progress):
        raise TypeError(f"progress is {progress!r}; pass True for a bar, or a function of (done, total)")
    return progress


@cache  # tqdm keeps a thread for each class of bars
def _safely_dropped(bars: Any) -> Any:
    """The same class of bars, of which one that Ctrl-C found half made can be dropped without a traceback."""

    class Bar(bars):  # type: ignore[misc]
        def __del__(self) -> None:
            with suppress(AttributeError):  # of what its making had not come to
                super().__del__()

    return Bar


class _Bar:
    """A bar that begins with the first report and ends with the last."""

    def __init__(self, unit: str) -> None:
        try:
            from tqdm.auto import tqdm
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "progress=True needs tqdm: pip install 'fastinit-kernels[progress]', or a function of (done, total)"
            ) from error
        self.make: Any = _safely_dropped(tqdm)
        self.bar: Any = None
        self.unit, self.ended = unit, False

    def show(self, done: int, total: int) -> None:
        """Move the bar to `done` of `total`."""
        if self.bar is None:
            of_bytes = self.unit == "B"
            self.bar = self.make(
                total=total, unit="B" if of_bytes else f" {self.unit}", unit_scale=of_bytes, desc="fastinit"
            )
        if not self.ended:  # the last report may come twice
            self.bar.update(done - self.bar.n)
        if done >= total and not self.ended:
            self.bar.close()
            self.ended = True
