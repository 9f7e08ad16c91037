from collections.abc import Callable

import pytest
from flask.testing import FlaskClient

from tests.support.api import api as api
from tests.support.api import user as user
from tests.support.pages import Page


@pytest.fixture
def page(client: FlaskClient) -> Callable[..., Page]:
    def get(address: str) -> Page:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        return Page(answer.text)

    return get
