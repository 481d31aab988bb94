"""Opens what `perpixel convert` wrote with the readers of other packages: labelme, label-studio-converter, datumaro, supervision.

    PYTHON label_readers.py FOLDER      # FOLDER/FORMAT/, and FOLDER/truth/NAME.npz with masks, names, crowd

Prints JSON: for each reader how many pictures have the very objects of the truth, and how many there are; and the mean IoU of
supervision's masks with the truth's. It runs in the
environment of those packages, without perpixel."""

import json
import sys
from pathlib import Path

import datumaro
import loguru
import numpy as np
import supervision
from label_studio_converter.brush import decode_rle
from labelme._label_file import LabelFile

ROOT = Path(sys.argv[1])
loguru.logger.remove()


def truth(name: str, crowds: bool = True) -> set[tuple[str, bytes]]:
    objects = np.load(ROOT / "truth" / f"{name}.npz")
    chosen = zip(objects["names"], objects["masks"], objects["crowd"], strict=True)
    return {(str(label), mask.tobytes()) for label, mask, crowd in chosen if crowds or not crowd}


def size_of(name: str) -> tuple[int, int]:
    return np.load(ROOT / "truth" / f"{name}.npz")["masks"].shape[1:]


def labelme_objects(path: Path) -> set[tuple[str, bytes]]:
    objects = set()
    for shape in LabelFile(str(path)).shapes:
        (left, top), (right, bottom) = np.asarray(shape["points"]).astype(int)
        mask = np.zeros(size_of(path.stem), bool)
        mask[top : bottom + 1, left : right + 1] = shape["mask"].astype(np.uint8) > 0
        objects.add((shape["label"], mask.tobytes()))
    return objects


def brushes(task: dict) -> set[tuple[str, bytes]]:
    objects = set()
    for result in task["annotations"][0]["result"]:
        size = result["original_height"], result["original_width"], 4
        mask = decode_rle(result["value"]["rle"]).reshape(size)[..., 3] > 0
        objects.add((result["value"]["brushlabels"][0], mask.tobytes()))
    return objects


def datumaro_objects(item: datumaro.DatasetItem, names: list[str]) -> set[tuple[str, bytes]]:
    masks = [annotation for annotation in item.annotations if annotation.type == datumaro.AnnotationType.mask]
    return {(names[annotation.label], (np.asarray(annotation.image) > 0).tobytes()) for annotation in masks}


def count(pairs: list[tuple[set, set]]) -> list[int]:
    return [sum(objects == expected for objects, expected in pairs), len(pairs)]


readers = {
    "labelme": [({item for item in labelme_objects(path) if item[0] != "__ignore__"}, truth(path.stem))
                for path in sorted((ROOT / "labelme").rglob("*.json"))],
    "label-studio-converter": [({item for item in brushes(task) if item[0] != "void"}, truth(Path(task["data"]["image"]).stem))
                               for task in json.loads((ROOT / "label-studio" / "tasks.json").read_text())],
}  # fmt: skip
for kind, folder in (("cvat", "cvat"), ("voc_segmentation", "voc")):
    options = {"subset": "train"} if kind == "cvat" else {}
    data = datumaro.Dataset.import_from(str(ROOT / folder), kind, **options)
    names = [category.name for category in data.categories()[datumaro.AnnotationType.label]]
    readers[f"datumaro {folder}"] = [
        (
            {entry for entry in datumaro_objects(item, names) if entry[0] != "void"},
            truth(Path(item.id).stem, crowds=folder == "cvat"),
        )
        for item in data
    ]
yolo = ROOT / "yolo"
read = supervision.DetectionDataset.from_yolo(
    str(yolo / "images/train"), str(yolo / "labels/train"), str(yolo / "data.yaml"), force_masks=True
)
classes, overlaps = [], []
# It draws each object half a pixel larger on all sides, so the classes in their order and the overlap of masks are compared.
for path, _, detections in read:
    known = np.load(ROOT / "truth" / f"{Path(path).stem}.npz")
    kept = ~known["crowd"].astype(bool)
    names = [] if detections.class_id is None else [read.classes[id] for id in detections.class_id]
    classes.append((set(enumerate(names)), set(enumerate(map(str, known["names"][kept])))))
    masks = zip(() if detections.mask is None else detections.mask, known["masks"][kept], strict=len(names) > 0)
    overlaps += [float((mask & other).sum() / (mask | other).sum()) for mask, other in masks]
readers["supervision yolo"] = classes
print(json.dumps({"objects": {reader: count(pairs) for reader, pairs in readers.items()}, "overlap": float(np.mean(overlaps))}))
