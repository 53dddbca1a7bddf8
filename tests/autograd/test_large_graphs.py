"""Graphs of many nodes: freed without a crash, written row by row, the same data as before."""

from __future__ import annotations

import gc
import io
import subprocess
import sys
import weakref

import pytest
import torch
from torch import Tensor

from mnist_cli.autograd import dump, dumps, freeing, judge, loads, record, replay, walk

_FREE = """
import threading, torch
from mnist_cli.autograd import walk

def chain(nodes):
    y = torch.ones(1, requires_grad=True)
    for _ in range(nodes):
        y = y * 1.0
    return y

def woven(nodes):
    a = b = torch.ones(1, requires_grad=True)
    for _ in range(nodes // 2):
        a, b = a * b, a
    return a

def tensor_first(root):
    live = walk(root, saved=False).nodes
    del root
    del live

def walk_first(root):
    held = [root]
    del root
    walk(held[0], saved=False)

def longer_graph_around(root):
    around = root * 2.0
    walk(root, saved=False)
    del root

def at_exit(root):
    global kept
    kept = root, walk(root, saved=False)

def in_a_thread(root):
    held = [root]
    del root
    threading.stack_size(256 * 1024)
    thread = threading.Thread(target=lambda: walk(held.pop(), saved=False))
    thread.start()
    thread.join()

for shape, how in [
    (chain, walk_first), (chain, tensor_first), (chain, longer_graph_around),
    (woven, in_a_thread), (chain, at_exit),
]:
    how(shape(60_000))
    print(how.__name__, flush=True)
"""


def test_a_graph_of_60000_nodes_is_freed_in_every_order() -> None:
    run = [sys.executable, "-c", _FREE]
    answer = subprocess.run(run, capture_output=True, text=True, timeout=200, check=False)
    assert answer.stdout.split()[-1:] == ["at_exit"], answer.stdout + answer.stderr
    assert answer.returncode == 0


def _chain(leaf: Tensor, nodes: int) -> Tensor:
    for _ in range(nodes):
        leaf = leaf * 1.0
    return leaf.sum()


def test_a_walked_graph_is_freed_with_its_tensors() -> None:
    weight = torch.ones(3, requires_grad=True)
    kept = torch.ones(3)
    ref = weakref.ref(kept)
    loss = _chain(_chain(weight, 500) * kept, 500)
    walk(loss)
    del kept
    gc.disable()  # by reference counts alone: nothing is in a cycle
    try:
        assert ref() is not None
        del loss
        assert ref() is None
    finally:
        gc.enable()


def test_every_path_has_a_break_after_100_nodes() -> None:
    a = b = torch.ones(1, requires_grad=True)
    for number in range(400):
        a, b = (a * b, a) if number % 3 else (a + b, b * 1.0)
    walked = walk(a)
    longest = [0] * len(walked.nodes)
    queue = sorted(
        walked.graph.nodes, key=lambda node: -1 if node.sequence is None else node.sequence
    )
    for node in reversed(queue):
        broken = freeing.KEY in walked.nodes[node.id].metadata  # type: ignore[operator]
        length = 0 if broken else longest[node.id] + 1
        for edge in node.next:
            if edge is not None:
                longest[edge.node] = max(longest[edge.node], length)
    assert max(longest) < freeing.INTERVAL


def test_the_collector_is_left_as_it_was() -> None:
    loss = _chain(torch.ones(2, requires_grad=True), freeing.MANY)
    walked = walk(loss)
    recorded = record(walked, keep=True)
    assert judge(replay(walked), recorded).exact
    assert gc.isenabled()
    gc.disable()
    try:
        walk(loss)
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_the_collector_goes_on_after_an_error() -> None:
    loss = _chain(torch.ones(2, requires_grad=True).exp().exp(), freeing.MANY)
    walked = walk(loss)
    loss.backward()
    with pytest.raises(Exception, match="freed"):
        record(walked)
    assert gc.isenabled()


def test_one_wrong_gradient_among_many_of_one_shape_is_found() -> None:
    x = torch.ones(4, requires_grad=True)
    y = x
    for number in range(300):
        y = y * 1.0
        if number == 170:
            y.register_hook(lambda grad: grad * 2.0)
    walked = walk(y.sum())
    verdict = judge(replay(walked), record(walked, keep=True))
    assert not verdict.exact
    wrong = [place for place, node in enumerate(verdict.nodes) if not node.equal]
    assert wrong[0] == 300 - 170  # the root is node 0
    assert "is the first whose incoming gradient differs" in verdict.notes[0]


def test_a_dump_is_written_row_by_row_with_the_bytes_of_dumps() -> None:
    x = torch.ones(4, requires_grad=True)
    graph = record(walk(torch.stack([x * float(i) for i in range(500)]).sum())).graph
    pieces: list[str] = []

    class File(io.StringIO):
        def write(self, text: str, /) -> int:
            pieces.append(text)
            return len(text)

    dump(graph, File())
    assert "".join(pieces) == dumps(graph)
    assert loads("".join(pieces)) == graph
    assert len(pieces) > 500
