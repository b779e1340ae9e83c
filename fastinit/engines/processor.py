"""The processor that LLVM compiles for, and what its registers can do.

NUMBA_CPU_NAME and NUMBA_CPU_FEATURES choose another.
"""

from __future__ import annotations

import llvmlite.binding
import numba

_, CPU, _features = numba.core.registry.cpu_target.target_context.codegen().magic_tuple()
FEATURES = {feature[1:] for feature in _features.split(",") if feature.startswith("+")}


def lacks(feature: str) -> bool:
    """Whether this is an x86 processor without a feature."""
    return "sse2" in FEATURES and feature not in FEATURES


REGISTER = 512 if "avx512f" in FEATURES else 256 if "avx2" in FEATURES else 128  # bits of the widest register
# A core whose 512 bits are two halves. LLVM 15, of Numba 0.61, takes it for a Zen 3.
ZEN_4 = REGISTER == 512 and CPU in ("znver4", "znver3")
# Whether a store may leave out lanes by a mask. It takes no unit that computes, and gains nothing on a Zen 4; on AMD's
# other processors that is not known.
MASKED_STORES = REGISTER == 512 and not CPU.startswith("znver")
# Whether the processor has AVX-512: bits are chosen in one instruction, not in three (two where a difference is
# shared), and an exponent or a mantissa is one, not two or three.
ONE_STEP = "avx512f" in FEATURES
# What assembly calls a vector register; where this is not known, nothing keeps the order.
if "sse2" in FEATURES:
    LETTER: str | None = "x" if lacks("avx512f") else "v"
else:
    LETTER = "w" if llvmlite.binding.get_process_triple().startswith(("aarch64", "arm64")) else None
