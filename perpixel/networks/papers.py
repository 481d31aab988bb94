"""What there is: networks with their size and their papers' figures, data sets with their classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from perpixel.networks import NETWORKS, YARDSTICKS, build
from perpixel.networks.mask_rcnn import RegionNetwork

CLASSES, SIZE = 21, (512, 512)

# Paper, and the figure that it reports; sources: the papers' result tables.
PAPERS = {
    "fcn32s": ("Long et al., CVPR 2015", "59.4 mIoU, 736 pictures of VOC 2011 val"),
    "fcn16s": ("Long et al., CVPR 2015", "62.4 mIoU, 736 pictures of VOC 2011 val"),
    "fcn8s": ("Long et al., CVPR 2015", "62.7 mIoU, 736 pictures of VOC 2011 val; 62.2 VOC 2012 test"),
    "fcn8s_atonce": ("Shelhamer et al., PAMI 2017", "65.4 mIoU, 736 pictures of VOC 2011 val (authors' weights)"),
    "parsenet": ("Liu et al., arXiv 2015", "69.8 mIoU, VOC 2012 test"),
    "deconvnet": ("Noh et al., ICCV 2015", "69.6 mIoU, VOC 2012 test; 72.5 with FCN-8s and a CRF"),
    "unet": ("Ronneberger et al., MICCAI 2015", "warping error 0.000353, ISBI 2012; IoU 0.9203 PhC-U373, 0.7756 DIC-HeLa"),
    "pspnet": ("Zhao et al., CVPR 2017", "85.4 mIoU, VOC 2012 test with COCO, 82.6 without; 80.2 Cityscapes test"),
    "encnet": ("Zhang et al., CVPR 2018", "51.7 mIoU, PASCAL-Context val; 85.9 VOC 2012 test with COCO"),
    "deeplabv1": ("Chen et al., ICLR 2015", "62.25 mIoU, VOC 2012 val; 67.64 with a CRF; 70.3 test"),
    "deeplabv2": ("Chen et al., TPAMI 2017", "76.35 mIoU, VOC 2012 val; 77.69 with a CRF; 79.7 test"),
    "deeplabv3": ("Chen et al., arXiv 2017", "77.21 mIoU, VOC 2012 val; 79.77 at output stride 8, scales, flips; 85.7 test"),
    "deeplabv3plus": ("Chen et al., ECCV 2018", "79.79 mIoU, VOC 2012 val; 81.39 at output stride 8, scales, flips; 87.8 test"),
    "fpn": ("Lin et al., CVPR 2017", "74.5 mIoU, Cityscapes val; 37.5 ADE20K val (mmsegmentation; the paper scores no pixels)"),
    "fpn_proposals": ("Lin et al., CVPR 2017", "48.1 AR at 1,000 masks of any class, the first 5,000 pictures of COCO val2014"),
    "mask_rcnn": ("He et al., ICCV 2017", "mask AP 33.6 COCO minival; 37.1 COCO test-dev (ResNeXt-101)"),
    "classifier": ("He et al., CVPR 2016", "22.85 % top-1 error, ImageNet val, ten crops (ResNet-50)"),
    "panet": ("Liu et al., CVPR 2018", "mask AP 36.6 COCO test-dev; 42.0 (ResNeXt-101, sizes of pictures drawn)"),
    # torchvision's figures for the weights that it publishes
    "torchvision_fcn_resnet50": ("Long et al., CVPR 2015", "60.5 mIoU, COCO val2017 with VOC's classes"),
    "torchvision_fcn_resnet101": ("Long et al., CVPR 2015", "63.7 mIoU, COCO val2017 with VOC's classes"),
    "torchvision_deeplabv3_resnet50": ("Chen et al., arXiv 2017", "66.4 mIoU, COCO val2017 with VOC's classes"),
    "torchvision_deeplabv3_resnet101": ("Chen et al., arXiv 2017", "67.4 mIoU, COCO val2017 with VOC's classes"),
    "torchvision_deeplabv3_mobilenet_v3_large": ("Chen et al., arXiv 2017", "60.3 mIoU, COCO val2017 with VOC's classes"),
    "torchvision_lraspp_mobilenet_v3_large": ("Howard et al., ICCV 2019", "57.9 mIoU, COCO val2017 with VOC's classes"),
    # yardsticks
    "vit_linear": ("Oquab et al., arXiv 2023", "47.2 mIoU, ADE20K val (DINOv2 ViT-S/14, tokens of four layers, several scales)"),
    "segformer": ("Xie et al., NeurIPS 2021", "37.4 mIoU, ADE20K val (B0; 51.8 B5 at several scales)"),
    "upernet": ("Xiao et al., ECCV 2018", "42.1 mIoU, ADE20K val (ResNet-50, mmsegmentation)"),
}


@dataclass(frozen=True)
class NetworkRow:
    """`parameters` are learned, here or in a pre-training. `multiply_adds` are those of a picture of `size` (height, width).

    `yardstick`: a later network beside the review's systems."""

    name: str
    parameters: int
    multiply_adds: int
    paper: str
    figure: str
    classes: int = CLASSES
    size: tuple[int, int] = SIZE

    @property
    def yardstick(self) -> bool:
        return self.name in YARDSTICKS


def networks() -> list[NetworkRow]:
    """Every network as published, counted on shapes alone: nothing is computed and no weights are made."""
    return [NetworkRow(name, *size_of(name), *PAPERS[name]) for name in NETWORKS]


def size_of(name: str, classes: int = CLASSES, size: tuple[int, int] = SIZE, **arguments: Any) -> tuple[int, int]:
    """Learned parameters, and multiply-adds of a picture of `size`. A network of objects is counted with its most regions."""
    with torch.device("meta"):
        network: Any = build(name, classes, **arguments).eval()
        images = torch.empty(1, arguments.get("channels", 3), *size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        (network.work if isinstance(network, RegionNetwork) else network)(images)
    return sum(parameter.numel() for parameter in network.parameters()), counter.get_total_flops() // 2
