"""What a law is, and the checks and preparations that all laws share.

An independent law draws every element alone; a shaped law looks at the whole shape of the tensor. A law knows nothing
of fans or buffers. `kernel_arguments` checks its numbers against the format of a buffer and turns them into what a
kernel receives, in float64 by the expressions that docs/stream.md prints, rounded once to the working precision.
"""

from __future__ import annotations

import math
import sys
import warnings
from abc import abstractmethod
from dataclasses import replace
from typing import Any, ClassVar, NamedTuple

import numpy as np

from fastinit.address import places_of
from fastinit.dtypes import Format
from fastinit.engines.stream import DOMAIN_ELEMENT


class KernelArguments(NamedTuple):  # made for every fill, and a frozen dataclass takes twice as long
    """What a kernel receives: its name, reals in the working precision, integers, and the domain of its words."""

    kernel: str
    reals: np.ndarray[Any, Any]
    integers: np.ndarray[Any, Any]
    domain: int = DOMAIN_ELEMENT


_FLOAT32, _FLOAT64, _UINT32 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.uint32)
_NONE = np.zeros(1, _UINT32)


def arguments(kernel: str, format: Format, reals: tuple[float, ...], integers: tuple[int, ...] = ()) -> KernelArguments:
    """What a kernel of this name receives in the working precision of a format."""
    bits, working = ("_64", _FLOAT64) if format.working == "float64" else ("_32", _FLOAT32)
    return KernelArguments(kernel + bits, np.array(reals, working), np.array(integers, _UINT32) if integers else _NONE)


def real(value: object, what: str) -> float:
    """A real number as float64; complex, text and bool are refused."""
    if type(value) is float:
        return value
    try:
        if type(value) is int or not isinstance(value, (bool, np.bool_, str, bytes, bytearray)):
            return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        pass
    except OverflowError:
        raise ValueError(f"{what} is an integer beyond float64; it must be finite") from None
    raise TypeError(f"{what} is {value!r} of type {type(value).__name__}; pass a real number")


def finite(value: object, what: str) -> float:
    """A real number that is neither infinite nor NaN."""
    number = real(value, what)
    if not math.isfinite(number):
        raise ValueError(f"{what} is {number}; it must be finite")
    return number


def standard_deviation(value: object, what: str = "std") -> float:
    """A finite number that is not negative."""
    number = finite(value, what)
    if number < 0:
        raise ValueError(f"{what} is {number}; it must be zero or positive")
    return number


def is_lost(mean: float, std: float, format: Format) -> bool:
    """Whether rounding to the format makes most draws zero."""
    return 0 < std < 4 * format.smallest_subnormal and abs(mean) < 4 * format.smallest_subnormal


def warn_if_lost(mean: float, std: float, format: Format) -> None:
    """Warn where rounding to the format makes most draws zero."""
    if is_lost(mean, std, format):
        warnings.warn(
            f"std {std:.3g} is under 4 times the smallest positive {format.name} ({format.smallest_subnormal:.3g}): "
            "many values will be zero. Use a wider dtype, or a larger std with a multiplier in the model.",
            UserWarning,
            stacklevel=_caller(),
        )


def _caller() -> int:
    """The stack level, for a warning, of the first frame outside this package."""
    frame, level = sys._getframe(1), 1
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("fastinit."):
        frame, level = frame.f_back, level + 1
    return level


def refuse_overflow(law: Law, largest: float, format: Format) -> None:
    """Raise ValueError if a law reaches values beyond the largest of a format."""
    if format.overflows(largest):
        raise ValueError(
            f"{law} reaches {largest:.4g}, beyond the largest {format.name} ({format.largest:.4g}); "
            "use a smaller scale or a wider dtype"
        )


class Element:
    """The law of one element, before rounding to the buffer's dtype."""

    mean: float
    std: float

    @property
    @abstractmethod
    def support(self) -> tuple[float, float]:
        """The smallest and the largest value."""

    @abstractmethod
    def cdf(self, x: Any) -> Any:
        """P(value <= x), for a number or an array."""


class Law:  # no ABC: isinstance() of one takes 0.14 us, of a class 0.04, three times in a fill
    """What to draw.

    draws       whether chance has a part in it: then a seed matters
    floats_only whether a buffer must hold floats, or may hold any number
    """

    draws: ClassVar[bool] = True
    floats_only: ClassVar[bool] = True

    @property
    def is_complex(self) -> bool:
        """Whether all that chance draws is said to be complex; not so of a real law, though it may have such a form."""
        return not self.draws

    @abstractmethod
    def marginal(self, shape: tuple[int, ...]) -> Element:
        """The law of one element of a tensor of this shape: its mean, std, support and cdf."""

    def on(self, shape: tuple[int, ...]) -> Element:
        """The former name of `marginal`."""
        return self.marginal(shape)

    @abstractmethod
    def kernel_arguments(self, format: Format) -> KernelArguments | None:
        """Check the law against a format and return what its kernel receives; None where there is none.

        Raises ValueError where values would overflow the format, or where no value of the format is in the support.
        """

    def complex_form(self) -> Law:
        """The law that fills complex numbers in place of this one, of the same mean and standard deviation.

        That is the root of E|z - mean|^2, both parts. A law that fills any number is its own. Raises TypeError, or
        ValueError for the numbers of the law, where there is none.
        """
        if not self.floats_only:
            return self
        raise TypeError(
            f"{type(self).__name__} has no form for complex numbers; fill the parts, buf.view(numpy.float32), or use "
            "laws.ComplexNormal, ComplexUniform or ComplexTruncatedNormal"
        )

    def complex_arguments(self, format: Format) -> KernelArguments | None:
        """As kernel_arguments, for complex numbers whose parts have this format."""
        form = self.complex_form()
        return None if form is self else form.complex_arguments(format)


class LawOfValues(Law):
    """A law whose draws are those of another, `values`: what a kernel receives is that law's."""

    values: Law

    def kernel_arguments(self, format: Format) -> KernelArguments | None:
        """Those of the values."""
        return self.values.kernel_arguments(format)

    @property
    def is_complex(self) -> bool:
        """Whether the values are."""
        return self.values.is_complex

    def complex_form(self) -> Law:
        """The same law of the complex form of the values."""
        changed: Any = {"values": self.values.complex_form()}
        return replace(self, **changed)  # type: ignore[type-var]

    def complex_arguments(self, format: Format) -> KernelArguments | None:
        """Those of the values."""
        return self.values.complex_arguments(format)


class IndependentLaw(Law, Element):
    """Every element is its own draw: the law of an element is the law itself, whatever the shape."""

    def kept_arguments(self, format: Format) -> KernelArguments | None:
        """What `kernel_arguments` gives, kept for the next buffer: it is half of a fill of 64 elements.

        Not kept where a warning comes with it, which every call shall give.
        """
        kept: dict[str, KernelArguments | None] = self.__dict__.setdefault("_arguments", {})
        found = kept.get(format.name)
        if found is None:
            found = self.kernel_arguments(format)
            if not is_lost(self.mean, self.std, format):
                kept[format.name] = found
        return found

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: the numbers of the law, not what was made of them here."""
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def marginal(self, shape: tuple[int, ...]) -> Element:
        """The law itself."""
        return self

    def complex_form(self) -> IndependentLaw:
        """The law that fills complex numbers in place of this one; see Law."""
        found = super().complex_form()
        assert isinstance(found, IndependentLaw)
        return found


class ShapedLaw(Law):
    """A law that looks at the whole shape: how long a line is, where the diagonal lies.

    Its mean, std, support and cdf are those of `law.marginal(shape)`. `batch_axis` are the axes that count copies
    (experts, heads, gates), each of which follows the law by itself; a law without that choice has none.
    """

    batch_axis: tuple[int, ...] = ()

    def batch_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes that count copies, from the first on."""
        return tuple(sorted(places_of(self.batch_axis, shape, f"{type(self).__name__}: batch_axis")))

    def own_axes(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The axes of one copy."""
        batch = self.batch_axes(shape)
        return tuple(axis for axis in range(len(shape)) if axis not in batch)

    def own(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """The shape of one copy."""
        return tuple(shape[axis] for axis in self.own_axes(shape))

    @abstractmethod
    def check(self, shape: tuple[int, ...]) -> None:
        """Raise ValueError where a tensor of this shape cannot follow the law."""

    def __getattr__(self, name: str) -> Any:
        if name in ("mean", "std", "support", "cdf"):
            raise AttributeError(f"{type(self).__name__}.{name} depends on the tensor; ask law.marginal(shape).{name}")
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
