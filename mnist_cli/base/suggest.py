"""The nearest known word to a misspelt one, or the word that other programs have for it."""

from __future__ import annotations

from collections.abc import Iterable

NEAR = 0.7
"""Smallest similarity of a misspelt word: 0.75 for 'fats' and 'fast', 0.53 for 'preset' and 'precision'."""

SYNONYMS = {
    "lr": "learning_rate base_lr init_lr initial_lr lrate lr0 alpha eta step_size",
    "batch_size": "bs batch batchsize train_batch_size mini_batch",
    "eval_batch_size": "test_batch_size val_batch_size",
    "epochs": "max_epochs num_epochs n_epochs nb_epochs",
    "accumulate": "accumulate_grad_batches gradient_accumulation_steps grad_accum accum "
    "accumulation_steps",
    "max_steps": "steps num_steps iterations max_iter max_iters",
    "max_time": "timeout time_limit",
    "log_every": "log_interval log_every_n_steps log_freq print_freq log_steps logging_steps",
    "find_lr": "lr_find lr_finder auto_lr_find lr_range_test",
    "optimizer": "optim optimiser solver opt algorithm",
    "schedule": "scheduler sched lr_scheduler lr_schedule",
    "weight_decay": "wd l2 decay",
    "momentum": "mom",
    "beta1": "betas adam_beta1",
    "beta2": "adam_beta2",
    "eps": "epsilon adam_epsilon",
    "label_smoothing": "smoothing",
    "clip_norm": "grad_clip clip_grad clip gradient_clip_val max_grad_norm clip_grad_norm",
    "ema": "model_ema ema_decay",
    "warmup": "warmup_epochs",
    "early_stopping": "patience early_stop",
    "target_accuracy": "target stop_at",
    "workers": "num_workers n_workers",
    "seed": "random_seed manual_seed random_state rng",
    "model": "m arch architecture net network backbone",
    "dataset": "data ds data_set",
    "data_dir": "data_path data_root dataroot root datadir",
    "device": "accelerator",
    "precision": "dtype amp mixed_precision",
    "start": "from weights pretrained init_from initial_checkpoint finetune warm_start checkpoint ckpt",
    "from": "start weights pretrained init_from initial_checkpoint finetune warm_start checkpoint ckpt",
    "resume": "continue resume_from restore",
    "compile": "torch_compile torchcompile",
    "threads": "num_threads n_threads",
    "nproc": "nproc_per_node devices world_size num_processes gpus",
    "deterministic": "reproducible",
    "tensorboard": "tb log_tensorboard",
    "logger": "loggers log_to report_to wandb log_wandb use_wandb mlflow tracker",
    "checkpoint_every": "save_every save_freq save_interval save_period",
    "train_size": "limit_train_batches subset limit num_samples max_samples",
    "val_size": "val_split validation_split val_fraction",
    "config": "preset recipe conf cfg config_file hparams yaml",
    "recipe": "config preset conf cfg config_file hparams yaml",
    "callbacks": "callback hooks hook loggers logger observers observer",
    "progress": "verbose quiet silent progress_bar progressbar show_progress verbosity",
    "set": "override param hp",
    "name": "run_name exp_name experiment exp_id tag",
    "seeds": "n_seeds num_seeds repeats repeat trials",
    "out": "output output_dir save save_to outdir o dest destination png file",
    "runs": "out output output_dir save_dir log_dir logdir project save_model outdir run_dir results_dir",
    "checkpoint": "k c ckpt weights model_path load pretrained",
    "quiet": "silent no_verbose no_progress",
    "debug": "verbose v vv trace traceback log_level",
    "dry_run": "fast_dev_run dryrun check sanity_check",
    "json": "as_json to_json",
    "format": "type ext fmt to",
    "normalise": "normalize mean_std norm standardise standardize",
    "cuda": "gpu nvidia rocm",
    "cpu": "host",
    "mps": "metal apple",
    "fp32": "float32 float 32 full single 32_true",
    "fp16": "float16 half 16 16_mixed amp",
    "bf16": "bfloat16 bf16_mixed bfloat",
    "adadelta": "ada",
    "cosine": "cos cosineannealing cosineannealinglr",
    "onecycle": "onecyclelr one_cycle 1cycle",
    "step": "steplr multistep exponential",
    "constant": "none fixed off",
    "conv4": "cnn convnet conv",
    "val": "valid validation dev",
    "train": "training",
    "test": "testing",
    "png": "jpg jpeg gif bmp",
    "curves": "loss learning_curves metrics",
    "mermaid": "mmd",
    "dot": "graphviz gv",
    "html": "htm web page",
    "torch": "pytorch pt exported_program pt2",
}
"""By word of this program, what other programs call it; without dashes, in lower case."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``Did you mean 'kmnist'?`` for the known word nearest to ``word``; empty if none is near."""
    near = nearest(word, known)
    return f"Did you mean '{near}'?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word for another program's word, or one spelled nearly the same; empty if none.

    Case, leading dashes, and whether words are joined by ``-`` or ``_`` make no difference.
    """
    import difflib

    plain, spelled = _plain(word), {_plain(one): one for one in known}
    for one in (plain, *(ours for ours, theirs in SYNONYMS.items() if plain in theirs.split())):
        if one in spelled:
            return spelled[one]
    close = difflib.get_close_matches(plain, list(spelled), n=1, cutoff=NEAR)
    return spelled[close[0]] if close else ""


def _plain(word: str) -> str:
    return word.lstrip("-").lower().replace("-", "_")
