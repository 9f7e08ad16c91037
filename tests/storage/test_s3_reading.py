"""A file in S3 is read in blocks: what breaks off is resumed, what does not come is given up."""

import os
import threading

import pytest

from tests.storage.conftest import ready
from tests.support.fault_proxy import (
    cut,
    dripping,
    dripping_head,
    frozen,
    lost_answer,
    refusal,
    rewritten,
)
from tests.support.servers import wait_until
from viewer.storage import Unavailable
from viewer.storage.s3 import reading

KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"
PHOTO = os.urandom(300_000)


@pytest.fixture
def kept(store, part):
    """The store with a photo; what was asked for so far is forgotten."""
    store.place(KEY, part(PHOTO))
    return store


def read(store, *span: int) -> bytes:
    with store.open(KEY, *span) as file:
        return file.read()


def ranges(proxy) -> list[tuple[str, bool]]:
    """Which parts were asked for, and whether on condition that the file is the same."""
    return [
        (request.headers["range"], "if-match" in request.headers)
        for request in proxy.requests
        if request.method == "GET" and "photo.jpg" in request.path
    ]


def test_a_file_comes_in_blocks_and_in_one_request_where_it_is_small(kept, proxy, monkeypatch):
    whole = read(kept)
    monkeypatch.setattr(reading, "_BLOCK", 100_000)

    with kept.open(KEY, 50_000, 200_000) as file:
        pieces = [file.read(7), file.read(150_000), file.read(), file.read()]

    assert whole == PHOTO
    assert b"".join(pieces) == PHOTO[50_000:250_000]
    assert [len(piece) for piece in pieces] == [7, 150_000, 49_993, 0]
    assert ranges(proxy) == [
        ("bytes=0-4194303", False),
        ("bytes=50000-149999", False),
        ("bytes=150000-249999", True),
    ]


def test_k10_a_body_that_breaks_off_is_resumed_if_the_file_is_the_same(kept, proxy):
    proxy.plan("GET", cut(after=100_000), cut(after=70_000))

    assert read(kept) == PHOTO
    assert ranges(proxy) == [
        ("bytes=0-4194303", False),
        ("bytes=100000-4194303", True),
        ("bytes=170000-4194303", True),
    ]


def test_k10_a_body_that_always_breaks_off_is_given_up_after_three_times(kept, proxy):
    proxy.always("GET", cut(after=10))

    with pytest.raises(Unavailable, match="breaks off"):
        read(kept)

    assert len(ranges(proxy)) == 4


@pytest.mark.proof
def test_k10_a_lost_answer_and_a_busy_server_are_asked_again(kept, proxy):
    proxy.plan("GET", lost_answer, refusal(503, "SlowDown"))

    assert read(kept) == PHOTO


@pytest.mark.proof
def test_k10_a_server_that_stays_busy_is_unavailable(kept, proxy):
    proxy.always("GET", refusal(503, "SlowDown"))

    with pytest.raises(Unavailable, match="busy"):
        read(kept)


@pytest.mark.parametrize("fault", [dripping, dripping_head, frozen])
@pytest.mark.proof
def test_k10_a_server_that_drips_or_freezes_is_left_at_the_deadline(fault, kept, connect, proxy):
    impatient = ready(connect(call=2, slowest=1_000_000))
    proxy.always("GET", fault)

    with pytest.raises(Unavailable, match="in time"):
        impatient.open(KEY)

    if fault is not dripping:  # which ends by itself with the next byte
        proxy.close()
    wait_until(lambda: not any(one.name == "s3" for one in threading.enumerate()))


def test_a_file_that_is_another_all_at_once_is_not_read_on(
    kept, object_store, shared_bucket, prefix, monkeypatch
):
    monkeypatch.setattr(reading, "_BLOCK", 100_000)

    with kept.open(KEY) as file:
        file.read(100_000)
        object_store.client.put_object(
            Bucket=shared_bucket, Key=f"{prefix}/{KEY}", Body=PHOTO[::-1]
        )
        with pytest.raises(Unavailable, match="changed while it was read"):
            file.read()


def test_a_file_that_goes_while_it_is_read_breaks_off(kept, monkeypatch):
    monkeypatch.setattr(reading, "_BLOCK", 100_000)

    with kept.open(KEY) as file:
        file.read(100_000)
        kept.remove(KEY)
        with pytest.raises(Unavailable, match="changed while it was read"):
            file.read()


@pytest.mark.parametrize(
    ("pattern", "becomes"),
    [
        (rb"HTTP/1.1 206 ([^\r]*)\r\n(.*)content-range: [^\r]*\r\n", rb"HTTP/1.1 200 \1\r\n\2"),
        (rb"content-range: bytes 5-", b"content-range: bytes 0-"),
    ],
    ids=["the whole file", "another part"],
)
def test_other_bytes_than_were_asked_for_are_not_taken(pattern, becomes, kept, proxy):
    proxy.always("GET", rewritten(b"(?s)" + pattern, becomes))

    with pytest.raises(Unavailable, match="other bytes than it was asked for"):
        read(kept, 5, 10)
