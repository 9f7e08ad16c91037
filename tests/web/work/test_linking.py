"""The pages that link files to work, from either side."""

import re
import uuid

import pytest
import sqlalchemy as sa

from tests.support.factories import (
    NOW,
    customer,
    days,
    files,
    linked,
    photos,
    quote,
    text,
    visit,
    voicemail,
)
from tests.support.pages import Page, ids, notice, press_undo
from tests.support.pictures import picture
from viewer.extensions import db, now
from viewer.models import MediaAttachment, MediaLink, Message, WorkRecord
from viewer.office import filing

NOBODY = str(uuid.UUID(int=7))
State, Status = MediaAttachment.State, WorkRecord.Status


@pytest.fixture
def maria(app):
    return customer(name="Maria Alvarez")


@pytest.fixture
def bob(app):
    return customer("+16175550124", name="Bob Chen")


def open_page(client, address, **words):
    answer = client.get(address, query_string=words)
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


# --- Choosing --------------------------------------------------------------------------------


def test_thirty_photos_are_linked_with_one_tap_and_taken_back_with_another(client, maria):
    media = photos(maria, 30)
    job = quote(maria, "Q-104")
    page = client.post("/work/link/choose", data={"media": ids(media)}).text
    assert "Link 30 photos" in page
    assert f'name="record" value="{job.id}"' in page

    answer = client.post("/work/link", data={"media": ids(media), "record": job.id})
    after = notice(client)
    there = len(linked(job))
    press_undo(client, after)

    assert answer.location == f"/work/{job.id}"
    assert "30 photos linked to Q-104." in after
    assert (there, len(linked(job))) == (30, 0)
    assert "Undone: 30 photos no longer linked to Q-104." in notice(client)


def test_undo_leaves_what_was_linked_before(client, maria):
    media = photos(maria, 3)
    job = quote(maria, "Q-104")
    client.post("/work/link", data={"media": ids(media[:1]), "record": job.id})
    notice(client)
    client.post("/work/link", data={"media": ids(media), "record": job.id})
    after = notice(client)

    press_undo(client, after)
    press_undo(client, after)

    assert "2 photos linked to Q-104; 1 was linked already." in after
    assert linked(job) == [media[0].id]


def test_linking_again_says_that_it_was_done(client, maria):
    [media] = photos(maria)
    job = quote(maria, "Q-104")
    for _ in range(2):
        client.post("/work/link", data={"media": media.id, "record": job.id})

    assert "1 photo is linked to Q-104 already." in notice(client)
    assert len(linked(job)) == 1


def test_suggestions_say_what_they_are(client, maria, bob):
    media = photos(maria, 2)
    quote(maria, "Q-104", title="North wall", amount=425000, status=Status.SENT)
    near = visit(maria, NOW - days(1), visit="inspection", place="12 Elm St")
    other = quote(bob, "Q-9", title="Garage")
    page = open_page(client, "/work/link/choose", media=ids(media))

    assert "Q-104 North wall Sent · $4,250.00" in page.text
    assert f"{filing.name_of(near)} Planned" in page.text
    assert "Around that day" in page.text
    assert "For Bob Chen" in page.text
    assert page.text.index("Q-104") < page.text.index("Q-9")
    assert [button["value"] for button in page.all("button", name="record")][-1] == str(other.id)


def test_files_of_different_customers_are_linked_with_a_warning(client, maria, bob):
    media = [*photos(maria, 2), *photos(bob)]
    job = quote(bob, "Q-9")
    page = open_page(client, "/work/link/choose", media=ids(media))

    client.post("/work/link", data={"media": ids(media), "record": job.id})

    assert "These are from 2 customers: Maria Alvarez and Bob Chen." in page.text
    assert "3 photos linked to Q-9, which is Bob Chen’s." in notice(client)


def test_all_work_of_all_customers_can_be_searched_without_losing_what_was_typed(
    client, maria, bob
):
    media = photos(maria, 2)
    quote(bob, "Q-9", title="Garage", archived_at=NOW)
    fields = {
        "media": ids(media), "q": "q-9 gar", "caption": "North wall",
        "title": "Typed title", "amount": "12.50", "next": "/unfiled",
    }  # fmt: skip

    page = Page(client.post("/work/link/choose", data=fields).text)

    assert "Q-9 Garage Draft · Archived For Bob Chen" in page.text
    values = {one.get("name"): one.get("value") for one in page.all("input")}
    assert values["caption"] == "North wall"
    assert values["title"] == "Typed title"
    assert values["amount"] == "12.50"
    assert values["next"] == "/unfiled"
    assert len(page.all("input", name="media")) == 2


def test_a_customers_work_is_found_by_the_customers_name(
    client, deliver, work, provider, message, bob
):
    deliver(message(media=[provider.serve(picture(), content_type="image/jpeg")]).payload())
    work()
    conversation = db.session.scalars(sa.select(MediaAttachment)).one().conversation
    quote(conversation, "Q-9")
    [media] = photos(bob)

    page = Page(client.post("/work/link/choose", data={"media": media.id, "q": "555-0123"}).text)

    assert "Q-9" in page.text.partition("All work")[2]


def test_a_search_that_finds_nothing_says_what_to_look_for(client, maria):
    [media] = photos(maria)
    page = Page(
        client.post("/work/link/choose", data={"media": media.id, "q": "<b>nobody</b>"}).text
    )

    assert "Nothing is called “<b>nobody</b>”." in page.text


def test_a_message_is_linked_with_all_its_files(client, maria):
    message = text(maria)
    files(message, 2)
    files(message, 1, state=State.PENDING)

    page = open_page(client, "/work/link/choose", message=message.id)

    assert len(page.all("input", name="media")) == 2


def test_what_is_not_here_yet_is_left_out_and_told(client, maria):
    safe, late = photos(maria, 2)
    late.state = State.PENDING
    job = quote(maria, "Q-104")
    db.session.commit()
    page = open_page(client, "/work/link/choose", media=ids([safe, late]))

    client.post("/work/link", data={"media": ids([safe, late]), "record": job.id})

    assert "1 more cannot be linked" in page.text
    assert "1 photo linked to Q-104; 1 left out: only files that are here can be linked." in notice(
        client
    )
    assert linked(job) == [safe.id]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "Choose at least one photo first."),
        ({"media": NOBODY}, "None of these files is here yet"),
        ({"message": NOBODY}, "None of these files is here yet"),
    ],
)
@pytest.mark.parametrize("address", ["/work/link/choose", "/work/link/quote"])
def test_without_files_nothing_happens_and_it_is_said(client, maria, address, fields, words):
    answer = client.post(address, data=fields | {"next": "/unfiled"})

    assert (answer.status_code, answer.location) == (303, "/unfiled")
    assert words in notice(client)


@pytest.mark.parametrize(
    ("address", "fields", "status"),
    [
        ("/work/link/choose", {"media": "no-id"}, 400),
        ("/work/link/choose", {"media": [str(uuid.UUID(int=n)) for n in range(501)]}, 400),
        ("/work/link", {"record": "no-id"}, 400),
        ("/work/link", {"record": NOBODY}, 404),
        ("/work/link", {}, 400),
        ("/work/unlink", {"record": NOBODY}, 404),
        ("/work/link/undo", {"record": "RECORD", "at": "yesterday"}, 400),
        ("/work/link/undo", {"record": "RECORD", "at": "2026-09-21T10:00:00"}, 400),
        ("/work/link", {"record": "RECORD", "media": "MEDIA", "caption": "x" * 301}, 400),
        (f"/work/{NOBODY}/files", {}, 404),
        (f"/work/{NOBODY}/pick", {}, 404),
        ("/unfiled/needed", {"at": ""}, 400),
        ("/unfiled/needed", {"at": "0001-01-01T00:00:00+05:00"}, 400),
        ("/work/link/undo", {"record": "RECORD", "at": "0001-01-01T00:00:00+05:00"}, 400),
    ],
)
def test_bad_input_is_refused_and_changes_nothing(client, maria, address, fields, status):
    [media] = photos(maria)
    real = {"RECORD": str(quote(maria).id), "MEDIA": str(media.id)}
    fields = {
        name: real.get(value, value) if isinstance(value, str) else value
        for name, value in fields.items()
    }

    assert client.post(address, data=fields).status_code == status
    assert db.session.scalar(sa.select(sa.func.count()).select_from(MediaLink)) == 0


def test_next_never_leads_to_another_host(client, maria):
    [media] = photos(maria)
    job = quote(maria)

    answer = client.post(
        "/work/link", data={"media": media.id, "record": job.id, "next": "//evil.example/"}
    )

    assert answer.location == "/"


# --- A new quote -----------------------------------------------------------------------------


def test_a_new_quote_is_made_from_photos_in_one_step(client, maria):
    media = photos(maria, 30)

    answer = client.post(
        "/work/link/quote",
        data={"media": ids(media), "title": "North wall", "amount": "$1,250.50", "caption": "Wall"},
    )

    job = db.session.scalars(sa.select(WorkRecord)).one()
    assert (job.kind, job.status) == (WorkRecord.Kind.QUOTE, Status.DRAFT)
    assert (job.title, job.amount, job.conversation_id) == ("North wall", 125050, maria.id)
    assert answer.location == f"/work/{job.id}"
    assert linked(job) == [one.id for one in media]
    assert job.number == "Q-101"
    assert "Q-101 made from 30 photos." in notice(client)


def test_pressing_twice_makes_one_quote(client, maria):
    [media] = photos(maria)
    page = open_page(client, "/work/link/choose", media=media.id)
    [quote_id] = [one["value"] for one in page.all("input", name="quote_id")]

    sent = {"media": media.id, "quote_id": quote_id}
    for typed in ({}, {}, {"title": "North wall"}):
        client.post("/work/link/quote", data=sent | typed)

    assert db.session.scalars(sa.select(WorkRecord)).one().title == "North wall"
    assert "Q-101 is saved." in notice(client)


def test_a_wrong_amount_is_told_beside_its_field_and_nothing_is_lost(client, maria):
    [media] = photos(maria)
    answer = client.post(
        "/work/link/quote",
        data={"media": media.id, "title": "North wall", "amount": "a lot", "caption": "Crack"},
    )
    page = Page(answer.text)

    assert answer.status_code == 422
    assert page.all("input", name="amount")[0]["aria-invalid"] == "true"
    values = {one.get("name"): one.get("value") for one in page.all("input")}
    assert (values["title"], values["amount"], values["caption"]) == (
        "North wall", "a lot", "Crack",
    )  # fmt: skip
    assert db.session.scalars(sa.select(WorkRecord)).all() == []


def test_a_quote_from_two_customers_photos_is_for_the_chosen_one(client, maria, bob):
    media = [*photos(maria, 2), *photos(bob)]

    client.post("/work/link/quote", data={"media": ids(media), "customer": bob.id})

    assert db.session.scalars(sa.select(WorkRecord)).one().conversation_id == bob.id


@pytest.mark.parametrize(
    ("word", "fields"),
    [
        ("appointments", {"starts_at": "2026-09-24T09:00", "visit": "Repair"}),
        ("invoices", {"number": "INV-7", "amount": "900"}),
    ],
)
def test_a_new_appointment_or_invoice_takes_the_photos_along(client, maria, bob, word, fields):
    media = photos(maria, 3)
    chosen = {"media": ids(media), "caption": "North wall"}
    form = Page(client.post(f"/work/{word}/new", data=chosen | {"conversation": maria.id}).text)
    fields = fields | {
        one["name"]: one["value"]
        for one in form.all("input", type="hidden")
        if one["name"] not in ("media", "csrf_token")
    }
    carried = {"media": [one["value"] for one in form.all("input", name="media")]}
    other = client.post(f"/work/{word}/customer", data=fields | carried).text
    wrong = client.post(f"/work/{word}", data=fields | carried | {"external_url": "no address"})

    for _ in range(2):
        client.post(f"/work/{word}", data=fields | carried)

    job = db.session.scalars(sa.select(WorkRecord)).one()
    assert "3 files will be linked to it." in form.text
    assert {one["value"] for one in Page(other).all("input", name="media")} == set(ids(media))
    assert wrong.status_code == 422
    assert len(Page(wrong.text).all("input", name="media")) == 3
    assert linked(job) == [one.id for one in media]
    assert {one.caption for one in filing.links_of(job)} == {"North wall"}


def test_field_staff_link_and_unlink_but_make_no_quotes(log_in, maria):
    field = log_in("field")
    [media] = photos(maria)
    job = quote(maria)
    page = open_page(field, "/work/link/choose", media=media.id)

    refused = field.post("/work/link/quote", data={"media": media.id})
    field.post("/work/link", data={"media": media.id, "record": job.id})
    there = linked(job)
    field.post("/work/unlink", data={"media": media.id, "record": job.id})

    assert "New quote" not in page.text
    assert refused.status_code == 403
    assert (there, linked(job)) == ([media.id], [])


# --- Unlinking -------------------------------------------------------------------------------


def test_unlinking_can_be_undone_with_place_caption_and_cover(client, maria):
    media = photos(maria, 3)
    job = quote(maria, "Q-104")
    filing.link(media, job, None, "Crack")
    filing.set_cover(job, media[1].id)
    db.session.commit()
    client.post("/work/unlink", data={"media": media[1].id, "record": job.id})
    after = notice(client)
    without = (linked(job), job.cover_id)

    press_undo(client, after)

    assert "1 photo unlinked from Q-104." in after
    assert without == ([media[0].id, media[2].id], None)
    assert linked(job) == [one.id for one in media]
    db.session.refresh(job)
    assert job.cover_id == media[1].id
    assert [one.caption for one in filing.links_of(job)] == ["Crack"] * 3


@pytest.mark.parametrize("state", ["trashed", "damaged"])
def test_what_was_put_away_or_is_damaged_is_unlinked_from_its_passport(client, maria, state):
    [media] = photos(maria)
    job = quote(maria, "Q-104")
    filing.link([media], job, None)
    media.state, media.trashed_at = State(state), now()
    db.session.commit()
    page = open_page(client, f"/media/{media.id}/passport")
    assert "Unlink from Q-104" in page.text

    client.post("/work/unlink", data={"media": media.id, "record": job.id})

    said = notice(client)
    assert "1 photo unlinked from Q-104." in said
    assert "Undo" not in said
    assert filing.links_from(media) == []


def test_unlinking_twice_says_that_it_was_done(client, maria):
    [media] = photos(maria)
    job = quote(maria, "Q-104")
    client.post("/work/unlink", data={"media": media.id, "record": job.id})

    assert "That was not linked to Q-104 any more." in notice(client)


# --- The files of a record -------------------------------------------------------------------


@pytest.fixture
def job(maria):
    job = quote(maria, "Q-104")
    filing.link(photos(maria, 3), job, None)
    db.session.commit()
    return job


def form_of(job, **changes):
    """What the arranging form sends."""
    links = filing.links_of(job)
    fields = {"link": [str(one.id) for one in links]}
    for one in links:
        fields[f"caption-{one.id}"] = fields[f"was-{one.id}"] = one.caption or ""
    return fields | changes


def test_buttons_move_a_photo_and_stay_in_the_form(client, job):
    first, second, third = filing.links_of(job)

    answer = client.post(f"/work/{job.id}/files", data=form_of(job, earlier=str(third.id)))

    assert answer.location == f"/work/{job.id}?arrange=1#link-{third.id}"
    assert linked(job) == [first.media_id, third.media_id, second.media_id]


def test_the_order_of_the_form_is_the_order_of_the_record(client, job):
    links = [str(one.id) for one in filing.links_of(job)]

    answer = client.post(
        f"/work/{job.id}/files",
        data=form_of(job, link=links[::-1]),
        headers={"X-Requested-With": "fetch"},
    )

    assert (answer.status_code, answer.text) == (204, "")
    assert [str(one.id) for one in filing.links_of(job)] == links[::-1]


def test_every_button_keeps_the_captions_that_were_typed(client, job):
    first, second, _ = filing.links_of(job)
    fields = form_of(job, cover=str(second.id))
    fields[f"caption-{first.id}"] = "  North   wall "

    client.post(f"/work/{job.id}/files", data=fields)

    db.session.refresh(job)
    assert job.cover_id == second.media_id
    assert [one.caption for one in filing.links_of(job)] == ["North wall", None, None]


def test_a_caption_that_was_not_touched_here_stays_as_a_colleague_wrote_it(client, job):
    fields = form_of(job, done="yes")
    filing.set_caption(filing.links_of(job)[0], "Written meanwhile", None)
    db.session.commit()

    answer = client.post(f"/work/{job.id}/files", data=fields)

    assert answer.location == f"/work/{job.id}#files"
    assert filing.links_of(job)[0].caption == "Written meanwhile"


def test_the_star_pressed_again_takes_the_cover_back(client, job):
    first = filing.links_of(job)[0]
    for _ in range(2):
        client.post(f"/work/{job.id}/files", data=form_of(job, cover=str(first.id)))

    db.session.refresh(job)
    assert job.cover_id is None


def test_a_photo_is_removed_from_the_record_with_undo(client, job):
    first, *rest = filing.links_of(job)
    media_id = first.media_id

    client.post(f"/work/{job.id}/files", data=form_of(job, remove=str(first.id)))
    after = notice(client)
    left = linked(job)
    press_undo(client, after)

    assert left == [one.media_id for one in rest]
    assert linked(job)[0] == media_id


def test_another_records_links_are_out_of_reach(client, job, bob):
    other = quote(bob)
    filing.link(photos(bob), other, None)
    db.session.commit()
    strange = filing.links_of(other)[0]
    fields = form_of(job, remove=str(strange.id), link=[str(strange.id)])
    fields[f"caption-{strange.id}"] = "Mine"

    client.post(f"/work/{job.id}/files", data=fields)

    assert len(linked(other)) == 1
    assert filing.links_of(other)[0].caption is None


def test_the_picker_shows_the_customers_files_newest_first_and_marks_what_is_linked(
    client, maria, bob, job
):
    newer = photos(maria, 1, NOW + days(1))
    call = voicemail(maria, NOW + days(2))
    files(text(maria), 1, state=State.TRASHED)
    photos(bob)

    page = open_page(client, f"/work/{job.id}/pick")

    assert [one["value"] for one in page.all("input", name="media")] == ids([call, *newer])
    assert page.text.count("Linked") == 3
    assert "Voicemail 0:18" in page.text


def test_ticks_go_along_to_older_pages(client, maria, monkeypatch):
    monkeypatch.setattr("viewer.web.work.linking.PICK_PAGE", 2)
    media = [photos(maria, 1, NOW - days(n))[0] for n in range(5)]
    job = quote(maria)
    page = open_page(client, f"/work/{job.id}/pick")
    seen, ticked = [], []
    while True:
        here = [one["value"] for one in page.all("input", name="media", type="checkbox")]
        seen += here
        ticked = [*dict.fromkeys([*ticked, here[0]])]
        onward = [
            one["formaction"]
            for one in page.all("button")
            if "before=" in (one.get("formaction") or "")
        ]
        if not onward:
            break
        page = Page(client.post(onward[0], data={"media": ticked}).text)
    kept = [one["value"] for one in page.all("input", name="media", type="hidden")]

    assert seen == ids(media)
    assert kept == ids([media[0], media[2]])


# --- Where a file is used --------------------------------------------------------------------


def show(app, template, **context):
    """A partial as a page would show it to the owner."""
    from flask import g, render_template

    from viewer.models import User

    with app.test_request_context("/somewhere?x=1"):
        g.user = User(email="o@crack.example", role=User.Role.OWNER)
        return Page(render_template(template, **context))


def test_a_file_says_where_it_is_used(app, maria, job):
    media = filing.links_of(job)[0].media
    visited = visit(maria, NOW, visit="inspection")
    filing.link([media], visited, None, "Before the repair")
    db.session.commit()

    page = show(app, "work/_used_in.html", media=media, uses=filing.links_from(media))

    assert filing.name_of(visited) in page.text
    assert "Before the repair" in page.text
    assert "Q-104" in page.text
    assert {one["value"] for one in page.all("input", name="record")} == {
        str(job.id), str(visited.id),
    }  # fmt: skip
    assert {one["value"] for one in page.all("input", name="next")} == {"/somewhere?x=1"}
    assert page.links(f"/work/link/choose?media={media.id}")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({}, "yet: it waits among the unfiled."),
        ({"is_unfiled": False}, "No quote, visit or invoice yet."),
        ({"is_unfiled": False, "not_needed_at": NOW}, "Needed after all"),
    ],
)
def test_a_file_that_is_used_nowhere_says_how_it_stands(app, maria, values, words):
    [media] = files(text(maria), 1, **values)

    assert words in show(app, "work/_used_in.html", media=media, uses=[]).text


def test_the_record_shows_its_files_in_order_with_captions_and_cover(app, maria, job):
    call = voicemail(maria)
    filing.link([call], job, None, "What she heard")
    first = filing.links_of(job)[0]
    filing.set_caption(first, "North wall", None)
    filing.set_cover(job, first.media_id)
    db.session.commit()

    page = show(app, "work/_linked.html", record=job, links=filing.links_of(job))

    assert "3 photos, 1 voicemail" in page.text
    assert page.text.index("North wall") < page.text.index("What she heard")
    assert "Cover" in page.text
    assert page.all("audio")
    assert page.links(f"/work/{job.id}/pick")
    assert "Nothing is linked yet" in show(app, "work/_linked.html", record=job, links=[]).text


def test_visits_without_a_photo_are_named(app, maria, job):
    visited = visit(maria, NOW, visit="inspection")

    page = show(app, "work/_soon.html", soon=[(visited, "Maria Alvarez")])

    assert "No photos yet for this visit Maria Alvarez" in page.text
    assert page.links(f"/work/{visited.id}/pick")
    assert show(app, "work/_soon.html", soon=[]).text == ""


def test_the_inbox_names_visits_of_the_next_two_days_until_they_have_a_photo(client, maria, bob):
    visited = visit(maria, now() + days(1), visit="inspection", place="12 Elm St")
    visit(bob, now() + days(4))
    before = open_page(client, "/")
    narrowed = open_page(client, "/", show="photos")

    filing.link(photos(maria), visited, None)
    db.session.commit()

    assert "No photos yet for this visit Maria Alvarez" in before.text
    assert "Bob Chen" not in before.text.partition("Add photos")[0]
    assert "No photos yet" not in narrowed.text
    assert "No photos yet" not in open_page(client, "/").text


def test_the_page_of_a_file_leads_to_its_work_and_back(client, maria, job):
    media = filing.links_of(job)[0].media
    page = open_page(client, f"/media/{media.id}/passport")

    client.post(
        "/work/unlink",
        data={
            name: page.all("input", name=name)[0]["value"] for name in ("media", "record", "next")
        },
    )

    assert "Q-104 Draft" in page.text
    assert page.links(f"/work/{job.id}")
    after = open_page(client, f"/media/{media.id}/passport")
    assert "1 photo unlinked from Q-104." in after.text
    assert "it waits among the unfiled" in after.text


@pytest.mark.parametrize(("address", "place"), [("/unfiled", "Unfiled"), ("/work/{}/pick", "Work")])
def test_the_navigation_says_where_one_is(client, job, address, place):
    page = client.get(address.format(job.id)).text
    [here] = re.findall(r'aria-current="page">.*?tabs__words">(\w+)<', page, re.DOTALL)

    assert here == place


def test_an_outgoing_photo_can_be_linked_too(client, maria):
    [media] = files(text(maria, direction=Message.Direction.OUTGOING), is_unfiled=False)
    job = quote(maria)

    client.post("/work/link", data={"media": media.id, "record": job.id})

    assert linked(job) == [media.id]
