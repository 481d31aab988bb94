"""PANet (Liu et al., CVPR 2018): the path back up, pooling of all levels, the fused mask, and all of it against Mask R-CNN.

Figures in the prose are mask AP on COCO val2017 with ResNet-50, each part added to those before: 35.7 with the better recipe
alone, 36.4 with the path, 36.9 with pooling of levels, 37.6 with fusion, 37.8 with the heavy head."""

from __future__ import annotations

from perpixel.studies.claims.claim import Base, Claim


def claims(base: Base) -> list[Claim]:
    panet = base("panet")
    whole = panet.but("PANet")
    return [
        Claim(
            "panet-path", "a path back up brings places to the coarse levels", "PANet, section 3.1",
            """Section 3.1: from fine levels to the top a second path takes fewer than ten layers; it adds 0.7. Varied: this
            path, with or without. Held: its other parts, trunk, its first weights, pictures, learning rate, steps. It counts
            if mask AP is greater with the path.""",
            whole, panet.but("no path back up", bottom_up=False), "AP", needs=("objects",),
        ),
        Claim(
            "panet-levels", "a region is better cut out of all levels", "PANet, section 3.2",
            """Section 3.2: features of every level, joined by their maximum, tell more than those of the level that the
            region's size points to; it adds 0.5. Varied: all levels or the own alone, whose heads have fewer first layers.
            Held: its other parts, trunk, its first weights, pictures, learning rate, steps. It counts if mask AP is greater
            with all levels.""",
            whole, panet.but("own level alone", pooling="level"), "AP", needs=("objects",),
        ),
        Claim(
            "panet-fusion", "a fully connected branch completes the mask", "PANet, section 3.3",
            """Section 3.3: fully connected layers know where in the region they look, convolutions do not; added together
            they give 0.7. Varied: this branch, with or without. Held: its other parts, trunk, its first weights, pictures,
            learning rate, steps. It counts if mask AP is greater with the branch.""",
            whole, panet.but("no fusion", fc_fusion=False), "AP", needs=("objects",),
        ),
        Claim(
            "panet-head", "a heavier box head helps", "PANet, section 4.2",
            """Its ladder: four convolutions instead of two fully connected layers before classes and boxes add 0.2. Varied:
            the box head. Held: its other parts, trunk, its first weights, pictures, learning rate, steps. It counts if mask
            AP is greater with the heavy head.""",
            whole, panet.but("two fully connected layers", box_head="two_fc"), "AP", needs=("objects",),
        ),
        Claim(
            "panet-all", "all parts together beat Mask R-CNN", "PANet, section 4.2",
            """Its ladder under one recipe: from 35.7 to 37.8; what the recipe itself adds is not part of the claim. Varied:
            the network, PANet against Mask R-CNN on the same trunk. Held: the trunk's first weights, width, pictures,
            learning rate, steps. It counts if mask AP of PANet is greater.""",
            whole, panet.but("Mask R-CNN", network="mask_rcnn"), "AP", needs=("objects",),
        ),
    ]  # fmt: skip
