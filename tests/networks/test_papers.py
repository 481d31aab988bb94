"""The tables of what there is: parameters and multiply-adds by formula, a paper for every network."""

import re

import pytest

from perpixel.datasets import DATASETS, ON_DISK
from perpixel.datasets.listing import datasets
from perpixel.networks import NETWORKS
from perpixel.networks.papers import PAPERS, NetworkRow, networks, size_of

VGG = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))


@pytest.fixture(scope="module")
def rows() -> dict[str, NetworkRow]:
    return {row.name: row for row in networks()}


def convolution(inputs: int, outputs: int, kernel: int, side: int) -> int:
    """Multiply-adds of a convolution whose result is `side` x `side`."""
    return inputs * outputs * kernel**2 * side**2


def fcn8s_by_hand() -> tuple[int, int]:
    """Parameters and multiply-adds of FCN-8s for 21 classes and 512 x 512 pixels, layer by layer."""
    parameters = work = 0
    side, inputs, scored = 512 + 2 * 100 - 2, 3, {}
    for block, (outputs, count) in enumerate(VGG, start=1):
        for _ in range(count):
            parameters += inputs * outputs * 9 + outputs
            work += convolution(inputs, outputs, 3, side)
            inputs = outputs
        side = -(-side // 2)  # pools round up
        scored[block] = (outputs, side)
    assert [side for _, side in scored.values()] == [355, 178, 89, 45, 23]
    side -= 6
    for inputs, kernel in ((512, 7), (4096, 1)):
        parameters += inputs * 4096 * kernel**2 + 4096
        work += convolution(inputs, 4096, kernel, side)
    for inputs, cells in ((4096, side), scored[4], scored[3]):
        parameters += inputs * 21 + 21
        work += convolution(inputs, 21, 1, cells)
    # Frozen kernels of 4x4, 4x4 and 16x16, each channel by itself: a cell is spread over a whole kernel.
    for kernel in (4, 4, 16):
        work += 21 * side**2 * kernel**2
        side = 2 * (side - 1) + 4
    return parameters, work


def test_fcn8s_layer_by_layer(rows: dict[str, NetworkRow]) -> None:
    assert (rows["fcn8s"].parameters, rows["fcn8s"].multiply_adds) == fcn8s_by_hand()
    assert rows["fcn8s"].parameters == 134_362_751


def test_one_convolution_by_formula() -> None:
    """A class more is a channel more of the last 1x1 convolution; RGB has two channels more than grey at the first 3x3."""
    size = (96, 128)

    def cost(**arguments: object) -> int:
        return size_of("unet", size=size, convolutions="same", **arguments)[1]

    assert cost(classes=2) - cost(classes=1) == 64 * 96 * 128
    assert cost(classes=2) - cost(classes=2, channels=1) == 2 * 64 * 3 * 3 * 96 * 128


def test_unet_has_the_papers_size() -> None:
    assert size_of("unet", 2, channels=1)[0] == 31_030_658


def test_every_network_has_a_paper_with_a_year_and_a_figure(rows: dict[str, NetworkRow]) -> None:
    assert set(rows) == set(PAPERS) == set(NETWORKS)
    for row in rows.values():
        assert re.search(r"et al\., .+ 20\d\d$", row.paper)
        assert re.search(r"\d", row.figure)
        assert row.parameters > 1e6
        assert row.multiply_adds > row.parameters
        assert (row.classes, row.size) == (21, (512, 512))


def test_every_data_set_says_what_it_is() -> None:
    found = {row.name: row for row in datasets()}
    assert set(found) == {*DATASETS, *ON_DISK}
    scenes = found["scenes"]
    assert scenes.pictures == {"train": 600, "val": 100, "test": 100}
    assert len(scenes.classes) == 10
    assert scenes.what


def test_sets_on_disk_are_listed_with_the_published_counts_though_they_are_not_here() -> None:
    found = {row.name: row for row in datasets()}
    assert {name: len(found[name].classes) for name in ON_DISK} == {
        "voc2012": 21, "context59": 59, "context60": 60, "context33": 33, "coco": 81, "coco_voc21": 21, "coco_stuff171": 171,
        "coco_stuff92": 92, "coco_panoptic": 133, "siftflow": 33, "siftflow_geometric": 3, "nyud": 40,
        "isbi2012": 2, "phc_u373": 2, "dic_hela": 2, "cityscapes": 19, "cityscapes30": 30, "cityscapes8": 7,
        "camvid32": 31, "camvid11": 11, "ade20k": 150, "nuclei2018": 2}  # fmt: skip
    assert (found["voc2012"].pictures["val"], found["context60"].pictures) == (1449, {"train": 4998, "val": 5105})
    assert all(f"needs --root, the folder that holds {ON_DISK[name].holds}" in found[name].what for name in ON_DISK)
