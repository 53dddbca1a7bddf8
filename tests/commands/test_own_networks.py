"""A network in a user's own file, from training to replay; no checkpoint runs one."""

from __future__ import annotations

import json
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from bits import rows
from drawn import DIGITS, drawing, rasterised
from own_files import NET, body, network_file
from program import TINY, Outcome, Run, finish, start
from systems import needs_posix

from mnist_cli.networks import source as own_source

pytestmark = pytest.mark.usefixtures("import_path")

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "net.py"
OWN = (*TINY, "--quiet", "--model", "net.py:Net")


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the file ``net.py`` beside ``runs/``: they are only read."""
    folder = tmp_path_factory.mktemp("own")
    network_file(folder / "net.py")
    done = finish(start(*OWN, cwd=folder))
    assert done.code == 0, done.err
    return folder


@pytest.fixture
def here(own: Path, tmp_path: Path) -> Path:
    """A copy of that folder, the current one."""
    shutil.copytree(own, tmp_path, dirs_exist_ok=True)
    return tmp_path


def newest(folder: Path) -> Path:
    return folder / "runs" / "0001-digits-Net"


def document(folder: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = torch.load(newest(folder) / "last.pt", weights_only=True)
    return loaded


def test_the_checkpoint_says_where_it_came_from(own: Path) -> None:
    model = document(own)["model"]
    assert model["name"] == "net.py:Net"
    assert model["source"]["path"] == str(own / "net.py")
    assert model["source"]["class"] == "Net"
    assert len(model["source"]["sha256"]) == 64
    summary = json.loads((newest(own) / "summary.json").read_text())
    assert summary["model"] == f"{own}/net.py:Net"


@pytest.mark.parametrize(
    "arguments",
    [
        ("eval",),
        ("inspect-grad",),
        ("predict", "x.png"),
        ("plot",),
        ("train", "--resume", "runs/1"),
    ],
)
def test_it_asks_for_the_file(run: Run, here: Path, arguments: tuple[str, ...]) -> None:
    newest(here).rename(here / "runs" / "1") if "--resume" in arguments else None
    (here / "x.png").touch()
    outcome = run(*arguments)
    assert outcome.code == 4
    assert "holds a network from a user's Python file: 'net.py:Net'" in outcome.err
    assert "path/to/net.py:Net" in " ".join(outcome.err.split())


def test_it_replays(run: Run, here: Path) -> None:
    """The newest run's weights, since they are of that file."""
    outcome = run("inspect-grad", "--replay", "--model", "net.py:Net", "--json")
    assert outcome.code == 0, outcome.err
    replay = outcome.document["replay"]
    assert replay["exact"] is True
    assert {one["name"] for one in replay["parameters"]} == {
        *("fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias")
    }
    assert outcome.document["model"] == "net.py:Net"
    assert str(here) not in outcome.out
    assert (newest(here) / "grad" / "graph.json").is_file()


def test_without_a_run_of_it_a_fresh_one_is_inspected(run: Run, trained: Path) -> None:
    network_file(Path("net.py"))
    shutil.copytree(trained, Path("runs") / trained.name)
    outcome = run("inspect-grad", "--replay", "--model", "net.py:Net", "--batch-size", 4)
    assert outcome.code == 0, outcome.err
    assert "inspecting a fresh network 'net.py:Net' on digits" in " ".join(outcome.err.split())


def test_beside_a_run_of_another_file_a_fresh_one_is_inspected(run: Run, here: Path) -> None:
    network_file(here / "other.py", NET.replace("100", "50"))
    outcome = run("inspect-grad", "--replay", "--model", "other.py:Net", "--batch-size", 4)
    assert outcome.code == 0, outcome.err
    assert "inspecting a fresh network 'other.py:Net'" in " ".join(outcome.err.split())
    named = run("inspect-grad", newest(here), "--model", "other.py:Net")
    assert named.code == 4


def test_it_predicts_and_is_drawn(run: Run, here: Path) -> None:
    from PIL import Image

    picture = Image.new("L", (60, 60), 255)
    picture.paste(0, (27, 10, 33, 50))
    picture.save("one.png")
    (answer,) = run("predict", "one.png", "--model", "net.py:Net", "--json").document
    assert sum(answer["probabilities"]) == pytest.approx(1)
    drawn = run("plot", "--model", "net.py:Net", "--only", "activations,saliency", "--json")
    assert drawn.code == 0, drawn.err


def test_an_exported_file_names_no_folder(run: Run, here: Path) -> None:
    outcome = run("export", "--model", "net.py:Net", "--format", "torch", "--out", "it")
    assert outcome.code == 0, outcome.err
    content = Path("it").read_bytes()
    assert str(here).encode() not in content
    assert b"net.py:Net" in content


def test_curves_of_several_runs_of_which_one_is_of_it(run: Run, here: Path, trained: Path) -> None:
    """Without its file, which no figure needs, and with a ``net.py`` here that is not to be run."""
    network_file(here / "net.py", "raise SystemExit('it was run')\n")
    outcome = run("plot", newest(here), trained, "--json", "--format", "png", "--only", "curves")
    assert outcome.code == 0, outcome.err
    assert outcome.document["pictures"] == {"curves": ["plots/curves.png"]}


@pytest.mark.parametrize("target", ["", "/last.pt"])
def test_figures_alone_are_drawn_without_its_file(run: Run, here: Path, target: str) -> None:
    (here / "net.py").unlink()
    named = ("plot", f"{newest(here)}{target}", "--format", "png", "--only")
    outcome = run(*named, "curves,ratios", "--json")
    assert outcome.code == 0, outcome.err
    assert list(outcome.document["pictures"]) == ["curves", "ratios"]
    shutil.rmtree(newest(here) / "plots")
    assert run(*named, "curves,filters").code == 4
    assert not (newest(here) / "plots").exists()


def test_bare_weights_of_it(run: Run, here: Path) -> None:
    torch.save(document(here)["model"]["weights"], "bare.pt")
    unknown = run("eval", "bare.pt", "--dataset", "digits")
    assert unknown.code == 4
    assert "your own, as in path/to/net.py:Net" in " ".join(unknown.err.split())
    named = ("--dataset", "digits", "--model", "net.py:Net")
    evaluated = run("eval", "bare.pt", *named, "--json")
    assert evaluated.code == 0, evaluated.err
    assert evaluated.document["count"] == 382
    assert run("inspect-grad", "bare.pt", *named, "--replay", "--quiet").code == 0


def test_a_changed_file_is_a_warning_and_not_resumed(run: Run, here: Path) -> None:
    network_file(here / "net.py", NET + "\n# a remark\n")
    evaluated = run("eval", "--model", "net.py:Net", "--json")
    assert evaluated.code == 0
    assert "net.py has changed (SHA-256" in " ".join(evaluated.err.split())
    resumed = run("train", "--resume", newest(here), "--model", "net.py:Net", "--quiet")
    assert resumed.code == 4
    assert "was trained by other code" in resumed.err


def test_weights_that_no_longer_fit_are_listed(run: Run, here: Path) -> None:
    network_file(here / "net.py", NET.replace("100", "90"))
    outcome = run("eval", "--model", "net.py:Net")
    assert outcome.code == 4
    said = " ".join(outcome.err.split())
    assert "does not fit the network 'net.py:Net' (net.py has changed" in said
    assert "fc1.weight has (100, 784) float32, not (90, 784) float32" in said


def test_a_moved_file_goes_on_to_the_same_bits(run: Run, here: Path) -> None:
    """A run of three epochs is stopped after one and resumed from a file that was moved."""
    whole = document(here)["model"]["weights"]
    stopped = {**document(here), "metrics": []}
    assert stopped["config"]["epochs"] == 3
    begun = run(*OWN, "--runs", "again", "--set", "target_accuracy=0.0001")
    assert begun.code == 0, begun.err
    (folder,) = Path("again").iterdir()
    assert len(rows(folder)) == 1
    (here / "moved").mkdir()
    (here / "net.py").rename(here / "moved" / "net.py")
    resumed = run(
        *("train", "--resume", folder, "--model", "moved/net.py:Net", "--quiet"),
        *("--set", "target_accuracy=0"),
    )
    assert resumed.code == 0, resumed.err
    last = torch.load(folder / "last.pt", weights_only=True)["model"]["weights"]
    assert all(torch.equal(last[name], tensor) for name, tensor in whole.items())


@needs_posix
def test_stopped_it_prints_the_command_that_resumes(run: Run) -> None:
    source = body("self.stop(x)") + (
        "    def stop(self, x):\n        import os, signal\n"
        "        if len(x) > 3 and self.training:\n            os.kill(os.getpid(), signal.SIGINT)\n"
        "        return self.fc(x.flatten(1))\n"
    )
    path = network_file(Path("net.py"), source).resolve()
    outcome = run(*TINY, "--quiet", "--model", "net.py:Net")
    assert outcome.code == 130
    assert f"--model {path}:Net" in outcome.err.replace("\n", "")


def test_an_ensemble_and_an_average_of_it(run: Run) -> None:
    network_file(Path("net.py"))
    outcome = run(*OWN, "--ensemble", 2, "--set", "ema=0.5", "--epochs", 1, "--json")
    assert outcome.code == 0, outcome.err
    evaluated = run("eval", "--model", "net.py:Net", "--json").document
    assert evaluated["accuracy"] == outcome.document["test"]["accuracy"]
    assert len(evaluated["members"]) == 2


def test_other_processes_find_it_from_a_recipe_beside_it(run: Run, tmp_path: Path) -> None:
    """The recipe and the file lie elsewhere; the worker of a benchmark and of a proof run it.

    Only where it is named beside the recipe, which may be a stranger's.
    """
    network_file(tmp_path / "there" / "net.py")
    recipe = tmp_path / "there" / "mine.toml"
    keys = (word for word in TINY[4::2])
    lines = ['dataset = "digits"', 'model = "net.py:Net"', "epochs = 1", "batch_size = 64"]
    text = [f'{k} = "{v}"' if v.isalpha() or k == "precision" else f"{k} = {v}"
            for k, v in (pair.split("=") for pair in keys)]  # fmt: skip
    recipe.write_text("\n".join([*lines, *text]), encoding="utf-8")
    for refused in (run("train", "--config", recipe), run("bench", f"{recipe}:1")):
        assert refused.code == 2
        assert "mine.toml, line 2: the recipe names a Python file to run" in refused.err
        assert "name it yourself: --model" in refused.err
    named = ("--model", "there/net.py:Net")
    proof = run("train", "--config", recipe, *named, "--verify-resume", "--json")
    assert proof.code == 0, proof.err
    assert proof.document["equal"] is True
    measured = run("bench", f"{recipe}:1", *named, "--inference", "--json")
    assert measured.code == 0, measured.err
    assert measured.document["recipes"][0]["details"]["model"] == "net.py:Net"
    flagged = run("bench", "smoke:1", "--inference", "--model", "there/net.py:Net", "--json")
    assert flagged.code == 0, flagged.err
    assert flagged.document["recipes"][0]["details"]["model"] == "net.py:Net"


def test_what_is_wrong_with_a_file_is_reported_before_data_are_read(run: Run) -> None:
    outcome = run("train", "--model", "none.py:Net", "--dataset", "mnist", "--data-dir", "nowhere")
    assert outcome.code == 2
    assert "no such file" in outcome.err
    for command in ("train", "eval", "inspect-grad", "predict"):
        outcome = run(command, "--model", "pics:Net", *(["x.png"] if command == "predict" else []))
        assert outcome.code == 2
        said = " ".join(outcome.err.split())
        assert "'pics:Net' is not a Python file: its name must end in .py" in said
        assert "ive its full name: pics.py:Net" in said
    outcome = run("inspect-grad", "--model", "net.py")
    assert outcome.code == 2
    assert "net.py names a file without a class" in outcome.err


# --- no checkpoint imports anything


@pytest.mark.parametrize("place", ["model/name", "config/model", "both", "source alone"])
def test_a_path_in_a_checkpoint_is_never_imported(
    run: Run, here: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    """Whatever it names, with and without a name of the user's own."""
    evil = network_file(here / "evil.py", "open('proof', 'w').close()\n" + NET)
    loaded = document(here)
    name = f"{evil}:Net"
    if place in ("model/name", "both"):
        loaded["model"]["name"] = name
    if place in ("config/model", "both"):
        loaded["config"]["model"] = name
    loaded["model"]["source"]["path"] = str(evil)
    torch.save(loaded, "hostile.pt")
    Path("nothing.png").touch()
    run_files: list[Path] = []
    load = own_source.load.__wrapped__
    monkeypatch.setattr(
        "mnist_cli.networks.own_network.load", lambda path: [run_files.append(path), load(path)][1]
    )

    def attempts(*more: object) -> list[Outcome]:
        return [
            run("eval", "hostile.pt", *more),
            run("inspect-grad", "hostile.pt", *more, "--quiet"),
            run("plot", "hostile.pt", *more, "--only", "filters"),
            run("predict", "nothing.png", "--checkpoint", "hostile.pt", *more),
            run("train", "--resume", "hostile.pt", *more, "--quiet"),
        ]

    assert [one.code for one in attempts()] == [4] * 5
    assert run("plot", "hostile.pt", "--only", "curves,ratios", "--out", "plots").code == 0
    assert run_files == []
    codes = [one.code for one in attempts("--model", "net.py:Net")]
    assert 1 not in codes
    assert set(run_files) == {here / "net.py"}
    assert not Path("proof").exists()


def test_the_example_of_the_docs_trains_evaluates_and_replays(run: Run) -> None:
    named = ("--model", f"{EXAMPLE}:Net")
    trained = run(*TINY, "--quiet", *named, "--json")
    assert trained.code == 0, trained.err
    evaluated = run("eval", *named, "--json").document
    assert evaluated["accuracy"] == trained.document["test"]["accuracy"]
    assert run("inspect-grad", "--replay", *named, "--json").document["replay"]["exact"] is True


# --- a network that fails where it passed its trial

FAILS = """
import os
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(784, 10)
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        if {condition} and os.path.exists("armed"):
            {failure}
        return self.fc(x.flatten(1))
"""
BOOM = 'raise ValueError("boom")'


def armed(condition: str, failure: str = BOOM) -> None:
    """``net.py``, which fails from now on under this condition."""
    network_file(Path("net.py"), FAILS.format(condition=condition, failure=failure))
    Path("armed").touch()


@pytest.mark.parametrize(
    ("condition", "failure", "told"),
    [
        ("self.calls > 5", BOOM, 'raise ValueError("boom"): ValueError: boom'),
        ("len(x) == 64", "self.fc(x)", "mat1 and mat2 shapes cannot be multiplied"),
        ("self.calls > 5", 'open("nothing.txt")', "No such file or directory: 'nothing.txt'"),
        ("self.calls > 5", 'raise OSError("no name")', "OSError: no name"),
        ("self.calls > 5", "raise SystemExit(0)", "SystemExit: 0"),
    ],
)
def test_a_failure_in_training_names_its_own_line(
    run: Run, condition: str, failure: str, told: str
) -> None:
    armed(condition, failure)
    outcome = run(*OWN, "--json")
    assert outcome.code == 2
    error = outcome.document["error"]
    assert (error["code"], error["kind"]) == (2, "usage")
    line = FAILS.splitlines().index("            {failure}") + 1
    assert f"net.py failed: net.py, line {line}, in forward: " in error["message"]
    assert told in error["message"]
    assert "Traceback" not in outcome.err
    last = torch.load("runs/0001-digits-Net/last.pt", weights_only=True)
    assert last["format"] == "mnist-cli/checkpoint"


@pytest.mark.parametrize(
    "command",
    [
        ("eval",),
        ("inspect-grad",),
        ("inspect-grad", "--replay"),
        ("plot",),
        ("model", "1"),
        ("draw",),
        ("predict", "one.png"),
    ],
)
def test_a_failure_in_each_command(run: Run, command: tuple[str, ...]) -> None:
    from PIL import Image

    picture = Image.new("L", (28, 28), 255)
    picture.paste(0, (12, 4, 15, 24))
    picture.save("one.png")
    network_file(Path("net.py"), FAILS.format(condition="self.calls", failure=BOOM))
    assert run(*OWN).code == 0
    Path("armed").touch()  # what was tried in this process is not tried again
    outcome = run(*command, "--model", "net.py:Net")
    assert outcome.code == 2, outcome.err
    assert "ValueError: boom" in " ".join(outcome.err.split())
    assert "Traceback" not in outcome.err


def test_a_failure_in_a_process_of_a_benchmark(run: Run) -> None:
    armed("len(x) > 60")
    outcome = run("bench", "smoke:1", "--model", "net.py:Net", "--dataset", "digits", "--quiet")
    assert outcome.code == 2, outcome.err
    assert "ValueError: boom" in " ".join(outcome.err.split())


SHARED = "        self.other = nn.Linear(784, 10)\n        self.other.weight = self.fc.weight\n"


@pytest.mark.parametrize(
    ("source", "more"),
    [
        (body("self.fc(x.flatten(1))[:, :7]"), ()),
        (body("self.fc(x)"), ()),
        (body("self.fc(x.flatten(1)) + self.other(x.flatten(1))", SHARED), ("--ensemble", 2)),
    ],
)
def test_a_run_that_is_refused_leaves_no_directory(
    run: Run, source: str, more: tuple[object, ...]
) -> None:
    """Its trial comes first; what is only found with an ensemble's members takes it away again."""
    network_file(Path("net.py"), source)
    assert run(*OWN, *more).code == 2
    assert list(Path().glob("runs/*")) == []
    network_file(Path("other.py"))
    assert run(*OWN, "--model", "other.py:Net", "--dry-run").code == 0


def test_a_failure_on_a_drawing_is_shown_on_the_page(run: Run) -> None:
    """The server goes on: another drawing may be answered."""
    network_file(Path("net.py"), FAILS.format(condition="self.calls > 2", failure=BOOM))
    assert run(*OWN).code == 0
    with drawing("--model", "net.py:Net") as there:
        assert there.ask(rasterised(DIGITS["7"]))[0] == 200
        Path("armed").touch()
        status, answer = there.ask(rasterised(DIGITS["7"]))
        assert (status, "ValueError: boom" in answer["error"]) == (500, True)
        Path("armed").unlink()
        assert there.ask(rasterised(DIGITS["7"]))[0] == 200
        there.process.send_signal(signal.SIGINT)
        ended = finish(there.process)
    assert (ended.code, "Traceback" in ended.err) == (0, False)


@pytest.mark.filterwarnings("ignore")
def test_a_network_that_gives_nan_is_inspected_but_not_trained(run: Run, tmp_path: Path) -> None:
    network_file(tmp_path / "net.py", body("self.fc(self.fc2(x.flatten(1)).log().relu())", DEEP))
    refused = run(*OWN)
    assert refused.code == 2
    assert (
        "net.py:Net returns NaN or infinity for noise, untrained, in training mode" in refused.err
    )
    assert not (tmp_path / "runs" / "0001-digits-Net").exists()
    inspected = run("inspect-grad", "--model", "net.py:Net", "--dataset", "digits", "--replay")
    assert inspected.code == 0
    assert re.search(
        r"First in the forward pass: node \d+, ReluBackward0, holds NaN or infinity "
        r"\(result\); node \d+, LogBackward0, comes before it\.",
        inspected.out,
    )


DEEP = "        self.fc2 = nn.Linear(784, 784)\n"


def test_a_warning_of_a_network_is_printed_once(tmp_path: Path) -> None:
    """The checks before a run, training and evaluation call it; torch resets Python's register."""
    (tmp_path / "net.py").write_text(
        "import warnings\n"
        "from torch import nn\n"
        "class Net(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.fc = nn.Linear(784, 10)\n"
        "        warnings.warn('made')\n"
        "    def forward(self, x):\n"
        "        warnings.warn('called')\n"
        "        return self.fc(x.flatten(1))\n"
    )
    done = finish(start(*TINY, "--model", tmp_path / "net.py:Net", "--runs", tmp_path))
    assert done.code == 0
    assert [done.err.count(f"UserWarning: {word}") for word in ("made", "called")] == [1, 1]
