"""U-Net (Ronneberger, Fischer, Brox, MICCAI 2015): few pictures with elastic deformation, the weight map, skips."""

from __future__ import annotations

from dataclasses import replace

from perpixel.studies.claims.claim import Base, Claim

FEW = 30  # pictures, as many as the paper's stack has
ELASTIC, WEIGHT = 10.0, 10.0  # the paper's standard deviation in pixels, and its w0


def claims(base: Base) -> list[Claim]:
    unet = base("unet")
    few = replace(unet, pictures=FEW)
    return [
        Claim(
            "unet-elastic", "elastic deformation lets it learn from few pictures", "U-Net, section 3.1",
            """Section 3.1: random elastic deformation, by a 3x3 grid of displacements of 10 pixels, "seems to be the key
            concept" of training with very few pictures; the paper has 30, and gives no figure without. Varied: the
            deformation, 10 pixels or none. Held: 30 pictures of the training split, network, learning rate, steps, flips. It
            counts if mIoU is greater with deformation. Too few steps leave nothing to overfit, and then nothing can show.""",
            few.but("elastic, 30 pictures", elastic=ELASTIC), few.but("30 pictures"),
        ),
        Claim(
            "unet-elastic-few", "deformation gains more with few pictures than with all", "U-Net, section 3.1",
            """The same claim without the doubt whether deformation suits these pictures at all. Varied: the deformation, once
            with 30 pictures and once with all. Held: network, learning rate, steps, flips. It counts if what deformation adds
            to mIoU is more with 30 pictures than with all.""",
            few.but("elastic, 30 pictures", elastic=ELASTIC), few.but("30 pictures"),
            than=(unet.but("elastic, all pictures", elastic=ELASTIC), unet.but("all pictures")),
        ),
        Claim(
            "unet-weights", "the weight map keeps touching objects apart", "U-Net, section 3, equation 2",
            """Section 3: pixels between two near objects weigh up to w0 = 10 more in the loss, so that the network learns the
            thin borders that part them; the paper gives no figure without. Varied: w0, 10 or 0. Held: network, weights of
            classes, pictures, learning rate, steps. It counts if fewer predicted regions hold more than one true object.""",
            unet.but("weight map", separation_weights=WEIGHT), unet.but("no weight map"),
            "merged objects", needs=("objects", "background"),
        ),
        Claim(
            "unet-skips", "the encoder's maps let the decoder place what it knows", "U-Net, section 2",
            """Section 2: maps of the contracting path are joined to the decoder, "in order to localize". Varied: the skips,
            joined or not. Held: everything else, so that the decoder has fewer weights without. It counts if mIoU is greater
            with skips. The paper gives no figure without.""",
            unet.but("skips"), unet.but("no skips", skips=False), needs=("own trunk",),
        ),
    ]  # fmt: skip
