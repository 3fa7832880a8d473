"""Server: a run's explorer for this machine alone, over HTTP. Knows of the run only what `Answers` says.

Whoever can open a connection may be hostile: another user of the machine, or any page that is open in the browser. So
every address begins with a secret, hosts and origins are checked (a page elsewhere must not reach this server through
the browser, nor by a name of its own that it lets point here), methods and addresses are those of a list, nothing a
client says becomes a path, and bytes, seconds and connections are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import re
import secrets
import socket
import traceback
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from mscon.data.inputs.decoding import quiet_pillow
from mscon.errors import MSConError, RunError
from mscon.run.run import Run
from mscon.search.explorer.answers import SAMPLE, Answers
from mscon.search.explorer.turns import Busy
from mscon.search.explorer.uploads import MOST_BYTES

try:
    import uvicorn
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send
    from uvicorn.protocols.http.h11_impl import H11Protocol
except ImportError:
    raise RunError(
        '--serve needs starlette and uvicorn, and one of them is not installed: pip install "mscon[serve]".\n'
        "  Without --serve the explorer is one file, which needs no server."
    ) from None

ADDRESS = "127.0.0.1"
"""Of this machine, for this machine."""

CONNECTIONS = 32
"""At a time; the next one is turned away."""

SECONDS = 20.0
"""For a request to come in whole."""

# Times as long a connection may last in all, or a client that does not read its answer would hold it.
_LIFE = 4

# This machine by name or number. With any port: a tunnel may lead here from another.
_HOSTS = re.compile(r"(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?", re.ASCII)
_THUMBNAIL = re.compile(r"thumbnail/([0-9]{1,9})", re.ASCII)
_MOST_JSON = 1_000_000
_LONGEST_HEAD = 16_384
_LONGEST_MESSAGE = 2_000
_DRAINED_SECONDS = 2.0

_HEADERS = {
    "Server": "mscon",
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # The address holds the secret.
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Connection": "close",
}
_NOTHING = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"


class ExplorerServer:
    """Listens as soon as it is made; `run` answers until Ctrl-C or `stop`.

    Args:
        answers: what it says.
        port: where; 0 for any that is free.
        seconds: that a request may take to come in.

    Attributes:
        port: where it listens.
        token: the secret that each address begins with.
        url: of the page.

    Raises:
        RunError: if the port cannot be had.
    """

    def __init__(self, answers: Answers, port: int = 0, seconds: float = SECONDS) -> None:
        self.answers, self._seconds = answers, seconds
        self.token = secrets.token_urlsafe(24)
        try:
            self._socket = socket.create_server((ADDRESS, port), backlog=2 * CONNECTIONS)
        except (OSError, OverflowError) as error:
            raise RunError(
                f"port {port} of this machine cannot be had: {getattr(error, 'strerror', None) or error}. "
                "Choose another --port, or leave it out for any that is free."
            ) from None
        self.port = int(self._socket.getsockname()[1])
        self.url = f"http://{ADDRESS}:{self.port}/{self.token}/"
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._answer,
                http=partial(_Connection, seconds=seconds),  # type: ignore[arg-type]
                ws="none",
                lifespan="off",
                interface="asgi3",
                proxy_headers=False,  # whom a client says that it speaks for is nothing to believe
                server_header=False,
                log_config=None,
                log_level="critical",
                access_log=False,
                h11_max_incomplete_event_size=_LONGEST_HEAD,
                timeout_graceful_shutdown=1,
            )
        )

    def run(self) -> None:
        """Answer until Ctrl-C, which raises KeyboardInterrupt, or `stop`."""
        with self._socket:
            self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `run`, which another thread is in."""
        self._server.should_exit = True

    # What is answered ---------------------------------------------------------------------------

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            response = await self._response(request)
        except HTTPException as refusal:
            response = _json({"message": refusal.detail}, refusal.status_code)
        except ClientDisconnect:
            return
        except Exception:
            traceback.print_exc()
            response = _json({"message": "mscon itself failed; the terminal that serves this page says how."}, 500)
        await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
        await send({"type": "http.response.body", "body": response.body, "more_body": True})
        # A connection that is closed on bytes which nobody read takes the answer back.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_DRAINED_SECONDS):
                while (await receive()).get("more_body"):
                    pass
        await send({"type": "http.response.body", "body": b""})

    async def _response(self, request: Request) -> Response:
        if not _HOSTS.fullmatch(request.headers.get("host", "")):
            raise HTTPException(403, "this server answers to 127.0.0.1 and localhost only.")
        path = request.scope["raw_path"].decode("ascii")
        _, token, place = [*path.split("/", 2), "", ""][:3]
        if path.count("/") < 2 or not hmac.compare_digest(token.encode(), self.token.encode()) or request.url.query:
            raise _nowhere()
        is_page = request.method == "GET" and not place
        _check_origin(request, is_page)
        if is_page:
            return _response(self.answers.page, "text/html; charset=utf-8", policy=self.answers.policy)
        if request.method == "GET" and (numbered := _THUMBNAIL.fullmatch(place)):
            image = await run_in_threadpool(self.answers.thumbnail, int(numbered[1]))
            if image is None:
                raise HTTPException(404, "this row has no picture that can be read.")
            return _response(image, "image/webp")
        answers: Mapping[str, Callable[[bytes], dict[str, Any]]] = {
            "search": self.answers.search,
            "browse": self.answers.browse,
            "rows": self.answers.rows,
            "upload": self.answers.upload,
            "encode": self.answers.encode,
        }
        if request.method != "POST" or place not in answers:
            raise _nowhere()
        # Neither kind can be sent from another site without asking first, and nobody here says yes.
        limits = ("application/octet-stream", MOST_BYTES) if place == "upload" else ("application/json", _MOST_JSON)
        body = await self._body(request, *limits)
        try:
            return _json(await run_in_threadpool(answers[place], body))
        except MSConError as error:
            raise HTTPException(400, str(error)[:_LONGEST_MESSAGE]) from None
        except Busy:
            raise HTTPException(503, "other requests are being answered; ask again.") from None

    async def _body(self, request: Request, kind: str, most: int) -> bytes:
        length = request.headers.get("content-length")
        if length is None or "transfer-encoding" in request.headers:
            raise HTTPException(411, "one Content-Length is needed, and no Transfer-Encoding.")
        if int(length) > most:
            raise HTTPException(413, f"this is {int(length) / 1e6:,.1f} MB; at most {most / 1e6:g} MB are taken.")
        if request.headers.getlist("content-type") != [kind]:
            raise HTTPException(415, f"Content-Type must be {kind}.")
        body = b""
        try:
            async with asyncio.timeout_at(request.scope["state"]["deadline"]):
                async for part in request.stream():
                    body += part
        except TimeoutError:
            raise HTTPException(408, f"this took more than {self._seconds:g} seconds to come in.") from None
        if len(body) != int(length):
            raise HTTPException(400, f"this ends after {len(body):,} bytes of {int(length):,}.")
        return body


def serve(
    run: Run,
    *,
    port: int = 0,
    most: int = SAMPLE,
    images: str | Path | None = None,
    with_images: bool = True,
    name_column: str | None = None,
    ready: Callable[[str], object],
) -> None:
    """Serve the explorer of a run on this machine until Ctrl-C.

    Args:
        run: trained and probed.
        port: where; 0 for any that is free.
        most, images, with_images, name_column: see `Answers`.
        ready: called with the page's address once it answers.

    Raises:
        RunError: if the port cannot be had, or see `Answers`.
    """
    with quiet_pillow():
        folder = None if images is None else Path(images)
        answers = Answers(run, most=most, images=folder, with_images=with_images, name_column=name_column)
        server = ExplorerServer(answers, port)
        with contextlib.suppress(KeyboardInterrupt):
            ready(server.url)
            server.run()


class _Connection(H11Protocol):
    """One connection, for one request. uvicorn itself bounds neither how many there are nor how long they take."""

    def __init__(self, *arguments: Any, seconds: float, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._seconds = seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS:
            transport.abort()
        self.app_state = {"deadline": self.loop.time() + self._seconds}
        self.loop.call_later(self._seconds, lambda: self.cycle is None and transport.abort())
        self.loop.call_later(_LIFE * self._seconds, transport.abort)

    def eof_received(self) -> bool:  # type: ignore[override]
        # After its request a client may close its half of the connection and wait for the answer.
        if self.cycle is not None:
            self.cycle.more_body = False
            self.cycle.message_event.set()
        return self.cycle is not None


def _check_origin(request: Request, is_page: bool) -> None:
    """Refuse what a page of another site requests: browsers say which page does."""
    headers = request.headers
    origins = headers.getlist("origin")
    if any(origin != f"http://{headers['host']}" for origin in origins):
        raise HTTPException(403, "this was requested by a page of another site.")
    if request.method == "POST" and not origins:
        raise HTTPException(403, "only the page itself may request this; a browser then says its Origin.")
    # A link to the page may stand anywhere; all else is the page's.
    is_visit = is_page and headers.get("sec-fetch-dest", "document") == "document"
    if not is_visit and headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise HTTPException(403, "this was requested by a page of another site.")


def _response(body: bytes, kind: str, status: int = 200, policy: str = _NOTHING) -> Response:
    return Response(body, status, {**_HEADERS, "Content-Type": kind, "Content-Security-Policy": policy})


def _json(content: Mapping[str, Any], status: int = 200) -> Response:
    return _response(json.dumps(content, allow_nan=False).encode("ascii"), "application/json", status)


def _nowhere() -> HTTPException:
    return HTTPException(404, "there is nothing here.")
