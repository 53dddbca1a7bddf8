"""Signals wherever the program is: the documented code, and nothing lost."""

from __future__ import annotations

import itertools
import random
import signal
import socket
import time
from functools import partial
from pathlib import Path

from program import Outcome, wait_until
from readers import PICTURE
from tally import Tally
from warm import RUN, WORKERS, Warm, Whole, ends_alike, newest_run

from mnist_cli.base.signals import NUMBERS

SEED = 20261124
CODES = {int(number): 130 if number == signal.SIGINT else 143 for number in NUMBERS}
STEP = "mnist_cli.training.step:Stepper.__call__"

PLACES = {
    "reading the data": ("mnist_cli.training.run:load", 1),
    "before the first step": ("mnist_cli.training.session:Session._write_beginning", 1),
    "the first step": (STEP, 1),
    "the last step": (STEP, 9),
    "an epoch's first step": (STEP, 4),
    "validation": ("mnist_cli.training.loop:validate", 2),
    "saving": ("mnist_cli.checkpoints.checkpoint:write", 6),
    "between rename and fsync": ("mnist_cli.base.files:sync_folder", 9),
    "writing metrics": ("mnist_cli.training.session:Session._write_metrics", 3),
    "reading the test set": ("mnist_cli.training.session:Session.score_test", 1),
}
SHORT = {
    "saving": signal.SIGTERM,
    "validation": signal.SIGINT,
    "an epoch's first step": NUMBERS[-1],
}


def judge(done: Outcome, number: int, folder: Path) -> str:
    """What is wrong with how it ended; "" if nothing is."""
    if done.code == 0:
        run = newest_run(folder)
        ended = run is not None and (run / "summary.json").is_file()
        return "" if ended else "it said that it was done, and was not"
    if done.code != CODES[number]:
        return f"exit code {done.code}: {done.err}"
    if "Traceback" in done.err:
        return done.err
    run = newest_run(folder)
    trained = run is not None and "trained to the end" in done.err
    if run is not None and not trained and "Resume with: mnist train --resume" not in done.err:
        return f"no command to resume: {done.err}"
    if (
        run is not None
        and not trained
        and f"is in {run.relative_to(folder)}/last.pt" not in done.err
    ):
        return f"it does not say where the checkpoint is: {done.err}"
    return ""


def test_a_signal_in_each_place(warm: Warm, whole: Whole, tally: Tally, tmp_path: Path) -> None:
    """SIGINT and SIGTERM in each part of a run."""
    for place, number in itertools.product(PLACES, CODES) if tally.full else SHORT.items():
        folder = tmp_path / f"{place}-{number}"
        done = warm.run(*RUN, folder=folder, faults=[["send", *PLACES[place], [number]]])
        wrong = judge(done, number, folder) or ends_alike(warm, whole, folder)
        tally.check(not wrong, f"signal {number}, {place}: {wrong}")
    tally.note(f"{len(PLACES)} places: {', '.join(PLACES)}")


def test_a_signal_at_a_random_moment(
    warm: Warm, whole: Whole, tally: Tally, tmp_path: Path
) -> None:
    """SIGINT or SIGTERM at a random moment."""
    moments = random.Random(SEED)
    codes: list[int] = []
    for try_ in range(tally.times(1, 40)):
        folder = tmp_path / str(try_)
        number = moments.choice(list(CODES))
        moment = moments.uniform(0, whole.seconds)
        process = warm.start(*RUN, folder=folder)
        time.sleep(moment)
        process.kill(number)
        done = process.wait()
        codes.append(done.code)
        # Before the program's first instruction nobody can answer but the system.
        wrong = "" if done.code == -number else judge(done, number, folder)
        wrong = wrong or ends_alike(warm, whole, folder)
        tally.check(not wrong, f"seed {SEED}, signal {number} after {moment:.4f} s: {wrong}")
    tally.note(", ".join(f"{codes.count(code)} ended with {code}" for code in sorted(set(codes))))


def test_a_signal_to_loader_processes_too(
    warm: Warm, whole_with_workers: Whole, tally: Tally, tmp_path: Path
) -> None:
    """SIGINT and SIGTERM to the group, with DataLoader workers."""
    cases = itertools.product(CODES, range(1, 10)) if tally.full else [(signal.SIGINT, 5)]
    for number, step in cases:
        folder = tmp_path / f"{number}-{step}"
        fault = ["send", STEP, step, [number], True]
        done = warm.run(*RUN, *WORKERS, folder=folder, faults=[fault])
        wrong = judge(done, number, folder)
        wrong = wrong or ends_alike(warm, whole_with_workers, folder, *WORKERS)
        tally.check(not wrong, f"signal {number}, step {step}: {wrong}")


def test_a_second_ctrl_c_leaves_at_once(
    warm: Warm, whole: Whole, tally: Tally, tmp_path: Path
) -> None:
    """A second SIGINT: the program exits at once."""
    for place in [*PLACES][2:] if tally.full else ["saving", "an epoch's first step"]:
        folder = tmp_path / place
        done = warm.run(*RUN, folder=folder, faults=[["send", *PLACES[place], [signal.SIGINT] * 2]])
        wrong = "" if done.code == 130 else f"exit code {done.code}: {done.err}"
        wrong = wrong or ends_alike(warm, whole, folder)
        tally.check(not wrong, f"{place}: {wrong}")


PROXIES = ("http_proxy", "https_proxy", "all_proxy")
SCORES = "mnist_cli.training.scoring:_scores"
ELSEWHERE = (
    (["eval"], SCORES),
    (["inspect-grad"], "mnist_cli.gradients.batch_loss:walk"),
    (["inspect-grad"], "mnist_cli.base.files:sync_folder"),
    (["predict", PICTURE], SCORES),
    (["plot", "--only", "confusion", "--format", "svg"], SCORES),
    (["plot", "--only", "filters", "--format", "svg"], "mnist_cli.base.files:sync_folder"),
)


def test_a_signal_in_other_commands(warm: Warm, whole: Whole, tally: Tally) -> None:
    """SIGINT and SIGTERM in mnist eval, inspect-grad, predict and plot."""
    numbers = CODES if tally.full else [signal.SIGINT]
    for (words, place), number in itertools.product(ELSEWHERE[:: tally.times(3, 1)], numbers):
        before = set(whole.folder.rglob("*"))
        done = warm.run(*words, folder=whole.folder, faults=[["send", place, 1, [number]]])
        wrong = "" if done.code == CODES[number] else f"exit code {done.code}: {done.err}"
        left = set(whole.folder.rglob("*")) - before
        wrong = wrong or ", ".join(str(path) for path in left if path.suffix == ".tmp")
        tally.check(not wrong, f"{words}, signal {number}: {wrong}")


def test_a_signal_while_downloading(warm: Warm, tally: Tally, tmp_path: Path) -> None:
    """SIGINT and SIGTERM in a download: no partial file is left."""
    proxies = {name: None for low in PROXIES for name in (low, low.upper())}
    parts = (0, 1, 1_000_000) if tally.full else (1_000_000,)
    for part, number in itertools.product(parts, CODES):
        folder = tmp_path / f"{number}-{part}"
        with socket.create_server(("127.0.0.1", 0)) as server:
            address = f"http://127.0.0.1:{server.getsockname()[1]}/"
            process = warm.start(
                *("data", "fetch", "mnist", "--data-dir", "data"),
                folder=folder,
                faults=[["mirrors_at", address]],
                environment=proxies,
            )
            with send_a_part(server, part):
                wait_until(partial(begun, folder, part))
                process.kill(number)
                done = process.wait(60)
        wrong = "" if done.code == CODES[number] else f"exit code {done.code}: {done.err}"
        left = [path.name for path in folder.rglob("*") if path.is_file()]
        wrong = wrong or ", ".join(name for name in left if not name.endswith(".lock"))
        tally.check(not wrong, f"signal {number} after {part:,} bytes: {wrong}")


BUFFER = 500_000
"""More bytes than a file keeps to itself before it writes them."""


def begun(folder: Path, part: int) -> bool:
    """Whether a part of a file is on the disk, if it is large enough."""
    return part < BUFFER or any(path.stat().st_size for path in folder.rglob("*.tmp"))


def send_a_part(server: socket.socket, size: int) -> socket.socket:
    """Answer the first to ask with the beginning of a file, and then with silence."""
    server.settimeout(60)
    asked = b""
    while b"GET" not in asked:  # first comes a connection that only looks who answers
        connection, _ = server.accept()
        connection.settimeout(60)
        asked = connection.recv(4096)
        if not asked:
            connection.close()
    if size:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9912422\r\n\r\n" + bytes(size))
    return connection
