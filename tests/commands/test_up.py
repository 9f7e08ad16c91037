"""`viewer up`: one command runs a host, and leaves nothing behind, however it ends."""

import os
import signal
import sys
from contextlib import closing
from io import BytesIO

import flask_migrate
import pytest
from PIL import Image

from tests.support.hosts import Up, still_alive
from tests.support.pictures import HeldPicture, picture
from tests.support.servers import wait_until
from tests.support.webhooks import SECRET
from viewer import create_app
from viewer.extensions import db, sqlite

pytestmark = pytest.mark.proof  # whole hosts, started and killed


def size_of(image: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(image)) as found:
        return found.size


def test_one_command_carries_a_photo_home_mends_itself_and_stops_cleanly(
    up, provider, message, tmp_path
):
    host = up()
    text = message(media=[provider.serve(picture(), content_type="image/jpeg")])
    confirmed = provider.deliver(f"{host.url}/webhooks/quo", text.payload(), secret=SECRET)
    wait_until(lambda: host.thumbnail_of("Here is the crack") is not None)
    thumbnail = host.thumbnail_of("Here is the crack")

    worker = next(pid for pid, command in host.family().items() if "work-1" in command)
    ours = os.getpriority(os.PRIO_PROCESS, 0)
    nice = {
        command.strip(): os.getpriority(os.PRIO_PROCESS, pid) - ours
        for pid, command in host.family().items()
        if command.startswith(("viewer: ", "gunicorn: "))
    }
    os.kill(worker, signal.SIGKILL)
    second = message(text="And another", media=[provider.serve(picture(colour="red"))])
    provider.deliver(f"{host.url}/webhooks/quo", second.payload(), secret=SECRET)
    stored = "SELECT 1 FROM media_attachments WHERE state = 'stored'"
    wait_until(lambda: len(host.rows(stored)) == 2)
    family = host.family()
    host.process.send_signal(signal.SIGTERM)

    assert host.process.wait(90) == 0
    assert confirmed.status_code == 204
    assert size_of(thumbnail) == (480, 320)
    assert worker not in family
    assert nice == {
        "gunicorn: master [gunicorn]": 0,
        "gunicorn: worker [gunicorn]": 0,
        "viewer: schedule": 0,
        "viewer: work-1": 5,
        "viewer: copies": 5,
    }
    assert sum("work-" in command for command in family.values()) >= 1
    assert any("valkey" in command for command in family.values())
    assert still_alive(family) == {}
    assert list((tmp_path / "media" / ".incoming").iterdir()) == []


def test_killed_in_the_middle_nothing_runs_on_and_the_next_start_finishes(
    up, provider, message, tmp_path
):
    held = HeldPicture()
    host = up()
    text = message(media=[provider.serve(held, content_type="image/jpeg")])
    confirmed = provider.deliver(f"{host.url}/webhooks/quo", text.payload(), secret=SECRET)
    assert held.is_asked_for.wait(60)
    family = host.family()
    host.process.kill()
    host.process.wait()
    wait_until(lambda: not still_alive(family), 20)  # the worker that downloads, too
    half_done = host.rows("SELECT state FROM media_attachments")
    # The lease of the dead runs out, and the last sweep was a while ago: nobody waits for a clock.
    host.rows("UPDATE media_attachments SET lease_until = '2026-01-01 00:00:00.000000'")
    host.rows("DELETE FROM duties")
    held.may_go.set()

    again = up()
    wait_until(lambda: again.thumbnail_of("Here is the crack") is not None)
    family = again.family()
    again.process.send_signal(signal.SIGINT)

    assert again.process.wait(90) == 0
    assert confirmed.status_code == 204
    assert half_done == [("downloading",)]
    assert still_alive(family) == {}
    assert list((tmp_path / "media" / ".incoming").iterdir()) == []


def test_a_second_one_on_the_same_folder_harms_nothing(up, provider, message, tmp_path):
    host = up()

    second = Up(tmp_path)
    ended = second.process.wait(60)

    assert ended == 1
    [said] = [line for line in (tmp_path / "log").read_text().splitlines() if "in use by" in line]
    assert f"pid {host.process.pid} on" in said
    text = message(media=[provider.serve(picture(), content_type="image/jpeg")])
    provider.deliver(f"{host.url}/webhooks/quo", text.payload(), secret=SECRET)
    wait_until(lambda: host.thumbnail_of("Here is the crack") is not None)
    assert host.answers()  # its queue, too


def test_one_that_was_killed_may_be_started_at_once_on_the_same_port(up, tmp_path):
    host = up()
    host.process.kill()
    host.process.wait()  # its parts still run: nobody waits for them

    again = Up(tmp_path, port=host.port).wait()
    left = {pid for pid in host.family() if pid != host.process.pid}
    again.process.send_signal(signal.SIGTERM)

    assert again.process.wait(90) == 0
    assert left == set()


def test_an_old_database_is_copied_before_it_is_migrated(up, tmp_path):
    app = create_app({"DATA_DIR": tmp_path})
    with app.app_context():
        flask_migrate.upgrade(revision="0013")
        db.engine.dispose()

    host = up()

    [copy] = (tmp_path / "snapshots").iterdir()
    with closing(sqlite.connect(copy)) as connection:
        before = connection.execute("SELECT version_num FROM alembic_version").fetchall()
    assert before == [("0013",)]
    assert host.rows("SELECT version_num FROM alembic_version") != before


# A host whose supervisor asks more often, and waits a second in place of minutes.
IMPATIENT = """
from viewer import liveness, watchdog
liveness.EVERY, liveness.PATIENCE = 0.2, 3.0
watchdog.BEAT_WITHIN = 6.0
from viewer.commands import main
main()
"""


@pytest.mark.parametrize("part", ["gunicorn: ", "viewer: schedule", "valkey"])
def test_a_part_that_is_frozen_is_replaced(part, up, provider, message):
    host = up(command=(sys.executable, "-c", IMPATIENT))

    def frozen() -> set[int]:
        return {pid for pid, command in host.family().items() if part in command}

    before = frozen()
    for pid in before:
        os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: frozen() and not frozen() & before, 120)
    wait_until(host.answers, 120)
    text = message(media=[provider.serve(picture(), content_type="image/jpeg")])
    kept = provider.deliver(f"{host.url}/webhooks/quo", text.payload(), secret=SECRET)

    assert before
    assert kept.status_code == 204
    wait_until(lambda: host.thumbnail_of("Here is the crack") is not None)
    assert "hangs and is killed" in (host.data_dir / "log").read_text()
