"""Examples: the few of many boxes or cells of a picture that losses are of, drawn at random (Fast R-CNN, Girshick, ICCV 2015,
section 2.3).

What is drawn of a picture follows from the picture's seed, so that it does not matter which process holds it."""

from __future__ import annotations

import torch
from torch import Tensor

from perpixel.sample import Targets

Generators = list[torch.Generator | None]


def generators(targets: Targets) -> Generators:
    """A random generator for each picture, by its seed; none, which is torch's own, where the targets have no seeds."""
    if targets.seeds is None:
        return [None] * len(targets.labels)
    return [torch.Generator().manual_seed(seed) for seed in targets.seeds.pictures]


def sampled(
    positive: Tensor, negative: Tensor, count: int, share: float, random: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """At most `count` random examples of the places `positive` (P,) and `negative` (N,): positive ones, at most that `share` of
    the count, and negative ones for the rest."""
    positive = _some(positive, int(count * share), random)
    return positive, _some(negative, count - len(positive), random)


def _some(places: Tensor, count: int, random: torch.Generator | None) -> Tensor:
    """Drawn on the processor, so that every device draws the same."""
    return places[torch.randperm(len(places), generator=random)[:count].to(places.device)]
