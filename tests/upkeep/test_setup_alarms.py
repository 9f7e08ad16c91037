"""An installation that nothing can come to is never called well, and says which step is missing."""

import pytest

from viewer import create_app, derive, schedule
from viewer.extensions import db, now
from viewer.intake import subscription
from viewer.loopback import is_private
from viewer.models import Checkpoint, ScheduledTask, WebhookEvent
from viewer.quo import rest
from viewer.upkeep import health, runs

ALL_WELL = {"intake": 1, "copies": 1}
GREEN = "Everything runs, and every photo that was announced is here or on its way."


@pytest.fixture
def settings(settings):
    """A finished installation."""
    return settings | {"QUO_API_KEY": "test-key-1", "PUBLIC_URL": "https://photos.example"}


def begin():
    """All that must be done was done: a backup, the sweep, the catch-up."""
    run = runs.begin(runs.Kind.BACKUP, "folder:/mnt/backup")
    runs.finish(run, runs.Outcome.GOOD, "Snapshot 1.")
    schedule.do_if_due(schedule.TaskDefinition("sweep", 10, 60, schedule._sweep), "test")
    db.session.merge(ScheduledTask(name="catch_up", done_at=now()))
    db.session.commit()


def alarms():
    """By name: the level."""
    found = health.read_health(ALL_WELL).alarms
    return {alarm.name: alarm.level.value for alarm in found}


def the_alarm(name):
    return next(one for one in health.read_health(ALL_WELL).alarms if one.name == name)


def deliver_once(deliver, message):
    deliver(message().payload())
    db.session.query(WebhookEvent).update({"state": WebhookEvent.State.PROCESSED})
    db.session.commit()


def test_a_finished_installation_has_no_alarm(app, deliver, message):
    begin()
    deliver_once(deliver, message)

    assert alarms() == {}


def test_a_new_installation_says_all_that_is_missing_and_nothing_is_broken(settings):
    bare = settings | {"QUO_WEBHOOK_SECRETS": "", "QUO_API_KEY": "", "PUBLIC_URL": ""}
    with create_app(bare).app_context():
        begin()
        found = health.read_health(ALL_WELL)

    assert [alarm.name for alarm in found.alarms] == [
        "setup_secret",
        "setup_address",
        "setup_delivery",
        "setup_api_key",
    ]
    assert not found.is_broken  # a monitor of it does not page at night
    steps = {alarm.name: alarm.step for alarm in found.alarms}
    assert "QUO_WEBHOOK_SECRETS" in steps["setup_secret"]
    assert "Reveal signing secret" in steps["setup_secret"]
    assert "PUBLIC_URL" in steps["setup_address"]
    assert "https://YOUR-HOST/webhooks/quo" in steps["setup_delivery"]
    assert "QUO_API_KEY" in steps["setup_api_key"]
    assert all("docs/operations.md, “Connect a Quo workspace”" in step for step in steps.values())


def test_before_the_first_delivery_the_page_is_not_green(app, client):
    begin()

    page = client.get("/status").text
    answer = client.get("/healthz").json

    assert GREEN not in page
    assert "No delivery has ever come from the phone provider." in page
    assert "both to https://photos.example/webhooks/quo" in page
    assert "None: no delivery has come yet." in page
    assert "setup_delivery" in {one["name"] for one in answer["attention"]}


def test_healthz_tells_no_address(app, client):
    begin()

    assert "photos.example" not in client.get("/healthz").text


def test_a_secret_that_was_taken_away_is_broken_where_deliveries_came(app, deliver, message):
    begin()
    deliver_once(deliver, message)
    emptied = app.config["SETTINGS"].model_copy(update={"QUO_WEBHOOK_SECRETS": ()})
    app.config["SETTINGS"] = emptied

    assert alarms() == {"setup_secret": "broken"}


def test_without_an_api_key_a_person_is_told_at_all_times(app, deliver, message):
    begin()
    deliver_once(deliver, message)
    app.config["SETTINGS"] = app.config["SETTINGS"].model_copy(
        update={"QUO_API_KEY": type(app.config["SETTINGS"].QUO_API_KEY)("")}
    )

    assert alarms() == {"setup_api_key": "attention"}


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://127.0.0.1:8000", "leads to this machine or network alone"),
        ("https://localhost", "leads to this machine or network alone"),
        ("https://192.168.1.20", "leads to this machine or network alone"),
        ("https://viewer.local", "leads to this machine or network alone"),
        ("https://nas", "leads to this machine or network alone"),
        ("http://photos.example", "begins with http://"),
        ("", "No public address is set"),
    ],
)
def test_an_address_that_nobody_outside_can_use_is_an_alarm(app, address, words):
    begin()
    changed = app.config["SETTINGS"].model_copy(update={"PUBLIC_URL": address})
    app.config["SETTINGS"] = changed

    assert words in the_alarm("setup_address").words
    assert the_alarm("setup_address").level is health.Level.ATTENTION


def test_a_delivery_proves_an_address_that_is_not_set(app, deliver, message):
    begin()
    deliver_once(deliver, message)
    app.config["SETTINGS"] = app.config["SETTINGS"].model_copy(update={"PUBLIC_URL": ""})

    assert alarms() == {}


def test_a_private_address_is_an_alarm_also_where_deliveries_come(app, deliver, message):
    begin()
    deliver_once(deliver, message)
    changed = app.config["SETTINGS"].model_copy(update={"PUBLIC_URL": "https://10.0.0.5"})
    app.config["SETTINGS"] = changed

    assert alarms() == {"setup_address": "attention"}


@pytest.mark.parametrize(
    ("host", "private"),
    [
        ("photos.example.com", False),
        ("8.8.8.8", False),
        ("2606:4700::1111", False),
        ("127.0.0.1", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("172.16.0.9", True),
        ("100.64.0.7", True),  # of carriers and of Tailscale
        ("169.254.1.1", True),
        ("fd00::1", True),
        ("0.0.0.0", True),
        ("LOCALHOST", True),
        ("app.localhost", True),
        ("nas", True),
        ("viewer.home.arpa", True),
        ("viewer.lan.", True),
    ],
)
def test_which_hosts_nobody_outside_reaches(host, private):
    assert is_private(host) is private


def test_a_webhook_that_is_missing_is_broken_only_where_one_has_delivered(app, deliver, message):
    begin()
    Checkpoint.write("subscription", "missing", "No webhook leads to us.")
    db.session.commit()
    before = alarms()["subscription"]
    deliver_once(deliver, message)

    assert (before, alarms()["subscription"]) == ("attention", "broken")


@pytest.mark.parametrize(
    ("host", "ours"),
    [("photos.example", True), ("a.photos.example", True), ("other.example", False)],
)
def test_a_webhook_is_ours_by_the_rule_of_the_host_header(app, host, ours):
    trusting = app.config["SETTINGS"].model_copy(update={"TRUSTED_HOSTS": (".photos.example",)})
    app.config["SETTINGS"] = trusting
    hook = rest.Webhook("WH1", True, f"https://{host}/webhooks/quo", True, ())

    assert trusting.trusts(host) is ours
    assert subscription._is_ours(hook) is ours


def test_the_green_sentence_names_what_it_leaves_out(app, client, deliver, message, monkeypatch):
    begin()
    deliver_once(deliver, message)
    from_jobs = "viewer.web.status.jobs.workers_alive"
    monkeypatch.setattr(from_jobs, lambda: ALL_WELL)

    page = client.get("/status").text

    assert GREEN in page
    assert "Not counted" not in page


# --- Deliveries that could not be read -----------------------------------------------------


def unknown_event(number, at, **more):
    thing = {"id": "X1", "from": number, "to": ["+16175550100"], "createdAt": at, **more}
    return {"id": "EV1", "type": "message.teleported", "data": {"object": thing}}


def test_a_delivery_we_could_not_read_names_the_customer_and_the_messages_day(
    app, client, deliver, message, work
):
    deliver(unknown_event("+16175550123", "2026-01-05T15:00:00Z"))
    work()

    page = client.get("/status").text

    assert "Delivery about <bdi>(617) 555-0123</bdi>" in page
    assert 'datetime="2026-01-05T15:00:00+00:00"' in page
    assert "555-0100" not in page  # ours


def test_a_delivery_that_is_no_json_says_that_it_names_nobody(app, client, deliver, work):
    deliver(b"not json")
    work()

    assert "Delivery that names nobody" in client.get("/status").text


def test_a_huge_delivery_is_not_looked_into(app, client, deliver, work):
    deliver(unknown_event("+16175550123", "2026-01-05T15:00:00Z", body="x" * 70_000))
    work()

    page = client.get("/status").text

    assert "Delivery that names nobody" in page
    assert "message.teleported" in page


def test_unread_deliveries_are_not_called_understood(app, client, deliver, message):
    deliver(message().payload())

    assert "None so far; 1 is still to be read." in client.get("/status").text


@pytest.mark.parametrize("lacks", [["Landlock"], ["seccomp"], ["Landlock", "seccomp"]])
def test_a_kernel_that_confines_no_decoder_is_said(
    app, client, deliver, message, monkeypatch, lacks
):
    begin()
    deliver_once(deliver, message)
    monkeypatch.setattr(derive, "missing_confinement", lambda: lacks)

    page = client.get("/status").text

    assert alarms() == {"decoders_unconfined": "attention"}
    assert "have more rights on this host than they need" in page
    assert f"{' and '.join(lacks)} cannot be had from the kernel" in page
    assert lacks[0] not in client.get("/healthz").text  # a stranger is told no weakness by name
