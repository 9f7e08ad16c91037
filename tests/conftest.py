"""A whole viewer for each test: real Valkey, real HTTP provider, real database, own folder.

deliver   signs and posts a payload as the provider would
work      lets real workers empty the queues, and the sweep fill them, until nothing is due
provider  an HTTP server on loopback that serves media and counts who asks
message   composes payloads
"""

import itertools
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import redis
import time_machine
from flask import Flask
from flask.testing import FlaskClient

from tests import servers
from tests.payloads import Message, signed
from viewer import create_app, jobs
from viewer.demo.provider import Provider
from viewer.extensions import db
from viewer.intake import sweep

SECRET = "whsec_dGVzdC1zdGFuZGFyZC1rZXktMjQtYnl0"
LEGACY_SECRET = "dGVzdC1sZWdhY3kta2V5LTMyLWJ5dGVzLWxvbmctMDE="
OUR_NUMBER = "+16175550100"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Where everything must run (CI), a skipped test is a failure."""
    if os.environ.get("VIEWER_NOTHING_SKIPPED") and terminalreporter.stats.get("skipped"):
        terminalreporter.section("skipped, although nothing may be", red=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` is for every minute, `make proof` for what takes root, strace, or patience."""
    here = Path(__file__).parent
    for item in items:
        if {here / "crash", here / "faults"} & set(item.path.parents):
            item.add_marker(pytest.mark.proof)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if (
        os.environ.get("VIEWER_NOTHING_SKIPPED")
        and reporter is not None
        and reporter.stats.get("skipped")
        and session.exitstatus == pytest.ExitCode.OK
    ):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with servers.running_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    with servers.running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def migrated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Databases with the newest schema, to be copied: migrations run once a session."""
    ready: dict[str, Any] = {}

    def template(kind: str) -> Any:
        if kind not in ready:
            folder = tmp_path_factory.mktemp(kind)
            if kind == "sqlite":
                ready[kind] = folder / "viewer.db"
                url = f"sqlite:///{ready[kind]}"
            else:
                server = request.getfixturevalue("postgres")
                ready[kind] = server.create()
                url = server.url(ready[kind])
            app = create_app({"DATA_DIR": folder, "DATABASE_URL": url})
            with app.app_context():
                flask_migrate.upgrade()
                db.engine.dispose()
        return ready[kind]

    return template


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    """Which database: SQLite, unless the test asks for others with parametrize(indirect)."""
    return str(getattr(request, "param", "sqlite"))


BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_url(
    database: str, migrated: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[str]:
    template = migrated(database)
    if database == "sqlite":
        copy = tmp_path / "viewer.db"
        shutil.copy(template, copy)
        yield f"sqlite:///{copy}"
        return
    server: servers.Postgres = request.getfixturevalue("postgres")
    name = server.create(template)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def settings(tmp_path: Path, database_url: str, valkey_url: str) -> dict[str, Any]:
    """What create_app is given; a test may change it before it asks for `app`."""
    return {
        "DATA_DIR": tmp_path,
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey_url,
        "SECRET_KEY": "test",
        "QUO_WEBHOOK_SECRETS": f"{SECRET},{LEGACY_SECRET}",
        "QUO_NUMBERS": OUR_NUMBER,
        "MEDIA_HOSTS": "127.0.0.1",
        "MEDIA_ALLOW_LOOPBACK": True,
        "TRANSFER_SECONDS": 5,
        "TZ_DISPLAY": "America/New_York",
    }


@pytest.fixture
def app(settings: dict[str, Any], valkey_url: str) -> Iterator[Flask]:
    redis.from_url(valkey_url).flushall()
    app = create_app(settings)
    with app.app_context():
        yield app
        db.session.rollback()
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as server:
        yield server


@pytest.fixture
def message() -> Callable[..., Message]:
    """Composes a text that nobody sent before."""
    numbers = itertools.count(1)

    def compose(**words: Any) -> Message:
        return Message(number=next(numbers), **words)

    return compose


@pytest.fixture
def deliver(client: FlaskClient) -> Callable[..., Any]:
    """Post a payload as the provider would; the answer."""

    def post(payload: Any, scheme: str = "standard", **words: Any) -> Any:
        secret = SECRET if scheme == "standard" else LEGACY_SECRET
        body, headers = signed(payload, scheme, secret, **words)
        return client.post("/webhooks/quo", data=body, headers=headers)

    return post


@pytest.fixture
def work(app: Flask) -> Callable[[], None]:
    """Let real workers do everything that is due now."""

    def until_done() -> None:
        for _ in range(20):
            jobs.work(jobs.QUEUES, burst=True)
            db.session.rollback()
            db.session.expire_all()
            due = sweep.due()
            db.session.rollback()
            if not (due.events or due.media or due.copies):
                return
            jobs.remind(due)
        raise AssertionError(f"still due after many rounds: {due}")

    return until_done


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def time_machine_at() -> Callable[[datetime], Any]:
    """`with time_machine_at(moment):` the clock stands there."""
    return lambda moment: time_machine.travel(moment, tick=False)
