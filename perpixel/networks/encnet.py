"""EncNet: Context Encoding for Semantic Segmentation (Zhang, Dana, Shi, Zhang, Wang, Tyagi, Agrawal, CVPR 2018), figure 2.

    image -> ResNet, stride 8 -> res5 -3x3-> (B, 512, h, w) -> x --------------------- gated -> dropout, 1x1 score -> bilinear x8
                |    |    |                        |           |                         |
                |    +res3+res4 -1x1-> 512 each ---+- 3x3      +-> 1x1 conv, encoding -> e (B, 512) -> linear, sigmoid
                |         (lateral)                                                      +-> linear: classes present (SE-loss)
                +-> res4: the branch that training alone uses

The encoding layer sums, over the picture, the residuals of its pixels to 32 learned centres (`Encoding`). The code e describes
the scene. The SE-loss asks which classes occur, so a small object counts as much as a large object.

The paper and its first author's code (zhanghang1989/PyTorch-Encoding) differ. `variant` chooses between them:

                                "code", the default                            "paper"
    e, of the 32 codes          mean                                           sum
    gate g = sigmoid(W e)       ReLU(x + x g)                                  x g
    branch on res4              3x3 conv to 256, dropout, 1x1 score:           a second context module with an SE-loss of its own;
                                a second loss over pixels                      its gate has no reader, so it has none

Scores are stretched to the picture with corners aligned, as by the authors. For sides of 8 k + 1 this is exact; for other sides
the far end moves by up to 7 pixels. In the first block of a dilated stage the dilation is half of the stage's, as in the code.
Differs: batch normalisation of the codes takes D values of each code from a picture, so that a batch of one picture can be
normalised. `train` prints a message when a layer has a single value. The SE-loss counts no void, and no picture that is all void.
With a timm trunk res5, res4 and res3 are the maps of stride 32, 16 and 8 without dilation.

The paper's ablations are arguments (PASCAL-Context val, ResNet-50, single scale, pixel accuracy / mIoU, at second hand): FCN
73.4 / 41.0; `se_loss=0, auxiliary=0` 78.1 / 47.6; as published 79.4 / 49.2. `codewords=0` is the mean over pixels in place of
the encoding layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.trunks import staged_trunk
from perpixel.backbones.vgg import scaled
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.auxiliary import auxiliary_head
from perpixel.layers.convolution import conv_norm_relu
from perpixel.layers.precision import at_least_float32, full_precision
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

STRIDE, DEPTH, CODEWORDS = 8, 512, 32
SE_WEIGHT, AUXILIARY_WEIGHT, DROPOUT = 0.2, 0.2, 0.1
VARIANTS = ("code", "paper")


class EncNet(nn.Module):
    """The network of the code or of the paper; 60,493,386 parameters with 21 classes, and 2,365,205 of the branch on res4.

    `backbone`: "resnet101", "resnet50" ... of our own with a deep stem, or any timm name; `width` scales our own and the head.
    `lateral`: join res3 and res4 to res5, as the code does for PASCAL's sets, not for ADE20K. `codewords`: centres of the
    encoding layer. `se_loss` and `auxiliary`: weights of the SE-loss and of the loss on res4; 0 leaves the layers of either out.
    `weights`: "imagenet" or none. Raises UnknownName or UsageError for an argument that does not exist or cannot work."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet101",
        variant: str = "code",
        lateral: bool = True,
        codewords: int = CODEWORDS,
        se_loss: float = SE_WEIGHT,
        auxiliary: float = AUXILIARY_WEIGHT,
        dropout: float = DROPOUT,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise did_you_mean("variant", variant, VARIANTS)
        if codewords < 0:
            raise UsageError(f"codewords = {codewords}: give 0 (the mean over pixels) or more.")
        for name, weight in (("se_loss", se_loss), ("auxiliary", auxiliary)):
            if not 0 <= weight < float("inf"):
                raise UsageError(f"{name} = {weight}: is a weight; give 0 (without) or more.")
        self.as_paper, self.se_weight, self.auxiliary_weight = variant == "paper", se_loss, auxiliary
        needed = {32, *((8, 16) if lateral else ()), *((16,) if auxiliary else ())}
        self.trunk = staged_trunk(backbone, width, weights, STRIDE, tuple(sorted(needed)), stem="deep", first_dilation="half")
        self.levels, channels, depth = self.trunk.levels, self.trunk.channels, scaled(DEPTH, width)
        self.reduce = conv_norm_relu(channels[self.levels[32]], depth, 3)
        self.lateral = nn.ModuleDict()
        self.fuse: nn.Module = nn.Identity()
        if lateral:
            self.lateral = nn.ModuleDict(
                {self.levels[stride]: conv_norm_relu(channels[self.levels[stride]], depth) for stride in (8, 16)}
            )
            self.fuse = conv_norm_relu(3 * depth, depth, 3)
        self.context = ContextEncoding(depth, depth, codewords, self.as_paper)
        self.gate = nn.Linear(depth, depth)
        self.presence = nn.Linear(depth, classes) if se_loss else None
        self.dropout = nn.Dropout(dropout)
        self.score = nn.Conv2d(depth, classes, 1)
        self.auxiliary: nn.Module | None = None
        if auxiliary and self.as_paper:
            context = ContextEncoding(channels[self.levels[16]], depth, codewords, True)
            self.auxiliary = nn.Sequential(context, nn.Linear(depth, classes))
        elif auxiliary:
            self.auxiliary = auxiliary_head(channels[self.levels[16]], classes, dropout)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at stride 8, with their corners on the corners of the picture."""
        return ScoreMap.cornered(self._scores(self.trunk(images))[0], (images.shape[-2], images.shape[-1]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}. The scores that training alone uses are in `losses`."""
        return {"logits": _stretched(self._scores(self.trunk(images))[0], images)}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The loss of the logits; in training also `se`, and the loss on res4 as `auxiliary_NAME`, each times its weight."""
        features = self.trunk(images)
        scores, code = self._scores(features)
        losses: dict[str, Tensor] = self.loss(_stretched(scores, images), targets)
        if not self.training:
            return losses
        if self.presence is not None:
            losses["se"] = self.se_weight * presence_loss(self.presence(code), targets.labels)
        if self.auxiliary is not None:
            scores = self.auxiliary(features[self.levels[16]])
            if self.as_paper:
                extra = {"se": presence_loss(scores, targets.labels)}
            else:
                extra = self.loss(_stretched(scores, images), targets)
            losses |= {f"auxiliary_{name}": self.auxiliary_weight * loss for name, loss in extra.items()}
        return losses

    def _scores(self, features: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Class scores (B, C, h, w), and the code e (B, D) of each picture."""
        x = self.reduce(features[self.levels[32]])
        if self.lateral:
            x = torch.cat([x, *(layer(features[name]) for name, layer in self.lateral.items())], 1)
        x = self.fuse(x)
        code = self.context(x)
        gated = x * self.gate(code).sigmoid()[..., None, None]
        x = gated if self.as_paper else (x + gated).relu()
        return self.score(self.dropout(x)), code


class ContextEncoding(nn.Module):
    """features (B, C, h, w) -> e (B, depth): 1x1 convolution, encoding, batch normalisation of each code, ReLU, and the mean or
    the sum over the codes. Without codewords it is the mean over the cells of the convolution."""

    def __init__(self, inputs: int, depth: int = DEPTH, codewords: int = CODEWORDS, summed: bool = False) -> None:
        super().__init__()
        self.project = conv_norm_relu(inputs, depth)
        self.encoding = Encoding(depth, codewords) if codewords else None
        self.norm = nn.BatchNorm2d(codewords) if codewords else None
        self.summed = summed

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(x)
        if self.encoding is None or self.norm is None:
            return x.mean((2, 3))
        codes: Tensor = self.norm(self.encoding(x)[..., None])[..., 0].relu()  # (B, K, D)
        return codes.sum(1) if self.summed else codes.mean(1)


class Encoding(nn.Module):
    """features (B, D, h, w) -> codes (B, K, D), which do not depend on the order of the cells.

    With residuals r_ik = x_i - d_k of the cells x_i to the centres d_k:
    a_ik = softmax over k of scale_k |r_ik|^2, and code k is the sum over i of a_ik r_ik.
    `scale` has the sign of the authors' code: it begins between -1 and 0, so that the nearest centre has the largest share.
    Distances are computed by their expansion |x|^2 - 2 x d + |d|^2, so that no tensor has h w K D values."""

    def __init__(self, depth: int, codewords: int) -> None:
        super().__init__()
        bound = (codewords * depth) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, depth).uniform_(-bound, bound))
        self.scale = nn.Parameter(torch.empty(codewords).uniform_(-1, 0))

    def shares(self, x: Tensor) -> Tensor:
        """cells x (B, N, D) -> the share a (B, N, K) of each centre in each cell; the shares of a cell sum to 1."""
        squares = x.square().sum(2, keepdim=True) - 2 * (x @ self.codewords.T) + self.codewords.square().sum(1)
        return (self.scale * squares).softmax(2)

    def forward(self, features: Tensor) -> Tensor:
        with full_precision(features):  # half precision would lose the differences between the centres in the expansion
            x = at_least_float32(features).flatten(2).transpose(1, 2)  # (B, N, D)
            shares = self.shares(x)
            codes: Tensor = shares.transpose(1, 2) @ x - shares.sum(1)[..., None] * self.codewords
        return codes


def presence_loss(scores: Tensor, labels: Tensor) -> Tensor:
    """The SE-loss: binary cross-entropy of scores (B, C) and the classes that occur in labels (B, H, W), a mean over classes and
    over the pictures in which any class occurs. Without such a picture it is 0. Void, above all class ids, is no class."""
    classes = scores.shape[1]
    present = scores.new_zeros(len(labels), classes + 1, dtype=torch.float32)
    present = present.scatter_(1, labels.flatten(1).clamp(max=classes), 1.0)[:, :classes]
    judged = present.any(1)
    losses = F.binary_cross_entropy_with_logits(scores.float(), present, reduction="none").mean(1)
    return losses.where(judged, 0.0).sum() / judged.sum().clamp(min=1)


def _stretched(scores: Tensor, images: Tensor) -> Tensor:
    return F.interpolate(scores, images.shape[-2:], mode="bilinear", align_corners=True)
