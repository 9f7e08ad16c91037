"""Who accepts connections and answers none is not alive."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.servers import wait_until
from viewer.liveness import Liveness, of_web


@pytest.fixture
def door() -> Iterator[socket.socket]:
    """A socket that connections come to. Nobody accepts them yet."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as door:
        yield door


def asked(door: socket.socket, **times: float) -> Liveness:
    return Liveness(
        socket.AF_INET, door.getsockname(), b"PING\r\n", **({"every": 0.0, "patience": 0.2} | times)
    )


def test_what_answers_lives(door):
    liveness = asked(door, patience=0.0)
    before = liveness.is_overdue()
    with door.accept()[0] as client:
        heard = client.recv(100)
        client.sendall(b"+PONG\r\n")
        wait_until(lambda: not liveness.is_overdue())

    assert (before, heard) == (True, b"PING\r\n")  # it has no patience at all
    liveness.clear()


def test_what_accepts_and_never_answers_does_not(door):
    liveness = asked(door)
    first = liveness.is_overdue()
    wait_until(liveness.is_overdue)

    assert first is False
    liveness.clear()


def test_what_does_not_even_accept_does_not(door):
    """Its queue is full, and the kernel lets further connections wait."""
    with socket.socket() as one, socket.socket() as another, socket.socket() as third:
        for client in (one, another, third):
            client.setblocking(False)
            client.connect_ex(door.getsockname())
        liveness = asked(door)
        wait_until(liveness.is_overdue)

    liveness.clear()


def test_what_is_not_there_is_left_to_its_supervisor(tmp_path: Path):
    liveness = Liveness(socket.AF_UNIX, str(tmp_path / "s"), b"PING\r\n", every=0.0, patience=0.0)

    assert not any(liveness.is_overdue() for _ in range(3))


def test_one_that_answers_again_in_time_is_left_alone(door):
    def answer() -> None:
        for _ in range(3):
            with door.accept()[0] as client:
                client.recv(100)
                client.sendall(b"yes")

    thread = threading.Thread(target=answer)
    thread.start()
    liveness = asked(door, patience=60)
    overdue = []
    while thread.is_alive():
        overdue.append(liveness.is_overdue())
        thread.join(0.001)

    assert not any(overdue)
    liveness.clear()


@pytest.mark.parametrize(
    ("host", "address"), [("0.0.0.0", "127.0.0.1"), ("::", "::1"), ("192.0.2.1", "192.0.2.1")]
)
def test_a_server_for_all_addresses_is_asked_on_this_host(host, address):
    assert of_web(host, 8000)._address == (address, 8000)
