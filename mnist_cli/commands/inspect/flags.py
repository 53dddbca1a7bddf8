"""The options of ``mnist inspect-grad``, each defined once. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mnist_cli.commands import options
from mnist_cli.commands.inspect.dump import MANY
from mnist_cli.commands.inspect.numeric import BATCH as GRADCHECK_BATCH

BATCH, SHOWN, COMPARED = "The batch", "What is shown", "Side by side"
EXPERIMENT = "One node, called by hand"

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
        help="Go through the replay node by node: what comes in, the call, what comes out, "
        "where it goes. With keys in a terminal, else as text.",
    ),
]
ExprFlag = Annotated[
    str | None,
    typer.Option(
        "--expr",
        metavar="FORMULA",
        help='Instead of a network: a formula, as "x * y" or "a @ b"; its node is described '
        "and called.",
        rich_help_panel=EXPERIMENT,
    ),
]
AtFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--at",
        metavar="NAME=VALUE",
        help="A number or JSON list for each name of --expr; many times.",
        rich_help_panel=EXPERIMENT,
    ),
]
ConstFlag = Annotated[
    list[str] | None,
    typer.Option(
        "--const",
        metavar="NAME=VALUE",
        help="As --at, of a name that needs no gradient; many times.",
        rich_help_panel=EXPERIMENT,
    ),
]
NodeFlag = Annotated[
    str | None,
    typer.Option(
        "--node",
        metavar="ID|NAME",
        help="Describe this node of the network in full, and call it.",
        rich_help_panel=EXPERIMENT,
    ),
]
GradFlag = Annotated[
    str | None,
    typer.Option(
        "--grad",
        metavar="VALUE",
        help="What to call it with: ones, random, a number, a JSON list, or a file (.json, .pt).",
        rich_help_panel=EXPERIMENT,
    ),
]
CreateGraphFlag = Annotated[
    bool,
    typer.Option(
        "--create-graph",
        help="Keep grad mode on: the results have a grad_fn themselves; --expr goes on into it.",
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
        help=f"How many derivatives --create-graph goes through; left out, {ORDERS}.",
        rich_help_panel=EXPERIMENT,
    ),
]
PathFlag = Annotated[
    str | None,
    typer.Option(
        "--path",
        metavar="PARAMETER",
        help="Only the chain from the loss to this parameter, with the norm at each step.",
        rich_help_panel=SHOWN,
    ),
]
ModuleFlag = Annotated[
    str | None,
    typer.Option(
        "--module",
        metavar="PREFIX",
        help="Show this module's part of the graph only.",
        rich_help_panel=SHOWN,
    ),
]
FoldFlag = Annotated[
    bool | None,
    typer.Option(
        "--fold/--no-fold",
        help=f"Show each call of a module as one node; left out, above {MANY} nodes.",
        rich_help_panel=SHOWN,
    ),
]
DepthFlag = Annotated[
    int | None,
    typer.Option(
        "--depth",
        metavar="N",
        min=1,
        help="Fold modules below N levels.",
        rich_help_panel=SHOWN,
    ),
]
CompareFlag = Annotated[
    tuple[str, str] | None,
    typer.Option(
        "--compare",
        metavar="A B",
        help="Two dumps (.json), checkpoints or runs, node by node.",
        rich_help_panel=COMPARED,
    ),
]
AgainstFlag = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="fp32|bf16|fp16|cpu|cuda|train|eval|FILE",
        help="The same batch under another precision, device or mode, or a dump.",
        rich_help_panel=COMPARED,
    ),
]
TOLERANCE = 1e-9
"""Figures are computed in float64, and the same gradient's may differ by 1e-16 from dump to dump."""

ToleranceFlag = Annotated[
    float,
    typer.Option(
        "--tolerance",
        metavar="X",
        min=0.0,
        help="Relative difference that counts as none.",
        rich_help_panel=COMPARED,
    ),
]
GradcheckFlag = Annotated[
    bool,
    typer.Option(
        "--gradcheck",
        help="Hold sampled entries of each parameter's gradient against central differences "
        f"in float64, on {GRADCHECK_BATCH} images; exit 6 where they contradict.",
    ),
]
SAMPLES = 5

SamplesFlag = Annotated[
    int,
    typer.Option(
        "--samples", metavar="N", min=1, help="Entries of each parameter for --gradcheck."
    ),
]
DirectionFlag = Annotated[
    str | None,
    typer.Option(
        "--direction",
        metavar="down|right",
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
        help="Of text, json, dot, mermaid, svg, html, with commas between.",
        rich_help_panel=options.OUTPUT,
    ),
]
DeterministicFlag = Annotated[
    bool,
    typer.Option(
        "--deterministic/--no-deterministic",
        help="CUDA: only algorithms that repeat their bits; without, a replay may differ in the "
        "last ones. A CPU always repeats.",
        rich_help_panel=options.COMPUTE,
    ),
]
OutFlag = Annotated[
    Path | None,
    typer.Option(
        "--out",
        metavar="DIR",
        help="Where files go; left out, grad/ in the run.",
        rich_help_panel=options.OUTPUT,
    ),
]
BatchFlag = Annotated[
    int | None,
    typer.Option(
        "--batch", metavar="N", help="So many images, by the seed.", rich_help_panel=BATCH
    ),
]
IndicesFlag = Annotated[
    str | None,
    typer.Option(
        "--indices",
        metavar="I,J,…",
        help="These images, by their numbers in the file.",
        rich_help_panel=BATCH,
    ),
]
SplitFlag = Annotated[
    str,
    typer.Option(
        "--split",
        metavar="train|val|test",
        help="Where the images are from; train and val as the run cut them.",
        rich_help_panel=BATCH,
    ),
]
TrainingFlag = Annotated[
    bool,
    typer.Option(
        "--train/--eval",
        help="The network's mode: with dropout and the batch's own norms, or without.",
        rich_help_panel=BATCH,
    ),
]
