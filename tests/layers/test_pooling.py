"""Pooling to grids of bins is torch's adaptive pooling, at every size."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from perpixel.layers.pooling import average_pool, max_pool


@given(
    st.integers(1, 70),
    st.integers(1, 70),
    st.lists(st.integers(1, 9), min_size=1, max_size=4),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_pooling_by_matrices_is_torchs_adaptive_pooling_at_every_size(height, width, grids, last, seed):
    x = torch.randn(2, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    x = x.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
    for found, bins in zip(average_pool(x, grids), grids, strict=True):
        torch.testing.assert_close(found, F.adaptive_avg_pool2d(x, bins), rtol=1e-12, atol=1e-13)
    for found, bins in zip(max_pool(x, grids), grids, strict=True):
        assert torch.equal(found, F.adaptive_max_pool2d(x, bins))


def test_means_are_whole_in_half_precision():
    x = 1000 + torch.rand(1, 2, 60, 60)  # of which a sum over the picture is beyond float16
    with torch.autocast("cpu", torch.bfloat16):
        (found,) = average_pool(x, (6,))
        (half,) = average_pool(x.half(), (6,))
    torch.testing.assert_close(found, F.adaptive_avg_pool2d(x, 6))
    torch.testing.assert_close(half, F.adaptive_avg_pool2d(x.half().float(), 6).half())


@pytest.mark.parametrize(("pool", "theirs"), [(average_pool, F.adaptive_avg_pool2d), (max_pool, F.adaptive_max_pool2d)])
def test_gradients_of_pooling_are_torchs(pool, theirs):
    x = torch.randn(1, 2, 7, 10, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    found, expected = (torch.autograd.grad((grid * weights).sum(), x)[0] for grid in (pool(x, (3,))[0], theirs(x, 3)))
    torch.testing.assert_close(found, expected)
