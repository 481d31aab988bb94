"""Examples are drawn as torchvision draws them, and of each picture by its seed alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from perpixel.layers.examples import generators, sampled
from perpixel.sample import Seeds, Targets


def places(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (labels > 0).nonzero().flatten(), (labels == 0).nonzero().flatten()


@given(st.lists(st.sampled_from([-1, 0, 0, 1, 3]), max_size=60), st.integers(1, 40))
def test_samples_are_torchvisions(labels: list[int], count: int) -> None:
    given_labels = torch.tensor(labels, dtype=torch.int64)
    torch.manual_seed(0)
    positive, negative = sampled(*places(given_labels), count, 0.25, None)
    torch.manual_seed(0)
    ((wanted,), (others,)) = BalancedPositiveNegativeSampler(count, 0.25)([given_labels])
    assert sorted(positive.tolist()) == wanted.nonzero().flatten().tolist()
    assert sorted(negative.tolist()) == others.nonzero().flatten().tolist()
    assert len(positive) <= count // 4
    assert len(positive) + len(negative) <= count


def test_what_is_drawn_of_a_picture_follows_from_its_seed_whatever_stands_beside_it() -> None:
    def drawn(*seeds: int) -> list[list[int]]:
        targets = Targets(torch.zeros(len(seeds), 1, 1, dtype=torch.int64), seeds=Seeds(0, seeds))
        labels = torch.arange(100) % 3
        return [torch.cat(sampled(*places(labels), 20, 0.5, random)).tolist() for random in generators(targets)]

    first, second, third = drawn(4, 7, 9)
    assert drawn(9, 4) == [third, first]
    assert first != second != third


def test_without_seeds_torchs_own_generator_draws() -> None:
    assert generators(Targets(torch.zeros(2, 1, 1, dtype=torch.int64))) == [None, None]
