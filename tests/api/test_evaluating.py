"""``mnist.evaluate``: the figures of ``mnist eval``, and a module that stays as it was."""

from __future__ import annotations

import copy
import io
import json
import types
import warnings
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import mnist_cli as mnist
from mnist_cli import Caution, Run, errors


@pytest.mark.parametrize("split", ["test", "val", "train"])
def test_it_is_what_the_command_prints(split: Any, run: Run, command: Any) -> None:
    found = mnist.evaluate(run, split)
    assert json.loads(json.dumps(found.to_plain())) == command("eval", run.path, "--split", split)
    assert (found.accuracy, found.loss, found.count) == tuple(
        found.to_plain()[key] for key in ("accuracy", "loss", "count")
    )
    assert found.confusion.dtype == np.int64
    assert found.confusion.sum() == found.count
    assert found.confusion.trace() == round(found.accuracy * found.count)
    assert len(found.mistakes) == found.count - found.confusion.trace()
    assert [row["support"] for row in found.per_class] == found.confusion.sum(1).tolist()
    assert mnist.evaluate(run.path, split).to_plain() == found.to_plain()


def test_options_are_those_of_the_command(run: Run, command: Any) -> None:
    options = {"batch_size": 7, "precision": "bf16", "normalise": "none"}
    words = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    with pytest.warns(Caution, match="as asked, instead of"):
        found = mnist.evaluate(run, **options)  # type: ignore[arg-type]
    assert json.loads(json.dumps(found.to_plain())) == command("eval", run.path, *words)


def test_an_ensemble(ensemble: Run, command: Any) -> None:
    found = mnist.evaluate(ensemble)
    assert json.loads(json.dumps(found.to_plain())) == command("eval", ensemble.path)
    assert len(found.members) == 2
    assert mnist.evaluate(ensemble.model()).loss == found.loss


def test_a_loaded_module_scores_as_its_run(run: Run) -> None:
    model, expected = mnist.load(run), mnist.evaluate(run)
    found = mnist.evaluate(model.train())
    assert found.figures == expected.figures
    assert model.training
    model.classes = ("ten", *model.classes[1:])
    with pytest.warns(Caution, match="class 0 is 'ten' in the checkpoint, but '0' in"):
        mnist.evaluate(model)
    with torch.no_grad():
        model.network.fc2.bias += 1000 * torch.arange(10.0).eq(3)  # type: ignore[union-attr, operator]
    model.classes = expected.classes
    assert mnist.evaluate(model).confusion[:, 3].sum() == expected.count


class Counts(nn.Module):
    """Changes a buffer in each pass, replaces another, and has a part in a mode of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(784), nn.Linear(784, 10))
        self.register_buffer("passes", torch.zeros(()))
        self.register_buffer("replaced", torch.zeros(()))
        self.layers[1].eval()

    def forward(self, images: Tensor) -> Tensor:
        self.passes += 1
        self.replaced = self.replaced + 1
        return self.layers(images)  # type: ignore[no-any-return]


@pytest.mark.parametrize("training", [True, False])
def test_a_module_is_as_before(training: bool) -> None:
    model = Counts().train(training)
    model.layers[1].eval()
    buffers = dict(model.named_buffers())
    before, modes = copy.deepcopy(model.state_dict()), [m.training for m in model.modules()]
    found = mnist.evaluate(model, dataset="digits")
    assert (found.count, found.origin["checkpoint"]) == (382, None)
    assert [m.training for m in model.modules()] == modes
    assert all(one is buffers[name] for name, one in model.named_buffers())
    assert all(torch.equal(before[name], one) for name, one in model.state_dict().items())
    assert all(one.grad is None and one.requires_grad for one in model.parameters())


def test_a_module_is_scored_as_by_hand(run: Run) -> None:
    """In its own precision, with the normalisation of the data set."""
    from mnist_cli.data.load import load

    network = copy.deepcopy(mnist.load(run).network)
    found = mnist.evaluate(network, dataset="digits")
    assert found.figures == mnist.evaluate(run).figures
    data = load("digits", run.path)
    pixels = data.test.images.double() / 255
    scores = network.double()((pixels - data.spec.mean) / data.spec.std)
    loss = nn.functional.cross_entropy(scores, data.test.labels).item()
    assert mnist.evaluate(network, dataset="digits").loss == pytest.approx(loss, rel=1e-5)


def test_probabilities_in_place_of_scores_are_said() -> None:
    module = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Softmax(1))
    with pytest.warns(mnist.Caution, match="Sequential returns probabilities, not logits"):
        mnist.evaluate(module, dataset="digits")


def test_a_class_states_its_normalisation() -> None:
    seen = []

    class Net(nn.Sequential):
        normalisation = (0.5, 0.25)

        def forward(self, images: Tensor) -> Tensor:
            seen.append(images.min().item())
            return super().forward(images)

    layers = nn.Flatten(), nn.Linear(784, 10)
    mnist.evaluate(Net(*layers), dataset="digits")
    mnist.evaluate(Net(*layers), dataset="digits", normalise="none")
    assert seen[1] == -2
    assert seen[-1] == 0


class Shaped(nn.Module):
    def __init__(self, result: Any) -> None:
        super().__init__()
        self.result = result

    def forward(self, images: Tensor) -> Any:
        if isinstance(self.result, Exception):
            raise self.result
        return self.result(images)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda images: images, r"Shaped returns \(2, 1, 28, 28\) for images"),
        (lambda images: [1], "Shaped returns list"),
        (lambda images: torch.zeros(1, 10), r"returns \(1, 10\) for images \(2,"),
        (lambda images: torch.zeros(len(images), 7), "has 7 classes, but .* has 10"),
        (lambda images: images @ torch.zeros(3, 3), "Shaped cannot classify images .*RuntimeError"),
        (ValueError("no"), "Shaped cannot classify images .*ValueError: no"),
    ],
)
def test_modules_that_do_not_classify(result: Any, message: str) -> None:
    with pytest.raises(errors.UsageError, match=message):
        mnist.evaluate(Shaped(result), dataset="digits")


def test_a_loaded_network_that_fails_in_its_precision(run: Run) -> None:
    model = mnist.load(run, precision="bf16")
    model.network = Shaped(RuntimeError("expected Float"))
    with pytest.raises(errors.UsageError, match=r"Float\n.*, pass precision='fp32'"):
        mnist.evaluate(model)


def test_scores_that_are_not_finite() -> None:
    model = Shaped(lambda images: torch.full((len(images), 10), torch.nan))
    with pytest.raises(errors.NonFiniteError, match="Shaped: the network's outputs"):
        mnist.evaluate(model, dataset="digits")


def _compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


@pytest.mark.filterwarnings("ignore:Guards may run slower")  # torch's, on Python 3.13.0
@pytest.mark.parametrize("wrap", [nn.Sequential, nn.DataParallel, _compiled])
def test_a_loaded_network_in_a_wrapper_normalises_by_itself(wrap: Any, run: Run) -> None:
    wrapped = wrap(mnist.load(run))
    found, expected = mnist.evaluate(wrapped), mnist.evaluate(run)
    assert found.accuracy == expected.accuracy
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)  # a second log-softmax
    image = np.eye(28, dtype=np.uint8) * 255
    given, known = (mnist.predict(image, model)[0].probabilities for model in (wrapped, run))
    assert given == pytest.approx(known, rel=1e-6)


def reread(module: Any) -> Any:
    """The TorchScript of a module, saved and loaded."""
    file = io.BytesIO()
    torch.jit.save(module, file)
    file.seek(0)
    return torch.jit.load(file)


def traced(module: nn.Module) -> Any:
    return torch.jit.trace(module, torch.rand(2, 1, 28, 28))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "script",
    [
        traced,
        lambda module: reread(traced(module)),
        lambda module: traced(nn.Sequential(module)),
        lambda module: nn.Sequential(reread(traced(module))),
        lambda module: reread(torch.jit.freeze(traced(module))),
    ],
)
def test_the_script_of_a_loaded_network_normalises_by_itself(script: Any, run: Run) -> None:
    model = mnist.load(run, precision="fp32")
    module = script(model)
    found = mnist.evaluate(module, dataset="digits")
    assert found.to_plain()["normalisation"]["std"] == 1
    assert found.loss == pytest.approx(mnist.evaluate(model).loss, rel=1e-5)
    assert found.confusion.tolist() == mnist.evaluate(model).confusion.tolist()
    again = mnist.evaluate(module, dataset="digits")
    assert again.loss == found.loss


@pytest.mark.filterwarnings("ignore")
def test_the_script_of_another_class_of_this_name_gets_normalised_images(run: Run) -> None:
    class Classifier(Counts):
        """Only its name is that of a loaded network."""

    name = traced(Classifier().eval()).original_name
    found = mnist.evaluate(traced(Classifier().eval()), dataset="digits")
    assert name == "Classifier"
    assert found.to_plain()["normalisation"]["std"] != 1


@pytest.mark.filterwarnings("ignore")
def test_an_exported_program_is_refused(run: Run) -> None:
    model = mnist.load(run, precision="fp32")
    module = torch.export.export(model, (torch.rand(2, 1, 28, 28),)).module()
    with pytest.raises(errors.UsageError, match="has no evaluation mode"):
        mnist.evaluate(module, dataset="digits")


@pytest.mark.parametrize("size", [7, np.int64(7), np.uint8(7)])
def test_batch_sizes_are_whole_numbers_of_any_library(size: Any, run: Run) -> None:
    assert mnist.evaluate(run, batch_size=size).count == 382


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "tset"}, errors.UsageError, "Did you mean 'test'?"),
        ({"split": 3}, errors.UsageError, "there is no split 3"),
        ({"batch_size": 0}, errors.UsageError, "batch_size"),
        ({"batch_size": 1.5}, errors.UsageError, "whole number of at least 1, not 1.5"),
        ({"batch_size": "8"}, errors.UsageError, "whole number of at least 1, not '8'"),
        ({"data_dir": 3}, errors.UsageError, "3 is not a path"),
        (
            {"what": nn.Linear(1, 1, device="meta"), "dataset": "digits"},
            errors.UsageError,
            "on the device meta",
        ),
        ({"dataset": "fashion"}, errors.UsageError, "Did you mean 'fashion-mnist'?"),
        ({"dataset": 3}, errors.UsageError, "3 is not a data set"),
        ({"dataset": "missing/x.csv"}, errors.DataError, "missing"),
        ({"what": nn.Linear(1, 1), "device": "cpu"}, errors.UsageError, "device has no effect"),
        ({"what": "missing.pt"}, errors.CheckpointError, "no checkpoint or run missing.pt"),
    ],
)
def test_wrong_arguments_of_evaluate(
    arguments: dict[str, Any], error: type[Exception], message: str, run: Run
) -> None:
    with pytest.raises(error) as refused:
        mnist.evaluate(**{"what": run, **arguments})
    assert message in str(refused.value)
    assert "--" not in str(refused.value)


@pytest.mark.parametrize(
    ("misfit", "as_flag", "as_argument"),
    [
        (("other data", 0.1, None, 500), "--dataset fashion-mnist", "dataset='fashion-mnist'"),
        (("normalisation", 0.5, 0.9, 500, "none"), "--normalise none", "normalise='none'"),
        (
            ("network", 0.5, 0.9, 500, "half", (), "example-2019"),
            "--model example-2019: the weights seem to be of that network (with --normalise half)",
            "network='example-2019': the weights seem to be of that network (with normalise='half')",
        ),
        (("inverted", 0.5, 0.9, 500), "expects dark digits on light", "expects dark digits"),
    ],
)
def test_advice_in_the_words_of_each_caller(
    misfit: Any, as_flag: str, as_argument: str, run: Run
) -> None:
    from mnist_cli.api.evaluating import _as_argument, advice
    from mnist_cli.commands.evaluate import _as_flag
    from mnist_cli.inference.misfit import Misfit

    spec = types.SimpleNamespace(title="MNIST", name="mnist", mean=0.13)
    opened: Any = types.SimpleNamespace(path="x.pt", data=types.SimpleNamespace(spec=spec))
    assert as_flag in advice(opened, Misfit(*misfit), _as_flag)
    assert as_argument in advice(opened, Misfit(*misfit), _as_argument)
    spec.mean = 0.9  # photographs of paper
    assert "light digits on dark" in advice(opened, Misfit("inverted", 0.5, 0.9, 500), _as_flag)


def test_how_it_shows_itself(run: Run) -> None:
    found = mnist.evaluate(run)
    lines = repr(found).splitlines()
    assert len(lines) == 3
    assert lines[0].startswith(f"Evaluation: accuracy {100 * found.accuracy:.2f}% (")
    page = found._repr_html_()
    assert page.count("<table>") == 3
    assert "color" not in page


def test_class_names_are_text(run: Run) -> None:
    found = mnist.evaluate(run)
    hostile = type(found)(found.figures, ("<b>\x1b",) * 10, found.origin)
    assert "<b>\x1b" not in hostile._repr_html_()
    assert "\x1b" not in repr(hostile)


def test_no_warning_without_a_reason(run: Run) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mnist.evaluate(run)
