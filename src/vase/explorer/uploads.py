"""Takes one image a request, and computes what is seen in it beside the server's own thread.

NiceGUI would read a thousand files of a request, one after the other, while nobody is served.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import BinaryIO, ParamSpec, TypeVar

from nicegui import app, ui
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response

from vase.errors import InputError
from vase.explorer import run_data
from vase.explorer.run_data import ExplorerData, ImageInference
from vase.images import files
from vase.report.decode import Floats

MOST_PIXELS = 13_000_000  # of an upload; a telephone's 12 megapixels are 4,080 x 3,072
AT_ONCE = 2  # images that are computed at the same time, for all visitors
MOST_WAITING = 8  # images that are received, and that are computed or wait for it
BUSY = "Too many images at once. Try again in a moment."

Given = ParamSpec("Given")
Found = TypeVar("Found")
Handler = Callable[[BinaryIO, str], Awaitable[str]]


class ImageReader:
    """Reads images and infers what is in them, a few at once for all visitors of a server."""

    def __init__(self, explored: ExplorerData) -> None:
        self.explored = explored
        self.receiving = 0
        self._computing = 0
        self._places = asyncio.Semaphore(AT_ONCE)

    async def infer(self, image: Floats) -> ImageInference:
        """What is seen in an image; an `InputError` where too many wait already."""
        return await self._beside(run_data.infer_image, self.explored, image)

    async def read(self, file: BinaryIO, name: str) -> tuple[Floats, ImageInference]:
        """The image of a file, and what is seen in it; an `InputError` where there is none."""
        return await self._beside(self._read, file, name)

    def _read(self, file: BinaryIO, name: str) -> tuple[Floats, ImageInference]:
        shape = self.explored.run.networks.architecture
        size = (shape.channels, shape.height, shape.width)
        image = files.fitted(file, name, size, most_pixels=MOST_PIXELS)
        return image, run_data.infer_image(self.explored, image)

    async def _beside(
        self, work: Callable[Given, Found], *args: Given.args, **kwargs: Given.kwargs
    ) -> Found:
        if self._computing >= MOST_WAITING:
            raise InputError(BUSY)
        self._computing += 1
        try:
            async with self._places:
                return await asyncio.to_thread(work, *args, **kwargs)
        finally:
            self._computing -= 1


def receive(upload: ui.upload, reader: ImageReader, handle: Handler) -> None:
    """Let an upload take one file a request, which `handle` is given with its name.

    handle: returns a sentence, the answer.
    """
    address = str(upload.props["url"])

    async def received(request: Request) -> Response:
        if reader.receiving >= MOST_WAITING:
            raise HTTPException(503, BUSY)
        reader.receiving += 1
        try:
            return PlainTextResponse(await _handled(request, handle))
        except ClientDisconnect:
            return Response(status_code=400)  # that nobody reads
        finally:
            reader.receiving -= 1

    app.remove_route(address)  # NiceGUI's own; the page that goes takes ours along
    app.add_route(address, received, methods=["POST"], include_in_schema=False)


async def _handled(request: Request, handle: Handler) -> str:
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        raise HTTPException(415, "Send one file, as multipart/form-data.")
    try:
        form = await request.form(max_files=1, max_fields=0)
    except HTTPException as error:
        if str(error.detail).startswith("Too many"):
            raise HTTPException(413, "One file a request: send each by itself.") from None
        raise
    try:
        sent = next((each for each in form.values() if isinstance(each, UploadFile)), None)
        if sent is None:
            raise HTTPException(400, "There is no file in the request. Send one.")
        name = (sent.filename or "").replace("\\", "/").rpartition("/")[2]
        return await handle(sent.file, name)
    finally:
        await form.close()
