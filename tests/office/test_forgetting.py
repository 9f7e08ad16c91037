"""A customer who is forgotten is gone from everywhere, and nobody else is touched."""

import logging
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
import time_machine

from tests.conftest import BOTH
from tests.support import customers, homes, object_stores
from tests.support.customers import Customer
from viewer.extensions import db, now
from viewer.models import Forgetting, User, WorkRecord
from viewer.office import accounts, forgetting
from viewer.office.forgetting import clearing
from viewer.upkeep import forget

State, Reason = Forgetting.State, Forgetting.Reason


@pytest.fixture
def settings(settings: dict[str, Any]) -> dict[str, Any]:
    return {**settings, **object_stores.SETTINGS, "FORGET_AFTER_DAYS": 7}


@pytest.fixture
def anna(app: Any) -> User:
    user = accounts.add("anna@crack.example", User.Role.OWNER, "Anna")
    db.session.commit()
    return user


@pytest.fixture
def meet(deliver: Any, work: Any, provider: Any, anna: User) -> Any:
    """Let a customer do everything that one can do."""

    def come(customer: Customer, number: int) -> Customer:
        for event in customer.events(provider, number):
            assert deliver(event).status_code == 204
        work()
        customers.do_business(customer, anna)
        work()
        return customer

    return come


@pytest.fixture
def dana() -> Customer:
    return Customer("+16175550177", "Zephyrine", "Quillfeather", "efflorescent", "CNzeph77")


@pytest.fixture
def rosa() -> Customer:
    return Customer("+16175550188", "Rosalind", "Okonkwo", "honeycombed", "CNrosa88")


def forget_now(number: str, by: User | None = None) -> Forgetting:
    """Ask, and let the time pass until it is over."""
    found = forgetting.ask(number, Reason.REQUEST, "as written on the phone", by)
    db.session.commit()
    run_until_done(found.id)
    return db.session.get_one(Forgetting, found.id, populate_existing=True)


def run_until_done(identity: Any) -> None:
    for after in (timedelta(days=7, seconds=1), timedelta(days=7, hours=1)):
        with time_machine.travel(now() + after, tick=False):
            forget.forget_due(at_once=True)
            forget.clear_own()
            forget.forget_due(at_once=True)
    db.session.rollback()


@BOTH
@pytest.mark.parametrize("store", ["folder", "s3"])
def test_nothing_is_left_of_who_is_forgotten_and_all_of_the_others(
    store, app, meet, dana, rosa, anna, request, monkeypatch, caplog
):
    caplog.set_level(logging.DEBUG, logger="viewer")
    if store == "s3":
        object_stores.sign_by_the_real_clock(monkeypatch)
        server = request.getfixturevalue("object_store")
        homes.live_in(server.address(server.new_bucket()))
    meet(rosa, 2)
    neighbours, files = customers.rows(), customers.stored()
    meet(dana, 3)
    customers.purge_second(dana)
    caplog.clear()
    before = customers.traces(dana)

    found = forget_now(dana.number, anna)

    assert found.state is State.DONE
    assert len({what for hits in before.values() for what in hits}) == len(customers.needles(dana))
    assert customers.traces(dana, log=caplog.text) == {}
    assert customers.stored() == files
    for table in ("duties", "user_sessions", "catch_up_marks", "forgettings"):
        neighbours.pop(table)
    after = customers.rows()
    changed = {
        (table, key)
        for table, known in neighbours.items()
        for key, row in known.items()
        if after[table].get(key) != row
    }
    assert changed == set()
    assert customers.traces(rosa)  # the search does find what is there
    [invoice] = db.session.scalars(
        sa.select(WorkRecord).filter_by(kind=WorkRecord.Kind.INVOICE, number="INV-0177")
    )
    assert (invoice.amount, invoice.title, invoice.notes) == (120000, "", "")


def test_the_settle_time_is_not_shorter_than_a_worker_needs():
    assert clearing.LOOK_AGAIN >= timedelta(minutes=30)
