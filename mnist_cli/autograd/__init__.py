"""The backward graph as data: walk it, record its gradients, replay it, ask it.

One line inspects any loss; the functions below do one part each::

    from mnist_cli.autograd import inspect

    report = inspect(loss, model)

    from mnist_cli.autograd import judge, record, replay, walk

    walked = walk(loss, names=model)
    recorded = record(walked, keep=True)
    verdict = judge(replay(walked), recorded)

Names are fetched on first use, so that the parts which need no torch (the graph, its JSON
form, queries, diagnoses, comparison, renderers) are imported without it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mnist_cli.autograd.asserting import assert_gradients_finite as assert_gradients_finite
    from mnist_cli.autograd.comparing import GraphComparison as GraphComparison
    from mnist_cli.autograd.comparing import compare as compare
    from mnist_cli.autograd.diagnosing import Diagnosis as Diagnosis
    from mnist_cli.autograd.diagnosing import diagnose as diagnose
    from mnist_cli.autograd.diagnosing import parameter_table as parameter_table
    from mnist_cli.autograd.document import dump as dump
    from mnist_cli.autograd.document import dumps as dumps
    from mnist_cli.autograd.document import load as load
    from mnist_cli.autograd.document import loads as loads
    from mnist_cli.autograd.error_tree import DataError as DataError
    from mnist_cli.autograd.error_tree import DependencyError as DependencyError
    from mnist_cli.autograd.error_tree import ExpectedError as ExpectedError
    from mnist_cli.autograd.error_tree import NonFiniteError as NonFiniteError
    from mnist_cli.autograd.error_tree import OutputError as OutputError
    from mnist_cli.autograd.error_tree import ReplayMismatch as ReplayMismatch
    from mnist_cli.autograd.error_tree import UsageError as UsageError
    from mnist_cli.autograd.experimenting import experiment as experiment
    from mnist_cli.autograd.flowing import gradient_flow as gradient_flow
    from mnist_cli.autograd.folding import fold as fold
    from mnist_cli.autograd.graph import GradGraph as GradGraph
    from mnist_cli.autograd.inspecting import Report as Report
    from mnist_cli.autograd.inspecting import inspect as inspect
    from mnist_cli.autograd.numeric import gradcheck as gradcheck
    from mnist_cli.autograd.problems import GradientWarning as GradientWarning
    from mnist_cli.autograd.problems import Problem as Problem
    from mnist_cli.autograd.query import find_node as find_node
    from mnist_cli.autograd.query import find_nodes as find_nodes
    from mnist_cli.autograd.query import path_to as path_to
    from mnist_cli.autograd.query import select as select
    from mnist_cli.autograd.recording import Recording as Recording
    from mnist_cli.autograd.recording import record as record
    from mnist_cli.autograd.render import draw as draw
    from mnist_cli.autograd.replayed import Replay as Replay
    from mnist_cli.autograd.replaying import replay as replay
    from mnist_cli.autograd.replaying import replay_steps as replay_steps
    from mnist_cli.autograd.retention import SavedMemory as SavedMemory
    from mnist_cli.autograd.retention import saved_memory as saved_memory
    from mnist_cli.autograd.retention import unusable_tensors as unusable_tensors
    from mnist_cli.autograd.single_call import call_node as call_node
    from mnist_cli.autograd.summarizing import summary as summary
    from mnist_cli.autograd.summary_table import Summary as Summary
    from mnist_cli.autograd.tracing import trace_modules as trace_modules
    from mnist_cli.autograd.units import dead_units as dead_units
    from mnist_cli.autograd.units import first_not_finite as first_not_finite
    from mnist_cli.autograd.values import parse_binding as parse_binding
    from mnist_cli.autograd.values import parse_value as parse_value
    from mnist_cli.autograd.verdict import judge as judge
    from mnist_cli.autograd.verdict import require_exact as require_exact
    from mnist_cli.autograd.walking import Walk as Walk
    from mnist_cli.autograd.walking import walk as walk
    from mnist_cli.autograd.watching import watch as watch

_HOME = {
    "asserting": ("assert_gradients_finite",),
    "comparing": ("GraphComparison", "compare"),
    "diagnosing": ("Diagnosis", "diagnose", "parameter_table"),
    "document": ("dump", "dumps", "load", "loads"),
    "error_tree": (
        "DataError",
        "DependencyError",
        "ExpectedError",
        "NonFiniteError",
        "OutputError",
        "ReplayMismatch",
        "UsageError",
    ),
    "experimenting": ("experiment",),
    "flowing": ("gradient_flow",),
    "folding": ("fold",),
    "graph": ("GradGraph",),
    "inspecting": ("Report", "inspect"),
    "numeric": ("gradcheck",),
    "problems": ("GradientWarning", "Problem"),
    "query": ("find_node", "find_nodes", "path_to", "select"),
    "recording": ("Recording", "record"),
    "render": ("draw",),
    "replayed": ("Replay",),
    "replaying": ("replay", "replay_steps"),
    "single_call": ("call_node",),
    "retention": ("SavedMemory", "saved_memory", "unusable_tensors"),
    "summarizing": ("summary",),
    "summary_table": ("Summary",),
    "tracing": ("trace_modules",),
    "units": ("dead_units", "first_not_finite"),
    "values": ("parse_binding", "parse_value"),
    "verdict": ("judge", "require_exact"),
    "walking": ("Walk", "walk"),
    "watching": ("watch",),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [*_MODULE_OF]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
