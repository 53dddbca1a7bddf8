"""What ``--help`` shows: groups, defaults, examples; other names of commands and options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from command_tree import commands
from program import Run, shell

from mnist_cli import cli, options
from mnist_cli.api import checkpoint_given
from mnist_cli.cli import help_pages
from mnist_cli.cli.help_pages import EXAMPLES, GROUPS
from mnist_cli.commands import browser, draw
from mnist_cli.config.keys import KEYS, flag, words
from mnist_cli.options import completing

COMMANDS = commands()


def parse(words: list[str]) -> dict[str, Any]:
    """The values that the command of ``words`` would get; it is not run."""
    path = "mnist"
    while words and f"{path} {words[0]}" in COMMANDS:
        path, words = f"{path} {words[0]}", words[1:]
    return dict(COMMANDS[path].make_context(path, words, resilient_parsing=False).params)


# --- the help itself


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        (["-h"], ["--help"]),
        (["help"], ["--help"]),
        (["eval", "-h"], ["eval", "--help"]),
        (["help", "eval"], ["eval", "--help"]),
        (["help", "data", "show"], ["data", "show", "--help"]),
        (["-V"], ["--version"]),
        (["version"], ["--version"]),
    ],
)
def test_other_ways_to_ask(run: Run, typed: list[str], same: list[str]) -> None:
    asked = run(*typed)
    assert asked.code == 0
    assert asked.out == run(*same).out


def test_help_for_no_command(run: Run) -> None:
    outcome = run("help", "evla")
    assert (outcome.code, outcome.out) == (2, "")
    assert "Did you mean `mnist eval`?" in outcome.err


def test_every_command_is_in_one_group(run: Run) -> None:
    listed = [name for names in GROUPS.values() for name in names]
    assert sorted(listed) == sorted(cli.COMMANDS)
    text = run("--help").out
    assert [title for title in re.findall(r"─ ([A-Z][\w ]+) ─", text) if title in GROUPS] == [
        *GROUPS
    ]


@pytest.mark.parametrize("path", COMMANDS)
def test_every_command_has_three_examples(
    run: Run, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run(*path.split()[1:], "--help").out
    assert len(EXAMPLES[path]) == 3
    for typed, what in EXAMPLES[path]:
        assert re.search(rf"^ {re.escape(typed)} +# {re.escape(what)} *$", text, re.MULTILINE)


@pytest.mark.parametrize("path", EXAMPLES)
def test_every_example_is_understood(path: str) -> None:
    for typed, _ in EXAMPLES[path]:
        command, _, _ = typed.partition(" > ")
        parse(shlex.split(command)[1:])


def test_examples_of_recipes_run_as_typed(run: Run) -> None:
    for path in ("mnist config", "mnist config list", "mnist config show"):
        for typed, _ in EXAMPLES[path]:
            command, _, file = typed.partition(" > ")
            train = ["--print-config"] if command.startswith("mnist train") else []
            outcome = run(*shlex.split(command)[1:], *train)
            assert (outcome.code, outcome.err) == (0, "")
            if file:
                Path(file).write_text(outcome.out, encoding="utf-8")


def test_every_default_of_a_recipe_is_shown(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    lines = run("train", "--help").out
    for name, key in KEYS.items():
        if key.option is None or key.default is None:
            continue
        entry = re.search(rf"^│ {flag(name)} [^\[]*\[default: ([^\]]*)\]", lines, re.MULTILINE)
        assert entry, name
        value = str(key.default)
        assert entry[1] == (value.lower() if isinstance(key.default, bool) else value), name


def test_what_the_run_decides_is_said(run: Run) -> None:
    for command in ("eval", "plot", "export"):
        assert "[default: the run's]" in run(command, "--help").out


@pytest.mark.parametrize("path", COMMANDS)
def test_no_word_is_broken(run: Run, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = run(*path.split()[1:], "--help").out
    assert max(map(len, text.splitlines())) <= 80
    assert f"Usage: {path}" in text
    for parameter in COMMANDS[path].params:
        if parameter.param_type_name == "argument" or parameter.hidden:
            continue
        for word in [*parameter.opts, *parameter.secondary_opts]:
            assert re.search(rf"(?<![\w-]){word}(?![\w-])", text), word
        for word in (parameter.metavar or "").split("|"):
            assert word in text, (parameter.name, word)


@pytest.mark.parametrize("columns", [40, 80, 120, 500])
@pytest.mark.parametrize(
    "choices",
    ["", "N", "DIR|FILE", "sgd|adam|adamw|adadelta|muon", "a-word-longer-than-a-line|b|c"],
)
def test_choices_break_after_a_bar(choices: str, columns: int) -> None:
    lines = help_pages.broken(choices, columns).split("\n")
    assert "".join(lines) == choices
    assert all(line.endswith("|") for line in lines[:-1])
    limit = max(help_pages.LEAST, columns // 5)
    assert all(len(line) <= limit or line.count("|") <= 1 for line in lines)


# --- names from other programs


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("test", "`mnist eval`"),
        ("fit", "`mnist train`"),
        ("infer", "`mnist predict`"),
        ("info", "`mnist doctor`"),
        ("ls", "`mnist runs`"),
        ("list", "`mnist runs`"),
        ("grad", "`mnist inspect-grad`"),
        ("evaluate", "`mnist eval`"),
        ("inspect_grad", "`mnist inspect-grad`"),
        ("tarin", "`mnist train`"),
        ("download", "`mnist data fetch`"),
        ("presets", "`mnist config`"),
        ("path", "`mnist data path`"),
        ("convert digits --out x", "`mnist data convert`"),
        ("data download", "`mnist data fetch`"),
        ("runs list", "`mnist runs`"),
        ("config get fast", "`mnist config show`"),
        ("config Fast", "`mnist config show Fast`"),
        ("train --learning-rate 0.1", "--lr?"),
        ("train --learning_rate=0.1", "--lr?"),
        ("train --gpu", "--device cuda?"),
        ("train --cuda", "--device cuda?"),
        ("train --no-cuda", "--device cpu?"),
        ("eval --gpu 0", "--device cuda?"),
        ("train --momentum 0.8", "--set momentum=0.8?"),
        ("train --weight-decay=1e-4", "--set weight_decay=1e-4?"),
        ("train --gamma 0.7", "--set gamma=0.7?"),
        ("train --wd 0.1", "--set weight_decay=0.1?"),
        ("train --gamma", "--set gamma=VALUE?"),
        ("train --bs 64", "--batch-size?"),
        ("train --max_epochs 3", "--epochs?"),
        ("train --num-workers 2", "--workers?"),
        ("train --arch conv2", "--model?"),
        ("train --output x", "--runs?"),
        ("train --out x", "--runs?"),
        ("train --save-model", "--runs?"),
        ("train --preset fast", "--config?"),
        ("train --fast", "--config fast?"),
        ("train --pretrained x.pt", "--from?"),
        ("train --checkpoint x.pt", "--from?"),
        ("train --verbose", "--debug?"),
        ("train --amp", "--precision?"),
        ("eval --ckpt x.pt", "Name the checkpoint without an option: x.pt."),
        ("eval -k 1", "Name the checkpoint without an option: 1."),
        ("export --checkpoint 1", "Name the checkpoint without an option: 1."),
        ("predict -c 1", "--checkpoint?"),
        ("predict --image x.png", "Name the picture without an option: x.png."),
        ("data show --dataset digits", "Name the data set without an option: digits."),
        ("runs compare --run 1 2", "Name the run without an option: 1."),
        ("model --network conv2", "Name the network without an option: conv2."),
        ("bench --config=fast", "Name the recipe without an option: fast."),
        ("train -m conv2", "--model?"),
        ("train --list", "`mnist config list` lists the presets"),
        ("train --set help", "`mnist config show` lists the keys"),
        ("plot --output x", "--out?"),
        ("train -lr 0.1", "Did you mean --lr? See `mnist train --help`."),
        ("train -seed=3", "Did you mean --seed?"),
        ("train -config fast", "Did you mean --config?"),
        ("eval -out plots", "Did you mean --out?"),
        ("-help", "Did you mean --help?"),
        ("runs -json", "Did you mean --json? See `mnist runs --help`."),
        ("train --set lr 0.1", "Did you mean --set lr=0.1?"),
        ("train --val-split 0.1", "Did you mean --set val_size=VALUE?"),
        ("train --val-size 100", "Did you mean --set val_size=100?"),
        ("eval --run 1", "Name the checkpoint without an option: 1."),
        ("draw --host 0.0.0.0", "Only this machine can open the page"),
        ("export 1 x.onnx", "Did you mean --out x.onnx?"),
        ("bench fast --seeds 3", "`mnist bench fast:10`"),
        ("data convert digits --to png", "--format?"),
        ("sweep --resume", "The same command continues an interrupted sweep."),
        ("sweep --lr 1 2 3", "Separate the values with commas: --lr 1,2,3."),
        ("sweep --model conv2 conv4", "Separate the values with commas: --model conv2,conv4."),
        ("sweep --epochs 3 fast", "--config fast?"),
        ("sweep --set lr=0.1 0.2", "Separate the values with commas: --set lr=0.1,0.2."),
        ("gradcheck", "Did you mean `mnist inspect-grad --gradcheck`?"),
        ("saliency", "Did you mean `mnist plot --only saliency`?"),
        ("train --dropout 0.5", "Dropout is part of a network"),
        ("train --log-interval 10", "--log-every?"),
        ("train --accumulate_grad_batches 4", "--accumulate?"),
        ("train --max-iters 9", "--max-steps?"),
        ("runs 1", "`mnist runs show 1`"),
        ("runs delete 1", "`mnist runs rm`"),
        ("tune", "`mnist sweep`"),
        ("train --run-name x", "--name?"),
        ("train fast", "--config fast?"),
        ("train FAST --epochs 3", "--config FAST?"),
        ("train conv2", "--model conv2?"),
        ("model conv4 conv2", "Give only one NAME|CHECKPOINT."),
        ("model 1 conv2", "--model conv2?"),
        ("eval 1 2", "Give only one CHECKPOINT."),
        ("train --config fast.tml", "Did you mean 'fast'?"),
        ("train mnist", "--dataset mnist?"),
        ("train lr=0.1", "--set lr=0.1?"),
        ("train --set lr = 0.1", "Write lr=0.1, without blanks"),
        ("train --set learning_rate=0.1", "Did you mean 'lr'?"),
        ("train --model conv5", "did you mean 'conv4'?"),
        ("train --model cnn", "did you mean 'conv4'?"),
        ("train --device gpu", "Did you mean 'cuda'?"),
        ("train --precision half", "Did you mean 'fp16'?"),
        ("eval --split validation", "Did you mean 'val'?"),
        ("plot --only embeding", "Did you mean 'embedding'?"),
        ("inspect-grad --format htlm", "Did you mean 'html'?"),
        ("model fast", "`mnist config show fast`"),
        ("bench fats", "error: fats: no preset"),
        ("config show fats", "error: fats: no preset"),
    ],
)
def test_a_name_of_another_program_gets_the_right_hint(run: Run, typed: str, meant: str) -> None:
    outcome = run(*shlex.split(typed))
    assert (outcome.code, outcome.out) == (2, "")
    assert meant in outcome.err


@pytest.mark.parametrize(
    "typed",
    [
        *("xyzzy", "train --xyzzy", "eval --learning-rate 1", "train xyzzy", "runs 1x"),
        *("model --gpu", "predict x.png --out y"),
    ],
)
def test_no_hint_without_a_near_name(run: Run, typed: str) -> None:
    outcome = run(*shlex.split(typed))
    assert outcome.code == 2
    assert re.fullmatch(r"error: .*\nSee `mnist[a-z -]*--help`\.\n", outcome.err)


@pytest.mark.parametrize("option", ["--install-completion", "--show-completion"])
def test_a_shell_without_completion_is_a_usage_error(
    run: Run, monkeypatch: pytest.MonkeyPatch, option: str
) -> None:
    monkeypatch.setattr("shellingham.detect_shell", lambda: ("dash", "/bin/dash"))
    outcome = run(option)
    assert outcome.code == 2
    assert "Type the command in bash, zsh, fish or PowerShell." in outcome.err


# --- upper case


def words_of_options() -> Iterator[tuple[str, str, str]]:
    """Each option that takes one of a few words: the command's path, the flag, a word."""
    for path, command in COMMANDS.items():
        kinds = (
            options.signature(command.callback, eval_str=True).parameters
            if command.callback
            else {}
        )
        for option in command.params:
            kind = getattr(kinds.get(option.name), "annotation", None)
            for one in (kind, *get_args(kind)):
                for literal in (one, *get_args(one)):
                    if get_origin(literal) is Literal:
                        yield path, max(option.opts, key=len), get_args(literal)[-1]


WORDS = sorted(set(words_of_options()))


def test_options_with_words_are_found() -> None:
    assert len(WORDS) >= 8


@pytest.mark.parametrize(("path", "option", "word"), WORDS)
def test_a_word_may_be_typed_in_upper_case(path: str, option: str, word: str) -> None:
    needed = {"mnist data convert": ["mnist", "--out", "x"]}.get(path, [])
    values = parse([*path.split()[1:], *needed, option, word.upper()])
    assert word in values.values()


@pytest.mark.parametrize(
    ("typed", "value"),
    [
        (["eval", "--device", "CPU"], "cpu"),
        (["eval", "--precision", "BF16"], "bf16"),
        (["train", "--optimizer", "Adam"], "adam"),
        (["eval", "--model", "CONV2"], "conv2"),
        (["doctor", "--device", "Cuda:1"], "cuda:1"),
    ],
)
def test_words_of_the_configuration_too(typed: list[str], value: str) -> None:
    assert value in parse(typed).values()


def test_lists_of_words_too() -> None:
    assert options.parse_words("--only", "Curves,FILTERS", ("curves", "filters")) == [
        "curves",
        "filters",
    ]


# --- completion


def test_runs_complete_by_number_and_name() -> None:
    for name in ("0001-mnist-conv4", "0012-digits-conv2", "notes", ".0013-reserved"):
        Path("elsewhere", name).mkdir(parents=True)

    def typed(words: str) -> list[str]:
        line = f"mnist {words}"
        return shell(
            f"_MNIST_COMPLETE=complete_bash COMP_WORDS={shlex.quote(line)} "
            f"COMP_CWORD={line.count(' ')} mnist"
        ).out.split()

    everything = ["12", "0012-digits-conv2", "1", "0001-mnist-conv4"]
    assert typed("eval --runs elsewhere ") == everything
    assert typed("train --runs elsewhere --resume 1") == ["12", "1"]
    assert typed("eval --runs elsewhere m") == ["mnist-conv4"]
    assert typed("inspect-grad --against b") == ["bf16"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("train --config = fa", ["fast"]),
        ("train --config = fast --optimizer = mu", ["muon"]),
        ("train --optimizer =", ["sgd", "adam", "adamw", "adadelta", "muon"]),
        ("plot --only = curves,fil", ["curves,filters"]),
        ("train --set optimizer = a", ["adam", "adamw", "adadelta"]),
        ("train -s optimizer = ad --set schedule =", ["constant", "step", "cosine", "onecycle"]),
        ("train --set optimizer = adam --set = halves = t", ["true"]),
        ("train --set lr = --set optimizer = mu", ["muon"]),
        ("train --set optimizer = adam --epo", ["--epochs"]),
        ("sweep --set optimizer = sgd,m", ["sgd,muon"]),
        ("bench --set device = m", ["mps"]),
        ("train --logger = mlflow,w", ["mlflow,wandb"]),
    ],
)
def test_a_value_after_an_equals_sign_completes_in_bash(words: str, found: list[str]) -> None:
    # bash joins the words with line breaks, and splits them at each equals sign
    line = "\n".join(["mnist", *words.split()])
    script = f"_MNIST_COMPLETE=complete_bash COMP_WORDS={shlex.quote(line)}"
    assert shell(f"{script} COMP_CWORD={line.count(chr(10))} mnist").out.split() == found


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("train --set w", ["workers=", "weight_decay=", "warmup="]),
        ("train --set optim", [f"optimizer={word}" for word in words("optimizer")]),
        ("train --set lr", ["lr="]),
        ("train --set optimizer=a", ["optimizer=adam", "optimizer=adamw", "optimizer=adadelta"]),
        ("train -s channels-last=", ["channels-last=true", "channels-last=false"]),
        ("train --set dataset=fa", ["dataset=fashion-mnist"]),
        ("train --set lr=", []),
        ("train --set nothing=", []),
        ("train --set start=1", ["start=12", "start=1"]),
        ("sweep --set schedule=step,c", ["schedule=step,constant", "schedule=step,cosine"]),
        ("bench --set precision=b", ["precision=bf16"]),
        ("data show --augmented --set loader=d", ["loader=device", "loader=dataloader"]),
    ],
)
def test_settings_complete_by_key_and_value(words: str, found: list[str]) -> None:
    for name in ("0001-mnist-conv4", "0012-digits-conv2"):
        Path("runs", name).mkdir(parents=True)
    line = shlex.quote(f"mnist {words}")
    done = shell(f"_MNIST_COMPLETE=complete_zsh _TYPER_COMPLETE_ARGS={line} mnist")
    assert re.findall(r'"(.+?)"', done.out) == found


COMPLETED = re.compile(r"RUN|CHECKPOINT|RECIPE|LIST|[a-z0-9]+\|[a-z0-9]+|\bNAME\b(?!=)")


def test_whatever_takes_a_run_or_one_of_some_words_completes() -> None:
    Path("runs", "0001-digits-conv2").mkdir(parents=True)
    silent, tried = [], 0
    for path, command in COMMANDS.items():
        context = command.context_class(command, info_name=path)
        for one in command.params:
            metavar = str(one.metavar or "")
            if COMPLETED.search(metavar) and not {"--name", "--node"} & {
                *one.opts
            }:  # known only later
                tried += 1
                if not one.shell_complete(context, ""):
                    silent.append(f"{path} {one.opts[-1]} {metavar}")
    assert tried > 50
    assert silent == []


def test_completion_of_runs_never_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    context = COMMANDS["mnist eval"].make_context("eval", [])
    assert completing.complete_runs(context, "") == []
    Path("runs").touch()
    assert completing.complete_runs(context, "") == []


def test_lists_complete_at_their_end() -> None:
    complete = completing.complete_list(("png", "pdf", "svg"))
    assert complete("p") == ["png", "pdf"]
    assert complete("png,") == ["png,pdf", "png,svg"]
    assert complete("png,s") == ["png,svg"]


# --- --open, and where no browser is


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a browser was asked to open."""
    found: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda url: found.append(url) or "none" not in url)
    return found


def test_files_are_opened(opened: list[str], tmp_path: Path) -> None:
    browser.show([tmp_path / "a b.png", Path("c.html")])
    assert opened == [(tmp_path / "a b.png").as_uri(), (tmp_path / "c.html").as_uri()]


def test_of_many_files_their_folder_is_opened(opened: list[str], tmp_path: Path) -> None:
    browser.show([tmp_path / f"{number}.png" for number in range(4)])
    assert opened == [tmp_path.as_uri()]


def test_without_a_browser_the_file_is_named(
    opened: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    browser.show([Path("none.png")])
    assert "open none.png in yours" in capsys.readouterr().err


def test_the_graph_is_opened(run: Run, opened: list[str], trained: Path, tmp_path: Path) -> None:
    words = ("--open", "--quiet", "--format", "svg,html", "--out", tmp_path / "it")
    assert run("inspect-grad", trained, *words).code == 0
    assert opened == [(tmp_path / "it" / "graph.html").as_uri()]


@pytest.mark.parametrize(
    ("connection", "ends"),
    [
        ("", None),
        ("10.0.0.5 50122 10.0.0.9 22", ["10.0.0.9"]),
        ("10.0.0.5 50122 10.0.0.9 2222", ["-p", "2222", "10.0.0.9"]),
        ("garbled", ["HOST"]),
    ],
)
def test_the_tunnel(
    connection: str, ends: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("getpass.getuser", lambda: "me")
    command = draw._tunnel(8000, connection)
    if ends is None:
        assert command == ""
        return
    wanted = ["ssh", "-N", "-L", "8000:127.0.0.1:8000", *ends[:-1], f"me@{ends[-1]}"]
    assert shlex.split(command) == wanted


# --- an unfinished run


def test_an_unfinished_run_says_so() -> None:
    run = Path("runs/0003-digits-conv2")
    run.mkdir(parents=True)
    best = run / "best.pt"
    assert checkpoint_given.unfinished(best) == []
    (run / "config.toml").write_text("epochs = 2\n")
    assert checkpoint_given.unfinished(best) == [f"{run} is unfinished: 0 of 2 epochs"]
    (run / "summary.json").write_text('{"test": {"accuracy": 0.9, "loss": 0.1, "count": 5}}')
    assert checkpoint_given.unfinished(best) == []
