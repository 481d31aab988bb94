"""The neck of FPN (Lin et al., CVPR 2017, section 3): a top-down path with lateral connections.

    C5 -1x1-> + ------------------> 3x3 -> P5 -> every second cell -> P6
              | nearest x2
    C4 -1x1-> + ------------------> 3x3 -> P4          and so on to P2

The sum before the 3x3 is passed down. There is no normalisation and no ReLU, as published. `norm="group"` puts group
normalisation behind each convolution, which then has no bias (PANet's authors, Detectron's later models)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

CHANNELS = 256
GROUPS = 32


class Pyramid(nn.Module):
    """Features (B, channels[i], h, w), finest first -> maps of `depth` channels of the same sizes, finest first.

    `top_down` and `lateral` are both True as published; False is an ablation of the paper. Without `top_down` a level is its
    lateral alone. Without `lateral` only the coarsest level has a lateral. Maps may have any size: each cell takes the nearest
    cell of the coarser map."""

    def __init__(
        self,
        channels: Sequence[int],
        depth: int = CHANNELS,
        norm: str = "none",
        top_down: bool = True,
        lateral: bool = True,
    ) -> None:
        super().__init__()
        self.depth, self.top_down, self.has_lateral = depth, top_down, lateral
        # torchvision's names: inner_blocks are the laterals, layer_blocks the 3x3.
        self.inner_blocks = nn.ModuleList(
            convolution(inputs, depth, 1, norm) if lateral or level == len(channels) - 1 else nn.ModuleList()
            for level, inputs in enumerate(channels)
        )
        self.layer_blocks = nn.ModuleList(convolution(depth, depth, 3, norm) for _ in channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        levels: list[Tensor] = []
        passed: Tensor | None = None
        for level in reversed(range(len(features))):
            x = self.inner_blocks[level](features[level]) if self.inner_blocks[level] else None
            if passed is not None and (self.top_down or x is None):
                down = F.interpolate(passed, features[level].shape[-2:], mode="nearest")
                x = down if x is None else x + down
            passed = x
            levels.insert(0, self.layer_blocks[level](x))
        return levels


def convolution(inputs: int, outputs: int, kernel: int, norm: str) -> nn.Sequential:
    """A padded convolution, with group normalisation in place of its bias where `norm` is "group"."""
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=norm == "none")
    return nn.Sequential(layer, *([nn.GroupNorm(GROUPS, outputs)] if norm == "group" else []))


def coarsest(level: Tensor) -> Tensor:
    """P6: every second cell of P5."""
    return F.max_pool2d(level, 1, 2)
