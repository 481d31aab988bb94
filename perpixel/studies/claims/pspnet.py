"""PSPNet (Zhao et al., CVPR 2017): several grids of bins, mean against maximum, dimension reduction, the auxiliary loss.

Figures in the prose are mIoU on ADE20K val with ResNet-50 at a single scale."""

from __future__ import annotations

from perpixel.studies.claims.claim import Base, Claim


def claims(base: Base) -> list[Claim]:
    pspnet = base("pspnet")
    return [
        Claim(
            "pspnet-bins", "four grids of bins are better than one bin", "PSPNet, section 5.2, table 1",
            """Table 1: the mean over four grids of 1, 2, 3 and 6 bins a side gives 41.07, over one bin, the whole picture,
            40.07; parts of a scene say more than the whole. Varied: the grids, 1 2 3 6 against 1. Held: trunk, its first
            weights, mean, reduction (in the paper's two figures there is none), pictures, learning rate, steps. It counts if
            mIoU is greater with four.""",
            pspnet.but("bins 1 2 3 6"), pspnet.but("bin 1", bins=(1,)),
        ),
        Claim(
            "pspnet-mean", "the mean of a bin is better than its maximum", "PSPNet, section 5.2, table 1",
            """Table 1: with four grids and reduction the mean gives 41.68, the maximum 40.87. Varied: mean or maximum. Held:
            grids, trunk, its first weights, pictures, learning rate, steps. It counts if mIoU is greater with the mean.""",
            pspnet.but("mean"), pspnet.but("maximum", pooling="max"),
        ),
        Claim(
            "pspnet-pyramid", "the pyramid is better than none", "PSPNet, section 5.2, table 1",
            """Table 1: the dilated trunk alone gives 37.23, with the pyramid 41.68. Varied: the pyramid, with or without, so
            the classifier behind it has fewer inputs without. Held: trunk, its first weights, auxiliary loss, pictures,
            learning rate, steps. It counts if mIoU is greater with the pyramid.""",
            pspnet.but("bins 1 2 3 6"), pspnet.but("no pyramid", bins=()),
        ),
        Claim(
            "pspnet-reduction", "pooled maps are better reduced", "PSPNet, section 5.2, table 1",
            """Table 1: reducing the channels of each grid to a quarter gives 41.68, keeping all 41.07. Varied: the reduction,
            with or without, which also has many more weights in the classifier. Held: grids, mean, trunk, its first weights,
            pictures, learning rate, steps. It counts if mIoU is greater with the reduction.""",
            pspnet.but("reduced"), pspnet.but("all channels", reduce=False),
        ),
        Claim(
            "pspnet-auxiliary", "a second loss on an earlier stage helps training", "PSPNet, sections 3.3 and 5.2, table 2",
            """Table 2: without a pyramid, a loss on res4 with the weight 0.4 raises mIoU from 35.82 to 37.23. Varied: that
            loss, with the entry's weight or none; its head is gone in prediction. Held: the pyramid, trunk, its first
            weights, pictures, learning rate, steps. It counts if mIoU is greater with the loss.""",
            pspnet.but("auxiliary loss"), pspnet.but("no auxiliary loss", auxiliary=0.0),
        ),
    ]  # fmt: skip
