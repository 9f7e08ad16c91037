"""The power fails between any two steps: what was promised is on the disk.

Two disks, because a forgotten fsync of a folder hides where it shares a journal with the database.
A process is killed at a place, which writes nothing to disk; then only what was synced is kept.
"""

import contextlib
import os
import pwd

import psycopg
import pytest

from tests.crash import checks, disks
from tests.crash.conftest import KILLED
from tests.crash.failpoints import PLACEMENT
from tests.support import servers
from tests.support.hostile_server import HostileServer

pytestmark = pytest.mark.usefixtures("machine")


@pytest.mark.parametrize("place", PLACEMENT)
def test_after_a_power_cut_in_the_middle_of_a_download_every_photo_comes_home(
    place, powered, message
):
    """Rows 13 to 21."""
    scene = powered.scene
    scene.announced(message(media=scene.photos(2)))

    code = scene.run("collect", failpoints=f"{place}=kill")
    with powered.after_power_cut() as found:
        broken = found.violations()
        recovered = found.recover()
        unsettled = found.unsettled()

    assert (code, recovered) == (KILLED, 0)
    assert broken == []
    assert unsettled == []


def test_12_after_a_power_cut_in_the_middle_of_the_body_the_photo_comes_home(
    powered, message, stack
):
    scene, server = powered.scene, stack.enter_context(HostileServer())
    half_is_out = scene.announced_half(server, message)

    run = scene.start("collect")
    assert half_is_out.wait(60)
    run.kill()
    with powered.after_power_cut() as found:
        broken = found.violations()
        recovered = found.recover()
        unsettled = found.unsettled()

    assert (broken, recovered, unsettled) == ([], 0, [])


@pytest.mark.parametrize("place", ["storage.placed", "collect.placed"])
def test_16_a_file_whose_folder_was_synced_survives_its_dead_address(place, powered, message):
    scene = powered.scene
    [url] = scene.photos()
    scene.announced(message(media=[url]))

    code = scene.run("collect", failpoints=f"{place}=kill")
    scene.provider.withdraw(url)
    with powered.after_power_cut() as found:
        recovered = found.recover()
        unsettled = found.unsettled()

    assert (code, recovered, unsettled) == (KILLED, 0, [])


def test_17_19_a_file_that_was_adopted_survives_a_power_cut_right_after(powered, message):
    """The run that made its name died before the folder's fsync: who adopts it owes that."""
    scene = powered.scene
    scene.announced(message(media=scene.photos()))

    code = scene.run("collect", failpoints="storage.linked=kill")
    powered.machine.database.sync()
    adopted = scene.run("collect", later=(40.0,))
    with powered.after_power_cut() as found:
        broken = found.violations()

    assert (code, adopted) == (KILLED, 0)
    assert [row["state"] for row in scene.rows()] == ["stored"]
    assert broken == []


def test_a_copy_that_its_row_names_is_whole_after_a_power_cut(powered, message):
    """I4 holds for copies too: nobody makes them again once their row says that they are made."""
    scene = powered.scene
    scene.announced(message(media=scene.photos()))
    assert scene.run("collect") == 0

    made = scene.run("copies")
    with powered.after_power_cut() as found:
        broken = found.violations()
        states = [row["copy_state"] for row in found.rows()]

    assert (made, states) == (0, ["made"])
    assert broken == []


def test_5_a_delivery_whose_answer_was_read_is_kept_after_a_power_cut(powered, message):
    with _serving(powered.scene) as port:
        answers = [powered.scene.post(port, message()) for _ in range(3)]
        with powered.after_power_cut() as found:
            broken = found.violations()

    assert answers == [204] * 3
    assert broken == []


def test_3_a_delivery_that_was_not_committed_is_no_half_row_after_a_power_cut(powered, message):
    scene, text = powered.scene, message(media=powered.scene.photos())
    server = scene.start("serve", failpoints="webhook.inserted=kill")

    lost = scene.post(server.heard(), text)
    with powered.after_power_cut() as found:
        found.receive(text)
        recovered = found.recover()
        unsettled = found.unsettled()

    assert (server.ended(), lost) == (KILLED, None)
    assert (recovered, unsettled) == (0, [])


def test_25_after_a_power_cut_with_photos_in_every_state_all_come_home(powered, message):
    scene = powered.scene
    scene.announced(message(media=scene.photos(12)))
    scene.receive(message(media=scene.photos(2)))

    codes = [
        scene.run("collect", failpoints=f"{place}=kill", later=(turn * 40.0,))
        for turn, place in enumerate(
            ("collect.stored@3", "storage.linked", "storage.sealed", "collect.placed")
        )
    ]
    with powered.after_power_cut() as found:
        broken = found.violations()
        recovered = found.run("everything", later=(200.0, 300.0, 7600.0))
        unsettled = found.unsettled()

    assert codes == [KILLED] * 4
    assert (broken, recovered, unsettled) == ([], 0, [])


# --- negative controls: without the guard, the same checks must see the loss -------------------


@pytest.mark.parametrize(
    ("sabotage", "place", "words"),
    [
        ("no-file-fsync", "collect.stored", "its bytes are others"),
        ("no-folder-fsync", "collect.stored", "stored and not there"),
        ("row-before-link", "storage.folders", "stored and not there"),
    ],
)
def test_the_suite_sees_the_loss_of_a_photo(sabotage, place, words, powered, message):
    scene = powered.scene
    scene.announced(message(media=scene.photos()))
    powered.sync()

    code = scene.run("collect", failpoints=f"{place}=kill", sabotage=(sabotage,))
    with powered.after_power_cut() as found:
        broken = found.violations()

    assert code == KILLED
    assert [line for line in broken if line.startswith("I3") and words in line]


def test_5_the_suite_sees_the_loss_of_an_answered_delivery(powered, message):
    with _serving(powered.scene, sabotage=("sqlite-delete-full",)) as port:
        answers = [powered.scene.post(port, message()) for _ in range(3)]
        with powered.after_power_cut() as found:
            broken = found.violations()

    assert answers == [204] * 3
    assert [line[:2] for line in broken] == ["I1"]


@contextlib.contextmanager
def _serving(scene, **words):
    server = scene.start("serve", **words)
    try:
        yield server.heard()
    finally:
        server.kill()


# --- PostgreSQL --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def postgres_disk():
    """A cluster whose data lie on a disk of its own, with a migrated database."""
    disks.needs_mounts()
    with contextlib.ExitStack() as stack:
        disk = disks.Disk(stack, "160M")
        server = _cluster(disk.path)
        server.start()
        stack.callback(server.stop)
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            # What is not synced at commit must not be written by accident a moment later.
            connection.execute("ALTER SYSTEM SET wal_writer_delay = '10s'")
            connection.execute("ALTER SYSTEM SET bgwriter_delay = '10s'")
            connection.execute("SELECT pg_reload_conf()")
        yield disk, server


def _cluster(folder):
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
    return servers.Postgres(folder)


class _Restarted(servers.Postgres):
    """The same cluster after the power came back: it has its data."""

    def _run(self, program, *words):
        if program != "initdb":
            super()._run(program, *words)


@pytest.mark.parametrize(
    ("sabotage", "is_kept"),
    [
        pytest.param((), True, id="5-on"),
        pytest.param(("postgres-async",), False, id="5-off-is-seen"),
    ],
)
def test_5_with_postgresql_an_answered_delivery_is_kept_after_a_power_cut(
    sabotage, is_kept, postgres_disk, new_scene, message, tmp_path
):
    disk, server = postgres_disk
    scene = new_scene(
        tmp_path / "data", tmp_path / "media", DATABASE_URL=server.url(server.create())
    )
    disk.sync()

    with _serving(scene, sabotage=sabotage) as port:
        answers = [scene.post(port, message()) for _ in range(3)]
        with disk.after_power_cut() as mounted:
            # The other machine is off, although its processes still run here.
            (mounted / "data" / "postmaster.pid").unlink()
            for socket in mounted.glob(".s.PGSQL*"):
                socket.unlink()
            after = _Restarted(mounted)
            after.start()
            try:
                url = scene.database_url.replace(str(server.folder), str(mounted))
                broken = checks.violations(url, scene.media_root, scene.known)
            finally:
                after.stop()

    assert answers == [204] * 3
    assert [line[:2] for line in broken] == ([] if is_kept else ["I1"] * 3)
