"""Losses over pixels. Void never influences a loss or a gradient; a batch that is all void gives 0, not nan.

All take `logits` float (B, C, H, W) and `labels` int64 (B, H, W) with class ids or `void`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.errors import UsageError, did_you_mean
from perpixel.sample import Targets

OHEM_PROBABILITY = 0.7
OHEM_SHARE = 1 / 16


class Mean(NamedTuple):
    """A loss as the mean over examples of a part of a batch: its value, and the number of examples, both scalars.

    So that the mean over a batch can be had from those of its parts."""

    value: Tensor
    examples: Tensor

    @classmethod
    def of(cls, total: Tensor, examples: Tensor | int) -> Self:
        """From the sum over the examples; without any the value is 0."""
        number = torch.as_tensor(examples, dtype=total.dtype, device=total.device)
        return cls(total / number.clamp(min=1), number)


def cross_entropy(
    logits: Tensor, labels: Tensor, void: int = 255, class_weights: Tensor | None = None, weights: Tensor | None = None
) -> Tensor:
    """Sum over judged pixels of weight(class) * weight(pixel) * -log softmax, divided by the number of judged pixels.

    `weights` (B, H, W) are those of the pixels, 1 without. Dividing by the count and not by the sum of weights keeps the mean
    over two halves of a batch equal to the whole's."""
    judged = (labels != void).sum().clamp(min=1)
    if weights is None:
        return F.cross_entropy(logits, labels, class_weights, ignore_index=void, reduction="sum") / judged
    return (F.cross_entropy(logits, labels, class_weights, ignore_index=void, reduction="none") * weights).sum() / judged


def ohem_cross_entropy(
    logits: Tensor,
    labels: Tensor,
    void: int = 255,
    class_weights: Tensor | None = None,
    probability: float = OHEM_PROBABILITY,
    min_kept: float = OHEM_SHARE,
) -> Tensor:
    """Cross-entropy of the hard pixels alone (online hard example mining, Shrivastava et al., CVPR 2016): their sum of
    weight(class) * -log softmax, divided by their number.

    Hard are pixels whose true class has less than `probability`; and the hardest, so that the share `min_kept` of all judged
    pixels of the batch is kept at least, or one pixel. Pixels as hard as the last of these are kept too. Class weights choose no
    pixel."""
    judged = labels != void
    losses = F.cross_entropy(logits, labels, ignore_index=void, reduction="none")[judged]
    if not len(losses):
        return logits.sum() * 0
    hardness = losses.detach()
    most = len(hardness) - math.ceil(min_kept * len(hardness))  # pixels that may be left out
    last = hardness.kthvalue(most + 1).values if most < len(hardness) else hardness.max()
    kept = (hardness >= last) | (hardness > -math.log(probability))
    if class_weights is not None:
        losses = losses * class_weights[labels[judged]]
    return losses[kept].sum() / kept.sum()


def dice(logits: Tensor, labels: Tensor, void: int = 255, class_weights: Tensor | None = None) -> Tensor:
    """1 - mean over the classes present of 2 sum(p t) / (sum(p) + sum(t)) (Milletari et al., 3DV 2016, with plain sums)."""
    probabilities, truth = _judged(logits, labels, void)
    hits, size = (probabilities * truth).sum(0), probabilities.sum(0) + truth.sum(0)
    present = truth.sum(0) > 0
    score = 2 * hits / size.clamp(min=1e-6)
    return _weighted_mean(1 - score, present, class_weights)


def lovasz_softmax(logits: Tensor, labels: Tensor, void: int = 255, class_weights: Tensor | None = None) -> Tensor:
    """The Lovász extension of the Jaccard loss, mean over the classes present (Berman et al., CVPR 2018, equations 8 and 9)."""
    probabilities, truth = _judged(logits, labels, void)
    present = truth.sum(0) > 0
    chosen = present.nonzero().flatten()
    if not len(chosen):
        return logits.sum() * 0
    truth = truth[:, chosen]
    errors, order = (truth - probabilities[:, chosen]).abs().sort(0, descending=True)
    hits = truth.gather(0, order)
    size = truth.sum(0)
    jaccard = 1 - (size - hits.cumsum(0)) / (size + (1 - hits).cumsum(0))
    steps = torch.cat([jaccard[:1], jaccard[1:] - jaccard[:-1]])
    losses = (errors * steps).sum(0)
    weights = None if class_weights is None else class_weights[chosen]
    return _weighted_mean(losses, torch.ones_like(losses, dtype=torch.bool), weights)


Loss = Callable[[Tensor, Tensor, int, Tensor | None], Tensor]
LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy, "ohem_cross_entropy": ohem_cross_entropy, "dice": dice, "lovasz_softmax": lovasz_softmax,
}  # fmt: skip


class PixelLoss(nn.Module):
    """The sum of named losses, e.g. `cross_entropy+dice`; returns a dict of scalars, one for each name.

    `class_weights` (C,) multiply the classes' shares, and the weights of the targets each pixel's cross-entropy.
    Raises UnknownName for a loss that does not exist, UsageError for weights of pixels and a loss that takes none."""

    class_weights: Tensor | None

    def __init__(self, names: str = "cross_entropy", class_weights: Sequence[float] | None = None, void: int = 255) -> None:
        super().__init__()
        self.names, self.void = names.split("+"), void
        for name in self.names:
            if name not in LOSSES:
                raise did_you_mean("loss", name, LOSSES)
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights, persistent=False)

    def forward(self, logits: Tensor, targets: Targets) -> dict[str, Tensor]:
        labels, weights = targets.labels, targets.weights
        if weights is not None:
            for name in self.names:
                if name != "cross_entropy":
                    raise UsageError(f"loss {name} takes no weight for each pixel; use cross_entropy alone.")
            return {"cross_entropy": cross_entropy(logits.float(), labels, self.void, self.class_weights, weights)}
        return {name: LOSSES[name](logits.float(), labels, self.void, self.class_weights) for name in self.names}


def class_weights(rule: str, pixels: Sequence[int], names: Sequence[str]) -> list[float] | None:
    """Weights (C,) by a rule's name, or by class names, from the pixel counts (C,) of the training set.

    `none`; `inverse_square_root` and `inverse` of a class's share;
    `enet`, 1 / ln(1.02 + share) (Paszke et al., 2016); or `pole=3,sign=2`, all others 1. Rules are scaled so that the
    mean weight of a pixel is 1. Raises UsageError or UnknownName for anything else."""
    if rule == "none":
        return None
    if "=" in rule:
        return _weights_by_class(rule, names)
    counts = torch.tensor(pixels, dtype=torch.float64)
    share = counts / counts.sum().clamp(min=1)
    seen = counts > 0
    rules: Mapping[str, Callable[[], Tensor]] = {
        "inverse_square_root": lambda: share.rsqrt(),
        "inverse": lambda: 1 / share,
        "enet": lambda: 1 / torch.log(1.02 + share),
    }
    if rule not in rules:
        raise did_you_mean("rule for class weights", rule, [*rules, "none"])
    weights = torch.where(seen, rules[rule](), torch.zeros(()).double())
    return [float(weight) for weight in weights / (weights * share).sum().clamp(min=1e-9)]


def _weights_by_class(rule: str, names: Sequence[str]) -> list[float]:
    weights = dict.fromkeys(names, 1.0)
    for part in rule.split(","):
        name, _, value = (word.strip() for word in part.partition("="))
        if name not in weights:
            raise did_you_mean("class", name, names)
        try:
            weights[name] = float(value)
        except ValueError:
            raise UsageError(f"class weights: {part.strip()!r} has no number behind '='; write pole=3,sign=2.") from None
        if not 0 <= weights[name] < float("inf"):
            raise UsageError(f"class weights: {part.strip()!r} must be 0 or more and finite.")
    return list(weights.values())


def _judged(logits: Tensor, labels: Tensor, void: int) -> tuple[Tensor, Tensor]:
    """Probabilities and one-hot truth (N, C) of the judged pixels."""
    judged = labels.flatten() != void
    probabilities = logits.softmax(1).movedim(1, -1).flatten(0, -2)[judged]
    return probabilities, F.one_hot(labels.flatten()[judged], logits.shape[1]).to(probabilities.dtype)


def _weighted_mean(values: Tensor, present: Tensor, weights: Tensor | None) -> Tensor:
    share = present.to(values.dtype) if weights is None else present * weights
    return (values * share).sum() / share.sum().clamp(min=1e-6)
