"""A service that would overwrite or damage files is refused before it holds one."""

import pytest

from tests.storage.conftest import ready
from tests.support import object_stores
from tests.support.fault_proxy import refusal, rewritten
from tests.support.object_stores import CREDENTIALS
from viewer.storage import UnsafeStore, from_url, probe
from viewer.storage.s3.address import S3Address
from viewer.storage.s3.store import S3


def test_a_service_that_does_as_it_should_is_taken_and_nothing_stays(
    store, object_store, shared_bucket, prefix
):
    probe(store)

    listed = object_store.client.list_objects_v2(Bucket=shared_bucket, Prefix=prefix)
    assert [found["Key"] for found in listed["Contents"]] == [f"{prefix}/.viewer-store"]


def test_an_empty_place_is_probed_before_it_has_a_marker(connect):
    store = connect()

    probe(store)

    assert store.is_empty()


def test_a_folder_is_left_alone(tmp_path):
    probe(from_url(f"folder:{tmp_path}"))

    assert list(tmp_path.iterdir()) == []


def test_k4_a_server_that_overwrites_is_refused():
    with object_stores.running_rclone() as rclone:
        store = S3(S3Address.read(rclone.address(rclone.new_bucket())), CREDENTIALS)

        with pytest.raises(UnsafeStore, match="would overwrite files"):
            probe(store)

        assert list(store.keys()) == []


OK = b'HTTP/1.1 200 OK\r\nETag: "x"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n'


def test_k5_a_server_that_believes_a_wrong_checksum_is_refused(store, proxy):
    passing = rewritten(b"^$", b"")
    proxy.plan("PUT", passing, passing, lambda exchange: exchange.wire.send(OK))

    with pytest.raises(UnsafeStore, match="accepts a wrong checksum"):
        probe(store)

    assert list(store.keys()) == []


@pytest.mark.parametrize(
    ("pattern", "becomes", "words"),
    [
        (rb"content-range: [^\r]*\r\n", b"", "does not give parts"),
        (rb"(?s)(bytes 6-7/.*\r\n\r\n)..$", rb"\1xx", "wrong parts"),
    ],
)
def test_a_server_that_gives_wrong_parts_is_refused(pattern, becomes, words, store, proxy):
    proxy.plan("GET", rewritten(pattern, becomes))

    with pytest.raises(UnsafeStore, match=words):
        probe(store)

    assert list(store.keys()) == []


def test_a_server_that_does_not_list_is_refused(store, proxy):
    passing = rewritten(b"^$", b"")
    empty = rewritten(rb"(?s)<Contents>.*</Contents>", b"")

    def unlisted(exchange):
        (empty if "list-type" in exchange.wire.request.path else passing)(exchange)

    proxy.always("GET", unlisted)

    with pytest.raises(UnsafeStore, match="does not list"):
        probe(store)


def test_a_target_that_denies_us_to_delete_is_taken(store, proxy, connect):
    proxy.always("DELETE", refusal(403, "AccessDenied"))

    probe(store)

    [(key, _)] = ready(connect(direct=True)).keys()
    assert key.startswith("probe/")
