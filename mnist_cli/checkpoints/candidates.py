"""Finds the state_dicts in an object that another program has saved, and orders them.

Programs nest a state_dict under their own keys, and add prefixes to its names. Here, keys and
prefixes are treated alike. Each tensor has one dotted name that starts at the outermost object, and
a state_dict is the set of names with one prefix.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice, takewhile

from torch import Tensor

MAX_DEPTH = 6
MAX_KEY = 200
MAX_TENSORS = 10_000
MAX_CONTAINERS = 100_000
MAX_CANDIDATES = 100
COUNTER = "num_batches_tracked"
"""The name of batch norm's counter, which evaluation does not use."""

Keys = tuple[str | int, ...]

PREFERRED = ("model_state_dict", "state_dict", "model", "model_state", "net", "network", "weights")
"""Keys and prefixes of the weights to use, the most conventional first."""
_USUAL = re.compile(
    "state|dict|model|net|network|module|mod|orig|weights?|params?|parameters|checkpoint|ckpt"
    "|backbone|encoder|classifier|cnn|student|online"
)
_COPIES = re.compile(
    "ema|swa|avg|averaged?|mean|shadow|teacher|target|momentum|best|old|prev|previous|init|initial"
)
_NO_WEIGHTS = re.compile(r"optim\w*|sched\w*|grads?|gradients?|moments?")
"""Words in keys of optimisers, schedules and gradients: tensors there may have weights' names."""
_STATE = ("exp_avg", "momentum_buffer")
_COUNTED = re.compile(
    r"((best|last|train|val|valid|test|global|current)_)*"
    r"(epochs?|steps?|iter(ation)?s?|loss|acc(uracy)?|score|lr|seed|n_averaged)"
)
_OPERATIONS = ("total_ops", "total_params")
"""Counts that the package thop adds to every module."""
_LOSSES = re.compile(r"criterion|.*loss.*|.*metric.*|.*(acc|accuracy)|n_averaged")
"""Modules beside a network in a Lightning module."""


@dataclass(frozen=True, eq=False)
class NamedTensor:
    """A tensor, its name in its mapping, and the keys that lead to that mapping."""

    keys: Keys
    name: str
    tensor: Tensor

    @property
    def full_name(self) -> str:
        """Keys and name, joined by dots."""
        return ".".join([*map(str, self.keys), self.name])


Tensors = Mapping[str, NamedTensor]
"""All named tensors of an object, by full name."""


class TooMuch(Exception):
    """The object holds more tensors or containers than a checkpoint of one network does."""


def find_tensors(contents: object) -> Tensors:
    """Every named tensor: in mappings, and in lists of pairs (name, tensor), nested or not.

    Raises:
        TooMuch: the object exceeds :data:`MAX_TENSORS` or :data:`MAX_CONTAINERS`.
    """
    tensors: dict[str, NamedTensor] = {}
    containers = 0

    def visit(value: object, keys: Keys) -> None:
        nonlocal containers
        containers += 1
        if containers > MAX_CONTAINERS or len(tensors) > MAX_TENSORS:
            raise TooMuch
        for key, inner in _entries(value):
            if isinstance(inner, Tensor) and isinstance(key, str):
                named = NamedTensor(keys, key, inner)
                tensors.setdefault(named.full_name, named)
            elif isinstance(inner, Mapping | list | tuple) and len(keys) < MAX_DEPTH:
                visit(inner, (*keys, key))

    visit(contents, ())
    return tensors


def _entries(value: object) -> Iterator[tuple[str | int, object]]:
    """The entries of a mapping or a sequence; in a list of pairs (name, tensor), by name."""
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, list | tuple) and len(value) <= MAX_TENSORS:
        pairs = value if all(map(_is_pair, value)) else enumerate(value)
    for key, inner in pairs:
        if isinstance(key, int) or (isinstance(key, str) and len(key) <= MAX_KEY):
            yield key, inner


def _is_pair(one: object) -> bool:
    return (
        isinstance(one, list | tuple)
        and len(one) == 2
        and isinstance(one[0], str)
        and isinstance(one[1], Tensor)
    )


@dataclass(frozen=True, eq=False)
class Candidate:
    """Tensors whose names, after a prefix, are those of a network.

    Attributes:
        keys: the keys that lead to the mapping.
        prefix: the beginning of the names in that mapping.
        weights: the tensors by the network's names.
        ignored: names of tensors beside the weights that no network needs.
        beside: names of other tensors in the same mapping.
    """

    keys: Keys
    prefix: str
    weights: Mapping[str, Tensor]
    ignored: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    @property
    def parts(self) -> Keys:
        """Its keys, and the parts of its prefix."""
        return (*self.keys, *self.prefix.split(".")[:-1])

    @property
    def rank(self) -> tuple[int, tuple[int, ...]]:
        """How conventional its place is; the lowest rank is most likely the intended one."""
        tiers = [_tier(part) for part in self.parts]
        orders = [_order(part) for part in self.parts]
        return max(tiers, default=0), tuple(orders)

    @property
    def place(self) -> str:
        """Its place in words: ``under 'model', with the prefix 'module.'``; empty if outermost."""
        under = f"under {spell(self.keys)}" if self.keys else ""
        prefixed = f"with the prefix {self.prefix!r}" if self.prefix else ""
        return ", ".join(filter(None, (under, prefixed)))


def spell(keys: Keys) -> str:
    """Keys as Python writes them: ``'model'`` for one, ``['a'][0]`` for several."""
    if len(keys) == 1 and isinstance(keys[0], str):
        return repr(keys[0])
    return "".join(f"[{key!r}]" for key in keys)


def find_candidates(names: Sequence[str], tensors: Tensors) -> Iterator[Candidate]:
    """Every set of tensors with a network's ``names``; batch norm's counters may be missing."""
    needed = [name for name in names if not name.endswith(COUNTER)]
    anchor = needed[0]
    ends = (full for full in tensors if full == anchor or full.endswith(f".{anchor}"))
    prefixes = (full.removesuffix(anchor) for full in ends)
    whole = (one for one in prefixes if all(one + name in tensors for name in needed))
    for prefix in islice(whole, MAX_CANDIDATES):
        if (candidate := _candidate(prefix, names, tensors)) is not None:
            yield candidate


def _candidate(prefix: str, names: Sequence[str], tensors: Tensors) -> Candidate | None:
    """The candidate with this prefix; None if a tensor with the prefix is of another network."""
    own = {name: tensors[prefix + name] for name in names if prefix + name in tensors}
    places = {one.keys for one in own.values()}
    home = shared(list(places))
    near = {
        full: one
        for full, one in tensors.items()
        if (one.keys in places if len(places) == 1 else one.keys[: len(home)] == home)
        and full.removeprefix(prefix) not in own
    }
    ignored: list[str] = []
    strange: list[str] = []
    for full, one in near.items():
        inside = full.startswith(prefix)
        if inside and not _is_harmless(full.removeprefix(prefix), one.tensor):
            return None
        harmless = inside or _is_harmless_beside(one.name, one.tensor)
        (ignored if harmless else strange).append(one.name)
    removed = prefix.removeprefix("".join(f"{key}." for key in home))
    weights = {name: one.tensor for name, one in own.items()}
    return Candidate(home, removed, weights, tuple(ignored), tuple(strange))


def shared(paths: Sequence[Keys]) -> Keys:
    """The keys with which all paths begin."""
    columns = zip(*paths, strict=False)
    return tuple(column[0] for column in takewhile(lambda keys: len(set(keys)) == 1, columns))


def _is_harmless(name: str, tensor: Tensor) -> bool:
    """Whether no network needs the tensor: a counter of thop, or a figure of the training."""
    if name.rpartition(".")[2] in _OPERATIONS:
        return True
    figure = not tensor.is_floating_point() or _COUNTED.fullmatch(name.lower())
    return tensor.ndim == 0 and "." not in name and bool(figure)


def _is_harmless_beside(name: str, tensor: Tensor) -> bool:
    return _is_no_part(name.partition(".")[0].lower()) or _is_harmless(name, tensor)


@lru_cache(maxsize=4096)
def _is_no_part(module: str) -> bool:
    """Whether a module beside a network is a copy of it, a loss or a metric."""
    return any(map(_COPIES.fullmatch, _words(module))) or bool(_LOSSES.fullmatch(module))


def holds_weights(keys: Keys) -> bool:
    """Whether weights may be under these keys: not those of optimisers, schedules or gradients."""
    return not any(
        str(key).startswith(_STATE) or any(map(_NO_WEIGHTS.fullmatch, _words(str(key))))
        for key in keys
    )


def _words(key: str) -> frozenset[str]:
    """The words of a key: those of ``netEMA`` and ``net_ema`` are net and ema."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", key)
    return frozenset(filter(None, re.split(r"[\W_]+", apart.lower())))


def _tier(key: str | int) -> int:
    """0 for a conventional key, 2 for the key of a copy such as ``ema``, 1 for any other key."""
    words = _words(str(key))
    if any(map(_COPIES.fullmatch, words)):
        return 2
    return 0 if words and all(map(_USUAL.fullmatch, words)) else 1


def _order(key: str | int) -> int:
    """The index among the conventional keys."""
    name = str(key).lower().strip("_")
    return PREFERRED.index(name) if name in PREFERRED else len(PREFERRED)
