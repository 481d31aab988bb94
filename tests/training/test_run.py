"""What a run folder keeps: damage of any file of it is told, sessions say what they computed on, and its data are found again."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_folder
from PIL import Image

from perpixel.errors import DataError, Interrupted, PerpixelError, UntrustedFile, UsageError
from perpixel.files import MODEL_FILE
from perpixel.training import states
from perpixel.training.recipe import Recipe
from perpixel.training.run import claim, data_of, read_facts, unfinished, write_facts
from perpixel.training.train import train
from perpixel.weights import model_file


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data"), train=4, val=2)


def recipe_for(data: Path, **changes: object) -> Recipe:
    settings = {
        "data": str(data), "network": "unet", "convolutions": "same", "width": 0.05, "batch": 2, "steps": 6, "validations": 3,
        "save_every": 1, "crop": (16, 16), "crops": "objects", "class_weights": "inverse", "device": "cpu",
    }  # fmt: skip
    return Recipe(**{**settings, **changes})


def stop_after(step: int):
    def progress(done: int, _total: int, _text: str) -> None:
        if done == step:
            os.kill(os.getpid(), 15)

    return progress


def stopped(data: Path, out: Path, step: int = 5, **changes: object) -> Path:
    with pytest.raises(Interrupted):
        train(recipe_for(data, **changes), out, say=lambda _: None, progress=stop_after(step - 1))
    return out


def flip(path: Path, place: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 1 << bit
    path.write_bytes(content)


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A run with one step to go, and the model that it ends with."""
    out = stopped(data, tmp_path_factory.mktemp("runs") / "run")
    whole = shutil.copytree(out, out.with_name("whole"))
    train(recipe_for(data), whole, say=lambda _: None)
    return out, (whole / MODEL_FILE).read_bytes()


def names(run: Path) -> list[str]:
    return sorted(str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name != ".lock")


def assert_told_or_the_same(data: Path, out: Path, expected: bytes, what: str) -> None:
    messages: list[str] = []
    try:
        scores = train(recipe_for(data), out, say=messages.append)
    except PerpixelError:
        return
    damage_messages = [text for text in messages if "is damaged" in text]
    assert scores is not None
    assert damage_messages or (out / MODEL_FILE).read_bytes() == expected, what


def test_a_flipped_bit_in_any_file_of_a_run_changes_nothing_or_is_told(
    data: Path, run: tuple[Path, bytes], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    there = names(run[0])
    assert {"recipe.toml", "run.json", "data.json", "history.jsonl", "model.safetensors", "crops.safetensors"} < {*there}
    for name in there:
        for number in range(3):
            out = shutil.copytree(run[0], tmp_path / f"{number}-{name.replace('/', '-')}")
            place, bit = int(random.integers((out / name).stat().st_size)), int(random.integers(8))
            flip(out / name, place, bit)
            assert_told_or_the_same(data, out, run[1], f"{name}, byte {place}, bit {bit}")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["recipe.toml", "run.json", "data.json"])
def test_a_flipped_bit_at_any_byte_of_a_small_file_changes_nothing_or_is_told(
    data: Path, run: tuple[Path, bytes], tmp_path: Path, name: str
) -> None:
    for place in range((run[0] / name).stat().st_size):
        out = shutil.copytree(run[0], tmp_path / str(place))
        flip(out / name, place, place % 8)
        assert_told_or_the_same(data, out, run[1], f"{name}, byte {place}")
        shutil.rmtree(out)


@pytest.mark.parametrize("harm", ["cut", "empty", "[]", "{}", "null", "other encoding", "deep"])
@pytest.mark.parametrize("name", ["run.json", "data.json"])
def test_facts_that_are_no_longer_facts_are_made_anew(
    data: Path, run: tuple[Path, bytes], tmp_path: Path, name: str, harm: str
) -> None:
    out, messages = shutil.copytree(run[0], tmp_path / "run"), []
    content = (out / name).read_bytes()
    other = {"cut": content[: len(content) // 2], "empty": b"", "other encoding": b"\xff\xfe{", "deep": b"[" * 100_000}
    (out / name).write_bytes(other.get(harm, harm.encode()))
    train(recipe_for(data), out, say=messages.append)
    assert any(text.startswith(f"{out / name}: is damaged") for text in messages)
    assert (out / MODEL_FILE).read_bytes() == run[1]
    assert read_facts(out / name)


def test_class_pixels_that_were_changed_are_counted_again(data: Path, run: tuple[Path, bytes], tmp_path: Path) -> None:
    out = shutil.copytree(run[0], tmp_path / "run")
    facts = json.loads((out / "data.json").read_text())
    facts["class_pixels"][1] *= 2
    (out / "data.json").write_text(json.dumps(facts))
    train(recipe_for(data), out, say=lambda _: None)
    assert (out / MODEL_FILE).read_bytes() == run[1]


def test_other_data_are_refused_whatever_is_left_of_the_facts(data: Path, run: tuple[Path, bytes], tmp_path: Path) -> None:
    """The pictures of the run are replaced; data.json, run.json or both are lost."""
    place = shutil.copytree(data, tmp_path / "data")
    out = stopped(place, tmp_path / "run")
    shutil.copy(data / "masks/train/p01.png", place / "masks/train/p00.png")
    for lost, kind in ((["data.json"], DataError), (["run.json"], DataError), (["data.json", "run.json"], UntrustedFile)):
        copy = shutil.copytree(out, tmp_path / "-".join(lost))
        for name in lost:
            (copy / name).unlink()
        with pytest.raises(kind, match=r"changed since|no file tells whether the data"):
            train(recipe_for(place), copy, say=lambda _: None)


def test_facts_come_back_with_their_digest(tmp_path: Path) -> None:
    facts = {"b": [1, 2.5, None], "a": {"é": "\udcff"}}
    write_facts(tmp_path, "facts.json", facts)
    assert read_facts(tmp_path / "facts.json") == facts
    assert read_facts(tmp_path / "none.json") is None


class TestStates:
    def test_a_manifest_that_names_not_every_file_is_not_sound(self, run: tuple[Path, bytes], tmp_path: Path) -> None:
        for change in (lambda _: {}, lambda all: {k: v for k, v in all.items() if "network" not in k}, lambda _: []):
            out = shutil.copytree(run[0], tmp_path / "run")
            newest = max(states.state_folders(out))
            manifest = json.loads((newest / states.MANIFEST).read_text())
            (newest / states.MANIFEST).write_text(json.dumps(change(manifest)))
            _, values, complaints = states.load_state(out)
            assert (values["step"], len(complaints)) == (4, 1)
            assert complaints[0].startswith(f"{newest}: is damaged")
            shutil.rmtree(out)

    def test_a_file_that_no_manifest_names_is_not_sound(self, run: tuple[Path, bytes], tmp_path: Path) -> None:
        out = shutil.copytree(run[0], tmp_path / "run")
        (max(states.state_folders(out)) / "more.safetensors").write_bytes(b"x")
        assert states.load_state(out)[1]["step"] == 4

    def test_a_state_under_the_name_of_another_step_is_not_sound(self, run: tuple[Path, bytes], tmp_path: Path) -> None:
        out = shutil.copytree(run[0], tmp_path / "run")
        newest = max(states.state_folders(out))
        newest.rename(newest.with_name("step-000000006"))
        assert states.load_state(out)[1]["step"] == 4


def test_warnings_of_the_data_are_told_the_first_of_each_kind_and_how_many_more(data: Path, tmp_path: Path) -> None:
    """Masks of background alone, of which there are five, and a class that none has."""
    place, messages, seen = shutil.copytree(data, tmp_path / "data"), [], []
    for mask in place.glob("masks/*/*.png"):
        Image.fromarray(np.zeros((24, 32), np.uint8)).save(mask)
    recipe = recipe_for(place, crops="none", class_weights="none", steps=1)
    train(recipe, tmp_path / "run", say=messages.append, checked=lambda done, of: seen.append((done, of)))
    warnings = [text for text in messages if text.startswith("warning: ")]
    assert len([text for text in warnings if "box" in text]) > 0
    more = [text for text in warnings if "more; `perpixel check" in text]
    assert all(f"more; `perpixel check {place}` lists them." in text for text in more)
    assert len(warnings) <= 4 * 6
    assert seen == [(number, 6) for number in range(1, 7)]


def test_errors_of_many_files_are_told_by_kind_with_three_examples(data: Path, tmp_path: Path) -> None:
    place, messages = shutil.copytree(data, tmp_path / "data"), []
    masks = sorted(place.glob("masks/*/*.png"))
    for mask in masks[:5]:
        Image.fromarray(np.full((24, 32), 77, np.uint8)).save(mask)
    masks[5].write_bytes(b"")
    words = r"6 errors \(unknown value 5, empty file 1; `perpixel check .*` lists them\)\. The first: .*value 77 at row 0"
    with pytest.raises(DataError, match=words):
        train(recipe_for(place, steps=1), tmp_path / "run", say=messages.append)
    errors = [text for text in messages if text.startswith("error: ")]
    assert [sum(word in text for text in errors) for word in ("value 77", "0 bytes")] == [3, 1]
    assert f"error: unknown value: 2 more; `perpixel check {place}` lists them." in errors


class TestClaim:
    def test_a_damaged_recipe_is_told_and_refused(self, data: Path, run: tuple[Path, bytes], tmp_path: Path) -> None:
        for content in (b"lr = ", b"\xff", b"a" + b".a" * 2_000 + b" = 1", b"stepz = 1"):
            out = shutil.copytree(run[0], tmp_path / "run")
            (out / "recipe.toml").write_bytes(content)
            with pytest.raises(UntrustedFile, match=r"recipe\.toml.*It is damaged, or of another version"):
                train(recipe_for(data), out, say=lambda _: None)
            shutil.rmtree(out)

    def test_a_folder_in_which_nothing_was_trained_is_free_for_another_recipe(self, data: Path, tmp_path: Path) -> None:
        """As after a mistake that is told at the first step: the same --out with what the sentence says."""
        out = tmp_path / "run"
        with pytest.raises(UsageError, match="give --batch 2"):
            train(recipe_for(data, norm="batch", batch=1, crops="none"), out, say=lambda _: None)
        assert train(recipe_for(data, norm="batch", batch=2, crops="none", steps=1), out, say=lambda _: None) is not None

    def test_the_model_of_a_run_without_states_is_not_taken_over(
        self, data: Path, run: tuple[Path, bytes], tmp_path: Path
    ) -> None:
        out = shutil.copytree(run[0], tmp_path / "run")
        shutil.rmtree(out / states.STATES)
        with pytest.raises(UsageError, match="belongs to another run"):
            train(recipe_for(data, lr=0.5), out, say=lambda _: None)

    def test_what_kills_left_is_swept(self, data: Path, tmp_path: Path) -> None:
        left = [tmp_path / "run" / name for name in (".1.partial", "last/step-000000002.partial/a", "not_finite/.2.partial")]
        for path in left:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        (tmp_path / "run" / "recipe.toml").write_text("")
        with claim(tmp_path / "run", Recipe(), None):
            assert not [path for path in left if path.exists()]

    @pytest.mark.parametrize("name", ["a" * 300, "a\0b"])
    def test_a_name_that_no_folder_can_have_is_told(self, data: Path, tmp_path: Path, name: str) -> None:
        with pytest.raises(UsageError, match="is no name of a folder"):
            train(recipe_for(data), tmp_path / name, say=lambda _: None)


@pytest.mark.parametrize("name", ["a" * 300, "loop"])
def test_data_of_a_name_that_cannot_be_is_told(tmp_path: Path, name: str) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(PerpixelError, match=r"name a data set or a folder|name the folder that holds"):
        train(recipe_for(tmp_path / name), tmp_path / "run", say=lambda _: None)


class TestSessions:
    def test_they_say_what_they_computed_on(self, data: Path, tmp_path: Path) -> None:
        out = stopped(data, tmp_path / "run", 3)
        train(recipe_for(data), out, say=lambda _: None)
        sessions = read_facts(out / "run.json")["sessions"]
        assert [(one["from"], one["to"]) for one in sessions] == [(0, 3), (3, 6)]
        machine = {"threads": torch.get_num_threads(), "processes": 1, "device": "cpu"}
        assert all({name: one[name] for name in machine} == machine for one in sessions)

    def test_another_number_of_threads_is_told(self, data: Path, tmp_path: Path) -> None:
        out, messages, threads = stopped(data, tmp_path / "run", 3), [], torch.get_num_threads()
        try:
            torch.set_num_threads(threads + 1)
            train(recipe_for(data), out, say=messages.append)
        finally:
            torch.set_num_threads(threads)
        expected = f"{out}: goes on with threads {threads + 1}; before: threads {threads}."
        assert [text.startswith(expected) for text in messages if "before" in text] == [True]
        again: list[str] = []
        train(recipe_for(data), stopped(data, tmp_path / "same", 3), say=again.append)
        assert not [text for text in again if "before" in text]

    def test_one_that_was_killed_ends_where_the_next_begins(self, data: Path, tmp_path: Path) -> None:
        out = stopped(data, tmp_path / "run", 3)
        facts = read_facts(out / "run.json")
        facts["sessions"][-1] |= {"to": None, "seconds": None}
        write_facts(out, "run.json", facts)
        train(recipe_for(data), out, say=lambda _: None)
        assert [one["to"] for one in read_facts(out / "run.json")["sessions"]] == [3, 6]


class TestUnfinished:
    def test_a_run_stopped_before_its_first_validation_is_judged_and_says_how_far_it_is(self, data: Path, tmp_path: Path) -> None:
        out = stopped(data, tmp_path / "run", 3, validations=1)
        card = model_file.load(out).card
        assert (card.step, card.unfinished, unfinished(out)) == (3, "", "step 3 of 6")
        assert 0 <= card.score["mIoU"] <= 1
        assert train(recipe_for(data, validations=1), out, say=lambda _: None) is not None
        assert unfinished(out) == ""

    def test_it_ends_with_the_bytes_of_a_run_never_stopped(self, data: Path, tmp_path: Path) -> None:
        out = stopped(data, tmp_path / "run", 3, validations=1)
        for place in (out, tmp_path / "whole"):
            train(recipe_for(data, validations=1), place, say=lambda _: None)
        assert (out / MODEL_FILE).read_bytes() == (tmp_path / "whole" / MODEL_FILE).read_bytes()

    def test_it_is_the_moving_average_where_that_is_kept(self, data: Path, tmp_path: Path) -> None:
        out = stopped(data, tmp_path / "run", 3, validations=1, ema=0.9)
        kept = model_file.read(out).tensors
        state = states.load_state(out)[0]["average"]
        assert all(torch.equal(kept[name], tensor) for name, tensor in state.items())

    def test_after_a_validation_the_best_is_kept_as_before(self, data: Path, tmp_path: Path) -> None:
        out = stopped(data, tmp_path / "run", 3)
        assert model_file.load(out).card.step == 2
        assert model_file.load(out).card.score

    def test_a_damaged_best_model_is_told_before_the_next_is_judged(self, data: Path, tmp_path: Path) -> None:
        out, messages = stopped(data, tmp_path / "run", 3), []
        flip(out / MODEL_FILE, -1, 0)
        assert train(recipe_for(data), out, say=messages.append) is not None
        assert any("is damaged" in text and "held the best weights so far" in text for text in messages)


class TestData:
    def test_they_are_found_from_another_folder(self, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shutil.copytree(data, tmp_path / "here" / "set")
        (tmp_path / "there" / "set").mkdir(parents=True)
        monkeypatch.chdir(tmp_path / "here")
        recipe = replace(recipe_for(Path("set")), steps=1)
        train(recipe, Path("run"), say=lambda _: None)
        monkeypatch.chdir(tmp_path / "there")
        for run in (Path("../here/run"), Path("../here/run/model.safetensors")):
            assert data_of(run, recipe.to_json()) == (str(tmp_path / "here" / "set"), None)

    def test_evaluate_finds_them_from_another_folder_while_the_run_is_unfinished(
        self, data: Path, tmp_path: Path, command, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        shutil.copytree(data, tmp_path / "here" / "set")
        monkeypatch.chdir(tmp_path / "here")
        stopped(Path("set"), Path("run"), 3, validations=1)
        (tmp_path / "there").mkdir()
        monkeypatch.chdir(tmp_path / "there")
        code, out, err = command("evaluate", "../here/run")
        assert code == 0, err
        assert "../here/run: unfinished, step 3 of 6." in err
        assert "../here/run: unet width 0.05, same on set, val." in err
        assert "split val" in out

    def test_they_are_as_named_where_they_are_not_any_more(self, data: Path, run: tuple[Path, bytes], tmp_path: Path) -> None:
        assert data_of(tmp_path, {"data": "set", "root": "DATA"}) == ("set", "DATA")
        assert data_of(run[0], {"data": "another", "root": None}) == ("another", None)
        assert data_of(run[0], {}) == (None, None)
