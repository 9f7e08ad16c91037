"""Verify the signatures of webhook deliveries.

The provider signs in two ways and both are live; the headers present decide which one is checked.
Plain hmac, although a library for the newer way exists: `standardwebhooks` 1.1 reads the
clock itself, insists on UTF-8 bodies, and lets ValueError escape from hostile headers.

NotFromQuo   answer 401 and count the reason
"""

import base64
import enum
import hashlib
import hmac
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol

from viewer.quo.types import Delivery, NotUnderstood
from viewer.quo.wire import parse_json, read_moment

_STANDARD_PREFIX = "whsec_"
_SHORTEST_KEY = 16  # bytes; the provider's have 24 and more
_STANDARD_TOLERANCE = timedelta(minutes=5)  # the provider's own recipe; every retry is signed anew
_LEGACY_TOLERANCE = timedelta(hours=48)  # nobody knows whether legacy retries are signed anew
_MOST_LEGACY_SIGNATURES = 5  # each costs a digest of the whole body
_LONGEST_ID = 255


class Headers(Protocol):
    """A mapping, or werkzeug's Headers, which lists a repeated header repeatedly."""

    def items(self) -> Iterable[tuple[str, str]]: ...


_Given = Mapping[str, Sequence[str]]  # all values of a header, by its name in lower case


class Reason(enum.StrEnum):
    """Why a delivery was refused, the most specific first."""

    STALE = "stale"  # well signed, too long ago or in the future: look at our clock
    WRONG_SIGNATURE = "wrong_signature"
    NO_KEY = "no_key"  # signed in a way for which we were given no secret
    MALFORMED = "malformed"
    NO_SIGNATURE = "no_signature"


class NotFromQuo(Exception):
    """No valid signature."""

    def __init__(self, reason: Reason, age: timedelta | None = None) -> None:
        super().__init__(f"{reason}, {age.total_seconds():.0f} s old" if age else str(reason))
        self.reason = reason
        self.age = age  # of a stale delivery; negative where it comes from our future


def open_delivery(
    headers: Headers,
    body: bytes,
    secrets: Sequence[str],
    now: datetime,
    *,
    legacy_tolerance: timedelta = _LEGACY_TOLERANCE,
) -> Delivery:
    """Verify a delivery. Returns it with the id that deduplicates repeats. Raises NotFromQuo.

    Secrets may be several and of both kinds: each legacy webhook has its own, and a rotation
    overlaps.
    """
    given: defaultdict[str, list[str]] = defaultdict(list)
    for name, value in headers.items():
        given[name.lower()].append(value)
    refusals: list[NotFromQuo] = []
    if "webhook-signature" in given:
        try:
            return _open_standard(given, body, secrets, now)
        except NotFromQuo as refusal:
            refusals.append(refusal)
    if "openphone-signature" in given:
        try:
            return _open_legacy(given, body, secrets, now, legacy_tolerance)
        except NotFromQuo as refusal:
            refusals.append(refusal)
    if not refusals:
        raise NotFromQuo(Reason.NO_SIGNATURE)
    raise min(refusals, key=lambda refusal: list(Reason).index(refusal.reason))


def claims_signature(headers: Headers) -> bool:
    """Whether it has a header that a signature stands in, good or bad."""
    return any(name.lower() in _SIGNED for name, _ in headers.items())


_SIGNED = ("webhook-signature", "openphone-signature")


def check_secrets(secrets: Sequence[str]) -> None:
    """Raise ValueError for an unusable secret, naming its position, never its value."""
    if not secrets:
        raise ValueError("there is no webhook secret")
    for place, secret in enumerate(secrets, start=1):
        try:
            _key(secret)
        except ValueError as problem:
            raise ValueError(f"webhook secret {place} of {len(secrets)} {problem}") from None


def _open_standard(given: _Given, body: bytes, secrets: Sequence[str], now: datetime) -> Delivery:
    delivery_id = _only(given, "webhook-id")
    signed_at = _only(given, "webhook-timestamp")
    signatures = [
        signature.removeprefix("v1,")
        for value in _values(given, "webhook-signature")
        for signature in value.split(" ")
        if signature.startswith("v1,")
    ]
    if not (delivery_id and signatures and re.fullmatch("[0-9]{1,12}", signed_at)):
        raise NotFromQuo(Reason.MALFORMED)

    signed = f"{delivery_id}.{signed_at}.".encode() + body
    expected = [_digest(key, signed) for key in _keys(secrets, standard=True)]
    if not any(_same(ours, theirs) for ours in expected for theirs in signatures):
        raise NotFromQuo(Reason.WRONG_SIGNATURE)

    sent_at = read_moment(int(signed_at))
    _must_be_fresh(sent_at, now, _STANDARD_TOLERANCE)
    # Not the event's own id: all test events share one, and every endpoint of an event has it.
    return Delivery(
        id=delivery_id if len(delivery_id) <= _LONGEST_ID else _body_id(body),
        scheme="standard",
        sent_at=sent_at,
        header_names=tuple(sorted(given)),
    )


def _open_legacy(
    given: _Given,
    body: bytes,
    secrets: Sequence[str],
    now: datetime,
    tolerance: timedelta,
) -> Delivery:
    signatures = _legacy_signatures(given)
    keys = _keys(secrets, standard=False)
    signed_at = _legacy_match(signatures, body, keys)
    if signed_at is None and (compact := _compact(body)) != body:
        # The provider's old recipe signs JSON without whitespace, whatever was sent.
        signed_at = _legacy_match(signatures, compact, keys)
    if signed_at is None:
        raise NotFromQuo(Reason.WRONG_SIGNATURE)

    # A time in a notation we do not know is still a signed one: let it pass, saying None.
    sent_at = read_moment(signed_at)
    _must_be_fresh(sent_at, now, tolerance)
    return Delivery(
        id=_event_id(body), scheme="legacy", sent_at=sent_at, header_names=tuple(sorted(given))
    )


def _legacy_signatures(given: _Given) -> list[tuple[str, str]]:
    """The timestamps and digests of `hmac;1;<time>;<digest>`, one or more, comma-separated."""
    parts = [
        signature.strip().split(";")
        for value in _values(given, "openphone-signature")
        for signature in value.split(",")
    ]
    known = [(part[2], part[3]) for part in parts if part[:2] == ["hmac", "1"] and len(part) == 4]
    if not known or len(known) > _MOST_LEGACY_SIGNATURES:
        raise NotFromQuo(Reason.MALFORMED)
    return known


def _legacy_match(signatures: list[tuple[str, str]], body: bytes, keys: list[bytes]) -> str | None:
    """The timestamp that was signed together with the body."""
    for signed_at, theirs in signatures:
        signed = f"{signed_at}.".encode() + body
        if any(_same(_digest(key, signed), theirs) for key in keys):
            return signed_at
    return None


def _compact(body: bytes) -> bytes:
    """The body without insignificant whitespace; unchanged where that cannot be determined."""
    try:
        return json.dumps(parse_json(body), separators=(",", ":"), ensure_ascii=False).encode()
    except (NotUnderstood, UnicodeEncodeError):
        return body


def _event_id(body: bytes) -> str:
    try:
        payload = parse_json(body)
    except NotUnderstood:
        return _body_id(body)
    event_id = payload.get("id") if isinstance(payload, dict) else None
    if isinstance(event_id, str) and event_id.isprintable() and 0 < len(event_id) <= _LONGEST_ID:
        return event_id
    return _body_id(body)


def _body_id(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"


def _must_be_fresh(sent_at: datetime | None, now: datetime, tolerance: timedelta) -> None:
    if sent_at is not None and abs(now - sent_at) > tolerance:
        raise NotFromQuo(Reason.STALE, age=now - sent_at)


def _keys(secrets: Sequence[str], *, standard: bool) -> list[bytes]:
    ours = [s for s in secrets if s.strip().startswith(_STANDARD_PREFIX) is standard]
    if not ours:
        raise NotFromQuo(Reason.NO_KEY)
    return [_key(secret) for secret in ours]


def _key(secret: str) -> bytes:
    text = secret.strip().removeprefix(_STANDARD_PREFIX).rstrip("=")
    if not text:
        raise ValueError("is empty")
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise ValueError("is not base64") from None
    if len(key) < _SHORTEST_KEY:
        raise ValueError(f"is too short: {len(key)} bytes instead of {_SHORTEST_KEY} or more")
    return key


def _digest(key: bytes, signed: bytes) -> bytes:
    return base64.b64encode(hmac.digest(key, signed, "sha256"))


def _same(ours: bytes, theirs: str) -> bool:
    return hmac.compare_digest(ours, theirs.encode())


def _only(given: _Given, name: str) -> str:
    match set(_values(given, name)):
        case values if len(values) == 1:
            return values.pop()
    raise NotFromQuo(Reason.MALFORMED)


def _values(given: _Given, name: str) -> Sequence[str]:
    values = given.get(name, ())
    if not all(value.isascii() and value.isprintable() for value in values):
        raise NotFromQuo(Reason.MALFORMED)
    return values
