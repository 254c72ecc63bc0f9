"""Starting the page of `epicsub live`, and ending it without a trace."""

import logging
import os
import secrets
import socket
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from epicsub.api import data_root
from epicsub.data.annotations import Segment
from epicsub.data.prepared.plan import OFFICIAL_LISTS
from epicsub.errors import LiveError
from epicsub.live.classify import LiveModel
from epicsub.live.guard import is_loopback
from epicsub.live.server import Live, make_app
from epicsub.live.uploads import Uploads

TOKEN_VARIABLE = "EPICSUB_LIVE_TOKEN"
log = logging.getLogger(__name__)


def serve(
    models: Sequence[LiveModel],
    *,
    host: str,
    port: int,
    data: str | Path | None = None,
    most_bytes: int = 2_000_000_000,
) -> None:
    """Serve the page until Ctrl-C.

    Args:
        models: to ask.
        host: address to listen at; one that other machines reach asks for a token.
        port: to listen at; 0 takes any that is free.
        data: data root, for narration ids.
        most_bytes: of an upload.

    Raises:
        LiveError: the address cannot be had.
        DataError: a list under the data root is damaged.
    """
    root = data_root(data, models[0].model.recipe.data.root)
    segments: dict[str, Segment] = {}
    for name in OFFICIAL_LISTS:
        if (root.path / "annotations" / name).is_file():  # narrations are an extra: the camera needs no data root
            segments |= {segment.narration_id: segment for segment in root.segments(name)}
    token = None if is_loopback(host) else os.environ.get(TOKEN_VARIABLE) or secrets.token_urlsafe(16)
    listening = _listen(host, port)
    uploads = Uploads(most_bytes)
    try:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        log.info("%s  (Ctrl-C ends it)", address if token is None else f"{address}?token={token}")
        if token is not None:
            log.info(
                "browsers give a page their camera on https or on this machine alone; put a proxy with TLS before it"
            )
        app = make_app(Live(models, uploads, root, segments), token)
        config = uvicorn.Config(app, log_level="warning", ws_max_size=4_000_000, timeout_graceful_shutdown=2)
        uvicorn.Server(config).run(sockets=[listening])
    finally:
        uploads.close()
        listening.close()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listening = socket.socket(family)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()  # whoever follows the address before the page is ready waits
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or "no such address or port"
        raise LiveError(f"{host}:{port}: cannot listen there: {reason}; choose another --port or --host") from error
    return listening
