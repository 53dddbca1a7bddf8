"""``python -m mnist_cli`` and the command ``mnist``: the program, imported so that Ctrl-C is heard."""

import gc
import os
import sys

from mnist_cli.base.spinning import spin_briefly


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


if __name__ == "__main__":
    main()
