"""The processes that train together: alone, or those that `torchrun` started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

from perpixel.errors import PerpixelError
from perpixel.machines import device as machine

if TYPE_CHECKING:
    import torch  # imported where processes meet or a network runs, so that masks are judged without torch

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process among those that work together; alone it is rank 0 of 1. `device_name` is a name of torch, or "auto"."""

    rank: int
    world: int
    device_name: str

    @cached_property
    def device(self) -> torch.device:
        """The device that the network of this process runs on. Raises the errors of `device.choose`."""
        return machine.choose(self.device_name)

    def sum(self, values: Any) -> Any:
        """Element-wise sum over all processes of an int64 or float64 array."""
        if self.world == 1:
            return values
        import torch
        import torch.distributed as dist

        tensor = torch.tensor(values, device=self.device if self.device.type == "cuda" else "cpu")  # a copy
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()

    def from_first(self, value: Any) -> Any:
        """The `value` of the first process, in all processes."""
        box = [value]
        if self.world > 1:
            import torch.distributed as dist

            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """The `value` of each process, by rank, in all processes."""
        values = [value] * self.world
        if self.world > 1:
            import torch.distributed as dist

            dist.all_gather_object(values, value)
        return values

    def in_turn(self, mine: Sequence[T]) -> list[T]:
        """All items of a list in its order, where each process has the items rank, rank + world ... as `mine`."""
        if self.world == 1:
            return list(mine)
        parts = self.gather(list(mine))
        return [parts[i % self.world][i // self.world] for i in range(sum(map(len, parts)))]

    def all_or_none(self, work: Callable[[], T]) -> T:
        """The result of `work`. A PerpixelError in one process is raised in all processes, so that no process waits for
        another."""
        result, failed = None, None
        try:
            result = work()
        except PerpixelError as raised:
            if self.world == 1:
                raise
            failed = raised
        for error in self.gather(failed):
            if error is not None:
                raise error
        return result  # type: ignore[return-value]


ALONE = Team(0, 1, "cpu")


@contextmanager
def join(device_name: str) -> Iterator[Team]:
    """The team of this process: gloo on CPUs, NCCL on GPUs, each process its own GPU.

    A process alone imports torch when it asks for the device, or here where a device is named. Raises the errors of
    `device.choose`."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        team = Team(0, 1, device_name)
        if device_name not in ("auto", "cpu"):  # every machine has these two; another name is checked before any work
            _ = team.device
        yield team
        return
    import torch
    import torch.distributed as dist

    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = machine.choose(f"cuda:{local}" if device_name == "auto" and torch.cuda.is_available() else device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), world, str(device))
    finally:
        dist.destroy_process_group()
