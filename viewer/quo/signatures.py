"""Verify the signatures of webhook deliveries.

The provider signs in two ways and both are live; the headers present decide which one is checked.
Plain hmac, although a library for the newer way exists: `standardwebhooks` 1.1 reads the
clock itself, insists on UTF-8 bodies, and lets ValueError escape from hostile headers.

Anybody may send a large body, so the work before the proof is bounded: the headers are judged
first, then the body is hashed once a secret, and once more without its whitespace. JSON is parsed
only after the proof.

NotFromQuo   answer 401 and count the reason
"""

import base64
import enum
import hashlib
import hmac
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
_MOST_LEGACY_SIGNATURES = 5
_MOST_TOKENS = 20_000  # quotes and escaped backslashes in a body; each costs 50 to 100 ns
_DIGEST = re.compile("[A-Za-z0-9+/]{43}=")  # SHA-256 in base64
_LONGEST_ID = 255


class Headers(Protocol):
    """A mapping, or werkzeug's Headers, which lists a repeated header repeatedly."""

    def items(self) -> Iterable[tuple[str, str]]: ...


_Given = Mapping[str, Sequence[str]]  # all values of a header, by its name in lower case


class Reason(enum.StrEnum):
    """Why a delivery was refused, the most specific first."""

    # Signed too long ago or in the future, as it says itself: look at our clock. Judged before
    # the signature, so it may be a forgery.
    STALE = "stale"
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
    sent_at = read_moment(int(signed_at))
    _must_be_fresh(sent_at, now, _STANDARD_TOLERANCE)

    keys = _keys(secrets, standard=True)
    if not _is_signed(f"{delivery_id}.{signed_at}.", body, keys, signatures):
        raise NotFromQuo(Reason.WRONG_SIGNATURE)
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
    signed_at, signatures = _legacy_signatures(given, now, tolerance)
    keys = _keys(secrets, standard=False)
    prefix = f"{signed_at}."
    if not (
        _is_signed(prefix, body, keys, signatures)
        # The provider's old recipe signs JSON without whitespace, whatever was sent.
        or (
            (compact := _without_whitespace(body)) is not None
            and _is_signed(prefix, compact, keys, signatures)
            # "1 2" is no JSON and becomes "12": whoever has seen a delivery could forge it.
            and _is_json(body)
        )
    ):
        raise NotFromQuo(Reason.WRONG_SIGNATURE)

    return Delivery(
        id=_event_id(body),
        scheme="legacy",
        sent_at=read_moment(signed_at),
        header_names=tuple(sorted(given)),
    )


def _legacy_signatures(
    given: _Given, now: datetime, tolerance: timedelta
) -> tuple[str, Sequence[str]]:
    """The timestamp and the digests of `hmac;1;<time>;<digest>`, one or more, comma-separated.

    Several digests are of several secrets, at one time: each time costs a hash of the body.
    """
    parts = [
        signature.strip().split(";")
        for value in _values(given, "openphone-signature")
        for signature in value.split(",")
    ]
    known = [(part[2], part[3]) for part in parts if part[:2] == ["hmac", "1"] and len(part) == 4]
    if not known or len(known) > _MOST_LEGACY_SIGNATURES:
        raise NotFromQuo(Reason.MALFORMED)
    fresh: dict[str, list[str]] = {}
    stale = None
    for signed_at, digest in known:
        try:
            # A time in a notation we do not know is a signed one, too: let it pass.
            _must_be_fresh(read_moment(signed_at), now, tolerance)
            fresh.setdefault(signed_at, []).append(digest)
        except NotFromQuo as refusal:
            stale = refusal
    if not fresh:
        raise stale or NotFromQuo(Reason.MALFORMED)
    if len(fresh) > 1:
        raise NotFromQuo(Reason.MALFORMED)
    return fresh.popitem()


def _is_signed(prefix: str, body: bytes, keys: Sequence[bytes], signatures: Sequence[str]) -> bool:
    theirs = [signature.encode() for signature in signatures if _DIGEST.fullmatch(signature)]
    ours = (_digest(key, prefix, body) for key in keys if theirs)
    return any(hmac.compare_digest(digest, one) for digest in ours for one in theirs)


def _without_whitespace(body: bytes) -> bytes | None:
    """The JSON without the whitespace between its tokens; None where there is none.

    Not parsed: that takes 200 times as long as the hash. Many tokens take long here, too: what has
    more than a transcript of two hours is not tried.
    """
    if b"\0" in body or b"\1" in body:  # no JSON, and the marks below
        return None
    if body.count(b'"') + body.count(rb"\\") > _MOST_TOKENS:
        return None
    marked = body.replace(rb"\\", b"\0").replace(rb"\"", b"\1")
    parts = marked.split(b'"')  # by turns outside a string and in one
    parts[::2] = b'"'.join(parts[::2]).translate(None, b" \t\r\n").split(b'"')
    compact = b'"'.join(parts).replace(b"\1", rb"\"").replace(b"\0", rb"\\")
    return compact if len(compact) < len(body) else None


def _is_json(body: bytes) -> bool:
    try:
        parse_json(body)
    except NotUnderstood:
        return False
    return True


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


def _digest(key: bytes, prefix: str, body: bytes) -> bytes:
    signed = hmac.new(key, prefix.encode(), "sha256")
    signed.update(body)  # apart: not copied
    return base64.b64encode(signed.digest())


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
