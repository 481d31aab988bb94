"""A network -> its drawing: the stages of the real layers, found by running the network on shapes, as SVG with sizes.

    stages = stages_of("unet", {}, classes=21, size=(572, 572))
    svg = drawn(stages)

Every tensor operation of one forward pass is recorded on the meta device: nothing is computed and no weights are made. Layers of
one part of the network become a stage. A stage lies in the row of its size, so that a network that halves its maps goes down, and
one that enlarges them comes up again. An arrow is a tensor that one stage made and another one reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from itertools import groupby
from typing import Any

Size = tuple[int, int]
BOX, GAP, HEIGHT, LANE, LEFT, TOP = 74, 14, 34, 46, 62, 16  # pixels of the drawing
WHOLE = ("rpn", "context", "box_head", "mask_head")  # parts that are one stage at each size; of others each layer in a list is
BY_SIZE = ("trunk.features",)  # plain chains of convolutions and pools in a trunk: a stage for each size
CALLED = {"context.encoding": "encoding"}  # parts whose single operations say nothing
SIGNS = {"pool": "↓", "resize": "↑", "join": "⊕", "regions": "▣"}
JOINS = {"add": "+", "mul": "×", "maximum": "max", "cat": "concat", "stack": "concat"}
REDUCED = {"sum": "+", "amax": "max", "max": "max"}  # what follows a stack


@dataclass(frozen=True)
class Stage:
    """Layers of one part: `part` is its path in the network, `layers` say what it does, in order. Its last tensor has `channels`
    and the `size` (height, width); (1, 1) of a vector. `inputs` are the places of the stages that it reads; -1 is the picture.

    `kind`: "convolution", "pool", "resize", "join" or "regions"."""

    part: str
    kind: str
    layers: tuple[str, ...]
    channels: int
    size: Size
    inputs: tuple[int, ...]


@dataclass
class Operation:
    """One tensor operation. `inputs` are the places of operations that made what it reads; -1 is the picture."""

    part: str
    kind: str
    words: str
    channels: int
    size: Size
    inputs: tuple[int, ...]


@lru_cache(maxsize=64)
def _stages(name: str, arguments: tuple[tuple[str, Any], ...], classes: int, size: Size) -> tuple[Stage, ...]:
    return tuple(_grouped(_operations(name, dict(arguments), classes, size)))


def stages_of(name: str, arguments: Mapping[str, Any], classes: int, size: Size) -> tuple[Stage, ...]:
    """The stages of a network for a picture of `size`, in the order in which they run. Raises what `networks.build` raises."""
    known = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    return _stages(name, tuple(sorted(known.items())), classes, size)


def _operations(name: str, arguments: Mapping[str, Any], classes: int, size: Size) -> list[Operation]:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from perpixel.networks import build
    from perpixel.networks.mask_rcnn import RegionNetwork

    operations: list[Operation] = []
    made_by: dict[int, int] = {}  # the place of the operation that made a tensor, by the tensor's id
    kept: list[object] = []  # all tensors stay, so that no id is used twice
    path = [""]

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            out = func(*args, **(kwargs or {}))
            results = [one for one in (out if isinstance(out, (tuple, list)) else (out,)) if isinstance(one, torch.Tensor)]
            read = list(dict.fromkeys(made_by[id(one)] for one in _tensors(args) if id(one) in made_by))
            if read and results:
                place = _recorded(operations, func.__name__.split(".")[0], args, results[0], tuple(read), path[-1])
                for one in results:
                    made_by[id(one)] = place
                kept.extend(results)
            return out

    def enters(part: str, values: Any) -> None:
        path.append(part)
        if part == "trunk":  # a network of objects writes the picture into a frame of another size
            for one in _tensors(values):
                made_by.setdefault(id(one), -1)
                kept.append(one)

    with torch.device("meta"):
        network: Any = build(name, classes, **arguments).eval()
        images = torch.empty(1, 3, *size)
    made_by[id(images)] = -1
    for part, module in network.named_modules():
        module.register_forward_pre_hook(lambda _, values, part=part: enters(part, values))
        module.register_forward_hook(lambda *_: path.pop() and None)
    with torch.no_grad(), Recorder():  # type: ignore[no-untyped-call]
        (network.work if isinstance(network, RegionNetwork) else network)(images)
    return operations


def _tensors(values: Any) -> Iterable[Any]:
    """All tensors in nested lists."""
    for value in values:
        if isinstance(value, (list, tuple)):
            yield from _tensors(value)
        elif hasattr(value, "dim"):
            yield value


def _recorded(operations: list[Operation], name: str, args: Any, out: Any, read: tuple[int, ...], part: str) -> int:
    """Adds an operation and returns its place; one that only changes values belongs to the operation before."""
    channels, size = _shape(out)
    described = _described(name, args, out)
    if part in CALLED:
        described = ("pool", CALLED[part])
    if name == "new_zeros":  # regions, which are cut out of all levels that are searched for objects
        searched = [before for one in operations if one.part == "rpn.convolution" for before in one.inputs]
        described, read = ("regions", "RoIAlign"), tuple(dict.fromkeys(searched))[:-1] or read
    if described is None and len(read) == 1:
        before = operations[read[0]] if read[0] >= 0 else None
        if before is not None and before.kind == "join" and name in REDUCED and before.words == "concat":
            before.words, before.channels, before.size = REDUCED[name], channels, size
        return read[0]
    kind, words = described or ("join", JOINS.get(name.rstrip("_"), name))
    operations.append(Operation(part, kind, words, channels, size, read))
    return len(operations) - 1


def _shape(tensor: Any) -> tuple[int, Size]:
    shape = tuple(tensor.shape)
    if len(shape) >= 4:
        return shape[-3], (shape[-2], shape[-1])
    return shape[-1] if shape else 1, (1, 1)


def _described(name: str, args: Any, out: Any) -> tuple[str, str] | None:
    """The kind of a layer and its words; none for an operation that is no layer of its own."""
    if name == "convolution":
        kernel, dilation, transposed = tuple(args[1].shape[2:]), args[5][0], args[6]
        depthwise = args[8] == args[1].shape[0] > 1
        words = f"{kernel[0]}×{kernel[1]} {'deconv' if transposed else 'depthwise' if depthwise else 'conv'}"
        if dilation > 1:
            words += f", rate {dilation}"
        return "resize" if transposed and args[3][0] > 1 else "convolution", words
    if name.startswith(("max_pool", "avg_pool", "_adaptive_avg_pool", "adaptive")):
        kernel = args[1] if name.startswith(("max_pool2d", "avg_pool2d")) else out.shape[-2:]
        side = kernel[0] if isinstance(kernel, (list, tuple)) or hasattr(kernel, "__len__") else kernel
        return "pool", f"{side}×{side} {'max' if name.startswith('max') else 'mean'} pool"
    if name == "max_unpool2d":
        return "resize", "unpool"
    if name.startswith("upsample"):
        return "resize", "bilinear" if "bilinear" in name else "nearest"
    if name == "mean" and out.numel() <= out.shape[0] * _shape(out)[0] and out.dim() in (2, 4):
        return "pool", "global mean pool"
    if "roi_align" in name or "roi_pool" in name:
        return "regions", "RoIAlign" if "align" in name else "RoIPool"
    return ("convolution", "linear") if name in ("addmm", "mm") else None


def _stage_name(part: str) -> str:
    """The words of a module's path that tell its stage."""
    words = part.split(".")
    if words[0] in WHOLE:
        return words[0]
    if words[0] == "trunk" and len(words) > 1 and not words[1].startswith(("layer", "blocks", "features", "fc")):
        return "trunk.stem"
    return ".".join(words[: 3 if words[:2] == ["trunk", "blocks"] else 2])


class Groups:
    """Operations in groups, which join. Places are those of operations; a group has the place of one of its members."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self._above = list(range(len(operations)))

    def of(self, place: int) -> int:
        while self._above[place] != place:
            place = self._above[place]
        return place

    def join(self, one: int, other: int) -> None:
        self._above[self.of(other)] = self.of(one)

    @property
    def members(self) -> dict[int, list[int]]:
        """The operations of each group, in order."""
        members: dict[int, list[int]] = {}
        for place in range(len(self.operations)):
            members.setdefault(self.of(place), []).append(place)
        return members

    @property
    def readers(self) -> dict[int, set[int]]:
        """Which other groups read what a group has made."""
        readers: dict[int, set[int]] = {}
        for place, one in enumerate(self.operations):
            for before in one.inputs:
                if before >= 0 and self.of(before) != self.of(place):
                    readers.setdefault(self.of(before), set()).add(self.of(place))
        return readers


def _grouped(operations: Sequence[Operation]) -> list[Stage]:
    """Operations of one part that are connected become a stage; so do parts that would read each other."""
    groups, keys = Groups(operations), []
    for place, one in enumerate(operations):
        name = _stage_name(one.part)
        plain = name in BY_SIZE or not name.startswith("trunk")
        alone = not one.part or (one.kind == "join" and plain and name not in WHOLE)
        keys.append(("", place) if alone else (name, one.size if plain else None))
    for place, one in enumerate(operations):
        for before in one.inputs:
            if before >= 0 and keys[before] == keys[place]:
                groups.join(before, place)
    while _join_circle(groups) or _join_neighbours(groups):
        pass
    members, readers = groups.members, groups.readers
    for group, inside in list(members.items()):  # the picture in another size
        if group not in readers and all(operations[place].inputs == (-1,) for place in inside):
            del members[group]
    order = sorted(members, key=lambda group: members[group][-1])
    number = {group: place for place, group in enumerate(order)}
    stages = []
    for group in order:
        layers = [operations[place] for place in members[group]]
        last = layers[-1]
        read = dict.fromkeys(-1 if before < 0 else number[groups.of(before)] for one in layers for before in one.inputs)
        kind = "convolution" if any(one.kind == "convolution" for one in layers) else last.kind
        inputs = tuple(before for before in read if before != number[group])
        stages.append(Stage(_stage_name(last.part), kind, tuple(_counted(layers)), last.channels, last.size, inputs))
    return stages


def _join_circle(groups: Groups) -> bool:
    """Joins two groups of which each reads the other, directly or through others. Returns whether there were any."""
    readers = groups.readers
    reached: dict[int, set[int]] = {}
    for start in readers:
        waiting, reached[start] = [*readers[start]], set()
        while waiting:
            group = waiting.pop()
            if group not in reached[start]:
                reached[start].add(group)
                waiting += readers.get(group, ())
    for start, others in reached.items():
        for other in others:
            if other != start and start in reached.get(other, ()):
                groups.join(start, other)
                return True
    return False


def _join_neighbours(groups: Groups) -> bool:
    """Joins two groups in a row: equal blocks of a trunk, or a pool, join or resize and the convolutions that alone read it.

    Returns whether there were any."""
    members, readers = groups.members, groups.readers
    for group, after in readers.items():
        if len(after) > 1:
            continue
        (reader,) = after
        first, second = groups.operations[members[group][-1]], groups.operations[members[reader][-1]]
        if sum(reader in others for others in readers.values()) > 1 or first.size != second.size:
            continue
        blocks = all(one.part.startswith("trunk.blocks") for one in (first, second)) and first.channels == second.channels
        prepares = len(members[group]) == 1 and first.kind != "convolution"
        if blocks or (prepares and second.kind == "convolution"):
            groups.join(group, reader)
            return True
    return False


def _counted(operations: Sequence[Operation]) -> list[str]:
    """The words of layers in order, equal neighbours counted: "3×3 conv ×2". Blocks with shortcuts are counted as such."""
    sums = sum(one.words == "+" for one in operations)
    convolutions = [one.words for one in operations if one.kind == "convolution"]
    if sums and len(convolutions) >= 2 * sums:
        rates = sorted({int(words.rsplit(" ", 1)[1]) for words in convolutions if "rate" in words})
        rated = f", rate {'–'.join(dict.fromkeys((str(rates[0]), str(rates[-1]))))}" if rates else ""
        return [f"{sums} residual block{'s' if sums > 1 else ''}{rated}"]
    runs = [(words, len(list(equal))) for words, equal in groupby(one.words for one in operations)]
    return [words if count == 1 or words in CALLED.values() else f"{words} ×{count}" for words, count in runs]


# The drawing.


def drawn(stages: Sequence[Stage]) -> str:
    """The stages as SVG, which screen readers pass over: the page has the stages as a table too."""
    sizes = sorted({stage.size for stage in stages}, reverse=True)
    columns, lanes = _placed(stages)
    heights = [1 + max((lanes[place] for place, stage in enumerate(stages) if stage.size == size), default=0) for size in sizes]
    tops = [TOP + LANE * sum(heights[:row]) + 12 * row for row in range(len(sizes))]
    width = LEFT + (BOX + GAP) * (max(columns) + 1)
    height = tops[-1] + LANE * heights[-1] + 6
    corner = [(LEFT + (BOX + GAP) * columns[place], tops[sizes.index(stage.size)] + LANE * lanes[place])
              for place, stage in enumerate(stages)]  # fmt: skip
    sides = f"width:{width}px;min-width:{0.85 * width:.0f}px"  # so far a narrower page may shrink it
    parts = [f'<svg class="network" viewBox="0 0 {width} {height}" style="{sides}" aria-hidden="true">']
    for row, size in enumerate(sizes):
        parts.append(
            f'<text x="0" y="{tops[row] + HEIGHT / 2 + 4}" class="size">{_text(size)}</text>'
            f'<line x1="0" x2="{width}" y1="{tops[row] - 7}" y2="{tops[row] - 7}" class="row"/>'
        )
    for place, stage in enumerate(stages):
        for before in stage.inputs:
            if before >= 0:
                parts.append(_arrow(corner[before], corner[place], columns[place] - columns[before] > 1))
    for place, stage in enumerate(stages):
        x, y = corner[place]
        whole = f"{', '.join(stage.layers)}: {stage.channels} × {_text(stage.size)}"
        parts.append(
            f'<g class="{stage.kind}"><title>{escape(whole)}</title>'
            f'<rect x="{x}" y="{y}" width="{BOX}" height="{HEIGHT}" rx="3"/>'
            f'<text x="{x + BOX / 2}" y="{y + 14}" class="channels">{stage.channels}</text>'
            f'<text x="{x + BOX / 2}" y="{y + 27}" class="words">{escape(_short(stage))}</text></g>'
        )
    return "".join([*parts, "</svg>"])


def _text(size: Size) -> str:
    return f"{size[0]}×{size[1]}"


def _short(stage: Stage) -> str:
    """The words in a box: the convolutions, behind a sign of what is done before them."""
    layers = [words for words in stage.layers if _sign(words) is None] or [stage.layers[-1]]
    signs = "".join(dict.fromkeys(sign for words in stage.layers if (sign := _sign(words)) is not None and words != layers[0]))
    words = f"{signs} {layers[0]}".strip()
    if "residual" in words:
        words = words.split(",")[0]
    for long, short in (("residual block", "res. block"), ("depthwise", "dw. conv"), (", rate ", " r")):
        words = words.replace(long, short)
    return words if len(words) <= 17 else f"{words[:16]}…"


def _sign(words: str) -> str | None:
    """The sign of a layer that is no convolution."""
    if ("pool" in words and words != "unpool") or words == "encoding":
        return SIGNS["pool"]
    if words.startswith(("unpool", "bilinear", "nearest")):
        return SIGNS["resize"]
    if words.startswith("RoI"):
        return SIGNS["regions"]
    return SIGNS["join"] if words.split(" ×")[0] in JOINS.values() else None


def _placed(stages: Sequence[Stage]) -> tuple[list[int], list[int]]:
    """Of each stage its column, behind all stages that it reads, and its lane in the row of its size."""
    columns: list[int] = []
    lanes: list[int] = []
    taken: set[tuple[Size, int, int]] = set()
    for stage in stages:
        column = 1 + max((columns[before] for before in stage.inputs if before >= 0), default=-1)
        lane = next(lane for lane in range(len(stages)) if (stage.size, column, lane) not in taken)
        taken.add((stage.size, column, lane))
        columns.append(column)
        lanes.append(lane)
    return columns, lanes


def _arrow(start: tuple[int, int], end: tuple[int, int], skips: bool) -> str:
    """From the right side of a stage to the left side of another one; what skips stages in its own row goes over them."""
    (x, y), (to_x, to_y) = (start[0] + BOX, start[1] + HEIGHT // 2), (end[0], end[1] + HEIGHT // 2)
    if skips and abs(y - to_y) < HEIGHT:
        over = min(start[1], end[1]) - 5
        path = f"M{x - 14},{start[1]} C{x - 10},{over} {x},{over} {x + 8},{over} L{to_x - 8},{over}"
        path += f" C{to_x},{over} {to_x + 10},{over} {to_x + 14},{end[1]}"
        return f'<path class="skip" d="{path}"/>'
    middle = to_x - GAP // 2
    if skips and to_y < y:
        middle = x + GAP // 2
    return f'<path class="{"skip" if skips else "way"}" d="M{x},{y} H{middle} V{to_y} H{to_x}"/>'
