"""The figures of a run, and the faults that survived with the reason, written into a page between two marks."""

from __future__ import annotations

import datetime
import platform
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from marked import write_between_marks

from mutations.faults import Fault
from mutations.trials import CAUGHT, UNREACHED, Trial

EXPLAINED = Path(__file__).with_name("explained.toml")


@dataclass(frozen=True)
class Run:
    """What was planned and tried, and why some faults change nothing that a test could see."""

    command: str
    minutes: float
    planned: Sequence[Fault]
    trials: Sequence[Trial]
    explained: Mapping[str, str]

    @property
    def survivors(self) -> list[Trial]:
        """The faults that no test caught, by place."""
        missed = (trial for trial in self.trials if trial.result != CAUGHT)
        return sorted(missed, key=lambda trial: (trial.path, trial.line, trial.key))

    @property
    def open(self) -> list[Trial]:
        """Those of them that nothing explains."""
        return [trial for trial in self.survivors if trial.key not in self.explained]

    @property
    def summary(self) -> str:
        """The run in two sentences."""
        tried, caught = len(self.trials), sum(trial.result == CAUGHT for trial in self.trials)
        explained = len(self.survivors) - len(self.open)
        counted = max(tried - explained, 1)
        how = (
            f"All {tried:,} faults"
            if tried == len(self.planned)
            else (f"{tried:,} of {len(self.planned):,} possible faults, drawn at random,")
        )
        return (
            f"{how} were planted, and the tests caught {caught:,} ({100 * caught / max(tried, 1):.1f} %). "
            f"{explained:,} of the others change nothing that a caller is promised, for the reasons below; of the "
            f"{counted:,} that do, {100 * caught / counted:.1f} % were caught."
        )


def explanations() -> dict[str, str]:
    """The reason of each fault that is known to survive."""
    entries = tomllib.loads(EXPLAINED.read_text()).get("explained", []) if EXPLAINED.exists() else []
    return {entry["key"]: entry["why"] for entry in entries}


def write(page: Path, run: Run) -> None:
    """Replace what stands between the marks of a page."""
    write_between_marks(page, "ci/mutation", figures(run))


def figures(run: Run) -> str:
    """The run in words, a row for each module, and a row for each fault that survived."""
    day = datetime.datetime.now(tz=datetime.UTC).date().isoformat()
    tried, caught = Counter(one.path for one in run.trials), Counter(one.path for one in run.trials)
    caught -= Counter(one.path for one in run.survivors)
    left = Counter(one.path for one in run.open)
    possible = Counter(fault.path for fault in run.planned)
    modules = [
        f"| `{path}` | {possible[path]} | {tried[path]} | {caught[path]} | "
        f"{tried[path] - caught[path] - left[path]} | {left[path]} |"
        for path in sorted(possible)
    ]
    rows = [f"| `{one.path.removeprefix('fastinit/')}` | {_code(one)} | {_why(one, run)} |" for one in run.survivors]
    return "\n".join(
        [
            f"`{run.command}` on {day}, {run.minutes:.0f} minutes, Python {platform.python_version()}: {run.summary}",
            "",
            "| module | possible faults | planted | caught | explained | open |",
            "| --- | ---: | ---: | ---: | ---: | ---: |",
            *modules,
            "",
            "| module | fault that survived | why |",
            "| --- | --- | --- |",
            *rows,
        ]
    )


def _code(trial: Trial) -> str:
    change = trial.key.partition("::")[2].replace("|", "\\|")
    return f"`` {change} ``" if "`" in change else f"`{change}`"


def _why(trial: Trial, run: Run) -> str:
    if trial.key in run.explained:
        return run.explained[trial.key]
    return "**open**: no chosen test passes this line" if trial.result == UNREACHED else "**open**"
