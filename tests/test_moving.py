"""A row's bytes move to another store, and back."""

import uuid

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support import samples
from tests.support.object_stores import CREDENTIALS
from viewer import holdings
from viewer.extensions import db
from viewer.models import MediaAttachment, RegisteredStore

PHOTO = samples.packed(samples.corner_picture(90, 60), "JPEG")


@pytest.fixture
def settings(settings):
    return settings | {
        "S3_ACCESS_KEY_ID": CREDENTIALS.access_key_id,
        "S3_SECRET_ACCESS_KEY": CREDENTIALS.secret_access_key,
    }


@pytest.fixture
def bucket(app, object_store, shared_bucket):
    """A store in S3, registered and marked."""
    made = RegisteredStore(
        id=uuid.uuid4(),
        kind=RegisteredStore.Kind.S3,
        address=object_store.address(shared_bucket, f"move/{uuid.uuid4()}"),
    )
    db.session.add(made)
    db.session.commit()
    holdings.store(made.id).mark(str(made.id))
    return made.id


@BOTH
def test_a_photo_moves_with_its_copies_and_back(bucket, deliver, work, provider, message, client):
    deliver(message(media=[provider.serve(PHOTO)]).payload())
    work()
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    own = media.storage
    db.session.commit()

    moved = holdings.move(media.id, bucket)

    db.session.refresh(media)
    assert moved.outcome is holdings.Outcome.MOVED
    assert (media.storage, media.former_storage) == (bucket, own)
    there = dict(holdings.store(bucket).keys())
    assert set(there) == {media.file_path, *media.copies.values()}
    db.session.commit()
    assert client.get(f"/media/{media.id}").data == PHOTO
    assert holdings.move(media.id, own).outcome is holdings.Outcome.MOVED
    db.session.refresh(media)
    assert (media.storage, media.former_storage) == (own, bucket)


@BOTH
def test_a_new_photo_is_pushed_by_the_job_that_stored_it(bucket, deliver, work, provider, message):
    db.session.execute(sa.update(RegisteredStore).where(RegisteredStore.id == bucket).values(is_wanted=True))
    deliver(message(media=[provider.serve(PHOTO)]).payload())
    work()

    media = db.session.scalars(sa.select(MediaAttachment)).one()
    assert (media.storage, media.former_storage, media.push_due_at) == (bucket, holdings.own_id(), None)
    assert set(dict(holdings.store(bucket).keys())) == {media.file_path, *media.copies.values()}
