"""Who may talk to the page: this machine, or who has the token; and no other site through a visitor's browser."""

import secrets
from http.cookies import SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

COOKIE = "epicsub_token"
HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; media-src 'self' blob:; "
    "frame-ancestors 'none'; form-action 'self'; base-uri 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
ASK = """<!doctype html><meta charset="utf-8"><title>epicsub live</title>
<form method="get" action="/"><p>This page asks for the token that <code>epicsub live</code> printed.</p>
<input name="token" type="password" aria-label="token" autofocus> <button>Open</button></form>"""


def is_loopback(host: str) -> bool:
    """Tell whether only this machine reaches an address.

    Args:
        host: name or number.

    Returns:
        True for localhost, 127.0.0.0/8 and ::1.
    """
    if host == "localhost":
        return True
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """Middleware in front of every route, web sockets included."""

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        """Guard an app.

        Args:
            app: to guard.
            token: that a request must carry, once in its address and then in a cookie; None: requests must be to a
                loopback address by name, so that no foreign name that resolves to it serves another site.
        """
        self.app, self.token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:

            async def with_headers(message: dict) -> None:  # type: ignore[type-arg]
                if message["type"] == "http.response.start":
                    message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in HEADERS.items())]
                await send(message)

            await self.app(scope, receive, with_headers)  # type: ignore[arg-type]
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008, "reason": "not allowed"})
        else:
            await refusal(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if origin is not None and urlsplit(origin).netloc != host:
            return PlainTextResponse("requests of other sites are not answered", 403)
        if self.token is None:
            name = urlsplit(f"//{host}").hostname or ""
            return None if is_loopback(name) else PlainTextResponse("open the page as http://127.0.0.1:PORT", 403)
        cookie = SimpleCookie(headers.get("cookie", "")).get(COOKIE)
        if cookie is not None and secrets.compare_digest(cookie.value.encode(), self.token.encode()):
            return None
        given = parse_qs(scope["query_string"].decode("latin-1")).get("token", [""])[0]
        if scope["path"] == "/" and secrets.compare_digest(given.encode(), self.token.encode()):
            answer = RedirectResponse("/", 303)
            answer.set_cookie(COOKIE, self.token, httponly=True, samesite="strict")
            return answer
        return HTMLResponse(ASK, 401)
