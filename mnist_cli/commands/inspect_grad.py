"""``mnist inspect-grad``: the backward graph of one batch, shown, queried and replayed."""

from __future__ import annotations

import typer

from mnist_cli import options
from mnist_cli.api import recipe_layers
from mnist_cli.autograd.render import FORMATS
from mnist_cli.commands import browser, early
from mnist_cli.config.choices import is_known_model, unknown_model
from mnist_cli.errors import UsageError
from mnist_cli.options import inspect_options as flags
from mnist_cli.options import inspect_rules as rules


@options.with_figures
def inspect_grad(
    context: typer.Context,
    checkpoint: options.CheckpointArgument = None,
    replay: flags.ReplayFlag = False,
    step: flags.StepFlag = False,
    node: flags.NodeFlag = None,
    path: flags.PathFlag = None,
    expr: flags.ExprFlag = None,
    at: flags.AtFlag = None,
    const: flags.ConstFlag = None,
    grad: flags.GradFlag = None,
    create_graph: flags.CreateGraphFlag = False,
    orders: flags.OrdersFlag = None,
    module: flags.ModuleFlag = None,
    fold: flags.FoldFlag = None,
    depth: flags.DepthFlag = None,
    view: flags.ViewFlag = "graph",
    compare: flags.CompareFlag = None,
    against: flags.AgainstFlag = None,
    tolerance: flags.ToleranceFlag = flags.TOLERANCE,
    gradcheck: flags.GradcheckFlag = False,
    samples: flags.SamplesFlag = flags.SAMPLES,
    model: options.ModelOption = None,
    batch: flags.BatchFlag = None,
    indices: flags.IndicesFlag = None,
    split: flags.SplitFlag = "train",
    training: flags.TrainingFlag = True,
    seed: options.SeedOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    normalise: options.NormaliseOption = None,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    deterministic: flags.DeterministicFlag = True,
    formats: flags.FormatsFlag = flags.FORMATS,
    direction: flags.DirectionFlag = None,
    out: flags.OutFlag = None,
    open_page: browser.OpenFlag = False,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Show the backward graph of one batch's loss, with the real gradient at every node.

    Prints the graph as a tree and writes graph.json, graph.svg, flow.png and graph.html (an
    interactive page). With --replay, calls every grad_fn by hand and compares the result with
    autograd's, bit for bit. If no checkpoint is given and there is no run, inspects an untrained
    network on the bundled digits.
    """
    names = tuple(options.parse_words("--format", formats, list(FORMATS)))
    rules.check(context, names)
    page = next((name for name in rules.PAGES if name in names), "")
    recipe_layers.compose_config(None, None, {"seed": seed})  # refuses what is no seed
    chosen = None if indices is None else tuple(options.parse_indices(indices))
    if expr is None:
        early.check_choices(device)
        if model is not None and not is_known_model(model):
            raise UsageError(*unknown_model(model))
        if checkpoint is not None:
            early.check_checkpoint(checkpoint, runs)
        early.check_choices(precision=precision, dataset=dataset)
    from mnist_cli.commands.inspect import answers
    from mnist_cli.commands.inspect.subject import Asked
    from mnist_cli.gradients.request import Request
    from mnist_cli.gradients.view import View
    from mnist_cli.inference.opened import DataSource
    from mnist_cli.report.console import note, warn

    if expr is not None:
        into = (orders or flags.ORDERS) if create_graph else None
        answers.formula(expr, at or (), const or (), grad, into, seed or 0, as_json=as_json)
        return
    request = Request(
        source=DataSource(data_dir, dataset, notify=note),
        model=model,
        split=split,
        count=flags.GRADCHECK_BATCH if gradcheck and batch is None else batch,
        indices=chosen,
        seed=seed,
        training=training,
        device=device,
        precision=precision,
        normalise=normalise,
        deterministic=deterministic,
    )
    asked = Asked(checkpoint, runs, request, quiet)
    if compare is not None:
        answers.compare(compare, asked, tolerance, as_json=as_json)
        return
    if gradcheck and precision is not None:
        warn("--precision is not used: the check computes in float64")
    subject = asked.opened(quiet=quiet or as_json, computed="float64" if gradcheck else "")
    if step:
        answers.step(subject)
    elif node is not None:
        answers.node(subject, node, grad, create_graph=create_graph, as_json=as_json)
    elif gradcheck:
        answers.check(subject, samples, as_json=as_json)
    elif against is not None:
        answers.against(subject, against, asked, tolerance, as_json=as_json)
    elif path is not None:
        answers.path(subject, path, as_json=as_json)
    else:
        shown = View(module, fold, depth, direction or "down", view == "modules")
        written = answers.dump(
            subject, shown, names, out, replay=replay, quiet=quiet, as_json=as_json
        )
        if open_page:
            browser.show([path for path in written if path.suffix == f".{page}"])
