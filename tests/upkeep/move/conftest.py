"""A viewer with photos, and stores that they move to."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support import object_stores
from tests.support.object_stores import ObjectStore
from tests.support.pictures import picture
from tests.support.stored_files import keep
from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.upkeep import move


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | object_stores.SETTINGS


@pytest.fixture
def url(object_store: ObjectStore) -> str:
    """The address of an empty bucket."""
    return object_store.address(object_store.new_bucket(), "photos")


@pytest.fixture
def stored(app: Any) -> list[MediaAttachment]:
    """Three photos with their copies."""
    found = [keep(picture(120 + number, 80), with_copies=True) for number in range(3)]
    db.session.commit()
    return found


@pytest.fixture
def bring() -> Callable[..., move.Result]:
    """Move everything to this address, as the command does."""

    def run(url: str, threads: int = 2) -> move.Result:
        target = move.find(url)
        move.take(target)
        return move.Move(target, threads, move.Pace(None)).run(lambda _files, _size: None)

    return run
