"""What a caption may be: of a file, and of its link to a work record.

TooLong   the message says how long it may be
"""

import unicodedata

from viewer.models.media import LONGEST_CAPTION


class TooLong(Exception):
    """A caption has too many characters."""


def clean(words: str) -> str:
    """One line, without what PostgreSQL cannot hold; empty if nothing is left. Raises TooLong."""
    line = one_line(words)
    if len(line) > LONGEST_CAPTION:
        raise TooLong(f"A caption has at most {LONGEST_CAPTION} characters; this has {len(line)}.")
    return line


def one_line(words: str) -> str:
    """Without control characters; what joins an emoji stays."""
    printed = "".join(sign if unicodedata.category(sign) != "Cc" else " " for sign in words)
    return " ".join(printed.split())
