"""The ways to store that earlier processes chose: a file beside the compiled code, by model of processor.

Nothing depends on it but speed: a file that is absent, damaged, of other kernels or not to be written is passed over.
"""

from __future__ import annotations

import json
import os
import platform
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from fastinit.engines.interface import StorePolicy

FILE = "store_policies.json"


@cache
def processor() -> str:
    """The model of the processor, as Linux tells it, or what Python knows."""
    try:
        with Path("/proc/cpuinfo").open(encoding="ascii", errors="replace") as file:
            lines = [line.partition(":") for line in file.read(1 << 14).split("\n\n")[0].splitlines()]
    except OSError:
        lines = []
    told = {key.strip(): value.strip() for key, _, value in lines}
    known = [told[key] for key in ("vendor_id", "cpu family", "model", "stepping", "model name") if key in told]
    return " ".join(known) or platform.processor() or platform.machine()


def _place() -> tuple[Path, str] | None:
    """The file, and the stamp of the kernels; None where the compiled engine is not loaded or keeps nothing."""
    from fastinit import engines

    compiled = engines.loaded_compiled()
    folder = compiled.target()["cache_folder"] if compiled is not None else None
    if folder is None:
        return None
    from fastinit.engines.cache import stamp

    return Path(folder) / FILE, stamp().hex()


def _load(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _chosen(everything: dict[str, Any], kernels: str) -> dict[str, StorePolicy]:
    """What a file's content says of this processor and these kernels, by case."""
    own = everything.get(processor())
    if not isinstance(own, dict) or own.get("kernels") != kernels or not isinstance(own.get("chosen"), dict):
        return {}
    names = {policy.name: policy for policy in StorePolicy}
    return {case: names[name] for case, name in own["chosen"].items() if isinstance(name, str) and name in names}


def read() -> dict[str, StorePolicy]:
    """What was chosen on such a processor with these kernels, by case."""
    place = _place()
    return {} if place is None else _chosen(_load(place[0]), place[1])


def keep(chosen: dict[str, StorePolicy]) -> None:
    """Add choices to the file, which appears whole; of two processes that do so at once, one may lose its choices."""
    place = _place()
    if place is None:
        return
    file, kernels = place
    everything = _load(file)
    together = {**_chosen(everything, kernels), **chosen}
    names = {case: policy.name for case, policy in sorted(together.items())}
    everything[processor()] = {"kernels": kernels, "chosen": names}
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(prefix=FILE, dir=file.parent)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(everything, stream, indent=1)
            Path(scratch).replace(file)
        except BaseException:
            Path(scratch).unlink(missing_ok=True)
            raise
    except OSError:
        return
