"""The provider is asked on both surfaces, politely, and nobody else learns the key."""

import itertools
import logging
from datetime import UTC, datetime, timedelta

import pytest

from tests.support.hostile_server import (
    HostileServer,
    Wire,
    answer,
    dripping,
    endless,
    in_turn,
    redirect,
    resetting,
    silent,
)
from viewer.demo.provider import Provider
from viewer.demo.rest import Workspace, stamp
from viewer.quo import connection, rest

KEY = "test-key-1"
BEGIN = datetime(2026, 9, 21, 12, 0, tzinfo=UTC)
THEM, US = "+16175550123", "+16175550100"


@pytest.fixture
def provider():
    with Provider() as server:
        yield server


@pytest.fixture
def workspace():
    return Workspace(key=KEY, rate=10_000)


@pytest.fixture
def client(workspace, provider):
    with rest.Client(KEY, workspace.mount(provider), per_second=10_000, pauses=(0, 0)) as client:
        yield client


@pytest.fixture
def hostile():
    with HostileServer() as server:
        yield server


def ask(server, **words):
    words = {"per_second": 10_000, "pauses": (0, 0), "seconds": 5} | words
    return rest.Client(KEY, server.url(""), **words)


def text(number, **words):
    return {
        "id": f"ACmsg-test-{number}",
        "from": THEM,
        "to": [US],
        "text": "Hello",
        "media": [],
        "direction": "incoming",
        "status": "received",
        "conversationId": "CNtest1",
        "phoneNumberId": "PNdemo1",
        "createdAt": stamp(BEGIN + timedelta(minutes=number)),
    } | words


def call(number, **words):
    return {
        "id": f"ACcall-test-{number}",
        "direction": "incoming",
        "status": "completed",
        "participants": [
            {"phoneNumber": THEM, "actorId": None},
            {"phoneNumber": US, "actorId": "US1"},
        ],
        "conversationId": "CNtest1",
        "phoneNumberId": "PNdemo1",
        "createdAt": stamp(BEGIN + timedelta(minutes=number)),
        "answeredAt": None,
        "completedAt": stamp(BEGIN + timedelta(minutes=number + 1)),
    } | words


def add(workspace, *items):
    for item in items:
        kept = workspace.calls if "participants" in item else workspace.messages
        kept[item["id"]] = item


def ids(pages):
    return [item["id"] for page in pages for item in page.items]


# --- what it can ask ---


@pytest.mark.parametrize("only_v1", [False, True])
def test_every_text_is_listed_once_whatever_the_number_of_pages(client, workspace, only_v1):
    workspace.only_v1 = only_v1
    add(workspace, *(text(n) for n in range(230)))

    listed = ids(client.messages(since=BEGIN - timedelta(days=1)))

    assert listed == [f"ACmsg-test-{n}" for n in reversed(range(230))]


@pytest.mark.parametrize("only_v1", [False, True])
def test_a_list_begins_where_it_is_told(client, workspace, only_v1):
    workspace.only_v1 = only_v1
    add(workspace, *(text(n) for n in range(10)))
    add(workspace, *(call(n) for n in range(10)))

    since = BEGIN + timedelta(minutes=6)

    assert ids(client.messages(since)) == [f"ACmsg-test-{n}" for n in (9, 8, 7)]
    assert ids(client.calls(since))[:3] == [f"ACcall-test-{n}" for n in (9, 8, 7)]


def test_a_listing_goes_on_where_it_was_stopped_without_leaving_anything_out(client, workspace):
    same_moment = stamp(BEGIN)
    add(
        workspace,
        *(text(n, createdAt=same_moment) for n in range(60)),
        text(61, createdAt=stamp(BEGIN - timedelta(hours=1))),
    )
    first = next(client.messages(None))

    rest_of_it = ids(client.messages(None, before=first.oldest))

    assert {*ids([first]), *rest_of_it} == set(workspace.messages)


def test_a_place_mark_that_went_stale_costs_nothing(client, workspace):
    workspace.cursor_seconds = -1
    add(workspace, *(text(n) for n in range(120)))

    listed = ids(client.messages(None))

    assert set(listed) == set(workspace.messages)


@pytest.mark.parametrize("only_v1", [False, True])
def test_a_call_comes_with_its_voicemail_on_either_surface(client, workspace, only_v1):
    workspace.only_v1 = only_v1
    voicemail = {
        "id": "VMtest1",
        "status": "completed",
        "recordingUrl": "https://m.openph.one/v.mp3",
    }
    add(workspace, call(1, voicemail=voicemail))

    [[listed]] = [page.items for page in client.calls(None)]

    assert listed["voicemail"] == voicemail
    assert client.call("ACcall-test-1")["voicemail"] == voicemail
    assert client.voicemail("ACcall-test-1") == voicemail


@pytest.mark.parametrize("only_v1", [False, True])
def test_recordings_and_summaries_are_found_on_either_surface(client, workspace, only_v1):
    workspace.only_v1 = only_v1
    add(workspace, call(1, answeredAt=stamp(BEGIN), summary={"summary": ["Wet."]}))
    workspace.recordings["ACcall-test-1"] = [{"id": "CRtest1", "url": "https://m.openph.one/r.mp3"}]

    assert [item["id"] for item in client.recordings("ACcall-test-1")] == ["CRtest1"]
    assert client.call("ACcall-test-1")["summary"] == {"summary": ["Wet."]}


def test_a_transcript_of_several_stretches_counts_from_the_first(client, workspace):
    add(workspace, call(1, answeredAt=stamp(BEGIN)))
    workspace.transcripts["ACcall-test-1"] = [
        {"startTime": stamp(BEGIN), "dialogue": [{"content": "Hello", "start": 1.5, "end": 2.0}]},
        {
            "startTime": stamp(BEGIN + timedelta(seconds=60)),
            "dialogue": [{"content": "Back again", "start": 0.5, "end": 1.0, "actorId": "US1"}],
        },
    ]

    transcript = client.transcript("ACcall-test-1")

    told = [(line["start"], line["userId"]) for line in transcript["dialogue"]]
    assert told == [(1.5, None), (60.5, "US1")]


def test_webhooks_of_both_generations_and_of_every_colleague_are_seen_without_their_secrets(
    client, workspace
):
    ours = {"status": "enabled", "url": "https://viewer.example.com/webhooks/quo"}
    workspace.webhooks = [ours | {"id": "12", "events": ["message.received"]}]
    workspace.v1_webhooks = [
        ours
        | {"id": "WH1", "userId": "USdemo2", "events": [], "key": "c2VjcmV0", "status": "disabled"}
    ]

    new, old = client.webhooks()

    assert new == rest.Webhook("12", True, ours["url"], True, ("message.received",))
    assert (old.id, old.is_new, old.enabled) == ("WH1", False, False)
    assert "c2VjcmV0" not in repr(old)


def test_a_failed_delivery_is_listed_and_shown(client, workspace):
    entry = {
        "id": "msg_1",
        "eventId": "EV1",
        "eventType": "message.received",
        "createdAt": stamp(BEGIN),
    }
    workspace.webhooks = [{"id": "12", "status": "enabled", "url": "", "events": []}]
    workspace.deliveries["12"] = [
        entry | {"status": "failed", "requestBody": {"id": "EV1"}},
        entry | {"id": "msg_2", "status": "success"},
    ]

    [listed] = itertools.chain.from_iterable(client.failed_deliveries("12", None))

    assert "requestBody" not in listed
    assert client.delivery("12", "msg_1")["requestBody"] == {"id": "EV1"}
    assert listed["id"] == "msg_1"


def test_own_lines_and_the_address_book_are_read_to_the_end(client, workspace):
    workspace.lines = [{"id": f"PN{n}", "phoneNumber": f"+1617555{n:04}"} for n in range(51)]
    workspace.contacts = {f"CT{n}": {"id": f"CT{n}", "defaultFields": {}} for n in range(51)}

    assert len(client.phone_numbers()) == 51
    assert len([contact for page in client.contacts() for contact in page]) == 51


def test_what_the_provider_does_not_know_is_not_there(client):
    with pytest.raises(rest.NotThere):
        client.message("ACmsg-test-404")
    assert client.transcript("ACcall-test-404") is None
    assert client.voicemail("ACcall-test-404") is None


# --- trouble ---


@pytest.mark.parametrize("status", [429, 500, 502, 503])
def test_passing_trouble_is_waited_out(client, workspace, status):
    add(workspace, text(1))
    workspace.fail_next(2, status)

    assert client.message("ACmsg-test-1")["text"] == "Hello"


def test_trouble_that_stays_is_unreachable_after_a_few_tries(client, workspace):
    workspace.fail_next(50, 503)

    with pytest.raises(rest.Unreachable):
        client.message("ACmsg-test-1")
    assert len(workspace.asked) == 3


def test_a_pause_that_is_too_long_is_left_to_the_next_run(client, workspace):
    workspace.fail_next(1, 429, retry_after=1_000_000)

    with pytest.raises(rest.Unreachable) as caught:
        client.message("ACmsg-test-1")
    assert caught.value.retry_after == 1_000_000
    assert len(workspace.asked) == 1


def test_we_stay_below_what_the_provider_allows(provider):
    workspace = Workspace(key=KEY, rate=10)
    add(workspace, text(1))
    with rest.Client(KEY, workspace.mount(provider), per_second=9.5, pauses=()) as client:
        for _ in range(14):  # the eleventh of a second would be a 429, and here its end
            client.message("ACmsg-test-1")

    assert len(workspace.asked) == 14


@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_wrong_key_or_plan_says_so_and_is_not_tried_again(client, workspace, status):
    workspace.fail_next(1, status)

    with pytest.raises(rest.Refused) as caught:
        client.phone_numbers()
    assert caught.value.status == status
    assert len(workspace.asked) == 1


@pytest.mark.parametrize(
    "behaviour",
    [
        silent,
        resetting,
        dripping(b'{"data": []}' + b" " * 1000, every=0.02),
        lambda wire: wire.drip(b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200, every=0.02),
        answer(b'{"data": [', length=500),
        answer(b"<html>"),
        answer(b"[1]"),
        answer(b'{"data": 7}'),
        answer(b'{"data": NaN}'),
        answer(b"[" * 100_000),
    ],
    ids=["silent", "reset", "drip", "drip-head", "cut", "html", "list", "no-list", "nan", "deep"],
)
def test_an_answer_that_is_none_ends_in_time(hostile, behaviour):
    hostile.serve(behaviour, "/phone-numbers")

    with ask(hostile, seconds=0.3, pauses=()) as client, pytest.raises(rest.Unreachable):
        client.phone_numbers()


def test_an_endless_answer_is_cut_off(hostile, monkeypatch):
    monkeypatch.setattr(connection, "LARGEST_ANSWER", 1_000_000)
    hostile.serve(endless(), "/phone-numbers")

    with ask(hostile, pauses=()) as client, pytest.raises(rest.Unreachable, match="too long"):
        client.phone_numbers()


def test_a_list_that_goes_round_in_circles_ends(hostile):
    hostile.serve(answer(b'{"data": [], "nextCursor": "same"}'), "/phone-numbers")

    with ask(hostile) as client, pytest.raises(rest.Unreachable, match="circles"):
        client.phone_numbers()


def test_a_connection_that_was_closed_meanwhile_is_opened_again(hostile):
    good = answer(b'{"data": [{"id": "PN1", "phoneNumber": "+16175550100"}]}')
    hostile.serve(in_turn(good, resetting, good), "/phone-numbers")

    with ask(hostile) as client:
        assert client.phone_numbers() == client.phone_numbers()


# --- the key ---


def test_the_key_is_sent_bare_with_the_version(client, workspace):
    client.phone_numbers()

    [request] = workspace.asked
    assert request.headers["authorization"] == KEY
    assert request.headers["quo-api-version"] == "2026-03-30"


def test_the_key_is_never_taken_to_another_place(hostile):
    with HostileServer() as elsewhere:
        stolen = elsewhere.serve(answer(b'{"data": []}'), "/stolen")
        hostile.serve(redirect(stolen), "/phone-numbers")

        with ask(hostile) as client, pytest.raises(rest.Refused, match="another place"):
            client.phone_numbers()
        assert elsewhere.requests == []


def test_proxies_of_the_environment_do_not_see_the_key(hostile, monkeypatch):
    hostile.serve(answer(b'{"data": []}'), "/phone-numbers")
    with HostileServer() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url(""))
        with ask(hostile) as client:
            client.phone_numbers()
        assert proxy.connections == 0


def test_the_key_is_in_no_log_and_no_error(hostile, caplog):
    caplog.set_level(logging.DEBUG)

    def echo(wire: Wire) -> None:
        answer(wire.request.headers["authorization"].encode(), 500)(wire)

    hostile.serve(echo, "/phone-numbers")
    with ask(hostile) as client, pytest.raises(rest.Unreachable) as caught:
        client.phone_numbers()

    assert KEY not in caplog.text + repr(caught.value) + repr(client)


@pytest.mark.parametrize("key", ["", "Bearer test-key", "test-key\r\nX: y", "schlüssel"])
def test_a_key_that_cannot_be_one_is_refused_without_showing_it(key):
    with pytest.raises(rest.Refused) as caught:
        rest.Client(key)
    assert not key or key not in str(caught.value)


@pytest.mark.parametrize(
    "base",
    ["http://api.quo.com", "http://192.0.2.1", "ftp://api.quo.com", "https://", "https://a@b", "x"],
)
def test_the_key_only_travels_encrypted(base):
    with pytest.raises(rest.Refused):
        rest.Client(KEY, base)


def test_an_address_with_v1_at_its_end_means_the_same(workspace, provider):
    base = workspace.mount(provider)
    with rest.Client(KEY, f"{base}/v1", per_second=10_000) as client:
        assert client.phone_numbers()
