"""The entry point of ``mnist`` and ``python -m mnist_cli``: handles signals during the imports too."""

import gc
import os
import sys


def main() -> None:
    """Run the command line. A signal during the imports ends it with the same exit code as later."""
    gc.disable()  # until the command runs: saves a sixth of the time of `mnist --help`
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
        _stopped(terminated=type(stop) is not KeyboardInterrupt)
        return
    run()


def _stopped(*, terminated: bool) -> None:
    """Report a signal and exit, without the modules that usually do so: they may be half imported."""
    import json

    kind, code = ("terminated", 143) if terminated else ("interrupted", 130)
    document = {"error": {"code": code, "kind": kind, "message": kind}}
    said = [(sys.stderr, kind)]
    if "--json" in sys.argv:
        said.append((sys.stdout, json.dumps(document, indent=2)))
    for stream, text in said:
        try:
            stream.write(f"{text}\n")
            stream.flush()
        except (AttributeError, OSError):  # it is closed
            pass
    # After Ctrl-C in code that exec() runs, as for a dataclass, sys.exit would end by the signal.
    os._exit(code)


if __name__ == "__main__":
    main()
