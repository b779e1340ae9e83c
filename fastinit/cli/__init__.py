"""The command line: fastinit fill, plan, write, edit, verify, show, recipes, compare, bits, selftest, info."""

from fastinit.cli.command import main as main
