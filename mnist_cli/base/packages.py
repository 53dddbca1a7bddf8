"""Optional packages, and the error if one is missing.

The functions that use an optional package import it; :func:`explain_import` turns the import error
into a message.
"""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path

from mnist_cli.errors import DependencyError

CORE = ("torch", "numpy", "typer", "rich", "pydantic", "tomlkit", "filelock")

OPTIONAL = {
    "torchvision": "torchvision",
    "sklearn": "scikit-learn",
    "matplotlib": "matplotlib",
    "PIL": "pillow",
    "scipy": "scipy",
    "httpx": "httpx",
    "tensorboard": "tensorboard",
    "wandb": "wandb",
    "mlflow": "mlflow",
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "safetensors": "safetensors",
    "pyarrow": "pyarrow",
    "pillow_heif": "pillow-heif",
}
"""The package to install, by the name to import."""

_PURPOSE = {
    "torchvision": "the DataLoader's transforms and class maximisation",
    "scikit-learn": "the bundled digits and t-SNE",
    "matplotlib": "pictures",
    "pillow": "image files and the bundled digits",
    "scipy": "image files",
    "httpx": "downloads",
    "pyarrow": "Parquet files",
    "pillow-heif": "HEIC photographs",
}


def require(package: str, what: str) -> None:
    """Check that an optional package is installed, without importing it.

    Args:
        package: the name to install, a value of :data:`OPTIONAL`.
        what: the option or command that needs it, for the message.

    Raises:
        DependencyError: it is not installed.
    """
    imported_as = next(name for name, installed in OPTIONAL.items() if installed == package)
    if importlib.util.find_spec(imported_as) is None:
        raise DependencyError(
            f"{what} needs the package {package}, which is not installed", _how_to_install(package)
        )


def import_failure(error: ImportError) -> str:
    """The failed import of an optional package in one line, for work that can be skipped.

    Raises:
        ImportError: the error itself, if it is about any other package.
    """
    known = explain_import(error)
    if known is None:
        raise error
    return f"{known.message}. {known.hint}"


def explain_import(error: BaseException) -> DependencyError | None:
    """The failed import of an optional package as an expected error; None for any other error.

    A torchvision that does not match torch raises a RuntimeError when it is imported.
    """
    if isinstance(error, RuntimeError) and "operator torchvision::" in str(error):
        return DependencyError(
            "torchvision does not match the installed torch", _how_to_install("torchvision")
        )
    if not isinstance(error, ImportError) or error.name is None:
        return None
    package = OPTIONAL.get(error.name.partition(".")[0])
    if package is None:
        return None
    purpose = f" ({_PURPOSE[package]})" if package in _PURPOSE else ""
    needed = f"this command needs the package {package}{purpose}, which"
    if isinstance(error, ModuleNotFoundError):
        return DependencyError(f"{needed} is not installed", _how_to_install(package))
    return DependencyError(
        f"{needed} cannot be imported: {error}", _how_to_install(package, broken=True)
    )


def _how_to_install(package: str, *, broken: bool = False) -> str:
    """The hint. pip would replace the installed torch if torchvision needs another release."""
    if package == "torchvision":
        return (
            f"Install the torchvision release that matches torch {_torch_version()}; "
            "https://pytorch.org/get-started/previous-versions lists the pairs."
        )
    if broken:  # a plain install does not change an installed package
        return f"Install it again with: {installing(package, again=True)}"
    return f"Install it with: {installing(package)}"


def installing(*packages: str, again: bool = False) -> str:
    """The command that adds packages to this installation, with pip, pipx or uv.

    With ``again``, it reinstalls each, without its dependencies.
    """
    place, names = Path(sys.prefix), " ".join(packages)
    if (place / "pipx_metadata.json").is_file():
        return f"pipx inject {'--force ' if again else ''}mnist-cli {names}"
    if (place / "uv-receipt.toml").is_file():
        options = "--reinstall --no-deps " if again else ""
        return f"uv pip install --python {shlex.quote(sys.prefix)} {options}{names}"
    return f"pip install {'--force-reinstall --no-deps ' if again else ''}{names}"


def _torch_version() -> str:
    """The release of torch, such as 2.14.1, without importing it."""
    from importlib import metadata  # takes a seventh of the time to `mnist --help`

    try:
        return metadata.version("torch").partition("+")[0]
    except metadata.PackageNotFoundError:
        return "(see `mnist doctor`)"
