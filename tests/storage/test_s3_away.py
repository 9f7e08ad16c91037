"""A bucket that is not the right one gives and takes nothing, says why, and misses nothing."""

import logging
import os
import signal
import subprocess
import sys
import uuid
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine

from tests.storage.conftest import ready
from tests.support.fault_proxy import frozen, lost_answer, refusal
from tests.support.object_stores import CREDENTIALS
from viewer.extensions import now
from viewer.storage import Credentials, Missing, Occupied, Unavailable, from_url
from viewer.storage.s3.address import S3Address
from viewer.storage.s3.store import S3

ROOT = Path(__file__).parents[2]
KEY = "2025/01/15/617-555-0123/messages/1736977200_photo.jpg"


def refuses_all(store, file: Path, words: str) -> None:
    for call in (
        lambda: store.open(KEY),
        lambda: store.open("nothing.jpg"),
        lambda: store.stat("nothing.jpg"),
        lambda: store.place("b.jpg", file),
        lambda: store.move("nothing.jpg", "b.jpg"),
        lambda: store.remove(KEY),
        lambda: store.tidy(0),
        lambda: list(store.keys()),
    ):
        with pytest.raises(Unavailable, match=words):
            call()


# --- The wrong bucket ----------------------------------------------------------------------


def other_bucket(store, object_store) -> str:
    return object_store.address(f"photos-{uuid.uuid4().hex[:12]}")


def other_prefix(store, object_store) -> str:
    return store.address.replace("test/", "tests/")


def other_server(store, object_store) -> str:
    return object_store.address("photos", port=1)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        (other_bucket, "does not exist"),
        (other_prefix, "no marker"),
        (other_server, "cannot be reached"),
    ],
)
def test_k6_another_place_has_nothing_and_misses_nothing(where, words, store, object_store, part):
    elsewhere = from_url(where(store, object_store), credentials=CREDENTIALS)
    elsewhere.expect("ours")

    refuses_all(elsewhere, part(b"crack"), words)
    assert words in (elsewhere.why_away() or "")


@pytest.mark.parametrize(
    ("credentials", "words"),
    [
        (Credentials("somebody", "not-a-secret"), "does not know our access key"),
        (Credentials(CREDENTIALS.access_key_id, "another"), "its secret is wrong"),
        (None, "S3_ACCESS_KEY_ID"),
    ],
)
def test_k6_another_access_key_misses_nothing(credentials, words, store, part):
    stranger = from_url(store.address, credentials=credentials)
    stranger.expect("ours")

    refuses_all(stranger, part(b"crack"), words)


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        (403, "AccessDenied", "denies us access"),
        (403, "ExpiredToken", "has expired"),
        (301, "PermanentRedirect", "another region"),
        (400, "AuthorizationHeaderMalformed", "another region"),
        (404, "NoSuchBucket", "does not exist"),
        (405, "MethodNotAllowed", r"refused a request \(MethodNotAllowed\)"),
        (501, "NotImplemented", "reports errors"),
    ],
)
def test_k6_what_a_server_answers_is_told_in_words(status, code, words, store, proxy, part):
    store.place(KEY, part(b"crack"))
    for method in ("GET", "PUT"):
        proxy.always(method, refusal(status, code))

    with pytest.raises(Unavailable, match=words):
        store.open(KEY)
    with pytest.raises(Unavailable, match=words):
        store.place("b.jpg", part(b"crick"))


def test_k6_a_bucket_that_was_ours_a_moment_ago_is_asked_again_before_a_file_is_missing(
    connect, object_store, prefix
):
    bucket, client = object_store.new_bucket(), object_store.client
    connect(bucket, direct=True).mark("ours")
    store = ready(connect(bucket))
    client.delete_object(Bucket=bucket, Key=f"{prefix}/.viewer-store")

    with pytest.raises(Unavailable, match="no marker"):
        store.stat(KEY)

    connect(bucket, direct=True).mark("ours")
    ready(store)
    client.delete_object(Bucket=bucket, Key=f"{prefix}/.viewer-store")
    client.delete_bucket(Bucket=bucket)
    with pytest.raises(Unavailable, match="does not exist"):
        store.stat(KEY)


def test_k6_a_bucket_that_goes_in_the_middle_of_a_list_does_not_end_it(
    store, part, object_store, shared_bucket, prefix, monkeypatch
):
    """Half a list would make the other half look like lost files."""
    monkeypatch.setattr("viewer.storage.s3.store._PAGE", 2)
    for number in range(5):
        store.place(f"a/{number}.jpg", part(b"crack"))
    whole = dict(store.keys())

    listed = store.keys()
    next(listed)
    object_store.client.delete_object(Bucket=shared_bucket, Key=f"{prefix}/.viewer-store")

    with pytest.raises(Unavailable, match="no marker"):
        list(listed)
    assert whole == {f"a/{number}.jpg": 5 for number in range(5)}


def test_k7_another_viewers_bucket_is_refused(store, part):
    stranger = from_url(store.address, credentials=CREDENTIALS)
    stranger.expect("theirs")

    refuses_all(stranger, part(b"crack"), "belongs to another database")
    with pytest.raises(Unavailable):
        stranger.mark("theirs")
    assert stranger.identity() == "ours"


def test_k7_a_marker_whose_confirmation_was_lost_is_ours(connect, proxy):
    store = connect()
    proxy.plan("PUT", lost_answer)

    store.mark("ours")

    assert store.identity() == "ours"


def test_what_is_no_key_of_ours_is_not_listed(store, part, object_store, shared_bucket, prefix):
    store.place(KEY, part(b"crack"))
    for name in ("a note.txt", "folder/", ".hidden", "a/.part"):
        object_store.client.put_object(Bucket=shared_bucket, Key=f"{prefix}/{name}", Body=b"x")

    assert list(store.keys()) == [(KEY, 5)]


# --- Clocks, versions ----------------------------------------------------------------------


def test_k21_a_wrong_clock_is_named(connect, store):
    wrong = connect()
    wrong.expect("ours")

    with time_machine.travel(now() + timedelta(hours=1), tick=True):
        reason = wrong.why_away()

    assert "clock is wrong" in (reason or "")
    assert not wrong.is_away()


def test_k20_in_a_bucket_with_versions_a_name_is_free_again_and_what_was_there_is_kept(
    connect, object_store, part, prefix
):
    bucket, client = object_store.new_bucket(), object_store.client
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    connect(bucket, direct=True).mark("ours")
    store = ready(connect(bucket))
    store.place(KEY, part(b"first"))
    with pytest.raises(Occupied):
        store.place(KEY, part(b"second"))

    store.remove(KEY)
    with pytest.raises(Missing):
        store.open(KEY)
    store.place(KEY, part(b"second"))

    with store.open(KEY) as file:
        assert file.read() == b"second"
    listed = client.list_object_versions(Bucket=bucket, Prefix=f"{prefix}/{KEY}")
    assert sorted(one["Size"] for one in listed["Versions"]) == [5, 6]
    assert list(store.keys()) == [(KEY, 6)]


# --- Moving --------------------------------------------------------------------------------


def test_a_move_that_died_half_way_is_ended_by_the_next(store, part, monkeypatch):
    store.place(KEY, part(b"crack"))

    def die(name: str) -> None:
        if name == "storage.moving":
            raise InterruptedError

    with monkeypatch.context() as dying:
        dying.setattr("viewer.storage.s3.store.failpoint", die)
        with pytest.raises(InterruptedError):
            store.move(KEY, "quarantine/a.jpg")
    both = dict(store.keys())
    store.move(KEY, "quarantine/a.jpg")

    assert both == {KEY: 5, "quarantine/a.jpg": 5}
    assert dict(store.keys()) == {"quarantine/a.jpg": 5}


# --- Secrets, processes, alarms ------------------------------------------------------------


def test_no_secret_is_in_an_address_a_log_or_an_error(store, part, proxy, caplog):
    caplog.set_level(logging.DEBUG)
    with caplog.at_level(logging.DEBUG):
        fresh = S3(S3Address.read(store.address), CREDENTIALS)
        fresh.expect("ours")
        fresh.place(KEY, part(b"crack"))
        proxy.always("GET", refusal(403, "SignatureDoesNotMatch"))
        with pytest.raises(Unavailable) as refused:
            fresh.open(KEY)

    told = " ".join([caplog.text, repr(refused.value), str(refused.value.__cause__), store.address])
    told += f"{CREDENTIALS!r} {fresh!r} {vars(fresh)!r}"
    assert CREDENTIALS.secret_access_key not in told
    assert CREDENTIALS.access_key_id not in told
    assert "AWS4-HMAC" not in told


def test_an_alarm_ends_the_waiting_for_a_frozen_server(store, proxy):
    """RQ ends a job that takes too long by one; inside boto3 it would be one more failed try."""

    class TooLong(Exception):
        pass

    def ring(*_: object) -> None:
        raise TooLong

    proxy.always("GET", frozen)
    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TooLong):
            store.open(KEY)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


FORK = """
import os, sys
from viewer.storage import Credentials, from_url
store = from_url(sys.argv[1], credentials=Credentials(sys.argv[2], sys.argv[3]))
store.expect("ours")
def look():
    with store.open("a.jpg") as file:
        assert file.read() == b"crack"
look()
ours = id(store._server.client())
for _ in range(3):
    child = os.fork()
    if child == 0:
        look()
        os._exit(3 if id(store._server.client()) != ours else 4)
    look()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
assert id(store._server.client()) == ours
"""


@pytest.mark.proof
def test_each_process_has_a_client_of_its_own(store, part, object_store, shared_bucket, prefix):
    store.place("a.jpg", part(b"crack"))
    address: Any = object_store.address(shared_bucket, prefix)
    words = [address, CREDENTIALS.access_key_id, CREDENTIALS.secret_access_key]

    subprocess.run([sys.executable, "-c", FORK, *words], cwd=ROOT, check=True, env=os.environ)
