"""`perpixel networks`."""

from __future__ import annotations

from perpixel.commands.flags import AsJson


def networks(*, as_json: AsJson = False) -> None:
    """List the networks, then networks outside the review for comparison: parameters, multiply-adds, and their papers'
    figures."""
    from perpixel.networks.papers import networks as rows
    from perpixel.terminal import print_json, print_table, show

    listed = rows()
    if as_json:
        print_json([{**vars(row), "yardstick": row.yardstick} for row in listed])
        return
    for yardstick, title in ((False, "network"), (True, "yardstick")):
        print_table(
            (title, "parameters", "multiply-adds", "paper", "the paper's figure"),
            [
                (row.name, f"{row.parameters:,}", f"{row.multiply_adds / 1e9:.1f} G", row.paper, row.figure)
                for row in listed
                if row.yardstick is yardstick
            ],
        )
        show()
    size = "x".join(map(str, listed[0].size))
    show(f"For {listed[0].classes} classes and pictures of {size}; without arguments, as published.")
