"""A file in S3 gets its name once, whole, and is believed by its checksum alone."""

import threading

import pytest

from tests.storage.conftest import ready
from tests.support.crowds import run_all
from tests.support.fault_proxy import (
    damaged,
    frozen,
    lost_answer,
    refusal,
    rewritten,
)
from tests.support.servers import wait_until
from viewer.storage import Missing, Occupied, Unavailable, checksum
from viewer.storage.s3 import upload

KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"
NO_CHECKSUM = rewritten(rb"x-amz-checksum-sha256: [^\r]*\r\n", b"")


def test_a_bucket_is_told_what_a_file_is(store, part, object_store, shared_bucket, prefix):
    store.place(KEY, part(b"crack"))
    store.place("a/page.html", part(b"<script>"))

    def about(key: str) -> dict[str, object]:
        found = object_store.client.head_object(Bucket=shared_bucket, Key=f"{prefix}/{key}")
        names = "ContentType", "ContentDisposition", "CacheControl", "Metadata"
        return {name: found[name] for name in names if name in found}

    assert about(KEY) == {
        "ContentType": "image/jpeg",
        "CacheControl": "private, max-age=31536000, immutable",
        "Metadata": {"sha256": checksum(store.open(KEY)).sha256},
    }
    assert about("a/page.html")["ContentDisposition"] == "attachment"


# --- Whose name it is ----------------------------------------------------------------------


def breaking_off(exchange):
    """The server does what it was asked to, and its answer is an error and ends too soon."""
    exchange.pass_on()
    exchange.wire.send(b"HTTP/1.1 503 X\r\nContent-Length: 100\r\n\r\n<Error>")
    exchange.wire.reset()


@pytest.mark.parametrize(
    "wrong", [lost_answer, rewritten(b"^HTTP/1.1 200 OK", b"HTTP/1.1 500 X"), breaking_off]
)
def test_k1_a_file_whose_confirmation_was_lost_is_stored_and_no_second_time(
    wrong, store, proxy, part, stored
):
    proxy.plan("PUT", wrong)

    store.place(KEY, part(b"crack"))

    assert stored(KEY) == b"crack"
    assert proxy.count("PUT") == 2


def test_k1_a_lost_confirmation_makes_nobody_elses_file_ours(connect, store, proxy, part, stored):
    """Our first try never arrived, and meanwhile somebody else took the name."""

    def overtaken(exchange):
        ready(connect(direct=True)).place(KEY, part(b"theirs"))
        exchange.wire.reset()

    proxy.plan("PUT", overtaken)

    with pytest.raises(Occupied):
        store.place(KEY, part(b"ours"))

    assert stored(KEY) == b"theirs"


@pytest.mark.proof
def test_k1_a_server_that_did_it_after_our_deadline_has_the_file_once(
    connect, store, proxy, part, stored
):
    impatient = ready(connect(call=2))
    given_up = threading.Event()

    def late(exchange):
        given_up.wait(30)
        exchange.pass_on()

    proxy.plan("PUT", late)

    with pytest.raises(Unavailable, match="in time"):
        impatient.place(KEY, part(b"crack"))
    given_up.set()
    wait_until(lambda: list(store.keys()) == [(KEY, 5)])

    with pytest.raises(Occupied):  # and the caller compares
        store.place(KEY, part(b"crack"))
    assert stored(KEY) == b"crack"


def test_the_same_bytes_under_a_name_that_is_taken_are_the_callers_to_compare(store, part):
    store.place(KEY, part(b"crack"))

    with pytest.raises(Occupied):
        store.place(KEY, part(b"crack"))


@pytest.mark.proof
def test_k2_of_six_that_want_one_name_one_gets_it_fifteen_times(store, part, stored):
    for number in range(15):
        key = f"race/{number}.jpg"
        barrier, won, lost = threading.Barrier(6), [], []

        def compete(content, key=key, barrier=barrier, won=won, lost=lost):
            file = part(content)
            barrier.wait()
            try:
                store.place(key, file)
                won.append(content)
            except Occupied:
                lost.append(content)

        contents = [bytes([number, one]) * 10_000 for one in range(6)]
        run_all([threading.Thread(target=compete, args=(content,)) for content in contents])

        assert (len(won), len(lost)) == (1, 5)
        assert stored(key) == won[0]


@pytest.mark.parametrize("winner", ["we", "another"])
def test_k3_a_writer_at_the_same_moment_means_asking_again(
    winner, connect, store, proxy, part, stored
):
    def conflict(exchange):
        if winner == "another":
            ready(connect(direct=True)).place(KEY, part(b"theirs"))
        refusal(409, "ConditionalRequestConflict")(exchange)

    proxy.plan("PUT", conflict)

    if winner == "another":
        with pytest.raises(Occupied):
            store.place(KEY, part(b"ours"))
    else:
        store.place(KEY, part(b"ours"))

    assert stored(KEY) == {"we": b"ours", "another": b"theirs"}[winner]


def test_k3_a_conflict_without_end_is_unavailable(store, proxy, part, monkeypatch):
    monkeypatch.setattr(upload, "_PAUSES", (0.01, 0.01))
    proxy.always("PUT", refusal(409, "ConditionalRequestConflict"))

    with pytest.raises(Unavailable):
        store.place(KEY, part(b"crack"))

    assert proxy.count("PUT") == 3


# --- Which bytes ---------------------------------------------------------------------------


def test_k5_bytes_that_are_damaged_on_their_way_are_sent_again(store, proxy, part, stored):
    proxy.plan("PUT", damaged)

    store.place(KEY, part(b"crack"))

    assert stored(KEY) == b"crack"


def test_k5_bytes_that_are_always_damaged_leave_nothing(store, proxy, part, monkeypatch):
    monkeypatch.setattr(upload, "_PAUSES", (0.01, 0.01))
    proxy.always("PUT", damaged)

    with pytest.raises(Unavailable, match="damaged on their way"):
        store.place(KEY, part(b"crack"))

    with pytest.raises(Missing):
        store.stat(KEY)


@pytest.mark.parametrize(
    ("silent", "asked"),
    [((), 0), (("PUT",), 1), (("PUT", "HEAD"), 2)],
    ids=["the answer", "a HEAD", "the bytes"],
)
def test_a_file_is_confirmed_by_what_the_server_computed(silent, asked, store, proxy, part, stored):
    for method in silent:
        proxy.plan(method, NO_CHECKSUM)
    before = len(proxy.requests)

    store.place(KEY, part(b"crack"))

    assert stored(KEY) == b"crack"
    assert [request.method for request in proxy.requests[before:]] == (
        ["PUT", "HEAD", "GET"][: 1 + asked]
    )


def test_a_server_that_kept_other_bytes_is_not_believed_and_its_object_goes(store, proxy, part):
    proxy.plan("PUT", NO_CHECKSUM)
    proxy.plan("HEAD", NO_CHECKSUM)
    proxy.plan("GET", rewritten(b"crack$", b"crick"))

    with pytest.raises(Unavailable, match="other bytes"):
        store.place(KEY, part(b"crack"))

    with pytest.raises(Missing):
        store.stat(KEY)


def test_a_checksum_of_checksums_is_no_checksum():
    whole = {"ChecksumSHA256": "lPlMnJe/qSvSZ/cOKr0mawaUKMKC8wrVIdSGoGmRiSU="}
    in_parts = {"ChecksumSHA256": whole["ChecksumSHA256"] + "-2"}

    assert upload.computed_checksum(whole) == whole["ChecksumSHA256"]
    assert upload.computed_checksum(in_parts) is None
    assert upload.computed_checksum({**whole, "ChecksumType": "COMPOSITE"}) is None
    assert upload.computed_checksum({}) is None


def test_a_part_that_cannot_be_read_is_our_own_disks_trouble(store, tmp_path):
    with pytest.raises(Unavailable, match="disk for photos"):
        store.place(KEY, tmp_path / "none")


# --- Servers in trouble --------------------------------------------------------------------


def test_k10_a_busy_server_is_asked_again(store, proxy, part, stored):
    proxy.plan("PUT", refusal(503, "SlowDown"))

    store.place(KEY, part(b"crack"))

    assert stored(KEY) == b"crack"


@pytest.mark.proof
def test_k10_a_frozen_server_holds_nobody_longer_than_the_deadline(connect, store, proxy, part):
    impatient = ready(connect(call=2))
    proxy.always("PUT", frozen)

    with pytest.raises(Unavailable, match="in time"):
        impatient.place(KEY, part(b"crack"))

    proxy.close()
    wait_until(lambda: not any(one.name == "s3" for one in threading.enumerate()))


@pytest.mark.proof
def test_a_large_file_gets_more_time(connect, proxy, part, stored):
    """Two seconds are not enough; with what a hundred bytes add they are."""
    connect(direct=True).mark("ours")
    patient = ready(connect(call=2, slowest=10))

    def late(exchange):
        exchange.wire.pause(5)
        exchange.wire.send(exchange.pass_on())

    proxy.plan("PUT", late, late)

    patient.place("large.jpg", part(bytes(100)))
    with pytest.raises(Unavailable, match="in time"):
        patient.place("small.jpg", part(b"x"))

    assert stored("large.jpg") == bytes(100)
