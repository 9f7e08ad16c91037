"""Large files travel in parts. Nobody sees one before all are there, and none is left behind."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.fault_proxy import lost_answer, refusal
from tests.support.object_stores import CREDENTIALS
from viewer.storage import Missing, Occupied, Unavailable, checksum
from viewer.storage.s3 import upload

pytestmark = pytest.mark.proof  # a part has 5 MB at least

ROOT = Path(__file__).parents[2]
KEY = "2025/01/15/617-555-0123/messages/1736977200_film.mp4"
FILM = os.urandom(1024) * 12 * 1024  # 12 MB


@pytest.fixture(autouse=True)
def _parts_of_the_least_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "LARGEST_PUT", 1024 * 1024)
    monkeypatch.setattr(upload, "PART", 5 * 1024 * 1024)  # S3 takes no smaller ones


@pytest.fixture
def uploads(object_store: Any, shared_bucket: str, prefix: str) -> Iterator[Any]:
    """The keys of this test's unfinished uploads, asked past the viewer."""

    def listed() -> list[str]:
        found = object_store.client.list_multipart_uploads(Bucket=shared_bucket, Prefix=prefix)
        return [one["Key"].removeprefix(f"{prefix}/") for one in found.get("Uploads", [])]

    return listed


def test_a_file_in_parts_is_there_whole_and_replaces_nothing(store, part, proxy, uploads):
    store.place(KEY, part(FILM))
    with pytest.raises(Occupied):
        store.place(KEY, part(FILM[::-1]))

    assert proxy.count("PUT") == 6
    assert checksum(store.open(KEY)).sha256 == hashlib.sha256(FILM).hexdigest()
    assert store.stat(KEY).size == len(FILM)
    assert store.stat(KEY).sha256 in (None, hashlib.sha256(FILM).hexdigest())
    assert uploads() == []


def test_k1_the_lost_answer_of_the_last_step_is_no_loss(store, part, proxy, stored, uploads):
    proxy.plan("POST", lambda exchange: exchange.wire.send(exchange.pass_on()), lost_answer)

    store.place(KEY, part(FILM))

    assert stored(KEY) == FILM
    assert uploads() == []


def test_a_part_that_cannot_be_sent_leaves_nothing(store, part, proxy, uploads):
    proxy.plan("PUT", lambda exchange: exchange.wire.send(exchange.pass_on()))
    proxy.always("PUT", refusal(403, "AccessDenied"))

    with pytest.raises(Unavailable, match="denies"):
        store.place(KEY, part(FILM))

    assert uploads() == []
    with pytest.raises(Missing):
        store.stat(KEY)


PLACE = """
import sys
from pathlib import Path
from viewer.storage import Credentials, from_url
from viewer.storage.s3 import upload
upload.LARGEST_PUT, upload.PART = 1024 * 1024, 5 * 1024 * 1024
store = from_url(sys.argv[1], credentials=Credentials(sys.argv[2], sys.argv[3]))
store.expect("ours")
store.place(sys.argv[4], Path(sys.argv[5]))
"""


@pytest.fixture
def killed(object_store: Any, shared_bucket: str, prefix: str, part: Any) -> Any:
    """Place the film in a process that dies by this failpoint."""

    def place(failpoint: str) -> None:
        address = object_store.address(shared_bucket, prefix)
        key = CREDENTIALS
        words = [address, key.access_key_id, key.secret_access_key, KEY, str(part(FILM))]
        done = subprocess.run(
            [sys.executable, "-c", PLACE, *words],
            env={**os.environ, "VIEWER_FAILPOINTS": f"{failpoint}=kill"}, cwd=ROOT, check=False,
        )  # fmt: skip
        assert done.returncode == -9

    return place


def test_k13_an_upload_whose_process_was_killed_is_tidied_away_and_its_file_comes_again(
    store, part, killed, uploads, stored
):
    killed("storage.s3.part@2")
    left = uploads()

    too_young = store.tidy(older_than=24 * 3600)
    aborted = store.tidy(older_than=-60)

    assert (left, too_young, aborted, uploads()) == ([KEY], 0, 1, [])
    with pytest.raises(Missing):
        store.stat(KEY)
    store.place(KEY, part(FILM))
    assert stored(KEY) == FILM


def test_k12_a_file_whose_process_was_killed_after_the_last_step_is_there_to_be_compared(
    store, part, killed, uploads
):
    killed("storage.s3.put")

    with pytest.raises(Occupied):
        store.place(KEY, part(FILM))

    assert checksum(store.open(KEY)).sha256 == hashlib.sha256(FILM).hexdigest()
    assert uploads() == []


MEASURE = """
import resource, sys, tempfile
from pathlib import Path
from viewer.storage import Credentials, checksum, from_url
from viewer.storage.s3 import upload
store = from_url(sys.argv[1], credentials=Credentials(sys.argv[2], sys.argv[3]))
store.expect("ours")
assert not store.is_away()  # what boto3 needs for any request is there now
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
with tempfile.TemporaryDirectory() as folder:
    part = Path(folder) / "part"
    with part.open("wb") as file:
        for number in range(300):
            file.write(number.to_bytes(2, "big") * 512 * 1024)
    store.place("whole.mp4", part)
    upload.LARGEST_PUT = 1
    store.place("parts.mp4", part)
found = [checksum(store.open(key)) for key in ("whole.mp4", "parts.mp4")]
assert found[0] == found[1] and found[0].size == 300 * 1024 * 1024, found
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print((after - before) // 1024)
"""


def test_a_file_of_300_mb_is_never_in_memory(store, object_store, shared_bucket, prefix):
    address = object_store.address(shared_bucket, prefix)
    words = [address, CREDENTIALS.access_key_id, CREDENTIALS.secret_access_key]

    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *words],
        stdout=subprocess.PIPE, text=True, cwd=ROOT, check=True,
    )  # fmt: skip

    assert int(done.stdout) < 100  # MB more than before; a part and a few blocks
