"""Rasters -> masks: the labels of the whole, in the same place, whatever the tiles; and what cannot be read, a sentence each."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from fakes import CLASSES_CSV, draw_sample, say_every_class
from PIL import Image

import perpixel
from perpixel.bands import Bands
from perpixel.classes import ClassTable
from perpixel.codecs.geotiff import disk_values
from perpixel.errors import DataError, UsageError
from perpixel.files import temporary_of
from perpixel.judging.evaluate import evaluate
from perpixel.prediction import rasters
from perpixel.prediction.bulk import find_pictures, predict_all
from perpixel.prediction.predict import predict
from perpixel.prediction.rasters import RasterPredictor, RasterSettings, memory_of
from perpixel.weights.model_file import Model, ModelCard, load, save_model

rasterio = pytest.importorskip("rasterio")
tifffile = pytest.importorskip("tifffile")
features = pytest.importorskip("rasterio.features")

PLACE = rasterio.Affine(0.5, 0, 500000, 0, -0.5, 4649776)
TURNED = rasterio.Affine(0.4, 0.3, 500000, 0.3, -0.4, 4649776)
HEIGHT, WIDTH = 300, 378
without_a_place = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")  # of the test's own calls


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained U-Net that says each of its three classes somewhere."""
    folder = tmp_path_factory.mktemp("rasters") / "run"
    folder.mkdir()
    (folder.parent / "classes.csv").write_text(CLASSES_CSV)
    classes = ClassTable.read_csv(folder.parent / "classes.csv")
    torch.manual_seed(0)
    arguments = {"convolutions": "same", "width": 0.05}
    network = say_every_class(perpixel.build("unet", len(classes), **arguments).eval())
    save_model(folder, network.state_dict(), ModelCard("unet", arguments, classes.to_json(), {}, 1.0, 0, {}, "", ""))
    return folder


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load(run)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A picture of many discs and boxes, uint8 (HEIGHT, WIDTH, 3)."""
    rows = [np.concatenate([draw_sample(8 * row + column, (60, 63))[0] for column in range(6)], 1) for row in range(5)]
    return np.concatenate(rows, 0)


def put(
    path: Path, pixels: np.ndarray, overviews: tuple[int, ...] = (), descriptions: tuple[str, ...] = (), **profile: Any
) -> Path:
    """A GeoTIFF of pixels (H, W, bands), tiled and compressed; `profile` replaces what it is written with."""
    height, width, count = pixels.shape
    colours = profile.pop("colorinterp", None)
    written = {"crs": "EPSG:32632", "transform": PLACE, "tiled": True, "blockxsize": 64, "blockysize": 64, "compress": "deflate"}
    size = {"height": height, "width": width, "count": count, "dtype": pixels.dtype.name}
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", driver="GTiff", **{**written, **size, **profile}) as file:
        file.write(np.moveaxis(pixels, 2, 0))
        if colours is not None:
            file.colorinterp = [rasterio.enums.ColorInterp[name] for name in colours]
        if descriptions:
            file.descriptions = descriptions
    if overviews:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(list(overviews))
    return path


def mask_of(out: Path, name: str) -> np.ndarray:
    with rasterio.open(out / "masks" / f"{name}.tif") as file:
        labels: np.ndarray = file.read(1)
    return labels


def small_tiles(monkeypatch: pytest.MonkeyPatch, side: int) -> None:
    """Makes memory suffice for tiles of this side alone."""
    monkeypatch.setattr(rasters, "MEASURED_SIDE", 1)
    monkeypatch.setattr(RasterPredictor, "_largest", lambda *_: side)


class TestTheMask:
    def test_it_has_the_labels_of_the_whole_the_place_and_the_names(self, model, image, tmp_path: Path, run, command) -> None:
        path = put(tmp_path / "map.tif", image, overviews=(2, 4))
        code, _, told = command("predict", run, path, "--out", tmp_path / "out")
        assert code == 0, told
        with rasterio.open(tmp_path / "out/masks/map.tif") as file:
            assert (file.crs.to_epsg(), file.transform, file.shape) == (32632, PLACE, (HEIGHT, WIDTH))
            assert (file.nodata, file.dtypes, file.overviews(1)) == (255, ("uint8",), [2, 4])
            assert file.block_shapes == [(512, 512)]
            assert file.compression.name == "deflate"
            assert file.tags(1) == {"CLASS_0": "ground", "CLASS_1": "box", "CLASS_2": "disc"}
            assert [file.colormap(1)[value][:3] for value in (0, 1, 255)] == [(90, 90, 90), (200, 40, 40), (0, 0, 0)]
            assert file.tags()["TILES"] == "tiles, with the labels of one pass over the whole raster"
            assert file.tags()["MODEL"] == model.digest
            labels = file.read(1)
        whole = predict(model, image).labels
        assert len(np.unique(whole)) == 3
        np.testing.assert_array_equal(labels, whole)
        with Image.open(tmp_path / "out/overlays/map.png") as overlay:
            assert overlay.width == WIDTH

    def test_an_overview_has_the_most_frequent_class(self, run, image, tmp_path: Path, command) -> None:
        command("predict", run, put(tmp_path / "map.tif", image, overviews=(2,)), "--out", tmp_path / "out", "--no-overlays")
        labels = mask_of(tmp_path / "out", "map")
        with rasterio.open(tmp_path / "out/masks/map.tif", overview_level=0) as file:
            small = file.read(1)
        groups = labels.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).swapaxes(1, 2).reshape(*small.shape, 4)
        votes = np.stack([(groups == label).sum(2) for label in range(3)], 2)
        assert (np.take_along_axis(votes, small[..., None].astype(int), 2)[..., 0] == votes.max(2)).all()

    @pytest.mark.parametrize("side", [256, 288])
    def test_the_file_is_the_same_whatever_the_tiles(self, model, image, tmp_path: Path, monkeypatch, side: int) -> None:
        put(tmp_path / "map.tif", image)
        pictures = find_pictures([str(tmp_path / "map.tif")])
        assert [outcome.status for outcome in predict_all(model, pictures, tmp_path / "whole")] == ["done"]
        small_tiles(monkeypatch, side)
        assert [outcome.status for outcome in predict_all(model, pictures, tmp_path / "tiles")] == ["done"]
        assert (tmp_path / "tiles/masks/map.tif").read_bytes() == (tmp_path / "whole/masks/map.tif").read_bytes()
        assert (tmp_path / "tiles/overlays/map.png").read_bytes() == (tmp_path / "whole/overlays/map.png").read_bytes()

    def test_a_network_that_sees_the_whole_gets_windows_and_says_so(self, image, tmp_path: Path, monkeypatch) -> None:
        classes = ClassTable.of(("a", "b", "c"))
        network = perpixel.build("segformer", 3).eval()
        attentive = Model(network, classes, ModelCard("segformer", {}, classes.to_json(), {}, 1.0, 0, {}, "", ""), "0" * 64)
        path = put(tmp_path / "map.tif", image)
        pictures = find_pictures([str(path)])
        (whole,) = predict_all(attentive, pictures, tmp_path / "whole")
        assert (whole.status, whole.dropped) == ("done", ())
        np.testing.assert_array_equal(mask_of(tmp_path / "whole", "map"), predict(attentive, image).labels)
        small_tiles(monkeypatch, 128)
        (cut,) = predict_all(attentive, pictures, tmp_path / "windows")
        assert cut.status == "done"
        assert re.search("so it is predicted by windows of 128 pixels", cut.dropped[0])
        with rasterio.open(tmp_path / "windows/masks/map.tif") as file:
            assert file.tags()["TILES"].startswith("windows of 128 pixels")
            corner = file.read(1)[:100, :100]
        np.testing.assert_array_equal(corner, predict(attentive, image[:128, :128]).labels[:100, :100])

    def test_more_than_255_classes_are_of_16_bits(self, image, tmp_path: Path) -> None:
        classes = ClassTable.of(tuple(f"c{number}" for number in range(300)))
        network = perpixel.build("unet", 300, convolutions="same", width=0.05).eval()
        many = Model(network, classes, ModelCard("unet", {}, classes.to_json(), {}, 1.0, 0, {}, "", ""), "0" * 64)
        put(tmp_path / "map.tif", np.where(image[..., :1] > 250, 0, image), nodata=0)
        (outcome,) = predict_all(many, find_pictures([str(tmp_path / "map.tif")]), tmp_path / "out", overlays=False)
        assert outcome.status == "done"
        with rasterio.open(tmp_path / "out/masks/map.tif") as file:
            assert (file.dtypes, file.nodata) == (("uint16",), 65535)

    def test_the_values_of_the_class_table_and_a_free_value_for_void(self) -> None:
        table = ClassTable(("no", "yes"), ((0, 0, 0), (255, 255, 255)), ((0,), (255,)), ())
        values, void = disk_values(table)
        assert (values[:2].tolist(), void, values[255]) == ([0, 255], 254, 254)
        values, void = disk_values(ClassTable(("no", "yes"), ((0, 0, 0), (9, 9, 9)), ((7,), (300,)), (11,)))
        assert (values.dtype, values[:2].tolist(), void) == (np.uint16, [7, 300], 11)


class TestPlaces:
    @pytest.mark.parametrize(
        "profile",
        [
            {"crs": None, "transform": PLACE},
            {"crs": "EPSG:4326", "transform": rasterio.Affine(1e-5, 0, 9, 0, -1e-5, 42)},
            {"transform": TURNED},
            {"transform": rasterio.Affine(0.5, 0, 500000, 0, 0.5, 4649776)},
            {"crs": "+proj=laea +lat_0=10 +lon_0=20 +R=6371000"},
            {"BIGTIFF": "YES"},
            {"interleave": "band"},
            {"tiled": False, "blockxsize": None},
            {"driver": "COG", "tiled": None, "blockxsize": None, "blockysize": None},
        ],
        ids=["no CRS", "degrees", "turned", "south up", "own CRS", "BigTIFF", "planes", "strips", "COG"],
    )
    def test_each_is_kept(self, model, image, tmp_path: Path, profile: dict[str, Any]) -> None:
        profile = dict(profile)
        path = tmp_path / "map.tif"
        if profile.pop("driver", None) == "COG":
            from rasterio.shutil import copy

            copy(put(tmp_path / "plain.tif", image), path, driver="COG")
        else:
            for name in [name for name, value in profile.items() if value is None and name != "crs"]:
                del profile[name]
            put(path, image, **({"blockysize": 16} if profile.get("tiled") is False else {}), **profile)
        (outcome,) = predict_all(model, find_pictures([str(path)]), tmp_path / "out", overlays=False)
        assert (outcome.status, outcome.dropped) == ("done", ())
        with rasterio.open(path) as source, rasterio.open(tmp_path / "out/masks/map.tif") as file:
            assert (file.crs, file.shape) == (source.crs, source.shape)
            assert file.transform.almost_equals(source.transform)
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "map"), predict(model, image).labels)

    @without_a_place
    def test_control_points_are_kept(self, model, image, tmp_path: Path) -> None:
        corners = ((0, 0), (0, 99), (99, 0))
        points = [rasterio.control.GroundControlPoint(row, column, 5e5 + column, 4e6 - row) for row, column in corners]
        put(tmp_path / "map.tif", image, transform=None, crs=None)
        with rasterio.open(tmp_path / "map.tif", "r+") as file:
            file.gcps = (points, rasterio.CRS.from_epsg(32632))
        (outcome,) = predict_all(model, find_pictures([str(tmp_path / "map.tif")]), tmp_path / "out", overlays=False)
        assert outcome.status == "done"
        with rasterio.open(tmp_path / "out/masks/map.tif") as file:
            kept, crs = file.gcps
        assert [(point.row, point.col, point.x, point.y) for point in kept] == [(p.row, p.col, p.x, p.y) for p in points]
        assert crs.to_epsg() == 32632

    def test_a_picture_without_a_place_is_no_raster(self, model, image, tmp_path: Path) -> None:
        Image.fromarray(image).save(tmp_path / "photo.tif")
        (outcome,) = predict_all(model, find_pictures([str(tmp_path / "photo.tif")]), tmp_path / "out", overlays=False)
        assert outcome.status == "done"
        assert (tmp_path / "out/masks/photo.png").is_file()

    def test_one_pixel(self, model, tmp_path: Path) -> None:
        put(tmp_path / "dot.tif", np.full((1, 1, 3), 90, np.uint8))
        (outcome,) = predict_all(model, find_pictures([str(tmp_path / "dot.tif")]), tmp_path / "out")
        assert outcome.status == "done"
        assert mask_of(tmp_path / "out", "dot").shape == (1, 1)


class TestNoData:
    def hidden(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        nothing = np.zeros(image.shape[:2], np.bool_)
        nothing[20:90, 30:200] = True
        return np.where(nothing[..., None], np.uint8(7), np.maximum(image, 8)), nothing

    @pytest.mark.parametrize("kind", ["value", "alpha", "mask"])
    def test_it_is_void(self, model, image, tmp_path: Path, kind: str) -> None:
        pixels, nothing = self.hidden(image)
        path = tmp_path / "map.tif"
        if kind == "value":
            put(path, pixels, nodata=7)
        elif kind == "alpha":
            alpha = np.where(nothing, 0, 200).astype(np.uint8)
            put(path, np.dstack([pixels, alpha]), colorinterp=("red", "green", "blue", "alpha"))
        else:
            with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                put(path, pixels)
                with rasterio.open(path, "r+") as file:
                    file.write_mask(~nothing)
        (outcome,) = predict_all(model, find_pictures([str(path)]), tmp_path / "out")
        assert outcome.status == "done"
        expected = np.where(nothing, 255, predict(model, pixels).labels)
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "map"), expected)
        told = [f"{path}: its band 4 is alpha, so its pixels are void where that is 0."] if kind == "alpha" else []
        assert list(outcome.dropped) == told

    def test_a_pixel_with_data_in_one_band_is_not_void(self, model, image, tmp_path: Path) -> None:
        put(tmp_path / "map.tif", np.where(np.arange(3) == 1, image, 0).astype(np.uint8), nodata=0)
        (outcome,) = predict_all(model, find_pictures([str(tmp_path / "map.tif")]), tmp_path / "out", overlays=False)
        assert outcome.status == "done"
        assert (mask_of(tmp_path / "out", "map") == 255).sum() == (image[..., 1] == 0).sum()

    @without_a_place
    def test_a_value_that_no_pixel_can_have_hides_none(self, model, image, tmp_path: Path) -> None:
        put(tmp_path / "map.tif", image)
        tags = {"nan": (42113, 2, 4, "nan", True)}
        tifffile.imwrite(tmp_path / "map.tif", image, photometric="rgb", extratags=[tags["nan"]])
        (outcome,) = predict_all(model, find_pictures([str(tmp_path / "map.tif")]), tmp_path / "out", overlays=False)
        assert (outcome.status, outcome.dropped) == ("done", ())
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "map"), predict(model, image).labels)


class TestBands:
    def outcome_of(self, model: Model, path: Path, out: Path, bands: tuple[str, ...] | None = None) -> str:
        return next(iter(predict_all(model, find_pictures([str(path)]), out, overlays=False, bands=bands))).status

    def test_more_than_three_are_refused_or_chosen(self, model, image, tmp_path: Path) -> None:
        colours = ("undefined", "red", "green", "blue")
        pixels = np.dstack([image[..., 0] // 2, image])
        path = put(tmp_path / "map.tif", pixels, colorinterp=colours, descriptions=("NIR", "", "", ""))
        refused = self.outcome_of(model, path, tmp_path / "refused")
        assert refused.startswith(f"{path}: has 4 bands (1 NIR, 2 red, 3 green, 4 blue), and the model sees 3; choose them")
        assert refused.endswith("with --bands 2,3,4, say.")
        assert not (tmp_path / "refused/masks").exists()
        for number, bands in enumerate([("2", "3", "4"), ("red", "Green", "BLUE")]):
            assert self.outcome_of(model, path, tmp_path / f"{number}", bands) == "done"
            np.testing.assert_array_equal(mask_of(tmp_path / f"{number}", "map"), predict(model, image).labels)
        assert self.outcome_of(model, path, tmp_path / "other", ("nir", "3", "4")) == "done"
        other = np.dstack([image[..., 0] // 2, image[..., 1:]])
        np.testing.assert_array_equal(mask_of(tmp_path / "other", "map"), predict(model, other).labels)

    @pytest.mark.parametrize(
        ("bands", "words"),
        [
            (("5", "1", "2"), "has no band '5', but 1 red, 2 green, 3 blue; correct --bands."),
            (("swir",), "has no band 'swir'"),
            (("1", "2"), "the model sees 3, or 1 as grey, not 2"),
        ],
    )
    def test_wrong_ones_are_named(self, model, image, tmp_path: Path, bands: tuple[str, ...], words: str) -> None:
        path = put(tmp_path / "map.tif", image, photometric="RGB")
        assert words in self.outcome_of(model, path, tmp_path / "out", bands)

    def test_red_green_and_blue_are_found_by_their_names(self, model, image, tmp_path: Path) -> None:
        path = put(tmp_path / "map.tif", image[..., ::-1], colorinterp=("blue", "green", "red"))
        assert self.outcome_of(model, path, tmp_path / "out") == "done"
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "map"), predict(model, image).labels)

    def test_grey_and_palette(self, model, image, tmp_path: Path) -> None:
        grey = image[..., :1]
        assert self.outcome_of(model, put(tmp_path / "grey.tif", grey), tmp_path / "out") == "done"
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "grey"), predict(model, np.repeat(grey, 3, 2)).labels)
        palette = np.random.default_rng(0).integers(0, 256, (256, 3), dtype=np.uint8)
        put(tmp_path / "palette.tif", grey, photometric="palette")
        with rasterio.open(tmp_path / "palette.tif", "r+") as file:
            file.write_colormap(1, {value: tuple(map(int, colour)) for value, colour in enumerate(palette)})
        assert self.outcome_of(model, tmp_path / "palette.tif", tmp_path / "out2") == "done"
        np.testing.assert_array_equal(mask_of(tmp_path / "out2", "palette"), predict(model, palette[grey[..., 0]]).labels)

    @pytest.mark.parametrize("kind", ["uint16", "float32"])
    def test_other_numbers_are_refused_with_what_to_do(self, model, image, tmp_path: Path, kind: str) -> None:
        path = put(tmp_path / "map.tif", image.astype(kind), **({"nodata": float("nan")} if kind == "float32" else {}))
        words = self.outcome_of(model, path, tmp_path / "out")
        assert words.startswith(f"{path}: has values of {kind}, and the model sees 8 bits; stretch them to 0..255")

    @pytest.mark.parametrize("scale", [1.0, 0.75])
    def test_a_model_of_five_bands_sees_them_as_they_are_stored(self, tmp_path: Path, monkeypatch, scale: float) -> None:
        """In tiles, with the labels of the picture in one pass; pixels without data in all bands are void."""
        names, classes = ("red", "green", "blue", "nir", "height"), ClassTable.of(("a", "b", "c"))
        bands = Bands(names, (3, 0, 1, 2, 4), tuple((0.0, 900.0 + 100 * number) for number in range(5)), (None,) * 5)
        arguments = {"width": 0.0625, "convolutions": "same", "norm": "batch", "channels": 5}
        torch.manual_seed(1)
        network = perpixel.build("unet", 3, **arguments).eval()
        card = ModelCard("unet", arguments, classes.to_json(), {}, scale, 0, {}, "", "", bands=bands.to_json())
        model = Model(network, classes, card, "0" * 64)
        pixels = np.random.default_rng(0).integers(1, 1400, (300, 340, 5), np.uint16)
        pixels[:40, :50] = 0
        path = put(tmp_path / "map.tif", pixels, nodata=0)
        small_tiles(monkeypatch, 256)
        pictures = find_pictures([str(path)])
        (outcome,) = predict_all(model, pictures, tmp_path / "out")
        assert outcome.status == "done"
        seen = pixels[..., list(bands.places)].astype(np.float32)
        seen[:40, :50] = np.nan
        expected = predict(model, seen).labels
        expected[:40, :50] = 255
        found = mask_of(tmp_path / "out", "map")
        assert (found != expected).mean() < (1e-4 if scale == 1 else 1e-3)  # ties
        (four,) = predict_all(model, find_pictures([str(put(tmp_path / "four.tif", pixels[..., :4]))]), tmp_path / "four")
        assert "has 4 bands" in four.status
        assert "the model was trained on 5 bands" in four.status
        (chosen,) = predict_all(model, pictures, tmp_path / "chosen", bands=["4", "1", "2", "3", "5"])
        assert chosen.status == "done"
        np.testing.assert_array_equal(mask_of(tmp_path / "chosen", "map"), found)


class TestPyramids:
    def levels(self, model: Model, path: Path, out: Path, level: int) -> str:
        pictures = find_pictures([str(path)])
        return next(iter(predict_all(model, pictures, out, overlays=False, rasters=RasterSettings(level=level)))).status

    def test_a_level_of_overviews(self, model, image, tmp_path: Path) -> None:
        path = put(tmp_path / "map.tif", image, overviews=(2, 4))
        assert self.levels(model, path, tmp_path / "out", 1) == "done"
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "map"), predict(model, image[::2, ::2]).labels)
        with rasterio.open(tmp_path / "out/masks/map.tif") as file:
            assert file.transform == rasterio.Affine(1, 0, 500000, 0, -1, 4649776)
        assert "has the levels 0 (full size) to 2, not 3; correct --level." in self.levels(model, path, tmp_path / "no", 3)

    @without_a_place
    @pytest.mark.parametrize("level", [0, 1, 2])
    def test_a_level_of_a_slide(self, model, image, tmp_path: Path, level: int) -> None:
        path = tmp_path / "slide.tif"
        with tifffile.TiffWriter(path, ome=True) as file:
            file.write(image, subifds=2, tile=(64, 64), photometric="rgb", metadata={"axes": "YXS"})
            for step in (2, 4):
                file.write(np.ascontiguousarray(image[::step, ::step]), subfiletype=1, tile=(64, 64), photometric="rgb")
        settings = RasterSettings(level=level, memory=10**10)
        (outcome,) = predict_all(model, find_pictures([str(path)]), tmp_path / "out", overlays=False, rasters=settings)
        assert outcome.status == "done"
        step = 2**level
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "slide"), predict(model, image[::step, ::step]).labels)

    @without_a_place
    def test_levels_that_are_pages_and_pictures_that_are_none(self, model, image, tmp_path: Path) -> None:
        """As the slides of one maker are: levels without a mark, a thumbnail among them."""
        path, text = tmp_path / "slide.svs", "Aperio Image Library v11\n46000x32914 |AppMag = 20"
        with tifffile.TiffWriter(path) as file:
            parts = {"photometric": "rgb", "metadata": None}
            file.write(image, tile=(64, 64), description=text, **parts)
            file.write(np.ascontiguousarray(image[::3, ::3]), description=text, **parts)
            file.write(np.ascontiguousarray(image[::2, ::2]), tile=(64, 64), description=text, **parts)
        settings = RasterSettings(level=1)
        (outcome,) = predict_all(model, find_pictures([str(path)]), tmp_path / "out", overlays=False, rasters=settings)
        assert outcome.status == "done", outcome
        assert outcome.dropped == (f"{path}: holds 2 pictures, of which the first is read and these are not: Thumbnail.",)
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "slide"), predict(model, image[::2, ::2]).labels)

    @without_a_place
    def test_a_stack_of_pages_is_no_raster(self, model, image, tmp_path: Path) -> None:
        tifffile.imwrite(tmp_path / "stack.tif", np.stack([image] * 4), photometric="rgb")
        words = self.levels(model, tmp_path / "stack.tif", tmp_path / "out", 1)
        assert "holds 4 pages, and a raster is one picture; save each page as a file of its own." in words


class TestPolygons:
    def written(self, model: Model, path: Path, out: Path, kind: str = "wgs84") -> dict[str, Any]:
        settings = RasterSettings(polygons=kind)
        (outcome,) = predict_all(model, find_pictures([str(path)]), out, overlays=False, rasters=settings)
        assert outcome.status == "done", outcome
        content: dict[str, Any] = json.loads((out / "polygons" / f"{path.stem}.geojson").read_text())
        return content

    def test_they_are_those_of_rasterio_on_the_whole_mask(self, model, image, tmp_path: Path) -> None:
        path = put(tmp_path / "map.tif", image[:90, :80], nodata=97)
        collection = self.written(model, path, tmp_path / "out", "crs")
        assert collection["crs"]["properties"]["name"] == "urn:ogc:def:crs:EPSG::32632"
        labels = mask_of(tmp_path / "out", "map")
        theirs = {}
        for shape, label in features.shapes(labels, mask=labels != 255, connectivity=4, transform=PLACE):
            theirs[frozenset(map(tuple, shape["coordinates"][0]))] = (int(label), len(shape["coordinates"]))
        ours, pixels = {}, np.zeros(3, int)
        for feature in collection["features"]:
            properties, rings = feature["properties"], feature["geometry"]["coordinates"]
            ours[frozenset(map(tuple, rings[0]))] = (properties["id"], len(rings))
            assert properties["class"] == model.classes.names[properties["id"]]
            assert properties["area"] == properties["pixels"] / 4
            pixels[properties["id"]] += properties["pixels"]
        assert ours == theirs
        assert pixels.tolist() == np.bincount(labels.ravel(), minlength=256)[:3].tolist()

    def test_longitude_and_latitude_and_outer_rings_against_the_clock(self, model, image, tmp_path: Path) -> None:
        from rasterio.warp import transform

        path = put(tmp_path / "map.tif", image[:90, :80])
        collection, here = (self.written(model, path, tmp_path / kind, kind) for kind in ("wgs84", "crs"))
        assert "crs" not in collection
        for feature, same in zip(collection["features"], here["features"], strict=True):
            for number, (ring, metres) in enumerate(zip(*(f["geometry"]["coordinates"] for f in (feature, same)), strict=True)):
                x, y = np.array(metres).T
                np.testing.assert_allclose(np.array(ring).T, transform("EPSG:32632", "EPSG:4326", x, y), atol=1e-9)
                turn = ((x[:-1] - x[0]) * (y[1:] - y[0]) - (x[1:] - x[0]) * (y[:-1] - y[0])).sum()
                assert (turn > 0) == (number == 0)
                assert ring[0] == ring[-1]

    def test_without_a_crs_they_are_told(self, model, image, tmp_path: Path) -> None:
        path = put(tmp_path / "map.tif", image[:90, :80], crs=None)
        settings = RasterSettings(polygons="wgs84")
        (outcome,) = predict_all(model, find_pictures([str(path)]), tmp_path / "out", overlays=False, rasters=settings)
        assert outcome.dropped == (f"{path}: has no CRS or no transform, so its polygons are not in WGS 84.",)


class TestJudging:
    def data(self, image: np.ndarray, labels: np.ndarray, root: Path, transform: Any = PLACE) -> Path:
        put(root / "images/val/map.tif", image, transform=transform)
        put(root / "masks/val/map.tif", labels[..., None], transform=transform)
        (root / "classes.csv").write_text(CLASSES_CSV)
        return root

    def test_the_mask_of_a_raster_is_judged(self, run, model, image, tmp_path: Path, command) -> None:
        truth = predict(model, image).labels.copy()
        truth[:30] = 1
        data = self.data(image, truth, tmp_path / "data")
        assert command("predict", run, data, "--split", "val", "--out", tmp_path / "out", "--no-overlays")[0] == 0
        scores = evaluate(tmp_path / "out", perpixel.open_dataset(str(data), split="val"))
        assert scores.figures == evaluate(model, perpixel.open_dataset(str(data), split="val")).figures
        assert scores.figures["pixel_accuracy"] == (truth == predict(model, image).labels).mean()

    @pytest.mark.parametrize(
        ("profile", "same"),
        [
            ({"transform": rasterio.Affine(0.5, 0, 500001, 0, -0.5, 4649776)}, False),
            ({"transform": rasterio.Affine(0.5, 0, 500000.001, 0, -0.5, 4649776)}, True),
            ({"crs": "EPSG:32633"}, False),
            ({"crs": None}, True),
        ],
    )
    def test_a_mask_that_lies_elsewhere_is_refused(self, image, tmp_path: Path, profile: dict[str, Any], same: bool) -> None:
        labels = draw_sample(1, (HEIGHT, WIDTH))[1]
        labels[labels == 255] = 0
        data = self.data(image, labels, tmp_path / "data")
        put(tmp_path / "masks/map.tif", labels[..., None], **profile)
        dataset = perpixel.open_dataset(str(data), split="val")
        if same:
            assert evaluate(tmp_path / "masks", dataset).figures["pixel_accuracy"] == 1
            return
        with pytest.raises(DataError, match=r"lies elsewhere than its truth .*; predict the raster of the truth"):
            evaluate(tmp_path / "masks", dataset)

    def test_the_declared_value_of_no_data_is_void(self, image, tmp_path: Path) -> None:
        truth = np.zeros((HEIGHT, WIDTH), np.uint8)
        truth[:9] = 255
        data = self.data(image, truth, tmp_path / "data")
        put(tmp_path / "masks/map.tif", np.where(truth == 255, 254, truth).astype(np.uint8)[..., None], nodata=254)
        scores = evaluate(tmp_path / "masks", perpixel.open_dataset(str(data), split="val"))
        assert scores.figures["pixel_accuracy"] == 1


class TestWrongInput:
    def status(self, model: Model, path: Path, out: Path) -> str:
        return next(iter(predict_all(model, find_pictures([str(path)]), out, overlays=False))).status

    def test_one_bad_raster_is_named_with_its_place_and_the_others_go_on(self, run, image, tmp_path: Path, command) -> None:
        pixels = np.random.default_rng(0).integers(0, 256, image.shape, dtype=np.uint8)  # tiles that do not shrink
        for name in ("good", "hurt", "short"):
            put(tmp_path / f"maps/{name}.tif", pixels)
        hurt, short = tmp_path / "maps/hurt.tif", tmp_path / "maps/short.tif"
        with tifffile.TiffFile(hurt) as file:
            place = file.pages[0].dataoffsets[8]
        content = bytearray(hurt.read_bytes())
        content[place : place + 2000] = b"\xff" * 2000
        hurt.write_bytes(content)
        short.write_bytes(short.read_bytes()[: len(content) // 2])
        code, _, told = command("predict", run, tmp_path / "maps", "--out", tmp_path / "out", "--no-overlays")
        assert code == 3
        assert re.search(r"hurt\.tif: rows \d+ to \d+, columns \d+ to \d+ cannot be read \(.*\); the file is damaged", told)
        assert re.search(r"short\.tif: .*cannot be read .*; the file is damaged or cut short", told)
        assert "1 predicted, 0 done before, 2 failed" in told
        assert "Traceback" not in told
        assert sorted(path.name for path in (tmp_path / "out/masks").iterdir()) == ["good.tif"]

    def test_a_tiff_of_nothing(self, model, tmp_path: Path) -> None:
        path = put(tmp_path / "map.tif", np.zeros((8, 8, 3), np.uint8))
        path.write_bytes(path.read_bytes()[:300])
        assert "cannot be read" in self.status(model, path, tmp_path / "out")

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (["--memory", "many"], "memory = 'many': must be a number with a unit, such as 1.5GB or 800MB."),
            (["--memory", "5MB"], "is less than a network needs; give 500MB or more."),
            (["--level", "-1"], "level = -1: must be 0 (full size) or above."),
            (["--polygons", "wgs48"], "no way to write polygons 'wgs48'; did you mean 'wgs84'?"),
        ],
    )
    def test_wrong_settings(self, run, tmp_path: Path, command, flags: list[str], words: str) -> None:
        code, _, told = command("predict", run, tmp_path / "map.tif", "--out", tmp_path / "out", *flags)
        assert (code, words in told) == (2, True), told

    @pytest.mark.parametrize(
        ("flags", "words"),
        [
            (["--crf", "deconvnet"], "crf: a raster is predicted in one pass by tiles, without crf; leave it out."),
            (["--average", "flips"], "average: a raster is predicted in one pass"),
            (["--scores"], "scores: those of a raster would fill the disk"),
        ],
    )
    def test_what_tiles_cannot_have(self, run, image, tmp_path: Path, command, flags: list[str], words: str) -> None:
        path = put(tmp_path / "map.tif", image)
        code, _, told = command("predict", run, path, "--out", tmp_path / "out", *flags)
        assert (code, words in told) == (3, True), told

    def test_a_setting_of_rasters_for_another_picture(self, run, image, tmp_path: Path, command) -> None:
        Image.fromarray(image).save(tmp_path / "photo.png")
        code, _, told = command("predict", run, tmp_path / "photo.png", "--out", tmp_path / "out", "--level", "1")
        assert (code, "photo.png: is no TIFF, and --level belongs to rasters; leave it out" in told) == (3, True), told

    def test_a_raster_on_standard_input(self, run, image, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
        content = put(tmp_path / "map.tif", image).read_bytes()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(content)))
        code, _, told = command("predict", run, "-", "--out", tmp_path / "out")
        assert (code, "is a raster, and its mask must lie in the same place; give the name of" in told) == (3, True), told

    def test_without_rasterio_the_extra_is_named(self, model, image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = put(tmp_path / "map.tif", image)
        monkeypatch.setitem(sys.modules, "rasterio", None)
        words = 'a raster needs rasterio, which is not installed; pip install "perpixel[raster]" brings it.'
        assert self.status(model, path, tmp_path / "out") == f"{path}: {words}"

    @pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may write everywhere")
    def test_a_folder_that_cannot_be_written(self, run, image, tmp_path: Path, command) -> None:
        path = put(tmp_path / "map.tif", image)
        (tmp_path / "out/masks").mkdir(parents=True)
        (tmp_path / "out/masks").chmod(0o500)
        code, _, told = command("predict", run, path, "--out", tmp_path / "out")
        assert (code, "Permission denied" in told) == (3, True), told


class TestAgain:
    def test_what_is_done_is_skipped_and_a_changed_raster_is_not(self, model, image, tmp_path: Path) -> None:
        path = put(tmp_path / "map.tif", image[:90, :80])
        settings = RasterSettings(polygons="crs")

        def again() -> list[str]:
            pictures = find_pictures([str(path)])
            return [outcome.status for outcome in predict_all(model, pictures, tmp_path / "out", rasters=settings)]

        assert again() == ["done"]
        assert again() == ["skipped"]
        (tmp_path / "out/polygons/map.geojson").write_text("{}")
        assert again() == ["done"]
        put(path, image[89::-1, :80])
        assert again() == ["done"]
        np.testing.assert_array_equal(mask_of(tmp_path / "out", "map"), predict(model, image[89::-1, :80]).labels)

    def test_other_polygons_need_another_folder(self, model, image, tmp_path: Path) -> None:
        pictures = find_pictures([str(put(tmp_path / "map.tif", image[:90, :80]))])
        list(predict_all(model, pictures, tmp_path / "out", rasters=RasterSettings(polygons="crs")))
        with pytest.raises(UsageError, match="with other options"):
            list(predict_all(model, pictures, tmp_path / "out", rasters=RasterSettings(polygons="wgs84")))

    def test_what_a_killed_call_left_is_begun_again_and_told(self, run, image, tmp_path: Path, command) -> None:
        path = put(tmp_path / "map.tif", image[:90, :80])
        (tmp_path / "out/masks").mkdir(parents=True)
        temporary_of(tmp_path / "out/masks/map.tif").write_bytes(b"a part")
        assert self.told_again(run, path, tmp_path / "out", command) == [temporary_of(path).name]

    def told_again(self, run: Path, path: Path, out: Path, command) -> list[str]:
        """What lay in the folder of masks before the same command completed it."""
        before = [file.name for file in (out / "masks").iterdir()]
        if not (out / "predictions.jsonl").exists():  # as a call leaves it that is killed in its first raster
            model = load(run)
            (out / "predictions.jsonl").write_text(json.dumps({"model": model.digest, "folders": ["masks", "overlays"]}) + "\n")
        code, _, told = command("predict", run, path, "--out", out)
        assert code == 0, told
        assert "an earlier call ended before its mask was whole; it was predicted from the start" in told
        assert [file.name for file in (out / "masks").iterdir()] == ["map.tif"]
        return before

    @pytest.mark.slow
    def test_killed_in_the_middle(self, run, image, tmp_path: Path, command) -> None:
        path = put(tmp_path / "map.tif", image[:90, :80])
        killed = f"""
import os, signal
from perpixel.codecs.geotiff import MaskFile
from perpixel.cli import main
MaskFile.finish = lambda self: os.kill(os.getpid(), signal.SIGKILL)
main(["predict", {str(run)!r}, {str(path)!r}, "--out", {str(tmp_path / "out")!r}])
"""
        done = subprocess.run([sys.executable, "-c", killed], capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == -9, done.stderr
        assert self.told_again(run, path, tmp_path / "out", command) == [temporary_of(path).name]

    def test_shards_are_merged(self, model, run, image, tmp_path: Path, command) -> None:
        for name in ("a", "b", "c"):
            put(tmp_path / f"maps/{name}.tif", image[:90, :80])
        for number in range(2):
            code, _, told = command("predict", run, tmp_path / "maps", "--out", tmp_path / "out", "--shard", f"{number}/2")
            assert code == 0, told
        code, _, told = command("merge", tmp_path / "out")
        assert (code, "3 predicted, 0 failed" in told) == (0, True), told
        code, _, told = command("predict", run, tmp_path / "maps", "--out", tmp_path / "out")
        assert "0 predicted, 3 done before" in told


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere the system does not tell a peak")
class TestMemory:
    def peak_of(self, run: Path, path: Path, out: Path, memory: str) -> tuple[int, int, str]:
        """The exit code, the peak of the process in bytes, and what it said."""
        command = [sys.executable, "-c", MEASURED, str(run), str(path), str(out), memory]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
        peak = int(done.stdout.split()[-1]) if done.stdout.split() else 0
        return done.returncode, peak, done.stderr

    def test_the_ceiling_is_kept(self, run, image, tmp_path: Path) -> None:
        """As a whole this raster would take 1.3 GB and more."""
        path = put(tmp_path / "map.tif", np.tile(image, (6, 5, 1)))
        code, peak, told = self.peak_of(run, path, tmp_path / "out", "1.1GB")
        assert code == 0, told
        assert peak < 1.1e9
        assert mask_of(tmp_path / "out", "map").shape == (6 * HEIGHT, 5 * WIDTH)

    def test_a_ceiling_that_no_tile_fits_is_told_with_one_that_does(self, model, image, tmp_path: Path) -> None:
        pictures = find_pictures([str(put(tmp_path / "map.tif", np.tile(image, (2, 2, 1))))])
        settings = RasterSettings(memory=memory_of("100MB"))
        (outcome,) = predict_all(model, pictures, tmp_path / "out", overlays=False, rasters=settings)
        words = r"map\.tif: 100 MB of memory are too few for tiles of 64 pixels; give --memory \d+MB or more\."
        assert re.search(words, outcome.status)

    def test_units(self) -> None:
        texts = ("1.5GB", "800 mb", "2GiB", "0.25TB")
        assert [memory_of(text) for text in texts] == [1_500_000_000, 800_000_000, 2**31, 250_000_000_000]


MEASURED = """
import sys, threading
from perpixel.cli import main
peak = 0
def look(stop):
    global peak
    while not stop.wait(0.002):
        peak = max(peak, 4096 * int(open("/proc/self/statm").read().split()[1]))
stop = threading.Event()
watcher = threading.Thread(target=look, args=(stop,))
watcher.start()
code = 0
try:
    main(["predict", *sys.argv[1:3], "--out", sys.argv[3], "--memory", sys.argv[4], "--no-overlays", "--device", "cpu"])
except SystemExit as left:
    code = left.code or 0
stop.set()
watcher.join()
print(peak)
sys.exit(code)
"""
