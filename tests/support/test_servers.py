"""The tests' own server of an application."""

import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from werkzeug.wsgi import ClosingIterator

from tests.support.servers import serving

RESET = struct.pack("ii", 1, 0)  # no farewell: what the other side reads next fails


def test_an_answer_is_closed_though_its_client_hangs_up_as_it_ends():
    hung_up, closed = threading.Event(), threading.Event()

    def answer() -> Iterator[bytes]:
        yield b"all of it"
        hung_up.wait(60)

    def app(_environ: Any, start: Any) -> ClosingIterator:
        start("200 OK", [("Content-Length", "9")])
        return ClosingIterator(answer(), closed.set)

    with serving(app) as address:
        host, port = address.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port))) as client:
            client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            client.recv(1000)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        hung_up.set()

        assert closed.wait(60)
