"""The REST client for the configured API key."""

from viewer.config import settings
from viewer.quo import rest


def is_configured() -> bool:
    return bool(settings().QUO_API_KEY.get_secret_value())


def new_client() -> rest.Client | None:
    """A client; None without QUO_API_KEY. Raises rest.Refused for an impossible key."""
    key = settings().QUO_API_KEY.get_secret_value()
    return rest.Client(key, settings().QUO_API_URL) if key else None
