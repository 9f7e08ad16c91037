"""MEDIA_REDIRECT: pictures and sounds come from the bucket, and nobody notices."""

import uuid
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from playwright.sync_api import expect

from tests.browser.fingers import until
from tests.support import call_events, object_stores
from tests.support.pictures import picture
from tests.support.sounds import tone
from tests.support.stored_files import bucket
from viewer import holdings, storage
from viewer.extensions import db, now
from viewer.models import Conversation, MediaAttachment
from viewer.upkeep.move import target

SOUND = "document.querySelector('audio[hidden]')"
SEEN = "[...document.querySelectorAll('a[data-slide] img')].every((one) => one.naturalWidth > 0)"
PREVIEW = "document.querySelector('.pswp__item[aria-hidden=false] .lightbox__layer--preview')"


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return settings | object_stores.SETTINGS | {"MEDIA_REDIRECT": True}


@pytest.fixture
def basement(app, object_store, shared_bucket, deliver, work, provider, message) -> str:
    """The address of a conversation whose photos and voicemail are in a bucket, and only there."""
    store = bucket(object_store.address(shared_bucket, f"browser/{uuid.uuid4()}"))
    target.want(store.id)
    served = [provider.serve(picture(1200, 900, colour)) for colour in ("grey", "teal")]
    deliver(message(media=served, sent_at=now() - timedelta(minutes=5)).payload())
    for event in call_events.voicemail(provider.serve(tone(20), content_type="audio/wav")):
        deliver(event)
    work()
    rows = db.session.scalars(sa.select(MediaAttachment)).all()
    assert {row.storage for row in rows} == {store.id}
    for row in rows:
        row.former_storage = row.moved_at = None
    db.session.commit()
    for key, _ in list(holdings.own().keys("")):
        if storage.keys.is_media(key):
            holdings.own().remove(key)
    found = f"/conversations/{db.session.scalar(sa.select(Conversation.id))}"
    db.session.rollback()
    return found


def test_photos_are_seen_voicemail_is_heard_and_both_are_kept_offline(
    open_page, basement, object_store
):
    page = open_page()
    page.friends.append(object_store.endpoint)
    asked: list[Any] = []
    page.context.on("request", lambda request: asked.append(request))

    def came_from_bucket() -> set[str]:
        return {one.resource_type for one in asked if one.url.startswith(object_store.endpoint)}

    page.goto(basement)
    until(page, SEEN)
    assert came_from_bucket() == {"image"}

    page.locator("[data-player] button").first.click()
    until(page, f"{SOUND}.currentTime > 0.1")
    page.evaluate(f"{SOUND}.currentTime = 15")
    until(page, f"{SOUND}.currentTime > 15 && !{SOUND}.paused")
    page.evaluate(f"{SOUND}.pause()")
    assert came_from_bucket() == {"image", "media"}

    page.locator("a[data-slide]").first.click()
    until(page, f"{PREVIEW}?.naturalWidth > 1000")
    page.keyboard.press("Escape")
    expect(page.locator(".lightbox")).to_have_count(0)

    page.locator("[data-keep-now]").click()
    expect(page.get_by_text("Kept, ")).to_be_visible()
    page.reload()  # the service worker is between us and the bucket now
    until(page, SEEN)
    page.expected_errors += ["ERR_INTERNET_DISCONNECTED", "ERR_FAILED", "Failed to load"]
    page.context.set_offline(True)
    page.goto(basement)
    until(page, SEEN)
    page.locator("[data-player] button").first.click()
    until(page, f"{SOUND}.currentTime > 0.1")
