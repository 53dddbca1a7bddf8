"""Train, evaluate and look inside MNIST networks.

From Python and in notebooks::

    import mnist_cli as mnist

    run = mnist.train("fast", seed=3, lr=0.03)
    score = mnist.evaluate(run)
    model = mnist.load(run)
    mnist.predict(["a.png", "b.png"], run)
    report = mnist.inspect(loss, model)

Names are imported on first use, so this import is fast and changes nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mnist_cli.base.version import __version__ as __version__

if TYPE_CHECKING:
    from mnist_cli import autograd as autograd
    from mnist_cli import errors as errors
    from mnist_cli.api.evaluating import evaluate as evaluate
    from mnist_cli.api.evaluation_object import Evaluation as Evaluation
    from mnist_cli.api.loaded import Classifier as Classifier
    from mnist_cli.api.loading_call import load as load
    from mnist_cli.api.predicting import Prediction as Prediction
    from mnist_cli.api.predicting import Predictions as Predictions
    from mnist_cli.api.predicting import predict as predict
    from mnist_cli.api.run_object import Run as Run
    from mnist_cli.api.run_object import list_runs as list_runs
    from mnist_cli.api.run_object import open_run as open_run
    from mnist_cli.api.train_call import train as train
    from mnist_cli.autograd.inspecting import inspect as inspect
    from mnist_cli.errors import Caution as Caution
    from mnist_cli.errors import MnistError as MnistError
    from mnist_cli.training.callback import Callback as Callback
    from mnist_cli.training.callback import ObservedRun as ObservedRun
    from mnist_cli.training.callback import Progress as Progress

_HOME = {
    "api.loaded": ("Classifier",),
    "api.loading_call": ("load",),
    "api.evaluating": ("evaluate",),
    "api.evaluation_object": ("Evaluation",),
    "api.predicting": ("Prediction", "Predictions", "predict"),
    "api.run_object": ("Run", "list_runs", "open_run"),
    "api.train_call": ("train",),
    "autograd.inspecting": ("inspect",),
    "errors": ("Caution", "MnistError"),
    "training.callback": ("Callback", "ObservedRun", "Progress"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
_MODULES = ("autograd", "errors")

__all__ = [*_MODULE_OF, *_MODULES]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"{__name__}.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import random

    drawn = random.getstate()
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    random.setstate(drawn)  # rich draws a number when it is imported
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
