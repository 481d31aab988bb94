"""FPN's neck is torchvision's, weight for weight, with the sizes of the paper and for pictures of any size."""

import pytest
import torch
from torchvision.ops import FeaturePyramidNetwork

from perpixel.layers.pyramid import Pyramid, coarsest

RESNET = (256, 512, 1024, 2048)


def features(sides: list[tuple[int, int]], channels: list[int]) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(1, depth, *side) for depth, side in zip(channels, sides, strict=True)]


@pytest.mark.parametrize(
    ("depth", "norm", "parameters"), [(256, "none", 3_344_384), (128, "none", 1_082_368), (256, "group", 3_346_432)]
)
def test_it_has_the_published_parameters(depth: int, norm: str, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(parameter.numel() for parameter in Pyramid(RESNET, depth, norm).parameters()) == parameters


@pytest.mark.parametrize("sides", [[(16, 24), (8, 12), (4, 6)], [(13, 9), (7, 5), (4, 3)], [(1, 1), (1, 1), (1, 1)]])
def test_a_state_of_torchvision_gives_torchvisions_maps(sides: list[tuple[int, int]]) -> None:
    channels = [4, 6, 8]
    theirs, ours = FeaturePyramidNetwork(channels, 32), Pyramid(channels, 32)
    ours.load_state_dict(theirs.state_dict())
    given = features(sides, channels)
    wanted = theirs({str(level): x for level, x in enumerate(given)})
    for found, map_of_theirs in zip(ours(given), wanted.values(), strict=True):
        torch.testing.assert_close(found, map_of_theirs)


def test_the_levels_without_a_way_down_know_nothing_of_each_other() -> None:
    channels = [4, 6]
    ours = Pyramid(channels, 32, top_down=False)
    fine, coarse = features([(4, 4), (2, 2)], channels)
    torch.testing.assert_close(ours([fine, coarse])[0], ours([fine, coarse + 1])[0])
    ours.top_down = True
    assert not torch.allclose(ours([fine, coarse])[0], ours([fine, coarse + 1])[0])


def test_without_laterals_only_the_coarsest_feature_is_read() -> None:
    channels = [4, 6]
    ours = Pyramid(channels, 32, lateral=False)
    fine, coarse = features([(4, 4), (2, 2)], channels)
    assert [tuple(level.shape) for level in ours([fine, coarse])] == [(1, 32, 4, 4), (1, 32, 2, 2)]
    torch.testing.assert_close(ours([fine, coarse])[0], ours([fine + 1, coarse])[0])


def test_p6_is_every_second_cell() -> None:
    assert coarsest(torch.arange(25.0).view(1, 1, 5, 5))[0, 0].tolist() == [[0, 2, 4], [10, 12, 14], [20, 22, 24]]
