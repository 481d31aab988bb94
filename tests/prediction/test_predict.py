"""Pictures -> masks: any size and kind of picture, many at once, and again after anything that can happen in between."""

import io
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from fakes import draw_sample, make_folder
from PIL import Image

import perpixel
from perpixel import draw
from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.errors import DataError, UsageError
from perpixel.files import MODEL_FILE
from perpixel.images import read_image, read_labels, read_palette
from perpixel.prediction.bulk import find_pictures
from perpixel.prediction.inference import Predictor
from perpixel.prediction.journal import JOURNAL
from perpixel.prediction.predict import predict
from perpixel.training.recipe import Recipe
from perpixel.training.train import train
from perpixel.weights.model_file import Model, load, save_model


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose network tells ground from box and disc, after a second or two of training."""
    root = tmp_path_factory.mktemp("trained")
    data = make_folder(root / "data")
    recipe = Recipe(data=str(data), network="unet", convolutions="same", norm="batch", width=0.1, dropout=0.0, lr=1e-2, batch=4,
                    steps=40, validations=1, device="cpu")  # fmt: skip
    train(recipe, root / "run", say=lambda _: None)
    return root / "run"


@pytest.fixture(scope="module")
def model(run: Path) -> Model:
    return load(run)


@pytest.fixture(autouse=True)
def every_warning() -> Iterator[None]:
    """torch gives most of its warnings once a process; here each fails the test that earned it."""
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(False)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder of five pictures, a.png to e.png."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed, name in enumerate("abcde"):
        Image.fromarray(draw_sample(seed)[0]).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]):
    """Runs a command line and gives its exit code and what it said on stderr."""

    def run_command(*arguments: object) -> tuple[int, str]:
        code = 0
        try:
            main([str(argument) for argument in arguments])
        except SystemExit as left:
            code = left.code
        return code, capsys.readouterr().err

    return run_command


def noise(size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)


def seen_at(model: Model, scale: float) -> Model:
    return replace(model, card=replace(model.card, scale=scale))


def saved(model: Model, folder: Path, **card: object) -> Path:
    folder.mkdir()
    save_model(folder, model.network.state_dict(), replace(model.card, **card))
    return folder


def png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def masks(out: Path) -> list[str]:
    """The masks in `out`, without what a killed process left unfinished."""
    paths = (out / "masks").rglob("*.png")
    return sorted(path.relative_to(out / "masks").as_posix() for path in paths if not path.name.startswith("."))


def times(out: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for folder in ("masks", "overlays") for path in (out / folder).rglob("*.png")}


class TestOnePicture:
    def test_it_sees_what_was_drawn(self, model: Model) -> None:
        image, truth = draw_sample(0)
        labels = predict(model, image).labels
        assert set(np.unique(labels)) == {0, 1, 2}
        assert (labels == truth)[truth != 255].mean() > 0.9

    @pytest.mark.parametrize("scale", [1.0, 0.5, 1.7])
    @pytest.mark.parametrize("size", [(1, 1), (7, 300), (480, 360)])
    def test_any_size_at_any_scale(self, model: Model, size: tuple[int, int], scale: float) -> None:
        found = predict(seen_at(model, scale), noise(size), scores=True)
        assert found.labels.shape == size
        assert found.labels.dtype == np.uint8
        assert found.classes == model.classes
        assert found.scores.shape == (3, *size)
        assert found.scores.dtype == np.float32
        np.testing.assert_allclose(found.scores.sum(0), 1, atol=1e-5)
        ranked = np.sort(found.scores, axis=0)
        clear = ranked[-1] - ranked[-2] > 1e-4
        assert clear.mean() > 0.9
        assert (found.scores.argmax(0) == found.labels)[clear].all()

    def test_no_scores_unless_asked_for(self, model: Model) -> None:
        assert predict(model, noise((8, 8))).scores is None

    def test_more_than_255_classes_need_16_bits(self, model: Model) -> None:
        torch.manual_seed(0)
        network = perpixel.build("unet", 300, convolutions="same", width=0.05).eval()
        many = replace(model, network=network, classes=ClassTable.of([f"class {i}" for i in range(300)]))
        assert predict(many, noise((9, 5))).labels.dtype == np.uint16

    def test_a_path_its_bytes_and_its_pixels_are_one_picture(self, model: Model, pictures: Path) -> None:
        path = pictures / "a.png"
        expected = predict(model, read_image(path), scores=True)
        for same in (path, str(path), path.read_bytes()):
            found = predict(model, same, scores=True)
            assert np.array_equal(found.labels, expected.labels)
            assert np.array_equal(found.scores, expected.scores)

    def test_arrays_as_other_libraries_hand_them_over(self, model: Model) -> None:
        image = draw_sample(0)[0]
        expected = predict(model, image).labels
        read_only = image.copy()
        read_only.setflags(write=False)
        turned = np.ascontiguousarray(image[::-1, ::-1])[::-1, ::-1]
        for same in (read_only, turned, np.asfortranarray(image)):
            assert np.array_equal(predict(model, same).labels, expected)

    @pytest.mark.parametrize("kind", ["grey", "RGBA", "16 bits", "palette"])
    def test_kinds_of_pictures(self, model: Model, kind: str) -> None:
        """Each is the RGB picture that a person sees."""
        image = draw_sample(0)[0]
        grey = image[..., 0]
        colours = np.random.default_rng(1).integers(0, 256, (256, 3)).astype(np.uint8)
        alpha = np.random.default_rng(2).integers(0, 256, (*grey.shape, 1)).astype(np.uint8)
        palette = Image.fromarray(grey)
        palette.putpalette(colours.tobytes())
        stored, seen = {
            "grey": (Image.fromarray(grey), np.repeat(grey[..., None], 3, 2)),
            "RGBA": (Image.fromarray(np.concatenate([image, alpha], 2)), image),
            "16 bits": (Image.fromarray(grey.astype(np.uint16) * 257), np.repeat(grey[..., None], 3, 2)),
            "palette": (palette, colours[grey]),
        }[kind]
        assert np.array_equal(predict(model, png(stored)).labels, predict(model, seen).labels)

    def test_pictures_that_cannot_be_read(self, model: Model, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none\.png: there is no such file"):
            predict(model, tmp_path / "none.png")
        with pytest.raises(DataError, match="is no PNG, JPEG"):
            predict(model, b"not a picture")

    @pytest.mark.parametrize(
        ("shape", "kind"),
        [((4, 5, 3), "int64"), ((4, 5, 3), "bool"), ((4, 5), "uint8"), ((4, 5, 4), "uint8"), ((0, 5, 3), "uint8"),
         ((2, 4, 5, 3), "uint8")],
        ids=["integers", "bits", "grey", "four colours", "empty", "several"],
    )  # fmt: skip
    def test_arrays_that_are_no_picture(self, model: Model, shape: tuple[int, ...], kind: str) -> None:
        with pytest.raises(UsageError, match=rf"or \(3, height, width\), not {kind} {re.escape(str(shape))}; convert it"):
            predict(model, np.zeros(shape, kind))

    def test_both_orders_of_an_array_and_both_ranges_are_one_picture(self, model: Model) -> None:
        image = draw_sample(0)[0]
        first = image.transpose(2, 0, 1)
        shapes = [image, first, torch.from_numpy(image), torch.from_numpy(first.copy())]
        for same in [*shapes, image / 255, (first / 255).astype(np.float32), shapes[2].double() / 255]:
            prediction = predict(model, same)
            assert np.array_equal(prediction.image, image)
            assert prediction.labels.shape == image.shape[:2]

    def test_where_both_ends_are_3_each_library_has_its_own_order(self, model: Model) -> None:
        cube = np.random.default_rng(0).integers(0, 256, (3, 7, 3), np.uint8)
        assert np.array_equal(predict(model, cube).image, cube)
        assert np.array_equal(predict(model, torch.from_numpy(cube)).image, cube.transpose(1, 2, 0))


class TestCommand:
    def test_masks_hold_values_on_disk_in_the_colours_of_the_classes(
        self, model: Model, pictures: Path, tmp_path: Path, command
    ) -> None:
        colours = ((1, 2, 3), (200, 40, 40), (40, 40, 200))
        classes = ClassTable(model.classes.names, colours, ((7,), (40, 41), (200,)), (9,), (5, 5, 5))
        run, out = saved(model, tmp_path / "run", classes=classes.to_json()), tmp_path / "out"
        assert command("predict", run, pictures, "--out", out, "--scores")[0] == 0
        for name in "abcde":
            found = predict(model, pictures / f"{name}.png", scores=True)
            path = out / "masks" / f"{name}.png"
            assert np.array_equal(read_labels(path), np.array([7, 40, 200])[found.labels])
            palette = read_palette(path)
            assert palette[[7, 40, 41, 200, 9]].tolist() == [[1, 2, 3], [200, 40, 40], [200, 40, 40], [40, 40, 200], [5, 5, 5]]
            scores = np.load(out / "scores" / f"{name}.npy", allow_pickle=False)
            assert scores.dtype == np.float32
            np.testing.assert_allclose(scores, found.scores, atol=1e-6)
            image = read_image(pictures / f"{name}.png")
            overlay = read_image(out / "overlays" / f"{name}.png")
            assert np.array_equal(overlay, draw.overlay(image, found.labels, classes))
            assert overlay.shape[0] > image.shape[0]  # the legend is below

    def test_masks_alone(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        assert command("predict", run, pictures, "--out", tmp_path / "out", "--no-overlays")[0] == 0
        assert {path.name for path in (tmp_path / "out").iterdir()} == {"masks", JOURNAL, ".lock"}

    def test_files_patterns_and_folders_together(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        (pictures / "deep" / "er").mkdir(parents=True)
        (pictures / "c.png").rename(pictures / "deep" / "er" / "a.png")
        (pictures / "notes.txt").write_text("no picture")
        out = tmp_path / "out"
        code, message = command("predict", run / MODEL_FILE, pictures / "a.png", f"{pictures}/[bd].png", pictures, "--out", out)
        assert code == 0
        assert message.splitlines()[-1] == f"{out}: 5 predicted, 0 done before, 0 failed."
        assert masks(out) == ["a.png", "b.png", "d.png", "deep/er/a.png", "e.png"]

    def test_standard_input(self, run: Path, pictures: Path, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch) -> None:
        data = (pictures / "a.png").read_bytes()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        assert command("predict", run, "-", "--out", tmp_path / "out")[0] == 0
        assert np.array_equal(read_labels(tmp_path / "out" / "masks" / "stdin.png"), predict(load(run), data).labels)
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"words")))
        code, message = command("predict", run, "-", "--out", tmp_path / "other")
        assert code == 3
        assert message.startswith("standard input: is no PNG")

    def test_one_bad_picture_is_reported_and_the_rest_go_on(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        bad = pictures / "b.png"
        bad.write_bytes(bad.read_bytes()[:200])
        code, message = command("predict", run, pictures, pictures / "none.png", "--out", tmp_path / "out")
        assert code == 3
        assert [line for line in message.splitlines() if str(bad) in line and "damaged or cut short" in line]
        assert f"{pictures / 'none.png'}: there is no such file." in message.splitlines()
        assert message.splitlines()[-1] == f"{tmp_path / 'out'}: 4 predicted, 0 done before, 2 failed."
        assert "Traceback" not in message
        assert masks(tmp_path / "out") == ["a.png", "c.png", "d.png", "e.png"]

    def test_foreign_masks_are_refused_and_left_alone(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        mine = tmp_path / "out" / "masks" / "a.png"
        mine.parent.mkdir(parents=True)
        mine.write_bytes(b"drawn by hand")
        code, message = command("predict", run, pictures, "--out", tmp_path / "out")
        assert code == 2
        assert message == f"perpixel: {tmp_path / 'out'}: holds masks or overlays from elsewhere; choose another --out.\n"
        assert mine.read_bytes() == b"drawn by hand"
        assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name != ".lock"] == [mine.name]

    def test_two_pictures_of_one_name(self, pictures: Path, tmp_path: Path) -> None:
        (tmp_path / "other").mkdir()
        twin = tmp_path / "other" / "a.jpg"
        Image.fromarray(noise((4, 4))).save(twin)
        with pytest.raises(UsageError, match=r"a\.png and .*a\.jpg would both be written as a"):
            find_pictures([str(pictures), str(twin)])

    def test_the_same_picture_twice_is_one(self, pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(pictures.parent)
        found = find_pictures([str(pictures), str(pictures / "a.png"), "pictures/a.png", "./pictures/*.png", "-", "-"])
        assert [source.name for source in found] == [*"abcde", "stdin"]

    def test_hidden_files_are_no_pictures(self, pictures: Path) -> None:
        (pictures / "._a.png").write_bytes(b"what a Mac leaves on a USB stick")
        assert [source.name for source in find_pictures([str(pictures)])] == list("abcde")

    def test_a_mistyped_option_is_no_picture(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        code, message = command("predict", run, pictures, "--scroes", "--out", tmp_path / "out")
        assert code == 2
        assert message.startswith("perpixel: no option '--scroes'; did you mean '--scores'?")
        assert not (tmp_path / "out").exists()


class TestAgain:
    def test_the_same_command_skips_what_is_done(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        out = tmp_path / "out"
        command("predict", run, pictures, "--out", out)
        before = times(out)
        code, message = command("predict", run, pictures, "--out", out)
        assert code == 0
        assert message.splitlines()[-1] == f"{out}: 0 predicted, 5 done before, 0 failed."
        assert len(before) == 10
        assert times(out) == before

    def test_a_changed_picture_a_new_one_and_a_deleted_mask(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        out = tmp_path / "out"
        command("predict", run, pictures, "--out", out)
        before = times(out)
        Image.fromarray(draw_sample(99)[0]).save(pictures / "a.png")
        Image.fromarray(draw_sample(98)[0]).save(pictures / "f.png")
        (out / "masks" / "b.png").unlink()
        assert f"{out}: 3 predicted, 3 done before, 0 failed." in command("predict", run, pictures, "--out", out)[1]
        after = times(out)
        changed = {Path(path).stem for path, time in after.items() if before.get(path) != time}
        assert changed == {"a", "b", "f"}
        for name in "abf":
            expected = predict(load(run), pictures / f"{name}.png").labels
            assert np.array_equal(read_labels(out / "masks" / f"{name}.png"), expected)

    def test_results_inside_the_folder_of_pictures_are_no_pictures(
        self, run: Path, pictures: Path, command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(pictures)
        for counts in ("5 predicted, 0 done before", "0 predicted, 5 done before"):
            code, message = command("predict", run, ".")  # the default --out is masks, in this folder
            assert code == 0
            assert message.splitlines()[-1] == f"masks: {counts}, 0 failed."

    @pytest.mark.parametrize("other", ["model", "options"])
    def test_another_model_or_other_options_need_another_folder(
        self, model: Model, run: Path, pictures: Path, tmp_path: Path, command, other: str
    ) -> None:
        out = tmp_path / "out"
        command("predict", run, pictures, "--out", out)
        before = times(out)
        second = saved(model, tmp_path / "second", step=7) if other == "model" else run
        code, message = command("predict", second, pictures, "--out", out, *(["--scores"] if other == "options" else []))
        assert code == 2
        assert message == f"perpixel: {out}: holds predictions of another model or with other options; choose another --out.\n"
        assert times(out) == before

    @pytest.mark.parametrize("end", ["cut", "cut and continued"])
    def test_a_journal_whose_last_line_is_cut(self, run: Path, pictures: Path, tmp_path: Path, command, end: str) -> None:
        out = tmp_path / "out"
        command("predict", run, pictures, "--out", out)
        journal = out / JOURNAL
        journal.write_bytes(journal.read_bytes()[:-20])
        for counts in ["1 predicted, 4 done before"] + ["0 predicted, 5 done before"] * (end == "cut and continued"):
            code, message = command("predict", run, pictures, "--out", out)
            assert code == 0
            assert message.splitlines()[-1] == f"{out}: {counts}, 0 failed."
        names = [json.loads(line).get("name") for line in journal.read_text().splitlines()[1:]]
        assert sorted(names) == list("abcde")

    def test_killed_anywhere_the_same_command_completes(self, run: Path, tmp_path: Path, command) -> None:
        """Killed before a mask appears, before an overlay appears, and at the very start of the journal."""
        folder = tmp_path / "many"
        folder.mkdir()
        for seed in range(40):
            Image.fromarray(draw_sample(seed, (12, 16))[0]).save(folder / f"p{seed:02d}.png")
        command("predict", run, folder, "--out", tmp_path / "straight")
        expected = {path: (tmp_path / "straight" / path).read_bytes() for path in results(tmp_path / "straight")}
        assert len(expected) == 80
        points = {1: 0, 22: 10, 25: 11}  # renamed files at the kill: the journal and then two a picture -> pictures done
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        arguments = [sys.executable, "-c", KILLED, str(run), str(folder), *(f"{tmp_path}/killed{point}" for point in points)]
        done = subprocess.run(arguments, capture_output=True, text=True, timeout=120, env=environment, check=False)
        assert done.stdout.split() == [str(-signal.SIGKILL)] * len(points), done.stderr
        for point, finished in points.items():
            out = tmp_path / f"killed{point}"
            assert list(out.rglob("*.partial"))  # a file was being written
            code, message = command("predict", run, folder, "--out", out)
            assert code == 0
            assert message.splitlines()[-1] == f"{out}: {40 - finished} predicted, {finished} done before, 0 failed."
            assert {path: (out / path).read_bytes() for path in results(out)} == expected


def results(out: Path) -> list[str]:
    paths = (path for folder in ("masks", "overlays") for path in (out / folder).glob("*.png"))
    return [path.relative_to(out).as_posix() for path in paths if not path.name.startswith(".")]


# Runs the command once for each OUT, in a fork that kills itself instead of renaming the N-th file; N ends the name of OUT.
KILLED = r"""
import os, re, signal, sys
import perpixel.prediction.predict
from perpixel.cli import main

run, pictures, *outs = sys.argv[1:]
for out in outs:
    pid = os.fork()
    if pid == 0:
        left, replace = int(re.search(r"\d+$", out)[0]), os.replace

        def rename(before, after):
            global left
            left -= str(after).startswith(out)
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(before, after)

        os.replace = rename
        main(["predict", run, pictures, "--out", out])
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class TestOneBadFileNeverStopsTheOthers:
    def broken(self, folder: Path) -> list[str]:
        """Puts files among the pictures that cannot be predicted; their names."""
        os.mkfifo(folder / "pipe.png")
        (folder / "nowhere.png").symlink_to("none")
        (folder / "cut.png").write_bytes((folder / "a.png").read_bytes()[:60])
        tiff = io.BytesIO()
        Image.fromarray(draw_sample(1)[0]).save(tiff, "TIFF")
        rational = bytearray(tiff.getvalue())
        entry = rational.index(b"\x11\x01\x04\x00")  # StripOffsets, a long: as a rational it is no place in a file
        rational[entry + 2] = 5
        (folder / "rational.tif").write_bytes(rational)
        return ["pipe.png", "nowhere.png", "cut.png", "rational.tif"]

    def test_each_is_named_and_all_others_are_predicted(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        names = self.broken(pictures)
        code, message = command("predict", run, pictures, "--out", tmp_path / "out")
        assert code == 3
        assert masks(tmp_path / "out") == ["a.png", "b.png", "c.png", "d.png", "e.png"]
        assert [name for name in names if f"{name}: " not in message] == []
        assert "5 predicted, 0 done before, 4 failed" in message
        assert "pipe.png: is a pipe, not a file" in message

    def test_a_name_as_long_as_the_system_allows_is_written(self, run: Path, pictures: Path, tmp_path: Path, command) -> None:
        long = "가" * 83 + "ab.png"
        assert len(long.encode()) == 255
        (pictures / "a.png").rename(pictures / long)
        code, message = command("predict", run, pictures, "--out", tmp_path / "out")
        assert (code, "5 predicted" in message) == (0, True)
        assert (tmp_path / "out/masks" / long).is_file()

    def test_an_output_that_cannot_be_written_is_that_pictures_outcome(
        self, run: Path, pictures: Path, tmp_path: Path, command
    ) -> None:
        assert command("predict", run, pictures / "a.png", "--out", tmp_path / "out")[0] == 0
        (tmp_path / "out/masks/b.png").mkdir()
        (tmp_path / "out/overlays/c.png").mkdir()
        code, message = command("predict", run, pictures, "--out", tmp_path / "out")
        assert code == 3
        assert "b.png: is a folder; choose the name of a file" in message
        assert "2 predicted, 1 done before, 2 failed" in message

    def test_too_little_memory_for_one_picture(
        self, run: Path, pictures: Path, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A picture that is too large is not made here: the network's own first call raises what torch raises then."""
        begin, calls = Predictor.begin, []

        def scarce(*arguments):
            calls.append(arguments)
            if len(calls) == 2:
                raise RuntimeError("[enforce fail at alloc_cpu.cpp:130] DefaultCPUAllocator: can't allocate memory")
            return begin(*arguments)

        monkeypatch.setattr(Predictor, "begin", scarce)
        code, message = command("predict", run, pictures, "--out", tmp_path / "out")
        assert (code, "4 predicted, 0 done before, 1 failed" in message) == (3, True)
        assert "b.png: needs more memory than there is" in message


class TestWhatReadingLeavesOutIsTold:
    def test_pages_bands_bits_and_alpha(self, run: Path, tmp_path: Path, command) -> None:
        folder = tmp_path / "odd"
        folder.mkdir()
        image = draw_sample(0)[0]
        first, second = Image.fromarray(image), Image.fromarray(image[::-1].copy())
        first.save(folder / "pages.tif", save_all=True, append_images=[second])
        Image.fromarray(image[..., 0].astype(np.uint16) * 16).save(folder / "twelve.png")  # 12 bits in 16
        clear = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        clear[3, 4, 3] = 0
        Image.fromarray(clear).save(folder / "clear.png")
        code, message = command("predict", run, folder, "--out", tmp_path / "out")
        assert (code, "3 predicted" in message) == (0, True)
        assert f"{folder}/pages.tif: holds 2 pictures, of which the first is read." in message
        assert f"{folder}/twelve.png: has 16 bits per pixel, of which networks see the upper 8: its greatest value " in message
        assert f"{folder}/clear.png: is transparent at row 3, column 4 (1 pixels, alpha 0), and alpha is not read." in message


class TestFoldersAreSearchedAlike:
    def test_hidden_files_and_what_macos_adds_are_no_pictures(self, pictures: Path) -> None:
        for name in ("._a.png", ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/a.png"):
            (pictures / name).parent.mkdir(exist_ok=True)
            (pictures / name).write_bytes((pictures / "a.png").read_bytes())
        assert [source.name for source in find_pictures([str(pictures)])] == ["a", "b", "c", "d", "e"]

    def test_links_to_folders_are_followed(self, pictures: Path, tmp_path: Path) -> None:
        (tmp_path / "behind").mkdir()
        (pictures / "e.png").rename(tmp_path / "behind/f.png")
        (pictures / "link").symlink_to(tmp_path / "behind")
        assert [source.name for source in find_pictures([str(pictures)])] == ["a", "b", "c", "d", "link/f"]


class TestDoneIsWhatIsStillAsItWasWritten:
    @pytest.mark.parametrize("harm", ["cut", "flip", "other"])
    def test_a_damaged_mask_is_predicted_again(self, run: Path, pictures: Path, tmp_path: Path, command, harm: str) -> None:
        out = tmp_path / "out"
        command("predict", run, pictures, "--out", out)
        mask = out / "masks/b.png"
        sound = mask.read_bytes()
        damaged = {"cut": sound[:50], "flip": sound[:40] + bytes([sound[40] ^ 1]) + sound[41:], "other": b"x" * len(sound)}
        mask.write_bytes(damaged[harm])
        code, message = command("predict", run, pictures, "--out", out)
        assert (code, "1 predicted, 4 done before" in message) == (0, True)
        assert mask.read_bytes() == sound

    @pytest.mark.parametrize("line", [b"\xff\xfe\x00", b"[" * 100_000, b'{"name": 1}', b'"words"', b'{"name": "a", "files": []}'])
    def test_a_damaged_line_is_a_picture_that_is_not_done(
        self, run: Path, pictures: Path, tmp_path: Path, command, line: bytes
    ) -> None:
        out = tmp_path / "out"
        command("predict", run, pictures, "--out", out)
        head, _, *others = (out / JOURNAL).read_bytes().split(b"\n")
        (out / JOURNAL).write_bytes(b"\n".join([head, line, *others]))
        code, message = command("predict", run, pictures, "--out", out)
        assert (code, "1 predicted, 4 done before" in message) == (0, True)

    @pytest.mark.parametrize("head", [b"\xff\xfe", b"[" * 100_000, b"{}", b"9" * 5000])
    def test_a_journal_of_something_else_is_left_alone(
        self, run: Path, pictures: Path, tmp_path: Path, command, head: bytes
    ) -> None:
        out = tmp_path / "out"
        out.mkdir()
        (out / JOURNAL).write_bytes(head + b"\n")
        code, message = command("predict", run, pictures, "--out", out)
        assert (code, "choose another --out" in message) == (2, True)
        assert (out / JOURNAL).read_bytes() == head + b"\n"


class TestPicturesOfOtherLibraries:
    def test_pillow_tensors_and_lists_give_what_the_file_gives(self, model: Model, pictures: Path) -> None:
        expected = predict(model, pictures / "a.png").labels
        with Image.open(pictures / "a.png") as pillow:
            tensor = torch.from_numpy(read_image(pictures / "a.png")).permute(2, 0, 1)
            several = [pillow, tensor, tensor / 255, str(pictures / "a.png")]
            found = [predict(model, each) for each in several]
            assert [np.array_equal(one.labels, expected) for one in [*found, *predict(model, several)]] == [True] * 8
        assert predict(model, []) == []

    @pytest.mark.parametrize(
        ("picture", "words"),
        [
            (3, "not a int"),
            (None, "not a NoneType"),
            (torch.zeros(1, 3, 8, 8), r"not torch.float32 \(1, 3, 8, 8\)"),
            (torch.zeros(8, 8, dtype=torch.uint8), r"not torch.uint8 \(8, 8\)"),
            (np.full((8, 8, 3), -0.5), r"in \[0, 1\], not -0.5 to -0.5"),
            (torch.full((3, 8, 8), 2.0), r"in \[0, 1\], not 2 to 2; divide by 255, or undo a normalisation"),
            (torch.full((3, 8, 8), float("nan")), "not nan to nan"),
            (torch.zeros(3, 8, 8, dtype=torch.int64), "torch.int64"),
        ],
    )
    def test_what_is_no_picture_is_named_by_its_type(self, model: Model, picture: object, words: str) -> None:
        with pytest.raises(UsageError, match=words):
            predict(model, picture)  # type: ignore[call-overload]

    def test_of_a_list_a_bad_picture_is_told_with_its_place(self, model: Model, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"^picture\[1\]: a picture is a path.*, not a int; convert it"):
            predict(model, [noise((4, 4)), 7])
        with pytest.raises(DataError, match=r"^picture\[0\]: .*none\.png: there is no such file"):
            predict(model, (tmp_path / "none.png", noise((4, 4))))
        with pytest.raises(UsageError, match=r"^picture\[0\]: .*, not a list"):
            predict(model, [[noise((4, 4))]])

    def test_a_damaged_picture_of_pillow_is_told(self, model: Model, pictures: Path) -> None:
        data = (pictures / "a.png").read_bytes()
        with (
            Image.open(io.BytesIO(data[: len(data) // 2])) as pillow,
            pytest.raises(DataError, match="the picture: cannot be read"),
        ):
            predict(model, pillow)
