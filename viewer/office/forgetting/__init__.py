"""Forget a customer: find what is held, wait, erase the rows, then the bytes.

    ask ▸ wait, may be revoked ▸ rows ▸ bytes, on each host ▸ bytes again ▸ traces ▸ receipt

Each step is a state of the row in `forgettings`, does what is still to be done, and commits as it
goes: killed anywhere, the next run goes on. It touches what names this customer, and nothing else.
"""

from viewer.office.forgetting.asking import (
    NothingHeld,
    NotOne,
    TooLate,
    UnderWay,
    ask,
    due,
    of_number,
    revoke,
)
from viewer.office.forgetting.clearing import clear
from viewer.office.forgetting.held import Held, held_of
from viewer.office.forgetting.rows import erase
from viewer.office.forgetting.tombstones import apply_tombstone, tombstones

__all__ = [
    "Held",
    "NotOne",
    "NothingHeld",
    "TooLate",
    "UnderWay",
    "apply_tombstone",
    "ask",
    "clear",
    "due",
    "erase",
    "held_of",
    "of_number",
    "revoke",
    "tombstones",
]
