"""``python -m mnist_cli`` and the command ``mnist``: the program, imported so that Ctrl-C is heard."""

import sys


def main() -> None:
    """Run the command line; Ctrl-C during the import is an interruption, not a traceback."""
    try:
        from mnist_cli.cli import main as run
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        sys.exit(130)
    run()


if __name__ == "__main__":
    main()
