"""Server: a run's explorer for this machine alone, over HTTP. Knows of the run only what `Answers` says.

Whoever can open a connection may be hostile: another user of the machine, or any page that is open in the browser. So
every address begins with a secret, hosts and origins are checked (a page elsewhere must not reach this server through
the browser, nor by a name of its own that it lets point here), methods and addresses are those of a list, nothing a
client says becomes a path, and bytes, seconds and connections are bounded.
"""

from __future__ import annotations

import hmac
import io
import json
import os
import re
import secrets
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from mscon.data.inputs.image_files import quiet_pillow
from mscon.errors import MSConError, RunError
from mscon.run.run import Run
from mscon.search.explorer.answers import SAMPLE, Answers, Busy
from mscon.search.explorer.uploads import MOST_BYTES

ADDRESS = "127.0.0.1"
"""Of this machine, for this machine."""

# This machine by name or number. With any port: a tunnel may lead here from another.
_HOSTS = re.compile(r"(?:127\.0\.0\.1|localhost)(?::[0-9]{1,5})?", re.ASCII)
_THUMBNAIL = re.compile(r"thumbnail/([0-9]{1,9})", re.ASCII)

_MOST_JSON = 1_000_000
_CONNECTIONS = 32
_LONGEST_LINE = 8_192
_LONGEST_MESSAGE = 2_000
_DRAINED_SECONDS = 2.0

# For a request to come in whole, and again for its answer to go out.
SECONDS = 20.0

_HEADERS = {
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


class ExplorerServer(ThreadingHTTPServer):
    """Listens as soon as it is made; `serve_forever` answers.

    Args:
        answers: what it says.
        port: where; 0 for any that is free.
        seconds: that a request may take to come in.

    Raises:
        RunError: if the port cannot be had.
    """

    daemon_threads = True
    block_on_close = False
    request_queue_size = 2 * _CONNECTIONS
    # On Windows this would let others listen at the same port.
    allow_reuse_address = os.name != "nt"

    def __init__(self, answers: Answers, port: int = 0, seconds: float = SECONDS) -> None:
        self.answers, self.seconds = answers, seconds
        self.token = secrets.token_urlsafe(24)
        self._free = threading.BoundedSemaphore(_CONNECTIONS)
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise RunError(
                f"port {port} of this machine cannot be had: {getattr(error, 'strerror', None) or error}. "
                "Choose another --port, or leave it out for any that is free."
            ) from None

    @property
    def url(self) -> str:
        """Of the page."""
        return f"http://{ADDRESS}:{self.server_port}/{self.token}/"

    def server_bind(self) -> None:
        # HTTPServer's own asks the network for a name of this machine.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = ADDRESS, int(self.server_address[1])

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return str(client_address[0]).startswith("127.")

    def process_request(self, request: Any, client_address: Any) -> None:
        # Beyond so many at a time the next is turned away, rather than left to take a thread and wait.
        if not self._free.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except Exception:  # not Ctrl-C, which may come when the thread runs already: that releases
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up, or is too slow, is nobody's fault here; nor is a connection that Ctrl-C closed.
        if request.fileno() >= 0 and not isinstance(sys.exc_info()[1], ConnectionError | TimeoutError):
            super().handle_error(request, client_address)


def serve(
    run: Run,
    *,
    port: int = 0,
    most: int = SAMPLE,
    images: str | Path | None = None,
    with_images: bool = True,
    ready: Callable[[str], object],
) -> None:
    """Serve the explorer of a run on this machine until Ctrl-C.

    Args:
        run: trained and probed.
        port: where; 0 for any that is free.
        most, images, with_images: see `Answers`.
        ready: called with the page's address once it answers.

    Raises:
        RunError: if the port cannot be had, or see `Answers`.
    """
    with quiet_pillow():
        answers = Answers(run, most=most, images=None if images is None else Path(images), with_images=with_images)
        with ExplorerServer(answers, port) as server:
            try:
                ready(server.url)
                server.serve_forever()
            except KeyboardInterrupt:
                return


class _Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


class _Handler(BaseHTTPRequestHandler):
    """One request of one connection."""

    server: ExplorerServer
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self.connection = self.request
        self._end = time.monotonic() + self.server.seconds
        # A limit for each read would let one byte every few seconds hold a thread for good.
        self.rfile = io.BufferedReader(_Deadline(self.connection, self._end))
        self.wfile = _Writer(self.connection, self.server.seconds)

    def handle(self) -> None:
        self.close_connection, self._unread = True, False
        self.raw_requestline = self.rfile.readline(_LONGEST_LINE + 1)
        if not self.raw_requestline:
            return
        if len(self.raw_requestline) > _LONGEST_LINE:
            self.requestline = self.request_version = self.command = ""
            self.send_error(414)
        elif self.parse_request():
            if self.request_version == "HTTP/0.9":  # its answers have no headers to forbid anything
                self.send_error(400)
                return
            self._unread = "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
            try:
                self._answer()
            except _Refusal as refusal:
                self._say(refusal.status, {"message": refusal.message})
            except (ConnectionError, TimeoutError):
                raise
            except Exception:
                self._say(500, {"message": "this went wrong in mscon itself; the terminal that serves it says how."})
                raise
        self._drain()

    # What is answered ---------------------------------------------------------------------------

    def _answer(self) -> None:
        self._check_host()
        _, token, *rest = [*self.path.split("/", 2), ""][:3]
        if not hmac.compare_digest(token.encode("utf-8", "replace"), self.server.token.encode()):
            raise _nowhere()
        place = rest[0]
        is_page = (self.command, self.path) == ("GET", f"/{self.server.token}/")
        self._check_origin(is_page)
        answers = self.server.answers
        if is_page:
            self._send(200, "text/html; charset=utf-8", answers.page, {"Content-Security-Policy": answers.policy})
            return
        if self.command == "GET" and (numbered := _THUMBNAIL.fullmatch(place)):
            image = answers.thumbnail(int(numbered[1]))
            if image is None:
                raise _Refusal(404, "this row has no picture that can be read.")
            self._send(200, "image/webp", image)
            return
        handlers: Mapping[str, Callable[[bytes], dict[str, Any]]] = {
            "search": answers.search,
            "browse": answers.browse,
            "rows": answers.rows,
            "upload": answers.upload,
        }
        if self.command != "POST" or place not in handlers:
            raise _nowhere()
        is_upload = place == "upload"
        # Neither kind can be sent from another site without asking first, and nobody here says yes.
        body = self._body(
            "application/octet-stream" if is_upload else "application/json", MOST_BYTES if is_upload else _MOST_JSON
        )
        try:
            answer = handlers[place](body)
        except MSConError as error:
            raise _Refusal(400, str(error)[:_LONGEST_MESSAGE]) from None
        except Busy:
            raise _Refusal(503, "others are being answered; ask again.") from None
        self._say(200, answer)

    def _check_host(self) -> None:
        hosts = self.headers.get_all("Host", [])
        if len(hosts) != 1 or not _HOSTS.fullmatch(hosts[0]):
            raise _Refusal(403, "this server answers to 127.0.0.1 and localhost only.")

    def _check_origin(self, is_page: bool) -> None:
        """That the page asks, and no page of another site: browsers say who does."""
        origins = self.headers.get_all("Origin", [])
        if any(origin != f"http://{self.headers['Host']}" for origin in origins):
            raise _Refusal(403, "this was asked by a page of another site.")
        if self.command == "POST" and not origins:
            raise _Refusal(403, "this must be asked by the page, which says its Origin.")
        # A link to the page may stand anywhere; all else is the page's.
        is_visit = is_page and self.headers.get("Sec-Fetch-Dest", "document") == "document"
        if not is_visit and self.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
            raise _Refusal(403, "this was asked by a page of another site.")

    def _body(self, kind: str, most: int) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        if self.headers.get_all("Transfer-Encoding") or len(lengths) != 1:
            raise _Refusal(411, "one Content-Length is needed.")
        if not re.fullmatch(r"[0-9]{1,12}", lengths[0].strip(), re.ASCII):
            raise _Refusal(400, "Content-Length is no number.")
        length = int(lengths[0])
        if length > most:
            raise _Refusal(413, f"this is {length / 1e6:,.1f} MB; at most {most / 1e6:g} MB are taken.")
        if self.headers.get_content_type() != kind or len(self.headers.get_all("Content-Type", [])) != 1:
            raise _Refusal(415, f"Content-Type must be {kind}.")
        if self.headers.get("Expect", "").lower() == "100-continue":
            self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            body = self.rfile.read(length)
        except TimeoutError:
            raise _Refusal(408, f"this took more than {self.server.seconds:g} seconds to come in.") from None
        self._unread = False
        if len(body) != length:
            raise _Refusal(400, f"this ends after {len(body):,} bytes of {length:,}.")
        return body

    # How it is sent -----------------------------------------------------------------------------

    def _say(self, status: int, content: Mapping[str, Any]) -> None:
        self._send(status, "application/json", json.dumps(content, allow_nan=False).encode("ascii"))

    def _send(self, status: int, kind: str, body: bytes, more: Mapping[str, str] | None = None) -> None:
        self.send_response(status)
        headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Content-Security-Policy": _NOTHING}
        for name, value in {**headers, **_HEADERS, **(more or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _drain(self) -> None:
        """Read some of what was refused: a socket that is closed on unread bytes takes the answer back."""
        if not self._unread:
            return
        end = min(time.monotonic() + _DRAINED_SECONDS, self._end)
        try:
            self.connection.shutdown(socket.SHUT_WR)
            while (left := end - time.monotonic()) > 0:
                self.connection.settimeout(left)
                if not self.connection.recv(65_536):
                    return
        except OSError:
            return

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class says of requests that are not HTTP; its pages repeat what the client wrote."""
        self.request_version = self.protocol_version
        self._say(code, {"message": "this is no request that is understood here."})

    def handle_expect_100(self) -> bool:
        return True  # not before it is known that the body is wanted: see `_body`

    def version_string(self) -> str:
        return "mscon"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass

    def finish(self) -> None:
        self.rfile.close()


class _Deadline(io.RawIOBase):
    """Reads from a socket until a moment; TimeoutError then."""

    def __init__(self, connection: socket.socket, end: float) -> None:
        self._connection, self._end = connection, end

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(left)
        return self._connection.recv_into(buffer)


class _Writer(io.BufferedIOBase):
    """Writes to a socket at once, each time within some seconds."""

    def __init__(self, connection: socket.socket, seconds: float) -> None:
        self._connection, self._seconds = connection, seconds

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._connection.settimeout(self._seconds)
        self._connection.sendall(data)
        with memoryview(data) as view:
            return view.nbytes


def _nowhere() -> _Refusal:
    return _Refusal(404, "there is nothing here.")
