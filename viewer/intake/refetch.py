"""Download a file that was stored once again, so that its original can be repaired."""

import logging

from viewer.extensions import db
from viewer.intake import addresses, collect, fetch, rest_client
from viewer.models import MediaAttachment
from viewer.quo import rest
from viewer.storage import Part

log = logging.getLogger(__name__)


def fetch_again(media: MediaAttachment, part: Part) -> bool:
    """Fill the part from the provider, at a fresh address or the known one. Whether it did.

    The caller compares the checksum. Raises Unavailable for the part.
    """
    url = _fresh_address(media) or media.openphone_url
    if url is None:
        return False
    try:
        collect.fetch_file(url, media.role, part)
    except fetch.FetchError as trouble:
        log.info("media=%s cannot be downloaded again: %s", media.id, trouble.reason)
        return False
    return True


def _fresh_address(media: MediaAttachment) -> str | None:
    try:
        client = rest_client.new_client()
        if client is None:
            return None
        with client:
            found = addresses.find_again(media, client)
    except rest.RestError as trouble:
        log.info("media=%s has no fresh address: %s", media.id, trouble.reason)
        return None
    finally:
        db.session.commit()
    return found[0].url if found else None
