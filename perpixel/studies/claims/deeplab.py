"""DeepLab v1 to v3+ (Chen et al., ICLR 2015, TPAMI 2017, arXiv 2017, ECCV 2018): field of view, CRF, pyramids of rates, image
pooling, multi-grid, output stride, the decoder.

Rates are those of the entries, made for small pictures: the published ones would see nothing but padding there."""

from __future__ import annotations

from perpixel.studies.claims.claim import Base, Claim


def claims(base: Base) -> list[Claim]:
    v1, v2, v3, plus = (base(name) for name in ("deeplabv1", "deeplabv2", "deeplabv3", "deeplabv3plus"))
    sharpened, plain = v1.predicting("v1, CRF", crf="deeplab"), v1.but("v1")
    scales = v2.but("three scales")
    decoded = plus.but("decoder", separable=False)
    undecoded = decoded.but("no decoder", network="deeplabv3").without("separable")
    rate = v1.settings["rate"]
    return [
        Claim(
            "deeplab-view", "a dilated fc6 sees more and labels better", "DeepLab v1, section 3.2, table 2",
            """Table 2: fc6 of 3x3 with a rate of 12 sees a large field; mIoU on VOC 2012 val is 62.25, that of a smaller
            field 59.80. Varied: the rate of fc6, the entry's or 1, with the same weights in number. Held: trunk, its first
            weights, pictures, learning rate, steps. It counts if mIoU is greater with the large field.""",
            v1.but(f"rate {rate}"), v1.but("rate 1", rate=1),
        ),
        Claim(
            "deeplab-crf", "a CRF sharpens what v1 makes", "DeepLab v1, section 4.2",
            """Section 4.2: a fully connected CRF behind the network brings borders back that pooling lost; 62.25 becomes
            67.64 on VOC 2012 val. Varied: the CRF, with the default numbers of the authors' script, or none. Held: the
            weights. It counts if mIoU is greater with the CRF.""",
            sharpened, plain,
        ),
        Claim(
            "deeplab-crf-before-v3", "the CRF gave v1 more than it gives v3", "DeepLab v3, abstract",
            """v3 reaches its score "without DenseCRF post-processing" and leaves it out. Varied: the CRF, once behind v1 and
            once behind v3. Held: the weights of each. It counts if what the CRF adds to mIoU is more behind v1 than behind
            v3.""",
            sharpened, plain, than=(v3.predicting("v3, CRF", crf="deeplab"), v3.but("v3")),
        ),
        Claim(
            "deeplab-v2-rates", "a pyramid of rates is better than one rate", "DeepLab v2, section 3.2",
            """Section 3.2: four branches of different rates see objects at several sizes; on VOC 2012 val with VGG-16 68.96
            (ASPP-L) against 65.76 (LargeFOV, one rate). Varied: the rates, four or the largest alone; one branch has a
            quarter of the weights, as in the paper. Held: trunk, its first weights, scales, pictures, learning rate, steps.
            It counts if mIoU is greater with four.""",
            v2.but("four rates"), v2.but("one rate", rates=v2.settings["rates"][-1:]),
        ),
        Claim(
            "deeplab-v2-scales", "the picture is better seen at three scales", "DeepLab v2, section 4.1",
            """Its ladder on VOC 2012 val with ResNet-101: the maximum of scores at three scales raises 68.72 to 71.27.
            Varied: the scales, 1 0.75 0.5 or 1, in training and test. Held: rates, trunk, its first weights, pictures,
            learning rate, steps. It counts if mIoU is greater with three.""",
            scales, v2.but("one scale", scales=(1.0,)),
        ),
        Claim(
            "deeplab-rates", "several rates are better than one", "DeepLab v3, section 3.3",
            """Section 3.3: v3 keeps the pyramid of parallel rates, since objects have several sizes. Varied: the rates of the
            3x3 branches, the entry's or 1 alone, which has fewer weights. Held: image pooling, trunk, its first weights,
            pictures, learning rate, steps. It counts if mIoU is greater with several.""",
            v3.but("v3"), v3.but("one rate", rates=(1,)),
        ),
        Claim(
            "deeplab-image-pooling", "the mean of the picture helps", "DeepLab v3, section 3.3",
            """Section 3.3: rates that are large for the map see only its padding, so the mean of the whole picture becomes a
            branch of its own, as in ParseNet. Varied: this branch, with or without. Held: rates, trunk, its first weights,
            pictures, learning rate, steps. It counts if mIoU is greater with the branch.""",
            v3.but("v3"), v3.but("no image pooling", image_pooling=False),
        ),
        Claim(
            "deeplab-multi-grid", "rates that grow within the last stage help", "DeepLab v3, section 3.2",
            """Section 3.2: the three convolutions of the last stage take the unit rates 1 2 4 instead of 1 1 1. Varied: these
            factors. Held: pyramid, trunk, its first weights, pictures, learning rate, steps. It counts if mIoU is greater
            with 1 2 4.""",
            v3.but("multi-grid 1 2 4"), v3.but("multi-grid 1 1 1", multi_grid=(1, 1, 1)),
            needs=("own trunk",),
        ),
        Claim(
            "deeplab-stride", "a finer output stride at test is better", "DeepLab v3, section 4.2",
            """Its ladder on VOC 2012 val: trained at output stride 16, 77.21; the same weights at 8, 78.51. Varied: the
            output stride in prediction, 8 or 16; rates double, and no weight changes. Held: the weights. It counts if mIoU is
            greater at 8.""",
            v3.predicting("output stride 8", output_stride=8), v3.but("output stride 16"), needs=("own trunk",),
        ),
        Claim(
            "deeplab-decoder", "the decoder is better than enlarging at once", "DeepLab v3+, section 4.2",
            """Its table on VOC 2012 val with ResNet-101: with the decoder 78.85, without 77.21. Varied: the decoder, v3+ with
            ordinary convolutions against v3 on the same trunk. Held: trunk, its first weights, rates, pictures, learning
            rate, steps. It counts if mIoU is greater with the decoder.""",
            decoded, undecoded,
        ),
        Claim(
            "deeplab-borders", "the decoder sharpens borders", "DeepLab v3+, section 4.4",
            """Section 4.4: in the narrowest band along borders the decoder adds 4.8 (ResNet-101) and 5.4 (Xception) points of
            mIoU. Varied and held: as before. It counts if Boundary IoU is greater with the decoder.""",
            decoded, undecoded, "boundary IoU",
        ),
    ]  # fmt: skip
