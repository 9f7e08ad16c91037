"""A whole viewer for each test: real Valkey, real HTTP provider, real database, own folder.

deliver   signs and posts a payload as the provider would
work      lets real workers empty the queues, and the sweep fill them, until nothing is due
client    a browser in which the owner is logged in; `log_in("field")` gives others
provider  an HTTP server on loopback that serves media and counts who asks
message   composes payloads

The database is SQLite and files are in a folder. TEST_DATABASE=postgresql and TEST_STORE=s3 run
the same tests on a PostgreSQL, with files that are in S3 alone. What is of a kind by its nature has
a marker that keeps it there, and gives the reason: `on_sqlite`, `on_folder`.
"""

import atexit
import functools
import gc
import itertools
import os
import shutil
import tempfile
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import flask_migrate
import pytest
import redis
import sqlalchemy as sa
import time_machine
from flask import Flask, has_app_context, session
from flask.testing import FlaskClient
from flask_wtf.csrf import generate_csrf
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.base import SQLiteDialect
from sqlalchemy.util import LRUCache
from werkzeug.datastructures import Headers
from werkzeug.routing import Rule

from tests.payloads import Message, signed
from tests.support import homes, object_stores, servers, ssh_hosts
from tests.support.conversations import attach as attach
from tests.support.conversations import talk as talk
from tests.support.hosts import up as up
from tests.support.webhooks import LEGACY_SECRET, OUR_NUMBER, SECRET
from viewer import create_app, jobs, misspellings
from viewer.demo.provider import Provider
from viewer.extensions import db, now
from viewer.intake import sweep
from viewer.models import User
from viewer.office import accounts
from viewer.upkeep import identity
from viewer.web import access, layout

HERE = Path(__file__).parent
DATABASE = os.environ.get("TEST_DATABASE", "sqlite")  # or postgresql
STORE = os.environ.get("TEST_STORE", "folder")  # or s3


# Here each test names the databases and stores that it needs, and both kinds are among them.
BY_THEMSELVES = ("holdings/", "storage/", *(f"upkeep/{name}/" for name in (
    "backup", "db_copy", "drill", "export", "move", "restore", "verify",
)))  # fmt: skip


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Where everything must run (CI), a skipped test is a failure."""
    if os.environ.get("VIEWER_NOTHING_SKIPPED") and terminalreporter.stats.get("skipped"):
        terminalreporter.section("skipped, although nothing may be", red=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """`make test` is for every minute, `make browser` and `make proof` for the rest."""
    for item in items:
        place = item.path.relative_to(HERE).as_posix()
        if place.startswith(("crash/", "faults/")) or _is_said_again(item):
            item.add_marker(pytest.mark.proof)
        if place.startswith("browser/"):
            item.add_marker(pytest.mark.browser)
        if place.startswith(BY_THEMSELVES):
            item.add_marker(pytest.mark.on_sqlite("names its databases itself"))
            item.add_marker(pytest.mark.on_folder("names its stores itself"))
    # The longest first: else all wait for it at the end.
    items.sort(key=lambda item: item.path.name not in ("test_endurance.py", "test_up.py"))


def _is_said_again(item: pytest.Item) -> bool:
    """On PostgreSQL, after SQLite. The journey and the migrations are for every minute on both."""
    words: dict[str, Any] = getattr(getattr(item, "callspec", None), "params", {})
    return words.get("database") == "postgresql" and item.path.name not in (
        "test_journey.py",
        "test_migrations.py",
    )


def pytest_collection() -> None:
    """Half a million objects come that stay: each look for garbage among them takes 0.1 s."""
    gc.disable()


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
    gc.enable()


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


def _compile_once() -> None:
    """Every test's application has the same hundred addresses: a fifth of the suite's time.

    What Werkzeug makes of a rule depends on nothing else, and does not change afterwards. Of the
    rule itself its builders use only the converters and the settings of its map, which are alike.
    """
    compile_rule, known = Rule.compile, {}
    made = ("_parts", "_trace", "_converters", "arguments", "_build", "_build_unknown")

    def remembered(rule: Rule) -> None:
        key = rule.rule, rule.subdomain, rule.host, repr(rule.defaults), rule.merge_slashes
        if key not in known:
            compile_rule(rule)
            known[key] = {name: getattr(rule, name) for name in made}
        vars(rule).update(known[key])

    Rule.compile = remembered  # type: ignore[method-assign]


def _translate_once() -> Callable[[sa.Engine], None]:
    """And the same questions: another third. A statement in SQL serves each engine of its kind."""
    for dialect in (SQLiteDialect, PGDialect_psycopg):
        dialect.__eq__ = lambda one, other: type(one) is type(other)  # type: ignore[method-assign]
        dialect.__hash__ = lambda one: hash(type(one))  # type: ignore[method-assign]
    known: LRUCache[Any, Any] = LRUCache(4000)

    def share(engine: sa.Engine) -> None:
        engine._compiled_cache = known

    return share


def _look_once() -> None:
    """And the same files in static/, and the same names in the environment: 3 of its 10 ms."""
    layout.static_address = functools.cache(layout.static_address)
    misspellings.nearest = functools.cache(misspellings.nearest)  # type: ignore[assignment]


# A developer's .env beside wsgi.py says where their own photos are.
os.environ["VIEWER_HOME"] = tempfile.mkdtemp(prefix="viewer-tests-")
atexit.register(shutil.rmtree, os.environ["VIEWER_HOME"], ignore_errors=True)

# Nor is a test to meet a developer's own buckets, or their proxy on the way to loopback.
for name in list(os.environ):
    if name.startswith("AWS_") or name.lower().endswith("_proxy"):
        del os.environ[name]
for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
    os.environ[name] = str(Path(os.environ["VIEWER_HOME"]) / "none")
os.environ["AWS_EC2_METADATA_DISABLED"] = "true"  # it would be asked for an access key

_compile_once()
_look_once()
_share_translations = _translate_once()


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    with servers.running_valkey() as url:
        yield url


@pytest.fixture(scope="session")
def postgres() -> Iterator[servers.Postgres]:
    with servers.running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def object_store() -> Iterator[object_stores.ObjectStore]:
    """A server that speaks S3, one for all tests."""
    with object_stores.running_seaweed() as server:
        yield server


@pytest.fixture(scope="session")
def shared_bucket(object_store: object_stores.ObjectStore) -> str:
    """For tests that are content with a prefix of their own."""
    return object_store.new_bucket()


@pytest.fixture(scope="session")
def ssh_host() -> Iterator[ssh_hosts.SSHHost]:
    """Another host, one for all tests."""
    with ssh_hosts.running_sshd() as host:
        yield host


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
    """Which database: the run's, unless the test asks for another with parametrize(indirect)."""
    usual = "sqlite" if request.node.get_closest_marker("on_sqlite") else DATABASE
    return str(getattr(request, "param", usual))


BOTH = pytest.mark.parametrize("database", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture(scope="session")
def emptied(postgres: servers.Postgres, migrated: Any) -> servers.Emptied:
    """One database for one test after another, emptied between them."""
    return servers.Emptied(postgres, migrated("postgresql"))


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
    if DATABASE == "postgresql":  # for thousands of tests, to copy one each time takes too long
        yield request.getfixturevalue("emptied").url()
        return
    name = server.create(template)
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def settings(tmp_path: Path, database_url: str, valkey_url: str) -> dict[str, Any]:
    """What create_app is given; a test may change it before it asks for `app`."""
    return {
        "VIEWER_ENV": "development",
        "DATA_DIR": tmp_path,
        "DATABASE_URL": database_url,
        "REDIS_URL": valkey_url,
        "SECRET_KEY": "only-for-tests-0123456789abcdef-0",
        "QUO_WEBHOOK_SECRETS": f"{SECRET},{LEGACY_SECRET}",
        "QUO_NUMBERS": OUR_NUMBER,
        "MEDIA_HOSTS": "127.0.0.1",
        "MEDIA_ALLOW_LOOPBACK": True,
        "TRANSFER_SECONDS": 5,
        "TZ_DISPLAY": "America/New_York",
        **(object_stores.SETTINGS if STORE == "s3" else {}),
    }


@pytest.fixture
def bucket_address(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Where this test's files go, where it is not the folder: a prefix of its own."""
    if STORE != "s3" or request.node.get_closest_marker("on_folder"):
        return None
    object_stores.sign_by_the_real_clock(monkeypatch)
    server: object_stores.ObjectStore = request.getfixturevalue("object_store")
    return server.address(request.getfixturevalue("shared_bucket"), uuid.uuid4().hex)


class CompiledTemplates(BytecodeCache):
    """Templates are compiled once, not in every test's application."""

    def __init__(self) -> None:
        self.codes: dict[tuple[str, str], Any] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self.codes.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        self.codes[bucket.key, bucket.checksum] = bucket.code


@pytest.fixture(scope="session")
def compiled() -> CompiledTemplates:
    return CompiledTemplates()


@pytest.fixture
def is_started() -> bool:
    """Whether the folder has its marker already, as after a first start."""
    return True


@pytest.fixture(autouse=True)
def usual_umask() -> Iterator[None]:
    """A command sets its own, for its whole process: here that is the tests'."""
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture(autouse=True)
def made_apps(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No application that a test makes leaves a connection: psycopg would warn in a later test."""
    made: list[Flask] = []
    init_app = db.init_app

    def note(app: Flask) -> None:
        made.append(app)
        init_app(app)

    monkeypatch.setattr(db, "init_app", note)
    yield
    for thread in threading.enumerate():
        if thread.name == "proxies":  # it writes a moment after its request
            thread.join(10)
    for app in made:
        with app.app_context():
            for engine in db.engines.values():
                engine.dispose()


@pytest.fixture
def app(
    settings: dict[str, Any],
    valkey_url: str,
    compiled: CompiledTemplates,
    is_started: bool,
    bucket_address: str | None,
) -> Iterator[Flask]:
    redis.from_url(valkey_url).flushall()
    app = create_app(settings)
    app.jinja_env.bytecode_cache = compiled
    app.test_client_class = Reader
    with app.app_context():
        _share_translations(db.engine)
        if is_started:
            identity.ensure()
            if bucket_address:
                homes.live_in(bucket_address)
        yield app
        db.session.rollback()


@pytest.fixture
def anonymous(app: Flask) -> FlaskClient:
    """A browser in which nobody is logged in."""
    return app.test_client()


class Reader(FlaskClient):
    """A stranger's browser: it reads an answer to the end, and so closes the file in it."""

    def open(self, *args: Any, **words: Any) -> Any:
        words.setdefault("buffered", True)
        return super().open(*args, **words)


class Browser(Reader):
    """A browser in which somebody is logged in; it sends the form token that a page would carry."""

    email = ""
    form_token = ""
    entered_at = datetime(1970, 1, 1, tzinfo=UTC)

    def open(self, *args: Any, **words: Any) -> Any:
        if abs(now() - self.entered_at) > timedelta(hours=1):
            self.enter()  # the test's clock went somewhere else: log in there
        headers = Headers(words.pop("headers", None))
        if str(words.get("method", "GET")) not in ("GET", "HEAD"):
            headers.setdefault("X-CSRFToken", self.form_token)
        return super().open(*args, headers=headers, **words)

    def enter(self) -> None:
        """As the login does, without the tenth of a second that hashing takes."""
        self.entered_at = now()
        app = self.application
        if has_app_context():
            db.session.commit()  # the test's own transaction would keep us out of SQLite
        with app.app_context(), app.test_request_context():
            user = accounts.find_user(self.email)
            assert user is not None
            access.start_session(user)
            self.form_token = generate_csrf()
            kept = dict(session)
            db.session.commit()
        with self.session_transaction() as fresh:
            fresh.update(kept)


@pytest.fixture
def log_in(app: Flask) -> Callable[..., Browser]:
    """A browser of a user with this role."""

    def enter(role: str = "owner", email: str | None = None) -> Browser:
        email = email or f"{role}@crack.example"
        if accounts.find_user(email) is None:
            user = accounts.add(email, User.Role(role), role.capitalize())
            user.created_at = datetime(2015, 1, 1, tzinfo=UTC)  # staff since ever
        db.session.commit()
        browser = Browser(app, app.response_class)
        browser.email = email
        browser.enter()
        return browser

    return enter


@pytest.fixture
def client(log_in: Callable[..., Browser]) -> Browser:
    """The owner's browser."""
    return log_in("owner")


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
def deliver(anonymous: FlaskClient) -> Callable[..., Any]:
    """Post a payload as the provider would; the answer."""

    def post(payload: Any, scheme: str = "standard", **words: Any) -> Any:
        secret = SECRET if scheme == "standard" else LEGACY_SECRET
        body, headers = signed(payload, scheme, secret, **words)
        db.session.commit()  # else SQLite would let nobody write
        return anonymous.post("/webhooks/quo", data=body, headers=headers)

    return post


@pytest.fixture
def work(app: Flask) -> Callable[[], None]:
    """Let a real worker do everything that is due now."""

    def until_done() -> None:
        for _ in range(20):
            db.session.rollback()  # else SQLite would let no worker write
            jobs.remind(*jobs.QUEUES)
            jobs.work(jobs.QUEUES, burst=True)
            db.session.rollback()
            homes.leave_folder()
            db.session.expire_all()
            # Also what came a moment ago: its reminder may not have reached a busy Valkey.
            due = replace(sweep.due(), events=sweep.due_events(sweep.AT_ONCE))
            db.session.rollback()
            if not (due.events or due.media or due.copies):
                return
            jobs.remind_of(due)
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
