from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.browser.conftest import DESK, PHONE, violations
from tests.payloads import load
from viewer.demo import drawing, film
from viewer.extensions import db
from viewer.models import *

OUT = "/tmp/conversation"


def photo(seed, portrait=False):
    p = drawing.crack_photo(seed, size=(900, 1200) if portrait else (1200, 900))
    return drawing.encode(p, "JPEG", 1, seed=seed)


@pytest.fixture
def filled(app, deliver, work, message, provider):
    now = datetime.now(UTC).replace(microsecond=0)
    t = now - timedelta(days=1, hours=5)

    def at(m):
        return t + timedelta(minutes=m)

    photos = {k: provider.serve(photo(k, k % 2 == 0), content_type="image/jpeg") for k in range(8)}

    def send(minute, text, media=(), sender="+16175550123", conv="CNtest1", out=False, status=None):
        m = message(
            text=text, media=list(media), sender=sender, sent_at=at(minute), conversation=conv
        )
        p = m.payload()
        r = p["data"]["resource"]
        if out:
            p["type"] = "message.delivered"
            r["direction"] = "outgoing"
            r["status"] = status or "delivered"
            p["data"]["context"]["senderIdentifier"] = "+16175550100"
            p["data"]["context"]["recipientIdentifiers"] = ["+16175550123"]
        assert deliver(p).status_code == 204

    send(
        0,
        "Hi, we have a crack in the foundation wall, north side of the basement. Found you on www.crackanddry.com",
    )
    send(
        1,
        "It started leaking after the rain last week. Can you take a look? My husband is at 617-555-0177 if you can't reach me, or write to rosa@lindqvist.example",
    )
    send(2, None, [photos[0]])
    send(3, "And three more from the other side:", [photos[1], photos[3], photos[5]])
    send(
        9,
        "Thanks for the photos, Rosa! That looks like a classic shrinkage crack. We can come Thursday between 8 and 10, does that work?",
        out=True,
    )
    send(
        11,
        "Details on how we inject are on https://crackanddry.com/how-it-works?from=sms",
        out=True,
        status="read",
    )
    send(12, "Thursday 8 is perfect")
    v = load("d3_call_voicemail")
    r = v["data"]["resource"]
    r["recordingUrl"] = provider.serve(film.mp3("leak-behind-furnace"), content_type="audio/mpeg")
    r["createdAt"] = at(60 * 20).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    r["updatedAt"] = r["createdAt"]
    v["createdAt"] = r["createdAt"]
    r["transcript"] = (
        "Hi, it's Rosa. There is water behind the furnace now as well, could you call me back?"
    )
    v["data"]["context"]["conversationId"] = "CNtest1"
    v["data"]["context"]["phoneNumberId"] = "PNtest"
    assert deliver(v).status_code == 204
    send(60 * 21, "Here is the wet spot", [photos[2], photos[7]])
    send(60 * 21 + 1, "Missing one", [photos[6], provider.serve(b"", status=404)])
    send(60 * 22, "On our way", out=True, status="undelivered")
    card = load("d3_contact_updated")
    card["data"]["resource"] |= {
        "firstName": "Rosa",
        "lastName": "Lindqvist",
        "company": None,
        "phoneNumbers": [{"value": "+16175550123", "type": "phone-number"}],
    }
    assert deliver(card).status_code == 204
    # group
    for k, (who, text, media) in enumerate(
        [
            ("+16175550123", "Adding my neighbor Abe, he has the same crack", ()),
            ("+16175550145", "Hello! Mine is longer.", ()),
            ("+16175550145", None, (photos[4],)),
            ("+16175550123", "Oh wow", ()),
        ]
    ):
        m = message(
            text=text,
            media=list(media),
            sender=who,
            conversation="CNgroup",
            sent_at=at(60 * 23 + k),
        )
        p = m.payload()
        other = "+16175550145" if who.endswith("123") else "+16175550123"
        p["data"]["context"]["recipientIdentifiers"] = ["+16175550100", other, "+16175550146"]
        assert deliver(p).status_code == 204
    work()
    convs = {c.participants: c.id for c in db.session.scalars(sa.select(Conversation))}
    db.session.rollback()
    print(convs)
    return convs


def test_shots(filled, open_page):
    for name, conv in (
        ("one", filled["+16175550123"]),
        ("group", next(v for k, v in filled.items() if "," in k)),
    ):
        for dark in (False, True):
            for size, vp in (("360", PHONE), ("1280", DESK)):
                page = open_page(viewport=vp, dark=dark)
                page.goto(f"/conversations/{conv}")
                page.wait_for_load_state("networkidle")
                page.screenshot(path=f"{OUT}/{name}-{size}-{'dark' if dark else 'light'}.png")
                if not dark or name == "one":
                    page.screenshot(
                        path=f"{OUT}/{name}-{size}-{'dark' if dark else 'light'}-full.png",
                        full_page=True,
                    )
                print(name, size, dark, violations(page))
                page.locator(".conversation__actions summary").click()
                page.screenshot(path=f"{OUT}/{name}-{size}-{'dark' if dark else 'light'}-menu.png")
                print(violations(page))
        page.locator(".conversation__actions summary").click()
        page.pdf(path=f"{OUT}/{name}.pdf")
