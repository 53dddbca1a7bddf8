"""``mnist train``: options in, one run, report out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from mnist_cli.commands import options, shared_run
from mnist_cli.commands import train_flags as flags
from mnist_cli.commands.epoch_dumps import EpochDumps
from mnist_cli.errors import UsageError

if TYPE_CHECKING:
    from mnist_cli.commands.training_run import RunRequest
    from mnist_cli.config.schema import TrainConfig
    from mnist_cli.training.session import Summary


def train(
    context: typer.Context,
    config: options.ConfigOption = None,
    assignments: options.SetOption = None,
    model: options.ModelOption = None,
    seed: options.SeedOption = None,
    epochs: flags.EpochsFlag = None,
    batch_size: flags.BatchSizeFlag = None,
    lr: flags.LrFlag = None,
    optimizer: flags.OptimizerFlag = None,
    schedule: flags.ScheduleFlag = None,
    ensemble: flags.EnsembleFlag = None,
    loader: flags.LoaderFlag = None,
    workers: flags.WorkersFlag = None,
    dataset: options.DatasetOption = None,
    data_dir: options.DataDirOption = options.DATA_DIR,
    device: options.DeviceOption = None,
    precision: options.PrecisionOption = None,
    threads: options.ThreadsOption = None,
    compile_: flags.CompileFlag = None,
    cuda_graph: flags.CudaGraphFlag = None,
    nproc: flags.NprocFlag = 1,
    rank_timeout: flags.RankTimeoutFlag = 300.0,
    deterministic: flags.DeterministicFlag = None,
    early_stopping: flags.EarlyStoppingFlag = None,
    target_accuracy: flags.TargetAccuracyFlag = None,
    checkpoint_every: flags.CheckpointEveryFlag = None,
    resume: flags.ResumeFlag = None,
    dry_run: flags.DryRunFlag = False,
    verify_resume: flags.VerifyResumeFlag = False,
    runs: options.RunsOption = options.RUNS,
    tensorboard: flags.TensorboardFlag = False,
    dump_grad: flags.DumpGradFlag = None,
    as_json: options.JsonOption = False,
    quiet: options.QuietOption = False,
    debug: options.DebugOption = False,
) -> None:
    """Train a network, and end with its accuracy on the test set.

    Without options: our default recipe on MNIST, on the best device there is. Settings come from
    flags, then --set, then --config, then the defaults. The validation set, cut from the training
    set, chooses best.pt; the test set is read once, at the end.
    """
    given = {**locals(), "compile": compile_}
    from mnist_cli.base.signals import handlers_put_back
    from mnist_cli.config import schema as configs
    from mnist_cli.training.distributed.rank_environment import place_of

    place = place_of()
    chosen: dict[str, Any] = {key: value for key, value in given.items() if key in configs.KEYS}
    with shared_run.as_rank(place), handlers_put_back():
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
        settings = None if resume else options.compose_config(config, assignments, chosen)
        if nproc > 1 and place is None:
            shared_run.launch(context.obj, nproc, settings)
            return
        from mnist_cli.commands import training_run

        say = training_run.Speaker(silent=as_json or quiet)
        request = training_run.RunRequest(
            *(data_dir, runs, say, tensorboard, dry_run, (dumps,), place, rank_timeout),
            last=not verify_resume,
        )
        layers = [configs.from_assignments(assignments or ()), configs.from_flags(chosen)]
        if verify_resume:
            assert settings is not None  # --resume contradicts it
            keep = frozenset(key for layer in layers for key in layer.values)
            _verify_resume(settings, keep, request, as_json=as_json)
            return
        if settings is not None:
            summary = training_run.train_anew(settings, request)
        else:
            assert resume is not None
            from mnist_cli.commands import resuming

            summary = resuming.resume(resume, layers, request)
        if summary is not None:
            _report(summary, kept=not dry_run, as_json=as_json)
        if dry_run:
            say.note("dry run: one batch went through everything; nothing was kept")


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


def _verify_resume(
    settings: TrainConfig, keep: frozenset[str], request: RunRequest, *, as_json: bool
) -> None:
    from mnist_cli.commands import verify_resume
    from mnist_cli.report.console import print_facts, print_json

    proof = verify_resume.prove(verify_resume.shorten(settings, keep), request)
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
