"""FCN (Long, Shelhamer, Darrell, CVPR 2015; PAMI 2017): skips, the whole network, and heavy learning."""

from __future__ import annotations

from perpixel.studies.claims.claim import Base, Claim

PICTURES = 20  # of a step of accumulated learning
# Rates of heavy and accumulated learning over 1 - momentum are equal. The authors' are nearly so: 1.9e-3 and 1e-3.
HEAVY = {"batch": 1, "momentum": 0.99, "lr": 1e-4}
ACCUMULATED = {"batch": PICTURES, "momentum": 0.9, "lr": 1e-3}


def claims(base: Base) -> list[Claim]:
    eight, sixteen = base("fcn8s"), base("fcn16s")
    coarse = base("fcn32s")
    learned = {"optimiser": "sgd", "decay": 5e-4, "schedule": "constant", "clip": 0.0}
    steps = coarse.settings["steps"]
    batch = coarse.settings["batch"]
    heavy = coarse.but("heavy", **learned, **HEAVY, steps=steps * batch)
    return [
        Claim(
            "fcn-pool4", "a skip from pool4 sharpens", "FCN, section 4.2",
            """Section 4.2: scores of pool4 added to those of fc7 raise mean IU on VOC 2011 from 59.4 (32s) to 62.4 (16s).
            Varied: the skip, FCN-16s against FCN-32s. Held: trunk, its first weights, pictures, learning rate, steps; both
            are trained at once, while the paper trains 16s from 32s. It counts if mIoU is greater with the skip.""",
            sixteen.but("FCN-16s"), sixteen.but("FCN-32s", network="fcn32s"),
        ),
        Claim(
            "fcn-pool3", "a skip from pool3 sharpens a little more", "FCN, section 4.2",
            """Section 4.2: scores of pool3, added too, raise mean IU from 62.4 (16s) to 62.7 (8s); the paper calls it a minor
            improvement. Varied: the second skip, FCN-8s against FCN-16s. Held: trunk, its first weights, pictures, learning
            rate, steps. It counts if mIoU is greater with both skips. A gain as small as the paper's needs more seeds.""",
            eight.but("FCN-8s"), eight.but("FCN-16s", network="fcn16s"),
        ),
        Claim(
            "fcn-borders", "skips draw finer borders", "FCN, section 4.2",
            """Section 4.2: a stride of 32 limits the detail of the output, and skips to finer layers give it back; the paper
            shows it in pictures. Varied: both skips, FCN-8s against FCN-32s. Held: trunk, its first weights, pictures,
            learning rate, steps. It counts if Boundary IoU, which looks at pixels along outlines alone, is greater with
            skips.""",
            eight.but("FCN-8s"), eight.but("FCN-32s", network="fcn32s"), "boundary IoU",
        ),
        Claim(
            "fcn-whole", "the whole network is to learn, not the scores alone", "FCN, section 4.3",
            """Section 4.3: with the classifier alone trained on a fixed trunk, mean IU is 45.4 instead of 59.4 (32s). Varied:
            whether the trunk learns (its learning rate is 0 in one arm). Held: network, first weights of the trunk, pictures,
            steps. It counts if mIoU is greater where the trunk learns. It says something only of a trunk that knows something
            at the start.""",
            coarse.but("all layers learn"), coarse.but("trunk frozen", trunk_lr=0.0), needs=("pretrained",),
        ),
        Claim(
            "fcn-heavy", "a picture a step with a high momentum learns more than batches do", "FCN, PAMI 2017",
            """The article of 2017 replaces batches of 20 with momentum 0.9 by one picture with momentum 0.99, "heavy"
            learning, and its FCN-32s of VOC 2011 goes from 59.4 to 63.6 mean IU. Varied: batch and momentum; the rate over 1
            - momentum is held, as it nearly is in the authors' two solvers. Held: network, first weights, and the number of
            pictures seen, so heavy learning takes 20 times as many steps, as in the paper. It counts if mIoU is greater with
            heavy learning.""",
            heavy, heavy.but("accumulated", **ACCUMULATED, steps=-(-steps * batch // PICTURES)),
        ),
    ]  # fmt: skip
