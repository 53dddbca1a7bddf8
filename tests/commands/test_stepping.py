"""``inspect-grad --step``: the keys, the screen, and the lesson of a Linear layer's bias."""

from __future__ import annotations

import pytest
import torch
from program import Run

from mnist_cli.autograd import replay_steps, walk
from mnist_cli.report.stepping import Stepper
from mnist_cli.report.steps import Glyphs

RIGHT, LEFT, ENTER, ESCAPE = "\x1b[C", "\x1b[D", "\r", "\x1b"


@pytest.fixture
def stepper() -> Stepper:
    """A Linear layer on four examples: 4 x 3 in, 2 out."""
    torch.manual_seed(0)
    layer = torch.nn.Linear(3, 2)
    walked = walk(layer(torch.randn(4, 3)).square().mean(), names=layer, saved=False)
    return Stepper(walked.graph, list(replay_steps(walked)))


def press(stepper: Stepper, *keys: str) -> int:
    for key in keys:
        stepper.press(key)
    return stepper.index


def test_keys_go_forth_and_back_and_stop_at_the_ends(stepper: Stepper) -> None:
    last = len(stepper.steps) - 1
    assert press(stepper, LEFT) == 0
    assert stepper.message
    assert press(stepper, RIGHT, "n", " ") == 3
    assert not stepper.message
    assert press(stepper, "b") == 2
    assert press(stepper, *["n"] * (last + 5)) == last
    assert stepper.message
    assert press(stepper, "0") == 0


def test_g_goes_to_a_step(stepper: Stepper) -> None:
    press(stepper, "g", *"bias", ENTER)
    assert stepper.steps[stepper.index].parameter == "bias"


def test_an_unknown_step_gives_a_message(stepper: Stepper) -> None:
    assert press(stepper, "n", "g", *"nowhere", ENTER) == 1
    assert "nowhere" in stepper.message
    assert press(stepper, "g", *"bias", ESCAPE) == 1
    assert stepper.prompt is None
    assert not stepper.done


def test_typed_letters_are_not_keys(stepper: Stepper) -> None:
    press(stepper, "g", "q", "n", "\x7f", "\x7f")
    assert (stepper.prompt, stepper.index, stepper.done) == ("", 0, False)
    press(stepper, ESCAPE, "q")
    assert stepper.done


def test_a_question_mark_shows_the_keys(stepper: Stepper) -> None:
    press(stepper, "n", "?")
    shown = "\n".join(stepper.screen(Glyphs.ascii(), 79, 24))
    for key in ("Enter", "PgUp", "Home", "quit", "module or parameter"):
        assert key in shown
    assert "step 2 of" not in shown
    assert press(stepper, "n") == 1  # any key goes back to the step
    assert "step 2 of" in "\n".join(stepper.screen(Glyphs.ascii(), 79, 24))
    press(stepper, "?", "q")
    assert not stepper.done
    press(stepper, "q")
    assert stepper.done


def test_ctrl_c_is_an_interruption(stepper: Stepper) -> None:
    with pytest.raises(KeyboardInterrupt):
        stepper.press("\x03")


@pytest.mark.parametrize(("width", "height"), [(120, 40), (40, 12), (20, 5)])
def test_a_screen_fits_its_window(stepper: Stepper, width: int, height: int) -> None:
    for _ in stepper.steps:
        lines = stepper.screen(Glyphs.ascii(), width, height)
        assert len(lines) <= height
        assert max(map(len, lines)) <= width
        assert all(line.isascii() for line in lines)
        stepper.press("n")


def test_without_a_terminal_every_step_is_printed(run: Run) -> None:
    outcome = run("inspect-grad", "--model", "conv2", "--batch-size", "2", "--step")
    assert outcome.code == 0
    steps = [line for line in outcome.out.splitlines() if line.startswith("step ")]
    count = int(steps[0].split()[3])
    assert [line.split()[1] for line in steps] == [str(n + 1) for n in range(count)]
    assert "summed to shape on the way" in outcome.out
    assert "\x1b" not in outcome.out
