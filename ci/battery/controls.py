"""Negative controls: planted defects, each of which the checks named must catch, by the rule of the battery itself.

A control is run for ROUNDS rounds; its p-values are held against the threshold of the full battery. Defects are planted
in the stream's own words and values, or are generators that are known to be bad.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from battery import values, words
from battery.addresses import CONSECUTIVE, MANY_TENSORS, drawn
from battery.checks import Array
from battery.expected import LAWS
from battery.rounds import cells
from battery.verdict import caught

ROUNDS = 4
NORMAL = LAWS["normal"]
FIRST_ROUND = 1 << 20  # elements that no round of the battery looks at

Damage = Callable[[Array, np.random.Generator], Array]


@dataclass(frozen=True)
class Control:
    """A defect, what it does to a sample, and the names of the checks that must catch it."""

    name: str
    damage: Damage
    catchers: tuple[str, ...]


@dataclass(frozen=True)
class Caught:
    """The adjusted p-value of a check on a control."""

    control: str
    check: str
    adjusted: float


# --- words -----------------------------------------------------------------------------------------------------------


def lehmer(multiplier: int, increment: int, modulus_bits: int) -> Damage:
    """A linear congruential generator modulo a power of two, its number at the top of the word."""

    def damage(sample: Array, rng: np.random.Generator) -> Array:
        count, mask = len(sample), (1 << modulus_bits) - 1
        # By doubling: x[n + 2^k] is an affine function of x[n].
        x, a, c = np.array([int(rng.integers(1 << 30)) * 2 + 1], np.uint64), multiplier, increment
        while len(x) < count:
            x = np.concatenate([x, (x * np.uint64(a) + np.uint64(c)) & np.uint64(mask)])
            a, c = a * a & mask, (a + 1) * c & mask
        return (x[:count] << np.uint64(32 - modulus_bits)).astype(np.uint32)

    return damage


def xorshift(sample: Array, rng: np.random.Generator) -> Array:
    """Marsaglia's 32-bit xorshift (13, 17, 5): every word is a linear function, over GF(2), of the one before."""
    out, x = np.empty_like(sample), int(rng.integers(1, 1 << 32))
    for i in range(len(out)):
        x ^= x << 13 & 0xFFFFFFFF
        x ^= x >> 17
        x ^= x << 5 & 0xFFFFFFFF
        out[i] = x
    return out


def weyl(sample: Array, rng: np.random.Generator) -> Array:
    """Multiples of the golden ratio: each word right, the sequence far too even."""
    start = rng.integers(1 << 32, dtype=np.uint32)
    return start + np.arange(len(sample), dtype=np.uint32) * np.uint32(0x9E3779B9)


def stuck_bit(sample: Array, rng: np.random.Generator) -> Array:
    """Bit 12 is stuck at one in 3 % of the words."""
    return sample | np.where(rng.random(len(sample)) < 0.03, np.uint32(1 << 12), np.uint32(0))


def repeated_pairs(sample: Array, rng: np.random.Generator) -> Array:
    """One pair of words in 64 is the pair a thousand words before."""
    pairs = sample.reshape(-1, 2).copy()
    at = np.arange(512, len(pairs), 64)
    pairs[at] = pairs[at - 500]
    return pairs.reshape(-1)


def repeated_block(sample: Array, rng: np.random.Generator) -> Array:
    """The second half of the words is the first."""
    return np.tile(sample[: len(sample) // 2], 2)


def faint_period(sample: Array, rng: np.random.Generator) -> Array:
    """The words swing with a period of 24 words and an amplitude of half a percent of their range."""
    swing = 0.01 * 2**31 * np.sin(2 * np.pi / 24 * np.arange(len(sample)))
    return np.asarray(np.clip(sample + swing, 0, 2**32 - 1).astype(np.uint32))


# --- values ----------------------------------------------------------------------------------------------------------


def wider(x: Array, rng: np.random.Generator) -> Array:
    """The standard deviation is 0.1 % too large."""
    return x * np.float32(1.001)


def shifted(x: Array, rng: np.random.Generator) -> Array:
    """The mean is off by 0.02 standard deviations."""
    return x + np.float32(0.02)


def cut_not_rounded(x: Array, rng: np.random.Generator) -> Array:
    """The last 14 bits of every float32 are cut off, not rounded: towards zero, by 0.1 % on average."""
    return (x.view(np.uint32) & np.uint32(0xFFFFC000)).view(np.float32)


def short_tail(x: Array, rng: np.random.Generator) -> Array:
    """Nothing lies beyond 4.2 standard deviations."""
    return np.where(np.abs(x) > 4.2, x / 2, x)


def repeated_chunk(x: Array, rng: np.random.Generator) -> Array:
    """A chunk of 65,536 values comes twice."""
    x = x.copy()
    x[3 << 16 : 4 << 16] = x[2 << 16 : 3 << 16]
    return x


def shared_radius(x: Array, rng: np.random.Generator) -> Array:
    """The two normals of a pair have one size and independent signs."""
    pairs = x.reshape(-1, 2, 16).copy()
    pairs[:, 1] = np.copysign(pairs[:, 0], pairs[:, 1])
    return pairs.reshape(-1)


def shifted_lanes(x: Array, rng: np.random.Generator) -> Array:
    """Lane 9 is lane 8 of the group before."""
    groups = x.reshape(-1, 4, 16).copy()
    groups[1:, :, 9] = groups[:-1, :, 8]
    return groups.reshape(-1)


def equal_lanes(x: Array, rng: np.random.Generator) -> Array:
    """Lane 9 correlates with lane 8 by 0.2."""
    groups = x.reshape(-1, 4, 16).copy()
    groups[..., 9] = np.float32(np.sqrt(0.96)) * groups[..., 9] + np.float32(0.2) * groups[..., 8]
    return groups.reshape(-1)


def colliding_names(rows: Array, rng: np.random.Generator) -> Array:
    """Of 256 names two have the same id."""
    rows = rows.copy()
    rows[150] = rows[3]
    return rows


def correlated_seeds(rows: Array, rng: np.random.Generator) -> Array:
    """A seed correlates with the next by 0.1."""
    rows = rows.copy()
    rows[1:] = np.float32(np.sqrt(0.99)) * rows[1:] + np.float32(0.1) * rows[:-1]
    return rows


OF_WORDS = (
    Control("RANDU: x' = 65539 x mod 2^31", lehmer(65539, 0, 31), ("serial", "birthday spacings", "gap")),
    Control("32-bit LCG: x' = 1664525 x + 1013904223", lehmer(1664525, 1013904223, 32), ("gap", "serial", "spectrum")),
    Control("xorshift32, linear over GF(2)", xorshift, ("matrix rank",)),
    Control("Weyl sequence, too even", weyl, ("bytes", "frequency", "birthday spacings", "collision")),
    Control("a bit stuck in 3 % of the words", stuck_bit, ("frequency", "bytes")),
    Control("one pair of words in 64 comes again", repeated_pairs, ("collision",)),
    Control("the second half repeats the first", repeated_block, ("spectrum",)),
    Control("a period of 24 words, amplitude 0.5 % of the range", faint_period, ("line",)),
)
OF_VALUES = (
    Control("std 0.1 % too large", wider, ("moments",)),
    Control("mean off by 0.02 std", shifted, ("Kolmogorov-Smirnov", "Anderson-Darling", "moments")),
    Control("float32 cut to 9 bits, not rounded", cut_not_rounded, ("equiprobable bins",)),
    Control("no value beyond 4.2 std", short_tail, ("tail bins",)),
    Control("a chunk of 65,536 values comes twice", repeated_chunk, ("lags",)),
    Control("the two normals of a pair share their size", shared_radius, ("lags", "places of a group")),
    Control("a lane is its neighbour, a group later", shifted_lanes, ("neighbouring groups",)),
    Control("two lanes correlate by 0.2", equal_lanes, ("places of a group",)),
)
OF_TENSORS = (
    Control("two of 256 names collide", colliding_names, ("tensors",)),
    Control("neighbouring seeds correlate by 0.1", correlated_seeds, ("tensors",)),
)


def _words(seed: int, number: int) -> Array:
    return CONSECUTIVE.words(seed, number)


def _values(seed: int, number: int) -> Array:
    return CONSECUTIVE.values(NORMAL.law, "float32", seed, number)


def _tensors(seed: int, number: int) -> Array:
    return drawn(MANY_TENSORS[0].blocks(seed, number), NORMAL.law, "float32")


# Controls, what they damage, the checks, and what these are told beside the sample.
KINDS = (
    (OF_WORDS, _words, words.CHECKS, ()),
    (OF_VALUES, _values, (*values.SEQUENCES, *values.GROUPS), (NORMAL,)),
    (OF_TENSORS, _tensors, (values.TENSORS,), (NORMAL,)),
)


def run(seed: int) -> Iterator[Caught]:
    """Run on every control the checks that must catch it."""
    rng = np.random.default_rng(seed)
    for controls, sample, checks, law in KINDS:
        named = {check.name: check for check in checks}
        for control in controls:
            p_values: dict[str, list[float]] = {name: [] for name in control.catchers}
            for number in range(FIRST_ROUND, FIRST_ROUND + ROUNDS):
                damaged = control.damage(sample(seed, number), rng)
                for name, collected in p_values.items():
                    collected.append(named[name].p_value(damaged[: named[name].most], *law))
            for name, collected in p_values.items():
                yield Caught(control.name, name, caught(collected, 2 * cells()))
