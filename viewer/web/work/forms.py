"""Forms of work records: parse input into plain values, and show it again beside an error.

Only syntax is checked here (what is an amount, which moment is 2:30 AM); `office.records`
validates the values.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, cast

from flask_wtf import FlaskForm
from wtforms import Field, HiddenField, StringField

from viewer.config import settings
from viewer.models import WorkRecord
from viewer.office import money, records

Kind = WorkRecord.Kind


class Typed(Field):  # type: ignore[misc]  # WTForms has no type hints
    """A field that keeps the input as typed, even if it cannot be parsed."""

    def __init__(
        self, read: Callable[[str], Any], write: Callable[[Any], str], **words: Any
    ) -> None:
        super().__init__(**words)
        self.read, self.write = read, write

    def process_formdata(self, valuelist: list[str]) -> None:
        if valuelist:  # a field absent from the request keeps its value
            self.data = None
            typed = valuelist[0].strip()
            self.data = self.read(typed) if typed else None

    @property
    def typed(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else self.write(self.data)


class Words(StringField):  # type: ignore[misc]
    """A text field of one or more lines."""

    @property
    def typed(self) -> str:
        return self.data or ""


# --- Moments and days ----------------------------------------------------------------------


def read_moment(typed: str) -> datetime:
    """Parse a local time of the display time zone: the first of two, if it is ambiguous (DST).

    Raises ValueError, with a message to show, also for a time that DST skips.
    """
    try:
        here = datetime.fromisoformat(typed)
    except ValueError:
        raise ValueError("Choose a day and a time.") from None
    if here.tzinfo is not None:
        raise ValueError("Choose a day and a time.")
    try:
        moment = here.replace(tzinfo=settings().zone, fold=0)
        shown = moment.astimezone(UTC).astimezone(settings().zone)
    except OverflowError:
        raise ValueError(f"Check the year: {here.year} cannot be.") from None
    if shown.replace(tzinfo=None) != here:
        raise ValueError(
            f"{_clock(here)} does not exist on {_day(here)}: the clocks go forward that night."
            f" {_clock(shown)} does."
        )
    return moment


def is_twice(moment: datetime) -> bool:
    """Whether this local time is ambiguous: it occurs twice because DST ends."""
    here = moment.astimezone(settings().zone)
    return here.replace(fold=0).utcoffset() != here.replace(fold=1).utcoffset()


def write_moment(moment: datetime) -> str:
    return f"{moment.astimezone(settings().zone):%Y-%m-%dT%H:%M}"


def read_day(typed: str) -> date:
    try:
        return date.fromisoformat(typed)
    except ValueError:
        raise ValueError("Choose a day.") from None


def _clock(here: datetime) -> str:
    return f"{here:%I:%M %p}".lstrip("0")


def _day(here: datetime) -> str:
    return f"{here:%B} {here.day}, {here.year}"


# --- The forms -----------------------------------------------------------------------------


class RecordForm(FlaskForm):  # type: ignore[misc]
    """Base form. `id` makes a double submit idempotent; `seen` is the version (optimistic lock)."""

    kind: Kind

    id = HiddenField()
    seen = HiddenField()
    conversation = HiddenField()
    external_reference = Words()
    external_url = Words()
    notes = Words()

    def values(self) -> dict[str, Any]:
        """Return the parsed values, as `office.records` expects them."""
        return {name: self[name].data for name in self.names()}

    def names(self) -> tuple[str, ...]:
        return (*records.FIELDS[self.kind], *records.COMMON)

    def kept(self) -> list[tuple[str, str]]:
        """Return all fields as typed, to carry them through an intermediate page."""
        return [(field.name, field.typed) for field in self if isinstance(field, Typed | Words)] + [
            (field.name, field.data or "") for field in (self.id, self.seen, self.conversation)
        ]

    def checked(self) -> dict[str, Any]:
        """Return the validated values. Raises records.Invalid with the errors of all fields."""
        self.validate()
        errors = {name: str(self[name].errors[0]) for name in self.names() if self[name].errors}
        try:
            clean = records.check_values(self.kind, self.values())
        except records.Invalid as invalid:
            raise records.Invalid(invalid.errors | errors) from None
        if errors:
            raise records.Invalid(errors)
        return clean

    def refuse(self, errors: dict[str, str]) -> None:
        """Set these errors, to show them beside their fields."""
        for name, words in errors.items():
            self[name].errors = [words]

    def problems(self) -> list[tuple[str, str, str]]:
        """List each invalid field: name, label, error."""
        return [
            (name, records.LABELS[name], str(self[name].errors[0]))
            for name in self.names()
            if self[name].errors
        ]


def _amount() -> Typed:
    return Typed(money.cents, money.editable)


class QuoteForm(RecordForm):
    kind = Kind.QUOTE

    number = Words()
    title = Words()
    amount = _amount()


class InvoiceForm(RecordForm):
    kind = Kind.INVOICE

    number = Words()
    title = Words()
    amount = _amount()
    due_on = Typed(read_day, date.isoformat)


class AppointmentForm(RecordForm):
    kind = Kind.APPOINTMENT

    starts_at = Typed(read_moment, write_moment)
    starts_at_fold = Words()  # "0" or "1": the first or the second of an ambiguous time
    visit = Words()
    place = Words()

    @property
    def is_twice(self) -> bool:
        """Whether the time is ambiguous, so that the user must choose."""
        return self.starts_at.data is not None and is_twice(self.starts_at.data)

    @property
    def _here(self) -> datetime:
        return cast("datetime", self.starts_at.data).astimezone(settings().zone)

    @property
    def both(self) -> list[tuple[str, str]]:
        """List the two choices for an ambiguous time: value and label."""
        here = self._here
        return [
            (str(fold), f"{_clock(here)} {here.replace(fold=fold):%Z}, {which}")
            for fold, which in enumerate(("before the clocks go back", "after they went back"))
        ]

    def values(self) -> dict[str, Any]:
        found = super().values()
        if self.is_twice and self.starts_at_fold.data in ("0", "1"):
            found["starts_at"] = self._here.replace(fold=int(self.starts_at_fold.data))
        return found

    def validate(self, extra_validators: Any = None) -> bool:
        is_fine = bool(super().validate(extra_validators))
        if self.is_twice and self.starts_at_fold.data not in ("0", "1"):
            self.starts_at.errors = [
                f"The clocks show {_clock(self._here)} twice that night. Choose which one below."
            ]
            return False
        return is_fine


FORMS: dict[Kind, type[RecordForm]] = {
    form.kind: form for form in (QuoteForm, AppointmentForm, InvoiceForm)
}


def blank(kind: Kind, **values: Any) -> RecordForm:
    """Build an empty form, or bind it to the submitted data."""
    return FORMS[kind](data=values)


def filled(record: WorkRecord) -> RecordForm:
    """Build a form with the record's values, or bind it to the submitted data."""
    values = {
        name: getattr(record, name) for name in (*records.FIELDS[record.kind], *records.COMMON)
    }
    if record.starts_at is not None:
        values["starts_at_fold"] = str(record.starts_at.astimezone(settings().zone).fold)
    return FORMS[record.kind](
        data=values
        | {
            "id": str(record.id),
            "seen": records.version_of(record),
            "conversation": str(record.conversation_id),
        }
    )
