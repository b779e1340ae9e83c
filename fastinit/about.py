"""What this installation is: versions, engine, processor, threads, cache folder."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from fastinit import engines
from fastinit.address import STREAM
from fastinit.fill import policies
from fastinit.threads import available_cpus, resolve

if TYPE_CHECKING:
    from fastinit.checking import SelfTest


def _version() -> str:
    try:
        return version("fastinit-kernels")
    except PackageNotFoundError:  # a source tree that is on the path, not installed
        return "0.0.0+source"


__version__ = _version()


def info() -> dict[str, Any]:
    """What a report of a problem should hold: versions, engine, CPU and its features, threads, cache folder, stream."""
    report: dict[str, Any] = {
        "fastinit": __version__,
        "stream": STREAM,
        "engine": engines.engine_name(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": available_cpus(),
        "threads": resolve(),
    }
    for package in ("numpy", "numba", "scipy", "ml_dtypes", "torch", "jax"):
        report[package] = version(package) if importlib.util.find_spec(package) else None
    report["huge_pages"] = os.environ.get("FASTINIT_HUGE_PAGES") != "0"
    if report["engine"] == "numba":
        engines.named("numba")  # loaded by its name, so that what it has kept is known below
        from fastinit.engines import compiled

        report |= compiled.target()
        report["store_policies"] = policies.chosen() if policies.forced() is None else os.environ["FASTINIT_PAST_CACHE"]
        if not report["cpu_features"] and platform.machine().lower() in ("aarch64", "arm64"):
            report["cpu_features"] = ["neon"]  # LLVM may name none there; this one is a part of ARM64
    return report


def selftest() -> SelfTest:
    """Check that fastinit computes here what it computes elsewhere: draw every law and compare with known answers.

    Both engines draw each law in each dtype, in C and in Fortran order, near the beginning of a tensor and beyond its
    2^40th element; orthogonal matrices are compared to rounding, since BLAS decides their last bits. The floating-point
    mode of the calling thread and who may write to the folder of compiled code are looked at too. The first call
    compiles every kernel and takes a minute or two; a later one takes seconds.

    Returns a tuple of checks (outcome, what, said), of which print() makes a line each and a verdict; `.wrong` says
    whether an answer is wrong. An engine that does not load is "not run", since it gives no wrong answer. `fastinit
    selftest` is the same on the command line. Source of the answers: the vectors of Random123 for Philox, and
    docs/stream.md in plain Python.
    """
    from fastinit.checking import selftest

    return selftest()
