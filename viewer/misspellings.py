"""Find variables that look like misspelt settings: `WORKER=9` must not be ignored without a word.

The environment is shared with other programs: there a name is reported only if it has as many words
as ours (RQ_REDIS_URL, LOGLEVEL and SECRET_KEY_BASE are not ours), and if the setting itself is not
given (REDIS_URI beside REDIS_URL belongs to another program). Names in `.env` are meant for us,
unless they are one of ours with words added.
"""

import difflib
import re
from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

NOT_OURS = frozenset({"PROXY_HOST"})  # close to one of ours, and commonly set for other programs
CLOSE, CLOSE_FOR_QUO = 0.85, 0.6  # difflib ratios; only our names begin with QUO_


def find_misspelt(
    settings: Sequence[str], in_environment: AbstractSet[str], in_file: AbstractSet[str]
) -> Iterator[tuple[str, str]]:
    """Yield each misspelt name with the setting that is meant."""
    given = in_environment | in_file
    for name in sorted(given - set(settings) - NOT_OURS):
        meant = nearest(name.upper() if name in in_file else name, tuple(settings))
        if meant is None or (name not in in_file and _is_of_others(name, meant, given)):
            continue
        yield name, meant


def nearest(name: str, settings: Sequence[str]) -> str | None:
    """Return the setting that this name is closest to; None if it is close to none."""
    is_quo = name.startswith("QUO_")
    candidates = [one for one in settings if one.startswith("QUO_")] if is_quo else settings
    found = difflib.get_close_matches(name, candidates, 1, CLOSE_FOR_QUO if is_quo else CLOSE)
    if not found:
        return None
    added = re.search(rf"(^|_){found[0]}(_|\d*$)", name)
    return None if added and name != found[0] else found[0]


def _is_of_others(name: str, meant: str, given: AbstractSet[str]) -> bool:
    if name.startswith("QUO_"):
        return False
    return name.count("_") != meant.count("_") or meant in given
