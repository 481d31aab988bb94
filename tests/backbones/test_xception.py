"""Our Xception is timm's, weight for weight, which are the released ones; and what dilation does to it is what the code says."""

import pytest
import timm
import torch
from torch import nn

from perpixel.backbones.trunks import staged_trunk
from perpixel.backbones.xception import XCEPTIONS, Module, Xception
from perpixel.errors import UnknownName, UsageError


def filled(module: nn.Module) -> dict[str, torch.Tensor]:
    """Its state with statistics that are not those of the start, so that a layer that is left out is seen."""
    torch.manual_seed(1)
    for name, tensor in module.state_dict().items():
        if name.endswith(("running_mean", "bias")):
            tensor.normal_(0, 0.1)
        elif name.endswith("running_var") or ("bn" in name and name.endswith("weight")):
            tensor.uniform_(0.5, 1.5)
    return module.state_dict()


def liven(trunk: Xception) -> Xception:
    filled(trunk)
    return trunk.eval()


def blocks(trunk: Xception) -> list[Module]:
    return [block for block in trunk.blocks if isinstance(block, Module)]


def dilations(block: Module) -> list[int]:
    return [separable.conv_dw.dilation[0] for separable in block.stack.values()]  # type: ignore[union-attr,index,misc]


@pytest.mark.parametrize(("kind", "parameters", "layers"), [
    ("xception41", 24_920_560, 41), ("xception65", 37_867_312, 65), ("xception71", 40_289_736, 71),
])  # fmt: skip
def test_it_has_the_released_number_of_parameters_and_of_layers(kind: str, parameters: int, layers: int) -> None:
    with torch.device("meta"):
        trunk, theirs = Xception(kind), timm.create_model(kind)
    assert sum(parameter.numel() for parameter in trunk.parameters()) == parameters
    assert sum(tensor.numel() for name, tensor in theirs.named_parameters() if not name.startswith("head.")) == parameters
    assert 2 + 3 * len(trunk.blocks) == layers  # a separable convolution is one


@pytest.mark.parametrize("kind", XCEPTIONS)
@pytest.mark.parametrize("size", [(65, 97), (64, 90)])
def test_a_state_of_timm_gives_timms_features(kind: str, size: tuple[int, int]) -> None:
    theirs = timm.create_model(kind).eval()
    ours = Xception(kind).eval()
    ours.load_imagenet_state(filled(theirs))
    images = torch.rand(1, 3, *size)
    with torch.no_grad():
        found = ours(images)
        wanted = theirs.forward_intermediates((images - 0.5) / 0.5, intermediates_only=True)
    assert len(wanted) == 5
    for name, x in zip(("entry4", "entry8"), wanted[1:3], strict=True):  # timm takes them behind the ReLU
        torch.testing.assert_close(found[name].relu(), x, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found["exit"], wanted[-1], rtol=1e-4, atol=1e-5)


def test_the_middle_is_what_the_exit_flow_reads() -> None:
    trunk = liven(Xception("xception41", width=0.05))
    found = trunk(torch.rand(1, 3, 33, 33))
    exit_flow = blocks(trunk)[-2:]
    torch.testing.assert_close(exit_flow[1](exit_flow[0](found["middle"])[0])[0], found["exit"])
    assert (found["middle"] < 0).any()  # a sum, before the ReLU of the block behind
    assert (found["exit"] >= 0).all()


@pytest.mark.parametrize("kind", XCEPTIONS)
@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
@pytest.mark.parametrize("size", [(1, 1), (33, 65), (64, 40)])
def test_maps_have_the_stride_that_is_said(kind: str, output_stride: int, size: tuple[int, int]) -> None:
    trunk = Xception(kind, width=0.02, output_stride=output_stride).eval()
    assert trunk.strides == {name: min(stride, output_stride) for stride, name in trunk.levels.items()}
    for name, x in trunk(torch.rand(1, 3, *size)).items():
        stride = trunk.strides[name]
        assert x.shape[1:] == (trunk.channels[name], -(-size[0] // stride), -(-size[1] // stride))


@torch.inference_mode()
def test_dilation_computes_the_same_at_more_places() -> None:
    """Of a smaller output stride every second cell is the cell of the larger one."""
    trunk = liven(Xception("xception41", width=0.05))
    images = torch.rand(1, 3, 65, 97)
    coarse = trunk(images)["exit"]
    for step, output_stride in ((2, 16), (4, 8), (8, 4)):
        trunk.output_stride = output_stride
        torch.testing.assert_close(trunk(images)["exit"][..., ::step, ::step], coarse, rtol=1e-4, atol=1e-5)


def test_a_block_that_keeps_its_stride_has_the_dilation_of_those_before_it() -> None:
    trunk = Xception("xception65", width=0.02, output_stride=8)
    assert [dilations(block)[0] for block in blocks(trunk)] == [1, 1, 1, *[2] * 16, 2, 4]
    trunk.output_stride = 16
    assert [dilations(block)[0] for block in blocks(trunk)] == [*[1] * 20, 2]


def test_multi_grid_multiplies_the_dilation_of_the_last_block() -> None:
    trunk = Xception("xception41", width=0.02, output_stride=16, multi_grid=(1, 2, 4))
    assert [dilations(block) for block in blocks(trunk)][-2:] == [[1, 1, 1], [2, 4, 8]]


def test_epsilon_is_the_released_one() -> None:
    layers = [layer for layer in Xception(width=0.02).modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {layer.eps for layer in layers} == {0.001}


@pytest.mark.parametrize(("arguments", "message"), [
    ({"output_stride": 2}, "output_stride = 2: must be 4, 8, 16 or 32"),
    ({"multi_grid": (1, 2)}, "the last block has three convolutions"),
    ({"weights": "imagenet"}, r"no ImageNet weights for xception65 at width 0.02"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Xception(width=0.02, **arguments)


@pytest.mark.parametrize("arguments", [{"kind": "xception66"}, {"weights": "imagenet1k"}])
def test_a_slip_in_a_name_is_told(arguments: dict[str, str]) -> None:
    with pytest.raises(UnknownName, match="did you mean"):
        Xception(**{"width": 0.02, **arguments})


def test_it_is_a_staged_trunk() -> None:
    trunk = staged_trunk("xception41", 0.02, output_stride=16, multi_grid=(1, 2, 4))
    assert isinstance(trunk, Xception)
    assert dilations(blocks(trunk)[-1]) == [2, 4, 8]
    assert [trunk.strides[trunk.levels[stride]] for stride in (4, 8, 16, 32)] == [4, 8, 16, 16]
