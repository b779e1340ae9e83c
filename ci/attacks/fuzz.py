"""A coverage-guided target for atheris: bytes as a safetensors file, with the safetensors library as the oracle.

    pip install 'fastinit-kernels[attack]'
    PYTHONPATH=ci python -m attacks.fuzz -max_total_time=600 FOLDER tests/corpus

New inputs that reach new code are kept in FOLDER; what is found is written to crash-*. Options are libFuzzer's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["fastinit"]):
    from attacks import readers
    from fastinit import engines

FOLDER = Path(tempfile.mkdtemp(dir=readers.memory_folder()))
LONGEST = 1 << 14  # bytes of an input


def one_input(data: bytes) -> None:
    """Read the bytes as a file, by the reader, verify and show."""
    if len(data) <= LONGEST:
        with engines.use("numpy"):
            readers.try_one(FOLDER, "header", data, measure=False)


if __name__ == "__main__":
    atheris.Setup([sys.argv[0], f"-max_len={LONGEST}", *sys.argv[1:]], one_input)
    atheris.Fuzz()
