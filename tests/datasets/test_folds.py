"""Folds: by hand, and by the rules that make them cross-validation."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perpixel.datasets.folds import split_folds
from perpixel.errors import UsageError


def test_the_second_of_five_folds_is_every_fifth_from_the_second_on() -> None:
    assert split_folds(12, "fold2of5") == [1, 6, 11]
    assert split_folds(12, "rest2of5") == [0, 2, 3, 4, 5, 7, 8, 9, 10]


@pytest.mark.parametrize("split", ["train", "val", "fold", "fold1", "1of5", "fold1of", "foldof5", "fold-1of5", "xfold1of5"])
def test_other_names_are_no_folds(split: str) -> None:
    assert split_folds(10, split) is None


@given(st.integers(2, 60).flatmap(lambda count: st.tuples(st.just(count), st.integers(2, count))))
def test_folds_divide_the_pictures_evenly_and_the_rest_is_what_a_fold_leaves(sizes: tuple[int, int]) -> None:
    count, folds = sizes
    judged = [split_folds(count, f"fold{fold}of{folds}") for fold in range(1, folds + 1)]
    assert sorted(index for fold in judged for index in fold) == list(range(count))
    assert max(map(len, judged)) - min(map(len, judged)) <= 1
    for fold, indices in enumerate(judged, start=1):
        rest = split_folds(count, f"rest{fold}of{folds}")
        assert rest == sorted({*range(count)} - {*indices})
        assert rest


@pytest.mark.parametrize("split", ["fold0of5", "rest0of5", "fold6of5"])
def test_there_is_no_such_fold(split: str) -> None:
    with pytest.raises(UsageError, match=rf"split '{split}': there is no fold [06] of 5; count them from 1 to 5"):
        split_folds(10, split)


@pytest.mark.parametrize("folds", [0, 1, 11])
def test_a_fold_and_its_rest_are_never_empty(folds: int) -> None:
    with pytest.raises(UsageError, match=rf"'rest1of{folds}': 10 pictures make 2 to 10 folds, not {folds}"):
        split_folds(10, f"rest1of{folds}")
