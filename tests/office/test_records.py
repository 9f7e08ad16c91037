"""What a record may say, what may become of it, and how the list finds it."""

import threading
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support.crowds import run_all
from tests.support.factories import NOW, customer, linked, photos, quote
from viewer.extensions import db, now
from viewer.models import AuditEntry, Conversation, Evidence, WorkEntry, WorkRecord
from viewer.office import evidence, filing, records, worklist
from viewer.search import indexing, query

Kind, Status = WorkRecord.Kind, WorkRecord.Status
WHEN = datetime(2026, 9, 22, 13, 0, tzinfo=UTC)


@pytest.fixture
def rosa(app):
    conversation = customer(name="Rosa Lindqvist")
    indexing.index_conversations([conversation])
    db.session.commit()
    return conversation


FINISHED = {"title": "North wall", "amount": 425_000}


def made(kind, conversation, **values):
    if kind is Kind.APPOINTMENT:
        values.setdefault("starts_at", WHEN)
    record = records.create(kind, conversation, values)
    db.session.commit()
    return record


def found(typed, **wanted):
    page = worklist.read_page(worklist.Wanted(show="all", terms=query.read_terms(typed), **wanted))
    return {record.number or record.visit for record in page.records}


# --- Numbers -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("taken", "following"),
    [
        ([], "Q-101"),
        (["Q-104"], "Q-105"),
        (["Q-104", "Q-099"], "Q-105"),
        (["Q-009"], "Q-010"),
        (["2026/17"], "2026/18"),
        (["Q-104", "SPECIAL"], "Q-105"),
        (["Q-99", "B7"], "B8"),
        (["8"], "9"),
    ],
)
def test_the_next_number_goes_on_from_the_last(rosa, taken, following):
    for number in taken:
        made(Kind.QUOTE, rosa, number=number)

    assert records.next_number(Kind.QUOTE) == following


def test_each_kind_counts_for_itself(rosa):
    made(Kind.QUOTE, rosa, number="Q-104")

    assert made(Kind.INVOICE, rosa).number == "INV-1001"
    assert made(Kind.INVOICE, rosa, number="Q-104").number == "Q-104"
    assert made(Kind.QUOTE, rosa).number == "Q-105"
    assert made(Kind.APPOINTMENT, rosa).number is None


def test_a_taken_number_is_refused_and_the_next_free_one_named(rosa):
    made(Kind.QUOTE, rosa, number="Q-104")

    with pytest.raises(records.Invalid) as refusal:
        made(Kind.QUOTE, rosa, number=" q-104 ")

    words = "Q-104 is taken by another quote. The next free number is Q-105."
    assert refusal.value.errors == {"number": words}


@BOTH
def test_quotes_made_at_one_moment_get_numbers_of_their_own(app, rosa):
    rosa_id, barrier, numbers = rosa.id, threading.Barrier(6), []
    db.session.commit()

    def make():
        with app.app_context():
            conversation = db.session.get_one(Conversation, rosa_id)
            db.session.rollback()
            barrier.wait()
            numbers.append(records.create(Kind.QUOTE, conversation, {}).number)
            db.session.commit()
            db.session.remove()

    threads = [threading.Thread(target=make) for _ in range(6)]
    run_all(threads)

    assert sorted(numbers) == [f"Q-{101 + n}" for n in range(6)]


@BOTH
def test_the_same_id_makes_one_record(rosa):
    first = made(Kind.APPOINTMENT, rosa, visit="Repair")

    again = records.create(Kind.APPOINTMENT, rosa, {"starts_at": WHEN}, record_id=first.id)

    assert again is first
    assert db.session.scalar(sa.select(sa.func.count()).select_from(WorkRecord)) == 1


# --- Values --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "values", "field"),
    [
        (Kind.QUOTE, {"title": "x" * 201}, "title"),
        (Kind.QUOTE, {"number": "9" * 41}, "number"),
        (Kind.QUOTE, {"amount": -1}, "amount"),
        (Kind.QUOTE, {"amount": True}, "amount"),
        (Kind.QUOTE, {"amount": 12.5}, "amount"),
        (Kind.QUOTE, {"amount": 2**70}, "amount"),
        (Kind.QUOTE, {"starts_at": WHEN}, "starts_at"),
        (Kind.QUOTE, {"colour": "red"}, "colour"),
        (Kind.QUOTE, {"title": 7}, "title"),
        (Kind.QUOTE, {"notes": "x" * 10_001}, "notes"),
        (Kind.APPOINTMENT, {"starts_at": None}, "starts_at"),
        (Kind.APPOINTMENT, {"starts_at": datetime(2026, 9, 22)}, "starts_at"),  # noqa: DTZ001
        (Kind.APPOINTMENT, {"starts_at": WHEN.replace(year=1999)}, "starts_at"),
        (Kind.APPOINTMENT, {"amount": 5}, "amount"),
        (Kind.INVOICE, {"due_on": date(9999, 1, 1)}, "due_on"),
        (Kind.INVOICE, {"due_on": WHEN}, "due_on"),
        (Kind.QUOTE, {"external_url": "javascript:alert(1)"}, "external_url"),
        (Kind.QUOTE, {"external_url": "data:text/html,x"}, "external_url"),
        (Kind.QUOTE, {"external_url": "//example.com"}, "external_url"),
        (Kind.QUOTE, {"external_url": "https://"}, "external_url"),
        (Kind.QUOTE, {"external_url": "https://a:b@example.com/"}, "external_url"),
        (Kind.QUOTE, {"external_url": "https://example.com:99999/"}, "external_url"),
        (Kind.QUOTE, {"external_url": "https://[::1"}, "external_url"),
        (Kind.QUOTE, {"external_url": "https://ex\\ample.com"}, "external_url"),
        (Kind.QUOTE, {"external_url": "https://example.com/" + "x" * 500}, "external_url"),
    ],
)
def test_what_cannot_be_is_refused_beside_its_field(rosa, kind, values, field):
    start = {"starts_at": WHEN} if kind is Kind.APPOINTMENT else {}

    with pytest.raises(records.Invalid) as refusal:
        records.create(kind, rosa, start | values)

    assert list(refusal.value.errors) == [field]
    assert db.session.scalar(sa.select(sa.func.count()).select_from(WorkRecord)) == 0


@BOTH
def test_what_nobody_sees_is_taken_out_and_what_people_write_stays(rosa):
    record = made(
        Kind.QUOTE,
        rosa,
        title="  Café\x00 wall \u202egpj.exe  👩‍🔧 ",
        notes="one\r\ntwo\x00\n\n",
        external_url="https://qbo.example/app?x=1#2",
        number="  q 7  ",
    )

    db.session.expire_all()
    assert record.title == "Café wall gpj.exe 👩‍🔧"
    assert record.notes == "one\ntwo"
    assert record.external_url == "https://qbo.example/app?x=1#2"
    assert record.number == "Q 7"


# --- Changing ------------------------------------------------------------------------------


def test_a_change_says_what_it_changed(rosa):
    record = made(Kind.QUOTE, rosa, title="Wall", amount=120000)

    records.change(record, {"amount": 125000, "notes": "new"})
    db.session.commit()

    words = db.session.scalars(sa.select(AuditEntry.words).filter_by(action="record.edit")).one()
    assert words == "Quote Q-101: amount $1,200.00 → $1,250.00, notes changed"
    assert record.title == "Wall"


def test_who_began_from_an_older_version_is_told(rosa):
    record = made(Kind.QUOTE, rosa, amount=100)
    seen = records.version_of(record)
    records.change(record, {"amount": 200}, seen=seen)
    db.session.commit()

    with pytest.raises(records.Overtaken):
        records.change(record, {"amount": 300}, seen=seen)
    records.change(record, {"amount": 200}, seen=seen)  # the second click of the same

    assert record.amount == 200


def test_steps_links_and_covers_overtake_nobody(rosa):
    record = made(Kind.QUOTE, rosa, title="Wall", amount=100)
    seen = records.version_of(record)
    [photo] = photos(rosa)
    filing.link([photo], record, None)
    filing.set_cover(record, photo.id)
    records.take_step(record, Status.SENT)
    records.archive(record)

    records.change(record, {"amount": 300}, seen=seen)

    assert record.amount == 300


def test_a_number_can_be_changed_but_not_to_a_taken_one(rosa):
    one, two = made(Kind.QUOTE, rosa), made(Kind.QUOTE, rosa)

    with pytest.raises(records.Invalid) as refusal:
        records.change(two, {"number": one.number, "title": "Wall"})
    with pytest.raises(records.Invalid):
        records.change(two, {"number": ""})
    db.session.commit()

    assert "taken" in refusal.value.errors["number"]
    assert (two.number, two.title) == ("Q-102", "")


# --- Steps ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", Kind)
def test_only_the_next_steps_can_be_taken(rosa, kind):
    for before, allowed in records.STEPS[kind].items():
        for after in Status:
            record = made(kind, rosa)
            record.status = before
            db.session.flush()
            if after in (*allowed, before):
                records.take_step(record, after, unfinished=True)
                assert record.status is after
            else:
                with pytest.raises(records.OutOfStep):
                    records.take_step(record, after)
                assert record.status is before


def test_every_status_of_a_kind_is_reached_and_left(rosa):
    for kind, steps in records.STEPS.items():
        start = made(kind, rosa).status
        reached = {start}
        for _ in steps:
            reached |= {after for before in reached for after in steps[before]}

        assert reached == set(steps)
        assert all(steps.values())


@pytest.mark.parametrize("kind", [Kind.QUOTE, Kind.INVOICE])
@pytest.mark.parametrize(
    ("values", "lacking"),
    [
        ({}, "has no title and no amount"),
        ({"title": "North wall"}, "has no amount"),
        ({"amount": 425_000}, "has no title"),
    ],
)
def test_what_lacks_a_title_or_an_amount_is_sent_only_on_demand(rosa, kind, values, lacking):
    record = made(kind, rosa, **values)

    with pytest.raises(records.Unfinished, match=lacking):
        records.take_step(record, Status.SENT)
    refused = record.status
    records.take_step(record, Status.SENT, unfinished=True)

    assert (refused, record.status) == (Status.DRAFT, Status.SENT)
    said = db.session.scalars(sa.select(AuditEntry.words).filter_by(action="record.status")).all()
    assert any("without" in words for words in said)


def test_no_other_door_sends_an_unfinished_quote(rosa):
    with pytest.raises(records.Unfinished):
        records.send_quote(made(Kind.QUOTE, rosa))


def test_a_quote_for_nothing_has_an_amount(rosa):
    record = made(Kind.QUOTE, rosa, title="A look at it", amount=0)

    records.take_step(record, Status.SENT)

    assert record.status is Status.SENT


def test_an_unfinished_draft_may_be_void_and_what_was_sent_stays_open_to_steps(rosa):
    draft, sent = made(Kind.INVOICE, rosa), made(Kind.QUOTE, rosa)
    records.take_step(sent, Status.SENT, unfinished=True)
    records.take_step(sent, Status.DECLINED)

    records.take_step(draft, Status.VOID)
    records.take_step(sent, Status.SENT)  # a slip, taken back

    assert (draft.status, sent.status) == (Status.VOID, Status.SENT)


def test_a_quote_remembers_the_day_on_which_it_was_sent(rosa, time_machine_at):
    with time_machine_at(NOW):
        today, earlier = made(Kind.QUOTE, rosa, **FINISHED), made(Kind.QUOTE, rosa, **FINISHED)
        records.take_step(today, Status.SENT)
        records.take_step(earlier, Status.SENT, sent_on=date(2026, 9, 18))
        draft = made(Kind.QUOTE, rosa, **FINISHED)
        with pytest.raises(records.Invalid):
            records.take_step(draft, Status.SENT, sent_on=date(2026, 9, 22))

    assert today.sent_at == NOW
    assert earlier.sent_at == datetime(2026, 9, 18, 16, 0, tzinfo=UTC)  # noon in New York
    assert draft.status is Status.DRAFT


def test_what_is_sent_twice_is_priced_from_one_list_and_sent_anew_from_another(rosa):
    record = made(Kind.QUOTE, rosa, **FINISHED)
    first, second = photos(rosa, 2)
    filing.link([first], record, None)
    records.take_step(record, Status.SENT)
    records.take_step(record, Status.SENT)  # pressed twice
    records.take_step(record, Status.APPROVED)
    records.take_step(record, Status.SENT)  # a slip: nothing was sent anew
    assert len(evidence.snapshots_of(record)) == 1
    records.take_step(record, Status.DRAFT)
    filing.link([second], record, None)
    records.take_step(record, Status.SENT)
    db.session.commit()

    kept = evidence.snapshots_of(record)
    assert [[item.media_id for item in one.items] for one in kept] == [
        [first.id, second.id],
        [first.id],
    ]


@BOTH
def test_two_who_send_at_one_moment_keep_one_list(app, rosa):
    record = made(Kind.QUOTE, rosa, **FINISHED)
    filing.link(photos(rosa, 3), record, None)
    record_id, barrier = record.id, threading.Barrier(4)
    db.session.commit()

    def send():
        with app.app_context():
            barrier.wait()
            records.take_step(records.find_record(record_id, to_change=True), Status.SENT)
            db.session.commit()
            db.session.remove()

    threads = [threading.Thread(target=send) for _ in range(4)]
    run_all(threads)

    assert db.session.scalar(sa.select(sa.func.count()).select_from(Evidence)) == 1


# --- The list and the search ---------------------------------------------------------------


@BOTH
def test_the_search_knows_number_title_reference_place_and_customer(rosa):
    other = customer("+16175550177", name="José Núñez")
    indexing.index_conversations([other])
    made(Kind.QUOTE, rosa, number="Q-104", title="Basement wall", external_reference="QB 7781")
    made(Kind.APPOINTMENT, other, visit="Repair", place="14 O'Hara Street")
    made(Kind.INVOICE, other, number="INV-2031", title="Crack 50% done_")

    assert found("q-104") == found("Q104") == found("104") == {"Q-104"}
    assert found("base") == found("WALL basement") == found("qb 7781") == {"Q-104"}
    assert found("ohara") == found("14 o'hara st") == {"Repair"}
    assert found("jose nunez") == found("núñez") == {"Repair", "INV-2031"}
    assert found("nunez crack") == {"INV-2031"}
    assert found("(617) 555-0177") == found("0177") == {"Repair", "INV-2031"}
    assert found("rosa", kind=Kind.INVOICE) == set()
    assert found("nobody") == found("%") == found('"') == found("rosa*") - {"Q-104"} == set()
    assert found("50% done") == {"INV-2031"}


@BOTH
def test_a_record_is_found_by_what_is_true_now(rosa):
    record = made(Kind.QUOTE, rosa, title="Wall")
    other = customer("+16175550177", name="Abe Stone")
    indexing.index_conversations([other])
    records.change(record, {"title": "Slab"})
    db.session.commit()
    assert (found("wall"), found("slab")) == (set(), {"Q-101"})

    records.change(record, {}, conversation=other)  # another customer
    db.session.commit()
    assert (found("rosa"), found("abe")) == (set(), {"Q-101"})

    db.session.execute(sa.text("UPDATE contacts SET first_name = 'Ezra' WHERE first_name = 'Abe'"))
    db.session.expire_all()
    indexing.index_conversations([other])  # another name
    db.session.commit()
    assert (found("abe"), found("ezra")) == (set(), {"Q-101"})

    db.session.delete(record)
    db.session.commit()
    assert found("ezra") == set()
    assert db.session.scalar(sa.select(sa.func.count()).select_from(WorkEntry)) == 0


@BOTH
def test_the_list_pages_without_gap_or_repeat_in_every_order(rosa, monkeypatch):
    monkeypatch.setattr(worklist, "PAGE", 3)
    moments = [NOW + timedelta(hours=n // 3) for n in range(10)]  # several at one moment
    rows = []
    for moment in moments:
        row = made(Kind.APPOINTMENT, rosa, starts_at=moment, visit="Repair")
        row.created_at = moment
        rows.append(row)
    db.session.commit()

    def walk(wanted):
        seen, after = [], None
        for _ in range(20):
            page = worklist.read_page(wanted, after)
            seen += [record.id for record in page.records]
            after = page.last
            if after is None:
                return seen
        raise AssertionError("it never ends")

    by_time = sorted(rows, key=lambda row: (row.starts_at, row.id))
    ids = [row.id for row in by_time]
    assert walk(worklist.Wanted(Kind.APPOINTMENT)) == ids  # what comes next, first
    assert walk(worklist.Wanted(Kind.APPOINTMENT, "all")) == ids[::-1]
    assert walk(worklist.Wanted(None, "all")) == ids[::-1]
    assert walk(worklist.Wanted(None, "all", conversation=rosa)) == ids[::-1]
    assert walk(worklist.Wanted(None, "all", terms=query.read_terms("repair"))) == [
        row.id for row in rows[::-1]
    ]
    monkeypatch.setattr(worklist, "FEW", 2)  # as where matches are many
    assert walk(worklist.Wanted(None, "all", terms=query.read_terms("rosa repair"))) == [
        row.id for row in rows[::-1]
    ]


@BOTH
def test_open_archived_and_each_status_are_what_they_say(rosa):
    states = {
        "open": [Status.DRAFT, Status.SENT],
        "closed": [Status.APPROVED, Status.DECLINED],
    }
    rows = {}
    for status in (*states["open"], *states["closed"]):
        for is_archived in (False, True):
            row = made(Kind.QUOTE, rosa)
            row.status, row.archived_at = status, now() if is_archived else None
            rows[status, is_archived] = row.id
    db.session.commit()

    def shown(show, kind=Kind.QUOTE):
        return {row.id for row in worklist.read_page(worklist.Wanted(kind, show)).records}

    fresh = {key: row for key, row in rows.items() if not key[1]}
    for kind in (Kind.QUOTE, None):
        assert shown("all", kind) == set(rows.values())
        assert shown("archived", kind) == set(rows.values()) - set(fresh.values())
        assert shown("open", kind) == {fresh[status, False] for status in states["open"]}
    for status in (*states["open"], *states["closed"]):
        assert shown(status) == {fresh[status, False]}
    assert shown("open", Kind.INVOICE) == set()


def test_the_list_takes_as_many_questions_for_forty_records_as_for_one(rosa):
    seen = []

    def note(_connection, _cursor, statement, *_):
        seen.append(statement)

    def asked():
        db.session.commit()
        db.session.expunge_all()
        sa.event.listen(db.engine, "before_cursor_execute", note)
        seen.clear()
        page = worklist.read_page(worklist.Wanted())
        worklist.count_files(page.records)
        assert all(record.conversation for record in page.records)
        sa.event.remove(db.engine, "before_cursor_execute", note)
        return len(seen)

    quote(rosa)
    few = asked()
    rosa = db.session.get_one(Conversation, rosa.id)
    for _ in range(39):
        quote(rosa)

    assert asked() == few
    assert linked(made(Kind.QUOTE, rosa)) == []


# What each question may read: rows of an index, from where the page begins.
PLANS = [
    (kind, show, after)
    for kind in (None, *Kind)
    for show in worklist.filter_choices(kind)
    for after in (False, True)
]


@pytest.mark.parametrize(("kind", "show", "after"), PLANS)
@pytest.mark.on_sqlite("reads SQLite's query plans")
def test_every_list_is_read_from_an_index_in_its_order(rosa, kind, show, after):
    wanted = worklist.Wanted(kind, show)
    key = (NOW, rosa.id) if after else None
    query = worklist._order_query(worklist._narrow_query(wanted), wanted, key).limit(41)
    asked = query.compile(db.engine, compile_kwargs={"literal_binds": True})

    rows = db.session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {asked}")
    plan = " ".join(row[3] for row in rows)

    assert "USING INDEX ix_work_records" in plan
    assert "TEMP B-TREE" not in plan
