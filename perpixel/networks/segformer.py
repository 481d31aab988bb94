"""SegFormer: Simple and Efficient Design for Semantic Segmentation with Transformers (Xie et al., NeurIPS 2021).

    image -> Mix Transformer: four stages of stride 4, 8, 16, 32, each
               overlapping patches (conv 7x7/4, then 3x3/2), layer norm
               blocks of: attention to a reduced map, then a 3x3 depthwise convolution between two linear layers
    head: each stage -> linear to D, bilinear to stride 4 -> all four together -> linear, batch norm, ReLU -> 1x1 scores -> x4

A yardstick, no system of the review. `variant` is "b0" to "b5". `hub_state` takes states by the names of the common hub
(such as nvidia/segformer-b0-finetuned-ade-512-512). `perpixel import` reads such files. NVIDIA's weights are for research alone.
Differs: a map smaller than the factor by which attention reduces it is padded with zeros, so that a picture of any size works."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.states import renamed_state
from perpixel.backbones.vgg import IMAGENET_MEAN, IMAGENET_STD
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap, greater, may_differ_from_0
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

# Channels of the stages, blocks of each, and channels of the head.
VARIANTS: dict[str, tuple[tuple[int, ...], tuple[int, ...], int]] = {
    "b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256),
    "b1": ((64, 128, 320, 512), (2, 2, 2, 2), 256),
    "b2": ((64, 128, 320, 512), (3, 4, 6, 3), 768),
    "b3": ((64, 128, 320, 512), (3, 4, 18, 3), 768),
    "b4": ((64, 128, 320, 512), (3, 8, 27, 3), 768),
    "b5": ((64, 128, 320, 512), (3, 6, 40, 3), 768),
}
HEADS = (1, 2, 5, 8)  # of attention, by stage
REDUCTION = (8, 4, 2, 1)  # factor by which the sides of the map of keys and values are reduced
EXPANSION = 4  # of the linear layers
DROP_PATH = 0.1  # of the last block; it rises to it in equal steps from 0
EPS = 1e-6  # of layer norms in and after blocks
STRIDE = 4  # of the scores


class SegFormer(nn.Module):
    """SegFormer-B0 to B5 by `variant`; B0 has 3,752,694 parameters with 150 classes. `dropout` is that before the scores.

    Raises UnknownName for another variant."""

    def __init__(self, classes: int = 21, variant: str = "b0", dropout: float = 0.1) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise did_you_mean("variant of segformer", variant, VARIANTS)
        self.variant = variant
        channels, blocks, depth = VARIANTS[variant]
        self.trunk = MixTransformer(channels, blocks)
        self.unify = nn.ModuleList(nn.Conv2d(inputs, depth, 1) for inputs in channels)
        self.fuse = nn.Conv2d(len(channels) * depth, depth, 1, bias=False)
        self.norm = nn.BatchNorm2d(depth)
        self.dropout = nn.Dropout2d(dropout)
        self.score = nn.Conv2d(depth, classes, 1)
        nn.init.normal_(self.score.weight, std=0.01)
        assert self.score.bias is not None
        nn.init.zeros_(self.score.bias)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at stride 4, stretched over the picture."""
        maps = [unify(x) for unify, x in zip(self.unify, self.trunk(images), strict=True)]
        size = maps[0].shape[-2:]
        maps = [x if x.shape[-2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False) for x in maps]
        x = torch.relu(self.norm(self.fuse(torch.cat(maps[::-1], 1))))
        return ScoreMap.stretched(self.score(self.dropout(x)), (images.shape[-2], images.shape[-1]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        scores = self.score_map(images).scores
        return {"logits": F.interpolate(scores, images.shape[-2:], mode="bilinear", align_corners=False)}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses


class MixTransformer(nn.Module):
    """images (B, 3, H, W) in [0, 1] -> the maps of the four stages, finest first."""

    mean: Tensor
    std: Tensor

    def __init__(self, channels: tuple[int, ...], blocks: tuple[int, ...]) -> None:
        super().__init__()
        drop_paths = torch.linspace(0, DROP_PATH, sum(blocks), device="cpu").split(blocks)
        inputs = (3, *channels[:-1])
        self.stages = nn.ModuleList(
            Stage(inputs[number], channels[number], number, [float(rate) for rate in drop_paths[number]])
            for number in range(len(channels))
        )
        # Mean and deviation of pictures for the published weights. They are no weights, so no state has them.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        x, maps = (images - self.mean) / self.std, []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return maps


class Stage(nn.Module):
    """Overlapping patches, a block for each of `drop_paths`, and layer norm: a map of a quarter, or half, the sides."""

    def __init__(self, inputs: int, depth: int, number: int, drop_paths: list[float]) -> None:
        super().__init__()
        kernel, stride = (3, 2) if number else (7, 4)
        self.embed = nn.Conv2d(inputs, depth, kernel, stride, kernel // 2)
        self.embed_norm = nn.LayerNorm(depth)
        self.blocks = nn.ModuleList(Block(depth, HEADS[number], REDUCTION[number], rate) for rate in drop_paths)
        self.norm = nn.LayerNorm(depth, EPS)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                assert module.bias is not None
                nn.init.zeros_(module.bias)
        for block in self.blocks:  # whose fan is that of one channel
            assert isinstance(block, Block)
            nn.init.normal_(block.mix.weight, std=(2 / 9) ** 0.5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        size = x.shape[-2], x.shape[-1]
        x = self.embed_norm(x.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x, size)
        maps: Tensor = self.norm(x).transpose(1, 2).unflatten(2, size)
        return maps


class Block(nn.Module):
    """Attention and Mix-FFN, each behind a layer norm and beside a shortcut, on tokens (B, h * w, depth)."""

    def __init__(self, depth: int, heads: int, reduction: int, drop_path: float) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(depth, EPS)
        self.attention = Attention(depth, heads, reduction)
        self.norm2 = nn.LayerNorm(depth, EPS)
        inner = EXPANSION * depth
        self.expand = nn.Linear(depth, inner)
        self.mix = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.contract = nn.Linear(inner, depth)

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        x = x + self._kept(self.attention(self.norm1(x), size))
        inner = self.expand(self.norm2(x)).transpose(1, 2).unflatten(2, size)
        inner = F.gelu(self.mix(inner).flatten(2).transpose(1, 2))
        return x + self._kept(self.contract(inner))

    def _kept(self, x: Tensor) -> Tensor:
        """In training, `x` is 0 for a random share of the pictures, and scaled up for the others (stochastic depth)."""
        if not (self.training and self.drop_path):
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.drop_path
        return x * kept.to(x.dtype) / (1 - self.drop_path)


class Attention(nn.Module):
    """Attention of all tokens to the tokens of a smaller map, which a strided convolution makes (section 3.1)."""

    def __init__(self, depth: int, heads: int, reduction: int) -> None:
        super().__init__()
        self.heads, self.reduction = heads, reduction
        self.query, self.key, self.value = (nn.Linear(depth, depth) for _ in range(3))
        self.project = nn.Linear(depth, depth)
        self.reduce = nn.Conv2d(depth, depth, reduction, reduction) if reduction > 1 else None
        self.norm = nn.LayerNorm(depth) if reduction > 1 else None

    def forward(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        seen = x
        if self.reduce is not None and self.norm is not None:
            maps = x.transpose(1, 2).unflatten(2, size)
            down, right = (greater(0, self.reduction - side) for side in size)
            if any(map(may_differ_from_0, (down, right))):
                maps = F.pad(maps, (0, right, 0, down))
            seen = self.norm(self.reduce(maps).flatten(2).transpose(1, 2))
        query, key, value = (
            layer(tokens).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for layer, tokens in ((self.query, x), (self.key, seen), (self.value, seen))
        )
        attended: Tensor = self.project(F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return attended


# Patterns of our names, in order, and the names in the states of the hub.
NAMES = (
    (r"^trunk\.stages\.(\d)\.embed\.", r"segformer.encoder.patch_embeddings.\1.proj."),
    (r"^trunk\.stages\.(\d)\.embed_norm\.", r"segformer.encoder.patch_embeddings.\1.layer_norm."),
    (r"^trunk\.stages\.(\d)\.norm\.", r"segformer.encoder.layer_norm.\1."),
    (r"^trunk\.stages\.(\d)\.blocks\.(\d+)\.norm([12])\.", r"segformer.encoder.block.\1.\2.layer_norm_\3."),
    (r"^trunk\.stages\.(\d)\.blocks\.(\d+)\.attention\.(query|key|value)\.", r"segformer.encoder.block.\1.\2.attention.self.\3."),
    (r"^trunk\.stages\.(\d)\.blocks\.(\d+)\.attention\.reduce\.", r"segformer.encoder.block.\1.\2.attention.self.sr."),
    (r"^trunk\.stages\.(\d)\.blocks\.(\d+)\.attention\.norm\.", r"segformer.encoder.block.\1.\2.attention.self.layer_norm."),
    (r"^trunk\.stages\.(\d)\.blocks\.(\d+)\.attention\.project\.", r"segformer.encoder.block.\1.\2.attention.output.dense."),
    (r"^trunk\.stages\.(\d)\.blocks\.(\d+)\.expand\.", r"segformer.encoder.block.\1.\2.mlp.dense1."),
    (r"^trunk\.stages\.(\d)\.blocks\.(\d+)\.mix\.", r"segformer.encoder.block.\1.\2.mlp.dwconv.dwconv."),
    (r"^trunk\.stages\.(\d)\.blocks\.(\d+)\.contract\.", r"segformer.encoder.block.\1.\2.mlp.dense2."),
    (r"^unify\.(\d)\.", r"decode_head.linear_c.\1.proj."),
    (r"^fuse\.", "decode_head.linear_fuse."),
    (r"^norm\.", "decode_head.batch_norm."),
    (r"^score\.", "decode_head.classifier."),
)


def hub_state(network: nn.Module, state: Mapping[str, Tensor], where: str = "the file") -> dict[str, Tensor]:
    """The state dict for `network`, a SegFormer, from `state` by the names of the hub.

    Raises UsageError for another network, UntrustedFile that lists tensors that are missing, unknown or misshapen."""
    if not isinstance(network, SegFormer):
        raise UsageError(f"{where}: holds weights by the hub's names of SegFormer; name the network segformer.")
    # Linear layers of the hub have two dimensions, and are 1x1 convolutions here.
    shaped = {
        name: tensor[..., None, None] if re.fullmatch(r"decode_head\.linear_c\.\d\.proj\.weight", name) else tensor
        for name, tensor in state.items()
    }
    return renamed_state(network, shaped, _their_name, where, f"SegFormer-{network.variant.upper()}")


def _their_name(name: str) -> str:
    for ours, theirs in NAMES:
        if re.match(ours, name):
            return re.sub(ours, theirs, name)
    raise AssertionError(f"{name} has no name in the hub's states")
