"""The provider's door: what is answered, what is kept, and what is said about the rest."""

import json
import logging
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
import requests
import sqlalchemy as sa
import time_machine
from flask import Flask, request
from flask.testing import FlaskClient

from tests.conftest import BOTH
from tests.payloads import load, signed
from tests.support import servers
from tests.support.crowds import run_all
from tests.support.servers import free_port
from tests.support.webhooks import DOOR, LEGACY_SECRET, SECRET, elsewhere, kept
from viewer import create_app, extensions
from viewer.extensions import UnsafeDatabase, db
from viewer.models import Conversation, MediaAttachment, Message, RefusedDelivery, WebhookEvent
from viewer.web import webhooks

VECTORS = json.loads((Path(__file__).parent.parent / "quo/signature_vectors.json").read_text())
SIGNED_AT = datetime.fromtimestamp(1_790_000_000, UTC)
MEBIBYTE = 1024 * 1024
# As a WSGI server passes on a body of unknown length.
CHUNKED = {"HTTP_TRANSFER_ENCODING": "chunked", "wsgi.input_terminated": True, "CONTENT_LENGTH": ""}


@pytest.fixture
def client_with(settings: dict[str, Any], request: pytest.FixtureRequest) -> Callable[..., Any]:
    """A client of a viewer with these settings."""

    def change(**values: Any) -> FlaskClient:
        settings.update(values)
        return request.getfixturevalue("client")

    return change


def refusals(app: Flask) -> dict[str, int]:
    engine = elsewhere(app)
    with engine.connect() as connection:
        rows = connection.execute(sa.select(RefusedDelivery.reason, RefusedDelivery.count)).all()
    engine.dispose()
    return dict(rows)


# --- Kept, then answered -------------------------------------------------------------------


@BOTH
def test_a_delivery_is_in_the_database_when_it_is_confirmed(deliver, message, app):
    payload = message().payload()

    answer = deliver(payload, delivery_id="msg_first")

    assert (answer.status_code, answer.data) == (204, b"")
    assert [(name, json.loads(body)) for name, body in kept(app)] == [("msg_first", payload)]


@BOTH
def test_the_usual_delivery_needs_no_flask_and_any_other_is_answered_alike(client, message, app):
    asked = []

    @app.before_request
    def note() -> None:
        asked.append(request.full_path)

    answers = []
    for number, (query, transfer) in enumerate([("", {}), ("?from=quo", {}), ("", CHUNKED)]):
        body, headers = signed(message().payload(), "standard", SECRET, delivery_id=f"msg_{number}")
        answers.append(
            client.post(
                DOOR + query, headers=headers, environ_overrides=transfer,
                **({"input_stream": BytesIO(body)} if transfer else {"data": body}),
            )
        )  # fmt: skip

    assert [(answer.status_code, answer.data) for answer in answers] == [(204, b"")] * 3
    assert asked == [f"{DOOR}?from=quo", f"{DOOR}?"]
    assert sorted(name for name, _ in kept(app)) == ["msg_0", "msg_1", "msg_2"]
    assert [answer.headers["X-Content-Type-Options"] for answer in answers] == ["nosniff"] * 3


def test_half_a_delivery_is_kept_nowhere_and_counted_as_no_refusal(client, message, app):
    body, headers = signed(message().payload(), "standard", SECRET)
    announced = {"CONTENT_LENGTH": str(len(body))}

    answer = client.post(
        DOOR, data=body[: len(body) // 2], headers=headers, environ_overrides=announced
    )

    assert (answer.status_code, kept(app), refusals(app)) == (400, [], {})


def test_a_delivery_under_a_strange_name_of_the_host_is_refused(settings, message, app):
    body, headers = signed(message().payload(), "standard", SECRET)
    client = create_app(settings | {"TRUSTED_HOSTS": "photos.example"}).test_client()

    answer = client.post(DOOR, data=body, headers=headers | {"Host": "evil.example"})
    ours = client.post(DOOR, data=body, headers=headers | {"Host": "photos.example"})

    assert (answer.status_code, ours.status_code) == (400, 204)
    assert len(kept(app)) == 1


@BOTH
def test_the_bytes_are_kept_exactly_as_they_came(client, app):
    body = b'\xef\xbb\xbf{ "id" :\t"EV1",\r\n "x": "\xff\xc3\xb6 \\u0000 \x00" }\n\n'
    content, headers = signed(body, "standard", SECRET, delivery_id="msg_odd")

    answer = client.post(DOOR, data=content, headers=headers)

    assert answer.status_code == 204
    assert kept(app) == [("msg_odd", body)]


@BOTH
@pytest.mark.parametrize("scheme", ["standard", "legacy"])
def test_a_repeat_is_answered_alike_and_changes_nothing(
    scheme, deliver, message, work, provider, app
):
    plan = provider.serve(b"%PDF-1.4 a plan")
    dialect, words = ("d3", {"delivery_id": "msg_same"}) if scheme == "standard" else ("d1", {})
    payload = message(media=[plan]).payload(dialect)
    answers = [deliver(payload, scheme, **words)]
    work()
    before = snapshot()

    answers += [deliver(payload, scheme, **words) for _ in range(3)]
    work()

    assert {(answer.status_code, answer.data) for answer in answers} == {(204, b"")}
    assert snapshot() == before
    assert provider.gets(plan) == 1


def snapshot() -> dict[str, list[dict[str, Any]]]:
    db.session.rollback()
    tables = (WebhookEvent, Conversation, Message, MediaAttachment)
    found = {
        table.__tablename__: [
            dict(row._mapping) for row in db.session.execute(sa.select(table.__table__))
        ]
        for table in tables
    }
    db.session.rollback()
    assert all(len(rows) == 1 for rows in found.values())
    return found


def missed_call(voicemail: str) -> dict[str, dict[str, Any]]:
    """One event as two webhooks of the older kinds tell it; only the first knows the voicemail."""
    app_webhook = load("d1_call_missed_voicemail")
    app_webhook["data"]["object"]["voicemail"]["url"] = voicemail
    api_webhook = load("d2_call_without_participants") | {"id": app_webhook["id"]}
    api_webhook["data"]["object"]["id"] = app_webhook["data"]["object"]["id"]
    return {"d1": app_webhook, "d2": api_webhook}


@BOTH
@pytest.mark.parametrize("order", [["d1", "d2"], ["d2", "d1"]], ids=str)
def test_an_event_that_two_webhooks_tell_is_kept_twice(order, deliver, work, provider, app):
    voicemail = provider.serve(b"ID3 a voice")
    told = [missed_call(voicemail)[dialect] for dialect in order]

    answers = [deliver(payload, "legacy") for payload in (*told, *told, *told)]
    work()

    assert {answer.status_code for answer in answers} == {204}
    assert sorted(json.dumps(json.loads(body)) for _, body in kept(app)) == sorted(
        json.dumps(payload) for payload in told
    )
    name, other = sorted(name for name, _ in kept(app))
    assert re.fullmatch(re.escape(name) + ":[0-9a-f]{16}", other)
    assert [row.openphone_url for row in db.session.scalars(sa.select(MediaAttachment))] == [
        voicemail
    ]


def test_another_body_under_one_delivery_id_is_kept_too(deliver, message, app):
    long_id = "msg_" + "x" * 251
    first, second = message().payload(), message().payload()

    answers = [deliver(payload, delivery_id=long_id) for payload in (first, second, first, second)]

    assert {answer.status_code for answer in answers} == {204}
    assert [json.loads(body) for _, body in kept(app)] in ([first, second], [second, first])


@BOTH
def test_two_bodies_of_one_event_at_a_dozen_doors_at_once_are_kept_once_each(app, message):
    told = missed_call("https://m.openph.one/static/1.mp3")
    parcels = [signed(payload, "legacy", LEGACY_SECRET) for payload in told.values()] * 6
    start, answers = threading.Barrier(12), []

    def knock(body: bytes, headers: dict[str, str]) -> None:
        start.wait()
        answers.append(app.test_client().post(DOOR, data=body, headers=headers).status_code)

    crowd = [threading.Thread(target=knock, args=parcel) for parcel in parcels]
    run_all(crowd)

    assert answers == [204] * 12
    assert {body for _, body in kept(app)} == {body for body, _ in parcels}
    assert len(kept(app)) == 2


@BOTH
def test_one_delivery_at_ten_doors_at_once_is_kept_once(app, message):
    body, headers = signed(message().payload(), "standard", SECRET, delivery_id="msg_crowd")
    start, answers = threading.Barrier(10), []

    def knock() -> None:
        start.wait()
        answers.append(app.test_client().post(DOOR, data=body, headers=headers).status_code)

    threads = [threading.Thread(target=knock) for _ in range(10)]
    run_all(threads)

    assert answers == [204] * 10
    assert [name for name, _ in kept(app)] == ["msg_crowd"]


# --- Genuine or not ------------------------------------------------------------------------


def headers_of(vector: dict[str, str]) -> dict[str, str]:
    if "header" in vector:
        return {"openphone-signature": vector["header"]}
    return {
        "webhook-id": vector["id"],
        "webhook-timestamp": vector["timestamp"],
        "webhook-signature": vector["signature"],
    }


ALL_KEYS = ",".join(VECTORS["keys"].values())
ALL_VECTORS = pytest.mark.parametrize(
    "vector", VECTORS["legacy"] + VECTORS["standard"], ids=lambda vector: vector["name"]
)


@ALL_VECTORS
def test_a_computed_signature_opens_the_door(vector, client_with):
    client, body = client_with(QUO_WEBHOOK_SECRETS=ALL_KEYS), vector["body"].encode()

    with time_machine.travel(SIGNED_AT + timedelta(seconds=5), tick=False):
        answer = client.post(DOOR, data=body, headers=headers_of(vector))

    assert answer.status_code == 204
    assert [content for _, content in kept(client.application)] == [body]


def test_the_published_signature_opens_the_door(client_with):
    vector = VECTORS["published_standard_webhooks"]
    client = client_with(QUO_WEBHOOK_SECRETS=vector["key"])

    with time_machine.travel(datetime.fromtimestamp(int(vector["timestamp"]), UTC), tick=False):
        answer = client.post(DOOR, data=vector["body"].encode(), headers=headers_of(vector))

    assert answer.status_code == 204
    assert kept(client.application) == [(vector["id"], vector["body"].encode())]


@ALL_VECTORS
def test_another_body_under_that_signature_is_refused(vector, client_with):
    client, body = client_with(QUO_WEBHOOK_SECRETS=ALL_KEYS), vector["body"].encode()

    with time_machine.travel(SIGNED_AT, tick=False):
        answer = client.post(DOOR, data=body.replace(b"EV", b"EW"), headers=headers_of(vector))

    assert (answer.status_code, kept(client.application)) == (401, [])
    assert refusals(client.application) == {"wrong_signature": 1}


GOOD = signed({"id": "EV1"}, "standard", SECRET, at=SIGNED_AT.timestamp())


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "no_signature"),
        ({"webhook-signature": None}, "no_signature"),
        ({"webhook-signature": "v1,"}, "wrong_signature"),
        ({"webhook-signature": GOOD[1]["webhook-signature"][:-5]}, "wrong_signature"),
        ({"webhook-signature": GOOD[1]["webhook-signature"].replace("v1", "v2")}, "malformed"),
        ({"webhook-signature": "v1,grüße"}, "malformed"),
        ({"webhook-id": "msg_other"}, "wrong_signature"),
        ({"webhook-timestamp": "yesterday"}, "malformed"),
        ({"openphone-signature": "hmac;1;1790000000000;AAAA", "webhook-signature": None},
         "wrong_signature"),
        ({"openphone-signature": "rsa;9;1", "webhook-signature": None}, "malformed"),
    ],
)  # fmt: skip
def test_a_refusal_is_counted_by_its_reason_and_nothing_is_kept(headers, reason, client, app):
    sent = {} if not headers else {k: v for k, v in (GOOD[1] | headers).items() if v is not None}

    with time_machine.travel(SIGNED_AT, tick=False):
        answer = client.post(DOOR, data=GOOD[0], headers=sent)
        page = client.get("/status").text

    assert (answer.status_code, answer.text.strip(), kept(app)) == (401, reason, [])
    assert refusals(app) == {reason: 1}
    assert reason.replace("_", " ") in page


@pytest.mark.parametrize(("minutes", "status"), [(-6, 401), (-4, 204), (4, 204), (6, 401)])
def test_an_old_delivery_is_no_use_to_a_thief(minutes, status, client, app):
    with time_machine.travel(SIGNED_AT + timedelta(minutes=minutes), tick=False):
        answer = client.post(DOOR, data=GOOD[0], headers=GOOD[1])

    assert answer.status_code == status
    assert len(kept(app)) == (status == 204)
    assert refusals(app) == ({} if status == 204 else {"stale": 1})


def test_without_a_secret_everything_is_refused(client_with):
    client = client_with(QUO_WEBHOOK_SECRETS="")

    with time_machine.travel(SIGNED_AT, tick=False):
        answer = client.post(DOOR, data=GOOD[0], headers=GOOD[1])

    assert (answer.status_code, kept(client.application), refusals(client.application)) == (
        401,
        [],
        {"no_key": 1},
    )


def test_the_log_names_headers_and_tells_no_secret(client, deliver, message, caplog, app):
    caplog.set_level(logging.DEBUG, "viewer")
    headers = {"openphone-signature": "hmac;1;now;c2lnbmF0dXJl", "X-Api-Key": "sesame"}

    client.post(DOOR, data=b"a private body", headers=headers)
    deliver(message(text="The key is under the mat").payload())

    assert "delivery refused: wrong_signature, times: 1" in caplog.text
    assert "openphone-signature" in caplog.text
    assert "x-api-key" in caplog.text
    assert " kept bytes=" in caplog.text
    secrets = (
        "sesame",
        "private",
        "c2lnbmF0dXJl",
        "under the mat",
        "0123",
        SECRET,
        LEGACY_SECRET,
    )
    said = re.sub(r"event=[0-9a-f-]{36}", "", caplog.text)  # ids are made by chance
    assert [word for word in secrets if word in said] == []


# --- Counting refusals ---------------------------------------------------------------------


@pytest.fixture
def writes(app: Flask) -> Iterator[list[str]]:
    """The statements that changed the database since."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        if statement.startswith(("INSERT", "UPDATE", "DELETE")):
            seen.append(statement)

    sa.event.listen(db.engine, "before_cursor_execute", note)
    yield seen
    sa.event.remove(db.engine, "before_cursor_execute", note)


@BOTH
def test_a_flood_of_refusals_is_one_write_a_second_and_loses_no_count(
    client, app, writes, monkeypatch
):
    monkeypatch.setattr("viewer.web.refusals.WRITE_EVERY", 1e9)
    threads = set(threading.enumerate())

    for _ in range(60):
        client.post(DOOR, data=b"rubbish")
    during = refusals(app), len(writes), set(threading.enumerate()) - threads
    monkeypatch.setattr("viewer.web.refusals.WRITE_EVERY", 0)
    client.post(DOOR, data=b"rubbish", headers={"openphone-signature": "?"})

    assert during == ({"no_signature": 1}, 1, set())
    assert refusals(app) == {"no_signature": 60, "malformed": 1}


def test_a_crowd_of_refusals_is_counted_to_the_last(app, monkeypatch):
    monkeypatch.setattr("viewer.web.refusals.WRITE_EVERY", 0.01)

    def knock() -> None:
        for _ in range(25):
            app.test_client().post(DOOR, data=b"rubbish")

    threads = [threading.Thread(target=knock) for _ in range(6)]
    run_all(threads)
    app.extensions["refusals"].write()

    assert refusals(app) == {"no_signature": 150}


@pytest.mark.on_sqlite("is about its lock, its file or its settings")
def test_refusals_are_counted_later_when_the_database_is_busy(
    client, app, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(extensions, "REQUEST_PATIENCE", 0.05)
    monkeypatch.setattr("viewer.web.refusals.WRITE_EVERY", 0)
    with closing(extensions.sqlite.connect(tmp_path / "viewer.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        while_busy = client.post(DOOR, data=b"rubbish")
        other.execute("ROLLBACK")

    client.post(DOOR, data=b"rubbish")

    assert while_busy.status_code == 401
    assert "refusals are not written yet" in caplog.text
    assert refusals(app) == {"no_signature": 2}


# --- Too large -----------------------------------------------------------------------------


def test_a_signed_body_of_eight_mebibytes_is_taken_and_one_byte_more_is_not(client, app):
    largest = b'{"id":"EV1","pad":"' + b"x" * (8 * MEBIBYTE - 21) + b'"}'
    too_large = largest[:-2] + b'x"}'

    answers = []
    for content in (largest, too_large):
        body, headers = signed(content, "standard", SECRET)
        answers.append(client.post(DOOR, data=body, headers=headers).status_code)

    assert len(largest) == 8 * MEBIBYTE
    assert answers == [204, 413]
    assert [body for _, body in kept(app)] == [largest]


def test_without_a_signature_a_body_of_a_mebibyte_is_read_and_one_byte_more_is_not(client, app):
    answers = [client.post(DOOR, data=b"x" * size) for size in (MEBIBYTE, MEBIBYTE + 1)]

    assert [answer.status_code for answer in answers] == [401, 413]
    assert refusals(app) == {"no_signature": 1}


def test_few_large_bodies_are_read_at_once(client, app, monkeypatch):
    monkeypatch.setattr(webhooks, "WAIT_FOR_LARGE", 0.01)
    content = b'{"id":"EV1","pad":"' + b"x" * MEBIBYTE + b'"}'
    body, headers = signed(content, "standard", SECRET)
    room = app.extensions["large_deliveries"]

    for _ in range(webhooks.LARGE_AT_ONCE):
        assert room.acquire(blocking=False)
    meanwhile = client.post(DOOR, data=body, headers=headers)
    room.release()
    afterwards = [client.post(DOOR, data=body, headers=headers) for _ in range(3)]

    assert meanwhile.status_code == 503  # the provider retries
    assert [answer.status_code for answer in afterwards] == [204] * 3
    assert [body for _, body in kept(app)] == [content]


# --- Cannot be kept now --------------------------------------------------------------------


@pytest.mark.on_sqlite("is about its lock, its file or its settings")
def test_a_locked_database_is_answered_503_and_the_repeat_is_kept(
    deliver, message, app, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(extensions, "REQUEST_PATIENCE", 0.05)
    payload = message(text="The key is under the mat").payload()
    with closing(extensions.sqlite.connect(tmp_path / "viewer.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        first = deliver(payload, delivery_id="msg_1")
        other.execute("ROLLBACK")
    before_the_repeat = kept(app)

    again = deliver(payload, delivery_id="msg_1")

    assert (first.status_code, first.headers["Retry-After"]) == (503, "5")
    assert before_the_repeat == []
    assert again.status_code == 204
    assert [name for name, _ in kept(app)] == ["msg_1"]
    assert "The database does not answer: database is locked" in caplog.text


@pytest.mark.on_sqlite("is about its lock, its file or its settings")
def test_a_full_disk_is_answered_503_and_the_body_stays_out_of_the_log(
    deliver, message, app, caplog
):
    payload = message(text="The key is under the mat " * 4000).payload()
    with db.engine.connect() as connection:  # the pool's only one: the request gets it next
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

    answer = deliver(payload, delivery_id="msg_1")

    assert (answer.status_code, kept(app)) == (503, [])
    assert "The database does not answer: database or disk is full" in caplog.text
    assert "under the mat" not in caplog.text


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_a_database_that_is_away_is_answered_503_and_the_repeat_is_kept(
    deliver, message, app, postgres
):
    payload, url = message().payload(), db.engine.url
    assert deliver(payload, delivery_id="msg_0").status_code == 204  # a pool that was used before
    admin = postgres.url("postgres")
    with psycopg.connect(admin, autocommit=True) as server:
        server.execute(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS false")
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
            (url.database,),
        )
        away = deliver(payload, delivery_id="msg_1")
        health = app.test_client().get("/healthz")
        server.execute(f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS true")

    again = deliver(payload, delivery_id="msg_1")

    assert (away.status_code, health.status_code, again.status_code) == (503, 503, 204)
    assert [name for name, _ in kept(app)] == ["msg_0", "msg_1"]


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
def test_connections_that_ended_while_nobody_used_them_cost_no_delivery(
    deliver, message, app, postgres, monkeypatch
):
    monkeypatch.setattr(extensions, "PING_AFTER", 0.0)  # as if a second had passed
    assert deliver(message().payload()).status_code == 204
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s",
            (db.engine.url.database,),
        )

    answer = deliver(message().payload())

    assert (answer.status_code, len(kept(app))) == (204, 2)


# --- Redis does not matter -----------------------------------------------------------------


def test_without_redis_a_delivery_is_kept_and_read_when_it_is_back(
    client_with, message, tmp_path, valkey_url, caplog
):
    client = client_with(REDIS_URL=f"unix://{tmp_path}/nobody-listens")
    body, headers = signed(message().payload(), "standard", SECRET)

    answer = client.post(DOOR, data=body, headers=headers)
    health = client.get("/healthz")

    assert (answer.status_code, len(kept(client.application))) == (204, 1)
    assert "Redis does not answer: no worker is reminded (ConnectionError)" in caplog.text
    assert (health.status_code, health.json["redis"]) == (503, False)
    assert "redis_silent" in {alarm["name"] for alarm in health.json["broken"]}
    assert "Redis does not answer" in client.get("/status").text


def test_a_frozen_redis_holds_no_delivery_up(client_with, message, caplog):
    with servers.running_valkey() as url:
        with redis.from_url(url) as connection:
            pid = connection.info("server")["process_id"]
        client = client_with(REDIS_URL=url)
        body, headers = signed(message().payload(), "standard", SECRET)
        os.kill(pid, signal.SIGSTOP)
        try:
            answer = client.post(DOOR, data=body, headers=headers)
        finally:
            os.kill(pid, signal.SIGCONT)

    assert (answer.status_code, len(kept(client.application))) == (204, 1)
    assert "Redis does not answer: no worker is reminded (TimeoutError)" in caplog.text


# --- Not understood ------------------------------------------------------------------------


@pytest.mark.proof
@BOTH
@pytest.mark.parametrize("body", [b"{not json", b"\x00\xff", b"", b"[" * 50_000, b'{"a":1,"a":2}'])
def test_what_cannot_be_read_is_kept_shown_and_read_again(body, client, message, work, app):
    content, headers = signed(body, "standard", SECRET)

    answer = client.post(DOOR, data=content, headers=headers)
    work()
    event = db.session.scalars(sa.select(WebhookEvent)).one()
    page = client.get("/status").text
    shown = client.get(f"/status/events/{event.id}")
    # What newer code would make of it; here the bytes change in its stead.
    event.body = json.dumps(message(text="Understood at last").payload()).encode()
    db.session.commit()
    again = [client.post(f"/status/events/{event.id}/readings").status_code for _ in range(2)]
    work()

    assert answer.status_code == 204
    assert f"/status/events/{event.id}/readings" in page
    assert (shown.data, shown.mimetype) == (body, "text/plain")
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert again == [303, 303]
    assert "Understood at last" in client.get("/").text
    assert "every delivery was understood" in client.get("/status").text


# --- SQLite keeps what it confirms ---------------------------------------------------------


@pytest.mark.on_sqlite("is about its lock, its file or its settings")
def test_sqlite_runs_with_settings_that_survive_a_power_cut(app):
    with db.engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
            for name in ("journal_mode", "synchronous", "foreign_keys")
        }

    assert (found["journal_mode"], found["synchronous"]) in {("wal", 2), ("truncate", 3)}
    assert found["foreign_keys"] == 1


@pytest.mark.parametrize("pair", [("wal", 9), ("nonesuch", 3)])
@pytest.mark.on_sqlite("is about its lock, its file or its settings")
def test_sqlite_that_runs_otherwise_is_refused(pair, settings, monkeypatch):
    # There is no synchronous=9: SQLite takes what it likes and says nothing, as it may anywhere.
    monkeypatch.setattr(extensions, "_safe_pair", lambda: pair)

    with (
        pytest.raises(UnsafeDatabase, match="SQLite runs with"),
        create_app(settings).app_context(),
    ):
        db.session.execute(sa.select(1))


# --- A real web server ---------------------------------------------------------------------


class Gunicorn:
    """`viewer web` on a port of its own."""

    def __init__(self, settings: dict[str, Any], **environment: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "viewer", "web", "--processes", "1", "--port", str(self.port)],
            env=os.environ | {name: str(value) for name, value in settings.items()} | environment,
            stderr=subprocess.DEVNULL,
        )
        servers.wait_until(self.answers)

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/login", timeout=5).ok
        except requests.RequestException:
            return False

    def say(self, *parts: bytes, hang_up: bool = False) -> str:
        """Speak raw HTTP; the first line of the answer."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=60) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it has heard enough, and answered
            return "" if hang_up else connection.recv(4096).partition(b"\r\n")[0].decode()

    def stop(self, how: int = signal.SIGINT) -> None:
        self.process.send_signal(how)
        self.process.wait(60)


@pytest.fixture
def gunicorn(app: Flask, settings: dict[str, Any]) -> Iterator[Gunicorn]:
    server = Gunicorn(settings)
    yield server
    server.stop()


def head(length: str, headers: dict[str, str]) -> bytes:
    lines = [f"POST {DOOR} HTTP/1.1", "Host: localhost", "Connection: close", length]
    return "\r\n".join([*lines, *(f"{k}: {v}" for k, v in headers.items()), "", ""]).encode()


@pytest.mark.proof
def test_a_real_server_bounds_counts_and_keeps(gunicorn, message, app):
    """Several promises over one start of gunicorn, which takes longer than all of them."""
    body, headers = signed(message().payload(), "standard", SECRET, delivery_id="msg_chunks")
    chunked, kib = "Transfer-Encoding: chunked", b"400\r\n" + b"x" * 1024 + b"\r\n"

    too_long = gunicorn.say(head(chunked, headers), *[kib] * 1025, b"0\r\n\r\n")
    says_too_long = gunicorn.say(head(f"Content-Length: {8 * MEBIBYTE + 1}", headers))
    in_chunks = gunicorn.say(head(chunked, headers), b"%x\r\n" % len(body), body, b"\r\n0\r\n\r\n")
    left, left_headers = signed(message().payload(), "standard", SECRET, delivery_id="msg_left")
    gunicorn.say(head(f"Content-Length: {len(left)}", left_headers), left[:100], hang_up=True)
    gunicorn.say(
        head(f"Content-Length: {len(left)}", left_headers | {"webhook-id": "msg_no"}), left
    )
    gone, gone_headers = signed(message().payload(), "standard", SECRET, delivery_id="msg_gone")
    gunicorn.say(head(f"Content-Length: {len(gone)}", gone_headers), gone, hang_up=True)
    servers.wait_until(lambda: len(kept(app)) == 2)
    for _ in range(20):
        assert requests.post(gunicorn.url + DOOR, data=b"rubbish", timeout=60).status_code == 401
    gunicorn.stop(signal.SIGTERM)

    assert (too_long.split()[1], says_too_long.split()[1]) == ("413", "413")
    assert in_chunks.split()[1] == "204"
    # Half a body is nothing; a whole one is kept, also if nobody waited for our answer.
    assert sorted(name for name, _ in kept(app)) == ["msg_chunks", "msg_gone"]
    assert dict(kept(app))["msg_chunks"] == body
    counts = refusals(app)
    assert counts["no_signature"] == 20
    assert sum(counts.values()) == 21  # half a body is no refusal


@pytest.mark.proof
@pytest.mark.parametrize(
    ("place", "rows"), [("webhook.verified", 0), ("webhook.inserted", 0), ("webhook.committed", 1)]
)
def test_a_death_on_the_way_confirms_nothing_and_the_repeat_is_kept_once(
    place, rows, app, client, settings, message
):
    server = Gunicorn(settings, VIEWER_FAILPOINTS=f"{place}=kill")
    body, headers = signed(message().payload(), "standard", SECRET, delivery_id="msg_1")
    try:
        with pytest.raises(requests.ConnectionError):
            requests.post(server.url + DOOR, data=body, headers=headers, timeout=60)
    finally:
        server.stop()
    after_death = len(kept(app))

    again = client.post(DOOR, data=body, headers=headers)

    assert after_death == rows
    assert (again.status_code, kept(app)) == (204, [("msg_1", body)])
