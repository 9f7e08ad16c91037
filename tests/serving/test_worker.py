"""The web server's worker: what slow and strange clients get, over real sockets."""

import contextlib
import hashlib
import json
import re
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.support import servers
from tests.support.clocked_server import BIG, pattern

PATIENCE = 30  # seconds, after which a test fails in place of hanging


class Server:
    """A gunicorn with one worker."""

    def __init__(self, folder: Path, **limits: float) -> None:
        self.known = Counter[str]()
        self.port, self._cuts, self._log = servers.free_port(), folder / "cuts", folder / "log"
        words = [f"{name}={value}" for name, value in limits.items()]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.support.clocked_server", str(self.port),
                 str(self._cuts), *words],
                stdout=log, stderr=log,
            )  # fmt: skip
        servers.wait_until(self.answers)

    def answers(self) -> bool:
        try:
            return self.get("/door").status_code == 204
        except requests.ConnectionError:
            return False

    @property
    def log(self) -> str:
        return self._log.read_text()

    def get(self, path: str) -> requests.Response:
        return requests.get(f"http://127.0.0.1:{self.port}{path}", timeout=PATIENCE)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE)

    def say(self, *parts: bytes) -> bytes:
        """Everything that is answered to these bytes until the connection ends."""
        with self.connect() as client:
            for part in parts:
                client.sendall(part)
                time.sleep(0.02)  # a packet of its own
            return everything(client)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE)

    @property
    def all_cuts(self) -> Counter[str]:
        lines = self._cuts.read_text().splitlines() if self._cuts.exists() else []
        return sum((Counter(json.loads(line)) for line in lines), Counter[str]())

    def await_cuts(self, **expected: int) -> None:
        """Until these connections were cut, and no others."""
        servers.wait_until(lambda: self.all_cuts - self.known == expected, PATIENCE)


def everything(client: socket.socket) -> bytes:
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := client.recv(65536):
            parts.append(part)
    return b"".join(parts)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    with contextlib.ExitStack() as stack:

        def start_server(**limits: float) -> Server:
            server = Server(tmp_path, **limits)
            stack.callback(server.stop)
            return server

        yield start_server


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for the tests that change nothing of it."""
    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def impatient_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("impatient")
    server = Server(
        folder, head=0.5, body=0.5, stalled=0.5, reader_grace=1.0, reader_rate=1e9, reported=0.1
    )
    yield server
    server.stop()


@pytest.fixture
def impatient(impatient_server: Server) -> Server:
    """Its clients have half a second. `await_cuts` counts from here."""
    impatient_server.known = impatient_server.all_cuts
    return impatient_server


def request(path: str, *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: localhost", *headers, "", ""]
    return "\r\n".join(lines).encode()


def echo(body: bytes, method: str = "POST") -> bytes:
    return f"{method} {len(body)} {hashlib.sha256(body).hexdigest()}\n".encode()


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d{3}) ", answer)]


# --- Whole requests, however they come -----------------------------------------------------

CHUNKED = b"5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nSum: one\r\n\r\n"
LAST = "Connection: close"


WITH_LENGTH = request("/", LAST, "Content-Length: 11", method="POST")
IN_CHUNKS = request("/", LAST, "Transfer-Encoding: chunked", method="POST")


def one_by_one(sent: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in sent]


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([WITH_LENGTH, b"hello world"], id="length"),
        pytest.param([WITH_LENGTH + b"hello", b" world"], id="halves"),
        pytest.param([*one_by_one(WITH_LENGTH), b"hello world"], id="head byte by byte"),
        pytest.param([IN_CHUNKS, CHUNKED], id="chunked"),
        pytest.param([IN_CHUNKS, *one_by_one(CHUNKED)], id="chunked byte by byte"),
        pytest.param(
            [request("/", "Content-Length: 11", method="POST", version="1.0"), b"hello world"],
            id="HTTP 1.0",
        ),
    ],
)
def test_a_request_is_answered_however_it_comes(shared, parts):
    answer = shared.say(*parts)

    assert answer.endswith(b"\r\n\r\n" + echo(b"hello world"))


def test_requests_that_come_together_are_answered_in_their_order(shared):
    first = request("/", "Content-Length: 5", method="POST") + b"first"
    second = request("/", "Transfer-Encoding: chunked", method="PUT") + b"6\r\nsecond\r\n0\r\n\r\n"

    answer = shared.say(first + second + request("/", LAST))

    bodies = [echo(b"first"), echo(b"second", "PUT"), echo(b"", "GET")]
    assert [answer.find(body) > 0 for body in bodies] == [True] * 3
    assert sorted(bodies, key=answer.find) == bodies


def test_a_client_that_asks_first_is_told_to_send_its_body(shared):
    with shared.connect() as client:
        client.sendall(
            request("/", LAST, "Expect: 100-continue", "Content-Length: 5", method="POST")
        )
        told = client.recv(100)
        client.sendall(b"hello")
        answer = everything(client)

    assert told == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert answer.endswith(echo(b"hello"))


def test_a_body_over_the_limit_is_not_waited_for(shared):
    """The application answers by the length alone, and the connection ends."""
    asked = request("/", "Expect: 100-continue", "Content-Length: 100001", method="POST")

    answer = shared.say(asked)

    assert answer.endswith(echo(b""))
    assert b"Connection: close" in answer
    assert b"100 Continue" not in answer


@pytest.mark.parametrize("count", [200, 2_000])
def test_a_chunked_body_is_cut_at_the_limit(shared, count):
    """The application gets a little more than it accepts, and can say so."""
    body = b"400\r\n" + b"x" * 1024 + b"\r\n"

    answer = shared.say(
        request("/", "Transfer-Encoding: chunked", method="POST"), body * count, b"0\r\n\r\n"
    )

    assert statuses(answer) == [413]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        pytest.param(b"rubbish\r\n\r\n", 400, id="rubbish"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nName : b\r\n\r\n", 400, id="header"),
        pytest.param(request("/", "Content-Length: 5", "Content-Length: 6"), 400, id="two lengths"),
        pytest.param(
            request("/", "Content-Length: 5", "Transfer-Encoding: chunked"), 400, id="smuggling"
        ),
        pytest.param(request("/", "Transfer-Encoding: strange"), 501, id="encoding"),
        pytest.param(b"GET /" + b"a" * 5_000 + b" HTTP/1.1\r\n\r\n", 414, id="line"),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 15_000, 431, id="head"),
        pytest.param(
            request("/", "Transfer-Encoding: chunked", method="POST") + b"nonsense\r\n", 400,
            id="chunk",
        ),
        pytest.param(
            request("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n" * 9_000,
            400, id="tiny chunks",
        ),
    ],
)  # fmt: skip
def test_what_is_no_request_gets_an_error(shared, sent, status):
    answer = shared.say(sent)

    assert statuses(answer)[:1] == [status]
    assert shared.get("/door").status_code == 204


def test_an_error_of_the_application_is_a_500(shared):
    assert shared.get("/fail").status_code == 500


def test_a_connection_that_ends_in_the_middle_costs_nothing(shared):
    for sent in (b"", b"GET / HT", request("/", "Content-Length: 5", method="POST") + b"he"):
        with shared.connect() as client:
            client.sendall(sent)

    assert shared.get("/door").status_code == 204


# --- Slow clients --------------------------------------------------------------------------


@contextlib.contextmanager
def clients(server: Server, *sent: tuple[int, bytes]) -> Iterator[list[socket.socket]]:
    """So many clients that send these bytes, and then nothing."""
    with contextlib.ExitStack() as stack:
        connected = []
        for count, first in sent:
            for _ in range(count):
                connected.append(stack.enter_context(server.connect()))
                connected[-1].sendall(first)
        yield connected


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET", id="head"),
        pytest.param(request("/", "Content-Length: 100", method="POST") + b"x", id="body"),
        pytest.param(
            request("/", "Transfer-Encoding: chunked", method="POST") + b"1\r\nx\r\n0\r\n",
            id="chunked",
        ),
        pytest.param(request("/file"), id="file that nobody reads"),
        pytest.param(request("/stream"), id="stream that nobody reads"),
    ],
)
def test_slow_clients_hold_no_thread(shared, sent):
    """More of them than there are threads."""
    with clients(shared, (20, sent)):
        answers = [shared.get(path).status_code for path in ("/door", "/", "/door", "/")]

    assert answers == [204, 200, 204, 200]


def test_slow_requests_are_cut_and_counted(impatient):
    body = request("/", "Content-Length: 100", method="POST") + b"x"
    with clients(impatient, (3, b"GET / HTTP/1.1\r\n"), (2, body)) as slow:
        answers = [everything(client) for client in slow]

    assert [statuses(answer) for answer in answers] == [[408]] * 5
    impatient.await_cuts(slow_head=3, slow_body=2)


def test_a_byte_now_and_then_does_not_move_the_deadline(impatient):
    with impatient.connect() as client, contextlib.suppress(ConnectionError):
        for byte in request("/", "Name: " + "a" * 400):
            client.sendall(bytes([byte]))
            time.sleep(0.05)
    impatient.await_cuts(slow_head=1)


def test_who_does_not_read_is_cut_and_counted(impatient):
    with clients(impatient, (2, request("/file")), (1, request("/stream"))) as slow:
        impatient.await_cuts(slow_reader=3)
        servers.wait_until(lambda: "stream closed" in impatient.log)
        received = [everything(client) for client in slow]

    assert all(0 < len(one) < BIG for one in received)


def test_who_reads_a_little_now_and_then_is_cut(impatient):
    with impatient.connect() as client:
        client.sendall(request("/file"))
        received = 0
        with contextlib.suppress(ConnectionError):
            while part := client.recv(65536):
                received += len(part)
                time.sleep(0.05)

    assert received < BIG
    impatient.await_cuts(slow_reader=1)


@pytest.mark.parametrize(
    ("path", "whole"), [("/file", pattern(BIG)[16:]), ("/stream", pattern(BIG))]
)
def test_who_reads_slowly_gets_every_byte(shared, path, whole):
    with shared.connect() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
        client.sendall(request(path, version="1.0"))
        answer = bytearray()
        while part := client.recv(300_000):
            answer += part
            time.sleep(0.001)

    head, _, body = bytes(answer).partition(b"\r\n\r\n")
    assert hashlib.sha256(body).digest() == hashlib.sha256(whole).digest(), head


def test_a_stream_is_closed_when_its_client_leaves(start):
    server = start()
    with server.connect() as client:
        client.sendall(request("/stream"))
        client.recv(1000)

    servers.wait_until(lambda: "stream closed" in server.log)


def test_one_that_is_stopped_sends_the_rest_first(start):
    server = start()
    with server.connect() as client:
        client.sendall(request("/file", LAST))
        answer = client.recv(1000)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        answer += everything(client)

    assert answer.partition(b"\r\n\r\n")[2] == pattern(BIG)[16:]
    assert server.process.wait(PATIENCE) == 0


def test_large_bodies_share_a_bounded_room(start):
    # Who waits for room gives up a second before who has it: else one takes over from the other.
    server = start(room=1_500_000, body=1.0, body_rate=900_000, reported=0.1)
    sent = request("/large", LAST, "Content-Length: 900000", method="POST")
    with clients(server, (3, sent)) as large:
        large[0].sendall(b"x" * 900_000)
        answers = [everything(client) for client in large]

    assert statuses(answers[0]) == [200]
    assert answers[0].endswith(echo(b"x" * 900_000))
    assert sorted(statuses(one)[0] for one in answers[1:]) == [408, 503]
    server.await_cuts(slow_body=1, no_room=1)


def test_when_there_are_too_many_the_oldest_that_sent_nothing_whole_makes_room(start):
    server = start(connections=10, reported=0.1)
    with clients(server, (30, b"GET")) as idle:
        answer = server.get("/")
        oldest = everything(idle[0])

    assert (answer.status_code, oldest) == (200, b"")
    servers.wait_until(lambda: server.all_cuts["crowded"] >= 20)


def test_a_worker_whose_urgent_threads_hang_is_replaced(start):
    server = start(stuck=0.5)
    with server.connect() as client:
        client.sendall(request("/hold"))
        servers.wait_until(lambda: "WORKER TIMEOUT" in server.log)
    servers.wait_until(server.answers)
