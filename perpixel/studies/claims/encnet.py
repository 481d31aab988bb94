"""EncNet (Zhang et al., CVPR 2018): the loss of which classes occur, rare classes, codewords."""

from __future__ import annotations

from perpixel.studies.claims.claim import Base, Claim
from perpixel.studies.claims.figures import RARE


def claims(base: Base) -> list[Claim]:
    encnet = base("encnet")
    with_loss, without = encnet.but("SE-loss"), encnet.but("no SE-loss", se_loss=0.0)
    return [
        Claim(
            "encnet-se", "asking which classes occur helps", "EncNet, semantic encoding loss",
            """The SE-loss asks from the code of the picture which classes are in it. On PASCAL-Context with ResNet-50 mIoU is
            49.2 with it and 47.6 without (at second hand). Varied: the loss, with its weight of 0.2 or none. Held: codewords,
            gate, trunk, its first weights, pictures, learning rate, steps. It counts if mIoU is greater with the loss.""",
            with_loss, without,
        ),
        Claim(
            "encnet-se-rare", "the SE-loss helps rare classes", "EncNet, semantic encoding loss",
            """The SE-loss counts a class once, however few its pixels are, so the paper expects small objects to gain most.
            Varied and held: as before. It counts if the mean IoU of rare classes is greater with the loss. Rare are the
            classes that have less than 2 % of the judged pixels.""",
            with_loss, without, RARE, needs=("rare classes",),
        ),
        Claim(
            "encnet-codewords", "residuals to codewords tell more than the mean", "EncNet, encoding layer",
            """The encoding layer sums residuals to 32 learned centres; with none it is the mean over pixels, and the paper's
            curve over their number rises to 32. Varied: the codewords, 32 or 0. Held: SE-loss, gate, trunk, its first
            weights, pictures, learning rate, steps. It counts if mIoU is greater with codewords.""",
            encnet.but("32 codewords"), encnet.but("mean of pixels", codewords=0),
        ),
    ]  # fmt: skip
