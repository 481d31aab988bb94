"""Small networks with scores of a coarse map, whose mean colour or output stride matters. None of them is trained."""

import torch
from torch import nn
from torch.nn import functional as F

from perpixel.backbones.resnet import ResNet
from perpixel.classes import ClassTable
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets
from perpixel.weights.model_file import Model, ModelCard


class Trunk(nn.Module):
    """Subtracts a colour; then a convolution, and every `stride`th pixel of it."""

    def __init__(self, classes: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(3, classes, kernel, stride, kernel // 2)
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.convolution(images - self.mean)


class Coarse(nn.Module):
    """Scores at every `stride`th pixel, stretched over the picture."""

    def __init__(self, classes: int = 3, kernel: int = 5, stride: int = 4) -> None:
        super().__init__()
        self.trunk, self.loss = Trunk(classes, kernel, stride), PixelLoss()

    def score_map(self, images: torch.Tensor) -> ScoreMap:
        return ScoreMap.stretched(self.trunk(images), tuple(images.shape[-2:]))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.trunk(images)
        return {"logits": F.interpolate(scores, images.shape[-2:], mode="bilinear", align_corners=False)}

    def losses(self, images: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        return self.loss(self(images)["logits"], targets)


class Dilated(Coarse):
    """A ResNet of any output stride with a classifier."""

    def __init__(self, classes: int = 3, output_stride: int = 16) -> None:
        super().__init__(classes)
        self.trunk = ResNet("resnet50", width=0.05, output_stride=output_stride)
        self.score = nn.Conv2d(self.trunk.channels["res5"], classes, 1)

    @property
    def output_stride(self) -> int:
        return self.trunk.output_stride

    @output_stride.setter
    def output_stride(self, output_stride: int) -> None:
        self.trunk.output_stride = output_stride

    def score_map(self, images: torch.Tensor) -> ScoreMap:
        return ScoreMap.stretched(self.score(self.trunk(images)["res5"]), tuple(images.shape[-2:]))

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        scores = self.score_map(images).scores
        return {"logits": F.interpolate(scores, images.shape[-2:], mode="bilinear", align_corners=False)}


def model_of(network: nn.Module, classes: int = 3, scale: float = 1.0, sharpness: float = 1.0) -> Model:
    """A model of `network`; `sharpness` multiplies the weights of its convolution."""
    table = ClassTable.of([f"class {number}" for number in range(classes)])
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if "convolution" in name:
                weights *= sharpness
    return Model(network.eval(), table, ModelCard("unet", {}, table.to_json(), {}, scale, 0, {}, "", ""), "digest")
