"""Documents that people send come home as what they are, and carriers' parts raise no alarm."""

from datetime import timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.support import documents
from tests.support.documents import CARD, GPX, KML, MAIL, NOTE, OPEN, PAGE, SMIL, TABLE, XHTML
from tests.support.hostile_server import HostileServer, dripping
from tests.support.pictures import picture
from viewer import holdings
from viewer.extensions import db, now
from viewer.models import MediaAttachment
from viewer.storage import keys

State, Trouble = MediaAttachment.State, MediaAttachment.Trouble
ANY = "application/octet-stream"


def files() -> list[MediaAttachment]:
    return list(db.session.scalars(sa.select(MediaAttachment).order_by(MediaAttachment.position)))


@pytest.mark.parametrize(
    ("content", "declared", "extension", "words"),
    [
        (documents.office(f"{OPEN}wordprocessingml.document", "word"),
         f"{OPEN}wordprocessingml.document", "docx", "Word file"),
        (documents.office(f"{OPEN}spreadsheetml.sheet", "xl"), ANY, "xlsx", "Excel file"),
        (documents.office(f"{OPEN}presentationml.presentation", "ppt"), None, "pptx",
         "PowerPoint file"),
        (documents.self_described(f"{documents.ODF}text"), None, "odt", "OpenDocument text"),
        (documents.self_described("application/epub+zip"), None, "epub", "E-book"),
        (TABLE.encode("cp1252"), "text/csv", "csv", "CSV table"),
        (TABLE.encode("utf-16"), "text/csv", "csv", "CSV table"),
        (CARD.encode("mac-roman"), "text/x-vcard", "vcf", "Contact card"),
        (rb"{\rtf1\ansi Wall.\par}", "text/rtf", "rtf", "Rich text file"),
        (documents.ole("WordDocument"), "application/msword", "doc", "Word file"),
        (documents.ole("__properties_version1.0"), None, "msg", "E-mail"),
        (b"\r\n\r\n%PDF-1.4\n%%EOF", "application/pdf", "pdf", "PDF file"),
        (b"BEGIN:VCALENDAR\r\n", "text/calendar", "ics", "Calendar entry"),
        (GPX, "application/gpx+xml", "gpx", "GPX track"),
        (GPX, ANY, "gpx", "GPX track"),
        (KML, "application/vnd.google-earth.kml+xml", "kml", "Map places"),
        (documents.packed({"doc.kml": KML}), "application/vnd.google-earth.kmz", "kmz",
         "Map places"),
        (MAIL, "message/rfc822", "eml", "E-mail"),
        (XHTML, "application/xhtml+xml", "xhtml", "Web page"),
        (NOTE, "text/xml", "xml", "XML file"),
        (PAGE, "text/html", "html", "Web page"),
        (b'{"crack": 2}', ANY, "json", "JSON file"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "svg", "SVG drawing"),
        ("Der Keller ist naß.".encode("cp1252"), "text/plain", "txt", "Text file"),
    ],
)  # fmt: skip
def test_a_document_is_saved_as_what_it_is(
    content, declared, extension, words, deliver, work, provider, message, client
):
    url = provider.serve(content, content_type=declared or ANY)
    deliver(message(media=[{"url": url, "type": declared}]).payload())
    work()

    [media] = files()
    assert (media.state, media.trouble) == (State.STORED, None)
    answer = client.get(f"/media/{media.id}")
    assert answer.data == content
    assert answer.content_type == "application/octet-stream"
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
    assert answer.headers["Content-Disposition"].endswith(f'.{extension}"')
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert words in client.get(f"/conversations/{media.conversation_id}").text


def test_the_source_s_name_is_a_hint_too(deliver, work, provider, message):
    url = provider.serve(TABLE.encode(), path_suffix="/prices.csv")
    deliver(message(media=[{"url": url, "type": ANY}]).payload())
    work()

    assert files()[0].mime_type == "text/csv"


@pytest.mark.parametrize(
    ("content", "declared", "served_as", "trouble"),
    [
        (documents.S3_ERROR, ANY, "application/xml", Trouble.NOT_THE_FILE),
        (documents.GCS_ERROR, None, "application/xml", Trouble.NOT_THE_FILE),
        (documents.LOGIN, "image/jpeg", "text/html", Trouble.NOT_THE_FILE),
        (documents.LOGIN, ANY, "text/html", Trouble.NOT_THE_FILE),
        (PAGE, ANY, "text/html", Trouble.DOUBTFUL),
        (b"Access denied", None, "text/plain", Trouble.DOUBTFUL),
        (b"Wall", "image/jpeg", "text/plain", Trouble.DOUBTFUL),
    ],
)
def test_an_error_page_is_kept_beside_and_a_person_is_told(
    content, declared, served_as, trouble, deliver, work, provider, message
):
    url = provider.serve(content, content_type=served_as)
    deliver(message(media=[{"url": url, "type": declared}]).payload())
    work()

    [media] = files()
    assert (media.state, media.trouble) == (State.NEEDS_ATTENTION, trouble)
    assert ("perhaps" in (media.problem or "")) is (trouble is Trouble.DOUBTFUL)
    with holdings.own().open(keys.rejected(media.id)) as kept:
        assert kept.read() == content


# --- Parts that carriers add -----------------------------------------------------------------


@pytest.mark.parametrize("declared", ["application/smil", "Application/SMIL; charset=x", ANY, None])
def test_the_layout_of_a_message_is_kept_quietly(
    declared, deliver, work, provider, message, client
):
    photo = provider.serve(picture())
    layout = provider.serve(SMIL, content_type="application/smil")
    words = provider.serve(b"Here is the crack", content_type="text/plain")
    sent = [
        {"url": layout, "type": declared},
        photo,
        {"url": words, "type": "text/plain"},
    ]
    deliver(message(media=sent).payload())
    work()

    smil, shown, text = files()
    assert [one.state for one in (smil, shown, text)] == [State.STORED] * 3
    assert (smil.mime_type, smil.file_path.rpartition(".")[2]) == ("application/smil", "smil")
    assert (smil.is_unfiled, shown.is_unfiled) == (False, True)
    page = client.get(f"/conversations/{smil.conversation_id}").text
    assert "2 of 2 files here" in page
    assert str(shown.id) in page
    assert str(text.id) in page
    assert str(smil.id) not in page
    assert str(smil.id) not in client.get("/media").text
    assert (
        list(
            db.session.scalars(
                sa.select(MediaAttachment.id).where(MediaAttachment.is_in("attention"))
            )
        )
        == []
    )


def test_a_layout_that_does_not_come_raises_no_alarm(deliver, work, provider, message, client):
    photo, layout = provider.serve(picture()), provider.serve(SMIL, status=404)
    deliver(message(media=[photo, {"url": layout, "type": "application/smil"}]).payload())
    work()

    [media] = files()
    assert (media.mime_type, media.state) == ("image/jpeg", State.STORED)
    assert "Photo here" in client.get(f"/conversations/{media.conversation_id}").text


def test_a_layout_whose_server_is_down_is_forgotten_after_a_while(deliver, work, provider, message):
    layout = provider.serve(SMIL, status=503)
    deliver(message(media=[{"url": layout, "type": "application/smil"}]).payload())
    work()

    assert [one.state for one in files()] == [State.PENDING]
    with time_machine.travel(now() + timedelta(minutes=16)):
        work()
        assert files() == []


def test_a_photo_that_is_announced_as_a_layout_is_a_photo(deliver, work, provider, message, client):
    sent = message(media=[{"url": provider.serve(picture()), "type": "application/smil"}])
    deliver(sent.payload())
    work()

    [media] = files()
    assert (media.mime_type, media.is_unfiled) == ("image/jpeg", True)
    assert str(media.id) in client.get(f"/conversations/{media.conversation_id}").text


# --- A slow line -----------------------------------------------------------------------------


def test_a_download_on_a_slow_line_goes_on_until_it_is_whole(app, deliver, work, message):
    photo = picture(400, 300)
    app.config["SETTINGS"] = app.config["SETTINGS"].model_copy(update={"TRANSFER_SECONDS": 0.5})
    with HostileServer() as slow:
        url = slow.serve(dripping(photo + bytes(60_000), every=0.05, size=2_500))
        deliver(message(media=[url]).payload())
        work()

        assert len(slow.requests) == 1
    assert files()[0].state is State.STORED
    assert files()[0].file_size == len(photo) + 60_000
