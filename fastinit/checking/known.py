"""Known answers of the stream: published vectors of the generator, and values of every law. Data only.

The answers are those of the scalar engine of the tests, plain Python that was written from docs/stream.md;
tests/unit/test_selftest.py computes them again.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from importlib.resources import files

from fastinit import laws
from fastinit.dtypes import FORMATS, PARTS
from fastinit.laws import Law, Normal, TruncatedNormal, Uniform

Words = tuple[int, ...]


def _words(text: str) -> Words:
    return tuple(int(word, 16) for word in text.split())


_GENERATOR = json.loads(files(__package__).joinpath("philox.json").read_text(encoding="utf-8"))
# (counter, key, output) of Philox4x32-10, as Random123 publishes them; seed and 10000th output of the C++ standard.
PHILOX: tuple[tuple[Words, Words, Words], ...] = tuple(
    (_words(one["counter"]), _words(one["key"]), _words(one["output"])) for one in _GENERATOR["vectors"]
)
STANDARD: tuple[int, int] = (_GENERATOR["standard"]["seed"], _GENERATOR["standard"]["output"])


@dataclass(frozen=True)
class Case:
    """What is drawn: a law under a seed and a name, in some dtypes; the blocks, (offsets, shape), that are compared."""

    law: Law
    seed: int
    name: str | int
    shape: tuple[int, ...]
    blocks: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    dtypes: tuple[str, ...] = tuple(FORMATS)


def _far(law: Law, seed: int, name: str | int) -> Case:
    """A tensor of 2^58 elements in rows of 8: its beginning, and where the element's number has 41 bits."""
    return Case(law, seed, name, (2**55, 8), (((0, 0), (125, 8)), ((2**37 - 12, 0), (24, 8))))


def _far_complex(law: Law, seed: int, name: str | int) -> Case:
    """A tensor of 2^57 complex numbers in rows of 8: its beginning, and where a part's number has 42 bits."""
    return Case(law, seed, name, (2**54, 8), (((0, 0), (125, 8)), ((2**37 - 12, 0), (24, 8))), tuple(PARTS))


def _whole(law: Law, seed: int, name: str | int, *shape: int) -> Case:
    """A small tensor, whole."""
    return Case(law, seed, name, shape, (((0,) * len(shape), shape),))


# 0/7 ... 5/7.
_SEVENTHS = "AAAAAAAAAACSJEmSJEnCP5IkSZIkSdI/27Zt27Zt2z+SJEmSJEniP7dt27Zt2+Y/"
# Draws over the root of the sum of their squares along a row, clipped at 0.4.
_DRAWN = '{"draw":{"law":"Normal","mean":0.0,"std":1.0},"name":"weight_v","shape":[6,5]}'
_LENGTH = f'{{"op":"sqrt","of":[{{"op":"sum","of":[{{"op":"square","of":[{_DRAWN}]}}],"axes":[1]}}]}}'
_ROWS_OF_LENGTH_ONE = f'{{"op":"clamp","of":[{{"op":"div","of":[{_DRAWN},{_LENGTH}]}}],"high":0.4}}'

# The half-line takes the kernel whose inverse reaches the far tail.
CASES = {
    "constant": _far(laws.Constant(0.1), 0, ""),
    "uniform": _far(Uniform(-0.05, 0.03), 1, "layers.0.weight"),
    "normal": _far(Normal(0.5, 0.02), 2**64 - 1, "größe"),
    "truncated normal": _far(TruncatedNormal(0.1, 0.3, -0.2, 0.7), 20260101, 5),
    "half-line": _far(TruncatedNormal(0.0, 1.0, 1.0, math.inf), 0, ""),
    "laplace": _far(laws.Laplace(0.25, 0.02), 8, "noise"),
    "complex normal": _far_complex(laws.ComplexNormal(0.5 - 2.0j, 0.02), 2**64 - 1, "größe"),
    "complex uniform": _far_complex(laws.ComplexUniform(0.05), 1, "layers.0.weight"),
    "complex truncated normal": _far_complex(laws.ComplexTruncatedNormal(0.3, 0.5), 3, 5),
    "step bias": _far(laws.StepBias(), 6, "layers.0.mixer.dt_proj.bias"),
    "log of uniform": _far(laws.LogOfUniform(), 7, "layers.0.mixer.A_log"),
    "sparse, down the columns": _whole(laws.Sparse(Normal(0.0, 1.0), 0.75, axis=0), 2, "rec", 96, 24),
    "sparse, along the rows": _whole(laws.Sparse(Uniform(0.5, 1.0), nonzeros=7, axis=1), 3, "rec", 24, 96),
    "padded": _whole(laws.Padded(Normal(0.0, 0.02), 5), 4, "embed", 9, 40),
    "blocks": _whole(laws.Blocks([(3, Normal()), (5, Uniform(-1.0, 1.0)), (1, laws.Constant(0))]), 5, "qkv", 9, 40),
    "identity": _whole(laws.Identity(1.5), 0, "", 5, 7),
    "dirac": _whole(laws.Dirac(2), 0, "", 6, 2, 3),
    "gate bias": _whole(laws.GateBias(), 0, "", 2, 12),
    "state logs": _whole(laws.StateLogs(), 0, "", 3, 16),
    "given": _whole(laws.Given((2, 3), "float64", _SEVENTHS), 0, "", 2, 3),
    "copy": _far(laws.Copy(Normal(0.5, 0.02), "größe"), 2**64 - 1, "another"),
    "replayed": _whole(laws.Replayed((6, 5), _ROWS_OF_LENGTH_ONE), 8, "weight_g", 6, 5),
}

# The 8-byte BLAKE2b digest of the bits of those elements, little-endian.
ANSWERS = {
    ("constant", "float64"): "a98f745959c129ef",
    ("constant", "float32"): "9349421319c8caa6",
    ("constant", "float16"): "15befbfcc58eea7b",
    ("constant", "bfloat16"): "9c2aaf0dc08c8687",
    ("constant", "float8_e4m3fn"): "150c62bd5aa90e6d",
    ("constant", "float8_e5m2"): "4e4c823ecd17a427",
    ("uniform", "float64"): "b8b267f4c7ae377b",
    ("uniform", "float32"): "1bbc75490aa6522e",
    ("uniform", "float16"): "372fe4ada46040e4",
    ("uniform", "bfloat16"): "e3acfaf28d0ed344",
    ("uniform", "float8_e4m3fn"): "303b0295373f638f",
    ("uniform", "float8_e5m2"): "5e5c61695d0c2ef8",
    ("normal", "float64"): "a973dfe05aa779d3",
    ("normal", "float32"): "38e1b6b4551cb635",
    ("normal", "float16"): "d11c3c89ad88104d",
    ("normal", "bfloat16"): "529e358f61d54b92",
    ("normal", "float8_e4m3fn"): "b0cf5e532bae540c",
    ("normal", "float8_e5m2"): "97d0bccfc64c5986",
    ("truncated normal", "float64"): "0d44ba5ca6394c6f",
    ("truncated normal", "float32"): "61335cd7cd4e3488",
    ("truncated normal", "float16"): "51f087414424882f",
    ("truncated normal", "bfloat16"): "a35105466b314621",
    ("truncated normal", "float8_e4m3fn"): "cb339808b04df4fe",
    ("truncated normal", "float8_e5m2"): "185b5a604157c8ff",
    ("half-line", "float64"): "0098a0cddc3fb6ba",
    ("half-line", "float32"): "b55211f70a5cec62",
    ("half-line", "float16"): "70fb009be6936cc6",
    ("half-line", "bfloat16"): "c315b102db0d5cd6",
    ("half-line", "float8_e4m3fn"): "b188132483d20596",
    ("half-line", "float8_e5m2"): "b928aa52b8a0a34c",
    ("laplace", "float64"): "def3319d1894f84b",
    ("laplace", "float32"): "3019ef6ffff70689",
    ("laplace", "float16"): "5bf50793bb316ee0",
    ("laplace", "bfloat16"): "25a5a3ce105d2300",
    ("laplace", "float8_e4m3fn"): "68f6126fcf83a227",
    ("laplace", "float8_e5m2"): "56f5121ae4968d8d",
    ("complex normal", "complex64"): "006ca8449ce00a11",
    ("complex normal", "complex128"): "9dcbe45e510ed121",
    ("complex uniform", "complex64"): "890fcd68a04b9a9f",
    ("complex uniform", "complex128"): "689f3851fe6d5db4",
    ("complex truncated normal", "complex64"): "620ed5b18abcff52",
    ("complex truncated normal", "complex128"): "a7c35128fb86ecf4",
    ("step bias", "float64"): "29395831710897eb",
    ("step bias", "float32"): "e3edd5052aa86089",
    ("step bias", "float16"): "327ce77ec9d9ca83",
    ("step bias", "bfloat16"): "0b9f1440ab1face1",
    ("step bias", "float8_e4m3fn"): "d063befd7adeb0f4",
    ("step bias", "float8_e5m2"): "0abde68865049ae4",
    ("log of uniform", "float64"): "fca57e5e2162d9ca",
    ("log of uniform", "float32"): "36345f961b800b3a",
    ("log of uniform", "float16"): "145e0f9780280d38",
    ("log of uniform", "bfloat16"): "31576fbd96043f26",
    ("log of uniform", "float8_e4m3fn"): "531fb1fe7dd29b85",
    ("log of uniform", "float8_e5m2"): "d5988f53f63c678d",
    ("sparse, down the columns", "float64"): "b96e8f8c97888703",
    ("sparse, down the columns", "float32"): "b1b10f9fe2f473a1",
    ("sparse, down the columns", "float16"): "ca87a3280fd0cd7f",
    ("sparse, down the columns", "bfloat16"): "3e7c972d32f9e7ee",
    ("sparse, down the columns", "float8_e4m3fn"): "e07cfebe62f03c39",
    ("sparse, down the columns", "float8_e5m2"): "f82a5ad9c03754eb",
    ("sparse, along the rows", "float64"): "e91bd2b04b3b828e",
    ("sparse, along the rows", "float32"): "b13ba820d85dbe6d",
    ("sparse, along the rows", "float16"): "aadd63d976d78222",
    ("sparse, along the rows", "bfloat16"): "10bddf69fac9d120",
    ("sparse, along the rows", "float8_e4m3fn"): "d17fd4699e8db1c6",
    ("sparse, along the rows", "float8_e5m2"): "5c659c177f31df62",
    ("padded", "float64"): "415965f73522532d",
    ("padded", "float32"): "1ad6e52f9490c7f0",
    ("padded", "float16"): "e68bc99eae061159",
    ("padded", "bfloat16"): "f8203f834f5b5058",
    ("padded", "float8_e4m3fn"): "715783647f1a6788",
    ("padded", "float8_e5m2"): "2029ebaefd95fc48",
    ("blocks", "float64"): "0458405498f507e0",
    ("blocks", "float32"): "1c4cffac8effcf71",
    ("blocks", "float16"): "c78d8fcc91a6d544",
    ("blocks", "bfloat16"): "caba10699ce30105",
    ("blocks", "float8_e4m3fn"): "c2c40ae07e402e2d",
    ("blocks", "float8_e5m2"): "cffcd87d40bc400f",
    ("identity", "float64"): "7b175df8bc202bf0",
    ("identity", "float32"): "7d1aebad3fef29db",
    ("identity", "float16"): "045e1775e929a599",
    ("identity", "bfloat16"): "f8652ab71cf98cb6",
    ("identity", "float8_e4m3fn"): "6c25687ba314e700",
    ("identity", "float8_e5m2"): "de35c72edc1d0479",
    ("dirac", "float64"): "6e5946b64cc4cef6",
    ("dirac", "float32"): "17cbca3071b356ec",
    ("dirac", "float16"): "4bfc9474d3b527d6",
    ("dirac", "bfloat16"): "fe73e279ade486de",
    ("dirac", "float8_e4m3fn"): "df3da4cb3e14594d",
    ("dirac", "float8_e5m2"): "39170a20156cd7ae",
    ("gate bias", "float64"): "869de7f3f8876165",
    ("gate bias", "float32"): "15883d64aaa54793",
    ("gate bias", "float16"): "127939a171c18334",
    ("gate bias", "bfloat16"): "4e3de3248f56ee11",
    ("gate bias", "float8_e4m3fn"): "a990ea3b5e1e90e4",
    ("gate bias", "float8_e5m2"): "f051516169a0b031",
    ("state logs", "float64"): "bc819f0e2c7ddec9",
    ("state logs", "float32"): "bc780a04fdcc10f5",
    ("state logs", "float16"): "a009ac3acfdd7dda",
    ("state logs", "bfloat16"): "f10deae5bff5d721",
    ("state logs", "float8_e4m3fn"): "ec85f1a9f843e33e",
    ("state logs", "float8_e5m2"): "20851d527d99f5cb",
    ("given", "float64"): "067fb7a1706ec3ea",
    ("given", "float32"): "8ab614beab9b65e5",
    ("given", "float16"): "8228400ef1fe6615",
    ("given", "bfloat16"): "3ae2037be4aa612e",
    ("given", "float8_e4m3fn"): "aad8e85a43f54a9a",
    ("given", "float8_e5m2"): "f6033fa629a14438",
    ("copy", "float64"): "a973dfe05aa779d3",
    ("copy", "float32"): "38e1b6b4551cb635",
    ("copy", "float16"): "d11c3c89ad88104d",
    ("copy", "bfloat16"): "529e358f61d54b92",
    ("copy", "float8_e4m3fn"): "b0cf5e532bae540c",
    ("copy", "float8_e5m2"): "97d0bccfc64c5986",
    ("replayed", "float64"): "e2d6e7c501e88a77",
    ("replayed", "float32"): "183edc1d6d13f588",
    ("replayed", "float16"): "587ca8a78039d3ba",
    ("replayed", "bfloat16"): "ee49cad9615a67bc",
    ("replayed", "float8_e4m3fn"): "372dfd659aa658e7",
    ("replayed", "float8_e5m2"): "e7a20bfbdf83ddc7",
}

# The orthogonal law under this seed and name: Q of 4 x 3 in float64, before the last bits that BLAS decides.
MATRIX_SEED, MATRIX_NAME = 5, "w"
MATRIX = (
    (-0.43663687656934624, 0.7091031883758612, -0.5443201912828141),
    (-0.22843785652894172, -0.0993256168272878, -0.1246666786144246),
    (-0.6250203217234104, 0.19122597515893983, 0.7561997209547666),
    (-0.6054039817815807, -0.6713715189830287, -0.34108024075431526),
)
