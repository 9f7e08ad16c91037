"""Amounts as people type them."""

import pytest

from viewer.office import money


@pytest.mark.parametrize(
    ("typed", "cents"),
    [
        ("1250", 125000),
        ("1,250", 125000),
        ("$1250.5", 125050),
        ("1250.50", 125050),
        (" $ 1,250.00 ", 125000),
        ("1,234,567.89", 123456789),
        ("0", 0),
        (".5", 50),
        ("7.", 700),
        ("100,000,000", money.LARGEST),
    ],
)
def test_an_amount_is_read_as_it_is_meant(typed, cents):
    assert money.cents(typed) == cents


@pytest.mark.parametrize(
    "typed",
    ["", "$", ".", "abc", "12,5", "1,25.00", "1.250,00", "-5", "1e3", "12.345", "1 250", "0x1",
     "1250 dollars", "١٢", "NaN", "100,000,000.01", "9" * 400],
)  # fmt: skip
def test_what_is_no_amount_is_refused(typed):
    with pytest.raises(ValueError):
        money.cents(typed)


@pytest.mark.parametrize(
    ("cents", "shown"), [(0, "$0.00"), (5, "$0.05"), (125000, "$1,250.00"), (1234567, "$12,345.67")]
)
def test_an_amount_reads_as_dollars_and_can_be_typed_back(cents, shown):
    assert money.dollars(cents) == shown
    assert money.cents(money.editable(cents)) == cents
