"""Videos: each frame is a picture; colours and times of the video that comes out are those of the one that went in."""

import os
import re
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from fakes import draw_sample, make_folder, make_model

import perpixel
from perpixel.classes import ClassTable
from perpixel.errors import DataError
from perpixel.files import LOCK
from perpixel.images import read_labels, write_image
from perpixel.prediction.bulk import find_pictures, predict_all
from perpixel.prediction.journal import JOURNAL
from perpixel.prediction.videos import about_how_many, frames_of, write_overlay
from perpixel.weights.model_file import Model, load

av = pytest.importorskip("av", reason="the extra `video` is not installed")
COLOURS = [(200, 40, 40), (40, 200, 40), (40, 40, 200), (128, 128, 128), (250, 220, 30)]


def make_video(path: Path, pictures: list[np.ndarray], times: list[int] | None = None, codec: str = "libx264") -> Path:
    """A video of RGB frames, 25 of them a second or at `times` in 1/25 s, in the colours of BT.709."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options={"crf": "1"} if codec == "libx264" else {})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p" if codec != "ffv1" else "yuv444p"
        stream.codec_context.colorspace = 1
        for number, picture in enumerate(pictures):
            rgb = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            frame = rgb.reformat(format=stream.pix_fmt, dst_colorspace="ITU709")
            frame.colorspace = 1
            frame.pts, frame.time_base = times[number] if times else number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    root = make_folder(folder / "data", train=1, val=1)
    make_model(folder / "run", perpixel.open_dataset(root, split="val").classes)
    return load(folder / "run")


def drawn(count: int) -> list[np.ndarray]:
    return [draw_sample(seed)[0] for seed in range(count)]


CODECS = [(".mp4", "libx264"), (".mkv", "ffv1"), (".avi", "mpeg4"), (".webm", "libvpx-vp9")]


@pytest.mark.parametrize(("suffix", "codec"), CODECS)
def test_frames_have_the_colours_that_went_in(tmp_path: Path, suffix: str, codec: str) -> None:
    flat = [np.broadcast_to(np.array(colour, np.uint8), (48, 64, 3)) for colour in COLOURS]
    path = make_video(tmp_path / f"clip{suffix}", flat, codec=codec)
    frames = list(frames_of(str(path)))
    assert len(frames) == len(COLOURS)
    assert [float(shown) for _, shown in frames] == pytest.approx([place / 25 for place in range(5)], abs=1e-3)
    if suffix != ".avi":  # which names no colours, and 48 rows then stand for BT.601
        for (pixels, _), colour in zip(frames, COLOURS, strict=True):
            assert np.abs(pixels.reshape(-1, 3).mean(0) - colour).max() < 4


def test_every_frame_is_predicted_as_a_picture_of_its_pixels(tmp_path: Path, model: Model) -> None:
    path = make_video(tmp_path / "clip.mp4", drawn(7))
    outcomes = list(predict_all(model, find_pictures([str(path)]), tmp_path / "out"))
    assert [outcome.status for outcome in outcomes] == ["done"] * 7
    masks = sorted((tmp_path / "out/masks/clip").iterdir())
    assert [mask.name for mask in masks] == [f"{place:06d}.png" for place in range(7)]
    for place, (pixels, _) in enumerate(frames_of(str(path))):
        write_image(tmp_path / "frames", f"{place}.png", pixels)
    list(predict_all(model, find_pictures([str(tmp_path / "frames")]), tmp_path / "alone"))
    for place, mask in enumerate(masks):
        assert np.array_equal(read_labels(mask), read_labels(tmp_path / f"alone/masks/{place}.png"))


def test_the_overlay_shows_each_mask_in_the_colours_of_its_classes_at_its_time(tmp_path: Path) -> None:
    classes = ClassTable(("one", "two"), ((220, 30, 30), (30, 60, 220)), ((0,), (1,)), (255,), (0, 0, 0))
    times = [0, 1, 5, 6, 20]  # not evenly
    path = make_video(tmp_path / "clip.mp4", [np.full((47, 63, 3), 100, np.uint8)[:46, :62]] * 5, times)
    masks = [np.full((46, 62), place % 2) for place in range(5)]
    write_overlay(str(path), tmp_path / "out", "clip", masks, classes)
    frames = list(frames_of(str(tmp_path / "out/clip.mp4")))
    assert [round(25 * shown) for _, shown in frames] == times
    for place, (pixels, _) in enumerate(frames):
        expected = 50 + np.array(classes.colours[place % 2]) // 2
        assert np.abs(pixels.reshape(-1, 3).mean(0) - expected).max() < 5
    assert os.listdir(tmp_path / "out") == ["clip.mp4"]


def test_what_is_done_is_skipped_and_what_is_damaged_is_made_again(tmp_path: Path, model: Model) -> None:
    path, out = make_video(tmp_path / "clip.mp4", drawn(5)), tmp_path / "out"
    list(predict_all(model, find_pictures([str(path)]), out))
    video = (out / "overlays/clip.mp4").read_bytes()
    assert {one.status for one in predict_all(model, find_pictures([str(path)]), out)} == {"skipped"}
    (out / "masks/clip/000002.png").unlink()
    (out / "overlays/clip.mp4").unlink()
    statuses = [one.status for one in predict_all(model, find_pictures([str(path)]), out)]
    assert sorted(statuses) == ["done", *["skipped"] * 4]
    assert (out / "overlays/clip.mp4").read_bytes() == video


def test_a_phone_that_was_turned(tmp_path: Path) -> None:
    """The matrix of the track's head says: a quarter turn clockwise, as in a film of a phone held upright."""
    lying = np.zeros((48, 64, 3), np.uint8)
    lying[:, :32] = 255  # its left side is on top when upright
    path = make_video(tmp_path / "clip.mp4", [lying] * 3)
    content = path.read_bytes()
    plain = b"".join(number.to_bytes(4, "big") for number in (0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000))
    place = content.index(plain, content.index(b"tkhd"))
    turned = b"".join(number.to_bytes(4, "big") for number in (0, 0x10000, 0, 0xFFFF0000, 0, 0, 48 << 16, 0, 0x40000000))
    path.write_bytes(content[:place] + turned + content[place + len(plain) :])
    for pixels, _ in frames_of(str(path)):
        assert pixels.shape == (64, 48, 3)
        assert pixels[4:28].mean() > 240
        assert pixels[36:60].mean() < 15


def test_a_video_that_ends_before_its_end(tmp_path: Path, command) -> None:
    """The frames before that place are done, and it is told; pictures beside it go on."""
    root = make_folder(tmp_path / "data", train=1, val=1)
    make_model(tmp_path / "run", perpixel.open_dataset(root, split="val").classes)
    noise = [np.random.default_rng(place).integers(0, 256, (48, 64, 3), np.uint8) for place in range(30)]
    path, cut = (make_video(tmp_path / name, noise) for name in ("clip.mp4", "cut.mkv"))
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 4000] = bytes(4000)
    path.write_bytes(content)
    cut.write_bytes(cut.read_bytes()[: len(content) // 2])
    (tmp_path / "broken.mp4").write_bytes(b"no video at all" * 50)
    write_image(tmp_path, "picture.png", draw_sample(0)[0])
    inputs = [tmp_path / "broken.mp4", path, cut, tmp_path / "picture.png"]
    code, _, err = command("predict", tmp_path / "run", *inputs, "--out", tmp_path / "out", "--device", "cpu")
    assert code == 3
    assert "broken.mp4: is no video that can be read" in err
    assert re.search(r"clip\.mp4: frame \d+ cannot be read", err)
    assert re.search(r"cut\.mkv: ends after 0\.\d\d s of 1\.20 s", err)
    assert (tmp_path / "out/masks/picture.png").exists()
    done = [len(list((tmp_path / "out/masks" / name).iterdir())) for name in ("clip", "cut")]
    assert all(0 < frames < 30 for frames in done)
    assert f"{sum(done) + 1} predicted, 0 done before, 3 failed" in err
    assert not list((tmp_path / "out/overlays").glob("*.mp4"))


def test_a_file_without_pictures_and_one_that_is_not_there(tmp_path: Path) -> None:
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(DataError, match="has no pictures"):
        next(frames_of(str(path)))
    with pytest.raises(DataError, match="there is no such file"):
        next(frames_of(str(tmp_path / "none.mp4")))


def test_a_folder_with_videos_and_two_of_one_name(tmp_path: Path, model: Model, command) -> None:
    """A picture and a video may have one name; two videos may not. A shard predicts no video."""
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in/clip.mp4", drawn(2))
    write_image(tmp_path / "in", "clip.png", draw_sample(0)[0])
    list(predict_all(model, find_pictures([str(tmp_path / "in")]), tmp_path / "out"))
    files = {file.relative_to(tmp_path / "out").as_posix() for file in (tmp_path / "out").rglob("*") if file.is_file()}
    assert files - {JOURNAL, LOCK} == {
        "masks/clip.png", "overlays/clip.png", "masks/clip/000000.png", "masks/clip/000001.png", "overlays/clip.mp4",
    }  # fmt: skip
    make_video(tmp_path / "in/clip.mkv", drawn(1))
    with pytest.raises(Exception, match="would both be written as clip"):
        find_pictures([str(tmp_path / "in")])
    root = make_folder(tmp_path / "data", train=1, val=1)
    make_model(tmp_path / "run", perpixel.open_dataset(root, split="val").classes)
    words = ("predict", tmp_path / "run", tmp_path / "in/clip.mp4", "--out", tmp_path / "shards", "--shard", "0/2")
    code, _, err = command(*words)
    assert (code, "leave --shard out" in err) == (2, True)


def test_how_many_frames_are_expected(tmp_path: Path) -> None:
    assert about_how_many(str(make_video(tmp_path / "clip.mp4", drawn(6)))) == 6
    assert about_how_many(str(make_video(tmp_path / "clip.mkv", drawn(6), codec="ffv1"))) in (1, 5, 6)
    assert about_how_many(str(tmp_path / "none.mp4")) == 1
