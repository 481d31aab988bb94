"""The laws of every format: writing and reading changes no pixel that it can hold, and lost content is reported with its
count."""

from __future__ import annotations

import base64
import io
import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from xml.sax.saxutils import quoteattr

import numpy as np
import pytest
from fakes import GREY as SIZE
from fakes import labels_by_name, make_labelme, objects_by_name, put_grey
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import ROOT

from perpixel.classes import ClassTable
from perpixel.errors import DataError
from perpixel.formats import FORMATS, format_of
from perpixel.formats.convert import convert
from perpixel.formats.exchange import AnnotatedSet, Content, Entry, Holds, Notices, Shape, background_of, draw_shapes
from perpixel.formats.label_studio import KINDS, decode_brush, encode_brush
from perpixel.images import encode_image
from perpixel.masks.polygons import ellipse, fill
from perpixel.sample import Instances

STREET = ClassTable(
    ("background", "car", "person", 'a & "b" <c>, é'), ((0, 0, 0), (9, 9, 9), (200, 30, 30), (0, 80, 0)), ((0,), (1,), (2,), (3,))
)
CITY = ClassTable(
    ("road", "car", "person", "sky"), ((1, 2, 3), (9, 9, 9), (200, 30, 30), (0, 80, 0)), ((7,), (26,), (24,), (23,)), (0,)
)


def written_and_read(format: str, content: Content, classes: ClassTable, folder: Path) -> tuple[Content, ClassTable, Notices]:
    """Writes one picture in a format, and reads it again. Also returns the notices of writing."""
    notices = Notices()
    out = folder / "out"
    out.mkdir()
    writer = FORMATS[format].writer(out, classes, notices)
    name, split = "aachen_000000_000019", "val"
    writer.close([Entry(name, split, writer.add(name, split, content, 1))])
    assert format_of(out) == format
    annotated = FORMATS[format].read(out, None)
    assert [item.split for item in annotated.items] == ["val"]
    assert not annotated.notices.kinds
    return annotated.items[0].read(), annotated.classes, notices


@st.composite
def pictures(draw: st.DrawFn, holds: Holds, classes: ClassTable) -> Content:
    """A picture that a format can hold: void, crowds, and objects with holes, with several pieces, that touch or overlap."""
    names = [name for name in classes.names if name != "background"]
    bits = st.lists(st.booleans(), min_size=SIZE[0] * SIZE[1], max_size=SIZE[0] * SIZE[1])
    taken = np.zeros(SIZE, bool)
    shapes, crowds = [], set()
    for _ in range(draw(st.integers(0, 4))):
        mask = np.array(draw(bits)).reshape(SIZE)
        if draw(st.booleans()):
            top, left, high, wide = (draw(st.integers(0, most)) for most in (7, 9, 8, 8))
            mask = np.zeros(SIZE, bool)
            mask[top : top + high + 1, left : left + wide + 1] = True
        if not holds.overlap:
            mask &= ~taken
        taken |= mask
        name = draw(st.sampled_from(names))
        crowd = holds.crowd and draw(st.booleans())
        if holds.maps and crowd and (name in crowds or name not in ("car", "person")):
            continue  # Cityscapes holds one group for each label
        if mask.any():
            crowds |= {name} if crowd else set()
            shapes.append(Shape.of(name, mask, crowd))
    labels, objects = draw_shapes(shapes, classes, SIZE, holds.ordered)
    if holds.maps:
        stuff = np.array(draw(st.lists(st.integers(0, 2), min_size=108, max_size=108))).reshape(SIZE)
        none = background_of(classes)
        labels = np.where(taken, labels, np.where(stuff == 2, classes.void, 0 if none is None else none)).astype(classes.dtype)
    elif holds.void:
        labels[np.array(draw(bits)).reshape(SIZE)] = classes.void
    return Content(np.full((*SIZE, 3), 77, np.uint8), labels, objects)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_there_and_back_changes_nothing_that_the_format_holds(format: str, data: st.DataObject) -> None:
    classes = CITY if format == "cityscapes" else STREET
    content = data.draw(pictures(FORMATS[format].holds, classes))
    if format == "cityscapes":  # road and sky have no instances there
        assert content.instances is not None
        keep = np.isin(content.instances.class_ids, (1, 2))
        objects = Instances(content.instances.masks[keep], content.instances.class_ids[keep], crowd=content.instances.crowd[keep])
        content = Content(content.picture, content.labels, objects)
    with tempfile.TemporaryDirectory() as folder:
        back, table, notices = written_and_read(format, content, classes, Path(folder))
        assert not notices.kinds
        assert labels_by_name(back.labels, table) == labels_by_name(content.labels, classes)
        assert objects_by_name(back, table) == objects_by_name(content, classes)


@pytest.mark.parametrize("format", FORMATS)
@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_nothing_is_lost_without_being_reported(format: str, data: st.DataObject) -> None:
    """Any picture: overlaps, crowds, void, labels that are not those of the objects, objects without a pixel."""
    classes = CITY if format == "cityscapes" else STREET
    everything = Holds(overlap=True, crowd=True, void=True, ordered=data.draw(st.booleans()))
    content = data.draw(pictures(everything, classes))
    stuff = np.array(data.draw(st.lists(st.integers(0, 3), min_size=108, max_size=108))).reshape(SIZE)
    labels = np.where(data.draw(st.booleans()) & (stuff > 0), stuff, content.labels).astype(classes.dtype)
    assert content.instances is not None
    empty = Instances(
        np.concatenate([content.instances.masks, np.zeros((1, *SIZE), bool)]), np.append(content.instances.class_ids, 1),
        crowd=np.append(content.instances.crowd, False),
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        back, table, notices = written_and_read(format, Content(content.picture, labels, empty), classes, Path(folder))
        kinds = set(notices.kinds)
        assert notices.kinds["empty"][:2] == (1, 1)
        changed = sum(a != b for a, b in zip(labels_by_name(back.labels, table), labels_by_name(labels, classes), strict=True))
        if FORMATS[format].holds.maps:
            assert changed == 0
        elif not kinds & {"crowd left out"}:
            counts = [notices.kinds.get(kind, (0, 0, ""))[0] for kind in ("void", "class")]
            assert changed == sum(counts)
        lost = objects_by_name(content, classes) - objects_by_name(back, table)
        if lost:
            assert kinds & {"crowd", "crowd left out", "overlap", "hidden", "vote", "no object", "group"}
        gained = objects_by_name(back, table) - objects_by_name(content, classes)
        if gained:
            assert kinds & {"pieces", "overlap", "vote", "group"}


def test_a_loss_is_a_sentence_with_its_count() -> None:
    notices = Notices()
    notices.add("void", "a", 5)
    notices.add("void", "a", 1)
    notices.add("void", "b", 2)
    notices.add("overlap", "c", 0)
    assert notices.sentences("yolo") == [
        "8 pixels of void come back as background: yolo has no void (2 pictures, the first is a)."
    ]  # fmt: skip


NUMBERS = st.one_of(
    st.floats(), st.integers(), st.sampled_from([1e15, -1e15, 2**31, 2**63, 10**400, True, None, "3", float("nan")])
)  # fmt: skip
TREES = st.recursive(
    st.one_of(NUMBERS, st.text(max_size=5)),
    lambda tree: (
        st.lists(tree, max_size=4)
        | st.dictionaries(
            st.sampled_from(["label", "points", "rle", "x", "counts", "size", "type", "value", "result"]), tree, max_size=4
        )
    ),
    max_leaves=8,
)


def only_sentences(format: str, source: Path) -> None:
    """Reads all pictures. A mistake in a file raises a DataError that names the file, and no other error."""
    sentences: list[str] = []
    with collected_error(sentences):
        for item in FORMATS[format].read(source, None).items:
            with collected_error(sentences):
                assert item.read().labels.shape == SIZE
    assert all(str(source.parent) in sentence for sentence in sentences)


@contextmanager
def collected_error(sentences: list[str]) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        sentences.append(str(error))


class TestHostileFiles:
    """No crash, no hang, and no exception but a sentence that names the file."""

    @given(shape=st.dictionaries(st.sampled_from(["label", "points", "shape_type", "mask", "group_id", "flags"]), TREES),
           kind=st.sampled_from(["polygon", "mask", "circle", "rectangle", "oriented_rectangle", "x"]), points=st.lists(
               st.lists(NUMBERS, min_size=2, max_size=2), max_size=5), size=NUMBERS, path=st.text(max_size=9))  # fmt: skip
    def test_labelme(self, shape: dict, kind: str, points: list, size: object, path: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            put_grey(Path(folder, "a.png"))
            for number, document_shape in enumerate(
                ({"label": "cat", "shape_type": kind, "points": points, "mask": "aGk="}, shape)
            ):
                document = {
                    "shapes": [document_shape],
                    "imagePath": "a.png" if number else f"{path}a.png",
                    "imageHeight": size,
                    "imageWidth": 12,
                }
                Path(folder, "a.json").write_text(json.dumps(document))
                only_sentences("labelme", Path(folder, "a.json"))

    @given(value=st.dictionaries(st.sampled_from(["rle", "points", "x", "y", "width", "height", "radiusX", "rotation"]), TREES),
           data=st.lists(st.integers(0, 255), max_size=40), kind=st.sampled_from(KINDS), size=NUMBERS, task=TREES)  # fmt: skip
    def test_label_studio(self, value: dict, data: list[int], kind: str, size: object, task: object) -> None:
        with tempfile.TemporaryDirectory() as folder:
            put_grey(Path(folder, "a.png"))
            header = [0, 0, 1, 176, 57, 27, 240]  # 432 numbers of 8 bits
            results = [
                {"type": f"{kind}labels", "original_height": 9, "original_width": size,
                 "value": {**value, f"{kind}labels": ["cat"]}},
                {"type": "brushlabels", "original_height": 9, "original_width": 12,
                 "value": {"rle": header + data, "brushlabels": ["cat"]}},
            ]  # fmt: skip
            for result in results:
                good = {"data": {"image": "a.png"}, "annotations": [{"result": [result]}]}
                Path(folder, "tasks.json").write_text(json.dumps([good, task] if isinstance(task, dict) else [good]))
                only_sentences("label-studio", Path(folder, "tasks.json"))

    @given(given=st.dictionaries(st.sampled_from(
        ["points", "rle", "left", "top", "width", "height", "xtl", "ytl", "xbr", "ybr", "cx", "cy", "rx", "ry", "rotation",
         "z_order", "group_id"]), st.one_of(NUMBERS.map(str), st.just("1,1;5,1;5,5"), st.just("0, 4, -3, 99"))),
        kind=st.sampled_from(["polygon", "mask", "box", "ellipse"]), size=NUMBERS)  # fmt: skip
    def test_cvat(self, given: dict[str, str], kind: str, size: object) -> None:
        with tempfile.TemporaryDirectory() as folder:
            put_grey(Path(folder, "a.png"))
            attributes = " ".join(f"{key}={quoteattr(value)}" for key, value in given.items())
            for width in (12, size):
                Path(folder, "a.xml").write_text(
                    f'<annotations><image name="a.png" width="{width}" height="9">'
                    f'<{kind} label="cat" {attributes}/></image></annotations>'
                )
                only_sentences("cvat", Path(folder, "a.xml"))

    @given(words=st.lists(st.one_of(NUMBERS.map(str), st.text(max_size=4)), max_size=9), names=TREES, place=st.text(max_size=12))
    def test_yolo(self, words: list[str], names: object, place: str) -> None:
        with tempfile.TemporaryDirectory() as folder:
            put_grey(Path(folder, "images", "a.png"))
            Path(folder, "labels").mkdir()
            Path(folder, "labels", "a.txt").write_text(f"0 {' '.join(words)}\n0 0.1 0.1 0.9 0.1 0.9 0.9\n", errors="replace")
            for content in ({"names": ["cat"], "train": "images"}, {"names": names, "train": place}):
                Path(folder, "data.yaml").write_text(json.dumps(content))
                only_sentences("yolo", Path(folder, "data.yaml"))

    @given(raw=st.binary(max_size=60))
    def test_any_bytes(self, raw: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            for name, format in (("a.json", "labelme"), ("b.json", "label-studio"), ("c.json", "coco"), ("d.xml", "cvat"),
                                 ("e.yaml", "yolo")):  # fmt: skip
                Path(folder, name).write_bytes(raw)
                only_sentences(format, Path(folder, name))

    @pytest.mark.parametrize("format", ["labelme", "label-studio", "coco"])
    def test_deep_nesting(self, format: str, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text("[" * 100_000)
        with pytest.raises(DataError, match=r"a\.json: is n"):
            FORMATS[format].read(tmp_path / "a.json", None)

    def test_deep_nesting_of_xml_and_yaml(self, tmp_path: Path) -> None:
        (tmp_path / "a.xml").write_text("<annotations>" + "<a>" * 100_000)
        with pytest.raises(DataError, match="nested too deep"):
            FORMATS["cvat"].read(tmp_path / "a.xml", None)
        (tmp_path / "a.yaml").write_text("names: " + "[" * 5_000)
        with pytest.raises(DataError, match="is no YAML"):
            FORMATS["yolo"].read(tmp_path / "a.yaml", None)

    def test_entities(self, tmp_path: Path) -> None:
        bombs = "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10}">' for n in range(1, 10))
        (tmp_path / "a.xml").write_text(f'<!DOCTYPE x [<!ENTITY a0 "ha">{bombs}]><annotations><label>&a9;</label></annotations>')
        with pytest.raises(DataError, match="has a document type, from which entities come"):
            FORMATS["cvat"].read(tmp_path / "a.xml", None)
        anchors = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9))
        (tmp_path / "a.yaml").write_text(f"a0: &a0 [x]\n{anchors}names: *a8\n")
        with pytest.raises(DataError, match="names is a list; it must be a list of names"):
            FORMATS["yolo"].read(tmp_path / "a.yaml", None)

    @pytest.mark.parametrize("path", ["../secret.png", "/secret.png", "..\\secret.png", "C:\\secret.png", "a/../../secret.png"])
    def test_names_lead_nowhere_else(self, path: str, tmp_path: Path) -> None:
        put_grey(tmp_path / "secret.png")
        inside = tmp_path / "in"
        make_labelme(inside, {"a": []})
        (inside / "a.json").write_text(json.dumps({"shapes": [], "imagePath": path}))
        with pytest.raises(DataError, match="there is no picture"):
            FORMATS["labelme"].read(inside, None).items[0].read()
        (inside / "annotations.xml").write_text(
            f"<annotations><image name={quoteattr(path)} width='12' height='9'/></annotations>"
        )
        item = FORMATS["cvat"].read(inside, None).items[0]
        assert ".." not in item.name
        assert not item.name.startswith("/")
        with pytest.raises(DataError, match="there is no picture"):
            item.read()
        (inside / "tasks.json").write_text(json.dumps([{"data": {"image": path}, "annotations": [{"result": []}]}]))
        with pytest.raises(DataError, match="there is no picture"):
            FORMATS["label-studio"].read(inside, None).items[0].read()

    def test_a_brush_of_another_size_is_refused(self) -> None:
        data = encode_brush(np.ones((3, 4), bool))
        assert decode_brush(data, 3, 4).all()
        with pytest.raises(ValueError, match="is of 48 numbers of 8 bits; 4x4 pixels have 64 of 8"):
            decode_brush(data, 4, 4)
        with pytest.raises(ValueError, match="end too early"):
            decode_brush(data[:-1], 3, 4)


class TestWhatOthersWrite:
    """Files in the form in which tools export them, written by hand."""

    def test_roboflow_writes_one_coco_file_for_each_split(self, tmp_path: Path) -> None:
        for number, split in enumerate(("train", "valid")):
            put_grey(tmp_path / split / "same.png")
            (tmp_path / split / "_annotations.coco.json").write_text(json.dumps({
                "images": [{"id": 0, "file_name": "same.png", "height": 9, "width": 12}],
                "categories": [{"id": 0, "name": "cats", "supercategory": "none"}, {"id": 1, "name": "cat"}],
                "annotations": [{"id": 5, "image_id": 0, "category_id": 1, "iscrowd": 0,
                                 "segmentation": [[number, 0, number + 2, 0, number + 2, 2, number, 2]]}],
            }))  # fmt: skip
        annotated = FORMATS[format_of(tmp_path)].read(tmp_path, None)
        assert [(item.split, item.name) for item in annotated.items] == [("train", "same"), ("val", "same")]
        for number, item in enumerate(annotated.items):
            content = item.read()
            assert content.picture == tmp_path / ("train", "valid")[number] / "same.png"
            assert np.argwhere(content.labels).tolist() == [[0, number], [0, number + 1], [1, number], [1, number + 1]]

    def test_cvat_exports_voc_in_colours(self, tmp_path: Path) -> None:
        put_grey(tmp_path / "JPEGImages" / "a.png")
        colours = np.zeros((*SIZE, 3), np.uint8)
        colours[:2], colours[4:6], colours[8] = (51, 221, 255), (51, 221, 255), (224, 224, 192)
        objects = np.zeros((*SIZE, 3), np.uint8)
        objects[:2], objects[4:6] = (128, 0, 0), (0, 128, 0)
        for kind, array in (("SegmentationClass", colours), ("SegmentationObject", objects)):
            (tmp_path / kind).mkdir()
            Image.fromarray(array).save(tmp_path / kind / "a.png")
        (tmp_path / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:51,221,255::\n")
        (tmp_path / "ImageSets" / "Segmentation").mkdir(parents=True)
        (tmp_path / "ImageSets" / "Segmentation" / "default.txt").write_text("a\n")
        annotated = FORMATS[format_of(tmp_path)].read(tmp_path, None)
        content = annotated.items[0].read()
        assert annotated.classes.names == ("background", "cat")
        assert [content.labels[row, 0] for row in range(9)] == [1, 1, 0, 0, 1, 1, 0, 0, 255]
        assert sorted(int(mask.any(1).argmax()) for mask in content.instances.masks) == [0, 4]
        assert content.instances.class_ids.tolist() == [1, 1]
        colours[3, 7] = (1, 2, 3)
        Image.fromarray(colours).save(tmp_path / "SegmentationClass" / "a.png")
        with pytest.raises(DataError, match=r"colour \(1, 2, 3\) at row 3, column 7 is in no class; add it to labelmap.txt"):
            annotated.items[0].read()

    def test_cvat_for_images(self, tmp_path: Path) -> None:
        put_grey(tmp_path / "images" / "a b.png")
        (tmp_path / "annotations.xml").write_text(
            """<?xml version="1.0" encoding="utf-8"?><annotations><version>1.1</version><meta><task><labels>
            <label><name>cat &amp; dog</name><attributes/></label><label><name>sky</name></label></labels></task></meta>
            <image id="0" name="a b.png" subset="Validation" width="12" height="9">
              <polygon label="cat &amp; dog" z_order="1" points="0.00,0.00;4.00,0.00;4.00,4.00;0.00,4.00" group_id="3"></polygon>
              <box label="cat &amp; dog" z_order="1" xtl="6" ytl="0" xbr="8" ybr="2" group_id="3"></box>
              <mask label="sky" z_order="0" rle="1, 2, 1" left="3" top="3" width="2" height="2"></mask>
              <points label="sky" z_order="0" points="1,1"></points>
            </image></annotations>"""
        )
        annotated = FORMATS[format_of(tmp_path)].read(tmp_path, None)
        assert annotated.classes.names == ("background", "cat & dog", "sky")
        assert [(item.name, item.split) for item in annotated.items] == [("a b", "val")]
        content = annotated.items[0].read()
        expected = np.zeros(SIZE, int)
        expected[3, 4] = expected[4, 3] = 2
        expected[:4, :4] = expected[:2, 6:8] = 1
        assert np.array_equal(content.labels, expected)
        assert content.instances.class_ids.tolist() == [2, 1]
        assert annotated.notices.kinds == {"no area": (1, 1, "a b.png")}
        (tmp_path / "annotations.xml").write_text("<annotations><track id='0'/></annotations>")
        with pytest.raises(DataError, match="is of a video; export it as CVAT for images"):
            FORMATS["cvat"].read(tmp_path, None)

    def test_label_studio_of_uploads(self, tmp_path: Path) -> None:
        put_grey(tmp_path / "photo 1.png")
        half = {"original_width": 12, "original_height": 9, "image_rotation": 0}
        results = [
            {**half, "type": "rectanglelabels",
             "value": {"x": 50, "y": 0, "width": 50, "height": 100, "rotation": 0, "rectanglelabels": ["right"]}},
            {**half, "type": "polygonlabels",
             "value": {"points": [[0, 0], [25, 0], [25, 100], [0, 100]], "polygonlabels": ["left"]}},
            {**half, "type": "keypointlabels", "value": {"x": 1, "y": 1, "keypointlabels": ["left"]}},
            {"type": "choices", "value": {"choices": ["good"]}},
        ]  # fmt: skip
        kept = {"result": results, "was_cancelled": False}
        task = {"id": 1, "data": {"image": "/data/upload/1/0a1b2c3d-photo%201.png"},
                "annotations": [{"result": [], "was_cancelled": True}, kept, kept]}  # fmt: skip
        (tmp_path / "project-1.json").write_text(json.dumps([task]))
        annotated = FORMATS[format_of(tmp_path)].read(tmp_path, None)
        content = annotated.items[0].read()
        assert annotated.items[0].name == "photo 1"
        assert annotated.classes.names == ("background", "left", "right")
        assert content.labels[4].tolist() == [1] * 3 + [0] * 3 + [2] * 6
        assert annotated.notices.kinds["no area"][0] == 2
        assert annotated.notices.kinds["other annotator"][0] == 1

    def test_yolo_of_roboflow_and_of_classes_txt(self, tmp_path: Path) -> None:
        for split in ("train", "valid"):
            put_grey(tmp_path / split / "images" / "a.png")
            (tmp_path / split / "labels").mkdir()
            (tmp_path / split / "labels" / "a.txt").write_text("1 0 0 0.5 0 0.5 1 0 1\n0 0.5 0.5 0.2 0.2\n")
        (tmp_path / "data.yaml").write_text("train: ../train/images\nval: ../valid/images\nnc: 2\nnames: ['a', 'b']\n")
        annotated = FORMATS[format_of(tmp_path)].read(tmp_path, None)
        assert [(item.split, item.name) for item in annotated.items] == [("train", "a"), ("val", "a")]
        assert annotated.items[0].read().labels[0].tolist() == [2] * 6 + [0] * 6
        assert annotated.notices.kinds["no area"][0] == 1
        (tmp_path / "data.yaml").unlink()
        (tmp_path / "classes.txt").write_text("a\nb\n")
        shutil.copytree(tmp_path / "train", tmp_path, dirs_exist_ok=True)
        annotated = FORMATS[format_of(tmp_path)].read(tmp_path, None)
        assert annotated.items[0].read().labels[8].tolist() == [2] * 6 + [0] * 6

    @pytest.mark.parametrize(
        ("kind", "points"),
        [
            ("polygon", [[1.5, 1.2], [9.7, 2.1], [6.2, 7.9]]),
            ("rectangle", [[8.4, 6.6], [2.5, 1.5]]),
            ("circle", [[5.5, 4.5], [7.9, 4.5]]),
            ("oriented_rectangle", [[3, 1], [9, 3], [8, 7], [2, 5]]),
        ],
    )
    def test_labelme_shapes_and_groups(self, kind: str, points: list, tmp_path: Path) -> None:
        shape = {"label": "cat", "shape_type": kind, "points": points, "group_id": 1}
        corner = {"label": "cat", "points": [[0, 7], [1, 7], [1, 8], [0, 8]], "group_id": 1}
        void = {"label": "__ignore__", "points": [[0, 0], [0, 1], [1, 1]]}
        make_labelme(
            tmp_path / "in", {"a": [shape, corner, void, {"label": "cat", "shape_type": "line", "points": [[0, 0], [3, 3]]}]}
        )
        annotated = FORMATS["labelme"].read(tmp_path / "in", None)
        content = annotated.items[0].read()
        assert len(content.instances.class_ids) == 1
        assert content.labels[8, 0] == 1
        assert content.labels[0, 0] == 255
        inside = content.instances.masks[0].copy()
        inside[7:, :2] = False
        assert inside.sum() > 8
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        x, y = np.array(points).T if kind != "circle" else np.array([[3.1, 7.9], [2.1, 6.9]])
        assert abs(rows[0] - min(y)) <= 1
        assert abs(rows[-1] - max(y)) <= 1
        assert abs(columns[0] - min(x)) <= 1
        assert abs(columns[-1] - max(x)) <= 1
        assert annotated.notices.kinds == {"no area": (1, 1, "a.png")}


class TestYolo:
    POLYGON = "0 0.1 0.1 0.9 0.1 0.9 0.9 0.1 0.9\n"

    def put(
        self, folder: Path, yaml: str, labels: str = "labels/train", images: str = "images/train", text: str = POLYGON
    ) -> None:
        put_grey(folder / images / "a.png")
        (folder / labels).mkdir(parents=True)
        (folder / labels / "a.txt").write_text(text)
        (folder / "data.yaml").write_text(yaml)

    def read(self, folder: Path) -> tuple[AnnotatedSet, list[Content]]:
        assert format_of(folder) == "yolo"
        annotated = FORMATS["yolo"].read(folder, None)
        return annotated, [item.read() for item in annotated.items]

    @pytest.mark.parametrize("value", ["''", "", "null", "~", '""', "[]"])
    def test_an_empty_split_is_none(self, value: str, tmp_path: Path) -> None:
        self.put(tmp_path, f"train: images/train\ntest: {value}\nnames: [cat]\n")
        annotated, _ = self.read(tmp_path)
        assert [(item.name, item.split) for item in annotated.items] == [("a", "train")]
        assert annotated.notices.notes == []

    @pytest.mark.parametrize(
        "names",
        [["no", "yes"], ["on", "off", "y"], ["1", "2.0", "0x1F", "1e3"], ["2024-01-01", "12:30:00"], ["null", "~", "true"]],
    )
    @pytest.mark.parametrize("form", ["[{}]", "numbered"])
    def test_class_names_stay_the_text_that_was_written(self, names: list[str], form: str, tmp_path: Path) -> None:
        numbered = "".join(f"\n  {number}: {name}" for number, name in enumerate(names))
        self.put(tmp_path, "train: images/train\nnames: " + (numbered if form == "numbered" else f"[{', '.join(names)}]"))
        assert self.read(tmp_path)[0].classes.names == ("background", *names)

    def test_labels_in_another_folder_are_found_and_reported(self, tmp_path: Path) -> None:
        self.put(tmp_path, "train: images/train\nnames: [cat]\n", labels="labels/seg/train")
        annotated, (content,) = self.read(tmp_path)
        assert (content.labels == 1).sum() > 50
        (note,) = annotated.notices.notes
        assert note == f"Labels of train are read from {tmp_path}/labels/seg/train: there is no labels/train/a.txt."

    def test_labels_in_two_other_folders_are_a_question(self, tmp_path: Path) -> None:
        self.put(tmp_path, "train: images/train\nnames: [cat]\n", labels="labels/seg/train")
        shutil.copytree(tmp_path / "labels" / "seg", tmp_path / "labels" / "det")
        with pytest.raises(DataError, match=r"the labels of train may be those in .*det/train or .*seg/train; keep one"):
            self.read(tmp_path)

    @pytest.mark.parametrize(
        ("images", "labels", "file"),
        [("Images/Train", "Labels/Train", "a.TXT"), ("IMAGES/train", "LABELS/train", "A.txt"), ("train/Images", "train/labels",
         "a.txt")],
    )  # fmt: skip
    def test_folders_and_suffixes_in_capitals(self, images: str, labels: str, file: str, tmp_path: Path) -> None:
        self.put(tmp_path, f"train: {images}\nnames: [cat]\n", labels, images)
        (tmp_path / labels / "a.txt").rename(tmp_path / labels / file)
        annotated, (content,) = self.read(tmp_path)
        assert (content.labels == 1).sum() > 50
        assert annotated.notices.kinds == {}

    @pytest.mark.parametrize("line", ["./images/train/a.png", "images/train/a.png", "/content/set/images/train/a.png",
                                      "images\\train\\a.png", "\ufeffimages/train/a.png",
                                      "../../images/train/a.png"])  # fmt: skip
    @pytest.mark.parametrize("yaml", ["train: train.txt", "train: [train.txt]", "train: ./lists/../train.txt"])
    def test_lists_of_pictures(self, line: str, yaml: str, tmp_path: Path) -> None:
        self.put(tmp_path, f"{yaml}\nval:\nnames: [cat]\n")
        (tmp_path / "train.txt").write_text(f"{line}\r\n\n")
        annotated, (content,) = self.read(tmp_path)
        assert [(item.name, item.split) for item in annotated.items] == [("a", "train")]
        assert (content.labels == 1).sum() > 50

    def test_a_list_of_folders_and_lists_with_a_picture_that_is_missing(self, tmp_path: Path) -> None:
        self.put(tmp_path, "train: [images/train, more.txt]\nnames: [cat]\n")
        put_grey(tmp_path / "images" / "other" / "b.png")
        (tmp_path / "more.txt").write_text("images/other/b.png\nimages/other/c.png\n")
        annotated = FORMATS["yolo"].read(tmp_path, None)
        assert sorted(item.name for item in annotated.items) == ["a", "line 2 of more.txt", "other/b"]
        with pytest.raises(DataError, match=r"more.txt, line 2: there is no picture 'images/other/c.png'"):
            next(item for item in annotated.items if item.name.startswith("line")).read()

    def test_a_split_that_is_not_there_is_reported(self, tmp_path: Path) -> None:
        self.put(tmp_path, "path: ../datasets/x\ntrain: images/train\nval: images/val\nnames: [cat]\n")
        annotated, _ = self.read(tmp_path)
        assert [item.split for item in annotated.items] == ["train"]
        (note,) = annotated.notices.notes
        assert "data.yaml: val is 'images/val', which is no folder and no list of pictures" in note
        (tmp_path / "data.yaml").write_text("train: images/x\nnames: [cat]\n")
        with pytest.raises(DataError, match="train is 'images/x', which is no folder"):
            self.read(tmp_path)

    @pytest.mark.parametrize("table", ["classes.txt", "labels/classes.txt", "data.yaml"])
    def test_without_splits_all_that_lies_in_images_is_read(self, table: str, tmp_path: Path) -> None:
        self.put(tmp_path, "names: [cat]\n")
        put_grey(tmp_path / "previews" / "a.png")
        (tmp_path / "data.yaml").unlink()
        (tmp_path / table).write_text("cat\n" if table.endswith("txt") else "names: [cat]\n")
        annotated, (content,) = self.read(tmp_path)
        assert [(item.name, item.split) for item in annotated.items] == [("a", "train")]
        assert (content.labels == 1).sum() > 50

    def test_pictures_that_lie_elsewhere(self, tmp_path: Path) -> None:
        self.put(tmp_path / "in", "train: images/train\nnames: [cat]\n")
        (tmp_path / "in" / "images").rename(tmp_path / "photos")
        with pytest.raises(DataError, match="or name the folder of the pictures with --pictures"):
            self.read(tmp_path / "in")
        annotated = FORMATS["yolo"].read(tmp_path / "in", tmp_path / "photos")
        assert [(item.name, item.split) for item in annotated.items] == [("a", "train")]
        assert (annotated.items[0].read().labels == 1).sum() > 50

    def test_boxes_among_polygons_are_counted(self, tmp_path: Path) -> None:
        self.put(tmp_path, "train: images/train\nnames: [cat]\n", text=self.POLYGON + "0 0.5 0.5 0.1 0.1\n")
        annotated, (content,) = self.read(tmp_path)
        assert annotated.notices.kinds == {"no area": (1, 1, "a")}
        assert len(content.instances.class_ids) == 1


class TestLabelStudio:
    def read(self, folder: Path, results: list[dict]) -> tuple[AnnotatedSet, Content]:
        put_grey(folder / "a.png")
        (folder / "tasks.json").write_text(json.dumps([{"data": {"image": "a.png"}, "annotations": [{"result": results}]}]))
        annotated = FORMATS["label-studio"].read(folder, None)
        return annotated, annotated.items[0].read()

    def given(self, kind: str) -> tuple[dict, np.ndarray]:
        """The value of a shape without label, and the pixels of the 9x12 picture that it covers."""
        mask = np.zeros(SIZE, bool)
        mask[:, :6] = True
        if kind == "brush":
            return {"format": "rle", "rle": encode_brush(mask)}, mask
        if kind == "bitmask":
            image = Image.fromarray(np.dstack([np.zeros((*SIZE, 3), np.uint8), mask * np.uint8(255)]), "RGBA")
            return {"imageDataURL": "data:image/png;base64," + base64.b64encode(encode_image(image, ".png")).decode()}, mask
        if kind == "ellipse":
            return {"x": 50, "y": 50, "radiusX": 50, "radiusY": 50, "rotation": 0}, drawn_ellipse()
        if kind == "rectangle":
            return {"x": 0, "y": 0, "width": 50, "height": 100, "rotation": 0}, mask
        return {"points": [[0, 0], [50, 0], [50, 100], [0, 100]], "closed": True}, mask

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("form", ["own tag", "labels tag", "labels alone", "labels in the shape", "labels first"])
    def test_shapes_with_their_labels_wherever_they_stand(self, kind: str, form: str, tmp_path: Path) -> None:
        value, mask = self.given(kind)
        half = {"id": "x", "original_width": 12, "original_height": 9, "image_rotation": 0}
        shape = {**half, "type": kind, "value": value}
        labels = {**half, "type": "labels", "value": {**value, "labels": ["cup"]}}
        results = {
            "own tag": [{**half, "type": f"{kind}labels", "value": {**value, f"{kind}labels": ["cup"]}}],
            "labels tag": [shape, labels], "labels first": [{**labels, "value": {"labels": ["cup"]}}, shape],
            "labels alone": [labels], "labels in the shape": [{**shape, "value": {**value, "labels": ["cup"]}}],
        }[form]  # fmt: skip
        annotated, content = self.read(tmp_path, results)
        assert annotated.classes.names == ("background", "cup")
        assert np.array_equal(content.labels == 1, mask)
        assert len(content.instances.class_ids) == 1
        assert annotated.notices.kinds == {}

    def test_a_rectangle_that_is_turned(self, tmp_path: Path) -> None:
        value = {"x": 50, "y": 0, "width": 50, "height": 30, "rotation": 90, "rectanglelabels": ["cup"]}
        result = {"type": "rectanglelabels", "original_width": 12, "original_height": 9, "value": value}
        _, content = self.read(tmp_path, [result])
        rows, columns = np.nonzero(content.labels)
        assert (rows.min(), rows.max(), columns.max()) == (0, 5, 5)  # 6 wide and 2.7 high, turned around its corner at 6, 0
        assert len(rows) == 18

    def test_two_shapes_of_one_id_share_no_label(self, tmp_path: Path) -> None:
        value, _ = self.given("polygon")
        half = {"id": "x", "original_width": 12, "original_height": 9, "type": "polygonlabels"}
        annotated, content = self.read(
            tmp_path, [{**half, "value": {**value, "polygonlabels": ["cup"]}}, {**half, "value": value}]
        )
        assert len(content.instances.class_ids) == 1
        assert annotated.notices.kinds == {"no label": (1, 1, "a.png")}

    def test_an_export_of_another_kind_is_reported(self, command, tmp_path: Path) -> None:
        (tmp_path / "a.json").write_text(json.dumps([{"image": "a.png", "label": [{"rectanglelabels": ["cup"]}]}]))
        code, _, messages = command("convert", tmp_path / "a.json", tmp_path / "out")
        assert (code, "export them from Label Studio as JSON (not JSON-MIN)" in messages) == (3, True)

    def test_an_export_by_any_name_is_found(self, tmp_path: Path) -> None:
        value, _ = self.given("polygon")
        half = {"original_width": 12, "original_height": 9, "type": "polygonlabels"}
        self.read(tmp_path, [{**half, "value": {**value, "polygonlabels": ["cup"]}}])
        (tmp_path / "tasks.json").rename(tmp_path / "export of May.json")
        assert format_of(tmp_path) == "label-studio"


def drawn_ellipse() -> np.ndarray:
    return fill([ellipse(6, 4.5, 6, 4.5).ravel().tolist()], *SIZE)


class TestLabelme:
    def read(self, folder: Path, shapes: list[dict], **more: object) -> tuple[AnnotatedSet, Content]:
        make_labelme(folder, {"a": shapes})
        document = json.loads((folder / "a.json").read_text())
        (folder / "a.json").write_text(json.dumps({**document, **more}))
        annotated = FORMATS["labelme"].read(folder, None)
        return annotated, annotated.items[0].read()

    def test_a_rectangle_of_four_corners_is_that_of_two(self, tmp_path: Path) -> None:
        corners = {"label": "cup", "shape_type": "rectangle", "points": [[2.5, 1.5], [8.4, 1.5], [8.4, 6.6], [2.5, 6.6]]}
        _, four = self.read(tmp_path / "four", [corners])
        _, two = self.read(tmp_path / "two", [{**corners, "points": [[8.4, 6.6], [2.5, 1.5]]}])
        assert np.array_equal(four.labels, two.labels)
        assert (four.labels == 1).sum() == 6 * 7

    @pytest.mark.parametrize("kind", ["rotation", "rectangle", "oriented_rectangle"])
    def test_a_rectangle_that_is_turned(self, kind: str, tmp_path: Path) -> None:
        """A square that stands on its corner, with 1 + 3 + 5 + 7 + 5 + 3 + 1 pixels."""
        shape = {"label": "cup", "shape_type": kind, "points": [[6, 1], [9, 4], [6, 7], [3, 4]], "direction": 0.785}
        _, content = self.read(tmp_path / "in", [shape])
        assert (content.labels == 1).sum(1).tolist() == [0, 1, 3, 5, 7, 5, 3, 1, 0]

    @pytest.mark.parametrize(("kind", "suffix"), [("PNG", ".png"), ("JPEG", ".jpg"), ("WEBP", ".webp"), ("BMP", ".bmp")])
    def test_a_picture_in_the_file_is_written_byte_for_byte(self, kind: str, suffix: str, tmp_path: Path) -> None:
        square = {"label": "cup", "points": [[1, 1], [5, 1], [5, 5], [1, 5]]}
        packed = io.BytesIO()
        Image.new("RGB", SIZE[::-1], (1, 2, 3)).save(packed, kind)
        make_labelme(tmp_path / "in", {"a": [square]})
        (tmp_path / "in" / "a.png").unlink()
        document = json.loads((tmp_path / "in" / "a.json").read_text())
        document["imageData"] = base64.b64encode(packed.getvalue()).decode()
        (tmp_path / "in" / "a.json").write_text(json.dumps(document))
        convert(tmp_path / "in", tmp_path / "out", "folder")
        assert (tmp_path / "out" / "images" / f"a{suffix}").read_bytes() == packed.getvalue()

    @pytest.mark.parametrize("path", ["gone.png", "..\\\\gone.jpg", "", None])
    @pytest.mark.parametrize("before", ["", "data:image/png;base64,"])
    def test_a_picture_in_the_file_whatever_its_path(self, path: str | None, before: str, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in", {"a": []})
        held = before + base64.encodebytes((tmp_path / "in" / "a.png").read_bytes()).decode()
        (tmp_path / "in" / "a.png").unlink()
        document = json.loads((tmp_path / "in" / "a.json").read_text())
        (tmp_path / "in" / "a.json").write_text(json.dumps({**document, "imagePath": path, "imageData": held}))
        assert FORMATS["labelme"].read(tmp_path / "in", None).items[0].read().labels.shape == SIZE

    def test_the_picture_in_the_file_is_taken_before_one_of_its_name_elsewhere(self, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in", {"a": []})
        held = (tmp_path / "in" / "a.png").read_bytes()
        (tmp_path / "in" / "a.png").unlink()
        put_grey(tmp_path / "in" / "other" / "a.png")
        document = json.loads((tmp_path / "in" / "a.json").read_text())
        (tmp_path / "in" / "a.json").write_text(json.dumps({**document, "imageData": base64.b64encode(held).decode()}))
        assert FORMATS["labelme"].read(tmp_path / "in", None).items[0].read().picture == held

    def test_a_folder_of_pictures_that_is_named_comes_before_what_lies_beside(self, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in", {"a": []})
        put_grey(tmp_path / "pictures" / "a.png")
        annotated = FORMATS["labelme"].read(tmp_path / "in", tmp_path / "pictures")
        assert annotated.items[0].read().picture == tmp_path / "pictures" / "a.png"

    @pytest.mark.parametrize("held", ["x", "aGVsbG8=", "é"])
    def test_image_data_that_is_none_is_reported(self, held: str, tmp_path: Path) -> None:
        make_labelme(tmp_path / "in", {"a": []})
        (tmp_path / "in" / "a.png").unlink()
        document = json.loads((tmp_path / "in" / "a.json").read_text())
        (tmp_path / "in" / "a.json").write_text(json.dumps({**document, "imageData": held}))
        with pytest.raises(DataError, match=r"a\.json, whose imageData is no picture: there is no picture 'a.png'"):
            FORMATS["labelme"].read(tmp_path / "in", None).items[0].read()


class TestCoco:
    def read(
        self, folder: Path, name: str = "annotations/instances_train.json", at: str = "images/a.png", **more: object
    ) -> AnnotatedSet:
        put_grey(folder / at)
        content = {
            "images": [{"id": 1, "file_name": "a.png", "height": 9, "width": 12}], "categories": [{"id": 1, "name": "cup"}],
            "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]]}], **more,
        }  # fmt: skip
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(content))
        assert format_of(folder) == "coco"
        return FORMATS["coco"].read(folder, None)

    @pytest.mark.parametrize("name", ["images\\a.png", "..\\images\\a.png", "../images/a.png", "/data/images/a.png",
                                      "C:\\x\\images\\a.png", "./images//a.png", "images/a.png"])  # fmt: skip
    def test_paths_of_any_system_lead_to_the_picture(self, name: str, tmp_path: Path) -> None:
        annotated = self.read(tmp_path, images=[{"id": 1, "file_name": name, "height": 9, "width": 12}])
        assert (annotated.items[0].read().labels == 1).sum() == 25
        assert annotated.items[0].read().picture == tmp_path / "images" / "a.png"

    def test_categories_of_one_name_that_no_object_has_are_left_out_and_reported(self, tmp_path: Path) -> None:
        twins = [{"id": 0, "name": "cup", "supercategory": "none"}, {"id": 1, "name": "cup", "supercategory": "cup"}]
        annotated = self.read(tmp_path, categories=twins)
        assert annotated.classes.names == ("background", "cup")
        assert (annotated.items[0].read().labels == 1).sum() == 25
        assert annotated.notices.notes == ["The category 0, 'cup', is left out: no object has it, and 1 has its name."]
        square = [[0, 0, 5, 0, 5, 5, 0, 5]]
        objects = [{"id": id, "image_id": 1, "category_id": id, "segmentation": square} for id in (0, 1)]
        with pytest.raises(DataError, match="two categories, 0 and 1, have the name 'cup'; give each its own"):
            self.read(tmp_path, categories=twins, annotations=objects)

    def test_a_flat_outline_is_read_and_reported(self, tmp_path: Path) -> None:
        flat = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [0, 0, 5, 0, 5, 5, 0, 5]}
        annotated = self.read(tmp_path, annotations=[flat])
        assert (annotated.items[0].read().labels == 1).sum() == 25
        assert annotated.notices.kinds == {"flat": (1, 1, "a.png")}

    @pytest.mark.parametrize(
        "bad",
        [{"image_id": 7}, {"category_id": 7}, {"id": 1}, {"id": "x"}, {"segmentation": "x"}, {"area": -1}, {"image_id": None},
         {"iscrowd": 3}, {"bbox": [1]}],
    )  # fmt: skip
    def test_an_annotation_that_is_wrong_is_left_out_and_reported(self, bad: dict, tmp_path: Path) -> None:
        good = {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[0, 0, 5, 0, 5, 5, 0, 5]]}
        annotated = self.read(tmp_path, annotations=[good, {**good, "id": 2, **bad}, {**good, "id": 3}])
        assert len(annotated.items[0].read().instances.class_ids) == 2
        (note,) = annotated.notices.notes
        where = f"{tmp_path}/annotations/instances_train.json, annotation"
        assert note.startswith(f"1 annotations or categories are left out, the first: {where}")

    @pytest.mark.parametrize(
        "bad",
        [{"id": 1}, {"id": "x"}, {"height": None}, {"width": 10**9}, {"file_name": ""}, {"file_name": 3}, {"file_name": ".."}],
    )  # fmt: skip
    def test_a_picture_that_is_wrong_is_named_and_the_others_are_written(self, bad: dict, command, tmp_path: Path) -> None:
        self.read(tmp_path)
        file = tmp_path / "annotations" / "instances_train.json"
        content = json.loads(file.read_text())
        content["images"].append({**content["images"][0], "id": 2, "file_name": "b.png", **bad})
        content["categories"].append({"id": 9})
        content["annotations"].append({**content["annotations"][0], "id": 77, "image_id": 2})
        file.write_text(json.dumps(content))
        code, out, messages = command("convert", tmp_path, tmp_path / "out", "--from", "coco")
        assert code == 3
        assert "train 1 pictures, read as coco, 1 left out" in messages
        assert f"{file}, picture" in messages
        assert "annotations or categories are left out, the first: " in out

    @pytest.mark.parametrize("name", ["result.json", "train.JSON", "annotations/my labels.json"])
    def test_a_file_of_any_name_is_found_by_what_it_holds(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "annotations").mkdir()
        (tmp_path / "annotations" / "captions.json").write_text(json.dumps({"images": [], "annotations": [{"caption": "x"}]}))
        assert (self.read(tmp_path, name).items[0].read().labels == 1).sum() == 25

    def test_a_folder_without_annotations_is_reported(self, command, tmp_path: Path) -> None:
        put_grey(tmp_path / "in" / "images" / "a.png")
        code, _, messages = command("convert", tmp_path / "in", tmp_path / "out", "--from", "coco")
        assert code == 3
        assert "in: holds no JSON with images, annotations, categories; name the file, or put it there" in messages

    @pytest.mark.parametrize(
        ("picture", "mask"), [("images/a.png", "masks/a.png"), ("JPEGImages/a.png", "SegmentationMasks/a.png"),
                              ("train_images/a.png", "train_labels/a.png")])  # fmt: skip
    def test_a_picture_is_preferred_to_a_mask_of_its_name(self, picture: str, mask: str, tmp_path: Path) -> None:
        put_grey(tmp_path / mask)
        annotated = self.read(tmp_path, at=picture)
        assert annotated.items[0].read().picture == tmp_path / picture

    def test_pictures_that_may_be_either_name_the_flag(self, tmp_path: Path) -> None:
        put_grey(tmp_path / "one" / "a.png")
        annotated = self.read(tmp_path, at="two/a.png")
        with pytest.raises(DataError, match="name the folder of the pictures with --pictures, or keep one of the two"):
            annotated.items[0].read()


class TestVoc:
    def put(self, folder: Path, names: list[str], listed: str, mask: str = "{}.png") -> AnnotatedSet:
        (folder / "SegmentationClass").mkdir()
        for name in names:
            put_grey(folder / "JPEGImages" / f"{name}.png")
            Image.fromarray(np.full(SIZE, 1, np.uint8)).save(folder / "SegmentationClass" / mask.format(name))
        (folder / "labelmap.txt").write_text("background:0,0,0::\ncup:128,0,0::\n")
        (folder / "ImageSets" / "Segmentation").mkdir(parents=True)
        (folder / "ImageSets" / "Segmentation" / "train.txt").write_text(listed)
        return FORMATS["voc"].read(folder, None)

    @pytest.mark.parametrize(
        "listed",
        ["a b\nc\n", '"a b"\nc\n', "a b\r\nc\r\n", "\ufeffa b\nc", "  a b  \n\nc\n", '"a b"\n"c"\n', "a b\nc 1\n"],
    )
    def test_lists_with_blanks_quotes_and_marks(self, listed: str, tmp_path: Path) -> None:
        annotated = self.put(tmp_path, ["a b", "c"], listed)
        assert [item.name for item in annotated.items] == ["a b", "c"]
        assert all((item.read().labels == 1).all() for item in annotated.items)

    @pytest.mark.parametrize("mask", ["{}.png.png", "{}.jpg.png", "{}.PNG"])
    @pytest.mark.parametrize("listed", ["a\n", ""])
    def test_masks_that_are_called_after_the_file(self, mask: str, listed: str, tmp_path: Path) -> None:
        annotated = self.put(tmp_path, ["a"], listed, mask)
        assert [item.name for item in annotated.items] == ["a"]
        assert (annotated.items[0].read().labels == 1).all()

    def test_a_line_that_leads_nowhere_is_reported_and_the_others_are_read(self, tmp_path: Path) -> None:
        annotated = self.put(tmp_path, ["a"], "a\n../a\n/etc/passwd\nx\n..\n")
        sentences: list[str] = []
        for item in annotated.items:
            with collected_error(sentences):
                item.read()
        assert len(annotated.items) == 5
        assert [sentence.split(": ")[1].split(" in ")[0] for sentence in sorted(sentences)] == [
            ".. has no picture", "../a has no picture", "/etc/passwd has no picture", "x has no picture",
        ]  # fmt: skip


class TestCvat:
    @pytest.mark.parametrize("encoding", ["utf-1", "shift_jis", "utf-7", "rot13", "hex", "ebcdic", "x" * 500, "utf-16"])
    def test_an_encoding_that_cannot_be_read_is_reported(self, encoding: str, tmp_path: Path) -> None:
        (tmp_path / "annotations.xml").write_text(f'<?xml version="1.0" encoding="{encoding}"?><annotations/>')
        with pytest.raises(DataError, match=r"annotations\.xml: is no XML \(.*\); it is damaged, cut short, or not in UTF-8"):
            FORMATS["cvat"].read(tmp_path, None)

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
    def test_encodings_that_xml_has_are_read(self, encoding: str, tmp_path: Path) -> None:
        put_grey(tmp_path / "é.png")
        text = f'<?xml version="1.0" encoding="{encoding.removesuffix("-sig")}"?><annotations>'
        text += '<image name="é.png" width="12" height="9"/>'
        (tmp_path / "annotations.xml").write_bytes(f"{text}</annotations>".encode(encoding))
        assert [item.name for item in FORMATS["cvat"].read(tmp_path, None).items] == ["é"]


def test_the_document_says_what_each_format_holds() -> None:
    document = (ROOT / "docs" / "formats.md").read_text()
    for name, format in FORMATS.items():
        held_kinds = [format.holds.overlap, format.holds.crowd, format.holds.void, format.holds.maps]
        words = ["yes" if holds else "no" for holds in held_kinds]
        order = "" if format.holds.maps else " yes" if format.holds.ordered else " no"
        assert f"| {format.title} | `{name}` | {' | '.join(words)} |{order} |" in document
