"""`perpixel download`."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from cyclopts import Parameter

from perpixel.commands.flags import AsJson, Root
from perpixel.errors import UsageError
from perpixel.terminal import say


def download(
    name: Annotated[
        str | None, Parameter(help="Data set to fetch; without it, a list of all with their terms and their state on this disk.")
    ] = None,
    *,
    root: Root = None,
    parts: Annotated[
        list[str] | None,
        Parameter(help="Parts to fetch, or extra parts. [default: the usual parts]", negative=(), consume_multiple=True),
    ] = None,
    accept_licence: Annotated[bool, Parameter(negative=(), help="You have read the terms of the set and agree to them.")] = False,
    check: Annotated[bool, Parameter(negative=(), help="Fetch nothing: check names and counts of the files on disk.")] = False,
    as_json: AsJson = False,
) -> None:
    """Fetch a published data set: show its terms, resume a stopped download, check the files, unpack them where its reader looks.

    For a data set behind a login, such as cityscapes, print the steps, then unpack and check the archives that you put in
    place."""
    from perpixel.download.download import check_download, find_set, rows
    from perpixel.download.download import download as fetch_all

    if name is None:
        _list_sources(rows(root), as_json)
        return
    find_set(name)  # raises UnknownName for a wrong name
    if root is None:
        raise UsageError(f"{name}: name the folder that data sets lie in with --root or PERPIXEL_ROOT.")
    from perpixel.terminal import Progress, print_json, show

    def accept(terms: str) -> bool:
        for line in terms.splitlines():
            say(line)
        if accept_licence:
            return True
        return sys.stdin.isatty() and input("Do you agree? Type yes: ").strip().lower() == "yes"

    if check:
        findings = check_download(name, root, parts)
    else:
        findings = fetch_all(name, root, accept=accept, parts=parts, say=say, make_progress=Progress)
    if as_json:
        print_json([vars(finding) for finding in findings])
    else:
        for finding in findings:
            show(f"{finding.part}: {finding.problem or finding.rule + ', as published'}")
    problems = sum(bool(finding.problem) for finding in findings)
    if problems:
        say(f"{name}: {problems} of {len(findings)} checks failed; delete the folder that is not complete and download it again.")
        raise SystemExit(3)
    data = find_set(name)[1].datasets
    following = f" Next: perpixel check {name if name in data else data[0]} --root {root}" if data else ""
    say(f"{name}: all {len(findings)} checks of names and counts passed.{following}")


def _list_sources(rows: Any, as_json: bool) -> None:
    from perpixel.terminal import print_json, print_table

    if as_json:
        print_json([vars(row) for row in rows])
        return
    print_table(
        ("set", "size", "parts (+ on request)", "login", "on this disk", "terms"),
        [(row.name, row.size, ", ".join(row.parts), "needed" if row.login else "", row.state, row.terms) for row in rows],
    )
