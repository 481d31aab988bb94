"""`perpixel import`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import AsJson
from perpixel.errors import UsageError
from perpixel.terminal import say


def import_(
    file: Annotated[
        Path,
        Parameter(
            help="A .caffemodel of a network's authors or of ImageNet, DeepLab v3+'s TensorFlow checkpoint (.index) or frozen "
            "graph (.pb), a .pth of torchvision, or SegFormer's .bin."
        ),
    ],
    *,
    trunk: Annotated[
        str | None, Parameter(help="Take only the trunk of an ImageNet classifier: vgg16, vgg16_reduced, alexnet or googlenet.")
    ] = None,
    network: Annotated[str | None, Parameter(help="Network that the file holds (see `perpixel networks`).")] = None,
    backbone: Annotated[str | None, Parameter(help="Its trunk, such as alexnet, where it is not the network's own.")] = None,
    variant: Annotated[str | None, Parameter(help="Its variant, such as U-Net's release, where it is not the paper's.")] = None,
    classes: Annotated[str | None, Parameter(help="Name of a class table, or a number of classes. [default: voc2012]")] = None,
    out: Annotated[Path | None, Parameter(help="Folder for the model file. [default: models/NETWORK]")] = None,
    list_: Annotated[bool, Parameter(name="--list", negative=(), help="Only print the file's layers and their shapes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Turn weights of a paper's authors, of torchvision, or of SegFormer on the common hub into a model file.

    Weights are refused if a layer is unknown, missing or of another shape. From ImageNet's classifiers in Caffe's format the
    trunk is taken, as a start for trainings."""
    from perpixel.terminal import print_json, print_table
    from perpixel.weights.caffe_file import shape_text
    from perpixel.weights.import_weights import contents, import_trunk, import_weights

    if list_:
        if any(given is not None for given in (network, trunk, backbone, variant, classes, out)):
            raise UsageError(
                "--list only prints the layers of the file; leave out --network, --trunk and the flags that belong to them."
            )
        rows = contents(file)
        if as_json:
            print_json([{"name": name, "type": kind, "shapes": shapes} for name, kind, shapes in rows])
        else:
            print_table(
                ("layer", "type", "shapes"),
                [(name, kind, ", ".join(map(shape_text, shapes))) for name, kind, shapes in rows],
            )
        return
    if trunk is not None:
        if any(given is not None for given in (network, backbone, variant, classes)):
            raise UsageError(
                "--trunk takes only the trunk, without classes; leave out --network and the flags that belong to it."
            )
        folder = out or Path("models") / trunk
        model, following = import_trunk(file, trunk, folder), f"train --recipe RECIPE --starts-from {folder}"
    elif network is not None:
        folder = out or Path("models") / network
        named = {"backbone": backbone, "variant": variant}
        arguments = {name: value for name, value in named.items() if value is not None}
        model = import_weights(file, network, classes or "voc2012", folder, **arguments)
        following = f"predict {folder} PICTURES --out masks"
    else:
        raise UsageError(f"{file}: name its network with --network or its trunk with --trunk, or see its layers with --list.")
    if as_json:
        print_json({"model": str(model)})
    say(f"{model}: written. Next: perpixel {following}")
