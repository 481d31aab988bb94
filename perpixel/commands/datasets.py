"""`perpixel datasets`."""

from __future__ import annotations

from perpixel.commands.flags import AsJson


def datasets(*, as_json: AsJson = False) -> None:
    """List the data sets that have a name; any folder with images/ and masks/ or instances/ is one too."""
    from perpixel.datasets.listing import datasets as rows
    from perpixel.terminal import print_json, print_table, show

    named = rows()
    if as_json:
        print_json([vars(row) for row in named])
        return
    print_table(
        ("data set", "classes", "pictures", "what"),
        [(row.name, str(len(row.classes)), ", ".join(f"{k} {v}" for k, v in row.pictures.items()), row.what) for row in named],
    )
    show()
    show("A folder with images/, masks/ and classes.csv is a data set too: perpixel init FOLDER makes one.")
