"""Print what pyproject.toml wants, each at the lowest version that it allows: python ci/oldest_of.py test torch ..."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def lowest(requirement: str) -> str:
    """The requirement as a pin; one without a lower bound is an error, since nobody tests what that allows."""
    match = re.fullmatch(r"([A-Za-z0-9._-]+)>=([0-9][0-9.]*)", requirement)
    if match is None:
        raise ValueError(f"{requirement!r} in pyproject.toml has no lower bound of the form name>=version")
    return f"{match[1]}=={match[2]}"


def main(extras: list[str]) -> None:
    """Print the pins of the package and of these extras."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *(one for extra in extras for one in project["optional-dependencies"][extra])]
    print("\n".join(sorted({lowest(one) for one in wanted})))


if __name__ == "__main__":
    main(sys.argv[1:])
