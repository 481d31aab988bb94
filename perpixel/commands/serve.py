"""`perpixel serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from perpixel.commands.flags import NO_INFERENCE, Inferring
from perpixel.commands.opening import given, in_engine, inference_of, load_on
from perpixel.errors import DataError, ResourceError
from perpixel.files import read_text
from perpixel.terminal import say, show

EXTRA = ("fastapi", "granian", "starlette", "pydantic")


def serve(
    runs: Annotated[list[str], Parameter(help="Run folders, model files, or networks with weights of torchvision.")],
    *,
    host: Annotated[str, Parameter(help="Address to listen at; 0.0.0.0 for all of this machine.")] = "127.0.0.1",
    port: Annotated[int, Parameter(help="Port to listen at; 0 takes a free one.")] = 8000,
    token_file: Annotated[
        Path | None, Parameter(help="File with the token that requests must bring. [default: PERPIXEL_TOKEN, or none]")
    ] = None,
    max_megabytes: Annotated[float, Parameter(help="Longest file of a picture, in MB.")] = 32.0,
    max_megapixels: Annotated[float, Parameter(help="Largest picture, in millions of pixels.")] = 50.0,
    timeout: Annotated[float, Parameter(help="Seconds to receive a picture, to answer it, and to send the answer.")] = 30.0,
    queue: Annotated[int, Parameter(help="Pictures that may wait; further ones are refused with 429.")] = 32,
    save: Annotated[
        Path | None, Parameter(help="Folder for masks that are corrected on the page, as a data set to train on. [default: none]")
    ] = None,
    inferring: Inferring = NO_INFERENCE,
    device: Annotated[str, Parameter(help="auto, cpu, cuda ...")] = "auto",
    engine: Annotated[str | None, Parameter(help="torch, onnx, openvino, or auto, which measures. [default: torch]")] = None,
) -> None:
    """Serve models over HTTP, with a page: a picture in, the mask of `perpixel predict` out. Stops by Ctrl-C or SIGTERM."""
    import asyncio

    from perpixel.prediction.inference import PLAIN, Inference
    from perpixel.weights.model_file import Model

    try:
        from perpixel.serve import server
        from perpixel.serve.limits import Limits
        from perpixel.serve.models import Models
        from perpixel.serve.pairs import Pairs
        from perpixel.serve.service import LOOPBACK, Service
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] not in EXTRA:
            raise
        raise ResourceError(
            f'`perpixel serve` needs {error.name}, which is not installed; pip install "perpixel[serve]" brings it.'
        ) from error
    limits = Limits(max_megabytes, max_megapixels, timeout, queue)
    token = _token(token_file)
    inference: Inference = inference_of(given(inferring)) or PLAIN

    def load(run: str) -> Model:
        model: Model = in_engine(load_on(run, device, engine), run, engine, [])
        return model

    listener = server.listen(host, port, timeout)  # before models are loaded, which takes longer
    try:
        models = Models(runs, load, inference)
        pairs = None if save is None else Pairs(save, models.named(None).predictor.model.classes)
    except BaseException:
        listener.close()
        raise
    local = f"[{host}]" in LOOPBACK or host in LOOPBACK
    if not local and token is None:
        say(f"Whoever reaches {host} may use this service; --token-file or PERPIXEL_TOKEN asks for a token.")
    show(f"{server.address_of(listener)} serves {', '.join(model.name for model in models)}. Ctrl-C stops.")
    asyncio.run(server.serve(lambda: Service(models, limits, token, LOOPBACK if local else None, pairs), listener, say))
    say("Stopped; every request that had begun was answered.")


def _token(file: Path | None) -> str | None:
    """The token of the file, or of the environment. Raises DataError for an empty one, or of characters that no header holds."""
    import os

    text = read_text(file) if file is not None else os.environ.get("PERPIXEL_TOKEN")
    if text is None:
        return None
    where, token = file or "PERPIXEL_TOKEN", text.strip()
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise DataError(f"{where}: is no token; write one line of ASCII without blanks, such as of `openssl rand -hex 32`.")
    return token
