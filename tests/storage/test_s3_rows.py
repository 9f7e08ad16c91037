"""Rows whose originals are in S3: served from there, and never called damaged for its troubles."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from tests.support import object_stores
from tests.support.object_stores import CREDENTIALS, ObjectStore
from tests.support.pictures import picture
from tests.support.stored_files import keep, place, row
from viewer import holdings
from viewer.extensions import db
from viewer.holdings import Finding
from viewer.models import MediaAttachment, RegisteredStore, UpkeepRun
from viewer.storage import Store, Unavailable, from_url
from viewer.upkeep import verify

State = MediaAttachment.State


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | object_stores.SETTINGS


@pytest.fixture
def bucket(object_store: ObjectStore) -> str:
    return object_store.new_bucket()


@pytest.fixture
def identity(app: Flask, object_store: ObjectStore, bucket: str) -> uuid.UUID:
    """A store in S3 that this database knows."""
    known = RegisteredStore(
        kind=RegisteredStore.Kind.S3, address=object_store.address(bucket, "originals")
    )
    db.session.add(known)
    db.session.commit()
    from_url(known.address or "", credentials=CREDENTIALS).mark(str(known.id))
    return known.id


@pytest.fixture
def store(identity: uuid.UUID) -> Store:
    return holdings.store(identity)


@pytest.fixture
def photo(identity: uuid.UUID, store: Store) -> MediaAttachment:
    """Its original is in S3 alone."""
    content = picture()
    media = keep(content, storage=identity)
    place(content, media.file_path, holdings.spool(), store)
    holdings.own().remove(media.file_path)
    db.session.commit()
    return media


@pytest.fixture
def trouble(
    request: pytest.FixtureRequest, object_store: ObjectStore, bucket: str, app: Flask
) -> Callable[[], object]:
    """What may befall the bucket, all its objects still being somebody's."""
    client = object_store.client
    return {
        "emptied": lambda: empty(client, bucket),
        "deleted": lambda: (empty(client, bucket), client.delete_bucket(Bucket=bucket)),
        "marked by another": lambda: client.put_object(
            Bucket=bucket, Key="originals/.viewer-store", Body=b"another"
        ),
    }[request.param]


def empty(client: Any, bucket: str) -> None:
    for found in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.delete_object(Bucket=bucket, Key=found["Key"])


def test_an_original_in_s3_is_served_whole_and_in_parts(photo, client) -> None:
    content = picture()
    whole = client.get(f"/media/{photo.id}")
    part = client.get(f"/media/{photo.id}", headers={"Range": "bytes=10-19"})
    end = client.get(f"/media/{photo.id}", headers={"Range": "bytes=-5"})

    assert (whole.status_code, whole.data) == (200, content)
    assert (part.status_code, part.data) == (206, content[10:20])
    assert (end.status_code, end.data) == (206, content[-5:])
    assert holdings.check_file(photo) is Finding.SAME


@pytest.mark.parametrize("trouble", ["emptied", "deleted", "marked by another"], indirect=True)
@pytest.mark.proof
def test_k6_a_bucket_in_trouble_damages_no_row(
    trouble: Callable[[], object], photo, identity, client
) -> None:
    trouble()
    holdings.store(identity).expect(str(identity))  # as after half a minute, or in a new process

    answer = client.get(f"/media/{photo.id}")
    with pytest.raises(Unavailable):
        holdings.check_file(photo)
    result = verify.verify(identity)

    assert answer.status_code == 503
    assert (result.outcome, result.bad) == (UpkeepRun.Outcome.FAILED, [])
    assert "could not be checked" in (result.problem or "")
    assert row(photo.id).state is State.STORED


def test_one_object_that_is_really_gone_is_damage(photo, store, client) -> None:
    store.remove(photo.file_path)

    assert client.get(f"/media/{photo.id}").status_code == 410
    assert row(photo.id).state is State.DAMAGED


@pytest.mark.parametrize("harm", ["deleted", "altered", "of another size"])
def test_k8_an_object_that_is_changed_outside_is_found_and_put_back(
    harm, photo, identity, store, object_store, bucket, client
) -> None:
    """The folder that it came from still has it."""
    content = picture()
    place(content, photo.file_path, holdings.spool(), holdings.own())
    photo.former_storage = holdings.own_id()
    db.session.commit()
    where = {"Bucket": bucket, "Key": f"originals/{photo.file_path}"}
    object_store.client.delete_object(**where)
    if harm != "deleted":
        wrong = content[::-1] if harm == "altered" else content[:-1]
        object_store.client.put_object(**where, Body=wrong)

    served = client.get(f"/media/{photo.id}") if harm != "altered" else None
    result = verify.verify(identity, everything=True)

    assert served is None or (served.status_code, served.data) == (200, content)
    assert (result.outcome, result.repaired) == (UpkeepRun.Outcome.GOOD, 1)
    assert store.open(photo.file_path).read() == content
    assert row(photo.id).state is State.STORED
