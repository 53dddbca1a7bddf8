"""``python -m mnist_cli`` and the command ``mnist``: the program, imported so that signals are heard."""

import gc
import os
import sys
from typing import NoReturn


def main() -> None:
    """Run the command line; a signal during the import ends it as a signal to a command does."""
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
    """Report a signal without the modules that do so later; they may be half imported."""
    import json

    kind, code = ("interrupted", 130) if type(stop) is KeyboardInterrupt else ("terminated", 143)
    sys.stderr.write(f"{kind}\n")
    if "--json" in sys.argv:
        document = {"error": {"code": code, "kind": kind, "message": kind}}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
