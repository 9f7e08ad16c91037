"""A store with a few originals, and what may happen to their files."""

from collections.abc import Callable
from pathlib import Path

import pytest
from flask import Flask

from tests.support.pictures import picture
from tests.support.stored_files import keep
from viewer import holdings
from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.upkeep import verify


@pytest.fixture
def root(app: Flask) -> Path:
    found: Path = app.config["SETTINGS"].media_root
    return found


@pytest.fixture
def photos(app: Flask) -> list[MediaAttachment]:
    """Three originals, read as they came."""
    found = [keep(picture(width=100 + number)) for number in range(3)]
    db.session.commit()
    return found


@pytest.fixture
def check() -> Callable[..., verify.Result]:
    """One run over this host's folder, in which all bytes are read."""
    return lambda **words: verify.verify(holdings.own_id(), **({"everything": True} | words))
