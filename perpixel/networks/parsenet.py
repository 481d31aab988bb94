"""ParseNet: Looking Wider to See Better (Liu, Rabinovich, Berg, arXiv:1506.04579, 2015).

    image -> trunk -> fc7 (B, D, h, w) ----------------- L2 norm ---------- 1x1 score ------------+
                       |                                                                          sum -> learned x8 -> logits
                       +-> mean: pool6 (B, D, 1, 1) ---- L2 norm, dropout - 1x1 score, broadcast -+

Late fusion, drawn here, adds the scores. Early fusion, the paper's figure 1, concatenates the normalised features in front of one
classifier. Classifiers are linear, so both can be the same function. Their trainings differ.

Without arguments this is the released network of VOC 2012, `VGG_VOC2012ext`: the reduced VGG-16 of output stride 8, late
fusion, and a learned upsampling with a kernel for each class and a bias. `backbone="vgg16"` is the layout of FCN-32s. The
paper adds conv5, conv4 and conv3 to it for SIFT Flow and PASCAL-Context, and never published these networks.
Differs with this layout: the paper does not say how maps of several sizes are joined. Here all maps are enlarged bilinearly to
the finest map. Its stride s is that of the upsampling, whose kernel has the side 2s. fc6 is padded by 3, so that cells tile the
picture, and pool6 is the mean over the picture alone. 500 pixels have 16 cells; a copy by others pads by 4 and has 18.
With a timm trunk fc7, conv5, conv4 and conv3 are its deepest maps of stride 32, 16, 8 and 4."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from perpixel.backbones import VGG16, Backbone, TimmBackbone
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap, enlarge
from perpixel.losses import PixelLoss
from perpixel.networks.fcn import bilinear_kernel
from perpixel.sample import Targets

VGG_TAPS = {"pool6": "fc7", "fc7": "fc7", "conv5": "conv5", "conv4": "conv4", "conv3": "conv3"}  # pool6 is pooled from fc7
TIMM_TAPS = {"pool6": "stride32", "fc7": "stride32", "conv5": "stride16", "conv4": "stride8", "conv3": "stride4"}
OWN = ("vgg16_reduced", "vgg16")
NORM_SCALE, DROPOUT = 10.0, 0.3


class ParseNet(nn.Module):
    """The released network, or a variant of the paper; 20,534,399 parameters with 21 classes.

    `backbone`: "vgg16_reduced" as released, "vgg16" (the layout of FCN-32s) or any timm name; `width` scales VGG's layers.
    `features`: pool6 (the global context), fc7 or both, and any of conv5, conv4, conv3. `fusion`: "late" or "early".
    `normalize`: L2 norm with a "learned" or a "fixed" scale for each channel, `norm_scale` at the start, or "none".
    `dropout` is that of the normalised pool6; fc6 and fc7 of VGG have their own 0.5. `weights`: "imagenet" or none.
    Raises UnknownName or UsageError for an argument that does not exist or does not go with the others."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "vgg16_reduced",
        features: Sequence[str] = ("pool6", "fc7"),
        fusion: str = "late",
        normalize: str = "learned",
        norm_scale: float = NORM_SCALE,
        dropout: float = DROPOUT,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.features, self.fusion = tuple(features), fusion
        _check(self.features, fusion, normalize, norm_scale, dropout)
        self.trunk: Backbone
        if backbone in OWN:
            self.trunk = VGG16(width, weights=weights, reduced=backbone == "vgg16_reduced")
            taps = VGG_TAPS
        else:
            self.trunk = TimmBackbone(backbone, weights, width, own=OWN)
            taps = TIMM_TAPS
        self.taps = {name: taps[name] for name in self.features}
        missing = [tap for tap in self.taps.values() if tap not in self.trunk.channels]
        if missing:
            raise UsageError(f"{backbone} has no features of {', '.join(missing)}; choose another backbone or other features.")
        channels = {name: self.trunk.channels[tap] for name, tap in self.taps.items()}
        self.strides = {name: self.trunk.strides[tap] for name, tap in self.taps.items()}
        self.finest = min(self.features, key=lambda name: self.strides[name])
        self.normalize = nn.ModuleDict(
            {
                name: nn.Identity() if normalize == "none" else Normalize(depth, norm_scale, learned=normalize == "learned")
                for name, depth in channels.items()
            }
        )
        self.dropout = nn.Dropout(dropout)
        inputs = channels if fusion == "late" else {"early": sum(channels.values())}
        self.score = nn.ModuleDict({name: score_layer(depth, classes) for name, depth in inputs.items()})
        stride = self.strides[self.finest]
        # Padding cuts half a stride from each side. The result has h * stride rows, and the crop to the picture starts at 0.
        self.upscore = nn.ConvTranspose2d(classes, classes, 2 * stride, stride, stride // 2, groups=classes)
        with torch.no_grad():
            self.upscore.weight.copy_(bilinear_kernel(2 * stride))
        assert self.upscore.bias is not None
        nn.init.zeros_(self.upscore.bias)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """The logits. The last interpolation is learned, so no other interpolation follows."""
        features = self.trunk(images)
        maps = {name: features[tap] for name, tap in self.taps.items()}
        grid = maps[self.finest].shape[-2], maps[self.finest].shape[-1]
        if "pool6" in maps:
            maps["pool6"] = maps["pool6"].mean((2, 3), keepdim=True)
        maps = {name: self.normalize[name](x) for name, x in maps.items()}
        if "pool6" in maps:
            maps["pool6"] = self.dropout(maps["pool6"])
        if self.fusion == "late":
            # Scored before maps are enlarged, for C channels are fewer than thousands. Both steps are linear.
            scores = torch.stack([self._spread(name, self.score[name](x), grid) for name, x in maps.items()]).sum(0)
        else:
            scores = self.score["early"](torch.cat([self._spread(name, x, grid) for name, x in maps.items()], 1))
        size = images.shape[-2], images.shape[-1]
        return ScoreMap.of_cells(enlarge(self.upscore(scores), 1, size), 1)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": self.score_map(images).scores}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses

    def _spread(self, name: str, x: Tensor, grid: tuple[int, int]) -> Tensor:
        """`x` at every cell of the finest map: pool6 is repeated (the paper's "unpooling"), other maps are enlarged."""
        if name == "pool6":
            return x.expand(-1, -1, *grid)
        return enlarge(x, self.strides[name] // self.strides[self.finest], grid)


class Normalize(nn.Module):
    """y_c = scale_c x_c / sqrt(sum over channels of x^2 + 1e-10), at each position of x (B, C, h, w); `scale` is (C,)."""

    scale: Tensor

    def __init__(self, channels: int, scale: float = NORM_SCALE, learned: bool = True) -> None:
        super().__init__()
        start = torch.full((channels,), scale)
        if learned:
            self.scale = nn.Parameter(start)
        else:
            self.register_buffer("scale", start)

    def forward(self, x: Tensor) -> Tensor:
        x = x.float()  # the sum of squares exceeds half precision
        return x / (x.square().sum(1, keepdim=True) + 1e-10).sqrt() * self.scale[:, None, None]


def score_layer(inputs: int, classes: int) -> nn.Conv2d:
    """A 1x1 classifier with the released start: Caffe's "xavier", which is uniform with variance 1 / inputs, and bias 0."""
    layer = nn.Conv2d(inputs, classes, 1)
    nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear")
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer


def _check(features: tuple[str, ...], fusion: str, normalize: str, norm_scale: float, dropout: float) -> None:
    for argument, value, known in (("fusion", fusion, ("late", "early")), ("normalize", normalize, ("learned", "fixed", "none"))):
        if value not in known:
            raise did_you_mean(argument, value, known)
    for name in features:
        if name not in VGG_TAPS:
            raise did_you_mean("feature", name, VGG_TAPS)
    if len(set(features)) < len(features) or not {"pool6", "fc7"} & set(features):
        raise UsageError(f"features={list(features)}: give pool6, fc7 or both, and any of conv5, conv4, conv3, each once.")
    if normalize == "none" and norm_scale != NORM_SCALE:
        raise UsageError(f"norm_scale={norm_scale} is the scale of normalised features; it does not go with normalize='none'.")
    if "pool6" not in features and dropout != DROPOUT:
        raise UsageError(f"dropout={dropout} is that of pool6, which is not among the features; add it, or leave dropout out.")
