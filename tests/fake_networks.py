"""Small networks of objects, of both contracts, and of pixels on a ResNet.

A test makes them known by `monkeypatch.setitem(NETWORKS, NAME, Blobs)`."""

import numpy as np
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional as F

from perpixel.backbones.resnet import ResNet
from perpixel.layers.score_map import ScoreMap
from perpixel.losses import PixelLoss
from perpixel.sample import Instances, InstanceTargets, Targets


def targets_of(masks: torch.Tensor, class_ids: list[int], crowd: list[bool] | None = None) -> InstanceTargets:
    """Objects by their masks (N, H, W), of which the last has what several share, with the boxes of what shows; without a pixel
    a box has no area."""
    numbers = torch.zeros(masks.shape[1:], dtype=torch.int32)
    for number, mask in enumerate(masks, start=1):
        numbers[mask] = number
    boxes = []
    for number in range(1, len(masks) + 1):
        rows, columns = ((numbers == number).any(axis).nonzero().flatten().tolist() for axis in (1, 0))
        boxes.append([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1] if rows else [0, 0, 0, 0])
    return InstanceTargets(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4), numbers, torch.tensor(class_ids, dtype=torch.int64),
        torch.tensor(crowd or [False] * len(masks), dtype=torch.bool),
    )  # fmt: skip


def all_masks(objects: InstanceTargets) -> torch.Tensor:
    """The masks of all objects, bool (N, H, W)."""
    return objects.masks(torch.arange(len(objects.class_ids)))


class Blobs(nn.Module):
    """A network of objects: the connected regions of at least 4 pixels in which a linear function of the colour is above 0."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.colour = nn.Conv2d(3, classes, 1)  # -> one map (B, C, H, W), above 0 on the objects of each class

    def losses(self, images: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        maps, judged = self.colour(images), targets.labels != 255
        truth = torch.zeros_like(maps)
        for picture, objects in enumerate(targets.instances):
            for mask, class_id, crowd in zip(all_masks(objects), objects.class_ids, objects.crowd, strict=True):
                truth[picture, class_id][mask] = 1
                judged[picture] &= ~(mask & crowd)
        loss = F.binary_cross_entropy_with_logits(maps, truth, reduction="none").mean(1)
        return {"objects": (loss * judged).sum() / judged.sum().clamp(min=1)}

    @torch.no_grad()
    def detect(self, images: torch.Tensor, size: tuple[int, int] | None = None) -> list[Instances]:
        probabilities = self.colour(images).sigmoid()
        if size is not None:
            probabilities = F.interpolate(probabilities, size)
        return [self._objects(maps) for maps in probabilities.cpu().numpy()]

    def _objects(self, maps: np.ndarray) -> Instances:
        masks, class_ids, scores = [np.zeros((0, *maps.shape[1:]), bool)], [], []
        for class_id, probabilities in enumerate(maps):
            numbers, count = ndimage.label(probabilities > 0.5)
            for mask in (numbers == number for number in range(1, count + 1)):
                if mask.sum() >= 4:
                    masks.append(mask[None])
                    class_ids.append(class_id)
                    scores.append(probabilities[mask].mean())
        return Instances(np.concatenate(masks), np.array(class_ids, np.int64), np.array(scores, np.float32))


class NormedBlobs(Blobs):
    """`Blobs` with batch normalisation; before it a bias would have no gradient but rounding."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.colour = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), nn.BatchNorm2d(4), nn.Conv2d(4, classes, 1))


class BlobsAndPixels(Blobs):
    """A network that keeps both contracts: it finds objects, and gives every pixel a class."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__(classes)
        self.classify, self.loss = nn.Conv2d(3, classes, 1), PixelLoss()

    def score_map(self, images: torch.Tensor) -> ScoreMap:
        return ScoreMap.of_cells(self.classify(images), 1)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.score_map(images).scores}

    def losses(self, images: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        return super().losses(images, targets) | self.loss(self(images)["logits"], targets)


class OnResNet(nn.Module):
    """A network of pixels on a thin ResNet-50 with batch normalisation, of stride 8."""

    def __init__(self, classes: int = 2) -> None:
        super().__init__()
        self.trunk, self.loss = ResNet("resnet50", width=0.05, last="res3"), PixelLoss()
        self.score = nn.Conv2d(self.trunk.channels["res3"], classes, 1)

    def score_map(self, images: torch.Tensor) -> ScoreMap:
        return ScoreMap.of_cells(self.score(self.trunk(images)["res3"]), 8)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": F.interpolate(self.score_map(images).scores, images.shape[-2:], mode="bilinear")}

    def losses(self, images: torch.Tensor, targets: Targets) -> dict[str, torch.Tensor]:
        return self.loss(self(images)["logits"], targets)
