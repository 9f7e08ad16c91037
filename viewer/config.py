"""Every setting, and the only reader of the environment.

A wrong value stops the boot with a `BadSetting` that names the setting and never shows a secret.
The README lists them all; `viewer settings` prints what is in force.
"""

import contextlib
import ipaddress
import os
import re
import secrets
import tempfile
import zoneinfo
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import redis
from flask import Flask, current_app
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from viewer import failpoint, quo

CommaSeparated = Annotated[tuple[str, ...], NoDecode]
SecretList = Annotated[tuple[SecretStr, ...], NoDecode]

# Where the provider was seen to keep media (quo.md, section 4).
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
        """From words such as `mon-fri 8-18`. Raises ValueError."""
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
    """A setting cannot be used. The message names it and says what would be right."""


class Settings(BaseSettings):
    """What the environment says, or a `.env` where we are started. Fields are the variables."""

    model_config = SettingsConfigDict(
        case_sensitive=True, extra="ignore", frozen=True, env_ignore_empty=True
    )

    VIEWER_ENV: Literal["production", "development"] = "development"
    DATA_DIR: Path = Path("var")
    MEDIA_ROOT: Path = Path()  # default: DATA_DIR/media
    DATABASE_URL: SecretStr = SecretStr("")  # default: SQLite at DATA_DIR/viewer.db
    REDIS_URL: SecretStr = SecretStr("")  # default: the embedded Valkey on a socket in DATA_DIR
    SECRET_KEY: SecretStr = SecretStr("")  # default: made once, kept in DATA_DIR/secret_key
    SECRET_KEY_FALLBACKS: SecretList = ()  # earlier ones: sessions of before still count
    SESSION_IDLE_HOURS: float = Field(default=336, gt=0, le=8_760)  # then a device is logged out
    SESSION_DAYS: float = Field(default=90, gt=0, le=365)  # and after these, in any case
    QUO_WEBHOOK_SECRETS: SecretList = ()
    QUO_NUMBERS: CommaSeparated = ()
    QUO_API_KEY: SecretStr = SecretStr("")
    QUO_API_URL: str = "https://api.quo.com"
    MEDIA_HOSTS: CommaSeparated = PROVIDER_MEDIA_HOSTS
    MEDIA_ALLOW_LOOPBACK: bool = False
    MEDIA_MAX_MB: int = Field(default=100, ge=1, le=10_000)  # a photo, a video, a document
    RECORDING_MAX_MB: int = Field(default=250, ge=1, le=10_000)
    TRANSFER_SECONDS: float = Field(default=300, gt=0, le=3_600)  # one whole download
    WORKERS: int = Field(default=2, ge=1, le=64)  # that collect, in `viewer up`
    TRUSTED_HOSTS: CommaSeparated = ()  # empty: any Host header
    PROXY_HOPS: int = Field(default=0, ge=0, le=5)  # reverse proxies in front, exactly
    X_ACCEL_PREFIX: str = ""  # nginx serves files under this internal location
    TZ_DISPLAY: str = "America/New_York"
    BUSINESS_HOURS: str = "mon-fri 8-18"  # in TZ_DISPLAY: when silence means something
    SILENCE_HOURS: float = Field(default=10, ge=0)  # of business without a webhook; 0: never
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator(
        "QUO_NUMBERS",
        "MEDIA_HOSTS",
        "TRUSTED_HOSTS",
        "QUO_WEBHOOK_SECRETS",
        "SECRET_KEY_FALLBACKS",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("DATABASE_URL")
    @classmethod
    def _durable_database(cls, value: SecretStr) -> SecretStr:
        if not value.get_secret_value():
            return value
        try:
            parsed = make_url(value.get_secret_value())
        except (ArgumentError, ValueError):  # its own words would show the password
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
                redis.from_url(value.get_secret_value()).close()  # it connects when first used
            except ValueError:
                raise ValueError("must be redis://…, rediss://… or unix://…") from None
        return value

    @field_validator("X_ACCEL_PREFIX")
    @classmethod
    def _absolute_path(cls, value: str) -> str:
        if value and not re.fullmatch(r"(/[A-Za-z0-9._-]+)+/?", value):
            raise ValueError("must be the path of an nginx location such as /stored")
        return value

    @field_validator("QUO_WEBHOOK_SECRETS")
    @classmethod
    def _usable_secrets(cls, value: tuple[SecretStr, ...]) -> tuple[SecretStr, ...]:
        if value:  # none yet is fine: the webhook then refuses everything, and says so
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

    @field_validator("MEDIA_HOSTS")
    @classmethod
    def _plain_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for host in value:
            if "/" in host or "@" in host or "*" in host or not host.strip("."):
                raise ValueError(
                    f"{host!r} is not a host name; '.example.com' means its subdomains"
                )
        return tuple(host.lower() for host in value)

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
        if not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https://")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _no_toys_in_production(self) -> Self:
        if self.VIEWER_ENV == "production":
            if self.MEDIA_ALLOW_LOOPBACK:
                raise ValueError("MEDIA_ALLOW_LOOPBACK is for tests and the demo, not production")
            if os.environ.get(failpoint.VARIABLE):
                raise ValueError(f"{failpoint.VARIABLE} is for the crash tests, not production")
        return self

    @property
    def data_dir(self) -> Path:
        return self.DATA_DIR.absolute()

    @property
    def media_root(self) -> Path:
        given = self.MEDIA_ROOT
        return self.data_dir / "media" if given == Path() else given.absolute()

    @property
    def database_url(self) -> str:
        url = self.DATABASE_URL.get_secret_value() or f"sqlite:///{self.data_dir / 'viewer.db'}"
        parsed = make_url(url)
        if parsed.get_backend_name() == "sqlite":
            return url
        # "postgres://" and bare "postgresql://" both mean the driver we ship.
        return parsed.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)

    @property
    def embedded_redis_socket(self) -> Path:
        return self.data_dir / "valkey.sock"

    @property
    def redis_url(self) -> str:
        return self.REDIS_URL.get_secret_value() or f"unix://{self.embedded_redis_socket}"

    @property
    def webhook_secrets(self) -> tuple[str, ...]:
        return tuple(secret.get_secret_value() for secret in self.QUO_WEBHOOK_SECRETS)

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
        """SECRET_KEY, or the one made at the first start. Made whole or not at all."""
        given = self.SECRET_KEY.get_secret_value()
        if given:
            return given
        kept = self.data_dir / "secret_key"
        if not kept.exists():
            # Not named after our pid: two containers on one DATA_DIR may have the same.
            with tempfile.NamedTemporaryFile("w", dir=self.data_dir, prefix="secret_key.") as fresh:
                fresh.write(secrets.token_hex(32))
                fresh.flush()
                os.fsync(fresh.fileno())  # never a name without its key, also after a power cut
                with contextlib.suppress(FileExistsError):
                    os.link(fresh.name, kept)  # of two first starts one wins, both use its key
        return kept.read_text()


def read(overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings: `overrides`, then the environment, `.env`, defaults. Raises BadSetting."""
    try:
        return Settings(_env_file=".env", **(overrides or {}))  # type: ignore[call-arg]
    except ValidationError as error:
        raise BadSetting("\n".join(_in_words(error))) from None


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
        TRUSTED_HOSTS=list(found.TRUSTED_HOSTS) or None,
        PREFERRED_URL_SCHEME="https" if found.VIEWER_ENV == "production" else "http",
    )


def settings() -> Settings:
    """The settings of the application at work."""
    found = current_app.config["SETTINGS"]
    assert isinstance(found, Settings)  # noqa: S101 - for the type checker
    return found


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _in_words(error: ValidationError) -> list[str]:
    # Never error.errors()["input"]: it may be a secret.
    return [
        ": ".join([*(str(part) for part in problem["loc"][:1]), problem["msg"]])
        for problem in error.errors(include_input=False, include_url=False)
    ]
