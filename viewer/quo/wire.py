"""Parse what the provider writes: JSON and timestamps."""

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from viewer.quo.types import NotUnderstood

_DEEPEST = 64  # real events are about eight levels deep
_LONGEST_INTEGER = 20  # characters; 64 bits and a sign
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def parse_json(body: bytes) -> Any:
    """Parse a JSON body. Raises NotUnderstood where two parsers could disagree about it.

    A byte order mark, UTF-16 and a broken byte inside a text are fine; repeated keys, NaN,
    numbers beyond 64 bits or a double, and deep nesting are not.
    """
    try:
        value = _loads(body)
    except UnicodeDecodeError:
        # One broken byte in a text is no reason to overlook the photo beside it.
        value = _loads(body.decode("utf-8", "replace"))
    if _is_deep(value):
        raise NotUnderstood("JSON is nested too deeply")
    return value


def read_moment(value: object) -> datetime | None:
    """Parse a moment to UTC; None for anything else.

    ISO 8601 and what is nearly so, the dates of mail and HTTP, Unix time from seconds to
    nanoseconds. Without a zone it is UTC; a zone that we do not know is no zone.
    """
    if isinstance(value, str):
        value = value.strip()
        if re.fullmatch(r"-?[0-9]{1,20}(\.[0-9]{1,9})?", value):
            return _from_unix(float(value) if "." in value else int(value))
        return _from_text(value) if len(value) <= _LONGEST_DATE else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return _from_unix(value)
    return None


def _loads(text: bytes | str) -> Any:
    try:
        return json.loads(
            text,
            object_pairs_hook=_without_repeats,
            parse_constant=_refuse_constant,
            parse_float=_finite,
            parse_int=_bounded,
        )
    except RecursionError:
        raise NotUnderstood("JSON is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise NotUnderstood(f"not JSON: {error.msg}") from None


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise NotUnderstood("JSON repeats a key")
    return found


def _refuse_constant(name: str) -> float:
    raise NotUnderstood(f"JSON holds {name}")


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise NotUnderstood("JSON holds a number that is too large")
    return number


def _bounded(digits: str) -> int:
    if len(digits) > _LONGEST_INTEGER:
        raise NotUnderstood("JSON holds a number that is too large")
    return int(digits)


def _is_deep(value: object) -> bool:
    """Check the nesting level by level, so that a deep value cannot exhaust our own stack."""
    level = [value]
    for _ in range(_DEEPEST):
        level = [child for parent in level for child in _children(parent)]
        if not level:
            return False
    return True


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _from_unix(number: float) -> datetime | None:
    # As seconds, 1e11 would be the year 5138; so on for each thousandth.
    parts = next((1000**step for step in range(3) if abs(number) < 1e11 * 1000**step), 1000**3)
    try:
        return _EPOCH + timedelta(seconds=number / parts)
    except (OverflowError, ValueError):
        return None


def _from_text(text: str) -> datetime | None:
    leap = re.fullmatch(r"(.{8,}:[0-9]{2}):60(?![0-9])(.*)", text)  # 23:59:60 is a real second
    if leap:
        text = f"{leap[1]}:59{leap[2]}"
    try:
        moment = _from_iso(text) or _with_named_zone(text)
        if moment is None:
            return None
        return moment.astimezone(UTC) + timedelta(seconds=1 if leap else 0)
    except OverflowError:
        return None


def _from_iso(text: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


_LONGEST_DATE = 80  # characters
# What mail calls the zones: all others are told by more than one name, or by several zones.
_ZONES = {"z": 0, "ut": 0, "utc": 0, "gmt": 0, "est": -5, "edt": -4, "cst": -6, "cdt": -5,
          "mst": -7, "mdt": -6, "pst": -8, "pdt": -7}  # fmt: skip
_DATED = re.compile(
    r"(?P<day>.*?[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:[.,][0-9]+)?)?)(?:\s+(?P<year>[0-9]{4}))?"
    r"\s*(?P<name>[a-z]{1,4})?\s*(?P<offset>[+-][0-9]{2}(?::?[0-9]{2})?)?"
    r"\s*(?P<again>[a-z]{1,4})?(?:\s*\([^()]*\))?",
    re.IGNORECASE,
)
_LAYOUTS = (  # of mail and HTTP, of HTTP's first years, of JavaScript, of C
    "%a, %d %b %Y %H:%M:%S", "%a, %d %b %Y %H:%M", "%d %b %Y %H:%M:%S", "%d %b %Y %H:%M",
    "%A, %d-%b-%y %H:%M:%S", "%a %b %d %Y %H:%M:%S", "%a %b %d %H:%M:%S %Y",
)  # fmt: skip


def _with_named_zone(text: str) -> datetime | None:
    """A moment whose zone stands apart, or has a name: 2025-01-15 12:00:00 UTC."""
    found = _DATED.fullmatch(" ".join(text.split()))
    if found is None:
        return None
    zone = _zone(*found.group("name", "offset", "again"))
    day = " ".join(filter(None, found.group("day", "year")))
    if zone is None:
        return None
    moment = None if found["year"] else _without_zone(day)
    for layout in () if moment else _LAYOUTS:
        try:
            moment = datetime.strptime(day, layout)  # noqa: DTZ007 - its zone comes next
        except ValueError:
            continue
        break
    return moment.replace(tzinfo=zone) if moment else None


def _without_zone(day: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(day)
    except ValueError:
        return None
    return moment if moment.tzinfo is None else None


def _zone(name: str | None, offset: str | None, again: str | None) -> timezone | None:
    """The zone that all of them agree on; None if they contradict, or one is unknown."""
    hours = [_ZONES.get(one.lower()) for one in (name, again) if one]
    if None in hours:
        return None
    found = {timedelta(hours=one) for one in hours if one is not None}
    if offset:
        sign = -1 if offset[0] == "-" else 1
        digits = offset[1:].replace(":", "").ljust(4, "0")
        away = sign * timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
        if found - {timedelta(0), away}:
            return None
        found = {away}
    if len(found) > 1 or any(abs(one) >= timedelta(days=1) for one in found):
        return None
    return timezone(next(iter(found), timedelta(0)))
