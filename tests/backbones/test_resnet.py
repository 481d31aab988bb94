"""Our ResNet is torchvision's and timm's, weight for weight, and what the papers of the review change in it is what they say."""

import pytest
import timm
import torch
from torch import nn
from torchvision.models import get_model

from perpixel.backbones.resnet import KINDS, STAGES, FrozenBatchNorm, ResNet
from perpixel.backbones.trunks import staged_trunk
from perpixel.errors import UnknownName, UsageError


def filled(module: nn.Module) -> dict[str, torch.Tensor]:
    """Its state with statistics that are not those of the start, so that a layer that is left out is seen."""
    torch.manual_seed(1)
    for name, tensor in module.state_dict().items():
        if name.endswith("running_mean"):
            tensor.normal_(0, 0.1)
        elif name.endswith(("running_var", "bn3.weight")):
            tensor.uniform_(0.5, 1.5)
    return module.state_dict()


@pytest.mark.parametrize(("kind", "parameters"), [
    ("resnet50", 23_508_032), ("resnet101", 42_500_160), ("resnet152", 58_143_808), ("resnext50_32x4d", 22_979_904),
    ("resnext101_32x8d", 86_742_336), ("resnext101_64x4d", 81_406_272),
])  # fmt: skip
def test_without_a_classifier_it_has_torchvisions_parameters(kind: str, parameters: int) -> None:
    with torch.device("meta"):
        ours, theirs = ResNet(kind), get_model(kind, weights=None)
    assert sum(parameter.numel() for parameter in ours.parameters()) == parameters
    assert sum(parameter.numel() for name, parameter in theirs.named_parameters() if not name.startswith("fc.")) == parameters


@pytest.mark.parametrize("kind", ["resnet50", "resnext50_32x4d"])
@pytest.mark.parametrize("side", [64, 67])
def test_a_state_of_torchvision_gives_torchvisions_features(kind: str, side: int) -> None:
    theirs = get_model(kind, weights=None).eval()
    ours = ResNet(kind).eval()
    ours.load_imagenet_state(filled(theirs))
    images = torch.rand(1, 3, side, side + 5)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1((images - ours.mean) / ours.std))))
    with torch.no_grad():
        found = ours(images)
        for number, stage in enumerate(STAGES, start=1):
            x = theirs.get_submodule(f"layer{number}")(x)
            torch.testing.assert_close(found[stage], x, rtol=1e-5, atol=1e-5)


def test_a_state_of_timms_deep_stem_gives_timms_features() -> None:
    theirs = timm.create_model("resnet50s").eval()
    ours = ResNet(stem="deep").eval()
    ours.load_imagenet_state(filled(theirs))
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        wanted = theirs.forward_features((images - ours.mean) / ours.std)
        torch.testing.assert_close(ours(images)["res5"], wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("output_stride", [8, 16])
def test_half_dilation_in_the_first_block_is_torchvisions(output_stride: int) -> None:
    replaced = [False, output_stride == 8, True]
    theirs = get_model("resnet50", weights=None, replace_stride_with_dilation=replaced).eval()
    ours = ResNet(output_stride=output_stride, first_dilation="half").eval()
    ours.load_imagenet_state(filled(theirs))
    images = torch.rand(1, 3, 65, 65)
    x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1((images - ours.mean) / ours.std))))
    with torch.no_grad():
        for layer in (theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4):
            x = layer(x)
        torch.testing.assert_close(ours(images)["res5"], x, rtol=1e-5, atol=1e-5)


def dilations(trunk: ResNet, stage: int) -> list[int]:
    return [block.conv2.dilation[0] for block in trunk.get_submodule(f"layer{stage}")]


def test_pspnets_dilations_are_2_and_4_in_every_block() -> None:
    trunk = ResNet(width=0.05, output_stride=8, stem="deep")
    assert [dilations(trunk, stage) for stage in (1, 2, 3, 4)] == [[1] * 3, [1] * 4, [2] * 6, [4] * 3]
    assert trunk.strides == {"res2": 4, "res3": 8, "res4": 8, "res5": 8}
    assert trunk.pyramid == ("res2", "res5")


def test_multi_grid_multiplies_the_dilation_of_the_last_stage() -> None:
    trunk = ResNet(width=0.05, output_stride=16, multi_grid=(1, 2, 4))
    assert dilations(trunk, 4) == [2, 4, 8]
    trunk.output_stride = 8
    assert dilations(trunk, 3) == [2] * 6
    assert dilations(trunk, 4) == [4, 8, 16]


@pytest.mark.parametrize("size", [(1, 1), (33, 65), (64, 40)])
@pytest.mark.parametrize("output_stride", [4, 8, 16, 32])
def test_maps_have_the_stride_that_is_said(size: tuple[int, int], output_stride: int) -> None:
    trunk = ResNet(width=0.05, output_stride=output_stride).eval()
    for stage, x in trunk(torch.rand(1, 3, *size)).items():
        stride = trunk.strides[stage]
        assert x.shape[1:] == (trunk.channels[stage], -(-size[0] // stride), -(-size[1] // stride))
    assert trunk.strides["res5"] == output_stride == trunk.output_stride


def test_the_stride_lies_where_it_is_said() -> None:
    for stride_in, strides in (("3x3", [1, 2]), ("1x1", [2, 1])):
        block = ResNet(width=0.05, stride_in=stride_in).layer2[0]
        assert [block.conv1.stride[0], block.conv2.stride[0]] == strides


def test_frozen_normalisation_is_that_of_evaluation_and_learns_nothing() -> None:
    batch, frozen = nn.BatchNorm2d(4), FrozenBatchNorm(4)
    filled(batch)
    nn.init.uniform_(batch.weight)
    nn.init.uniform_(batch.bias)
    frozen.load_state_dict({name: tensor for name, tensor in batch.state_dict().items() if name != "num_batches_tracked"})
    x = torch.randn(2, 4, 3, 3)
    torch.testing.assert_close(frozen.train()(x), batch.eval()(x))
    assert list(frozen.parameters()) == []


def test_frozen_stages_take_no_gradient() -> None:
    trunk = ResNet(width=0.05)
    trunk.freeze(2)
    learned = {name.split(".")[0] for name, parameter in trunk.named_parameters() if parameter.requires_grad}
    assert learned == {"layer2", "layer3", "layer4"}


def test_it_ends_where_it_is_told() -> None:
    trunk = ResNet(width=0.05, last="res4")
    assert list(trunk(torch.rand(1, 3, 32, 32))) == ["res2", "res3", "res4"]
    assert trunk.output_stride == 16
    assert not hasattr(trunk, "layer4")


@pytest.mark.parametrize(("arguments", "message"), [
    ({"output_stride": 12}, "output_stride = 12: must be 4, 8, 16 or 32"),
    ({"multi_grid": (1, 2)}, "res5 has three blocks"),
    ({"weights": "imagenet", "width": 0.5}, "no ImageNet weights for resnet50 at width 0.5"),
    ({"weights": "imagenet", "stride_in": "1x1", "width": 1}, "with the stride in the 1x1"),
])  # fmt: skip
def test_what_does_not_go_together_is_refused(arguments: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ResNet(**{"width": 0.05, **arguments})


@pytest.mark.parametrize("arguments", [{"kind": "resnet51"}, {"stem": "deeper"}, {"norm": "group"}, {"weights": "imagenet1k"}])
def test_a_slip_in_a_name_is_told(arguments: dict[str, str]) -> None:
    with pytest.raises(UnknownName):
        ResNet(**{"width": 0.05, **arguments})


@pytest.mark.parametrize("backbone", ["resnet50", "efficientnet_lite0", "mobilenetv3_small_050"])
def test_trunks_are_read_by_the_stride_that_features_have_undilated(backbone: str) -> None:
    width = 0.05 if backbone in KINDS else 1.0
    trunk = staged_trunk(backbone, width, output_stride=8).eval()
    found = trunk(torch.rand(1, 3, 64, 64))
    sides = [found[trunk.levels[stride]].shape[-1] for stride in (4, 8, 16, 32)]
    assert sides == [16, 8, 8, 8]
    assert [trunk.strides[trunk.levels[stride]] for stride in (4, 8, 16, 32)] == [4, 8, 8, 8]


def test_a_trunk_without_a_stride_that_is_needed_is_refused() -> None:
    with pytest.raises(UsageError, match="vit_tiny_patch16_224 has no features of stride 4"):
        staged_trunk("vit_tiny_patch16_224")


def test_features_end_before_a_stage_that_is_cut_off_and_its_layers_stay() -> None:
    torch.manual_seed(0)
    trunk, images = ResNet(width=0.05).eval(), torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        whole = trunk(images)
        names = trunk.state_dict().keys()
        trunk.cut("res5")
        found = trunk(images)
        assert torch.equal(trunk.get_submodule("layer4")(found["res4"]), whole["res5"])
    assert list(found) == ["res2", "res3", "res4"]
    assert (trunk.levels, trunk.output_stride) == ({4: "res2", 8: "res3", 16: "res4"}, 16)
    assert trunk.state_dict().keys() == names
