"""Lines that each command refuses before it does anything: the exit code and the words for it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from program import Run

FORMULA = "inspect-grad --expr '2 * x' --at x=1"
NODE = "inspect-grad --model conv2 --batch-size 2 --node"
LATER = (NODE, "bench --scaling", "sweep --seeds 2 --device")
"""What these begin with is not refused at once, so that something may be said before."""
REFUSED = [
    ("trian", 2, "Did you mean `mnist train`?"),
    ("--nope", 2, "No such option: --nope"),
    # a value that is empty is not the current folder
    ("train --dataset ''", 2, "--dataset: the value is empty"),
    ("train --set dataset=", 2, "the name of the data set is empty"),
    ("train --data-dir ''", 2, "--data-dir: the value is empty"),
    ("train --from ''", 2, "--from: the value is empty\n"),
    ("train --runs=", 2, "--runs: the value is empty"),
    ("train -s ''", 2, "-s: the value is empty"),
    ("runs --runs ''", 2, "--runs: the value is empty"),
    ("bench :3", 2, ":3: the recipe is missing"),
    ("eval ''", 2, "an argument is empty\n"),
    ("predict a.png ''", 2, "an argument is empty\n"),
    ("predict -- ''", 2, "an argument is empty\n"),
    ("export --out ''", 2, "--out: the value is empty"),
    ("data path --data-dir ''", 2, "--data-dir: the value is empty"),
    ("data verify --data-dir ''", 2, "--data-dir: the value is empty"),
    ("data verify ''", 2, "an argument is empty\n"),
    ("data show ''", 2, "an argument is empty\n"),
    ("data convert '' --out x", 2, "an argument is empty\n"),
    # mnist train
    ("train --nope", 2, "No such option: --nope"),
    ("train extra", 2, "extra"),
    ("train --epochs", 2, "--epochs"),
    ("train --epochs 0", 2, "--epochs: should be a whole number from 1 to 100,000, not 0"),
    ("train --dry-run --resume x", 2, "--dry-run and --resume contradict each other"),
    ("train --config smoke --resume x", 2, "--config and --resume contradict each other"),
    ("train --config 7", 2, "--config 7: no preset of that name and no such file"),
    ("train --config 7", 2, "runs/ holds no runs."),
    ("train --resume", 4, "no unfinished run under runs/\nTrain one with `mnist train`."),
    ("train --resume 7", 4, "no checkpoint or run 7\nruns/ holds no runs."),
    ("train --from 1 --resume 1", 2, "--from and --resume contradict each other\n"),
    ("train --from nothing", 4, "no checkpoint or run nothing\n"),
    ("train --from 9 --dataset digits", 4, "no checkpoint or run 9\n"),
    ("train --name 12", 2, "'12' cannot name a run"),
    ("train --name x --dry-run", 2, "--name and --dry-run contradict each other"),
    ("train --seeds 2 --resume 1", 2, "--seeds and --resume contradict"),
    ("train --ensemble 0", 2, "--ensemble: should be a whole number from 1 to 100"),
    ("train --ensemble 101", 2, "--ensemble: should be a whole number from 1 to 100"),
    ("train --set ensemble=two", 2, "--set ensemble=two: should be a whole number from 1 to 100"),
    *(
        (
            f"train --verify-resume {option}",
            2,
            f"--verify-resume and {option.split()[0]} contradict",
        )
        for option in ("--dry-run", "--resume x", "--tensorboard", "--logger x", "--dump-grad 1")
    ),
    ("train --find-lr --logger mlflow", 2, "--find-lr and --logger contradict each other"),
    ("train --find-lr --early-stopping 2", 2, "--find-lr and --early-stopping contradict"),
    ("train --find-lr --set epochs=1", 2, "--find-lr and --set epochs contradict each other"),
    ("train --find-lr --set peak-at=0.5", 2, "--find-lr and --set peak_at contradict each other"),
    ("train --verify-resume --max-time 9", 2, "--verify-resume and --max-time contradict"),
    *(
        (f"train --rank-timeout 9 {option}", 2, "--rank-timeout has no effect without several")
        for option in ("", "--nproc 1")
    ),
    ("train --print-config --seeds 2", 2, "--print-config and --seeds contradict each other"),
    ("train --verify-resume --light", 2, "--verify-resume and --light contradict each other"),
    ("train --find-lr --set ema=0.9", 2, "--find-lr and --set ema contradict each other"),
    *(
        (f"{command} --logger {name}", 2, f"--logger {name}: no such logger\n{hint}")
        for command in ("train", "sweep --seeds 2")
        for name, hint in (
            ("wandp", "Did you mean 'wandb'?"),
            ("neptune", "Loggers: tensorboard, wandb, mlflow."),
        )
    ),
    # mnist sweep
    ("sweep", 2, "the sweep has one run only\nGive several values, as in --set lr=0.01,0.03"),
    ("sweep --set lr=1,2 --lr 3", 2, "--lr and --set lr contradict each other"),
    ("sweep --set lr=1,-2", 2, "--set lr=-2: should be a number above 0"),
    ("sweep --lr 1,-2", 2, "--set lr=-2: should be a number above 0"),
    ("sweep -b=8,0 --model=conv2,conv4", 2, "--set batch_size=0: should be a whole"),
    ("sweep --optimizer sgd,adamm", 2, "--set optimizer=adamm"),
    ("sweep --set rl=1,2", 2, "rl"),
    ("sweep --set seed=1,2 --seeds 2", 2, "--seeds and --set seed contradict"),
    ("sweep --seeds 10000 --set lr=1,2", 2, "are possible\nGive fewer values or seeds."),
    ("sweep --seeds 2 --name a/b", 2, "'a/b' cannot name a run"),
    ("sweep --seeds 2 --device cuda:99", 2, "device cuda:99 is not available"),
    # mnist eval, predict
    ("eval --batch-size 0", 2, "--batch-size"),
    (f"eval --batch-size {2**63}", 2, "--batch-size: should be a whole number from 1"),
    ("eval --normalise imagenet", 2, "--normalise: 'imagenet' is not a normalisation"),
    ("eval --open", 2, "--open has no effect without --out"),
    *(
        (f"{command} {flag}", 2, f"{flag} has no effect without --out")
        for command in ("eval", "bench", "data show digits")
        for flag in ("--dark", "--light")
    ),
    ("inspect-grad --dark --format json", 2, "--dark has no effect on --format json"),
    ("inspect-grad --gradcheck --dark", 2, "--gradcheck and --dark contradict each other"),
    ("eval --split all", 2, "test, val, train"),
    ("plot 1 2 --all", 2, "--all and several runs contradict each other"),
    ("predict", 2, "IMAGE"),
    ("predict a.png --json --csv", 2, "--json and --csv contradict each other"),
    ("predict a.png --device abacus", 2, "unknown device 'abacus'"),
    # mnist inspect-grad
    ("inspect-grad --seed -1", 2, "--seed: should be a whole number of at least 0"),
    ("inspect-grad --orders 21", 2, "--orders: should be a whole number from 1 to 20"),
    ("inspect-grad --open --format text,json", 2, "--open has no effect on --format text,json"),
    ("inspect-grad --open --path conv1.weight", 2, "--path and --open contradict each other"),
    *(
        (f"{FORMULA} {option}", 2, f"--expr and {option.split()[0]} contradict each other")
        for option in (
            *("--device cpu", "--precision bf16", "--no-deterministic", "--dataset digits"),
            *("--model conv2", "--split val", "--batch-size 3", "--indices 3", "--eval"),
            *("--normalise none", "--data-dir x", "--runs x"),
        )
    ),
    (f"{FORMULA} --grad 2 --seed 1", 2, "--expr without --grad random and --seed contradict"),
    *(
        (
            f"inspect-grad {shown} {silent}",
            2,
            f"{shown.split()[0]} has no effect with {silent}\nOmit",
        )
        for shown in ("--view modules", "--view modules --out x", "--fold --format text,json")
        for silent in ("--json", "--quiet")
    ),
    ("inspect-grad --expr x*y --at x=1", 2, "--at y=2 in mnist inspect-grad"),
    ("inspect-grad --expr x*2 --at x=1 --const x=3", 2, "x has two values\n"),
    (f"{FORMULA} --grad 1e39", 2, "the gradient holds a number too large for float32"),
    (f"{FORMULA} --grad '[1, true]'", 2, "the gradient holds true, which is not a number"),
    (f"{FORMULA} --grad 12.pt", 2, "the gradient 12.pt is neither ones"),
    (f"{NODE} fc2.bias --grad ones", 2, "AccumulateGrad"),
    (f"{NODE} NllLossBackward0 --grad nonsense", 2, "nonsense"),
    (f"{NODE} LogSoftmaxBackward0 --grad '[1, 2]'", 2, "(2, 10)"),
    *(
        (
            f"inspect-grad --compare a.json b.json {option}",
            2,
            f"--compare of two dumps and {option.split()[0]} contradict each other",
        )
        for option in (
            "--no-deterministic",
            "--eval",
            "--device cpu",
            "--batch-size 4",
            "--seed 3",
            "--runs x",
        )
    ),
    # mnist data
    ("data fetch cifar", 2, "cifar"),
    ("data show --split val", 2, "--split: should be one of train, test, not 'val'"),
    ("data show digits --count 0", 2, "--count"),
    ("data show digits --indices 1,x", 2, "--indices 1,x"),
    ("data show digits --indices 0,1415", 2, "image 1415 does not exist\nChoose 0 to 1414."),
    ("data show digits --indices -1", 2, "image -1 does not exist"),
    ("data show digits --indices 0 --count 3", 2, "--count and --indices contradict each other"),
    ("data show digits --augmented --split test", 2, "Only training images are augmented"),
    ("data show digits --augmented --indices 1", 2, "--augmented and --indices contradict"),
    ("data show digits --augmented --set rotate=900", 2, "rotate"),
    ("data show digits --seed 1", 2, "--seed has no effect without --augmented"),
    ("data fetch ./mine", 2, "only known data sets can be downloaded\nChoose one of mnist, "),
    ("data convert ./mine --out x", 3, "mine does not exist\nName a folder that holds"),
    # mnist runs
    ("runs --runs nowhere", 2, "--runs nowhere: the folder does not exist\nGive a folder"),
    # mnist bench
    ("bench fast:0", 2, "number of runs"),
    ("bench fast:x", 2, "number of runs"),
    ("bench fast:1 fast:2", 2, "two recipes are called 'fast'"),
    ("bench fsat:1", 2, "fast"),
    ("bench smoke:1 --target 2", 2, "--target"),
    ("bench --inference --scaling", 2, "--inference and --scaling contradict"),
    ("bench --target 0.9 --scaling", 2, "--target and --scaling contradict"),
    ("bench --target 0.9 --inference", 2, "--target and --inference contradict"),
    ("bench --set seed=3", 2, "--set seed and mnist bench contradict each other"),
    ("bench --inference --set lr=1", 2, "--inference and --set lr contradict each other"),
    ("bench --scaling --set max_steps=1", 2, "--scaling and --set max_steps contradict"),
    ("bench --factors images", 2, "--factors has no effect without --scaling"),
    ("bench --scaling --factors images,depth", 2, "--factors: unknown value 'depth'"),
    (
        "bench --scaling --factors Threads --threads 2",
        2,
        "--factors threads and --threads contradict",
    ),
    ("bench --scaling --factors ,", 2, "--factors: unknown value ''"),
    ("bench --scaling fast:1 smoke:1", 2, "--scaling takes one recipe"),
    ("bench --scaling notebook:1", 2, "other factors: images, batch, threads"),
    # mnist doctor
    ("doctor --out table.md", 2, "--out has no effect without --prove"),
    ("doctor --prove --runs elsewhere", 2, "--prove and --runs contradict each other"),
    ("doctor --prove --device cuda:99", 2, "device cuda:99"),
]


@pytest.mark.parametrize(("line", "code", "said"), REFUSED)
def test_what_is_refused_leaves_nothing_behind(run: Run, line: str, code: int, said: str) -> None:
    outcome = run(*shlex.split(line))
    assert outcome.code == code
    assert outcome.out == "" or "--json" in line
    before, _, message = outcome.err.partition("error: ")
    assert said in message
    assert "\n" in message.strip()  # the hint
    assert not before or line.startswith(LATER)
    assert "Traceback" not in outcome.err
    assert list(Path().iterdir()) == []
