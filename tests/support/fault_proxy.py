"""A proxy on loopback that passes requests on to a server, except where a fault is planned.

    with FaultProxy(server.port) as proxy:
        proxy.plan("PUT", lost_answer, refusal(409, "ConditionalRequestConflict"))

The first PUT then meets the first fault, the second the second, all others pass. What came in is in
`proxy.requests`, in order. Each connection carries one request: nothing is left of a fault.
"""

import re
import socket
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress

from tests.support.hostile_server import HostileServer, Request, Wire


class Exchange:
    """A request on its way to the server, and the connection on which its answer is due."""

    def __init__(self, wire: Wire, head: bytes, body: bytes, port: int) -> None:
        self.wire, self.head, self.body, self._port = wire, head, body, port

    def pass_on(self) -> bytes:
        """Send the request to the server; its whole answer."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as server:
            # We answered 100 Continue ourselves; the server's would come before its answer.
            head = re.sub(rb"(?i)\r\n(expect|connection): [^\r]*", b"", self.head)
            server.sendall(head + b"\r\nConnection: close\r\n\r\n" + self.body)
            received = b""
            while more := server.recv(1 << 20):
                received += more
        return received


Fault = Callable[[Exchange], None]


class FaultProxy(HostileServer):
    """Listens until the end of its `with` block."""

    def __init__(self, port: int) -> None:
        super().__init__()
        self._target = port
        self._planned: dict[str, list[Fault]] = defaultdict(list)
        self._always: dict[str, Fault] = {}
        self._planning = threading.Lock()

    def plan(self, method: str, *faults: Fault) -> None:
        """The next requests with this method meet these faults, one each."""
        self._planned[method].extend(faults)

    def always(self, method: str, fault: Fault) -> None:
        """Every request with this method meets this fault, unless another is planned for it."""
        self._always[method] = fault

    def count(self, method: str) -> int:
        return sum(request.method == method for request in self.requests)

    def _converse(self, connection: socket.socket) -> None:
        connection.settimeout(30)
        self._remember(connection)
        with suppress(OSError), connection:
            head, _, body = _read_until(connection, b"\r\n\r\n")
            request = _parse(head)
            if "expect" in request.headers:
                connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            length = int(request.headers.get("content-length", 0))
            while len(body) < length:
                more = connection.recv(1 << 20)
                if not more:
                    return
                body += more
            with self._planning:
                self.requests.append(request)
                planned = self._planned[request.method]
                fault = planned.pop(0) if planned else self._always.get(request.method, passing)
            fault(Exchange(Wire(connection, request, self._closing), head, body, self._target))


def _read_until(connection: socket.socket, mark: bytes) -> tuple[bytes, bytes, bytes]:
    received = b""
    while mark not in received:
        more = connection.recv(1 << 20)
        if not more:
            raise ConnectionAbortedError
        received += more
    return received.partition(mark)


def _parse(head: bytes) -> Request:
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ", 2)
    fields = (line.partition(":") for line in lines)
    return Request(method, path, {name.lower(): value.strip() for name, _, value in fields})


# --- faults ---


def passing(exchange: Exchange) -> None:
    exchange.wire.send(exchange.pass_on())


def lost_answer(exchange: Exchange) -> None:
    """The server does what it was asked to, and nobody hears of it."""
    exchange.pass_on()
    exchange.wire.reset()


def frozen(exchange: Exchange) -> None:
    """The request is taken, and there is no answer."""
    exchange.wire.pause(60)


def refusal(status: int, code: str) -> Fault:
    """An answer of S3's that is an error; the server never hears of the request."""
    body = f"<Error><Code>{code}</Code><Message>as planned</Message></Error>".encode()

    def refuse(exchange: Exchange) -> None:
        head = f"HTTP/1.1 {status} As Planned\r\nContent-Type: application/xml\r\n"
        end = f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        exchange.wire.send((head + end).encode())
        if exchange.wire.request.method != "HEAD":
            exchange.wire.send(body)

    return refuse


def cut(after: int) -> Fault:
    """So many bytes of the answer's body, then the line is dead."""

    def send_some(exchange: Exchange) -> None:
        head, mark, body = exchange.pass_on().partition(b"\r\n\r\n")
        exchange.wire.send(head + mark + body[:after])

    return send_some


def dripping(exchange: Exchange) -> None:
    """A byte of the answer's body a tenth of a second, after a good beginning."""
    head, mark, body = exchange.pass_on().partition(b"\r\n\r\n")
    exchange.wire.send(head + mark)
    exchange.wire.drip(body, every=0.1)


def dripping_head(exchange: Exchange) -> None:
    """The same from the first byte of the answer."""
    exchange.wire.drip(exchange.pass_on(), every=0.1)


def rewritten(pattern: bytes, becomes: bytes) -> Fault:
    """The server's answer with something else in it, or without it."""

    def rewrite(exchange: Exchange) -> None:
        exchange.wire.send(re.sub(pattern, becomes, exchange.pass_on(), flags=re.IGNORECASE))

    return rewrite


def damaged(exchange: Exchange) -> None:
    """A bit of the request's body flips on its way."""
    exchange.body = bytes([exchange.body[0] ^ 1]) + exchange.body[1:]
    passing(exchange)
