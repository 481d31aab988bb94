"""Why a network of timm cannot be a trunk is told as timm says it."""

import pytest
import timm

from perpixel.backbones.timm import TimmBackbone
from perpixel.errors import UsageError


@pytest.mark.parametrize("error", [TypeError("unexpected keyword argument 'x'"), NotImplementedError("no features of 'x'")])
def test_a_network_that_cannot_be_built_is_told_by_timms_reason(error: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UsageError) as caught:
        TimmBackbone("resnet18")
    assert str(caught.value) == f"timm's resnet18 does not hand out features ({error}); choose another backbone."


def test_an_output_stride_that_timm_refuses_is_told_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    build = timm.create_model

    def without_strides(name: str, **settings: object) -> object:
        if "output_stride" in settings:
            raise TypeError("unexpected keyword argument 'output_stride'")
        return build(name, **settings)

    monkeypatch.setattr(timm, "create_model", without_strides)
    assert TimmBackbone("resnet18").levels.keys() == {2, 4, 8, 16, 32}
    with pytest.raises(UsageError, match=r"has no output stride of 8 \(unexpected keyword argument 'output_stride'\)"):
        TimmBackbone("resnet18", output_stride=8)
