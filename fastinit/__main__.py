"""`python -m fastinit`, and the command `fastinit`."""

import sys


def main() -> int:
    """Run the command line; Ctrl-C while it is imported ends it as Ctrl-C while it works does."""
    try:
        from fastinit.cli import main as run

        return run()
    except KeyboardInterrupt:
        print("fastinit: error: interrupted", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
