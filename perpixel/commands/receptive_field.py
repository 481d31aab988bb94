"""`perpixel receptive-field`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.opening import load_on
from perpixel.errors import UsageError
from perpixel.terminal import say


def receptive_field(
    run: Annotated[Path, Parameter(help="Run folder or model file.")],
    picture: Annotated[Path, Parameter(help="Picture to slide the noise over.")],
    *,
    at: Annotated[tuple[int, int] | None, Parameter(help="Row and column of the output; else the middle.", negative=())] = None,
    patch: Annotated[int, Parameter(help="Side of the patch of noise in pixels.")] = 16,
    step: Annotated[int | None, Parameter(help="Pixels from patch to patch; the patch's side without it.")] = None,
    out: Annotated[Path, Parameter(help="Picture to write.")] = Path("receptive-field.png"),
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
) -> None:
    """Slide noise over a picture and draw the part of it that changes one output: ParseNet's probe of the receptive field."""
    from perpixel.files import require_file_or_nothing
    from perpixel.images import PICTURE_SUFFIXES, read_image, write_image
    from perpixel.studies.receptive_field import SHARE, draw_probe
    from perpixel.studies.receptive_field import receptive_field as examine
    from perpixel.terminal import Progress, percent, show
    from perpixel.weights.model_file import refuse_bands

    if out.is_dir() or out.suffix.lower() not in PICTURE_SUFFIXES:
        raise UsageError(f"{out}: is no name of a picture; end --out with a file name like field.png.")
    model = load_on(run, device)
    refuse_bands(model, "receptive-field")
    image = read_image(picture)
    require_file_or_nothing(out)
    out.parent.mkdir(parents=True, exist_ok=True)  # raises before minutes of probing where nothing can be written
    probe = examine(model, image, at, patch, step, progress=Progress("patches"))
    write_image(out.parent, out.name, draw_probe(image, probe))
    top, left, bottom, right = probe.theoretical
    show(f"output: {model.classes.names[probe.class_id]} at row {probe.at[0]}, column {probe.at[1]}")
    share = f"more than {100 * SHARE:.0f} % of the greatest change"
    show(f"effective field: {percent(probe.moved)} % of the picture, which moves it by {share}")
    show(f"theoretical field: {percent(probe.reach)} % of the picture, rows {top}..{bottom - 1}, columns {left}..{right - 1}")
    say(f"{out}: redder moves more; white surrounds the effective field, blue the theoretical one.")
