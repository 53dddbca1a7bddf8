"""The configuration: where values come from, which are refused, and what the messages say."""

from __future__ import annotations

import contextlib
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from mnist_cli.config import choices
from mnist_cli.config.schema import (
    KEYS,
    OPTIMIZER_DEFAULTS,
    SCHEDULE_DEFAULTS,
    Layer,
    TrainConfig,
    compose,
    find_config,
    from_assignments,
    from_file,
    from_flags,
)
from mnist_cli.errors import UsageError


def refused(*layers: Layer) -> UsageError:
    with pytest.raises(UsageError) as caught:
        compose(layers)
    return caught.value


def file(tmp_path: Path, text: str) -> Layer:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return from_file(path)


# --- precedence


def test_a_flag_wins_over_set_over_file_over_default(tmp_path: Path) -> None:
    in_file = file(tmp_path, "epochs = 2\nbatch_size = 32\nlr = 0.5\n")
    config = compose(
        [in_file, from_assignments(["batch_size=16", "lr=0.4"]), from_flags({"lr": 0.3})]
    )
    assert (config.epochs, config.batch_size, config.lr) == (2, 16, 0.3)
    assert config.seed == TrainConfig().seed


def test_a_new_optimiser_forgets_what_the_preset_said_of_the_old_one(tmp_path: Path) -> None:
    preset = file(tmp_path, 'optimizer = "adam"\nbeta1 = 0.7\neps = 1e-4\nschedule = "cosine"\n')
    shared = compose([preset, from_flags({"optimizer": "adamw"})])
    assert shared.setting("beta1") == 0.7
    config = compose([preset, from_flags({"optimizer": "sgd", "schedule": "constant"})])
    assert config.beta1 is None
    assert config.setting("momentum") == OPTIMIZER_DEFAULTS["sgd"]["momentum"]
    assert config.setting("beta1") is None


def test_what_was_typed_is_never_forgotten_silently() -> None:
    error = refused(from_assignments(["momentum=0.5"]), from_flags({"optimizer": "adam"}))
    assert "momentum" in error.message
    assert "sgd, muon" in error.message
    assert "--set momentum=0.5" in error.message


# --- refusals


@pytest.mark.parametrize(
    ("key", "near"),
    [
        ("learning_rate", "lr"),
        ("preset", ""),
        ("epoch", "epochs"),
        ("batchsize", "batch_size"),
        ("optimiser", "optimizer"),
    ],
)
def test_an_unknown_key_names_the_nearest(key: str, near: str) -> None:
    error = refused(from_assignments([f"{key}=1"]))
    assert f"unknown key '{key}'" in error.message
    assert (f"Did you mean '{near}'?" in error.hint) == bool(near)
    assert near or all(known in error.hint for known in KEYS)


@pytest.mark.parametrize(
    ("text", "line", "about"),
    [
        ("epochs = 3\n\n# note\nlr = -1\n", 4, "lr"),
        ('model = "conv4"\noptimizer = "sdg"\n', 2, "'sgd', 'adam', 'adamw', 'adadelta'"),
        ("epochs = 3\nbogus = 1\n", 2, "unknown key 'bogus'"),
        ('"lr"=1\n  "epochs"  = "many"\n', 2, "epochs"),
        ("epochs = 3\n[train]\nlr = 1\n", 2, "'train' is a table or list"),
        ("a.b = 3\n", 1, "'a' is a table or list"),
        ("epochs = [3]\n", 1, "'epochs' is a table or list"),
        ("seed = 1\nepochs = true\n", 2, "should be a number, not true"),
        ('seed = 1\nmodel = "resnet"\n', 2, "conv4-wide"),
        ('seed = 0\ncuda_graph = "maybe"\n', 2, "should be auto, true or false, not 'maybe'"),
        ("seed = 0\nlr = 2020-01-01\n", 2, "lr"),
    ],
)
def test_a_wrong_line_of_a_file_is_named(tmp_path: Path, text: str, line: int, about: str) -> None:
    with pytest.raises(UsageError) as caught:
        compose([file(tmp_path, text)])
    assert f"mine.toml, line {line}: " in caught.value.message
    assert about in caught.value.message


@pytest.mark.parametrize(
    "content",
    [
        *(b"epochs = = 3", b"\xff\xfe", b"epochs 3", b"lr = " + b"9" * 5000),
        *(b"a = " + b"[" * 9000, b"seed = 1\nlr = 1\n'lr' = 2\n"),
    ],
    ids=["two signs", "no utf-8", "no sign", "too many digits", "too deep", "twice"],
)
def test_what_is_no_toml_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"bad\.toml is not TOML") as caught:
        from_file(path)
    assert ("not UTF-8 text\nSave it as UTF-8" in str(caught.value)) is (content[0] == 0xFF)
    assert ("'lr' is set more than once (at line 3" in str(caught.value)) is (b"'lr'" in content)


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path: Path) -> None:
    """Editors of Windows write one."""
    path = tmp_path / "bom.toml"
    path.write_text("epochs = 3\n", encoding="utf-8-sig")
    assert dict(from_file(path).values) == {"epochs": 3}


@pytest.mark.parametrize("text", ["epochs", "=3", " = 3", ""])
def test_an_assignment_needs_a_key_and_a_sign(text: str) -> None:
    with pytest.raises(UsageError, match="key=value"):
        from_assignments([text])


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("epochs=abc", "should be a whole number from 1 to 100,000, not 'abc'"),
        ("epochs=1.5", "should be a whole number from 1 to 100,000, not '1.5'"),
        ("batch_size=0", "should be a whole number from 1 to 2,147,483,647, not '0'"),
        ("train_size=-1", "should be a whole number of at least 0, not '-1'"),
        ("lr=0", "should be a number above 0, not '0'"),
        ("scale=1", "should be a number of at least 0 and below 1, not '1'"),
        ("gamma=x", "should be a number above 0 and at most 1, not 'x'"),
        ("compile=maybe", "should be true or false, not 'maybe'"),
        ("lr=inf", "should be a finite number, not 'inf'"),
        ("loader=disk", "should be 'device' or 'dataloader', not 'disk'"),
        ("device=gpu", "should be auto, cpu, cuda, cuda:N, mps, not 'gpu'"),
    ],
)
def test_a_refusal_says_what_is_allowed(assignment: str, said: str) -> None:
    assert refused(from_assignments([assignment])).message == f"--set {assignment}: {said}"


def test_a_misspelt_word_names_the_nearest() -> None:
    error = refused(from_assignments(["optimizer=adamm"]))
    assert error.hint == "Did you mean 'adam'?"
    assert "did you mean 'conv4'? Choose one of" in refused(from_flags({"model": "konv4"})).message


CONTRADICTIONS = {
    "workers": ["workers=2"],
    "nesterov": ["optimizer=sgd", "momentum=0", "nesterov=true"],
    "warmup": ["warmup=1", "schedule=onecycle"],
    "prefer_hard": ["prefer_hard=5"],
    "warmup ": ["warmup=3", "epochs=3", "schedule=cosine"],
    "early_stopping": ["early_stopping=2", "val_size=0"],
    "target_accuracy": ["target_accuracy=0.9", "val_size=0"],
    "model": ["model=resnet50"],
}


@pytest.mark.parametrize("key", CONTRADICTIONS)
def test_a_contradiction_names_the_flag_it_came_from(key: str) -> None:
    error = refused(from_assignments(CONTRADICTIONS[key]))
    assert error.message.startswith(f"--set {key.strip()}=")


@pytest.mark.parametrize(
    ("recipe", "typed", "off"),
    [
        ({"prefer_hard": 5, "train_size": 9}, "train_size=0", "prefer_hard=0"),
        ({"warmup": 2, "schedule": "cosine"}, "epochs=2", "warmup=0"),
        ({"warmup": 1, "schedule": "cosine"}, "schedule=onecycle", "warmup=0"),
        ({"early_stopping": 2}, "val_size=0", "early_stopping=0"),
        ({"workers": 2, "loader": "dataloader"}, "loader=device", "workers=0"),
        ({"nesterov": True, "momentum": 0.9}, "momentum=0", "nesterov=false"),
    ],
)
def test_a_contradiction_with_a_recipe_names_what_was_typed(
    recipe: dict[str, Any], typed: str, off: str
) -> None:
    layer = Layer(recipe, dict.fromkeys(recipe, "a.toml, line 3"))
    error = refused(layer, from_assignments([typed]))
    key = off.partition("=")[0]
    assert error.message.startswith(f"--set {typed} contradicts {key} in a.toml, line 3: ")
    assert error.hint == f"Add --set {off}, or omit --set {typed}."
    compose([layer, from_assignments([typed, off])])
    name, _, value = typed.partition("=")
    called = refused(layer, Layer({name: value}, {name: name}))  # as an argument in Python
    assert called.hint == f"Add {off.replace('false', 'False')}, or omit {name}."


def test_each_foreign_key_of_each_optimiser_and_schedule_is_refused() -> None:
    values = {"step_epochs": 2, "nesterov": True, "ns_steps": 3, "muon_filters": True}
    for chooser, table in (("optimizer", OPTIMIZER_DEFAULTS), ("schedule", SCHEDULE_DEFAULTS)):
        for chosen, own in table.items():
            for key in {key for keys in table.values() for key in keys} - set(own):
                layer = Layer({chooser: chosen, key: values.get(key, 0.5)}, {})
                assert f"{key}: has no effect with {chooser} = {chosen}" in refused(layer).message


WORDS = st.sampled_from([*OPTIMIZER_DEFAULTS, *SCHEDULE_DEFAULTS, *choices.MODELS, "cpu", "true"])
VALUES = st.one_of(
    st.integers(), st.floats(), st.booleans(), st.none(), WORDS, st.text(max_size=8), st.binary()
)


@given(
    st.dictionaries(
        st.one_of(st.sampled_from(tuple(KEYS)), st.text(max_size=9)), VALUES, max_size=8
    )
)
@settings(max_examples=300, deadline=None)
def test_any_assignment_gives_a_configuration_or_a_usage_error(values: dict[str, Any]) -> None:
    try:
        config = compose([Layer(values, {})])
    except UsageError:
        return
    assert tomllib.loads(tomlkit.dumps(config.to_plain())) == config.to_plain()


@given(st.lists(st.tuples(st.sampled_from(tuple(KEYS)), st.text(max_size=9)), max_size=5))
@settings(max_examples=200, deadline=None)
def test_any_text_after_set_gives_a_configuration_or_a_usage_error(
    pairs: list[tuple[str, str]],
) -> None:
    with contextlib.suppress(UsageError):
        compose([from_assignments([f"{key}={value}" for key, value in pairs])])


# --- reading, writing, finding


def test_quotes_and_dashes_may_be_used_after_set() -> None:
    config = compose([from_assignments(['optimizer="adam"', "batch-size = 7", "device='cpu'"])])
    assert (config.optimizer, config.batch_size, config.device) == ("adam", 7, "cpu")


def test_a_configuration_cannot_be_changed_after_validation() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TrainConfig().lr = 1.0  # type: ignore[misc]


def test_every_key_says_what_it_means() -> None:
    for name, key in KEYS.items():
        assert key.help.endswith("."), name


def test_a_setting_is_the_value_or_the_optimisers_default_or_nothing() -> None:
    config = compose([from_assignments(["optimizer=adam", "beta1=0.7"])])
    assert config.setting("beta1") == 0.7
    assert config.setting("beta2") == 0.999
    assert config.setting("momentum") is None


def test_a_path_is_found_and_a_presets_name_comes_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "fast").write_text("epochs = 3")
    (tmp_path / "other.toml").write_text("epochs = 3")
    assert find_config("fast") != tmp_path / "fast"
    assert find_config("fast").name == "fast.toml"
    assert find_config("other.toml") == Path("other.toml")
    assert find_config("./fast") == Path("fast")


@pytest.mark.parametrize("name", ["fsat", "no/such.toml", ".", "x" * 5000, "~nobody-there/x"])
def test_a_config_that_is_not_there_is_a_usage_error(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        find_config(name)
    assert "--config" in caught.value.message
    if name == "fsat":
        assert "Did you mean 'fast'?" in caught.value.hint


def test_a_missing_file_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="No such file"):
        from_file(tmp_path / "gone.toml")


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="a device of POSIX")
def test_a_configuration_without_an_end_is_not_read_to_it() -> None:
    with pytest.raises(UsageError, match="/dev/zero is not a configuration: it has more than"):
        from_file(Path("/dev/zero"))
