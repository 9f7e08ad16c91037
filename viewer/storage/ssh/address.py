"""The address of a folder on another host, reached over ssh."""

import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import urlsplit

from viewer.storage.store import UnknownStore

# Nothing that ssh would take for an option, nor a shell for anything.
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PATH = re.compile(r"(/[A-Za-z0-9._+@,=-]+)+")


@dataclass(frozen=True, slots=True)
class SSHAddress:
    """`ssh://user@host:22/absolute/path`, taken apart."""

    host: str
    path: str
    user: str | None = None  # None, as for the port: what ssh's own configuration says
    port: int | None = None

    @classmethod
    def read(cls, url: str) -> Self:
        """Raises UnknownStore, which repeats nothing of the address: a password may be in it."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise UnknownStore("This is not an address such as ssh://user@host/path.") from None
        userinfo, _, name = parts.netloc.rpartition("@")
        host = name.partition(":")[0]
        path = parts.path.rstrip("/")
        for is_right, words in (
            (":" not in userinfo, "must not hold a password: ssh has keys"),
            (not userinfo or _USER.fullmatch(userinfo), "has a user that is no plain name"),
            (_HOST.fullmatch(host), "names no host"),
            (not (parts.query or parts.fragment), "must not contain ? or #"),
            (_PATH.fullmatch(path) and "/.." not in path, "names no plain, absolute path"),
        ):
            if not is_right:
                raise UnknownStore(f"The ssh: address {words}.")
        return cls(host, path, userinfo or None, port)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"ssh://{user}{self.host}{port}{self.path}"
