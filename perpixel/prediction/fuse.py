"""How the scores of turned pictures, then of windows, then of scales are joined into one array for a picture.

An answer is an array of raw scores (h, w, C). Sources of the rules:

- probabilities: DeepLab v3 (Chen et al., arXiv:1706.05587): probabilities are averaged.
- scores: U-Net's released scripts (Ronneberger et al., MICCAI 2015): scores are averaged before the softmax.
- pspnet: PSPNet's released evaluation (Zhao et al., CVPR 2017). A sum of two scores makes a sharper softmax than their mean.
- encnet: EncNet's released evaluation (Zhang et al., CVPR 2018): powers of e instead of a softmax, so a window or scale with
  large
  scores weighs more. Here the logarithms of these powers are kept, which never overflow; at the end each value is divided by
  the sum over classes.
- maximum: DeepLab v2 (Chen et al., TPAMI 2017): the largest score over scales. The paper takes the maximum of coarse maps before
  they are enlarged; here it is taken of the scores of pixels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from perpixel.prediction.score_maps import Window, log_sum

Answer = NDArray[np.float32]
NONE = float(np.finfo(np.float32).min)  # the start of a maximum, and of a sum of logarithms


def _sum(answers: Sequence[Answer]) -> Answer:
    return reduce(np.add, answers)


def _mean(answers: Sequence[Answer]) -> Answer:
    mean: Answer = _sum(answers) / np.float32(len(answers))
    return mean


def softmax(answer: Answer) -> Answer:
    """The softmax over classes, the last axis."""
    return torch.from_numpy(np.ascontiguousarray(answer)).softmax(-1).numpy()


@dataclass(frozen=True)
class Rule:
    """`turned` joins the raw scores of turned pictures, `over_scales` the arrays of scales; windows are averaged. `words` say
    this in the protocol of a score.

    With `logarithms` the arrays are logarithms of the values that are averaged and summed. With `gives_probabilities` the joined
    array holds probabilities; otherwise a softmax makes them."""

    words: str
    turned: Callable[[Sequence[Answer]], Answer]
    over_scales: Callable[..., Any] = np.add
    logarithms: bool = False
    gives_probabilities: bool = False

    def no_scale(self, shape: tuple[int, ...]) -> Answer:
        """The array that `add_scale` begins with."""
        return np.full(shape, 0 if self.over_scales is np.add else NONE, np.float32)

    def add_scale(self, total: Answer, answer: Answer) -> None:
        """Joins the answer of one more scale to `total`, in place."""
        self.over_scales(total, answer, out=total)

    def finish(self, total: Answer, scales: int) -> None:
        """Divides the sum over `scales` scales by their number, in place, where the rule takes a mean."""
        if self.over_scales is np.add:
            total /= np.float32(scales)

    def with_parts(
        self, total: Answer | None, parts: Iterable[tuple[Window, Answer]], shape: tuple[int, int, int]
    ) -> Answer:
        """`total`, made where there is none, with the parts of one more scale."""
        joined = self.no_scale(shape) if total is None else total
        for (top, left, bottom, right), answer in parts:
            self.add_scale(joined[top:bottom, left:right], answer)
        return joined

    def over_all(self, answers: Sequence[Answer]) -> Answer:
        """The answers of all scales to one part, joined."""
        total = self.no_scale(answers[0].shape)
        for answer in answers:
            self.add_scale(total, answer)
        self.finish(total, len(answers))
        return total

    @property
    def no_window(self) -> float:
        """The value that `add_window` begins with."""
        return NONE if self.logarithms else 0.0

    def add_window(self, total: Answer, answer: Answer) -> None:
        """Joins the answer of one more window to `total`, in place."""
        (log_sum if self.logarithms else np.add)(total, answer, out=total)

    def average_windows(self, total: Answer, counts: NDArray[np.float32]) -> None:
        """Divides the sum over windows by `counts`, the number of windows that hold each pixel, in place."""
        if self.logarithms:
            total -= np.log(counts)
        else:
            total /= counts


def in_step(sources: Sequence[Iterable[tuple[Window, Answer]]], size: tuple[int, int]) -> Iterator[tuple[Window, list[Answer]]]:
    """Parts that cover a picture of `size`, each with the answers of all sources.

    A source gives parts that cover the picture, from the top down and from left to right, cut in its own way. One source keeps
    its parts; those of several become strips of the full width. Memory holds a row of the parts of each."""
    if len(sources) == 1:
        yield from ((window, [answer]) for window, answer in sources[0])
        return
    rows = [_rows(source, size[1]) for source in sources]
    held, top = [next(row) for row in rows], 0
    while top < size[0]:
        bottom = min(last for _, last, _ in held)
        yield (top, 0, bottom, size[1]), [answer[top - first : bottom - first] for first, _, answer in held]
        if bottom < size[0]:
            held = [next(row) if one[1] == bottom else one for row, one in zip(rows, held, strict=True)]
        top = bottom


def _rows(parts: Iterable[tuple[Window, Answer]], width: int) -> Iterator[tuple[int, int, Answer]]:
    """First row, end and answer of each row of parts, in the full width."""
    row: list[Answer] = []
    for (top, _, bottom, right), answer in parts:
        row.append(answer)
        if right == width:
            yield top, bottom, np.concatenate(row, 1) if len(row) > 1 else row[0]
            row.clear()


FUSES = {
    "probabilities": Rule(
        "mean of probabilities over turned pictures, windows and scales",
        lambda answers: _mean([softmax(answer) for answer in answers]), gives_probabilities=True,
    ),
    "scores": Rule("mean of raw scores over turned pictures, windows and scales", _mean),
    "pspnet": Rule(
        "raw scores of turned pictures added, then softmax, mean over windows, mean over scales",
        lambda answers: softmax(_sum(answers)), gives_probabilities=True,
    ),
    "encnet": Rule(
        "raw scores of turned pictures added, then exp, mean over windows, sum over scales",
        _sum, log_sum, logarithms=True,
    ),
    "maximum": Rule("mean of raw scores over turned pictures and windows, maximum over scales", _mean, np.maximum),
}  # fmt: skip
