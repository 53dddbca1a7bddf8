"""A watch changes nothing of a training, and names what turns NaN or infinite.

The oracle of "changes nothing" is the same training without a watch, compared bit by bit.
"""

from __future__ import annotations

import copy
import gc
import pickle
import threading
import warnings
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from autograd_zoo import same_bits
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mnist_cli.autograd import GradientWarning, UsageError, watch
from mnist_cli.autograd.watching import Watch


class Trap(nn.Module):
    """Passes its input on, until it is told to break it."""

    def __init__(self) -> None:
        super().__init__()
        self.how = ""

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "forward":  # log(0) - log(0): NaN
            return x + torch.log(x * 0) - torch.log(x * 0)
        if self.how == "backward":  # the slope of sqrt at 0 is infinite, and inf * 0 is NaN
            return x + torch.sqrt(x * 0)
        if self.how == "infinite":
            return x + torch.where(x > -1e9, torch.sqrt((x - x.detach()).abs() + 0), x)
        return x


class Net(nn.Module):
    """Draws random numbers and changes buffers in each pass."""

    def __init__(self, kind: str = "plain") -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.3))
        self.middle = nn.Sequential(nn.Linear(8, 8), Trap(), nn.Tanh())
        self.last = nn.Linear(8, 3)
        if kind == "frozen":
            self.first.requires_grad_(False)
        if kind == "bfloat16":
            self.to(torch.bfloat16)
        if kind == "retained":
            self.last.weight.register_hook(lambda grad: grad * 2)

    def forward(self, x: Tensor) -> Any:
        if self.kind == "bfloat16":
            x = x.to(torch.bfloat16)
        if self.kind == "checkpoint":
            x = checkpoint(self.first, x, use_reentrant=False)
        elif self.kind == "reentrant":
            x = checkpoint(self.first, x.requires_grad_(), use_reentrant=True)
        else:
            x = self.first(x)
        x = self.middle(x)
        if self.kind == "list":
            return [self.last(x), {"hidden": (x, None)}]
        return {"scores": self.last(x), "kept": 3} if self.kind == "dict" else self.last(x)


def total(output: Any) -> Tensor:
    """A loss of any of the outputs."""
    if isinstance(output, dict):
        return total([one for one in output.values() if not isinstance(one, int)])
    if isinstance(output, Tensor):
        return output.float().square().mean()
    parts = [total(one) for one in output if one is not None]
    return torch.stack(parts).sum()


@dataclass
class Trained:
    """What a training leaves behind."""

    model: nn.Module
    grads: list[list[Tensor | None]]
    random: Tensor


Step = Callable[[nn.Module, torch.optim.Optimizer], None]


def plain(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    total(model(torch.randn(6, 5))).backward()
    optimizer.step()


def zeroed(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=False)
    total(model(torch.randn(6, 5))).backward()
    optimizer.step()


def accumulated(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    for _ in range(3):
        (total(model(torch.randn(6, 5))) / 3).backward()
    optimizer.step()


def siamese(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    (model(torch.randn(6, 5)) - model(torch.randn(6, 5))).square().mean().backward()
    optimizer.step()


def twice_backward(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    loss = total(model(torch.randn(6, 5)))
    loss.backward(retain_graph=True)
    loss.backward()
    optimizer.step()


def penalty(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    x = torch.randn(6, 5, requires_grad=True)
    out = model(x)
    (slope,) = torch.autograd.grad(out.sum(), x, create_graph=True)
    (total(out) + slope.square().sum()).backward()
    optimizer.step()


def closure(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    x = torch.randn(6, 5)

    def loss() -> Tensor:
        optimizer.zero_grad()
        value = total(model(x))
        value.backward()
        return value

    optimizer.step(loss)  # type: ignore[arg-type]


def validated(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    plain(model, optimizer)
    model.eval()
    with torch.no_grad():
        model(torch.randn(6, 5))
    model(torch.randn(6, 5))
    model.train()
    with torch.no_grad():
        model(torch.randn(6, 5))


def changed_inputs(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    output = model(torch.randn(6, 5))
    output += 1
    total(output.relu_()).backward()
    optimizer.step()


def parts_only(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    hidden = model.first(torch.randn(6, 5))  # type: ignore[operator]
    total(model.last(model.middle(hidden))).backward()  # type: ignore[operator]
    optimizer.step()


def under_autocast(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total(model(torch.randn(6, 5))).backward()
    optimizer.step()


def steps_in_backward(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    def step(leaf: Tensor) -> None:
        assert leaf.grad is not None
        leaf.data -= 0.1 * leaf.grad

    handles = [p.register_post_accumulate_grad_hook(step) for p in model.parameters()]
    plain(model, optimizer)
    for handle in handles:
        handle.remove()


def skipped(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    total(model(torch.randn(6, 5)))
    plain(model, optimizer)


def trained(
    step: Step,
    kind: str,
    *,
    every: int | None,
    trap: tuple[int, str] | None = None,
    wrap: Callable[[nn.Module], nn.Module] = lambda model: model,
    steps: int = 4,
) -> tuple[Trained, Watch | None]:
    """A short training from a fixed seed, with a watch or without one."""
    torch.manual_seed(3)
    model = Net(kind)
    used = wrap(model)
    learned = [p for p in model.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer = torch.optim.SGD(learned, 0.1, momentum=0.9)
    if step is closure:
        optimizer = torch.optim.LBFGS(learned, max_iter=3)
    grads: list[list[Tensor | None]] = []
    with nullcontext() if every is None else watch(used, every=every) as watched:
        for number in range(steps):
            if trap is not None:
                model.middle[1].how = trap[1] if number == trap[0] else ""
            step(used, optimizer)
            grads.append([copy.deepcopy(p.grad) for p in model.parameters()])
    return Trained(model, grads, torch.get_rng_state()), watched


def assert_same(ours: Trained, theirs: Trained) -> None:
    for mine, other in zip(ours.grads, theirs.grads, strict=True):
        for one, two in zip(mine, other, strict=True):
            assert (one is None) == (two is None)
            assert one is None or two is None or same_bits(one, two)
    ours_now, theirs_now = ours.model.state_dict(), theirs.model.state_dict()
    assert all(same_bits(ours_now[name], theirs_now[name]) for name in theirs_now)
    assert torch.equal(ours.random, theirs.random)
    assert hooks(ours.model) == hooks(theirs.model)


def hooks(model: nn.Module) -> list[int]:
    return [len(one._forward_hooks) + len(one._forward_pre_hooks) for one in model.modules()]


LENGTH = 4

STEPS = [
    (plain, "plain", 1),
    (zeroed, "plain", 1),
    (accumulated, "plain", 3),
    (siamese, "plain", 2),
    (twice_backward, "plain", 1),
    (penalty, "plain", 1),
    (closure, "plain", 3),
    (validated, "plain", 1),
    (changed_inputs, "plain", 1),
    (parts_only, "plain", 3),
    (under_autocast, "plain", 1),
    (steps_in_backward, "plain", 1),
    (skipped, "plain", 2),
    *((plain, kind, 1) for kind in ("frozen", "checkpoint", "reentrant", "dict", "list")),
    (plain, "bfloat16", 1),
    (plain, "retained", 1),
]


CASES = [(*case, 3) for case in STEPS] + [(*case, 1) for case in (STEPS[0], STEPS[3], STEPS[9])]


def named(value: object) -> str:
    return getattr(value, "__name__", str(value))


@pytest.mark.parametrize(("step", "kind", "each", "every"), CASES, ids=named)
def test_a_training_has_the_same_bits(step: Step, kind: str, each: int, every: int) -> None:
    passes = each * LENGTH
    bare, _ = trained(step, kind, every=None)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        seen, watched = trained(step, kind, every=every)
    assert_same(seen, bare)
    assert watched is not None
    assert watched.problems == []
    assert watched.passes == passes
    due = [n for n in range(passes) if n % every == 0 and not (step is skipped and n % 2 == 0)]
    assert [one.step for one in watched.records] == due[-10:]


BAD = [
    *((*STEPS[0], at, how) for at in (0, 2) for how in ("forward", "backward", "infinite")),
    *((*case, 2, "backward") for case in STEPS[1:]),
    *((*STEPS[n], 2, "forward") for n in (3, 10, 14, 15, 17)),
]


@pytest.mark.parametrize(("step", "kind", "each", "at", "how"), BAD, ids=named)
def test_the_first_bad_pass_is_named(step: Step, kind: str, each: int, at: int, how: str) -> None:
    bare, _ = trained(step, kind, every=None, trap=(at, how))
    with pytest.warns(GradientWarning, match=r"^step \d+: .* not finite\.") as caught:
        seen, watched = trained(step, kind, every=3, trap=(at, how))
    assert len(caught) == 1
    assert_same(seen, bare)
    assert watched is not None
    problem = watched.first_problem
    assert problem is not None
    assert str(caught[0].message) == problem.message
    assert problem.step // each == at
    assert bool(problem.parameters) is (how != "forward")
    if step is steps_in_backward:
        assert "has parameters that are not finite" in problem.message
        return
    assert problem.module == "middle.1"
    assert problem.node == ("LogBackward0" if how == "forward" else "SqrtBackward0")
    assert "middle.1" in problem.message
    assert how != "forward" or "its inputs are finite" in problem.message
    said = " ".join(one.message for one in problem.findings)
    assert how != "forward" or "SubBackward0 in middle.1; an input is not finite either" in said


class Masked(nn.Linear):
    """Masks the first outputs, all or some, and scales inputs until they may overflow."""

    def __init__(self, scale: float, masked: int, *, log: bool) -> None:
        super().__init__(4, 4)
        self.scale, self.masked, self.log = scale, masked, log

    def forward(self, x: Tensor) -> Tensor:
        scores, shown = super().forward(x), torch.arange(4) >= self.masked
        scores = scores + shown.log() if self.log else scores.masked_fill(~shown, -torch.inf)
        return scores.softmax(1) * (self.scale * x).exp() * 0


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize(("scale", "masked", "node"), [(100, 2, "Exp"), (1, 4, "Softmax")])
def test_the_operation_that_makes_an_infinity_is_named_unless_it_is_a_mask(
    scale: float, masked: int, node: str, log: bool
) -> None:
    model, x = Masked(scale, masked, log=log), torch.ones(2, 4, requires_grad=True)
    with (
        pytest.warns(GradientWarning, match=f"the result of node .*, {node}Backward0"),
        watch(model),
    ):
        model(x).sum().backward()


def test_a_frozen_mask_of_infinities_does_not_keep_a_pass_from_running_again() -> None:
    model = nn.Linear(2, 2)
    model.mask = nn.Parameter(torch.full((2, 2), -torch.inf), requires_grad=False)
    with pytest.warns(GradientWarning, match="check the loss"), watch(model):
        (model(torch.ones(1, 2)) * torch.inf).sum().backward()


def with_trap(how: str = "backward") -> Net:
    model = Net()
    model.middle[1].how = how
    return model


def run(model: Net, traps: list[str]) -> None:
    for how in traps:
        model.middle[1].how = how
        model.zero_grad()
        total(model(torch.randn(6, 5))).backward()


def test_many_bad_passes_are_one_problem_until_a_sound_one() -> None:
    model = Net()
    seen = []
    with pytest.warns(GradientWarning) as caught, watch(model, on_problem=seen.append) as watched:
        run(model, ["", "backward", "backward", "", "", "backward", "", ""])
    assert len(caught) == 1
    assert [one.step for one in watched.problems] == [1, 5]
    assert seen == watched.problems
    assert "SqrtBackward0 in middle.1" in repr(watched)


def test_a_loss_that_is_not_finite_is_not_laid_on_the_model() -> None:
    model = Net()
    with pytest.warns(GradientWarning, match="check the loss"), watch(model) as watched:
        (model(torch.randn(6, 5)) * 0).sqrt().sum().backward()
    assert watched.first_problem is not None
    assert watched.first_problem.module == ""


def test_infinity_that_a_mask_puts_into_the_output_is_no_problem() -> None:
    class Masked(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).masked_fill(torch.tensor([True, False, False]), -torch.inf)

    model = Masked(5, 3)
    with watch(model) as watched:
        F.cross_entropy(model(torch.randn(6, 5)), torch.tensor([1, 2, 1, 2, 1, 2])).backward()
    assert watched.problems == []


@pytest.mark.parametrize("how", ["forward", "backward"])
def test_what_on_problem_raises_stops_the_training(how: str) -> None:
    def stop(problem: object) -> None:
        raise KeyError("enough")

    model = with_trap(how)
    before = hooks(model)
    with (
        pytest.warns(GradientWarning),
        pytest.raises(KeyError, match="enough"),
        watch(model, on_problem=stop),
    ):
        total(model(torch.randn(6, 5))).backward()
    assert hooks(model) == before


def test_an_error_in_the_block_takes_the_hooks_off() -> None:
    model = Net()
    with pytest.raises(RuntimeError, match="mat1"), watch(model) as watched:
        model(torch.randn(6, 4))
    assert sum(hooks(model)) == 0
    assert watched.passes == 0
    with watch(model) as watched:
        with pytest.raises(RuntimeError, match="mat1"):
            model(torch.randn(6, 4))
        total(model(torch.randn(6, 5))).backward()
    assert [one.step for one in watched.records] == [0]
    assert "middle.0" in {node.module for node in watched.records[0].graph.nodes}


class Interrupted(nn.Module):
    """Ctrl-C comes while it runs, if it is told so."""

    now = False

    def forward(self, x: Tensor) -> Tensor:
        if self.now:
            raise KeyboardInterrupt
        return x


class Resumes(nn.Module):
    """Catches what stops a part, and runs another."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList([nn.Linear(5, 2), Interrupted()])

    def forward(self, x: Tensor) -> Tensor:
        x = self.parts[0](x)
        try:
            return self.parts[1](x)
        except KeyboardInterrupt:
            return x


def test_after_ctrl_c_in_a_pass_the_next_ones_are_seen() -> None:
    model = nn.Sequential(nn.Linear(5, 2), Interrupted(), nn.Linear(2, 2))
    with watch(model, every=1) as watched:
        model[1].now = True
        with pytest.raises(KeyboardInterrupt):
            model(torch.randn(6, 5))
        model[1].now = False
        model.eval()(torch.randn(6, 5)).sum().backward()
        assert watched.passes == 0
        model.train()
        for _ in range(2):
            model(torch.randn(6, 5)).sum().backward()
    assert [one.step for one in watched.records] == [0, 1]
    found = {node.name: node.module for node in reversed(watched.records[0].graph.nodes)}
    assert found["AddmmBackward0"] == "2"


def test_ctrl_c_that_the_model_catches_does_not_hide_its_pass() -> None:
    model = Resumes()
    model.parts[1].now = True
    with watch(model, every=1) as watched, watch(model.parts[1]) as part:
        for _ in range(2):
            model(torch.randn(6, 5)).sum().backward()
        model.parts[1].now = False
        model(torch.randn(6, 5)).sum().backward()
    assert [one.step for one in watched.records] == [0, 1, 2]
    assert part.passes == 1


def test_a_record_waits_for_the_pass_that_reaches_the_parameters() -> None:
    """A gradient penalty runs ``torch.autograd.grad`` first."""
    model = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 1))
    with watch(model, every=1) as watched:
        for _ in range(2):
            model.zero_grad()
            penalty(model, torch.optim.SGD(model.parameters(), 0.0))
            now = [p.grad.norm().item() for p in model.parameters()]
    assert [one.findings for one in watched.records] == [(), ()]
    rows = watched.records[1].parameters
    assert [row.grad_norm for row in rows[:4]] == pytest.approx(now)


def test_a_model_that_runs_with_other_weights_is_watched_by_its_own() -> None:
    """As in meta-learning."""
    model = nn.Linear(5, 2)
    with warnings.catch_warnings(), watch(model, every=2) as watched:
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", GradientWarning)
        for step in range(4):
            fast = {name: one * 1.0 for name, one in model.named_parameters()}
            output = torch.func.functional_call(model, fast, torch.ones(3, 5))
            (output.sum() * (torch.nan if step == 3 else 1)).backward()
    assert [row.name for row in watched.records[0].parameters] == ["weight", "bias"]
    assert watched.records[0].findings == ()
    assert watched.first_problem is not None
    assert watched.first_problem.parameters == ("weight", "bias")


def test_an_output_is_saved_without_a_warning() -> None:
    model = nn.Linear(5, 2)
    with warnings.catch_warnings(), watch(model):
        warnings.simplefilter("error")
        output = model(torch.ones(3, 5))
        assert torch.equal(pickle.loads(pickle.dumps(output)), output)


def test_outputs_that_are_leaves_keep_no_hook() -> None:
    class Prompt(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.prompt = nn.Parameter(torch.ones(3))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.prompt, x

    model, x = Prompt(), torch.ones(3, requires_grad=True)
    with watch(model) as watched:
        for _ in range(3):
            sum(one.sum() for one in model(x)).backward()
            assert not model.prompt._backward_hooks
        model(x)
    assert not model.prompt._backward_hooks
    assert not x._backward_hooks
    assert watched.passes == 4


def test_the_record_has_the_gradients_of_that_pass() -> None:
    model = Net()
    with watch(model, every=1) as watched:
        for _ in range(2):
            total(model(torch.randn(6, 5))).backward()
            now = {name: p.grad.norm().item() for name, p in model.named_parameters()}
    (first, second) = watched.records
    got = {row.name: row.grad_norm for row in first.parameters}
    model.zero_grad()
    assert got.keys() == now.keys()
    assert any(abs(got[name] - now[name]) > 1e-3 for name in got), "the second was added to it"
    assert {node.module for node in second.graph.nodes} >= {"first.0", "middle.2", "last"}
    assert all(node.grad_in for node in second.graph.nodes)


class Token:
    """Lives as long as the node that it is attached to."""


@pytest.mark.filterwarnings("ignore:Using backward.. with create_graph=True")
def test_nothing_of_a_pass_is_held() -> None:
    """Neither of one that has run backward, nor of one that never does."""
    model = Net()
    gone = []
    with watch(model, every=2):
        for create in (False, False, True, True, None, None):
            x = torch.randn(6, 5)
            output = model(x)
            tokens = [Token()]
            output.grad_fn.metadata["token"] = tokens[-1]
            gone += [weakref.ref(x), weakref.ref(tokens[-1])]
            if create is not None:
                total(output).backward(create_graph=create)
            del x, output, tokens
        model.zero_grad()
        gc.collect()
        assert [one() for one in gone] == [None] * 12


def test_two_threads_train_one_model() -> None:
    model = Net()
    model.first[1].eval()
    with watch(model, every=2) as watched:

        def work() -> None:
            for _ in range(20):
                total(model(torch.randn(6, 5))).backward()

        threads = [threading.Thread(target=work) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert watched.passes == 40
        model.middle[1].how = "backward"
        with pytest.warns(GradientWarning, match="runs in several threads"):
            total(model(torch.randn(6, 5))).backward()
    assert sum(hooks(model)) == 0
    assert len(watched.records) == 10


def test_an_input_that_contains_itself() -> None:
    """As a batch that refers to itself."""
    nested: dict[str, Any] = {"x": torch.randn(2, 3)}
    nested["self"] = [nested]
    model = nn.Linear(3, 3)
    model.register_forward_pre_hook(lambda _, args: args[0]["x"])
    with watch(model) as watched:
        model(nested).sum().backward()
    assert watched.passes == 1


def test_inputs_that_were_overwritten_are_not_run_again() -> None:
    model, x = with_trap(), torch.randn(6, 5)
    model.first[0].requires_grad_(False)  # so that backward does not need the inputs
    with watch(model):
        loss = total(model(x.view_as(x)))
        with torch.no_grad():
            x.mul_(1)
        with pytest.warns(GradientWarning, match="inputs that have changed"):
            loss.backward()


class Stateful(nn.Module):
    """Carries its hidden state from call to call: from outside, or in an attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.layer, self.calls, self.hidden = nn.Linear(3, 3), 0, torch.zeros(2, 3)

    def forward(self, x: Tensor, state: tuple[list[Tensor]] | None = None) -> Tensor:
        self.calls += 1
        self.hidden = torch.tanh(self.layer(x) + (self.hidden if state is None else state[0][0]))
        return self.hidden


@pytest.mark.parametrize(
    ("outside", "words"), [(True, "check the loss"), (False, "UsageError: the graph was already")]
)
def test_a_pass_that_begins_in_the_graph_of_another(outside: bool, words: str) -> None:
    """That graph is freed when the pass is run again; the training goes on in any case."""
    model, x = Stateful(), torch.randn(2, 3)
    with watch(model):
        hidden = model(x)
        hidden = model(x, ([hidden],) if outside else None)
        with pytest.warns(GradientWarning, match=words):
            (hidden * torch.inf).sum().backward()
    assert model.calls == 2
    assert model.hidden is hidden


def test_a_scaled_loss_may_overflow() -> None:
    class Scaler:
        def get_scale(self) -> float:
            return 2.0**127

    model = Net()
    with watch(model, scaler=Scaler()) as watched:
        (total(model(torch.randn(6, 5))) * 2.0**127 * 8).backward()
        assert not torch.isfinite(model.last.weight.grad).all()
        assert watched.problems == []
        model.zero_grad()
        model.middle[1].how = "backward"
        with pytest.warns(GradientWarning, match="SqrtBackward0 in middle.1"):
            total(model(torch.randn(6, 5))).backward()


def test_sums_wait_on_an_accelerator() -> None:
    """As for a model on a GPU: the step and the parameters are known when they are read."""
    model = Net()
    watched = watch(model, every=4)
    watched._later = True
    with pytest.warns(GradientWarning, match=r"^step 2: .*first\.0.weight.* accelerator"), watched:
        run(model, ["", "", "backward", ""])


def test_a_compiled_model() -> None:
    def wrap(model: nn.Module) -> nn.Module:
        return torch.compile(model, backend="aot_eager")

    bare, _ = trained(plain, "plain", every=None, wrap=wrap, steps=3)
    seen, watched = trained(plain, "plain", every=2, wrap=wrap, steps=3)
    assert_same(seen, bare)
    assert watched is not None
    assert [one.step for one in watched.records] == [0, 2]


def test_a_model_without_training_passes_gets_a_word() -> None:
    model = Net().eval()
    with pytest.warns(GradientWarning, match="no training pass of Net was seen"), watch(model):
        model(torch.randn(6, 5))
    policy, words = Policy(), "no call in training mode returned a tensor with a gradient"
    with pytest.warns(GradientWarning, match=words), watch(policy):
        policy(torch.randn(6, 5))


class Policy(nn.Linear):
    """Returns an object in which no tensor is searched."""

    def __init__(self) -> None:
        super().__init__(5, 2)

    def forward(self, x: Tensor) -> Any:
        return torch.distributions.Categorical(logits=super().forward(x))


def test_a_module_without_parameters() -> None:
    model, x = nn.Sequential(nn.Tanh()), torch.randn(3, requires_grad=True)
    with watch(model) as watched:
        model(x).sum().backward()
    assert watched.records[0].graph.nodes[0].name == "TanhBackward0"


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return torch.jit.script(nn.Linear(2, 2))


@pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize(
    ("make", "options", "words"),
    [
        (scripted, {}, "scripted"),
        (lambda: nn.Linear(2, 2), {"every": 0}, "every is 0"),
        (lambda: nn.Linear(2, 2), {"keep": -1}, "keep is -1"),
    ],
)
def test_what_cannot_be_watched(make: Any, options: dict[str, int], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        watch(make(), **options)


COPIES: dict[str, Callable[[nn.Module], nn.Module]] = {
    "deepcopy": copy.deepcopy,
    "averaged": torch.optim.swa_utils.AveragedModel,
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
}


@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_of_a_watched_model_is_not_watched(
    make: Callable[[nn.Module], nn.Module],
) -> None:
    model = Net()
    with watch(model, every=2) as watched:  # a copy while the modules are traced, and while not
        for _ in range(2):
            copied = make(model)
            total(copied(torch.randn(6, 5))).backward()
            total(model(torch.randn(6, 5))).backward()
    assert watched.passes == 2
    assert sum(hooks(model)) == 0


def test_torch_func_inside_a_watch() -> None:
    """Its gradients are no .grad, and its tensors have no values that can be read."""
    model = nn.Linear(5, 2)
    leaves = {name: one.detach() for name, one in model.named_parameters()}

    def loss(values: dict[str, Tensor], x: Tensor) -> Tensor:
        result: Tensor = torch.func.functional_call(model, values, x)
        return result.square().sum()

    with watch(model, every=1) as watched:
        got = torch.vmap(torch.func.grad(loss), (None, 0))(leaves, torch.ones(3, 5))
        model(torch.ones(3, 5)).sum().backward()
    assert got["weight"].shape == (3, 2, 5)
    assert [one.step for one in watched.records] == [0]


def test_parameters_that_replace_others_are_watched_from_the_next_record_on() -> None:
    model = nn.Sequential(nn.Linear(5, 2))
    with watch(model, every=2) as watched:
        model(torch.ones(3, 5)).sum().backward()
        model[0] = nn.Linear(5, 2)
        model[0].weight.register_hook(lambda grad: grad / 0)
        model(torch.ones(3, 5)).sum().backward()
        with pytest.warns(GradientWarning, match="step 2"):
            model(torch.ones(3, 5)).sum().backward()
    assert watched.first_problem is not None


def test_a_record_is_judged_without_the_scale_of_the_loss() -> None:
    model, scaler = nn.Linear(5, 2), torch.amp.GradScaler("cpu", init_scale=2.0**20)
    with watch(model, scaler=scaler) as watched:
        scaler.scale(model(torch.ones(3, 5)).square().mean()).backward()
    assert watched.records[0].findings == ()


def test_parameters_that_are_not_finite_are_listed() -> None:
    model = nn.Linear(5, 2)
    with torch.no_grad():
        model.bias.fill_(torch.nan)
    with pytest.warns(GradientWarning, match="not finite: bias"), watch(model):
        model(torch.ones(3, 5)).sum().backward()


@pytest.mark.parametrize("every", [1.5, "2", None])
def test_a_number_that_is_not_whole(every: Any) -> None:
    with pytest.raises(TypeError, match="every must be a whole number, not a"):
        watch(nn.Linear(2, 2), every=every)


def test_misuse_is_named() -> None:
    with pytest.raises(TypeError, match="must be a module, not a float"):
        watch(3.0)  # type: ignore[arg-type]
    model = nn.Linear(2, 2)
    model.compile(backend="eager")
    with pytest.raises(UsageError, match="compiled in place"):
        watch(model)
    other = Net()
    with watch(other) as watched:
        with pytest.raises(UsageError, match="already active"):
            watched.__enter__()
        total(other(torch.randn(6, 5))).backward()
    assert sum(hooks(other)) == 0


def test_numpys_whole_numbers_are_numbers() -> None:
    model = nn.Linear(2, 1)
    with watch(model, every=np.int64(2), keep=np.int64(1)) as watched:  # type: ignore[arg-type]
        for _ in range(4):
            model(torch.ones(2)).sum().backward()
    assert [record.step for record in watched.records] == [2]
