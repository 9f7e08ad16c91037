"""Why a database was not copied. The message is a sentence for the operator.

CannotCopy    it was refused, or could not go on
  Different   what arrived is not what was sent
"""

import re
from typing import Any


class CannotCopy(Exception):
    """Nothing was copied: the target is as empty as it was."""


class Different(CannotCopy):
    """The comparison found other rows in the target than in the source."""


def words_of(error: Any) -> str:
    """What a database driver's error says, without the row's own words: they are a customer's."""
    diagnosis = getattr(error, "diag", None)
    if diagnosis is None or diagnosis.message_primary is None:
        return str(error).strip().partition("\n")[0]
    place = re.search(r"line (\d+)(?:, column (\w+))?", diagnosis.context or "")
    where = ""
    if place:
        where = f" (row {place[1]}{f', column {place[2]}' if place[2] else ''})"
    return f"{diagnosis.message_primary}{where}"
