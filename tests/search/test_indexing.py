"""The search's entries: every word that comes in is kept, whatever happens to it afterwards."""

import random
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from tests.conftest import BOTH
from tests.payloads import load
from viewer import commands, schedule
from viewer.extensions import db
from viewer.models import Checkpoint, Conversation, MediaAttachment, Message, SearchEntry, Term
from viewer.search import indexing
from viewer.search.tokens import digits_of, numbers_in, words_of

AT = datetime(2026, 9, 21, 14, 13, 19, tzinfo=UTC)
EVERYTHING = {"first": 0, "below": 1 << 62, "limit": 100}


def found(*words: str, **limits: int) -> list[SearchEntry]:
    """The entries with all of these words, in the order in which they are given."""
    terms = [Term(tuple(one.folded for one in words_of(word))) for word in words]
    ids = SearchEntry.matching(terms, **{**EVERYTHING, **limits})
    return [db.session.get_one(SearchEntry, one) for one in ids]


@pytest.fixture
def card(deliver, work):
    """An entry of the address book, as it is told at some moment."""

    def tell(minute: int = 0, number: str = "+16175550123", **words) -> None:
        payload = load("d3_contact_updated")
        payload["id"] = f"EVcard-{minute}-{sorted(words.items())}"
        payload["createdAt"] = f"2026-09-21T15:{minute:02}:00.000Z"
        payload["data"]["resource"] |= {
            "updatedAt": payload["createdAt"],
            "firstName": None, "lastName": None, "company": None,
            "phoneNumbers": [{"value": number, "type": "phone-number"}],
            **words,
        }  # fmt: skip
        assert deliver(payload).status_code == 204
        work()

    return tell


@BOTH
def test_a_text_is_found_by_its_words_as_soon_as_it_is_in(deliver, work, message):
    deliver(message(text="Água in the Foundation—Rosa’s wall, 617.555.0188").payload())
    work()

    for words in (["agua"], ["FOUNDATION", "wall"], ["rosa"], ["617 555"], ["5550188"], ["0188"]):
        assert [e.message.body[:4] for e in found(*words) if e.message] == ["Água"], words
    assert found("wall foundation") == []  # a phrase the other way round
    assert found("founda") == []


@BOTH
def test_voicemail_transcript_and_summary_are_found(deliver, work, message):
    for name in ("d3_call_voicemail", "d3_call_transcript", "d3_call_summary"):
        deliver(load(name))
    work()
    calls = db.session.scalars(sa.select(Message).filter_by(kind=Message.Kind.CALL)).all()

    kinds = set()
    for call in calls:
        for kind, words in indexing.spoken_parts(call):
            kinds.add(kind)
            assert call.id in {entry.message_id for entry in found(*words.split()[:8])}
    assert kinds >= {"Voicemail", "Summary", "Transcript"} & kinds
    assert kinds


@BOTH
def test_people_are_found_by_every_name_and_number_and_first(deliver, work, message, card):
    deliver(message(text="Lindqvist was here").payload())
    work()
    card(firstName="Rosa", lastName="Lindqvist", company="Harbor Homes")
    row = db.session.scalars(sa.select(Conversation)).one()

    for words in (["rosa"], ["harbor"], ["16175550123"], ["6175550123"], ["5550123"], ["0123"],
                  ["(617) 555-0123"]):  # fmt: skip
        assert [entry.conversation_id for entry in found(*words)] == [row.id], words
    assert [entry.conversation_id for entry in found("lindqvist")] == [row.id, None]


@BOTH
def test_a_new_name_replaces_the_old_one_also_in_groups(deliver, work, message, card):
    deliver(message().payload())
    group = load("d3_message_group_photos")
    deliver(group)
    work()
    row = next(row for row in db.session.scalars(sa.select(Conversation)) if len(row.numbers) > 1)
    card(1, row.numbers[1], firstName="Rosa")

    before = [entry.conversation_id for entry in found("rosa")]
    card(2, row.numbers[1], firstName="Maria")
    card(3, row.numbers[1], firstName="Maria")

    assert before == [row.id]
    assert found("rosa") == []
    assert [entry.conversation_id for entry in found("maria")] == [row.id]


@BOTH
def test_a_corrected_text_is_found_by_its_new_words_alone(deliver, work, message):
    first = message(text="Crack").payload()
    deliver(first)
    later = {**first, "id": "EVlater", "createdAt": "2026-09-21T18:00:00.000Z"}
    later["data"] = {**first["data"]}
    later["data"]["resource"] = {**first["data"]["resource"], "text": "Gap"}
    deliver(later)
    work()

    assert found("crack") == []
    assert len(found("gap")) == 1


@pytest.mark.proof
@BOTH
def test_the_newest_are_first_however_they_arrive(deliver, work, message):
    sent = [AT + timedelta(minutes=minute // 2) for minute in range(12)]  # two at each moment
    order = list(range(12))
    random.Random(4).shuffle(order)
    for place in order:
        deliver(message(text=f"needle {place}", sent_at=sent[place]).payload())
    work()

    times = [entry.message.sent_at for entry in found("needle")]
    pages, below = [], 1 << 62
    while page := found("needle", limit=5, below=below):
        pages += page
        below = page[-1].id

    assert times == sorted(sent, reverse=True)
    assert [entry.message.sent_at for entry in pages] == times
    assert len({entry.id for entry in pages}) == 12


@BOTH
def test_hits_are_found_through_all_the_years(app):
    """PostgreSQL is asked for days, then weeks, then all: nothing may fall between."""
    row = Conversation(participants="+16175550123", latest_at=AT)
    ages = [0, 1, 2, 4, 8, 20, 26, 50, 120, 204, 210, 400, 2000, 4000]
    for age in ages:
        row.messages.append(
            Message(
                provider_id=f"ACage-{age}", kind=Message.Kind.TEXT, body=f"needle age{age}",
                direction=Message.Direction.INCOMING, sent_at=AT - timedelta(days=age),
            )
        )  # fmt: skip
    db.session.add(row)
    db.session.flush()
    indexing.index_messages(row.messages)
    db.session.commit()

    assert [entry.message.body for entry in found("needle")] == [f"needle age{a}" for a in ages]
    assert [entry.message.body for entry in found("needle", limit=3)] == [
        "needle age0", "needle age1", "needle age2",
    ]  # fmt: skip
    assert [entry.message.body for entry in found("age4000")] == ["needle age4000"]
    since, until = (SearchEntry.of_message(row.messages[i], "").id // 1000 * 1000 for i in (11, 4))
    assert [e.message.body for e in found("needle", first=since, below=until)] == [
        f"needle age{age}" for age in ages[5:12]
    ]


@BOTH
def test_what_was_there_before_is_read_by_the_scheduler_and_goes_on_where_it_was(app, monkeypatch):
    monkeypatch.setattr(indexing, "AT_ONCE", 3)
    monkeypatch.setattr(indexing, "PAUSE", 0)
    row = Conversation(participants="+16175550123", latest_at=AT)
    row.messages += [
        Message(
            provider_id=f"ACold-{number}", kind=Message.Kind.TEXT, body="old needle", sent_at=AT
        )
        for number in range(10)
    ]
    db.session.add(row)
    db.session.commit()
    marks = []

    def interrupted(rows: int) -> None:
        marks.append(Checkpoint.read(indexing.MARK))
        if len(marks) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        indexing.fill_index(interrupted)
    half = len(found("needle"))
    rest = indexing.fill_index()
    again = indexing.fill_index()

    assert half == 6
    assert not set(marks) & {indexing.VERSION}
    assert (rest, again) == (4, 0)
    assert len(found("needle")) == 10
    assert len(found("0123")) == 1
    assert indexing.is_complete()
    assert schedule._fill_search() == "0 older rows read"


@BOTH
def test_reindex_makes_every_entry_anew(deliver, work, message, settings, monkeypatch):
    deliver(message(text="needle").payload())
    work()
    indexing.fill_index()
    db.session.execute(sa.update(SearchEntry).values(words="nonsense"))
    db.session.commit()
    for name, value in settings.items():
        monkeypatch.setenv(name, str(int(value) if isinstance(value, bool) else value))

    result = CliRunner().invoke(commands.viewer, ["reindex"])

    assert result.exit_code == 0, result.output
    assert "2 conversations and messages can be found" in result.output
    db.session.rollback()
    assert len(found("needle")) == 1
    assert found("nonsense") == []


def test_a_caption_is_found_and_not_that_of_a_trashed_photo(deliver, work, message, provider):
    deliver(message(text="hi", media=["http://127.0.0.1:9/a", "http://127.0.0.1:9/b"]).payload())
    work()
    kept, trashed = db.session.scalars(sa.select(MediaAttachment)).all()
    kept.caption, trashed.caption = "hairline", "blurred"
    trashed.state = MediaAttachment.State.TRASHED

    indexing.index_messages([kept.message])
    db.session.commit()

    assert len(found("hairline")) == 1
    assert found("blurred") == []


@BOTH
def test_words_of_a_megabyte_and_of_no_language_are_kept(deliver, work, message):
    texts = [
        "a" * 3000,
        " ".join(f"w{n}" for n in range(60_000)),
        "\u0000 \ufffe ½ ² e\u0301",
        "—!?",
    ]
    for text in texts:
        assert deliver(message(text=text).payload()).status_code == 204
    work()

    assert db.session.scalar(sa.select(sa.func.count()).select_from(Message)) == 4
    assert len(found("w500")) == 1
    assert len(found("é")) == 1


# --- Words ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Água, ÉCOLE Straße", "agua ecole strasse"),
        ("e\u0301cole Łódź Søren", "ecole lodz soren"),
        ("Rosa's O’Brien don't it’s", "rosa obrien dont it"),
        ("e-mail x_y a/b", "e mail x y a b"),
        ("ＡＢＣ１２ ﬁne", "abc12 fine"),
        ("裂缝在墙", "裂 缝 在 墙"),
        ("--- \u200b !", ""),
        ("a" * 100, "a" * 60),
    ],
)
def test_words_are_folded(text, words):
    assert " ".join(word.folded for word in words_of(text)) == words


@pytest.mark.parametrize(
    "text",
    ["(617) 555-0123", "617.555.0123", "+1 617 555 0123", "1-617-555-0123", "6175550123",
     "６１７ ５５５ ０１２３", "617\u2011555\u20110123"],
)  # fmt: skip
def test_one_number_in_any_notation_is_one_number(text):
    assert [number.folded for number in numbers_in(f"call {text}, please")] == ["6175550123"]


def test_what_is_dialled_to_leave_a_country_or_town_makes_no_difference():
    written = ["+44 20 7946 0958", "011 44 20 7946 0958", "0044 20 7946 0958"]

    assert {digits_of(text) for text in written} == {"442079460958"}
    assert digits_of("020 7946 0958") == "2079460958"


def test_a_word_knows_where_it_stood():
    text = "At Rosa's: e\u0301cole!"

    assert [text[word.start : word.end] for word in words_of(text)] == [
        "At",
        "Rosa's",
        "e\u0301cole",
    ]


@BOTH
def test_entries_whose_id_is_taken_get_the_next_that_is_free(deliver, work, message, database):
    """An id is of a millisecond and a thousandth of the messages: two may want the same."""
    for _ in range(3):
        deliver(message().payload())
    work()
    messages = db.session.scalars(sa.select(Message)).all()
    db.session.execute(sa.delete(SearchEntry))

    for one in messages:
        entry = SearchEntry(id=7, message_id=one.id, at=one.sent_at, words="crack")
        indexing.write_entry(entry, is_new=True)

    entries = db.session.execute(sa.select(SearchEntry.id, SearchEntry.message_id)).all()
    assert {entry.id for entry in entries} == {7, 8, 9}
    assert {entry.message_id for entry in entries} == {one.id for one in messages}
