"""Shards: names that fall to each evenly, by the same rule everywhere; the numbers of schedulers; and files that tell damage."""

import json
import math
import tracemalloc
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from perpixel.errors import DataError, PerpixelError, UsageError
from perpixel.sample import Instances
from perpixel.shards import Shard, ShardFile, digest_of, kind_of, plain, read_shards, typed

NAMES = [f"street/{number:04d}" for number in range(40)]


class TestNames:
    def test_a_name_falls_to_one_shard(self) -> None:
        for count in (1, 2, 3, 7, 64):
            assert [sum(Shard(index, count).has(name) for index in range(count)) for name in NAMES] == [1] * len(NAMES)

    def test_it_is_the_shard_that_sha_256_says(self) -> None:
        """Worked by `printf a | sha256sum`: it begins with ca978112ca1bbdca, which is 4 modulo 7."""
        assert int("ca978112ca1bbdca", 16) % 7 == 4
        assert Shard(4, 7).has("a")

    def test_both_forms_of_an_accent_fall_to_one_shard(self) -> None:
        forms = [unicodedata.normalize(form, "Zürich/é") for form in ("NFC", "NFD")]
        assert forms[0] != forms[1]
        assert [Shard(0, 97).has(form) for form in forms] == [Shard(0, 97).has(forms[0])] * 2
        assert len({index for index in range(97) for form in forms if Shard(index, 97).has(form)}) == 1

    def test_a_name_that_is_no_utf_8_falls_to_one_shard(self) -> None:
        assert sum(Shard(index, 5).has("\udcff") for index in range(5)) == 1

    def test_a_million_names_fall_evenly(self) -> None:
        """Of fair draws a shard's count differs from its share by more than 5 standard deviations once in a million times."""
        count, names = 16, 1_000_000
        shard = Shard(3, count)
        held = sum(shard.has(f"images/{number:07d}") for number in range(names))
        assert abs(held - names / count) < 5 * math.sqrt(names / count * (1 - 1 / count))

    def test_more_names_need_no_more_memory(self) -> None:
        peaks = []
        for names in (1_000, 1_000, 50_000):
            tracemalloc.start()
            sum(Shard(3, 16).has(f"images/{number:07d}") for number in range(names))
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        assert peaks[2] < peaks[1] + 50_000  # bytes: 49,000 names that were kept would take megabytes


class TestNumbers:
    @pytest.mark.parametrize(("text", "environment", "expected"), [
        ("0/8", {}, "0/8"), ("7/8", {}, "7/8"),
        ("auto/8", {"JOB_COMPLETION_INDEX": "3"}, "3/8"),
        ("auto", {"SKYPILOT_JOB_RANK": "3", "SKYPILOT_NUM_JOBS": "5"}, "3/5"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "0", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "4"}, "0/4"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_MIN": "1", "SLURM_ARRAY_TASK_COUNT": "4"}, "3/4"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "8", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "4",
                  "SLURM_ARRAY_TASK_STEP": "4"}, "2/4"),
        ("auto/16", {"SLURM_ARRAY_TASK_ID": "9", "SLURM_ARRAY_TASK_MIN": "9", "SLURM_ARRAY_TASK_COUNT": "1"}, "9/16"),
    ])  # fmt: skip
    def test_the_shard_that_is_named(self, text: str, environment: dict[str, str], expected: str) -> None:
        assert str(Shard.of(text, environment)) == expected

    @pytest.mark.parametrize(("text", "environment", "sentence"), [
        ("8/8", {}, "counted from 0"), ("3", {}, "must be i/n"), ("a/b", {}, "must be i/n"), ("-1/8", {}, "must be i/n"),
        ("0/0", {}, "counted from 0"), ("0/99999999", {}, "counted from 0"),
        ("auto/", {"JOB_COMPLETION_INDEX": "0"}, "must be i/n"),
        ("auto", {}, "none of JOB_COMPLETION_INDEX, SLURM_ARRAY_TASK_ID, SKYPILOT_JOB_RANK is set"),
        ("auto", {"JOB_COMPLETION_INDEX": "0"}, "nothing says how many processes there are; give --shard auto/n"),
        ("auto", {"JOB_COMPLETION_INDEX": "x"}, "must be i/n"),
        ("auto", {"JOB_COMPLETION_INDEX": "0", "SKYPILOT_JOB_RANK": "0"}, "JOB_COMPLETION_INDEX and SKYPILOT_JOB_RANK are set"),
        ("auto", {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "0", "SLURM_ARRAY_TASK_COUNT": "3",
                  "SLURM_ARRAY_TASK_STEP": "2"}, "no place of an evenly stepped array"),
    ])  # fmt: skip
    def test_other_words_are_refused(self, text: str, environment: dict[str, str], sentence: str) -> None:
        with pytest.raises(UsageError, match=sentence):
            Shard.of(text, environment)


def put(folder: Path, count: int = 3, names: list[str] = NAMES, kind: str = "scores", **head: Any) -> list[Path]:
    """The files of all shards, in which each item has the length of its name."""
    paths = []
    for index in range(count):
        with ShardFile(folder, kind, Shard(index, count), {"model": "m", **head}, names) as file:
            for place in file.open_places:
                file.add(place, {"length": len(names[place])})
            paths.append(file.path)
    return paths


class TestFiles:
    @pytest.mark.parametrize("count", [1, 2, 5, 60])
    def test_joined_they_are_in_the_order_of_the_names(self, tmp_path: Path, count: int) -> None:
        put(tmp_path, count)
        merged = read_shards(tmp_path, "scores")
        assert merged.names == NAMES
        assert merged.contents == [{"length": len(name)} for name in NAMES]
        assert merged.head["model"] == "m"

    def test_a_stopped_shard_goes_on_behind_its_whole_lines(self, tmp_path: Path) -> None:
        (path,) = put(tmp_path, 1)
        whole = path.read_bytes()
        for length in range(whole.index(b"\n") + 1, len(whole), 97):
            path.write_bytes(whole[:length])
            with ShardFile(tmp_path, "scores", Shard(0, 1), {"model": "m"}, NAMES) as file:
                assert len(file.open_places) == len(NAMES) - whole[:length].count(b"\n") + 1
                for place in file.open_places:
                    file.add(place, {"length": len(NAMES[place])})
            assert path.read_bytes() == whole

    def test_what_failed_is_tried_again(self, tmp_path: Path) -> None:
        with ShardFile(tmp_path, "scores", Shard(0, 1), {}, ["a", "b"]) as file:
            file.add(0, {"failed": "a: is damaged."})
            file.add(1, {"row": 1})
        assert read_shards(tmp_path, "scores").contents[0] == {"failed": "a: is damaged."}
        with ShardFile(tmp_path, "scores", Shard(0, 1), {}, ["a", "b"]) as file:
            assert file.open_places == [0]
            assert file.done == {1: {"row": 1}}

    def test_names_of_splits_stay_apart_and_fall_to_one_shard(self, tmp_path: Path) -> None:
        names = [f"{split}\0{name}" for split in ("train", "val") for name in "abcdef"]
        put(tmp_path, 4, names)
        assert read_shards(tmp_path, "scores").names == names

    @pytest.mark.parametrize("name", ["\udcff", "a\nb", "é", '"'])
    def test_any_name_of_a_file_comes_back(self, tmp_path: Path, name: str) -> None:
        put(tmp_path, 2, [name, "b"])
        assert read_shards(tmp_path, "scores").names == [name, "b"]

    def test_no_other_process_writes_an_open_file(self, tmp_path: Path) -> None:
        with (
            ShardFile(tmp_path, "scores", Shard(0, 2), {}, NAMES),
            pytest.raises(UsageError, match="another process works on this shard"),
            ShardFile(tmp_path, "scores", Shard(0, 2), {}, NAMES),
        ):
            pass
        with ShardFile(tmp_path, "scores", Shard(0, 2), {}, NAMES), ShardFile(tmp_path, "scores", Shard(1, 2), {}, NAMES):
            pass

    def test_a_shard_of_other_work_is_not_begun(self, tmp_path: Path) -> None:
        put(tmp_path)
        for head, names, count, key in (
            ({"model": "other"}, NAMES, 3, "model"), ({"model": "m"}, NAMES[1:], 3, "items"),
            ({"model": "m"}, [*NAMES[1:], "new"], 3, "names"), ({"model": "m"}, NAMES, 4, "the number of shards: 4, 3"),
        ):  # fmt: skip
            with pytest.raises(UsageError, match=key), ShardFile(tmp_path, "scores", Shard(0, count), head, names):
                pass


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def flip(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"length": 11', b'"length": 12', 1))


def remove_a_line(path: Path) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:2] + lines[3:]))


def copy(path: Path) -> None:
    (path.parent / "scores-1of3 (1).jsonl").write_bytes(path.read_bytes())


def no_head(path: Path) -> None:
    path.write_bytes(path.read_bytes().split(b"\n", 1)[1])


def other_model(path: Path) -> None:
    path.write_bytes(path.read_bytes().replace(b'"model": "m"', b'"model": "n"'))


def of_another_shard(path: Path) -> None:
    lines = (path.parent / "scores-0of3.jsonl").read_bytes().splitlines(keepends=True)
    path.write_bytes(path.read_bytes() + lines[1])


DAMAGES: dict[str, tuple[Callable[[Path], Any], type[PerpixelError], str]] = {
    "missing": (Path.unlink, DataError, "the shard 1/3 is missing; run evaluate --shard 1/3"),
    "twice": (copy, DataError, "are both the shard 1/3; keep one of them"),
    "cut short": (cut, DataError, r"scores-1of3.jsonl, line \d+: is damaged; run evaluate --shard 1/3 again"),
    "a bit": (flip, DataError, r"scores-1of3.jsonl, line 2: is damaged; run evaluate --shard 1/3 again"),
    "not finished": (remove_a_line, DataError, "1 of 40 pictures are not done; run evaluate with each --shard again"),
    "no head": (no_head, DataError, "does not begin as the file of a shard"),
    "empty": (lambda path: path.write_bytes(b""), DataError, "does not begin as the file of a shard"),
    "another model": (other_model, UsageError, "are shards of different work: they differ in 'model'"),
    "a line of another shard": (of_another_shard, DataError, r"line \d+: is damaged"),
    "another count": (lambda path: put(path.parent / "x", 4)[0].rename(path.parent / "scores-0of4.jsonl"), UsageError,
                      "the number of shards: 3, 4"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_shards_are_refused_in_one_sentence(tmp_path: Path, damage: str) -> None:
    break_it, kind, sentence = DAMAGES[damage]
    break_it(put(tmp_path)[1])
    with pytest.raises(kind, match=sentence) as error:
        read_shards(tmp_path, "scores")
    assert "\n" not in str(error.value)


def test_every_byte_that_changes_is_seen(tmp_path: Path) -> None:
    (path,) = put(tmp_path, 1, NAMES[:2])
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    sound = read_shards(tmp_path, "scores")
    for place in rng.integers(0, len(whole), 200).tolist():
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        try:
            merged = read_shards(tmp_path, "scores")
        except PerpixelError:
            continue
        assert (merged.names, merged.contents) == (sound.names, sound.contents)


def test_the_kind_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no such folder"):
        kind_of(tmp_path / "missing")
    with pytest.raises(DataError, match="holds no shards"):
        kind_of(tmp_path)
    put(tmp_path)
    assert kind_of(tmp_path) == "scores"
    put(tmp_path, kind="checked")
    with pytest.raises(UsageError, match="holds shards of evaluate and of check"):
        kind_of(tmp_path)


def test_digests_depend_on_order_and_ends() -> None:
    assert len({digest_of(names) for names in (["ab"], ["a", "b"], ["b", "a"], [], [""])}) == 5


@dataclass(frozen=True)
class Row:
    counts: NDArray[np.int64]
    shares: NDArray[np.float64] | None
    objects: Instances
    names: dict[int, str]


def test_values_come_back_from_json() -> None:
    masks = np.array([[[True, False], [True, True]]])
    objects = Instances(masks, np.array([1]), np.array([0.1], np.float32))
    row = Row(np.array([[1, 2]]), np.array([math.nan, 1 / 3]), objects, {7: "é"})
    back = typed(json.loads(json.dumps(plain(row))), Row, "here")
    assert (back.counts.tolist(), back.counts.dtype, back.names) == ([[1, 2]], np.int64, {7: "é"})
    np.testing.assert_array_equal(back.shares, row.shares)
    assert (back.objects.masks == masks).all()
    assert back.objects.scores.tolist() == row.objects.scores.tolist()


OBJECTS = {"dtype": "O", "shape": [1], "data": "AAAAAAAAAAA="}


@pytest.mark.parametrize("content", [None, [], {"counts": 1}, "text", {"counts": OBJECTS}])
def test_content_of_another_form_is_told(content: Any) -> None:
    with pytest.raises(DataError, match="here: is not what this version writes"):
        typed(content, Row, "here")
