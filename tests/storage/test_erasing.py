"""What is erased is gone with every version of it, and with the folders that told whose it was."""

import pytest

from tests.support.fault_proxy import refusal
from viewer.storage import from_url

KEY, OTHER = "2026/09/21/617-555-0123/messages/1_a.jpg", "2026/09/21/617-555-0188/messages/1_a.jpg"


@pytest.fixture
def bucket(object_store):
    return object_store.new_bucket()


@pytest.fixture
def versioned(object_store, bucket, connect):
    """A store in a bucket that keeps every version."""
    object_store.client.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
    )
    store = connect(bucket, direct=True)
    store.mark("ours")
    store.expect("ours")
    return store


def versions(object_store, bucket, key):
    found = object_store.client.list_object_versions(Bucket=bucket, Prefix="")
    both = (*found.get("Versions", ()), *found.get("DeleteMarkers", ()))
    return [one["VersionId"] for one in both if one["Key"].endswith(key)]


def test_a_bucket_that_keeps_versions_has_none_of_it_any_more(
    versioned, part, object_store, bucket
):
    for key in (KEY, f"{KEY}.xmp", OTHER):
        versioned.place(key, part(key.encode()))
    versioned.remove(KEY)
    versioned.place(KEY, part(b"again"))
    assert len(versions(object_store, bucket, KEY)) == 3

    assert versioned.erase(KEY) is True
    assert versioned.erase(KEY) is True

    assert versions(object_store, bucket, KEY) == []
    assert len(versions(object_store, bucket, f"{KEY}.xmp")) == 1
    assert len(versions(object_store, bucket, OTHER)) == 1


def test_a_bucket_without_versions_has_none_of_it_any_more(connect, part, stored):
    store = connect(direct=True)
    store.mark("ours")
    store.expect("ours")
    store.place(KEY, part(b"one"))
    store.place(OTHER, part(b"two"))

    assert store.erase(KEY) is True

    assert dict(store.keys("")) == {OTHER: 3}
    assert stored(OTHER) == b"two"


def test_the_folders_of_a_customer_go_and_those_of_others_stay(tmp_path, part):
    root = tmp_path / "photos"
    store = from_url(f"folder:{root}")
    store.mark("ours")
    store.expect("ours")
    for key in (KEY, OTHER, "2026/09/21/617-555-0123/voicemails/1_voicemail.mp3"):
        store.place(key, part(key.encode()))

    assert store.erase(KEY) is True

    day = root / "2026/09/21"
    assert {one.name for one in day.iterdir()} == {"617-555-0123", "617-555-0188"}
    assert [one.name for one in (day / "617-555-0123").iterdir()] == ["voicemails"]
    store.erase("2026/09/21/617-555-0123/voicemails/1_voicemail.mp3")
    store.erase("2026/09/21/617-555-0123/voicemails/1_voicemail.mp3")
    assert {one.name for one in day.iterdir()} == {"617-555-0188"}
    store.erase(OTHER)
    assert [one.name for one in root.iterdir()] == [".viewer-store"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_an_access_key_that_may_not_says_that_versions_may_be_left(method, store, part, proxy):
    """It may not list them, or not delete them."""
    store.place(KEY, part(b"one"))
    proxy.plan(method, refusal(403, "AccessDenied"))

    assert store.erase(KEY) is False

    assert dict(store.keys("")) == {}
