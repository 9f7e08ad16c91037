"""The scripts that another host runs for a store over ssh, and what their statuses mean."""

import shlex
import uuid

from viewer.storage.keys import check_key

INCOMING = ".incoming"
# Statuses of our scripts.
OCCUPIED, AWAY, OTHER, MISSING, DAMAGED, ABSENT, UNMARKED = range(41, 48)
AWAY_WORDS = {
    AWAY: "is not there: is its disk mounted?",
    OTHER: "belongs to another database.",
    UNMARKED: "has no marker: is its disk mounted?",
}

# A new folder is durable once each of its parents is.
FUNCTIONS = """
umask 077
folder() { [ -d "$1" ] || { mkdir -p "$1" && f=$1 && while [ "$f" != . ]; do
    f=$(dirname "$f"); sync "$f" || return 1; done; } }
"""
_PLACE = """
[ ! -e {key} ] || exit {occupied}
folder {parent} && folder ./.incoming || exit 1
trap 'rm -f {part}' EXIT
cat > {part} || exit 1
[ "$(sha256sum < {part})" = "{sha256}  -" ] || exit {damaged}
chmod {mode} {part} && sync {part} || exit 1
ln {part} {key} || {{ [ -e {key} ] && exit {occupied}; exit 1; }}
sync {parent}
"""
_MOVE = """
[ -e {source} ] || {{ [ -e {target} ] && exit 0; exit {missing}; }}
folder {parent} || exit 1
ln {source} {target} 2> /dev/null || [ {source} -ef {target} ] || exit {occupied}
sync {parent} && rm -f {source} && sync {old_parent}
"""
_MARK = """
umask 077
mkdir -p -m 700 {root} && cd {root} || exit 1
printf %s {identity} > {marker}.new && sync {marker}.new && ln {marker}.new {marker} || exit 1
rm -f {marker}.new && sync . ..
"""


def mark(root: str, marker: str, identity: str) -> str:
    return _MARK.format(root=root, marker=marker, identity=shlex.quote(identity))


def place(key: str, sha256: str, mode: int) -> str:
    """Reads the bytes from its standard input."""
    return _PLACE.format(
        key=path_of(key), parent=_parent_of(key), part=f"./{INCOMING}/{uuid.uuid4()}",
        sha256=sha256, mode=f"{mode:o}", occupied=OCCUPIED, damaged=DAMAGED,
    )  # fmt: skip


def move(key: str, to: str) -> str:
    return _MOVE.format(
        source=path_of(key), old_parent=_parent_of(key), target=path_of(to),
        parent=_parent_of(to), occupied=OCCUPIED, missing=MISSING,
    )  # fmt: skip


def path_of(key: str) -> str:
    return f"./{check_key(key)}"  # of signs that no shell treats specially


def _parent_of(key: str) -> str:
    return f"./{key}".rpartition("/")[0]


def is_file(path: str) -> str:
    return f"[ -f {path} ] && [ ! -L {path} ] || exit {MISSING}"
