"""Is a recorded law the one that the model's own code draws? One draw of the code against the law, tensor by tensor."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numba
import numpy as np
import torch
from scipy import special, stats
from torch import nn

import fastinit
from fastinit import laws
from fastinit.laws.blocks import leaves
from fastinit.laws.law import IndependentLaw
from fastinit.torch.builds import built
from fastinit.torch.origins import recorded_origins

MOST = 1 << 16  # elements of a slice that are compared
FEWEST = 8  # of a slice whose law is worth a test
LARGEST_MODEL = 60_000_000  # weights: of a larger one the code's own draw takes too long, and only coverage is counted


@dataclass
class Compared:
    """What became of one model.

    outliers  elements at the bounds of a truncated normal, far beyond its tail, which the comparison leaves out
    missing   name -> why it has no law
    tests     tests of a slice against its law, and the least of their p-values
    wrong     what is not as its law says, whatever chance did
    """

    tensors: int = 0
    weights: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    tests: int = 0
    least: float = 1.0
    worst: str = ""
    wrong: list[str] = field(default_factory=list)
    outliers: int = 0
    drawn: bool = False


def compare(build: object, seed: int) -> Compared:
    """Record a build, and hold each law against the tensor that the build draws."""
    found = Compared()
    model = built(build)  # type: ignore[arg-type]
    assert model.recording is not None
    named = _tensors(model.module)
    origins = recorded_origins(model.module, model.recording, list(named.items()), "")
    found.tensors, found.weights = len(named), sum(one.numel() for one in named.values())
    found.missing = dict(origins.problems)
    if found.weights > LARGEST_MODEL:
        return found
    torch.manual_seed(seed)
    own = _tensors(build())  # type: ignore[operator]
    found.drawn = True
    for name, law in origins.laws.items():
        if name not in own or own[name].shape != named[name].shape:
            found.wrong.append(f"{name}: the code makes another tensor when it is not recorded")
            continue
        _tensor(found, name, law, own[name].detach())
    return found


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    """What a state dict holds, each memory once."""
    kept = module.state_dict(keep_vars=True)
    found, seen = {}, set()
    for name, tensor in kept.items():
        if id(tensor) not in seen and isinstance(tensor, torch.Tensor):
            seen.add(id(tensor))
            found[name] = tensor
    return found


def _tensor(found: Compared, name: str, law: laws.Law, tensor: torch.Tensor) -> None:
    if isinstance(law, laws.Copy):
        law = law.values
    shape = tuple(tensor.shape)
    if not tensor.numel():
        return
    for leaf in leaves(law, shape):
        index = tuple(slice(at, at + n) for at, n in zip(leaf.offsets, leaf.shape, strict=True))
        values = tensor[index]
        if not leaf.law.draws:
            _fixed(found, f"{name}{leaf.where(shape)}", leaf.law, values)
        elif values.numel() >= FEWEST:
            _drawn(found, f"{name}{leaf.where(shape)}", leaf.law, values)


def _fixed(found: Compared, name: str, law: laws.Law, values: torch.Tensor) -> None:
    """A law without chance has one value."""
    expected = np.empty(tuple(values.shape), np.float64 if values.is_floating_point() else values.numpy().dtype)
    fastinit.fill(expected, law)
    theirs = values.double().numpy() if values.is_floating_point() else values.numpy()
    near = np.isclose(theirs, expected, rtol=2e-2 if values.element_size() < 4 else 1e-5, atol=1e-7, equal_nan=True)
    if not near.all():
        found.wrong.append(f"{name}: {law} where the code has {theirs[~near][:3]}")


def _drawn(found: Compared, name: str, law: laws.Law, values: torch.Tensor) -> None:
    """The values against the distribution function; and the squares of rows and columns against their mean."""
    element = _element(law, tuple(values.shape))
    exact = values.element_size() >= 4
    array = (values if exact else values.float()).contiguous().numpy()
    array = _without_outliers(found, law, array)
    flat = array.reshape(-1)
    if isinstance(law, IndependentLaw) and exact:
        _note(found, name, _kolmogorov(flat[:: max(1, flat.size // MOST)], _distribution(law)))
    first, last = (array.shape[0], array.shape[-1]) if array.ndim >= 2 else (1, 1)
    sums = squares(array.reshape(first, -1, last), element.mean)
    deviation, fourth = (one / flat.size / element.std**power for one, power in zip(sums[:2], (2, 4), strict=True))
    scale = math.sqrt(max(fourth - 1.0, 0.5) / flat.size)
    if not isinstance(law, IndependentLaw):
        return
    _note(found, f"{name} (variance)", _two_sided(abs(deviation - 1.0) / scale * 0.8))
    if array.ndim < 2:
        return
    for axis, lines in ((0, sums[2]), (array.ndim - 1, sums[3])):
        count = flat.size // lines.size
        if count < 32 or lines.size < 2:
            continue
        largest = float(np.abs(lines / count / element.std**2 - 1.0).max()) / math.sqrt(max(fourth - 1.0, 0.5) / count)
        # Of a chi-square of few degrees the tail is longer than a normal's: a third of the distance is granted to it.
        _note(found, f"{name} (axis {axis})", min(1.0, _two_sided(largest * 0.67) * lines.size))


@numba.njit(nogil=True)  # type: ignore[untyped-decorator]
def squares(
    values: np.ndarray[Any, Any], mean: float
) -> tuple[float, float, np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Sums of the second and the fourth power of what differs from the mean; of the second, of each row and column.

    values has three axes; a row is what has one first index, a column what has one last
    """
    rows, columns, fourth = np.zeros(values.shape[0]), np.zeros(values.shape[2]), 0.0
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            for k in range(values.shape[2]):
                square = (np.float64(values[i, j, k]) - mean) ** 2
                rows[i] += square
                columns[k] += square
                fourth += square * square
    return rows.sum(), fourth, rows, columns


@functools.lru_cache
def _element(law: laws.Law, shape: tuple[int, ...]) -> laws.law.IndependentLaw:
    return law.marginal(shape)


def _kolmogorov(sample: np.ndarray[Any, Any], distribution: Callable[[Any], Any]) -> float:
    """The p-value of scipy.stats.kstest, which sorts four times."""
    n = sample.size
    below = distribution(np.sort(sample).astype(np.float64))
    steps = np.arange(n + 1) / n
    distance = max(float((steps[1:] - below).max()), float((below - steps[:-1]).max()))
    return float(special.kolmogorov(math.sqrt(n) * distance) if n > 10_000 else stats.kstwo.sf(distance, n))


def _two_sided(z: float) -> float:
    return float(2 * special.ndtr(-z))


def _distribution(law: laws.Law) -> Callable[[Any], Any]:
    """The distribution function of a law; of a truncated normal with a plain interval by SciPy's fastest function."""
    if isinstance(law, laws.TruncatedNormal):
        low, high = (special.ndtr((edge - law.parent_mean) / law.parent_std) for edge in (law.low, law.high))
        if high - low > 0.01:
            mean, std = law.parent_mean, law.parent_std
            return lambda x: np.clip((special.ndtr((x - mean) / std) - low) / (high - low), 0.0, 1.0)
    distribution: Callable[[Any], Any] = law.marginal(()).cdf
    return distribution


def _without_outliers(found: Compared, law: laws.Law, values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The values with the mean in the place of what a uniform that rounds to 1 becomes: the bound, 100 std away.

    So does erfinv in float32, in timm's copy of trunc_normal_ to this day (github.com/pytorch/pytorch/issues/155588).
    """
    if not isinstance(law, laws.TruncatedNormal):
        return values
    for bound in (law.low, law.high):
        if abs(bound - law.parent_mean) > 6.8 * law.parent_std:
            there = values == values.dtype.type(bound)
            if there.any():
                found.outliers += int(there.sum())
                values = np.where(there, values.dtype.type(law.mean), values)
    return values


def _note(found: Compared, name: str, pvalue: float) -> None:
    found.tests += 1
    if pvalue < found.least:
        found.least, found.worst = pvalue, name
