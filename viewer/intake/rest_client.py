"""The way to the provider's REST interface, where there is a key for it."""

from viewer.config import settings
from viewer.quo import rest


def is_configured() -> bool:
    return bool(settings().QUO_API_KEY.get_secret_value())


def new_client() -> rest.Client | None:
    """Ready to ask; None where no key is set. Raises rest.Refused for a key that cannot be one."""
    key = settings().QUO_API_KEY.get_secret_value()
    return rest.Client(key, settings().QUO_API_URL) if key else None
