"""Street scenes drawn by code from a seed, without a download: their classes, the places of their things, and the splits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel import errors
from perpixel.classes import ClassTable
from perpixel.datasets import scenery
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.scenery import Canvas, Colour, Random, Street, between, chance, choose
from perpixel.sample import Instances, Sample

LABELS = (  # class id, name, colour
    (scenery.SKY, "sky", (70, 130, 180)),
    (scenery.BUILDING, "building", (70, 70, 70)),
    (scenery.ROAD, "road", (128, 64, 128)),
    (scenery.PAVEMENT, "pavement", (244, 35, 232)),
    (scenery.FENCE, "fence", (190, 153, 153)),
    (scenery.TREE, "tree", (107, 142, 35)),
    (scenery.POLE, "pole", (153, 153, 153)),
    (scenery.SIGN, "sign", (220, 220, 0)),
    (scenery.CAR, "car", (0, 0, 142)),
    (scenery.PERSON, "person", (220, 20, 60)),
)
CLASSES = ClassTable(
    names=tuple(name for _, name, _ in LABELS),
    colours=tuple(colour for _, _, colour in LABELS),
    values=tuple((class_id,) for class_id, _, _ in LABELS),
)
THINGS = ("car", "person")  # classes whose objects are told apart
SPLITS = {"train": 600, "val": 100, "test": 100}
CUT = {"fit": (0, 500), "tune": (500, 600)}  # from, to: parts of train, for choosing settings without a look at val
SKIES: tuple[tuple[Colour, Colour], ...] = (  # at the top, at the horizon
    ((88, 134, 196), (186, 208, 226)), ((60, 104, 172), (160, 186, 206)), ((150, 156, 164), (198, 200, 202)),
    ((118, 120, 126), (160, 160, 162)), ((196, 200, 206), (224, 222, 216)), ((112, 116, 150), (226, 180, 146)))  # fmt: skip
SEED = 1707  # the first word of every seed, so that pictures drawn from a plain number are in no split


def choose_street(rng: Random, size: tuple[int, int], haze: Colour) -> Street:
    height, width = 2 * size[0], 2 * size[1]
    place, road, near = between(rng, 0.2, 0.8), between(rng, 5.5, 11), between(rng, 14, 45)
    left = -road * place
    right = left + road
    return Street(
        focal=between(rng, 0.8, 1.25) * width,
        centre=between(rng, 0.25, 0.75) * width,
        horizon=between(rng, 0.32, 0.52) * height,
        camera=between(rng, 1.5, 3.6),
        kerbs=(left, right),
        walls=(left - between(rng, 2.2, 5.0), right + between(rng, 2.2, 5.0)),
        crossing=(near, near + between(rng, 6, 9)) if chance(rng, 0.5) else (scenery.FARTHEST - 1, scenery.FARTHEST),
        sun=(between(rng, -0.9, 0.9), between(rng, -0.7, 0.7)),
        haze=haze,
        sight=between(rng, 60, 300),
    )


def draw_row_of_houses(canvas: Canvas, rng: Random, side: int) -> None:
    """Houses and gaps on one side of the street, from far to near; trees and a fence stand in the gaps."""
    line, (crossing, behind) = canvas.street.walls[side > 0], canvas.street.crossing
    plots: list[tuple[float, float, bool]] = []
    near, density = 1.2, between(rng, 0.45, 0.95)
    while near < 80:
        far = near + between(rng, 8, 18)
        if near < behind and far > crossing:
            far = max(crossing - 1.0, near)
        if far - near > 2:
            plots.append((near, far, chance(rng, density)))
        near = far if far < crossing - 1.5 or near > behind else max(behind + 1.0, far)
    for near, far, built in reversed(plots):
        if built:
            scenery.draw_house(canvas, rng, side, near, far)
            continue
        for tree in range(2):
            if chance(rng, 0.6):
                scenery.draw_tree(canvas, rng, line + side * between(rng, 3, 7), far - (tree + 0.5) * (far - near) / 2)
        if chance(rng, 0.75):
            scenery.draw_fence(canvas, rng, ((line, near), (line, far)))


def furnish(canvas: Canvas, rng: Random) -> list[tuple[float, Callable[[], None]]]:
    """The things on road and pavement, each as its distance z and a function that draws it. The farthest thing comes first."""
    street = canvas.street
    (left, right), (left_wall, right_wall) = street.kerbs, street.walls
    things: list[tuple[float, Callable[[], None]]] = []

    def add(draw: Callable[..., None], x: float, z: float, *more: Any) -> None:
        if -0.3 * canvas.width < street.at(x, 0, z)[0] < 1.3 * canvas.width:
            things.append((z, partial(draw, canvas, rng, x, z, *more)))

    def away(near: float = 5.0, far: float = 45.0) -> float:
        return 1.0 / between(rng, 1.0 / far, 1.0 / near)

    for side, kerb, wall in ((-1, left, left_wall), (1, right, right_wall)):
        if chance(rng, 0.55):  # parked cars, bumper to bumper
            z = between(rng, 5, 16)
            while z < 60 and chance(rng, 0.85):
                if not street.crossing[0] - 4 < z < street.crossing[1] + 4:
                    add(scenery.draw_car, kerb - side * between(rng, 1.0, 1.25), z, (0.0, 1.0 if chance(rng, 0.7) else -1.0))
                z += between(rng, 5.2, 7.5)
        if chance(rng, 0.6):  # an avenue
            z, gap = between(rng, 6, 14), between(rng, 7, 14)
            while z < 60:
                add(scenery.draw_tree, kerb + side * between(rng, 0.6, 1.0), z + between(rng, -1, 1))
                z += gap
        if chance(rng, 0.75):
            z, gap = between(rng, 5, 14), between(rng, 9, 20)
            while z < 70:
                add(scenery.draw_lamp, kerb + side * 0.4, z)
                z += gap
        for _ in range(int(between(rng, 0, 4.6))):
            add(scenery.draw_sign, kerb + side * between(rng, 0.3, 0.8), away(5, 30))
        for _ in range(int(between(rng, 0, 5))):
            x, z = between(rng, kerb + side * 0.5, wall - side * 0.4), away(4, 35)
            for _ in range(1 + int(rng.random() * rng.random() * 5)):  # often a group of people
                add(scenery.draw_person, x + between(rng, -0.9, 0.9), z + between(rng, -0.6, 0.6))
    for _ in range(int(between(rng, 0, 2.8))):
        add(scenery.draw_person, between(rng, left, right), away(8, 40))
    for lane, ahead in ((0.3, -1.0), (0.7, 1.0)):
        z = between(rng, 6, 30)
        while z < 70 and chance(rng, 0.55):
            turn = int(between(rng, -2, 3)) if chance(rng, 0.2) else 0
            heading = ((0.0, 1.0), (0.342, 0.94), (-0.342, 0.94))[turn]
            add(scenery.draw_car, left + lane * (right - left), z, (heading[0], heading[1] * ahead))
            z += between(rng, 8, 25)
    if street.crossing[0] < 100 and chance(rng, 0.6):  # traffic in the side street
        for lane, ahead in ((0.3, -1.0), (0.7, 1.0)):
            z = street.crossing[0] + lane * (street.crossing[1] - street.crossing[0])
            add(scenery.draw_car, between(rng, left - 8, right + 8), z, (ahead, 0.0))
    return sorted(things, key=lambda thing: -thing[0])


def draw_scene(
    seed: int | Sequence[int] | Random, size: tuple[int, int] = (128, 160)
) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.uint16]]:
    """The picture (H, W, 3), the labels with void (H, W), and at each pixel the number of its car or person, or 0 (H, W)."""
    rng = np.random.default_rng(seed)
    top, haze = SKIES[int(rng.random() * len(SKIES))]
    canvas = Canvas(size, choose_street(rng, size, choose(rng, (haze,))))
    scenery.draw_sky(canvas, rng, top)
    scenery.draw_backdrop(canvas, rng)
    scenery.draw_ground(canvas, rng)
    for side in (-1, 1):
        draw_row_of_houses(canvas, rng, side)
    for _, draw in furnish(canvas, rng):
        draw()
    pixels = np.asarray(canvas.pixels)
    return scenery.develop(canvas, rng, pixels), *scenery.truth(canvas, pixels)


@lru_cache(maxsize=sum(SPLITS.values()))
def _drawn(split: str, index: int, size: tuple[int, int]) -> tuple[NDArray[Any], ...]:
    """`draw_scene` for a picture of a split. It is kept, because each network of a review sees the same pictures (100 MB in
    all)."""
    return draw_scene((SEED, tuple(SPLITS).index(split), index), size)


class Scenes(InNotebook):
    """Street scenes of `size`, ten classes, void 255 on a border of one pixel each side around trees, signs, cars and people.

    An object that would lose more than half of its pixels to the border keeps all its pixels, and so does every pole. The splits
    `train` (600), `val` (100), `test` (100) never share a seed; `count` asks for more or fewer pictures. `fit` (500) and `tune`
    (100) are the parts of `train`. A picture depends on split, index and size only. Instances are the visible pixels of each
    car and person without the void border, so that `labels[mask]` is the class of the instance. Raises UnknownName for another
    split."""

    classes = CLASSES
    splits = tuple(SPLITS)

    def __init__(self, split: str = "train", count: int | None = None, size: tuple[int, int] = (128, 160)) -> None:
        if split not in SPLITS and split not in CUT:
            raise errors.did_you_mean("split of scenes", split, (*SPLITS, *CUT))
        self.split, self.size = split, size
        self.first, last = CUT.get(split, (0, SPLITS.get(split, 0)))
        self.count = last - self.first if count is None else count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        if not 0 <= index < self.count:
            raise IndexError(f"scenes/{self.split} has {self.count} pictures; there is no number {index}.")
        return f"{self._drawn_for}_{index + self.first:05d}"

    @property
    def _drawn_for(self) -> str:
        return "train" if self.split in CUT else self.split

    def sample(self, index: int) -> Sample:
        name = self.name(index)
        image, labels, numbers = _drawn(self._drawn_for, index + self.first, self.size)
        masks = numbers == np.arange(1, int(numbers.max()) + 1, dtype=np.uint16)[:, None, None]
        class_ids = np.array([labels[mask][0] for mask in masks], np.int64)
        # Copies, because the caller may change them.
        return Sample(name, image.copy(), labels.copy(), Instances(masks, class_ids))
