"""``mnist train``: options in, one run, report out."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.commands import options
from mnist_cli.commands import train_flags as flags
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.training.distributed.rank_environment import Place
    from mnist_cli.training.run import RunRequest
    from mnist_cli.training.session import Summary


@options.with_keys(after="assignments")
def train(
    context: typer.Context,
    config: options.ConfigOption = None,
    assignments: options.SetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    nproc: flags.NprocFlag = 1,
    rank_timeout: flags.RankTimeoutFlag = 300.0,
    resume: flags.ResumeFlag = None,
    dry_run: flags.DryRunFlag = False,
    verify_resume: flags.VerifyResumeFlag = False,
    runs: options.RunsOption = options.RUNS,
    tensorboard: flags.TensorboardFlag = False,
    dump_grad: flags.DumpGradFlag = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    **chosen: Any,
) -> None:
    """Train a network, and end with its accuracy on the test set.

    Without options: our default recipe on MNIST, on the best device there is. Settings come from
    flags, then --set, then --config, then the defaults. The validation set, cut from the training
    set, chooses best.pt; the test set is read once, at the end.
    """
    from mnist_cli.base.packages import require
    from mnist_cli.base.signals import handlers_put_back
    from mnist_cli.commands.epoch_dumps import EpochDumps
    from mnist_cli.commands.run_guide import RunGuide
    from mnist_cli.training.distributed.rank_environment import place_of

    place = place_of()
    with _as_rank(place), handlers_put_back():
        _refuse_contradictions(
            {
                "--verify-resume": verify_resume,
                "--dry-run": dry_run,
                "--resume": resume is not None,
                "--config": config is not None,
                "--tensorboard": tensorboard,
                "--dump-grad": dump_grad is not None,
                "--nproc": nproc > 1,
                "torchrun": place is not None and not place.folder,
            }
        )
        dumps = EpochDumps.parse(dump_grad)
        typed = options.typed_layers(assignments, chosen)
        settings = None if resume else options.compose_typed(config, typed)
        if nproc > 1 and place is None:
            _launch(context.obj, nproc, settings)
            return
        if tensorboard:
            require("tensorboard", "--tensorboard")

        from mnist_cli.report.training import LearningCurves, TrainingReport
        from mnist_cli.training.resuming import resume as resumed
        from mnist_cli.training.run import RunRequest, begin, drive
        from mnist_cli.training.tensorboard import EventLog

        guide = RunGuide(place, data_dir)
        report = TrainingReport(silent=as_json or quiet, ranks=place.local_size if place else 1)
        shown = [report, *([EventLog()] if tensorboard else []), dumps]
        shown += [] if dry_run else [LearningCurves(report)]
        request = RunRequest(
            data_dir=data_dir,
            runs=runs,
            observers=(guide, *(shown if place is None or place.rank == 0 else [])),
            dry_run=dry_run,
            place=place,
            patience=rank_timeout,
            last=not verify_resume,
        )
        if settings is None:
            assert resume is not None
            run = resumed(resume, typed, request)
        elif verify_resume:
            keep = {key for layer in typed for key in layer.values}
            _verify_resume(settings, keep, request, as_json=as_json)
            return
        else:
            run = begin(settings, request)
        with guide.hints(), run as session:
            summary = drive(session, request)
        if summary is not None:
            _report(summary, kept=not dry_run, as_json=as_json)
        if dry_run:
            report.note("dry run: one batch went through everything; nothing was kept")


_CONTRADICTIONS = (
    ("--dry-run", "--resume", "Give one of them."),
    ("--config", "--resume", "A resumed run keeps its own configuration; leave --config out."),
    *(
        ("--verify-resume", other, "The proof keeps nothing and resumes its own run; leave it out.")
        for other in ("--dry-run", "--resume", "--tensorboard", "--dump-grad")
    ),
    *(
        ("--verify-resume", other, "The proof is of one process; leave it out.")
        for other in ("--nproc", "torchrun")
    ),
    ("--nproc", "torchrun", "Both start the processes; leave one of them out."),
)


def _refuse_contradictions(given: dict[str, bool]) -> None:
    for one, other, hint in _CONTRADICTIONS:
        if given[one] and given[other]:
            raise UsageError(f"{one} and {other} contradict each other", hint)


def _as_rank(place: Place | None) -> AbstractContextManager[None]:
    if place is None:
        return nullcontext()
    from mnist_cli.training.distributed.one_rank import as_rank

    return as_rank(place)


def _launch(arguments: Sequence[str], ranks: int, settings: TrainConfig | None) -> None:
    """Start this command again as several ranks, and wait for their end.

    What their configuration forbids is reported before, if it is known: a resumed run's is not.
    """
    from mnist_cli.training.distributed.rank_environment import check_system

    check_system()
    from mnist_cli.training.agreement import check_ranks
    from mnist_cli.training.distributed.launch import launch

    if settings is not None:
        check_ranks(settings, ranks)
    launch(arguments, ranks)


def _verify_resume(
    settings: TrainConfig, keep: Collection[str], request: RunRequest, *, as_json: bool
) -> None:
    from mnist_cli.report.console import print_facts, print_json
    from mnist_cli.training.resume_proof import prove, shorten

    proof = prove(shorten(settings, keep), request)
    if as_json:
        print_json(proof.to_plain())
        return
    print_facts("resumed equals never stopped, bit for bit (SHA-256)", proof.whole)
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
