"""A download that broke off goes on where it broke off, and never with a wrong byte."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hostile_server import Behaviour, HostileServer, Wire, answer, in_turn
from viewer.intake.fetch import Fetched, Gone, Limits, Partial, Policy, Unreachable, fetch
from viewer.storage.workspace import FilePart

HERE = Policy(hosts=(), allow_loopback=True)
LIMITS = Limits(connect=5, read=5, total=20)
WHOLE = bytes(range(256)) * 400
OTHER = WHOLE[::-1]
HALF = len(WHOLE) // 2
ETAG = '"v1"'


@pytest.fixture
def server() -> Iterator[HostileServer]:
    with HostileServer() as running:
        yield running


@pytest.fixture
def part(tmp_path: Path) -> Iterator[FilePart]:
    made = FilePart(tmp_path)
    yield made
    made.discard()


def broken(etag: str | None = ETAG, length: int | None = len(WHOLE)) -> Behaviour:
    """The first half, then the end."""
    headers = (("ETag", etag),) if etag else ()
    return answer(WHOLE[:HALF], length=length, headers=headers)


def rest(
    body: bytes = WHOLE[HALF:],
    etag: str = ETAG,
    of: str = f"bytes {HALF}-{len(WHOLE) - 1}/{len(WHOLE)}",
    status: int = 206,
    **more: int,
) -> Behaviour:
    return answer(body, status, headers=(("ETag", etag), ("Content-Range", of)), **more)


def whole(body: bytes = WHOLE, etag: str = '"v2"') -> Behaviour:
    return answer(body, headers=(("ETag", etag),))


def get(url: str, part: FilePart, resume: Partial | None = None) -> Fetched:
    return fetch(url, part, HERE, LIMITS, resume=resume)


def broken_off(url: str, part: FilePart, resume: Partial | None = None) -> Partial | None:
    with pytest.raises(Unreachable) as caught:
        get(url, part, resume)
    return caught.value.partial


def content(part: FilePart) -> bytes:
    return b"".join(part.read_back())


def is_all_of(fetched: Fetched, part: FilePart, body: bytes) -> bool:
    told = fetched.size, fetched.sha256, fetched.length_verified
    return (content(part), told) == (body, (len(body), hashlib.sha256(body).hexdigest(), True))


def asked(server: HostileServer) -> list[tuple[str | None, str | None]]:
    return [(one.headers.get("range"), one.headers.get("if-range")) for one in server.requests]


def test_only_the_rest_is_asked_for_and_the_whole_is_hashed(server, part):
    url = server.serve(in_turn(broken(), rest()))

    partial = broken_off(url, part)

    assert partial == Partial(HALF, hashlib.sha256(WHOLE[:HALF]).hexdigest(), len(WHOLE), ETAG)
    assert is_all_of(get(url, part, partial), part, WHOLE)
    assert asked(server) == [(None, None), (f"bytes={HALF}-", ETAG)]


def test_it_may_break_off_many_times(server, part):
    size = len(WHOLE) // 10
    steps = [
        rest(WHOLE[at : at + size], of=f"bytes {at}-{len(WHOLE) - 1}/{len(WHOLE)}",
             length=len(WHOLE) - at)
        for at in range(size, len(WHOLE), size)
    ]  # fmt: skip
    first = answer(WHOLE[:size], length=len(WHOLE), headers=(("ETag", ETAG),))
    url = server.serve(in_turn(first, *steps))

    partial = None
    for _ in range(9):
        partial = broken_off(url, part, partial)

    assert is_all_of(get(url, part, partial), part, WHOLE)


@pytest.mark.parametrize(
    "second",
    [
        whole(OTHER),  # changed meanwhile: If-Range answers with the whole of the new one
        whole(OTHER, etag=ETAG),  # or it ignores Range
        in_turn(rest(status=416), whole(OTHER)),
        in_turn(rest(OTHER[HALF:], etag='"v2"'), whole(OTHER)),  # ignores If-Range
        in_turn(rest(etag=f"W/{ETAG}"), whole(OTHER)),
        in_turn(rest(of=f"bytes 0-{HALF - 1}/{len(WHOLE)}"), whole(OTHER)),
        in_turn(rest(of=f"bytes {HALF}-{len(WHOLE)}/{len(WHOLE) + 1}"), whole(OTHER)),
        in_turn(rest(of=f"bytes {HALF}-{len(WHOLE) - 1}/*"), whole(OTHER)),
        in_turn(rest(of="lines 1-2/3"), whole(OTHER)),
        in_turn(rest(WHOLE[HALF:-1]), whole(OTHER)),  # another length than its range
        in_turn(answer(WHOLE[HALF:], 206, headers=(("ETag", ETAG),)), whole(OTHER)),
        in_turn(
            answer(b"--x", 206, headers=(("Content-Type", "multipart/byteranges; boundary=x"),)),
            whole(OTHER),
        ),
    ],
)
def test_what_does_not_fit_is_downloaded_from_the_start(server, part, second):
    turns = in_turn(broken(), second)
    url = server.serve(turns)

    partial = broken_off(url, part)

    assert is_all_of(get(url, part, partial), part, OTHER)
    assert asked(server)[1] == (f"bytes={HALF}-", ETAG)


@pytest.mark.parametrize(
    "first",
    [
        broken(etag=None),
        broken(etag=f"W/{ETAG}"),
        broken(etag="v1"),
        answer(WHOLE[:HALF], length=len(WHOLE), headers=(("ETag", ETAG), ("ETag", '"v2"'))),
        answer(b"", length=len(WHOLE), headers=(("ETag", ETAG),)),
    ],
)
def test_what_nothing_identifies_is_not_resumed(server, part, first):
    assert broken_off(server.serve(first), part) is None


def test_bytes_that_changed_on_our_disk_are_not_gone_on_with(server, part):
    url = server.serve(in_turn(broken(), rest(), whole()))
    partial = broken_off(url, part)
    part.file.seek(7)
    part.file.write(b"x")

    assert is_all_of(get(url, part, partial), part, WHOLE)
    assert len(server.requests) == 3


def test_a_wrong_checksum_of_the_whole_is_not_kept_for_another_attempt(server, part):
    lies = answer(
        OTHER[HALF:],
        206,
        headers=(
            ("ETag", ETAG),
            ("Content-Range", f"bytes {HALF}-{len(WHOLE) - 1}/{len(WHOLE)}"),
            ("X-Goog-Hash", "md5=AAAAAAAAAAAAAAAAAAAAAA=="),
        ),
    )
    url = server.serve(in_turn(broken(), lies))

    assert broken_off(url, part, broken_off(url, part)) is None


def test_trouble_before_the_rest_comes_leaves_the_beginning(server, part):
    def hang_up(wire: Wire) -> None:
        wire.reset()

    url = server.serve(in_turn(broken(), answer(status=503), hang_up, answer(status=404), rest()))
    partial = broken_off(url, part)

    assert broken_off(url, part, partial) == partial
    assert broken_off(url, part, partial) == partial
    with pytest.raises(Gone):
        get(url, part, partial)
    assert is_all_of(get(url, part, partial), part, WHOLE)
