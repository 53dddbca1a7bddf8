"""``mnist train``: options in, one run, report out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli import options
from mnist_cli.api import recipe_layers
from mnist_cli.base.files import is_there
from mnist_cli.commands import config_show, early
from mnist_cli.commands.opening import naming_the_flag
from mnist_cli.options import contradictions, logging_options
from mnist_cli.options import train_options as flags
from mnist_cli.options.renamed import NEWEST
from mnist_cli.options.train_rules import NO_KEYS, RULES, SEVERAL

if TYPE_CHECKING:
    from mnist_cli.commands.epoch_dumps import EpochDumps
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.config.sources import Layer
    from mnist_cli.training.distributed.rank_environment import RankPlace
    from mnist_cli.training.run import RunRequest
    from mnist_cli.training.run_summary import Summary


@options.with_figures
@options.with_keys
def train(
    context: typer.Context,
    config: options.ConfigOption = None,
    assignments: options.SetOption = None,
    seeds: flags.SeedsFlag = 1,
    data_dir: options.DataDirOption = options.DATA_DIR,
    nproc: flags.NprocFlag = 1,
    rank_timeout: flags.RankTimeoutFlag = 300.0,
    resume: flags.ResumeFlag = None,
    print_config: flags.PrintConfigFlag = False,
    dry_run: flags.DryRunFlag = False,
    verify_resume: flags.VerifyResumeFlag = False,
    find_lr: flags.FindLrFlag = False,
    runs: options.RunsOption = options.RUNS,
    name: flags.NameFlag = "",
    logger: logging_options.LoggerOption = None,
    tensorboard: flags.TensorboardFlag = False,
    dump_grad: flags.DumpGradFlag = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    **chosen: Any,
) -> None:
    """Train a network and measure its accuracy on the test set.

    Without options, this trains the default recipe on MNIST, on the best available device. Flags
    override --set, --set overrides --config, and --config overrides the defaults. A validation
    set, held out from the training set, chooses best.pt. The test set is read once, at the end.
    """
    if print_config:
        given = contradictions.refuse(context, RULES, **{SEVERAL: True})
        if unused := [
            contradictions.spelled(context, one, given) for one in NO_KEYS if one in given
        ]:
            from mnist_cli.report.console import warn

            warn(f"{', '.join(unused)}: not part of the configuration")
        typed = recipe_layers.typed_layers(assignments, chosen)
        config_show.print_config(config, typed, runs, as_json=as_json)
        return
    from mnist_cli.base.signals import handlers_put_back
    from mnist_cli.commands.epoch_dumps import EpochDumps
    from mnist_cli.commands.run_guide import RunGuide
    from mnist_cli.runs.directory import check_name
    from mnist_cli.training.distributed.rank_environment import check_system, rank_place_of

    place = rank_place_of()
    with _as_rank(place), handlers_put_back():
        shared = {"torchrun": bool(place and not place.folder), SEVERAL: bool(place or nproc > 1)}
        contradictions.refuse(context, RULES, **shared)
        dumps = EpochDumps.parse(dump_grad)
        typed = recipe_layers.typed_layers(assignments, chosen)
        loggers = logging_options.chosen(logger, tensorboard=tensorboard)
        if seeds > 1:
            _train_seeds(context, seeds, config, typed, dumps, loggers)
            return
        settings = None if resume else recipe_layers.compose_typed(config, typed, runs)
        if name:
            check_name(name)
        if settings is not None:
            dumps.check(1 if dry_run else settings.epochs)
        if place is None:  # other machines of a run need not have the files
            _check(settings, resume, runs)
        if nproc > 1 and place is None:
            check_system()
            from mnist_cli.training.distributed.launch import launch

            launch(context.obj, nproc)
            return

        from mnist_cli.report import curve_process
        from mnist_cli.report.training import LearningCurves, Postponed, TrainingReport

        draws = not dry_run and not verify_resume and not find_lr and place is None
        drawing = curve_process.begin() if draws else None
        if settings is not None and place is None:
            early.begin_reading(settings.dataset, data_dir)
        from mnist_cli.api.train_call import Order, carry_out, session_of
        from mnist_cli.training.run import RunRequest

        guide = RunGuide(place, data_dir, loggers)
        leads = place is None or place.rank == 0
        report = TrainingReport(silent=as_json or quiet, ranks=place.local_size if place else 1)
        shown = [report, dumps]
        curves = Postponed(LearningCurves(report, drawing))
        shown += [] if dry_run else [curves]
        request = RunRequest(
            data_dir=data_dir,
            runs=runs,
            observers=(guide, *(shown if leads else [])),
            callbacks=logging_options.build(loggers, dry_run=dry_run) if leads else (),
            dry_run=dry_run,
            place=place,
            patience=rank_timeout,
            last=not verify_resume,
            model_named=any("model" in layer.values for layer in typed),
            name=name,
            recipe=recipe_layers.recipe_name(config, runs),
        )
        if settings is None:
            assert resume is not None
            newest = str(resume) == NEWEST and not is_there(resume)
            order = Order(None, typed, None if newest else resume)
        elif verify_resume:
            keep = {key for layer in typed for key in layer.values}
            _verify_resume(settings, keep, request, as_json=as_json)
            return
        elif find_lr:
            from mnist_cli.commands.find_lr import find_lr as propose_rate

            with guide.hints():
                propose_rate(settings, request, as_json=as_json, quiet=quiet)
            return
        else:
            order = Order(settings, typed, repeats=recipe_layers.recipe_run(config, runs))
        with naming_the_flag(), guide.hints(), session_of(order, request) as session:
            summary = carry_out(session, order, request)
        if as_json:  # a failure to draw then leaves its own document alone
            curves.finish()
        if summary is not None:
            _report(summary, kept=not dry_run, as_json=as_json)
        curves.finish()
        if dry_run:
            report.note("dry run: one batch passed through every stage; nothing was kept")
            if left := [name for name in loggers if name != "tensorboard"]:
                report.note(f"dry run: nothing was logged with {' and '.join(left)}")
        elif summary is not None and not (quiet or as_json):
            from mnist_cli.report import lessons

            lessons.point_to("train")


def _train_seeds(
    context: typer.Context,
    seeds: int,
    config: str | None,
    typed: list[Layer],
    dumps: EpochDumps,
    loggers: Sequence[str],
) -> None:
    """Train a sweep over the seed alone."""
    from mnist_cli.commands.sweep import carry_out, grid
    from mnist_cli.runs.sweeps import open_sweep

    given = context.params
    recipe = recipe_layers.recipe_layer(config, given["runs"])
    cells = grid(recipe, typed, {}, seeds)
    dumps.check(cells[0].config.epochs)

    carry_out(
        context,
        open_sweep(given["runs"], given["name"], cells),
        given["data_dir"],
        recipe=recipe_layers.recipe_name(config, given["runs"]),
        typed=typed,
        as_json=given["as_json"],
        quiet=given["quiet"],
        more=[dumps],
        loggers=loggers,
    )


def _check(settings: TrainConfig | None, resume: Path | None, runs: Path) -> None:
    """Refuse files and names that do not exist."""
    if resume is not None and str(resume) != NEWEST:
        early.check_resumed(resume, runs)
    if settings is None:
        return
    if settings.start is not None:
        early.check_checkpoint(Path(settings.start), runs)
    early.check_dataset(settings.dataset)


def _as_rank(place: RankPlace | None) -> AbstractContextManager[None]:
    if place is None:
        return nullcontext()
    from mnist_cli.training.distributed.one_rank import as_rank

    return as_rank(place)


def _verify_resume(
    settings: TrainConfig, keep: Collection[str], request: RunRequest, *, as_json: bool
) -> None:
    from mnist_cli.report.console import print_facts, print_json
    from mnist_cli.training.resume_proof import prove, shorten

    proof = prove(shorten(settings, keep), request)
    if as_json:
        print_json(proof.to_plain())
        return
    print_facts("the resumed run equals the uninterrupted run, bit for bit (SHA-256)", proof.whole)
    print_facts(
        f"stopped after batch {proof.stopped_after} of {proof.steps}, resumed by another process",
        proof.environment,
    )


def _report(summary: Summary, *, kept: bool, as_json: bool) -> None:
    from mnist_cli.report.console import print_json
    from mnist_cli.report.training import print_summary

    if as_json:
        gone = {} if kept else {"run": None, "checkpoint": None}
        print_json(summary.to_plain() | gone)
    else:
        print_summary(summary, kept=kept)
