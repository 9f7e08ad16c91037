"""Send browsers of staff to the object store, or a CDN before it, for bytes (MEDIA_REDIRECT).

The address that a browser is sent to is a key: whoever has it may read that file until it ends.
So only pictures and sounds that a page shows are fetched like that. What a script fetches (the pack
for offline, the reason of a failure), what is saved, and what might be a program comes from us,
with our headers; and so does all that a share shows.
"""

from typing import TYPE_CHECKING

from viewer import derive, holdings, storage
from viewer.config import settings
from viewer.models import MediaAttachment
from viewer.storage import StorageError

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIEnvironment

_SHOWN = ("image", "audio", "video")


def is_for_a_page(environ: "WSGIEnvironment") -> bool:
    """Whether the browser says that an element of a page shows or plays what it asks for."""
    return environ["REQUEST_METHOD"] == "GET" and environ.get("HTTP_SEC_FETCH_DEST") in _SHOWN


def redirection(
    media: MediaAttachment, key: str, mime_type: str, disposition: str, environ: "WSGIEnvironment"
) -> dict[str, str] | None:
    """The headers of an answer that leads elsewhere; None where the bytes are to come from us."""
    current = settings()
    if (
        not current.MEDIA_REDIRECT
        or not is_for_a_page(environ)
        or mime_type not in derive.INLINE_TYPES
    ):
        return None
    window = current.signed_window
    # A CDN is a cache that many share; it serves an address for so long after that ended.
    who = "public" if current.CDN_URL else "private"
    try:
        address = holdings.signed_address(
            media,
            key,
            {
                "response-content-type": mime_type,
                "response-content-disposition": disposition,
                "response-cache-control": f"{who}, max-age={window:.0f}, immutable",
            },
        )
    except StorageError:  # whoever opens it says what is the matter
        return None
    if address is None:
        return None
    if current.CDN_URL:
        address = f"{current.CDN_URL}/{address.split('/', 3)[3]}"
    # Another address is due after this window; this one is good for another window.
    kept = max(0, int(storage.seconds_left(window)) - 1)
    return {
        "Location": address,
        "Cache-Control": f"private, max-age={kept}",
        "Vary": "Cookie, Sec-Fetch-Dest",
    }
