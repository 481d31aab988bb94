"""The processes that train together: alone, or those that `torchrun` started."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from perpixel.errors import PerpixelError
from perpixel.machines import device as machine

T = TypeVar("T")


@dataclass(frozen=True)
class Team:
    """This process among those that train together; alone it is rank 0 of 1."""

    rank: int
    world: int
    device: torch.device

    def sum(self, values: Any) -> Any:
        """Element-wise sum over all processes of an int64 or float64 array."""
        if self.world == 1:
            return values
        tensor = torch.as_tensor(values, device=self.device if self.device.type == "cuda" else "cpu")
        dist.all_reduce(tensor)
        return tensor.cpu().numpy()

    def from_first(self, value: Any) -> Any:
        """What the first process holds, in all of them."""
        box = [value]
        if self.world > 1:
            dist.broadcast_object_list(box, src=0)
        return box[0]

    def gather(self, value: Any) -> list[Any]:
        """What each process holds, by rank, in all of them."""
        found = [value] * self.world
        if self.world > 1:
            dist.all_gather_object(found, value)
        return found

    def in_turn(self, mine: Sequence[T]) -> list[T]:
        """What all processes hold for the items rank, rank + world ... of a list, in the order of the list."""
        if self.world == 1:
            return list(mine)
        parts = self.gather(list(mine))
        return [parts[i % self.world][i // self.world] for i in range(sum(map(len, parts)))]

    def all_or_none(self, work: Callable[[], T]) -> T:
        """What `work` returns; a PerpixelError in one process is raised in all, so that none waits for it."""
        result, failed = None, None
        try:
            result = work()
        except PerpixelError as error:
            if self.world == 1:
                raise
            failed = error
        for one in self.gather(failed):
            if one is not None:
                raise one
        return result  # type: ignore[return-value]


ALONE = Team(0, 1, torch.device("cpu"))


@contextmanager
def join(device_name: str) -> Iterator[Team]:
    """The team of this process: gloo on CPUs, NCCL on GPUs, each process its own GPU."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Team(0, 1, machine.choose(device_name))
        return
    local = int(os.environ.get("LOCAL_RANK", "0"))
    device = machine.choose(f"cuda:{local}" if device_name == "auto" and torch.cuda.is_available() else device_name)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Team(dist.get_rank(), world, device)
    finally:
        dist.destroy_process_group()
