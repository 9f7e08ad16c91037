"""A store in a folder of another host, by its own programs over ssh: GNU's sh, find, ln, sync.

The promise is that of a folder: bytes are compared with their checksum and fsynced on that host
before they get a name, and a name is made by `ln`, which never replaces. Each script first looks
whether the folder has the expected marker.
"""

import contextlib
import hashlib
import io
import shlex
import uuid
from collections.abc import Iterator
from pathlib import Path

from viewer.storage.child import Failed, Running
from viewer.storage.disk import in_words
from viewer.storage.keys import check_key, is_key
from viewer.storage.ssh_address import SSHAddress
from viewer.storage.ssh_shell import CALL, SLOWEST, Shell
from viewer.storage.store import MARKER, Missing, Occupied, Stat, Unavailable

_INCOMING = ".incoming"
_CHUNK = 1024 * 1024  # bytes
_LISTING = 3600.0  # seconds for a list of all files
# Statuses of our scripts.
_OCCUPIED, _AWAY, _OTHER, _MISSING, _DAMAGED, _ABSENT, _UNMARKED = range(41, 48)
_AWAY_WORDS = {
    _AWAY: "is not there: is its disk mounted?",
    _OTHER: "belongs to another database.",
    _UNMARKED: "has no marker: is its disk mounted?",
}

# A new folder is durable once each of its parents is.
_FUNCTIONS = """
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
mkdir -p -m 700 {root} && cd {root} || exit 1
printf %s {identity} > {marker}.new && sync {marker}.new && ln {marker}.new {marker} || exit 1
rm -f {marker}.new && sync . ..
"""


class SSHFile(io.BufferedIOBase):
    """Bytes of a file on another host."""

    def __init__(self, running: Running, size: int, length: int) -> None:
        self.size = size
        self._running = running
        self._left = length

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._left if size is None or size < 0 else min(size, self._left)
        found = self._running.read(wanted)
        if len(found) < wanted:
            self._running.finish()
            raise Unavailable("The connection breaks off in the middle of a file.")
        self._left -= len(found)
        return found

    def close(self) -> None:
        self._running.close()
        super().close()


class SSH:
    """Keys are relative paths under a folder of another host."""

    def __init__(
        self, address: SSHAddress, config: Path | None = None, marker: str = MARKER
    ) -> None:
        """`config`: a file in place of ssh's own configuration."""
        self._address = address
        self._shell = Shell(address, config)
        self._root = shlex.quote(address.path)
        self._marker = marker
        self._expected: str | None = None

    @property
    def address(self) -> str:
        return str(self._address)

    # --- Whose it is -----------------------------------------------------------------------

    def identity(self) -> str | None:
        marker = f"{self._root}/{self._marker}"
        try:
            found = self._shell.run(f"[ -e {marker} ] || exit {_MISSING}; cat {marker}")
        except Failed as failed:
            if failed.status == _MISSING:
                return None
            raise
        return found.decode(errors="replace").strip()

    def is_empty(self) -> bool:
        # All but what a mark() left that died.
        others = f"-mindepth 1 -maxdepth 1 ! -name {self._marker}.new -print -quit"
        return not self._shell.run(f"[ ! -d {self._root} ] || find {self._root} {others}").strip()

    def mark(self, identity: str) -> None:
        words = {"root": self._root, "identity": shlex.quote(identity), "marker": self._marker}
        self._shell.run(_MARK.format(**words))

    def expect(self, identity: str) -> None:
        self._expected = identity

    def why_away(self) -> str | None:
        try:
            self._run("")
        except Unavailable as trouble:
            return None if _is_absent(trouble) else str(trouble)
        return None

    def is_away(self) -> bool:
        return self.why_away() is not None

    # --- Files -----------------------------------------------------------------------------

    def place(self, key: str, part: Path) -> None:
        with in_words(), part.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            mode = f"{part.stat().st_mode & 0o777:o}"
        words = {"key": _path(key), "parent": _parent(key), "sha256": sha256, "mode": mode}
        statuses = {"occupied": _OCCUPIED, "damaged": _DAMAGED}
        script = _PLACE.format(part=f"./{_INCOMING}/{uuid.uuid4()}", **words, **statuses)
        try:
            self._run(script, part, makes=True)
        except Failed as failed:
            if failed.status == _OCCUPIED:
                raise Occupied(f"{key} exists already") from None
            if failed.status == _DAMAGED:
                raise Unavailable("The bytes were damaged on their way.") from None
            raise

    def settle(self, key: str) -> None:
        check_key(key)
        parents = [f"./{'/'.join(key.split('/')[:depth])}" for depth in range(key.count("/") + 1)]
        self._run(f"sync {' '.join(parents)}")

    def open(self, key: str, start: int = 0, length: int | None = None) -> SSHFile:
        path = _path(key)
        script = f"{_is_file(path)}; stat -c %s {path} || exit 1; "
        script += f"tail -c +{start + 1} {path}" if start else f"cat {path}"
        script += f" | head -c {length}" if length is not None else ""
        running = self._shell.start(self._proven(script))
        with contextlib.ExitStack() as unless_opened:
            unless_opened.callback(running.close)
            size = running.read_line()
            if not size.endswith(b"\n"):
                with self._missing(key):
                    self._finish(running)
                raise Unavailable(f"{self._address.host} does not say how large a file is.")
            left = max(0, int(size) - start)
            left = left if length is None else min(length, left)
            running.allow(CALL + left / SLOWEST)
            unless_opened.pop_all()
        return SSHFile(running, int(size), left)

    def stat(self, key: str) -> Stat:
        path = _path(key)
        with self._missing(key):
            return Stat(int(self._run(f"{_is_file(path)}; stat -c %s {path}")))

    def sha256(self, key: str) -> str:
        """The SHA-256, computed over there. Raises Missing, Unavailable."""
        path = _path(key)
        with self._missing(key):
            return self._run(f"{_is_file(path)}; sha256sum < {path}")[:64].decode()

    def keys(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        folder = prefix.rpartition("/")[0]
        start = _path(folder) if folder else "."
        script = (
            f"[ ! -d {start} ] || find {start} -name '.?*' -prune -o -type f -printf '%s %p\\0'"
            f" || exit 1; {self._check()}"  # else half a list would look like a whole one
        )
        with self._shell.running(self._proven(script)) as running:
            running.allow(_LISTING)
            rest = b""
            while chunk := running.read(_CHUNK):
                *lines, rest = (rest + chunk).split(b"\0")
                for line in lines:
                    size, _, path = line.decode(errors="replace").partition(" ./")
                    if is_key(path) and path.startswith(prefix):
                        yield path, int(size)
            try:
                self._finish(running)
            except Failed as failed:
                if not _is_absent(failed):
                    raise

    def move(self, key: str, to: str) -> None:
        words = {"source": _path(key), "target": _path(to)}
        words |= {"parent": _parent(to), "old_parent": _parent(key)}
        script = _MOVE.format(occupied=_OCCUPIED, missing=_MISSING, **words)
        try:
            with self._missing(key):
                self._run(script)
        except Failed as failed:
            if failed.status == _OCCUPIED:
                raise Occupied(f"{to} exists already") from None
            raise

    def remove(self, key: str) -> None:
        try:
            self._run(f"rm -f {_path(key)}")
        except Failed as failed:
            if not _is_absent(failed):
                raise

    def handoff(self, key: str) -> str | None:
        check_key(key)
        return None

    # --- Beyond a store --------------------------------------------------------------------

    def tidy(self) -> None:
        """Remove the parts that dead writers left. Raises Unavailable."""
        self._run(f"[ ! -d ./{_INCOMING} ] || find ./{_INCOMING} -type f -delete")

    def forget_empty_folders(self, prefix: str) -> None:
        """Remove this folder, and those in it, if they are empty. Raises Unavailable."""
        folder = _path(prefix.rstrip("/"))
        self._run(f"[ ! -d {folder} ] || find {folder} -type d -empty -delete")

    def free(self) -> int:
        """The bytes for which it has room. Raises Unavailable."""
        blocks, size = self._run("stat -f -c '%a %S' .").split()
        return int(blocks) * int(size)

    def where(self) -> tuple[str, int]:
        """What tells its host (since its last start) and its file system from others.

        Raises Unavailable.
        """
        script = f"f={self._root}; while [ ! -e $f ]; do f=$(dirname $f); done; "
        script += "cat /proc/sys/kernel/random/boot_id && stat -c %d $f"
        boot, device = self._shell.run(script).decode().split()
        return boot, int(device)

    def missing_programs(self) -> list[str]:
        """Which programs that we need that host lacks. Raises Unavailable."""
        script = (
            "for p in cat chmod dirname find head ln ls mkdir rm rmdir sha256sum stat sync tail;"
            " do command -v $p > /dev/null || echo $p; done;"
            " find / -maxdepth 0 -printf '' 2> /dev/null || echo find -printf;"
            " sync / 2> /dev/null || echo sync FILE"
        )
        return self._shell.run(script).decode().splitlines()

    def _run(self, script: str, stdin: Path | None = None, *, makes: bool = False) -> bytes:
        with self._shell.running(self._proven(script, makes=makes), stdin) as running:
            output = running.read_all()
            self._finish(running)
            return output

    def _proven(self, script: str, *, makes: bool = False) -> str:
        """The script, after a look whether this is the expected folder."""
        enter = f"cd {self._root} 2> /dev/null || exit {_AWAY}"
        if self._expected is None:  # before the first start: the folder need not be there
            absent = f"mkdir -p {self._root}" if makes else f"exit {_ABSENT}"
            enter = f"[ -e {self._root} ] || {absent}; {enter}"
        return f"{enter}; {self._check()}{_FUNCTIONS}{script}"

    def _check(self) -> str:
        if self._expected is None:
            return f"[ ! -e {self._marker} ] || exit {_OTHER}; "
        expected = shlex.quote(self._expected)
        found = f"[ -e {self._marker} ] || exit {_UNMARKED}; "
        return f'{found}[ "$(cat {self._marker})" = {expected} ] || exit {_OTHER}; '

    def _finish(self, running: Running) -> None:
        try:
            running.finish()
        except Failed as failed:
            words = _AWAY_WORDS.get(failed.status)
            if words is None:
                raise
            where = f"{self._address.path} on {self._address.host}"
            raise Unavailable(f"{where} {words}") from None

    @contextlib.contextmanager
    def _missing(self, key: str) -> Iterator[None]:
        try:
            yield
        except Failed as failed:
            if _is_absent(failed) or (failed.status == _MISSING and self._is_nothing()):
                # Nothing is expected before the first start: then an empty folder proves nothing.
                raise Unavailable(f"{self.address} is empty: is its disk mounted?") from None
            if failed.status == _MISSING:
                raise Missing(f"{key} is not there") from None
            raise

    def _is_nothing(self) -> bool:
        return self._expected is None and self.is_empty()


def _path(key: str) -> str:
    return f"./{check_key(key)}"  # of signs that no shell treats specially


def _parent(key: str) -> str:
    return f"./{key}".rpartition("/")[0]


def _is_file(path: str) -> str:
    return f"[ -f {path} ] && [ ! -L {path} ] || exit {_MISSING}"


def _is_absent(trouble: Unavailable) -> bool:
    """Whether a store that expects nothing is not there at all."""
    return isinstance(trouble, Failed) and trouble.status == _ABSENT
