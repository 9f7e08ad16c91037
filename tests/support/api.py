"""A program with a token of a user, such as a CRM."""

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask

from viewer.extensions import db
from viewer.models import ApiToken, User, fingerprint
from viewer.office import accounts

TOKEN = "a-token-of-the-crm"


@pytest.fixture
def user(app: Flask) -> User:
    """For whom the program acts."""
    user = accounts.add("crm@crack.example", User.Role.FIELD, "CRM")
    db.session.add(
        ApiToken(
            user_id=user.id, fingerprint=fingerprint(TOKEN), name="CRM", scopes=["read", "link"]
        )
    )
    db.session.commit()
    return user


@pytest.fixture
def api(user: User, app: Flask) -> Callable[..., Any]:
    """call(path, method="get", **what the client takes): the answer to a program with a token."""
    client = app.test_client()

    def call(path: str, method: str = "get", **words: Any) -> Any:
        headers = {"Authorization": f"Bearer {TOKEN}"} | words.pop("headers", {})
        return client.open(f"/api/v1{path}", method=method.upper(), headers=headers, **words)

    return call
