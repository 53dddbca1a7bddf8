"""A network in a file of the user's own: how it is run, checked and built."""

from __future__ import annotations

import hashlib
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from own_files import NET, body, network_file

from mnist_cli.errors import UsageError
from mnist_cli.networks import ensemble, own_network
from mnist_cli.networks import registry as models
from mnist_cli.networks import source as own_source

pytestmark = pytest.mark.usefixtures("import_path")


def named(folder: Path, source: str = NET, name: str = "Net") -> str:
    return f"{network_file(folder / 'net.py', source)}:{name}"


def refusal(model: str, classes: int = 10) -> str:
    with pytest.raises(UsageError) as caught:
        models.build(model, classes)
    return str(caught.value)


def test_it_computes_what_the_class_computes(tmp_path: Path) -> None:
    network = models.build(named(tmp_path), 7).eval()
    images = torch.randn(5, 1, 28, 28)
    weights = network.state_dict()
    hidden = (images.flatten(1) @ weights["fc1.weight"].T + weights["fc1.bias"]).clamp(min=0)
    expected = hidden @ weights["fc2.weight"].T + weights["fc2.bias"]
    assert expected.shape == (5, 7)
    torch.testing.assert_close(network(images), expected)


def test_trying_it_takes_nothing_from_the_generator(tmp_path: Path) -> None:
    """Fresh weights are those that the class draws from this seed by itself."""
    model = named(tmp_path)
    torch.manual_seed(3)
    built = models.build(model, 10)
    scope: dict[str, type[torch.nn.Module]] = {}
    exec(NET, scope)
    torch.manual_seed(3)
    alone = scope["Net"]()
    for name, tensor in alone.state_dict().items():
        assert torch.equal(built.state_dict()[name], tensor), name


@pytest.mark.parametrize(
    ("parameters", "out"),
    [("self, classes", "classes"), ("self, depth=2, *, num_classes=3", "num_classes")],
)
def test_the_number_of_classes_is_given_where_it_is_taken(
    tmp_path: Path, parameters: str, out: str
) -> None:
    source = body(
        "self.out(x.flatten(1))", f"        self.out = nn.Linear(784, {out})\n", parameters
    )
    assert models.build(named(tmp_path, source), 6)(torch.zeros(2, 1, 28, 28)).shape == (2, 6)


def test_a_file_may_import_what_lies_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also through others. What the caller's script alone imports does not count."""
    beside = {
        "lies_beside_one.py": "from lies_beside_two.part import WIDTH\n",
        "lies_beside_two/__init__.py": "",
        "lies_beside_two/part.py": "from . import more\nWIDTH = more.WIDTH\n",
        "lies_beside_two/more.py": "WIDTH = 10\n",
        "of_the_script.py": "",
    }
    for name, content in beside.items():
        network_file(tmp_path / name, content)
    monkeypatch.syspath_prepend(str(tmp_path))
    script = importlib.import_module("of_the_script")
    source = "from lies_beside_one import WIDTH\n" + body("self.fc(x.flatten(1))[:, :WIDTH]")
    model = named(tmp_path, source)
    models.build(model, 10)
    recorded = own_network.provenance(model)
    del beside["of_the_script.py"]
    assert recorded["siblings"] == {
        name: hashlib.sha256(content.encode()).hexdigest() for name, content in beside.items()
    }
    assert "print" not in vars(script)


def test_nothing_beside_it_stands_in_for_what_is_imported_later(tmp_path: Path) -> None:
    network_file(tmp_path / "this.py", "raise RuntimeError('not the standard library')\n")
    models.build(named(tmp_path), 10)
    sys.modules.pop("this", None)
    assert sys.path[-1] == str(tmp_path)
    assert tmp_path not in [Path(entry) for entry in sys.path[:-1]]


def test_the_hash_is_that_of_the_file(tmp_path: Path) -> None:
    model = named(tmp_path)
    recorded = own_network.provenance(model)
    assert recorded["sha256"] == hashlib.sha256((tmp_path / "net.py").read_bytes()).hexdigest()
    assert (recorded["path"], recorded["class"]) == (str(tmp_path / "net.py"), "Net")
    assert own_network.changes(model, recorded) == ()
    told = own_network.changes(model, {**recorded, "sha256": "0" * 64, "class": "Other"})
    assert "different class" in told[0]
    assert "net.py has changed (SHA-256 000000000000… then" in told[1]
    assert own_network.changes(model, {}) != ()


def test_a_parser_at_its_top_sees_no_arguments(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of this program would fail, or change the network unseen by a resumed run."""
    typed = ["mnist", "train", "--lr", "3"]
    monkeypatch.setattr("sys.argv", typed)
    parser = "import argparse\nparser = argparse.ArgumentParser()\n"
    taken = "parser.add_argument('--lr', default=1)\nassert parser.parse_args().lr == 1\n"
    models.build(named(tmp_path, parser + taken + NET), 10)
    assert sys.argv is typed


def test_what_it_prints_goes_to_stderr(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = (
        "print('imported')\n"
        + body("self.say(x)")
        + ("    def say(self, x):\n        print('called')\n        return self.fc(x.flatten(1))\n")
    )
    models.build(named(tmp_path, source), 10)(torch.zeros(2, 1, 28, 28))
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines()[0] == "imported"
    assert set(said.err.splitlines()[1:]) == {"called"}


def test_lazy_layers_get_their_weights(tmp_path: Path) -> None:
    source = NET.replace("nn.Linear(784, 100)", "nn.LazyLinear(100)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("warnings.warn", lambda *_, **__: None)  # torch says that they are new
        network = models.build(named(tmp_path, source), 10)
    assert network.state_dict()["fc1.weight"].shape == (100, 784)


# --- what is refused


def test_a_lazy_layer_that_never_runs_is_named(tmp_path: Path) -> None:
    source = body("self.fc(x.flatten(1))", "        self.never = nn.LazyLinear(5)\n")
    message = refusal(named(tmp_path, source))
    assert "never.weight, never.bias: no shape" in message


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("class Net(:\n", ["net.py, line 1", "invalid syntax", "class Net(:"]),
        ("x = 1\0\n", ["net.py", "null bytes"]),
        ("import no_such_module_here\n", ["cannot be imported", "line 1", "ModuleNotFoundError"]),
        ("exit(3)\n", ["cannot be imported", "SystemExit: 3"]),
        ("raise ValueError('two lines:\\n  the cause')\n", ["ValueError: two lines: the cause"]),
        ("from torch import nn\nclass A(nn.Module): pass\n", ["has no class Net", "It has: A."]),
        ("x = 1\n", ["has no class Net", "none that subclasses torch.nn.Module"]),
        ("class Net: pass\n", ["does not subclass torch.nn.Module"]),
        ("def Net(): pass\n", ["is a function, not a class"]),
        (
            body("x", "", "self, hidden, depth, *, classes"),
            ["cannot be built", "missing 2 required positional arguments: 'hidden' and 'depth'"],
        ),
        (
            body("x", "        self.fc = nn.Linear('a', 1)\n"),
            ["cannot be built", "line 9, in __init__: self.fc = nn.Linear('a', 1): TypeError"],
        ),
        (
            body("self.fc(x)"),
            ["fails on 3 images", "line 10, in forward: return self.fc(x): RuntimeError: ", "mat1"],
        ),
        (
            body("self.fc(x.flatten(1))[:, :7]"),
            ["has 7 outputs, but the data set has 10 classes", "classes)"],
        ),
        (body("self.fc(x[:1].flatten(1))"), ["returns (1, 10) for 3 images", "Keep the batch"]),
        (body("self.fc(x[0].flatten())"), ["returns (10,) for 3 images"]),
        (body("self.fc(x.flatten(1))", "        self.double()\n"), ["fails on 3", "dtype"]),
        (body("self.fc(y)", "").replace("self, x", "self, x, y"), ["fails on 3", "argument: 'y'"]),
        (body("self.fc(x.view(3, 784))"), ["fails on 1 images in evaluation mode"]),
        (body("(self.fc(x.flatten(1)),)"), ["returns a tuple"]),
        (body("self.fc(x.flatten(1)).argmax(1, True).expand(-1, 10)"), ["torch.int64"]),
        (body("self.fc(x.flatten(1)).detach()"), ["no gradient flows"]),
        (body("x.flatten(1)[:, :10]"), ["no gradient flows"]),
        (
            body("(lambda y: y.exp().add_(1) * y.exp_())(self.fc(x.flatten(1)))"),
            ["fails in the backward pass", "RuntimeError: one of the variables"],
        ),
    ],
)
def test_what_is_refused(tmp_path: Path, source: str, words: list[str]) -> None:
    if "fc = nn.Linear('a'" in source:
        source = source.replace("        self.fc = nn.Linear(784, 10)\n", "\n", 1)
    message = refusal(named(tmp_path, source))
    assert all(word in message for word in words), message


@pytest.mark.filterwarnings("ignore::ImportWarning")
@pytest.mark.parametrize(
    ("source", "way_out"),
    [
        ("import no_such_module_here\n", "the folders of PYTHONPATH"),
        ("from .blocks import Block\n", "without the dot"),
        ("for image in open('no such data'): pass\n", "if __name__ == '__main__':"),
        ("exit(2)\n", "if __name__ == '__main__':"),
        ("from torch import nnn\n", ""),
        ("class Net(nn.Module): pass\n", ""),
        (body("x", "", "self, hidden, *, classes"), "super().__init__(…)"),
        (body("self.fc(y)").replace("self, x", "self, x, y"), "(N, 1, 28, 28)"),
    ],
)
def test_a_network_that_needs_more_has_a_way_out(tmp_path: Path, source: str, way_out: str) -> None:
    with pytest.raises(UsageError) as caught:
        models.build(named(tmp_path, source), 10)
    assert way_out in caught.value.hint
    assert way_out or not caught.value.hint


@pytest.mark.parametrize(
    "forward",
    [
        "self.fc(x)",
        "self.fc(x.view(-1, 780))",
        "self.fc(nn.functional.conv2d(x, torch.zeros(1, 3, 3, 3)))",
        "self.fc(x.squeeze(1).squeeze(0).reshape(28, 28))",
    ],
)
def test_another_shape_gets_the_form_of_images(tmp_path: Path, forward: str) -> None:
    with pytest.raises(UsageError) as caught:
        models.build(named(tmp_path, body(forward)), 10)
    assert "(N, 1, 28, 28)" in caught.value.hint
    assert "x.flatten(1)" in caught.value.hint


def test_an_error_that_only_mentions_a_size_has_no_hint(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        models.build(named(tmp_path, body("Variable(x.view(x.size(0), -1))")), 10)
    assert not caught.value.hint


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    assert f"no such file: {tmp_path}/net.py" in refusal(f"{tmp_path}/net.py:Net")
    (tmp_path / "net.py").mkdir()
    assert "no such file" in refusal(f"{tmp_path}/net.py:Net")


def test_binary_and_huge_files(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_bytes(b"\x00\xff" * 100)
    assert "net.py" in refusal(f"{tmp_path}/net.py:Net")
    with (tmp_path / "big.py").open("wb") as file:
        file.truncate(1 << 25)
    assert "more than" in refusal(f"{tmp_path}/big.py:Net")


def test_layers_that_share_a_weight_cannot_be_stacked(tmp_path: Path) -> None:
    init = "        self.other = nn.Linear(784, 10)\n        self.other.weight = self.fc.weight\n"
    model = named(tmp_path, body("self.fc(x.flatten(1)) + self.other(x.flatten(1))", init))
    alone = models.build(model, 10)
    assert ensemble.join([alone]) is alone
    with pytest.raises(UsageError, match=r"fc\.weight and other\.weight of the network are one"):
        ensemble.join([alone, models.build(model, 10)])


def test_an_ensembles_gradient_norms_of_single_numbers() -> None:
    """A weight of no dimension is one figure a member."""
    gradients = [torch.tensor([3.0, -6.0]), torch.tensor([[4.0, 0.0], [8.0, 0.0]])]
    assert ensemble.gradient_norms(gradients).tolist() == [5.0, 10.0]


# --- what fails after the trial


def failure_of(network: torch.nn.Module) -> Exception:
    with pytest.raises(KeyError) as caught:
        network(torch.zeros(2, 1, 28, 28))
    return caught.value


def test_the_file_is_blamed_for_its_own_lines(tmp_path: Path) -> None:
    later = "self.fc(x.flatten(1)) if not hasattr(self, 'late') else {}['missing']"
    network = models.build(named(tmp_path, body(later)), 10)
    vars(network)["late"] = True
    error = failure_of(network)
    found = own_source.blamed(error)
    assert found is not None
    assert "net.py failed: net.py, line 10, in forward: return self.fc" in found.message
    assert found.message.endswith("KeyError: 'missing'")
    assert found.__cause__ is error


def test_it_is_not_blamed_for_a_bug_of_this_program_below_its_lines(tmp_path: Path) -> None:
    """A hook of this program's, called while the user's forward is at work."""
    network = models.build(named(tmp_path, body("self.fc(x.flatten(1))")), 10)
    scope: dict[str, Callable[..., None]] = {}
    ours = Path(own_source.__file__).parent / "hooks.py"
    exec(compile("def hook(*_):\n    raise KeyError('ours')\n", str(ours), "exec"), scope)
    network.get_submodule("fc").register_forward_hook(scope["hook"])
    assert own_source.blamed(failure_of(network)) is None
    assert own_source.blamed(ValueError("never raised")) is None


# --- weights of other programs


def test_the_classes_of_bare_weights_are_counted(tmp_path: Path) -> None:
    model = named(tmp_path)
    weights = models.build(model, 26).state_dict()
    assert models.count_classes(model, weights) == 26
    fixed = tmp_path / "fixed"
    assert models.count_classes(named(fixed, body("self.fc(x.flatten(1))")), weights) == 10
