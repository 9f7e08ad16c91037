"""Parse what the provider writes: JSON and timestamps."""

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
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
    """Parse ISO 8601, Unix seconds or milliseconds to UTC; None for anything else."""
    if isinstance(value, str):
        value = value.strip()
        return _from_unix(int(value)) if re.fullmatch("-?[0-9]{1,20}", value) else _from_iso(value)
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
    is_milliseconds = abs(number) >= 1e11  # as seconds that would be the year 5138
    try:
        return _EPOCH + timedelta(seconds=number / 1000 if is_milliseconds else number)
    except (OverflowError, ValueError):
        return None


def _from_iso(text: str) -> datetime | None:
    leap = re.fullmatch(r"(.{10,}:[0-9]{2}):60(.*)", text)  # 23:59:60 is a real second
    try:
        moment = datetime.fromisoformat(f"{leap[1]}:59{leap[2]}" if leap else text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return moment.astimezone(UTC) + timedelta(seconds=1 if leap else 0)
    except (OverflowError, ValueError):
        return None
