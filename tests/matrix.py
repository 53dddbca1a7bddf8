"""Runs the tests that compute under other settings of the machine: ``make test-matrix``.

Each row is one run of pytest with another processor, core, thread, user or Python, imitated by an
environment variable or a prefix of the command. A row that this machine cannot run says why.
Prints a Markdown table, and ends with exit code 1 if a test failed in any row.
"""

from __future__ import annotations

import argparse
import atexit
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

ROOT = Path(__file__).parent.parent
WORDS = (
    "render",
    *(
        f"test_{name}.py"
        for name in (
            *("asserting", "inspecting", "large_graphs", "module_calls", "retention"),
            *("summarizing", "torch_alone", "watching"),
        )
    ),
)
"""What of tests/autograd is about structure and text, and the same on each processor."""

PATHS = (
    *("tests/autograd", *(f"--ignore=tests/autograd/{name}" for name in WORDS)),
    *("tests/exporting", "tests/insight"),
    *("tests/proving/test_proofs.py", "tests/proving/test_rounding.py"),
    *("tests/training", "tests/networks"),
    *("tests/devices/test_device.py", "tests/devices/test_kinds.py"),
    "tests/checkpoints/test_formats.py",
    *("tests/data/test_augment.py", "tests/data/test_batches.py"),
    *("tests/commands/test_draw.py", "tests/commands/test_ensembles.py"),
    *("tests/commands/test_evaluate.py", "tests/commands/test_inspect_dump.py"),
    *("tests/commands/test_inspect_compare.py", "tests/commands/test_predict.py"),
)
"""The parts of the suite whose results come from arithmetic."""

SPARED = (
    "--ignore=tests/exporting/test_export_failures.py",
    *(
        f"--ignore=tests/training/test_{name}.py"
        for name in ("expected_errors", "interfaces", "launch", "loggers")
    ),
    *(
        f"--deselect=tests/training/test_distributed.py::test_{name}"
        for name in (
            *("a_meeting_to_which_nobody_comes_ends", "a_run_is_interrupted_and_resumed"),
            "what_cannot_be_combined",
        )
    ),
    *(
        f"--deselect=tests/commands/test_draw.py::test_{name}"
        for name in (
            *("ctrl_c_ends_it_normally_and_frees_the_port", "the_browser_is_opened"),
            "sigterm_is_exit_143_and_json_is_one_document",
        )
    ),
)
"""Slow tests of messages, signals and processes among these: only other rows run them."""

PROCESSES = (
    *("tests/data/test_workers.py", "tests/devices/test_allocator.py"),
    *("tests/devices/test_memory.py", "tests/proving/test_programs.py"),
    *("tests/commands/test_cli.py", "tests/commands/test_output.py"),
)
"""What depends on cores, users and Python, but on no processor."""

NOBODY = 65534


@dataclass(frozen=True)
class Row:
    """One setting: environment variables, and the command that starts Python."""

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    python: Callable[[], Sequence[str]] = lambda: (sys.executable,)
    processor: bool = False


class NotHere(Exception):
    """This machine cannot run a row; the message says why."""


@dataclass(frozen=True)
class Result:
    """How a row ended; ``counts`` is pytest's own summary, or why the row did not run."""

    row: str
    passed: bool | None
    counts: str
    seconds: float
    failures: tuple[str, ...] = ()


def _x86() -> Sequence[str]:
    if platform.machine().lower() not in {"x86_64", "amd64"}:
        raise NotHere("not an x86-64 processor")
    return (sys.executable,)


def _with(feature: str) -> Callable[[], Sequence[str]]:
    """Python on a processor that has a feature to hide; on others a row would change nothing."""

    def python() -> Sequence[str]:
        _x86()
        info = Path("/proc/cpuinfo")
        if info.exists() and feature not in info.read_text(encoding="utf-8", errors="replace"):
            raise NotHere(f"this processor has no {feature} to hide")
        return (sys.executable,)

    return python


def _one_core() -> Sequence[str]:
    if shutil.which("taskset") is None:
        raise NotHere("taskset is not installed")
    return ("taskset", "-c", str(min(os.sched_getaffinity(0))), sys.executable)


def _no_bf16() -> Sequence[str]:
    """Python in a mount namespace in which /proc/cpuinfo does not list bf16."""
    _with("bf16")()
    hidden = Path(tempfile.gettempdir()) / f"cpuinfo-without-bf16-{os.getpid()}"
    info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    atexit.register(hidden.unlink, missing_ok=True)
    hidden.write_text(re.sub(r" (avx512_bf16|amx_bf16)\b", "", info), encoding="utf-8")
    script = 'mount --bind "$0" /proc/cpuinfo && exec "$@"'
    words = ("unshare", "-rm", "sh", "-c", script, str(hidden))
    if shutil.which("unshare") is None or subprocess.run([*words, "true"], check=False).returncode:
        raise NotHere("user namespaces are not allowed")
    return (*words, sys.executable)


def _ordinary_user() -> Sequence[str]:
    """Python as a user who is not root; of root's own installation, the system's of that version."""
    if os.geteuid() != 0:
        raise NotHere("every row runs as an ordinary user already")
    if shutil.which("setpriv") is None:
        raise NotHere("setpriv is not installed")
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
    system = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    packages = f"PYTHONPATH={ROOT}{os.pathsep}{sysconfig.get_path('purelib')}"
    for python in ((sys.executable,), ("env", packages, system)):
        words = (*become, *python)
        again = "import subprocess, sys, torch; subprocess.run([sys.executable, '-V'], check=True)"
        tried = subprocess.run([*words, "-c", again], check=False, capture_output=True)
        if not tried.returncode:
            return words
    raise NotHere(f"user {NOBODY} may not read {sys.executable}, and {system} is not there")


def _other_torch(name: str, *requirements: str) -> Callable[[], Sequence[str]]:
    """Python in ``.venv-NAME``, made where it is not there, with another torch."""

    def python() -> Sequence[str]:
        folder = ROOT / f".venv-{name}"
        command = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
        if not (folder / ".done").exists():
            _install(folder, command, requirements)
        return (str(command),)

    return python


def _install(folder: Path, python: Path, requirements: Sequence[str]) -> None:
    """The project's packages as pinned, except for torch and what it brings."""
    venv.create(folder, with_pip=True, clear=True)
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    others = [pin for pin in pins if not pin.startswith(("torch", "triton", "nvidia", "cuda"))]
    constraints = folder / "constraints.txt"
    constraints.write_text("\n".join(others) + "\n", encoding="utf-8")
    pip = [python, "-m", "pip", "install", "--quiet", "-c", constraints]
    done = subprocess.run([*pip, *requirements, f"{ROOT}[dev]"], check=False, capture_output=True)
    if done.returncode:
        raise NotHere(f"pip could not install {' '.join(requirements)}")
    (folder / ".done").touch()


PROCESSORS = {
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"},
    "no AVX": {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41"},
    "no AMX": {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"},
    "MKL on another vendor's CPU": {"MKL_CBWR": "COMPATIBLE"},
}
"""What makes torch, oneDNN and MKL compute as on another x86-64 processor."""

FEATURES = {"AVX2": "avx512", "no AVX": "avx", "no AMX": "amx"}
"""What a row hides, as /proc/cpuinfo spells it."""

ROWS = (
    *(
        Row(name, settings, _with(FEATURES.get(name, "")), processor=True)
        for name, settings in PROCESSORS.items()
    ),
    Row("no bf16", {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}, _no_bf16, processor=True),
    Row("one core", {}, _one_core),
    Row("two threads", {"TEST_THREADS": "2"}),
    Row("ordinary user", {}, _ordinary_user),
    Row("torch 2.10", {}, _other_torch("torch-2.10", "torch==2.10.*", "torchvision==0.25.*")),
    Row("newest torch", {}, _other_torch("torch-newest", "torch", "torchvision")),
)


def main() -> None:
    """Run the rows that the command line names, all by default."""
    options = _options()
    given = {row.name: row for row in map(_other_python, options.python)}
    rows = list({**{row.name: row for row in ROWS}, **given}.values())
    unknown = set(options.rows or ()) - {row.name for row in rows}
    if unknown:
        sys.exit(f"no such row: {', '.join(unknown)}; choose {', '.join(r.name for r in rows)}")
    if options.rows:
        rows = [row for row in rows if row.name in options.rows]
    if options.processor:
        rows = [row for row in rows if row.processor]
    results = []
    for row in rows:
        result = run(row, options.paths, options.jobs)
        results.append(result)
        print(line(result), file=sys.stderr, flush=True)
        for failure in result.failures:
            print(f"    {failure}", file=sys.stderr, flush=True)
    print("\n".join(table(results)))
    sys.exit(verdict(results))


def verdict(results: Sequence[Result]) -> int:
    """The exit code: 1 if a row failed, or if none ran."""
    ran = [result for result in results if result.passed is not None]
    return int(not ran or any(not result.passed for result in ran))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "paths", nargs="*", help="tests, and options of pytest; default: those that compute"
    )
    parser.add_argument("--rows", action="append", metavar="NAME", help="only this row")
    parser.add_argument("--jobs", default="2", metavar="N", help="processes of each row")
    parser.add_argument(
        *("--python",),
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="a row, or the one of that name, under a Python that has the test packages",
    )
    parser.add_argument("--processor", action="store_true", help="only the rows of processors")
    options, rest = parser.parse_known_args()
    usual = (*PATHS, *(SPARED if options.processor else PROCESSES))
    options.paths = [*(options.paths or usual), *rest]
    return options


def _other_python(text: str) -> Row:
    name, equals, command = text.partition("=")
    if not equals or shutil.which((shlex.split(command) or [""])[0]) is None:
        sys.exit(f"--python {text}: not of the form NAME=COMMAND, or there is no such command")
    return Row(name, python=lambda: tuple(shlex.split(command)))


def run(row: Row, paths: Sequence[str], jobs: str) -> Result:
    """Run one row to its end."""
    started = perf_counter()
    try:
        python = row.python()
    except NotHere as reason:
        return Result(row.name, None, f"not run: {reason}", 0.0)
    with tempfile.TemporaryDirectory(prefix="matrix-") as folder:
        Path(folder).chmod(0o777)
        words = [*python, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*words, "-n", jobs, "--dist", "worksteal", *paths],
            cwd=ROOT,
            env=_environment(row, folder),
            capture_output=True,
            text=True,
            check=False,
        )
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [""]
    failures = [one for one in lines if one.startswith(("FAILED ", "ERROR "))]
    seconds = perf_counter() - started
    return Result(row.name, done.returncode == 0, counts(lines), seconds, tuple(failures))


def _environment(row: Row, folder: str) -> dict[str, str]:
    """A home and a folder for temporary files that any user may write."""
    own = {"HOME": folder, "TMPDIR": folder, "HYPOTHESIS_STORAGE_DIRECTORY": folder}
    own |= {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(ROOT)}
    return {**os.environ, **own, **row.environment}


def counts(lines: Sequence[str]) -> str:
    """What pytest's last line counts, such as ``12 passed, 1 skipped``; else the line itself."""
    found = re.findall(r"\d+ (?:passed|failed|skipped|errors?|xfailed)", lines[-1])
    return ", ".join(found) or lines[-1]


def line(result: Result) -> str:
    """One row of the table."""
    mark = {True: "✓", False: "✗", None: "-"}[result.passed]
    return f"| {mark} | {result.row} | {result.counts} | {result.seconds:.0f} |"


def table(results: Sequence[Result]) -> Iterator[str]:
    """The table in Markdown."""
    yield "| | setting | tests | s |"
    yield "| --- | --- | --- | ---: |"
    yield from map(line, results)


if __name__ == "__main__":
    main()
