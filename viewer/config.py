"""Every setting, and the only reader of the environment.

A wrong value stops the boot with a `BadSetting` that names the setting and never shows a secret.
The README lists them all; `viewer settings` prints what is in force.
"""

import ipaddress
import os
import secrets
import zoneinfo
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from flask import Flask, current_app
from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from viewer import quo

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


class BadSetting(Exception):
    """A setting cannot be used. The message names it and says what would be right."""


class Settings(BaseSettings):
    """What the environment (or a `.env` beside `wsgi.py`) says. Names are the variables' names."""

    model_config = SettingsConfigDict(
        case_sensitive=True, extra="ignore", frozen=True, env_ignore_empty=True
    )

    VIEWER_ENV: Literal["production", "development"] = "development"
    DATA_DIR: Path = Path("var")
    MEDIA_ROOT: Path = Path()  # default: DATA_DIR/media
    DATABASE_URL: SecretStr = SecretStr("")  # default: SQLite at DATA_DIR/viewer.db
    REDIS_URL: SecretStr = SecretStr("")  # default: the embedded Valkey on a socket in DATA_DIR
    SECRET_KEY: SecretStr = SecretStr("")  # default: made once, kept in DATA_DIR/secret_key
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
    LOG_LEVEL: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @field_validator(
        "QUO_NUMBERS", "MEDIA_HOSTS", "TRUSTED_HOSTS", "QUO_WEBHOOK_SECRETS", mode="before"
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
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
        if value not in zoneinfo.available_timezones():
            raise ValueError(f"{value!r} is not a time zone such as America/New_York")
        return value

    @field_validator("QUO_API_URL")
    @classmethod
    def _http_base(cls, value: str) -> str:
        if not value.startswith(("https://", "http://")):
            raise ValueError("must begin with https://")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _no_loopback_in_production(self) -> Self:
        if self.VIEWER_ENV == "production" and self.MEDIA_ALLOW_LOOPBACK:
            raise ValueError("MEDIA_ALLOW_LOOPBACK is for tests and the demo, not for production")
        return self

    @property
    def data_dir(self) -> Path:
        return self.DATA_DIR.absolute()

    @property
    def media_root(self) -> Path:
        return self.MEDIA_ROOT.absolute() if self.MEDIA_ROOT != Path() else self.data_dir / "media"

    @property
    def database_url(self) -> str:
        url = self.DATABASE_URL.get_secret_value() or f"sqlite:///{self.data_dir / 'viewer.db'}"
        try:
            parsed = make_url(url.replace("postgres://", "postgresql://", 1))
        except ArgumentError:
            raise BadSetting("DATABASE_URL: not a database address") from None
        if parsed.get_backend_name() == "postgresql":
            # "postgres://" and bare "postgresql://" both mean the driver we ship.
            return parsed.set(drivername="postgresql+psycopg").render_as_string(False)
        if parsed.get_backend_name() != "sqlite":
            raise BadSetting("DATABASE_URL: must begin with sqlite: or postgresql:")
        return url

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
    def zone(self) -> zoneinfo.ZoneInfo:
        return zoneinfo.ZoneInfo(self.TZ_DISPLAY)

    def secret_key(self) -> str:
        """SECRET_KEY, or the one made at the first start. Made whole or not at all."""
        given = self.SECRET_KEY.get_secret_value()
        if given:
            return given
        kept = self.data_dir / "secret_key"
        if not kept.exists():
            self.data_dir.mkdir(parents=True, exist_ok=True)
            fresh = kept.with_name(f"secret_key.{os.getpid()}")
            fresh.touch(mode=0o600)
            fresh.write_text(secrets.token_hex(32))
            try:
                os.link(fresh, kept)  # of two first starts one wins, and both use its key
            except FileExistsError:
                pass
            finally:
                fresh.unlink()
        return kept.read_text()


def read(overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings: `overrides`, else the environment, else `.env`, else defaults. Raises BadSetting."""
    try:
        return Settings(_env_file=".env", **(overrides or {}))  # type: ignore[call-arg]
    except ValidationError as error:
        raise BadSetting("\n".join(_in_words(error))) from None


def init_app(app: Flask, overrides: Mapping[str, Any] | None, root: Path) -> None:
    found = read(overrides)
    found.data_dir.mkdir(parents=True, exist_ok=True)
    app.config.update(
        ROOT=root,
        SETTINGS=found,
        SECRET_KEY=found.secret_key(),
        SQLALCHEMY_DATABASE_URI=found.database_url,
        SQLALCHEMY_ENGINE_OPTIONS=(
            {} if found.database_url.startswith("sqlite") else {"pool_pre_ping": True}
        ),
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
