"""Addresses that open one object to whoever has them, for a while (SigV4 in the query).

botocore dates a signature with the present second, so no browser and no cache meets such an address
twice. Ours is dated with the start of a window of time: it stays the same to the window's end, and
opens the object to the end of the next one, so that one given out at the edge is still good.
"""

import hashlib
import hmac
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlsplit

LONGEST = 7 * 24 * 3600  # seconds that S3 lets an address be good for
_SERVICE = "s3/aws4_request"


@dataclass(frozen=True, slots=True)
class Signer:
    """What is signed with, and for which server and region."""

    base: str  # the bucket's address, ending with a slash
    region: str
    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)
    session_token: str | None = field(default=None, repr=False)  # of credentials that end

    def sign(self, name: str, window: float, overrides: Mapping[str, str] | None = None) -> str:
        """The address of this object; `window` in seconds.

        `overrides`: what S3 is to say in place of what it knows, such as `response-content-type`.
        """
        parts = urlsplit(self.base + quote(name))
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(time.time() // window * window))
        scope = f"{stamp[:8]}/{self.region}/{_SERVICE}"
        asked = {
            "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
            "X-Amz-Credential": f"{self.access_key_id}/{scope}",
            "X-Amz-Date": stamp,
            "X-Amz-Expires": str(min(int(2 * window), LONGEST)),
            "X-Amz-SignedHeaders": "host",
            **(overrides or {}),
        }
        if self.session_token:
            asked["X-Amz-Security-Token"] = self.session_token
        query = "&".join(
            f"{quote(key, '')}={quote(value, '')}" for key, value in sorted(asked.items())
        )
        request = f"GET\n{parts.path}\n{query}\nhost:{parts.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
        digest = hashlib.sha256(request.encode()).hexdigest()
        key = f"AWS4{self.secret_access_key}".encode()
        for step in scope.split("/"):
            key = hmac.digest(key, step.encode(), "sha256")
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{digest}"
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        return f"{self.base}{quote(name)}?{query}&X-Amz-Signature={signature}"


def seconds_left(window: float) -> float:
    """Until the present window ends."""
    return window - time.time() % window
