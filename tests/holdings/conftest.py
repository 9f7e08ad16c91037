"""A store that files are moved to: a folder that stands for a bucket, or a bucket."""

import uuid
from typing import Any

import pytest
from flask import Flask

from tests.support import object_stores, stored_files
from tests.support.object_stores import ObjectStore
from viewer import holdings, storage
from viewer.upkeep.move import target


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | object_stores.SETTINGS


@pytest.fixture
def bucket(app: Flask, object_store: ObjectStore, shared_bucket: str) -> uuid.UUID:
    """A store in S3, registered and marked."""
    return stored_files.bucket(object_store.address(shared_bucket, f"move/{uuid.uuid4()}")).id


@pytest.fixture(params=["folder", "s3"])
def there(request: pytest.FixtureRequest, app: Flask, tmp_path: Any) -> uuid.UUID:
    """The other store: what holds for a folder must hold for a bucket."""
    if request.param == "s3":
        found: uuid.UUID = request.getfixturevalue("bucket")
        return found
    return stored_files.other_store(tmp_path / "second").id


@pytest.fixture
def wanted(there: uuid.UUID) -> uuid.UUID:
    """The same, as the store for new files."""
    target.want(there)
    return there


def keys_in(identity: uuid.UUID) -> set[str]:
    """What lies in a store, without its marker and what is cached."""
    return {key for key, _ in holdings.store(identity).keys("") if storage.keys.is_media(key)}
