"""Captions are where the file is, and lead to where they are edited; one rule cleans them all."""

import pytest
import sqlalchemy as sa

from tests.support.factories import customer, photos, quote, voicemail
from tests.support.pages import Page
from tests.support.stored_files import painted
from viewer.extensions import db
from viewer.models import MediaAttachment
from viewer.office import captions, filing


@pytest.fixture
def wall(client):
    """A photo of Dana's with a caption that is not harmless."""
    dana = customer(name="Dana Whitfield")
    [photo, _plain] = painted(photos(dana, 2))
    photo.caption = "North wall <b>"
    db.session.commit()
    return photo


def edit_links(page, media):
    return page.all("a", href=f"/media/{media.id}/passport#caption")


@pytest.mark.parametrize("address", ["/conversations/{}", "/photos", "/conversations/{}/photos"])
def test_a_caption_is_shown_beside_its_photo_and_leads_to_its_field(client, wall, address):
    page = Page(client.get(address.format(wall.conversation_id)).text)

    assert "North wall <b>" in page.text
    assert len(edit_links(page, wall)) == 1
    field = Page(client.get(f"/media/{wall.id}/passport").text)
    assert len(field.all("input", id="caption")) == 1


def test_a_voicemail_has_its_caption_in_the_conversation(client):
    dana = customer(name="Dana Whitfield")
    sound = voicemail(dana)
    sound.caption = "Wants it before winter"
    db.session.commit()

    page = Page(client.get(f"/conversations/{dana.id}").text)

    assert "Wants it before winter" in page.text
    assert len(edit_links(page, sound)) == 1


def test_a_record_shows_the_caption_of_the_file_and_of_its_link(client, wall):
    record = quote(wall.conversation)
    filing.link([wall], record, None)
    db.session.commit()
    of_file = client.get(f"/work/{record.id}").text
    filing.set_caption(filing.links_of(record)[0], "Crack 2", None)
    db.session.commit()

    assert "North wall &lt;b&gt;" in of_file
    assert "Crack 2" in client.get(f"/work/{record.id}").text


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  North \n wall\t ", "North wall"),
        ("a\0b\x07c", "a b c"),
        ("👩\u200d🔧 was here", "👩\u200d🔧 was here"),
        (" \n ", ""),
        ("x" * 300, "x" * 300),
    ],
)
def test_one_rule_cleans_all_captions(client, wall, typed, kept):
    record = quote(wall.conversation)
    db.session.commit()
    client.post(f"/media/{wall.id}/caption", data={"caption": typed})
    client.post("/work/link", data={"media": wall.id, "record": record.id, "caption": typed})
    db.session.expire_all()

    assert captions.clean(typed) == kept
    assert db.session.get(MediaAttachment, wall.id).caption == (kept or None)
    assert filing.links_of(record)[0].caption == (kept or None)


def test_no_caption_is_longer_than_it_may_be(client, wall):
    with pytest.raises(captions.TooLong, match="at most 300 characters; this has 301"):
        captions.clean("x" * 301)


def test_captions_cost_the_gallery_no_query(client, wall):
    asked = []
    sa.event.listen(db.engine, "before_cursor_execute", lambda *words: asked.append(words[2]))
    client.get("/photos")
    before = len(asked)
    wall.caption = None
    db.session.commit()
    asked.clear()
    client.get("/photos")

    assert len(asked) == before
