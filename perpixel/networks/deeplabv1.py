"""DeepLab v1: Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs (Chen et al., ICLR 2015).

    image -> VGG-16 of output stride 8: pool4 and pool5 of stride 1, conv5 with dilation 2
          -> fc6 3x3 with dilation 12, 1024 -> fc7 1x1 -> 1x1 scores -> bilinear x8          (then a CRF: `--crf deeplab`)

Without arguments this is DeepLab-LargeFOV (section 4.1 and table 2) as its prototxt has it: all pools are 3x3, and pool5 is
followed by a 3x3 mean. `head="7x7"` and `"4x4"` are the paper's other ones, with 4096 channels and dilation 4.
The loss is that of the scores at stride 8: labels are read at every eighth pixel, where the cells lie. Corners are aligned, as
Caffe's Interp does; pictures are padded with the mean colour to 8 k + 1 pixels (321 and 513 are of that kind), so that any
size works.
Differs: MSc, the scores of the picture and of four pools that a second training adds, is not here. On another trunk than VGG-16,
fc6 and fc7 stand on its deepest feature, at output stride 8."""

from __future__ import annotations

from torch import Tensor, nn

from perpixel.backbones.trunks import StagedTrunk, staged_trunk
from perpixel.backbones.vgg import HEADS, VGG16, dilated_classifier, scaled
from perpixel.layers.corners import at_cells, on_pixels, padded, spread
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

STRIDE = 8
SCORE_SD = 0.01
DROPOUT = 0.5


class DeepLabV1(nn.Module):
    """The released network, DeepLab-LargeFOV; 20,505,429 parameters with 21 classes.

    `head`: "large_fov", "7x7" or "4x4". `rate`: the dilation of fc6; without, 12 of large_fov and 4 of the others; that of 4x4 is
    even. `backbone`: "vgg16_reduced", a ResNet or Xception of ours, or any timm name. `dropout` after fc6 and fc7. `width` scales
    every layer. `weights`: "imagenet" or none.
    Raises UsageError or UnknownName for arguments that do not go together or do not exist."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "vgg16_reduced",
        head: str = "large_fov",
        rate: int | None = None,
        dropout: float = DROPOUT,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.trunk: VGG16 | StagedTrunk
        self.fc: nn.Module = nn.Identity()
        if backbone == "vgg16_reduced":
            rates = None if rate is None else (rate,)
            self.trunk = VGG16(
                width, dropout=dropout, weights=weights, reduced=True, overlapping=True, smooth=True, head=head, rates=rates
            )
            self._feature = "fc7"
            channels = self.trunk.channels["fc7"]
        else:
            self.trunk = staged_trunk(backbone, width, weights, STRIDE, (32,))
            self._feature = self.trunk.levels[32]
            self.fc = dilated_classifier(self.trunk.channels[self._feature], width, dropout, head, rate)
            channels = scaled(HEADS[head][2], width)
        self.score = gaussian_scores(channels, classes)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores on every eighth pixel."""
        features = self.trunk(padded(images, STRIDE, self.trunk.mean))
        return on_pixels(self.score(self.fc(features[self._feature])), STRIDE)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        return {"logits": spread(self.score_map(images).scores, STRIDE, (images.shape[-2], images.shape[-1]))}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """Of the scores at stride 8 and the labels of the pixels on which their cells lie."""
        losses: dict[str, Tensor] = self.loss(*at_cells(self.score_map(images).scores, targets, STRIDE))
        return losses


def gaussian_scores(inputs: int, classes: int, kernel: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A classifier that keeps the size and starts as the released ones: N(0, 0.01), and bias 0."""
    layer = nn.Conv2d(inputs, classes, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    nn.init.normal_(layer.weight, std=SCORE_SD)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
