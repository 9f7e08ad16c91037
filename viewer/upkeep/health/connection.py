"""Alarms of a connection that was never finished: as it is, nothing can come.

Until the first delivery all of it is set-up: attention, so that a monitor of a new installation
does not page at night. What worked once and cannot work any more is broken.
"""

from collections.abc import Iterable
from datetime import datetime
from urllib.parse import urlsplit

from viewer.config import settings
from viewer.intake import rest_client, subscription
from viewer.loopback import is_private
from viewer.upkeep.health.figures import Alarm, Health, Level

_DOCS = "docs/operations.md, “Connect a Quo workspace”"


def level(found: Health) -> Level:
    """The level of whatever keeps all deliveries away."""
    return Level.ATTENTION if found.last_event is None else Level.BROKEN


def secret_missing(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if not settings().webhook_secrets:
        yield Alarm(
            "setup_secret",
            level(found),
            "No signing secret is set: every delivery of the phone provider is refused.",
            "In Quo, open Settings → Webhooks and choose “Reveal signing secret” for each webhook"
            " (one made over the API showed its secret once, as “key”). Put all of them into"
            f" QUO_WEBHOOK_SECRETS, comma-separated, and restart. See {_DOCS}.",
        )


def address_not_public(found: Health, _moment: datetime) -> Iterable[Alarm]:
    """Whether anybody outside could reach the address that we know of.

    Without PUBLIC_URL a delivery that came proves one. What is set is judged also then: links for
    customers are made of it.
    """
    address = urlsplit(settings().PUBLIC_URL)
    if not address.hostname:
        if found.last_event is not None:
            return
        words = "No public address is set: nobody knows whether the phone provider can reach this."
    elif is_private(address.hostname):
        words = (
            "The public address leads to this machine or network alone: neither the phone provider"
            " nor a customer can reach it."
        )
    elif address.scheme != "https":
        words = (
            "The public address begins with http://: what customers send and see would travel"
            " unencrypted."
        )
    else:
        return
    yield Alarm(
        "setup_address",
        Level.ATTENTION,
        words,
        "Give the viewer an address of its own with https:// (a reverse proxy with a certificate,"
        " or a tunnel for a trial), put it into PUBLIC_URL, such as https://photos.example, and"
        f" restart. See {_DOCS}, step 1.",
    )


def never_delivered(found: Health, _moment: datetime) -> Iterable[Alarm]:
    if found.last_event is None:
        where = settings().PUBLIC_URL or "https://YOUR-HOST"
        yield Alarm(
            "setup_delivery",
            Level.ATTENTION,
            "No delivery has ever come from the phone provider.",
            "In Quo, open Settings → Webhooks, add one for messages and one for calls, both to"
            f" {where}{subscription.WEBHOOK_PATH}, and text a photo to your line. See {_DOCS}.",
        )


def api_key_missing(_found: Health, _moment: datetime) -> Iterable[Alarm]:
    # Attention at all times: what is delivered is kept all the same.
    if not rest_client.is_configured():
        yield Alarm(
            "setup_api_key",
            Level.ATTENTION,
            "No API key is set: what a lost delivery announced is never asked for, and nobody"
            " checks whether the phone provider would deliver.",
            "In Quo, open Workspace settings → API, make a key as owner or admin, put it into"
            f" QUO_API_KEY, and restart. See {_DOCS}.",
        )
