"""An owner, somebody of the office, and browsers to come with."""

from collections.abc import Callable, Iterator
from typing import Any

import argon2
import pytest
import time_machine
from flask import Flask

from tests.support.visitors import OWNER, PASSWORD, START, Visitor
from viewer.extensions import db
from viewer.models import User
from viewer.office import accounts


@pytest.fixture(scope="module")
def hashed() -> str:
    """Of PASSWORD, as years ago, when less work was enough: comparing with it takes no time."""
    return argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)


@pytest.fixture
def owner(app: Flask, hashed: str) -> User:
    user = accounts.add(OWNER, User.Role.OWNER, "Olivia", hashed)
    db.session.commit()
    return user


@pytest.fixture
def office(app: Flask, hashed: str) -> User:
    user = accounts.add("omar@crack.example", User.Role.OFFICE, "Omar", hashed)
    db.session.commit()
    return user


@pytest.fixture
def visitor(app: Flask) -> Callable[..., Visitor]:
    def come(address: str = "203.0.113.1", **words: Any) -> Visitor:
        return Visitor(app.test_client(), address, **words)

    return come


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(START, tick=False) as traveller:
        yield traveller
