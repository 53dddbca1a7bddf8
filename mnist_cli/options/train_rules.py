"""Which options of ``mnist train`` do not go together, or have no effect."""

from __future__ import annotations

from mnist_cli.options.contradictions import Excludes, Needs

SEVERAL = "several processes"
"""Whether several processes share the run."""

NO_KEYS = (
    *("data_dir", "nproc", "rank_timeout", "name"),
    *("logger", "tensorboard", "dump_grad", "dark"),
)
"""Options of a run that no key of the configuration holds, so --print-config does not print them."""

RULES = (
    Excludes(("dry_run",), ("resume",)),
    Excludes(
        ("start",),
        ("resume",),
        "A resumed run keeps its own weights and optimiser; --from starts a new run.",
    ),
    Excludes(("config",), ("resume",), "A resumed run keeps its own configuration; omit --config."),
    Excludes(
        ("verify_resume",),
        ("dry_run", "resume", "tensorboard", "logger", "dump_grad", "dark"),
        "The proof keeps nothing and resumes its own run; omit the other option.",
    ),
    Excludes(
        ("verify_resume",),
        ("nproc", "torchrun"),
        "The proof runs in one process; omit the other option.",
    ),
    Excludes(
        ("verify_resume",),
        ("max_time", "early_stopping", "target_accuracy"),
        "The proof trains a fixed number of steps; omit the other option.",
    ),
    Excludes(
        ("print_config",),
        ("resume", "dry_run", "verify_resume", "find_lr", "seeds"),
        "--print-config trains nothing; a run's configuration is in its config.toml.",
    ),
    Excludes(
        ("name",),
        ("resume", "dry_run", "verify_resume", "find_lr"),
        "--name names a new run that is kept.",
    ),
    Excludes(
        ("seeds",),
        ("resume", "dry_run", "verify_resume", "find_lr", "nproc", "torchrun"),
        "The runs of --seeds are new, are kept, and are trained one after another by one process.",
    ),
    Excludes(
        ("find_lr",),
        (
            *("dry_run", "resume", "verify_resume", "tensorboard", "logger", "dump_grad"),
            *("lr", "schedule", "epochs", "max_steps", "max_time", "early_stopping"),
            *("target_accuracy", "checkpoint_every", "log_every", "ema", "eval_batch_size"),
            *("warmup", "step_epochs", "gamma", "peak_at", "initial_factor", "final_factor"),
        ),
        "The search trains a few steps with its own rates and keeps no run; omit the other option.",
    ),
    Excludes(
        ("find_lr",),
        ("nproc", "torchrun"),
        "The search runs in one process; omit the other option.",
    ),
    Excludes(("nproc",), ("torchrun",), "Both start the processes; use one of them."),
    Needs(
        ("rank_timeout",),
        (SEVERAL,),
        "Start several with --nproc or torchrun, or omit the option.",
    ),
)
