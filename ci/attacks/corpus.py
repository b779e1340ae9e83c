"""The small files that mutations begin with: `python ci/attacks/corpus.py` writes them to tests/corpus."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np

from fastinit import laws
from fastinit.plan import Plan, Tensor
from fastinit.write import write

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "corpus"

RULES = """[[rule]]
match = ".*norm.*"
scheme = "ones"

[[rule]]
match = ".*bias"
scheme = "zeros"

[[rule]]
match = "experts.*"
scheme = "he_normal"
layout = "torch"
batch_axis = 0
dtype = "bfloat16"

[[rule]]
match = ".*"
scheme = "truncated_normal"
std = 0.02
sigmas = [-3.0, 3.0]
"""

TENSORS = (
    Tensor("embed.weight", (20, 6), "float32", laws.Padded(laws.Normal(0.0, 0.02), 3)),
    Tensor("qkv.weight", (12, 6), "bfloat16", laws.Blocks([(4, laws.Normal()), (8, laws.Uniform(-1.0, 1.0))], axis=0)),
    Tensor("rec.weight", (6, 6), "float32", laws.Orthogonal(gain=2.0)),
    Tensor("sparse.weight", (9, 5), "float16", laws.Sparse(laws.Normal(), 0.5, axis=0)),
    Tensor("dt.bias", (7,), "float64", laws.StepBias()),
    Tensor("größe", (3,), "float8_e4m3fn", laws.TruncatedNormal(0.0, 1.0, -2.0, 2.0)),
    Tensor("mask", (4,), "bool", laws.Constant(True)),
    Tensor("scalar", (), "int64", laws.Constant(7)),
)


def safetensors_file(header: object, data: bytes) -> bytes:
    """A file with this header, whatever it says."""
    body = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    return struct.pack("<Q", len(body)) + body + data


def make(folder: Path) -> None:
    """Write every file of the corpus."""
    folder.mkdir(parents=True, exist_ok=True)
    plan = Plan(TENSORS, {"head.weight": "embed.weight"})
    write(plan, folder / "one", seed=1)
    write(plan, folder / "sharded", seed=1, shard_size=600)
    plan.save(folder / "plan.json")
    (folder / "rules.toml").write_text(RULES)
    shapes = {one.name: {"shape": list(one.shape), "dtype": one.dtype} for one in TENSORS}
    (folder / "shapes.json").write_text(json.dumps(shapes))
    np.save(folder / "array.npy", np.arange(12, dtype=np.float32).reshape(3, 4))
    np.save(folder / "fortran.npy", np.asfortranarray(np.ones((4, 3), np.float16)))
    dtypes = [("F8_E8M0", 4, 4), ("F4", 8, 4), ("F6_E2M3", 4, 3), ("C64", 1, 8), ("U64", 1, 8)]
    header: dict[str, object] = {"__metadata__": {"format": "pt", "maker": "nobody"}}
    at = 0
    for code, elements, nbytes in dtypes:
        header[code.lower()] = {"dtype": code, "shape": [elements], "data_offsets": [at, at + nbytes]}
        at += nbytes
    (folder / "foreign.safetensors").write_bytes(safetensors_file(header, bytes(range(at))))
    (folder / "empty.safetensors").write_bytes(safetensors_file({}, b""))


if __name__ == "__main__":
    make(FOLDER)
