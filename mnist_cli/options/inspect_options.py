"""The options of ``mnist inspect-grad``, each defined once. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from mnist_cli import options
from mnist_cli.autograd.folding import MANY
from mnist_cli.options import completing

BATCH, SHOWN, COMPARED = "The batch", "What is shown", "Side by side"
EXPERIMENT = "One node, called by hand"
FORMATS = "text,json,svg,html"
GRADCHECK_BATCH = 8
"""Default for --gradcheck: each entry costs four passes in float64."""

ReplayFlag = Annotated[
    bool,
    typer.Option(
        "--replay",
        help="Call every node by hand in the engine's order and compare the bits; "
        "exit 6 if a parameter differs.",
    ),
]
StepFlag = Annotated[
    bool,
    typer.Option(
        "--step",
        help="Step through the replay node by node: inputs, call, results and their targets. "
        "Interactive in a terminal, plain text otherwise.",
    ),
]
ExprFlag = Annotated[
    str | None,
    typer.Option(
        "--expr",
        metavar="FORMULA",
        help='Use a formula instead of a network, such as "x * y" or "a @ b": describe its node '
        "and run its backward.",
        rich_help_panel=EXPERIMENT,
    ),
]
AtFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--at",
        metavar="NAME=VALUE",
        help="A number or JSON list for a name of --expr; repeatable.",
        rich_help_panel=EXPERIMENT,
    ),
]
ConstFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--const",
        metavar="NAME=VALUE",
        help="Like --at, for a name that needs no gradient; repeatable.",
        rich_help_panel=EXPERIMENT,
    ),
]
NodeFlag = Annotated[
    str | None,
    typer.Option(
        "--node",
        metavar="ID|NAME",
        help="Describe this node of the network in full and call it. A module means its last operation.",
    ),
]
GradFlag = Annotated[
    str | None,
    typer.Option(
        "--grad",
        metavar="VALUE",
        help="Gradient to call it with: ones, random, a number, a JSON list, or a file (.json, .pt).",
        rich_help_panel=EXPERIMENT,
    ),
]
CreateGraphFlag = Annotated[
    bool,
    typer.Option(
        "--create-graph",
        help="Keep grad mode on, so that results have a grad_fn. With --expr, also inspect that "
        "graph, for higher derivatives.",
        rich_help_panel=EXPERIMENT,
    ),
]
ORDERS = 2

OrdersFlag = Annotated[
    int | None,
    typer.Option(
        "--orders",
        metavar="N",
        min=1,
        max=20,
        help=f"Highest order of the derivatives for --create-graph. Default: {ORDERS}.",
        rich_help_panel=EXPERIMENT,
    ),
]
PathFlag = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="PARAMETER",
        help="Show only the path from the loss to this parameter, with the norm at each step.",
    ),
]
ModuleFlag = Annotated[
    str | None,
    typer.Option(
        "--module",
        metavar="PREFIX",
        help="Show only this module's part of the graph.",
        rich_help_panel=SHOWN,
    ),
]
FoldFlag = Annotated[
    bool | None,
    typer.Option(
        "--fold/--no-fold",
        help=f"Show each call of a module as one node. Default: on above {MANY} nodes.",
        rich_help_panel=SHOWN,
    ),
]
DepthFlag = Annotated[
    int | None,
    typer.Option(
        "--depth",
        metavar="N",
        min=1,
        help="Fold modules below this level.",
        rich_help_panel=SHOWN,
    ),
]
ViewFlag = Annotated[
    Literal["graph", "modules"],
    typer.Option(
        "--view",
        metavar="graph|modules",
        case_sensitive=False,
        help="View in the terminal: the backward graph as a tree, or each call of a module in the "
        "forward pass with its shapes, memory, activation and gradient.",
        rich_help_panel=SHOWN,
    ),
]
CompareFlag = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--compare",
        metavar="A B",
        autocompletion=completing.complete_runs,
        help="Compare two dumps (.json), checkpoints or runs, node by node.",
        rich_help_panel=COMPARED,
    ),
]
OTHERS = ("fp32", "bf16", "fp16", "cpu", "cuda", "mps", "train", "eval")
AgainstFlag = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="fp32|bf16|fp16|cpu|cuda|train|eval|FILE",
        autocompletion=completing.complete(OTHERS),
        help="Compare with another precision, device or mode on the same batch, or with a dump.",
        rich_help_panel=COMPARED,
    ),
]
TOLERANCE = 1e-9
"""Figures are computed in float64; between dumps, one gradient's differ by up to 1e-16."""

ToleranceFlag = Annotated[
    float,
    typer.Option(
        "--tolerance",
        metavar="X",
        min=0.0,
        help="Relative tolerance: smaller differences are ignored.",
        rich_help_panel=COMPARED,
    ),
]
GradcheckFlag = Annotated[
    bool,
    typer.Option(
        "--gradcheck",
        help="Compare sampled entries of each parameter's gradient with central differences "
        f"in float64, on {GRADCHECK_BATCH} images; exit 6 if they contradict each other.",
    ),
]
SAMPLES = 5

SamplesFlag = Annotated[
    int,
    typer.Option("--samples", metavar="N", min=1, help="Entries per parameter for --gradcheck."),
]
DirectionFlag = Annotated[
    Literal["down", "right"] | None,
    typer.Option(
        "--direction",
        metavar="down|right",
        case_sensitive=False,
        help="Direction of the forward pass in dot, mermaid, svg and html. Default: down.",
        rich_help_panel=options.OUTPUT,
    ),
]
FormatsFlag = Annotated[
    str,
    typer.Option(
        "--format",
        "-f",
        metavar="LIST",
        help="Comma-separated list of text, json, dot, mermaid, svg and html.",
        autocompletion=completing.complete_list(("text", "json", "dot", "mermaid", "svg", "html")),
        rich_help_panel=options.OUTPUT,
    ),
]
DeterministicFlag = Annotated[
    bool,
    typer.Option(
        "--deterministic/--no-deterministic",
        help="CUDA: use only deterministic algorithms. Otherwise a replay may differ in the last "
        "bits. The CPU is always deterministic.",
        rich_help_panel=options.COMPUTE,
    ),
]
OutFlag = Annotated[
    Path | None,
    options.out("DIR", "Folder for the files. Default: grad/ in the run."),
]
BatchFlag = Annotated[
    int | None,
    typer.Option(
        "--batch-size",
        "-b",
        metavar="N",
        help="Number of images, drawn with --seed. "
        f"Default: 64; {GRADCHECK_BATCH} for --gradcheck.",
        rich_help_panel=BATCH,
    ),
]
IndicesFlag = Annotated[
    str | None,
    typer.Option(
        "--indices",
        metavar="I,J,…",
        help="Images to use, by their numbers in the file.",
        rich_help_panel=BATCH,
    ),
]
SplitFlag = Annotated[
    Literal["train", "val", "test"],
    typer.Option(
        "--split",
        metavar="train|val|test",
        case_sensitive=False,
        help="Split of the images; train and val are the splits that the run used.",
        rich_help_panel=BATCH,
    ),
]
TrainingFlag = Annotated[
    bool,
    typer.Option(
        "--train/--eval",
        help="Mode of the network: training (dropout, batch statistics) or evaluation.",
        rich_help_panel=BATCH,
    ),
]
