"""FCN: Fully Convolutional Networks (Long, Shelhamer, Darrell, CVPR 2015; Shelhamer et al., PAMI 2017).

    image -> trunk -> pool3 (stride 8), pool4 (16), fc7 (32) -> a 1x1 score layer on each
    32s: score_fr                                      -> bilinear x32
    16s: score_fr x2 + score_pool4                     -> bilinear x16
    8s: (score_fr x2 + score_pool4) x2 + score_pool3   -> bilinear x8
    8s at once: as 8s, of pool4 x 0.01 and pool3 x 0.0001

On "vgg16" and "alexnet" this is the authors' published network: padding 100, pools that round up, frozen bilinear kernels, and
score layers that start at zero. The first pixel of each crop follows from the places of all windows before it (`Step`).
Differs: with `padding=1`, and on other trunks, maps are enlarged about their own centres, their edges are repeated, and nothing
is cropped. This holds for "googlenet" too, which the authors never released. The cells of timm's trunks are assumed to tile the
picture."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones import VGG16, AlexNet, GoogLeNet, TimmBackbone
from perpixel.backbones.places import PICTURE, Place, cells, places
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap, enlarge
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

PUBLISHED = ("vgg16", "alexnet")
PAPER_PADDING = 100
TAPS = {  # the features of our own trunks, by stride
    "vgg16": {32: "fc7", 16: "pool4", 8: "pool3"},
    "alexnet": {32: "fc7", 16: "pool2", 8: "pool1"},
    "googlenet": {32: "inception_5b", 16: "inception_4e", 8: "inception_3b"},
}
DROPOUT = {"vgg16": 0.5, "alexnet": 0.5, "googlenet": 0.4}  # of the classifiers
AT_ONCE = {16: 0.01, 8: 0.0001}  # fixed scales of the features, by stride
UPSAMPLING = ("none", "intermediate", "all")
Trunk = VGG16 | AlexNet | GoogLeNet | TimmBackbone


class FCN(nn.Module):
    """FCN-32s, 16s or 8s by `stride`, on `backbone` ("vgg16", "alexnet", "googlenet" or any timm name).

    `layer` scores that feature of the trunk alone, at its own stride: pool3, pool4 or pool5 (FCN-pool3 ... of PAMI).
    `width` scales every layer of our own trunks. `padding` of the first convolution: 100 as published on vgg16 and alexnet, or
    1, which stands for the trunk's ordinary paddings. `dropout` is by default that of the classifier: 0.5, or GoogLeNet's 0.4.
    `learned_upsampling`: "none" as released, "intermediate" as in CVPR 2015 (all but the last), or "all"; learned kernels
    start bilinear and join all classes. `at_once` scales the skips. `weights`: "imagenet" or none.
    Raises UsageError for arguments that do not go together."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "vgg16",
        stride: int = 8,
        at_once: bool = False,
        layer: str | None = None,
        width: float = 1.0,
        padding: int | None = None,
        dropout: float | None = None,
        learned_upsampling: str = "none",
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if stride not in (32, 16, 8):
            raise UsageError(f"FCN has the strides 32, 16 and 8, not {stride}.")
        if padding not in (None, 1, PAPER_PADDING):
            raise UsageError(f"padding {padding}: FCN is published with 100; the other choice is 1.")
        if padding == PAPER_PADDING and backbone not in PUBLISHED:
            raise UsageError(f"padding 100 is published for {' and '.join(PUBLISHED)}, not for {backbone}; leave it out.")
        if learned_upsampling not in UPSAMPLING:
            raise did_you_mean("learned_upsampling", learned_upsampling, UPSAMPLING)
        if at_once and layer is not None:
            raise UsageError(f"fcn8s_atonce adds the scores of three layers; take another FCN to score {layer} alone.")
        self.as_published = backbone in PUBLISHED and padding != 1
        self.trunk, place_of = trunk_and_places(backbone, width, self.as_published, dropout, weights, layer)
        self.taps = {place_of[layer].stride: layer} if layer else taps_of(backbone, self.trunk, stride)
        self.stride = min(self.taps)
        self.score = nn.ModuleDict({tap: nn.Conv2d(self.trunk.channels[tap], classes, 1) for tap in self.taps.values()})
        for parameter in self.score.parameters():
            nn.init.zeros_(parameter)
        self.skip_scale = nn.Module()
        for level, tap in self.taps.items():
            if at_once and level in AT_ONCE:
                self.skip_scale.register_buffer(tap, torch.full((self.trunk.channels[tap],), AT_ONCE[level]))

        self.steps: list[Step] = []  # between scores
        place = place_of[self.taps[max(self.taps)]]
        for coarse, fine in pairwise(self.taps.values()):
            self.steps.append(Step.between(coarse, place, place_of[fine]))
            place = place_of[fine]
            if self.as_published:  # then the finer map is cropped to the enlarged map, else the enlarged map to the finer
                place = Place(place.stride, place.shift + self.steps[-1].offset)
        self.place, self.last = place, Step.between("final", place, PICTURE)
        learned = {"none": [], "intermediate": self.steps, "all": [*self.steps, self.last]}[learned_upsampling]
        self.upsample = nn.ModuleDict({step.name: learned_bilinear(classes, step) for step in learned})
        for step in (*self.steps, self.last):
            self.register_buffer(f"bilinear{step.side}", bilinear_kernel(step.side), persistent=False)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at `stride`, before the last interpolation. With a learned last interpolation, at the pictures' size."""
        if self.last.name in self.upsample:
            return ScoreMap.of_cells(self(images)["logits"], 1)
        return ScoreMap(self._fused(images), self.stride, self.place.shift)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": self._enlarged(self._fused(images), self.last, (images.shape[-2], images.shape[-1]))}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses

    def _fused(self, images: Tensor) -> Tensor:
        """The scores of the deepest feature, enlarged and added to those of the next, until `stride`."""
        features = self.trunk(images)
        for tap, scale in self.skip_scale.named_buffers():
            features[tap] = features[tap] * scale[:, None, None]
        scores: Tensor
        scores, *skips = (self.score[tap](features[tap]) for tap in self.taps.values())
        for step, skip in zip(self.steps, skips, strict=True):
            if self.as_published:
                scores = self._transposed(scores, step)
                scores = scores + crop(skip, -step.offset, scores.shape[-2:])
            else:
                scores = skip + self._enlarged(scores, step, skip.shape[-2:])
        return scores

    def _enlarged(self, scores: Tensor, step: Step, size: torch.Size | tuple[int, int]) -> Tensor:
        """`scores` on the finer grid of `step`, with `size` = (height, width)."""
        if self.as_published:
            return crop(self._transposed(scores, step), step.offset, size)
        if step.name in self.upsample:
            # A cell before and two behind repeat the edges, so that learned kernels start equal to `enlarge`.
            around = F.pad(scores, (1, 2, 1, 2), mode="replicate")
            return crop(self._transposed(around, step), step.offset + step.factor, size)
        return enlarge(scores, step.factor, (size[0], size[1]), step.first)

    def _transposed(self, scores: Tensor, step: Step) -> Tensor:
        """The transposed convolution, without padding: learned, or frozen, each class by itself."""
        if step.name in self.upsample:
            learned: Tensor = self.upsample[step.name](scores)
            return learned
        kernel = self.get_buffer(f"bilinear{step.side}").to(scores.dtype)
        classes = scores.shape[1]
        return F.conv_transpose2d(scores, kernel.expand(classes, 1, -1, -1), stride=step.factor, groups=classes)


class Step(NamedTuple):
    """An enlargement by `factor` that puts the centre of cell 0 on `first` of the finer grid.

    `name` is that of the enlarged scores: the feature whose scores were added last, or "final"."""

    name: str
    factor: int
    first: float

    @classmethod
    def between(cls, name: str, coarse: Place, fine: Place) -> Step:
        factor = coarse.stride // fine.stride
        return cls(name, factor, fine.shift - factor * coarse.shift)

    @property
    def side(self) -> int:
        """Side of the kernel: 2 factor, or 2 factor - 1 where only an odd side puts centres on pixels (AlexNet)."""
        return 2 * self.factor - (self.first % 1 == 0)

    @property
    def offset(self) -> int:
        """The start of the finer grid in the output of the transposed convolution; negative when the output starts later."""
        return int((self.side - 1) / 2 - self.first)


def trunk_and_places(
    backbone: str, width: float, as_published: bool, dropout: float | None, weights: str | None, layer: str | None
) -> tuple[Trunk, dict[str, Place]]:
    """The trunk, with `layer` as its last feature if given, and the places of its features."""
    if backbone not in TAPS:
        if dropout is not None or layer is not None:
            raise UsageError(f"dropout and layer are for vgg16, alexnet and googlenet, not for {backbone}; leave them out.")
        timm = TimmBackbone(backbone, weights, width, own=TAPS)
        return timm, {tap: cells(stride) for tap, stride in timm.strides.items()}
    padding = PAPER_PADDING if as_published else 1
    places_of_features = places(backbone, padding)
    *layers, deepest = places_of_features
    if layer is not None and layer not in layers:
        raise did_you_mean(f"layer of {backbone}", layer, layers)
    dropout = DROPOUT[backbone] if dropout is None else dropout
    if backbone == "alexnet":
        return AlexNet(width, padding, dropout, weights, layer or deepest), places_of_features
    if backbone == "googlenet":
        return GoogLeNet(width, dropout, weights, layer or deepest), places_of_features
    vgg = VGG16(width, padding, classifier=layer is None, dropout=dropout, weights=weights)
    if layer is not None:  # layers without a gradient would cost time, and stop DistributedDataParallel
        pools = [index for index, module in enumerate(vgg.features) if isinstance(module, nn.MaxPool2d)]
        del vgg.features[pools[layers.index(layer)] + 1 :]
    return vgg, places_of_features


def taps_of(backbone: str, trunk: Trunk, stride: int) -> dict[int, str]:
    """The trunk's features of the strides 32, 16 and 8, coarsest first, as far as `stride`."""
    taps = TAPS.get(backbone, {level: f"stride{level}" for level in (32, 16, 8)})
    missing = [tap for tap in reversed(taps.values()) if tap not in trunk.channels]
    if missing:
        raise UsageError(f"{backbone} has no features of {', '.join(missing)}, which FCN needs; choose another backbone.")
    return {level: tap for level, tap in taps.items() if level >= stride}


def learned_bilinear(classes: int, step: Step) -> nn.ConvTranspose2d:
    """A transposed convolution from all classes to all, without bias. It starts as bilinear interpolation of each class."""
    layer = nn.ConvTranspose2d(classes, classes, step.side, stride=step.factor, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.eye(classes)[:, :, None, None] * bilinear_kernel(step.side))
    return layer


def crop(features: Tensor, offset: int, size: torch.Size | tuple[int, int]) -> Tensor:
    """The window of `size` = (height, width) that starts at `offset` on both sides: Caffe's Crop, not a centre crop."""
    return features[..., offset : offset + size[0], offset : offset + size[1]]


def bilinear_kernel(side: int) -> Tensor:
    """(side, side) weights of bilinear interpolation, as from `surgery.upsample_filt` of the authors' code."""
    factor = (side + 1) // 2
    centre = factor - 1 if side % 2 else factor - 0.5
    line = 1 - (torch.arange(side, dtype=torch.float32) - centre).abs() / factor
    return line[:, None] * line[None, :]
