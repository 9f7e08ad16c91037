"""The search: what people type, and what they are shown."""

import re
import uuid
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import pytest

from tests.conftest import BOTH
from tests.support.conversations import called
from tests.support.pages import NASTY, Page, counted
from viewer.extensions import db
from viewer.models import Checkpoint, Conversation, Message
from viewer.search import indexing
from viewer.web import search

NOW = datetime(2026, 9, 21, 16, 0, tzinfo=UTC)


@pytest.fixture
def said(app):
    """Somebody said this: a conversation of one message."""

    def say(body: str | None = None, number: str = "+16175550123", days: float = 0, **words):
        message = Message(
            provider_id=f"ACsaid-{uuid.uuid4()}", kind=words.pop("kind", Message.Kind.TEXT),
            direction=Message.Direction.INCOMING, sender=number.partition(",")[0] or None,
            body=body, sent_at=NOW - timedelta(days=days), **words,
        )  # fmt: skip
        conversation = Conversation(participants=number, latest_at=message.sent_at)
        conversation.messages.append(message)
        db.session.add(conversation)
        db.session.flush()
        indexing.index_messages([message])
        indexing.index_conversations([conversation])
        Checkpoint.write(indexing.MARK, indexing.VERSION)
        db.session.commit()
        return message

    return say


def ask(page, words: str, **more) -> Page:
    rest = "".join(f"&{name}={value}" for name, value in more.items())
    return page(f"/search?q={quote(words)}{rest}")


def messages(found: Page) -> list[uuid.UUID]:
    return [uuid.UUID(link.rpartition("/")[2]) for link in found.links("/messages/")]


def people(found: Page) -> list[uuid.UUID]:
    return [uuid.UUID(link.rpartition("/")[2]) for link in found.links("/conversations/")]


def marked(found: Page) -> list[str]:
    return re.findall("<mark>([^<]*)</mark>", found.html)


@BOTH
def test_several_words_are_all_wanted_and_the_last_may_be_a_beginning(page, said):
    both = said("A crack in the foundation wall")
    one = said("A crack in the ceiling", "+16175550124", days=1)

    wanted = {
        "crack": [both, one],
        "crack foundation": [both],
        "FOUNDATION crack": [both],
        "foundation cra": [both],
        "found crack": [],  # only the last one may be a beginning
        "crack f": [],  # and not of one letter
        "wall foundation": [both],
        "“foundation wall”": [both],
        '"wall foundation"': [],
        '"foundation wa"': [],
        '"foundation wall" cra': [both],
        "crack, crack; CRACK": [both, one],
    }
    answers = {words: messages(ask(page, words)) for words in wanted}

    assert answers == {words: [m.id for m in found] for words, found in wanted.items()}


@BOTH
def test_case_accents_and_apostrophes_make_no_difference(page, said):
    rosa = said("Rosa’s Café at the école, don't park on Øster Straße")

    for words in ("rosa", "cafe", "CAFÉ", "ecole", "École", "dont", "don’t", "oster strasse"):
        found = ask(page, words)
        assert messages(found) == [rosa.id], words
        assert marked(found), words
    assert marked(ask(page, "ecole cafe")) == ["Café", "école"]


@pytest.mark.parametrize(
    "typed",
    ["(617) 555-0123", "617.555.0123", "617 555 0123", "+1 617 555 0123", "16175550123",
     "6175550123", "5550123", "555-0123", "555 0123", "0123", "617 555", "(617) 555-01", "617"],
)  # fmt: skip
@BOTH
def test_a_number_is_found_in_any_notation(page, said, typed):
    row = said("hello").conversation_id
    said("hello", "+17815559999")

    found = ask(page, typed)

    assert people(found) == [row]
    assert marked(found)


@BOTH
def test_numbers_in_messages_and_of_other_countries_are_found(page, said):
    call = said("call me at 781.555.0177 or so", "")
    london = said("hello", "+442079460958").conversation_id

    for typed in ("(781) 555-0177", "7815550177", "555-0177", "0177"):
        found = ask(page, typed)
        assert messages(found) == [call.id]
        assert marked(found) == ["781.555.0177"]
    for typed in ("+44 20 7946 0958", "020 7946 0958", "011 44 20 7946 0958", "0958"):
        assert people(ask(page, typed)) == [london], typed


@BOTH
def test_people_come_first_by_name_and_company(page, said):
    early = said("Lindqvist asked for a quote", "+16175550120", days=2)
    late = said("It was Lindqvist's wall", "+16175550121", days=1)
    rosa = said("hi", "+16175550122")
    group = said("hi all", "+16175550122,+16175550123", days=3)
    called("+16175550122", "Rosa", "Lindqvist", company="Harbor Homes")
    indexing.index_people(["+16175550122"])
    db.session.commit()

    by_name, by_company = ask(page, "lindqvist"), ask(page, "harbor hom")

    assert people(by_name) == [rosa.conversation_id, group.conversation_id]
    assert messages(by_name) == [late.id, early.id]
    assert by_name.html.index(">People</h2>") < by_name.html.index(">Messages</h2>")
    assert people(by_company) == people(by_name)
    assert marked(by_company) == ["Harbor", "Homes"] * 2


@BOTH
def test_voicemails_transcripts_and_summaries_are_found_and_said_to_be_such(page, said):
    call = {"kind": Message.Kind.CALL, "completed_at": NOW}
    voice = said(voicemail_transcript="The bulkhead is leaking", **call)
    spoken = said(
        transcript=[{"text": "Hello", "start": 0}, {"text": "my bulkhead leaks", "start": 2}],
        number="+16175550124", days=1, **call,
    )  # fmt: skip
    told = said(summary=["Bulkhead to be sealed"], number="+16175550125", days=2, **call)

    found = ask(page, "bulkhead")

    assert messages(found) == [voice.id, spoken.id, told.id]
    assert "Voicemail The bulkhead is leaking" in found.text
    assert "Transcript Hello my bulkhead leaks" in found.text
    assert "Summary Bulkhead to be sealed" in found.text


def test_a_hit_in_a_long_text_is_shown_among_its_neighbours(page, said):
    long = said("before " * 200 + "the needle itself " + "after " * 200)

    found = ask(page, "needle")

    assert messages(found) == [long.id]
    assert "… " in found.text
    assert "before the needle itself after" in found.text
    assert found.text.count("before") + found.text.count("after") < 50


@BOTH
def test_hits_page_without_gap_or_repeat(page, said, monkeypatch):
    monkeypatch.setattr(search, "HITS_PAGE", 3)
    monkeypatch.setattr(search, "PEOPLE_SHOWN", 2)
    rows = [said(f"needle {n}", f"+1617555{n:04}", days=n // 3) for n in range(8)]
    expected = sorted(rows, key=lambda row: (row.sent_at, row.id.int % 1000), reverse=True)

    def walk(address: str, read) -> list[uuid.UUID]:
        seen = []
        while address:
            found = page(address)
            seen += read(found)
            address = next(iter(found.links("before=")), "")
        return seen

    hits = walk("/search?q=needle", messages)
    first = page("/search?q=617")
    everybody = walk(first.links("show=people")[0], people)

    assert sorted(hits) == sorted(row.id for row in rows)
    assert [db.session.get(Message, one).sent_at for one in hits] == [m.sent_at for m in expected]
    assert len(people(first)) == 2
    assert sorted(everybody) == sorted(row.conversation_id for row in rows)


@BOTH
def test_messages_can_be_narrowed_to_days(page, said):
    rows = [said(f"needle {n}", f"+1617555{n:04}", days=n) for n in range(4)]

    found = ask(page, "needle", since="2026-09-19", until="2026-09-20")

    assert messages(found) == [rows[1].id, rows[2].id]
    assert people(found) == []
    assert "Messages September 19, 2026 to September 20, 2026" in found.text
    assert "Search all dates" in ask(page, "gargoyle", since="2026-09-19").text
    assert "is no date" in ask(page, "needle", since="soon").text
    assert len(messages(ask(page, "needle", since="0001-01-01", until="9998-01-01"))) == 4


HOSTILE = [
    *NASTY, "", " ", '"', '""', "“”", "'", "''", "*", "a*", "needle*", "^needle", "needle AND",
    "AND", "OR NOT NEAR", "NEAR(needle wall, 2)", "words : needle", "-needle", "(", "((needle",
    "needle & | ! <-> :*", "' OR 1=1 --", "\\", "\\'", "%", "_", "%needle_", "\x00",
    "\ufffe", "٠١٢", "½", "²", "e\u0301", "\u0301", "🏚️ 🧱", "裂缝", "a" * 10_000, "needle " * 2_000,
    "1" * 10_000, "(" * 10_000, '"' * 10_001, "{{7*7}}", "@26", "'@26'", "1e5", "1e5x", "0x1f",
]  # fmt: skip


@pytest.mark.proof
@BOTH
def test_nothing_that_is_typed_is_an_error(client, said):
    said("needle wall")

    for typed in HOSTILE:
        for rest in ({}, {"show": "people"}, {"since": "2026-01-01"}):
            answer = client.get("/search", query_string={"q": typed, **rest})
            assert answer.status_code == 200, typed
            found = Page(answer.text)
            assert [s for s in found.all("script") if "src" not in s] == []
            assert not any(name.startswith("on") for _, attrs in found.elements for name in attrs)
    assert len(messages(Page(client.get("/search?q=needle%00wall").text))) == 1
    assert client.get("/search?show=x").status_code == 404
    for place in ("x", "-1", "1.5", "1" * 40, "٣"):
        assert client.get(f"/search?q=needle&before={place}").status_code == 400


def test_words_of_strangers_are_marked_and_shown_as_words(page, said):
    said("<b>crack</b> & <script>alert('crack')</script>")

    found = ask(page, "crack")

    assert marked(found) == ["crack", "crack"]
    assert "<b>crack</b> & <script>alert('crack')</script>" in "".join(found.words)
    assert found.all("b") == []


def test_a_search_that_finds_nothing_says_what_to_try(page, said):
    said("hello")

    assert "Nothing was found for “gargoyle”." in ask(page, "gargoyle").text
    assert "What are you looking for?" in page("/search").text
    assert "Type a letter or a digit at least." in ask(page, "?!").text
    assert page("/search?q=gargoyle").all("input", name="q")[0]["value"] == "gargoyle"


def test_it_says_when_older_messages_are_still_to_be_read(page, said):
    said("hello")
    done = ask(page, "hello").text
    indexing.start_over()
    db.session.commit()

    assert "still being read" in ask(page, "hello").text
    assert "still being read" not in done


def test_a_search_asks_the_database_no_more_for_more_hits(client, said):
    said("needle")
    with counted() as few:
        client.get("/search?q=needle")
    for number in range(25):
        said("needle", f"+1617556{number:04}")
    with counted() as many:
        client.get("/search?q=needle")

    assert len(few) == len(many) <= 14


def test_strangers_find_nothing(anonymous):
    assert anonymous.get("/search?q=needle").status_code == 401


def test_a_page_of_long_texts_reads_a_bounded_part_of_them(said, page, monkeypatch):
    for nth in range(search.HITS_PAGE):
        said("617.555. some words " * 2_500, number=f"+1617555{nth:04}")
    read, real = [], {name: getattr(search.query, name) for name in ("words_of", "numbers_in")}
    for name, find in real.items():
        counting = lambda text, find=find: read.append(len(text)) or find(text)  # noqa: E731
        monkeypatch.setattr(search.query, name, counting)

    found = ask(page, "some words")

    assert len(messages(found)) == search.HITS_PAGE
    assert marked(found)
    once = search.SCANNED_PAGE + search.query.READ
    assert sum(read) <= 2 * once + 100_000  # its words and its numbers, and the people's names


def test_several_words_and_beginnings_are_found_in_one_pass():
    terms = search.query.read_terms('"side by side" crack 5550123 base')

    found = search.query.hits("Side by side: a crack, basements. 617-555-0123 crack", terms)

    assert [which for *_, which in found] == [0, 1, 3, 2, 1]
