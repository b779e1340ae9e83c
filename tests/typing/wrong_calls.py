"""Calls that a type checker must refuse, each in a line that says so, among right ones; nothing here is run."""

import numpy as np

import fastinit
from fastinit.plan import Tensor

w = np.empty((4, 4), np.float32)

fastinit.fill_he_normal(w, 4, seed=0, name="w", threads=2, dtype="bfloat16", shard=fastinit.Shard((8, 4), (0, 0)))
fastinit.fill_he_normal(w, seed=0)  # wrong
fastinit.fill_he_normal(w, 4, sed=0)  # wrong
fastinit.fill_he_normal(w, 4, seed="0")  # wrong
fastinit.fill_he_normal(w, 4, gain="relu")  # wrong
fastinit.fill_he_normal(w, 4, seed=0, shard=(8, 4))  # wrong

fastinit.fill_variance_scaling(w, 1.0, 4, distribution="uniform")
fastinit.fill_variance_scaling(w, 1.0, 4, distribution="trunc_normal")  # wrong
fastinit.fill_orthogonal(w, flatten="jax")
fastinit.fill_orthogonal(w, flatten="keras")  # wrong
print(fastinit.fans((4, 4), "keras").fan_in)
print(fastinit.fans((4, 4), "tensorflow").fan_in)  # wrong

rules = [fastinit.Rule(".*bias", "zeros"), fastinit.Rule(".*", "skip")]
fastinit.Rule(".*", "he_norml")  # wrong
plan = fastinit.Plan((Tensor("w", (4, 4), "float32", fastinit.laws.Normal(0.0, 0.02)),))
fastinit.write(plan, "out", seed=0, progress=lambda done, total: None)
fastinit.write(plan, "out", seed=0, progress=7)  # wrong
print(fastinit.verify("out").ok)
print(fastinit.verify("out").okay)  # wrong
fastinit.fil_zeros(w)  # wrong
