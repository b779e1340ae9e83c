"""What this installation is: versions, engine, processor, threads, cache folder."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from fastinit import engines
from fastinit.address import STREAM
from fastinit.fill.memory import SMALLEST_PAST_CACHE, goes_past_cache
from fastinit.threads import available_cpus, resolve


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
    report["past_cache"] = goes_past_cache(SMALLEST_PAST_CACHE)
    if report["engine"] == "numba":
        from fastinit.engines import compiled

        report |= compiled.target()
    return report
