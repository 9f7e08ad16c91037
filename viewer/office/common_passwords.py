"""Whether a password is among the first that anybody would try.

The list beside this file has the commonest 10,000, and all longer common ones that are known; its
licences are in `common_passwords.LICENSE`. Most of them are shorter than a password of ours may be,
so they count as what a longer one is made of, too: `Dragon2026!!` is a guess at `dragon`.
"""

import functools
from pathlib import Path

_LIST = Path(__file__).with_suffix(".txt")


def is_common(password: str) -> bool:
    """Whether it is in the list: as it is, without what surrounds its letters, or said twice."""
    folded = password.casefold()
    core = folded.strip("".join(sign for sign in set(folded) if not sign.isalpha()))
    return any(
        one in _common_passwords() or _half_of(one) in _common_passwords()
        for one in (folded, core)
        if one
    )


def _half_of(words: str) -> str:
    """`words`, if it is the same said twice: the half."""
    half = words[: len(words) // 2]
    return half if half * 2 == words else ""


@functools.cache
def _common_passwords() -> frozenset[str]:
    """Read at the first password that is chosen: 2 ms, 1 MB."""
    return frozenset(_LIST.read_text().split())
