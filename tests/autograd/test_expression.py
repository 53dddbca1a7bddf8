"""The notebook's cells with the numbers printed there, and every way to get it wrong."""

from __future__ import annotations

import contextlib

import pytest
import torch
from autograd_zoo import formula
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from mnist_cli.autograd import experimenting, replay
from mnist_cli.autograd.experimenting import Experiment, experiment
from mnist_cli.autograd.expression import FUNCTIONS, evaluate, names_in
from mnist_cli.autograd.meanings import meaning
from mnist_cli.autograd.values import parse_binding, parse_value
from mnist_cli.errors import UsageError


def run(expression: str, *bindings: str, grad: str | None = None, **options: object) -> Experiment:
    leaves = dict(parse_binding(text) for text in bindings)
    given_grad = None if grad is None else parse_value(grad)
    return experiment(expression, leaves, given_grad, **options)


# ------------------------------------------------------------------ the notebook

NOTEBOOK = [
    # expression, values, gradient, value, results as the notebook prints them
    ("3 * x", ["x=2"], "0.1", "6.", ["0.3000"]),
    ("x * 4", ["x=2"], "0.1", "8.", ["0.4000"]),
    ("x + y", ["x=2", "y=3"], "0.1", "5.", ["0.1000", "0.1000"]),
    ("x * y", ["x=2", "y=3"], "0.1", "6.", ["0.3000", "0.2000"]),
    ("x / y", ["x=2", "y=3"], "0.1", "0.6667", ["0.0333", "-0.0222"]),
    ("x * y", ["x=10", "y=20"], "2", "200.", ["40.", "20."]),
]


@pytest.mark.parametrize(("expression", "values", "grad", "value", "results"), NOTEBOOK)
def test_the_notebooks_scalars(
    expression: str, values: list[str], grad: str, value: str, results: list[str]
) -> None:
    found = run(expression, *values, grad=grad)
    assert str(found.value.detach()) == f"tensor({value})"
    (call,) = found.calls
    given = [result for result in call.results if result is not None]
    assert [str(one) for one in given] == [f"tensor({text})" for text in results]


def test_the_notebooks_results_have_a_graph_themselves() -> None:
    product = run("x * y", "x=2", "y=3", grad="0.1", create_graph=True).calls[0]
    assert [type(r.grad_fn).__name__ for r in product.results] == ["MulBackward0"] * 2
    total = run("x + y", "x=2", "y=3", grad="0.1", create_graph=True).calls[0]
    assert [r.grad_fn for r in total.results] == [None, None]
    without = run("x * y", "x=2", "y=3", grad="0.1").calls[0]
    assert [r.grad_fn for r in without.results] == [None, None]


def test_the_notebooks_matrices() -> None:
    found = run(
        "matmul(a, b)",
        "a=[[100, 200], [300, 400]]",
        "b=[[8, 7], [6, 5]]",
        grad="[[10, 20], [30, 40]]",
    )
    assert found.value.tolist() == [[2000.0, 1700.0], [4800.0, 4100.0]]
    (call,) = found.calls
    assert call.results[0].tolist() == [[220.0, 160.0], [520.0, 380.0]]
    assert call.results[1].tolist() == [[10000.0, 14000.0], [14000.0, 20000.0]]
    assert call.targets == ("a", "b")
    operator = run("a @ b", "a=[[100,200],[300,400]]", "b=[[8,7],[6,5]]", grad="[10, 20, 30, 40]")
    assert operator.calls[0].results[0].tolist() == [[220.0, 160.0], [520.0, 380.0]]


def test_the_notebooks_matrix_and_vector() -> None:
    found = run("i @ x", "i=[[1, 0], [0, 1]]", "x=[1, 2]", grad="[3, 4]")
    assert found.value.tolist() == [1.0, 2.0]
    (call,) = found.calls
    assert call.node.name == "MvBackward0"
    assert call.results[0].tolist() == [[3.0, 6.0], [4.0, 8.0]]
    # the notebook then multiplies by x from the left
    assert (torch.tensor([1.0, 2.0]) @ call.results[0]).tolist() == [11.0, 22.0]


# ------------------------------------------------------------------ against torch


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_of_the_list_gives_what_autograd_gives(name: str) -> None:
    bindings = ["x=[[0.5, 0.7], [0.2, 0.9]]", "y=[[0.3, 0.4], [0.8, 0.6]]"]
    wanted = [b for b in bindings if b[0] in names_in(formula(name))]
    leaves = dict(parse_binding(text) for text in wanted)
    (call,) = experiment(formula(name), leaves).calls
    seed = call.grads[call.walked.root_nr]
    theirs = torch.autograd.grad(call.value, list(leaves.values()), seed, retain_graph=True)
    ours = replay(call.walked, seed).gradients
    for variable, gradient in zip(leaves, theirs, strict=True):
        assert torch.equal(ours[variable], gradient)
        assert torch.equal(call.gradients[variable], gradient)
    assert meaning(call.node.name)


@settings(deadline=None)
@given(st.floats(-8, 8, width=32), st.floats(0.25, 8, width=32))
def test_arithmetic_is_that_of_python(a: float, b: float) -> None:
    x, y = (torch.tensor(v, requires_grad=True) for v in (a, b))
    leaves = {"x": x, "y": y}
    pairs = [
        ("x + y * 2 - x / y", x + y * 2 - x / y),
        ("-(x - 3) ** 2", -((x - 3) ** 2)),
        ("2 ** y - +x", 2**y - +x),
        ("(x + y) * (x - y) / (1 + 2 ** 2)", (x + y) * (x - y) / 5),
    ]
    for text, expected in pairs:
        assert torch.equal(evaluate(text, leaves), expected), text


# ------------------------------------------------------------------ orders


def test_orders_go_on_into_the_gradients_own_graph() -> None:
    found = run("x ** 4", "x=2", create_graph=True, orders=4)
    by_order: dict[int, list[float]] = {}
    for call in found.calls:
        by_order.setdefault(call.order, []).append(float(call.value.detach()))
    assert by_order[1] == [16.0]
    assert by_order[2] == [32.0]  # 4·x³
    assert by_order[3] == [48.0]  # 12·x²
    assert by_order[4] == [48.0]  # 24·x
    last = found.calls[-1]
    assert last.parent == (2, "x")
    assert float(last.gradients["x"].detach()) == 24.0


def test_every_variable_has_a_gradient_of_its_own() -> None:
    found = run("x ** 2 * y", "x=3", "y=5", create_graph=True, orders=2)
    assert {name: float(g.detach()) for name, g in found.calls[0].gradients.items()} == {
        "x": 30.0,
        "y": 9.0,
    }
    assert [(c.parent, sorted(c.gradients)) for c in found.calls[1:]] == [
        ((0, "x"), ["x", "y"]),
        ((0, "y"), ["x"]),
    ]
    mixed = [
        float(c.gradients["y" if c.parent == (0, "x") else "x"].detach()) for c in found.calls[1:]
    ]
    assert mixed == [6.0, 6.0]  # the order of differentiation does not matter


def test_a_call_names_the_targets_of_its_results() -> None:
    (call,) = run("sin(x) * 3 + y", "x=2", "y=1").calls
    assert call.targets == ("MulBackward0", "y")
    assert call.node.name == "AddBackward0"
    (call,) = run("3 * x", "x=2").calls
    assert [t for t in call.targets if t] == ["x"]


def test_too_many_calls_are_refused() -> None:
    with pytest.raises(UsageError, match="more than 256 calls"):
        run("exp(x * y * z)", "x=2", "y=3", "z=1", create_graph=True, orders=9)


@pytest.mark.parametrize(("orders", "create"), [(0, True), (2, False)])
def test_invalid_orders_are_refused(orders: int, create: bool) -> None:
    with pytest.raises(UsageError, match="orders"):
        run("x * x", "x=2", create_graph=create, orders=orders)


# ------------------------------------------------------------------ what is refused

REFUSED = [
    ("x.data", "this is not allowed", 1),
    ("x * y[0]", "this is not allowed", 5),
    ("__import__('os')", "__import__ is not one of the listed functions", 1),
    ("x + open", "open has no value", 5),
    ("(lambda: x)()", "only a listed function", 2),
    ("x // y", "this is not allowed", 1),
    ("~x", "this is not allowed", 1),
    ("x + 'a'", "'a' is not a number", 5),
    ("x + True", "True is not a number", 5),
    ("(z := x)", "this is not allowed", 2),
    ("x + sin", "sin is a function", 5),
    ("sin(x, y, x)", "sin takes 1 argument(s) at most", 11),
    ("softmax(x, dim=y)", "a whole number is required here", 16),
    ("softmax(x, axis=1)", "softmax takes no option axis", 17),
    ("matmul(x)", "matmul takes 2 argument(s), not 1", 1),
    ("sin(*x)", "this is not allowed", 5),
    ("sin(**x)", "sin takes 1 argument(s), not 0", 1),
    ("x @ y", "this cannot be computed", 1),
    ("x + 1 / 0", "this cannot be computed (division by zero)", 5),
    ("x * 10 ** 10 ** 10", "this cannot be computed (the number is too large)", 5),
    ("x * 99999999999999999999", "the number is too large", 5),
    ("π * x + é.a", "this is not allowed", 9),
    ("x + ) y", "this is not an expression", 5),
    ("x = 2", "this is not an expression", 3),
    ("sum(x, 0, dim=0)", "sum gets dim twice", 15),
]


@pytest.mark.parametrize(("expression", "message", "column"), REFUSED)
def test_what_is_not_on_the_list_is_refused_with_its_place(
    expression: str, message: str, column: int
) -> None:
    leaves = {n: torch.tensor(2.0, requires_grad=True) for n in ("x", "y", "π", "é")}
    with pytest.raises(UsageError) as raised:
        evaluate(expression, leaves)
    first, shown, carets = raised.value.message.split("\n")
    assert message in first
    assert f"at column {column}" in first
    assert shown.strip() == expression
    assert carets.index("^") == 2 + column - 1
    assert raised.value.code == 2


@pytest.mark.parametrize(
    ("expression", "hint"),
    [
        ("x ^ 2", "Write ** for a power."),
        ("x.sum()", "Write sum(x)."),
        ("torch.sin(x)", "Write sin(x)."),
        ("x.view(1)", "The functions are abs, "),
        ("x[0]", "parentheses and functions. The functions are abs, "),
    ],
)
def test_the_hint_says_what_is_allowed(expression: str, hint: str) -> None:
    with pytest.raises(UsageError) as raised:
        evaluate(expression, {"x": torch.tensor(2.0, requires_grad=True)})
    assert hint in raised.value.hint


@pytest.mark.parametrize(
    "expression",
    [
        "x" + " + x" * 500,
        "(" * 300 + "x" + ")" * 300,
        "-" * 900 + "x",
        "sin(" * 100 + "x" + ")" * 100,
        "x" + "**x" * 300,
        "x + 9" + "**9" * 200,
        "x\0",
        "",
        "   ",
    ],
)
def test_hostile_expressions_end_at_once(expression: str) -> None:
    with pytest.raises(UsageError):
        evaluate(expression, {"x": torch.tensor(1.0, requires_grad=True)})


@pytest.mark.parametrize(
    ("expression", "message"),
    [("(" * 250 + "x" + ")" * 250, "nested too deeply"), ("x\udcff", "not UTF-8")],
)
def test_what_cannot_be_read_is_named(expression: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        evaluate(expression, {"x": torch.tensor(1.0, requires_grad=True)})


def test_a_long_sum_is_not_nested() -> None:
    x = torch.tensor(1.0, requires_grad=True)
    assert evaluate("x" + "+x" * 400, {"x": x}).item() == 401
    assert evaluate("x - 1 - 1 * 2 / 4", {"x": x}).item() == 1 - 1 - 1 * 2 / 4


def test_the_sizes_on_the_way_count_too() -> None:
    row = torch.ones(3000, requires_grad=True)
    with pytest.raises(UsageError, match="9,000,000 entries"):
        evaluate("mse_loss(unsqueeze(x, 0), unsqueeze(x, 1))", {"x": row})
    with pytest.raises(UsageError, match="more than 20,000,000 entries"):
        evaluate("x" + "*2" * 30, {"x": torch.ones(900_000, requires_grad=True)})


def test_a_graph_that_grows_threefold_is_refused_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(experimenting, "MAX_NODES", 1000)
    with pytest.raises(UsageError, match="graph of order 7 has 2,388 nodes") as raised:
        run("tanh(tanh(tanh(x)))", "x=0.5", create_graph=True, orders=20)
    assert raised.value.hint == "Request at most 7 orders."


@pytest.mark.filterwarnings("error")
def test_broadcasting_is_no_warning_of_torchs() -> None:
    leaves = {"x": torch.ones(2, requires_grad=True), "y": torch.ones(2, 2)}
    assert evaluate("mse_loss(x, y)", leaves).item() == 0


def test_a_result_too_large_is_never_made() -> None:
    long = torch.ones(5000, requires_grad=True)
    with pytest.raises(UsageError, match="25,000,000 entries"):
        evaluate("outer(x, x)", {"x": long})
    with pytest.raises(UsageError, match="25,000,000 entries"):
        evaluate("unsqueeze(x, 0) * unsqueeze(x, 1)", {"x": long})


@settings(deadline=None, max_examples=150)
@given(st.text("xy 0129.+-*/@()[]{}=:,'\"_abcdefgimnostu\n\\", max_size=40))
def test_any_text_is_a_tensor_or_a_usage_error(text: str) -> None:
    leaves = {n: torch.tensor(0.5, requires_grad=True) for n in "xy"}
    with contextlib.suppress(UsageError):
        assert isinstance(evaluate(text, leaves), Tensor)


def test_a_number_or_a_variable_alone_has_no_node() -> None:
    with pytest.raises(UsageError, match="no variable"):
        evaluate("2 + 3", {})
    with pytest.raises(UsageError, match="only a variable"):
        run("x", "x=2")


def test_a_value_for_an_unused_name_is_refused() -> None:
    with pytest.raises(UsageError, match="z has a value but is not in"):
        run("x * 2", "x=1", "z=3")


# ------------------------------------------------------------------ values


def test_values_are_float32_leaves() -> None:
    name, value = parse_binding(" w = [[1, 2.5], [-3e2, 4]]")
    assert (name, value.dtype, value.is_leaf, value.requires_grad) == (
        "w",
        torch.float32,
        True,
        True,
    )
    assert value.tolist() == [[1.0, 2.5], [-300.0, 4.0]]
    assert parse_value("[[], []]").shape == (2, 0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "gives no value"),
        ("2=3", "is not a valid name"),
        ("lambda=3", "is not a valid name"),
        ("x=", "neither a number nor a list"),
        ("x=two", "neither a number nor a list"),
        ("x=NaN", "neither a number nor a list"),
        ('x="2"', "which is not a number"),
        ("x=[1, null]", "which is not a number"),
        ("x=[true]", "which is not a number"),
        ("x={}", "which is not a number"),
        ("x=[[1, 2], [3]]", "rows of unequal length"),
        ("x=[1, [2]]", "rows of unequal length"),
        ("x=" + "[" * 5000, "neither a number nor a list"),
        ("x=" + "9" * 400, "too large for float32"),
        ("x=1e39", "too large for float32"),
        ("x=[1, -1e400]", "too large for float32"),
        ("x=" + "[" * 100 + "1" + "]" * 100, "more than 64 dimensions"),
        ("x=" + "[" * 800 + "1" + "]" * 800, "more than 64 dimensions"),
        ("x=" + "[" * 65 + "1" + "]" * 65, "more than 64 dimensions"),
        ('x={"a": 1}', "x holds an object, which is not a number"),
    ],
)
def test_invalid_values_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_binding(text)


@pytest.mark.parametrize(
    ("grad", "expected"),
    [
        (None, [[1.0, 1.0], [1.0, 1.0]]),
        (torch.tensor(3.0), [[3.0, 3.0], [3.0, 3.0]]),
        (torch.tensor([3.0]), [[3.0, 3.0], [3.0, 3.0]]),
        (torch.arange(4.0), [[0.0, 1.0], [2.0, 3.0]]),
    ],
)
def test_a_gradient_is_brought_into_the_values_shape(
    grad: torch.Tensor | None, expected: list[list[float]]
) -> None:
    call = experiment("1 * x", {"x": torch.ones(2, 2, requires_grad=True)}, grad).calls[0]
    assert [None if g is None else g.tolist() for g in call.grads] == [expected]


def test_a_gradient_of_another_shape_is_refused() -> None:
    with pytest.raises(UsageError) as raised:
        experiment("1 * x", {"x": torch.ones(2, 2, requires_grad=True)}, torch.ones(3))
    assert "(2, 2)" in raised.value.hint
