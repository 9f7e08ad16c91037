"""A start that cannot go well is refused, in one sentence, before anything runs."""

import shutil
import socket
from collections.abc import Iterator

import pytest
from click.testing import CliRunner

from tests.commands.conftest import assert_refused, made
from tests.crash import disks
from viewer import commands
from viewer.config import Settings


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which somebody serves."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


# --- Ports ---------------------------------------------------------------------------------


def test_a_port_that_is_taken_is_said_before_anything_starts(console, taken, tmp_path):
    assert_refused(console("up", "--port", str(taken)), "--port:", f"port {taken}")

    assert made(tmp_path / "var") == set()


@pytest.mark.parametrize("command", ["up", "web", "demo"])
@pytest.mark.parametrize("port", ["0", "99999", "-1", "http"])
def test_a_port_that_cannot_be_is_wrong_usage(command, port):
    done = CliRunner().invoke(commands.viewer, [command, "--port", port])

    assert done.exit_code == 2
    assert "Invalid value for '--port'" in done.output


@pytest.mark.parametrize(
    ("host", "words"),
    [("203.0.113.7", "cannot serve on 203.0.113.7"), ("nowhere.invalid", "is not known here")],
)
def test_a_host_that_is_not_this_one_is_named(host, words, console, tmp_path):
    assert_refused(console("up", "--host", host), "--host:", words)

    assert made(tmp_path / "var") == set()


# --- What settings name --------------------------------------------------------------------

COMMANDS = [
    ("up", "--port", "1"), ("web",), ("work", "--burst"), ("schedule",), ("catch-up",),
    ("retry", "--all"), ("reprocess",), ("reindex",), ("purge",), ("user", "list"),
    ("user", "add", "a@crack.example", "--password-stdin"),
]  # fmt: skip


@pytest.mark.proof
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_says_it_in_one_sentence(command, console, port, tmp_path, migrated):
    command = (*command[:-1], port) if command[0] == "up" else command
    (tmp_path / "var").mkdir(exist_ok=True)
    shutil.copy(migrated("sqlite"), tmp_path / "var" / "viewer.db")
    (tmp_path / "file").write_text("in the way")

    assert_refused(console(*command, MEDIA_ROOT=f"{tmp_path}/file"), "MEDIA_ROOT:", "/file")
    assert_refused(
        console(*command, DATABASE_URL="postgresql://u:sesame@127.0.0.1:1/photos"),
        "DATABASE_URL: the database photos", "refused",
    )  # fmt: skip
    assert_refused(console(*command, DATABASE_URL=f"sqlite:///{tmp_path}"), "DATABASE_URL:")


def test_a_media_root_that_is_a_file_is_named(console, port, tmp_path):
    console("db", "upgrade")
    (tmp_path / "file").write_text("in the way")

    assert_refused(
        console("up", "--port", port, MEDIA_ROOT="file"),
        f"MEDIA_ROOT: {tmp_path}/file cannot be used: Not a directory",
    )


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("postgresql://u:sesame@127.0.0.1:1/photos", "the database photos cannot be used"),
        ("sqlite:///folder", "/folder cannot be used: unable to open"),
        ("sqlite:///noise", "/noise cannot be used: file is not a database"),
        ("sqlite:///nowhere/viewer.db", "/nowhere/viewer.db cannot be used: unable to open"),
    ],
)
def test_a_database_that_is_not_there_is_named(url, words, console, port, tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "noise").write_bytes(b"no database" * 1000)
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secret_key").write_text("a key of earlier starts")

    assert_refused(console("up", "--port", port, DATABASE_URL=url), "DATABASE_URL:", words)


@pytest.mark.proof
def test_a_disk_that_is_read_only_is_named(console, port, tmp_path):
    disks.needs_mounts()
    console("db", "upgrade")
    with disks.tmpfs(tmp_path / "disk", "size=1m,ro"):
        for command in (("up", "--port", port), ("user", "list")):
            assert_refused(
                console(*command, MEDIA_ROOT="disk/media"),
                f"MEDIA_ROOT: {tmp_path}/disk/media cannot be used: Read-only file system",
            )
            assert_refused(
                console(*command, DATA_DIR="disk/data"),
                f"DATA_DIR: {tmp_path}/disk/data cannot be used: Read-only file system",
            )


# --- A new installation --------------------------------------------------------------------


def test_an_empty_data_folder_is_told_once(console, tmp_path):
    (tmp_path / "var").mkdir()

    first, second = console("db", "upgrade"), console("db", "upgrade")

    assert first.stderr == f"New installation: DATA_DIR {tmp_path}/var was empty.\n"
    assert second.stderr == ""


def test_a_command_that_needs_a_database_says_how_to_make_one(console):
    done = console("user", "list")

    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "viewer: There is no database yet. Make it with: viewer db upgrade"
    )


def test_an_env_file_where_we_stand_that_was_not_read_is_pointed_out(
    environment, console, tmp_path
):
    (tmp_path / ".env").write_text("WORKERS=5\n")
    (tmp_path / "house").mkdir()

    done = console("db", "upgrade", VIEWER_HOME=f"{tmp_path}/house")

    assert done.stderr == (
        f"New installation: DATA_DIR {tmp_path}/house/var was empty. {tmp_path}/.env was not read,"
        f" but {tmp_path}/house/.env; VIEWER_HOME chooses the folder.\n"
    )


def test_settings_tell_real_paths_and_where_they_come_from(console, tmp_path):
    before = console("settings").stdout.splitlines()
    (tmp_path / ".env").write_text(
        "MEDIA_ROOT=photos\nDATABASE_URL=postgresql://u:sesame@host/db\nQUO_NUMBERS=6175550100\n"
    )
    after = console("settings").stdout.splitlines()

    assert before[:2] == [f"# VIEWER_HOME={tmp_path}", f"# {tmp_path}/.env is not there"]
    assert f"DATA_DIR={tmp_path}/var" in before
    assert f"MEDIA_ROOT={tmp_path}/var/media" in before
    assert f"DATABASE_URL=sqlite:///{tmp_path}/var/viewer.db" in before
    assert f"REDIS_URL=unix://{tmp_path}/var/valkey.sock" in before
    assert after[1] == f"# {tmp_path}/.env was read"
    assert f"MEDIA_ROOT={tmp_path}/photos" in after
    assert "DATABASE_URL=**********" in after
    assert "QUO_NUMBERS=+16175550100" in after
    assert not (tmp_path / "var").exists()  # looking makes nothing
    assert {line.partition("=")[0] for line in after[2:]} == set(Settings.model_fields)
