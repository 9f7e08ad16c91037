"""The address of a store in S3, and who may use it."""

import re
from dataclasses import dataclass, field
from typing import Literal, Self, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from viewer.storage.keys import is_key
from viewer.storage.store import UnknownStore

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_REGION = re.compile(r"[a-z0-9-]{1,40}")

Style = Literal["auto", "path", "virtual"]
_STYLES = ("auto", "path", "virtual")


@dataclass(frozen=True, slots=True)
class Credentials:
    """An access key. Without one boto3 looks where AWS's own tools look."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class S3Address:
    """`s3://bucket/prefix?endpoint=https://host&region=eu-central-1&style=path`, taken apart."""

    bucket: str
    prefix: str = ""  # without slashes around it
    endpoint: str | None = None  # None: AWS itself
    region: str | None = None  # None: the one that boto3 is configured for
    style: Style = "auto"  # how the bucket is named in a request: in the path or in the host

    @classmethod
    def read(cls, url: str) -> Self:
        """Raises UnknownStore, which repeats nothing of the address: a secret may be in it."""
        try:
            parts = urlsplit(url)
            options = dict(
                parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
                if parts.query
                else []
            )
        except ValueError:
            raise UnknownStore("This is not an address such as s3://bucket/prefix.") from None
        if "@" in parts.netloc or "@" in options.get("endpoint", ""):
            raise UnknownStore(
                "An s3: address must not hold an access key: use S3_ACCESS_KEY_ID and"
                " S3_SECRET_ACCESS_KEY."
            )
        if unknown := set(options) - {"endpoint", "region", "style"}:
            raise UnknownStore(
                f"An s3: address takes endpoint, region and style, not {min(unknown)[:40]!r}."
            )
        prefix = parts.path.strip("/")
        style = options.get("style", "auto")
        for is_right, words in (
            (_BUCKET.fullmatch(parts.netloc), "names no bucket"),
            (not parts.fragment, "must not contain #"),
            (not prefix or is_key(prefix), "has a prefix that is not made of plain names"),
            (_is_endpoint(options.get("endpoint")), "has an endpoint that is not https://host"),
            (_REGION.fullmatch(options.get("region", "any")), "has a region that is none"),
            (style in _STYLES, "has a style that is not auto, path or virtual"),
        ):
            if not is_right:
                raise UnknownStore(f"The s3: address {words}.")
        return cls(
            parts.netloc,
            prefix,
            options["endpoint"].rstrip("/") if "endpoint" in options else None,
            options.get("region"),
            cast(Style, style),
        )

    def __str__(self) -> str:
        options = {"endpoint": self.endpoint, "region": self.region}
        if self.style != "auto":
            options["style"] = self.style
        query = urlencode({name: value for name, value in options.items() if value}, safe=":/")
        place = f"{self.bucket}/{self.prefix}" if self.prefix else self.bucket
        return f"s3://{place}?{query}" if query else f"s3://{place}"


def _is_endpoint(value: str | None) -> bool:
    if value is None:
        return True
    try:
        parts = urlsplit(value)
        _port = parts.port
    except ValueError:
        return False
    return (
        parts.scheme in ("https", "http")
        and bool(parts.hostname)
        and parts.path in ("", "/")
        and not (parts.query or parts.fragment)
    )
