"""DeconvNet (Noh, Hong, Han, ICCV 2015): unpooling by switches, proposals, two stages, the ensemble with FCN-8s, the CRF.

Its conditions are the paper's: a pretrained encoder, a first stage on single objects, a second on proposals with twice the steps,
SGD with momentum 0.9 and decay 5e-4, statistics of batch normalisation measured after training, prediction by merged proposals.
Ours are the width, the side of the square, the learning rate and its schedule, and boxes that slide, because edge boxes need
OpenCV."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from perpixel.studies.claims.claim import SHARE, Arm, Base, Claim

SGD: dict[str, Any] = {"optimiser": "sgd", "momentum": 0.9, "decay": 5e-4}
LEARNING_RATE = 0.06  # of SGD, where tuning chose another optimiser for the network
OBJECTS = 1 / 3  # share of the steps: 20,000 of 60,000
MEASURED: dict[str, Any] = {"statistics_batches": 20, "statistics_batch": 16}
BOXES: dict[str, Any] = {"proposals": 50, "proposals_by": "sliding"}


def two_stages(network: Arm) -> Arm:
    """DeconvNet under the paper's conditions, predicting by boxes."""
    side = network.settings["side"]
    rate = network.settings["lr"] if network.settings["optimiser"] == "sgd" else LEARNING_RATE
    crop = {"crop": (side, side)}
    stages = (
        {"crops": "objects", **crop, SHARE: OBJECTS},
        {"crops": "proposals", **crop, "proposals": BOXES["proposals_by"], **MEASURED},
    )
    settings = {name: value for name, value in network.settings.items() if name not in MEASURED}
    return replace(network, title="two stages", settings={**settings, **SGD, "lr": rate}, stages=stages, inference=BOXES)


def claims(base: Base) -> list[Claim]:
    network = two_stages(base("deconvnet"))
    fcn = base("fcn8s")
    boxes = replace(network, title="50 boxes")
    switches = network.but("switches")
    normalised = network.but("batch normalisation")
    bare = [{key: value for key, value in stage.items() if key not in MEASURED} for stage in network.stages]
    return [
        Claim(
            "deconvnet-switches-corner", "unpooling by switches beats unpooling to a fixed place", "DeconvNet, section 3.2",
            """Section 3.2: unpooling puts each value back to where its maximum was, so the shape of the object survives the
            pools. Varied: the place in its window of 2x2 that a value is put to, that of the maximum or always the first.
            Held: everything else of the paper's two stages, and prediction by 50 boxes. It counts if mIoU is greater with
            switches. The paper argues by pictures and gives no figure.""",
            switches, network.but("first corner", unpooling="corner"), needs=("pretrained",),
        ),
        Claim(
            "deconvnet-switches-bilinear", "unpooling by switches beats bilinear enlarging", "DeconvNet, sections 1 and 3.2",
            """Section 1 blames FCN's bilinear enlarging for details that are lost; section 3.2 answers with switches. Varied:
            the enlarging between the blocks of deconvolutions, by switches or bilinear. Held: everything else of the paper's
            two stages, and prediction by 50 boxes. It counts if mIoU is greater with switches.""",
            switches, network.but("bilinear", unpooling="bilinear"), needs=("pretrained",),
        ),
        Claim(
            "deconvnet-norm", "batch normalisation keeps it from poor local optima", "DeconvNet, section 4.1",
            """Section 4.1: batch normalisation behind every convolution and deconvolution is critical; without it training
            ends in a poor local optimum. Varied: batch normalisation in encoder and decoder, with or without. Held:
            everything else of the paper's two stages, and prediction by 50 boxes. It counts if mIoU is greater with it.""",
            normalised, replace(network.but("no batch normalisation", batch_norm=False), stages=tuple(bare)),
            needs=("pretrained",),
        ),
        Claim(
            "deconvnet-stages", "single objects first, then proposals", "DeconvNet, section 4.2",
            """Section 4.2: a first stage on centred single objects makes the space of examples smaller, a second on proposals
            makes the network robust. Varied: the first stage, against a second one that takes all steps. Held: encoder, its
            first weights, learning rate, the number of steps in all, prediction by 50 boxes. It counts if mIoU is greater
            with both stages. The paper gives no figure without the first.""",
            network, replace(network, title="proposals alone", stages=network.stages[1:]),
            needs=("pretrained",),
        ),
        Claim(
            "deconvnet-proposals", "merged proposals beat the whole picture", "DeconvNet, inference by proposals",
            """The paper predicts 50 proposals one by one and merges them, so that objects of every size are seen large; a
            figure shows boxes add detail. Varied: how the same trained network predicts, by 50 merged boxes or once over the
            whole picture. Held: its weights. It counts if mIoU is greater by boxes.""",
            boxes, replace(network, title="whole picture", inference={}), needs=("pretrained",),
        ),
        Claim(
            "deconvnet-ensemble", "FCN-8s completes it", "DeconvNet, ensemble with FCN",
            """The paper averages the probabilities of DeconvNet, which is good at details, and FCN-8s, which is good at the
            whole: mean IU on VOC 2012 test is 71.7 instead of 69.6. Varied: FCN-8s joins, or not. Held: the weights of
            DeconvNet and its 50 boxes. It counts if mIoU is greater with FCN-8s.""",
            boxes.predicting("50 boxes with FCN-8s", fcn), boxes, needs=("pretrained",),
        ),
        Claim(
            "deconvnet-ensemble-fcn", "it completes FCN-8s", "DeconvNet, ensemble with FCN",
            """The other half of that claim: FCN-8s alone has 62.2 on VOC 2012 test, both together 71.7. Varied: DeconvNet
            joins FCN-8s, or not. Held: the weights of FCN-8s, trained as the review trains it. It counts if mIoU of both
            together is greater than that of FCN-8s alone.""",
            boxes.predicting("50 boxes with FCN-8s", fcn), replace(fcn, title="FCN-8s alone"),
            needs=("pretrained",),
        ),
        Claim(
            "deconvnet-crf", "a CRF adds a little", "DeconvNet, table of VOC 2012 test",
            """The paper's table: a fully connected CRF raises mean IU from 69.6 to 70.5. Varied: the CRF, with the numbers of
            the authors' code, or none. Held: the weights and the 50 boxes. It counts if mIoU is greater with the CRF.""",
            boxes.predicting("50 boxes, CRF", crf="deconvnet"), boxes, needs=("pretrained",),
        ),
    ]  # fmt: skip
