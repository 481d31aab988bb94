"""Examples are drawn as torchvision draws them, and of each picture by its seed alone."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler

from perpixel.layers.examples import generators, ranks, sampled
from perpixel.sample import Seeds, Targets

CPU = torch.device("cpu")


def places(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return (labels > 0).nonzero().flatten(), (labels == 0).nonzero().flatten()


@given(st.lists(st.sampled_from([-1, 0, 0, 1, 3]), max_size=60), st.integers(1, 40))
def test_as_many_are_drawn_as_by_torchvision(labels: list[int], count: int) -> None:
    given_labels = torch.tensor(labels, dtype=torch.int64)
    positive, negative = sampled(*places(given_labels), ranks(len(labels), None, CPU), count, 0.25)
    ((wanted,), (others,)) = BalancedPositiveNegativeSampler(count, 0.25)([given_labels])
    assert (len(positive), len(negative)) == (int(wanted.sum()), int(others.sum()))
    assert (given_labels[positive] > 0).all()
    assert (given_labels[negative] == 0).all()
    assert len({*positive.tolist(), *negative.tolist()}) == len(positive) + len(negative) <= count


def drawn(*seeds: int) -> list[list[int]]:
    """Of pictures with these seeds."""
    targets = Targets(torch.zeros(len(seeds), 1, 1, dtype=torch.int64), seeds=Seeds(0, seeds))
    labels = torch.arange(100) % 3
    return [torch.cat(sampled(*places(labels), ranks(100, one, CPU), 20, 0.5)).tolist() for one in generators(targets)]


def test_what_is_drawn_of_a_picture_follows_from_its_seed_whatever_stands_beside_it() -> None:
    first, second, third = drawn(4, 7, 9)
    assert drawn(9, 4) == [third, first]
    assert first != second != third


def test_a_place_that_is_missing_changes_no_other_choice() -> None:
    of_all = ranks(100, torch.Generator().manual_seed(0), CPU)
    whole, less = (torch.cat(sampled(of_all[:0], there, of_all, 20, 0.5)) for there in (torch.arange(100), torch.arange(99)))
    assert len(set(whole.tolist()) ^ set(less.tolist())) in (0, 2)


def test_without_seeds_torchs_own_generator_draws() -> None:
    assert generators(Targets(torch.zeros(2, 1, 1, dtype=torch.int64))) == [None, None]
