"""Watches the backward passes of a model that trains, and says when one is not finite.

It looks on: no gradient, random number or buffer of the training differs for it.
"""

from __future__ import annotations

import math
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle, unserializable_hook

from mnist_cli.autograd import bits
from mnist_cli.autograd.diagnosing import diagnose, parameter_table
from mnist_cli.autograd.error_tree import UsageError
from mnist_cli.autograd.observing import Observer
from mnist_cli.autograd.passes import NOT_RUN, Here, Pass, outputs_in, run_again, why_not_again
from mnist_cli.autograd.problems import (
    NO_PASS,
    Evidence,
    GradientWarning,
    Problem,
    Record,
    Scaler,
    not_finite_only,
    problem_of,
)
from mnist_cli.autograd.torch_private import at_end_of_backward, backward_id, is_transformed
from mnist_cli.autograd.tracing import ModuleTrace, OwnHook, frame_of_call, trace_modules
from mnist_cli.autograd.unwrapping import check_watchable, entries_of, own_parameters, unwrapped

READ_AFTER = 1000
"""Passes whose sums may wait on an accelerator before they are read."""


def watch(
    model: nn.Module,
    every: int = 100,
    *,
    keep: int = 10,
    on_problem: Callable[[Problem], object] | None = None,
    scaler: Scaler | None = None,
) -> Watch:
    """Watch the backward passes of a model while a block runs.

    ::

        with watch(model, every=100) as w:
            train(model)
        w.first_problem

    A pass is one call of the model in training mode whose output requires a gradient. After each
    backward it checks that all ``.grad`` are finite; each ``every``-th pass is recorded. The first
    that is not finite gives a :class:`GradientWarning`.

    Args:
        model: any module, also compiled or wrapped by DistributedDataParallel.
        every: record one in ``every`` passes, beginning with the first.
        keep: maximum number of records, the newest, and of problems, the first.
        on_problem: called with each problem; its exceptions come out of ``backward`` or of the
            call of the model.
        scaler: the ``GradScaler`` of the training: an overflow of the scaled loss, which it
            handles itself, is then not a problem.

    Raises:
        UsageError: the model cannot be watched, or a number is below 1.
        TypeError: it is not a module, or a number is not whole.
    """
    check_watchable(model, every=every, keep=keep)
    return Watch(model, every, keep, on_problem, scaler)


class Watch:
    """A model that is watched; made by :func:`watch`.

    Attributes:
        passes: how many were seen.
        records: the newest records.
        problems: the first problems.
    """

    def __init__(
        self,
        model: nn.Module,
        every: int,
        keep: int,
        on_problem: Callable[[Problem], object] | None,
        scaler: Scaler | None,
    ) -> None:
        self.passes = 0
        self.records: deque[Record] = deque(maxlen=int(keep))
        self.problems: list[Problem] = []
        self._model, self._every, self._keep = model, every, keep
        self._on_problem, self._scaler = on_problem, scaler
        self._inner = unwrapped(model)
        self._names = own_parameters(self._inner, {})
        self._later = any(p.device.type != "cpu" for p in self._names.values())
        self._here = Here()
        self._threads: set[int] = set()
        self._lock = threading.RLock()
        self._hooked: dict[nn.Module, list[RemovableHandle]] = {}
        self._tracing = ExitStack()
        self._trace: ModuleTrace | None = None
        self._observers: dict[int, Observer] = {}
        self._on_leaves: dict[Pass, list[RemovableHandle]] = {}
        self._sums: list[tuple[int, bits.Sums]] = []
        self._bad = self._paused = False

    def __repr__(self) -> str:
        state = self.first_problem.message if self.first_problem else "all finite"
        return f"<watch of {type(self._model).__name__}: {self.passes} passes, {state}>"

    @property
    def first_problem(self) -> Problem | None:
        """The first problem, or None."""
        return self.problems[0] if self.problems else None

    def __enter__(self) -> Watch:
        if self._hooked:
            raise UsageError("this watch is already active", "Make another with watch(model).")
        try:
            for module in (self._model, *entries_of(self._model)):
                hook, held = OwnHook(self._before), self._hooked.setdefault(module, [])
                held += [module.register_forward_pre_hook(hook, prepend=True, with_kwargs=True)]
            self._arm()
        except BaseException:  # Ctrl-C
            self.close()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close()
        if kind is None:
            self._read_sums()
            if not self.passes:
                warnings.warn(NO_PASS.format(type(self._model).__name__), GradientWarning, 2)

    def close(self) -> None:
        """Take all hooks off; records and problems stay."""
        self._tracing.close()
        self._unhook(*self._hooked)
        self._leave(*self._on_leaves)
        self._drop_observers()

    def _unhook(self, *modules: nn.Module) -> None:
        for module in modules:
            for handle in self._hooked.pop(module):
                handle.remove()

    def _leave(self, *passes: Pass) -> None:
        """Let go of passes that are over; a leaf among their outputs lives on."""
        for one in passes:
            one.grads.clear()
            for handle in self._on_leaves.pop(one, ()):
                handle.remove()

    # The forward pass.

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: Any = None) -> None:
        if torch.compiler.is_compiling() or self._paused or kwargs is None:  # half registered
            return
        if backward_id() != -1:  # a checkpoint runs a part again
            return
        if not self._here.begins(frame_of_call()):
            return
        if module is self._model and len(self._hooked) > 1:
            self._unhook(*(one for one in self._hooked if one is not module))
        trains = module.training and torch.is_grad_enabled()
        self._here.current = Pass.begin(unwrapped(module), args, kwargs) if trains else None

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: object) -> None:
        if torch.compiler.is_compiling() or self._paused or backward_id() != -1:
            return
        if not self._here.ends():
            return
        one, self._here.current = self._here.current, None
        every_output = list(bits.tensors_in(output))
        if any(map(is_transformed, every_output)):  # torch.func fills no .grad
            one = None
        outputs = outputs_in(every_output) if one is not None else []
        if one is None or not outputs:
            if self._trace is not None and output is not None:  # None: it has raised an error
                self._arm()
            return
        self._seen(one, outputs, every_output)

    def _seen(self, one: Pass, outputs: Sequence[Tensor], every_output: Sequence[Tensor]) -> None:
        with self._lock:
            one.step = self.passes
            self.passes += 1
            self._threads.add(threading.get_ident())
            if one.step % self._every == 0:
                self._observe(one, outputs)
            if self.passes % self._every == 0:
                self._arm()
        for place, output in enumerate(outputs):
            handle = output.register_hook(unserializable_hook(partial(self._arrived, one, place)))
            if output.is_leaf:
                self._on_leaves.setdefault(one, []).append(handle)
        if self._later:
            if len(self._sums) >= min(self._every, READ_AFTER):
                self._read_sums()
        elif any(map(bits.has_nan, every_output)):
            self._output_problem(one)

    def _arm(self) -> None:
        """Trace the modules of the next pass.

        Our hooks run after the trace's hooks, and end the trace: torch does not allow removing a
        hook before its turn.
        """
        self._tracing.close()
        self._trace = None
        if len(self._threads) < 2:
            self._trace = self._tracing.enter_context(trace_modules(self._inner))
        for module, handles in self._hooked.items():
            handles += [module.register_forward_hook(OwnHook(self._after), always_call=True)]
            while len(handles) > 2:  # only now: another thread may be in this module
                handles.pop(1).remove()

    def _observe(self, one: Pass, outputs: Sequence[Tensor]) -> None:
        self._tracing.close()
        modules = self._trace if self._trace is not None and self._trace.sees() else None
        self._trace = None
        self._names = own_parameters(self._inner, self._names)  # a training may replace some
        self._observers[one.step] = Observer(outputs, self._names, modules)
        self._drop_observers(self._keep)

    def _drop_observers(self, keep: int = 0) -> None:
        """Let go of the oldest, whose backward pass did not come."""
        while len(self._observers) > keep:
            self._observers.pop(min(self._observers)).drop()

    # The backward pass.

    def _arrived(self, one: Pass, place: int, grad: Tensor) -> None:
        if not self._hooked:
            return
        here, number = self._here, backward_id()
        if here.backward != number:
            here.backward, here.passes = number, []
            passes = here.passes
            # DistributedDataParallel queues its own call meanwhile: ours comes after that.
            at_end_of_backward(lambda: at_end_of_backward(partial(self._done, passes)))
        if one not in here.passes:
            here.passes.append(one)
            if (observer := self._observers.get(one.step)) is not None:
                observer.begin(number)
        # Without its graph, which create_graph gives it: that leads back to this hook.
        one.grads[place] = grad.detach()

    def _done(self, passes: list[Pass]) -> None:
        try:
            records = list(self._finished(passes))
            self.records.extend(records)
            if self._later:
                self._sums.append((passes[0].step, bits.sums_of(self._names)))
            elif bits.all_finite(self._names.values()):
                self._bad = False
            else:
                self._problem_in(passes, records)
        finally:
            self._leave(*passes)
            passes.clear()

    def _finished(self, passes: Sequence[Pass]) -> Iterator[Record]:
        for one in sorted(passes, key=lambda one: one.step):
            with self._lock:
                observer = self._observers.pop(one.step, None)
            graph = observer.finish() if observer is not None else None
            if observer is not None and graph is None:
                self._observers[one.step] = observer
            if graph is not None:
                findings = diagnose(graph, loss_scale=self._scale())
                yield Record(one.step, graph, parameter_table(graph), findings)

    def _scale(self) -> float:
        return self._scaler.get_scale() if self._scaler is not None else 1.0

    # Problems.

    def _problem_in(self, passes: Sequence[Pass], records: Sequence[Record]) -> None:
        """A problem of a backward: of the first of its passes in which it is seen."""
        if self._bad:
            return
        bad = bits.names_of_bad(self._names)
        why = self._cannot_run_again(passes)
        scale = self._scale()
        if scale > 1 and (why or not any(one.findings for one in self._again(passes, scale))):
            return  # the scaler skips this step, and lowers the scale
        if not why:
            shown = self._again(passes)
            evidence = next((one for one in shown if one.findings), shown[0])
        elif records:
            evidence = Evidence(records[0].graph, not_finite_only(records[0].findings), why)
        else:
            evidence = Evidence(note=why)
        self._say(problem_of(passes[0].step, bad, evidence))

    def _output_problem(self, one: Pass) -> None:
        """A problem that the forward pass shows."""
        if not self._bad:
            why = self._cannot_run_again([one])
            evidence = Evidence(note=why) if why else self._again([one])[0]
            self._say(problem_of(one.step, (), evidence))

    def _again(self, passes: Sequence[Pass], scale: float = 1.0) -> list[Evidence]:
        """What each pass shows when it is run again, which is not a pass of the training."""
        self._paused = True
        try:
            return [run_again(one, self._inner, scale) for one in passes]
        finally:
            self._paused = False

    def _cannot_run_again(self, passes: Sequence[Pass]) -> str:
        """Why passes cannot be run again, in a sentence; empty if they can."""
        if self._later:
            return NOT_RUN.format("runs on an accelerator")
        if len(self._threads) > 1:
            return NOT_RUN.format("runs in several threads")
        return why_not_again(passes, self._inner)

    def _say(self, problem: Problem) -> None:
        self._bad = True
        if len(self.problems) < self._keep:
            self.problems.append(problem)
        if problem is self.first_problem:
            warnings.warn(problem.message, GradientWarning, stacklevel=2)
        if self._on_problem is not None:
            self._on_problem(problem)

    # Accelerators: nothing waits for the device until the sums are read.

    def _read_sums(self) -> None:
        """Look for the first backward whose gradients were not finite."""
        waiting, self._sums = self._sums, []
        for step, sums in waiting:
            bad = tuple(name for name, total in bits.fetched(sums) if not math.isfinite(total))
            if not bad:
                self._bad = False
            elif not self._bad and self._scaler is None:
                self._say(problem_of(step, bad, Evidence(note=self._cannot_run_again(()))))
