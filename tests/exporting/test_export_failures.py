"""A network that cannot be exported: the error names the operator or the line, and a way out."""

from __future__ import annotations

from pathlib import Path

import pytest
from own_files import body, network_file

from mnist_cli.data.split import Normalisation
from mnist_cli.exporting import formats
from mnist_cli.exporting.classifier import Classifier
from mnist_cli.exporting.export_failures import NotExportable, not_exportable
from mnist_cli.networks import registry

SCORES = "self.fc(x.flatten(1))"
PROGRAMS = {"onnx", "torch"}


def failure(tmp_path: Path, forward: str, chosen: str) -> NotExportable:
    """The error of exporting a network of this forward pass."""
    path = network_file(tmp_path / "net.py", body(forward))
    classifier = Classifier(registry.build(f"{path}:Net", 10), Normalisation(0.1, 0.3))
    form = formats.FORMATS[chosen]
    with pytest.raises(Exception) as raised:  # noqa: PT011 - exporters raise anything
        formats.writer(form).encode(classifier, {})
    return not_exportable(raised.value, "net.py:Net", form)


@pytest.mark.filterwarnings("ignore:.*depend on the other images of the batch")
@pytest.mark.parametrize(
    ("forward", "chosen", "said", "impossible"),
    [
        (
            f"{SCORES} if x.sum() > 0 else -{SCORES}",
            "torch",
            "net.py, line 10, in forward: return FORWARD: a Python number or branch depends "
            "on the values of the images",
            PROGRAMS,
        ),
        (
            f"{SCORES} * int(x.abs().sum().item())",
            "torch",
            "net.py, line 10, in forward: return FORWARD: a Python number or branch depends "
            "on the values of the images",
            PROGRAMS,
        ),
        (
            f"{SCORES} + torch.from_numpy(x.detach().numpy()).mean()",
            "torch",
            "net.py, line 10, in forward: return FORWARD: RuntimeError: .numpy() is not supported",
            PROGRAMS,
        ),
        (
            "torch.stack([self.fc(one.flatten()) for one in x])",
            "torch",
            "torch.export: it computes differently for another number of images",
            PROGRAMS,
        ),
        (
            f"{SCORES} + torch.linalg.eigvals(x).abs().mean((1, 2))[:, None]",
            "onnx",
            "ONNX: torch has no ONNX conversion of aten.linalg_eig",
            {"onnx"},
        ),
    ],
    ids=["branch", "number", "numpy", "batch", "complex operator"],
)
def test_the_cause_is_named(
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    forward: str,
    chosen: str,
    said: str,
    impossible: set[str],
) -> None:
    found = failure(tmp_path, forward, chosen)
    assert found.message.startswith("the network 'net.py:Net' cannot be exported as ")
    assert said.replace("FORWARD", forward) in found.message
    assert "\n" not in found.message
    assert "\x1b" not in found.message
    assert found.impossible == impossible
    assert found.any_batch == ("number of images" in said)
    assert capfd.readouterr() == ("", "")  # torch prints pages


def raised(error: Exception, *causes: Exception) -> Exception:
    """The error, raised from the first cause, which was raised from the second, and so on."""
    for effect, cause in zip((error, *causes), causes, strict=False):
        effect.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("\n\n  Errors:\n\n  size 3 is not 4\n  more"), "ValueError: size 3 is not 4"),
        (ValueError("Errors:"), "ValueError: Errors:"),
        (KeyError(), "KeyError"),
        (
            raised(RuntimeError("\x1b[96mstep 3\x1b[0m failed"), ValueError("no such axis")),
            "ValueError: no such axis",
        ),
        (raised(RuntimeError("step 3 failed"), ValueError("")), "RuntimeError: step 3 failed"),
        (RuntimeError("\x1b[96mstep 3\x1b[0m failed"), "RuntimeError: step 3 failed"),
    ],
)
def test_the_decisive_line_of_any_error(error: Exception, said: str) -> None:
    found = not_exportable(error, "net", formats.FORMATS["onnx"])
    assert found.message == f"the network 'net' cannot be exported as ONNX: {said}"
