"""Money as people type and read it. Kept in minor units: cents."""

import re

LARGEST = 100_000_000_00  # cents; more is a slip of the finger

_TYPED = re.compile(r"\$?\s*([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.([0-9]{0,2}))?")


def cents(typed: str) -> int:
    """From words such as 1250, 1,250, $1250.5 or 1,250.00. Raises ValueError."""
    found = _TYPED.fullmatch(typed.strip())
    if found is None or not (found[1] or found[2]):
        raise ValueError("Write an amount such as 1,250.00.")
    whole, part = (found[1] or "0").replace(",", ""), (found[2] or "").ljust(2, "0")
    if len(whole) > 12 or (amount := int(whole) * 100 + int(part)) > LARGEST:
        raise ValueError(f"That is more than {dollars(LARGEST)}.")
    return amount


def dollars(amount: int) -> str:
    """$1,250.00"""
    return f"${amount // 100:,}.{amount % 100:02}"


def editable(amount: int) -> str:
    """1,250.00, as it stands in a field."""
    return dollars(amount).removeprefix("$")
