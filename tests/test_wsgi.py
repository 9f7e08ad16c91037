"""`gunicorn wsgi:app`: what the command line checks holds for a server that knows nothing of it."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import requests

from tests.conftest import BOTH
from tests.support.servers import free_port, wait_until
from tests.support.stored_files import keep
from viewer import create_app, holdings
from viewer.extensions import db
from viewer.upkeep import identity
from viewer.web.media import files

ROOT = Path(__file__).parent.parent


@pytest.fixture
def environ(settings: dict[str, Any]) -> dict[str, str]:
    return {"PATH": os.environ["PATH"]} | {name: str(value) for name, value in settings.items()}


@contextlib.contextmanager
def gunicorn(environ: dict[str, str], log: Path) -> Iterator[str]:
    port = free_port()
    with log.open("w") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--threads", "2",
             "--no-control-socket", "wsgi:app"],
            env=environ, cwd=ROOT, stderr=said,
        )  # fmt: skip
        try:
            wait_until(lambda: answers(port) or server.poll() is not None)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()
            server.wait(30)


def answers(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


@pytest.fixture
def get(log_in: Callable[..., Any]) -> Callable[[str], requests.Response]:
    cookie = log_in("owner").get_cookie("viewer").value

    def ask(address: str) -> requests.Response:
        return requests.get(address, cookies={"viewer": cookie}, timeout=30)

    return ask


def broken(get: Callable[[str], requests.Response], address: str) -> dict[str, str]:
    return {alarm["name"]: alarm["words"] for alarm in get(f"{address}/healthz").json()["broken"]}


@pytest.mark.on_folder("its disk goes away")
def test_a_disk_that_is_not_mounted_is_503_and_works_once_it_is(app, environ, get, tmp_path):
    identity.ensure()
    media = keep(b"GIF89a" + bytes(100))
    db.session.commit()
    (tmp_path / "media").rename(tmp_path / "unmounted")
    (tmp_path / "media").mkdir()

    with gunicorn(environ, tmp_path / "log") as address:
        away, alarms = get(f"{address}/media/{media.id}"), broken(get, address)
        (tmp_path / "media").rmdir()
        (tmp_path / "unmounted").rename(tmp_path / "media")
        back, later = get(f"{address}/media/{media.id}"), broken(get, address)

    assert (away.status_code, back.status_code) == (503, 200)
    assert away.text == "The disk for photos is not there: is it mounted?\n"
    assert alarms["store_away"] == "The disk for photos is not there: is it mounted?"
    assert "store_away" not in later
    assert "no media are served: " in (tmp_path / "log").read_text()


@pytest.mark.on_folder("its disk goes away")
def test_the_folder_of_another_database_is_not_served(app, environ, get, tmp_path):
    identity.ensure()
    media = keep(b"GIF89a" + bytes(100))
    db.session.commit()
    marker = tmp_path / "media" / ".viewer-store"
    marker.unlink()
    marker.write_text("00000000-0000-0000-0000-000000000000")  # with a file under the same key

    with gunicorn(environ, tmp_path / "log") as address:
        answer, alarms = get(f"{address}/media/{media.id}"), broken(get, address)

    assert (answer.status_code, answer.text) == (
        503, "The folder for photos belongs to another database.\n",
    )  # fmt: skip
    assert alarms["store_away"] == "The folder for photos belongs to another database."


def test_a_first_start_marks_the_folder_whatever_server_it_is(app, environ, get, tmp_path):
    with gunicorn(environ, tmp_path / "log") as address:
        assert "store_away" not in broken(get, address)

    assert (tmp_path / "media" / ".viewer-store").is_file()


def test_a_large_file_comes_whole_in_ranges_and_over_one_connection(app, environ, log_in, tmp_path):
    """The kernel sends it: what is asked next on the connection is answered, too."""
    identity.ensure()
    content = b"GIF89a" + os.urandom(files.CHUNK * 3)
    media = keep(content)
    db.session.commit()
    cookies = {"viewer": log_in("owner").get_cookie("viewer").value}

    with gunicorn(environ, tmp_path / "log") as address, requests.Session() as browser:

        def get(span: str | None) -> tuple[int, bytes]:
            answer = browser.get(
                f"{address}/media/{media.id}", cookies=cookies, timeout=30,
                headers={} if span is None else {"Range": f"bytes={span}"},
            )  # fmt: skip
            return answer.status_code, answer.content

        head = browser.head(f"{address}/media/{media.id}", cookies=cookies, timeout=30)
        assert (head.status_code, head.headers["Content-Length"]) == (200, str(len(content)))
        assert get(None) == (200, content)
        assert get("0-") == (206, content)
        assert get("5-299999") == (206, content[5:300_000])
        assert get("-7") == (206, content[-7:])
        assert get(None) == (200, content)


@pytest.mark.parametrize(
    ("revision", "words"),
    [
        (None, "viewer: There is no database yet"),
        ("0013", "viewer: The database is at version 0013 and this code needs "),
    ],
)
def test_another_schema_is_refused_with_one_sentence(revision, words, environ, tmp_path):
    environ["DATABASE_URL"] = f"sqlite:///{tmp_path / 'other.db'}"
    if revision:
        with create_app({"DATABASE_URL": environ["DATABASE_URL"]}).app_context():
            flask_migrate.upgrade(revision=revision)
            db.engine.dispose()

    said = subprocess.run(
        [sys.executable, "-m", "gunicorn", "--bind", "127.0.0.1:0", "--no-control-socket",
         "--log-level", "critical", "wsgi:app"],
        env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert said.returncode != 0
    assert "Traceback" not in said.stderr
    assert said.stderr.startswith(words)
    assert len(said.stderr.splitlines()) == 1


def test_migrations_load_an_application_whose_schema_is_old(environ, tmp_path):
    environ["DATABASE_URL"] = f"sqlite:///{tmp_path / 'empty.db'}"

    said = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "db", "upgrade"],
        env=environ, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip

    assert said.returncode == 0, said.stderr


@BOTH
def test_a_worker_process_learns_whose_store_it_is_at_its_first_use(app, settings, tmp_path):
    """Also one whose application was made before anybody had ever started."""
    early = create_app(settings)
    identity.ensure()
    media = keep(b"GIF89a" + bytes(100))
    db.session.commit()
    shutil.rmtree(tmp_path / "media")

    with early.app_context():
        assert holdings.own().why_away() == "The disk for photos is not there: is it mounted?"
        db.session.remove()
        db.engine.dispose()
    assert media.is_stored


def test_a_database_that_is_not_there_yet_does_not_keep_the_server_from_starting(environ, tmp_path):
    port = free_port()
    environ["DATABASE_URL"] = f"postgresql://viewer@127.0.0.1:{port}/viewer"

    with gunicorn(environ, tmp_path / "log") as address:
        health = requests.get(f"{address}/healthz", timeout=30)

    assert (health.status_code, health.json()) == (503, {"ok": False, "status": "broken"})
    assert "the database does not answer: " in (tmp_path / "log").read_text()


def test_after_the_imports_garbage_is_collected_again():
    looks = "import gc, viewer; print(gc.isenabled(), gc.get_freeze_count() > 10_000)"

    done = subprocess.run([sys.executable, "-c", looks], capture_output=True, text=True, check=True)

    assert done.stdout == "True True\n"
