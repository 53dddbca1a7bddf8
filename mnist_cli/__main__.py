"""``python -m mnist_cli`` and the command ``mnist``: the program, imported so that Ctrl-C is heard."""

import gc
import os
import sys

SPINS = "5000"
"""How often a thread of torch's looks for work before it sleeps; GNU OpenMP's default is 300,000.

Measured with the preset ``fast`` on two cores (2 to 3 runs each, alternating): on a quiet machine
1.2 to 1.3 s of training instead of 1.1 to 1.2; beside one other busy process 5 s instead of 16 to
66, since a thread that spins holds the core that the one it waits for would need.
"""


def main() -> None:
    """Run the command line; Ctrl-C during the import is an interruption, not a traceback."""
    spin_briefly()
    gc.disable()  # until the command runs: a sixth of the time to `mnist --help`
    os.environ["MPLBACKEND"] = "agg"  # pictures go into files; a notebook's backend may be missing
    try:
        from mnist_cli.base.process import restart_in_utf8

        restart_in_utf8()
        from mnist_cli.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(130)
    run()


def spin_briefly() -> None:
    """Let OpenMP's threads sleep soon, unless the user's environment says how they are to wait.

    It reads its environment when torch is imported, so this comes before.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


if __name__ == "__main__":
    main()
