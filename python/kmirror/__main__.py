"""The command line: ``python -m kmirror``, the same as the program ``kmirror``."""

import sys

from ._kmirror import run_command


def main() -> int:
    """Does what the arguments of this process say, and returns the exit code."""
    # In front of what the command prints.
    sys.stdout.flush()
    return run_command(["kmirror", *sys.argv[1:]], [sys.executable, "-m", "kmirror"])


if __name__ == "__main__":
    sys.exit(main())
