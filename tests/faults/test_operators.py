"""Rows 91 to 96 and 126 to 135 of the fault catalogue: repeats, drift, people at the controls."""

import threading
from collections.abc import Callable
from typing import Any

import pytest
import requests
import sqlalchemy as sa
from click.testing import CliRunner

from tests.conftest import BOTH
from tests.payloads import signed
from tests.support import servers
from tests.support.crowds import run_all
from tests.support.pictures import picture
from tests.support.stored_files import originals_below, photos
from tests.support.webhooks import LEGACY_SECRET, SECRET
from viewer import commands, create_app, schedule
from viewer.demo.provider import sign
from viewer.extensions import db
from viewer.models import MediaAttachment, Message, ScheduledTask, WebhookEvent
from viewer.upkeep import schema

DOOR = "/webhooks/quo"
State = MediaAttachment.State


@pytest.fixture
def console(settings, monkeypatch) -> Callable[..., Any]:
    """The `viewer` command with this test's settings."""
    for name, value in settings.items():
        monkeypatch.setenv(name, str(value))

    def say(*words: str) -> str:
        answer = CliRunner().invoke(commands.viewer, words, catch_exceptions=False)
        assert answer.exit_code == 0, answer.output
        return answer.output

    return say


# --- 91 to 96: the same thing said twice, strangely, or anew ---------------------------------


@BOTH
def test_91_one_photo_told_by_two_webhooks_and_again_is_one_row_one_file_one_download(
    deliver, message, provider, work, tmp_path
):
    photo = provider.serve(picture())
    text = message(media=[photo])

    answers = [
        deliver(text.payload("d1"), "legacy"),
        deliver(text.payload("d3"), delivery_id="msg_1"),
        deliver(text.payload("d3"), delivery_id="msg_2"),
        deliver(text.payload("d2"), delivery_id="msg_3"),
    ]
    work()

    assert {answer.status_code for answer in answers} == {204}
    assert db.session.scalar(sa.select(sa.func.count()).select_from(Message)) == 1
    assert [row.state for row in photos()] == [State.STORED]
    assert provider.gets(photo) == 1
    assert originals_below(tmp_path / "media") == [picture()]


@pytest.mark.parametrize(
    "shape",
    [None, [], "", {}, [None], ["", 7, {}], [{"type": "image/jpeg"}], {"url": 7}, "no address"],
    ids=str,
)
def test_94_media_in_a_strange_shape_are_answered_read_and_never_asked_for_again(
    shape, deliver, message, client, work, app
):
    payload = message(text="Look at this").payload()
    payload["data"]["resource"]["media"] = shape

    answer = deliver(payload)
    work()

    [event] = db.session.scalars(sa.select(WebhookEvent))
    assert answer.status_code == 204
    assert event.state is not WebhookEvent.State.RECEIVED
    assert "Look at this" in client.get("/").text


def test_96_a_field_that_was_renamed_alarms_and_newer_code_brings_its_photo_home(
    deliver, message, provider, work, client, console
):
    photo = provider.serve(picture())
    payload = message().payload()
    payload["data"]["resource"]["pictures"] = [{"href": photo}]
    deliver(payload, delivery_id="msg_1")
    work()
    alarms = {alarm["name"] for alarm in client.get("/healthz").json["attention"]}
    before = photos()
    # What newer code would make of it; here the bytes change in its stead.
    [event] = db.session.scalars(sa.select(WebhookEvent))
    event.body = event.body.replace(b'"media":[]', b'"nothing":0').replace(
        b'"pictures":[{"href"', b'"media":[{"url"'
    )
    db.session.commit()

    said = [console("reprocess") for _ in range(2)]
    work()

    assert "events_unparsed" in alarms
    assert before == []
    assert said[0] == "1 events to be read again\n"
    assert [row.state for row in photos()] == [State.STORED]
    db.session.refresh(event)
    assert event.state is WebhookEvent.State.PROCESSED


# --- 126, 128, 131: operators ----------------------------------------------------------------


@BOTH
def test_126_of_many_schedulers_that_come_at_once_one_sweeps(app, database):
    start, done, problems = threading.Barrier(8), [], []
    task = schedule.TaskDefinition("sweep", 10, 60, lambda: str(done.append(1)))

    def come(number: int) -> None:
        try:
            with app.app_context():
                start.wait()
                schedule.do_if_due(task, f"host{number}")
        except sa.exc.DBAPIError as problem:
            problems.append(problem)

    hosts = [threading.Thread(target=come, args=(number,)) for number in range(8)]
    run_all(hosts)

    assert (len(done), problems) == (1, [])
    assert db.session.get(ScheduledTask, "sweep").holder is None


@BOTH
def test_128_twenty_retries_and_an_allowed_host_are_one_download(
    settings, request, provider, message
):
    settings["MEDIA_ALLOW_LOOPBACK"] = False
    client, deliver, work, log_in = map(
        request.getfixturevalue, ("client", "deliver", "work", "log_in")
    )
    photo = provider.serve(picture())
    deliver(message(media=[photo]).payload())
    work()
    [refused] = photos()
    told = refused.state, refused.problem
    # The operator allows the host, and everybody presses the button.
    config = client.application.config["SETTINGS"]
    client.application.config["SETTINGS"] = config.model_copy(update={"MEDIA_ALLOW_LOOPBACK": True})
    start = threading.Barrier(10)
    staff = [log_in("office") for _ in range(10)]

    def press() -> None:
        person = staff.pop()
        start.wait()
        for _ in range(2):
            answers.append(person.post(f"/media/{refused.id}/attempts").status_code)

    answers: list[int] = []
    people = [threading.Thread(target=press) for _ in range(10)]
    run_all(people)
    work()

    assert told[0] is State.NEEDS_ATTENTION
    assert told[1]
    assert len(answers) == 20
    assert set(answers) <= {302, 303}
    assert [row.state for row in photos()] == [State.STORED]
    assert provider.gets(photo) == 1


NEW_SECRET = "whsec_YW5vdGhlci1zdGFuZGFyZC1rZXktMjQtYnl0ZXM="


@pytest.mark.parametrize("who", ["provider first", "we first"])
def test_131_a_secret_may_change_at_either_side_first(who, settings, message, provider):
    """Without both secrets some repeats are refused, and counted; the repeat that fits is kept."""

    def knock(with_secret: str, *known: str) -> int:
        app = create_app(settings | {"QUO_WEBHOOK_SECRETS": ",".join(known)})
        body, headers = signed(payload, "standard", with_secret, delivery_id="msg_1")
        return app.test_client().post(DOOR, data=body, headers=headers).status_code

    payload = message().payload()
    if who == "provider first":
        answers = [
            knock(NEW_SECRET, SECRET),
            knock(NEW_SECRET, SECRET, NEW_SECRET),
            knock(NEW_SECRET, NEW_SECRET),
        ]
    else:
        answers = [
            knock(SECRET, NEW_SECRET),
            knock(SECRET, SECRET, NEW_SECRET),
            knock(NEW_SECRET, NEW_SECRET),
        ]

    assert answers == [401, 204, 204]


# --- 134, 135: what is left lying about ------------------------------------------------------


def test_134_135_no_log_of_a_whole_journey_holds_a_customers_word_and_no_file_is_left(
    up, provider, message, tmp_path
):
    host = up(LOG_LEVEL="DEBUG")
    door = f"{host.url}{DOOR}"
    said = []

    def tell(payload: Any) -> None:
        answer = provider.deliver(door, payload, secret=SECRET)
        said.append(answer.request.headers.get("webhook-signature", "").removeprefix("v1,"))

    query = "?X-Goog-Signature=cafebabe99&X-Goog-Expires=60"
    for address in (
        provider.serve(picture()),
        provider.serve(b"away", status=404),
        "https://elsewhere.example.com/a.jpg",
        "http://127.0.0.1:9/",  # nobody listens there
    ):
        text = message(
            text="The key is under the doormat", sender="+16175550147", media=[address + query]
        )
        tell(text.payload())
    tell(b'{"type":"message.received","data":{"text":"under the doormat 617-555-0147"')
    refused = requests.post(
        door, data=b"under the doormat +16175550147", timeout=60,
        headers=sign(b"other", scheme="legacy", secret=LEGACY_SECRET),
    )  # fmt: skip
    states = "SELECT state FROM media_attachments ORDER BY state"
    settled = [("needs_attention",), ("needs_attention",), ("pending",), ("stored",)]
    servers.wait_until(lambda: host.rows(states) == settled)
    servers.wait_until(
        lambda: host.rows("SELECT count(*) FROM webhook_events WHERE state='unparsed'") == [(1,)]
    )
    host.process.terminate()
    host.process.wait(60)
    log = (tmp_path / "log").read_text()

    assert refused.status_code == 401
    assert "stored bytes=" in log
    assert "delivery refused" in log
    assert "unparsed" in log
    secrets = [
        "doormat", "6175550147", "617-555-0147", "555-0147", "X-Goog", "cafebabe99",
        SECRET, SECRET.removeprefix("whsec_"), *said,
    ]  # fmt: skip
    assert [word for word in secrets if word in log] == []
    assert list((tmp_path / "media" / ".incoming").iterdir()) == []


# --- 71: code and database do not fit ----------------------------------------------------------


def test_71_a_schema_that_does_not_fit_stops_every_part(app):
    schema.check()
    db.session.execute(sa.text("UPDATE alembic_version SET version_num = '0001'"))
    db.session.commit()

    with pytest.raises(schema.WrongSchema, match="at version 0001 and this code needs"):
        schema.check()
