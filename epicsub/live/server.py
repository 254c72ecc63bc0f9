"""The page of `epicsub live`: a camera's frames over a web socket, files and narrations with their timelines.

Starlette alone: a socket per page with frames one way and answers the other drops frames where the network or the model
is slow, which a queue of requests does not, and there is no route that we have not written.
"""

import asyncio
import contextlib
import secrets
import struct
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket, WebSocketDisconnect

from epicsub.data.annotations import Segment
from epicsub.data.root import DataRoot
from epicsub.errors import EpicsubError, LiveError
from epicsub.live.camera import MOST_BYTES, CameraSession
from epicsub.live.classify import LiveModel
from epicsub.live.guard import Guard
from epicsub.live.timeline import timeline, truth
from epicsub.live.uploads import Uploads

PAGE = Path(__file__).parent / "page"
AROUND = 5.0
"""seconds of the video shown on both sides of a narration"""
MOST_JOBS = 64


@dataclass
class _Job:
    """A timeline in the making."""

    video: Path
    kind: str
    share: float = 0.0
    result: dict[str, Any] | None = None
    problem: str = ""


@dataclass
class Live:
    """What the page works with."""

    models: Sequence[LiveModel]
    uploads: Uploads
    root: DataRoot
    segments: dict[str, Segment]
    """by narration id, of the lists under the data root"""
    jobs: dict[str, _Job] = field(default_factory=dict)
    pages: set[str] = field(default_factory=set)
    worker: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1))
    """one timeline after the other: cameras go on beside it"""

    async def about(self, request: Request) -> Response:
        """What the page must know before it starts."""
        runs = [{"name": model.name, "seconds": model.cut.seconds} for model in self.models]
        most = self.uploads.most_bytes
        return JSONResponse({"runs": runs, "most_bytes": most, "narrations": bool(self.segments)})

    async def camera(self, socket: WebSocket) -> None:
        """One page: it is told its name, and sends frames while its camera is on."""
        await socket.accept()
        page = secrets.token_hex(16)
        self.pages.add(page)
        loop = asyncio.get_running_loop()

        def send(message: dict[str, Any]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended
                asyncio.run_coroutine_threadsafe(_send(socket, message), loop).result(timeout=5)

        session: CameraSession | None = None
        try:
            await socket.send_json({"page": page})
            while True:
                data = (await socket.receive()).get("bytes")
                if data is None:
                    if socket.client_state.name != "CONNECTED":
                        break
                    continue
                if not 8 < len(data) <= MOST_BYTES:
                    await socket.send_json({"problem": "a picture of that size is not taken"})
                    continue
                session = session or CameraSession(self.models, send)
                session.add(struct.unpack_from("<d", data)[0], data[8:])
        except WebSocketDisconnect:
            pass
        finally:
            if session is not None:
                await asyncio.to_thread(session.close)
            self.pages.discard(page)
            self.uploads.remove(page)

    async def upload(self, request: Request) -> Response:
        """Take a video, and start on its timeline."""
        page = request.query_params.get("page", "")
        length = request.headers.get("content-length", "")
        try:
            if page not in self.pages:
                raise LiveError(f"page {page[:8]!r}: has lost its connection; open it again")
            path = await self.uploads.receive(page, _parts(request), int(length) if length.isdecimal() else None)
        except LiveError as error:
            return JSONResponse({"problem": str(error)}, 413 if "over" in str(error) else 422)
        except ClientDisconnect:
            return Response(status_code=499)
        return self._start(_Job(path, "upload"))

    async def narration(self, request: Request) -> Response:
        """Start on the timeline around a narration of the data root."""
        identity = request.query_params.get("id", "").strip()
        segment = self.segments.get(identity)
        video = self.root.video(segment.video_id) if segment else None
        if segment is None or video is None:
            why = f"{identity[:40]}: no such narration id in the lists of {self.root.path}"
            return JSONResponse({"problem": f"{why}, or its video is not there"}, 404)
        return self._start(_Job(video, identity))

    async def job(self, request: Request) -> Response:
        """How far a timeline is, and the timeline."""
        job = self.jobs.get(request.path_params["job"])
        if job is None:
            return JSONResponse({"problem": "this timeline is no longer kept: open the video again"}, 404)
        return JSONResponse({"share": round(job.share, 3), "result": job.result, "problem": job.problem})

    async def video(self, request: Request) -> Response:
        """The video of a timeline, whole or in parts."""
        job = self.jobs.get(request.path_params["job"])
        if job is None or not job.video.is_file():
            return JSONResponse({"problem": "this video is no longer kept: open it again"}, 404)
        with open(job.video, "rb") as handle:
            kind = "video/webm" if handle.read(4) == b"\x1aE\xdf\xa3" else "video/mp4"
        return FileResponse(job.video, media_type=kind)

    def _start(self, job: _Job) -> Response:
        name = secrets.token_hex(16)
        self.jobs[name] = job
        while len(self.jobs) > MOST_JOBS:
            self.jobs.pop(next(iter(self.jobs)))
        self.worker.submit(self._work, job)
        return JSONResponse({"job": name})

    def _work(self, job: _Job) -> None:
        start, stop, segment = 0.0, None, self.segments.get(job.kind)
        if segment is not None:
            start, stop = max(0.0, segment.start - AROUND), segment.stop + AROUND
        try:
            found = timeline(self.models, job.video, start, stop, lambda share: setattr(job, "share", share))
            if segment is not None:
                names = self.models[0].model.names
                found["truth"] = truth(
                    list(self.segments.values()), names, segment.video_id, found["start"], found["stop"]
                )
            job.result = found
        except EpicsubError as error:
            job.problem = str(error).replace(f"{job.video}: ", "").replace(str(job.video), "the video")
        except BaseException:
            job.problem = "the server failed at this video; its log says why"
            raise


async def _send(socket: WebSocket, message: dict[str, Any]) -> None:
    with contextlib.suppress(RuntimeError, WebSocketDisconnect):  # the page has gone meanwhile
        await socket.send_json(message)


async def _parts(request: Request) -> AsyncIterator[bytes]:
    async for part in request.stream():
        yield part


def make_app(live: Live, token: str | None) -> Starlette:
    """Put the routes together.

    Args:
        live: what they work with.
        token: that requests must carry; None on a loopback address.

    Returns:
        The app.
    """
    routes = [
        Route("/", lambda request: FileResponse(PAGE / "index.html")),
        Route("/api/about", live.about),
        Route("/api/upload", live.upload, methods=["PUT"]),
        Route("/api/narration", live.narration, methods=["POST"]),
        Route("/api/job/{job}", live.job),
        Route("/api/video/{job}", live.video),
        WebSocketRoute("/api/camera", live.camera),
        Mount("/page", StaticFiles(directory=PAGE)),
    ]
    return Starlette(routes=routes, middleware=[Middleware(Guard, token=token)])
