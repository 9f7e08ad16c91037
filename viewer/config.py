"""Every setting, and the only reader of the environment.

An invalid value stops the boot with a `BadSetting` that names the setting and never shows a secret.
docs/operations.md lists them all; `viewer settings` prints the ones in force.

Relative paths (DATA_DIR, MEDIA_ROOT, a SQLite file) and `.env` are resolved against one folder,
`home()`, not against the current directory: the same command must not open another database
because of a `cd`. It is the first of:

1. VIEWER_HOME, if the environment sets it;
2. in a checkout (also installed with `pip install -e`), the folder of wsgi.py;
3. the current directory: an installed wheel has no data folder of its own.

A leading `~` in a path is expanded: `.env` and systemd units have no shell to do it.
A variable whose name is close to one of ours stops the boot too (`viewer/misspellings.py`).
"""

import contextlib
import ipaddress
import os
import re
import secrets
import stat
import tempfile
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, parse_qs, urlsplit

import redis
from flask import Flask, current_app
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    NoDecode,
    SettingsConfigDict,
)
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from viewer import failpoint, misspellings, quo, storage

CommaSeparated = Annotated[tuple[str, ...], NoDecode]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode]

HOME = "VIEWER_HOME"  # read before any setting: it locates `.env`
CHECKOUT = Path(__file__).resolve().parent.parent  # in a wheel: site-packages

# In DATA_DIR (host_lock.py)
VIEWER_LOCK, PARTS_LOCK, USE_LOCK = "viewer.lock", "parts.lock", "use.lock"

# A weak signing key is found offline from one cookie: a short one, a pattern, one out of a manual.
SHORTEST_KEY = 32  # characters; `openssl rand -hex 16` has as many
LEAST_VARIED_KEY = 6  # different characters
_EXAMPLE_KEY = re.compile(
    r"secret|change|example|insecure|password|replace|"
    r"192b9bdd22ab9ed4d12e236c78afcb9a393ec15f71bbf5dc987d54727823bcbf",  # in Flask's manual
    re.IGNORECASE,
)
LOOPBACK_HOSTS = ("localhost", "127.0.0.1")  # Werkzeug compares no IPv6 addresses
_LONGEST_WINDOW = 84  # hours: two of them are the seven days for which S3 lets an address be good
OURS_BESIDE = frozenset({HOME, failpoint.VARIABLE})  # names of ours that are not settings

# Allow-list of hosts on which the provider was observed to keep media, in November 2026.
PROVIDER_MEDIA_HOSTS = (
    "storage.googleapis.com",
    "m.openph.one",
    ".openphone.com",
    ".quo.com",
    ".amazonaws.com",
)


@dataclass(frozen=True, slots=True)
class BusinessHours:
    """When the company works: weekdays (Monday is 0) and full hours of the day."""

    days: frozenset[int]
    opens: int
    closes: int

    @classmethod
    def read(cls, words: str) -> Self:
        """Parse `mon-fri 8-18`. Raises ValueError."""
        found = re.fullmatch(r"([a-z]{3})-([a-z]{3}) (\d{1,2})-(\d{1,2})", words.strip().lower())
        names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        if not found or found[1] not in names or found[2] not in names:
            raise ValueError("must look like mon-fri 8-18")
        first, last = names.index(found[1]), names.index(found[2])
        opens, closes = int(found[3]), int(found[4])
        if last < first or not opens < closes <= 24:
            raise ValueError("the first day and hour must come before the last")
        return cls(frozenset(range(first, last + 1)), opens, closes)


class BadSetting(Exception):
    """A setting is invalid. The message names it and the accepted values."""


class Settings(BaseSettings):
    """Settings from the environment, else from the `.env` in `home()`. Fields are the variables."""

    model_config = SettingsConfigDict(
        case_sensitive=True, extra="ignore", frozen=True, env_ignore_empty=True
    )

    VIEWER_ENV: Literal["production", "development"] = "production"
    DATA_DIR: Path = Field(default=Path("var"), validate_default=True)
    MEDIA_ROOT: Path | None = None  # default: DATA_DIR/media
    DATABASE_URL: SecretStr = SecretStr("")  # default: SQLite at DATA_DIR/viewer.db
    REDIS_URL: SecretStr = SecretStr("")  # default: the embedded Valkey on a socket in DATA_DIR
    SECRET_KEY: SecretStr = SecretStr("")  # default: generated once, in DATA_DIR/secret_key
    SECRET_KEY_FALLBACKS: SecretList = ()  # earlier keys: their sessions stay valid
    SESSION_IDLE_HOURS: float = Field(default=336, gt=0, le=8_760)  # idle timeout of a session
    SESSION_DAYS: float = Field(default=90, gt=0, le=365)  # absolute lifetime of a session
    SECOND_FACTOR: Literal["offered", "office", "all"] = "offered"  # of whom it is demanded
    SMTP_URL: SecretStr = SecretStr("")  # the mail server for notices; empty: no mail
    QUO_WEBHOOK_SECRETS: SecretList = ()
    # The largest signed delivery, in MiB: the transcript of a day of talk, in the longest notation.
    WEBHOOK_MAX_MB: int = Field(default=8, ge=1, le=64)
    QUO_NUMBERS: CommaSeparated = ()
    QUO_API_KEY: SecretStr = SecretStr("")
    QUO_API_URL: str = "https://api.quo.com"
    MEDIA_HOSTS: CommaSeparated = PROVIDER_MEDIA_HOSTS
    MEDIA_ALLOW_LOOPBACK: bool = False
    MEDIA_MAX_MB: int = Field(default=100, ge=1, le=10_000)  # a photo, a video, a document
    RECORDING_MAX_MB: int = Field(default=250, ge=1, le=10_000)
    TRANSFER_SECONDS: float = Field(
        default=300, gt=0, le=3_600
    )  # one download; slow ones: fetch.Limits
    WORKERS: int = Field(default=2, ge=1, le=64)  # worker processes that collect, in `viewer up`
    PUBLIC_URL: str = ""  # base URL of links; without it pages are for this machine alone
    TRUSTED_HOSTS: CommaSeparated = ()  # Host headers answered; empty: see answered_hosts
    PROXY_HOPS: int = Field(default=0, ge=0, le=5)  # exact number of reverse proxies in front
    STORAGE_URL: str = ""  # where new files go; empty: this host's MEDIA_ROOT
    S3_ACCESS_KEY_ID: SecretStr = SecretStr("")  # default: where AWS's own tools look
    S3_SECRET_ACCESS_KEY: SecretStr = SecretStr("")
    X_ACCEL_PREFIX: str = ""  # nginx's internal location for X-Accel-Redirect
    X_ACCEL_S3_PREFIX: str = ""  # and the one in which nginx asks the object store by itself
    MEDIA_REDIRECT: bool = False  # send browsers of staff to the object store for its files
    CDN_URL: str = ""  # to this address instead, which passes requests on to the object store
    SIGNED_WINDOW_HOURS: float = 24  # for which an address of a file in S3 stays the same
    TZ_DISPLAY: str = "America/New_York"
    BUSINESS_HOURS: str = "mon-fri 8-18"  # in TZ_DISPLAY; SILENCE_HOURS counts only these
    # warn after so many business hours without a webhook; 0: never
    SILENCE_HOURS: float = Field(default=10, ge=0, le=8_760)
    VERIFY_CYCLE_DAYS: int = Field(default=30, ge=1, le=365)  # in which all originals are read once
    VERIFY_S3_GB_PER_NIGHT: float = Field(default=5, gt=0, le=100_000)  # a bucket's bytes cost
    FORGET_AFTER_DAYS: float = Field(default=7, ge=0, le=90)  # in which forgetting is revocable
    QUARANTINE_DAYS: float = Field(default=30, ge=0, le=3_650)  # bytes of what was deleted for good
    RECORDING_DAYS: int | None = Field(default=None, ge=1, le=36_500)  # None: calls are kept
    RAW_DELIVERY_DAYS: int | None = Field(default=None, ge=30, le=36_500)  # None: kept
    KEEP_MOVED_DAYS: float = Field(default=14, ge=0, le=3_650)  # in their former store
    BACKUP_TARGETS: CommaSeparated = ()  # such as /mnt/backup; the schedule backs up to each
    BACKUP_S3_ACCESS_KEY_ID: SecretStr = SecretStr("")  # not the stores': it must not delete
    BACKUP_S3_SECRET_ACCESS_KEY: SecretStr = SecretStr("")
    BACKUP_SSH_CONFIG: Path | None = None  # in place of ~/.ssh/config
    RESTIC_PASSWORD_FILE: Path | None = None  # of the repositories among the targets
    # hours from one scheduled backup to the next; None: 1, or 6 with a large database
    BACKUP_EVERY_HOURS: float | None = Field(default=None, gt=0, le=24)
    DRILL_SAMPLE: int = Field(default=200, ge=1, le=1_000_000)  # originals that a drill opens
    LITESTREAM_CONFIG: Path | None = None  # the drill then restores its copy of SQLite, too
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator(
        "QUO_NUMBERS",
        "MEDIA_HOSTS",
        "TRUSTED_HOSTS",
        "QUO_WEBHOOK_SECRETS",
        "SECRET_KEY_FALLBACKS",
        "BACKUP_TARGETS",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator(
        "DATA_DIR", "MEDIA_ROOT", "BACKUP_SSH_CONFIG", "RESTIC_PASSWORD_FILE", "LITESTREAM_CONFIG"
    )
    @classmethod
    def _real_path(cls, value: Path | None) -> Path | None:
        return None if value is None else _absolute(value)

    @field_validator("DATABASE_URL")
    @classmethod
    def _durable_database(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value():
            return value
        try:
            parsed = make_url(value.get_secret_value())
        except (ArgumentError, ValueError):  # its message would show the password
            raise ValueError("is not a database address") from None
        if parsed.get_backend_name() not in ("sqlite", "postgresql", "postgres"):
            raise ValueError("must begin with sqlite: or postgresql:")
        if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
            raise ValueError("must name a file: in memory nothing is kept")
        return value

    @field_validator("REDIS_URL")
    @classmethod
    def _redis_address(cls, value: SecretStr) -> SecretStr:
        if value.get_secret_value():
            try:
                redis.from_url(value.get_secret_value()).close()  # connects on first use
                parts = urlsplit(value.get_secret_value())
            except ValueError:
                raise ValueError("must be redis://…, rediss://… or unix://…") from None
            if parts.scheme == "unix" and parts.hostname:  # redis-py would drop that path segment
                raise ValueError("must name the socket by its whole path: unix:///…")
        return value

    @field_validator("SMTP_URL")
    @classmethod
    def _mail_server(cls, value: SecretStr) -> SecretStr:
        words = value.get_secret_value()
        try:
            parts = urlsplit(words)
            _port = parts.port
            is_right = parts.scheme in ("smtp", "smtps") and bool(parts.hostname)
        except ValueError:
            is_right = False
        if words and (not is_right or parts.path not in ("", "/")):  # it may hold a password
            raise ValueError("must look like smtp://user:password@host:587?from=viewer@host")
        if words and not set(parse_qs(parts.query)) <= {"from"}:
            raise ValueError("takes no other parameter than from")
        return value

    @field_validator("QUO_API_KEY")
    @classmethod
    def _bare_key(cls, value: SecretStr) -> SecretStr:
        key = value.get_secret_value()
        if key.lower().startswith("bearer"):
            raise ValueError("must be the key alone, without Bearer: the provider takes it raw")
        if not all("!" <= sign <= "~" for sign in key):
            raise ValueError("must not contain spaces, line breaks or signs beyond ASCII")
        return value

    @field_validator("X_ACCEL_PREFIX", "X_ACCEL_S3_PREFIX")
    @classmethod
    def _absolute_path(cls, value: str) -> str:
        if value and not re.fullmatch(r"(/[A-Za-z0-9._-]+)+/?", value):
            raise ValueError("must be the path of an nginx location such as /stored")
        return value

    @field_validator("SIGNED_WINDOW_HOURS")
    @classmethod
    def _window_that_s3_takes(cls, value: float) -> float:
        if not 1 <= value <= _LONGEST_WINDOW:
            raise ValueError(
                f"must be from 1 to {_LONGEST_WINDOW}: an address is good for two windows, and S3"
                " lets none be good for more than seven days"
            )
        return value

    @field_validator("QUO_WEBHOOK_SECRETS")
    @classmethod
    def _usable_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if value:  # none yet is fine: the webhook then refuses every delivery, and logs why
            quo.check_secrets([secret.get_secret_value() for secret in value])
        return value

    @field_validator("QUO_NUMBERS")
    @classmethod
    def _canonical_numbers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        numbers = tuple(quo.canonical(number) for number in value)
        for given, number in zip(value, numbers, strict=True):
            if not number.startswith("+"):
                raise ValueError(f"{given!r} is not a phone number")
        return numbers

    @field_validator("MEDIA_HOSTS", "TRUSTED_HOSTS")
    @classmethod
    def _plain_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if not _HOST.fullmatch(host):
                raise ValueError(
                    f"{_without_userinfo(host)!r} is not a host name: names only, without https://,"
                    " port or path, separated by commas; '.example.com' means its subdomains"
                )
        return tuple(host.lower() for host in value)

    @field_validator("STORAGE_URL")
    @classmethod
    def _known_store(cls, value: str) -> str:
        if value in ("", "folder:"):
            return value
        try:
            found = storage.normalise(value)
        except storage.UnknownStore as trouble:  # its words show no secret of an address
            raise ValueError(f"holds a wrong address: {trouble}") from None
        if not found.startswith("s3:"):
            raise ValueError("must be s3://bucket/prefix?region=…, or folder: for MEDIA_ROOT")
        return found

    @field_validator("BACKUP_TARGETS")
    @classmethod
    def _known_targets(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # Whether it is there is asked at each run: a disk that is away must not stop the start.
        for target in value:
            if not target.removeprefix("folder:").startswith(("/", "s3:", "ssh:", "restic:")):
                raise ValueError(
                    f"{target!r} is not the absolute path of a folder, nor s3:, ssh: or restic:"
                )
        try:
            return tuple(dict.fromkeys(storage.normalise(target) for target in value))
        except storage.UnknownStore as trouble:  # its words show no secret of an address
            raise ValueError(f"holds a wrong address: {trouble}") from None

    @field_validator("TZ_DISPLAY")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            zoneinfo.ZoneInfo(value)
        except (LookupError, ValueError, OSError) as error:
            raise ValueError(f"{value!r} is not a time zone such as America/New_York") from error
        return value

    @field_validator("BUSINESS_HOURS")
    @classmethod
    def _readable_hours(cls, value: str) -> str:
        BusinessHours.read(value)
        return value

    @field_validator("QUO_API_URL")
    @classmethod
    def _http_base(cls, value: str) -> str:
        _parts_of_address(value)
        return value.rstrip("/")

    @field_validator("PUBLIC_URL", "CDN_URL")
    @classmethod
    def _address_of_ours(cls, value: str) -> str:
        if value and _parts_of_address(value).path not in ("", "/"):
            raise ValueError("must be https:// and a host, without a path")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _no_toys_in_production(self) -> Self:
        if self.VIEWER_ENV == "production":
            if self.MEDIA_ALLOW_LOOPBACK:
                raise ValueError("MEDIA_ALLOW_LOOPBACK is for tests and the demo, not production")
            if os.environ.get(failpoint.VARIABLE):
                raise ValueError(f"{failpoint.VARIABLE} is for the crash tests, not production")
        return self

    @model_validator(mode="after")
    def _strong_keys(self) -> Self:
        for name, keys in (
            ("SECRET_KEY", [self.SECRET_KEY] if self.SECRET_KEY.get_secret_value() else []),
            ("SECRET_KEY_FALLBACKS", self.SECRET_KEY_FALLBACKS),  # these are accepted, too
        ):
            for key in keys:
                if trouble := _weakness(key.get_secret_value()):
                    raise ValueError(
                        f"{name}: {trouble}; leave it empty and a good key is made and kept, or,"
                        " for several hosts, make one: openssl rand -hex 32"
                    )
        return self

    @model_validator(mode="after")
    def _whole_access_key(self) -> Self:
        for before, keys in (("", self._access_key), ("BACKUP_", self._backup_access_key)):
            given = [bool(key.get_secret_value()) for key in keys]
            if any(given) and not all(given):
                raise ValueError(
                    f"{before}S3_ACCESS_KEY_ID and {before}S3_SECRET_ACCESS_KEY belong together"
                )
        return self

    @model_validator(mode="after")
    def _links_that_open(self) -> Self:
        parts = urlsplit(self.PUBLIC_URL)
        if self.PUBLIC_URL and self.TRUSTED_HOSTS and not self.trusts(parts.hostname or ""):
            raise ValueError(
                f"PUBLIC_URL: TRUSTED_HOSTS lacks its host {parts.hostname}, so no link would open"
            )
        if self.VIEWER_ENV == "production" and parts.scheme == "http":
            raise ValueError("PUBLIC_URL: must begin with https:// in production")
        if self.is_for_this_machine_alone:
            for name, is_public in (
                ("TRUSTED_HOSTS", set(self.TRUSTED_HOSTS) - set(LOOPBACK_HOSTS)),
                ("PROXY_HOPS", self.PROXY_HOPS),
            ):
                if is_public:
                    raise ValueError(
                        f"PUBLIC_URL: must be the address that people open, as {name} says that"
                        " they come from elsewhere; links are made of it, such as"
                        " https://photos.example"
                    )
        return self

    @model_validator(mode="after")
    def _cdn_that_is_used(self) -> Self:
        if self.CDN_URL and not self.MEDIA_REDIRECT:
            raise ValueError("CDN_URL: without MEDIA_REDIRECT=on no browser is sent there")
        if self.VIEWER_ENV == "production" and self.CDN_URL.startswith("http:"):
            raise ValueError("CDN_URL: must begin with https:// in production")
        return self

    @property
    def is_for_this_machine_alone(self) -> bool:
        """Whether pages are answered to browsers on this machine only: PUBLIC_URL is not set yet.

        Cookies for a loopback name never leave the machine: they need no https.
        """
        return self.VIEWER_ENV == "production" and not self.PUBLIC_URL

    @property
    def answered_hosts(self) -> tuple[str, ...]:
        """The Host headers that get an answer; empty: any."""
        if self.TRUSTED_HOSTS:
            return self.TRUSTED_HOSTS
        if self.PUBLIC_URL:
            host = urlsplit(self.PUBLIC_URL).hostname or ""
            return () if ":" in host else (host, *LOOPBACK_HOSTS)
        return LOOPBACK_HOSTS if self.is_for_this_machine_alone else ()

    def trusts(self, host: str) -> bool:
        """Whether this Host header value is in TRUSTED_HOSTS (empty: any)."""
        return not self.TRUSTED_HOSTS or any(
            host == name.removeprefix(".") or (name.startswith(".") and host.endswith(name))
            for name in self.TRUSTED_HOSTS
        )

    @property
    def data_dir(self) -> Path:
        return self.DATA_DIR

    @property
    def media_root(self) -> Path:
        return self.MEDIA_ROOT or self.data_dir / "media"

    @property
    def database_url(self) -> str:
        url = self.DATABASE_URL.get_secret_value() or f"sqlite:///{self.data_dir / 'viewer.db'}"
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            if (parsed.database or "").startswith("file:"):
                return url  # a SQLite URI filename: do not rewrite it
            file = str(_absolute(Path(parsed.database or "")))
            return parsed.set(database=file).render_as_string(hide_password=False)
        # "postgres://" and "postgresql://" both select the driver we ship, psycopg.
        return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    @property
    def embedded_redis_socket(self) -> Path:
        return self.data_dir / "valkey.sock"

    @property
    def redis_url(self) -> str:
        return self.REDIS_URL.get_secret_value() or f"unix://{self.embedded_redis_socket}"

    @property
    def _access_key(self) -> tuple[SecretStr, SecretStr]:
        return self.S3_ACCESS_KEY_ID, self.S3_SECRET_ACCESS_KEY

    @property
    def _backup_access_key(self) -> tuple[SecretStr, SecretStr]:
        return self.BACKUP_S3_ACCESS_KEY_ID, self.BACKUP_S3_SECRET_ACCESS_KEY

    @property
    def s3_credentials(self) -> storage.Credentials | None:
        return _credentials(self._access_key)

    @property
    def backup_s3_credentials(self) -> storage.Credentials | None:
        return _credentials(self._backup_access_key)

    @property
    def signed_window(self) -> float:
        """SIGNED_WINDOW_HOURS, in seconds."""
        return self.SIGNED_WINDOW_HOURS * 3600

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        return tuple(secret.get_secret_value() for secret in self.QUO_WEBHOOK_SECRETS)

    @property
    def smtp_url(self) -> str:
        return self.SMTP_URL.get_secret_value()

    @property
    def secret_key_fallbacks(self) -> tuple[str, ...]:
        return tuple(secret.get_secret_value() for secret in self.SECRET_KEY_FALLBACKS)

    @property
    def business_hours(self) -> BusinessHours:
        return BusinessHours.read(self.BUSINESS_HOURS)

    @property
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.TZ_DISPLAY)

    def secret_key(self) -> str:
        """SECRET_KEY, or the key generated at the first start, atomically. Raises BadSetting."""
        given = self.SECRET_KEY.get_secret_value()
        if given:
            return given
        kept = self.data_dir / "secret_key"
        if not kept.exists():
            # A random name, not our pid: two containers on one DATA_DIR may have the same pid.
            with tempfile.NamedTemporaryFile("w", dir=self.data_dir, prefix="secret_key.") as fresh:
                fresh.write(secrets.token_hex(32))
                fresh.flush()
                os.fsync(fresh.fileno())  # before the link: no empty file after a power cut
                with contextlib.suppress(FileExistsError):
                    os.link(fresh.name, kept)  # two first starts race: both use the winner's key
        key = kept.read_text(errors="replace")
        if not key.strip():
            raise BadSetting(
                f"DATA_DIR: {kept} is empty; restore it, or remove it: a new key is made then,"
                " and everybody logs in again"
            )
        return key


def home() -> Path:
    """The folder of `.env`, against which relative paths are resolved. Raises BadSetting."""
    given = os.environ.get(HOME)
    if given:
        folder = _expanded(Path(given), HOME).absolute()
        if not folder.is_dir():
            raise BadSetting(f"{HOME}: {folder} is not a folder")
        return folder
    # Check both names: another package may have put a wsgi.py into site-packages.
    is_checkout = all((CHECKOUT / name).is_file() for name in ("wsgi.py", "pyproject.toml"))
    return CHECKOUT if is_checkout else Path.cwd()


def env_file() -> Path:
    """The `.env` file; it need not exist."""
    return home() / ".env"


def read(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Precedence: `overrides`, the environment, `.env`, defaults. Raises BadSetting."""
    file = env_file()
    try:
        in_file = DotEnvSettingsSource(Settings, env_file=file).env_vars
        misspelt = [
            f"{name}: there is no such setting; did you mean {meant}?"
            for name, meant in misspellings.find_misspelt(
                list(Settings.model_fields),
                set(os.environ) - OURS_BESIDE,
                set(in_file) - OURS_BESIDE,
            )
        ]
        if in_file.get(HOME) is not None:
            misspelt.append(f"{HOME}: belongs in the environment: it says where .env is")
        found = Settings(_env_file=file, **(overrides or {}))  # type: ignore[call-arg]
    except ValidationError as error:
        raise BadSetting("\n".join([*misspelt, *_in_words(error)])) from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not text in UTF-8"
        raise BadSetting(f"{file} cannot be read: {reason}") from None
    if misspelt:
        raise BadSetting("\n".join(misspelt))
    return found


def is_new(found: Settings) -> bool:
    """Whether DATA_DIR is missing or holds nothing but locks: a new installation."""
    try:
        names = {path.name for path in found.data_dir.iterdir()}
        names = {name for name in names if not name.startswith("demo")}  # beside ours, in var/
    except FileNotFoundError:
        return True
    except OSError:
        return False  # the next user of DATA_DIR reports the error
    return names <= {VIEWER_LOCK, PARTS_LOCK, USE_LOCK}


def restrict_new_files(found: Settings | None = None) -> None:
    """Set the umask: what this process makes is not for other users of this machine.

    The group of MEDIA_ROOT may read what is made where it may read that folder: nginx sends files
    from there, and a second user backs up. Called where a process starts, not by create_app(): it
    holds for everything else in the process.
    """
    mode = 0
    if found is not None:
        with contextlib.suppress(OSError):
            mode = found.media_root.stat().st_mode
    os.umask(0o027 if mode & stat.S_IRGRP else 0o077)


def init_app(app: Flask, overrides: Mapping[str, Any] | None, root: Path) -> None:
    found = read(overrides)
    try:
        found.data_dir.mkdir(parents=True, exist_ok=True)
        secret_key = found.secret_key()
    except OSError as error:
        raise BadSetting(f"DATA_DIR: {found.data_dir} cannot be used: {error.strerror}") from None
    app.config.update(
        ROOT=root,
        SETTINGS=found,
        SECRET_KEY=secret_key,
        SQLALCHEMY_DATABASE_URI=found.database_url,
        MAX_CONTENT_LENGTH=64 * 1024,
        SEND_FILE_MAX_AGE_DEFAULT=None,
        TRUSTED_HOSTS=list(found.answered_hosts) or None,
        PREFERRED_URL_SCHEME="https" if found.VIEWER_ENV == "production" else "http",
    )


def settings() -> Settings:
    """The settings of the current application."""
    found = current_app.config["SETTINGS"]
    assert isinstance(found, Settings)  # noqa: S101 - for the type checker
    return found


def _credentials(access_key: tuple[SecretStr, SecretStr]) -> storage.Credentials | None:
    key, secret = (part.get_secret_value() for part in access_key)
    return storage.Credentials(key, secret) if key else None


def _weakness(key: str) -> str | None:
    """What is wrong with a signing key, without showing it; None if it is good."""
    if len(key) < SHORTEST_KEY:
        return f"a key needs at least {SHORTEST_KEY} characters"
    if len(set(key)) < LEAST_VARIED_KEY:
        return "a key must not repeat a few characters"
    if _EXAMPLE_KEY.search(key):
        return "that is an example, and everybody may know it"
    return None


def _in_words(error: ValidationError) -> list[str]:
    # Never show error.errors()["input"]: it may be a secret.
    return [
        ": ".join(
            [
                *(str(part) for part in problem["loc"][:1]),
                problem["msg"].removeprefix("Value error, "),
            ]
        )
        for problem in error.errors(include_input=False, include_url=False)
    ]


# --- Paths and addresses -------------------------------------------------------------------

# A host name or IPv4 address; a leading dot means subdomains. Allows underscores, which Compose
# service names have.
_HOST = re.compile(r"\.?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")


def _absolute(path: Path) -> Path:
    return home() / _expanded(path)


def _expanded(path: Path, name: str = "") -> Path:
    try:
        return path.expanduser()
    except RuntimeError:  # ~unknown-user, or a user without a home directory
        words = f"{path} begins with ~, and that user has no home folder here"
        raise (BadSetting(f"{name}: {words}") if name else ValueError(words)) from None


def _without_userinfo(host: str) -> str:
    return host.rpartition("@")[2]


def _parts_of_address(value: str) -> SplitResult:
    """Parse an http(s) base URL, without credentials, query or fragment. Raises ValueError."""
    try:
        parts = urlsplit(value)
        host, _port = parts.hostname or "", parts.port
    except ValueError:
        raise ValueError("is not an address such as https://host.example") from None
    if parts.scheme not in ("https", "http"):
        raise ValueError("must begin with https://")
    if "@" in parts.netloc or "?" in value or "#" in value:  # hide it: maybe a password
        raise ValueError("must not hold a user, a password, a query or a fragment")
    if not (_HOST.fullmatch(host) or _is_ip(host)) or host.startswith("."):
        raise ValueError("has no host, or not one such as host.example")
    if re.search(r"[\s\\]", value):
        raise ValueError("must not contain spaces")
    return parts


def _is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
