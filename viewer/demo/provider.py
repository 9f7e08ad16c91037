"""A stand-in of the phone provider on loopback: it serves media and delivers signed webhooks.

It knows no story and nothing of the viewer: the demo tells its story through it, tests use it as
the provider. Whatever it does goes over real HTTP. More of the provider's surface (its REST API)
is added with `mount`.
"""

import base64
import hashlib
import hmac
import json
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, urlsplit

import requests

Scheme = Literal["standard", "legacy"]
Content = bytes | Callable[[], bytes]

DELIVERY_TIMEOUT_SECONDS = 10  # the provider gives a receiver no longer


@dataclass(frozen=True)
class Request:
    """What a mounted handler is asked."""

    method: str
    path: str
    query: list[tuple[str, str]]
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True)
class Answer:
    """What goes back over the wire."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Answer]


@dataclass(frozen=True)
class _Served:
    content: Content
    content_type: str | None
    fail_first: int
    status: int
    delay: float


class Provider:
    """The provider, from `start` to `stop`; also a context manager."""

    def __init__(self, host: str = "127.0.0.1", port: int = 0) -> None:
        self._address = (host, port)
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._served: dict[str, _Served] = {}
        self._gets: Counter[str] = Counter()
        self._mounts: dict[str, Handler] = {}

    def start(self) -> Self:
        """Listen. The socket is bound when this returns, so `url` is good at once."""
        self._server = _Server(self._address, _handler_for(self))
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening. Stopping twice is fine."""
        server, self._server = self._server, None
        if server is not None and self._thread is not None:
            server.shutdown()
            self._thread.join()
            server.server_close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """Where it listens, without a slash at the end."""
        if self._server is None:
            raise RuntimeError("the provider is not started")
        host, port = self._server.server_address[:2]
        return f"http://{host!s}:{port}"

    # -- media ---------------------------------------------------------------------------------

    def serve(
        self,
        content: Content,
        *,
        content_type: str | None = "application/octet-stream",
        fail_first: int = 0,
        status: int = 200,
        delay: float = 0,
        path_suffix: str = "",
        name: str | None = None,
    ) -> str:
        """An address that answers with these bytes, and how it misbehaves on the way.

        `content` may be a callable, asked anew at each GET. The first `fail_first` GETs answer
        503; `status` other than 200 answers that, with the content as its page; `delay` seconds
        pass before each answer. `name` makes the address predictable, otherwise it is random.
        """
        key = hashlib.sha256(name.encode()).hexdigest()[:32] if name else uuid.uuid4().hex
        path = f"/static/{key}{path_suffix}"
        with self._lock:
            self._served[path] = _Served(content, content_type, fail_first, status, delay)
        return self.url + path

    def withdraw(self, url: str) -> None:
        """Forget an address: from now on it answers 404."""
        with self._lock:
            self._served.pop(urlsplit(url).path, None)

    def gets(self, url: str) -> int:
        """How often this address was asked for."""
        with self._lock:
            return self._gets[urlsplit(url).path]

    def mount(self, prefix: str, handler: Handler) -> None:
        """Let `handler` answer everything below `prefix`; the longest prefix wins."""
        with self._lock:
            self._mounts[prefix] = handler

    # -- webhooks ------------------------------------------------------------------------------

    def deliver(
        self,
        webhook_url: str,
        payload: Mapping[str, Any] | bytes,
        *,
        scheme: Scheme = "standard",
        secret: str,
        delivery_id: str | None = None,
        at: datetime | None = None,
        session: requests.Session | None = None,
    ) -> requests.Response:
        """Post one delivery, signed as the provider signs, once; retrying is the caller's.

        Bytes are posted as they are, a mapping as compact JSON. `delivery_id` keeps a retry the
        same delivery; `at` is the time it claims to be signed.
        """
        body = payload if isinstance(payload, bytes) else compact(payload)
        headers = {"Content-Type": "application/json"} | sign(
            body, scheme=scheme, secret=secret, delivery_id=delivery_id, at=at
        )
        send = session.post if session is not None else requests.post
        return send(
            webhook_url,
            data=body,
            headers=headers,
            timeout=DELIVERY_TIMEOUT_SECONDS,
            allow_redirects=False,
        )

    # -- what the server asks ------------------------------------------------------------------

    def _answer(self, request: Request) -> Answer:
        with self._lock:
            prefixes = [prefix for prefix in self._mounts if request.path.startswith(prefix)]
            handler = self._mounts[max(prefixes, key=len)] if prefixes else None
        if handler is not None:
            return handler(request)
        if request.method != "GET":
            return Answer(405, b"only GET is served here", "text/plain", {"Allow": "GET"})
        return self._media(request.path)

    def _media(self, path: str) -> Answer:
        with self._lock:
            self._gets[path] += 1
            count = self._gets[path]
            served = self._served.get(path)
        if served is None:
            return Answer(404, b"no such object", "text/plain")
        if served.delay:
            time.sleep(served.delay)
        if count <= served.fail_first:
            return Answer(503, b"try again later", "text/plain")
        body = served.content if isinstance(served.content, bytes) else served.content()
        # As the real one does: nobody can embed it, everybody can download it.
        headers = {"Content-Disposition": "attachment"}
        return Answer(served.status, body, served.content_type or "", headers)


def sign(
    body: bytes,
    *,
    scheme: Scheme,
    secret: str,
    delivery_id: str | None = None,
    at: datetime | None = None,
) -> dict[str, str]:
    """The headers that prove this body comes from the provider.

    standard: `webhook-id`, `webhook-timestamp` (seconds), `webhook-signature` over
    id.timestamp.body, keyed with what follows `whsec_`. legacy: `openphone-signature` over
    timestamp.body, in milliseconds. Both keys are base64, both digests HMAC-SHA256 in base64.
    """
    moment = at or datetime.now(UTC)
    if scheme == "standard":
        delivery_id = delivery_id or f"msg_{uuid.uuid4().hex}"
        stamp = str(int(moment.timestamp()))
        digest = _digest(secret.removeprefix("whsec_"), f"{delivery_id}.{stamp}.".encode() + body)
        return {
            "webhook-id": delivery_id,
            "webhook-timestamp": stamp,
            "webhook-signature": f"v1,{digest}",
        }
    stamp = str(int(moment.timestamp() * 1000))
    digest = _digest(secret, f"{stamp}.".encode() + body)
    return {"openphone-signature": f"hmac;1;{stamp};{digest}"}


def compact(payload: Mapping[str, Any]) -> bytes:
    """JSON as the provider writes it: no spaces, no escapes for letters beyond ASCII."""
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode()


def _digest(key: str, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(base64.b64decode(key), signed, "sha256")).decode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # a slow address must not keep the process alive
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """No traceback for a client that drops the connection it kept."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


def _handler_for(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class _Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version, sys_version = "stand-in", ""
        timeout = 60

        def _respond(self) -> None:
            address = urlsplit(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            request = Request(
                method=self.command,
                path=address.path,
                query=parse_qsl(address.query, keep_blank_values=True),
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(length) if length else b"",
            )
            answer = provider._answer(request)
            try:
                self.send_response(answer.status)
                if answer.content_type:
                    self.send_header("Content-Type", answer.content_type)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(answer.body)))
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(answer.body)
            except (BrokenPipeError, ConnectionResetError):
                # The viewer hung up, as it may: at its deadline, or because it was killed.
                self.close_connection = True

        # The names are the standard library's.
        do_GET = do_HEAD = _respond  # noqa: N815
        do_POST = do_PUT = do_PATCH = do_DELETE = _respond  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing: the story is told by whoever uses the provider."""

    return _Handler
