"""`progress=True` is a bar of tqdm, wherever progress is taken; a function is called as before."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading

import numpy as np
import pytest

import fastinit
from fastinit.compare import Recipe
from fastinit.edit import Redraw
from fastinit.files.npy import fill_file
from fastinit.plan import Tensor
from fastinit.progress import following

PLAN = fastinit.Plan((Tensor("w", (300, 40), "float32", fastinit.laws.Normal(0.0, 0.02)),))


@pytest.fixture
def bars(monkeypatch):
    """The bars that were made, as what they counted."""
    import tqdm.auto

    made = []

    class Bar:
        def __init__(self, *, total, **options):
            self.total, self.n, self.closed, self.options = total, 0, 0, options
            made.append(self)

        def update(self, more):
            assert not self.closed
            self.n += more

        def close(self):
            self.closed += 1

    monkeypatch.setattr(tqdm.auto, "tqdm", Bar)
    return made


def calls(folder):
    """Every public function that takes progress, on something small."""
    fastinit.write(PLAN, folder / "c", seed=0, durable=False)
    law, buf = fastinit.laws.Normal(), np.empty(1 << 12, np.float32)
    return {
        "fill": lambda p: fastinit.fill(buf, law, seed=0, progress=p),
        "fill_he_normal": lambda p: fastinit.fill_he_normal(buf, 64, seed=0, progress=p),
        "fill_many": lambda p: fastinit.fill_many([(buf, law, "w")], seed=0, progress=p),
        "new": lambda p: fastinit.new(1 << 12, law, seed=0, progress=p),
        "fill_file": lambda p: fill_file(folder / "w.npy", (64, 64), law, seed=0, progress=p, overwrite=True),
        "write": lambda p: fastinit.write(PLAN, folder / "fresh", seed=0, durable=False, progress=p),
        "verify": lambda p: fastinit.verify(folder / "c", progress=p),
        "show": lambda p: fastinit.show(folder / "c", progress=p),
        "edit": lambda p: fastinit.edit(folder / "c", [Redraw("w")], seed=1, durable=False, progress=p),
        "compare": lambda p: fastinit.compare("relu", depth=2, width=4, batch=4, training=None, progress=p),
    }


NAMES = ("fill", "fill_he_normal", "fill_many", "new", "fill_file", "write", "verify", "show", "edit", "compare")


@pytest.mark.parametrize("name", NAMES)
def test_true_is_a_bar_that_ends_at_its_total(name, bars, tmp_path):
    calls(tmp_path)[name](True)
    (bar,) = bars
    assert bar.n == bar.total > 0
    assert bar.closed == 1


@pytest.mark.parametrize("name", NAMES)
def test_false_is_no_bar_and_a_function_is_called_and_a_number_is_refused(name, bars, tmp_path):
    call, seen = calls(tmp_path)[name], []
    call(False)
    with pytest.raises(TypeError, match="progress is 7; pass True for a bar, or a function"):
        call(7)
    call(lambda done, total: seen.append((done, total)))
    assert seen[-1][0] == seen[-1][1]
    assert not bars


def test_every_public_function_that_takes_progress_is_in_this_test():
    taking = {
        name
        for name in fastinit.__all__
        if inspect.isfunction(thing := getattr(fastinit, name)) and "progress" in inspect.signature(thing).parameters
    }
    assert {name for name in taking if name == "fill_many" or not name.startswith("fill_")} == set(NAMES) - {
        *("fill_he_normal", "fill_file")
    }


def test_without_tqdm_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tqdm.auto", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'fastinit-kernels\[progress\]'"):
        following(True)


def test_the_bar_in_a_terminal_is_that_of_tqdm():
    program = "import fastinit, numpy; fastinit.fill_normal(numpy.empty(1 << 22, 'f4'), seed=0, progress=True)"
    answer = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert "100%" in answer.stderr and "16.8M/16.8M" in answer.stderr
    assert answer.stdout == ""


def test_training_is_followed_too(bars):
    pytest.importorskip("sklearn")
    fastinit.compare("relu", depth=2, width=4, batch=4, training=Recipe(depth=2, width=4, epochs=1), progress=True)
    assert bars[0].n == bars[0].total


def test_a_bar_that_ctrl_c_found_half_made_is_dropped_without_a_traceback(monkeypatch):
    heard = []
    monkeypatch.setattr(sys, "unraisablehook", heard.append)
    report = following(True)
    made = report.__self__.make
    half = made.__new__(made)  # __init__ has not begun
    del half
    assert not heard


def test_bars_share_one_thread_of_tqdm():
    def threads_of_tqdm():
        return sum(thread.name == "tqdm_monitor" for thread in threading.enumerate())

    report = following(True)
    report(1, 2)
    report(2, 2)
    before = threads_of_tqdm()
    for _ in range(3):
        report = following(True)
        report(1, 2)
        report(2, 2)
    assert threads_of_tqdm() == before
