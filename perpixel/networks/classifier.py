"""A classifier of whole pictures, for trunks to learn from before they see scenes (Lin et al., Network in Network, ICLR 2014,
section 3.2: the mean of each map of features, one linear layer).

    images -> trunk -> mean over the picture -> linear -> scores (B, C), the same at every pixel

The networks of the review begin with trunks that learned on ImageNet in this way. On `things`, whose pictures have one class
each, training it is the training of any network: its pixel accuracy is the accuracy of the classifier."""

from __future__ import annotations

from torch import Tensor, nn

from perpixel.backbones.trunks import StagedTrunk, staged_trunk
from perpixel.backbones.vgg import VGG16
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

VGG = ("vgg16", "vgg16_reduced")


class Classifier(nn.Module):
    """`backbone`: "vgg16" without fc6 and fc7, "vgg16_reduced" with them, ResNet, Xception or any timm name;
    `stem` of a ResNet: "plain" or "deep". `weights`: "imagenet" or none. `width` scales every layer.

    Raises what the trunks raise."""

    def __init__(
        self, classes: int = 21, backbone: str = "resnet50", stem: str = "plain", width: float = 1.0, weights: str | None = None
    ) -> None:
        super().__init__()
        self.trunk: VGG16 | StagedTrunk
        if backbone in VGG:
            reduced = backbone == "vgg16_reduced"
            self.trunk = VGG16(width, classifier=reduced, weights=weights, reduced=reduced)
        else:
            self.trunk = staged_trunk(backbone, width, weights, needed=(32,), stem=stem)
        self.deepest = list(self.trunk.channels)[-1]
        self.score = nn.Conv2d(self.trunk.channels[self.deepest], classes, 1)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """One cell, which is the picture."""
        scores = self.score(self.trunk(images)[self.deepest].mean((2, 3), keepdim=True))
        return ScoreMap.stretched(scores, (images.shape[-2], images.shape[-1]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": self.score_map(images).scores.expand(-1, -1, *images.shape[-2:])}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.loss(self(images)["logits"], targets)
        return losses
