"""VOC 2012 and SBD: the table, the splits, whether VOC's or SBD's labels count, objects, damaged files, and a whole training."""

import json
import shutil
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from fakes import SBD_LISTS, VOC_LISTS, draw_grid, make_voc, put_list, put_mat, put_picture
from hypothesis import given
from hypothesis import strategies as st

from perpixel.classes import distinct_colours
from perpixel.cli import main
from perpixel.datasets import ON_DISK, open_dataset
from perpixel.datasets.voc import CLASSES, LABELS, PICTURES, Voc2012, read_list, read_mat, write_list
from perpixel.doctor.check import THREADS, check
from perpixel.errors import DataError
from perpixel.judging.evaluate import evaluate
from perpixel.training.recipe import merge


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """For tests that change nothing."""
    return make_voc(tmp_path_factory.mktemp("voc"))


@pytest.fixture
def mine(root, tmp_path):
    """For tests that break something."""
    shutil.copytree(root, tmp_path / "data")
    return tmp_path / "data"


def names(root, split):
    dataset = Voc2012(root, split)
    return [dataset.name(index) for index in range(len(dataset))]


def labels_of(root, split, name):
    return Voc2012(root, split).sample(names(root, split).index(name)).labels


class TestTable:
    def test_it_is_the_palette_of_voc(self):
        assert [class_id for class_id, _, _ in LABELS] == list(range(21))
        assert CLASSES.colours == ((0, 0, 0), *distinct_colours(20))
        assert CLASSES.colours[15] == (192, 128, 128)  # the person of the VOC web page
        assert (CLASSES.void, CLASSES.void_values, CLASSES.void_colour) == (255, (255,), (224, 224, 192))

    def test_the_names_are_those_of_the_development_kit(self):
        assert (len(CLASSES), CLASSES.names[0], CLASSES.names[20]) == (21, "background", "tvmonitor")
        assert CLASSES.names[1:] == tuple(sorted(CLASSES.names[1:]))

    def test_the_published_numbers_fit_each_other(self):
        assert PICTURES["train"] + PICTURES["val"] == PICTURES["trainval"]
        # SBD labels 8,498 + 2,857 pictures, of which 2,237 are in VOC's trainval.
        assert PICTURES["trainvalaug"] == PICTURES["trainaug"] + PICTURES["val"]
        assert PICTURES["trainaug"] == PICTURES["train"] + PICTURES["sbd_train"] + 2857 - 2237


class TestSplits:
    @pytest.mark.parametrize("below", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
    def test_the_root_may_be_any_of_three_folders(self, root, below):
        assert Voc2012(root / below).folder == root / "VOCdevkit" / "VOC2012"
        assert names(root / below, "trainaug") == names(root, "trainaug")
        assert names(root / below, "seg11valid") == names(root, "seg11valid")

    def test_the_root_may_be_where_one_is(self, root, monkeypatch):
        monkeypatch.chdir(root / "VOCdevkit" / "VOC2012")
        assert names(".", "trainaug") == names("../..", "trainaug") == names(root, "trainaug")

    def test_the_folder_of_another_year_is_refused(self, root):
        with pytest.raises(DataError, match=r"VOC2011: holds no VOCdevkit/VOC2012"):
            Voc2012(root / "VOCdevkit" / "VOC2011")

    @pytest.mark.parametrize("split", ["train", "val", "test"])
    def test_lists_are_vocs(self, root, split):
        assert names(root, split) == VOC_LISTS[split]

    def test_trainval_is_train_and_val(self, root):
        assert names(root, "trainval") == VOC_LISTS["train"] + VOC_LISTS["val"]

    def test_trainaug_is_train_and_what_only_sbd_has(self, root):
        assert names(root, "trainaug") == ["2007_000001", "2008_000002", "2011_000007", "2011_000008"]

    def test_trainvalaug_is_trainval_and_what_only_sbd_has(self, root):
        assert names(root, "trainvalaug") == [*names(root, "trainval"), "2011_000007", "2011_000008"]

    def test_sbd_train_is_the_list_of_sbd_though_val_shares_a_picture(self, root):
        assert names(root, "sbd_train") == SBD_LISTS["train"]
        assert {*names(root, "sbd_train")} & {*names(root, "val")} == {"2008_000004"}

    def test_seg11valid_is_val_of_2011_without_sbd_train(self, root):
        assert names(root, "seg11valid") == ["2007_000003"]
        of_2012 = [name for name in VOC_LISTS["val"] if name not in SBD_LISTS["train"]]
        assert of_2012 == ["2007_000003", "2009_000005"]  # a picture more, of a year before 2012 too

    def test_seg11train_is_train_of_2011_with_the_labels_of_2012(self, root):
        assert names(root, "seg11train") == ["2007_000001"]
        assert np.array_equal(labels_of(root, "seg11train", "2007_000001"), labels_of(root, "train", "2007_000001"))

    def test_nothing_is_both_trained_on_and_judged(self, root):
        assert not {*names(root, "seg11train")} & {*names(root, "seg11valid")}
        assert not {*names(root, "trainaug")} & {*names(root, "val")}
        assert not {*names(root, "sbd_train")} & {*names(root, "seg11valid")}

    def test_splits_are_those_whose_lists_are_there(self, mine):
        assert set(Voc2012(mine).splits) == set(PICTURES)
        shutil.rmtree(mine / "VOCdevkit" / "VOC2011")
        assert set(PICTURES) - set(Voc2012(mine).splits) == {"seg11train", "seg11valid"}
        shutil.rmtree(mine / "benchmark_RELEASE")
        assert Voc2012(mine).splits == ("train", "val", "trainval", "test")

    def test_a_list_that_is_missing_is_named(self, mine):
        shutil.rmtree(mine / "VOCdevkit" / "VOC2011")
        with pytest.raises(DataError, match=r"VOCdevkit/VOC2011/ImageSets/Segmentation/val\.txt: there is no such file"):
            Voc2012(mine, "seg11valid")
        with pytest.raises(DataError, match=r"VOCdevkit/VOC2011/ImageSets/Segmentation/train\.txt: there is no such file"):
            Voc2012(mine, "seg11train")
        shutil.rmtree(mine / "benchmark_RELEASE")
        for split in ("trainaug", "sbd_train"):
            with pytest.raises(DataError, match=rf"^{mine}/benchmark_RELEASE/dataset/train\.txt: there is no such file"):
                Voc2012(mine, split)

    def test_2011_may_lie_where_its_archive_unpacks(self, mine):
        (mine / "TrainVal" / "VOCdevkit").mkdir(parents=True)
        shutil.move(mine / "VOCdevkit" / "VOC2011", mine / "TrainVal" / "VOCdevkit" / "VOC2011")
        assert names(mine, "seg11valid") == ["2007_000003"]

    def test_an_empty_list_is_refused(self, mine):
        put_list(mine / "VOCdevkit/VOC2012/ImageSets/Segmentation/val.txt", [])
        with pytest.raises(DataError, match=r"Segmentation/val\.txt: lists no picture"):
            Voc2012(mine, "val")


class TestLabels:
    def test_indices_of_the_palette_are_class_ids(self, root):
        _, drawn, _ = draw_grid(3, range(21))
        drawn[:, -1] = 255
        assert np.array_equal(labels_of(root, "val", "2007_000003"), drawn)

    def test_vocs_mask_counts_where_both_have_the_picture(self, root):
        assert (labels_of(root, "trainaug", "2008_000002")[:, -1] == 255).all()
        assert (labels_of(root, "trainaug", "2011_000007") != 255).all()

    def test_sbd_train_has_the_labels_of_sbd(self, root):
        assert (labels_of(root, "sbd_train", "2008_000002") != 255).all()
        _, drawn, _ = draw_grid(2, range(21))
        assert np.array_equal(labels_of(root, "sbd_train", "2008_000002"), drawn)

    def test_seg11valid_has_the_labels_of_voc(self, root):
        assert (labels_of(root, "seg11valid", "2007_000003")[:, -1] == 255).all()

    def test_test_has_none_and_is_not_judged(self, root, tmp_path):
        test = open_dataset("voc2012", root=root, split="test")
        assert test.sample(0).labels is None
        assert test.sample(0).image.shape == (24, 40, 3)
        with pytest.raises(DataError, match=r"^2010_000006: has no labels to judge by; add its mask or choose another split\.$"):
            evaluate(tmp_path, test)

    def test_a_mask_of_another_size_is_refused(self, mine):
        put_picture(mine / "VOCdevkit/VOC2012/SegmentationClass/2007_000001.png", np.zeros((24, 39)), palette=True)
        with pytest.raises(DataError, match=r"2007_000001\.png: is 24x39, its picture 2007_000001\.jpg is 24x40"):
            Voc2012(mine).sample(0)

    def test_a_value_outside_the_table_is_refused(self, mine):
        path = mine / "benchmark_RELEASE/dataset/cls/2011_000007.mat"
        put_mat(path, GTcls={"Segmentation": np.full((24, 40), 21, np.uint8)})
        with pytest.raises(DataError, match=r"2011_000007\.mat: value 21 at row 0, column 0 \(960 pixels\)"):
            labels_of(mine, "sbd_train", "2011_000007")


class TestObjects:
    def test_they_are_read_when_asked_for(self, root):
        assert Voc2012(root).sample(0).instances is None
        assert Voc2012(root, instances=True).sample(0).instances is not None
        assert Voc2012(root, "test", instances=True).sample(0).instances is None

    def test_a_split_can_be_opened_again_with_them(self, root):
        without = Voc2012(root, "trainvalaug")
        dataset = without.with_instances()
        assert all(dataset.sample(index).instances is not None for index in range(len(dataset)))  # SBD's pictures too
        assert without.sample(0).instances is None
        more = {*dataset.files()} - {*without.files()}
        assert {path.parent.name for path in more} == {"SegmentationObject", "inst"}
        assert len(more) == len(dataset)

    @pytest.mark.parametrize(("split", "name"), [("val", "2007_000003"), ("sbd_train", "2011_000007")])
    def test_each_cell_is_one_of_the_class_it_shows(self, root, split, name):
        dataset = Voc2012(root, split, instances=True)
        sample = dataset.sample(dataset.names.index(name))
        _, drawn, cells = draw_grid(int(name[-1]), range(21))
        objects = [cell for cell in range(1, 61) if (drawn[cells == cell] != 0).all()]
        assert sample.instances.class_ids.tolist() == [drawn[cells == cell][0] for cell in objects]
        judged = sample.labels != 255
        for mask, cell in zip(sample.instances.masks, objects, strict=True):
            assert np.array_equal(mask, (cells == cell) & judged)

    def test_a_picture_without_objects_has_none(self, mine):
        for kind in ("SegmentationClass", "SegmentationObject"):
            put_picture(mine / f"VOCdevkit/VOC2012/{kind}/2007_000001.png", np.zeros((24, 40)), palette=True)
        instances = Voc2012(mine, instances=True).sample(0).instances
        assert (instances.masks.shape, instances.class_ids.shape) == ((0, 24, 40), (0,))

    def test_one_that_lies_on_background_is_refused(self, mine):
        put_picture(mine / "VOCdevkit/VOC2012/SegmentationClass/2007_000001.png", np.zeros((24, 40)), palette=True)
        with pytest.raises(DataError, match=r"Object/2007_000001\.png: object \d+ lies where .*Class/2007_000001\.png"):
            Voc2012(mine, instances=True).sample(0)


class TestMatlab:
    @pytest.mark.parametrize(
        ("value", "words"),
        [
            (np.zeros((2, 3, 4), np.uint8), "is no label map"),
            (np.array([[0.5]]), "is no label map"),
            (np.array([[-1]]), "is no label map"),
            (np.array([[np.nan]]), "is no label map"),
            (np.array([[65536]]), "is no label map"),
            ("text", "is no label map"),
            ({"Segmentation": np.zeros((1, 1))}, "is no label map"),
        ],
    )
    def test_what_is_no_label_map_is_refused(self, tmp_path, value, words):
        put_mat(tmp_path / "a.mat", LabelMap=value)
        with pytest.raises(DataError, match=rf"^{tmp_path}/a\.mat: LabelMap {words}"):
            read_mat(tmp_path / "a.mat", "LabelMap")

    @pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.int32, np.float64])
    def test_any_type_of_whole_numbers_is_read(self, tmp_path, kind):
        put_mat(tmp_path / "a.mat", LabelMap=np.array([[0, 59], [200, 7]], kind))
        assert read_mat(tmp_path / "a.mat", "LabelMap").tolist() == [[0, 59], [200, 7]]

    def test_a_variable_or_field_that_is_not_there_is_named(self, tmp_path):
        put_mat(tmp_path / "a.mat", GTcls={"Boundaries": np.zeros((1, 1))})
        with pytest.raises(DataError, match=r"a\.mat: LabelMap cannot be read"):
            read_mat(tmp_path / "a.mat", "LabelMap")
        with pytest.raises(DataError, match=r"a\.mat: GTcls\.Segmentation cannot be read"):
            read_mat(tmp_path / "a.mat", "GTcls", "Segmentation")

    def test_a_missing_file_is_named(self, mine):
        path = mine / "benchmark_RELEASE/dataset/cls/2011_000007.mat"
        path.unlink()
        with pytest.raises(DataError, match=rf"^{path}: there is no such file\.$"):
            labels_of(mine, "sbd_train", "2011_000007")

    @given(st.data())
    def test_a_file_that_is_cut_short_is_refused(self, root, tmp_path_factory, data):
        whole = (root / "benchmark_RELEASE/dataset/cls/2011_000007.mat").read_bytes()
        path = tmp_path_factory.mktemp("cut") / "cut.mat"
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
        with pytest.raises(DataError, match=r"cut\.mat: GTcls\.Segmentation cannot be read .*damaged"):
            read_mat(path, "GTcls", "Segmentation")

    @given(st.binary(max_size=300))
    def test_bytes_that_are_no_matlab_file_are_refused(self, tmp_path_factory, content):
        path = tmp_path_factory.mktemp("junk") / "junk.mat"
        path.write_bytes(content)
        with pytest.raises(DataError, match=r"junk\.mat: LabelMap cannot be read"):
            read_mat(path, "LabelMap")


class TestCheck:
    def test_it_looks_at_train_and_val_alone(self, root):
        report = check("voc2012", root=root)
        assert report.problems == ()
        assert report.pictures == {"train": 2, "val": 3}
        assert report.class_pixels["train"][-1] == 2 * 24  # void: a column of each

    def test_a_damaged_mask_is_reported_and_the_rest_goes_on(self, mine):
        (mine / "VOCdevkit/VOC2012/SegmentationClass/2007_000001.png").write_bytes(b"")
        report = check("voc2012", root=mine)
        assert [(problem.kind, problem.file) for problem in report.errors] == [("unreadable", "train/2007_000001")]
        assert set(report.fingerprints) == {"val"}

    def test_an_exact_copy_in_both_splits_is_an_error_as_in_a_folder(self, mine):
        pictures = mine / "VOCdevkit/VOC2012/JPEGImages"
        shutil.copy(pictures / "2007_000001.jpg", pictures / "2007_000003.jpg")
        report = check("voc2012", root=mine)
        assert [(problem.kind, problem.severity, problem.file) for problem in report.problems] == [
            ("leak", "error", "val/2007_000003")]  # fmt: skip

    def test_splits_that_overlap_by_design_share_pictures_without_an_error(self, mine):
        shared = [
            problem for problem in check("voc2012", root=mine, splits=("trainval", "val")).problems if problem.kind == "leak"
        ]
        assert [(problem.severity, problem.file.split("/")[1], problem.other.split("/")[1]) for problem in shared] == [
            ("warning", name, name) for name in open_dataset("voc2012", root=mine, split="val").names]  # fmt: skip
        pictures = mine / "VOCdevkit/VOC2012/JPEGImages"
        shutil.copy(pictures / "2007_000001.jpg", pictures / "2007_000003.jpg")
        errors = check("voc2012", root=mine, splits=("trainval", "val")).errors
        assert [(problem.kind, problem.file) for problem in errors] == [("leak", "val/2007_000003")]

    def test_it_keeps_no_picture(self, root, monkeypatch):
        seen, most = [], 0

        class Many(Voc2012):
            def __len__(self):
                return 150

            def name(self, index):
                return f"{index:03}"

            def sample(self, index):
                nonlocal most
                sample = super().sample(index % len(self.names))
                seen.append(weakref.ref(sample.image))
                most = max(most, sum(picture() is not None for picture in seen))
                return sample

        monkeypatch.setitem(ON_DISK, "many", replace(ON_DISK["voc2012"], open=Many))
        assert check("many", root=root).pictures == {"train": 150, "val": 150}
        assert len(seen) == 300
        assert most <= THREADS


@pytest.mark.needs_torch
class TestRun:
    FLAGS = ("--data", "voc2012", "--network", "unet", "--convolutions", "same", "--width", "0.05", "--batch", "2",
             "--steps", "2", "--validations", "1", "--device", "cpu")  # fmt: skip

    def test_the_root_comes_from_the_environment(self, root, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("PERPIXEL_ROOT", str(root))
        assert merge(None, {})[1]["root"] == "PERPIXEL_ROOT"
        main(["train", *self.FLAGS, "--out", str(tmp_path / "run")])
        recipe, _ = merge(tmp_path / "run/recipe.toml", {}, {})
        assert (recipe.data, recipe.root) == ("voc2012", str(root))
        main(["check", "voc2012"])
        assert "voc2012: 5 pictures, 0 errors, 0 warnings." in capsys.readouterr().err
        monkeypatch.delenv("PERPIXEL_ROOT")
        with pytest.raises(SystemExit) as left:
            main(["check", "voc2012"])
        assert left.value.code == 3
        main(["evaluate", str(tmp_path / "run"), "--json"])  # a run knows where its data lay
        scores = json.loads(capsys.readouterr().out)
        assert scores["protocol"]["split"] == "val"
        assert sum(map(sum, scores["confusion"])) == 3 * 24 * 39
        with pytest.raises(SystemExit) as left:
            main(["evaluate", str(tmp_path / "run"), "--split", "test"])
        assert left.value.code == 3
        assert capsys.readouterr().err.splitlines()[-1].startswith("perpixel: 2010_000006: has no labels to judge by")

    def test_a_run_continues_where_the_data_went_but_not_on_other_data(self, mine, tmp_path, capsys):
        flags = [*self.FLAGS, "--out", str(tmp_path / "run")]
        main(["train", *flags, "--root", str(mine)])
        stamp = json.loads((tmp_path / "run/data.json").read_text())["stamp"]
        assert "SegmentationClass/2009_000005.png" in stamp
        moved = mine.rename(tmp_path / "moved")
        main(["train", *flags, "--root", str(moved)])
        mask = moved / "VOCdevkit/VOC2012/SegmentationClass/2009_000005.png"
        put_picture(mask, 20 - np.minimum(draw_grid(5, range(21))[1], 20), palette=True)
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main(["train", *flags, "--root", str(moved)])
        assert left.value.code == 3
        assert "voc2012: pictures or masks changed since" in capsys.readouterr().err


class TestLists:
    @pytest.mark.parametrize("name", ["a", "a b", " a", "a ", '"a"', '"a', 'a"', '"', '""', "가 나", "a/b c", "#a", "1 -1"])
    def test_what_is_written_is_read(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "list.txt").write_bytes(write_list(["x", name, "y"]))
        assert read_list(tmp_path / "list.txt") == ["x", name, "y"]

    @pytest.mark.parametrize("text", ["\ufeffa b\nc\n", "a b\r\nc\r\n", '"a b"\nc', "\n a b \n\nc"])
    def test_blanks_quotes_and_marks(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "list.txt").write_text(text)
        assert read_list(tmp_path / "list.txt") == ["a b", "c"]

    @pytest.mark.parametrize("name", ["../a", "/a", "a/../../b", "..", "C:/a", "a/./b"])
    def test_a_name_that_leads_outside_is_reported(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "list.txt").write_text(f"fine\n{name}\n")
        with pytest.raises(DataError, match=r"list\.txt: .* is no name of a picture"):
            read_list(tmp_path / "list.txt")
