"""torchvision's segmentation networks, with torchvision's modules and names, so that its weights fit.

    fcn_*        ResNet of stride 8 -> two 3x3 and 1x1 convolutions             (after Long et al., CVPR 2015)
    deeplabv3_*  ResNet of stride 8, or MobileNetV3 of stride 16 -> ASPP        (after Chen et al., arXiv 2017)
    lraspp_*     MobileNetV3 of stride 16 -> a gated branch, added at stride 8  (Howard et al., ICCV 2019)

The scores are stretched bilinearly to the picture, as in torchvision, and not enlarged by exactly the stride.
`torchvision_state` takes a state dict of torchvision. `fetch` gets the state dict that torchvision publishes.
Differs: torchvision's `backbone` is `trunk`, its results "out" and "aux" are "logits" and "auxiliary"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.fetch import imagenet_state, published_state
from perpixel.backbones.states import renamed_state
from perpixel.backbones.vgg import IMAGENET_MEAN, IMAGENET_STD
from perpixel.classes import ClassTable, distinct_colours
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.networks import mask_rcnn
from perpixel.sample import Targets

PREFIX = "torchvision_"  # of the names in NETWORKS: the plain ones are the papers' own networks
ARCHITECTURES = (
    "fcn_resnet50",
    "fcn_resnet101",
    "deeplabv3_resnet50",
    "deeplabv3_resnet101",
    "deeplabv3_mobilenet_v3_large",
    "lraspp_mobilenet_v3_large",
)
PUBLISHED = tuple(PREFIX + architecture for architecture in ARCHITECTURES)
LIGHTEST = "torchvision_lraspp_mobilenet_v3_large"  # 12 MB, and the fastest
AUXILIARY_WEIGHT = 0.5  # of torchvision's reference training


class TorchvisionNetwork(nn.Module):
    """torchvision's `architecture`, with the auxiliary head where its published weights have one.

    `weights`: "imagenet" for the trunk, from torchvision's loader, or none.
    Raises ResourceError when weights cannot be fetched."""

    mean: Tensor
    std: Tensor

    def __init__(self, classes: int = 21, architecture: str = "fcn_resnet50", weights: str | None = None) -> None:
        from torchvision.models import get_model_builder  # only now: it takes two seconds to import

        super().__init__()
        self.architecture = architecture
        self.low_and_high = architecture.startswith("lraspp")  # its classifier takes two features of the trunk
        options = {} if self.low_and_high else {"aux_loss": True}
        body = get_model_builder(architecture)(weights=None, weights_backbone=None, num_classes=classes, **options)
        self.trunk: nn.Module = body.backbone
        self.classifier: nn.Module = body.classifier
        self.aux_classifier: nn.Module | None = getattr(body, "aux_classifier", None)
        # Of the ImageNet weights with which all published trainings began. They are no weights, so no state has them.
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(3, 1, 1), persistent=False)
        self.loss = PixelLoss()
        if weights == "imagenet":
            self._load_imagenet()
        elif weights not in (None, "none"):
            raise did_you_mean("weights", weights, ("imagenet", "none"))

    def score_map(self, images: Tensor) -> ScoreMap:
        """Class scores at stride 8 or 16, stretched over the picture."""
        return ScoreMap.stretched(self._scores(self._features(images)), (images.shape[-2], images.shape[-1]))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """images (B, 3, H, W) in [0, 1] -> {"logits": (B, C, H, W)} and, with an auxiliary head, its logits as "auxiliary"."""
        features = self._features(images)
        scores = {"logits": self._scores(features)}
        if self.aux_classifier is not None:
            scores["auxiliary"] = self.aux_classifier(features["aux"])
        size = images.shape[-2:]
        return {name: F.interpolate(part, size, mode="bilinear", align_corners=False) for name, part in scores.items()}

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """The loss of the logits, and half of the loss of the auxiliary logits as `auxiliary_NAME`."""
        scores = self(images)
        losses: dict[str, Tensor] = self.loss(scores["logits"], targets)
        if "auxiliary" in scores:
            for name, loss in self.loss(scores["auxiliary"], targets).items():
                losses[f"auxiliary_{name}"] = AUXILIARY_WEIGHT * loss
        return losses

    def _features(self, images: Tensor) -> dict[str, Tensor]:
        features: dict[str, Tensor] = self.trunk((images - self.mean) / self.std)
        return features

    def _scores(self, features: dict[str, Tensor]) -> Tensor:
        scores: Tensor = self.classifier(features if self.low_and_high else features["out"])
        return scores

    def _load_imagenet(self) -> None:
        state = imagenet_state(self.architecture.split("_", 1)[1], "use `--weights none`")
        named = {name.removeprefix("features."): tensor for name, tensor in state.items()}
        self.trunk.load_state_dict({name: named[name] for name in self.trunk.state_dict()})


def torchvision_state(network: nn.Module, state: Mapping[str, Tensor], where: str = "the file") -> dict[str, Tensor]:
    """The state dict for `network`, a torchvision network of `networks.build` or Mask R-CNN, from torchvision's own `state`.

    Raises UsageError for another network, UntrustedFile that lists tensors that are missing, unknown or misshapen."""
    if isinstance(network, TorchvisionNetwork):
        return renamed_state(network, state, _their_name, where, f"torchvision's {network.architecture}")
    if isinstance(network, mask_rcnn.MaskRCNN):
        return renamed_state(network, state, mask_rcnn.torchvision_name, where, "torchvision's maskrcnn_resnet50_fpn")
    raise UsageError(f"{where}: holds weights by torchvision's names; name a network of {', '.join(PUBLISHED)}, mask_rcnn.")


@dataclass(frozen=True)
class Published:
    """A network's weights as torchvision publishes them, the file they lie in, the classes (VOC's 21) and the shorter side of
    the pictures that they were judged on."""

    state: dict[str, Tensor]
    file: Path
    classes: ClassTable
    side: int


def fetch(name: str) -> Published:
    """The weights of torchvision for `name` of PUBLISHED. Its loader fetches them once into torch's cache (`TORCH_HOME`).

    Raises ResourceError when it cannot be fetched, UntrustedFile when it is damaged."""
    from torchvision.models import get_model_weights

    weights: Any = get_model_weights(name.removeprefix(PREFIX)).DEFAULT
    command = f"perpixel import FILE --network {name} --classes voc2012 --out FOLDER"
    state, file = published_state(weights, f"the weights of {name}", f"get {weights.url} elsewhere and run `{command}`")
    names = tuple(category.strip("_") for category in weights.meta["categories"])
    colours = ((0, 0, 0), *distinct_colours(len(names) - 1))  # VOC's own, background black
    classes = ClassTable(names, colours, tuple((i,) for i in range(len(names))))
    return Published(state, file, classes, weights.transforms().resize_size[0])


def _their_name(name: str) -> str:
    return f"backbone.{name.removeprefix('trunk.')}" if name.startswith("trunk.") else name
