"""The entry point of ``mnist`` and ``python -m mnist_cli``: handles signals during the imports too."""

import gc
import os
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line. A signal during the imports ends it with the same exit code as later."""
    gc.disable()  # until the command runs: a sixth of the time to `mnist --help`
    os.environ["MPLBACKEND"] = "agg"  # pictures go into files; a notebook's backend may be missing
    try:
        from mnist_cli.base.signals import hear_endings

        hear_endings()
        from mnist_cli.base.spinning import spin_briefly

        spin_briefly()
        from mnist_cli.base.process import restart_in_utf8

        restart_in_utf8()
        from mnist_cli.cli import main as run
    except KeyboardInterrupt as stop:
        _stopped(stop)
    run()


def _stopped(stop: KeyboardInterrupt) -> NoReturn:
    """Report a signal and exit, without the modules that usually do so: they may be half imported."""
    import json

    kind, code = ("interrupted", 130) if type(stop) is KeyboardInterrupt else ("terminated", 143)
    sys.stderr.write(f"{kind}\n")
    if "--json" in sys.argv:
        document = {"error": {"code": code, "kind": kind, "message": kind}}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
