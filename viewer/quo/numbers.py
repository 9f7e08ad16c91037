"""Phone numbers: one spelling for each party, a folder name for it, and a form for people."""

import hashlib
import re
import unicodedata
from urllib.parse import unquote

import phonenumbers

_HOME = "US"  # where a number without a country is dialled

# What the network says instead of a number.
_WORDS = {
    "anonymous": "Anonymous caller",
    "blocked": "Blocked number",
    "private": "Private number",
    "restricted": "Restricted number",
    "unavailable": "Number unavailable",
    "unknown": "Unknown caller",
    "withheld": "Number withheld",
}

# Or a number that is none: it spells the word on a telephone's keys. A row keeps it as its
# canonical spelling, so that its folder stays; people are told the word.
_SPELLED = {
    "+2562533": "blocked",
    "+266696687": "anonymous",
    "+7378742833": "restricted",
    "+7748483": "private",
    "+8656696": "unknown",
    "+86282452253": "unavailable",
    "+94844353": "withheld",
}

_NUMBER_LIKE = re.compile(
    r"\+?(?:[\d\s().\u00b7\u2010-\u2015\u2022\u2212-]|(?<=\d)/(?=\d))+(?:\s*(?:ext(?:ension|\.)?|x|\#)\s*\d{1,7})?",
    re.IGNORECASE,
)
_URI = re.compile(r"(tel|sips?|callto):(?://)?(.*)", re.IGNORECASE | re.DOTALL)
_IN_BRACKETS = re.compile(r"[^<>]*<((?:tel|sips?):[^<>]*)>.*", re.IGNORECASE | re.DOTALL)
_NORTH_AMERICAN = re.compile(r"\+1([0-9]{3})([0-9]{3})([0-9]{4})")
_INTERNATIONAL = re.compile(r"\+[0-9]{7,15}")
_SHORT_CODE = re.compile(r"[0-9]{1,6}")
_UNKNOWN = re.compile(r"unknown-[0-9a-f]{8}")
_FORGOTTEN = re.compile(r"forgotten-[0-9a-f]{8}")
_NAME = re.compile(r"(?=.*[^\W_])[\w+@.&' -]{1,40}")  # "PHARMACY", "pat@example.com"


def canonical(raw: object) -> str:
    """The one spelling under which a party is known; the same for every notation of its number.

    E.164 for a number, itself for a short code or a sender's name, and `unknown-` with a digest
    for what is neither. Canonical spellings stay as they are.
    """
    text = raw if isinstance(raw, str) else ""
    cleaned = _without_uri(_cleaned(text)) if len(text) <= 200 else ""
    if (spelled := _spelled(cleaned)) is not None:
        return spelled
    if number := _e164(cleaned):
        return number
    if cleaned.lower() in _WORDS:
        return cleaned.lower()
    if _NAME.fullmatch(cleaned):
        return cleaned.lower() if "@" in cleaned else cleaned
    return f"unknown-{_digest(text)}"


def is_number(canonical: str) -> bool:
    """Whether one can ring it, unlike a short code, a name or a hidden caller."""
    return canonical not in _SPELLED and _INTERNATIONAL.fullmatch(canonical) is not None


def forgotten(digest: str) -> str:
    """The canonical spelling of somebody who was forgotten: `digest` are eight random digits."""
    return f"forgotten-{digest}"


def is_forgotten(canonical: str) -> bool:
    return _FORGOTTEN.fullmatch(canonical) is not None


def folder_name(canonical: str) -> str:
    """A name for the party's folder, in `[A-Za-z0-9._-]{1,40}`, its own and never hidden."""
    if match := _NORTH_AMERICAN.fullmatch(canonical):
        return "-".join(match.groups())
    if _INTERNATIONAL.fullmatch(canonical):
        return canonical.removeprefix("+")
    if canonical in _WORDS or _SHORT_CODE.fullmatch(canonical) or _UNKNOWN.fullmatch(canonical):
        return canonical
    # Cleaning makes different names alike, and so do disks that ignore case: the digest parts them.
    name = re.sub("[^A-Za-z0-9._-]+", "-", canonical)[:30].strip("._-")
    return f"{name or 'caller'}-{_digest(canonical)}"


def display(canonical: str) -> str:
    """The party as people write it."""
    if match := _NORTH_AMERICAN.fullmatch(canonical):
        return "({}) {}-{}".format(*match.groups())
    if _UNKNOWN.fullmatch(canonical):
        return _WORDS["unknown"]
    if is_forgotten(canonical):
        return "Forgotten customer"
    if is_number(canonical):
        return _international(canonical)
    return _WORDS.get(_SPELLED.get(canonical, canonical), canonical)


def _spelled(text: str) -> str | None:
    """The number that stands for a hidden one, also without its plus where no real one is so."""
    digits = "".join(sign for sign in text if sign.isdecimal())
    number = f"+{digits}"
    if number not in _SPELLED or not _NUMBER_LIKE.fullmatch(text):
        return None
    is_sure = text.startswith("+") or (len(digits) >= 9 and _e164(text) is None)
    return number if is_sure else None


def _without_uri(text: str) -> str:
    """The number or name within a tel: or sip: address, without what else that says."""
    if inner := _IN_BRACKETS.fullmatch(text):
        text = inner[1]
    if found := _URI.match(text):
        scheme, text = found[1].lower(), found[2].strip()
        if scheme.startswith("sip"):
            user, at, host = text.partition("@")
            host = re.split("[;?>]", host)[0]
            name = unquote(user).split(";")[0]
            is_known = _NUMBER_LIKE.fullmatch(name) or name.lower() in _WORDS
            return name if is_known or not at else f"{name}@{host}"
        text = unquote(text)
    number, *said = (part.strip() for part in text.split(";"))
    if not _NUMBER_LIKE.fullmatch(number):
        return text
    for one in said:
        name, _, area = one.partition("=")
        if name.lower() == "phone-context" and area.startswith("+") and number[0] != "+":
            return area + number
    return number


def _cleaned(text: str) -> str:
    """Without the invisible marks that come along when a number is pasted from an address book."""
    visible = (
        " " if char.isspace() else char
        for char in unicodedata.normalize("NFKC", text)
        if char.isspace() or unicodedata.category(char)[0] != "C"
    )
    return " ".join("".join(visible).split())


def _e164(text: str) -> str | None:
    # The library finds numbers inside other things: "6175550123@example.com" is no phone.
    if not _NUMBER_LIKE.fullmatch(text):
        return None
    text = re.sub("[/\u00b7\u2022\u2212]", "-", text)  # separators the library does not know
    try:
        number = phonenumbers.parse(text, _HOME)
    except phonenumbers.NumberParseException:
        return None
    # Not merely "valid": new area codes appear before the library's data knows them.
    possible = phonenumbers.is_possible_number_with_reason(number)
    if possible != phonenumbers.ValidationResult.IS_POSSIBLE:
        return None
    found = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
    # A zero too many is taken off once at a time: what is kept must stay what it is.
    return found if found == text else _e164(found)


def _international(number: str) -> str:
    try:
        parsed = phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return number
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.INTERNATIONAL)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
