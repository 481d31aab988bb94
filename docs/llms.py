"""Prints llms.txt: all verbs and their flags as `--help` has them, in one text for programs that read. `make llms` writes it."""

import re

from perpixel.cli import app

HEAD = """# perpixel

> Semantic segmentation networks, trained as published, judged by one protocol. README.md says what it is and shows the first
> commands; docs/ has a page for each part. Below are all verbs with their flags, as `perpixel VERB --help` has them.
"""


def text() -> str:
    """The head, then a section for each verb; cyclopts writes the sections."""
    sections = re.split(r"^(?=## perpixel )", app.generate_docs(), flags=re.MULTILINE)[1:]
    return "\n".join([HEAD, *(section.rstrip() + "\n" for section in sections)])


if __name__ == "__main__":
    print(text(), end="")
