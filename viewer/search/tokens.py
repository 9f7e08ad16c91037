"""Words as the search compares them: without case, accents and apostrophes.

Both databases are given words that are already parted and folded, a space between them. So they
find alike, whatever their own ideas of a word are.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass

LONGEST = 60  # characters of a word that are compared
READ = 50_000  # characters of words that one entry keeps; PostgreSQL refuses a megabyte of them

# Marks belong to the letter before them: é may be two characters, and Indic vowels always are.
_MARKS = (
    "\u0300-\u036f\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0900-\u0dff\u0e00-\u0e7f\u20d0-\u20ff"
)
# There is no space between the words of these: each character is a word, and neighbours a phrase.
_ALONE = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(
    f"[{_ALONE}]|(?:(?![{_ALONE}])[^\\W_])(?:(?![{_ALONE}])[^\\W_]|[{_MARKS}]|['’ʼ](?=[^\\W_]))*"
)
# (617) 555-0123, 617.555.0123, +44 20 7946 0958, 6175550123; a date or a price is shorter.
_NUMBER = re.compile(r"(?<!\w)\+?\(?\d(?:[\s().\u2010-\u2015-]{0,3}\d){6,14}(?!\w)")
_NOT_DECOMPOSED = str.maketrans(
    {"ø": "o", "đ": "d", "ð": "d", "ł": "l", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a text: as it is compared, and where it stands."""

    folded: str
    start: int
    end: int


def words_of(text: str) -> Iterator[Word]:
    for match in _WORD.finditer(text):
        if folded := _fold(match[0]):
            yield Word(folded, match.start(), match.end())


def numbers_in(text: str) -> Iterator[Word]:
    """Phone numbers, however they are written: their digits, and where they stand."""
    for match in _NUMBER.finditer(text):
        yield Word(digits_of(match[0]), match.start(), match.end())


def digits_of(text: str) -> str:
    """The digits of a number, without what is dialled to leave a country or a town."""
    digits = "".join(str(unicodedata.digit(sign)) for sign in text if sign.isdecimal())
    if len(digits) > 11:
        digits = digits.removeprefix("011")
    if len(digits) == 11:
        digits = digits.removeprefix("1")
    return digits.lstrip("0") if len(digits) > 8 else digits


def endings_of(digits: str) -> list[str]:
    """By which ends of it a number is asked for: 6175550123, 175550123, … 0123."""
    return [digits[start:] for start in range(max(1, len(digits) - 3))]


def folded(text: str) -> str:
    """The words of a text for the index, and each phone number in it by all its ends."""
    words = [word.folded for word in words_of(text[:READ])]
    ends = [end for number in numbers_in(text[:READ]) for end in endings_of(number.folded)]
    return " ".join([*words, *ends])[:READ]


def _fold(word: str) -> str:
    if word.isascii() and word.isalnum():  # nearly all of them
        return word.lower()[:LONGEST]
    plain = re.sub("['’ʼ]s$", "", word, flags=re.IGNORECASE)  # Rosa's is Rosa
    lower = unicodedata.normalize("NFKD", plain).casefold().translate(_NOT_DECOMPOSED)
    return "".join(filter(str.isalnum, unicodedata.normalize("NFKD", lower)))[:LONGEST]
