"""What `show` found: of each tensor what was measured, beside what its law expects; the result as values."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from fastinit.dtypes import FORMATS, PARTS, Format
from fastinit.files.safetensors import DTYPES, bits_of
from fastinit.formatting import printable, size, some_of
from fastinit.laws import Law
from fastinit.laws.law import Element
from fastinit.products import dot
from fastinit.show.histogram import Grid, probabilities

FAR = 5.0  # standard errors: by chance one in a million of such numbers is farther


@dataclass(frozen=True)
class Expected:
    """What a law says of a tensor: mean, std, and the share of its elements in each bin, below and above.

    The errors are standard errors over all elements; the roundings are what the dtype itself may shift at most.
    """

    mean: float
    std: float
    shares: tuple[float, ...]
    below: float
    above: float
    mean_error: float
    std_error: float
    mean_rounding: float
    std_rounding: float


@dataclass(frozen=True)
class Histogram:
    """How many elements each bin of [low, high] holds, and how many lie outside; neither NaN nor infinities."""

    low: float
    high: float
    counts: tuple[int, ...]
    below: int
    above: int


@dataclass(frozen=True)
class TensorShown:
    """One tensor. Mean, std, minimum and maximum are those of its finite elements, None where there are none.

    Of complex numbers the magnitudes are shown. `law` is None where the file does not say one that can be read.
    `parts` are those of a tensor made of parts, each shown as a tensor: "qkv.weight[0:4096]". The histogram of the
    whole lies over the mixture of their laws, in which a wide part hides a narrow one, and two that changed places; so
    it is the parts that are held against their laws.
    """

    name: str
    file: str
    dtype: str
    shape: tuple[int, ...]
    law: Law | None
    expected: Expected | None
    mean: float | None
    std: float | None
    minimum: float | int | None
    maximum: float | int | None
    zeros: int
    nans: int
    infinities: int
    histogram: Histogram
    parts: tuple[TensorShown, ...] = ()

    @property
    def elements(self) -> int:
        """How many elements the tensor has."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What they take in the file."""
        return self.elements * bits_of(self.dtype) // 8

    @property
    def decoded(self) -> bool:
        """Whether fastinit can read its elements; else it is listed, and nothing of it is measured."""
        return self.dtype in DTYPES

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is wrong: NaN, infinities the law does not have, mean or std over 5 standard errors off; or parts."""
        if self.parts:
            wrong = [part for part in self.parts if part.remarks]
            return (f"{len(wrong):,} of {len(self.parts):,} parts",) if wrong else ()
        found = []
        if self.nans:
            found.append(f"{self.nans:,} NaN")
        expected = self.expected
        infinite = expected is not None and math.isinf(expected.mean)  # a mask
        if self.infinities and not infinite:
            found.append(f"{self.infinities:,} inf")
        if infinite and self.infinities < self.elements:
            found.append("mean off")
        if expected is None or infinite:
            return tuple(found)
        for what, measured, wanted, error, rounding in (
            ("mean", self.mean, expected.mean, expected.mean_error, expected.mean_rounding),
            ("std", self.std, expected.std, expected.std_error, expected.std_rounding),
        ):
            # An overflow of the moments, of float64 near its end, is no number: it deviates too.
            if measured is not None and not abs(measured - wanted) <= FAR * error + rounding:
                size = f" {(measured - wanted) / error:+.3g} se" if error else ""
                found.append(f"{what}{size or ' off'}")
        return tuple(found)


@dataclass(frozen=True, repr=False)
class Shown:
    """What `show` saw: the tensors in the order of the files, and how long it took."""

    path: str
    files: tuple[str, ...]
    tensors: tuple[TensorShown, ...]
    seconds: float = field(compare=False)

    @property
    def rows(self) -> tuple[TensorShown, ...]:
        """The tensors, each with its parts behind it."""
        return tuple(row for tensor in self.tensors for row in (tensor, *tensor.parts))

    @property
    def marked(self) -> tuple[TensorShown, ...]:
        """The tensors with remarks."""
        return tuple(tensor for tensor in self.tensors if tensor.remarks)

    @property
    def marked_first(self) -> tuple[TensorShown, ...]:
        """The rows, those of marked tensors before the others."""
        marked = self.marked
        ordered = (*marked, *(tensor for tensor in self.tensors if not tensor.remarks))
        return tuple(row for tensor in ordered for row in (tensor, *tensor.parts))

    def html(self, title: str | None = None) -> str:
        """One page with a histogram of each tensor, over what its law expects."""
        from fastinit.show.page import html

        return html(self, self.path if title is None else title)

    def table(self, width: int | None = 100) -> str:
        """All tensors as a terminal of so many columns shows them; None cuts nothing."""
        from fastinit.show.table import table

        return table(self, width)

    def __repr__(self) -> str:
        return f"<Shown {printable(self.path)}: {self.summary}>"

    def _repr_html_(self) -> str:
        from fastinit.show.page import fragment

        return fragment(self)

    @property
    def elements(self) -> int:
        """Elements of all tensors."""
        return sum(tensor.elements for tensor in self.tensors)

    @property
    def bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(tensor.bytes for tensor in self.tensors)

    @property
    def complex(self) -> bool:
        """Whether a tensor has complex numbers, of which the magnitudes are shown."""
        return any(tensor.dtype in PARTS for tensor in self.tensors)

    @property
    def gigabytes_per_second(self) -> float:
        """Speed, in 10^9 bytes a second."""
        return self.bytes / self.seconds / 1e9 if self.seconds else 0.0

    @property
    def summary(self) -> str:
        """One line: how much there is, and how many tensors follow their law."""
        marked = [printable(tensor.name) for tensor in self.marked]
        known = sum(tensor.law is not None for tensor in self.tensors)
        fitting = sum(tensor.law is not None and not tensor.remarks for tensor in self.tensors)
        count, files = len(self.tensors), len(self.files)
        passed_over = sum(not tensor.decoded for tensor in self.tensors)
        rest = f", {passed_over:,} of dtypes that fastinit cannot decode" if passed_over else ""
        named = f": {some_of(marked, 3)}" if marked else ""
        planar = "; of complex numbers the magnitudes are shown" if self.complex else ""
        return (
            f"{count:,} tensor{'s' * (count != 1)}, {self.elements:,} elements, {size(self.bytes)} in {files:,} "
            f"file{'s' * (files != 1)}; {fitting:,} of {known:,} with a law follow it, {len(marked):,} marked"
            f"{named}{rest}{planar}"
        )


def expect(element: Element, grid: Grid, dtype: str, elements: int) -> Expected:
    """What the law of an element says of so many of them."""
    shares = probabilities(element, grid, dtype)
    mean, std = float(element.mean), float(element.std)
    if not (math.isfinite(mean) and std > 0):
        spread = 0.0
    else:  # sqrt((kurtosis - 1) / 4), with the kurtosis from the middles of the bins: a few per cent are enough here
        z = (grid.edges[:-1] + grid.width / 2 - mean) / std
        spread = math.sqrt(max(dot(shares[1:-1], z**4) - 1.0, 0.0)) / 2
    root = math.sqrt(elements)
    step = _step(abs(mean) + 3.0 * std, FORMATS.get(dtype))
    return Expected(
        mean,
        std,
        tuple(shares[1:-1].tolist()),
        float(shares[0]),
        float(shares[-1]),
        mean_error=std / root,
        std_error=std * spread / root if spread else 0.0,
        mean_rounding=step / 2,
        # Rounding by up to step / 2 adds at most step^2 / 4 to the variance.
        std_rounding=min(step / 2, step * step / 8 / std) if std else 0.0,
    )


def _step(x: float, format: Format | None) -> float:
    """The distance between neighbouring values of a format at x."""
    if format is None or not math.isfinite(x):
        return 0.0
    exponent = max(math.frexp(x)[1] - 1, format.smallest_exponent) if x else format.smallest_exponent
    return math.ldexp(1.0, exponent - format.mantissa_bits)
