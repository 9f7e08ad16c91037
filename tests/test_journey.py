"""The whole way: from a signed webhook to a photo on the page."""

import hashlib
import re
from io import BytesIO

import pytest
import rq
import sqlalchemy as sa
from PIL import Image

from tests.conftest import BOTH
from tests.support.pictures import picture
from viewer.extensions import db
from viewer.models import MediaAttachment

State = MediaAttachment.State


@pytest.fixture
def worker() -> type[rq.Worker]:
    """The one that runs in production: a process for each job."""
    return rq.Worker


@BOTH
@pytest.mark.parametrize("dialect", ["d1", "d2", "d3"])
def test_a_photo_that_was_sent_is_seen_on_the_page(
    dialect, deliver, work, client, provider, message, app
):
    sent = picture()
    text = message(media=[provider.serve(sent, content_type="image/jpeg")])

    answer = deliver(text.payload(dialect), "standard" if dialect == "d3" else "legacy")
    work()
    page = client.get(
        client.get("/")
        .text.split('href="/conversations/')[1]
        .join(["/conversations/", ""])
        .split('"')[0]
    )

    assert answer.status_code == 204
    assert "Here is the crack" in page.text
    assert "Photo here" in page.text
    thumbnail = re.search(r'src="(/media/[^"]+/thumbnail)"', page.text)
    with Image.open(BytesIO(client.get(thumbnail[1]).data)) as small:
        assert small.size == (480, 320)
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    original = client.get(f"/media/{media.id}")
    assert original.data == sent
    assert media.sha256 == hashlib.sha256(sent).hexdigest()
    assert media.file_path == "2026/09/21/617-555-0123/messages/1789999999_photo.jpg"
    assert (media.width, media.height) == (900, 600)
