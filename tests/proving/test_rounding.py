"""The emulation of narrow formats, against torch's own types."""

from __future__ import annotations

import pytest
import torch

from mnist_cli.proving import rounding


@pytest.mark.parametrize(
    ("bits", "dtype"), [(8, torch.bfloat16), (11, torch.float16), (24, torch.float32)]
)
def test_rounding_is_that_of_the_type(bits: int, dtype: torch.dtype) -> None:
    values = torch.randn(10_000, generator=torch.Generator().manual_seed(0)).double()
    # torch rounds a float64 twice, to float32 first; float16 has fewer bits below 2**-14.
    values = values[values.abs() > 2**-13] if bits < 24 else values * 1.1
    ties = torch.tensor([1 + 2.0**-bits, 1 + 3 * 2.0**-bits, -1 - 2.0**-bits, 0.0])
    for numbers in (values, ties.double()):
        assert torch.equal(rounding.rounded(numbers, bits), numbers.to(dtype).double())


def test_gradients_are_rounded_on_the_way_back() -> None:
    model = torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.Linear(4, 3))
    images = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    exact = rounding.reference(model, images, lambda scores: scores.square().sum())
    errors = {
        bits: rounding.distance(
            rounding.reference(model, images, lambda scores: scores.square().sum(), bits), exact
        )
        for bits in (6, 12, 18)
    }
    for bits, error in errors.items():  # of the order of one rounding
        assert 2.0**-bits / 10 < error < 10 * 2.0**-bits


def test_the_reference_is_autograds_own_in_float64() -> None:
    model = torch.nn.Linear(5, 3)
    images = torch.randn(7, 5, generator=torch.Generator().manual_seed(1))
    found = rounding.reference(model, images, lambda scores: scores.square().sum())
    scores = images.double() @ model.weight.double().T + model.bias.double()
    expected = 2 * scores.T @ images.double()
    torch.testing.assert_close(found["weight"], expected.detach(), rtol=1e-12, atol=1e-12)
    assert model.weight.dtype == torch.float32  # the model itself is left alone
