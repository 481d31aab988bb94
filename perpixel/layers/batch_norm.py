"""Batch normalisation over all processes, on any device. (torch's own SyncBatchNorm runs on GPUs only.)"""

from __future__ import annotations

import torch
import torch.distributed
import torch.distributed.nn.functional
from torch import Tensor, nn


def synchronise(network: nn.Module) -> None:
    """Makes every BatchNorm2d of `network` take its statistics from the whole batch; names and weights stay as they are."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            kind = type(module)
            module.__class__ = type(f"Synchronised{kind.__name__}", (_Synchronised, kind), {})


class _Synchronised(nn.BatchNorm2d):
    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.running_mean is None or self.running_var is None or self.momentum is None:
            return super().forward(x)
        axes = (0, 2, 3)
        local = torch.cat([x.sum(axes), (x * x).sum(axes), x.new_full((1,), x.numel() / x.shape[1])])
        total: Tensor = torch.distributed.nn.functional.all_reduce(local)  # type: ignore[no-untyped-call]
        channels, count = x.shape[1], total[-1]
        mean = total[:channels] / count
        variance = (total[channels:-1] / count - mean * mean).clamp(min=0)
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
