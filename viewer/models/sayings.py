"""Rows that several deliveries tell about, in any order.

Each field remembers the moment its value was said: a later saying replaces it, an earlier one only
fills a blank. So the row is the same in every order of arrival.
"""

from datetime import datetime
from typing import Any

from sqlalchemy.orm import Mapped, mapped_column


class Saying:
    """Fields that several deliveries tell about, each with the moment of its best telling."""

    said: Mapped[dict[str, Any]] = mapped_column(default=dict)

    def hear(self, said_at: datetime, **values: Any) -> None:
        """Take what this delivery says. None says nothing."""
        stamp = said_at.isoformat(timespec="microseconds")
        said = dict(self.said or {})
        for name, value in values.items():
            if value is None:
                continue
            # Two different sayings of one moment: the larger wins, so that order never matters.
            if (stamp, str(value)) >= (said.get(name, ""), str(getattr(self, name))):
                setattr(self, name, value)
                said[name] = stamp
        self.said = said
