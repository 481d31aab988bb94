"""Data sets in their true folder shape, with tiny pictures that a network can learn something from."""

import json
import struct
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from hidden_torch import HAS_TORCH
from PIL import Image
from scipy.io import savemat

from perpixel.bands import Bands
from perpixel.classes import VOID_NAME, ClassTable
from perpixel.datasets import coco
from perpixel.datasets.camvid import COLOURS, VOID
from perpixel.formats.exchange import Content
from perpixel.masks import rle

if TYPE_CHECKING:
    from torch import nn

CLASSES_CSV = "id,name,r,g,b\n0,ground,90,90,90\n1,box,200,40,40\n2,disc,40,40,200\n255,void,0,0,0\n"


def draw_sample(seed: int, size: tuple[int, int] = (24, 32)) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise with a red box and a blue disc; void on the last column."""
    rng = np.random.default_rng(seed)
    height, width = size
    labels = np.zeros(size, np.uint8)
    top, left = rng.integers(1, height // 2), rng.integers(1, width // 2)
    labels[top : top + height // 3, left : left + width // 3] = 1
    rows, columns = np.mgrid[:height, :width]
    centre = rng.integers(4, height - 4), rng.integers(width // 2, width - 4)
    labels[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < (height // 6) ** 2] = 2
    colours = np.array([[90, 90, 90], [200, 40, 40], [40, 40, 200]])
    image = np.clip(colours[labels] + rng.normal(0, 12, (*size, 3)), 0, 255).astype(np.uint8)
    labels[:, -1] = 255
    return image, labels


def make_folder(root: Path, train: int = 8, val: int = 4, size: tuple[int, int] = (24, 32)) -> Path:
    """`images/{train,val}`, `masks/{train,val}` and `classes.csv` below `root`; JPEG pictures, grey PNG masks."""
    seed = 0
    for split, count in (("train", train), ("val", val)):
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            image, labels = draw_sample(seed, size)
            Image.fromarray(image).save(root / "images" / split / f"p{number:02d}.jpg", quality=95)
            Image.fromarray(labels).save(root / "masks" / split / f"p{number:02d}.png")
            seed += 1
    (root / "classes.csv").write_text(CLASSES_CSV)
    return root


BANDS_CSV = "name,low,high,nodata\nblue,0,4000,\ngreen,,,\nred,,,\nnir,0,4000,\nswir,,,\n"


def draw_bands(seed: int, size: tuple[int, int] = (24, 32)) -> tuple[np.ndarray, np.ndarray]:
    """Five bands of 12 bits in 16, uint16 (H, W, 5), and labels, which the fourth band alone tells apart: others are noise."""
    _, labels = draw_sample(seed, size)
    rng = np.random.default_rng(seed)
    bands = rng.integers(300, 3000, (*size, 5)).astype(np.float64)
    bands[..., 3] = 600 + 900.0 * np.where(labels == 255, 0, labels) + rng.normal(0, 60, size)
    return np.clip(bands, 0, 4000).astype(np.uint16), labels


def make_bands(root: Path, train: int = 8, val: int = 4, size: tuple[int, int] = (24, 32)) -> Path:
    """A folder as `make_folder` makes it, of TIFF pictures of five bands, with their names in `bands.csv`."""
    for number in range(train + val):
        split = "train" if number < train else "val"
        bands, labels = draw_bands(number, size)
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True, exist_ok=True)
        (root / "images" / split / f"p{number:02d}.tif").write_bytes(tiff_of(bands))
        Image.fromarray(labels).save(root / "masks" / split / f"p{number:02d}.png")
    (root / "classes.csv").write_text(CLASSES_CSV)
    (root / "bands.csv").write_text(BANDS_CSV)
    return root


def draw_rectangles(seed: int, size: tuple[int, int] = (24, 32)) -> tuple[np.ndarray, np.ndarray]:
    """Bright rectangles on grey noise, some touching, and at each pixel the number of its rectangle. The numbers have gaps."""
    rng = np.random.default_rng(seed)
    numbers = np.zeros(size, np.uint16)
    for number in (3, 4, 700, 9, 65000):
        top, left = rng.integers(0, size[0] - 8), rng.integers(0, size[1] - 8)
        numbers[top : top + 8, left : left + 8] = number
    return np.clip(60 + 120 * (numbers > 0) + rng.normal(0, 12, size), 0, 255).astype(np.uint8), numbers


def make_instances(root: Path, train: int = 8, val: int = 4) -> Path:
    """`images/{train,val}` and `instances/{train,val}` below `root`, without classes.csv; grey pictures, 16-bit numbers."""
    for split, first, count in (("train", 0, train), ("val", train, val)):
        for seed in range(first, first + count):
            image, numbers = draw_rectangles(seed)
            for kind, values in (("images", image), ("instances", numbers)):
                (root / kind / split).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(root / kind / split / f"c{seed:02d}.png")
    return root


def draw_grid(seed: int, class_ids: Sequence[int], size: tuple[int, int] = (24, 40)) -> tuple[np.ndarray, ...]:
    """Cells of 4 x 4 pixels that show every class, in its colour with noise: picture, class ids, number of the cell from 1."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[: size[0], : size[1]]
    cells = rows // 4 * -(-size[1] // 4) + columns // 4
    ids = rng.permutation(np.resize(class_ids, cells.max() + 1))[cells]
    colours = np.random.default_rng(1).integers(0, 256, (max(class_ids) + 1, 3))
    image = np.clip(colours[ids] + rng.normal(0, 4, (*size, 3)), 0, 255).astype(np.uint8)
    return image, ids.astype(np.uint16), 1 + cells


def say_every_class(network: "nn.Module") -> "nn.Module":
    """Makes an untrained network that ends in the layer `classify` say each of its classes somewhere in `draw_sample`."""
    import torch

    images = torch.from_numpy(draw_sample(5, (64, 64))[0]).movedim(-1, 0)[None] / 255
    with torch.no_grad():
        logits = network(images)["logits"]
        mean, spread = logits.mean((0, 2, 3)), logits.std((0, 2, 3)) / 2
        network.classify.weight.div_(spread[:, None, None, None])
        network.classify.bias.sub_(mean).div_(spread)
    return network


def make_model(folder: Path, classes: ClassTable, seed: int = 0, bands: Bands | None = None, **card: str) -> None:
    """The model file of an untrained, narrow U-Net; `card` are words of its card, `bands` those that it takes. Where torch is
    hidden, nothing is made."""
    if not HAS_TORCH:
        return
    import torch

    import perpixel
    from perpixel.weights.model_file import ModelCard, save_model

    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"convolutions": "same", "width": 0.05}
    arguments |= {} if bands is None else {"channels": len(bands)}
    network = perpixel.build("unet", len(classes), **arguments)
    words: dict[str, Any] = {"trained_on": "", "licence": "", **card, **({} if bands is None else {"bands": bands.to_json()})}
    folder.mkdir(parents=True, exist_ok=True)
    save_model(folder, network.state_dict(), ModelCard("unet", arguments, classes.to_json(), {}, 1.0, 0, {}, **words))


def put_picture(path: Path, values: np.ndarray, palette: bool = False) -> None:
    """A picture, or with `palette` a mask of palette indices, where the suffix says how."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(values.astype(np.uint8))
    if palette:
        picture.putpalette(list(range(256)) * 3)
    picture.save(path)


def put_mat(path: Path, **variables: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    savemat(path, variables, do_compression=True)


def put_list(path: Path, names: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{name}\n" for name in names))


VOC_LISTS = {
    "train": ["2007_000001", "2008_000002"],
    "val": ["2007_000003", "2008_000004", "2009_000005"],
    "test": ["2010_000006"],
}
SBD_LISTS = {"train": ["2008_000002", "2008_000004", "2011_000007"], "val": ["2009_000005", "2011_000008"]}
LISTS_OF_2011 = {"train": ["2007_000001"], "val": ["2007_000003", "2008_000004"]}


def make_voc(root: Path) -> Path:
    """VOC 2012 with SBD and the lists of VOC 2011. VOC's masks are void in the last column, SBD's nowhere, so they differ."""
    voc, sbd = root / "VOCdevkit" / "VOC2012", root / "benchmark_RELEASE" / "dataset"
    for split, names in {**VOC_LISTS, "trainval": VOC_LISTS["train"] + VOC_LISTS["val"]}.items():
        put_list(voc / "ImageSets" / "Segmentation" / f"{split}.txt", names)
        for name in names:
            image, labels, cells = draw_grid(int(name[-1]), range(21))
            put_picture(voc / "JPEGImages" / f"{name}.jpg", image)
            if split != "test":
                labels[:, -1] = 255
                put_picture(voc / "SegmentationClass" / f"{name}.png", labels, palette=True)
                objects = np.where(labels == 0, 0, np.where(labels == 255, 255, cells))
                put_picture(voc / "SegmentationObject" / f"{name}.png", objects, palette=True)
    for split, names in SBD_LISTS.items():
        put_list(sbd / f"{split}.txt", names)
        for name in names:
            image, labels, cells = draw_grid(int(name[-1]), range(21))
            labels, objects = labels.astype(np.uint8), np.where(labels == 0, 0, cells).astype(np.uint8)
            put_picture(sbd / "img" / f"{name}.jpg", image)
            put_mat(sbd / "cls" / f"{name}.mat", GTcls={"Segmentation": labels, "Boundaries": np.zeros((20, 1))})
            put_mat(sbd / "inst" / f"{name}.mat", GTinst={"Segmentation": objects, "Categories": np.zeros((60, 1))})
    for split, names in LISTS_OF_2011.items():
        put_list(root / "VOCdevkit" / "VOC2011" / "ImageSets" / "Segmentation" / f"{split}.txt", names)
    return root


def make_coco(root: Path) -> Path:
    """COCO: objects as polygons, RLE and crowds, stuffthingmaps, pixel maps and panoptic maps, where the last column is void.

    Of a cell's kinds of stuff those that panoptic maps do not have are drawn as their merged ones, in turn."""
    seed = 0
    merged = {id: 184 + place % 17 for place, id in enumerate(sorted({*coco.STUFF} - {*coco.UNMERGED}))}
    for name, count in (("train2017", 4), ("val2017", 4), ("test2017", 2), ("train2014", 2), ("val2014", 2)):
        images, objects, panoptic = [], [], []
        for _ in range(count):
            seed += 1
            image, ids, cells = draw_grid(seed, [*coco.THINGS, *coco.STUFF], (52, 56))
            ids[:, -1] = 0
            file_name = f"{'' if '2017' in name else f'COCO_{name}_'}{seed:012}.jpg"
            put_picture(root / name / file_name, image)
            images.append({"id": seed, "file_name": file_name, "height": 52, "width": 56})
            mask = f"{seed:012}.png"
            put_picture(root / "stuffthingmaps" / name / mask, np.where(ids == 0, 255, ids - 1.0))
            maps = root / "annotations" / f"stuff_{name}_pixelmaps"
            put_picture(maps / mask, np.where(np.isin(ids, [*coco.THINGS]), coco.OTHER, ids), palette=True)
            numbers, segments = np.zeros(ids.shape, int), {}
            for cell in np.unique(cells):
                mine = (cells == cell) & (ids > 0)
                category = int(ids[mine][0])
                if category in coco.THINGS:
                    objects.append(_object(1 + len(objects), seed, category, mine))
                number = 1000 * cell if category in coco.THINGS else merged.get(category, category)
                crowd = objects[-1]["iscrowd"] if category in coco.THINGS else 0
                segments[int(number)] = {"id": int(number), "category_id": merged.get(category, category), "iscrowd": crowd}
                numbers[mine] = number
            colours = np.stack([numbers % 256, numbers // 256 % 256, numbers // 65536], -1)
            put_picture(root / "annotations" / f"panoptic_{name}" / mask, colours)
            panoptic.append({"image_id": seed, "file_name": mask, "segments_info": [*segments.values()]})
        things, kinds = ([{"id": id, "name": name} for id, name in names.items()] for names in (coco.THINGS, coco.PANOPTIC))
        if name == "test2017":
            for kind in ("test2017", "test-dev2017"):
                put_json(root / f"annotations/image_info_{kind}.json", {"images": images, "categories": things})
            continue
        instances = {"images": images, "annotations": objects, "categories": things}
        put_json(root / f"annotations/instances_{name}.json", instances)
        if "2017" in name:
            put_json(root / f"annotations/panoptic_{name}.json", {**instances, "annotations": panoptic, "categories": kinds})
    return root


def _object(id: int, image_id: int, category: int, mask: np.ndarray) -> dict[str, object]:
    """A rectangle as COCO writes it: every third as an RLE, every ninth a crowd."""
    rows, columns = np.nonzero(mask)
    left, top, right, bottom = (int(side) for side in (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1))
    segmentation = [[left, top, right, top, right, bottom, left, bottom]]
    if id % 9 == 0:
        segmentation = {"size": list(mask.shape), "counts": rle.runs(mask)}
    elif id % 3 == 0:
        segmentation = {"size": list(mask.shape), "counts": rle.encode(mask)}
    return {"id": id, "image_id": image_id, "category_id": category, "segmentation": segmentation, "area": int(mask.sum()),
            "bbox": [left, top, right - left, bottom - top], "iscrowd": int(id % 9 == 0)}  # fmt: skip


def put_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


# Names and numbers as in PASCAL-Context's labels.txt: the 59 of the common view, then some that look like them.
CONTEXT_NUMBERS = {
    "aeroplane": 2, "bag": 9, "bed": 18, "bedclothes": 19, "bench": 22, "bicycle": 23, "bird": 25, "boat": 31, "book": 33,
    "bottle": 34, "building": 44, "bus": 45, "cabinet": 46, "car": 59, "cat": 65, "ceiling": 68, "chair": 72, "cloth": 80,
    "computer": 85, "cow": 98, "cup": 104, "curtain": 105, "dog": 113, "door": 115, "fence": 144, "floor": 158, "flower": 159,
    "food": 162, "grass": 187, "ground": 189, "horse": 207, "keyboard": 220, "light": 232, "motorbike": 258, "mountain": 259,
    "mouse": 260, "person": 284, "plate": 295, "platform": 296, "pottedplant": 308, "road": 324, "rock": 326, "sheep": 347,
    "shelves": 349, "sidewalk": 354, "sign": 355, "sky": 360, "snow": 366, "sofa": 368, "table": 397, "track": 415, "train": 416,
    "tree": 420, "truck": 424, "tvmonitor": 427, "wall": 440, "water": 445, "window": 454, "wood": 458,
    "cabinet door": 47, "clothes tree": 81, "electronic keyboard": 133, "light bulb": 233, "mouse pad": 261, "plant": 293,
    "pool table": 304, "sand": 334, "unknown": 431, "window blinds": 455, "wool": 459,
}  # fmt: skip
CONTEXT_LISTS = {"train": ["2008_000001", "2008_000002"], "val": ["2009_000003", "2010_000004"]}


def make_context(root: Path) -> Path:
    """PASCAL-Context with the pictures of VOC 2010; each shows the 59 classes and `sand`, and `unknown` in the last column."""
    voc, annotations = root / "VOCdevkit" / "VOC2010", root / "pascal-context"
    names_by_number = {number: name for name, number in CONTEXT_NUMBERS.items()}
    put_list(annotations / "labels.txt", [f"{n}: {names_by_number.get(n, f'another {n}')}" for n in range(1, 460)])
    shown = [*list(CONTEXT_NUMBERS.values())[:59], CONTEXT_NUMBERS["sand"]]
    for split, names in CONTEXT_LISTS.items():
        put_list(voc / "ImageSets" / "Main" / f"{split}.txt", names)
        for name in names:
            image, labels, _ = draw_grid(int(name[-1]), shown)
            labels[:, -1] = CONTEXT_NUMBERS["unknown"]
            put_picture(voc / "JPEGImages" / f"{name}.jpg", image)
            put_mat(annotations / "trainval" / f"{name}.mat", LabelMap=labels)
    return root


SIFTFLOW_LISTS = {"trainval": ["coast_a1", "forest_b2", "street_c3"], "test": ["coast_d4", "street_e5"]}


def make_siftflow(root: Path) -> Path:
    """SIFT Flow: each picture shows the 33 semantic and the 3 geometric classes; its last column is void in both."""
    folder, album = root / "sift-flow", "spatial_envelope_256x256_static_8outdoorcategories"
    for split, names in SIFTFLOW_LISTS.items():
        put_list(folder / f"{split}.txt", names)
        for name in names:
            image, labels, cells = draw_grid(int(name[-1]), range(1, 34))
            semantic, geometric = labels.astype(np.uint8), (1 + cells % 3).astype(np.int16)
            semantic[:, -1], geometric[:, -1] = 0, -1
            put_picture(folder / "Images" / album / f"{name}.jpg", image)
            names_of = np.array([[f"class {number}"] for number in range(1, 34)], object)
            put_mat(folder / "SemanticLabels" / album / f"{name}.mat", S=semantic, names=names_of)
            put_mat(folder / "GeoLabels" / album / f"{name}.mat", S=geometric, names=names_of[:3])
    return root


NYUD_LISTS = {"train": ["5003", "5004"], "val": ["5010", "5011"], "test": ["5001", "5002", "5009"]}


def make_nyud(root: Path) -> Path:
    """NYU Depth V2 as FCN's authors have it; each picture shows the 40 classes, its last column is void."""
    for split, names in NYUD_LISTS.items():
        put_list(root / "nyud" / f"{split}.txt", names)
        for name in names:
            image, labels, _ = draw_grid(int(name), range(1, 41))
            labels[:, -1] = 0
            put_picture(root / "nyud" / "data" / "images" / f"img_{name}.png", image)
            put_mat(root / "nyud" / "segmentation" / f"img_{name}.mat", segmentation=labels)
    return root


CELLS = ((1, 1), (1, 9), (7, 17), (9, 1), (16, 10), (17, 22))  # upper left corners


def draw_cells(seed: int, size: tuple[int, int] = (24, 32)) -> tuple[np.ndarray, np.ndarray]:
    """Grey noise with bright cells of 6 x 8 pixels: picture (H, W), and the number of the cell from 1, 0 between them.

    1 and 2 share an edge, 2 and 3 a corner."""
    numbers = np.zeros(size, np.uint16)
    for number, (top, left) in enumerate(CELLS, start=1):
        numbers[top : top + 6, left : left + 8] = number
    noise = np.random.default_rng(seed).normal(0, 12, size)
    return np.clip(np.where(numbers > 0, 180, 60) + noise, 0, 255).astype(np.uint8), numbers


def put_stack(path: Path, pages: Sequence[np.ndarray]) -> None:
    """Pictures (H, W) as pages of one TIFF."""
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *more = [Image.fromarray(page) for page in pages]
    first.save(path, save_all=True, append_images=more)


def make_isbi2012(root: Path, slices: int = 10) -> Path:
    """The stacks of the ISBI 2012 challenge, of fewer and smaller slices."""
    drawn = [draw_cells(seed) for seed in range(2 * slices)]
    put_stack(root / "train-volume.tif", [image for image, _ in drawn[:slices]])
    put_stack(root / "train-labels.tif", [np.where(numbers > 0, 255, 0).astype(np.uint8) for _, numbers in drawn[:slices]])
    put_stack(root / "test-volume.tif", [image for image, _ in drawn[slices:]])
    return root


SEGMENTED = {"01": (1, 4, 6), "02": (0, 2)}  # frames of 8


def make_cell_tracking(root: Path) -> Path:
    """Both sets of the Cell Tracking Challenge: films of 8 frames, all with markers of 2 x 2 pixels; cell 6 is not segmented."""
    for place, name in enumerate(("PhC-C2DH-U373", "DIC-C2DH-HeLa")):
        for film, segmented in SEGMENTED.items():
            for number in range(8):
                image, cells = draw_cells(100 * place + 10 * int(film) + number)
                truth = root / name / f"{film}_GT"
                put_stack(root / name / film / f"t{number:03}.tif", [image])
                markers = np.zeros_like(cells)
                for cell, (top, left) in enumerate(CELLS, start=1):
                    markers[top + 2 : top + 4, left + 3 : left + 5] = 10 + cell
                put_stack(truth / "TRA" / f"man_track{number:03}.tif", [markers])
                if number in segmented:
                    put_stack(truth / "SEG" / f"man_seg{number:03}.tif", [np.where(cells == 6, 0, cells).astype(np.uint16)])
    return root


CITYSCAPES_PICTURES = {
    "train": ["aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313"],
    "val": ["frankfurt_000000_000294", "lindau_000001_000019"],
    "test": ["berlin_000000_000019"],
    "train_extra": ["augsburg_000000_000000", "troisdorf_000000_000073"],
}
WITH_OBJECTS = range(24, 34)  # the ids of Cityscapes that have instances
CARGROUP = 26  # the first car of a picture is drawn as a group


def draw_cityscapes(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict]:
    """Picture, label ids, instance ids, and the same two as polygons; cells of 4 x 4 pixels show every id."""
    image, ids, cells = draw_grid(sum(map(ord, name)), range(34))
    instance_ids, seen, objects = ids.copy(), Counter(), []
    names = {24: "person", 25: "rider", 26: "car", 27: "truck", 28: "bus", 29: "caravan", 30: "trailer", 31: "train",
             32: "motorcycle", 33: "bicycle", 0: "unlabeled", 1: "ego vehicle", 2: "rectification border", 3: "out of roi",
             4: "static", 5: "dynamic", 6: "ground", 7: "road", 8: "sidewalk", 9: "parking", 10: "rail track", 11: "building",
             12: "wall", 13: "fence", 14: "guard rail", 15: "bridge", 16: "tunnel", 17: "pole", 18: "polegroup",
             19: "traffic light", 20: "traffic sign", 21: "vegetation", 22: "terrain", 23: "sky"}  # fmt: skip
    groups = 0
    for cell in range(1, 1 + cells.max()):
        rows, columns = np.nonzero(cells == cell)
        label = int(ids[rows[0], columns[0]])
        is_group = label == CARGROUP and not groups
        if label in WITH_OBJECTS and not is_group:
            instance_ids[cells == cell] = 1000 * label + seen[label]
            seen[label] += 1
        groups += is_group
        top, left, bottom, right = (int(value) for value in (rows.min(), columns.min(), rows.max(), columns.max()))
        corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
        objects.append({"label": names[label] + "group" * is_group, "polygon": corners})
    return image, ids, instance_ids, {"imgHeight": 24, "imgWidth": 40, "objects": objects}


def make_cityscapes(root: Path) -> Path:
    """Cityscapes; each picture shows every id. Coarse labels are mirrored fine ones. Those of lindau are polygons alone."""
    for split, names in CITYSCAPES_PICTURES.items():
        for name in names:
            city = name.split("_")[0]
            image, ids, instance_ids, polygons = draw_cityscapes(name)
            put_picture(root / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png", image)
            for kind in ("gtCoarse",) if split == "train_extra" else () if split == "test" else ("gtFine", "gtCoarse"):
                start = root / kind / split / city / f"{name}_{kind}"
                start.parent.mkdir(parents=True, exist_ok=True)
                turn = slice(None, None, -1 if kind == "gtCoarse" else 1)
                if city != "lindau" or kind == "gtCoarse":
                    Image.fromarray(ids[:, turn].astype(np.uint8)).save(f"{start}_labelIds.png")
                    Image.fromarray(instance_ids[:, turn]).save(f"{start}_instanceIds.png")
                if kind == "gtFine":
                    Path(f"{start}_polygons.json").write_text(json.dumps(polygons))
    return root


CAMVID_PICTURES = {
    "train": ["0001TP_006690", "0001TP_008520", "0006R0_f00930", "0016E5_00390", "0016E5_08160"],
    "val": ["0016E5_07959", "0016E5_08159"],
    "test": ["0001TP_008550", "Seq05VD_f00000"],
}


def make_camvid(root: Path) -> Path:
    """CamVid in 32 colours: each picture shows every label; the last column is Void."""
    for name in (name for names in CAMVID_PICTURES.values() for name in names):
        image, places, _ = draw_grid(sum(map(ord, name)), range(32))
        places[:, -1] = VOID
        put_picture(root / "701_StillsRaw_full" / f"{name}.png", image)
        put_picture(root / "LabeledApproved_full" / f"{name}_L.png", COLOURS[places])
    return root


ADE20K_PICTURES = {"training": ["ADE_train_00000001", "ADE_train_00000002"], "validation": ["ADE_val_00000001"]}


def make_ade20k(root: Path) -> Path:
    """ADE20K, scene parsing: each picture shows every class; the last column is of other objects."""
    for split, names in ADE20K_PICTURES.items():
        for name in names:
            image, labels, _ = draw_grid(sum(map(ord, name)), range(1, 151), (48, 64))
            labels[:, -1] = 0
            put_picture(root / "ADEChallengeData2016" / "images" / split / f"{name}.jpg", image)
            put_picture(root / "ADEChallengeData2016" / "annotations" / split / f"{name}.png", labels)
    return root


def make_nuclei2018(root: Path, pictures: int = 10) -> Path:
    """The bowl's first stage: RGBA pictures of the six cells of `draw_cells`, each in a file of its own."""
    for seed in range(pictures + 2):
        image, numbers = draw_cells(seed)
        name = f"{seed:02}" + 62 * "e"
        folder = root / ("stage1_train" if seed < pictures else "stage1_test") / name
        put_picture(folder / "images" / f"{name}.png", np.stack([image, image, image, np.full_like(image, 255)], -1))
        for number in range(1, 7) if seed < pictures else ():
            put_picture(folder / "masks" / f"{number}{63 * 'a'}.png", np.where(numbers == number, 255, 0))
    return root


GREY = (9, 12)  # height and width


def put_grey(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", GREY[::-1], (9, 9, 9)).save(path)


def make_labelme(folder: Path, shapes: dict[str, list]) -> None:
    """Pictures of labelme, 9x12, with these shapes."""
    folder.mkdir(parents=True)
    for name, listed in shapes.items():
        put_grey(folder / f"{name}.png")
        document = {"version": "5", "shapes": listed, "imagePath": f"{name}.png", "imageHeight": GREY[0], "imageWidth": GREY[1]}
        (folder / f"{name}.json").write_text(json.dumps(document))


def objects_by_name(content: Content, classes: ClassTable) -> set[tuple[str, bytes, bool]]:
    """The objects, by name, pixels and crowd."""
    objects = content.instances
    if objects is None:
        return set()
    return {
        (classes.names[id], mask.tobytes(), bool(crowd))
        for id, mask, crowd in zip(objects.class_ids, objects.masks, objects.crowd, strict=True)
    }


def labels_by_name(labels: np.ndarray, classes: ClassTable) -> list[str]:
    names = [*classes.names, *[""] * (classes.void - len(classes)), VOID_NAME]
    return [names[id] for id in labels.ravel()]


def tiff_of(
    values: np.ndarray, *, extra: tuple[int, ...] = (), compression: int = 1, following: int = 0, order: str = "<"
) -> bytes:
    """A TIFF by hand: `values` (H, W, bands) without compression, whatever its tag says. `extra` are the tags of bands beyond the
    colours, `following` where the next picture's directory lies."""
    height, width, bands = values.shape
    bits, kind = values.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    data += b"\0" * (len(data) % 2)
    lists = {258: (bits,) * bands, 338: extra, 339: (kind,) * bands}
    place, packed = 8 + len(data), b""
    tags = {256: width, 257: height, 259: compression, 262: 2 if bands > 2 else 1, 273: 8, 277: bands, 278: height}
    tags[279] = len(data)
    entries = [struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags.items()]
    for tag, items in lists.items():
        if items:
            content = struct.pack(f"{order}{len(items)}H", *items)
            inside = content.ljust(4, b"\0") if len(content) <= 4 else struct.pack(f"{order}I", place + len(packed))
            packed += b"" if len(content) <= 4 else content + b"\0" * (len(content) % 2)
            entries.append(struct.pack(f"{order}HHI", tag, 3, len(items)) + inside)
    entries.sort(key=lambda entry: struct.unpack(f"{order}H", entry[:2]))
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", place + len(packed))
    directory = struct.pack(f"{order}H", len(entries)) + b"".join(entries) + struct.pack(f"{order}I", following)
    return start + data + packed + directory
