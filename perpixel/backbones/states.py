"""State dicts of others, whose tensors have other names: their places in our networks, and messages that name wrong tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor, nn

from perpixel.errors import UntrustedFile

MOST_NAMES = 8
COUNTER = ".num_batches_tracked"


def renamed_state(
    network: nn.Module, state: Mapping[str, Tensor], their_name: Callable[[str], str | None], where: str, owner: str
) -> dict[str, Tensor]:
    """The state dict for `network` from `state`. `their_name` gives the name in `state` of each of our tensors, or none.

    Raises UntrustedFile, which says that the file `where` is not of `owner`, and lists tensors that are missing, unknown or
    misshapen."""
    ours = network.state_dict()
    own = {theirs: (name, tensor) for name, tensor in ours.items() if (theirs := their_name(name)) is not None}
    # Nothing reads these counters; files older than torch 0.4.1 lack them, and frozen layers have none.
    missing = [name for name in own if name not in state and not name.endswith(COUNTER)]
    unknown = [name for name in state if name not in own and not name.endswith(COUNTER)]
    misshapen = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(tensor.shape)}"
        for name, (_, tensor) in own.items()
        if name in state and state[name].shape != tensor.shape
    ]
    wrong = {"missing": missing, "unknown": unknown, "misshapen": misshapen}
    if any(wrong.values()):
        listed = "; ".join(f"{kind}: {_shown(names)}" for kind, names in wrong.items() if names)
        raise UntrustedFile(
            f"{where}: is not of {owner} ({listed}); give the network and the number of classes that it was trained with."
        )
    taken = {name: state[theirs].to(tensor.dtype) for theirs, (name, tensor) in own.items() if theirs in state}
    return {**ours, **taken}


def _shown(names: Iterable[str]) -> str:
    """The first few of `names` in printable form, and the number of the others."""
    listed = list(names)
    shown = [name if name.isprintable() else ascii(name) for name in listed[:MOST_NAMES]]
    more = len(listed) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
