"""Mask R-CNN: the published counts, torchvision's own boxes, scores, masks and losses, and truth that teaches nothing."""

from typing import Any

import numpy as np
import pytest
import torch
from fake_networks import all_masks, targets_of
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models.detection import MaskRCNN as TheirMaskRCNN
from torchvision.models.detection import maskrcnn_resnet50_fpn
from torchvision.models.detection.backbone_utils import _resnet_fpn_extractor
from torchvision.ops import FrozenBatchNorm2d

from perpixel.backbones.trunks import freeze
from perpixel.datasets import coco
from perpixel.errors import UntrustedFile, UsageError
from perpixel.layers.regions import expanded, soft_mask
from perpixel.networks import build
from perpixel.networks.mask_rcnn import Counts, MaskRCNN, Proposals, torchvision_name
from perpixel.networks.torchvision import torchvision_state
from perpixel.sample import Targets
from perpixel.weights.import_weights import of_coco

CLASSES, VOID = 7, 255
LOSSES = {
    "objectness": "loss_objectness", "rpn_box": "loss_rpn_box_reg", "classifier": "loss_classifier", "box": "loss_box_reg",
    "mask": "loss_mask",
}  # fmt: skip
FEW = Counts(Proposals(150, 120), Proposals(100, 80), 512)  # a picture takes a second, and all its regions are examples


def count(module: nn.Module, fixed: bool = False) -> int:
    """Learned parameters; `fixed` counts the scales and shifts of frozen normalisation too."""
    names = [name for name, _ in module.named_buffers() if fixed and name.endswith(("weight", "bias"))]
    return sum(parameter.numel() for parameter in module.parameters()) + sum(module.get_buffer(name).numel() for name in names)


def on_meta(**arguments: Any) -> MaskRCNN:
    with torch.device("meta"):
        network = build("mask_rcnn", **arguments)
    assert isinstance(network, MaskRCNN)
    return network


def theirs(**sizes: Any) -> TheirMaskRCNN:
    """torchvision's network with frozen normalisation, as its weights have it, random so that it finds objects of all classes."""
    torch.manual_seed(0)
    backbone = _resnet_fpn_extractor(resnet50(weights=None, norm_layer=FrozenBatchNorm2d), 3)
    network = TheirMaskRCNN(
        backbone, CLASSES, **sizes, box_detections_per_img=80, box_batch_size_per_image=FEW.regions,
        rpn_pre_nms_top_n_train=FEW.training.before, rpn_post_nms_top_n_train=FEW.training.after,
        rpn_pre_nms_top_n_test=FEW.test.before, rpn_post_nms_top_n_test=FEW.test.after,
    )  # fmt: skip
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif name.endswith("bn3.weight"):
                tensor.uniform_(0.1, 0.3)
        network.rpn.head.cls_logits.weight.mul_(20)
        network.rpn.head.bbox_pred.weight.mul_(5)
        network.roi_heads.box_predictor.cls_score.weight.mul_(1.5)
        network.roi_heads.box_predictor.bbox_pred.weight.mul_(10)
        network.roi_heads.mask_predictor.mask_fcn_logits.weight.mul_(10)
    return network.eval()


def ours(network: TheirMaskRCNN, **sizes: Any) -> MaskRCNN:
    made = build("mask_rcnn", CLASSES, detections=80, **sizes).eval()
    assert isinstance(made, MaskRCNN)
    made.counts = FEW
    made.load_state_dict(torchvision_state(made, network.state_dict()))
    freeze(made.trunk, 2)
    return made


def pictures(size: tuple[int, int], number: int = 1) -> Tensor:
    return torch.rand(number, 3, *size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("arguments", "learned", "all_of_them"),
    [
        ({"classes": 91}, 44_401_393, 44_454_513),
        ({"classes": 81}, 44_347_573, 44_400_693),
        ({"classes": 81, "backbone": "resnet101"}, 63_287_477, 63_392_821),
    ],
)
def test_it_has_the_published_number_of_parameters(arguments: dict[str, Any], learned: int, all_of_them: int) -> None:
    network = on_meta(**arguments)
    assert (count(network), count(network, fixed=True)) == (learned, all_of_them)


def test_its_parts_have_the_published_numbers_of_parameters() -> None:
    network = on_meta(classes=81)
    parts = (network.pyramid, network.rpn, network.box_head, network.mask_head)
    assert [count(part) for part in parts] == [3_344_384, 593_935, 14_310_805, 2_643_537]


class TestC4:
    """Regions of 14x14 cells of res4, the whole of res5 on each, masks of 14x14 (figure 4; Detectron)."""

    def test_all_anchors_are_at_stride_16(self) -> None:
        network = on_meta(classes=81, variant="c4")
        levels = network.levels(torch.empty(1, 3, 800, 1088, device="meta"))
        assert [tuple(level.shape) for level in levels] == [(1, 1024, 50, 68)]
        scores, changes = network.rpn(levels)
        assert (scores[0].shape, changes[0].shape) == ((1, 50 * 68 * 15), (1, 50 * 68 * 15, 4))

    def test_heads_begin_with_res5(self) -> None:
        network = on_meta(classes=81, variant="c4")
        (region,) = network.shared([torch.empty(3, 1024, 14, 14, device="meta")])
        assert region.shape == (3, 2048, 7, 7)
        scores, changes = network.box_head([region])
        assert (scores.shape, changes.shape) == ((3, 81), (3, 81, 4))
        assert network.mask_head([region]).shape == (3, 81, 14, 14)

    def test_it_has_the_layers_of_resnet_a_proposal_head_and_four_last_ones(self) -> None:
        trunk, rpn = 23_508_032 - 53_120, 1024 * 1024 * 9 + 1024 + 1025 * 15 * 5
        heads = 2049 * 81 * 5 + 2048 * 256 * 4 + 256 + 257 * 81
        assert count(on_meta(classes=81, variant="c4")) == trunk + rpn + heads

    def test_its_trunk_has_the_names_of_imagenets_weights(self) -> None:
        c4, fpn = (on_meta(variant=variant).trunk.state_dict().keys() for variant in ("c4", "fpn"))
        assert c4 == fpn


@pytest.fixture(scope="module", params=[((120, 173), 96, 140), ((90, 60), 96, 130)])
def pair(request: pytest.FixtureRequest) -> tuple[TheirMaskRCNN, MaskRCNN, Tensor]:
    size, shorter, longer = request.param
    network = theirs(min_size=shorter, max_size=longer)
    return network, ours(network, min_size=(shorter,), max_size=longer), pictures(size, 2)


class TestAgainstTorchvision:
    @torch.no_grad()
    def test_boxes_scores_and_masks_are_equal(self, pair: tuple[TheirMaskRCNN, MaskRCNN, Tensor]) -> None:
        network, mine, images = pair
        size = (images.shape[-2], images.shape[-1])
        for wanted, (boxes, scores, class_ids, masks) in zip(network(list(images)), mine.objects(images, size), strict=True):
            assert len(boxes) > 20
            assert len(class_ids.unique()) > 2
            assert torch.equal(class_ids, wanted["labels"])
            torch.testing.assert_close(boxes, wanted["boxes"], rtol=1e-5, atol=1e-3)
            torch.testing.assert_close(scores, wanted["scores"], rtol=1e-4, atol=1e-4)
            for mask, box, whole in zip(masks, expanded(boxes, 28), wanted["masks"][:, 0], strict=True):
                pixels, top, left = soft_mask(mask, box, size)
                found = torch.zeros(size)
                found[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
                torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-4)

    def test_detect_cuts_masks_at_a_half(self, pair: tuple[TheirMaskRCNN, MaskRCNN, Tensor]) -> None:
        network, mine, images = pair
        with torch.no_grad():
            results = network(list(images))
        for objects, wanted in zip(mine.detect(images), results, strict=True):
            masks = wanted["masks"][:, 0] > 0.5
            shown = masks.flatten(1).any(1)
            assert objects.size == tuple(images.shape[-2:])
            assert objects.class_ids.tolist() == wanted["labels"][shown].tolist()
            differ = (torch.from_numpy(objects.masks) != masks[shown]).float().mean()
            assert differ < 1e-4
            assert len(objects.class_ids) > 20

    def test_losses_and_their_gradients_are_equal(
        self, pair: tuple[TheirMaskRCNN, MaskRCNN, Tensor], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """With the same anchors, the first ones, and all regions."""
        network, mine, images = pair
        monkeypatch.setattr(torch, "randperm", lambda length, **_: torch.arange(length))
        targets = scene((images.shape[-2], images.shape[-1]), 2)
        assert targets.instances is not None
        given = [{"boxes": one.boxes, "labels": one.class_ids, "masks": all_masks(one).byte()} for one in targets.instances]
        try:
            theirs = network.train()(list(images), given)
        finally:
            network.eval()
        losses = mine.losses(images, targets)
        assert losses.keys() == LOSSES.keys()
        for name, called in LOSSES.items():
            assert losses[name] > 0
            torch.testing.assert_close(losses[name], theirs[called], rtol=1e-5, atol=1e-5)
        torch.stack(list(theirs.values())).sum().backward()
        torch.stack(list(losses.values())).sum().backward()
        wanted = torchvision_gradients(network, mine)
        for name, parameter in mine.named_parameters():
            assert parameter.requires_grad == (name in wanted), name
            if parameter.requires_grad:
                assert parameter.grad is not None
                assert (parameter.grad - wanted[name]).norm() <= 1e-3 * wanted[name].norm(), name


def torchvision_gradients(network: nn.Module, mine: nn.Module) -> dict[str, Tensor]:
    theirs_by_name = dict(network.named_parameters())
    named = {name: theirs_by_name[torchvision_name(name)] for name, _ in mine.named_parameters()}
    return {name: parameter.grad for name, parameter in named.items() if parameter.grad is not None}


def scene(size: tuple[int, int], count: int) -> Targets:
    """Pictures with discs of random classes, of which later ones cover others."""
    random = np.random.default_rng(0)
    rows, columns = np.indices(size)
    labels, objects = np.zeros((count, *size), np.int64), []
    for picture in range(count):
        masks, class_ids = [], []
        for _ in range(6):
            centre, radius = random.uniform(0, size), random.uniform(6, min(size) / 2)
            masks.append(((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2) < radius**2)
            class_ids.append(int(random.integers(1, CLASSES)))
            labels[picture][masks[-1]] = class_ids[-1]
        shown = [place for place, mask in enumerate(masks) if (mask & ~np.any(masks[place + 1 :], 0)).any()]
        objects.append(targets_of(torch.tensor(np.array(masks)[shown]), [class_ids[place] for place in shown]))
    return Targets(torch.from_numpy(labels), None, tuple(objects))


def test_a_state_of_torchvisions_builder_fits_with_its_counters() -> None:
    """Its normalisation is that of training, which counts batches."""
    with torch.device("meta"):
        state = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    network = on_meta(classes=91)
    taken = torchvision_state(network, state)
    assert taken.keys() == network.state_dict().keys()
    assert any(name.endswith("num_batches_tracked") for name in state)


def test_a_state_that_does_not_fit_is_refused_by_the_names_of_what_is_wrong() -> None:
    with torch.device("meta"):
        state = maskrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
        panet = build("panet", 91)
    with pytest.raises(UntrustedFile, match=r"not of torchvision's maskrcnn_resnet50_fpn \(misshapen: roi_heads.box_predictor"):
        torchvision_state(on_meta(classes=81), state)
    del state["rpn.head.conv.0.0.weight"]
    with pytest.raises(UntrustedFile, match=r"\(missing: rpn.head.conv.0.0.weight\)"):
        torchvision_state(on_meta(classes=91), state)
    with pytest.raises(UsageError, match=r"name a network of .*, mask_rcnn"):
        torchvision_state(panet, state)


def test_of_torchvisions_91_outputs_cocos_80_things_and_background_are_taken() -> None:
    """Category 90, the toothbrush, is the last of the 80; 91 outputs count from 0, and 12 is no thing."""
    names = {
        "roi_heads.box_predictor.cls_score.bias": (1,), "roi_heads.box_predictor.bbox_pred.weight": (4, 3),
        "roi_heads.mask_predictor.mask_fcn_logits.weight": (1, 5, 1, 1),
    }  # fmt: skip
    ids = torch.arange(91.0)
    state = {
        name: ids.repeat_interleave(rows).view(-1, *[1] * len(rest)).expand(-1, *rest) for name, (rows, *rest) in names.items()
    }
    other = torch.randn(91)
    taken = of_coco({**state, "backbone.body.bn1.bias": other})
    assert taken["backbone.body.bn1.bias"] is other
    things = [0.0, *map(float, coco.THINGS)]
    assert things[-1] == 90
    assert 12 not in things
    for name, (rows, *rest) in names.items():
        assert taken[name].shape == (81 * rows, *rest)
        assert taken[name].flatten(1).mean(1).tolist()[::rows] == things if rest else taken[name].tolist() == things
    few = {"roi_heads.box_predictor.cls_score.bias": torch.zeros(5)}
    assert of_coco(few) == few
