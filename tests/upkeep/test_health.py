"""Silence is an alarm: what stopped, what is late, what is missing, on a page and for machines."""

import contextvars
import re
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

from tests.conftest import BOTH
from tests.crash import disks
from tests.support.alarms import alarms_beside_setup
from tests.support.api import TOKEN
from tests.support.factories import customer, files, text
from tests.support.query_plans import noted_plans
from tests.support.stored_files import keep
from viewer import holdings, schedule
from viewer.config import settings
from viewer.demo.rest import Workspace, stamp
from viewer.extensions import db, now
from viewer.intake import catch_up, rest_client, subscription
from viewer.models import (
    ApiToken,
    Checkpoint,
    CutConnection,
    MediaAttachment,
    ScheduledTask,
    User,
    WebhookEvent,
    fingerprint,
)
from viewer.office import accounts
from viewer.quo import rest
from viewer.upkeep import health, runs, verify
from viewer.upkeep.health import figures, totals

ALL_WELL = {"intake": 1, "copies": 1}


def alarms() -> set[str]:
    """Without those of backups and of set-up, which have tests of their own."""
    found = alarms_beside_setup(ALL_WELL)
    return {alarm.name for alarm in found if not alarm.name.startswith("backup_")}


@pytest.fixture
def swept(app):
    """All that must be done was done, a backup too."""
    run = runs.begin(runs.Kind.BACKUP, "folder:/mnt/backup")
    runs.finish(run, runs.Outcome.GOOD, "Snapshot 1.")
    schedule.do_if_due(schedule.TaskDefinition("sweep", 10, 60, schedule._sweep), "test")


def test_where_everything_runs_there_is_no_alarm(swept):
    assert alarms() == set()


def test_a_sweep_that_stopped_is_an_alarm(swept):
    duty = db.session.get(ScheduledTask, "sweep")
    duty.done_at = now() - timedelta(seconds=61)
    db.session.commit()

    assert alarms() == {"sweep_silent"}


def test_a_sweep_that_never_ran_is_an_alarm(app):
    assert alarms() == {"sweep_silent"}


def test_a_queue_without_a_worker_is_an_alarm(swept):
    workers = {"intake": 0, "copies": 1}

    assert [alarm.name for alarm in alarms_beside_setup(workers)] == ["workers_intake_silent"]
    assert health.read_health(workers).is_broken


def test_without_redis_the_alarm_says_that_nothing_is_lost(swept):
    (alarm,) = alarms_beside_setup(None)

    assert (alarm.name, "nothing lost" in alarm.words) == ("redis_silent", True)


def test_a_file_that_waits_too_long_is_an_alarm(swept, deliver, message, provider, work):
    deliver(message(media=[provider.serve(b"", status=503)]).payload())
    work()
    db.session.execute(sa.update(MediaAttachment).values(created_at=now() - timedelta(minutes=16)))
    db.session.commit()

    assert alarms() == {"media_late"}


def test_a_file_that_was_given_to_a_person_is_no_news_while_it_is_tried_again(
    swept, deliver, message, provider, work
):
    deliver(message(media=[provider.serve(b"", status=503)]).payload())
    work()
    long_ago = now() - timedelta(days=5)
    db.session.execute(
        sa.update(MediaAttachment).values(
            created_at=long_ago, first_failed_at=long_ago, state=MediaAttachment.State.DOWNLOADING
        )
    )
    db.session.commit()

    assert alarms() == set()


def test_a_file_that_needs_a_person_is_said_but_nothing_is_broken(
    swept, deliver, message, provider, work
):
    deliver(message(media=[provider.serve(b"", status=404)]).payload())
    work()

    assert [alarm.name for alarm in alarms_beside_setup(ALL_WELL)] == ["media_needs_attention"]
    assert not health.read_health(ALL_WELL).is_broken


def test_deliveries_that_nobody_reads_are_an_alarm(swept, deliver, message):
    deliver(message().payload())
    db.session.execute(sa.update(WebhookEvent).values(received_at=now() - timedelta(minutes=3)))
    db.session.commit()

    assert "events_unread" in alarms()


def test_silence_in_business_hours_is_an_alarm_and_at_night_it_is_not(
    swept, deliver, message, time_machine_at
):
    with time_machine_at(datetime(2026, 9, 25, 21, 0, tzinfo=UTC)):  # Friday, 5 PM in Boston
        deliver(message().payload())
        db.session.execute(sa.update(WebhookEvent).values(state=WebhookEvent.State.PROCESSED))
        db.session.commit()

    def alarms_at(*moment: int) -> bool:
        with time_machine_at(datetime(*moment, tzinfo=UTC)):
            return "webhooks_silent" in alarms()

    assert not alarms_at(2026, 9, 28, 11, 0)  # Monday before opening: one hour of business
    assert not alarms_at(2026, 9, 28, 20, 0)
    assert alarms_at(2026, 9, 28, 21, 30)  # 1 h on Friday, 9 h on Monday and a bit


@pytest.mark.parametrize(
    ("start", "end", "hours"),
    [
        ((2026, 9, 21, 12, 0), (2026, 9, 21, 22, 0), 10),  # Monday 8 AM to 6 PM
        ((2026, 9, 21, 2, 0), (2026, 9, 22, 2, 0), 10),
        ((2026, 9, 25, 22, 0), (2026, 9, 28, 12, 0), 0),  # a weekend
        ((2026, 10, 30, 12, 0), (2026, 11, 2, 23, 0), 20),  # the clocks change in between
        ((2026, 9, 22, 12, 0), (2026, 9, 21, 12, 0), 0),  # a clock that was set back
    ],
)
def test_business_hours_are_counted_in_the_display_zone(app, start, end, hours):
    counted = health.business_hours_between(
        datetime(*start, tzinfo=UTC), datetime(*end, tzinfo=UTC), settings()
    )

    assert counted == pytest.approx(hours)


def test_a_subscription_that_would_not_deliver_is_an_alarm(swept):
    Checkpoint.write("subscription", "missing", "No webhook leads to us.")
    db.session.commit()

    assert alarms() == {"subscription"}


KEY = "test-key-1"


@pytest.fixture
def workspace():
    return Workspace(
        key=KEY,
        rate=10_000,
        webhooks=[
            {
                "id": "12",
                "status": "enabled",
                "url": "https://viewer.example.com/webhooks/quo",
                "events": sorted(subscription.NEEDED_NEW),
            }
        ],
    )


@pytest.fixture
def catch_up_at(settings, workspace, provider, request, time_machine_at, monkeypatch):
    """The scheduler does the catch-up then, and what is alarming afterwards."""
    url = workspace.mount(provider)
    settings |= {"QUO_API_KEY": KEY, "QUO_API_URL": url}
    request.getfixturevalue("app")
    task = schedule.TaskDefinition("catch_up", catch_up.EVERY, 1800, schedule._catch_up)
    client = rest.Client(KEY, url, per_second=10_000, pauses=())
    monkeypatch.setattr(rest_client, "new_client", lambda: client)

    def run(moment: datetime) -> set[str]:
        with time_machine_at(moment):
            schedule.do_if_due(task, "test")
            schedule.do_if_due(schedule.TaskDefinition("sweep", 10, 60, schedule._sweep), "test")
            return alarms()

    return run


@pytest.mark.proof
@pytest.mark.parametrize(
    "broken", [{"/phone-numbers": 401}, {"/webhooks": 403}, {"/phone-numbers": 503}]
)
def test_a_catch_up_that_fails_every_time_is_an_alarm(
    broken, catch_up_at, workspace, client, time_machine_at
):
    begin = now()
    before = catch_up_at(begin)
    workspace.broken = broken
    found = [catch_up_at(begin + timedelta(minutes=minutes)) for minutes in (11, 22, 33, 44, 62)]
    with time_machine_at(begin + timedelta(minutes=62)):
        page, machine = client.get("/status").text, client.get("/healthz").json
        metrics = client.get("/metrics").text
    workspace.broken = {}

    # A single refused minute is none.
    assert (before, found) == (set(), [set(), set(), *[{"catch_up_silent"}] * 3])
    words = "Catching up with the phone provider has not succeeded for 62 minutes."
    assert words in page
    assert words in {alarm["words"] for alarm in machine["broken"]}
    assert 'viewer_alarm{name="catch_up_silent"} 1.0' in metrics
    assert f'viewer_duty_age_seconds{{duty="catch_up"}} {62 * 60}.0' in metrics
    assert "Our webhook at the provider is switched on." not in page
    assert catch_up_at(begin + timedelta(minutes=75)) == set()


def test_a_catch_up_that_never_succeeded_is_an_alarm(catch_up_at, workspace):
    workspace.broken = {"/": 401}

    assert catch_up_at(now()) == {"catch_up_silent"}


def test_a_run_that_failed_after_an_update_is_no_alarm_yet(catch_up_at, workspace):
    begin = now()
    catch_up_at(begin)
    Checkpoint.forget("last whole run")  # the version before did not know it
    db.session.commit()
    workspace.broken = {"/": 401}

    found = [catch_up_at(begin + timedelta(minutes=minutes)) for minutes in (11, 22, 33)]

    assert found == [set(), set(), {"catch_up_silent"}]


def test_one_call_that_the_provider_refuses_is_no_alarm(catch_up_at, workspace):
    begin = now()
    at = stamp(begin - timedelta(days=1))
    workspace.calls["ACcall-test-1"] = {
        "id": "ACcall-test-1",
        "direction": "incoming",
        "participants": [{"phoneNumber": "+16175550123", "actorId": None}],
        "conversationId": "CNtest1",
        "phoneNumberId": "PNdemo1",
        "createdAt": at,
        "answeredAt": at,
        "completedAt": at,
    }
    workspace.broken = {"/recordings": 403}

    assert catch_up_at(begin) == set()
    assert catch_up_at(begin + timedelta(minutes=40)) == set()


def test_a_key_that_may_not_ask_for_contacts_is_no_alarm(catch_up_at, workspace):
    workspace.broken = {"/contacts": 403}
    begin = now()

    assert [catch_up_at(begin + timedelta(minutes=minutes)) for minutes in (0, 40)] == [set()] * 2


def test_without_a_key_nobody_expects_a_catch_up(swept, time_machine_at):
    Checkpoint.write("last whole run", (now() - timedelta(days=3)).isoformat())
    Checkpoint.write("subscription", "missing", "No webhook leads to us.")
    db.session.commit()

    with time_machine_at(now() + timedelta(minutes=61)):
        schedule.do_if_due(schedule.TaskDefinition("sweep", 10, 60, schedule._sweep), "test")
        assert alarms() == set()


def test_a_disk_that_is_nearly_full_is_an_alarm(swept, monkeypatch):
    monkeypatch.setattr(figures, "LEAST_FREE", 1.1)  # no disk has that

    found = {name for name in alarms() if not name.endswith("_inodes_low")}
    assert found == {"disk_database_low", "disk_photos_low"}


@pytest.mark.parametrize(
    ("free", "inodes", "is_low"), [(9, 100, True), (10, 100, False), (0, 0, False)]
)
def test_inodes_are_watched_where_a_disk_has_a_number_of_them(free, inodes, is_low):
    assert figures.Disk("photos", 90, 100, free, inodes).is_low_on_inodes is is_low


@pytest.mark.proof
@pytest.mark.on_folder("its disk is mounted here")
def test_a_disk_without_inodes_is_an_alarm_while_it_has_room(swept, app, client, tmp_path):
    disks.needs_mounts()
    photos = tmp_path / "small"
    with disks.tmpfs(photos, "size=8m,nr_inodes=50"):
        current = app.config["SETTINGS"]
        app.config["SETTINGS"] = current.model_copy(update={"MEDIA_ROOT": photos})
        before = alarms()
        for number in range(46):
            (photos / f"{number}").touch()
        found, page = alarms(), client.get("/status").text
        metrics = client.get("/metrics").text
        app.config["SETTINGS"] = current

    assert found - before == {"disk_photos_inodes_low"}
    assert "of its inodes: without one left it takes no new file" in page
    assert re.search(r"and \d+ %\s+of its inodes", page)
    assert re.search(r'viewer_disk_free_inodes\{disk="photos"\} [0-4]\.0', metrics)


def test_page_machine_and_monitor_read_the_same(swept, client, deliver):
    client.post("/webhooks/quo", data=b"{}")  # no signature
    deliver(b"not json")
    answer = client.get("/healthz")

    assert answer.status_code == 503
    assert {a["name"] for a in answer.json["broken"]} == {
        "workers_intake_silent",
        "workers_copies_silent",
    }
    metrics = client.get("/metrics").text
    assert 'viewer_refused_deliveries{reason="no_signature"} 1.0' in metrics
    assert 'viewer_alarm{name="workers_intake_silent"} 1.0' in metrics
    assert "No worker looks after “intake”." in client.get("/status").text


def test_strangers_get_a_bare_word_and_the_office_the_reasons(
    swept, client, log_in, anonymous, monkeypatch
):
    crm_user = accounts.add("crm@crack.example", User.Role.FIELD, "CRM")
    db.session.add(
        ApiToken(
            user_id=crm_user.id, fingerprint=fingerprint(TOKEN), name="CRM", scopes=["metrics"]
        )
    )
    db.session.commit()

    def ask(**words):
        return contextvars.Context().run(anonymous.get, "/healthz", **words)

    def as_crm():
        return ask(headers={"Authorization": f"Bearer {TOKEN}"})

    broken, field, crm = ask(), log_in("field").get("/healthz"), as_crm()
    crm_user.role = User.Role.OFFICE
    db.session.commit()
    reasons, office = as_crm(), log_in("office").get("/healthz")
    wrong = ask(headers={"Authorization": "Bearer nonsense"})
    monkeypatch.setattr("viewer.web.status.jobs.workers_alive", lambda: {"intake": 1, "copies": 1})
    attention = ask()
    monkeypatch.setattr("viewer.upkeep.health.reading.ALARMS", ())
    well = ask()

    for answer in (broken, field, crm, wrong):
        assert (answer.status_code, answer.json) == (503, {"ok": False, "status": "broken"})
    for answer in (reasons, office):
        assert answer.status_code == 503
        assert "workers_intake_silent" in {one["name"] for one in answer.json["broken"]}
    assert (attention.status_code, attention.json) == (200, {"ok": True, "status": "attention"})
    assert (well.status_code, well.json) == (200, {"ok": True, "status": "ok"})


@BOTH
def test_connections_that_were_cut_are_counted(client):
    with db.engine.begin() as connection:
        CutConnection.add(connection, {"slow_head": 2, "crowded": 5})
        CutConnection.add(connection, {"slow_head": 1_000})
    page, metrics = client.get("/status").text, client.get("/metrics").text

    assert 'viewer_cut_connections{reason="slow_head"} 1002.0' in metrics
    assert "1,002" in page
    assert "The request did not come within its time" in page
    assert "connections_cut" in alarms()


@BOTH
def test_the_queue_is_the_rows_that_wait_for_a_worker(client, deliver, message):
    state, copy_state = MediaAttachment.State, MediaAttachment.CopyState
    past, future = now() - timedelta(minutes=1), now() + timedelta(hours=1)
    url = "https://files.example/1.jpg"
    quiet = client.get("/status").text
    for _ in range(3):
        deliver(message().payload())  # and no worker
    sent = text(customer())
    files(sent, 2, state=state.PENDING, next_attempt_at=past, openphone_url=url)
    files(sent, state=state.PENDING, next_attempt_at=future, openphone_url=url)
    files(sent, state=state.PENDING, next_attempt_at=past)  # nobody said where it is
    files(sent, state=state.NEEDS_ATTENTION, next_attempt_at=past, openphone_url=url)
    files(sent, state=state.DOWNLOADING, lease_until=past, openphone_url=url)
    files(sent, state=state.DOWNLOADING, lease_until=future, openphone_url=url)
    files(sent, copy_state=copy_state.DUE, copy_due_at=past)
    files(sent, copy_state=copy_state.DUE, copy_due_at=future)
    files(sent, copy_state=copy_state.MADE)

    found = health.read_health(ALL_WELL)
    page, metrics = client.get("/status").text, client.get("/metrics").text

    assert found.waiting == figures.Waiting(events=3, files=4, copies=1)
    assert "<dt>Queue</dt><dd>0</dd>" in quiet
    assert "to collect" not in quiet
    assert "<dt>Queue</dt><dd>8</dd>" in page
    words = "3 deliveries to read; 4 files to collect; copies of 1 file to make; intake: 0 workers"
    assert words in page
    assert 'viewer_queue_depth{queue="intake"} 7.0' in metrics
    assert 'viewer_queue_depth{queue="copies"} 1.0' in metrics


def test_the_queue_is_counted_up_to_a_limit(app, monkeypatch):
    waiting = {"state": MediaAttachment.State.PENDING, "next_attempt_at": now()}
    files(text(customer()), 3, **waiting, openphone_url="https://files.example/1.jpg")
    monkeypatch.setattr(figures, "MOST_WAITING", 2)

    assert health.read_health(ALL_WELL).waiting.files == 2


def test_two_schedulers_do_a_duty_once(app):
    done = []
    task = schedule.TaskDefinition("sweep", 10, 60, lambda: str(done.append(1)))

    first = [schedule.do_if_due(task, f"host{number}") for number in range(3)]

    assert (first, len(done)) == ([True, False, False], 1)


def test_a_duty_whose_holder_died_is_taken_up_by_another(app, time_machine_at):
    assert ScheduledTask.take_lease("sweep", "host1", seconds=60, every=10)
    db.session.commit()

    with time_machine_at(now() + timedelta(seconds=61)):
        taken = ScheduledTask.take_lease("sweep", "host2", seconds=60, every=10)
    ScheduledTask.finish("sweep", "host1", "too late")
    db.session.commit()

    assert taken
    assert db.session.get(ScheduledTask, "sweep").holder == "host2"


def work() -> None:
    """Until the queues are empty; what is due later stays."""
    work()


def test_a_damaged_original_is_an_alarm_of_its_own(swept):
    keep(state=MediaAttachment.State.DAMAGED)
    db.session.commit()

    found = alarms_beside_setup(ALL_WELL)
    assert [(alarm.name, alarm.level.value) for alarm in found] == [("media_damaged", "broken")]


def test_a_check_that_stopped_running_is_an_alarm_from_the_first_day(swept, time_machine_at):
    begin = now()

    def alarms_at(hours: float) -> set[str]:
        with time_machine_at(begin + timedelta(hours=hours)):
            schedule.do_if_due(schedule.TaskDefinition("sweep", 10, 60, schedule._sweep), "test")
            return alarms()

    assert alarms_at(29.9) == set()
    assert alarms_at(30.1) == {"verify_silent"}
    with time_machine_at(begin + timedelta(hours=31)):
        verify.nightly()
    assert alarms_at(32) == set()
    assert alarms_at(31 + 30.1) == {"verify_silent"}


def test_a_mass_change_stays_an_alarm_until_a_check_finds_it_mended(swept):
    def ended(**counts):
        run = runs.begin(runs.Kind.VERIFY, "/srv/photos")
        runs.finish(run, runs.Outcome.BAD, "70 of 90 originals are missing or changed.", counts)

    ended(is_mass_change=True)
    assert alarms() == {"verify_mass_change"}
    runs.begin(runs.Kind.VERIFY, "/srv/photos")  # and killed
    assert alarms() == {"verify_mass_change"}
    ended(is_mass_change=False)
    assert alarms() == set()


def test_a_check_that_could_not_look_is_told_and_tried_again(swept, app, time_machine_at):
    root = app.config["SETTINGS"].media_root
    begin = now()
    with time_machine_at(begin + timedelta(hours=27)):
        root.rename(root.with_name("unmounted"))
        verify.nightly()
        assert verify.is_due(holdings.own_id())
        root.with_name("unmounted").rename(root)
        schedule.do_if_due(schedule.TaskDefinition("sweep", 10, 60, schedule._sweep), "test")
        assert alarms() == {"verify_not_done"}
    with time_machine_at(begin + timedelta(hours=27.01)):
        verify.nightly()
        schedule.do_if_due(schedule.TaskDefinition("sweep", 10, 60, schedule._sweep), "test")
        assert not verify.is_due(holdings.own_id())
        assert alarms() == set()


def test_files_without_a_row_want_attention(swept, app):
    (app.config["SETTINGS"].media_root / "stray.jpg").write_bytes(b"x")
    verify.nightly()

    [alarm] = alarms_beside_setup(ALL_WELL)
    assert (alarm.name, alarm.level.value) == ("orphans", "attention")
    assert alarm.words == "1 file in the store that no row names."


def test_page_and_monitor_tell_of_the_check(swept, client):
    before = client.get("/status").text
    assert "not yet" in before
    keep()
    db.session.commit()
    verify.nightly()

    page = client.get("/status").text
    metrics = client.get("/metrics").text
    assert "1 original looked at, 1 of them read." in page
    assert re.search(r"^viewer_verify_age_seconds \d", metrics, re.MULTILINE)
    assert re.search(r"^viewer_oldest_verified_age_seconds \d", metrics, re.MULTILINE)
    assert "\nviewer_orphan_files 0.0\n" in metrics


# --- Totals --------------------------------------------------------------------------------


def count_all() -> None:
    schedule.do_if_due(schedule.TaskDefinition("totals", 0, 60, totals.count), "test")


def figures_now() -> dict[str, object]:
    found = health.read_health(None)
    return {
        "states": found.states,
        "bytes": found.bytes_stored,
        "stores": [(store.files, store.bytes) for store in found.stores],
        "originals": found.protection.originals,
    }


@BOTH
@pytest.mark.on_folder("counts what is in each store")
def test_what_was_counted_and_what_came_since_are_told_together(app):
    for size in (10, 20):
        keep(b"x" * size)
    before = figures_now()
    count_all()
    counted = figures_now()
    old = keep(b"x" * 40)
    old.downloaded_at = now() + timedelta(seconds=1)  # after the count
    db.session.commit()
    with_more = figures_now()
    db.session.execute(sa.delete(Checkpoint).filter_by(name=totals.CHECKPOINT))
    db.session.commit()

    assert before == counted
    assert (counted["bytes"], counted["stores"]) == (30, [(2, 30)])
    assert with_more == figures_now()
    assert with_more["stores"] == [(3, 70)]


@BOTH
def test_what_is_open_is_exact_also_when_it_was_counted_long_ago(app, swept):
    media = keep()
    count_all()
    media.state, media.problem = MediaAttachment.State.DAMAGED, "Missing."
    db.session.commit()

    found = health.read_health(ALL_WELL)

    assert found.states[MediaAttachment.State.DAMAGED] == 1
    assert "media_damaged" in {alarm.name for alarm in found.alarms}


def test_the_page_says_when_all_were_counted(client):
    keep()
    just_now = client.get("/status").text
    count_all()

    assert "counted <time" not in just_now
    assert "counted <time" in client.get("/status").text


@pytest.mark.on_sqlite("watches its one write lock")
def test_counting_keeps_no_writer_waiting(app):
    keep()
    locked: list[bool] = []

    def note(connection, _cursor, text, *_more):
        if "GROUP BY media_attachments.storage" in text:
            locked.append(connection.connection.dbapi_connection.in_transaction)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        count_all()
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)

    assert set(locked) == {False}


@pytest.mark.parametrize("address", ["/status", "/healthz", "/metrics"])
@pytest.mark.on_sqlite("reads SQLite's query plans")
def test_health_reads_no_table_of_files_whole(client, address):
    keep()
    count_all()

    with noted_plans() as plans:
        client.get(address)

    assert len(plans) >= 2
    for plan in plans.values():
        assert not any(line == "SCAN media_attachments" for line in plan), plan
    asked = " ".join(plans)
    assert "SELECT media_attachments.storage" in asked  # what came since the count
