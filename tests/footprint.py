"""Runs commands in one fresh process, and prints which of them used the network.

The arguments are the commands as JSON. A command may use sockets only if it asks for none: each
attempt is refused, and reported on stdout as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

REFUSED = (
    *("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname"),
    *("socket.sendto", "socket.sendmsg", "urllib.Request"),
)


def main() -> None:
    """Run the commands, their output on stderr, and print what was refused and how they ended."""
    seen: list[str] = []

    def refuse(event: str, arguments: tuple[Any, ...]) -> None:
        if event in REFUSED:
            seen.append(f"{event} {arguments!r:.200}")
            raise ConnectionError(f"{event} is refused")

    sys.addaudithook(refuse)
    from mnist_cli import cli

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for words in json.loads(sys.argv[1]):
        seen.clear()
        code = cli.run(words)
        print(json.dumps({"words": words, "code": code, "seen": seen}), file=answers, flush=True)


if __name__ == "__main__":
    main()
