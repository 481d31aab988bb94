"""compare by the rules of benchmarks: differences, intervals and p as they come out when every sample is judged from scratch."""

import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import make_coco, make_isbi2012
from judging.test_evaluate_cityscapes import PICTURES, arrays, counts_of, put_set
from measures.test_instances import draw, put
from measures.test_instances import judged as average_precision_of
from PIL import Image

from perpixel.cli import main
from perpixel.datasets import open_dataset
from perpixel.datasets.cityscapes import Cityscapes
from perpixel.judging.answers import pairs_of
from perpixel.judging.compare import Comparison, coins, compare
from perpixel.judging.evaluate import counted, evaluate
from perpixel.judging.intervals import Interval, Samples
from perpixel.measures.boundary_iou import BoundaryIou, mask_band
from perpixel.measures.cityscapes import CityscapesIou
from perpixel.measures.instances import FIGURES, AveragePrecision
from perpixel.measures.membranes import Membranes
from perpixel.measures.membranes import figures as figures_of_membranes
from perpixel.measures.objects import Objects
from perpixel.measures.panoptic import PanopticQuality

SAMPLES, SEED = 9, 4
approx = pytest.approx


def numbers(one: Interval) -> dict[str, float]:
    return {key: value for key, value in vars(one).items() if key != "doubt"}


def require_same(found: Comparison, pictures: int, judge: Callable[[Sequence[tuple[int, int]]], dict[str, float]]) -> None:
    """`judge` scores a choice of pictures, each (its place, 0 or 1 for whose answer)."""

    def both(chosen: Sequence[tuple[int, int]]) -> tuple[dict[str, float], dict[str, float]]:
        return judge(chosen), judge([(place, 1 - whose) for place, whose in chosen])

    as_found = both([(place, 0) for place in range(pictures)])
    samples = Samples.drawn(pictures, SAMPLES, SEED)
    drawn = [both([(place, 0) for place in np.flatnonzero(weights).tolist()]) for weights in samples.weights]
    turns = np.array([*islice(coins(SAMPLES, SEED), pictures)]).T
    assert 0 < turns.mean() < 1
    chance = [both(list(enumerate(turn.tolist()))) for turn in turns]
    for name, one in found.pairs[0].figures.items():
        first, second = as_found[0][name], as_found[1][name]
        assert (one.first, one.second, one.difference) == (approx(first, nan_ok=True), approx(second, nan_ok=True),
                                                           approx(second - first, nan_ok=True)), name  # fmt: skip
        differences = np.array([pair[1][name] - pair[0][name] for pair in drawn])
        wanted = samples.interval(samples.whole(differences) if name in found.measure.sums else differences, "difference")
        assert one.interval.doubt == wanted.doubt, name
        assert numbers(one.interval) == approx(numbers(wanted), nan_ok=True, abs=1e-12), name
        as_great = sum(abs(pair[1][name] - pair[0][name]) >= abs(second - first) - 1e-12 for pair in chance)
        undefined = np.isnan(second - first)
        assert one.p_value == approx(np.nan if undefined else (as_great + 1) / (SAMPLES + 1), nan_ok=True)
    assert (found.num_pictures, found.samples, found.seed) == (pictures, SAMPLES, SEED)


def table_of(out: str) -> list[str]:
    """The lines that begin with the table of the two sides' differences."""
    lines = out.splitlines()
    return lines[next(place for place, line in enumerate(lines) if line.startswith("figure") and "difference" in line) :]


def test_cityscapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [arrays(picture) for picture in PICTURES]
    root = put_set(tmp_path, pictures)
    others = [np.where(truth % 2, truth, predicted).astype(np.uint8) for truth, _, predicted in pictures]
    for path, labels in zip(sorted((root / "pred").rglob("*.png")), others, strict=True):
        (root / "other").mkdir(exist_ok=True)
        Image.fromarray(labels).save(root / "other" / path.name)
    found = compare([root / "pred", root / "other"], Cityscapes(root, "val"), CityscapesIou(), SAMPLES, SEED)

    def judge(chosen: Sequence[tuple[int, int]]) -> dict[str, float]:
        drawn = [(*pictures[place][:2], others[place] if whose else pictures[place][2]) for place, whose in chosen]
        return counts_of(drawn).figures()

    require_same(found, 3, judge)
    main(["compare", str(root / "pred"), str(root / "other"), "--data", "cityscapes", "--root", str(root), "--cityscapes"])
    assert [line.split()[0] for line in table_of(capsys.readouterr().out)[:3]] == ["figure", "IoU_classes", "iIoU_classes"]


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_instances(tmp_path: Path, kind: str) -> None:
    truth, results = draw(6, pictures=5)
    rng = np.random.default_rng(1)
    both = results, [{**one, "score": float(rng.random())} for one in results]
    annotations, first = put(tmp_path, truth, results)
    second = tmp_path / "second.json"
    second.write_text(json.dumps(both[1]))
    found = compare([first, second], annotations, AveragePrecision(kind), SAMPLES, SEED)

    def judge(chosen: Sequence[tuple[int, int]]) -> dict[str, float]:
        drawn: dict[str, Any] = {**truth, "images": [], "annotations": []}
        told = []
        for id, (place, whose) in enumerate(chosen, start=1):
            drawn["images"].append({**truth["images"][place], "id": id, "file_name": f"{id}.png"})
            for one in (one for one in truth["annotations"] if one["image_id"] == place + 1):
                drawn["annotations"].append({**one, "id": len(drawn["annotations"]) + 1, "image_id": id})
            told += [{**one, "image_id": id} for one in both[whose] if one["image_id"] == place + 1]
        return average_precision_of(tmp_path, drawn, told, kind)

    require_same(found, 5, judge)


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    """ISBI 2012, drawn, and two folders of masks of its slices: cells that lost every seventh or third column, some whole."""
    root = make_isbi2012(tmp_path_factory.mktemp("data"))
    dataset, folders = open_dataset("isbi2012", root=root, split="rest1of5"), []
    for step in (7, 3):
        folders.append(root / f"every{step}")
        folders[-1].mkdir()
        for index in range(len(dataset)):
            inside = dataset.sample(index).labels == dataset.classes.id_of("inside")
            inside[:, index::step] = 0
            inside[: 4 * (index % step)] = 0
            Image.fromarray((255 * inside).astype(np.uint8)).save(folders[-1] / f"{dataset.name(index)}.png")
    return root, folders


def test_objects(cells: tuple[Path, list[Path]]) -> None:
    root, folders = cells
    dataset = open_dataset("isbi2012", root=root, split="rest1of5")
    measure = Objects("inside", connectivity=8, minimum_area=3)
    scores = [evaluate(folder, dataset, measure) for folder in folders]
    found = compare(folders, dataset, measure, SAMPLES, SEED)
    assert found.protocol | {"weights": found.sides[0].weights} == scores[0].protocol
    assert found.pairs[0].figures["SEG"].difference < 0
    require_same(found, len(dataset), lambda chosen: measure.summary(
        [scores[whose].totals[place] for place, whose in chosen], [], []).figures)  # fmt: skip


def test_membranes(cells: tuple[Path, list[Path]]) -> None:
    root, folders = cells
    dataset = open_dataset("isbi2012", root=root, split="rest1of5")
    measure = Membranes("membrane", (0.2, 0.6))
    sweeps = [counted(pairs_of(folder, dataset, measure))[0] for folder in folders]
    found = compare(folders, dataset, measure, SAMPLES, SEED)
    assert found.protocol["membranes"]["thresholds"] == [0.2, 0.6]

    def judge(chosen: Sequence[tuple[int, int]]) -> dict[str, float]:
        told = figures_of_membranes([sweeps[whose][place] for place, whose in chosen], (0.2, 0.6))
        return {name: one.value for name, one in told.items()}

    require_same(found, len(dataset), judge)


def test_boundary_iou(cells: tuple[Path, list[Path]]) -> None:
    root, folders = cells
    dataset = open_dataset("isbi2012", root=root, split="rest1of5")
    found = compare(folders, dataset, BoundaryIou(0.03), SAMPLES, SEED)
    assert found.protocol["boundaries"]["dilation"] == 0.03

    def judge(chosen: Sequence[tuple[int, int]]) -> dict[str, float]:
        both, either = np.zeros(2), np.zeros(2)
        for place, whose in chosen:
            truth = dataset.sample(place).labels
            mask = dataset.classes.decode(np.array(Image.open(folders[whose] / f"{dataset.name(place)}.png")))
            for id in range(2):
                bands = [mask_band(labels == id, 0.03) for labels in (truth, mask)]
                both[id] += (bands[0] & bands[1]).sum()
                either[id] += (bands[0] | bands[1]).sum()
        return {"boundary_mIoU": float((both / either).mean())}

    require_same(found, len(dataset), judge)


def test_the_commands_of_objects_membranes_and_borders(
    cells: tuple[Path, list[Path]], capsys: pytest.CaptureFixture[str]
) -> None:
    root, folders = cells
    command = ["compare", *map(str, folders), "--data", "isbi2012", "--root", str(root), "--split", "rest1of5", "--samples", "9"]
    main([*command, "--objects", "inside", "--connectivity", "8"])
    rows = [line.split() for line in table_of(capsys.readouterr().out)]
    assert [row[0] for row in rows[1:9]] == [
        "SEG", "AP", "AP50", "AP75", "true_objects", "predicted_objects", "splits", "merges",
    ]  # fmt: skip
    assert (rows[5][1], rows[5][3]) == (rows[5][2], "+0.0")  # the truth has as many objects, whoever looked for them
    assert float(rows[5][1]) < 100  # objects are counted, not in percent
    main([*command, "--membranes", "membrane"])
    assert "v_rand" in capsys.readouterr().out
    main([*command, "--boundary-iou", "--json"])
    assert set(json.loads(capsys.readouterr().out)["pairs"][0]["figures"]) == {"boundary_mIoU"}
    with pytest.raises(SystemExit) as left:
        main([*command, "--dilation", "0.1"])
    assert left.value.code == 2
    assert "belongs to --boundary-iou" in capsys.readouterr().err


def test_the_commands_on_files_of_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, first = put(tmp_path, *draw(2))
    second = tmp_path / "second.json"
    second.write_text(json.dumps([{**one, "score": 1 - one["score"]} for one in json.loads(first.read_text())]))
    command = ["compare", str(first), str(second), "--data", str(truth), "--samples", "9"]
    main([*command, "--instances", "box", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert set(told["pairs"][0]["figures"]) == set(FIGURES)
    assert told["protocol"]["instances"]["kind"] == "box"
    with pytest.raises(SystemExit) as left:
        main([*command, "--instances", "box", "--panoptic"])
    assert left.value.code == 2
    assert "are two judgements" in capsys.readouterr().err
    maps = make_coco(tmp_path / "coco") / "annotations/panoptic_val2017.json"
    main(["compare", str(maps), str(maps), "--data", str(maps), "--panoptic", "--samples", "9"])
    out = capsys.readouterr().out
    header, first, *_ = table_of(out)
    assert header.split()[-1] == "doubt"
    assert first.split()[:7] == ["PQ", "100.0", "100.0", "+0.0", "+0.0", "+0.0", "1.0000"]
    assert first.rstrip().endswith("the same in every half")
    assert "; split " not in out


def test_panoptic(tmp_path: Path) -> None:
    """A second set of results whose maps are turned round in one picture."""
    truth = make_coco(tmp_path) / "annotations/panoptic_val2017.json"
    turned = tmp_path / "turned.json"
    turned.write_text(json.dumps({"annotations": json.loads(truth.read_text())["annotations"]}))
    turned.with_suffix("").mkdir()
    for number, path in enumerate(sorted(truth.with_suffix("").iterdir())):
        ids = np.array(Image.open(path))
        Image.fromarray(ids[:, ::-1] if number == 0 else ids).save(turned.with_suffix("") / path.name)
    found = compare([truth, turned], truth, PanopticQuality(), samples_drawn=200, seed=1)
    one = found.pairs[0].figures["PQ"]
    assert (one.first, one.interval.doubt) == (1, "rests on 4 pictures")
    assert one.interval.low < one.difference < 0
    assert one.p_value == 1  # with one picture that differs, either exchange gives the same difference
