"""Both loaders: the same batches, whatever the workers, wherever one begins."""

from __future__ import annotations

import pytest
import torch
from loading import MOVED, NORMALISATION, batches, batching, same, split
from torch import Tensor
from torchvision import transforms

from mnist_cli.config.schema import TrainConfig
from mnist_cli.data.augment import Augmentation
from mnist_cli.data.batches import (
    Batching,
    ConventionalLoader,
    DeviceLoader,
    build_loader,
    epoch_order,
)


def by_hand(epoch: int) -> list[tuple[Tensor, Tensor]]:
    """What anyone would write with torchvision, given the order."""
    change = transforms.Compose([transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))])
    data, order = split(), epoch_order(3, epoch, 23).tolist()
    images = [change(data.images[i, 0].numpy()) for i in order]
    return [
        (torch.stack(images[first : first + 5]), data.labels[order[first : first + 5]])
        for first in range(0, 23, 5)
    ]


def test_the_settings_are_the_configurations() -> None:
    config = TrainConfig(
        batch_size=7, seed=5, drop_last=True, loader="dataloader", workers=2,
        shift=1, rotate=2, scale=0.3, shear=4, erase=0.5,
    )  # fmt: skip
    augmentation = Augmentation(1, 2, 0.3, 4, 0.5)
    assert Batching.of(config) == Batching(7, 5, True, "dataloader", 2, augmentation)


def test_the_kinds_are_those_asked_for() -> None:
    assert type(build_loader(batching("device"), split(), NORMALISATION)) is DeviceLoader
    assert type(build_loader(batching("dataloader"), split(), NORMALISATION)) is ConventionalLoader


@pytest.mark.parametrize("loader", ["device", "dataloader"])
@pytest.mark.parametrize("epoch", [0, 4])
def test_without_augmentation_batches_are_torchvisions(loader: str, epoch: int) -> None:
    ours, theirs = batches(loader, epoch), by_hand(epoch)
    assert [len(labels) for _, labels in ours] == [5, 5, 5, 5, 3]
    for (images, labels), (expected, expected_labels) in zip(ours, theirs, strict=True):
        assert images.dtype == torch.float32
        assert labels.dtype == torch.int64
        torch.testing.assert_close(images, expected, atol=1e-6, rtol=1e-6)
        assert torch.equal(labels, expected_labels)


def test_the_order_is_a_permutation_that_seed_and_epoch_decide() -> None:
    orders = [epoch_order(seed, epoch, 50).tolist() for seed in (0, 1) for epoch in (0, 1, 2)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len({tuple(order) for order in orders}) == len(orders)
    torch.manual_seed(1)
    assert epoch_order(0, 0, 50).tolist() == orders[0]


def test_the_conventional_loader_may_begin_anywhere() -> None:
    whole = batches("dataloader", 2, **MOVED)
    for start in range(len(whole) + 1):
        assert same(batches("dataloader", 2, start, **MOVED), whole[start:])


def test_its_generator_stands_alike_wherever_it_began() -> None:
    states = []
    for start in (0, 2):
        loader = build_loader(batching("dataloader"), split(), NORMALISATION)
        if start:
            loader.generator.manual_seed(77)
        list(loader.epoch(1, start))
        states.append(loader.generator.get_state())
    assert torch.equal(*states)


@pytest.mark.parametrize("start", range(6))
def test_the_device_loader_goes_on_from_its_generators_state(start: int) -> None:
    made = build_loader(batching("device", **MOVED), split(), NORMALISATION)
    whole, states = [], [made.generator.get_state()]
    for images, labels in made.epoch(2):
        whole.append((images.clone(), labels))
        states.append(made.generator.get_state())
    again = build_loader(batching("device", **MOVED), split(), NORMALISATION)
    again.generator.set_state(states[start])
    assert same([(i.clone(), b) for i, b in again.epoch(2, start)], whole[start:])


@pytest.mark.parametrize("loader", ["device", "dataloader"])
def test_each_epoch_changes_the_images_anew(loader: str) -> None:
    """Of one image five times, so that another order is no other epoch."""
    alike = split(1).take(torch.zeros(5, dtype=torch.int64))
    made = build_loader(batching(loader, **MOVED), alike, NORMALISATION)
    one, other = (next(iter(made.epoch(epoch)))[0].clone() for epoch in (0, 1))
    changed = {image.numpy().tobytes() for image in [*one, *other]}
    assert len(changed) == 10


@pytest.mark.parametrize("loader", ["device", "dataloader"])
def test_loading_draws_nothing_from_the_global_generator(loader: str) -> None:
    before = torch.get_rng_state()
    batches(loader, 0, **MOVED)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("loader", ["device", "dataloader"])
@pytest.mark.parametrize(
    ("size", "drop", "sizes"),
    [
        (5, True, [5, 5, 5, 5]),
        (23, True, [23]),
        (24, True, [23]),  # rather a small batch than none
        (24, False, [23]),
        (1, False, [1] * 23),
        (8, False, [8, 8, 7]),
    ],
)
def test_batches_and_images_are_counted(
    loader: str, size: int, drop: bool, sizes: list[int]
) -> None:
    settings = batching(loader, batch_size=size, drop_last=drop)
    made = build_loader(settings, split(), NORMALISATION)
    assert [len(labels) for _, labels in made.epoch(0)] == sizes
    assert (made.batches, made.images) == (len(sizes), sum(sizes))
    assert [made.count(batch) for batch in range(made.batches)] == sizes
    assert settings.last_batch(23) == sizes[-1]


def test_the_set_itself_is_never_changed() -> None:
    data = split()
    before = data.images.clone()
    for loader in ("device", "dataloader"):
        list(build_loader(batching(loader, **MOVED), data, NORMALISATION).epoch(0))
    assert torch.equal(data.images, before)


def test_an_amount_too_small_to_see_leaves_the_picture() -> None:
    """The conventional transforms are given the same amounts, in their own units."""
    tiny = Augmentation(shift=0.01, rotate=0.001, scale=0.0001, shear=0.001)
    for (images, _), (expected, _) in zip(
        batches("dataloader", 0, augmentation=tiny), by_hand(0), strict=True
    ):
        torch.testing.assert_close(images, expected, atol=0.05, rtol=0)
