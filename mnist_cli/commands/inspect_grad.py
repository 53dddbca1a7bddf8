"""``mnist inspect-grad``: the backward graph of one batch, shown, asked and proven."""

from __future__ import annotations

import typer

from mnist_cli.commands import options
from mnist_cli.commands.contradictions import given
from mnist_cli.commands.inspect import contradictions, flags
from mnist_cli.commands.inspect.dump import DEFAULT_FORMATS
from mnist_cli.commands.inspect.numeric import BATCH as GRADCHECK_BATCH


def inspect_grad(
    context: typer.Context,
    checkpoint: options.CheckpointArgument = None,
    replay: flags.ReplayFlag = False,
    step: flags.StepFlag = False,
    expr: flags.ExprFlag = None,
    at: flags.AtFlag = None,
    const: flags.ConstFlag = None,
    node: flags.NodeFlag = None,
    grad: flags.GradFlag = None,
    create_graph: flags.CreateGraphFlag = False,
    orders: flags.OrdersFlag = None,
    path: flags.PathFlag = None,
    module: flags.ModuleFlag = None,
    fold: flags.FoldFlag = None,
    depth: flags.DepthFlag = None,
    compare: flags.CompareFlag = None,
    against: flags.AgainstFlag = None,
    tolerance: flags.ToleranceFlag = flags.TOLERANCE,
    gradcheck: flags.GradcheckFlag = False,
    samples: flags.SamplesFlag = flags.SAMPLES,
    formats: flags.FormatsFlag = DEFAULT_FORMATS,
    direction: flags.DirectionFlag = None,
    out: flags.OutFlag = None,
    model: options.ModelOption = None,
    batch: flags.BatchFlag = None,
    indices: flags.IndicesFlag = None,
    split: flags.SplitFlag = "train",
    training: flags.TrainingFlag = True,
    seed: options.SeedOption = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    deterministic: flags.DeterministicFlag = True,
    runs: options.RunsOption = options.RUNS,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
) -> None:
    """Show the backward graph of one batch's loss, with the real gradient at every node.

    Prints it as a tree and writes graph.json, graph.svg and graph.html (a page to click
    through). With --replay every grad_fn is called by hand, and the result compared with
    autograd's, bit for bit. Without a checkpoint and without any run, a fresh seeded network on
    the bundled digits is inspected.
    """
    contradictions.check(given(context))
    options.check_values(seed=seed)
    from mnist_cli.commands.inspect import answers
    from mnist_cli.commands.inspect import dump as dumps
    from mnist_cli.commands.inspect.subject import Request, opened

    if expr is not None:
        into = (orders or flags.ORDERS) if create_graph else None
        answers.expression(expr, at or (), const or (), grad, into, seed or 0, as_json=as_json)
        return
    view = dumps.View(
        dumps.parse_formats(formats), module, fold, depth, dumps.parse_direction(direction)
    )
    request = Request(
        target=checkpoint,
        runs=runs,
        data_dir=data_dir,
        model=model,
        dataset=dataset,
        split=split,
        batch=GRADCHECK_BATCH if gradcheck and batch is None and indices is None else batch,
        indices=indices,
        seed=seed,
        training=training,
        device=device,
        precision=precision,
        deterministic=deterministic,
    )
    if compare is not None:
        answers.compare(compare, request, tolerance, as_json=as_json)
        return
    subject = opened(request, quiet=quiet or as_json)
    if step:
        answers.step(subject)
    elif node is not None:
        answers.node(subject, node, grad, create_graph=create_graph, as_json=as_json)
    elif gradcheck:
        answers.gradcheck(subject, samples, as_json=as_json)
    elif against is not None:
        answers.against(subject, against, request, tolerance, as_json=as_json)
    elif path is not None:
        answers.path(subject, path, as_json=as_json)
    else:
        answers.dump(subject, view, out, replay=replay, quiet=quiet, as_json=as_json)
