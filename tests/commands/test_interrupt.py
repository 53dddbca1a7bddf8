"""Ctrl-C and SIGTERM where tests/torture does not send them: before, between and after the steps."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from own_files import network_file
from program import TINY, Run, finish, one_thread, start, start_held, wait_until

from mnist_cli.checkpoints import checkpoint as checkpoints
from mnist_cli.cli import running
from mnist_cli.errors import OutputError
from mnist_cli.runs.directory import RunDirectory

DIRECTORY = Path("runs/0001-digits-conv2")

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.mark.mnist
def test_the_command_that_resumes_finds_the_data(mnist_dir: Path) -> None:
    flags = [word for word in TINY if word not in {"--config", "smoke"}]
    flags += ["--model", "conv2", "--data-dir", str(mnist_dir), "--runs", "my runs"]
    process = start(*flags, "--epochs", 5000)
    runs = Path("my runs")
    wait_until(lambda: list(runs.glob("*/last.pt")) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    command = finish(process).err.splitlines()[-1].removeprefix("Resume with: mnist ")
    assert shlex.split(command)[:3] == ["train", "--resume", "my runs/0001-mnist-conv2"]
    resumed = start(*shlex.split(command), "--target-accuracy", 0.01)
    assert finish(resumed).code == 0


@pytest.mark.parametrize(
    ("number", "code", "kind"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_before_training_begins(tmp_path: Path, number: int, code: int, kind: str) -> None:
    """The configuration is a pipe that nobody writes: the process waits, reading it."""
    os.mkfifo("config.toml")
    process = start("train", "--json", "--config", "config.toml")
    writer = os.open("config.toml", os.O_WRONLY)  # returns once the process reads
    process.send_signal(number)
    os.close(writer)  # ends a read that begins just after Python has looked for signals
    stopped = finish(process)
    assert stopped.code == code
    error = stopped.document["error"]
    assert (error["code"], error["kind"]) == (code, kind)
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("ignored", "other", "code"),
    [(signal.SIGINT, signal.SIGTERM, 143), (signal.SIGTERM, signal.SIGINT, 130)],
)
def test_a_signal_that_the_shell_has_set_to_be_ignored(
    tmp_path: Path, ignored: signal.Signals, other: signal.Signals, code: int
) -> None:
    """As nohup and a shell's background do; both signals are sent, and only the other is heard."""
    marker = tmp_path / "held"
    process = start_held(marker, *TINY, faults=[["ignore", int(ignored)]])
    process.send_signal(ignored)
    process.send_signal(other)
    marker.unlink()
    assert finish(process).code == code


@pytest.mark.parametrize(
    ("number", "code", "words"),
    [(signal.SIGINT, 130, "interrupted\n"), (signal.SIGTERM, 143, "terminated\n")],
)
def test_a_signal_while_torch_is_imported_is_not_lost(
    tmp_path: Path, number: int, code: int, words: str
) -> None:
    """torch passes over a KeyboardInterrupt as it begins; so does this one."""
    (tmp_path / "torch.py").write_text(
        f"import os\ntry:\n    os.kill(os.getpid(), {int(number)})\n    done = True\n"
        "except KeyboardInterrupt:\n    pass\nassert done\n"
    )
    environment = one_thread(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    ended = finish(start("doctor", cwd=tmp_path, environment=environment))
    assert (ended.code, ended.out, ended.err) == (code, "", words)


@pytest.mark.parametrize(
    ("number", "code", "kind"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_during_the_first_imports(
    tmp_path: Path, number: int, code: int, kind: str
) -> None:
    # In code that exec() runs, as dataclasses do, Python remembers the Ctrl-C until it ends.
    (tmp_path / "typer.py").write_text(
        f"import signal\nexec('signal.raise_signal({int(number)})')\n"
    )
    environment = one_thread(PYTHONPATH=os.pathsep.join([str(tmp_path), *sys.path]))
    ended = finish(start("doctor", "--json", cwd=tmp_path, environment=environment))
    assert (ended.code, ended.err) == (code, f"{kind}\n")
    assert ended.document == {"error": {"code": code, "kind": kind, "message": kind}}


@pytest.mark.parametrize(
    ("number", "code", "kind"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
def test_a_signal_that_c_code_turns_into_another_error(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    number: int,
    code: int,
    kind: str,
) -> None:
    """As pydantic does while it builds the configuration's class."""

    def invoke(_arguments: list[str]) -> int:
        raise ValueError("Error building the validator: Termination: 15")

    monkeypatch.setattr(running, "_invoke", invoke)
    monkeypatch.setattr(running, "heard", [number])
    assert running.run(["doctor"]) == code
    assert capsys.readouterr().err == f"{kind}\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "place", [["send", "mnist_cli.commands.train:_report", 1], ["send_at_exit"]]
)
def test_a_signal_when_all_is_done_changes_nothing(place: list[Any], number: int) -> None:
    """While the summary is printed, and while the interpreter ends."""
    ended = finish(start(*TINY, "--quiet", faults=[[*place, [int(number)]]]))
    assert (ended.code, ended.err) == (0, "")
    assert "checkpoint" in ended.out


def test_pictures_need_no_notebook(tmp_path: Path) -> None:
    """Whose backend is named to all that it starts; nor is a matplotlibrc that lies there obeyed."""
    (tmp_path / "matplotlibrc").write_text("text.usetex: True\nfigure.facecolor: red\n")
    environment = one_thread(MPLBACKEND="module://no_such_backend.inline")
    ended = finish(start(*TINY, "--quiet", cwd=tmp_path, environment=environment))
    assert (ended.code, ended.err) == (0, "")
    assert (tmp_path / DIRECTORY / "curves.png").is_file()


def test_a_checkpoint_is_read_while_no_other_process_can_write_it(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another one that saved between reading and locking would be overwritten by an older state."""
    assert run(*TINY, "--quiet").code == 0
    read, refused = checkpoints.read, []

    def read_while_another_tries(*values: Any) -> Any:
        with pytest.raises(OutputError) as caught, RunDirectory(DIRECTORY).locked():
            pass
        refused.append(caught.value.message)
        return read(*values)

    monkeypatch.setattr(checkpoints, "read", read_while_another_tries)
    assert run("train", "--resume", DIRECTORY).code == 0
    assert "is being written by process" in refused[0]


def test_a_thread_of_a_networks_file_can_be_ended(tmp_path: Path) -> None:
    """The interpreter waits for it, after the command is done."""
    path = network_file(tmp_path / "net.py")
    with path.open("a") as file:
        file.write(
            "\n\nimport threading\nthreading.Thread(target=threading.Event().wait).start()\n"
        )
    process = start("model", f"{path}:Net", "--json", environment=one_thread())
    with process.stdout:
        while process.stdout.readline() not in ("}\n", ""):
            pass
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM
    process.stderr.close()
