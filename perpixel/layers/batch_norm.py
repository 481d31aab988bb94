"""Batch normalisation over all processes on any device, and the measurement of its statistics for test time.

Torch's own SyncBatchNorm runs on GPUs alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


def synchronise(modules: Iterable[nn.Module]) -> None:
    """Makes every BatchNorm2d of `modules` take its statistics from the whole batch; names and weights stay as they are."""
    for module in modules:
        if isinstance(module, nn.BatchNorm2d):
            kind = type(module)
            module.__class__ = type(f"Synchronised{kind.__name__}", (_Synchronised, kind), {})


@torch.no_grad()
def measure_statistics(modules: Iterable[nn.Module], layers: Iterable[nn.BatchNorm2d], passes: Iterable[object]) -> None:
    """Gives `layers` the statistics that DeconvNet is tested with (Noh et al., ICCV 2015, the authors' script
    BN_make_INFERENCE): the means, over batches, of each batch's mean and of its biased variance.

    `modules` are all modules of the network that `layers` belong to. For each item of `passes` the network has run on a batch.
    In these passes `layers` normalise by the batch's own statistics over all processes, as in training. All other modules are in
    evaluation mode. The network keeps its mode."""
    totals = {layer: torch.zeros(2, layer.num_features, dtype=torch.float64) for layer in layers}

    def note(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(layer, nn.BatchNorm2d)
        mean, variance, _ = _moments(inputs[0].float())
        _set_statistics(layer, mean, variance)  # the mean that normalises in evaluation
        totals[layer] += torch.stack([mean, variance]).to(totals[layer])

    modes = {module: module.training for module in modules}
    for module in modes:
        module.training = False
    hooks = [layer.register_forward_pre_hook(note) for layer in totals]
    try:
        count = sum(1 for _ in passes)
    finally:
        for hook in hooks:
            hook.remove()
        for module, training in modes.items():
            module.training = training
    for layer, total in totals.items():
        _set_statistics(layer, *(total / count))


def _set_statistics(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    assert layer.running_mean is not None
    assert layer.running_var is not None
    layer.running_mean.copy_(mean)
    layer.running_var.copy_(variance)


class _SumOverAll(torch.autograd.Function):
    """The sum over all processes. Every process's loss depends on it, so gradients are summed on the way back."""

    @staticmethod
    def forward(_context: Any, values: Tensor) -> Tensor:
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_context: Any, gradient: Tensor) -> Tensor:
        total = gradient.contiguous().clone()
        dist.all_reduce(total)
        return total


def _over_all(values: Tensor) -> Tensor:
    total: Tensor = _SumOverAll.apply(values) if dist.is_initialized() else values
    return total


def _moments(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean and biased variance of each channel of x (B, C, H, W) over all processes, and the number of values in a channel."""
    sums = _over_all(torch.cat([x.sum((0, 2, 3)), x.new_full((1,), x.numel() / x.shape[1])]))
    count = sums[-1]
    mean = sums[:-1] / count
    # In a second pass: the mean of squares minus the square of the mean would lose most of float32's digits.
    variance = _over_all((x - mean[:, None, None]).square().sum((0, 2, 3))) / count
    return mean, variance, count


class _Synchronised(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.running_mean is None or self.running_var is None or self.momentum is None:
            return super().forward(x)
        mean, variance, count = _moments(x)
        with torch.no_grad():
            self.running_mean.lerp_(mean.detach(), self.momentum)
            self.running_var.lerp_(variance.detach() * count / (count - 1).clamp(min=1), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        x = (x - mean[:, None, None]) * (variance + self.eps).rsqrt()[:, None, None]
        if self.affine:
            x = x * self.weight[:, None, None] + self.bias[:, None, None]
        # timm's BatchNormAct2d goes on with dropout and activation.
        for name in ("drop", "act"):
            if hasattr(self, name):
                x = getattr(self, name)(x)
        return x


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch normalisation of a map that may be a single cell.

    A batch of one picture then has one value in each channel, from which no variance follows, and torch refuses it. Here the
    running statistics normalise that batch, as in evaluation, and stay as they are. Any other batch is normalised as usual."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return nn.functional.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)
