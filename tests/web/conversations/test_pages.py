"""The pages: what staff see, in which order, and that no customer's words become a program."""

import re
import uuid
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.payloads import load
from tests.support.conversations import called, stored
from tests.support.factories import NOW
from tests.support.pages import NASTY, Page, counted
from tests.support.pictures import picture
from viewer.extensions import db
from viewer.models import (
    ConversationAlias,
    MediaAttachment,
)
from viewer.web.conversations import inbox
from viewer.web.conversations import pages as conversation_pages

State = MediaAttachment.State


# --- The inbox -----------------------------------------------------------------------------


def test_an_empty_inbox_says_how_to_begin(page):
    inbox, photos = page("/"), page("/?show=photos")

    assert "No conversation yet." in inbox.text
    assert "http://localhost/webhooks/quo" in inbox.text
    assert "No conversation is like that." in photos.text


@BOTH
def test_the_inbox_is_newest_first_and_pages_without_gap_or_repeat(page, talk, monkeypatch):
    monkeypatch.setattr(inbox, "INBOX_PAGE", 3)
    # Several at one moment: only their ids tell them apart.
    rows = [
        talk(f"+1617555010{n}", at=NOW - timedelta(minutes=n // 3), body=f"Body{n}x")
        for n in range(8)
    ]
    expected = [row.id for row in sorted(rows, key=lambda r: (r.latest_at, r.id), reverse=True)]

    seen, address, pages = [], "/", 0
    while address:
        found = page(address)
        seen += [uuid.UUID(link.rpartition("/")[2]) for link in found.links("/conversations/")]
        older = found.links("before=")
        address, pages = (older[0] if older else ""), pages + 1
        if pages == 1:
            talk("+16175550199", at=NOW + timedelta(minutes=1))  # arrives while somebody reads

    assert seen == expected
    assert pages == 3


def test_the_inbox_can_be_narrowed(page, talk, attach):
    photo, voice, trouble, plain = (talk(f"+1617555011{n}", body=f"Only{n}") for n in range(4))
    attach(photo.messages[0], **stored())
    audio = {"role": MediaAttachment.Role.VOICEMAIL, "mime_type": "audio/mpeg"}
    attach(voice.messages[0], **stored(media_type=MediaAttachment.MediaType.AUDIO, **audio))
    attach(
        trouble.messages[0], state=State.NEEDS_ATTENTION, problem="Gone.",
        media_type=MediaAttachment.MediaType.DOCUMENT,
    )  # fmt: skip

    shown = {
        word: {uuid.UUID(a.rpartition("/")[2]) for a in page(f"/?show={word}").links("versations/")}
        for word in ("", "photos", "voicemail", "attention")
    }

    assert shown == {
        "": {photo.id, voice.id, trouble.id, plain.id},
        "photos": {photo.id},
        "voicemail": {voice.id},
        "attention": {trouble.id},
    }
    assert "1 needs attention" in page("/").text


def test_people_are_called_by_the_names_in_the_address_book(page, talk):
    talk("+16175550120")
    called("+16175550120", "Rosa", "Lindqvist")
    called("+16175550120", "Abe")
    called("+16175550121", "Gone", deleted=True)
    talk("+16175550121")
    talk("+16175550120,+16175550122")
    talk("")

    titles = page("/").text

    assert "Abe & Rosa Lindqvist" in titles
    assert "Gone" not in titles
    assert "(617) 555-0121" in titles
    assert "Abe & Rosa Lindqvist, (617) 555-0122" in titles
    assert "Unknown caller" in titles


def test_a_place_or_filter_that_cannot_be_is_no_crash(client, talk):
    conversation = talk()
    places = ["x", "1_2", "nan_0", f"inf_{uuid.uuid4()}", f"1e99_{uuid.uuid4()}", "_", "%00_"]

    answers = [
        client.get(f"{page}?before={place}").status_code
        for page in ("/", f"/conversations/{conversation.id}")
        for place in places
    ]

    assert answers == [400] * len(answers)
    assert client.get("/?show=nonsense").status_code == 404
    assert client.get(f"/conversations/{uuid.uuid4()}").status_code == 404


# --- Words of strangers --------------------------------------------------------------------


@BOTH
def test_words_of_strangers_are_shown_as_words(deliver, work, message, client, page):
    body = "\n".join(NASTY) + "\x00 after nothing"
    card = load("d3_contact_updated")
    card["data"]["resource"] |= {
        "firstName": NASTY[0], "lastName": NASTY[1], "company": NASTY[3],
        "phoneNumbers": [{"value": "+16175550123", "type": "phone-number"}],
    }  # fmt: skip
    assert deliver(message(text=body).payload()).status_code == 204
    assert deliver(card).status_code == 204
    work()

    inbox = page("/")
    talk = page(inbox.links("/conversations/")[0])

    for found in (inbox, talk):
        assert found.strange_scripts() == []
        assert not any(name.startswith("on") for _, attrs in found.elements for name in attrs)
        assert "49" not in found.text
        assert f"{NASTY[0]} {NASTY[1]}" in found.text
        assert "\x00" not in found.html
    for words in NASTY:
        assert words in talk.text
    assert "after nothing" in talk.text
    assert talk.all("img") == []


def test_a_line_of_100_kb_is_shown_whole_on_its_page_and_cut_in_the_inbox(
    deliver, work, message, page
):
    line = "<b>" + "é" * 50_000
    deliver(message(text=line).payload())
    work()

    inbox = page("/")
    talk = page(inbox.links("/conversations/")[0])

    assert line in talk.text
    assert line[:100] in inbox.text
    assert len(inbox.html) < 10_000


def test_a_file_name_and_a_problem_are_words_too(page, talk, attach):
    message = talk().messages[0]
    attach(
        message, **stored(media_type=MediaAttachment.MediaType.DOCUMENT, file_name=NASTY[2],
        mime_type="application/pdf", thumbnail_path=None),
    )  # fmt: skip
    attach(message, state=State.NEEDS_ATTENTION, problem=NASTY[0])

    found = page(f"/conversations/{message.conversation_id}")

    assert NASTY[2] in found.text
    assert NASTY[0] in found.text
    assert (found.strange_scripts(), found.all("img")) == ([], [])
    assert NASTY[0] in page("/status").text
    assert page("/status").strange_scripts() == []


@pytest.mark.parametrize(
    ("file_name", "mime_type", "words"),
    [
        ("Inspection report.pdf", "application/pdf", "Inspection report.pdf PDF file · 1 kB"),
        ("4a74d256159f924ba3c6aa3630fdac00", "application/pdf", "PDF file 1 kB"),
        ("0B5E6C32-1111-4222-8333-0123456789AB.vcf", "text/vcard", "Contact card 1 kB"),
        (None, "application/octet-stream", "File 1 kB"),
        ("deadbeef.bin", "application/octet-stream", "deadbeef.bin File · 1 kB"),
    ],
)
def test_a_file_is_called_as_people_call_it(page, talk, attach, file_name, mime_type, words):
    message = talk().messages[0]
    attach(
        message, **stored(media_type="document", file_name=file_name, mime_type=mime_type),
    )  # fmt: skip

    assert words in page(f"/conversations/{message.conversation_id}").text


# --- A conversation ------------------------------------------------------------------------


def test_days_are_those_of_the_display_zone(page, talk):
    # 03:59 UTC is still the evening before in New York.
    late = talk(at=datetime(2026, 9, 21, 4, 1, tzinfo=UTC), messages=2, apart=timedelta(minutes=2))
    early = talk("+16175550124", at=datetime(2025, 12, 31, 23, 30, tzinfo=UTC))

    with time_machine.travel(NOW, tick=False):
        found = page(f"/conversations/{late.id}")
        old = page(f"/conversations/{early.id}")

    days = [time["datetime"] for time in found.all("time") if len(time["datetime"] or "") == 10]
    assert days == ["2026-09-20", "2026-09-21"]
    assert "Yesterday Text 0 11:59 PM Today Text 1 12:01 AM" in found.text
    assert "Wednesday, December 31, 2025" in old.text
    assert "6:30 PM" in old.text


@BOTH
def test_older_messages_page_without_gap_or_repeat(page, talk, monkeypatch):
    monkeypatch.setattr(conversation_pages, "MESSAGES_PAGE", 4)
    conversation = talk(messages=11, apart=timedelta(0))  # all at one moment
    expected = sorted(m.id for m in conversation.messages)

    seen, address, pages = [], f"/conversations/{conversation.id}", []
    while address:
        found = page(address)
        ids = [uuid.UUID(a["id"][8:]) for a in found.all("article")]
        seen, pages = ids + seen, [*pages, found]
        older = found.links("before=")
        address = older[0] if older else ""

    assert seen == expected
    assert len(pages) == 3
    assert "Newest messages" not in pages[0].text
    assert "Newest messages" in pages[1].text


def test_every_state_of_a_file_has_its_look(page, talk, attach):
    message = talk().messages[0]
    attach(message, position=0, **stored())
    attach(message, position=1, state=State.PENDING)
    attach(message, position=2, state=State.DOWNLOADING)
    attach(message, position=3, state=State.NEEDS_ATTENTION, problem="The source answered 404.")
    attach(message, position=4, state=State.DAMAGED, sha256="1" * 64, file_size=1)
    attach(message, position=5, **stored(state=State.TRASHED))

    with time_machine.travel(NOW, tick=False):
        found = page(f"/conversations/{message.conversation_id}")

    looks = [attrs["class"] for attrs in found.all("figure")]
    assert [re.search(r"media--(\w+)", look)[1] for look in looks] == [
        "stored", "pending", "downloading", "needs_attention", "damaged",
    ]  # fmt: skip
    assert found.text.count("Photo on its way…") == 2
    assert "The source answered 404." in found.text
    assert found.text.count("Photo: original damaged") == 1
    receipt = (
        "1 of 5 photos here; 2 on their way since 14 min;"
        " 1 not available at the provider; 1 original damaged"
    )
    assert receipt in found.text
    assert "Photo: not available at the provider" in found.text
    again = [form for form in found.all("form") if form["action"].endswith("/attempts")]
    assert [form["method"] for form in again] == ["post"]


def test_a_receipt_counts_what_is_here(page, talk, attach):
    one, two, three = talk(messages=3).messages
    attach(one, **stored())
    attach(two, **stored())
    attach(two, **stored(media_type=MediaAttachment.MediaType.VIDEO, mime_type="video/mp4"))
    attach(three, **stored())
    attach(three, state=State.PENDING)

    with time_machine.travel(NOW - timedelta(minutes=13, seconds=30), tick=False):
        text = page(f"/conversations/{one.conversation_id}").text

    assert "Photo here" in text
    assert "2 of 2 files here" in text
    assert "1 of 2 photos here; 1 on its way" in text
    assert "since" not in text


@BOTH
def test_a_person_may_try_again_as_often_as_they_like(
    deliver, work, message, provider, page, client
):
    photo = provider.serve(picture(), status=404)
    deliver(message(media=[photo]).payload())
    work()
    inbox = page("/")
    talk = page(inbox.links("/conversations/")[0])
    [button] = [f["action"] for f in talk.all("form") if f["action"].endswith("/attempts")]
    tried = provider.gets(photo)

    again = [client.post(button) for _ in range(3)]
    work()
    still = page(inbox.links("/conversations/")[0])
    after_404 = provider.gets(photo)
    media = db.session.scalars(sa.select(MediaAttachment)).one()
    media.openphone_url = provider.serve(picture())
    db.session.commit()
    client.post(button)
    work()
    done = client.post(button)  # on what is stored already
    work()

    assert {answer.status_code for answer in [*again, done]} == {303}
    assert again[0].headers["Location"].startswith(inbox.links("/conversations/")[0])
    assert again[0].headers["Location"].endswith(f"#message-{media.message_id}")
    assert after_404 == tried + 1
    assert "answered 404" in still.text
    assert "Photo here" in page(inbox.links("/conversations/")[0]).text
    assert provider.gets(media.openphone_url) == 1


def test_trying_again_what_nobody_knows_is_404(client):
    assert client.post(f"/media/{uuid.uuid4()}/attempts").status_code == 404
    assert client.get(f"/media/{uuid.uuid4()}/attempts").status_code == 405


def test_the_old_address_of_a_merged_conversation_leads_to_the_new(client, talk):
    conversation, gone = talk(), uuid.uuid4()
    alias = ConversationAlias(provider_id=str(gone), conversation_id=conversation.id)
    db.session.add(alias)
    db.session.commit()

    answer = client.get(f"/conversations/{gone}")

    assert answer.status_code == 301
    assert answer.headers["Location"] == f"/conversations/{conversation.id}"


def test_a_call_shows_its_voicemail_transcript_and_summary(
    deliver, work, page, client, provider, message
):
    for name in (
        "d3_call_voicemail",
        "d3_call_transcript",
        "d3_call_summary",
        "d3_call_recordings",
    ):
        assert deliver(load(name)).status_code == 204
    work()

    text = ""
    for link in dict.fromkeys(page("/").links("/conversations/")):
        text += page(link).text

    assert "Voicemail" in text
    assert "Summary" in text
    assert "Transcript" in text


# --- Every page ----------------------------------------------------------------------------


@pytest.fixture
def everything(deliver, work, message, provider, page, talk, attach) -> list[str]:
    """The address of every page, with something on it."""
    deliver(
        message(
            media=[provider.serve(picture()), provider.serve(status=404, content=b"")]
        ).payload()
    )
    for name in ("d3_call_voicemail", "d3_call_summary", "d3_message_undelivered"):
        deliver(load(name))
    deliver(b"{not json")
    work()
    film = {"media_type": MediaAttachment.MediaType.VIDEO, "mime_type": "video/mp4"}
    attach(talk(messages=2).messages[0], **stored(**film), playable_path="p.mp4")
    attach(talk().messages[0], **stored(placeholder="data:image/jpeg;base64,AAAA"))
    return ["/", "/?show=photos", "/status", *dict.fromkeys(page("/").links("/conversations/"))]


def test_every_page_is_whole_and_runs_nothing_inline(everything, client):
    pages = [client.get(address) for address in everything]
    pages += [client.get(a, headers={"Accept": "text/html"}) for a in ("/nowhere", "/?before=x")]

    assert len(pages) > 6
    for answer in pages:
        found = Page(answer.text)
        assert found.all("html")[0]["lang"] == "en"
        assert found.all("title").count({}) == 1  # that of a plot has an id
        assert len(found.all("h1")) == 1, answer.request.path
        assert found.all("style") == []
        assert [s for s in found.all("script") if not s.get("src")] == []
        for tag, attrs in found.elements:
            assert "style" not in attrs
            assert not any(name.startswith("on") for name in attrs), f"{tag} {attrs}"
            assert not (attrs.get("href") or "").lower().startswith("javascript:")
            # Nothing is asked of another host.
            for name in ("src", "href", "action", "poster"):
                assert not re.match(r"(https?:)?//", attrs.get(name) or "")
        ids = [attrs["id"] for _, attrs in found.elements if "id" in attrs]
        assert len(ids) == len(set(ids))


def test_pictures_have_their_place_before_they_arrive(everything, page):
    images = [
        image
        for address in everything
        for tag in ("img", "video")
        for image in page(address).all(tag)
    ]

    assert len(images) >= 4
    assert [i for i in images if not (i.get("width") or "").isdigit()] == []
    assert [i for i in images if not (i.get("height") or "").isdigit()] == []
    assert [i for i in images if "poster" not in i and "alt" not in i] == []


def test_every_answer_carries_the_strict_policy(everything, client):
    answers = [client.get(address) for address in [*everything, "/nowhere", "/static/css/base.css"]]

    for answer in answers:
        policy = dict(
            part.strip().partition(" ")[::2]
            for part in answer.headers["Content-Security-Policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == "'self'"
        assert policy["base-uri"] == policy["frame-ancestors"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Referrer-Policy"] == "same-origin"
        assert answer.headers["X-Frame-Options"] == "DENY"
        answer.close()


def test_what_a_page_refers_to_is_there(everything, page, client):
    found = [page(address) for address in everything]
    addresses = {
        attrs[name] or ""
        for one in found
        for tag, attrs in one.elements
        for name in ("href", "src")
        if name in attrs and tag in ("link", "script") and attrs[name][0] != "#"
    }

    statuses = {}
    for address in addresses:
        with client.get(address) as answer:
            statuses[address] = answer.status_code

    assert len(statuses) >= 6
    assert set(statuses.values()) == {200}


@pytest.mark.parametrize("count", [40])
def test_no_page_asks_the_database_row_by_row(count, client, talk, attach):
    small = talk("+16175550130", messages=1)
    large = talk("+16175550131", messages=count)
    called("+16175550131", "Rosa")
    for message in [*small.messages, *large.messages]:
        attach(message, **stored())
        attach(message, state=State.NEEDS_ATTENTION, problem="Gone.")
    addresses = {one: f"/conversations/{one.id}" for one in (small, large)}

    with counted() as few:
        client.get(addresses[small])
    with counted() as many:
        client.get(addresses[large])
    with counted() as inbox:
        client.get("/")
    for number in range(20):
        talk(f"+161755501{number + 40}")
    with counted() as full_inbox:
        client.get("/")
    with counted() as status:
        client.get("/status")

    assert len(few) == len(many) <= 13
    assert len(inbox) == len(full_inbox) <= 13
    assert len(status) <= 24


# --- Who asks ------------------------------------------------------------------------------


def test_an_unknown_host_name_is_refused(settings, request):
    settings["TRUSTED_HOSTS"] = "viewer.example,localhost"
    client = request.getfixturevalue("anonymous")

    answers = {
        host: client.get("/login", headers={"Host": host, "Accept": "text/html"}).status_code
        for host in ("viewer.example", "localhost", "evil.example", "viewer.example.evil")
    }

    assert answers == {
        "viewer.example": 200, "localhost": 200, "evil.example": 400, "viewer.example.evil": 400,
    }  # fmt: skip


@pytest.mark.parametrize("hops", [0, 1])
def test_no_proxys_word_decides_where_the_provider_is_to_deliver(hops, settings, request):
    settings["PROXY_HOPS"] = hops
    client = request.getfixturevalue("client")
    headers = {"X-Forwarded-Host": "viewer.example", "X-Forwarded-Proto": "https"}

    text = client.get("/", headers=headers).text

    assert "/webhooks/quo" in text
    assert "viewer.example" not in text


@pytest.mark.parametrize(
    ("method", "address", "code", "words"),
    [
        ("GET", "/nowhere", 404, "There is no such page."),
        ("GET", "/api/v1/nowhere", 404, "There is no such page."),
        ("DELETE", "/photos", 405, "This address cannot be used like that."),
        ("GET", f"/conversations/{uuid.UUID(int=1)}", 404, "There is no such conversation."),
    ],
)
def test_an_error_is_said_in_words_of_ours(client, method, address, code, words):
    answer = client.open(address, method=method, headers={"Accept": "text/html"})

    assert answer.status_code == code
    assert words in answer.text


def test_a_failure_of_ours_says_so_and_shows_nothing_of_the_inside(client, app, monkeypatch):
    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setitem(app.view_functions, "accounts.audit_log.index", lambda: {}["inside"])

    answer = client.get("/trail", headers={"Accept": "text/html"})

    assert answer.status_code == 500
    assert "Something went wrong on our side, and was noted." in answer.text
    assert "inside" not in answer.text
