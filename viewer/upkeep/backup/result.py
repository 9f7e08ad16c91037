"""How a run ended, in figures and in words."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from viewer.models import UpkeepRun
from viewer.plurals import counted
from viewer.upkeep.progress import size_in_words

Outcome = UpkeepRun.Outcome


@dataclass(slots=True)
class Result:
    """How a run ended."""

    outcome: Outcome = Outcome.GOOD
    words: str = ""
    snapshot: int | None = None
    counts: dict[str, Any] = field(default_factory=dict)

    @property
    def is_good(self) -> bool:
        return self.outcome is Outcome.GOOD

    @property
    def has_failed(self) -> bool:
        """Whether it could not do its work: then nothing was compared."""
        return self.outcome is Outcome.FAILED


def verified(outcome: Outcome, number: int, counts: dict[str, Any], notes: Sequence[str]) -> Result:
    """Of a run whose snapshot is right; `outcome` is bad where an older one is not."""
    words = (
        f"Snapshot {number}: {counted(counts['files'], 'original')}"
        f" ({size_in_words(counts['bytes'])}) covered, {counts['copied']:,} new."
    )
    return Result(outcome, " ".join([words, *notes, *_remarks(counts)]), number, counts)


def unverified(number: int, counts: dict[str, Any], problems: Sequence[str]) -> Result:
    """Of a run that compared its snapshot, and found it wrong."""
    words = [f"Snapshot {number} is not verified.", *problems, *_remarks(counts)]
    return Result(Outcome.BAD, " ".join(words), number, counts)


def _remarks(counts: dict[str, Any]) -> list[str]:
    remarks = []
    if counts["healed"]:
        remarks.append(f"{counted(counts['healed'], 'file')} of the target written again.")
    if counts["lost"]:
        remarks.append(f"{counted(counts['lost'], 'damaged file')} without a right copy anywhere.")
    return remarks
