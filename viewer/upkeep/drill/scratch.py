"""A place for a drill: folders, a database and an environment in which nothing of ours is known.

Busy         another drill runs here
DrillFailed  something cannot be done, or is not right; the message is a sentence for the operator
"""

import contextlib
import fcntl
import logging
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import make_url

from viewer.config import HOME, Settings, settings
from viewer.extensions import db, sqlite_driver
from viewer.failpoint import VARIABLE
from viewer.supervise import die_with_parent

log = logging.getLogger(__name__)

DEADLINE = 12 * 3600.0  # seconds for a restore
_OURS = "viewer_drill"  # how scratch databases begin


class Busy(Exception):
    """Another drill runs on this host."""


class DrillFailed(Exception):
    """The backup is not proven."""


@dataclass(frozen=True, slots=True)
class Scratch:
    """Where one drill takes place."""

    folder: Path
    database_url: str
    environment: Mapping[str, str]

    @property
    def media_root(self) -> Path:
        return self.folder / "photos"

    @contextlib.contextmanager
    def connected(self) -> Iterator[sa.Connection]:
        """A connection to the scratch database."""
        url = make_url(self.database_url)
        module = {"module": sqlite_driver} if url.get_backend_name() == "sqlite" else {}
        engine = sa.create_engine(url, poolclass=sa.NullPool, hide_parameters=True, **module)
        with engine.connect() as connection:
            yield connection

    def start(self, *words: str, log_to: Path | None = None) -> "subprocess.Popen[str]":
        """One of our commands in the scratch environment. It ends when we end."""
        with (log_to or Path(os.devnull)).open("a") as said:
            return subprocess.Popen(
                [sys.executable, "-m", "viewer", *words],
                env=dict(self.environment),
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=said,
                start_new_session=True,
                preexec_fn=die_with_parent,  # a single system call: safe beside other threads
                text=True,
            )

    def run(self, *words: str, typed: str = "", deadline: float = 120.0) -> str:
        """Run one to its end; what it said. Raises DrillFailed unless it exits with 0."""
        said = self.folder / f"{words[0]}.log"
        with self.start(*words, log_to=said) as process:
            try:
                process.communicate(typed, timeout=deadline)
            except subprocess.TimeoutExpired:
                raise DrillFailed(f"viewer {words[0]} did not end in {deadline:.0f} s.") from None
            finally:
                process.kill()
        if process.returncode:
            raise DrillFailed(f"viewer {words[0]} ended with {process.returncode}: {tail(said)}")
        return said.read_text(errors="replace")


@contextlib.contextmanager
def made(target_url: str) -> Iterator[Scratch]:
    """A scratch place, gone afterwards; what a killed drill left goes first.

    Raises Busy, DrillFailed.
    """
    data_dir = settings().data_dir
    folder = data_dir / "drill"
    with _locked(data_dir / "drill.lock"):
        try:
            _clear(folder)
            folder.mkdir(mode=0o700)  # customers' messages
            for name in ("data", "photos"):
                (folder / name).mkdir()
        except OSError as trouble:
            raise DrillFailed(f"{folder} cannot be made: {trouble.strerror}.") from trouble
        try:
            with _database(folder) as url:
                yield Scratch(folder, url, _environment(folder, url, target_url))
        finally:
            _clear(folder)


def tail(log_file: Path, lines: int = 3) -> str:
    """The last lines of what a command said."""
    found = log_file.read_text(errors="replace").strip().splitlines()
    return " ".join(found[-lines:])[-500:] or "without a word"


def _clear(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Busy("Another drill is running on this host.") from None
        yield


def _environment(folder: Path, database_url: str, target_url: str) -> dict[str, str]:
    """That of this process without any setting of ours: no key, no Redis, no store, no proxy."""
    current = settings()
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in Settings.model_fields
        and name not in (HOME, VARIABLE)
        and (target_url.startswith("s3:") or not name.startswith("AWS_"))
        and not name.lower().endswith("_proxy")
    }
    made = {
        HOME: str(folder),  # where there is no .env
        "DATA_DIR": str(folder / "data"),
        "MEDIA_ROOT": str(folder / "photos"),
        "DATABASE_URL": database_url,
        "REDIS_URL": f"unix://{folder}/none.sock",
        "SECRET_KEY": secrets.token_hex(32),
        "LOG_LEVEL": "WARNING",
    }
    # What reaches the target, and nothing else of ours.
    if target_url.startswith("s3:") and current.backup_s3_credentials:
        made["BACKUP_S3_ACCESS_KEY_ID"] = current.BACKUP_S3_ACCESS_KEY_ID.get_secret_value()
        made["BACKUP_S3_SECRET_ACCESS_KEY"] = current.BACKUP_S3_SECRET_ACCESS_KEY.get_secret_value()
    if target_url.startswith("ssh:") and current.BACKUP_SSH_CONFIG:
        made["BACKUP_SSH_CONFIG"] = str(current.BACKUP_SSH_CONFIG)
    return inherited | made


# --- The database --------------------------------------------------------------------------


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[str]:
    """The address of an empty database, gone afterwards. Raises DrillFailed."""
    if db.engine.dialect.name == "sqlite":
        yield f"sqlite:///{folder / 'data' / 'viewer.db'}"
        return
    with _administering() as admin:
        prefix = _prefix(admin)
        _drop_left(admin, prefix)
        name = f"{prefix}{secrets.token_hex(4)}"
        try:
            admin.exec_driver_sql(f'CREATE DATABASE "{name}" TEMPLATE template0')
        except sa.exc.DBAPIError as error:
            reason = str(error.orig).strip().partition("\n")[0]
            raise DrillFailed(
                f"PostgreSQL makes no scratch database ({reason}): its user needs CREATEDB."
            ) from error
        url = make_url(settings().database_url).set(database=name)
        holder = sa.create_engine(url, poolclass=sa.NullPool)
        try:
            # While it is connected, no other host's drill takes it for one that was left behind.
            with holder.connect():
                yield url.render_as_string(hide_password=False)
        finally:
            admin.exec_driver_sql(f'DROP DATABASE "{name}" WITH (FORCE)')


@contextlib.contextmanager
def _administering() -> Iterator[sa.Connection]:
    with db.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        yield connection


def _prefix(admin: sa.Connection) -> str:
    """Of the scratch databases of this viewer alone: a server may have several."""
    oid = admin.exec_driver_sql(
        "SELECT oid FROM pg_database WHERE datname = current_database()"
    ).scalar_one()
    return f"{_OURS}_{oid}_"


def _drop_left(admin: sa.Connection, prefix: str) -> None:
    """Drop what killed drills left. One that is in use is a living one's, and stays."""
    names = admin.exec_driver_sql("SELECT datname FROM pg_database").scalars().all()
    for name in names:
        if re.fullmatch(re.escape(prefix) + r"[0-9a-f]{8}", name):
            try:
                admin.exec_driver_sql(f'DROP DATABASE "{name}"')
                log.warning("%s dropped: a drill was killed", name)
            except sa.exc.OperationalError:
                log.info("%s is in use", name)
