"""Single things drawn by code from a seed: what trunks learn to tell apart before they see a street, as others do on ImageNet.

A picture shows one thing of 24 kinds in front of a clutter of others: its pose, colours, light and ground vary, and colour says
nothing about the kind. Seven kinds are those of the streets; the others are in no street. No picture is part of `scenes`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from perpixel import errors
from perpixel.classes import ClassTable
from perpixel.datasets import scenery
from perpixel.datasets.dataset import InNotebook
from perpixel.datasets.scenery import Canvas, Random, Street, between, chance, choose
from perpixel.datasets.scenes import SKIES
from perpixel.sample import Sample

Outline = tuple[tuple[float, float], ...]  # x to the right and y up, in a square from -1 to 1
Part = tuple[int, Outline]  # the number of its paint, 0 to 2
SEED = 1708  # the first word of every seed; scenes have another
SPLITS = {"train": 4800, "val": 480}
PAINTS = (*scenery.PAINTS, *scenery.GROUNDS, *scenery.LEAVES)


def disc(x: float, y: float, radius: float, high: float | None = None, corners: int = 14) -> Outline:
    """An ellipse around (x, y)."""
    turns = [2 * math.pi * corner / corners for corner in range(corners)]
    return tuple((x + radius * math.cos(turn), y + (high or radius) * math.sin(turn)) for turn in turns)


def bar(left: float, bottom: float, right: float, top: float) -> Outline:
    return ((left, bottom), (left, top), (right, top), (right, bottom))


def line(x: float, y: float, to_x: float, to_y: float, thick: float = 0.08) -> Outline:
    """A rod between two points."""
    long = math.hypot(to_x - x, to_y - y)
    across, up = thick / 2 * (y - to_y) / long, thick / 2 * (to_x - x) / long
    return ((x + across, y + up), (to_x + across, to_y + up), (to_x - across, to_y - up), (x - across, y - up))


def ring(x: float, y: float, radius: float, thick: float = 0.1) -> tuple[Outline, ...]:
    """A rim, as rods: what lies inside stays visible."""
    points = disc(x, y, radius, corners=12)
    return tuple(line(*points[corner - 1], *points[corner], thick) for corner in range(12))


def petals(number: int, radius: float, size: float) -> tuple[Outline, ...]:
    places = disc(0, 0.35, radius, corners=number)
    return tuple(disc(x, y, size) for x, y in places)


def spokes(number: int, radius: float, thick: float, x: float = 0.0, y: float = 0.0) -> tuple[Outline, ...]:
    return tuple(line(x, y, end_x, end_y, thick) for end_x, end_y in disc(x, y, radius, corners=number))


def spikes(points: int, inner: float) -> Outline:
    outer, inside = disc(0, 0, 1, corners=points), disc(0, 0, inner, corners=2 * points)
    return tuple(corner for place in range(points) for corner in (outer[place], inside[2 * place + 1]))


def paint(number: int, *outlines: Outline) -> tuple[Part, ...]:
    return tuple((number, outline) for outline in outlines)


FLAT: dict[str, tuple[Part, ...]] = {
    "ball": (*paint(0, disc(0, 0, 1)), *paint(1, disc(-0.3, 0.3, 0.35), disc(0.45, -0.2, 0.3), disc(-0.25, -0.55, 0.25))),
    "barrel": (*paint(0, ((-0.6, -1), (-0.8, 0), (-0.6, 1), (0.6, 1), (0.8, 0), (0.6, -1))), *paint(2, disc(0, 1, 0.6, 0.18)),
               *paint(1, bar(-0.68, 0.4, 0.68, 0.55), bar(-0.68, -0.6, 0.68, -0.45))),
    "bench": (*paint(0, bar(-1, -0.1, 1, 0.1), bar(-1, 0.35, 1, 0.5), bar(-1, 0.6, 1, 0.75)),
              *paint(1, bar(-0.85, -0.7, -0.7, 0.75), bar(0.7, -0.7, 0.85, 0.75))),
    "bicycle": (*paint(0, *ring(-0.6, -0.4, 0.4), *ring(0.6, -0.4, 0.4)),
                *paint(1, line(-0.6, -0.4, -0.2, 0.3), line(-0.2, 0.3, 0.45, 0.3), line(0.6, -0.4, 0.4, 0.55),
                       line(-0.2, 0.3, 0.0, -0.4), line(-0.6, -0.4, 0.0, -0.4), line(0.0, -0.4, 0.45, 0.3)),
                *paint(2, bar(-0.35, 0.3, -0.05, 0.42), line(0.25, 0.6, 0.55, 0.55))),
    "boat": (*paint(0, ((-1, -0.4), (1, -0.4), (0.65, -0.9), (-0.65, -0.9))), *paint(1, line(0, -0.4, 0, 1)),
             *paint(2, ((0.08, 0.95), (0.85, -0.25), (0.08, -0.25)), ((-0.08, 0.75), (-0.6, -0.25), (-0.08, -0.25)))),
    "bottle": (*paint(0, bar(-0.4, -1, 0.4, 0.2), ((-0.4, 0.2), (-0.14, 0.55), (0.14, 0.55), (0.4, 0.2)),
                        bar(-0.14, 0.5, 0.14, 0.9)),
               *paint(1, bar(-0.4, -0.6, 0.4, 0)), *paint(2, bar(-0.17, 0.85, 0.17, 1))),
    "chair": (*paint(0, bar(-0.5, -0.1, 0.5, 0.05), bar(-0.5, 0.05, -0.36, 1), bar(0.36, 0.05, 0.5, 1)),
              *paint(1, bar(-0.36, 0.7, 0.36, 0.9), bar(-0.36, 0.35, 0.36, 0.5)),
              *paint(2, bar(-0.5, -1, -0.38, -0.1), bar(0.38, -1, 0.5, -0.1))),
    "cone": (*paint(0, bar(-0.75, -1, 0.75, -0.8), ((-0.5, -0.8), (-0.08, 1), (0.08, 1), (0.5, -0.8))),
             *paint(1, ((-0.39, -0.3), (-0.27, 0.2), (0.27, 0.2), (0.39, -0.3)))),
    "crate": (*paint(0, bar(-0.9, -0.9, 0.9, 0.9)), *paint(1, bar(-0.9, 0.7, 0.9, 0.9), bar(-0.9, -0.9, 0.9, -0.7),
              bar(-0.9, -0.9, -0.7, 0.9), bar(0.7, -0.9, 0.9, 0.9)), *paint(2, line(-0.7, -0.7, 0.7, 0.7, 0.2))),
    "cup": (*paint(1, *ring(0.6, 0, 0.35, 0.14)), *paint(0, ((-0.7, 0.7), (0.55, 0.7), (0.4, -0.8), (-0.55, -0.8))),
            *paint(2, disc(-0.07, 0.7, 0.62, 0.16))),
    "fish": (*paint(0, disc(-0.15, 0, 0.75, 0.42), ((0.45, 0), (1, 0.5), (1, -0.5))),
             *paint(1, ((-0.2, 0.4), (0.1, 0.75), (0.25, 0.3))), *paint(2, disc(-0.6, 0.1, 0.1))),
    "flag": (*paint(0, bar(-0.8, -1, -0.68, 1)),
             *paint(1, ((-0.68, 0.95), (0.1, 0.8), (0.9, 0.95), (0.9, 0.2), (0.1, 0.05), (-0.68, 0.2))),
             *paint(2, ((-0.68, 0.68), (0.9, 0.68), (0.9, 0.45), (-0.68, 0.45)))),
    "flower": (*paint(0, line(0, -1, 0, 0.35, 0.12), disc(0.25, -0.55, 0.28, 0.12)), *paint(1, *petals(6, 0.36, 0.27)),
               *paint(2, disc(0, 0.35, 0.22))),
    "ladder": (*paint(0, line(-0.5, -1, -0.35, 1, 0.12), line(0.5, -1, 0.35, 1, 0.12)),
               *paint(1, *(bar(-0.42, y, 0.42, y + 0.1) for y in (-0.75, -0.35, 0.05, 0.45, 0.8)))),
    "mill": (*paint(0, ((-0.45, -1), (-0.25, 0.35), (0.25, 0.35), (0.45, -1))),
             *paint(1, ((-0.28, 0.35), (0, 0.6), (0.28, 0.35))), *paint(2, *spokes(4, 0.85, 0.16, 0.0, 0.35))),
    "stairs": (*paint(0, *(bar(-1 + 0.4 * step, -0.9, 1, -0.5 + 0.35 * step) for step in range(5))),
               *paint(1, *(bar(-1 + 0.4 * step, -0.58 + 0.35 * step, 1, -0.5 + 0.35 * step) for step in range(5)))),
    "star": (*paint(0, spikes(5, 0.42)), *paint(1, disc(0, 0, 0.25))),
}  # fmt: skip


def _car(canvas: Canvas, rng: Random, z: float) -> None:
    turn = between(rng, 0, 2 * math.pi)
    scenery.draw_car(canvas, rng, 0.0, z, (math.cos(turn), math.sin(turn)))


def _house(canvas: Canvas, rng: Random, z: float) -> None:
    scenery.draw_house(canvas, rng, 1 if canvas.street.walls[1] < 0 else -1, z, z + between(rng, 6, 14))


def _fence(canvas: Canvas, rng: Random, z: float) -> None:
    half, slant = between(rng, 2, 4), between(rng, -0.4, 0.4)
    scenery.draw_fence(canvas, rng, ((-half, z * (1 - slant)), (half, z * (1 + slant))))


def _at_middle(draw: Callable[[Canvas, Random, float, float], None]) -> Callable[[Canvas, Random, float], None]:
    return lambda canvas, rng, z: draw(canvas, rng, 0.0, z)


STREET: dict[str, tuple[float, Callable[[Canvas, Random, float], None]]] = {  # about how many metres tall, or long, they are
    "car": (3.0, _car), "fence": (1.8, _fence), "house": (8.0, _house), "lamp": (6.5, _at_middle(scenery.draw_lamp)),
    "person": (1.8, _at_middle(scenery.draw_person)), "sign": (3.4, _at_middle(scenery.draw_sign)),
    "tree": (6.0, _at_middle(scenery.draw_tree)),
}  # fmt: skip
KINDS = (*FLAT, *STREET)
CLASSES = ClassTable(
    names=KINDS,
    colours=tuple((55 + 200 * (k % 3) // 2, 55 + 200 * (k // 3 % 3) // 2, 55 + 200 * (k // 9) // 2) for k in range(len(KINDS))),
    values=tuple((class_id,) for class_id in range(len(KINDS))),
)


def draw_flat(canvas: Canvas, rng: Random, kind: str, centre: tuple[float, float], half: float) -> None:
    """A thing of `FLAT`, turned by up to 20 degrees, stretched and perhaps mirrored; `half` its size in canvas pixels."""
    thing, turn = canvas.thing(scenery.SIGN), between(rng, -0.35, 0.35)
    across, up = half * between(rng, 0.75, 1.1) * (1 if chance(rng, 0.5) else -1), half * between(rng, 0.75, 1.1)
    c, s = math.cos(turn), math.sin(turn)
    paints = [choose(rng, PAINTS) for _ in range(3)]
    inks = [canvas.ink(thing, colour, between(rng, 0.02, 0.2), 0.1) for colour in paints]
    for number, outline in FLAT[kind]:
        corners = [(x * across, y * up) for x, y in outline]
        points = [(round(centre[0] + x * c + y * s), round(centre[1] + x * s - y * c)) for x, y in corners]
        canvas.draw.polygon(points, inks[number])


def draw_clutter(canvas: Canvas, rng: Random) -> None:
    """A patch that is part of nothing."""
    ink = canvas.ink(canvas.thing(scenery.BUILDING), choose(rng, PAINTS), between(rng, 0.02, 0.3), 0.1)
    x, y, size = between(rng, 0, canvas.width), between(rng, 0, canvas.height), between(rng, 0.05, 0.3) * canvas.width
    corners = [(x + between(rng, -size, size), y + between(rng, -size, size)) for _ in range(3 + int(between(rng, 0, 3)))]
    canvas.draw.polygon([(round(a), round(b)) for a, b in corners], ink)


def draw_thing(seed: int | Sequence[int] | Random, kind: str, size: tuple[int, int] = (64, 64)) -> NDArray[np.uint8]:
    """A picture (H, W, 3) of one thing. Raises UnknownName for another kind."""
    if kind not in KINDS:
        raise errors.did_you_mean("kind of thing", kind, KINDS)
    rng = np.random.default_rng(seed)
    top, haze = SKIES[int(rng.random() * len(SKIES))]
    height, width = 2 * size[0], 2 * size[1]
    side = between(rng, 0.5, 3) if chance(rng, 0.5) else between(rng, -14, -6)
    tall, draw = STREET.get(kind, (4.0, None))
    wall = between(rng, 2, 5) * (1 if chance(rng, 0.5) else -1)
    street = Street(
        focal=between(rng, 0.9, 1.4) * width, centre=between(rng, 0.4, 0.6) * width, horizon=between(rng, 0.4, 0.6) * height,
        camera=tall * between(rng, 0.35, 0.55), kerbs=(side, side + between(rng, 4, 9)), walls=(wall, wall),
        crossing=(scenery.FARTHEST - 1, scenery.FARTHEST), sun=(between(rng, -0.9, 0.9), between(rng, -0.7, 0.7)),
        haze=choose(rng, (haze,)), sight=between(rng, 60, 300),
    )  # fmt: skip
    canvas = Canvas(size, street)
    scenery.draw_sky(canvas, rng, top)
    scenery.draw_backdrop(canvas, rng)
    scenery.draw_ground(canvas, rng)
    for _ in range(int(between(rng, 0, 9))):
        draw_clutter(canvas, rng)
    share = between(rng, 0.5, 0.95)
    if draw is not None:  # as far away as lets it fill the share
        draw(canvas, rng, street.focal * tall / (share * height))
    else:
        room = (1 - share) / 2
        centre = width * (0.5 + between(rng, -room, room)), height * (0.5 + between(rng, -room, room))
        draw_flat(canvas, rng, kind, centre, share * min(height, width) / 2)
    for _ in range(int(between(rng, 0, 2.5))):
        draw_clutter(canvas, rng)
    return scenery.develop(canvas, rng, np.asarray(canvas.pixels))


@lru_cache(maxsize=sum(SPLITS.values()))
def _drawn(split: str, index: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    return draw_thing((SEED, tuple(SPLITS).index(split), index), KINDS[index % len(KINDS)], size)


class Things(InNotebook):
    """Pictures of `size`, one thing each; every pixel of a picture has the class of its thing. `count` asks for more or fewer."""

    classes = CLASSES
    splits = tuple(SPLITS)

    def __init__(self, split: str = "train", count: int | None = None, size: tuple[int, int] = (64, 64)) -> None:
        if split not in SPLITS:
            raise errors.did_you_mean("split of things", split, SPLITS)
        self.split, self.size = split, size
        self.count = SPLITS[split] if count is None else count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        if not 0 <= index < self.count:
            raise IndexError(f"things/{self.split} has {self.count} pictures; there is no number {index}.")
        return f"{self.split}_{index:05d}"

    def sample(self, index: int) -> Sample:
        name = self.name(index)
        labels = np.full(self.size, index % len(KINDS), np.uint8)
        return Sample(name, _drawn(self.split, index, self.size).copy(), labels)
