"""Mask R-CNN (He et al., ICCV 2017): RoIAlign against RoIPool."""

from __future__ import annotations

from perpixel.studies.claims.claim import Base, Claim


def claims(base: Base) -> list[Claim]:
    network = base("mask_rcnn")
    aligned, pooled = network.but("RoIAlign"), network.but("RoIPool", roi="pool")
    return [
        Claim(
            "mask_rcnn-align", "regions cut out without rounding give better masks", "Mask R-CNN, section 4.2, table 2",
            """Table 2: with ResNet-50-C4 mask AP is 30.3 with RoIAlign and 26.9 with RoIPool, which rounds the sides of
            regions to cells; with FPN, whose cells are finer, the gain is 1.5. Varied: RoIAlign or RoIPool, on FPN. Held:
            trunk, its first weights, heads, pictures, learning rate, steps. It counts if mask AP is greater with RoIAlign.""",
            aligned, pooled, "AP", needs=("objects",),
        ),
        Claim(
            "mask_rcnn-align-strict", "the gain is in masks that fit closely", "Mask R-CNN, section 4.2, table 2",
            """Section 4.2: the gain of RoIAlign is greatest at high overlaps. Varied: RoIAlign or RoIPool, on FPN. Held:
            trunk, its first weights, heads, pictures, learning rate, steps. It counts if mask AP at an IoU of 0.75 is greater
            with RoIAlign.""",
            aligned, pooled, "AP75", needs=("objects",),
        ),
    ]  # fmt: skip
