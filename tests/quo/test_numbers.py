"""Fault rows 120 and 121, as far as they concern who rang."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from viewer.quo.numbers import canonical, display, folder_name

SAFE = re.compile(r"(?![.-])[A-Za-z0-9._-]{1,40}")


@pytest.mark.parametrize(
    "raw",
    [
        "+16175550123",
        "16175550123",
        "6175550123",
        "617-555-0123",
        "(617) 555-0123",
        "+1 (617) 555-0123",
        " 617.555.0123\n",
        "617\u00a0555\u20110123",
        "\u202a+16175550123\u202c",
        "tel:+1-617-555-0123",
        "617 555 0123 ext. 5",
        "６１７５５５０１２３",
    ],
)
def test_every_notation_of_a_number_is_one_party(raw):
    party = canonical(raw)

    assert party == "+16175550123"
    assert folder_name(party) == "617-555-0123"
    assert display(party) == "(617) 555-0123"


@pytest.mark.parametrize(
    ("raw", "party", "folder", "shown"),
    [
        ("+44 20 7946 0018", "+442079460018", "442079460018", "+44 20 7946 0018"),
        ("22395", "22395", "22395", "22395"),
        ("911", "911", "911", "911"),
        ("Anonymous", "anonymous", "anonymous", "Anonymous caller"),
        ("RESTRICTED", "restricted", "restricted", "Restricted number"),
        ("Blocked", "blocked", "blocked", "Blocked number"),
    ],
)
def test_other_callers_have_their_names_too(raw, party, folder, shown):
    assert canonical(raw) == party
    assert folder_name(party) == folder
    assert display(party) == shown


@pytest.mark.parametrize(
    ("raw", "party"),
    [
        ("PHARMACY", "PHARMACY"),
        (" Capital  One ", "Capital One"),
        ("Pat@Example.com", "pat@example.com"),
        ("6175550123@example.com", "6175550123@example.com"),
        ("X6175550123", "X6175550123"),
        ("5550123", "5550123"),
    ],
)
def test_what_is_no_number_keeps_its_name_and_meets_no_number(raw, party):
    assert canonical(raw) == party
    assert display(party) == party
    assert SAFE.fullmatch(folder_name(party))
    assert folder_name(party) != folder_name("+16175550123")


@pytest.mark.parametrize(
    "raw",
    [
        None,
        "",
        " ",
        "../../etc/passwd",
        "..",
        "a/b",
        "C:\\",
        "+1617555\x00/0123/..",
        "6" * 500,
        "<script>",
        "💧",
        7,
        True,
        ["+16175550123"],
        {},
    ],
    ids=ascii,
)
def test_a_hostile_or_missing_caller_is_unknown_and_always_the_same_one(raw):
    party = canonical(raw)

    assert re.fullmatch("unknown-[0-9a-f]{8}", party)
    assert party == canonical(raw)
    assert folder_name(party) == party
    assert display(party) == "Unknown caller"


def test_names_that_clean_alike_have_folders_of_their_own():
    names = ["Acme", "ACME", "A CME", "A&CME", "A'CME", "a-cme", "A.CME", "Ácme", "Äcme"]

    folders = {folder_name(canonical(name)).lower() for name in names}

    assert len(folders) == len(names)


def test_digits_that_are_no_number_do_not_share_the_folder_of_one_that_is():
    assert canonical("442079460018") == "442079460018"
    assert canonical("+1617555012") == "+1617555012"
    assert folder_name("+1617555012") == "1617555012"
    assert folder_name("442079460018") != folder_name("+442079460018")
    assert folder_name("617-555-0123") != folder_name("+16175550123")


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[+0-9() .x@a-zA-Z/-]{0,45}"))
def test_a_folder_name_is_always_safe(text):
    assert SAFE.fullmatch(folder_name(text))
    assert SAFE.fullmatch(folder_name(canonical(text)))


@settings(deadline=None)
@given(st.text() | st.from_regex(r"\+?[0-9() .x-]{0,25}") | st.none() | st.integers())
def test_a_canonical_spelling_stays_as_it_is(raw):
    party = canonical(raw)

    assert canonical(party) == party
    assert 1 <= len(party) <= 40
    assert party.isprintable()
    assert display(party)
