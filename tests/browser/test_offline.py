"""Without a link: a conversation that was kept is read, seen and heard; nobody else's is there."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from tests.test_journey import picture
from viewer.extensions import db, now
from viewer.models import Conversation

PASSWORD = "a crack in the wall"
CUT = ("ERR_INTERNET_DISCONNECTED", "ERR_FAILED", "Failed to fetch", "Failed to load")


@pytest.fixture
def basement(deliver: Any, work: Any, provider: Any, message: Any) -> str:
    """The address of a conversation with three photos and a voicemail."""
    served = [provider.serve(picture(1200, 900, colour)) for colour in ("grey", "teal", "navy")]
    deliver(message(media=served, sent_at=now() - timedelta(minutes=5)).payload())
    work()
    address = f"/conversations/{db.session.scalars(sa.select(Conversation.id)).one()}"
    db.session.rollback()
    return address
