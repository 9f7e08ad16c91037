"""How a whole restore ended: in figures, in words, and for the record."""

from dataclasses import dataclass, field
from typing import Any

from viewer.plurals import counted
from viewer.upkeep.progress import size_in_words
from viewer.upkeep.restore import originals
from viewer.upkeep.restore.originals import Outcome, Row

LISTED = 1000  # bad files that the record names


@dataclass(slots=True)
class Result:
    """What is there now."""

    files: int = 0  # originals that the database names in the folder
    right: int = 0
    size: int = 0  # bytes of those that are right
    restored: int = 0  # by this run; the others were there
    without_derivatives: int = 0
    seconds: float = 0.0
    bad: dict[str, str] = field(default_factory=dict)  # key: what is wrong; the first ones
    elsewhere: dict[str, int] = field(default_factory=dict)  # address of a store: its originals
    unreachable: dict[str, str] = field(default_factory=dict)  # address: why
    problems: list[str] = field(default_factory=list)  # with the database

    @property
    def is_whole(self) -> bool:
        return self.right == self.files and not self.unreachable and not self.problems

    @property
    def words(self) -> str:
        said = [
            f"{self.right:,} of {counted(self.files, 'original')} ({size_in_words(self.size)})"
            f" there after {self.seconds:,.0f} s."
        ]
        said += [f"{count:,} stay in {url}." for url, count in self.elsewhere.items()]
        said += [f"{url} could not be looked at: {why}" for url, why in self.unreachable.items()]
        said += self.problems
        if self.files > self.right:
            said.append(f"{self.files - self.right:,} missing or wrong: their rows say so.")
        return " ".join(said)

    def counts(self) -> dict[str, Any]:
        """The figures for the record."""
        return {
            "files": self.files,
            "right": self.right,
            "bytes": self.size,
            "restored": self.restored,
            "without_derivatives": self.without_derivatives,
            "seconds": round(self.seconds, 1),
            "bad": self.bad,
            "elsewhere": self.elsewhere,
            "unreachable": self.unreachable,
            "problems": self.problems,
        }

    def add(self, row: Row, outcome: Outcome) -> None:
        self.files += 1
        self.without_derivatives += outcome.lacks_derivatives
        self.restored += outcome.step is originals.Step.RESTORED
        if outcome.step.is_right:
            self.right += 1
            self.size += row.size
        elif len(self.bad) < LISTED:
            self.bad[row.key] = str(outcome.step)
