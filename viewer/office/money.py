"""Parse and format amounts of money. Stored in minor units: cents."""

import re

LARGEST = 100_000_000_00  # cents; a larger amount is a typo

_TYPED = re.compile(r"\$?\s*([0-9]{1,3}(?:,[0-9]{3})+|[0-9]+)?(?:\.([0-9]{0,2}))?")


def cents(typed: str) -> int:
    """Parse 1250, 1,250, $1250.5 or 1,250.00 into cents. Raises ValueError."""
    found = _TYPED.fullmatch(typed.strip())
    if found is None or not (found[1] or found[2]):
        raise ValueError("Write an amount such as 1,250.00.")
    whole, part = (found[1] or "0").replace(",", ""), (found[2] or "").ljust(2, "0")
    if len(whole) > 12 or (amount := int(whole) * 100 + int(part)) > LARGEST:
        raise ValueError(f"That is more than {dollars(LARGEST)}.")
    return amount


def dollars(amount: int) -> str:
    """Format cents as $1,250.00."""
    return f"${amount // 100:,}.{amount % 100:02}"


def editable(amount: int) -> str:
    """Format cents as 1,250.00, for a form field."""
    return dollars(amount).removeprefix("$")
