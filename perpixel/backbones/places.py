"""The places of our own trunks' features on the picture: Caffe's coordinate maps, composed window by window."""

from __future__ import annotations

from typing import NamedTuple


class Place(NamedTuple):
    """Pixel i of a side of the picture lies at i / stride + shift of a map."""

    stride: int
    shift: float

    def through(self, kernel: int, stride: int, padding: int) -> Place:
        """The map behind a window."""
        return Place(self.stride * stride, (self.shift + padding - (kernel - 1) / 2) / stride)


PICTURE = Place(1, 0.0)


def cells(stride: int) -> Place:
    """The map whose cells tile the picture from its top left corner."""
    return Place(stride, (1 - stride) / (2 * stride))


def places(backbone: str, padding: int) -> dict[str, Place]:
    """The places of the pools (of GoogLeNet's features) and of the last feature of a trunk, finest first; `padding` is 100 or 1.

    Only windows that shift or thin out the grid are listed. All others are centred on their pixel."""
    wide = padding == 100
    windows: dict[str, list[tuple[str, int, int, int]]] = {  # the feature behind the window, kernel, stride, padding before
        "vgg16": [("", 3, 1, padding), *((f"pool{n}", 2, 2, 0) for n in range(1, 6)), ("fc7", 7, 1, 0 if wide else 3)],
        "alexnet": [
            ("", 11, 4, 100 if wide else 5), *((f"pool{n}", 3, 2, 0) for n in (1, 2, 5)), ("fc7", 6, 1, 0 if wide else 3),
        ],
        "googlenet": [("", 7, 2, 3), ("", 3, 2, 0), *((f"inception_{name}", 3, 2, 0) for name in ("3b", "4e", "5b"))],
    }  # fmt: skip
    place, places = PICTURE, {}
    for feature, *window in windows[backbone]:
        place = place.through(*window)
        if feature:
            places[feature] = place
    return places
