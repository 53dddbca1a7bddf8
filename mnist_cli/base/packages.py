"""The packages that not every command needs, and what is said where one is missing.

The core is torch, numpy, typer, rich, pydantic, tomlkit and filelock. Everything else is imported
by the function that uses it; :func:`explain_import` then turns the import error into a sentence.
"""

from __future__ import annotations

import importlib.util

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
    "onnx": "onnx",
    "onnxscript": "onnxscript",
    "onnxruntime": "onnxruntime",
    "safetensors": "safetensors",
}
"""What each is imported as, and what it is installed as."""

_PURPOSE = {
    "torchvision": "the DataLoader's transforms and class maximisation",
    "scikit-learn": "the bundled digits and t-SNE",
    "matplotlib": "pictures",
    "pillow": "image files and the bundled digits",
    "scipy": "image files and the bundled digits",
    "httpx": "downloads",
}


def require(package: str, what: str) -> None:
    """Find out before anything is computed that an optional package is there.

    Args:
        package: as it is installed.
        what: the option or command that needs it.

    Raises:
        DependencyError: it is not.
    """
    imported_as = next(name for name, installed in OPTIONAL.items() if installed == package)
    if importlib.util.find_spec(imported_as) is None:
        raise DependencyError(
            f"{what} needs the package {package}, which is not installed",
            _how_to_install(package),
        )


def told(error: ImportError) -> str:
    """The failed import of an optional package in a line, for what can be left out.

    Raises:
        ImportError: the error itself, where it is about anything else.
    """
    known = explain_import(error)
    if known is None:
        raise error
    return f"{known.message}. {known.hint}"


def explain_import(error: BaseException) -> DependencyError | None:
    """The failed import of an optional package as an error with a way out; None for any other.

    A torchvision that does not match torch fails at import too, as a RuntimeError.
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
    """The way out. pip replaces the torch of a GPU machine if torchvision asks for another one."""
    if package == "torchvision":
        return (
            f"Install the torchvision release that matches torch {_torch_version()}; "
            "https://pytorch.org/get-started/previous-versions lists the pairs."
        )
    if broken:  # pip takes what is installed for good, so that a plain install changes nothing
        return f"Install it again with: pip install --force-reinstall --no-deps {package}"
    return f"Install it with: pip install {package}"


def _torch_version() -> str:
    """The release of torch, such as 2.14.1, without importing it."""
    from importlib import metadata  # takes a seventh of the time to `mnist --help`

    try:
        return metadata.version("torch").partition("+")[0]
    except metadata.PackageNotFoundError:
        return "(see `mnist doctor`)"
