"""What is changed for a while is put back."""

import gc

import pytest

from perpixel.machines.memory import without_garbage_collection


@pytest.mark.parametrize("before", [True, False])
def test_garbage_collection_is_as_it_was_even_after_an_error(before: bool) -> None:
    was = gc.isenabled()
    try:
        (gc.enable if before else gc.disable)()
        with pytest.raises(ZeroDivisionError), without_garbage_collection():
            1 / gc.isenabled()
        assert gc.isenabled() == before
    finally:
        (gc.enable if was else gc.disable)()
