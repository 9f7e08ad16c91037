"""The pages of work: what is typed is never lost, and nobody overwrites unseen."""

import re
import uuid
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support.factories import NOW, customer, photos, voicemail
from tests.support.pages import NASTY, Page
from viewer.extensions import db
from viewer.models import AuditEntry, ConversationAlias, Evidence, WorkRecord
from viewer.office import filing, records
from viewer.search import indexing

Kind, Status = WorkRecord.Kind, WorkRecord.Status
NOBODY = uuid.UUID(int=7)


@pytest.fixture
def rosa(app):
    return indexed(customer(name="Rosa Lindqvist"))


@pytest.fixture
def bob(app):
    return indexed(customer("+16175550124", name="Bob Chen"))


def indexed(conversation):
    """As ingest does it: this customer is found by name and number."""
    indexing.index_conversations([conversation])
    db.session.commit()
    return conversation


def made(kind, conversation, **values):
    if kind is Kind.APPOINTMENT:
        values.setdefault("starts_at", NOW + timedelta(days=1))
    record = records.create(kind, conversation, values)
    db.session.commit()
    return record


def get(client, address, code=200):
    answer = client.get(address)
    assert answer.status_code == code, answer.text
    return Page(answer.text)


def fields(page):
    """What a browser would send of the form that is not changed."""
    found = {
        attrs["name"]: attrs.get("value") or ""
        for _, attrs in page.elements
        if attrs.get("name") and attrs.get("type") not in ("search", "radio")
        and attrs["name"] not in ("viewport", "theme-color", "color-scheme", "csrf-token")
    }  # fmt: skip
    found.pop("csrf_token", None)
    for name, words in re.findall(
        r'<textarea[^>]* name="(\w+)"[^>]*>\n(.*?)</textarea>', page.html, re.DOTALL
    ):
        found[name] = words
    return found


def only():
    db.session.rollback()
    return db.session.scalars(sa.select(WorkRecord)).one()


def count():
    db.session.rollback()
    return db.session.scalar(sa.select(sa.func.count()).select_from(WorkRecord))


def shown_records(page):
    return [
        uuid.UUID(link.rpartition("/")[2])
        for link in page.links("/work/")
        if re.fullmatch(r"/work/[0-9a-f-]{36}", link)
    ]


# --- Making --------------------------------------------------------------------------------


@BOTH
def test_a_quote_is_made_for_a_customer_found_by_name(client, rosa, bob):
    choosing = get(client, "/work/quotes/new?q=lindq")
    [address] = choosing.links("conversation=")
    form = get(client, address)
    sent = fields(form) | {"title": "Basement wall", "amount": "$1,250.5", "notes": "Two\ncracks"}
    answer = client.post("/work/quotes", data=sent)
    page = get(client, answer.location)

    record = only()
    assert answer.status_code == 303
    assert answer.location == f"/work/{record.id}"
    assert (record.number, record.amount, record.status) == ("Q-101", 125050, Status.DRAFT)
    assert record.conversation_id == rosa.id
    assert "$1,250.50" in page.text
    assert "Rosa Lindqvist" in page.text
    assert page.links(f"/conversations/{rosa.id}")
    assert "Quote Q-101 is saved." in page.text
    assert "Bob Chen" not in choosing.text


def test_a_customer_is_found_by_number_or_chosen_from_the_latest(client, rosa, bob):
    by_number = get(client, "/work/invoices/new?q=(617)+555-0124")
    latest = get(client, "/work/invoices/new")
    nobody = get(client, "/work/invoices/new?q=zzz")

    assert by_number.links("conversation=") == [f"/work/invoices/new?conversation={bob.id}"]
    assert len(latest.links("conversation=")) == 2
    assert "Nobody is called “zzz”" in nobody.text


def test_a_form_comes_with_the_next_number(client, rosa):
    made(Kind.QUOTE, rosa, number="Q-104")

    form = get(client, f"/work/quotes/new?conversation={rosa.id}")

    assert fields(form)["number"] == "Q-105"
    assert "number" not in fields(get(client, f"/work/appointments/new?conversation={rosa.id}"))


def test_an_old_address_of_the_conversation_will_do(client, rosa):
    gone = uuid.uuid4()
    db.session.add(ConversationAlias(provider_id=str(gone), conversation_id=rosa.id))
    db.session.commit()

    form = get(client, f"/work/quotes/new?conversation={gone}")

    assert fields(form)["conversation"] == str(rosa.id)


@BOTH
def test_pressing_twice_makes_one_record(client, rosa):
    sent = fields(get(client, f"/work/appointments/new?conversation={rosa.id}"))
    sent |= {"starts_at": "2026-10-02T09:30", "visit": "Repair"}

    answers = [client.post("/work/appointments", data=sent) for _ in range(3)]

    assert {answer.status_code for answer in answers} == {303}
    assert len({answer.location for answer in answers}) == 1
    assert count() == 1


@BOTH
def test_what_is_corrected_after_going_back_to_the_form_holds(client, rosa, bob):
    sent = fields(get(client, f"/work/quotes/new?conversation={rosa.id}")) | {"amount": "1,250"}
    made = client.post("/work/quotes", data=sent)

    corrected = sent | {"amount": "1,520", "title": "Wall and floor", "conversation": bob.id}
    answer = client.post("/work/quotes", data=corrected)

    record = db.session.scalars(sa.select(WorkRecord)).one()
    assert (answer.status_code, answer.location) == (303, made.location)
    assert (record.amount, record.title) == (152000, "Wall and floor")
    assert record.conversation_id == bob.id


def test_what_is_corrected_after_going_back_overwrites_nobody(client, rosa):
    sent = fields(get(client, f"/work/quotes/new?conversation={rosa.id}")) | {"amount": "1,250"}
    made = client.post("/work/quotes", data=sent)
    edited = fields(get(client, f"{made.location}/edit")) | {"amount": "1,300"}
    client.post(made.location, data=edited)

    answer = client.post("/work/quotes", data=sent | {"amount": "1,520"})
    page = Page(answer.text)

    assert answer.status_code == 409
    assert "Saved now: $1,300.00" in page.text
    assert [one["value"] for one in page.all("input", name="amount")] == ["1,520"]
    client.post(made.location, data=fields(page))
    assert db.session.scalars(sa.select(WorkRecord)).one().amount == 152000


@pytest.mark.parametrize(
    ("word", "typed", "field", "words"),
    [
        ("quotes", {"amount": "12,5"}, "amount", "Write an amount such as 1,250.00."),
        ("quotes", {"amount": "lots"}, "amount", "Write an amount such as 1,250.00."),
        ("quotes", {"external_url": "javascript:x"}, "external_url", "begins with https://"),
        ("quotes", {"title": "x" * 201}, "title", "Shorten this to 200 characters; it has 201."),
        ("invoices", {"due_on": "soon"}, "due_on", "Choose a day."),
        ("invoices", {"due_on": "2926-01-01"}, "due_on", "Check the year: 2926 cannot be."),
        ("appointments", {"starts_at": ""}, "starts_at", "Say on which day and at what time."),
        ("appointments", {"starts_at": "tomorrow"}, "starts_at", "Choose a day and a time."),
        ("appointments", {"starts_at": "0001-01-01T00:00"}, "starts_at", "Check the year"),
        ("appointments", {"starts_at": "9999-12-31T23:59"}, "starts_at", "Check the year"),
        ("appointments", {"starts_at": "2026-10-02T09:30Z"}, "starts_at", "Choose a day"),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_typed_is_lost(
    client, rosa, word, typed, field, words
):
    sent = fields(get(client, f"/work/{word}/new?conversation={rosa.id}"))
    sent |= {"notes": "Kept <b>\nall of it", "external_reference": "QB-7"} | typed

    answer = client.post(f"/work/{word}", data=sent)
    page = Page(answer.text)

    assert answer.status_code == 422
    [wrong] = [attrs for _, attrs in page.elements if attrs.get("aria-invalid")]
    assert wrong["id"] == wrong["name"] == field
    assert f"{field}-error" in wrong["aria-describedby"].split()
    [beside] = re.findall(rf'id="{field}-error">([^<]*)<', page.html)
    assert words in beside
    assert page.links(f"#{field}") == [f"#{field}"]  # the summary leads there
    assert {**fields(page), "notes": "Kept <b>\nall of it"} == sent
    assert "Kept &lt;b&gt;\nall of it" in answer.text
    assert count() == 0


def test_everything_that_is_wrong_is_said_at_once(client, rosa):
    made(Kind.INVOICE, rosa, number="INV-9")
    sent = fields(get(client, f"/work/invoices/new?conversation={rosa.id}"))
    sent |= {"amount": "x", "due_on": "y", "external_url": "z", "title": "t" * 201}

    page = Page(client.post("/work/invoices", data=sent).text)

    wrong = {attrs["name"] for _, attrs in page.elements if attrs.get("aria-invalid")}
    assert wrong == {"amount", "due_on", "external_url", "title"}
    assert "4 things need another look" in page.text


@BOTH
def test_a_taken_number_is_said_beside_the_number(client, rosa):
    made(Kind.QUOTE, rosa, number="Q-104")
    sent = fields(get(client, f"/work/quotes/new?conversation={rosa.id}")) | {"number": "q-104"}

    answer = client.post("/work/quotes", data=sent)

    assert answer.status_code == 422
    assert "Q-104 is taken by another quote. The next free number is Q-105." in answer.text
    assert fields(Page(answer.text))["number"] == "q-104"


def test_without_a_number_it_gets_the_next(client, rosa):
    made(Kind.QUOTE, rosa, number="Q-104")
    sent = fields(get(client, f"/work/quotes/new?conversation={rosa.id}")) | {"number": " "}

    client.post("/work/quotes", data=sent)

    assert db.session.scalar(sa.select(WorkRecord).filter_by(number="Q-105")) is not None


def test_another_customer_is_chosen_without_losing_a_word(client, rosa, bob):
    sent = fields(get(client, f"/work/quotes/new?conversation={rosa.id}"))
    sent |= {"title": "Garage <slab>", "amount": "what?", "notes": "a\nb"}

    choosing = Page(client.post("/work/quotes/customer", data=sent | {"q": "bob"}).text)
    carried = fields(choosing) | {"customer": str(bob.id)}
    form = Page(client.post("/work/quotes/form", data=carried).text)

    assert "Bob Chen" in choosing.text
    assert fields(form)["conversation"] == str(bob.id)
    for name in ("id", "title", "amount", "number"):
        assert fields(form)[name] == sent[name]
    assert "a\nb</textarea>" in form.html
    assert count() == 0


# --- Times ---------------------------------------------------------------------------------


def plan(client, rosa, typed, **more):
    sent = fields(get(client, f"/work/appointments/new?conversation={rosa.id}"))
    return client.post("/work/appointments", data=sent | {"starts_at": typed, **more})


@BOTH
def test_times_are_those_of_the_display_zone(client, rosa):
    answer = plan(client, rosa, "2026-10-02T09:30", visit="Repair", place="14 Elm Street")
    with time_machine.travel(NOW, tick=False):
        page = get(client, answer.location)

    assert only().starts_at == datetime(2026, 10, 2, 13, 30, tzinfo=UTC)
    assert "Fri, Oct 2, 9:30 AM" in page.text
    assert fields(get(client, f"{answer.location}/edit"))["starts_at"] == "2026-10-02T09:30"


def test_a_time_that_the_clocks_skip_is_refused(client, rosa):
    answer = plan(client, rosa, "2027-03-14T02:30")

    assert answer.status_code == 422
    words = "2:30 AM does not exist on March 14, 2027: the clocks go forward that night."
    assert f"{words} 3:30 AM does." in answer.text
    assert fields(Page(answer.text))["starts_at"] == "2027-03-14T02:30"


@pytest.mark.parametrize(("fold", "hour"), [("0", 5), ("1", 6)])
def test_a_time_that_the_clocks_show_twice_is_asked_about(client, rosa, fold, hour):
    asked = plan(client, rosa, "2026-11-01T01:30")
    answer = plan(client, rosa, "2026-11-01T01:30", starts_at_fold=fold)
    edited = fields(get(client, f"{answer.location}/edit"))
    again = client.post(answer.location, data=edited | {"starts_at_fold": fold, "place": "Here"})

    assert asked.status_code == 422
    assert "1:30 AM EDT, before the clocks go back" in asked.text
    assert "1:30 AM EST, after they went back" in asked.text
    assert again.status_code == 303
    assert only().starts_at == datetime(2026, 11, 1, hour, 30, tzinfo=UTC)


# --- Editing -------------------------------------------------------------------------------


@BOTH
def test_what_is_edited_is_shown_and_noted(client, rosa):
    record = made(Kind.INVOICE, rosa, title="Wall", amount=120000)
    form = fields(get(client, f"/work/{record.id}/edit"))

    answer = client.post(
        f"/work/{record.id}", data=form | {"amount": "1,250", "due_on": "2026-10-15"}
    )
    page = get(client, answer.location)

    record = only()
    assert (record.amount, record.due_on) == (125000, date(2026, 10, 15))
    assert "amount $1,200.00 → $1,250.00, due none → October 15, 2026" in page.text
    assert "Owner" in page.text


@BOTH
def test_the_second_of_two_editors_is_told_and_keeps_what_was_typed(client, log_in, rosa):
    record = made(Kind.QUOTE, rosa, title="Wall", amount=120000)
    mine = fields(get(client, f"/work/{record.id}/edit"))
    office = log_in("office")
    theirs = fields(get(office, f"/work/{record.id}/edit"))
    office.post(f"/work/{record.id}", data=theirs | {"amount": "1,300", "title": "North wall"})

    answer = client.post(f"/work/{record.id}", data=mine | {"amount": "1,400", "notes": "Mine"})
    page = Page(answer.text)

    assert answer.status_code == 409
    assert "office@crack.example changed this quote" in page.text
    assert fields(page)["amount"] == "1,400"
    assert "Saved now: $1,300.00" in page.text
    assert "Saved now: North wall" in page.text
    assert "Mine" in page.text
    assert only().amount == 130000

    client.post(f"/work/{record.id}", data=fields(page))

    assert (only().amount, only().notes) == (140000, "Mine")


def test_pressing_save_twice_is_no_conflict_with_oneself(client, rosa):
    record = made(Kind.QUOTE, rosa)
    sent = fields(get(client, f"/work/{record.id}/edit")) | {"title": "Wall"}

    answers = [client.post(f"/work/{record.id}", data=sent) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [303, 303]
    notes = sa.select(sa.func.count()).select_from(AuditEntry).filter_by(action="record.edit")
    assert db.session.scalar(notes) == 1


def test_the_customer_of_a_record_can_be_corrected(client, rosa, bob):
    record = made(Kind.QUOTE, rosa)
    sent = fields(get(client, f"/work/{record.id}/edit"))
    choosing = Page(client.post("/work/quotes/customer", data=sent).text)

    form = Page(
        client.post("/work/quotes/form", data=fields(choosing) | {"customer": str(bob.id)}).text
    )
    [action] = [a["action"] for a in form.all("form") if a["action"] == f"/work/{record.id}"]
    client.post(action, data=fields(form))

    assert only().conversation_id == bob.id


# --- Steps and the archive -----------------------------------------------------------------


def test_the_next_steps_are_buttons(client, rosa):
    record = made(Kind.INVOICE, rosa, title="Wall", amount=125000)
    seen = []
    for status in ("sent", "paid"):
        page = get(client, f"/work/{record.id}")
        seen.append([a["value"] for a in page.all("input", name="status")])
        client.post(f"/work/{record.id}/status", data={"status": status})

    page = get(client, f"/work/{record.id}")
    assert seen == [["sent", "void"], ["paid", "void", "draft"]]
    assert "Invoice INV-1001 is paid now." in page.text
    assert "Invoice INV-1001: sent → paid" in page.text
    assert only().status is Status.PAID


@pytest.mark.parametrize("kind", [Kind.QUOTE, Kind.INVOICE])
def test_what_lacks_something_is_sent_only_with_the_box_ticked(client, rosa, kind):
    record = made(kind, rosa, title="Wall")
    page = get(client, f"/work/{record.id}")
    address = f"/work/{record.id}/status"

    answer = client.post(address, data={"status": "sent"})
    refusal, after = get(client, answer.location).text, only().status
    client.post(address, data={"status": "sent", "unfinished": "yes"})

    assert "Send without an amount" in page.text
    assert "has no amount, so it was not marked as sent" in refusal
    assert (after, only().status) == (Status.DRAFT, Status.SENT)
    assert "without amount" in get(client, f"/work/{record.id}").text  # in its history


def test_a_finished_draft_has_no_box(client, rosa):
    record = made(Kind.QUOTE, rosa, title="Wall", amount=0)

    assert "Send without" not in get(client, f"/work/{record.id}").text


@BOTH
def test_a_step_taken_meanwhile_by_somebody_else_is_said(client, rosa):
    record = made(Kind.QUOTE, rosa, title="Wall", amount=125000)
    for status in ("sent", "sent", "approved"):
        client.post(f"/work/{record.id}/status", data={"status": status})

    answer = client.post(f"/work/{record.id}/status", data={"status": "declined"})

    assert answer.status_code == 303
    assert "This quote is approved now" in get(client, answer.location).text
    assert only().status is Status.APPROVED


@pytest.mark.parametrize(
    ("day", "words"),
    [("2026-09-22", "still to come"), ("x", "Choose a day"), ("1999-01-01", "2000")],
)
def test_a_day_on_which_nothing_can_have_been_sent_is_refused(client, rosa, day, words):
    record = made(Kind.QUOTE, rosa, title="Wall", amount=125000)

    with time_machine.travel(NOW, tick=False):
        answer = client.post(f"/work/{record.id}/status", data={"status": "sent", "sent_on": day})
        page = get(client, answer.location)

    assert words in page.text
    assert only().status is Status.DRAFT
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Evidence)) == 0


def test_what_is_archived_leaves_the_open_work_and_comes_back(client, rosa):
    record = made(Kind.QUOTE, rosa)

    for _ in range(2):
        client.post(f"/work/{record.id}/archive")
    archived = shown_records(get(client, "/work")), shown_records(get(client, "/work?q=Q-101"))
    for _ in range(2):
        client.post(f"/work/{record.id}/unarchive")

    assert archived == ([], [record.id])
    assert shown_records(get(client, "/work")) == [record.id]
    done = db.session.scalars(sa.select(AuditEntry.action).filter_by(subject_id=record.id)).all()
    assert done == ["record.create", "record.archive", "record.unarchive"]


# --- The list ------------------------------------------------------------------------------


def test_the_list_narrows_by_kind_status_customer_and_words(client, rosa, bob):
    wall = made(Kind.QUOTE, rosa, title="Wall", amount=125000)
    slab = made(Kind.QUOTE, bob, title="Slab", amount=90000)
    visit = made(Kind.APPOINTMENT, rosa, visit="Repair", place="14 Elm Street")
    client.post(f"/work/{slab.id}/status", data={"status": "sent"})
    filing.link([*photos(rosa, 2), voicemail(rosa)], wall, None)
    db.session.commit()

    everything = get(client, "/work")

    assert shown_records(everything) == [visit.id, slab.id, wall.id]
    assert "2 photos · 1 voicemail" in everything.text.replace("\xa0", " ")
    assert "$1,250.00" in everything.text
    assert shown_records(get(client, "/work/quotes")) == [slab.id, wall.id]
    assert shown_records(get(client, "/work/quotes?show=sent")) == [slab.id]
    assert shown_records(get(client, f"/work?customer={rosa.id}")) == [visit.id, wall.id]
    assert shown_records(get(client, "/work?q=elm")) == [visit.id]
    assert shown_records(get(client, "/work/quotes?q=elm")) == []
    assert shown_records(get(client, "/work?q=rosa+wall")) == [wall.id]
    assert shown_records(get(client, f"/conversations/{rosa.id}/work")) == [visit.id, wall.id]


def test_a_filter_that_cannot_be_is_no_crash(client, rosa):
    assert client.get("/work/quotes?show=paid").status_code == 404
    assert client.get("/work?show=draft").status_code == 404
    assert client.get("/work?after=x").status_code == 400
    assert client.get("/work?customer=x").status_code == 400
    assert client.get(f"/work?customer={NOBODY}").status_code == 404
    assert client.get("/work/deals").status_code == 404
    assert client.get(f"/work/quotes/new?conversation={NOBODY}").status_code == 404
    assert client.post("/work/quotes", data={"id": "x"}).status_code == 400
    assert client.post("/work/quotes", data={"id": "x", "conversation": rosa.id}).status_code == 400
    for address in ("", "/edit", "/slides", "/evidence", f"/evidence/{NOBODY}"):
        assert client.get(f"/work/{NOBODY}{address}").status_code == 404
    for address in ("", "/status", "/archive", "/unarchive"):
        assert client.post(f"/work/{NOBODY}{address}").status_code == 404
    record = made(Kind.QUOTE, rosa)
    assert client.post(f"/work/{record.id}/status", data={"status": "gone"}).status_code == 400


def test_late_invoices_and_visits_that_are_over_stand_out(client, rosa):
    invoice = made(Kind.INVOICE, rosa, title="Wall", amount=125000, due_on=date(2026, 9, 20))
    client.post(f"/work/{invoice.id}/status", data={"status": "sent"})
    made(Kind.APPOINTMENT, rosa, starts_at=NOW - timedelta(hours=3), visit="Repair")

    with time_machine.travel(NOW, tick=False):
        page = get(client, "/work")

    assert "Due Sep 20" in page.text
    assert "Today 9:00 AM" in page.text
    assert "Past" in page.text


def test_words_of_strangers_are_shown_as_words(client, rosa):
    record = made(Kind.QUOTE, rosa, title=NASTY[0], notes=NASTY[2], external_reference=NASTY[1])

    for address in ("/work", f"/work/{record.id}", f"/work/{record.id}/edit"):
        page = get(client, address)
        assert all("src" in script for script in page.all("script"))
        assert not any(name.startswith("on") for _, attrs in page.elements for name in attrs)
        assert NASTY[0] in page.text or fields(page).get("title") == NASTY[0]


# --- Who may -------------------------------------------------------------------------------


def test_the_field_sees_and_the_office_writes(log_in, rosa):
    record = made(Kind.QUOTE, rosa)
    field, office = log_in("field"), log_in("office")
    forms = (
        ("get", "/work/quotes/new"),
        ("get", f"/work/{record.id}/edit"),
        ("post", "/work/quotes"),
        ("post", "/work/quotes/customer"),
        ("post", "/work/quotes/form"),
        ("post", f"/work/{record.id}"),
        ("post", f"/work/{record.id}/status"),
        ("post", f"/work/{record.id}/archive"),
        ("post", f"/work/{record.id}/unarchive"),
    )

    refused = {getattr(field, verb)(address).status_code for verb, address in forms}
    allowed = {getattr(office, verb)(address).status_code for verb, address in forms}
    pages = [get(field, address) for address in ("/work", f"/work/{record.id}")]

    assert refused == {403}
    assert 403 not in allowed
    for page in pages:
        assert page.links("/new") == page.links("/edit") == []
        assert not any("/status" in (form.get("action") or "") for form in page.all("form"))
