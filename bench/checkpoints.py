"""Write a checkpoint beside PyTorch's way, torch init and safetensors.torch.save_file. A script, for it takes minutes.

    python -m bench.checkpoints                  # 8 GiB of float32 normals; 20,000 small tensors
    python -m bench.checkpoints --gib 1 --rounds 5 --folder /mnt/disk

Each way runs in its own process, in turn, without fsync on either side (durable=False); the durable figure stands
beside it. The folder's files are removed. Exit 1 where a floor is missed.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.children import PEAK

FASTINIT = (
    PEAK
    + """
import json, sys, time
from fastinit.laws import Normal
from fastinit.plan import Plan, Tensor
from fastinit.write import write
plan = Plan([Tensor(f"layers.{i}.weight", (8192, 8192), "float32", Normal(0.0, 0.02)) for i in range(COUNT)])
begin = time.perf_counter()
write(plan, FOLDER, seed=0, shard_size=1 << 60, durable=DURABLE)
print(json.dumps({"seconds": time.perf_counter() - begin, "peak_mib": peak()}))
"""
)
TORCH = (
    PEAK
    + """
import json, os, time, torch
from safetensors.torch import save_file
os.makedirs(FOLDER)
begin = time.perf_counter()
tensors = {f"layers.{i}.weight": torch.empty(8192, 8192).normal_(0.0, 0.02) for i in range(COUNT)}
save_file(tensors, FOLDER + "/model.safetensors", {"format": "pt"})
print(json.dumps({"seconds": time.perf_counter() - begin, "peak_mib": peak()}))
"""
)
SMALL = """
import json, time
from fastinit.laws import Normal
from fastinit.plan import Plan, Tensor
from fastinit.write import write
plan = Plan([Tensor(f"layers.{i}.weight", (50, 50), "float32", Normal(0.0, 0.02)) for i in range(20_000)])
begin = time.perf_counter()
write(plan, FOLDER, seed=0, durable=DURABLE)
print(json.dumps({"seconds": time.perf_counter() - begin}))
"""
# A plan of 64 GiB, stopped after 4: nothing that grows with the plan shows later. In files of 5 GB, the default: space
# is reserved a file at a time.
LARGE = (
    PEAK
    + """
import contextlib, json
from fastinit.laws import Normal
from fastinit.plan import Plan, Tensor
from fastinit.write import write
plan = Plan([Tensor(f"layers.{i}.weight", (8192, 8192), "float32", Normal(0.0, 0.02)) for i in range(256)])
class Enough(Exception):
    pass
def stop(done, total):
    if done > 4 << 30:
        raise Enough
with contextlib.suppress(Enough):
    write(plan, FOLDER, seed=0, durable=False, progress=stop)
print(json.dumps({"peak_mib": peak()}))
"""
)
VERIFY = """
import json
from fastinit.verify import verify
reports = [verify(FOLDER) for _ in range(3)]
assert all(report.ok for report in reports)
print(json.dumps({"first": reports[0].seconds, "seconds": sorted(report.seconds for report in reports)[1]}))
"""


def run(code: str, folder: Path, **values: object) -> dict[str, float]:
    """Run code in a fresh process, with names replaced by values; what it prints."""
    for name, value in {"FOLDER": str(folder), **values}.items():
        code = re.sub(rf"\b{name}\b", lambda _, value=value: repr(value), code)
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def main() -> None:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gib", type=float, default=8.0, help="size of the checkpoint")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: a temporary folder")
    options = parser.parse_args()
    count = max(1, round(options.gib * (1 << 30) / (8192 * 8192 * 4)))
    nbytes = count * 8192 * 8192 * 4
    base = Path(tempfile.mkdtemp(prefix="fastinit-", dir=options.folder))
    times: dict[str, list[float]] = {}
    peaks: dict[str, float] = {}
    try:
        for _ in range(options.rounds):
            for name, code, durable in (
                ("torch", TORCH, False),
                ("fastinit", FASTINIT, False),
                ("durable", FASTINIT, True),
            ):
                result = run(code, base / name, COUNT=count, DURABLE=durable)
                times.setdefault(name, []).append(result["seconds"])
                peaks[name] = max(peaks.get(name, 0.0), result["peak_mib"])
                if name == "fastinit":
                    os.sync()  # or the disk's own work would be timed: the file stays in the page cache
                    verified = run(VERIFY, base / name)
                    times.setdefault("verify", []).append(verified["seconds"])
                    times.setdefault("verify first", []).append(verified["first"])
                shutil.rmtree(base / name)
            os.sync()
        large = run(LARGE, base / "large")["peak_mib"]
        small = [run(SMALL, base / f"small{i}", DURABLE=False)["seconds"] for i in range(options.rounds)]
    finally:
        shutil.rmtree(base, ignore_errors=True)
    typical = {name: median(values) for name, values in times.items()}
    ratio = typical["torch"] / typical["fastinit"]
    rows = [
        (f"write {nbytes / 1e9:.1f} GB, not synced", f"{nbytes / typical['fastinit'] / 1e9:.2f} GB/s", ""),
        ("torch init and save_file", f"{nbytes / typical['torch'] / 1e9:.2f} GB/s", ""),
        ("times torch", f"{ratio:.2f}", "at least 3"),
        ("write, synced", f"{nbytes / typical['durable'] / 1e9:.2f} GB/s", ""),
        ("peak memory, fastinit", f"{peaks['fastinit']:.0f} MiB", "under 300"),
        ("the same, a plan of 64 GiB", f"{large:.0f} MiB", "under 300"),
        ("peak memory, torch", f"{peaks['torch']:.0f} MiB", ""),
        ("verify, from the page cache", f"{nbytes / typical['verify'] / 1e9:.2f} GB/s", "at least 2"),
        ("the same, first after the write", f"{nbytes / typical['verify first'] / 1e9:.2f} GB/s", ""),
        ("20,000 tensors of 10 KB", f"{median(small):.2f} s", "under 3"),
    ]
    for what, value, floor in rows:
        print(f"{what:32} {value:>12}  {floor}")
    reached = (
        ratio >= 3,
        peaks["fastinit"] < 300,
        large < 300,
        nbytes / typical["verify"] / 1e9 >= 2,
        median(small) < 3,
    )
    print(f"{sum(reached)} floors reached, {len(reached) - sum(reached)} MISSED; {time.strftime('%Y-%m-%d')}")
    sys.exit(0 if all(reached) else 1)


if __name__ == "__main__":
    main()
