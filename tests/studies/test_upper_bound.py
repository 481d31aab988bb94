"""The upper bound of a stride: the truth made coarse in the way of scores, tested by hand, by torch, and by rules for all
maps."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from fakes import make_folder
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch.nn import functional as F

from perpixel.classes import ClassTable
from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.errors import DataError, UsageError
from perpixel.layers.score_map import enlarge
from perpixel.sample import Sample
from perpixel.studies.upper_bound import PAPER, coarsened, upper_bound

V = 255
LABELS = arrays.arrays(np.uint8, arrays.array_shapes(min_dims=2, max_dims=2, max_side=40), elements=st.sampled_from([0, 1, 2, V]))


class Maps:
    """A data set of label maps under black pictures."""

    split, splits = "val", ("val",)

    def __init__(self, *maps, classes=("a", "b", "c")):
        self.maps, self.classes = maps, ClassTable.of(classes)

    def __len__(self):
        return len(self.maps)

    def name(self, index):
        return f"map {index}"

    def sample(self, index):
        labels = self.maps[index]
        return Sample(self.name(index), np.zeros((*np.shape(labels), 3), np.uint8), None if labels is None else np.array(labels))


def row(*labels):
    return np.array([labels], np.uint8)


class TestByHand:
    def test_a_border_inside_a_cell_is_found_where_interpolation_crosses(self):
        # Cells of three: class 0 has shares 2/3 and 0; at pixels 0..5 that is 2/3, 2/3, 4/9, 2/9, 0, 0.
        assert coarsened(row(0, 0, 1, 1, 1, 1), 3, V).tolist() == [[0, 0, 1, 1, 1, 1]]

    def test_half_a_cell_at_the_end_is_lost_to_the_lower_class(self):
        # Cells of two: class 1 has shares 0 and 1/2; at pixels 0..3 that is 0, 1/8, 3/8, 1/2, and a tie goes to class 0.
        assert coarsened(row(0, 0, 0, 1), 2, V).tolist() == [[0, 0, 0, 0]]

    def test_the_figures_of_that_row(self):
        (bound,) = upper_bound(Maps(row(0, 0, 0, 1)), [2])
        assert bound.iou == pytest.approx({"a": 3 / 4, "b": 0, "c": math.nan}, nan_ok=True)
        assert bound.mean_iou == 3 / 8
        assert bound.pixel_accuracy == 3 / 4
        assert bound.worst == "b 0.0"

    def test_one_cell_holds_the_most_frequent_class(self):
        assert (coarsened(np.array([[0, 1, 1], [2, 1, 0]], np.uint8), 128, V) == 1).all()

    def test_void_has_no_share(self):
        # Class 1 has the one judged pixel of the first cell: shares 1, 1, 7/8, 5/8, 3/8 ... A quarter of it would lose pixel 3.
        assert coarsened(row(V, V, V, 1, 0, 0, 0, 0), 4, V).tolist() == [[1, 1, 1, 1, 0, 0, 0, 0]]

    def test_all_void_has_no_figure(self):
        (bound,) = upper_bound(Maps(np.full((5, 7), V, np.uint8)), [4])
        assert math.isnan(bound.mean_iou)
        assert bound.worst == ""
        assert bound.to_json() == {
            "factor": 4, "mean_iou": None, "pixel_accuracy": None, "iou": {"a": None, "b": None, "c": None}, "paper": 0.985,
        }  # fmt: skip

    def test_pictures_are_summed_before_they_are_divided(self):
        # One pixel of class 1 is lost, 40 of the other picture are kept.
        (bound,) = upper_bound(Maps(row(0, 0, 0, 1), np.ones((4, 10), np.uint8)), [2])
        assert bound.iou["b"] == 40 / 41

    def test_more_than_255_classes(self):
        labels = np.repeat(np.array([[300, 7]], np.uint16), 8, axis=1)
        assert (coarsened(labels, 4, 65535) == labels).all()


class TestRules:
    @given(LABELS)
    def test_factor_1_gives_100_for_every_class_that_is_there(self, labels):
        (bound,) = upper_bound(Maps(labels), [1])
        present = {"abc"[i] for i in np.unique(labels) if i != V}
        assert {name for name, iou in bound.iou.items() if iou == 1} == present
        assert all(math.isnan(iou) for name, iou in bound.iou.items() if name not in present)

    @given(LABELS, st.integers(1, 50))
    def test_only_classes_of_the_truth_are_answered_at_any_size_and_factor(self, labels, factor):
        coarse = coarsened(labels, factor, V)
        assert coarse.shape == labels.shape
        assert coarse.dtype == labels.dtype
        assert set(np.unique(coarse)) <= set(np.unique(labels[labels != V])) or (labels == V).all()

    @given(LABELS.filter(lambda labels: (labels != V).any()), st.integers(1, 50))
    def test_torch_pools_and_interpolates_to_the_same(self, labels, factor):
        truth = torch.from_numpy(labels).long()
        hot = F.one_hot(truth.clamp(max=3), 4)[..., :3].movedim(-1, 0)[None].double()
        # Zeros that complete the last cells add nothing; shares are of the pixels that are judged.
        tiles = F.pad(hot, (0, -labels.shape[1] % factor, 0, -labels.shape[0] % factor))
        shares = F.avg_pool2d(tiles, factor)
        scores = enlarge(shares / shares.sum(1, keepdim=True).clamp(min=1e-12), factor, labels.shape)[0]
        best, second = scores.topk(2, dim=0).values
        clear = (best - second > 1e-6).numpy()
        assert (coarsened(labels, factor, V)[clear] == scores.argmax(0).numpy()[clear]).all()

    @given(st.integers(0, 2), st.integers(1, 30), st.integers(1, 30), st.integers(1, 50))
    def test_one_class_alone_is_never_lost(self, class_id, height, width, factor):
        labels = np.full((height, width), class_id, np.uint8)
        assert (coarsened(labels, factor, V) == labels).all()


class TestMistakes:
    @pytest.mark.parametrize("factors", [[4, 0], [-1], []])
    def test_a_factor_below_1_or_none(self, factors):
        with pytest.raises(UsageError, match="give whole numbers of at least 1"):
            upper_bound(Maps(row(0)), factors)

    def test_a_picture_without_labels(self):
        with pytest.raises(DataError, match="map 1: has no labels to judge by"):
            upper_bound(Maps(row(0), None), [4])

    def test_a_label_in_no_class(self):
        with pytest.raises(DataError, match="map 0: truth: value 9 at"):
            upper_bound(Maps(row(0, 9)), [4])


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_folder(tmp_path_factory.mktemp("data"), train=1, val=3)


class TestCommand:
    def test_the_table_has_the_papers_figures_beside_ours(self, data, capsys):
        main(["upper-bound", str(data)])
        lines = capsys.readouterr().out.splitlines()
        assert lines[0].split()[:3] == ["factor", "mean", "IU"]
        assert [line.split()[0] for line in lines[1:7]] == ["128", "64", "32", "16", "8", "4"]
        assert [line.split()[-1] for line in lines[1:7]] == ["50.9", "73.3", "86.1", "92.8", "96.4", "98.5"]
        assert lines[-1].startswith("3 pictures of val.")

    def test_json_is_what_the_function_says(self, data, capsys):
        main(["upper-bound", str(data), "--factors", "8", "3", "--split", "train", "--json"])
        rows = json.loads(capsys.readouterr().out)
        assert rows == [bound.to_json() for bound in upper_bound(open_dataset(data, split="train"), [8, 3])]
        assert [bound["paper"] for bound in rows] == [PAPER[8], None]
        assert 0 < rows[0]["mean_iou"] < rows[1]["mean_iou"] < 1

    @pytest.mark.parametrize(
        ("arguments", "code", "part"),
        [
            (["--factors", "8", "0"], 2, "factors [8, 0]: a cell has a side of a pixel or more"),
            (["--factors", "x"], 2, 'unable to convert "x" into int'),
            (["--factors"], 2, "factors []: a cell has a side of a pixel or more"),
            (["--split", "tset"], 2, "no split of"),
        ],
    )
    def test_one_sentence_for_a_mistake(self, data, capsys, arguments, code, part):
        with pytest.raises(SystemExit) as left:
            main(["upper-bound", str(data), *arguments])
        printed = capsys.readouterr()
        assert left.value.code == code
        assert part in printed.err
        assert (printed.out, len(printed.err.splitlines())) == ("", 1)

    def test_help_does_not_wait_for_torch(self):
        lines = ["import sys", "from perpixel.cli import main", "try:", "    main(['upper-bound', '--help'])",
                 "except SystemExit as left:", "    assert not left.code", "assert 'torch' not in sys.modules"]  # fmt: skip
        done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert "--factors" in done.stdout
