"""Which device a name means, and that the CPU stays in float32."""

import pytest
import torch

from perpixel.errors import ResourceError, UsageError
from perpixel.machines import device
from perpixel.machines.memory import keep_freed_memory


def test_auto_is_a_device_that_computes() -> None:
    chosen = device.choose("auto")
    assert torch.ones(2, device=chosen).sum().item() == 2
    assert chosen.type == ("cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu")


def test_the_cpu_by_name() -> None:
    assert device.choose("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["gpu", "", "cuda:first", "meta"])
def test_names_of_no_device(name: str) -> None:
    with pytest.raises(UsageError, match=f"no device '{name}'; use auto, cpu, cuda, cuda:1 or mps"):
        device.choose(name)


@pytest.mark.parametrize("name", ["cuda:77", "xpu", "hpu", "privateuseone"])
def test_devices_that_are_not_here(name: str) -> None:
    with pytest.raises(ResourceError, match=f"device '{name}' is not available here .*; use `--device cpu`"):
        device.choose(name)


@pytest.mark.parametrize("mixed", [True, False])
def test_precision_changes_nothing_on_the_cpu(mixed: bool) -> None:
    context, scaled = device.precision(torch.device("cpu"), mixed)
    with context:
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert product.dtype == torch.float32
    assert not scaled


def test_keeping_freed_memory_may_be_asked_for_again_and_again() -> None:
    for _ in range(2):
        keep_freed_memory()
    assert torch.ones(1000, 1000).sum().item() == 1e6
