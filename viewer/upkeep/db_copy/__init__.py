"""Copy this viewer's database into another, empty one, and compare every row."""

from viewer.upkeep.db_copy.errors import CannotCopy, Different
from viewer.upkeep.db_copy.run import Result, copy

__all__ = ["CannotCopy", "Different", "Result", "copy"]
