"""Small data sets as annotation tools export them. The test chooses names and labels; each label is one square.

    EXPORTS["coco"](folder, {"a": ["cat"], "b": ["cat", "dog"]})        # the path to read"""

import base64
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import yaml
from fakes import GREY, put_grey
from PIL import Image

PictureLabels = Mapping[str, Sequence[str]]  # the labels on each picture, by its name
HEIGHT, WIDTH = GREY
SQUARE = [[1, 1], [5, 1], [5, 5], [1, 5]]
FLAT = [value for point in SQUARE for value in point]


def labels_of(pictures: PictureLabels) -> list[str]:
    return sorted({label for labels in pictures.values() for label in labels})


def coco(folder: Path, pictures: PictureLabels) -> Path:
    names = labels_of(pictures)
    images = [{"id": id, "file_name": f"{name}.png", "height": HEIGHT, "width": WIDTH} for id, name in enumerate(pictures)]
    objects = [{"image_id": id, "category_id": names.index(label), "segmentation": [FLAT], "iscrowd": 0}
               for id, labels in enumerate(pictures.values()) for label in labels]  # fmt: skip
    categories = [{"id": id, "name": name} for id, name in enumerate(names)]
    annotations = [{"id": id, **entry} for id, entry in enumerate(objects)]
    content = {"images": images, "categories": categories, "annotations": annotations}
    (folder / "instances.json").write_text(json.dumps(content))
    return folder


def labelme(folder: Path, pictures: PictureLabels) -> Path:
    for number, (name, labels) in enumerate(pictures.items()):
        shapes = [{"label": label, "points": SQUARE, "shape_type": "polygon"} for label in labels]
        document = {"shapes": shapes, "imagePath": f"{name}.png", "imageHeight": HEIGHT, "imageWidth": WIDTH}
        try:
            (folder / f"{name.rpartition('/')[2]}.json").write_text(json.dumps(document))
        except (OSError, ValueError):  # a name that is too long, or holds a zero byte
            (folder / f"{number}.json").write_text(json.dumps(document))
    return folder


def cvat(folder: Path, pictures: PictureLabels) -> Path:
    points = ";".join(f"{x},{y}" for x, y in SQUARE)
    pages = [
        f'<image name={quoteattr(f"{name}.png")} width="{WIDTH}" height="{HEIGHT}">'
        + "".join(f'<polygon label={quoteattr(label)} points="{points}"/>' for label in labels)
        + "</image>"
        for name, labels in pictures.items()
    ]
    (folder / "annotations.xml").write_text(f"<annotations>{''.join(pages)}</annotations>", "utf-8", "replace")
    return folder


def label_studio(folder: Path, pictures: PictureLabels) -> Path:
    tasks = [{"data": {"image": f"{name}.png"}, "annotations": [{"result": [region(label) for label in labels]}]}
             for name, labels in pictures.items()]  # fmt: skip
    (folder / "tasks.json").write_text(json.dumps(tasks))
    return folder


def region(label: str | None, kind: str = "polygon", **value: object) -> dict[str, object]:
    """A result of Label Studio, the square by default; without label if there is none."""
    points = [[100 * x / WIDTH, 100 * y / HEIGHT] for x, y in SQUARE]
    given = {"points": points} if kind == "polygon" and not value else value
    labels = {f"{kind}labels": [label]} if label is not None else {}
    return {"type": f"{kind}labels", "original_height": HEIGHT, "original_width": WIDTH, "value": {**given, **labels}}


def yolo(folder: Path, pictures: PictureLabels) -> Path:
    names = labels_of(pictures)
    corners = " ".join(f"{x / WIDTH} {y / HEIGHT}" for x, y in SQUARE)
    for name, labels in pictures.items():
        place = folder / f"{name.rpartition('/')[2]}.txt"
        place.write_text("".join(f"{names.index(label)} {corners}\n" for label in labels))
    (folder / "train.txt").write_text("".join(f"{name}.png\n" for name in pictures), "utf-8", "replace")
    (folder / "data.yaml").write_text(yaml.safe_dump({"train": "train.txt", "names": names}, allow_unicode=True))
    return folder


def voc(folder: Path, pictures: PictureLabels) -> Path:
    names = labels_of(pictures)
    (folder / "SegmentationClass").mkdir()
    (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
    for name, labels in pictures.items():
        mask = np.zeros(GREY, np.uint8)
        mask[1:5, 1:5] = names.index(labels[0]) + 1 if labels else 0
        Image.fromarray(mask).save(folder / "SegmentationClass" / f"{name.rpartition('/')[2]}.png")
    (folder / "JPEGImages").symlink_to(folder, target_is_directory=True)
    lines = "".join(f"{name}\n" for name in pictures)
    (folder / "ImageSets" / "Segmentation" / "train.txt").write_text(lines, "utf-8", "replace")
    (folder / "labelmap.txt").write_text("".join(f"{name}:::\n" for name in ["background", *names]), "utf-8", "replace")
    return folder


def own_folder(folder: Path, pictures: PictureLabels) -> Path:
    names = labels_of(pictures)
    lines = ["image,mask,split"]
    for name, labels in pictures.items():
        mask = np.zeros(GREY, np.uint8)
        mask[1:5, 1:5] = names.index(labels[0]) + 1 if labels else 0
        (folder / "masks").mkdir(exist_ok=True)
        short = name.rpartition("/")[2]
        Image.fromarray(mask).save(folder / "masks" / f"{short}.png")
        quoted = (text.replace('"', '""') for text in (f"{name}.png", f"masks/{short}.png"))
        lines.append(",".join(f'"{text}"' for text in quoted) + ",train")
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", "utf-8", "replace")
    rows = "".join(f'{id},"{name}"\n' for id, name in enumerate(["background", *names]))
    (folder / "classes.csv").write_text("id,name\n" + rows, "utf-8", "replace")
    return folder


FORMATS: dict[str, Callable[[Path, PictureLabels], Path]] = {
    "folder": own_folder, "coco": coco, "voc": voc, "yolo": yolo, "labelme": labelme, "cvat": cvat, "label-studio": label_studio,
}  # fmt: skip
OF_SHAPES = [name for name in FORMATS if name not in ("folder", "voc")]


def export(format: str, folder: Path, pictures: PictureLabels) -> Path:
    """A data set of a format, whose pictures lie in `folder` by the last part of their names."""
    folder.mkdir(parents=True)
    for name in pictures:
        put_grey(folder / f"{name.replace(chr(92), '/').rpartition('/')[2]}.png")
    return FORMATS[format](folder, pictures)


def as_base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
