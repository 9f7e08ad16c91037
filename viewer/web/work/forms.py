"""The forms of work records: from what people type to plain values, and back beside an error.

Only the notation is judged here (what is an amount, which moment is 2:30 AM); what a record may
say, `office.records` decides.
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


class Typed(Field):  # type: ignore[misc]  # WTForms brings no types
    """A field that keeps what was typed, whether or not it could be read."""

    def __init__(
        self, read: Callable[[str], Any], write: Callable[[Any], str], **words: Any
    ) -> None:
        super().__init__(**words)
        self.read, self.write = read, write

    def process_formdata(self, valuelist: list[str]) -> None:
        if valuelist:  # a field that was not sent keeps what it had
            self.data = None
            typed = valuelist[0].strip()
            self.data = self.read(typed) if typed else None

    @property
    def typed(self) -> str:
        if self.raw_data:
            return str(self.raw_data[0])
        return "" if self.data is None else self.write(self.data)


class Words(StringField):  # type: ignore[misc]
    """A line of text, or some."""

    @property
    def typed(self) -> str:
        return self.data or ""


# --- Moments and days ----------------------------------------------------------------------


def read_moment(typed: str) -> datetime:
    """The first moment when the clocks of the display zone show this. Raises ValueError."""
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
    """Whether the clocks show this time twice, an hour apart, because they go back."""
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
    """What every kind has. `id` makes a second click harmless, `seen` tells who was faster."""

    kind: Kind

    id = HiddenField()
    seen = HiddenField()
    conversation = HiddenField()
    external_reference = Words()
    external_url = Words()
    notes = Words()

    def values(self) -> dict[str, Any]:
        """What was typed, as `office.records` wants it."""
        return {name: self[name].data for name in self.names()}

    def names(self) -> tuple[str, ...]:
        return (*records.FIELDS[self.kind], *records.COMMON)

    def kept(self) -> list[tuple[str, str]]:
        """Everything, for a page in between."""
        return [(field.name, field.typed) for field in self if isinstance(field, Typed | Words)] + [
            (field.name, field.data or "") for field in (self.id, self.seen, self.conversation)
        ]

    def checked(self) -> dict[str, Any]:
        """Its values, sound in themselves. Raises records.Invalid, with all that is wrong."""
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
        """Show these beside their fields."""
        for name, words in errors.items():
            self[name].errors = [words]

    def problems(self) -> list[tuple[str, str, str]]:
        """Each wrong field: its name, what it is called, what is wrong."""
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
    starts_at_fold = Words()  # "0" or "1": of two times that look alike, the first or the second
    visit = Words()
    place = Words()

    @property
    def is_twice(self) -> bool:
        """Whether it has to be asked which of two moments is meant."""
        return self.starts_at.data is not None and is_twice(self.starts_at.data)

    @property
    def _here(self) -> datetime:
        return cast("datetime", self.starts_at.data).astimezone(settings().zone)

    @property
    def both(self) -> list[tuple[str, str]]:
        """The two moments: the value of each choice, and how it reads."""
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
    """A form to be filled in, or the one that was sent."""
    return FORMS[kind](data=values)


def filled(record: WorkRecord) -> RecordForm:
    """A form that says what the record says, or the one that was sent."""
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
