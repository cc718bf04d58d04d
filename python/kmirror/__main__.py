"""The command line: ``python -m kmirror``, the same as the program ``kmirror``."""

import signal
import sys

from ._kmirror import run_command


def main() -> int:
    """Does what the arguments of this process say, and returns the exit code."""
    # As for every program: the command does about signals what has to be done, and Python has no say in it.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return run_command(["kmirror", *sys.argv[1:]], [sys.executable, "-m", "kmirror"])


if __name__ == "__main__":
    sys.exit(main())
