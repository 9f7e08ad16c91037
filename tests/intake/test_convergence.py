"""Whatever order deliveries arrive in, and however often, the rows end the same."""

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, strategies
from hypothesis import settings as hypothesis_settings

from tests.conftest import BOTH
from tests.support.business_day import OURS, RECEIVED, STORY, rows
from viewer.extensions import db
from viewer.intake import ingest
from viewer.models import WebhookEvent


def tell(order: list[int]) -> None:
    """Let these deliveries of the story arrive, each as a delivery of its own."""
    for turn, number in enumerate(order):
        event, _ = WebhookEvent.record(
            f"test-{turn}", "standard", json.dumps(STORY[number]).encode()
        )
        event.received_at = RECEIVED
        db.session.flush()
        ingest.ingest(event.id)
        assert event.state is WebhookEvent.State.PROCESSED, event.problem


def after(order: list[int]) -> dict[str, list[Any]]:
    """The rows after this order of arrival; the database is empty again afterwards."""
    try:
        tell(order)
        return rows()
    finally:
        db.session.rollback()
        db.session.expunge_all()


EVERYTHING = list(range(len(STORY)))
ORDERS = strategies.tuples(
    strategies.permutations(EVERYTHING),
    strategies.lists(strategies.sampled_from(EVERYTHING), max_size=6),
    strategies.randoms(use_true_random=False),
)


@pytest.mark.proof
@BOTH
@pytest.mark.parametrize("our_number", ["told", "learnt"])
def test_every_order_of_arrival_ends_in_the_same_rows(settings, request, database, our_number):
    settings["QUO_NUMBERS"] = OURS if our_number == "told" else ""
    request.getfixturevalue("app")
    expected = after(EVERYTHING)

    @hypothesis_settings(
        max_examples=20 if database == "sqlite" else 5,
        phases=[Phase.generate],  # to shrink thirty deliveries would take minutes
        deadline=None,  # how fast this machine is proves nothing
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(ORDERS)
    def every_order(arrival):
        order, again, chance = arrival
        for number in again:  # some arrive twice, much later or much earlier
            order.insert(chance.randrange(len(order) + 1), number)

        assert after(order) == expected

    every_order()
