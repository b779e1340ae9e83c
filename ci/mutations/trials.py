"""Trials in forked children of a process that has imported and collected everything.

A first child for each test file says which lines of the targets each test passes and how long it takes. Then comes a
child for each fault: it plants it, and runs the tests that pass its line, the fastest first, until one fails.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import coverage
import pytest

from mutations.faults import ROOT, Fault
from mutations.guards import GUARDS
from mutations.planting import plant

MOST_SECONDS = 20.0  # of processor time, of the tests that a fault is shown to
LONGEST_TEST = 5.0  # of those, one
# What a child does, in how many seconds of processor time, and what takes its answer, or how it died.
Job = tuple[Callable[[], Any], float, Callable[[Any, str], None]]
CAUGHT, SURVIVED, UNREACHED = "caught", "survived", "unreached"


@dataclass
class Reach:
    """What the sound project does: seconds of every test that passes, and the tests that pass a line of a module."""

    seconds: dict[str, float] = field(default_factory=dict)
    tests: dict[str, dict[int, list[str]]] = field(default_factory=lambda: defaultdict(lambda: defaultdict(list)))
    failed: list[str] = field(default_factory=list)

    def add(self, found: dict[str, Any]) -> None:
        """What the child of one test file wrote."""
        self.seconds |= found["seconds"]
        self.failed += found["failed"]
        for path, lines in found["tests"].items():
            for line, names in lines.items():
                self.tests[path][int(line)] += names

    def of(self, fault: Fault, guards: Sequence[str]) -> list[str]:
        """The tests of these files that a fault is shown to, the fastest first."""
        lines = self.tests[fault.path]
        wanted = range(fault.first, fault.line + 1) if not fault.at_import else list(lines)
        passing = {name for line in wanted for name in lines.get(line, ())}
        names = {name for name in passing if name in self.seconds and name.partition("::")[0] in guards}
        chosen, left = [], MOST_SECONDS
        for name in sorted(names, key=lambda name: (self.seconds[name], name)):
            left -= self.seconds[name]
            if left < 0 or self.seconds[name] > LONGEST_TEST:
                break
            chosen.append(name)
        return chosen


@dataclass(frozen=True)
class Trial:
    """What became of a fault: caught (by a test, or because the process died or did not end), or not."""

    key: str
    path: str
    line: int
    result: str
    by: str
    shown: int  # tests


class Trials:
    """A plugin of pytest that runs these trials instead of the tests it has collected."""

    def __init__(
        self,
        guards: Mapping[str, Sequence[str]],
        faults: Callable[[], Iterator[Fault]],
        workers: int,
        folder: Path,
        kept: Path,
    ) -> None:
        self.guards, self.faults, self.workers, self.folder, self.kept = guards, faults, workers, folder, kept
        self.reach = Reach()
        self.done: list[Trial] = []
        self._said = os.dup(1)

    def say(self, text: str) -> None:
        """Print past the capture of pytest."""
        os.write(self._said, f"{text}\n".encode())

    @pytest.hookimpl(tryfirst=True)
    def pytest_configure(self) -> None:
        """Name the profile of hypothesis: a failing example is not made smaller, for that it fails is enough."""
        from hypothesis import Phase, settings

        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("mutation", max_examples=60, deadline=None, derandomize=True, phases=phases)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Measure what the tests reach, then try the faults."""
        self._measure(session)
        for name in self.reach.failed:
            self.say(f"not asked, since it fails without a fault: {name}")
        by_name = {item.nodeid: item for item in session.items}
        self._in_children(self._trials(session, by_name))
        return True

    def _measure(self, session: pytest.Session) -> None:
        """What each test file reaches: as it was kept, if the file has not changed since, or in a child."""
        files: dict[str, list[pytest.Item]] = defaultdict(list)
        for item in session.items:
            files[item.nodeid.partition("::")[0]].append(item)
        memory = self.kept / "reach.json"
        known = json.loads(memory.read_text()) if memory.exists() else {}
        of = {name: digest([name, *GUARDS]) for name in files}
        for name in files:
            if name in known and known[name]["of"] == of[name]:
                self.reach.add(known[name])
            else:
                known.pop(name, None)

        def jobs() -> Iterator[Job]:
            for name, items in files.items():
                if name in known:
                    continue

                def add(result: Any, died: str, name: str = name, items: list[pytest.Item] = items) -> None:
                    self.say(f"{name}: {len(items)} tests{' ' + died if died else ''}")
                    if result is None:
                        raise RuntimeError(f"{name} could not be measured, whose child {died}")
                    known[name] = result | {"of": of[name]}
                    self.reach.add(result)
                    memory.write_text(json.dumps(known))

                yield lambda items=items: reach_of(session, items, list(GUARDS)), 600.0, add

        self._in_children(jobs())

    def _trials(self, session: pytest.Session, by_name: dict[str, pytest.Item]) -> Iterator[Job]:
        memory = self.kept / "trials.jsonl"
        lines = memory.read_text().splitlines() if memory.exists() else []
        known = {(one["of"], one["trial"]["key"]): Trial(**one["trial"]) for one in map(json.loads, lines)}
        of = {path: digest([path, *guards]) for path, guards in self.guards.items()}
        for fault in self.faults():
            if (of[fault.path], fault.key) in known:
                self.done.append(known[of[fault.path], fault.key])
                continue
            names = [name for name in self.reach.of(fault, self.guards[fault.path]) if name in by_name]

            def add(result: Any, died: str, fault: Fault = fault, names: list[str] = names) -> None:
                by = died or (result["by"] if names else "")
                found = UNREACHED if not names else CAUGHT if by else SURVIVED
                trial = Trial(fault.key, fault.path, fault.line, found, by, len(names))
                self.done.append(trial)
                with memory.open("a") as file:
                    file.write(json.dumps({"of": of[fault.path], "trial": asdict(trial)}) + "\n")
                if trial.result != CAUGHT:
                    self.say(f"{trial.result} ({trial.shown} tests) {fault.path}:{fault.line} {fault.key}")

            if not names:
                add(None, "")
                continue
            items = [by_name[name] for name in names]
            seconds = 10.0 + 5.0 * sum(self.reach.seconds[name] for name in names)
            yield lambda items=items, fault=fault: shown_to(session, items, fault), seconds, add

    def _in_children(self, jobs: Iterable[Job]) -> None:
        """Run each job in a child of its own, several at once; give what it found, or how it died."""
        waiting, running, number = iter(jobs), {}, 0
        while True:
            while len(running) < self.workers and (job := next(waiting, None)) is not None:
                work, seconds, add = job
                number += 1
                answer = self.folder / f"answer-{number}.json"
                running[_fork(work, seconds, answer)] = (answer, add, time.monotonic() + 60.0 + 20.0 * seconds)
            if not running:
                return
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                time.sleep(0.01)
                for late in [pid for pid, (_, _, deadline) in running.items() if time.monotonic() > deadline]:
                    _kill(late)
                continue
            if child not in running:  # somebody else's
                continue
            answer, add, _ = running.pop(child)
            _kill(child)  # what it has started
            whole = answer.exists()
            code = os.waitstatus_to_exitcode(status)
            died = "" if whole else f"died of {signal.Signals(-code).name}" if code < 0 else f"exited with {code}"
            said = answer.with_suffix(".traceback")
            if said.exists():
                died += f": {said.read_text()}"
            add(json.loads(answer.read_text()) if whole else None, died)
            answer.unlink(missing_ok=True)


def _fork(work: Callable[[], Any], seconds: float, answer: Path) -> int:
    child = os.fork()
    if child:
        return child
    code = 3
    try:
        os.setpgid(0, 0)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 1)
        os.dup2(null, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, int(seconds) + 1))
        resource.setrlimit(resource.RLIMIT_AS, (16 << 30, 16 << 30))
        text = json.dumps(work())
        unfinished = answer.with_suffix(".partial")
        unfinished.write_text(text)
        unfinished.rename(answer)
        code = 0
    except BaseException:
        answer.with_suffix(".traceback").write_text(traceback.format_exc())
    finally:
        os._exit(code)


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def digest(paths: Sequence[str]) -> str:
    """Of files of the project: what was found with these contents holds until one of them changes."""
    return hashlib.sha256(b"".join((ROOT / path).read_bytes() for path in paths)).hexdigest()


def run(session: pytest.Session, item: pytest.Item, following: pytest.Item | None) -> bool:
    """Run one test; whether it passes."""
    session.testsfailed = 0
    item.config.hook.pytest_runtest_protocol(item=item, nextitem=following)
    return not session.testsfailed


def reach_of(session: pytest.Session, items: list[pytest.Item], targets: list[str]) -> dict[str, Any]:
    """The seconds of these tests, and which of them pass each line of the targets."""
    paths = [str(ROOT / path) for path in targets]
    for path in targets:  # What planting itself would break is no guard
        plant(path, compile((ROOT / path).read_text(), str(ROOT / path), "exec"))
    measured = coverage.Coverage(data_file=None, config_file=False, include=paths)
    seconds, failed = {}, []
    measured.start()
    for item, following in zip(items, [*items[1:], None], strict=True):
        measured.switch_context(item.nodeid)
        begin = time.process_time()
        if run(session, item, following):
            seconds[item.nodeid] = time.process_time() - begin
        else:
            failed.append(item.nodeid)
    measured.stop()
    data = measured.get_data()
    tests = {path: data.contexts_by_lineno(str(ROOT / path)) for path in targets}
    return {"seconds": seconds, "failed": failed, "tests": tests}


def shown_to(session: pytest.Session, items: list[pytest.Item], fault: Fault) -> dict[str, str]:
    """Plant a fault and run the tests; the first that fails, or none."""
    try:
        plant(fault.path, fault.code)
    except Exception as error:
        return {"by": f"{type(error).__name__} at import"}
    for item, following in zip(items, [*items[1:], None], strict=True):
        if not run(session, item, following):
            return {"by": item.nodeid}
    return {"by": ""}


def collected(tests: list[str], trials: Trials) -> str:
    """Start pytest with the trials in place of its loop; what it says if it cannot, else nothing."""
    said = trials.folder / "pytest.txt"
    with said.open("w") as file:
        kept = os.dup(1)
        os.dup2(file.fileno(), 1)
        try:
            code = pytest.main(["-p", "no:cacheprovider", "--hypothesis-profile=mutation", *tests], plugins=[trials])
        finally:
            sys.stdout.flush()
            os.dup2(kept, 1)
            os.close(kept)
    return said.read_text() if code else ""
