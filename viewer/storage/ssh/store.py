"""A store in a folder of another host, by its own programs over ssh: GNU's sh, find, ln, sync.

The promise is that of a folder: bytes are compared with their checksum and fsynced on that host
before they get a name, and a name is made by `ln`, which never replaces. Each script first looks
whether the folder has the expected marker.
"""

import contextlib
import hashlib
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path

from viewer.storage.child import Failed, Running
from viewer.storage.disk import in_words
from viewer.storage.keys import check_key, is_key
from viewer.storage.ssh import scripts
from viewer.storage.ssh.address import SSHAddress
from viewer.storage.ssh.reading import SSHFile
from viewer.storage.ssh.shell import CALL, SLOWEST, Shell
from viewer.storage.store import MARKER, Missing, Occupied, Stat, Unavailable

_CHUNK = 1024 * 1024  # bytes
_LISTING = 3600.0  # seconds for a list of all files


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
            found = self._shell.run(f"[ -e {marker} ] || exit {scripts.MISSING}; cat {marker}")
        except Failed as failed:
            if failed.status == scripts.MISSING:
                return None
            raise
        return found.decode(errors="replace").strip()

    def is_empty(self) -> bool:
        # All but what a mark() left that died.
        others = f"-mindepth 1 -maxdepth 1 ! -name {self._marker}.new -print -quit"
        return not self._shell.run(f"[ ! -d {self._root} ] || find {self._root} {others}").strip()

    def mark(self, identity: str) -> None:
        self._shell.run(scripts.mark(self._root, self._marker, identity))

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
            mode = part.stat().st_mode & 0o777
        script = scripts.place(key, sha256, mode)
        try:
            self._run(script, part, makes=True)
        except Failed as failed:
            if failed.status == scripts.OCCUPIED:
                raise Occupied(f"{key} exists already") from None
            if failed.status == scripts.DAMAGED:
                raise Unavailable("The bytes were damaged on their way.") from None
            raise

    def settle(self, key: str) -> None:
        check_key(key)
        parents = [f"./{'/'.join(key.split('/')[:depth])}" for depth in range(key.count("/") + 1)]
        self._run(f"sync {' '.join(parents)}")

    def open(self, key: str, start: int = 0, length: int | None = None) -> SSHFile:
        path = scripts.path_of(key)
        script = f"{scripts.is_file(path)}; stat -c %s {path} || exit 1; "
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
        path = scripts.path_of(key)
        with self._missing(key):
            return Stat(int(self._run(f"{scripts.is_file(path)}; stat -c %s {path}")))

    def sha256(self, key: str) -> str:
        """The SHA-256, computed over there. Raises Missing, Unavailable."""
        path = scripts.path_of(key)
        with self._missing(key):
            return self._run(f"{scripts.is_file(path)}; sha256sum < {path}")[:64].decode()

    def keys(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        folder = prefix.rpartition("/")[0]
        start = scripts.path_of(folder) if folder else "."
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
        script = scripts.move(key, to)
        try:
            with self._missing(key):
                self._run(script)
        except Failed as failed:
            if failed.status == scripts.OCCUPIED:
                raise Occupied(f"{to} exists already") from None
            raise

    def remove(self, key: str) -> None:
        try:
            self._run(f"rm -f {scripts.path_of(key)}")
        except Failed as failed:
            if not _is_absent(failed):
                raise

    def erase(self, key: str) -> bool:
        self.remove(key)
        return True

    def local_path(self, key: str) -> None:
        check_key(key)

    def handoff(self, key: str) -> str | None:
        check_key(key)
        return None

    def signed_address(self, key: str, overrides: Mapping[str, str]) -> str | None:
        check_key(key)
        return None

    def glance(self, key: str) -> int | None:
        return self.stat(key).size

    # --- Beyond a store --------------------------------------------------------------------

    def tidy(self) -> None:
        """Remove the parts that dead writers left. Raises Unavailable."""
        self._run(f"[ ! -d ./{scripts.INCOMING} ] || find ./{scripts.INCOMING} -type f -delete")

    def forget_empty_folders(self, prefix: str) -> None:
        """Remove this folder, and those in it, if they are empty. Raises Unavailable."""
        folder = scripts.path_of(prefix.rstrip("/"))
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
        enter = f"cd {self._root} 2> /dev/null || exit {scripts.AWAY}"
        if self._expected is None:  # before the first start: the folder need not be there
            absent = f"mkdir -p {self._root}" if makes else f"exit {scripts.ABSENT}"
            enter = f"[ -e {self._root} ] || {absent}; {enter}"
        return f"{enter}; {self._check()}{scripts.FUNCTIONS}{script}"

    def _check(self) -> str:
        if self._expected is None:
            return f"[ ! -e {self._marker} ] || exit {scripts.OTHER}; "
        expected = shlex.quote(self._expected)
        found = f"[ -e {self._marker} ] || exit {scripts.UNMARKED}; "
        return f'{found}[ "$(cat {self._marker})" = {expected} ] || exit {scripts.OTHER}; '

    def _finish(self, running: Running) -> None:
        try:
            running.finish()
        except Failed as failed:
            words = scripts.AWAY_WORDS.get(failed.status)
            if words is None:
                raise
            where = f"{self._address.path} on {self._address.host}"
            raise Unavailable(f"{where} {words}") from None

    @contextlib.contextmanager
    def _missing(self, key: str) -> Iterator[None]:
        try:
            yield
        except Failed as failed:
            if _is_absent(failed) or (failed.status == scripts.MISSING and self._is_nothing()):
                # Nothing is expected before the first start: then an empty folder proves nothing.
                raise Unavailable(f"{self.address} is empty: is its disk mounted?") from None
            if failed.status == scripts.MISSING:
                raise Missing(f"{key} is not there") from None
            raise

    def _is_nothing(self) -> bool:
        return self._expected is None and self.is_empty()


def _is_absent(trouble: Unavailable) -> bool:
    """Whether a store that expects nothing is not there at all."""
    return isinstance(trouble, Failed) and trouble.status == scripts.ABSENT
