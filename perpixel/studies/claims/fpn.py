"""FPN (Lin et al., CVPR 2017): the path from coarse maps down to fine ones, and the lateral connections.

The paper scores proposals, by average recall; the semantic head of Panoptic FPN scores pixels on the same pyramid."""

from __future__ import annotations

from perpixel.studies.claims.claim import Base, Claim


def claims(base: Base) -> list[Claim]:
    pixels, proposals = base("fpn"), base("fpn_proposals")
    return [
        Claim(
            "fpn-top-down", "fine maps need what coarse maps know", "FPN, section 5.1, of proposals",
            """Section 5.1: without the top-down path average recall of 1,000 boxes falls from 56.3 to 49.5. Here the same
            pyramid carries a semantic head. Varied: the top-down path, with or without. Held: trunk, its first weights, head,
            pictures, learning rate, steps. It counts if mIoU is greater with the path.""",
            pixels.but("top-down path"), pixels.but("no top-down path", top_down=False),
        ),
        Claim(
            "fpn-laterals", "coarse maps alone have lost the places", "FPN, section 5.1, of proposals",
            """Section 5.1: without the lateral 1x1 connections average recall of 1,000 boxes falls from 56.3 to 46.1: what
            was pooled and enlarged again is no longer placed well. Varied: the laterals, with or without; without them only
            the coarsest level reads the trunk. Held: as above. It counts if mIoU is greater with laterals.""",
            pixels.but("laterals"), pixels.but("no laterals", lateral=False),
        ),
        Claim(
            "fpn-top-down-proposals", "proposals of objects need the top-down path", "FPN, sections 5.1 and 6",
            """The same of the paper's own masks of objects (section 6), which no class is asked of. Varied: the top-down
            path, with or without. Held: trunk, its first weights, both heads, pictures, learning rate, steps. It counts if
            the average recall of 100 masks is greater with the path; the paper's 1,000 are more than these pictures ask for.""",
            proposals.but("top-down path"), proposals.but("no top-down path", top_down=False),
            "AR of 100 proposals", needs=("objects",),
        ),
        Claim(
            "fpn-laterals-proposals", "proposals of objects need the laterals", "FPN, sections 5.1 and 6",
            """The same of the laterals. Varied: these, with or without. Held: trunk, its first weights, both heads, pictures,
            learning rate, steps. It counts if the average recall of 100 masks is greater with laterals.""",
            proposals.but("laterals"), proposals.but("no laterals", lateral=False),
            "AR of 100 proposals", needs=("objects",),
        ),
    ]  # fmt: skip
