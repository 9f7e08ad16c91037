"""What the webhooks did not bring is brought by the catch-up, once, from either surface."""

import json
import os
import subprocess
import sys
from datetime import timedelta

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.support.interleaving import interleave
from tests.support.pictures import picture
from viewer.demo.rest import Workspace, stamp
from viewer.extensions import db, now
from viewer.intake import addresses, questions, rest_client, subscription
from viewer.intake.addresses import freshen
from viewer.intake.catch_up import LAST_RUN, catch_up
from viewer.models import (
    Checkpoint,
    Contact,
    Conversation,
    MediaAttachment,
    Message,
    PhoneLine,
    WebhookEvent,
)
from viewer.office import closing
from viewer.quo import rest

pytestmark = pytest.mark.proof  # long stories, told with a provider of two surfaces

KEY = "test-key-1"
THEM, US = "+16175550123", "+16175550100"
HOOK = {
    "id": "12",
    "status": "enabled",
    "url": "https://viewer.example.com/webhooks/quo",
    "events": sorted(subscription.NEEDED_NEW),
}
State = MediaAttachment.State


@pytest.fixture
def workspace():
    return Workspace(key=KEY, rate=10_000, webhooks=[dict(HOOK)])


@pytest.fixture
def api(workspace, provider):
    with rest.Client(KEY, workspace.mount(provider), per_second=10_000, pauses=(0,)) as client:
        yield client


@pytest.fixture
def begin():
    return now().replace(microsecond=0) - timedelta(days=2)


@pytest.fixture
def text(workspace, begin):
    """A text at the provider, whose webhook never reached us."""

    def add(number, *urls, **words):
        workspace.messages[f"ACmsg-test-{number}"] = {
            "id": f"ACmsg-test-{number}",
            "from": THEM,
            "to": [US],
            "text": f"Hello {number}",
            "media": [{"url": url, "type": "image/jpeg"} for url in urls],
            "direction": "incoming",
            "status": "received",
            "conversationId": "CNtest1",
            "phoneNumberId": "PNdemo1",
            "createdAt": stamp(begin + timedelta(minutes=number)),
        } | words
        return workspace.messages[f"ACmsg-test-{number}"]

    return add


@pytest.fixture
def call(workspace, begin):
    def add(number, *, answered=False, **words):
        at = begin + timedelta(minutes=number)
        workspace.calls[f"ACcall-test-{number}"] = {
            "id": f"ACcall-test-{number}",
            "direction": "incoming",
            "status": "completed",
            "participants": [
                {"phoneNumber": THEM, "actorId": None},
                {"phoneNumber": US, "actorId": "US1"},
            ],
            "conversationId": "CNtest1",
            "phoneNumberId": "PNdemo1",
            "createdAt": stamp(at),
            "answeredAt": stamp(at) if answered else None,
            "completedAt": stamp(at + timedelta(minutes=1)),
        } | words
        return f"ACcall-test-{number}"

    return add


def rows(model):
    db.session.rollback()
    db.session.expire_all()
    return db.session.scalars(sa.select(model)).all()


def everything():
    """All that is true, but for the marks of the catch-up itself."""
    db.session.rollback()
    tables = [table for table in db.metadata.sorted_tables if table.name != "catch_up_marks"]
    found = {
        table.name: sorted(map(repr, db.session.execute(sa.select(table)).all()))
        for table in tables
    }
    db.session.rollback()
    return found


def mark(name):
    return next((row for row in rows(Checkpoint) if row.name == name), None)


# --- what never arrived ---


@BOTH
@pytest.mark.parametrize("only_v1", [False, True])
def test_a_photo_whose_webhook_was_lost_is_brought_home(
    only_v1, api, workspace, provider, text, work, app
):
    workspace.only_v1 = only_v1
    sent = picture()
    text(1, provider.serve(sent, content_type="image/jpeg"))

    summary = catch_up(api)
    work()

    assert summary.problems == []
    assert (summary.arrived, summary.media) == (1, 1)
    [media] = rows(MediaAttachment)
    assert media.state is State.STORED
    assert media.file_size == len(sent)
    [message] = rows(Message)
    assert message.body == "Hello 1"
    assert message.conversation.participants == THEM


def test_it_is_filed_under_its_own_date(api, provider, text, begin, app):
    text(1, provider.serve(b"x"))

    catch_up(api)

    [media] = rows(MediaAttachment)
    sent_at = begin + timedelta(minutes=1)
    assert media.file_path.startswith(f"{sent_at:%Y/%m/%d}/617-555-0123/messages/")


@pytest.mark.parametrize("only_v1", [False, True])
def test_voicemails_recordings_transcripts_and_summaries_are_brought_home(
    only_v1, api, workspace, provider, call, app
):
    workspace.only_v1 = only_v1
    voicemail = {"id": "VMtest1", "status": "completed", "duration": 18, "transcript": "Call me"}
    call(1, voicemail=voicemail | {"recordingUrl": provider.serve(b"v")})
    answered = call(2, answered=True, summary={"summary": ["Wet."], "nextSteps": ["Visit."]})
    workspace.recordings[answered] = [
        {"id": "CRtest1", "status": "completed", "url": provider.serve(b"r"), "duration": 60}
    ]
    workspace.transcripts[answered] = [{"dialogue": [{"content": "Hello", "start": 1, "end": 2}]}]

    summary = catch_up(api)

    assert summary.problems == []
    assert (summary.arrived, summary.media) == (2, 2)
    found = {row.role.value: row.provider_id for row in rows(MediaAttachment)}
    assert found == {"voicemail": "VMtest1", "recording": "CRtest1"}
    missed, spoken = sorted(rows(Message), key=lambda row: row.provider_id)
    assert missed.voicemail_transcript == "Call me"
    assert spoken.summary == ["Wet."]
    assert [line["text"] for line in spoken.transcript] == ["Hello"]


def test_recordings_that_will_never_be_there_need_nobodys_attention(api, workspace, call, app):
    workspace.recordings[call(1, answered=True)] = [
        {"id": f"CRtest-{status}", "status": status, "url": None}
        for status in ("absent", "deleted", "failed", "processing")
    ]

    catch_up(api)

    [media] = rows(MediaAttachment)
    assert media.provider_id == "CRtest-processing"


@pytest.mark.parametrize("status", [402, 403])
def test_a_plan_without_transcripts_does_not_stop_the_recordings(
    api, workspace, provider, call, monkeypatch, app, status
):
    for number in (1, 2):
        workspace.recordings[call(number, answered=True)] = [
            {"id": f"CRtest{number}", "url": provider.serve(b"r")}
        ]

    def refuse(_call_id):
        raise rest.Refused("Not in this plan.", status)

    monkeypatch.setattr(api, "transcript", refuse)

    summary = catch_up(api)

    assert summary.problems == []
    assert len(rows(MediaAttachment)) == 2


@pytest.mark.parametrize("only_v1", [False, True])
def test_every_page_is_read(api, workspace, text, app, only_v1):
    workspace.only_v1 = only_v1
    for number in range(130):
        text(number)

    summary = catch_up(api)

    assert summary.arrived == len(rows(Message)) == 130


def test_a_date_bounds_the_first_import(api, text, begin, app):
    text(1)
    text(60)

    catch_up(api, since=begin + timedelta(minutes=30))
    catch_up(api)

    assert [row.provider_id for row in rows(Message)] == ["ACmsg-test-60"]


def test_progress_is_told(api, text, app):
    for number in range(60):
        text(number)
    told = []

    catch_up(api, progress=lambda summary: told.append((summary.stage, summary.arrived)))

    assert ("messages", 50) in told
    assert ("messages", 60) in told


# --- once and only once ---


@BOTH
@pytest.mark.parametrize("only_v1", [False, True])
def test_a_second_run_changes_nothing(
    api, workspace, provider, text, call, work, app, only_v1, begin
):
    workspace.only_v1 = only_v1
    text(1, provider.serve(picture()), provider.serve(picture(800)))
    text(2, text="")
    answered = call(3, answered=True)
    workspace.recordings[answered] = [{"id": "CRtest1", "url": provider.serve(b"ID3 sound")}]
    catch_up(api)
    work()
    before = everything()

    first = catch_up(api)
    second = catch_up(api, since=begin)

    assert first.arrived == second.arrived == first.completed == second.completed == 0
    assert everything() == before


def test_a_message_that_did_arrive_is_left_as_it_is(
    api, workspace, provider, text, deliver, work, message, app
):
    url = provider.serve(picture())
    arrived = message(media=[url], sent_at=now() - timedelta(hours=3))
    deliver(arrived.payload())
    work()
    text(1, url, id=arrived.provider_id, text=arrived.text, createdAt=stamp(arrived.sent_at))
    catch_up(api)
    before = everything()

    summary = catch_up(api, since=now() - timedelta(days=3))

    assert (summary.arrived, summary.completed) == (0, 0)
    assert everything() == before
    assert len(rows(MediaAttachment)) == 1


def test_a_photo_that_has_another_address_over_rest_does_not_become_two(
    api, provider, text, deliver, work, message, app
):
    arrived = message(media=[provider.serve(picture()), provider.serve(picture(700))])
    deliver(arrived.payload())
    work()
    again = [provider.serve(picture()), provider.serve(picture(700))]
    text(1, *again, id=arrived.provider_id, status="delivered")

    catch_up(api)
    work()

    assert [row.state for row in rows(MediaAttachment)] == [State.STORED] * 2


def test_a_photo_that_the_webhook_left_out_is_added(
    api, provider, text, deliver, work, message, app
):
    url = provider.serve(picture())
    arrived = message(media=[url])
    deliver(arrived.payload())
    work()
    text(1, url, provider.serve(picture(700)), id=arrived.provider_id)

    summary = catch_up(api)
    work()

    assert summary.media == 1
    assert [row.state for row in rows(MediaAttachment)] == [State.STORED] * 2


def test_a_text_that_was_delivered_meanwhile_says_so(api, text, app):
    sent = text(1, **{"from": US, "to": [THEM], "direction": "outgoing", "status": "sent"})
    catch_up(api)
    sent["status"] = "delivered"

    catch_up(api, since=now() - timedelta(days=3))

    [message] = rows(Message)
    assert message.status == "delivered"


# --- killed in the middle ---

ONE_RUN = """
from viewer import create_app
from viewer.config import settings
from viewer.intake import catch_up
from viewer.quo import rest
with create_app().app_context():
    base = settings().QUO_API_URL
    with rest.Client("test-key-1", base, per_second=1000) as client:
        catch_up.catch_up(client)
"""


@BOTH
@pytest.mark.parametrize(
    ("place", "kept"),
    [
        ("catch_up.text@130", 129),  # in the midst of the third page: its text is not committed
        ("catch_up.read@3", 150),  # its texts are, and no mark says so
    ],
)
def test_a_run_that_was_killed_goes_on_where_it_was(
    place, kept, api, workspace, provider, text, app, settings
):
    for number in range(170):
        text(number)
    names = ("DATABASE_URL", "DATA_DIR", "REDIS_URL", "QUO_NUMBERS", "SECRET_KEY")
    environment = os.environ | {name: str(settings[name]) for name in names}
    environment |= {
        "QUO_API_URL": workspace.mount(provider),
        "VIEWER_FAILPOINTS": f"{place}=kill",
    }
    died = subprocess.run([sys.executable, "-c", ONE_RUN], env=environment, check=False)
    brought = len(rows(Message))
    text(500, createdAt=stamp(now()))

    summary = catch_up(api)

    assert died.returncode == -9
    assert brought == kept
    assert len(rows(Message)) == 171
    assert summary.arrived == 171 - kept
    # Not from the beginning: the unfinished list from where it was, then what is new.
    assert summary.listed < 100
    assert mark("message listing") is None


def test_an_outage_in_the_middle_is_told_and_made_up_for(api, workspace, text, app):
    for number in range(120):
        text(number)

    def fail_soon(summary):
        if summary.stage == "messages" and summary.arrived == 50:
            workspace.fail_next(2, 503)

    first = catch_up(api, progress=fail_soon)
    second = catch_up(api)

    assert first.problems == ["The phone provider answered 503."]
    assert (first.arrived, second.arrived) == (50, 70)
    assert second.problems == []


# --- the provider is away ---


@pytest.fixture
def run_at(api, workspace, time_machine_at):
    """A run so long after a moment; with `away`, the provider fails in the stage named."""

    def run(moment, age, *, away=None, status=503):
        def fail(summary):
            if summary.stage == away:
                workspace.fail_next(2, status)  # a try and its repeat

        with time_machine_at(moment + age):
            summary = catch_up(api, progress=fail)
        workspace._faults.clear()
        return summary

    return run


OUTAGE = [timedelta(minutes=10), *(timedelta(hours=hours) for hours in (1, 6, 23, 24))]


@BOTH
@pytest.mark.parametrize(
    ("stage", "status"), [("lines", 503), ("lines", 401), ("calls", 503), ("calls", 401)]
)
def test_a_recording_is_asked_for_after_the_provider_was_away_at_every_age(
    stage, status, run_at, workspace, provider, call, begin, app
):
    answered, over = call(1, answered=True), begin + timedelta(minutes=2)
    run_at(over, timedelta(minutes=2))  # the call is known, its recording not made yet
    workspace.recordings[answered] = [{"id": "CRtest1", "url": provider.serve(b"r")}]
    for age in OUTAGE:
        run_at(over, age, away=stage, status=status)

    summary = run_at(over, timedelta(hours=25))

    assert (summary.problems, summary.media) == ([], 1)
    assert [row.provider_id for row in rows(MediaAttachment)] == ["CRtest1"]


@pytest.mark.parametrize(("stage", "status"), [("lines", 503), ("addresses", 401)])
def test_an_address_is_asked_for_after_the_provider_was_away_at_every_age(
    stage, status, run_at, workspace, provider, call, begin, app
):
    answered, over = call(1, answered=True), begin + timedelta(minutes=2)
    workspace.recordings[answered] = [{"id": "CRtest1", "url": None}]
    run_at(over, timedelta(minutes=11))
    workspace.recordings[answered][0]["url"] = provider.serve(b"r")
    for age in OUTAGE:
        run_at(over + timedelta(minutes=11), age, away=stage, status=status)

    summary = run_at(over, timedelta(hours=25))

    assert (summary.problems, summary.media) == ([], 1)


def test_what_was_asked_for_is_not_asked_for_in_every_run(run_at, workspace, call, begin, app):
    call(1, answered=True)
    over = begin + timedelta(minutes=2)
    for minutes in (2, 11, 21, 31):
        run_at(over, timedelta(minutes=minutes))

    asked = [request.path for request in workspace.asked if "recordings" in request.path]

    assert len(asked) == 1


# --- one thing is not answered ---


@BOTH
@pytest.mark.parametrize("status", [403, 500])
@pytest.mark.parametrize("only_v1", [False, True])
def test_one_call_that_the_provider_refuses_keeps_nothing_else_and_is_asked_for_again(
    only_v1, status, run_at, workspace, provider, call, app
):
    workspace.only_v1 = only_v1
    ids = [call(number, answered=True) for number in range(4)]
    for id in ids:
        workspace.recordings[id] = [{"id": f"CR-{id}", "url": provider.serve(b"r")}]
        # Nobody told the age at which it is asked for again by itself.
        workspace.calls[id]["createdAt"] = stamp(now() - timedelta(days=400))
        workspace.calls[id]["completedAt"] = workspace.calls[id]["createdAt"]
    workspace.contacts["CTtest1"] = {"id": "CTtest1", "defaultFields": {"firstName": "Pat"}}
    newer, older = f"/calls/{ids[1]}/recordings", f"/call-recordings/{ids[1]}"
    workspace.broken = {newer: status, older: status}
    moment = now()

    first = run_at(moment, timedelta(0))
    known, recorded = len(rows(Message)), len(rows(MediaAttachment))
    again = run_at(moment, timedelta(minutes=2))
    workspace.broken.clear()
    last = run_at(moment, timedelta(minutes=11))

    assert (known, recorded, len(rows(Contact))) == (4, 3, 1)
    assert (len(first.problems), again.problems) == (1, [])  # it is not asked for in every run
    assert "1 not answered yet" in str(again)
    assert (last.unanswered, len(rows(MediaAttachment))) == (0, 4)


def test_a_transcript_that_is_not_told_does_not_lose_the_recording(
    api, workspace, provider, call, app
):
    answered = call(1, answered=True)
    workspace.recordings[answered] = [{"id": "CRtest1", "url": provider.serve(b"r")}]
    workspace.broken = {"/transcripts": 500}

    summary = catch_up(api)

    assert (summary.unanswered, summary.media) == (1, 1)


def test_a_provider_whose_recordings_are_down_is_not_asked_for_each_of_them(
    run_at, workspace, provider, call, app
):
    for number in range(30):
        id = call(number, answered=True)
        workspace.recordings[id] = [{"id": f"CR-{id}", "url": provider.serve(b"r")}]
    workspace.broken = {"recordings": 500}
    moment = now()

    summary = run_at(moment, timedelta(0))
    asked = [request.path for request in workspace.asked if "recordings" in request.path]
    workspace.broken.clear()
    run_at(moment, timedelta(minutes=11))

    assert len(asked) == 2 * 2 * rest.SEVERAL  # twice each, in two steps
    assert (summary.arrived, summary.unanswered) == (30, 30)
    assert len(rows(MediaAttachment)) == 30


@pytest.mark.parametrize("status", [403, 500])
def test_one_address_that_is_not_told_keeps_no_other(
    status, run_at, workspace, provider, text, deliver, work, message, app
):
    arrived = [message(media=[provider.serve(b"", status=404)]) for _ in range(3)]
    for one in arrived:
        deliver(one.payload())
    work()
    moment = now()
    run_at(moment, timedelta(0))  # no list goes back to them any more
    for one in arrived:
        text(one.number, provider.serve(picture()))
    workspace.broken = {f"/messages/{arrived[0].provider_id}": status}

    run_at(moment, timedelta(minutes=11))
    with_address = sum(row.state is State.PENDING for row in rows(MediaAttachment))
    workspace.broken.clear()
    summary = run_at(moment, timedelta(minutes=22))

    assert with_address == 2
    assert summary.unanswered == 0
    assert all(row.state is State.PENDING for row in rows(MediaAttachment))


@pytest.mark.parametrize("kind", ["messages", "calls"])
def test_somebody_anonymous_does_not_keep_everybody_else(kind, run_at, workspace, text, call, app):
    workspace.only_v1 = True
    others = {"conversationId": "CNtest0"}  # listed before the one that can be asked for
    if kind == "messages":
        text(1, **others | {"from": "Anonymous"})
        text(2)
    else:
        call(1, participants=[{"phoneNumber": "Anonymous"}], **others)
        call(2)
    moment = now()

    first = run_at(moment, timedelta(0))
    told = [row.provider_id[-1] for row in rows(Message)]
    for age in questions.ASK_AT:
        last = run_at(moment, age)

    assert told == ["2"]
    assert (first.unanswered, len(first.problems)) == (2, 1)  # its texts and its calls
    assert "no longer asked for" in str(last)
    assert run_at(moment, timedelta(days=31)).unanswered == 0


@pytest.mark.parametrize("status", [403, 500])
def test_a_conversation_that_was_left_out_is_read_from_where_it_was_missed(
    status, run_at, workspace, text, app
):
    workspace.only_v1 = True
    text(1, **{"from": "+16175550177", "conversationId": "CNtest0"})
    text(2)
    workspace.broken = {"+16175550177": status}
    moment = now()
    run_at(moment, timedelta(0))
    run_at(moment, timedelta(minutes=2))  # which lists the last hour only
    workspace.broken.clear()

    summary = run_at(moment, timedelta(minutes=11))

    assert (summary.unanswered, summary.arrived) == (0, 1)
    assert sorted(row.provider_id[-1] for row in rows(Message)) == ["1", "2"]


def test_a_call_of_v1_comes_without_its_voicemail_rather_than_never(
    run_at, workspace, provider, call, app
):
    workspace.only_v1 = True
    for number in (1, 2):
        voicemail = {"id": f"VMtest{number}", "status": "completed"}
        call(number, voicemail=voicemail | {"recordingUrl": provider.serve(b"v")})
    workspace.broken = {"/call-voicemails/ACcall-test-1": 500}
    moment = now()

    first = run_at(moment, timedelta(0))
    workspace.broken.clear()
    second = run_at(moment, timedelta(minutes=11))

    assert (first.arrived, first.media, first.unanswered) == (2, 1, 1)
    assert (second.media, second.unanswered) == (1, 0)


def test_one_delivery_that_is_not_told_keeps_no_other(run_at, workspace, provider, message, app):
    for number in (1, 2):
        payload = message(media=[provider.serve(picture())]).payload()
        workspace.deliveries.setdefault("12", []).append(
            {
                "id": f"msg_failed{number}",
                "eventId": payload["id"],
                "eventType": "message.received",
                "status": "failed",
                "createdAt": payload["createdAt"],
                "requestBody": payload,
            }
        )
    workspace.broken = {"msg_failed1": 500}
    moment = now()

    first = run_at(moment, timedelta(0))
    workspace.broken.clear()
    workspace.deliveries["12"][0]["status"] = "success"  # so that no list shows it again
    second = run_at(moment, timedelta(minutes=11))

    assert (first.replayed, first.unanswered) == (1, 1)
    assert (second.replayed, second.unanswered) == (1, 0)


# --- dead addresses ---


@BOTH
def test_a_dead_address_is_replaced_and_the_photo_comes(
    api, provider, text, deliver, work, message, app
):
    dead, alive = (
        provider.serve(b"", status=404),
        provider.serve(picture(), content_type="image/jpeg"),
    )
    arrived = message(media=[provider.serve(picture(700)), dead])
    deliver(arrived.payload())
    work()
    text(1, provider.serve(picture(700)), alive, id=arrived.provider_id)

    summary = catch_up(api)
    work()

    assert summary.media == 1
    assert [row.state for row in rows(MediaAttachment)] == [State.STORED] * 2


def test_a_dead_address_is_replaced_at_once_but_not_for_ever(
    api, provider, text, deliver, message, work, app
):
    arrived = message(media=[provider.serve(b"", status=403)])
    deliver(arrived.payload())
    work()
    [media] = rows(MediaAttachment)
    paces = []
    for failures in range(1, 6):  # each address they give is dead, too
        text(1, provider.serve(b"", status=403), id=arrived.provider_id)
        later = now() + timedelta(minutes=5)
        media.state, media.failures, media.next_attempt_at = State.NEEDS_ATTENTION, failures, later
        db.session.commit()
        assert freshen(media.id, api)
        [media] = rows(MediaAttachment)
        paces.append(media.next_attempt_at < later)

    assert paces == [True, True, True, False, False]
    assert media.failures == 5


@BOTH
def test_a_file_that_is_closed_meanwhile_does_not_wait_again(
    api, provider, text, deliver, message, work, app
):
    arrived = message(media=[provider.serve(b"", status=403)])
    deliver(arrived.payload())
    work()
    [media] = rows(MediaAttachment)
    assert media.state is State.NEEDS_ATTENTION
    text(1, provider.serve(b"", status=403), id=arrived.provider_id)

    def close() -> None:
        found = db.session.get_one(MediaAttachment, media.id)
        assert closing.close(found, MediaAttachment.Closing.GIVEN_UP, "")
        db.session.commit()

    interleave(app, lambda: freshen(media.id, api), close, before="UPDATE media_attachments")

    [media] = rows(MediaAttachment)
    assert media.state is State.CLOSED


def fresh_address(media: MediaAttachment, client: rest.Client) -> str | None:
    """Where the provider has this file now; None if it says nothing new."""
    found = addresses.find_again(media, client)
    return found[0].url if found else None


def test_a_fresh_address_is_found_by_the_place_of_the_file(
    api, provider, text, deliver, message, work, app
):
    arrived = message(media=[provider.serve(b"", status=403), provider.serve(b"", status=403)])
    deliver(arrived.payload())
    work()
    fresh = [provider.serve(b"1"), provider.serve(b"2")]
    text(1, *fresh, id=arrived.provider_id)

    media = sorted(rows(MediaAttachment), key=lambda row: row.position)

    assert [fresh_address(row, api) for row in media] == fresh


def test_fresh_tokens_find_their_photos_by_place_and_make_no_new_ones(
    api, text, deliver, message, work, app
):
    token = "https://files.example.com/download?token="
    arrived = message(media=[f"{token}aaa", f"{token}bbb"])
    deliver(arrived.payload())
    work()
    text(1, f"{token}ccc", f"{token}ddd", id=arrived.provider_id)

    media = sorted(rows(MediaAttachment), key=lambda row: row.position)
    fresh = [fresh_address(row, api) for row in media]
    assert fresh == [f"{token}ccc", f"{token}ddd"]

    assert freshen(media[1].id, api)
    catch_up(api)
    deliver(arrived.payload())
    work()

    media = sorted(rows(MediaAttachment), key=lambda row: row.position)
    assert [row.openphone_url for row in media] == fresh


def test_a_fresh_address_that_differs_in_its_signature_belongs_to_the_same_path(
    api, provider, text, deliver, message, work, app
):
    one, two = provider.serve(b"", status=403), provider.serve(b"", status=403)
    arrived = message(media=[f"{one}?X-Amz-Signature=old", f"{two}?X-Amz-Signature=old"])
    deliver(arrived.payload())
    work()
    text(1, f"{two}?X-Amz-Signature=new", f"{one}?X-Amz-Signature=new", id=arrived.provider_id)

    media = sorted(rows(MediaAttachment), key=lambda row: row.position)

    assert fresh_address(media[0], api) == f"{one}?X-Amz-Signature=new"


def test_a_voicemail_and_a_recording_get_fresh_addresses(api, workspace, provider, call, app):
    voicemail = {"id": "VMtest1", "recordingUrl": provider.serve(b"old")}
    call(1, voicemail=voicemail)
    workspace.recordings[call(2, answered=True)] = [{"id": "CRtest1", "url": provider.serve(b"o")}]
    catch_up(api)
    voicemail["recordingUrl"] = provider.serve(b"new")
    workspace.recordings["ACcall-test-2"][0]["url"] = provider.serve(b"new")

    fresh = {row.role.value: fresh_address(row, api) for row in rows(MediaAttachment)}

    assert fresh == {
        "voicemail": voicemail["recordingUrl"],
        "recording": workspace.recordings["ACcall-test-2"][0]["url"],
    }


def test_there_is_no_fresh_address_where_the_provider_has_none(api, workspace, provider, text, app):
    text(1, provider.serve(b"x"))
    catch_up(api)
    [media] = rows(MediaAttachment)

    assert fresh_address(media, api) is None  # the same as before
    workspace.messages.clear()
    assert fresh_address(media, api) is None


# --- who is who ---


def test_own_numbers_and_names_are_learnt(api, workspace, text, app):
    second = "+16175550199"
    workspace.lines.append({"id": "PNtest2", "phoneNumber": second, "name": "Yard"})
    workspace.contacts["CTtest1"] = {
        "id": "CTtest1",
        "defaultFields": {"firstName": "Pat", "phoneNumbers": [{"value": THEM}]},
    }
    text(1, to=[second], phoneNumberId="PNtest2")

    catch_up(api)

    assert {row.number: row.name for row in rows(PhoneLine)}[second] == "Yard"
    assert [row.participants for row in rows(Conversation)] == [THEM]
    assert [row.name for row in rows(Contact)] == ["Pat"]


# --- webhooks ---


@pytest.mark.parametrize(
    ("hooks", "value"),
    [
        ([], "missing"),
        ([HOOK | {"url": "https://other.example.com/hook"}], "missing"),
        ([HOOK | {"status": "disabled"}], "disabled"),
        ([HOOK | {"events": ["message.received"]}], "incomplete"),
        ([HOOK], "good"),
    ],
)
def test_a_subscription_that_would_not_deliver_is_reported(api, workspace, app, hooks, value):
    workspace.webhooks = hooks

    summary = catch_up(api)

    assert mark(subscription.CHECKPOINT).value == value
    assert summary.problems == ([] if value == "good" else [mark(subscription.CHECKPOINT).said])


def test_an_older_subscription_counts(api, workspace, app):
    workspace.webhooks = []
    workspace.v1_webhooks = [
        HOOK
        | {"id": "WH1", "userId": "USdemo2", "events": ["message.received", "message.delivered"]},
        HOOK | {"id": "WH2", "events": ["call.completed", "call.recording.completed"]},
    ]

    assert catch_up(api).problems == []


def test_a_webhook_that_the_api_does_not_show_is_no_alarm_while_it_delivers(
    api, workspace, deliver, message, app
):
    workspace.webhooks = []
    deliver(message().payload("d1"), "legacy")

    summary = catch_up(api)

    assert mark(subscription.CHECKPOINT).value == "unseen"
    assert summary.problems == []


@pytest.mark.parametrize("as_text", [False, True])
def test_a_delivery_that_failed_is_replayed_once(
    api, workspace, provider, message, work, app, as_text
):
    payload = message(media=[provider.serve(picture())]).payload()
    entry = {"status": "failed", "createdAt": payload["createdAt"], "eventType": "message.received"}
    workspace.deliveries["12"] = [
        entry
        | {
            "id": "msg_failed1",
            "eventId": payload["id"],
            "requestBody": json.dumps(payload) if as_text else payload,
        },
        entry | {"id": "msg_test1", "eventId": None, "requestBody": payload},  # a test of theirs
    ]

    first, second = catch_up(api), catch_up(api)
    work()

    assert (first.replayed, second.replayed) == (1, 0)
    [event] = rows(WebhookEvent)
    assert (event.delivery_id, event.scheme) == ("msg_failed1", "log")
    assert event.state is WebhookEvent.State.PROCESSED
    assert [row.state for row in rows(MediaAttachment)] == [State.STORED]


def test_a_delivery_that_came_after_all_is_not_replayed(api, workspace, deliver, message, app):
    payload = message().payload()
    deliver(payload, delivery_id="msg_late1")
    workspace.deliveries["12"] = [
        {
            "id": "msg_late1",
            "eventId": payload["id"],
            "status": "failed",
            "createdAt": payload["createdAt"],
            "requestBody": payload,
        }
    ]

    assert catch_up(api).replayed == 0
    assert len(rows(WebhookEvent)) == 1


# --- trouble ---


def test_a_wrong_key_says_so_on_the_status_page(workspace, provider, app):
    with rest.Client("wrong-key", workspace.mount(provider), per_second=10_000) as client:
        summary = catch_up(client)

    assert summary.problems == ["The phone provider does not accept our key (QUO_API_KEY)."]
    assert "QUO_API_KEY" in mark(LAST_RUN).said
    assert len(workspace.asked) == 1


def test_what_cannot_be_understood_hides_nothing_else(api, text, app):
    text(1, direction="sideways")
    text(2)

    summary = catch_up(api)

    assert (summary.arrived, summary.not_understood) == (1, 1)
    assert "1 things in the provider's lists were not understood." in summary.problems


def test_nobody_waits_for_the_provider_inside_a_transaction(
    api, workspace, provider, text, call, app
):
    text(1, provider.serve(b"", status=404))
    workspace.recordings[call(2, answered=True)] = [{"id": "CRtest1", "url": None}]
    held, session = [], db.session()

    def note(request):
        held.append(session.in_transaction())
        return Workspace.answer(workspace, request)

    provider.mount("/api/", note)
    catch_up(api)
    catch_up(api)

    assert held
    assert not any(held)


def test_without_a_key_there_is_no_client(app):
    assert rest_client.new_client() is None
