"""Folders of pictures and masks as strangers have them, one maker for each shape: no folder here is one that perpixel writes.

A maker puts the files below `root` and returns what a data set of the folder must show: for each picture, by its path, the split
(None where the folder has no splits) and the truth, class ids (H, W) with 255 for void."""

from collections.abc import Callable, Iterable
from pathlib import Path
from zlib import crc32

import numpy as np
from fakes import draw_sample, put_json, put_list
from PIL import Image

from perpixel.datasets.camvid import OF_SEGNET
from perpixel.datasets.folder import values_of

Truth = dict[str, tuple[str | None, np.ndarray]]
Save = Callable[[Path, np.ndarray], None]
SIZE = (24, 32)
NAMES = ("a", "b", "c", "d", "e", "f")
COLOURS = np.array([(0, 0, 0), (200, 30, 60), (10, 180, 90)], np.uint8)  # of no known set
VOC_COLOURS = np.array([(0, 0, 0), (128, 0, 0), (0, 128, 0)], np.uint8)
VOC_VOID = (224, 224, 192)


def draw(seed: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A picture and its class ids, 0 to 2 without void, or 0 and 1."""
    image, labels = draw_sample(seed, SIZE)
    labels[labels == 255] = 0
    return image, (labels if classes == 3 else (labels > 0).astype(np.uint8))


def save(path: Path, values: np.ndarray, **options: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(values, np.uint8)).save(path, **options)


def save_palette(path: Path, values: np.ndarray, palette: np.ndarray = VOC_COLOURS) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = Image.fromarray(np.asarray(values, np.uint8))
    mask.putpalette(palette.tobytes())
    mask.save(path)


def fill(
    root: Path, pictures: str, masks: str, names: Iterable[str] = NAMES, split: str | None = None, classes: int = 3,
    write: Callable[[np.ndarray], np.ndarray] = lambda labels: labels, put: Save = save,
) -> Truth:  # fmt: skip
    """A picture and a mask for each name. `pictures` and `masks` are paths with a star for the name; `write` makes the values."""
    truth: Truth = {}
    for name in names:
        path = pictures.replace("*", name)
        image, labels = draw(crc32(path.encode()), classes)
        save(root / path, image)
        put(root / masks.replace("*", name), write(labels))
        truth[path] = (split, labels)
    return truth


def of(pictures: str, masks: str, **options: object) -> Callable[[Path], Truth]:
    return lambda root: fill(root, pictures, masks, **options)  # type: ignore[arg-type]


def in_splits(pictures: str, masks: str, **options: object) -> Callable[[Path], Truth]:
    """`{}` stands for the split."""

    def make(root: Path) -> Truth:
        return {
            path: truth
            for split, names in (("train", "abcd"), ("val", "ef"), ("test", "gh"))
            for path, truth in fill(
                root, pictures.replace("{}", split), masks.replace("{}", split), names, split, **options  # type: ignore[arg-type]
            ).items()
        }  # fmt: skip

    return make


# Lists ----------------------------------------------------------------------------------------------------------------------

SPLIT_OF = {"a": "train", "b": "train", "c": "train", "d": "val", "e": "test", "f": "test"}


def listed(
    pictures: str, masks: str, put_lists: Callable[[Path], None], left_out: str = "", **options: object
) -> Callable[[Path], Truth]:
    """Pictures whose splits stand in lists: those of `SPLIT_OF`; `left_out` are names in no list."""

    def make(root: Path) -> Truth:
        truth = fill(root, pictures, masks, **options)  # type: ignore[arg-type]
        fill(root, pictures, masks, left_out, **options)  # type: ignore[arg-type]
        put_lists(root)
        return {path: (SPLIT_OF[name], truth[path][1]) for name in NAMES if (path := pictures.replace("*", name)) in truth}

    return make


def names_of(split: str) -> list[str]:
    return [name for name in NAMES if SPLIT_OF[name] == split]


def text_lists(place: str, line: str = "*", suffix: str = ".txt") -> Callable[[Path], None]:
    """A list of each split; `place` is its path with `{}` for the split, `line` a line with a star for the name."""

    def put_lists(root: Path) -> None:
        for split in ("train", "val", "test"):
            put_list(root / f"{place.replace('{}', split)}{suffix}", [line.replace("*", name) for name in names_of(split)])

    return put_lists


def voc_lists(root: Path) -> None:
    text_lists("ImageSets/Segmentation/{}")(root)
    put_list(root / "ImageSets/Segmentation/trainval.txt", names_of("train") + names_of("val"))
    put_list(root / "ImageSets/Main/thing_train.txt", [f"{name} {1 if name < 'd' else -1}" for name in reversed(NAMES)])


def table_of_splits(root: Path) -> None:
    put_list(root / "metadata.csv", ["id,camera,split", *(f"{name},north,{SPLIT_OF[name]}" for name in NAMES)])


def table_of_pairs(root: Path) -> None:
    rows = (f"{SPLIT_OF[name]},photos/{name}.jpg,drawn/x{ord(name)}.png" for name in NAMES)
    put_list(root / "files.csv", ["set,file,truth", *rows])


def with_foreign_names(root: Path) -> Truth:
    """Nothing but the table says which mask belongs to which picture."""
    truth: Truth = {}
    for name in NAMES:
        image, labels = draw(ord(name))
        save(root / f"photos/{name}.jpg", image)
        save(root / f"drawn/x{ord(name)}.png", labels)
        truth[f"photos/{name}.jpg"] = (SPLIT_OF[name], labels)
    table_of_pairs(root)
    return truth


LISTS: dict[str, Callable[[Path], Truth]] = {
    "lists of VOC": listed("JPEGImages/*.jpg", "SegmentationClass/*.png", voc_lists, "xyz", put=save_palette),
    "train.txt": listed("images/*.jpg", "masks/*.png", text_lists("{}"), "xyz"),
    "lists of paths": listed("images/*.jpg", "masks/*.png", text_lists("{}", "images/*.jpg"), "xy"),
    "lists of paths from elsewhere": listed("images/*.jpg", "masks/*.png", text_lists("{}", "/home/anna/set/images/*.jpg")),
    "lists of pairs": listed("images/*.jpg", "masks/*.png", text_lists("{}", "images/*.jpg masks/*.png"), "x"),
    "splits/": listed("image/*.png", "label/*.png", text_lists("splits/{}"), "xyz"),
    "lists with words": listed("image/*.png", "label/*.png", text_lists("lists/{}_files", "*.png", ".lst")),
    "table of splits": listed("img/*.jpg", "ann/*.png", table_of_splits),
    "table of pairs": with_foreign_names,
}  # fmt: skip


# Names ----------------------------------------------------------------------------------------------------------------------


def numbers_with_zeros(root: Path) -> Truth:
    """7.png and 0007_m.png."""
    return {
        path: truth
        for number in (1, 2, 7, 10, 11, 30)
        for path, truth in fill(root, f"in/{number}*.jpg", f"out/{number:04}*_m.png", [""]).items()
    }


def cases(root: Path) -> Truth:
    truth = fill(root, "images/Scan_*.JPG", "labels/scan_*.png", "ab")
    return truth | fill(root, "images/SCAN_*.jpg", "labels/Scan_*.PNG", "cdef")


def cityscapes_like(root: Path) -> Truth:
    """The names of Cityscapes, not its files: one folder, ids of its own."""
    return fill(root, "leftImg8bit/town_*_leftImg8bit.png", "gtFine/town_*_gtFine_labelIds.png")


def two_graders(root: Path) -> Truth:
    truth = fill(root, "images/Image_*L.jpg", "images/Image_*L_1stHO.png")
    fill(root, "images/Image_*L.jpg", "images/Image_*L_2ndHO.png", write=lambda labels: labels[:, ::-1])
    return truth


def fields_of_view(root: Path) -> Truth:
    """The masks beside the truth are of what the camera sees: the names of DRIVE."""
    truth: Truth = {}
    for split, folder, names in (("train", "training", range(21, 26)), ("test", "test", range(1, 4))):
        numbers = [f"{number:02}" for number in names]
        truth |= fill(root, f"{folder}/images/*_{folder}.tif", f"{folder}/1st_manual/*_manual1.gif", numbers, split, 2,
                      lambda labels: labels * 255)  # fmt: skip
        fill(root, f"{folder}/images/*_{folder}.tif", f"{folder}/mask/*_{folder}_mask.gif", numbers, split, 2,
             lambda labels: np.full_like(labels, 255))  # fmt: skip
    return {path: (None if split == "train" else split, labels) for path, (split, labels) in truth.items()}


def splits_in_names(root: Path) -> Truth:
    truth: Truth = {}
    for start, split, names in (("train", "train", "12345"), ("testA", "test", "12"), ("testB", "test", "1")):
        truth |= fill(root, f"{start}_*.bmp", f"{start}_*_anno.bmp", names, split)
    return {path: (None if split == "train" else split, labels) for path, (split, labels) in truth.items()}


def towns(root: Path) -> Truth:
    truth = fill(root, "frames-with-annotations/creek/creek_*.png", "annotations/creek/creek_*.png", ["00001", "00006", "00011"])
    return truth | fill(root, "frames-with-annotations/park-1/p_*.png", "annotations/park-1/p_*.png", ["00001", "00006"])


NAMED: dict[str, Callable[[Path], Truth]] = {
    "_image and _annotation": of("*_image.png", "*_annotation.png"),
    "_training and _manual1": of("eyes/*_training.tif", "by_hand/*_manual1.gif", names=("21", "22", "23", "24", "25"), classes=2),
    "_1stHO": of("Image_*L.jpg", "Image_*L_1stHO.png", names=("01", "02", "03", "11", "12"), classes=2),
    "_mask": of("data/*.jpg", "data/*_mask.png"),
    "_gt": of("data/*.jpg", "data/*_gt.png"),
    "-seg": of("x/*.jpg", "y/*-seg.png"),
    "an unknown word behind": of("a/*.jpg", "b/*_zxcv.png", names=("n1", "n2", "n10", "n11", "n12")),
    "an unknown word before": of("a/field_*.jpg", "b/qwert_*.png", names=("1", "2", "10", "11", "12")),
    "unknown words around": of("a/IMG_*_v2.jpg", "b/s_*_final_x.png", names=("1", "2", "10", "11", "12")),
    "NAME.jpg.png": of("pictures/*.jpg", "drawn/*.jpg.png"),
    "img and ann": of("img/*.jpg", "ann/*.png"),
    "leftImg8bit and labelIds": cityscapes_like,
    "x/train and y/train": in_splits("x/{}/*.jpg", "y/{}/*.png"),
    "train/x and train/y": in_splits("{}/x/*.jpg", "{}/y/*.png"),
    "train_x and train_y": in_splits("{}_frames/*.jpg", "{}_drawn/*.png"),
    "leading zeros": numbers_with_zeros,
    "upper and lower case": cases,
    "splits in names": splits_in_names,
    "frames with annotations": towns,
    "a folder for each picture": of("*/photo.jpg", "*/drawn.png"),
}  # fmt: skip


# Masks ----------------------------------------------------------------------------------------------------------------------


def rgb(colours: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    return lambda labels: colours[labels]


def rgba(labels: np.ndarray) -> np.ndarray:
    return np.dstack([COLOURS[labels], np.full(labels.shape, 255)])


def cut_out(labels: np.ndarray) -> np.ndarray:
    """White objects, clear elsewhere."""
    return np.dstack([np.full((*labels.shape, 3), 255), labels * 255])


def clear_background(labels: np.ndarray) -> np.ndarray:
    """Objects in their colours; the background is clear, in white."""
    colours = COLOURS.copy()
    colours[0] = 255
    return np.dstack([colours[labels], np.where(labels > 0, 255, 0)])


def one_bit(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels > 0).save(path)


def own_palettes(path: Path, labels: np.ndarray) -> None:
    """Every other file counts its colours backwards, as programs do that make a palette for each file."""
    turn = sum(map(ord, path.stem)) % 2
    save_palette(path, 2 - labels if turn else labels, np.ascontiguousarray(COLOURS[::-1]) if turn else COLOURS)


def some_of_255(path: Path, labels: np.ndarray) -> None:
    """Files of 0 and 1 beside files of 0 and 255."""
    save(path, labels * (255 if sum(map(ord, path.stem)) % 2 else 1))


def with_border(labels: np.ndarray, value: int = 255) -> np.ndarray:
    """A border of one pixel between the classes, inside the objects."""
    edge = np.zeros(labels.shape, bool)
    edge[1:] |= labels[1:] != labels[:-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    return np.where(edge, value, labels)


def void_borders(
    root: Path, write: Callable[[np.ndarray], np.ndarray] = lambda labels: labels, value: int = 255, classes: int = 3
) -> Truth:
    truth: Truth = {}
    for name in NAMES:
        image, labels = draw(ord(name), classes)
        bordered = with_border(labels)
        save(root / f"img/{name}.jpg", image)
        save(root / f"gt/{name}.png", write(bordered))
        truth[f"img/{name}.jpg"] = (None, bordered)
    return truth


def voc_colours(bordered: np.ndarray) -> np.ndarray:
    table = np.zeros((256, 3), np.uint8)
    table[:3], table[255] = VOC_COLOURS, VOC_VOID
    return table[bordered]


def grey_borders(bordered: np.ndarray) -> np.ndarray:
    return np.choose(np.where(bordered == 255, 2, bordered), [0, 255, 128])


def camvid_colours(root: Path) -> Truth:
    """Four classes of CamVid in its colours; names and folders are not CamVid's."""
    chosen = np.array([OF_SEGNET["road"], OF_SEGNET["sky"], OF_SEGNET["car"], OF_SEGNET["tree"]], np.uint8)
    truth: Truth = {}
    for name in NAMES:
        image, labels = draw(ord(name))
        labels[:, :5] = 3
        save(root / f"img/{name}.jpg", image)
        save(root / f"gt/{name}.png", chosen[labels])
        truth[f"img/{name}.jpg"] = (None, labels)
    return truth


def table_of_colours(root: Path) -> Truth:
    put_list(root / "class_dict.csv", ["name,r,g,b", "meadow,0,0,0", "house,200,30,60", "pond,10,180,90", "road,1,1,1"])
    return fill(root, "img/*.jpg", "gt/*.png", write=rgb(COLOURS))


def objects(folder: str, picture: str, shift: int = 0) -> Callable[[Path], Truth]:
    """A mask of each object; `folder` is the path of object `{}` of picture `*`."""

    def make(root: Path) -> Truth:
        truth: Truth = {}
        for name in NAMES:
            image, labels = draw(ord(name) + shift)
            save(root / picture.replace("*", name), image)
            for number in (1, 2):
                path = folder.replace("*", name).replace("{}", f"{number * 7 + ord(name) + shift:x}")
                save(root / path, (labels == number) * 255)
            truth[picture.replace("*", name)] = (None, values_of(labels))
        return truth

    return make


def with_loss(
    folder: str, suffix: str, write: Callable[[np.ndarray], np.ndarray], classes: int = 3, **options: object
) -> Callable[[Path], Truth]:
    """Masks saved with loss: squares of 16 pixels and a stripe of two pixels, not on the grid of JPEG's blocks."""

    def make(root: Path) -> Truth:
        truth: Truth = {}
        for number, name in enumerate(NAMES):
            labels = np.zeros((48, 64), np.uint8)
            labels[3 + number : 21 + number, 5:27] = 1
            labels[20:37, 30 + number : 55 + number] = 2
            labels[44:46] = 1
            labels = labels if classes == 3 else (labels > 0).astype(np.uint8)
            save(root / f"img/{name}.png", np.random.default_rng(number).integers(0, 256, (48, 64, 3)))
            save(root / f"{folder}/{name}{suffix}", write(labels), **options)
            truth[f"img/{name}.png"] = (None, labels)
        return truth

    return make


def thin_lines(root: Path) -> Truth:
    """White lines of one pixel on black, so that no area is white."""
    truth: Truth = {}
    for number, name in enumerate(NAMES):
        labels = np.zeros((48, 64), np.uint8)
        labels[:, 5 + number :: 13] = 1
        save(root / f"img/{name}.jpg", np.random.default_rng(number).integers(0, 256, (48, 64, 3)))
        save(root / f"gt/{name}.jpg", labels * 255)
        truth[f"img/{name}.jpg"] = (None, labels)
    return truth


def class_masks(place: str, overlap: bool = False) -> Callable[[Path], Truth]:
    """A black and white mask of each class; `{}` stands for the class. With `overlap` the road goes on below the cars."""

    def make(root: Path) -> Truth:
        truth: Truth = {}
        for name in NAMES:
            image, labels = draw(ord(name))
            labels[18:, :12] = 1
            labels[20:22, 2:6] = 2
            save(root / f"images/{name}.jpg", image)
            for value, title in ((1, "road"), (2, "car")):
                shown = labels > 0 if overlap and value == 1 and name < "c" else labels == value
                if value == 1 or name != "f":
                    save(root / place.replace("*", name).replace("{}", title), shown * 255)
            truth[f"images/{name}.jpg"] = (None, labels if name != "f" else np.where(labels == 2, 0, labels).astype(np.uint8))
        return truth

    return make


def supervisely(root: Path) -> Truth:
    truth = fill(root, "ds0/img/*.jpg", "ds0/masks_machine/*.jpg.png")
    fill(root, "ds0/img/*.jpg", "ds0/masks_human/*.jpg.png", write=rgb(COLOURS))
    for name in NAMES:
        put_json(root / f"ds0/ann/{name}.jpg.json", {"objects": [{"classTitle": "car"}]})
    put_json(root / "meta.json", {"classes": [{"title": "car"}]})
    return truth


def roboflow(root: Path) -> Truth:
    truth: Truth = {}
    for folder, split, names in (("train", "train", "abcd"), ("valid", "val", "ef"), ("test", "test", "gh")):
        hashed = [f"{name}_jpg.rf.{crc32(name.encode()):08x}" for name in names]
        truth |= fill(root, f"{folder}/*.jpg", f"{folder}/*_mask.png", hashed, split)
        put_list(root / f"{folder}/_classes.csv", ["Pixel Value, Class", "0, background", "1, road", "2, car"])
    return truth


def masks_of_cvat(root: Path) -> Truth:
    lines = ["# label:color_rgb:parts:actions", "background:0,0,0::", "road:200,30,60::", "car:10,180,90::"]
    put_list(root / "labelmap.txt", lines)
    put_list(root / "ImageSets/Segmentation/default.txt", NAMES)
    fill(root, "JPEGImages/*.jpg", "SegmentationObject/*.png", write=rgb(COLOURS))
    return fill(root, "JPEGImages/*.jpg", "SegmentationClass/*.png", write=rgb(COLOURS))


MASKS: dict[str, Callable[[Path], Truth]] = {
    "Supervisely": supervisely,
    "Roboflow": roboflow,
    "masks of CVAT": masks_of_cvat,
    "a mask for each class, in folders": class_masks("masks/{}/*.png"),
    "a mask for each class, behind the name": class_masks("masks/*_{}.png"),
    "a mask for each class, before the name": class_masks("masks/mask_{}_*.png"),
    "a folder of classes for each picture": class_masks("masks/*/{}.png"),
    "classes that overlap": class_masks("masks/{}/*.png", overlap=True),
    "black and white in JPEG": with_loss("gt", ".jpg", lambda labels: labels * 255, 2),
    "black and white in JPEG of RGB": with_loss("gt", ".jpg", lambda labels: np.dstack([labels * 255] * 3), 2, quality=50),
    "JPEG masks without names": with_loss("y", ".jpg", lambda labels: labels * 255, 2),
    "two greys in JPEG": with_loss("gt", ".jpeg", lambda labels: labels * 120 + 40, 2),
    "thin lines in JPEG": thin_lines,
    "three greys in JPEG": with_loss("gt", ".jpg", lambda labels: labels * 120, quality=95),
    "few colours in JPEG": with_loss("gt", ".jpg", rgb(COLOURS), quality=95, subsampling=0),
    "two colours in JPEG": with_loss("gt", ".jpg", rgb(COLOURS), 2, quality=90, subsampling=0),
    "black and white in lossy WEBP": with_loss("gt", ".webp", lambda labels: labels * 255, 2),
    "0 and 255": of("img/*.jpg", "gt/*.png", classes=2, write=lambda labels: labels * 255),
    "0 and 1, or 0 and 255": of("img/*.jpg", "gt/*.png", classes=2, put=some_of_255),
    "black and white in RGB": of("img/*.jpg", "gt/*.png", classes=2, write=lambda labels: np.dstack([labels * 255] * 3)),
    "black and white in RGBA": of("img/*.jpg", "gt/*.png", classes=2,
                                  write=lambda labels: np.dstack([*[labels * 255] * 3, np.full_like(labels, 255)])),
    "clear and opaque": of("img/*.jpg", "gt/*.png", classes=2, write=cut_out),
    "values in RGB": of("img/*.jpg", "gt/*.png", write=lambda labels: np.dstack([labels] * 3)),
    "few colours": of("img/*.jpg", "gt/*.png", write=rgb(COLOURS)),
    "few colours in RGBA": of("img/*.jpg", "gt/*.png", write=rgba),
    "few colours on clear": of("img/*.jpg", "gt/*.png", write=clear_background),
    "few colours in BMP": of("img/*.jpg", "gt/*.bmp", write=rgb(COLOURS)),
    "few colours in TIFF": of("img/*.tif", "gt/*.tif", write=rgb(COLOURS)),
    "colours of CamVid": camvid_colours,
    "colours with a table": table_of_colours,
    "palette expanded": of("img/*.jpg", "gt/*.png", write=rgb(VOC_COLOURS)),
    "palette": of("img/*.jpg", "gt/*.png", put=save_palette),
    "a palette for each file": of("img/*.jpg", "gt/*.png", put=own_palettes),
    "GIF": of("img/*.jpg", "gt/*.gif", put=save_palette),
    "GIF of greys": of("img/*.jpg", "gt/*.gif", classes=2, write=lambda labels: labels * 255),
    "GIF with its own palettes": of("img/*.jpg", "gt/*.gif", put=own_palettes),
    "BMP": of("img/*.bmp", "gt/*.bmp", classes=2, write=lambda labels: labels * 255),
    "BMP of a palette": of("img/*.jpg", "gt/*.bmp", put=save_palette),
    "1 bit": of("img/*.jpg", "gt/*.png", classes=2, put=one_bit),
    "1 bit in BMP": of("img/*.jpg", "gt/*.bmp", classes=2, put=one_bit),
    "1 bit in TIFF": of("img/*.jpg", "gt/*.tif", classes=2, put=one_bit),
    "void borders": void_borders,
    "void borders in colours": lambda root: void_borders(root, voc_colours),
    "void borders in grey": lambda root: void_borders(root, grey_borders, classes=2),
    "a PNG for each object, in a folder": objects("masks/*/{}.png", "images/*.jpg"),
    "a PNG for each object, beside": objects("seg/*_{}.png", "images/*.jpg"),
    "a folder for each picture and its objects": objects("*/masks/{}.png", "*/images/*.png"),
}  # fmt: skip
RAW = {**LISTS, **NAMED, **MASKS}
FLAGS = {"two graders": ["--masks", "_1stHO"], "fields of view": ["--masks", "1st_manual"]}  # where two candidates need a person
CHOSEN: dict[str, Callable[[Path], Truth]] = {"two graders": two_graders, "fields of view": fields_of_view}


# Folders that are no own data set -------------------------------------------------------------------------------------------


def panoptic(root: Path) -> None:
    """COCO's panoptic maps: numbers of segments in colours, with their JSON."""
    images = []
    for number, name in enumerate(NAMES):
        image, labels = draw(number)
        save(root / f"train2017/{name}.jpg", image)
        save(root / f"annotations/panoptic_train2017/{name}.png", np.dstack([labels + 7, labels * 3, labels]))
        images.append({"id": number, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]})
    put_json(root / "annotations/panoptic_train2017.json",
             {"images": images, "annotations": [{"image_id": 0, "file_name": "a.png", "segments_info": []}],
              "categories": []})  # fmt: skip


def yolo(root: Path, named: bool = True) -> Truth:
    """Pictures with labels of YOLO: a polygon a line. Only if `named` a file names the class."""
    truth: Truth = {}
    if named:
        put_list(root / "data.yaml", ["train: images/train", "val: images/val", "names: [thing]"])
    for split, names in (("train", "abcd"), ("val", "ef")):
        for name in names:
            image, _ = draw(ord(name))
            save(root / f"images/{split}/{name}.jpg", image)
            put_list(root / f"labels/{split}/{name}.txt", ["0 0.25 0.25 0.75 0.25 0.75 0.75 0.25 0.75"])
            labels = np.zeros(SIZE, np.uint8)
            labels[6:18, 8:24] = 1
            truth[f"images/{split}/{name}.jpg"] = (split, labels)
    return truth


def masks_and_yolo(root: Path) -> Truth:
    truth = {path: (split, draw(ord(Path(path).stem))[1]) for path, (split, _) in yolo(root).items()}
    for path, (_, labels) in truth.items():
        save(root / path.replace("images", "masks").replace(".jpg", ".png"), labels)
    return truth


def several_sets(root: Path) -> None:
    fill(root, "cells/images/*.png", "cells/masks/*.png", classes=2, write=lambda labels: labels * 255)
    fill(root, "roads/photos/*.jpg", "roads/labels/*.png")
    voc_like = root / "birds"
    fill(voc_like, "JPEGImages/*.jpg", "SegmentationClass/*.png", put=save_palette)
    text_lists("ImageSets/Segmentation/{}")(voc_like)
