"""A store in a bucket of S3, or of a service that speaks its language.

What S3 confirms is durable. A name is made by a conditional request, which never replaces; the
server compares the bytes with our checksum before it answers.
"""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from viewer.failpoint import failpoint
from viewer.storage.checksums import checksum
from viewer.storage.disk import in_words
from viewer.storage.keys import check_key, is_key, is_probe
from viewer.storage.s3 import upload
from viewer.storage.s3.address import Credentials, S3Address
from viewer.storage.s3.client import DEFAULT_LIMITS, Limits, Refused, Server
from viewer.storage.s3.reading import S3File
from viewer.storage.s3.sizes import Sizes
from viewer.storage.store import MARKER, Missing, Occupied, Stat, Unavailable, must_be_here

_PROOF_LASTS = 30.0  # seconds in which the marker is not read again
_NEXT_UPLOADS = ("NextKeyMarker", "NextUploadIdMarker")
_PAGE = 1000  # names in an answer, the most that S3 gives


class S3:
    """Keys are the names of objects, below a prefix."""

    def __init__(
        self,
        address: S3Address,
        credentials: Credentials | None = None,
        limits: Limits = DEFAULT_LIMITS,
        marker: str = MARKER,
        internal_location: str = "",
        window: float = 24 * 3600,
    ) -> None:
        """`internal_location`: where the reverse proxy asks the server by itself, if it does.

        `window`: for which a signed address stays the same, in seconds.
        """
        self._address = address
        self._internal_location = internal_location.rstrip("/")
        self._window = window
        self._sizes = Sizes()
        self._root = f"{address.prefix}/" if address.prefix else ""
        self._marker = self._root + marker  # the name of the object that holds its identity
        self._server = Server(address, credentials, limits)
        self._expected: str | None = None
        self._proven_at: float | None = None

    @property
    def address(self) -> str:
        return str(self._address)

    # --- Whose it is -----------------------------------------------------------------------

    def identity(self) -> str | None:
        try:
            # Not HEAD, whose answer is the same whether the key or the whole bucket is missing.
            with S3File(self._server, self._marker, 0, 200) as marker:
                return marker.read().decode(errors="replace").strip()
        except Refused as refused:
            if refused.is_missing:
                return None
            raise

    def is_empty(self) -> bool:
        # A probe that was killed leaves its object: that must not keep the next one out.
        found = self._list(self._root).get("Contents", [])
        return all(is_probe(one["Key"].removeprefix(self._root)) for one in found)

    def mark(self, identity: str) -> None:
        try:
            upload.put_bytes(self._server, self._marker, identity.encode())
        except Refused as refused:
            # After a retry it may be ours.
            if not (refused.status == 412 and refused.is_retry and self.identity() == identity):
                raise
        self._proven_at = None

    def expect(self, identity: str) -> None:
        self._expected = identity
        self._proven_at = None

    def why_away(self) -> str | None:
        if self._proven_at is not None and time.monotonic() - self._proven_at < _PROOF_LASTS:
            return None
        return self._read_marker()

    def is_away(self) -> bool:
        return self.why_away() is not None

    def _read_marker(self) -> str | None:
        """Why this is not the expected store, as of now."""
        self._proven_at = None
        try:
            found = self.identity()
        except Unavailable as trouble:
            return str(trouble)
        if found == self._expected:
            self._proven_at = time.monotonic()
            return None
        if found is None:
            return "The bucket for photos has no marker: is it the right one?"
        return "The bucket for photos belongs to another database."

    def _prove(self) -> None:
        """Raises Unavailable unless the marker says now that this is the expected store."""
        if reason := self._read_marker():
            raise Unavailable(reason)

    # --- Files -----------------------------------------------------------------------------

    def place(self, key: str, part: Path) -> None:
        name = self._name(key)
        must_be_here(self)
        upload.put(self._server, name, upload.Upload.of(part))
        failpoint("storage.placed")

    def settle(self, key: str) -> None:
        check_key(key)  # what has a name is durable

    def open(self, key: str, start: int = 0, length: int | None = None) -> S3File:
        name = self._name(key)
        must_be_here(self)
        with self._proven(key):
            return S3File(self._server, name, start, length)

    def stat(self, key: str) -> Stat:
        name = self._name(key)
        must_be_here(self)
        with self._proven(key):
            found = self._server.call("head_object", Key=name, ChecksumMode="ENABLED")
        computed = upload.computed_checksum(found)
        return Stat(found["ContentLength"], computed and upload.in_hexadecimal(computed))

    def keys(self, prefix: str = "") -> Iterator[tuple[str, int]]:
        folder = prefix.rpartition("/")[0]
        if folder:
            check_key(folder)
        must_be_here(self)
        more: dict[str, Any] = {}
        while True:
            page = self._list(self._root + prefix, MaxKeys=_PAGE, **more)
            for found in page.get("Contents", []):
                key = found["Key"].removeprefix(self._root)
                if is_key(key):  # not the marker, nor what somebody else put there
                    yield key, found["Size"]
            if not page.get("IsTruncated"):
                break
            more = {"ContinuationToken": page["NextContinuationToken"]}
        self._prove()  # else half a list would look like a whole one

    def move(self, key: str, to: str) -> None:
        source, target = self._name(key), self._name(to)
        must_be_here(self)
        try:
            copied = self._copy(key, target)
        except Missing:
            self.stat(to)  # an earlier run may have removed the source
            return
        failpoint("storage.moving")
        if checksum(self.open(to)).sha256 != copied:
            raise Occupied(f"{to} exists already")
        self._server.call("delete_object", Key=source)

    def remove(self, key: str) -> None:
        name = self._name(key)
        must_be_here(self)
        self._server.call("delete_object", Key=name)

    def erase(self, key: str) -> bool:
        name = self._name(key)
        must_be_here(self)
        try:
            self._delete_versions(name)
        except Refused as refused:
            # This key may see no versions, or not delete them, or the service knows none.
            if refused.status not in (400, 403, 405, 501):
                raise
            self._server.call("delete_object", Key=name)
            return refused.status in (405, 501)
        return True

    def _delete_versions(self, name: str) -> None:
        more: dict[str, Any] = {}
        while True:
            page = self._server.call("list_object_versions", Prefix=name, **more)
            for one in (*page.get("Versions", ()), *page.get("DeleteMarkers", ())):
                if one["Key"] == name:
                    self._server.call("delete_object", Key=name, VersionId=one["VersionId"])
            if not page.get("IsTruncated"):
                return
            more = {
                given.removeprefix("Next"): page[given]
                for given in ("NextKeyMarker", "NextVersionIdMarker")
                if given in page
            }

    def local_path(self, key: str) -> None:
        check_key(key)

    def handoff(self, key: str) -> str | None:
        name = self._name(key)
        if not self._internal_location:
            return None
        parts = urlsplit(self._server.signer().sign(name, self._window))
        return f"{self._internal_location}{parts.path}?{parts.query}"

    def signed_address(self, key: str, overrides: Mapping[str, str]) -> str:
        return self._server.signer().sign(self._name(key), self._window, overrides)

    def glance(self, key: str) -> int | None:
        return self._sizes.of(key, self._stat_soon)

    def _stat_soon(self, key: str) -> int:
        with self._server.in_haste():
            return self.stat(key).size

    def tidy(self, older_than: float) -> int:
        """Abort uploads in parts that dead writers began so many seconds ago. How many there were.

        Raises Unavailable.
        """
        must_be_here(self)
        aborted = 0
        more: dict[str, Any] = {}
        while True:
            page = self._server.call("list_multipart_uploads", Prefix=self._root, **more)
            for found in page.get("Uploads", []):
                if found["Initiated"].timestamp() > time.time() - older_than:
                    continue
                with contextlib.suppress(Refused):  # completed or aborted meanwhile
                    self._server.call(
                        "abort_multipart_upload", Key=found["Key"], UploadId=found["UploadId"]
                    )
                    aborted += 1
            if not page.get("IsTruncated"):
                return aborted
            more = {name.removeprefix("Next"): page[name] for name in _NEXT_UPLOADS if name in page}

    def refuses_wrong_checksum(self, key: str) -> bool:
        """Whether it keeps nothing under this key when the bytes are not those of the checksum.

        Raises Unavailable.
        """
        try:
            upload.put_bytes(self._server, self._name(key), b"some", sha256=bytes(32))
        except Refused as refused:
            if refused.status == 400:
                return True
            raise
        return False

    def _copy(self, key: str, target: str) -> str:
        """Give what lies under key a second name; its SHA-256. Raises Missing, Unavailable.

        The bytes pass through here. CopyObject would spare that, but not everywhere can it be told
        to replace nothing: Cloudflare R2 knows `If-None-Match` for a new object, not for a copy.
        """
        with tempfile.TemporaryDirectory(prefix="viewer-") as folder:
            copy = Path(folder) / "copy"
            with self.open(key) as original, in_words(), copy.open("xb") as file:
                shutil.copyfileobj(original, file)
            whole = upload.Upload.of(copy)
            with contextlib.suppress(Occupied):  # perhaps by an earlier run: the caller compares
                upload.put(self._server, target, whole)
        return whole.sha256.hex()

    def _list(self, prefix: str, **parameters: Any) -> dict[str, Any]:
        return self._server.call("list_objects_v2", Prefix=prefix, **parameters)

    def _name(self, key: str) -> str:
        return self._root + check_key(key)

    @contextlib.contextmanager
    def _proven(self, key: str) -> Iterator[None]:
        """A file is not lost only because its bucket is another: the marker is read again."""
        try:
            yield
        except Refused as refused:
            if refused.status != 404:
                raise
            self._prove()
            # Nothing is expected before the first start: then an empty bucket proves nothing.
            if self._expected is None and self.is_empty():
                raise Unavailable("The bucket for photos is empty: is it the right one?") from None
            raise Missing(f"{key} is not there") from None
