"""compare by the rules of benchmarks: differences, intervals and p as they come out when every sample is judged from scratch."""

import json
from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fakes import make_coco
from PIL import Image
from test_average_precision import draw, put
from test_average_precision import judged as average_precision_of
from test_evaluate_cityscapes import PICTURES, arrays, counts_of, put_set

from perpixel.annotations import read_annotations
from perpixel.average_precision import FIGURES, read_results
from perpixel.bootstrap import interval, weights_of
from perpixel.cli import main
from perpixel.compare import Comparison, coins
from perpixel.compare_benchmarks import compare_cityscapes, compare_instances, compare_panoptic
from perpixel.datasets.cityscapes import Cityscapes
from perpixel.evaluate_cityscapes import figures_of

SAMPLES, SEED = 9, 4
approx = pytest.approx


def require_same(found: Comparison, pictures: int, judge: Callable[[Sequence[tuple[int, int]]], dict[str, float]]) -> None:
    """`judge` scores a choice of pictures, each (its place, 0 or 1 for whose answer)."""

    def both(chosen: Sequence[tuple[int, int]]) -> tuple[dict[str, float], dict[str, float]]:
        return judge(chosen), judge([(place, 1 - whose) for place, whose in chosen])

    as_found = both([(place, 0) for place in range(pictures)])
    drawn = [both([(place, 0) for place in np.repeat(np.arange(pictures), weights).tolist()])
             for weights in weights_of(pictures, SAMPLES, SEED)]  # fmt: skip
    turns = np.array([*islice(coins(SAMPLES, SEED), pictures)]).T
    assert 0 < turns.mean() < 1
    chance = [both(list(enumerate(turn.tolist()))) for turn in turns]
    for name, one in found.figures.items():
        first, second = as_found[0][name], as_found[1][name]
        assert (one.first, one.second, one.difference) == (approx(first, nan_ok=True), approx(second, nan_ok=True),
                                                           approx(second - first, nan_ok=True)), name  # fmt: skip
        wanted = interval(np.array([pair[1][name] - pair[0][name] for pair in drawn]))
        assert vars(one.interval) == approx(vars(wanted), nan_ok=True, abs=1e-12), name
        as_great = sum(abs(pair[1][name] - pair[0][name]) >= abs(second - first) - 1e-12 for pair in chance)
        undefined = np.isnan(second - first)
        assert one.p_value == approx(np.nan if undefined else (as_great + 1) / (SAMPLES + 1), nan_ok=True)
    assert (found.num_pictures, found.samples, found.seed) == (pictures, SAMPLES, SEED)


def test_cityscapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures = [arrays(picture) for picture in PICTURES]
    root = put_set(tmp_path, pictures)
    others = [np.where(truth % 2, truth, predicted).astype(np.uint8) for truth, _, predicted in pictures]
    for path, labels in zip(sorted((root / "pred").rglob("*.png")), others, strict=True):
        (root / "other").mkdir(exist_ok=True)
        Image.fromarray(labels).save(root / "other" / path.name)
    found = compare_cityscapes(root / "pred", root / "other", Cityscapes(root, "val"), SAMPLES, SEED)
    require_same(found, 3, lambda chosen: figures_of(counts_of(
        [(*pictures[place][:2], others[place] if whose else pictures[place][2]) for place, whose in chosen])))  # fmt: skip
    main(["compare", str(root / "pred"), str(root / "other"), "--data", "cityscapes", "--root", str(root), "--cityscapes"])
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:3]] == ["figure", "IoU_classes", "iIoU_classes"]


@pytest.mark.parametrize("kind", ["mask", "box"])
def test_instances(tmp_path: Path, kind: str) -> None:
    truth, results = draw(6, pictures=5)
    rng = np.random.default_rng(1)
    both = results, [{**one, "score": float(rng.random())} for one in results]
    annotations, first = put(tmp_path, truth, results)
    read = read_annotations(annotations)
    one = read_results(first, read)
    first.write_text(json.dumps(both[1]))
    found = compare_instances(one, read_results(first, read), read, kind, SAMPLES, SEED)

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


def test_the_commands_on_files_of_coco(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, first = put(tmp_path, *draw(2))
    second = tmp_path / "second.json"
    second.write_text(json.dumps([{**one, "score": 1 - one["score"]} for one in json.loads(first.read_text())]))
    command = ["compare", str(first), str(second), "--data", str(truth), "--samples", "9"]
    main([*command, "--instances", "box", "--json"])
    told = json.loads(capsys.readouterr().out)
    assert set(told["figures"]) == set(FIGURES)
    assert told["protocol"]["instances"]["kind"] == "box"
    with pytest.raises(SystemExit) as left:
        main([*command, "--instances", "box", "--panoptic"])
    assert left.value.code == 2
    assert "give one of them" in capsys.readouterr().err
    maps = make_coco(tmp_path / "coco") / "annotations/panoptic_val2017.json"
    main(["compare", str(maps), str(maps), "--data", str(maps), "--panoptic", "--samples", "9"])
    out = capsys.readouterr().out
    assert out.splitlines()[1].split() == ["PQ", "100.0", "100.0", "+0.0", "+0.0", "+0.0", "1.0000"]
    assert "split" not in out


def test_panoptic(tmp_path: Path) -> None:
    """A second set of results whose maps are turned round in one picture."""
    truth = make_coco(tmp_path) / "annotations/panoptic_val2017.json"
    turned = tmp_path / "turned.json"
    turned.write_text(json.dumps({"annotations": json.loads(truth.read_text())["annotations"]}))
    turned.with_suffix("").mkdir()
    for number, path in enumerate(sorted(truth.with_suffix("").iterdir())):
        ids = np.array(Image.open(path))
        Image.fromarray(ids[:, ::-1] if number == 0 else ids).save(turned.with_suffix("") / path.name)
    found = compare_panoptic(truth, turned, truth, samples=200, seed=1)
    one = found.figures["PQ"]
    assert (one.first, one.interval.high) == (1, 0)
    assert one.interval.low < one.difference < 0
    assert one.p_value == 1  # with one picture that differs, either exchange gives the same difference
