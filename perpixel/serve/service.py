"""The service: a picture in, a mask out. `Service` makes the ASGI application; `server` runs it.

    POST /predict?model=NAME&as=mask    the body is the picture; mask, overlay, coco, scores or instances come back
    POST /pairs?name=FILE&picture=N     with --save: the body is a picture of N bytes and its mask, which are kept for training
    GET  /models                        what is served: names, classes, colours, forms
    GET  /                              a page for people
    GET  /health  /ready  /metrics      for those who run it
    GET  /openapi.json                  the same for programs

Each refusal is JSON, {"error": "one sentence"}. Sizes of files and pictures are judged before a pixel is decoded."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from perpixel.errors import PerpixelError, UnknownName, UsageError, did_you_mean, failure_of, is_out_of_memory
from perpixel.images import BYTES_NAME, TooLarge, dropped, read_image, read_size
from perpixel.serve.exchange import FAILED, LEFT, App, Exchange, Send
from perpixel.serve.limits import Bodies, ClientLeft, Limits, Message, Receive, Refused
from perpixel.serve.line import Line
from perpixel.serve.metrics import Metrics
from perpixel.serve.models import FORMS, Models, ServedModel, encode_answer
from perpixel.serve.pairs import Pairs
from perpixel.version import VERSION

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
PAGE = {"/": "page.html", "/page.css": "page.css", "/page.js": "page.js"}  # the files of the page, by address
FOLDER = Path(__file__).parent
MEDIA = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
OPEN = frozenset({*PAGE, "/health", "/ready"})  # need no token
MEANINGS = {
    400: "The picture or the request cannot be used.",
    401: "The token is missing or wrong.",
    403: "The request comes from another web page, or under another name of this machine.",
    404: "There is no such model.",
    409: "A pair has this name already, or the folder has other classes.",
    408: "The picture came too slowly.",
    413: "The file or the picture is too large.",
    415: "The body is no picture by its Content-Type or Content-Encoding.",
    429: "Too many pictures wait; Retry-After says when to come again.",
    503: "The service is stopping, or could not answer in time.",
}
ERROR = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}


def _refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    content = {"application/json": {"schema": ERROR}}
    return {status: {"description": MEANINGS[status], "content": content} for status in statuses}


PICTURE = {"requestBody": {"required": True, "content": {"image/*": {"schema": {"type": "string", "format": "binary"}}}}}
ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The mask or overlay as PNG, COCO JSON or objects as JSON, or probabilities as .npy.",
        "content": {media: {} for media in dict.fromkeys(FORMS.values())},
    }
}


class Service:
    """The models behind limits.

    `hosts`: the names under which this machine may be asked; None for all. `pairs` keeps corrected masks; without it none are
    taken. `stopping` and `idle` are for the one who stops it."""

    def __init__(
        self, models: Models, limits: Limits | None = None, token: str | None = None, hosts: frozenset[str] | None = LOOPBACK,
        pairs: Pairs | None = None,
    ) -> None:  # fmt: skip
        self.models, self.limits, self.metrics = models, limits or Limits(), Metrics()
        self.stopping, self._token, self._hosts, self._pairs = False, token, hosts, pairs
        self._line, self._bodies = Line(self.limits, monotonic), Bodies(self.limits, monotonic)
        self.idle = asyncio.Event()
        self.idle.set()
        self._inside = 0
        self.application: App = self._application()

    def close(self) -> None:
        """Ends its threads."""
        self._line.close()

    def _application(self) -> App:
        app = FastAPI(
            title="perpixel", version=VERSION, description="Semantic segmentation: a picture in, a mask out.",
            docs_url=None, redoc_url=None, openapi_url="/openapi.json",
        )  # fmt: skip

        forms = [form for form in FORMS if any(form in model.forms for model in self.models)]
        of_forms = Query("mask", alias="as", description="The form of the answer.", json_schema_extra={"enum": forms})

        answers = {**ANSWER, **_refusals(*(status for status in MEANINGS if status != 409))}

        @app.post("/predict", responses=answers, response_class=Response, openapi_extra=PICTURE)
        async def predict(
            request: Request,
            model: Annotated[str | None, Query(description="A name of /models; the first without it.")] = None,
            form: str = of_forms,
            name: Annotated[str, Query(description="The file's name, for COCO JSON.", max_length=255)] = "picture",
        ) -> Response:
            """Predicts the picture in the body: PNG, JPEG, WEBP, TIFF, BMP or GIF."""
            with self._counted():
                return await self._predict(request, model, form, name)

        @app.get("/models", responses=_refusals(401, 403))
        async def models() -> list[dict[str, Any]]:
            """The models that are served, with their classes as masks hold them."""
            return [{**model.to_json(), "saves": self._pairs is not None} for model in self.models]

        @app.get("/health", responses=_refusals(403))
        async def health() -> dict[str, str]:
            """The process lives."""
            return {"status": "alive"}

        @app.get("/ready", responses=_refusals(403, 503))
        async def ready() -> dict[str, str]:
            """Pictures are taken: the models are loaded, and nobody stops the service."""
            if self.stopping:
                raise _stopping()
            return {"status": "ready"}

        @app.get("/metrics", responses=_refusals(401, 403), response_class=Response)
        async def metrics() -> Response:
            """Counts for Prometheus."""
            gauges = {
                "perpixel_waiting": (float(self._line.waiting), "Pictures in the line."),
                "perpixel_seconds_a_picture": (self._line.seconds, "Running mean of the seconds of a picture."),
            }
            return Response(self.metrics.text(gauges), media_type="text/plain; version=0.0.4; charset=utf-8")

        if self._pairs is not None:

            @app.post("/pairs", responses=_refusals(400, 401, 403, 404, 408, 409, 413, 415, 429, 503), openapi_extra=PICTURE)
            async def pairs(
                request: Request,
                name: Annotated[str, Query(description="The picture's file name.", max_length=255)],
                picture: Annotated[int, Query(description="Bytes of the picture; the mask's follow.", ge=1)],
                model: Annotated[str | None, Query(description="The model whose classes the mask has.")] = None,
            ) -> dict[str, str]:
                """Keeps a picture and its mask, one file behind the other, as a training pair."""
                with self._counted():
                    return {"name": await self._keep(request, model, name, picture)}

        for address, file in PAGE.items():
            app.add_api_route(address, _file(file), include_in_schema=False, response_class=Response)

        async def on_refusal(_: Request, error: Exception) -> Response:
            assert isinstance(error, Refused)
            return _refused(error)

        async def on_left(_: Request, error: Exception) -> Response:
            return Response(status_code=LEFT)  # which nobody reads, but the counts have it

        async def on_query(_: Request, error: Exception) -> Response:
            assert isinstance(error, RequestValidationError)
            first = error.errors()[0]
            return _refused(Refused(400, f"{first['loc'][-1]}: {str(first['msg']).lower()}; see /openapi.json."))

        async def on_path(request: Request, error: Exception) -> Response:
            assert isinstance(error, HTTPException)
            reason = "is not answered in this way" if error.status_code == 405 else "is no address of this service"
            sentence = f"{request.method} {request.url.path[:200]}: {reason}; see /openapi.json."
            return JSONResponse({"error": sentence}, error.status_code, error.headers)

        app.add_exception_handler(Refused, on_refusal)
        async def on_bug(_: Request, error: Exception) -> Response:
            return _refused(Refused(500, FAILED))

        app.add_exception_handler(Exception, on_bug)
        app.add_exception_handler(ClientLeft, on_left)
        app.add_exception_handler(RequestValidationError, on_query)
        app.add_exception_handler(HTTPException, on_path)

        async def guarded(scope: Message, receive: Receive, send: Send) -> None:
            request = Request(scope)
            try:
                self._require_own_page(request)
                self._require_token(request)
                if scope["path"] == "/predict" and scope["method"] == "POST":
                    self._line.require_place()  # before anything that costs more, so that a flood leaves time for the rest
            except Refused as error:
                await _refused(error)(scope, receive, send)
                return
            await app(scope, receive, send)

        paths = frozenset({*PAGE, "/predict", "/pairs", "/models", "/health", "/ready", "/metrics", "/openapi.json"})
        return Exchange(guarded, self.limits, self.metrics, paths)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._inside += 1
        self.idle.clear()
        try:
            yield
        finally:
            self._inside -= 1
            if not self._inside:
                self.idle.set()

    def _require_own_page(self, request: Request) -> None:
        """Raises Refused for what a browser sends for another web page, or to a name that another page made point here."""
        host = request.headers.get("host", "")
        name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
        if self._hosts is not None and name.lower() not in self._hosts:
            raise Refused(403, f"the host {host[:100]!r} is not served; ask for {', '.join(sorted(self._hosts))}.")
        origin = request.headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            raise Refused(403, f"requests of the page {origin[:100]!r} are not answered; use the page that is served here.")

    def _require_token(self, request: Request) -> None:
        if self._token is None or request.url.path in OPEN:
            return
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        if not hmac.compare_digest(given.encode(), self._token.encode()):
            raise Refused(401, "the token is missing or wrong; send the header Authorization: Bearer TOKEN.")

    async def _predict(self, request: Request, model: str | None, form: str, name: str) -> Response:
        if self.stopping:
            raise _stopping()
        served = self._chosen(model, form)
        _require_picture_type(request)
        data = await self._bodies.receive(request.state.receive, request.headers)
        left_out = list[str]()
        with self._line.place():
            began = monotonic()
            await self._line.read(lambda: self._require_size(data))  # of all who wait, before any is decoded
            answer = await self._while_connected(request, self._answered(served, data, form, name, left_out))
            self.metrics.picture(served.name, monotonic() - began)
        headers = {"Cache-Control": "no-store", "Perpixel-Weights": served.predictor.weights[:64]}
        if left_out:
            headers["Perpixel-Left-Out"] = " ".join(left_out).encode("ascii", "replace").decode()
        return Response(answer, media_type=FORMS[form], headers=headers)

    async def _keep(self, request: Request, model: str | None, name: str, length: int) -> str:
        """Writes the pair in the body, and returns its name."""
        if self.stopping:
            raise _stopping()
        classes = self._named(model).predictor.model.classes
        _require_picture_type(request)
        data = await self._bodies.receive(request.state.receive, request.headers)
        if length >= len(data):
            raise Refused(400, f"picture={length}: the body has {len(data)} bytes, so no mask follows; send both files.")

        def keep() -> str:
            assert self._pairs is not None
            for part in (data[:length], data[length:]):
                self._require_size(part)
            with _of_picture():
                try:
                    return self._pairs.add(name, data[:length], data[length:], classes)
                except UsageError as error:
                    raise Refused(409, str(error)) from error

        return await self._line.write(keep)

    def _named(self, model: str | None) -> ServedModel:
        try:
            return self.models.named(model)
        except UnknownName as error:
            raise Refused(404, str(error)) from None

    def _chosen(self, model: str | None, form: str) -> ServedModel:
        served = self._named(model)
        if form not in served.forms:
            raise Refused(400, str(did_you_mean("form (as)", form, served.forms)))
        return served

    def _require_size(self, data: bytes) -> None:
        """Raises Refused for a file that is no picture, or holds too large a one; its pixels are not decoded."""
        with _of_picture():
            self.limits.require_size(*read_size(data, turn=False))

    async def _answered(self, served: ServedModel, data: bytes, form: str, name: str, left_out: list[str]) -> bytes:
        """The answer; `left_out` gets the sentences about what reading the picture leaves out."""

        def decode() -> Any:
            with _of_picture():
                image = read_image(data)
                left_out.extend(f"The picture {part.clause}." for part in dropped(data))
                return image

        def begin(image: Any) -> Callable[[], bytes]:
            with _of_picture():
                finish = served.begin(image, form)

            def encode() -> bytes:
                with _of_picture():
                    return encode_answer(finish(), image, form, name)

            return encode

        return await self._line.predicted(decode, begin)

    async def _while_connected(self, request: Request, work: Any) -> bytes:
        """The result of `work`, which ends when the client leaves or the time is over."""

        async def left() -> Message:
            while (message := await request.receive())["type"] != "http.disconnect":
                pass
            return message

        working, leaving = asyncio.ensure_future(work), asyncio.ensure_future(left())
        try:
            await asyncio.wait({working, leaving}, timeout=self.limits.timeout, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return bytes(working.result())
            if leaving.done():
                raise ClientLeft
            sentence = f"the picture was not answered within {self.limits.timeout:g} s; try again later, or send a smaller one."
            raise Refused(503, sentence, self._line.waiting * self._line.seconds)
        finally:
            for task in (working, leaving):
                task.cancel()
            await asyncio.gather(working, leaving, return_exceptions=True)


def _file(name: str) -> Callable[[], Awaitable[Response]]:
    """The answer of a file of the page, as it was when the service began."""
    path = FOLDER / name
    content, media = path.read_bytes(), f"{MEDIA[path.suffix]}; charset=utf-8"

    async def answer() -> Response:
        return Response(content, media_type=media, headers={"Cache-Control": "no-cache"})

    return answer


def _stopping() -> Refused:
    return Refused(503, "the service is stopping; ask again when it is back.", 5)


def _refused(error: Refused) -> Response:
    return JSONResponse({"error": error.sentence}, error.status, error.headers)


def _require_picture_type(request: Request) -> None:
    kind = request.headers.get("content-type", "application/octet-stream").partition(";")[0].strip().lower()
    if kind != "application/octet-stream" and not kind.startswith("image/"):
        raise Refused(
            415, f"the Content-Type {kind[:60]!r} is no picture; the body is the file itself, with -H 'Content-Type: image/jpeg'."
        )  # fmt: skip
    if (coding := request.headers.get("content-encoding", "identity").lower()) != "identity":
        raise Refused(415, f"the Content-Encoding {coding[:60]!r} is not read; send the file as it is.")


@contextmanager
def _of_picture() -> Iterator[None]:
    """Errors of reading or predicting a picture as refusals. Other errors are bugs and pass."""
    try:
        yield
    except (PerpixelError, OSError, MemoryError, RuntimeError) as error:
        sentence = failure_of("the picture", error)
        if sentence is None:
            raise
        too_large = isinstance(error, TooLarge) or is_out_of_memory(error)
        raise Refused(413 if too_large else 400, sentence.replace(BYTES_NAME, "the picture")) from error
