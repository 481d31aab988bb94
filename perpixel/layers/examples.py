"""Examples: the few of many boxes or cells of a picture that losses are of, drawn at random (Fast R-CNN, Girshick, ICCV 2015,
section 2.3).

What is drawn of a picture follows from the picture's seed, so that it does not matter which process holds it."""

from __future__ import annotations

import torch
from torch import Tensor

from perpixel.sample import Targets


def generators(targets: Targets) -> list[torch.Generator | None]:
    """A random generator for each picture, by its seed; none, which is torch's own, where the targets have no seeds."""
    if targets.seeds is None:
        return [None] * len(targets.labels)
    return [torch.Generator().manual_seed(seed) for seed in targets.seeds.pictures]


def ranks(count: int, random: torch.Generator | None, device: torch.device) -> Tensor:
    """Random ranks int64 (count,) of all that examples are drawn of, made on the processor, so that every device has the same.

    Whoever is there and has the lowest ranks is drawn. So a box that is there in one process and not in another, by the last bits
    of a score, changes no other choice."""
    return torch.randperm(count, generator=random).to(device)


def sampled(positive: Tensor, negative: Tensor, ranks: Tensor, count: int, share: float) -> tuple[Tensor, Tensor]:
    """At most `count` examples of the places `positive` (P,) and `negative` (N,) in `ranks`: those of the lowest ranks, of the
    positive ones at most that `share` of the count, and negative ones for the rest."""
    positive = positive[ranks[positive].argsort()[: int(count * share)]]
    return positive, negative[ranks[negative].argsort()[: count - len(positive)]]
