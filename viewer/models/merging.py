"""Merge what several deliveries report about one row, in any order of arrival.

Each field keeps the time of its statement: a later statement replaces the value, an earlier one
only fills a blank. So the row is the same in every order.
"""

from datetime import datetime
from typing import Any, Self

from sqlalchemy.orm import Mapped, mapped_column


class LastWriteWins:
    """Last write wins, field by field, by the time of the statement."""

    # {field: moment}, and {set: its members} for what is gathered.
    said: Mapped[dict[str, Any]] = mapped_column(default=dict)

    def merge(self, said_at: datetime, **values: Any) -> None:
        """Merge the values of this delivery. None states nothing."""
        stamp = said_at.isoformat(timespec="microseconds")
        for name, value in values.items():
            if value is not None:
                self._take_value(name, stamp, value)

    def merge_from(self, other: Self) -> None:
        """Merge everything ever stated about `other`, which proved to be the same object."""
        for name, told in other.said.items():
            if isinstance(told, str):
                self._take_value(name, told, getattr(other, name))
            else:
                self.add(name, *told)

    def add(self, name: str, *values: str) -> None:
        """Add to a set that all deliveries contribute to. It only grows."""
        self.said = {**(self.said or {}), name: sorted({*self.members(name), *values})}

    def members(self, name: str) -> list[str]:
        found: list[str] = (self.said or {}).get(name, [])
        return found

    def _take_value(self, name: str, stamp: str, value: Any) -> None:
        # Two different sayings of one moment: the larger wins, so that order never matters.
        said = self.said or {}
        if (stamp, str(value)) >= (said.get(name, ""), str(getattr(self, name))):
            setattr(self, name, value)
            self.said = {**said, name: stamp}
