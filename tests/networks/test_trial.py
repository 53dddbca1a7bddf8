"""What the trial of a user's own network finds, and what it accepts."""

from __future__ import annotations

import random
import warnings
from pathlib import Path

import numpy as np
import odd_networks
import pytest
import torch
from own_files import body, network_file

from mnist_cli.errors import Caution, UsageError
from mnist_cli.networks import own_network
from mnist_cli.networks import registry as models

pytestmark = pytest.mark.usefixtures("import_path")

ROWS = "x.flatten(1)"
FC = f"self.fc({ROWS})"
ODD = Path(odd_networks.__file__).resolve()


def named(folder: Path, forward: str, init: str = "", above: str = "") -> str:
    """A network of one linear layer and what ``init`` adds; ``more(x)`` may follow in ``init``."""
    lines = "".join(f"        {line}\n" for line in init.splitlines())
    head = "import functools, os, random\nimport numpy as np\nimport torch.nn.functional as F\n"
    source = body(forward, lines).replace("\n\nclass", f"\n{head}{above}\n\nclass")
    return f"{network_file(folder / 'net.py', source)}:Net"


def test_scores_between_0_and_1_may_be_logits(tmp_path: Path) -> None:
    """Those of two classes often are, before training."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        models.build(named(tmp_path, f"0.5 + 0.001 * {FC}"), 10)


@pytest.mark.parametrize("name", odd_networks.NAMES)
def test_a_sound_network_is_accepted(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network = models.build(f"{ODD}:{name}", 10)
    assert network.training


@pytest.mark.parametrize(
    ("init", "more", "named_it"),
    [
        ("self.layers = [nn.Linear(784, 10)]", f"self.layers[0]({ROWS})", "self.layers[0].weight"),
        ("self.d = {'a': nn.Linear(784, 10)}", f"self.d['a']({ROWS})", "self.d['a'].weight"),
        ("self.w = torch.zeros(10, requires_grad=True)", "self.w", "self.w"),
        ("self.ws = [nn.Parameter(torch.zeros(10))]", "self.ws[0]", "self.ws[0]"),
        ("object.__setattr__(self, 'n', nn.Linear(784, 10))", f"self.n({ROWS})", "self.n.weight"),
        ("w = nn.Linear(784, 10)\nself.f = lambda x: w(x)", f"self.f({ROWS})", "w in the closure"),
    ],
)
def test_what_would_never_train_is_named(
    tmp_path: Path, init: str, more: str, named_it: str
) -> None:
    with pytest.raises(UsageError) as caught:
        models.build(named(tmp_path, f"{FC} + {more}", init), 10)
    assert f"net.py:Net: training would never change {named_it}" in caught.value.message
    assert "nn.ModuleList" in caught.value.hint


@pytest.mark.parametrize(
    ("init", "more", "named_it"),
    [
        (
            "self.unused = torch.randn(3)\nself.w = torch.randn(784, 10)",
            f"{ROWS} @ self.w",
            "self.w",
        ),
        (
            "self.register_buffer('w', torch.randn(784, 10), persistent=False)",
            f"{ROWS} @ self.w",
            "self.w",
        ),
        (
            "self.register_buffer('mean', torch.zeros(10), persistent=False)",
            "self.mean.add_(self.training * x.mean().item())",
            "self.mean",
        ),
        (
            "self.part = nn.Module()\nself.part.f = [nn.Linear(784, 10).requires_grad_(False)]",
            f"self.part.f[0]({ROWS})",
            "self.part.f[0].weight, self.part.f[0].bias",
        ),
        ("w = torch.randn(10)\nself.f = lambda: w", "self.f()", "w in the closure of self.f"),
        ("self.f = functools.partial(torch.add, torch.randn(10))", "self.f(1)", "self.f[0]"),
        ("self.w = np.random.randn(10)", "torch.from_numpy(self.w).float()", "self.w"),
        ("self.scale = random.random()", f"{ROWS}[:, :10] * self.scale", "self.scale"),
        ("", f"{ROWS} @ W", "W"),
        ("", f"{ROWS} @ Shared.w", "Shared.w"),
    ],
)
def test_what_no_checkpoint_would_hold_is_named(
    tmp_path: Path, init: str, more: str, named_it: str
) -> None:
    above = "W = torch.randn(784, 10)\nclass Shared:\n    w = torch.randn(784, 10)\n"
    with pytest.raises(UsageError) as caught:
        models.build(named(tmp_path, f"{FC} + {more}", init, above), 10)
    assert f"its scores depend on {named_it}, which its state_dict does not" in caught.value.message
    assert "register_buffer" in caught.value.hint


def test_a_head_of_zeros_hides_nothing(tmp_path: Path) -> None:
    """Before a step, all its scores are 0, whatever lies before it."""
    init = "self.w = torch.randn(784, 784)\nnn.init.zeros_(self.fc.weight)\nnn.init.zeros_(self.fc.bias)"
    with pytest.raises(UsageError, match=r"depend on self\.w, which"):
        models.build(named(tmp_path, f"self.fc({ROWS} @ self.w)", init), 10)


@pytest.mark.parametrize(
    "init",
    [
        "self.table = torch.linspace(0, 1, 10)",
        "self.teacher = [nn.Linear(784, 10).requires_grad_(False)]",
        "self.refs = [self.fc, self.fc.weight]",
        "self.seen = list(range(100_000))",
        "self.noise = torch.randn(10)",
    ],
)
def test_what_decides_no_score_may_lie_outside(tmp_path: Path, init: str) -> None:
    models.build(named(tmp_path, f"{FC} + getattr(self, 'table', 0)", init), 10)


@pytest.mark.parametrize(
    ("init", "more", "happens"),
    [
        (
            "",
            "self.__dict__.setdefault('l', setattr(self, 'new', nn.Linear(1, 10)) or 0)",
            "adds 'new",
        ),
        (
            "",
            "(setattr(self.fc, 'bias', nn.Parameter(torch.zeros(10))) or 0)",
            "replaces 'fc.bias'",
        ),
        (
            "self.register_buffer('bank', torch.zeros(0))",
            "(setattr(self, 'bank', torch.zeros(len(self.bank) + 1)) or 0)",
            "changes the shape or type of 'bank'",
        ),
    ],
)
def test_a_forward_that_changes_the_state_dict(
    tmp_path: Path, init: str, more: str, happens: str
) -> None:
    with pytest.raises(UsageError, match=f"its forward {happens}"):
        models.build(named(tmp_path, f"{FC} + {more}", init), 10)


@pytest.mark.parametrize(
    ("init", "more", "told"),
    [
        ("", f"F.dropout({ROWS})[:, :10]", "draws random numbers in evaluation mode"),
        ("", "torch.randn(len(x), 10)", "draws random numbers in evaluation mode"),
        ("", "x[:, 0, 0, :10] * random.random()", "draws random numbers in evaluation mode"),
        ("", "x[:, 0, 0, :10] * np.random.rand()", "draws random numbers in evaluation mode"),
        (
            "self.calls = [0]",
            "(self.calls.append(0) or len(self.calls) * x[:, 0, 0, :10])",
            "returns different scores for the same images each time",
        ),
        ("", f"({FC}.softmax(1) - {FC})", "returns probabilities, not logits"),
        ("", f"0 is None or {FC}.sigmoid().view(-1, 10)", "returns probabilities, not logits"),
        ("", f"({FC}.log_softmax(0) - {FC})", "depend on the other images of the batch"),
        ("", f"({FC}.T.reshape({FC}.shape) - {FC})", "depend on the other images of the batch"),
        ("torch.manual_seed(1)", "0", "seeds torch's generator when it is built"),
        ("", "(torch.manual_seed(1) and 0)", "seeds torch's generator in forward"),
        (
            "torch.set_default_dtype(torch.float64)",
            "0",
            "default dtype to torch.float64 (restored to",
        ),
        ("torch.set_num_threads(3)", "0", "number of threads to 3"),
        (
            "torch.backends.mkldnn.matmul.fp32_precision = 'bf16'",
            "0",
            "float32 products to mkldnn.matmul bf16 (restored to highest)",
        ),
        ("os.chdir('/')", "0", f"the working directory to {Path('/').resolve()}"),
        ("", "(torch.autograd.set_detect_anomaly(True) and 0)", "anomaly detection to True"),
    ],
)
def test_it_warns(tmp_path: Path, init: str, more: str, told: str) -> None:
    """What a run can be made with, though the user may not want it; nothing stays changed."""
    before = torch.get_default_dtype(), torch.get_num_threads(), Path.cwd()
    more = f"({more}, 0)[1]" if "anomaly" in more else more
    with pytest.warns(Caution) as caught:
        models.build(named(tmp_path, f"{FC} + {more}", init), 10)
    assert told in str(caught[0].message)
    assert len(caught) == 1 or {str(one.message) for one in caught} == {str(caught[0].message)}
    assert before == (torch.get_default_dtype(), torch.get_num_threads(), Path.cwd())
    assert not torch.is_anomaly_enabled()


@pytest.mark.parametrize(
    ("init", "more", "cause"),
    [
        (
            "self.noise = torch.Generator()",
            "torch.rand(10, generator=self.noise) * x.mean() * self.training",
            "",
        ),
        (
            "self.t = 1.0",
            "x[:, 0, 0, :10] * self.training * (setattr(self, 't', self.t * 0.9) or self.t)",
            r" \(perhaps self\.t\)",
        ),
    ],
)
def test_training_alone_warns_that_a_resumed_run_would_differ(
    tmp_path: Path, init: str, more: str, cause: str
) -> None:
    model = named(tmp_path, f"{FC} + {more}", init)
    models.build(model, 10)
    with pytest.warns(Caution, match=f"state_dict{cause}, so a resumed run would differ: keep"):
        own_network.require_trainable(model, 10)


def test_settings_of_the_file_itself_are_put_back(tmp_path: Path) -> None:
    with pytest.warns(Caution, match=r"net\.py changes torch's default dtype"):
        models.build(named(tmp_path, FC, above="torch.set_default_dtype(torch.float64)\n"), 10)
    assert torch.get_default_dtype() == torch.float32


def test_weights_from_other_generators_repeat(tmp_path: Path) -> None:
    """Python's and NumPy's are seeded by torch's, and put back."""
    init = "self.fc.weight.data += float(np.random.rand()) + random.random()"
    model = named(tmp_path, FC, init)
    built = []
    for seed in (3, 3, 4):
        states = random.getstate(), np.random.get_state()[1].tolist()
        torch.manual_seed(seed)
        built.append(models.build(model, 10).get_parameter("fc.weight"))
        assert states == (random.getstate(), np.random.get_state()[1].tolist())
    assert torch.equal(built[0], built[1])
    assert not torch.equal(built[0], built[2])


def test_the_last_batch_of_one_image(tmp_path: Path) -> None:
    model = named(tmp_path, f"self.fc(self.norm({ROWS}))", "self.norm = nn.BatchNorm1d(784)")
    own_network.try_on(model, 10, 2)
    with pytest.raises(UsageError, match="fails on 1 images in training mode"):
        own_network.try_on(model, 10, 1)
    own_network.try_on(f"{ODD}:Causal", 10, 1)  # its infinite buffers were so before
