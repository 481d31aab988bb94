"""DeepLab v1: Semantic Image Segmentation with Deep Convolutional Nets and Fully Connected CRFs (Chen et al., ICLR 2015).

    image -> VGG-16 of output stride 8: pool4 and pool5 of stride 1, conv5 with dilation 2
          -> fc6 3x3 with dilation 12, 1024 -> fc7 1x1 -> 1x1 scores -> bilinear x8          (then a CRF: `--crf deeplab`)

Without arguments this is DeepLab-LargeFOV (table 2) by its prototxt: all pools are 3x3, and a 3x3 mean follows pool5.
`head="7x7"` and `"4x4"` are the paper's other classifiers, with 4096 channels and dilation 4. They have no such mean, as in the
prototxt of DeepLab-MSc.

`msc=True` is the paper's MSc, multi-scale prediction:

    image, pool1, pool2, pool3, pool4 -> each 3x3 128 -> 1x1 128 -> 1x1 scores -+
    fc7                               -> 1x1 scores ----------------------------+-> sum

ReLU and dropout stand behind the 3x3 and the 1x1. The paper joins the features in front of one classifier; the prototxt adds the
scores of six classifiers, which is the same function. In training the 3x3 have the strides 8, 4, 2, 1, 1, so that all scores have
stride 8. After training they have stride 1: each score map keeps the stride of its feature, and is enlarged to the picture. Every
eighth pixel then has the score of training. The authors first train the network without MSc. A second training adds it, with all
weights frozen but those of MSc and of the classifier of fc7.

The loss is that of the scores at stride 8: labels are read at every eighth pixel, where the cells lie. Corners are aligned, as
in Caffe's Interp. Pictures are padded with the mean colour to sides of 8 k + 1 pixels, such as 321 and 513, so that any size
works.
Differs: on another trunk than VGG-16, fc6 and fc7 stand on its deepest feature, at output stride 8. The released network with the
4x4 classifier and without MSc has pools of 2x2; here its pools are 3x3."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.trunks import StagedTrunk, staged_trunk
from perpixel.backbones.vgg import HEADS, VGG16, dilated_classifier, scaled
from perpixel.errors import UsageError
from perpixel.layers.corners import at_cells, on_pixels, padded, spread
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Targets

STRIDE = 8
SCORE_SD = 0.01
DROPOUT = 0.5
MSC_CHANNELS = 128
MSC_SD = 0.001  # of both hidden layers at the start
MSC_FEATURES = ("image", "pool1", "pool2", "pool3", "pool4")


class DeepLabV1(nn.Module):
    """The released network, DeepLab-LargeFOV; 20,505,429 parameters with 21 classes, and 1,206,121 more with MSc.

    `backbone`: "vgg16_reduced", a ResNet or Xception of ours, or any timm name. `head`: "large_fov", "7x7" or "4x4".
    `rate`: the dilation of fc6. Its default is 12 for large_fov and 4 for the others; that of 4x4 is even.
    `msc`: adds scores of the picture and of pool1 to pool4; for vgg16_reduced alone.
    `dropout` after fc6 and fc7, and after the hidden layers of MSc. `width` scales every layer. `weights`: "imagenet" or none.
    Raises UsageError or UnknownName for arguments that do not go together or do not exist."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "vgg16_reduced",
        head: str = "large_fov",
        rate: int | None = None,
        msc: bool = False,
        dropout: float = DROPOUT,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        super().__init__()
        self.trunk: VGG16 | StagedTrunk
        self.fc: nn.Module = nn.Identity()
        if msc and backbone != "vgg16_reduced":
            raise UsageError(f"msc is for vgg16_reduced, not for {backbone}; leave it out.")
        if backbone == "vgg16_reduced":
            smooth = head == "large_fov"
            rates = None if rate is None else (rate,)
            self.trunk = VGG16(
                width, dropout=dropout, weights=weights, reduced=True, overlapping=True, smooth=smooth, head=head, rates=rates
            )
            self._feature = "fc7"
            channels = self.trunk.channels["fc7"]
        else:
            self.trunk = staged_trunk(backbone, width, weights, STRIDE, (32,))
            self._feature = self.trunk.levels[32]
            self.fc = dilated_classifier(self.trunk.channels[self._feature], width, dropout, head, rate)
            channels = scaled(HEADS[head][2], width)
        self.score = gaussian_scores(channels, classes)
        self.msc = nn.ModuleDict()
        if msc:
            hidden = scaled(MSC_CHANNELS, width)
            for name in MSC_FEATURES:
                self.msc[name] = DirectPath(3 if name == "image" else self.trunk.channels[name], hidden, classes, dropout)
        self.loss = PixelLoss()

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores on every eighth pixel; with MSc on every pixel."""
        stride = 1 if self.msc else STRIDE
        return on_pixels(self._scores(images, stride), stride)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)}."""
        size = images.shape[-2], images.shape[-1]
        stride = 1 if self.msc else STRIDE
        return {"logits": spread(self._scores(images, stride), stride, size)}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The loss of the scores at stride 8, with the labels of the pixels on which their cells lie."""
        losses: dict[str, Tensor] = self.loss(*at_cells(self._scores(images, STRIDE), targets, STRIDE))
        return losses

    def _scores(self, images: Tensor, stride: int) -> Tensor:
        """The scores on every `stride`-th pixel of the padded picture."""
        images = padded(images, STRIDE, self.trunk.mean)
        features = self.trunk(images)
        scores: Tensor = self.score(self.fc(features[self._feature]))
        if not self.msc:
            return scores
        assert isinstance(self.trunk, VGG16)
        features["image"] = (images - self.trunk.mean) * self.trunk.scale
        strides = {"image": 1, **self.trunk.strides}
        height, width = ((side + stride - 1) // stride for side in images.shape[-2:])
        total = spread(scores, STRIDE // stride, (height, width))
        for name, path in self.msc.items():
            step = max(1, stride // strides[name])
            direct = path(features[name], step)
            total = total + spread(direct, strides[name] * step // stride, (height, width))
        return total


class DirectPath(nn.Module):
    """A path of MSc from a feature to class scores (B, `classes`, h, w) of every `step`-th cell."""

    def __init__(self, inputs: int, hidden: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, hidden, 3, padding=1)
        self.fc = nn.Conv2d(hidden, hidden, 1)
        self.score = gaussian_scores(hidden, classes)
        self.dropout = nn.Dropout(dropout)
        for layer in (self.conv, self.fc):
            assert layer.bias is not None
            nn.init.normal_(layer.weight, std=MSC_SD)
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor, step: int) -> Tensor:
        x = F.conv2d(x, self.conv.weight, self.conv.bias, step, padding=1)
        x = self.dropout(x.relu())
        x = self.dropout(self.fc(x).relu())
        scores: Tensor = self.score(x)
        return scores


def gaussian_scores(inputs: int, classes: int, kernel: int = 1, dilation: int = 1) -> nn.Conv2d:
    """A classifier that keeps the size. As in the released files its weights start at N(0, 0.01), and its bias at 0."""
    layer = nn.Conv2d(inputs, classes, kernel, padding=dilation * (kernel // 2), dilation=dilation)
    nn.init.normal_(layer.weight, std=SCORE_SD)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    return layer
