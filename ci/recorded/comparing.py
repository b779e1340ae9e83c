"""Is a recorded law the one that the model's own code draws? One draw of the code against the law, tensor by tensor."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from scipy import stats
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
    element = law.on(tuple(values.shape))
    values = _without_outliers(found, law, values)
    line = values.double().reshape(-1)
    sample = line if line.numel() <= MOST else line[torch.arange(0, line.numel(), line.numel() // MOST)]
    if isinstance(law, IndependentLaw) and values.element_size() >= 4:
        _note(found, name, float(stats.kstest(sample.numpy(), element.cdf).pvalue))
    deviation = (line - element.mean).square().mean().item() / element.std**2
    fourth = ((line - element.mean) ** 4).mean().item() / element.std**4
    scale = math.sqrt(max(fourth - 1.0, 0.5) / line.numel())
    if isinstance(law, IndependentLaw):
        _note(found, f"{name} (variance)", float(2 * stats.norm.sf(abs(deviation - 1.0) / scale * 0.8)))
    if values.ndim < 2 or not isinstance(law, IndependentLaw):
        return
    for axis in (0, values.ndim - 1):
        rows = (values.double() - element.mean).movedim(axis, 0).reshape(values.shape[axis], -1)
        count = rows.shape[1]
        if count < 32 or rows.shape[0] < 2:
            continue
        squares = rows.square().mean(1) / element.std**2
        largest = float((squares - 1.0).abs().max()) / math.sqrt(max(fourth - 1.0, 0.5) / count)
        # Of a chi-square of few degrees the tail is longer than a normal's: a third of the distance is granted to it.
        _note(found, f"{name} (axis {axis})", min(1.0, float(2 * stats.norm.sf(largest * 0.67)) * rows.shape[0]))


def _without_outliers(found: Compared, law: laws.Law, values: torch.Tensor) -> torch.Tensor:
    """The values with the mean in the place of what a uniform that rounds to 1 becomes: the bound, 100 std away.

    So does erfinv in float32, in timm's copy of trunc_normal_ to this day (github.com/pytorch/pytorch/issues/155588).
    """
    if not isinstance(law, laws.TruncatedNormal):
        return values
    far = ((values - law.parent_mean).abs() > 6.8 * law.parent_std) & ((values == law.low) | (values == law.high))
    found.outliers += int(far.sum())
    return torch.where(far, torch.full_like(values, law.mean), values)


def _note(found: Compared, name: str, pvalue: float) -> None:
    found.tests += 1
    if pvalue < found.least:
        found.least, found.worst = pvalue, name
