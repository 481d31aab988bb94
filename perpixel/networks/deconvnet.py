"""DeconvNet: Learning Deconvolution Network for Semantic Segmentation (Noh, Hong, Han, ICCV 2015).

    side                 channels                                        channels             side
    224  conv1_1-2       64  64      pool1 ---- switches ----> unpool1   deconv1_1-2   64  64      224 -> 1x1 score -> logits
    112  conv2_1-2      128 128      pool2 ------------------> unpool2   deconv2_1-2  128  64      112
     56  conv3_1-3      256 256 256  pool3 ------------------> unpool3   deconv3_1-3  256 256 128   56
     28  conv4_1-3      512 512 512  pool4 ------------------> unpool4   deconv4_1-3  512 512 256   28
     14  conv5_1-3      512 512 512  pool5 ------------------> unpool5   deconv5_1-3  512 512 512   14
      7  fc6, 7x7      4096          fc7 4096, at one cell               fc6-deconv, 7x7  512        7

Batch normalisation and ReLU follow every convolution and deconvolution but the score, and there is no dropout. Deconvolutions
of 3x3 have stride 1. Unpooling enlarges: it puts every value back to the place of its maximum, among zeros. Sides, names and
channels follow the authors' prototxt (HyeonwooNoh/DeconvNet), which figure 2 draws.

The network sees squares of side 224, which are crops around proposals. Pictures of other sizes are warped to that square, and
their scores are warped back."""

from __future__ import annotations

from collections import OrderedDict
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones import VGG16
from perpixel.backbones.vgg import scaled
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

STRIDE = 32  # of pool5
DECONVOLUTIONS = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64, 64))  # channels, from unpool5 to unpool1
UNPOOLINGS = ("switches", "corner", "bilinear")
EPS, SHIFT, SD = 1e-9, 0.001, 0.01  # of batch normalisation, its shift at the start, weights at the start


class DeconvNet(nn.Module):
    """The published network; 251,805,653 parameters with 21 classes.

    `side` of the square that it sees is a multiple of 32, and fc6 and fc6-deconv have kernels of side / 32. `unpooling` is
    "switches" as published. For comparison it is "corner", which puts values to the first place of their window, or "bilinear".
    `batch_norm=False` leaves normalisation out, for comparison too. `width` scales every layer.
    `weights`: "imagenet" or none. fc6 starts anew when `side` is not 224.
    Raises UnknownName or UsageError for an argument that does not exist or does not fit."""

    def __init__(
        self,
        classes: int = 21,
        side: int = 224,
        unpooling: str = "switches",
        batch_norm: bool = True,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if side < STRIDE or side % STRIDE:
            raise UsageError(f"side {side}: DeconvNet sees squares whose side is a multiple of {STRIDE}, 224 as published.")
        if unpooling not in UNPOOLINGS:
            raise did_you_mean("unpooling", unpooling, UNPOOLINGS)
        self.side, self.unpooling = side, unpooling
        self.trunk = Encoder(side, batch_norm, width, weights)
        channels = scaled(DECONVOLUTIONS[0][0], width)
        self.fc6_deconv = deconvolution(self.trunk.channels, channels, side // STRIDE, 0, batch_norm)
        self.deconv = nn.ModuleList()
        for block in DECONVOLUTIONS:
            depths = [channels, *(scaled(outputs, width) for outputs in block)]
            self.deconv.append(nn.Sequential(*(deconvolution(*pair, 3, 1, batch_norm) for pair in pairwise(depths))))
            channels = depths[-1]
        self.score = nn.Conv2d(channels, classes, 1)
        for layer in (self.score, *(module for module in self.modules() if isinstance(module, nn.ConvTranspose2d))):
            nn.init.normal_(layer.weight, std=SD)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores of the square of `side`, stretched over the pictures."""
        return ScoreMap.stretched(self._scores(images), (images.shape[-2], images.shape[-1]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        scores = self._scores(images)
        if scores.shape[-2:] != images.shape[-2:]:
            scores = F.interpolate(scores, images.shape[-2:], mode="bilinear", align_corners=False)
        return {"logits": scores}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The loss at the pictures' own size. Crops of `side`, as published, have the size of the network's scores."""
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses

    def _scores(self, images: Tensor) -> Tensor:
        """(B, C, side, side)."""
        if images.shape[-2:] != (self.side, self.side):
            # Smoothed when it shrinks, like MATLAB's imresize, with which the authors warp their boxes.
            images = F.interpolate(images, (self.side, self.side), mode="bilinear", align_corners=False, antialias=True)
        features, switches = self.trunk(images)  # (B, 4096, 1, 1)
        x = self.fc6_deconv(features)  # (B, 512, side / 32, side / 32)
        for deconvolutions in self.deconv:
            x = deconvolutions(unpool(x, switches.pop(), self.unpooling))
        scores: Tensor = self.score(x)
        return scores


class Encoder(nn.Module):
    """VGG-16 with batch normalisation: images (B, 3, side, side) -> fc7 (B, channels, 1, 1) and the switches of pool1 .. pool5.

    A switch is the place of a maximum in its plane, of equal values the first. Parameters have the names of `VGG16`, so that
    weights of other networks on VGG-16 fit. `norm` holds batch normalisation, in the order of the convolutions."""

    mean: Tensor
    scale: Tensor

    def __init__(self, side: int, batch_norm: bool, width: float, weights: str | None) -> None:
        super().__init__()
        vgg = VGG16(width, dropout=0.0, weights=weights)
        assert vgg.fc is not None
        self.features, self.fc = vgg.features, vgg.fc
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                layer.return_indices = True
        fc6, cells = vgg.fc[0], (side // STRIDE, side // STRIDE)
        assert isinstance(fc6, nn.Conv2d)
        fc6.padding = (0, 0)
        if fc6.kernel_size != cells:
            self.fc[0] = fc6 = nn.Conv2d(fc6.in_channels, fc6.out_channels, cells)
            nn.init.kaiming_normal_(fc6.weight, nonlinearity="relu")
            nn.init.zeros_(fc6.bias)  # type: ignore[arg-type]
        convolutions = [layer for layer in (*self.features, *self.fc) if isinstance(layer, nn.Conv2d)]
        self.norm = nn.ModuleList(normalisation(layer.out_channels) for layer in convolutions if batch_norm)
        self.channels = convolutions[-1].out_channels
        self.register_buffer("mean", vgg.mean)
        self.register_buffer("scale", vgg.scale)

    def forward(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        x, switches, norms = (images - self.mean) * self.scale, [], iter(self.norm)
        for layer in (*self.features, *self.fc):
            if isinstance(layer, nn.MaxPool2d):
                x, places = layer(x)
                switches.append(places)
            else:
                x = layer(x)
            if self.norm and isinstance(layer, nn.Conv2d):
                x = next(norms)(x)
        return x, switches


def normalisation(channels: int) -> nn.BatchNorm2d:
    norm = nn.BatchNorm2d(channels, eps=EPS)
    nn.init.constant_(norm.bias, SHIFT)
    return norm


def deconvolution(inputs: int, outputs: int, side: int, padding: int, batch_norm: bool) -> nn.Sequential:
    """A deconvolution of stride 1, batch normalisation, ReLU."""
    parts: OrderedDict[str, nn.Module] = OrderedDict(layer=nn.ConvTranspose2d(inputs, outputs, side, padding=padding))
    if batch_norm:
        parts["norm"] = normalisation(outputs)
    parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def unpool(x: Tensor, switches: Tensor, how: str) -> Tensor:
    """(B, D, h, w) -> (B, D, 2h, 2w): values go to the places in `switches`, to the first corner of each window, or bilinearly.

    `switches` come from a pool of 2x2 windows whose result had the shape of x."""
    if how == "switches":
        return F.max_unpool2d(x, switches, (2, 2))
    if how == "bilinear":
        return F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
    batch, depth, height, width = x.shape
    spread = x.new_zeros(batch, depth, 2 * height, 2 * width)
    spread[..., ::2, ::2] = x
    return spread
