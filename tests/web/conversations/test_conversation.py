"""A conversation's page: what can be tapped, who wrote, what is new, and the way to any message."""

import re
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote

import brotli
import pytest
import time_machine

from tests.conftest import BOTH
from tests.support.conversations import called, stored
from tests.support.factories import NOW
from tests.support.pages import NASTY, counted
from viewer.extensions import db
from viewer.models import MediaAttachment, Message, Unread
from viewer.office import accounts
from viewer.web import linkify
from viewer.web.conversations import pages
from viewer.web.linkify import tappable

THEM, OTHER = "+16175550123", "+16175550145"


def articles(found):
    return [uuid.UUID(a["id"].removeprefix("message-")) for a in found.all("article")]


# --- What can be tapped --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "href", "shown"),
    [
        ("See https://crack.example/a?b=1&c=2.", "https://crack.example/a?b=1&c=2", None),
        ("(http://crack.example/a_(b))", "http://crack.example/a_(b)", None),
        ("on www.crack.com/quote, please", "https://www.crack.com/quote", "www.crack.com/quote"),
        ("write to rosa@crack.example!", "mailto:rosa@crack.example", "rosa@crack.example"),
        ("Call 617-555-0123.", "tel:+1-617-555-0123", "617-555-0123"),
        ("(617) 555-0124 x5", "tel:+1-617-555-0124;ext=5", "(617) 555-0124 x5"),
        ("home is +44 20 7946 0958", "tel:+44-20-7946-0958", "+44 20 7946 0958"),
    ],
)
def test_addresses_and_numbers_become_links(words, href, shown, page, talk):
    row = talk(body=words)

    found = page(f"/conversations/{row.id}")

    [link] = [a for a in found.all("a") if a["href"] == href]
    assert "".join(words.split()) in "".join(found.text.split())
    assert (shown or href) in found.text
    if href.startswith("http"):
        assert link["rel"] == "noopener noreferrer nofollow"
        assert link["target"] == "_blank"


@pytest.mark.parametrize(
    "words",
    [
        *NASTY,
        "javascript:alert(1)",
        "data:text/html,<script>alert(1)</script>",
        "http:///nothing http://[::1 https://",
        "https://bank.example@elsewhere.example/",
        "report.pdf, 10x12x8, $12,500.00, 2026-09-21 14:13, 02139",
        "one.two@ @three four@five",
        "ftp://crack.com/file",
    ],
)
def test_nothing_else_becomes_a_link(words):
    assert "<a" not in tappable(words)
    assert "<script" not in tappable(words)


def test_no_words_break_out_of_a_link():
    made = tappable('https://crack.example/"onmouseover="alert(1) https://crack.example/<b>')

    assert 'onmouseover="' not in made.replace("&#34;", "")
    assert made.count("<") == made.count("<a ") + made.count("</a>")


@pytest.mark.parametrize(
    "unit",
    [
        "a",
        "a.",
        "a@",
        "http://",
        "www.",
        "1",
        "1-",
        "617-555-0123 ",
        "https://a)",
        "(",
        "http://(",
        "1/2 ",
        "617.555.",
    ],
)
def test_long_nonsense_is_read_in_no_time(unit):
    begin = time.process_time()
    tappable(unit * (100_000 // len(unit)))

    assert time.process_time() - begin < 2


@pytest.fixture
def searched(monkeypatch):
    """What the library was given to find phone numbers in."""
    given, real = [], linkify.phonenumbers.PhoneNumberMatcher

    def matcher(words, *rest):
        given.append(words)
        return real(words, *rest)

    monkeypatch.setattr(linkify.phonenumbers, "PhoneNumberMatcher", matcher)
    linkify._search.cache_clear()
    return given


def almost_numbers(nth: int) -> str:
    """A thousand characters of nearly a number, other ones in each text."""
    return "".join(f"{nth:03} {place:03}/" for place in range(150))


def test_a_page_of_almost_numbers_searches_a_bounded_part_of_them(page, talk, searched):
    row = talk(messages=50)
    for nth, message in enumerate(row.messages):
        message.body = "\n".join([almost_numbers(100 + nth)] * 5)
    db.session.commit()

    page(f"/conversations/{row.id}")

    assert sum(map(len, searched)) <= linkify.SEARCHED


def test_what_was_searched_is_not_searched_at_the_next_look(page, talk, searched):
    row = talk(messages=20)
    for nth, message in enumerate(row.messages):
        message.body = f"{nth} words, then call 617-555-01{nth:02} or {100 + nth} 200 300 and write"
    db.session.commit()

    looks = [page(f"/conversations/{row.id}") for _ in range(2)]

    assert len(searched) == len(set(searched)) > 0
    for found in looks:
        assert sum(a["href"].startswith("tel:+1-617-555-01") for a in found.all("a")) == 20


def test_numbers_beyond_the_bound_are_linked_by_a_later_look(page, talk, searched, monkeypatch):
    monkeypatch.setattr(linkify, "SEARCHED", 60)
    row = talk(messages=5)
    for nth, message in enumerate(row.messages):
        message.body = f"call 617-555-012{nth} please"
    db.session.commit()

    looks = [page(f"/conversations/{row.id}") for _ in range(4)]

    links = [sum(a["href"].startswith("tel:+1-") for a in found.all("a")) for found in looks]
    assert links[0] < 5
    assert links[-1] == 5


def test_a_page_makes_so_many_links_and_no_more(page, talk, monkeypatch):
    monkeypatch.setattr(linkify, "LINKED", 10)
    row = talk(body="https://crack.example/a and 617-555-0123 " * 20, messages=2)

    found = page(f"/conversations/{row.id}")

    assert sum(a["href"].startswith(("https:", "tel:+1-")) for a in found.all("a")) == 10
    assert found.text.count("617-555-0123") >= 40


@pytest.mark.parametrize("words", ["617-555\n0123", "a" * 30 + "617" + "b" * 13 + "555012"])
def test_digits_far_apart_are_no_number(words, searched):
    assert "<a" not in tappable(words)
    assert searched == []


# --- Who wrote -----------------------------------------------------------------------------


def test_what_one_person_writes_within_minutes_is_one_run(page, talk):
    row = talk(f"{THEM},{OTHER}", messages=5, apart=timedelta(minutes=1))
    called(THEM, "Rosa")
    for message, sender in zip(row.messages, [THEM, THEM, OTHER, THEM, THEM], strict=True):
        message.sender = sender
    row.messages[4].sent_at += timedelta(hours=1)
    db.session.commit()

    found = page(f"/conversations/{row.id}")

    follows = ["message--follows" in a["class"] for a in found.all("article")]
    assert follows == [False, True, False, False, False]
    assert len(found.all("p", class_="message__sender")) == 4
    assert found.text.count("R Rosa Text") == 3  # her letter, her name
    assert "# (617) 555-0145 Text 2" in found.text


def test_with_one_other_person_no_name_stands_at_every_message(page, talk):
    row = talk(messages=2)
    called(THEM, "Rosa")

    found = page(f"/conversations/{row.id}")

    assert found.all("p", class_="message__sender") == []
    assert found.all("h1")[0]["class"] == "bar__title"
    assert found.links("tel:") == [f"tel:{THEM}"]


def test_every_number_of_a_group_can_be_called(page, talk):
    row = talk(f"{THEM},{OTHER}")
    called(THEM, "Rosa")

    found = page(f"/conversations/{row.id}")

    assert "Group of 2" in found.text
    assert found.links("tel:") == [f"tel:{THEM}", f"tel:{OTHER}"]


@pytest.mark.parametrize(
    ("number", "words"),
    [("", "Unknown caller No number was given"), ("anonymous", "Anonymous caller"), ("72273", "")],
)
def test_who_has_no_number_to_call_gets_no_link(number, words, page, talk):
    found = page(f"/conversations/{talk(number).id}")

    assert words in found.text
    assert found.links("tel:") == []


def test_a_message_without_anything_says_so(page, talk):
    row = talk()
    row.messages[0].body = None
    db.session.commit()

    assert "Empty message" in page(f"/conversations/{row.id}").text


@pytest.mark.parametrize(
    ("status", "code", "words"),
    [
        ("queued", None, "Sending…"),
        ("sent", None, "Sent"),
        ("delivered", None, "Delivered"),
        ("read", None, "Read"),
        ("undelivered", "30006", "Not delivered (error 30006)"),
        ("failed", None, "Not sent"),
    ],
)
def test_what_we_sent_tells_how_far_it_came(status, code, words, page, talk):
    row = talk()
    message = row.messages[0]
    message.direction, message.status = Message.Direction.OUTGOING, status
    message.error_code = code
    db.session.commit()

    found = page(f"/conversations/{row.id}")

    assert f"PM {words}" in found.text


def test_only_who_may_is_offered_to_try_again(log_in, talk, attach):
    message = talk().messages[0]
    attach(message, state=MediaAttachment.State.NEEDS_ATTENTION, problem="Gone.")
    address = f"/conversations/{message.conversation_id}"

    offers = {
        role: "Try again" in log_in(role).get(address).text for role in ("field", "office", "owner")
    }

    assert offers == {"field": False, "office": True, "owner": True}


# --- What is new ---------------------------------------------------------------------------


def test_what_is_new_to_somebody_has_a_line_above_it_once(page, talk, client):
    row = talk(messages=4)
    db.session.add(
        Unread(
            user_id=accounts.find_user("owner@crack.example").id,
            conversation_id=row.id,
            since=row.messages[2].sent_at,
        )
    )
    db.session.commit()

    first, second = (page(f"/conversations/{row.id}") for _ in range(2))

    assert "Text 1 11:58 AM New Text 2" in first.text
    assert len(first.all("p", id="new")) == 1
    assert second.all("p", id="new") == []


# --- The way to any message ----------------------------------------------------------------


@BOTH
def test_a_permalink_leads_to_the_page_where_the_message_stands(client, page, talk, monkeypatch):
    monkeypatch.setattr(pages, "MESSAGES_PAGE", 6)
    row = talk(messages=30, apart=timedelta(0))  # all at one moment
    ids = sorted(message.id for message in row.messages)

    for place, message_id in enumerate(ids):
        answer = client.get(f"/messages/{message_id}")
        address, _, anchor = answer.headers["Location"].partition("#")
        shown = articles(page(address))

        assert answer.status_code == 302
        assert anchor == f"message-{message_id}"
        assert message_id in shown
        assert shown == ids[ids.index(shown[0]) :][: len(shown)]
        assert ("around=" in address) is (place < 24)


def test_a_permalink_to_nothing_is_404(client):
    assert client.get(f"/messages/{uuid.uuid4()}").status_code == 404


def test_every_time_on_the_page_is_a_permalink(page, talk):
    row = talk(messages=3)

    found = page(f"/conversations/{row.id}")

    assert found.links("/messages/") == [f"/messages/{m.id}" for m in row.messages]


@BOTH
def test_from_the_middle_one_pages_both_ways_without_gap_or_repeat(client, page, talk, monkeypatch):
    monkeypatch.setattr(pages, "MESSAGES_PAGE", 6)
    row = talk(messages=31, apart=timedelta(0))
    ids = sorted(message.id for message in row.messages)
    middle = client.get(f"/messages/{ids[14]}").headers["Location"].partition("#")[0]

    seen = articles(page(middle))
    for word in ("before=", "after="):
        address = middle
        while more := page(address).links(word):
            address = unquote(more[0])
            found = articles(page(address))
            seen = found + seen if word == "before=" else seen + found

    assert seen == ids


@BOTH
def test_a_day_is_jumped_to(client, page, talk, monkeypatch):
    monkeypatch.setattr(pages, "MESSAGES_PAGE", 3)
    # Half past eleven in the evening, and half past midnight, of New York.
    row = talk(at=datetime(2026, 9, 21, 4, 30, tzinfo=UTC), messages=5, apart=timedelta(hours=1))

    def jump(day):
        answer = client.get(f"/conversations/{row.id}?on={day}")
        assert answer.status_code == 302
        return page(answer.headers["Location"])

    with time_machine.travel(NOW, tick=False):
        exact, between, before, beyond = (
            jump(day) for day in ("2026-09-21", "2026-09-20", "2020-01-01", "2030-01-01")
        )

    assert articles(exact) == [row.messages[4].id]
    assert articles(between) == [message.id for message in row.messages[:3]]
    assert articles(before) == articles(between)
    assert exact.links("before=")
    assert not before.links("before=")
    assert articles(beyond) == [message.id for message in row.messages[2:]]


@pytest.mark.parametrize("day", ["x", "2026-13-01", "0001-01-01", "9999-12-31", "21.9.2026"])
def test_a_day_that_cannot_be_is_no_crash(day, client, talk):
    answer = client.get(f"/conversations/{talk().id}?on={day}")

    assert answer.status_code in (302, 400)
    if answer.status_code == 302:
        assert client.get(answer.headers["Location"]).status_code == 200


def test_a_place_that_cannot_be_is_no_crash(client, talk):
    row = talk()

    answers = {
        client.get(f"/conversations/{row.id}?{way}={place}").status_code
        for way in ("before", "after", "around")
        for place in ("x", "nan_0", f"1e99_{row.id}", "_")
    }

    assert answers == {400}


@BOTH
def test_no_way_to_a_message_asks_the_database_row_by_row(client, talk, attach, monkeypatch):
    monkeypatch.setattr(pages, "MESSAGES_PAGE", 8)
    row = talk(messages=24)
    for message in row.messages:
        attach(message, **stored())
    middle = row.messages[12].id
    address = client.get(f"/messages/{middle}").headers["Location"].partition("#")[0]
    newest = f"/conversations/{row.id}"
    client.get(newest)

    with counted() as few:
        client.get(newest)
    with counted() as around:
        client.get(address)
    with counted() as permalink:
        client.get(f"/messages/{middle}")

    assert len(around) <= len(few) + 3  # both halves have files
    assert len(permalink) <= 4


# --- On the way ----------------------------------------------------------------------------


def test_words_travel_compressed_and_pictures_as_they_are(client, talk):
    row = talk(messages=20)
    sheet = next(
        address
        for address in client.get("/").text.split('"')
        if address.startswith("/static/") and address.endswith(".css")
    )
    module = sheet.replace(sheet[sheet.index("/sheets/") :], "/js/live.js")

    for address in (f"/conversations/{row.id}", sheet, module):
        for coding in ("br", "gzip"):
            with client.get(address, headers={"Accept-Encoding": coding}) as answer:
                assert answer.headers["Content-Encoding"] == coding, address
                assert "Accept-Encoding" in answer.headers["Vary"]
                size, etag = len(answer.data), answer.headers.get("ETag")
            with client.get(address) as plain:
                assert "Content-Encoding" not in plain.headers
                assert size < len(plain.data) / 2
            if etag:
                again = {"Accept-Encoding": coding, "If-None-Match": etag}
                with client.get(address, headers=again) as kept:
                    assert kept.status_code == 304
                    assert kept.headers["ETag"] == etag
                if not etag.startswith("W/"):  # a strong one is of these bytes, and of no others
                    assert plain.headers["ETag"] != etag


def test_scripts_travel_without_their_comments(client, talk):
    page = client.get(f"/conversations/{talk(messages=1).id}").text
    folder = re.search(r"/static/\w+/", page)[0]

    static = Path(client.application.static_folder)
    scripts = sorted(static.rglob("*.js"))  # also what others wrote
    assert len(scripts) > 20
    for script in scripts:
        address, code = f"{folder}{script.relative_to(static)}", ""
        for line in script.read_text().splitlines(keepends=True):
            if not line.lstrip().startswith("//"):
                code += line
            else:
                assert code.count("`") % 2 == 0, f"{script.name}: {line} is in a template"
        with client.get(address, headers={"Accept-Encoding": "br"}) as compressed:
            assert brotli.decompress(compressed.data).decode() == code
        with client.get(address) as plain:
            assert plain.text == script.read_text()


def test_sheets_that_are_not_there_are_404(client):
    base = next(a for a in client.get("/").text.split('"') if "/sheets/" in a)
    folder = base[: base.index("/sheets/") + len("/sheets/")]

    answers = {
        client.get(f"{folder}{names}.css").status_code
        for names in ("nothing", "base.nothing", "..%2f..%2fbase", "base.%2e%2e", "__init__")
    }

    assert answers == {404}
