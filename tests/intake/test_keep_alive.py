"""Connections are kept for the next download, and no fault of one reaches the other."""

import io
import os
from collections.abc import Iterator

import psutil
import pytest

from tests.support.hostile_server import HostileServer, Wire, answer, in_turn, stalling
from viewer.intake import fetch as fetching
from viewer.intake.fetch import Limits, Policy, Unreachable, fetch

PHOTO, OTHER = bytes(range(256)) * 400, b"another photo" * 1000
HERE = Policy(hosts=(), allow_loopback=True)


@pytest.fixture(autouse=True)
def no_idle_connections() -> Iterator[None]:
    fetching._idle.forget()
    yield
    fetching._idle.forget()


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer(requests_each=3) as running:
        yield running


def get(url: str, limits: Limits = Limits(), address: str = "127.0.0.1") -> bytes:  # noqa: B008 - immutable
    part = io.BytesIO()
    fetch(url, part, HERE, limits, resolve=lambda _host: [address])
    return part.getvalue()


def test_downloads_from_one_host_share_a_connection(server):
    urls = [server.serve(answer(PHOTO)), server.serve(answer(OTHER))]

    assert [get(url) for url in urls] == [PHOTO, OTHER]

    assert server.connections == 1
    assert [request.headers["host"] for request in server.requests] == [
        f"127.0.0.1:{server.port}"
    ] * 2


def test_two_at_once_have_a_connection_each(server):
    inner = server.serve(answer(OTHER))
    seen = []

    def ask_meanwhile(wire: Wire) -> None:
        seen.append(get(inner))
        answer(PHOTO)(wire)

    assert get(server.serve(ask_meanwhile)) == PHOTO

    assert seen == [OTHER]
    assert server.connections == 2


def test_one_that_the_server_has_closed_meanwhile_is_opened_again():
    with HostileServer(requests_each=1) as server:
        urls = [server.serve(answer(PHOTO)), server.serve(answer(OTHER))]

        assert [get(url) for url in urls] == [PHOTO, OTHER]

        assert server.connections == 2


@pytest.mark.parametrize("how", [lambda wire: wire.reset(), lambda wire: wire.connection.close()])
def test_one_that_breaks_when_it_is_asked_again_is_replaced_at_once(how, server):
    urls = [server.serve(answer(PHOTO)), server.serve(in_turn(how, answer(OTHER)))]

    assert [get(url) for url in urls] == [PHOTO, OTHER]

    assert server.connections == 2


def test_a_new_connection_that_breaks_is_a_failure_and_is_not_tried_twice(server):
    url = server.serve(lambda wire: wire.reset())

    with pytest.raises(Unreachable):
        get(url)

    assert server.connections == 1


def test_the_deadline_of_the_second_download_cuts_the_shared_connection(server):
    get(server.serve(answer(PHOTO)))
    url = server.serve(stalling(OTHER, after=100))

    with pytest.raises(Unreachable, match="took longer than"):
        get(url, Limits(total=0.5))

    assert server.connections == 1


@pytest.mark.parametrize(
    "first",
    [
        answer(b"no", status=404),
        answer(PHOTO[:-1], length=len(PHOTO)),
        answer(b"", headers=(("Location", "/elsewhere"),), status=302),
    ],
    ids=["refused", "cut", "redirected"],
)
def test_an_answer_that_was_not_read_to_a_good_end_ends_its_connection(first, server):
    bad, good = server.serve(first), server.serve(answer(OTHER))
    with pytest.raises(fetching.FetchError):
        get(bad, Limits(read=0.5))
    before = server.connections

    assert get(good) == OTHER

    assert server.connections == before + 1


def test_what_a_server_sends_beyond_its_answer_is_no_part_of_the_next(server):
    beyond = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    url = server.serve(answer(b"photo" + beyond, length=5))

    assert get(url) == b"photo"
    assert get(server.serve(answer(OTHER))) == OTHER


def test_another_name_or_address_has_a_connection_of_its_own(server):
    url = server.serve(answer(PHOTO))

    get(url)
    get(url.replace("127.0.0.1", "localhost"))

    assert server.connections == 2
    hosts = [request.headers["host"].partition(":")[0] for request in server.requests]
    assert hosts == ["127.0.0.1", "localhost"]


def test_an_address_that_is_no_longer_the_hosts_is_not_asked(server):
    """The name is looked up for each download; only a checked answer chooses the connection."""
    url = server.serve(answer(PHOTO))
    get(url)

    with pytest.raises(Unreachable):
        get(url, address="127.0.0.2")  # where nobody listens

    assert server.asked_for(url) == 1


def test_old_connections_are_closed_and_few_are_kept(server, monkeypatch):
    url = server.serve(answer(PHOTO))
    get(url)
    monkeypatch.setattr(fetching, "IDLE_SECONDS", -1.0)

    get(url)  # the first one is used once more; then it is too old at once
    get(url)

    assert server.connections == 2
    assert fetching._idle._adapters == []


def test_a_forked_child_does_not_speak_on_its_parents_connection(server):
    url = server.serve(answer(PHOTO))
    get(url)

    child = os.fork()
    if child == 0:
        os._exit(0 if get(url) == PHOTO else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    assert server.connections == 2
    assert get(url) == PHOTO  # and the parent's still serves
    assert server.connections == 2


def test_no_connection_stays_open_for_each_download(server):
    url = server.serve(answer(PHOTO))

    def open_sockets() -> int:
        return len(psutil.Process().net_connections())

    get(url)
    before = open_sockets()
    for _ in range(20):
        get(url)

    assert open_sockets() <= before + 2
