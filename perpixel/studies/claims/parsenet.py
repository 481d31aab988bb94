"""ParseNet (Liu, Rabinovich, Berg, 2015): global context, and why joining layers needs normalisation."""

from __future__ import annotations

from perpixel.studies.claims.claim import Base, Claim

JOINED = ("pool6", "fc7", "conv5", "conv4")


def claims(base: Base) -> list[Claim]:
    parsenet = base("parsenet")
    joined = parsenet.but("four layers, normalised", features=JOINED)
    return [
        Claim(
            "parsenet-context", "the mean of the picture helps every pixel", "ParseNet, global context",
            """The paper adds the mean of fc7 over the picture to every pixel, and mean IU on VOC 2012 test rises from 67.3
            (its own baseline) to 69.8. Varied: the feature pool6, with and without. Held: trunk, its first weights,
            normalisation, pictures, learning rate, steps. It counts if mIoU is greater with pool6. Where all pictures show
            the same kind of place, their means tell less than on VOC.""",
            parsenet.but("pool6 and fc7"), parsenet.but("fc7 alone", features=("fc7",)),
        ),
        Claim(
            "parsenet-norm", "layers of different magnitude join only when normalised", "ParseNet, L2 normalisation",
            """The paper joins pool6, fc7, conv5, conv4 (and conv3): their magnitudes differ so much that the larger ones
            rule, and on PASCAL-Context its best network, 40.4 mean IU, does not train without the L2 norm. Varied: the norm
            with a learned scale, against none. Held: the four features, trunk, its first weights, pictures, learning rate,
            steps. It counts if mIoU is greater with the norm. A trunk with batch normalisation has no such magnitudes.""",
            joined, joined.but("four layers, not normalised", normalize="none"),
        ),
        Claim(
            "parsenet-context-norm", "global context gains more when it is normalised", "ParseNet, L2 normalisation",
            """The mean of the picture is smaller than single pixels are, so without a norm the local feature drowns it: this
            is why the paper normalises both. Varied: pool6 with and without, once with the norm and once with none. Held:
            trunk, its first weights, pictures, learning rate, steps. It counts if what pool6 adds to mIoU is more with the
            norm than with none.""",
            parsenet.but("pool6 and fc7"), parsenet.but("fc7 alone", features=("fc7",)),
            than=(
                parsenet.but("pool6 and fc7, no norm", normalize="none"),
                parsenet.but("fc7 alone, no norm", features=("fc7",), normalize="none"),
            ),
        ),
    ]  # fmt: skip
