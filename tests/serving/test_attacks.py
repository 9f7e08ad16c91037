"""`viewer web` under clients that hold what they can: deliveries and health checks go on."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from tests.payloads import signed
from tests.support import attacks, servers
from tests.support.webhooks import DOOR, SECRET, kept

pytestmark = pytest.mark.proof  # hundreds of connections to a real server

PATIENCE = 5  # seconds; what waits for an attacker waits longer


@pytest.fixture
def shared_file(app) -> str:
    with app.app_context():
        return attacks.share_large_file()


@pytest.fixture
def port(settings: dict[str, Any]) -> Iterator[int]:
    port = servers.free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "viewer", "web", "--port", str(port)],
        env=os.environ | {name: str(value) for name, value in settings.items()},
        stderr=subprocess.DEVNULL,
    )
    servers.wait_until(lambda: answers(port, "/login"))
    yield port
    server.terminate()
    server.wait(60)


def answers(port: int, path: str) -> bool:
    try:
        return bool(requests.get(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE).status_code)
    except requests.RequestException:
        return False


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param({"heads": 200}, id="slow requests"),
        pytest.param({"unread": 100}, id="unread downloads"),
        pytest.param({"heads": 100, "unread": 50, "floods": 2}, id="all at once"),
    ],
)
def test_deliveries_health_and_pages_are_answered_under(attack, port, shared_file, message, app):
    url = f"http://127.0.0.1:{port}"
    assert len(requests.get(url + shared_file, timeout=60).content) == attacks.LARGE
    with attacks.attacked(port, shared_file, **attack):
        said = []
        for _ in range(10):
            body, headers = signed(message().payload(), "standard", SECRET)
            answer = requests.post(url + DOOR, data=body, headers=headers, timeout=PATIENCE)
            said.append(answer.status_code)
        health = requests.get(f"{url}/healthz", timeout=PATIENCE).status_code
        page = requests.get(f"{url}/login", timeout=PATIENCE).status_code

    assert said == [204] * 10
    assert health in (200, 503)
    assert page == 200
    assert len(kept(app)) == 10
