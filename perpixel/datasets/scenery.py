"""Draws the things of a street, from far to near, on a canvas of inks. The canvas then becomes a picture and its truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SKY, BUILDING, ROAD, PAVEMENT, FENCE, TREE, POLE, SIGN, CAR, PERSON = range(10)  # class ids
VOID = 255
OUTLINED = (TREE, SIGN, CAR, PERSON)  # objects with a void border. Poles are too thin for a border
COUNTED = (CAR, PERSON)  # classes with instances
SMALLEST = 8  # a car or person with fewer visible pixels is void

Colour = tuple[float, float, float]
Point = tuple[int, int]  # column, row of the canvas
Place = tuple[float, float]  # x, z on the ground
Paints = tuple[Colour, Colour, Colour]
Level = tuple[float, float, float, float]  # a cut through a box: its ends behind and ahead, half its width, height above ground
Face = tuple[tuple[float, ...], ...]  # four corners (x, y, z)
Random = np.random.Generator

# Colour says little about the class: walls, cars, clothes, signs and fences share a palette, and so do road and pavement. Classes
# differ by shape, place and neighbourhood.
PAINTS: tuple[Colour, ...] = (
    (205, 200, 192), (160, 158, 155), (112, 112, 116), (66, 68, 74), (38, 38, 42), (172, 92, 70), (140, 62, 50), (206, 176, 130),
    (182, 152, 112), (222, 206, 176), (92, 112, 142), (62, 82, 126), (128, 148, 166), (176, 48, 44), (72, 104, 82),
    (196, 172, 72), (122, 92, 72), (90, 128, 150))  # fmt: skip
GROUNDS: tuple[Colour, ...] = ((104, 104, 106), (126, 124, 120), (148, 144, 138), (88, 88, 92), (136, 122, 108), (160, 156, 152))
LEAVES: tuple[Colour, ...] = ((62, 92, 48), (84, 112, 52), (50, 78, 56), (108, 116, 58), (150, 108, 52), (136, 72, 48))
SKINS: tuple[Colour, ...] = ((226, 184, 156), (190, 140, 108), (120, 82, 62), (84, 58, 46))
HAIRS: tuple[Colour, ...] = ((40, 32, 28), (96, 70, 44), (150, 140, 130), (180, 60, 50))
DISC = ((100, 0), (81, 59), (31, 95), (-31, 95), (-81, 59), (-100, 0), (-81, -59), (-31, -95), (31, -95), (81, -59))  # percent
PANELS = (  # outlines of signs: disc, triangle, lozenge, board, traffic light
    DISC, ((-100, -80), (0, 100), (100, -80)), ((-100, 0), (0, 100), (100, 0), (0, -100)),
    ((-100, -80), (-100, 80), (100, 80), (100, -80)), ((-45, -110), (-45, 110), (45, 110), (45, -110)))  # fmt: skip
NEAREST, FARTHEST = 1.0, 400.0  # metres


@dataclass(frozen=True)
class Street:
    """The street of a picture. `x` goes to the right and `z` ahead of the camera, `y` goes up from the ground, all in metres."""

    focal: float
    centre: float  # the vanishing point, in canvas pixels
    horizon: float
    camera: float  # height of the camera
    kerbs: tuple[float, float]  # x of the left and the right edge of the road
    walls: tuple[float, float]  # x of the left and the right line of buildings
    crossing: tuple[float, float]  # z where a side street begins and ends
    sun: tuple[float, float]  # where the shadow of a thing one metre high ends: x, z
    haze: Colour
    sight: float  # distance at which haze hides half of a colour

    def at(self, x: float, y: float, z: float) -> Point:
        """The canvas pixel that shows the point x, y, z."""
        scale = self.focal / z
        return round(self.centre + x * scale), round(self.horizon + (self.camera - y) * scale)

    def light(self, x: float, z: float) -> float:
        """The brightness of an upright face that looks towards (x, z), a vector of length 1."""
        return 0.86 - 0.22 * (x * self.sun[0] + z * self.sun[1])


class Canvas:
    """The drawing of a scene, at twice the picture's size. `draw` takes inks, and `shadow` takes 255 where the sun is hidden.

    An ink has a colour, a texture and the thing it belongs to. So picture, labels and instances come from the same pixels and
    always match."""

    def __init__(self, size: tuple[int, int], street: Street) -> None:
        self.height, self.width = 2 * size[0], 2 * size[1]
        self.street = street
        self.pixels = Image.new("I", (self.width, self.height))
        self.draw = ImageDraw.Draw(self.pixels)
        self.shadows = Image.new("L", (self.width, self.height))
        self.shadow = ImageDraw.Draw(self.shadows)
        self.things: list[int] = []  # class id by thing
        self.inks: list[tuple[float, ...]] = []  # red, green, blue, grain, blotches, takes shadow, thing

    def thing(self, class_id: int) -> int:
        """The number of a new thing of this class."""
        self.things.append(class_id)
        return len(self.things) - 1

    def ink(self, thing: int, colour: Colour, grain: float = 0.04, blotches: float = 0.04, z: float = 0.0) -> int:
        """The number of a new ink, to draw with. `grain` and `blotches` are shares of brightness. `z` metres of haze dim it."""
        assert not self.inks or thing >= self.inks[-1][6], "mix the inks of a thing before those of the next"
        clear = self.street.sight / (self.street.sight + z)
        red, green, blue = blend(self.street.haze, colour, clear)
        ground = self.things[thing] in (ROAD, PAVEMENT)
        self.inks.append((red, green, blue, grain * clear, blotches * clear, ground, thing))
        return len(self.inks) - 1

    def quad(self, ink: int, a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float]) -> None:
        at = self.street.at
        self.draw.polygon((at(*a), at(*b), at(*c), at(*d)), ink)

    def column(self, ink: int, x: float, height: float, width: float, z: float) -> None:
        """An upright bar on the ground, never less than one picture pixel wide."""
        left, bottom = self.street.at(x - width / 2, 0.0, z)
        across = max(2, round(width * self.street.focal / z))
        self.draw.rectangle((left, self.street.at(x, height, z)[1], left + across - 1, bottom), ink)

    def shade(self, *corners: tuple[float, float]) -> None:
        """A shadow on the ground with these corners (x, z)."""
        self.shadow.polygon([self.street.at(x, 0.0, max(z, NEAREST)) for x, z in corners], 255)


def between(rng: Random, low: float, high: float) -> float:
    """A random number between `low` and `high`."""
    return low + (high - low) * rng.random()


def chance(rng: Random, share: float) -> bool:
    """True with the probability `share`."""
    return rng.random() < share


def choose(rng: Random, colours: Sequence[Colour], spread: float = 16.0) -> Colour:
    """A random colour of `colours`, made lighter or darker and slightly changed."""
    red, green, blue = colours[int(rng.random() * len(colours))]
    level, off = between(rng, -1.6, 1.6) * spread, between(rng, -0.6, 0.6) * spread
    return red + level + off, green + level, blue + level - off


def blend(first: Colour, second: Colour, share: float) -> Colour:
    """A mixture of two colours: `share` of the second, the rest of the first."""
    rest = 1.0 - share
    return first[0] * rest + second[0] * share, first[1] * rest + second[1] * share, first[2] * rest + second[2] * share


def lit(colour: Colour, factor: float) -> Colour:
    """The colour with `factor` times its brightness."""
    return colour[0] * factor, colour[1] * factor, colour[2] * factor


def draw_sky(canvas: Canvas, rng: Random, top: Colour) -> None:
    street = canvas.street
    sky = canvas.thing(SKY)
    last = max(2, round(street.horizon) + 2)
    for row in range(0, last, 2):
        canvas.draw.rectangle((0, row, canvas.width, row + 1), canvas.ink(sky, blend(top, street.haze, row / last), 0.0, 0.08))
    for _ in range(int(between(rng, 0, 4))):
        cloud = canvas.ink(sky, lit(street.haze, between(rng, 0.88, 1.12)), 0.0, 0.08)
        x, y, long = between(rng, 0, canvas.width), between(rng, 0, street.horizon * 0.7), between(rng, 0.05, 0.16) * canvas.width
        for _ in range(5):
            left, above = x + between(rng, -long, long), y + between(rng, -long, long) / 5
            canvas.draw.ellipse((round(left), round(above), round(left + long), round(above + long / 3)), cloud)


def draw_backdrop(canvas: Canvas, rng: Random) -> None:
    """A skyline or a line of trees, far away."""
    street = canvas.street
    woods = chance(rng, 0.5)
    thing = canvas.thing(TREE if woods else BUILDING)
    x: float = -90
    while x < 90.0:
        wide, high, z = between(rng, 5, 14), between(rng, 4, 11), between(rng, 90, 140)
        left, top = street.at(x, high, z)
        right, bottom = street.at(x + wide, 0, z)
        if woods:
            ink = canvas.ink(thing, choose(rng, LEAVES[:4]), 0.2, 0.2, z)
            canvas.draw.ellipse((left, top, right, 2 * bottom - top), ink)
        else:
            canvas.draw.rectangle((left, top, right, bottom), canvas.ink(thing, choose(rng, PAINTS), 0.03, 0.05, z))
        x += wide * 0.7


def draw_ground(canvas: Canvas, rng: Random) -> None:
    """Pavement over all ground below the horizon; on it the road, a side street, kerb stones and paint."""
    street = canvas.street
    pavement, road = canvas.thing(PAVEMENT), canvas.thing(ROAD)
    ground, tar = choose(rng, GROUNDS), choose(rng, GROUNDS)
    slabs, joint = (canvas.ink(pavement, lit(ground, level), 0.08, 0.1) for level in (1.0, 0.88))
    stone = canvas.ink(pavement, lit(ground, between(rng, 0.8, 1.25)), 0.05, 0.05)
    asphalt = canvas.ink(road, tar, between(rng, 0.03, 0.1), 0.1)
    canvas.draw.rectangle((0, round(street.horizon), canvas.width, canvas.height), slabs)

    def strip(ink: int, left: float, right: float, near: float, far: float) -> None:
        near, far = max(near, NEAREST), max(far, NEAREST)
        canvas.quad(ink, (left, 0, near), (left, 0, far), (right, 0, far), (right, 0, near))

    if chance(rng, 0.6):
        gap = between(rng, 1.0, 2.0)
        for step in range(3, 20):
            strip(joint, -30, 30, step * gap, step * gap + 0.07)
    (left, right), (near, far) = street.kerbs, street.crossing
    strip(stone, left - 0.25, right + 0.25, NEAREST, FARTHEST)
    strip(stone, -80, 80, near - 0.25, far + 0.25)
    strip(asphalt, left, right, NEAREST, FARTHEST)
    strip(asphalt, -80, 80, near, far)
    paint = canvas.ink(road, blend(tar, (255, 255, 250), between(rng, 0.3, 0.8)), 0.08, 0.1)
    dash = between(rng, 1.5, 6) if chance(rng, 0.75) else FARTHEST
    for step in range(1, int(near / dash / 2) + 1):
        middle, end = (left + right) / 2, 2 * dash * step
        strip(paint, middle - 0.08, middle + 0.08, end - dash, end)
    if chance(rng, 0.4):
        for x in (left + 0.4, right - 0.4):
            strip(paint, x - 0.06, x + 0.06, NEAREST, near)
    if chance(rng, 0.5):  # a zebra crossing
        z = between(rng, 0.4, 0.9) * min(near, 30)
        for step in range(int(right - left)):
            strip(paint, left + step + 0.3, left + step + 0.8, z, z + 2.5)


def draw_wall(canvas: Canvas, rng: Random, thing: int, ends: tuple[Place, Place], height: float, paints: Paints) -> None:
    """An upright wall on the ground line `ends`, with rows of windows and perhaps a shop front. `paints` are wall, glass,
    shop."""
    street = canvas.street
    (x0, z0), (x1, z1) = ends
    light = street.light(0.0, -1.0) if x0 != x1 else street.light(-1.0 if x0 > 0 else 1.0, 0.0)
    wall, glass, shop = (canvas.ink(thing, lit(paint, light), 0.06, 0.1, (z0 + z1) / 2) for paint in paints)

    def patch(ink: int, a: float, b: float, low: float, high: float) -> None:
        xa, xb, za, zb = x0 + (x1 - x0) * a, x0 + (x1 - x0) * b, z0 + (z1 - z0) * a, z0 + (z1 - z0) * b
        canvas.quad(ink, (xa, low, za), (xa, high, za), (xb, high, zb), (xb, low, zb))

    patch(wall, 0, 1, 0, height)
    length = abs(x1 - x0) + abs(z1 - z0)
    columns = int(length / between(rng, 1.8, 3.6))
    left, right = sorted((street.at(x0, 0, z0)[0], street.at(x1, 0, z1)[0]))
    if columns == 0 or right - left < 6 * columns or right < 0 or left > canvas.width:
        return
    wide, low, high = between(rng, 0.2, 0.36), between(rng, 0.7, 1.2), between(rng, 2.1, 2.6)
    shops = chance(rng, 0.5)
    if shops:
        patch(shop, 0, 1, 2.6, 3.2)
        for column in range(columns):
            patch(glass if chance(rng, 0.7) else shop, (column + 0.1) / columns, (column + 0.9) / columns, 0.1, 2.5)
    else:
        middle = (int(rng.random() * columns) + 0.5) / columns
        patch(shop, middle - 0.2 / columns, middle + 0.2 / columns, 0, 2.2)
    for column in range(columns):
        a, b = (column + 0.5 - wide) / columns, (column + 0.5 + wide) / columns
        xa, xb = (street.at(x0 + (x1 - x0) * t, 0, z0 + (z1 - z0) * t)[0] for t in (a, b))
        if abs(xa - xb) < 3 or max(xa, xb) < 0 or min(xa, xb) > canvas.width:
            continue
        for floor in range(int(shops), int(height / 3.0)):
            patch(glass, a, b, floor * 3.0 + low, floor * 3.0 + high)
    if chance(rng, 0.3):  # a poster with a painted person, whose class is building
        t = between(rng, 0.2, 0.8)
        xp, zp = x0 + (x1 - x0) * t, z0 + (z1 - z0) * t
        patch(shop, t - 0.7 / length, t + 0.7 / length, 0.3, 2.7)
        foot, head = street.at(xp, 0.4, zp), street.at(xp, 2.2, zp)
        draw_figure(canvas, rng, thing, foot, foot[1] - head[1], zp)


def draw_fence(canvas: Canvas, rng: Random, ends: tuple[Place, Place]) -> None:
    (x0, z0), (x1, z1) = ends
    fence = canvas.thing(FENCE)
    paint, height, gap = choose(rng, PAINTS), between(rng, 0.9, 2.0), between(rng, 0.3, 0.9)
    board, joint = (canvas.ink(fence, lit(paint, light), 0.1, 0.1, (z0 + z1) / 2) for light in (0.95, between(rng, 0.5, 0.8)))
    canvas.quad(board, (x0, 0, z0), (x0, height, z0), (x1, height, z1), (x1, 0, z1))
    wide = abs(canvas.street.at(x0, 0, z0)[0] - canvas.street.at(x1, 0, z1)[0])
    posts = min(int((abs(x1 - x0) + abs(z1 - z0)) / gap), wide // 3)
    for post in range(posts):
        (xa, za), (xb, zb) = ((x0 + (x1 - x0) * t, z0 + (z1 - z0) * t) for t in (post / posts, (post + 0.35) / posts))
        if canvas.street.at(xa, 0, za)[0] != canvas.street.at(xb, 0, zb)[0]:
            canvas.quad(joint, (xa, 0.1, za), (xa, height - 0.1, za), (xb, height - 0.1, zb), (xb, 0.1, zb))


def draw_house(canvas: Canvas, rng: Random, side: int, near: float, far: float) -> None:
    """A building on the left (-1) or the right (1), from `near` to `far`. Some stand back behind a fence."""
    street = canvas.street
    thing, line = canvas.thing(BUILDING), street.walls[side > 0]
    back = between(rng, 2, 5) if chance(rng, 0.3) else 0.0
    x, height, deep = line + side * back, between(rng, 4, 9) if chance(rng, 0.5) else between(rng, 9, 22), between(rng, 7, 14)
    glass = choose(rng, PAINTS[3:5] + PAINTS[10:13] + (street.haze,))
    paints = choose(rng, PAINTS), glass, choose(rng, PAINTS)
    roof = canvas.ink(thing, lit(choose(rng, PAINTS[2:10]), 0.9), 0.1, 0.1, near)
    if chance(rng, 0.5):
        top, ridge = height + between(rng, 1.5, 3.5), x + side * deep / 2
        canvas.quad(roof, (x - side * 0.4, height, near), (x - side * 0.4, height, far), (ridge, top, far), (ridge, top, near))
        canvas.quad(roof, (x, height, near), (ridge, top, near), (ridge, top, near), (x + side * deep, height, near))
    draw_wall(canvas, rng, thing, ((x, near), (x, far)), height, paints)
    draw_wall(canvas, rng, thing, ((x, near), (x + side * deep, near)), height, paints)
    if back:
        draw_fence(canvas, rng, ((line, near), (line, far)))
    if street.sun[0] * side < 0:  # the sun is behind the house
        reach, slant = line + street.sun[0] * height, street.sun[1] * height
        canvas.shade((line, near), (line, far), (reach, far + slant), (reach, near + slant))


def draw_tree(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    street = canvas.street
    thing, leaf, bark = canvas.thing(TREE), choose(rng, LEAVES), choose(rng, ((96, 78, 62), (110, 102, 92), (66, 56, 50)))
    height, radius = between(rng, 2.6, 5.5), between(rng, 1.0, 2.3)
    if not -3 * street.focal / z < street.at(x, 0, z)[0] < canvas.width + 3 * street.focal / z:
        return
    canvas.column(canvas.ink(thing, bark, 0.2, 0.2, z), x, height, between(rng, 0.2, 0.45), z)
    shades = [canvas.ink(thing, lit(leaf, factor), 0.4, 0.25, z) for factor in (0.72, 0.95, 1.2)]
    sunny, narrow = (1 if street.sun[0] < 0 else -1), between(rng, 0.7, 1.0)
    for clump in range(0, 15, 1 if z < 20 else 2):  # dark and big clumps first, light and small ones on the side of the sun last
        size = radius * (0.75 if clump < 5 else between(rng, 0.2, 0.4))
        across, up = between(rng, -0.7, 0.7) * radius * narrow, between(rng, -0.7, 0.9) * radius
        if clump >= 10:
            across, up = abs(across) * sunny, abs(up)
        corner = street.at(x + across - size * narrow, height + up + size, z)
        canvas.draw.ellipse((corner, street.at(x + across + size * narrow, height + up - size, z)), shades[clump // 5])
    sun_x, sun_z = street.sun[0] * height, street.sun[1] * height
    canvas.shade((x - 0.15, z), (x + 0.15, z), (x + sun_x, z + sun_z))
    canvas.shade(*((x + sun_x + radius * a / 100, z + sun_z + radius * b / 100) for a, b in DISC))


def draw_lamp(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A lamp post with an arm over the road, or a low bollard."""
    street = canvas.street
    bollard = chance(rng, 0.25)
    height, width = (between(rng, 0.8, 1.1), 0.16) if bollard else (between(rng, 4.5, 8), between(rng, 0.1, 0.2))
    ink = canvas.ink(canvas.thing(POLE), lit(choose(rng, PAINTS[1:5] + PAINTS[12:15]), 0.9), 0.05, 0.05, z)
    canvas.column(ink, x, height, width, z)
    if not bollard and chance(rng, 0.7):
        tip = street.at(x + (between(rng, 1.0, 2.2) if x < 0 else -between(rng, 1.0, 2.2)), height + 0.3, z)
        thick = max(2, round(0.1 * street.focal / z))
        canvas.draw.line((street.at(x, height, z), tip), ink, thick)
        canvas.draw.rectangle((tip[0] - 2 * thick, tip[1] - thick // 2, tip[0] + 2 * thick, tip[1] + thick), ink)
    canvas.shade((x - 0.08, z), (x + 0.08, z), (x + 0.08 + street.sun[0] * height, z + street.sun[1] * height))


def draw_sign(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    """A panel on a post: disc, triangle, lozenge, board, or a traffic light."""
    street = canvas.street
    size, foot = between(rng, 0.35, 0.6), between(rng, 2.0, 2.8)
    post = canvas.ink(canvas.thing(POLE), lit(choose(rng, PAINTS[1:4]), 0.9), 0.05, 0.05, z)
    canvas.column(post, x, foot + size, 0.1, z)
    sign, shape = canvas.thing(SIGN), int(rng.random() * len(PANELS))
    rim, panel, mark = (canvas.ink(sign, choose(rng, PAINTS), 0.02, 0.04, z) for _ in range(3))
    wide = size * between(rng, 1.0, 2.2) if shape == 3 else size

    def spot(ink: int, y: float, half: float, high: float, draw: Callable[..., None]) -> None:
        draw((street.at(x - half, y + high, z), street.at(x + half, y - high, z)), ink)

    for ink, share in ((rim, 0.01), (panel, 0.0075)):
        canvas.draw.polygon([street.at(x + a * wide * share, foot + size * (1 + b * share), z) for a, b in PANELS[shape]], ink)
    if shape < 4:
        spot(mark, foot + size, wide * 0.4, size * 0.15, canvas.draw.rectangle)
    else:
        for lamp, colour in enumerate(((210, 60, 50), (214, 170, 60), (60, 160, 90))):
            glow = canvas.ink(sign, lit(colour, 1.0 if chance(rng, 0.5) else 0.35), 0, 0, z)
            spot(glow, foot + size * (1.6 - 0.6 * lamp), size * 0.25, size * 0.25, canvas.draw.ellipse)
    canvas.shade((x - 0.06, z), (x + 0.06, z), (x + 0.06 + street.sun[0] * foot, z + street.sun[1] * foot))


def draw_figure(canvas: Canvas, rng: Random, thing: int, foot: Point, height: int, z: float) -> None:
    """A person with its feet at the canvas pixel `foot`, `height` canvas pixels tall."""
    top = choose(rng, PAINTS)
    paints = top, lit(top, 0.8), choose(rng, PAINTS), choose(rng, SKINS, 8), choose(rng, HAIRS), choose(rng, PAINTS)
    coat, sleeve, trousers, skin, hair, bag = (canvas.ink(thing, paint, 0.05, 0.1, z) for paint in paints)
    stout, stride, swing = between(rng, 0.8, 1.25), between(rng, 0.0, 0.13), between(rng, -0.1, 0.1)

    def shape(ink: int, *points: tuple[float, float]) -> None:
        canvas.draw.polygon([(round(foot[0] + x * height), round(foot[1] - y * height)) for x, y in points], ink)

    for sign in (-1, 1):
        step = sign * stride
        shape(trousers, (-0.06 * stout, 0.5), (0.06 * stout, 0.5), (step + 0.045, 0.0), (step - 0.035, 0.0))
    hem = between(rng, 0.25, 0.45) if chance(rng, 0.35) else 0.46
    shape(coat, (-0.09 * stout, 0.84), (0.09 * stout, 0.84), (0.1 * stout, hem), (-0.1 * stout, hem))
    for sign in (-1, 1):
        x = sign * 0.1 * stout
        shape(sleeve, (x, 0.83), (x + sign * 0.04, 0.8), (x + sign * swing + 0.03, 0.45), (x + sign * swing - 0.03, 0.45))
    shape(hair, *((a * 0.066 / 100, 0.925 + b * 0.075 / 100) for a, b in DISC))
    shape(skin, *((a * 0.055 / 100, 0.905 + b * 0.058 / 100) for a, b in DISC))
    if chance(rng, 0.3):
        x = between(rng, -0.16, 0.16)
        shape(bag, (x - 0.06, 0.65), (x + 0.06, 0.65), (x + 0.06, 0.42), (x - 0.06, 0.42))


def draw_person(canvas: Canvas, rng: Random, x: float, z: float) -> None:
    street = canvas.street
    tall = between(rng, 1.0, 1.4) if chance(rng, 0.2) else between(rng, 1.5, 1.95)
    draw_figure(canvas, rng, canvas.thing(PERSON), street.at(x, 0, z), max(8, round(tall * street.focal / z)), z)
    canvas.shade((x - 0.2, z), (x + 0.2, z), (x + 0.2 + street.sun[0] * tall, z + street.sun[1] * tall))


def box_faces(canvas: Canvas, place: Place, heading: Place, lower: Level, upper: Level) -> list[tuple[int, Face]]:
    """The faces of a box on `place` that the camera sees, each with its number and its corners.

    Faces 0 and 2 are the flanks, 1 is ahead, 3 is behind, 4 is the top."""
    (x, z), (c, s) = place, heading

    def ring(level: Level) -> Face:
        behind, ahead, half, y = level
        corners = ((behind, -half), (ahead, -half), (ahead, half), (behind, half))
        return tuple((x + u * c - v * s, y, z + u * s + v * c) for u, v in corners)

    low, high = ring(lower), ring(upper)
    faces: list[Face] = [(low[i], high[i], high[(i + 1) % 4], low[(i + 1) % 4]) for i in range(4)]
    faces.append(high[::-1])
    visible = []
    for number, face in enumerate(faces):
        (xa, ya), (xb, yb), (xc, yc), (xd, yd) = (canvas.street.at(*corner) for corner in face)
        if (xc - xa) * (yd - yb) - (xd - xb) * (yc - ya) > 0:
            visible.append((number, face))
    return visible


def draw_on_face(canvas: Canvas, ink: int, face: Face, left: float, right: float, low: float, high: float) -> None:
    """Fills a part of a face. `left` to `right` and `low` to `high` are shares of its width and height."""
    (ax, ay, az), (bx, by, bz), (cx, cy, cz), (dx, dy, dz) = face

    def point(a: float, b: float) -> tuple[float, float, float]:
        p, q, r, s = (1 - a) * (1 - b), (1 - a) * b, a * b, a * (1 - b)
        return p * ax + q * bx + r * cx + s * dx, p * ay + q * by + r * cy + s * dy, p * az + q * bz + r * cz + s * dz

    canvas.quad(ink, point(left, low), point(left, high), point(right, high), point(right, low))


def draw_car(canvas: Canvas, rng: Random, x: float, z: float, heading: Place) -> None:
    """A car or a van with its middle at (x, z). Its front looks along `heading`, a vector of length 1."""
    street, (c, s), place = canvas.street, heading, (x, z)
    thing, paint = canvas.thing(CAR), choose(rng, PAINTS)
    van, blind = chance(rng, 0.25), chance(rng, 0.6)  # a blind van has no windows at the back
    long = between(rng, 4.6, 6.5) if van else between(rng, 3.6, 4.8)
    half, roof = (0.98, between(rng, 2.0, 2.7)) if van else (0.86, between(rng, 1.4, 1.65))
    back, front, belt = -long / 2, long / 2, roof * 0.58
    paints: tuple[Colour, ...] = (
        (30, 30, 32), (24, 24, 26), (130, 130, 132), choose(rng, (PAINTS[3], PAINTS[4], PAINTS[10], street.haze)),
        (230, 226, 206), (176, 36, 32))  # fmt: skip
    dark, rubber, hub, glass, headlight, tail = (canvas.ink(thing, colour, 0.03, 0.06, z) for colour in paints)
    lights = [street.light(nx, nz) for nx, nz in ((s, -c), (c, s), (-s, c), (-c, -s))] + [1.08]
    skins = [canvas.ink(thing, lit(paint, light), 0.03, 0.06, z) for light in lights]
    for _, face in box_faces(canvas, place, heading, (back + 0.2, front - 0.2, half - 0.1, 0.05), (back, front, half, 0.35)):
        canvas.quad(dark, *face)
    for number, face in box_faces(canvas, place, heading, (back, front, half, 0.28), (back + 0.08, front - 0.08, half, belt)):
        canvas.quad(skins[number], *face)
        if number in (1, 3) and z < 25:
            lamp = headlight if number == 1 else tail
            draw_on_face(canvas, lamp, face, 0.04, 0.24, 0.5, 0.8)
            draw_on_face(canvas, lamp, face, 0.76, 0.96, 0.5, 0.8)
            draw_on_face(canvas, hub, face, 0.36, 0.64, 0.2, 0.4)
            draw_on_face(canvas, dark, face, 0, 1, 0, 0.14)
        elif number in (0, 2):
            side = half if number == 2 else -half
            for u in (back * 0.6, front * 0.62):
                for ink, radius in ((rubber, 0.0034), (hub, 0.0018))[: 2 if z < 25 else 1]:
                    wheel = ((u + a * radius, 0.34 + b * radius) for a, b in DISC)
                    canvas.draw.polygon([street.at(x + w * c - side * s, y, z + w * s + side * c) for w, y in wheel], ink)
    cabin = (back + 0.02, front * 0.8, half, belt) if van else (back * 0.86, front * 0.5, half, belt)
    top = (back + 0.05, front * 0.6, half - 0.08, roof) if van else (back * 0.55, front * 0.1, half - 0.18, roof)
    # flank 0 runs from back to front, flank 2 from front to back
    panes = {0: ((0.74, 0.94),), 1: ((0.08, 0.92),), 2: ((0.06, 0.26),)} if van and blind else {
        0: ((0.08, 0.46), (0.52, 0.92)), 1: ((0.08, 0.92),), 2: ((0.08, 0.46), (0.52, 0.92)), 3: ((0.08, 0.92),)}  # fmt: skip
    for number, face in box_faces(canvas, place, heading, cabin, top):
        canvas.quad(skins[number], *face)
        for left, right in panes.get(number, ()):
            draw_on_face(canvas, glass, face, left, right, 0.14, 0.87)
    foot = [(x + u * c - v * s, z + u * s + v * c) for u, v in ((back, -half), (front, -half), (front, half), (back, half))]
    thrown = [(a + street.sun[0] * roof * 0.8, b + street.sun[1] * roof * 0.8) for a, b in foot]
    canvas.shade(*foot)
    for i in range(4):  # the shadow of each side, between an edge of the footprint and its shadow
        canvas.shade(foot[i], foot[i - 1], thrown[i - 1], thrown[i])


def develop(canvas: Canvas, rng: Random, pixels: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The picture, uint8 (H, W, 3): inks averaged over 2x2 pixels, then texture, shadow, uneven light, colour cast, blur and
    noise."""
    height, width = canvas.height // 2, canvas.width // 2
    inks = np.array(canvas.inks, np.float32)
    grain, blotches, ground = inks.T[3:6].take(pixels[::2, ::2], axis=1)
    # The three channels lie in one number, with ten bits each, because the sum of four values stays below 1024.
    packed = np.clip(inks[:, :3], 0, 255).astype(np.int32) @ np.array([1, 1 << 10, 1 << 20], np.int32)
    rows = packed.take(pixels)
    rows = rows[0::2] + rows[1::2]
    sums = rows[:, 0::2] + rows[:, 1::2]
    fine = rng.random((height, width), np.float32) - np.float32(0.5)
    cells = Image.fromarray(rng.integers(0, 256, (18, 22), np.uint8)).resize((width, height), Image.Resampling.BILINEAR)
    coarse = np.asarray(cells) / np.float32(255) - np.float32(0.5)
    across, along = (np.arange(long, dtype=np.float32) / np.float32(long) - np.float32(0.5) for long in (width, height))
    uneven = 1 + across * np.float32(between(rng, -0.3, 0.3)) + along[:, None] * np.float32(between(rng, -0.3, 0.3))
    shadow = 1 - np.asarray(canvas.shadows.reduce(2)) * ground * np.float32(between(rng, 0.15, 0.5) / 255)
    light = (1 + 2 * fine * grain + 2 * coarse * blotches) * shadow * uneven
    exposure, lift = between(rng, 0.65, 1.15) / 4, between(rng, -6, 18)
    exposed = np.empty((height, width, 3), np.uint8)
    for channel in range(3):
        gain = np.float32(exposure * between(rng, 0.88, 1.12))
        plane = (sums >> 10 * channel & 1023).astype(np.float32) * light
        exposed[..., channel] = np.clip(plane * gain + np.float32(lift), 0, 255)
    if chance(rng, 0.5):
        exposed = np.asarray(Image.fromarray(exposed).filter(ImageFilter.BoxBlur(between(rng, 0.2, 0.6))))
    noise = rng.integers(0, 256, exposed.shape, np.uint8) * np.float32(between(rng, 0.01, 0.1))
    picture: NDArray[np.uint8] = np.clip(exposed + noise, 0, 255).astype(np.uint8)
    return picture


def truth(canvas: Canvas, pixels: NDArray[np.int32]) -> tuple[NDArray[np.uint8], NDArray[np.uint16]]:
    """The labels with the void border (H, W), and the number 1..N of each car and person (H, W), which is 0 elsewhere.

    A pixel of the picture shows the thing of most of its 2x2 canvas pixels. Of two equal shares it shows the nearer thing."""
    a, b, c, d = pixels[0::2, 0::2], pixels[0::2, 1::2], pixels[1::2, 0::2], pixels[1::2, 1::2]
    # Inks have the order of their things. So the second largest of four inks belongs to the thing with the majority, or to the
    # nearer thing in a tie.
    inks = np.maximum(np.minimum(np.maximum(a, b), np.maximum(c, d)), np.maximum(np.minimum(a, b), np.minimum(c, d)))
    classes, count = np.array(canvas.things, np.uint8), len(canvas.things)
    things = np.array([ink[6] for ink in canvas.inks]).take(inks)
    counted, outlined = (np.array([class_id in class_group for class_id in canvas.things]) for class_group in (COUNTED, OUTLINED))
    # Things without a number share an owner by class.
    owner = np.where(counted, np.arange(count), -1 - classes.astype(np.int64)).take(things)
    outlined_here = outlined.take(things)
    border = np.zeros(things.shape, bool)
    for near, far in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        edge = (owner[near] != owner[far]) & (outlined_here[near] | outlined_here[far])
        border[near] |= edge
        border[far] |= edge
    area, core = np.bincount(things.ravel(), minlength=count), np.bincount(things[~border], minlength=count)
    thin = (classes == POLE) | outlined & (2 * core < area)  # a border would take more than half of their pixels
    void = border & ~thin.take(things)
    kept = counted & (np.bincount(things[~void], minlength=count) >= SMALLEST)
    void |= (counted & ~kept).take(things)
    labels, numbers = classes.take(things), np.where(kept, np.cumsum(kept), 0).astype(np.uint16).take(things)
    labels[void], numbers[void] = VOID, 0
    return labels, numbers
