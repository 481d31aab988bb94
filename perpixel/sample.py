"""The values that all parts of perpixel exchange: a Sample is read, a network learns from Targets, and a Prediction comes out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from perpixel.bands import Bands
from perpixel.classes import ClassTable
from perpixel.errors import ResourceError, UsageError
from perpixel.instances import Crop as Crop
from perpixel.instances import Instances as Instances
from perpixel.instances import PlainInstances as PlainInstances

if TYPE_CHECKING:  # nothing here computes with tensors, so torch need not be installed
    import supervision
    import torch
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment of a panoptic map: the id that its pixels have, its class or category, and whether it stands for a crowd."""

    id: int
    category: int
    crowd: bool = False


@dataclass(frozen=True)
class PanopticMap:
    """`ids` int32 (H, W): at each pixel the id of its segment, or 0; and these `segments`, whose categories are class ids.

    `things` are the ids of the classes whose objects are segments of their own; any other class has one segment in a picture."""

    ids: NDArray[np.int32]
    segments: tuple[Segment, ...]
    things: frozenset[int]


@dataclass(frozen=True)
class Sample:
    """One picture with its truth: `image` uint8 RGB (H, W, 3), `labels` class ids (H, W) with void, or none.

    Where `bands` are given, the image has these (H, W, N), as the file stores them."""

    name: str
    image: NDArray[Any]
    labels: NDArray[Any] | None = None
    instances: Instances | None = None
    bands: Bands | None = field(default=None, kw_only=True)

    @property
    def shown(self) -> NDArray[np.uint8]:
        """The picture for people, uint8 RGB (H, W, 3): the image itself where it is RGB."""
        return self.image if self.bands is None else self.bands.shown(self.image)

    def _repr_png_(self) -> bytes:
        """The picture, and beside it its labels and objects, for notebooks. A sample has no class names: a legend shows ids."""
        from perpixel import draw

        panels = [draw.thumbnail(self.shown)]
        if self.labels is not None:
            ids = range(255 if self.labels.dtype == np.uint8 else 65535)
            panels.append(draw.shown(self.shown, self.labels, ClassTable.of([*map(str, ids)]), self.instances))
        titles = [self.name, "labels"][: len(panels)]
        return draw.png(draw.sheet([panels], titles))


class Polygon(NamedTuple):
    """A piece of pixels that share edges. `outer` and each of the `holes` are a ring: int64 (N, 2), x and y of its corners.

    A corner is a corner of pixels: the pixel in row 0 and column 0 has the corners (0, 0) to (1, 1). No ring meets a corner
    twice, and the last corner is not the first again. `object` is the number of the object in `instances`, from 0; None where
    pixels have a class alone."""

    outer: NDArray[np.int64]
    holes: list[NDArray[np.int64]]
    object: int | None


class _Region(NamedTuple):
    """The pixels of an object, or all of a class."""

    class_id: int
    crop: Crop
    score: float | None
    crowd: bool
    object: int | None


@dataclass(frozen=True)
class Prediction:
    """A network's result for a picture: `labels` class ids (H, W) at its size, `scores` float32 (C, H, W) in [0, 1] if asked for,
    or as `KeptScores` say.

    A network that finds objects also gives `instances`. If it labels no pixels, the labels are drawn from its objects: each
    pixel has the class of the object with the highest score; pixels without an object are background, or void where no class is
    called background. So there are always labels, and no later code depends on the kind of network. Labels
    and objects of two networks make a `panoptic` map.

    `image` uint8 RGB (H, W, 3) is the picture, where `perpixel.predict` made the prediction; notebooks then show the overlay.

    `polygons`, `to_coco` and `to_supervision` give regions: each object where a network found objects; each segment of a
    panoptic map; else the pixels of each class. Background and void are no region."""

    labels: NDArray[Any]
    classes: ClassTable
    scores: NDArray[Any] | None = None
    instances: Instances | None = None
    panoptic: PanopticMap | None = None
    image: NDArray[np.uint8] | None = None

    def _repr_png_(self) -> bytes:
        """The overlay with its legend, for notebooks; the colours of the classes where the picture is not known."""
        from perpixel import draw

        image = draw.colours(self.labels, self.classes) if self.image is None else self.image
        return draw.png(draw.shown(image, self.labels, self.classes, self.instances))

    def polygons(self) -> dict[str, list[Polygon]]:
        """The outlines of all regions by the name of the class, in the order of the class table.

        Only classes with a region are named. The rings of a region cover exactly its pixels."""
        from perpixel.masks.polygons import rings

        outlines: dict[str, list[Polygon]] = {}
        for region in sorted(self._regions(), key=lambda region: region.class_id):
            pieces = rings(region.crop.pixels, region.crop.left, region.crop.top)
            named = outlines.setdefault(self.classes.names[region.class_id], [])
            named += [Polygon(outer, holes, region.object) for outer, *holes in pieces]
        return outlines

    def to_coco(
        self, image_id: int = 1, polygons: bool = False, category_ids: Mapping[str, int] | None = None
    ) -> list[dict[str, Any]]:
        """All regions as COCO's annotations, with compressed run lengths, or with `polygons`; pycocotools reads both as the same
        mask. Ids count from 1. An object with a score has `score`, as COCO's results do.

        A category is the class id + 1, as `perpixel convert --to coco` writes it; `category_ids` gives others by the name of the
        class. A crowd has run lengths always. Raises UsageError for a class that `category_ids` does not have."""
        from perpixel.masks import rle
        from perpixel.masks.polygons import outlines

        annotations = []
        for number, region in enumerate(self._regions(), start=1):
            name, crop, pixels = self.classes.names[region.class_id], region.crop, region.crop.pixels
            if category_ids is not None and name not in category_ids:
                raise UsageError(f"category_ids: has no id of the class {name!r}; give one for each class.")
            segmentation: Any = {
                "size": list(crop.size), "counts": rle.encode_part(pixels, crop.top, crop.left, crop.size)
            }  # fmt: skip
            if polygons and not region.crowd:
                segmentation = outlines(pixels, crop.left, crop.top)
            annotations.append({
                "id": number, "image_id": image_id,
                "category_id": region.class_id + 1 if category_ids is None else category_ids[name],
                "segmentation": segmentation, "area": int(pixels.sum()),
                "bbox": [crop.left, crop.top, crop.shape[1], crop.shape[0]], "iscrowd": int(region.crowd),
                **({} if region.score is None else {"score": region.score}),
            })  # fmt: skip
        return annotations

    def to_supervision(self) -> supervision.Detections:
        """All regions as `supervision.Detections`: boxes of the outermost pixels, masks, class ids, the scores of objects, and
        the names of classes as `data["class_name"]`. Raises ResourceError where supervision is not installed."""
        try:
            import supervision
        except ModuleNotFoundError as error:
            if error.name != "supervision":
                raise
            raise ResourceError(
                "Prediction.to_supervision needs supervision, which is not installed; pip install supervision brings it."
            ) from None
        regions = self._regions()
        boxes = [(crop.left, crop.top, crop.left + crop.shape[1] - 1, crop.top + crop.shape[0] - 1) for _, crop, *_ in regions]
        scores = [region.score for region in regions if region.score is not None]
        return supervision.Detections(
            xyxy=np.array(boxes, np.float32).reshape(-1, 4),
            mask=np.array([region.crop.mask for region in regions], np.bool_).reshape(-1, *self.labels.shape),
            class_id=np.array([region.class_id for region in regions], np.int64),
            confidence=np.array(scores, np.float32) if len(scores) == len(regions) else None,
            data={"class_name": np.array([self.classes.names[region.class_id] for region in regions], np.str_)},
        )

    def _regions(self) -> list[_Region]:
        """What `polygons`, `to_coco` and `to_supervision` give. A region without a pixel is left out."""
        regions, objects, background = list[_Region](), self.instances, self.classes.background
        if self.panoptic is not None:
            ids = self.panoptic.ids
            regions += [_Region(one.category, Crop.of(ids == one.id), None, one.crowd, None) for one in self.panoptic.segments]
        elif objects is not None:
            scores = [None] * len(objects.class_ids) if objects.scores is None else objects.scores.tolist()
            regions += [
                _Region(int(class_id), objects.crop(index), scores[index], bool(objects.crowd[index]), index)
                for index, class_id in enumerate(objects.class_ids)
            ]
        else:
            present = [int(label) for label in np.unique(self.labels) if label < len(self.classes)]
            regions += [_Region(label, Crop.of(self.labels == label), None, False, None) for label in present]
        return [region for region in regions if region.crop.bits.size and region.class_id != background]


@dataclass(frozen=True)
class InstanceTargets:
    """The N objects of one training picture of H x W pixels, each with a pixel at least.

    `boxes` float32 (N, 4): left, top, right, bottom, the edges of the outermost pixels; `numbers` int32 (H, W): i + 1 at the
    pixels of object i, 0 where no object is, so that thousands of objects need the memory of one mask; `class_ids` int64 (N,);
    `crowd` bool (N,), True where an entry stands for many objects that nobody told apart."""

    boxes: Tensor
    numbers: Tensor
    class_ids: Tensor
    crowd: Tensor

    def to(self, device: torch.device) -> InstanceTargets:
        return InstanceTargets(*(tensor.to(device) for tensor in vars(self).values()))

    def masks(self, indices: Tensor) -> Tensor:
        """The pixels of the objects at `indices` (n,), bool (n, H, W)."""
        return self.numbers == (indices + 1)[:, None, None]

    def where(self, chosen: Tensor) -> Tensor:
        """The pixels of all objects that are `chosen`, bool (N,), together: bool (H, W)."""
        by_number = chosen.new_zeros(len(chosen) + 1)
        by_number[1:] = chosen
        return by_number[self.numbers.long()]


@dataclass(frozen=True)
class Seeds:
    """What the random choices of a network follow from in training, whichever process holds a picture.

    `batch` is the seed of choices for all pictures that are normalised together, `pictures` has one for each of B pictures."""

    batch: int
    pictures: tuple[int, ...]


@dataclass(frozen=True)
class Targets:
    """The truth of B training pictures, from which a network learns.

    `labels` int64 (B, H, W): class ids, and void, which changes neither a loss nor a gradient. `weights` float32 (B, H, W), or
    none, multiply the cross-entropy of each pixel. `instances`, or none, are the objects of each picture. Without `seeds` torch's
    generator makes all random choices."""

    labels: Tensor
    weights: Tensor | None = None
    instances: tuple[InstanceTargets, ...] | None = None
    seeds: Seeds | None = None

    def to(self, device: torch.device) -> Targets:
        weights = None if self.weights is None else self.weights.to(device)
        instances = None if self.instances is None else tuple(objects.to(device) for objects in self.instances)
        return Targets(self.labels.to(device), weights, instances, self.seeds)
