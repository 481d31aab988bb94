"""Masks from polygons, drawn as COCO draws them, and polygons from masks.

    fill([[10, 10, 20, 10, 20, 30, 10, 30]], 480, 640)      # bool (H, W): x, y, x, y ... in pixels
    outlines(mask)                                          # polygons that fill turns into the same mask
    rings(mask)                                             # of each piece its outer ring, and its holes as rings of their own

COCO's rule (cocoapi, common/maskApi.c, rleFrPoly) draws the outline on a grid five times as fine. A pixel is inside where the
outline crosses the middle of its column an odd number of times above it. So a polygon whose corners are corners of pixels, as
`outlines` makes them, covers exactly these pixels. A bridge to a hole is walked there and back, and changes no pixel. Several
polygons are one object, their union. The polygons are checked here and drawn by `polygon_runs`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from perpixel.masks.rle import dense, require_size, shown

MAX_COORDINATE = 1e6
MAX_LENGTH = 2**22  # pixels along all outlines of an object. Drawing takes five steps for each pixel


def fill(polygons: Sequence[Sequence[float]], height: int, width: int) -> NDArray[np.bool_]:
    """The mask, bool (H, W), of the union of polygons, by COCO's rule. Raises ValueError as `draw` does."""
    return dense(draw(polygons, height, width), height, width)


def draw(polygons: Sequence[Sequence[float]], height: int, width: int) -> NDArray[np.int64]:
    """The run lengths of the union of polygons, by COCO's rule. Parts outside of the picture are cut off.

    Raises ValueError, one sentence, for a size that `rle.require_size` refuses, and for polygons that `checked` refuses."""
    require_size(height, width)
    corners = checked(polygons)
    from perpixel.masks import polygon_runs  # imported here, because it takes 0.4 s and not every command draws

    result = polygon_runs.draw([corners], np.array([height], np.int64), np.array([width], np.int64))
    assert not isinstance(result, int), "checked polygons can be drawn"
    return result.lengths


def checked(polygons: Sequence[Sequence[float]]) -> list[NDArray[np.float64]]:
    """The polygons as arrays, each float64 (2 N,) with N >= 3 corners.

    Raises ValueError, one sentence, for anything but a list of lists of numbers, for an odd number of values or fewer than 6,
    for a coordinate that is not finite or beyond 1e6, and for outlines that are longer than 2^22 pixels together."""
    if not isinstance(polygons, list | tuple):
        raise ValueError(f"polygons are a list of lists x, y, x, y ..., not {shown(polygons)}.")
    corner_lists, length = [], 0.0
    for number, polygon in enumerate(polygons):
        if not isinstance(polygon, list | tuple | np.ndarray):
            raise ValueError(f"polygon {number} is {shown(polygon)}; a polygon is a list x, y, x, y ... of numbers.")
        if len(polygon) < 6 or len(polygon) % 2:
            raise ValueError(f"polygon {number} has {len(polygon)} values; it needs x and y of three corners or more.")
        sound = isinstance(polygon, np.ndarray) and polygon.dtype == np.float64 and (np.abs(polygon) <= MAX_COORDINATE).all()
        for place, value in enumerate(() if sound else polygon):
            if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
                raise ValueError(f"polygon {number} has {shown(value)} at place {place}; coordinates are numbers.")
            if not -MAX_COORDINATE <= value <= MAX_COORDINATE:  # also true for nan
                raise ValueError(
                    f"polygon {number} has the coordinate {shown(value)} at place {place}; "
                    f"coordinates are finite and at most {MAX_COORDINATE:.0f} from 0."
                )
        corners = np.array(polygon, np.float64)
        steps = np.abs(corners - np.roll(corners, -2))
        length += float(np.maximum(steps[::2], steps[1::2]).sum())
        if length > MAX_LENGTH:
            raise ValueError(f"the outlines are longer than {MAX_LENGTH} pixels up to polygon {number}; check the coordinates.")
        corner_lists.append(corners)
    return corner_lists


def outlines(mask: NDArray[Any], left: int = 0, top: int = 0) -> list[list[float]]:
    """Polygons x, y, x, y ... that `fill` turns into this mask (H, W), bool or numbers. An empty mask has no polygon.

    `left` and `top` are added to x and y. Each piece of pixels that share edges has one polygon. It runs clockwise along the
    edges of the pixels, from the corner of its first pixel. A bridge of no width leads from a hole's first pixel straight up, so
    the hole is cut out: `fill` shows the hole, and so does each program that draws by the even-odd rule without a line on the
    edge. Other programs may show the bridge."""
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions, not the shape {mask.shape}.")
    require_size(*mask.shape)
    padded = np.pad(mask.astype(np.bool_, copy=False), 1)
    keys = _edges(padded)
    columns = padded.shape[1] - 1  # number of corners in a row. Corners are numbered along the rows
    following = _next_edges(keys, columns - 1)
    nodes = (keys >> 2).tolist()
    outer = []
    for cycle in _cycles(following):
        first = cycle[0]
        if keys[first] & 3 == RIGHT:
            outer.append(first)
            continue
        above = _corner_above(padded, nodes[first])
        branch = int(np.searchsorted(keys, above * 4))
        # The walk now goes from the edge `branch` to the hole's first corner, round the hole, back to `branch`, and on.
        nodes += [nodes[first], above]
        following += [len(following) + 1, following[branch]]
        following[cycle[-1]] = len(following) - 2
        following[branch] = first
    return [_corners(following, nodes, first, columns, (left, top)) for first in outer]


def rings(mask: NDArray[Any], left: int = 0, top: int = 0) -> list[list[NDArray[np.int64]]]:
    """The outlines of a mask (H, W), without bridges: of each piece of pixels that share edges its outer ring, then its holes.

    A ring is (N, 2), x and y of its corners, to which `left` and `top` are added. An outer ring runs clockwise, seen with y
    downwards, a hole the other way round, and no ring meets a corner twice. So the areas of the outer rings without those of
    the holes are the number of pixels. An empty mask has no ring."""
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions, not the shape {mask.shape}.")
    require_size(*mask.shape)
    padded = np.pad(mask.astype(np.bool_, copy=False), 1)
    keys = _edges(padded)
    columns = padded.shape[1] - 1
    following = _next_edges(keys, columns - 1)
    nodes = (keys >> 2).tolist()
    pieces: list[list[NDArray[np.int64]]] = []
    piece_of = [0] * len(nodes)  # by edge
    for cycle in _cycles(following):
        first = cycle[0]
        if keys[first] & 3 == RIGHT:
            piece = len(pieces)
            pieces.append([])
        else:  # the edge above a hole is of the same piece, and was met before
            piece = piece_of[int(np.searchsorted(keys, _corner_above(padded, nodes[first]) * 4))]
        for edge in cycle:
            piece_of[edge] = piece
        for loop in _loops([nodes[edge] for edge in cycle]):
            ring = _turns(loop, columns)
            pieces[piece].insert(0 if _area(ring) > 0 else len(pieces[piece]), ring + np.array([left, top]))
    return pieces


def _area(ring: NDArray[np.int64]) -> int:
    """Twice the area inside a ring, above 0 where it runs clockwise, seen with y downwards."""
    x, y = ring.T
    return int(np.dot(x, np.roll(y, -1)) - np.dot(np.roll(x, -1), y))


def _loops(walk: list[int]) -> Iterator[list[int]]:
    """The loops of a closed walk over corners, none of which meets a corner twice."""
    path, place = list[int](), dict[int, int]()
    for node in walk:
        if node in place:  # a loop is closed, and the walk goes on from its corner
            start = place[node]
            yield path[start:]
            for other in path[start:]:
                del place[other]
            del path[start:]
        place[node] = len(path)
        path.append(node)
    yield path


def _corner_above(padded: NDArray[np.bool_], node: int) -> int:
    """The nearest corner straight above a hole's first corner that is not inside the mask."""
    columns: int = padded.shape[1] - 1
    row, column = divmod(node, columns)
    above = padded[: row + 1, column] & padded[: row + 1, column + 1]
    inner = above[:-1] & above[1:]
    return int(np.flatnonzero(~inner)[-1]) * columns + column


def ellipse(x: float, y: float, wide: float, high: float) -> NDArray[np.float64]:
    """256 corners (256, 2) of an ellipse with the centre x, y and the radii `wide` and `high`."""
    angles = np.linspace(0, 2 * np.pi, 256, endpoint=False)
    return np.stack([x + wide * np.cos(angles), y + high * np.sin(angles)], 1)


def turned(
    corners: NDArray[np.float64], around: Sequence[float] | NDArray[np.float64], degrees: float
) -> NDArray[np.float64]:
    """Corners (N, 2) turned clockwise, seen with y downwards. An angle that is not finite gives corners of nan."""
    angle = np.radians(degrees)
    with np.errstate(invalid="ignore"):
        cosine, sine = np.cos(angle), np.sin(angle)
        result: NDArray[np.float64] = (corners - around) @ np.array([[cosine, sine], [-sine, cosine]]) + around
    return result


RIGHT, DOWN, LEFT, UP = range(4)


def _edges(padded: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The edges of pixels between inside and outside, sorted. The inside lies to the right of each edge.

    An edge is the number 4 * c + d: it begins at the corner c and has the direction d."""
    inside = padded[1:-1, 1:-1]
    columns = inside.shape[1] + 1
    keys = []
    for direction, neighbour, down, right in (
        (RIGHT, padded[:-2, 1:-1], 0, 0), (DOWN, padded[1:-1, 2:], 0, 1), (LEFT, padded[2:, 1:-1], 1, 1),
        (UP, padded[1:-1, :-2], 1, 0),
    ):  # fmt: skip
        rows, places = np.nonzero(inside & ~neighbour)
        keys.append(((rows + down) * columns + places + right) * 4 + direction)
    return np.sort(np.concatenate(keys))


def _next_edges(keys: NDArray[np.int64], width: int) -> list[int]:
    """The index of the edge that follows each edge.

    Where two edges may follow, it is the edge to the right, so that pixels which share only a corner stay apart."""
    steps = np.array([1, width + 1, -1, -width - 1])
    direction = keys & 3
    end = (keys >> 2) + steps[direction]
    following = np.zeros(len(keys), np.int64)
    for turn in (3, 0, 1):  # the last existing edge is taken
        candidate = end * 4 + (direction + turn) % 4
        place = np.minimum(np.searchsorted(keys, candidate), len(keys) - 1)
        following = np.where(keys[place] == candidate, place, following)
    edges: list[int] = following.tolist()
    return edges


def _cycles(following: list[int]) -> Iterator[list[int]]:
    """Each closed walk as a list of edges, from its first edge. The caller may change `following` at the edges of past walks."""
    seen = bytearray(len(following))
    for first in range(len(seen)):
        if not seen[first]:
            cycle, edge = [], first
            while not seen[edge]:
                seen[edge] = 1
                cycle.append(edge)
                edge = following[edge]
            yield cycle


def _corners(following: list[int], nodes: list[int], first: int, columns: int, origin: tuple[int, int]) -> list[float]:
    """The corners x, y, x, y ... of a walk, without corners where it goes straight on. `origin` is added to x and y."""
    walk, edge = [nodes[first]], following[first]
    while edge != first:
        walk.append(nodes[edge])
        edge = following[edge]
    corners: list[float] = (_turns(walk, columns) + origin).astype(np.float64).ravel().tolist()
    return corners


def _turns(walk: list[int], columns: int) -> NDArray[np.int64]:
    """The corners x, y (N, 2) of a closed walk at which it turns."""
    y, x = np.divmod(np.array(walk), columns)
    points = np.stack([x, y], 1)
    steps = np.sign(points - np.roll(points, 1, 0))
    turns: NDArray[np.int64] = points[(steps != np.roll(steps, -1, 0)).any(1)]
    return turns
