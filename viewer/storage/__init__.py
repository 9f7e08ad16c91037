"""Where bytes live. Knows no rows: the caller chooses keys, the same for a file in every store.

StorageError
  Missing       there is nothing under this key
  Occupied      there is something under this key already; nothing is ever replaced
  Unavailable   the store cannot take or give bytes now (full, read-only, gone); try again later
  UnknownStore  the address names no store that this version can use
  UnsafeStore   the service would overwrite or damage files
"""

import re
from pathlib import Path
from urllib.parse import quote

from viewer.storage.checksums import Checksum, checksum
from viewer.storage.disk import fsync_file, fsync_folder
from viewer.storage.folder import Folder
from viewer.storage.probe import probe
from viewer.storage.s3.address import Credentials, S3Address
from viewer.storage.s3.signing import seconds_left
from viewer.storage.ssh.address import SSHAddress
from viewer.storage.ssh.store import SSH
from viewer.storage.store import (
    MARKER,
    Missing,
    Occupied,
    Opened,
    Stat,
    StorageError,
    Store,
    Unavailable,
    UnknownStore,
    UnsafeStore,
)
from viewer.storage.workspace import Part, Spool, Workspace, decoder_workspace, make_durable

__all__ = [
    "SSH",
    "Checksum",
    "Credentials",
    "Missing",
    "Occupied",
    "Opened",
    "Part",
    "S3Address",
    "SSHAddress",
    "Spool",
    "Stat",
    "StorageError",
    "Store",
    "Unavailable",
    "UnknownStore",
    "UnsafeStore",
    "Workspace",
    "checksum",
    "decoder_workspace",
    "file_url",
    "from_url",
    "fsync_file",
    "fsync_folder",
    "make_durable",
    "normalise",
    "probe",
    "seconds_left",
]


def from_url(
    url: str,
    internal_location: str = "",
    credentials: Credentials | None = None,
    marker: str = MARKER,
    window: float = 24 * 3600,
) -> Store:
    """The store at an address: `folder:/srv/photos`, `s3://bucket/prefix?endpoint=…&region=…`.

    `internal_location`: where the reverse proxy serves its files by itself, if it does.
    `credentials`: for S3; without them boto3 looks where AWS's own tools look.
    `marker`: the name of the file that holds its identity. `window`: for which a signed address of
    S3 stays the same, in seconds. Raises UnknownStore.
    """
    scheme, separator, place = url.partition(":")
    if not separator:
        raise UnknownStore("A store's address begins with folder: or s3:")
    if scheme == "s3":
        return _s3(S3Address.read(url), credentials, marker, internal_location, window)
    if scheme != "folder":
        raise UnknownStore(f"This version keeps files in folder: or s3:, not in {scheme}:")
    path = Path(place)
    if not path.is_absolute():
        raise UnknownStore(f"{url} names no absolute path.")
    return Folder(path, internal_location, marker)


def normalise(url: str) -> str:
    """The address in the one form in which it is compared; a bare path is a folder's.

    `restic:` names a repository, which is a target for backups, but no store. Raises UnknownStore.
    """
    if url.startswith("/"):
        url = f"folder:{url}"
    scheme, _, place = url.partition(":")
    if scheme == "s3":
        return str(S3Address.read(url))
    if scheme == "ssh":
        return str(SSHAddress.read(url))
    if scheme == "restic":
        if not place or re.search(r"://[^/@]*:[^/@]*@|[\s,]", place):
            raise UnknownStore("A restic: address names a repository, without a password.")
        return url
    if scheme != "folder":
        raise UnknownStore(
            f"This version backs up to folder:, s3:, ssh: and restic:, not to {scheme}:"
        )
    if not Path(place).is_absolute():
        raise UnknownStore(f"{url} names no absolute path.")
    return f"folder:{Path(place)}"


def file_url(store: str, key: str, host: str | None = None) -> str:
    """The address of one file, as other programs take it: file:///srv/photos/…, s3://bucket/….

    `store`: the store's own address. `host`: of a folder that another host has.
    """
    url = normalise(store)
    if url.startswith("s3:"):
        place = S3Address.read(url)
        return f"s3://{'/'.join(filter(None, (place.bucket, place.prefix, key)))}"
    path = f"{url.removeprefix('folder:')}/{key}"
    return f"file://{host or ''}{quote(path)}"


def _s3(
    address: S3Address,
    credentials: Credentials | None,
    marker: str,
    internal_location: str,
    window: float,
) -> Store:
    try:
        # Here, because most installations have no use for boto3, nor for its 100 ms at each start.
        from viewer.storage.s3.store import S3
    except ModuleNotFoundError as error:
        raise UnknownStore(f"For s3: the extra s3 must be installed ({error.name}).") from error
    return S3(
        address,
        credentials,
        marker=marker,
        internal_location=internal_location,
        window=window,
    )
