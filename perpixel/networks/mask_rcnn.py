"""Mask R-CNN (He, Gkioxari, Dollar, Girshick, ICCV 2017), on FPN (Lin et al., CVPR 2017).

    image -> trunk -> FPN: P2 ... P5 at strides 4 ... 32, and P6 -> region proposals: anchors, each an object or not, and its box
    each region -> RoIAlign 7x7, of the level of its size -> fc 1024 -> fc 1024 -> scores of the classes, and a box for each
    each object -> RoIAlign 14x14 -> four 3x3 convolutions 256 -> deconvolution x2 -> a mask of 28x28 for each class

The scores choose which mask is taken, so classes do not compete for pixels. "c4" is the network without FPN: regions of 14x14
cells of res4, the whole of res5 on each of them, masks of 14x14.
Differs: conventions are those of torchvision's `maskrcnn_resnet50_fpn`, whose weights fit (`torchvision_state`). Sides of boxes
are edges, the stride of a block is in its 3x3, training proposes up to 2,000 regions a picture (Detectron: a batch), and the
target of a mask is cut out of the object's pixels by RoIAlign (Detectron draws its polygon). The paper's res5 of "c4" sees 7x7
cells and has no stride; here, as in Detectron, it sees 14x14 with a stride of 2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from perpixel.backbones.resnet import KINDS, ResNet
from perpixel.backbones.trunks import OWN, StagedTrunk, staged_trunk
from perpixel.backbones.vgg import scaled
from perpixel.errors import UsageError, did_you_mean
from perpixel.layers.anchors import NEGATIVE, RATIOS, anchors, decode, encode, matched, share_inside
from perpixel.layers.examples import generators, ranks, sampled
from perpixel.layers.pyramid import Pyramid, coarsest
from perpixel.layers.regions import boxes_of, expanded, mask_in, mask_targets, region_features
from perpixel.losses import Mean
from perpixel.sample import Instances, InstanceTargets, Targets

STRIDES = (4, 8, 16, 32)  # of the levels that regions are cut out of
DEPTH, FC = 256, 1024
BOX_SIDE, MASK_SIDE, C4_SIDE = 7, 14, 14  # cells of a region
DIVISOR = 32  # of the sides of the network's input
ANCHORS_SEEN, ANCHORS_SHARE, ANCHOR_IOU, NO_ANCHOR_IOU = 256, 0.5, 0.7, 0.3  # of a picture; those of objects
REGIONS_SHARE, REGION_IOU = 0.25, 0.5
PROPOSAL_NMS, PROPOSAL_SIDE = 0.7, 1e-3
SCORE, NMS, SIDE = 0.05, 0.5, 1e-2  # of an object: least score, most overlap with a better one, shortest side
BOX_WEIGHTS = (10.0, 10.0, 5.0, 5.0)
BETA = 1 / 9  # of smooth L1
UNKNOWN_SHARE = 0.7  # of a box: above it the box is no example of background
POOLINGS, VARIANTS = ("align", "pool"), ("fpn", "c4")


class Proposals(NamedTuple):
    """The boxes of a level that come to the suppression of overlaps, and the boxes of a picture that are left by it, at most."""

    before: int
    after: int


class Counts(NamedTuple):
    """Proposals in training and in test, and the regions of a picture that the heads learn from."""

    training: Proposals
    test: Proposals
    regions: int


OF_FPN = Counts(Proposals(2000, 2000), Proposals(1000, 1000), 512)
OF_C4 = Counts(Proposals(12000, 2000), Proposals(6000, 300), 64)


@dataclass(frozen=True)
class Truth:
    """The M objects of a picture that a network learns from.

    `boxes` (M, 4) in pixels of the network's input. `plane` (H, W), at the picture's own size, is `numbers[i]` at the pixels of
    object i, as far as they are judged. `void` bool (H, W) marks pixels that are not judged, `unknown` these and the pixels of
    crowds; none where the picture has none."""

    boxes: Tensor
    class_ids: Tensor
    plane: Tensor
    numbers: Tensor
    void: Tensor | None
    unknown: Tensor | None


class RegionNetwork(nn.Module, ABC):
    """A network that proposes regions, and tells the class, the box and the mask of each.

    The pictures that it sees have a shorter side of `min_size`, of whose numbers training draws one and test takes the last, and
    a longer side of at most `max_size`. `sides` of anchors are those of each level. A picture has at most `detections` objects.
    Class 0 is background, and never an object.

    Void is no truth: pixels under void are not an object's, cells of a mask that are mostly void teach nothing, and a box that
    lies in void or in a crowd by more than UNKNOWN_SHARE is no example of background. Crowds are not learned. What pictures show
    under void is seen, as the surroundings of what is judged.

    A successor gives `levels`, `box_head` and `mask_head`; regions come to its heads from a level each or from `every_level`.
    Raises UsageError for arguments that do not go together."""

    box_head: nn.Module
    mask_head: nn.Module
    box_side, mask_side = BOX_SIDE, MASK_SIDE

    def __init__(
        self,
        classes: int,
        trunk: StagedTrunk,
        depth: int,
        sides: Sequence[Sequence[int]],
        min_size: Sequence[int],
        max_size: int,
        detections: int,
        roi: str = "align",
        strides: Sequence[int] = STRIDES,
        counts: Counts = OF_FPN,
        every_level: bool = False,
    ) -> None:
        super().__init__()
        if classes < 2:
            raise UsageError(f"a network of objects needs background and a class of objects, not {classes} class.")
        for name, sizes in (("min_size", min_size), ("max_size", (max_size,)), ("anchors", [s for of in sides for s in of])):
            if not sizes or min(sizes) < 1:
                raise UsageError(f"{name} = {list(sizes)}: sides in pixels are 1 or more.")
        if detections < 1:
            raise UsageError(f"detections = {detections}: must be 1 or more.")
        if roi not in POOLINGS:
            raise did_you_mean("roi", roi, POOLINGS)
        self.classes, self.void = classes, 255 if classes <= 255 else 65535
        self.trunk, self.rpn = trunk, ProposalHead(depth, len(RATIOS) * len(sides[0]))
        self.sides, self.strides, self.counts = [tuple(of) for of in sides], tuple(strides), counts
        self.min_size, self.max_size, self.detections = tuple(min_size), max_size, detections
        self.roi, self.every_level = roi, every_level

    @abstractmethod
    def levels(self, images: Tensor) -> list[Tensor]:
        """Maps of the network's input that boxes are proposed on, finest first; of `strides` are those of the heads."""

    def shared(self, regions: list[Tensor]) -> list[Tensor]:
        """What both heads do with the features of regions first."""
        return regions

    def losses(self, images: Tensor, targets: Targets) -> dict[str, Tensor]:
        """`objectness` and `rpn_box` of anchors; `classifier`, `box` and `mask` of regions. Each has the weight 1.

        Raises UsageError for an object of class 0, which is background."""
        return {name: mean.value for name, mean in self.means(images, targets).items()}

    def means(self, images: Tensor, targets: Targets) -> dict[str, Mean]:
        """The losses, and how many anchors, regions or cells of masks each is the mean of."""
        assert targets.instances is not None, "a network of objects learns from objects"
        seen, size = self._seen(images, self._drawn_size(targets))
        random = generators(targets)
        truths = [self._truth(labels, objects, size) for labels, objects in zip(targets.labels, targets.instances, strict=True)]
        levels = self.levels(seen)
        scores, changes = self.rpn(levels)
        boxes = self._anchors(levels, seen)
        proposals, anchors_of = self._proposals(scores, changes, boxes, size, self.counts.training)
        to_picture = torch.tensor([images.shape[-1] / size[1], images.shape[-2] / size[0]] * 2, device=images.device)
        of_anchors = torch.cat(scores, 1).float(), torch.cat(changes, 1).float(), torch.cat(boxes)
        count = len(of_anchors[2])
        of_count = [ranks(count, one, images.device) for one in random]
        of_regions = [ranks(count + len(truth.boxes), one, images.device) for truth, one in zip(truths, random, strict=True)]
        return {
            **_anchor_losses(*of_anchors, truths, to_picture, of_count),
            **self._region_losses(levels, proposals, anchors_of, truths, to_picture, size, of_regions),
        }

    @torch.no_grad()
    def detect(self, images: Tensor, size: tuple[int, int] | None = None) -> list[Instances]:
        """The objects of each picture, best first, but those without a pixel: masks at `size`, by default the pictures' own."""
        out = size or (images.shape[-2], images.shape[-1])
        found = []
        for boxes, scores, class_ids, masks in self.objects(images, out):
            places = expanded(boxes, masks.shape[-1]).cpu()
            crops = [mask_in(mask, place, out) for mask, place in zip(masks.cpu(), places, strict=True)]
            shown = [number for number, crop in enumerate(crops) if crop.bits.size]
            found.append(Instances.of_crops(
                [crops[number] for number in shown], out, class_ids.cpu().numpy()[shown], np.zeros(len(shown), np.bool_),
                scores.cpu().numpy()[shown],
            ))  # fmt: skip
        return found

    @torch.no_grad()
    def objects(self, images: Tensor, size: tuple[int, int]) -> list[tuple[Tensor, Tensor, Tensor, Tensor]]:
        """For each picture boxes (N, 4) in pixels at `size`, scores (N,), class ids (N,), and probabilities (N, m, m) of the mask
        in each box: at most `detections` of them, best first."""
        seen, inner = self._seen(images, self.min_size[-1])
        levels = self.levels(seen)
        scores, changes = self.rpn(levels)
        proposals, _ = self._proposals(scores, changes, self._anchors(levels, seen), inner, self.counts.test)
        scores, changes = self.box_head(self._regions(levels, proposals, self.box_side))
        counts = [len(boxes) for boxes in proposals]
        parts = zip(proposals, scores.float().softmax(1).split(counts), changes.float().split(counts), strict=True)
        chosen = [self._chosen(boxes, scores_of, changes_of, inner) for boxes, scores_of, changes_of in parts]
        logits = self.mask_head(self._regions(levels, [boxes for boxes, _, _ in chosen], self.mask_side)).float()
        class_ids = torch.cat([ids for _, _, ids in chosen])
        masks = logits[torch.arange(len(class_ids), device=class_ids.device), class_ids].sigmoid()
        scale = torch.tensor([size[1] / inner[1], size[0] / inner[0]] * 2, device=images.device)
        masks_of = masks.split([len(ids) for _, _, ids in chosen])
        return [(boxes * scale, score, ids, mask) for (boxes, score, ids), mask in zip(chosen, masks_of, strict=True)]

    @torch.no_grad()
    def work(self, images: Tensor) -> None:
        """Runs every layer as often as `detect` does at most, on regions of zeros: shapes alone tell the work."""
        levels = self.levels(self._seen(images, self.min_size[-1])[0])
        self.rpn(levels)
        copies = len(self.strides) if self.every_level else 1
        for head, side, count in (
            (self.box_head, self.box_side, self.counts.test.after), (self.mask_head, self.mask_side, self.detections),
        ):  # fmt: skip
            zeros = levels[0].new_zeros(count * len(images), levels[0].shape[1], side, side)
            head(self.shared([zeros] * copies))

    def _drawn_size(self, targets: Targets) -> int:
        """One of `min_size`, the same for all pictures that are normalised together."""
        random = None if targets.seeds is None else torch.Generator().manual_seed(targets.seeds.batch)
        return self.min_size[int(torch.randint(len(self.min_size), (), generator=random)) if len(self.min_size) > 1 else 0]

    def _seen(self, images: Tensor, shorter: int) -> tuple[Tensor, tuple[int, int]]:
        """The network's input: pictures resized, and padded with what the trunk takes for 0; and their size without padding."""
        height, width = images.shape[-2:]
        scale = min(shorter / min(height, width), self.max_size / max(height, width))
        size = max(1, int(height * scale)), max(1, int(width * scale))
        resized = F.interpolate(images, size, mode="bilinear", align_corners=False)
        padded = [-(-side // DIVISOR) * DIVISOR for side in size]
        seen = self.trunk.mean.to(images.dtype).expand(len(images), -1, *padded).clone()
        seen[..., : size[0], : size[1]] = resized
        return seen, size

    def _truth(self, labels: Tensor, objects: InstanceTargets, size: tuple[int, int]) -> Truth:
        hidden = labels == self.void
        void = hidden if hidden.any() else None
        unknown = hidden | objects.where(objects.crowd) if objects.crowd.any() else void
        plane = objects.numbers.masked_fill(hidden, 0)
        boxes = boxes_of(plane, len(objects.class_ids))
        places = (~objects.crowd & (boxes[:, 2:] > boxes[:, :2]).all(1)).nonzero().flatten()
        if (objects.class_ids[places] == 0).any():
            raise UsageError("an object has class 0, which is background to this network; let background be the first class.")
        scale = boxes.new_tensor([size[1] / labels.shape[1], size[0] / labels.shape[0]] * 2)
        return Truth(boxes[places] * scale, objects.class_ids[places], plane, places + 1, void, unknown)

    def _anchors(self, levels: Sequence[Tensor], seen: Tensor) -> list[Tensor]:
        shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
        return anchors(shapes, (seen.shape[-2], seen.shape[-1]), self.sides, seen.device)

    def _regions(self, levels: Sequence[Tensor], boxes: Sequence[Tensor], side: int) -> list[Tensor]:
        cut = region_features(levels[: len(self.strides)], self.strides, boxes, side, self.roi, self.every_level)
        return self.shared(cut)

    @torch.no_grad()
    def _proposals(
        self, scores: Sequence[Tensor], changes: Sequence[Tensor], boxes: Sequence[Tensor], size: tuple[int, int], most: Proposals
    ) -> tuple[list[Tensor], list[Tensor]]:
        """The boxes of each picture that are most likely an object, without those that overlap a better one of their level; and
        the numbers of their anchors, level after level."""
        from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes  # it takes two seconds to import

        found, numbers = [], []
        starts = np.cumsum([0, *(len(of) for of in boxes)]).tolist()
        for picture in range(len(scores[0])):
            best = [scores_of[picture].float().topk(min(most.before, scores_of.shape[1])) for scores_of in scores]
            parts = zip(changes, boxes, best, strict=True)
            chosen = torch.cat([decode(of[picture, top.indices].float(), at[top.indices]) for of, at, top in parts])
            likely = torch.cat([top.values for top in best]).sigmoid()
            level = torch.cat([torch.full_like(top.indices, number) for number, top in enumerate(best)])
            chosen = clip_boxes_to_image(chosen, size)
            kept = remove_small_boxes(chosen, PROPOSAL_SIDE)
            kept = kept[batched_nms(chosen[kept], likely[kept], level[kept], PROPOSAL_NMS)]
            found.append(chosen[kept[: most.after]])
            anchor = torch.cat([top.indices + start for top, start in zip(best, starts, strict=False)])
            numbers.append(anchor[kept[: most.after]])
        return found, numbers

    def _region_losses(
        self, levels: Sequence[Tensor], proposals: Sequence[Tensor], anchors_of: Sequence[Tensor], truths: Sequence[Truth],
        to_picture: Tensor, size: tuple[int, int], ranks_of: Sequence[Tensor],
    ) -> dict[str, Mean]:  # fmt: skip
        pictures = zip(proposals, anchors_of, truths, ranks_of, strict=True)
        drawn = [self._drawn(*of_picture, to_picture) for of_picture in pictures]
        class_ids = torch.cat([part.class_ids for part in drawn])
        of_objects = (class_ids > 0).nonzero().flatten()
        scores, changes = self.box_head(self._regions(levels, [part.boxes for part in drawn], self.box_side))
        changes = changes.float()[of_objects, class_ids[of_objects]]
        wanted = torch.cat([
            encode(truth.boxes[part.objects], part.positive, BOX_WEIGHTS) for part, truth in zip(drawn, truths, strict=True)
        ])  # fmt: skip
        logits = self.mask_head(self._regions(levels, [part.positive for part in drawn], self.mask_side)).float()
        logits = logits[torch.arange(len(of_objects), device=logits.device), class_ids[of_objects]]
        targets, judged = _masks_of(drawn, truths, size, logits.shape[-1])
        errors = F.binary_cross_entropy_with_logits(logits, targets, judged, reduction="sum")
        return {
            "classifier": Mean.of(F.cross_entropy(scores.float(), class_ids, reduction="sum"), len(class_ids)),
            "box": Mean.of(F.smooth_l1_loss(changes, wanted, beta=BETA, reduction="sum"), len(class_ids)),
            "mask": Mean.of(errors, judged.sum()),
        }

    @torch.no_grad()
    def _drawn(self, proposals: Tensor, numbers: Tensor, truth: Truth, ranks_of: Tensor, to_picture: Tensor) -> Drawn:
        """Of the proposals, with the `numbers` of their anchors, and of the boxes of the objects themselves those that the heads
        learn from. `ranks_of` all anchors, and then of the objects, decide."""
        boxes = torch.cat([proposals, truth.boxes])
        nearest = matched(truth.boxes, boxes, REGION_IOU, REGION_IOU)
        class_ids = torch.zeros_like(nearest)
        class_ids[nearest >= 0] = truth.class_ids[nearest[nearest >= 0]]
        class_ids[_hidden(boxes, truth, to_picture) & (class_ids == 0)] = -1
        places = (class_ids > 0).nonzero().flatten(), (class_ids == 0).nonzero().flatten()
        there = torch.cat([ranks_of[numbers], ranks_of[len(ranks_of) - len(truth.boxes) :]])
        positive, negative = sampled(*places, there, self.counts.regions, REGIONS_SHARE)
        rows = torch.cat([positive, negative])
        return Drawn(boxes[rows], class_ids[rows], nearest[positive])

    def _chosen(self, boxes: Tensor, scores: Tensor, changes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes, scores and class ids of the objects among the regions of a picture; a region may be one of each class."""
        from torchvision.ops import batched_nms, clip_boxes_to_image, remove_small_boxes

        found = clip_boxes_to_image(decode(changes, boxes[:, None], BOX_WEIGHTS), size)
        region, class_id = (scores[:, 1:] > SCORE).nonzero(as_tuple=True)
        class_id = class_id + 1
        found, scores = found[region, class_id], scores[region, class_id]
        kept = remove_small_boxes(found, SIDE)
        kept = kept[batched_nms(found[kept], scores[kept], class_id[kept], NMS)[: self.detections]]
        return found[kept], scores[kept], class_id[kept]


class Drawn(NamedTuple):
    """The regions of a picture that heads learn from, P regions of objects first: boxes, class ids, and the objects (P,)."""

    boxes: Tensor
    class_ids: Tensor
    objects: Tensor

    @property
    def positive(self) -> Tensor:
        """The boxes of objects."""
        return self.boxes[: len(self.objects)]


def _hidden(boxes: Tensor, truth: Truth, to_picture: Tensor) -> Tensor:
    """Which boxes lie where nobody knows whether there is an object."""
    if truth.unknown is None:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return share_inside(boxes * to_picture, truth.unknown) > UNKNOWN_SHARE


def _anchor_losses(
    scores: Tensor, changes: Tensor, boxes: Tensor, truths: Sequence[Truth], to_picture: Tensor, ranks_of: Sequence[Tensor]
) -> dict[str, Mean]:
    """Of scores (B, N) and changes (B, N, 4) of the anchors (N, 4)."""
    logits, labels, found, wanted = [], [], [], []
    for truth, scores_of, changes_of, of_picture in zip(truths, scores, changes, ranks_of, strict=True):
        nearest = matched(truth.boxes, boxes, ANCHOR_IOU, NO_ANCHOR_IOU, each=True)
        background = (nearest == NEGATIVE) & ~_hidden(boxes, truth, to_picture)
        places = (nearest >= 0).nonzero().flatten(), background.nonzero().flatten()
        positive, negative = sampled(*places, of_picture, ANCHORS_SEEN, ANCHORS_SHARE)
        rows = torch.cat([positive, negative])
        logits.append(scores_of[rows])
        labels.append(torch.arange(len(rows), device=rows.device) < len(positive))
        found.append(changes_of[positive])
        wanted.append(encode(truth.boxes[nearest[positive]], boxes[positive]))
    errors = F.binary_cross_entropy_with_logits(torch.cat(logits), torch.cat(labels).to(scores.dtype), reduction="sum")
    box_errors = F.smooth_l1_loss(torch.cat(found), torch.cat(wanted), beta=BETA, reduction="sum")
    seen = sum(map(len, labels))
    return {"objectness": Mean.of(errors, seen), "rpn_box": Mean.of(box_errors, seen)}


@torch.no_grad()
def _masks_of(drawn: Sequence[Drawn], truths: Sequence[Truth], size: tuple[int, int], side: int) -> tuple[Tensor, Tensor]:
    """Targets (P, side, side) of the masks of all regions of objects, and 1 for each cell of them that is judged, else 0."""
    targets, judged = [], []
    for part, truth in zip(drawn, truths, strict=True):
        numbers = truth.numbers[part.objects]
        targets.append(mask_targets(truth.plane, numbers, part.positive, size, side))
        if truth.void is None:
            judged.append(torch.ones_like(targets[-1]))
        else:
            shares = mask_targets(truth.void, torch.zeros_like(numbers), part.positive, size, side)
            judged.append((shares > 0.5).to(targets[-1].dtype))
    return torch.cat(targets), torch.cat(judged)


class ProposalHead(nn.Module):
    """Maps (B, depth, h, w) -> for each map scores (B, N) and changes (B, N, 4) of its anchors, `per_cell` at each cell."""

    def __init__(self, depth: int, per_cell: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(depth, depth, 3, padding=1)
        self.score, self.changes = nn.Conv2d(depth, per_cell, 1), nn.Conv2d(depth, 4 * per_cell, 1)
        for name, parameter in self.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.normal_(parameter, std=0.01)

    def forward(self, levels: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, changes = [], []
        for level in levels:
            x = F.relu(self.convolution(level))
            scores.append(self.score(x).permute(0, 2, 3, 1).flatten(1))
            changes.append(self.changes(x).unflatten(1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3))
        return scores, changes


class ClassesAndBoxes(nn.Module):
    """The last layers of a box head: (R, inputs) -> scores (R, C) and changes (R, C, 4) of the boxes."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.score, self.changes = nn.Linear(inputs, classes), nn.Linear(inputs, 4 * classes)
        nn.init.normal_(self.score.weight, std=0.01)
        nn.init.normal_(self.changes.weight, std=0.001)
        nn.init.zeros_(self.score.bias)
        nn.init.zeros_(self.changes.bias)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.score(x), self.changes(x).unflatten(1, (-1, 4))


class BoxHead(nn.Module):
    """Regions (R, depth, 7, 7) -> two fully connected layers of `fc` -> scores (R, C) and changes (R, C, 4)."""

    def __init__(self, depth: int, fc: int, classes: int) -> None:
        super().__init__()
        self.fc6, self.fc7, self.last = linear(depth * BOX_SIDE**2, fc), linear(fc, fc), ClassesAndBoxes(fc, classes)

    def forward(self, regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        x = F.relu(self.fc6(regions[0].flatten(1)))
        found: tuple[Tensor, Tensor] = self.last(F.relu(self.fc7(x)))
        return found


class MeanBoxHead(nn.Module):
    """Regions (R, inputs, h, w) -> their means -> scores (R, C) and changes (R, C, 4)."""

    def __init__(self, inputs: int, classes: int) -> None:
        super().__init__()
        self.last = ClassesAndBoxes(inputs, classes)

    def forward(self, regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        found: tuple[Tensor, Tensor] = self.last(regions[0].mean((2, 3)))
        return found


class MaskHead(nn.Module):
    """Regions (R, inputs, m, m) -> `count` 3x3 convolutions -> deconvolution x2 -> mask logits of the classes (R, C, 2m, 2m)."""

    def __init__(self, inputs: int, depth: int, classes: int, count: int = 4) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(depth if i else inputs, depth, 3, padding=1) for i in range(count))
        self.up = nn.ConvTranspose2d(depth if count else inputs, depth, 2, 2)
        self.score = nn.Conv2d(depth, classes, 1)
        he(self)

    def forward(self, regions: Sequence[Tensor]) -> Tensor:
        x = regions[0]
        for layer in self.convolutions:
            x = F.relu(layer(x))
        logits: Tensor = self.score(F.relu(self.up(x)))
        return logits


class MaskRCNN(RegionNetwork):
    """Mask R-CNN with `variant` "fpn", or "c4" on our ResNets, on `backbone` (our ResNets or any timm name).

    `roi`: "align", or "pool" as Fast R-CNN cuts regions out. `norm` of our ResNets: "frozen" without one, as published, which
    needs trained weights, or "batch". `anchors`: sides in pixels, one a level from stride 4 to 64, and with "c4" any number.
    `width` scales our trunks, the pyramid and the heads. `weights`: "imagenet" or none. Raises UsageError and UnknownName as
    `RegionNetwork` and the trunks do."""

    def __init__(
        self,
        classes: int = 21,
        backbone: str = "resnet50",
        variant: str = "fpn",
        roi: str = "align",
        norm: str | None = None,
        anchors: Sequence[int] = (32, 64, 128, 256, 512),
        min_size: Sequence[int] = (800,),
        max_size: int = 1333,
        detections: int = 100,
        width: float = 1.0,
        weights: str | None = None,
    ) -> None:
        if variant not in VARIANTS:
            raise did_you_mean("variant of mask_rcnn", variant, VARIANTS)
        trunk, depth = detection_trunk(backbone, width, weights, norm), scaled(DEPTH, width)
        if variant == "fpn":
            super().__init__(classes, trunk, depth, sides_of_levels(anchors), min_size, max_size, detections, roi)
            self.pyramid = Pyramid([trunk.channels[trunk.levels[stride]] for stride in STRIDES], depth)
            self.box_head = BoxHead(depth, scaled(FC, width), classes)
            self.mask_head = MaskHead(depth, depth, classes)
        else:
            if not isinstance(trunk, ResNet):
                raise UsageError(f"variant = 'c4' needs the stages of our ResNets, not {backbone}; choose {', '.join(KINDS)}.")
            inputs, sides = trunk.channels["res4"], [tuple(anchors)]
            super().__init__(classes, trunk, inputs, sides, min_size, max_size, detections, roi, (16,), OF_C4)
            self.box_side = self.mask_side = C4_SIDE
            self.box_head = MeanBoxHead(trunk.channels["res5"], classes)
            self.mask_head = MaskHead(trunk.channels["res5"], depth, classes, 0)
            trunk.cut("res5")
        self.variant = variant

    def levels(self, images: Tensor) -> list[Tensor]:
        features = self.trunk(images)
        if self.variant == "c4":
            return [features["res4"]]
        levels: list[Tensor] = self.pyramid([features[self.trunk.levels[stride]] for stride in STRIDES])
        return [*levels, coarsest(levels[-1])]

    def shared(self, regions: list[Tensor]) -> list[Tensor]:
        return regions if self.variant == "fpn" else [self.trunk.get_submodule("layer4")(region) for region in regions]


def detection_trunk(backbone: str, width: float, weights: str | None, norm: str | None) -> StagedTrunk:
    """A trunk; `width` is that of our own. `norm` is for our ResNets, whose normalisation is "frozen" without one."""
    if backbone in KINDS:
        return staged_trunk(backbone, width, weights, norm=norm or "frozen")
    if norm is not None:
        raise UsageError(f"norm = {norm!r}: is for our ResNets, not {backbone}, whose normalisation `--freeze-norm` freezes.")
    return staged_trunk(backbone, width if backbone in OWN else 1.0, weights)


def sides_of_levels(anchors: Sequence[int]) -> list[tuple[int, ...]]:
    """The sides of anchors on the levels of FPN. Raises UsageError where there is not one for each."""
    if len(anchors) != len(STRIDES) + 1:
        raise UsageError(f"anchors = {list(anchors)}: FPN has {len(STRIDES) + 1} levels; give a side for each, in pixels.")
    return [(side,) for side in anchors]


def linear(inputs: int, outputs: int) -> nn.Linear:
    """A fully connected layer that starts as Caffe2's XavierFill, and biases at 0."""
    layer = nn.Linear(inputs, outputs)
    nn.init.kaiming_uniform_(layer.weight, a=1)
    nn.init.zeros_(layer.bias)
    return layer


def he(module: nn.Module) -> None:
    """Starts the convolutions of a mask head at He's deviation of the outputs (Caffe2's MSRAFill), and biases at 0."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


# The beginnings of our names and of those of torchvision's maskrcnn_resnet50_fpn.
TORCHVISION_NAMES = (
    ("trunk.", "backbone.body."),
    ("pyramid.", "backbone.fpn."),
    ("rpn.convolution.", "rpn.head.conv.0.0."),
    ("rpn.score.", "rpn.head.cls_logits."),
    ("rpn.changes.", "rpn.head.bbox_pred."),
    ("box_head.last.score.", "roi_heads.box_predictor.cls_score."),
    ("box_head.last.changes.", "roi_heads.box_predictor.bbox_pred."),
    ("box_head.", "roi_heads.box_head."),
    *((f"mask_head.convolutions.{number}.", f"roi_heads.mask_head.{number}.0.") for number in range(4)),
    ("mask_head.up.", "roi_heads.mask_predictor.conv5_mask."),
    ("mask_head.score.", "roi_heads.mask_predictor.mask_fcn_logits."),
)


def torchvision_name(name: str) -> str | None:
    """What torchvision calls the tensor `name` of Mask R-CNN; none for the colours of the trunk, which its files lack."""
    if name in ("trunk.mean", "trunk.std"):
        return None
    ours, theirs = next(pair for pair in TORCHVISION_NAMES if name.startswith(pair[0]))
    return theirs + name.removeprefix(ours)
