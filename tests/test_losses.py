"""Losses against torch, against the measure they stand for, and against numbers worked out by hand."""

from math import ceil, exp, log, sqrt

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from perpixel.errors import UnknownName, UsageError
from perpixel.losses import (
    LOSSES,
    OHEM_PROBABILITY,
    OHEM_SHARE,
    PixelLoss,
    class_weights,
    cross_entropy,
    dice,
    lovasz_softmax,
    ohem_cross_entropy,
)
from perpixel.measures.confusion_matrix import ConfusionMatrix
from perpixel.sample import Targets

VOID = 255
CLASSES = 4
every_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
seeds = st.integers(0, 2**32 - 1)


def batch(seed, void=0.3):
    """Logits (2, 4, 5, 6) and labels (2, 5, 6), a share of them void."""
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(CLASSES, (2, 5, 6), generator=random)
    labels[torch.rand(labels.shape, generator=random) < void] = VOID
    return 3 * torch.randn(2, CLASSES, 5, 6, generator=random), labels


def gradient(loss, logits, labels, *more):
    logits = logits.clone().requires_grad_()
    loss(logits, labels, VOID, *more).backward()
    return logits.grad


def logits_of(probabilities):
    """(1, C, 1, N) from one list of C probabilities for each of N pixels."""
    return torch.tensor(probabilities).log().T[None, :, None]


def certain(predicted):
    """Logits whose softmax is 1 for the predicted class."""
    return 200 * F.one_hot(predicted, CLASSES).movedim(-1, 1).float()


@given(seeds)
def test_cross_entropy_is_torchs_mean_over_the_judged_pixels(seed):
    logits, labels = batch(seed)
    assert cross_entropy(logits, labels).item() == pytest.approx(F.cross_entropy(logits, labels, ignore_index=VOID).item())


def test_cross_entropy_by_hand():
    logits, labels = logits_of([[0.8, 0.2], [0.4, 0.6]]), torch.tensor([[[0, 1]]])
    assert cross_entropy(logits, labels).item() == pytest.approx(-(log(0.8) + log(0.6)) / 2)
    weights = torch.tensor([3.0, 1.0])
    assert cross_entropy(logits, labels, VOID, weights).item() == pytest.approx(-(3 * log(0.8) + log(0.6)) / 2)


def test_weights_of_pixels_by_hand():
    logits, labels = logits_of([[0.8, 0.2], [0.4, 0.6], [0.5, 0.5]]), torch.tensor([[[0, 1, VOID]]])
    weights = torch.tensor([[[10.0, 0.5, 7.0]]])
    assert cross_entropy(logits, labels, VOID, None, weights).item() == pytest.approx(-(10 * log(0.8) + 0.5 * log(0.6)) / 2)
    (found,) = PixelLoss(class_weights=[3, 1])(logits, Targets(labels, weights)).values()
    assert found.item() == pytest.approx(-(30 * log(0.8) + 0.5 * log(0.6)) / 2)


@given(seeds)
def test_weights_of_1_change_nothing_and_void_has_none(seed):
    logits, labels = batch(seed)
    weights = torch.ones(labels.shape)
    expected = gradient(cross_entropy, logits, labels)
    torch.testing.assert_close(gradient(cross_entropy, logits, labels, None, weights), expected)
    torch.testing.assert_close(gradient(cross_entropy, logits, labels, None, weights.where(labels != VOID, 1e6)), expected)
    nothing = torch.full_like(labels, VOID)
    assert cross_entropy(logits, nothing, VOID, None, weights).item() == 0


@pytest.mark.parametrize("name", ["dice", "lovasz_softmax", "ohem_cross_entropy", "cross_entropy+dice"])
def test_other_losses_refuse_weights_of_pixels(name):
    logits, labels = batch(0)
    with pytest.raises(UsageError, match=rf"loss {name.split('+')[-1]} takes no weight for each pixel"):
        PixelLoss(name)(logits, Targets(labels, torch.ones(labels.shape)))


@every_loss
@given(seed=seeds)
def test_logits_at_void_change_nothing(loss, seed):
    logits, labels = batch(seed)
    void = (labels == VOID)[:, None]
    other = torch.where(void, 50 * torch.randn(logits.shape, generator=torch.Generator().manual_seed(seed + 1)), logits)
    assert loss(other, labels, VOID, None).item() == loss(logits, labels, VOID, None).item()
    found = gradient(loss, logits, labels)
    assert (found[void.expand_as(found)] == 0).all()
    assert found.ne(0).any()
    assert torch.equal(gradient(loss, other, labels), found)


@every_loss
@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 3.0, 4.0], [0.0] * CLASSES])
def test_a_batch_that_is_all_void_gives_0(loss, weights):
    logits, labels = batch(0, void=1.0)
    weights = None if weights is None else torch.tensor(weights)
    assert loss(logits, labels, VOID, weights).item() == 0
    assert (gradient(loss, logits, labels, weights) == 0).all()


@every_loss
@given(seed=seeds)
def test_a_perfect_and_certain_prediction_costs_nothing(loss, seed):
    _, labels = batch(seed)
    assert loss(certain(labels.where(labels != VOID, 0)), labels, VOID, None).item() == pytest.approx(0, abs=1e-6)


def test_hard_pixels_by_hand():
    """Of probabilities 0.9, 0.6, 0.95, 0.2 the second and the last are below 0.7; of 0.9, 0.8, 0.95, 0.99 none is."""
    labels = torch.zeros(1, 1, 4, dtype=torch.int64)
    some, none = (logits_of([[p, 1 - p] for p in ps]) for ps in ((0.9, 0.6, 0.95, 0.2), (0.9, 0.8, 0.95, 0.99)))
    assert ohem_cross_entropy(some, labels).item() == pytest.approx(-(log(0.6) + log(0.2)) / 2)
    assert ohem_cross_entropy(none, labels).item() == pytest.approx(-log(0.8))  # one of 16 is one of four at least
    assert ohem_cross_entropy(none, labels, min_kept=0.5).item() == pytest.approx(-(log(0.8) + log(0.9)) / 2)
    weights = torch.tensor([3.0, 1.0])
    assert ohem_cross_entropy(some, labels, VOID, weights).item() == pytest.approx(-3 * (log(0.6) + log(0.2)) / 2)


def ohem_by_a_loop(logits, labels, weights, min_kept):
    pixels = []
    for scores, label in zip(logits.movedim(1, -1).flatten(0, -2).tolist(), labels.flatten().tolist(), strict=True):
        if label != VOID:
            pixels.append((exp(scores[label]) / sum(map(exp, scores)), weights[label]))
    pixels.sort()
    hard = max(1, sum(probability < OHEM_PROBABILITY for probability, _ in pixels), ceil(min_kept * len(pixels)))
    return sum(-weight * log(probability) for probability, weight in pixels[:hard]) / hard


@given(seed=seeds, ease=st.sampled_from([0.3, 3.0, 8.0]), min_kept=st.sampled_from([0.0, OHEM_SHARE, 0.5, 1.0]))
def test_ohem_is_what_a_loop_over_sorted_pixels_gives(seed, ease, min_kept):
    logits, labels = batch(seed)
    logits = logits + ease * F.one_hot(labels.where(labels != VOID, 0), CLASSES).movedim(-1, 1)  # most are easy at 8
    weights = [1.0, 2.0, 0.5, 3.0]
    found = ohem_cross_entropy(logits.double(), labels, VOID, torch.tensor(weights).double(), min_kept=min_kept)
    assert found.item() == pytest.approx(ohem_by_a_loop(logits.double(), labels, weights, min_kept), rel=1e-9, abs=1e-12)


def test_easy_pixels_have_no_gradient():
    logits = logits_of([[0.9, 0.1], [0.6, 0.4], [0.95, 0.05], [0.2, 0.8]])
    found = gradient(ohem_cross_entropy, logits, torch.zeros(1, 1, 4, dtype=torch.int64))
    assert found[0, :, 0].ne(0).any(0).tolist() == [False, True, False, True]


def test_dice_of_two_pixels_by_hand():
    # class 0: 2 * 0.8 / (1.2 + 1) = 8/11; class 1: 2 * 0.6 / (0.8 + 1) = 2/3
    assert dice(logits_of([[0.8, 0.2], [0.4, 0.6]]), torch.tensor([[[0, 1]]])).item() == pytest.approx(1 - (8 / 11 + 2 / 3) / 2)


def test_lovasz_of_two_pixels_by_hand():
    # class 0: errors 0.4 (false positive, Jaccard loss 1/2), 0.2 (then 1): 0.4 * 1/2 + 0.2 * 1/2; class 1: 0.4 * 1 + 0.2 * 0
    assert lovasz_softmax(logits_of([[0.8, 0.2], [0.4, 0.6]]), torch.tensor([[[0, 1]]])).item() == pytest.approx((0.3 + 0.4) / 2)


@pytest.mark.parametrize("loss", [dice, lovasz_softmax])
def test_a_class_that_is_not_in_truth_leaves_the_mean(loss):
    two = loss(logits_of([[0.8, 0.2], [0.4, 0.6]]), torch.tensor([[[0, 1]]])).item()
    three = loss(logits_of([[0.8, 0.2, 1e-9], [0.4, 0.6, 1e-9]]), torch.tensor([[[0, 1]]])).item()
    assert three == pytest.approx(two)


def test_dice_and_lovasz_weigh_classes():
    logits, labels = logits_of([[0.8, 0.2], [0.4, 0.6]]), torch.tensor([[[0, 1]]])
    assert dice(logits, labels, VOID, torch.tensor([3.0, 1.0])).item() == pytest.approx((3 * (3 / 11) + 1 / 3) / 4)
    assert lovasz_softmax(logits, labels, VOID, torch.tensor([3.0, 1.0])).item() == pytest.approx((3 * 0.3 + 0.4) / 4)


@given(seeds)
def test_lovasz_of_a_certain_prediction_is_1_minus_iou(seed):
    _, labels = batch(seed)
    predicted = torch.randint(CLASSES, labels.shape, generator=torch.Generator().manual_seed(seed))
    matrix = ConfusionMatrix(CLASSES, VOID)
    matrix.add(labels.numpy(), predicted.numpy())
    present = matrix.counts.sum(1) > 0
    assert lovasz_softmax(certain(predicted), labels).item() == pytest.approx(1 - matrix.iou()[present].mean(), abs=1e-6)


@given(seeds)
def test_dice_and_lovasz_are_those_of_segmentation_models_pytorch(seed):
    theirs = pytest.importorskip("segmentation_models_pytorch").losses
    logits, labels = batch(seed)
    labels[0, 0, :CLASSES] = torch.arange(CLASSES)  # its Dice divides by all classes, present or not
    assert dice(logits, labels).item() == pytest.approx(theirs.DiceLoss("multiclass", ignore_index=VOID)(logits, labels).item())
    assert lovasz_softmax(logits, labels).item() == pytest.approx(
        theirs.LovaszLoss("multiclass", ignore_index=VOID)(logits, labels).item(), abs=1e-6
    )


@every_loss
@given(seed=seeds)
def test_gradients_are_finite_for_wild_logits(loss, seed):
    logits, labels = batch(seed)
    assert gradient(loss, 1e4 * logits, labels).isfinite().all()


def test_the_mean_over_two_halves_is_the_whole():
    logits, labels = batch(0, void=0)
    weights = torch.tensor([0.1, 2.0, 3.0, 0.5])
    whole = cross_entropy(logits, labels, VOID, weights).item()
    assert whole == pytest.approx(
        np.mean([cross_entropy(logits[i : i + 1], labels[i : i + 1], VOID, weights).item() for i in (0, 1)])
    )


def test_pixel_loss_names_its_terms():
    logits, labels = batch(0)
    terms = PixelLoss("cross_entropy+lovasz_softmax")(logits, Targets(labels))
    assert {name: term.item() for name, term in terms.items()} == {
        "cross_entropy": cross_entropy(logits, labels).item(),
        "lovasz_softmax": lovasz_softmax(logits, labels).item(),
    }


def test_pixel_loss_takes_weights_void_and_half_precision():
    logits, labels = batch(0)
    terms = PixelLoss("cross_entropy", [1, 2, 3, 4], void=3)(logits.half(), Targets(labels.clamp(max=3)))
    expected = cross_entropy(logits.half().float(), labels.clamp(max=3), 3, torch.tensor([1.0, 2.0, 3.0, 4.0]))
    assert terms["cross_entropy"].item() == expected.item()


def test_weights_of_a_loss_are_not_part_of_a_model():
    assert PixelLoss("dice", [1.0, 2.0]).state_dict() == {}


def test_unknown_loss_names_the_nearest():
    with pytest.raises(UnknownName, match="no loss 'cross_entrophy'; did you mean 'cross_entropy'"):
        PixelLoss("dice+cross_entrophy")


def test_no_class_weights():
    assert class_weights("none", [1, 2], ["a", "b"]) is None


def test_class_weights_by_hand():
    # Shares 1/4 and 3/4: 1/share is 4 and 4/3, of which the mean pixel has 2.
    assert class_weights("inverse", [25, 75], ["a", "b"]) == pytest.approx([2, 2 / 3])
    # Shares 0.36 and 0.64: 1/sqrt(share) is 5/3 and 5/4, of which the mean pixel has 0.6 + 0.8.
    assert class_weights("inverse_square_root", [36, 64], ["a", "b"]) == pytest.approx([5 / 3 / 1.4, 5 / 4 / 1.4])
    rare, common = 1 / log(1.02 + 0.1), 1 / log(1.02 + 0.9)
    mean = 0.1 * rare + 0.9 * common
    assert class_weights("enet", [10, 90], ["a", "b"]) == pytest.approx([rare / mean, common / mean])


@pytest.mark.parametrize("rule", ["inverse_square_root", "inverse", "enet"])
@given(pixels=st.lists(st.integers(0, 10**9), min_size=1, max_size=30).filter(any))
def test_the_mean_weight_of_a_pixel_is_1(rule, pixels):
    weights = np.array(class_weights(rule, pixels, [str(i) for i in range(len(pixels))]))
    assert (weights * pixels).sum() / sum(pixels) == pytest.approx(1)
    assert (weights[np.array(pixels) == 0] == 0).all()


@pytest.mark.parametrize("rule", ["inverse_square_root", "inverse", "enet"])
def test_a_training_set_without_judged_pixels_has_no_weights_to_give(rule):
    assert class_weights(rule, [0, 0], ["a", "b"]) == [0, 0]


def test_class_weights_by_name():
    assert class_weights("pole=3, sign=0.5", [1, 1, 1], ["road", "pole", "sign"]) == [1, 3, 0.5]


@pytest.mark.parametrize(
    ("rule", "error", "says"),
    [
        ("invers", UnknownName, "no rule for class weights 'invers'; did you mean 'inverse'"),
        ("poel=3", UnknownName, "no class 'poel'; did you mean 'pole'"),
        ("pole=much", UsageError, "'pole=much' has no number"),
        ("pole=3,sign", UsageError, "'sign' has no number"),
        ("pole=-1", UsageError, "'pole=-1' must be 0 or more"),
        ("pole=nan", UsageError, "'pole=nan' must be 0 or more"),
        ("pole=inf", UsageError, "'pole=inf' must be 0 or more"),
    ],
)
def test_class_weights_that_mean_nothing(rule, error, says):
    with pytest.raises(error, match=says):
        class_weights(rule, [1, 1, 1], ["road", "pole", "sign"])


def test_inverse_square_root_is_between_none_and_inverse():
    rare = [class_weights(rule, [1, 99], ["a", "b"])[0] for rule in ("inverse_square_root", "inverse")]
    assert 1 < rare[0] < rare[1] == pytest.approx(50)
    assert rare[0] == pytest.approx(10 / (sqrt(0.01) + sqrt(0.99)))
