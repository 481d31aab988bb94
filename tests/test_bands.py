"""Bands of pictures: their names and ranges, how files are read, and which verbs take them. Numbers are worked out by hand."""

import io
import json
import re
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import BANDS_CSV, draw_bands, make_bands, make_folder, make_labelme, make_model, tiff_of
from hidden_torch import HAS_TORCH
from PIL import Image

from perpixel.bands import Bands, range_of
from perpixel.datasets import bands_of, fingerprint, of_bands, open_dataset
from perpixel.errors import DataError, UnknownName, UsageError
from perpixel.images import read_bands, read_image, read_size_of_bands, unread_pages

pytest.importorskip("tifffile")
FIVE = ("blue", "green", "red", "nir", "swir")


def bands_from(tmp_path: Path, text: str) -> Bands:
    (tmp_path / "bands.csv").write_text(text)
    return Bands.read_csv(tmp_path / "bands.csv")


def of_ranges(*ranges: tuple[float, float] | None, names: tuple[str, ...] = FIVE, nodata: float | None = None) -> Bands:
    count = len(ranges)
    return Bands(names[:count], tuple(range(count)), ranges, (nodata,) * count)


class TestTable:
    def test_names_ranges_and_no_data_are_read(self, tmp_path: Path) -> None:
        bands = bands_from(tmp_path, "name,low,high,nodata\nred,0,4000,\nnir,,,-9999\n")
        assert (bands.names, bands.ranges, bands.nodata) == (("red", "nir"), ((0, 4000), None), (None, -9999))
        assert str(bands) == "2 bands (red, nir)"
        assert Bands.from_json(json.loads(json.dumps(bands.to_json()))) == bands

    def test_names_alone_are_enough(self, tmp_path: Path) -> None:
        assert bands_from(tmp_path, "name\nred\n").ranges == (None,)

    @pytest.mark.parametrize(
        ("text", "sentence"),
        [
            ("band\nred\n", "the first line must be `name`"),
            ("name\n", "names no band"),
            ("name\nred\nRed\n", "names the band 'red' twice"),
            ("name,low,high\nred,5,5\n", "band red: low 5 must be less than high 5"),
            ("name,low,high\nred,5,\n", "line 2: lacks high"),
            ("name,low,high\nred,a,5\n", "line 2: could not convert string to float: 'a'"),
            ("name,low,high\nred,nan,5\n", "low nan must be less"),
            ("name,low,high\n,1,5\n", "line 2: lacks a name"),
        ],
    )
    def test_a_wrong_table_is_told_with_its_line(self, tmp_path: Path, text: str, sentence: str) -> None:
        with pytest.raises(DataError, match=re.escape(sentence)) as error:
            bands_from(tmp_path, text)
        assert "bands.csv" in str(error.value)

    def test_bands_are_chosen_by_name_and_number_in_the_order_given(self) -> None:
        bands = of_ranges((0, 1), (0, 2), (0, 3), (0, 4), (0, 5)).chosen(("NIR", "1"))
        assert bands == of_ranges((0, 1), (0, 2), (0, 3), (0, 4), (0, 5)).chosen(("nir,blue",))
        assert (bands.names, bands.places, bands.ranges) == (("nir", "blue"), (3, 0), ((0, 4), (0, 1)))

    @pytest.mark.parametrize(
        ("words", "kind", "sentence"),
        [
            (("6",), UsageError, "there is no band 6; the 5 bands are 1 to 5"),
            (("0",), UsageError, "there is no band 0"),
            (("1", "blue"), UsageError, "each once"),
            ((), UsageError, "must name bands"),
            (("niir",), UnknownName, "nir"),
        ],
    )
    def test_a_choice_that_cannot_be_is_told(self, words: tuple[str, ...], kind: type[Exception], sentence: str) -> None:
        with pytest.raises(kind, match=re.escape(sentence)):
            of_ranges(*[(0, 1)] * 5).chosen(words)

    def test_ranges_are_two_numbers_a_band(self) -> None:
        assert of_ranges(None, None).with_ranges((0, 1, 5, 9)).ranges == ((0, 1), (5, 9))
        for wrong in ((0, 1), (0, 1, 9, 5)):
            with pytest.raises(UsageError, match="band_ranges: "):
                of_ranges(None, None).with_ranges(wrong)


class TestValues:
    def test_low_and_high_become_0_and_1_and_beyond_is_clipped(self) -> None:
        pixels = np.array([[[100], [200], [150], [0], [65535]]], np.uint16).reshape(1, 5, 1)
        seen, lacking = of_ranges((100, 200)).scaled(pixels)
        assert seen.dtype == np.float32
        assert seen.ravel().tolist() == [0, 1, 0.5, 0, 1]
        assert lacking is None

    def test_pixels_without_data_are_0_and_told(self) -> None:
        pixels = np.array([[[np.nan, 1], [np.inf, 1], [-9999, 1], [1, 1]]], np.float32)
        seen, lacking = of_ranges((0, 2), (0, 2), nodata=-9999).scaled(pixels)
        assert seen.tolist() == [[[0, 0.5], [0, 0.5], [0, 0.5], [0.5, 0.5]]]
        assert lacking is not None
        assert lacking.tolist() == [[True, True, True, False]]

    def test_percentiles_of_equal_values_make_a_range(self) -> None:
        assert range_of(np.arange(101)) == (1, 99)
        assert range_of(np.full(7, 5)) == (5, 6)
        assert range_of(np.zeros(0)) == (0, 1)

    @pytest.mark.parametrize(
        ("names", "places"),
        [(FIVE, [2, 1, 0]), (("a", "b", "c", "d"), [0, 1, 2]), (("nir",), [0, 0, 0]), (("nir", "swir"), [0, 0, 0]),
         (("green", "red", "nir"), [0, 1, 2])],
    )  # fmt: skip
    def test_people_see_red_green_and_blue_else_the_first_three_or_grey(self, names: tuple[str, ...], places: list[int]) -> None:
        pixels = (np.arange(len(names)) * 51 + np.zeros((2, 3, 1))).astype(np.uint8)
        shown = of_ranges(*[(0, 255)] * len(names), names=names).shown(pixels)
        assert shown.shape == (2, 3, 3)
        assert shown[0, 0].tolist() == [51 * place for place in places]

    def test_without_a_range_the_picture_itself_stretches(self) -> None:
        shown = of_ranges(None).shown(np.arange(101, dtype=np.uint16).reshape(1, 101, 1) * 40)
        assert (shown[0, 1, 0], shown[0, 99, 0]) == (0, 255)  # the percentiles 1 and 99 of 0, 40 .. 4000
        assert shown[0, 50, 0] in (127, 128)


class TestFiles:
    def test_sixteen_bits_stay_and_so_do_five_bands(self) -> None:
        bands, _ = draw_bands(0)
        assert np.array_equal(read_bands(tiff_of(bands)), bands)
        assert read_size_of_bands(tiff_of(bands)) == bands.shape[:2]

    def test_grey_of_16_bits_and_alpha_are_bands(self) -> None:
        grey = np.arange(6, dtype=np.uint16).reshape(2, 3) * 9000
        for suffix in ("PNG", "TIFF"):
            file = io.BytesIO()
            Image.fromarray(grey).save(file, suffix)
            read = read_bands(file.getvalue())
            assert (read.shape, read.dtype) == ((2, 3, 1), np.uint16)
            assert np.array_equal(read[..., 0], grey)
        file = io.BytesIO()
        see_through = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
        Image.fromarray(see_through).save(file, "PNG")
        assert np.array_equal(read_bands(file.getvalue()), see_through)

    def test_bands_as_planes_or_as_pages_are_bands(self) -> None:
        import tifffile

        bands, _ = draw_bands(1)
        for options in ({"planarconfig": "separate", "photometric": "minisblack"}, {"photometric": "minisblack"}):
            file = io.BytesIO()
            tifffile.imwrite(file, np.moveaxis(bands, 2, 0), **options)
            assert np.array_equal(read_bands(file.getvalue()), bands)

    def test_further_pages_of_several_bands_are_counted(self, tmp_path: Path) -> None:
        import tifffile

        bands, _ = draw_bands(1)
        with tifffile.TiffWriter(tmp_path / "two.tif") as writer:
            for _ in range(2):
                writer.write(bands, photometric="minisblack", planarconfig="contig")
            writer.write(bands[::2, ::2], photometric="minisblack", planarconfig="contig")  # an overview
        assert unread_pages(tmp_path / "two.tif") == 1

    def test_the_value_that_a_file_says_is_no_data_becomes_nan(self) -> None:
        import tifffile

        file = io.BytesIO()
        values = np.array([[1, 7], [7, 3]], np.uint16)
        tifffile.imwrite(file, values, extratags=[(42113, "s", 0, "7", True)])
        read = read_bands(file.getvalue())[..., 0]
        assert read.dtype == np.float32
        np.testing.assert_array_equal(read, [[1, np.nan], [np.nan, 3]])

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_orientation_is_that_of_pillow(self, orientation: int) -> None:
        import tifffile

        file = io.BytesIO()
        values = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
        tifffile.imwrite(file, values, photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        assert np.array_equal(read_bands(file.getvalue()), read_image(file.getvalue()))
        assert read_size_of_bands(file.getvalue()) == read_image(file.getvalue()).shape[:2]

    @pytest.mark.parametrize("file", [b"", b"II*\0", b"II*\0\x08\0\0\0garbage", b"no picture", tiff_of(draw_bands(0)[0])[:900]])
    def test_a_damaged_file_is_a_sentence(self, file: bytes) -> None:
        with pytest.raises(DataError, match=r"^picture in memory: .*\.$"):
            read_bands(file)

    def test_a_file_that_claims_more_rows_than_it_has_is_damaged(self) -> None:
        """tifffile would fill millions of missing strips, one by one."""
        file = tiff_of(draw_bands(0)[0])
        taller = file.replace(struct.pack("<HHII", 257, 4, 1, 24), struct.pack("<HHII", 257, 4, 1, 800_000))
        assert taller != file
        with pytest.raises(DataError, match=r"lists 1 of the 33334 parts of its pixels; the file is damaged"):
            read_bands(taller)

    def test_what_has_no_bands_as_they_are_is_refused(self) -> None:
        file = io.BytesIO()
        Image.new("P", (3, 3)).save(file, "PNG")
        with pytest.raises(DataError, match="is a P picture, whose bands are not read as they are; save it as TIFF"):
            read_bands(file.getvalue())


class TestFolder:
    def test_a_sample_has_the_bands_as_they_are_stored(self, tmp_path: Path) -> None:
        dataset = open_dataset(make_bands(tmp_path))
        sample = dataset.sample(0)
        assert np.array_equal(sample.image, draw_bands(8)[0])
        assert sample.bands is not None
        assert sample.bands.names == FIVE
        chosen = of_bands(dataset, ("nir", "1")).sample(0)
        assert np.array_equal(chosen.image, draw_bands(8)[0][..., [3, 0]])

    def test_without_the_file_pictures_are_rgb_and_bands_are_refused(self, tmp_path: Path) -> None:
        dataset = open_dataset(make_folder(tmp_path))
        assert bands_of(dataset) is None
        assert of_bands(dataset) is dataset
        with pytest.raises(UsageError, match=r"bands: pictures are RGB, for no bands\.csv names their bands"):
            of_bands(dataset, ("1",))

    def test_the_fingerprint_is_that_of_the_labels(self, tmp_path: Path) -> None:
        banded, plain = make_bands(tmp_path / "banded", train=0), make_folder(tmp_path / "plain", train=0)
        for number in range(4):  # the same names and masks
            (plain / f"masks/val/p{number:02d}.png").write_bytes((banded / f"masks/val/p{number:02d}.png").read_bytes())
        assert fingerprint(open_dataset(banded)) == fingerprint(open_dataset(plain))

    def test_a_picture_of_other_bands_is_told(self, tmp_path: Path) -> None:
        root = make_bands(tmp_path)
        (root / "images/val/p08.tif").write_bytes(tiff_of(draw_bands(8)[0][..., :3]))
        with pytest.raises(DataError, match=r"p08\.tif: has 3 bands, and bands\.csv names 5 bands \(blue, green"):
            open_dataset(root).sample(0)


SHAPE = {"label": "cell", "shape_type": "rectangle", "points": [[1, 1], [5, 5]]}


def test_annotations_beside_bands_are_not_converted_without_them(tmp_path: Path, command) -> None:
    """The copy would have no bands.csv, and then be RGB."""
    make_labelme(tmp_path / "set", {"a": [SHAPE]})
    (tmp_path / "set/bands.csv").write_text("name,low,high\nred,0,255\ngreen,0,255\nblue,0,255\n")
    for words in (("convert", tmp_path / "set", tmp_path / "out"), ("init", tmp_path / "set", "--fix", tmp_path / "out")):
        code, _, message = command(*words)
        assert code in (2, 3), message
        assert re.search(r"its pictures have 3 bands .*; convert takes RGB alone", message)
        assert not (tmp_path / "out").exists()


# Verbs beside those of test_verbs_and_data.py, on a model of five bands: what is said where they do not take it.
COMMANDS: dict[str, tuple[list[str], str]] = {
    "predict": (["predict", "RUN", "SET/images/val", "--out", "OUT"], ""),
    "predict --split": (["predict", "RUN", "SET", "--split", "val", "--out", "OUT"], ""),
    "predict --crf": (["predict", "RUN", "SET/images/val", "--crf", "deeplab", "--out", "OUT"], ""),
    "predict --window": (["predict", "RUN", "SET/images/val", "--window", "32", "--average", "flips", "--out", "OUT"], ""),
    "predict --scales": (["predict", "RUN", "SET/images/val", "--scales", "0.5,1", "--scores", "--out", "OUT"], ""),
    "predict --ensemble": (["predict", "RUN", "SET/images/val", "--ensemble", "RUN", "--out", "OUT"], ""),
    "predict --ensemble RGB": (["predict", "RUN", "SET/images/val", "--ensemble", "RGB", "--out", "OUT"],
                               "ensemble: the first model takes 5 bands .*, the second RGB"),
    "predict --proposals": (["predict", "RUN", "SET/images/val", "--proposals", "2", "--out", "OUT"], "boxes are found in RGB"),
    "predict --tile": (["predict", "RUN", "SET/images/val", "--tile", "572", "--out", "OUT"], ""),
    "predict --engine": (["predict", "RUN", "SET/images/val", "--engine", "onnx", "--out", "OUT"], "other engines run RGB alone"),
    "predict --engine auto": (["predict", "RUN", "SET/images/val", "--engine", "auto", "--out", "OUT"], ""),
    "predict --budget": (["predict", "RUN", "SET/images/val", "--budget", "20s", "--out", "OUT"], ""),
    "serve": (["serve", "RUN", "--port", "0"], "serve: is for RGB alone, and the model takes 5 bands"),
    "export": (["export", "RUN", "--to", "onnx", "--out", "OUT.onnx"], "export: is for RGB alone, and the model takes 5 bands"),
    "receptive-field": (["receptive-field", "RUN", "SET/images/val/p08.tif"], "receptive-field: is for RGB alone"),
    "review": (["review", "--data", "SET", "--steps", "1", "--out", "OUT"], "its pictures have 5 bands .*, and a review is of"),
    "evaluate RGB": (["evaluate", "RGB", "--data", "SET"], "the model was trained on RGB, and the data set has 5 bands"),
    "evaluate on RGB": (["evaluate", "RUN", "--data", "PLAIN"], "the model was trained on 5 bands .*, and the data set has RGB"),
    "check --fix": (["check", "SET", "--fix", "OUT"], ""),
    "check --report": (["check", "SET", "--report", "OUT.html"], ""),
    "train --bands": (["train", "SET", "--network", "fcn32s", "--bands", "6", "--out", "OUT"], "there is no band 6; the 5 bands"),
    "train --channels": (["train", "SET", "--network", "unet", "--channels", "3", "--steps", "1", "--out", "OUT"],
                         "channels = 3: the pictures have 5 bands"),
    "train RGB --bands": (["train", "PLAIN", "--network", "unet", "--bands", "1", "--out", "OUT"], "bands: pictures are RGB"),
    "train RGB --channels": (["train", "PLAIN", "--network", "fcn32s", "--channels", "4", "--steps", "1", "--out", "OUT"],
                             "channels = 4: pictures are RGB"),
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of five bands with a model, and a set of RGB with a model."""
    place = tmp_path_factory.mktemp("bands")
    for name, root in (("RUN", make_bands(place / "SET")), ("RGB", make_folder(place / "PLAIN"))):
        dataset = open_dataset(root)
        bands = bands_of(dataset)
        make_model(place / name, dataset.classes, 0, None if bands is None else bands.with_ranges((0, 4000) * 5))
    return place


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * ("crf" in name)) for name in COMMANDS])
def test_a_verb_takes_bands_or_says_why_not(place: Path, name: str, command: Any) -> None:
    words, sentence = COMMANDS[name]
    out = place / "out" / name.replace(" ", "-")
    places = {"OUT.onnx": f"{out}.onnx", "OUT.html": f"{out}.html", "OUT": str(out)}
    line = [places.get(word) or re.sub("^(SET|RUN|RGB|PLAIN)", lambda found: str(place / found[0]), word) for word in words]
    out.parent.mkdir(exist_ok=True)
    code, printed, err = command(*line)
    assert "Traceback" not in err
    if sentence:
        assert code in (2, 3), printed + err
        assert re.search(sentence, err), err
    else:
        assert code == 0, printed + err
    if name == "check --fix":
        assert (out / "bands.csv").read_text() == BANDS_CSV


@pytest.mark.skipif(not HAS_TORCH, reason="torch is hidden.")
class TestPictures:
    """Which bands of a picture a model takes."""

    def test_all_bands_of_its_data_set_or_its_own(self, tmp_path: Path) -> None:
        from perpixel.prediction.pictures import read_picture

        pixels = draw_bands(0)[0]
        three = of_ranges(*[(0, 4000)] * 5).chosen(("red", "nir", "blue"))
        (tmp_path / "five.tif").write_bytes(tiff_of(pixels))
        (tmp_path / "three.tif").write_bytes(tiff_of(pixels[..., :3]))
        (tmp_path / "four.tif").write_bytes(tiff_of(pixels[..., :4]))
        assert np.array_equal(read_picture(tmp_path / "five.tif", three), pixels[..., [2, 3, 0]])
        assert np.array_equal(read_picture(tmp_path / "three.tif", three), pixels[..., :3])
        with pytest.raises(DataError, match=r"four\.tif: has 4 bands, and the model was trained on 3 bands \(red, nir, blue\); "
                                            "name those that it takes, in its order, such as --bands 1 2 3"):  # fmt: skip
            read_picture(tmp_path / "four.tif", three)
        assert np.array_equal(read_picture(tmp_path / "four.tif", three, ("3", "4", "1")), pixels[..., [2, 3, 0]])
        assert np.array_equal(read_picture(tmp_path / "five.tif", three, ("swir", "1", "nir")), pixels[..., [4, 0, 3]])
        for words, sentence in (
            (("1", "2"), "are 2, and the model takes 3 bands"), (("1", "2", "5"), r"four\.tif: .*there is no band 5"),
            (("red", "2", "1"), r"four\.tif: .*nothing names the 4 bands; give numbers, 1 to 4"),
        ):  # fmt: skip
            with pytest.raises(UsageError, match=sentence):
                read_picture(tmp_path / "four.tif", three, words)

    def test_a_model_of_rgb_refuses_five_bands_and_takes_those_it_is_told(self, tmp_path: Path) -> None:
        from perpixel.prediction.pictures import read_picture

        pixels = (draw_bands(0)[0] // 16).astype(np.uint8)
        (tmp_path / "five.tif").write_bytes(tiff_of(pixels, extra=(0, 0)))
        with pytest.raises(DataError, match=r"five\.tif: has 5 bands, and the model was trained on RGB; .* --bands 1 2 3"):
            read_picture(tmp_path / "five.tif", None)
        assert np.array_equal(read_picture(tmp_path / "five.tif", None, ("3", "2", "1")), pixels[..., 2::-1])
        (tmp_path / "deep.tif").write_bytes(tiff_of(draw_bands(0)[0]))
        with pytest.raises(DataError, match=r"deep\.tif: stores uint16, and the model was trained on RGB of 8 bits"):
            read_picture(tmp_path / "deep.tif", None, ("3", "2", "1"))

    def test_a_data_set_with_the_same_bands_in_another_order_is_read_by_name(self, place: Path) -> None:
        import perpixel

        model = perpixel.load(place / "RUN")
        sample = open_dataset(place / "SET").sample(0)
        turned = of_bands(open_dataset(place / "SET"), ("swir", "nir", "red", "green", "blue")).sample(0)
        assert np.array_equal(turned.image, sample.image[..., ::-1])
        assert np.array_equal(model.picture_of(turned), sample.image)
        given = bands_of(open_dataset(place / "SET"))
        assert given is not None
        holes = replace(sample, bands=replace(given, nodata=(int(sample.image[0, 0, 0]), *given.nodata[1:])))
        assert np.isnan(model.picture_of(holes)[0, 0, 0]), "what the set calls no data is none for the model, too"
        lacking = of_bands(open_dataset(place / "SET"), ("nir",)).sample(0)
        with pytest.raises(UsageError, match=r"has 1 band \(nir\), and the model takes 5 bands .*; blue is not among them"):
            model.picture_of(lacking)

    def test_rgb_named_as_bands_of_0_to_255_has_the_answer_of_rgb(self, place: Path, tmp_path: Path) -> None:
        import perpixel
        from perpixel.weights.model_file import save_model

        model = perpixel.load(place / "RGB")
        bands = of_ranges((0, 255), (0, 255), (0, 255), names=("red", "green", "blue"))
        arguments = {**model.card.arguments, "channels": 3}
        save_model(tmp_path, model.network.state_dict(), replace(model.card, arguments=arguments, bands=bands.to_json()))
        other = perpixel.load(tmp_path)
        for picture in sorted((place / "PLAIN/images/val").iterdir()):
            one, two = (perpixel.predict(each, picture, scores=True).scores for each in (model, other))
            assert one is not None
            assert two is not None
            np.testing.assert_allclose(one, two, atol=1e-6)

    def test_the_conditions_of_a_comparison_name_the_bands(self, place: Path) -> None:
        import perpixel
        from perpixel.judging.conditions import Conditions

        trained = [Conditions.of(perpixel.load(place / name), {}, {}).trained_on for name in ("RUN", "RGB")]
        assert trained == ["not known, bands blue, green, red, nir, swir", "not known"]

    def test_a_video_is_rgb(self, place: Path, tmp_path: Path) -> None:
        import perpixel
        from perpixel.prediction.bulk import InputPicture, predict_all

        model = perpixel.load(place / "RUN")
        with pytest.raises(UsageError, match=r"film\.mp4: frames of a video are RGB, and the model takes 5 bands"):
            next(predict_all(model, [InputPicture("film.mp4", "film")], tmp_path))

    def test_predict_takes_arrays_as_files_store_them(self, place: Path) -> None:
        import perpixel

        model = perpixel.load(place / "RUN")
        pixels = draw_bands(8)[0]
        by_file = perpixel.predict(model, place / "SET/images/val/p08.tif").labels
        assert np.array_equal(perpixel.predict(model, pixels).labels, by_file)
        with pytest.raises(DataError, match=r"the picture: has 4 bands, and bands\.csv names 5"):
            perpixel.predict(model, pixels[..., :4])
        with pytest.raises(UsageError, match="an array"):
            perpixel.predict(model, Image.new("RGB", (8, 8)))
