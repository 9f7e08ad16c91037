"""An outage is one line as it begins and one as it ends, in each process; never a traceback."""

import time
from collections.abc import Callable
from typing import Any

import requests

from tests.payloads import signed
from tests.support import servers, staff
from tests.support.hosts import Up
from tests.support.pictures import picture
from tests.support.servers import wait_until
from tests.support.webhooks import SECRET

PATHS = ("/", "/photos", "/work", "/status", "/healthz", "/login", "/search?q=crack")
ROUNDS = 6
AWAY, BACK = "The database does not answer: ", "The database answers again, after "


def ask_for_everything(host: Up, message: Callable[..., Any]) -> list[int]:
    """As browsers and the provider go on during an outage."""
    statuses = []
    for _ in range(ROUNDS):
        statuses += [host.browser().get(host.url + path, timeout=30).status_code for path in PATHS]
        body, headers = signed(message().payload(), "standard", SECRET)
        answer = requests.post(f"{host.url}/webhooks/quo", data=body, headers=headers, timeout=30)
        statuses.append(answer.status_code)
        time.sleep(1)
    return statuses


def lines(host: Up, begin: int) -> list[str]:
    return (host.data_dir / "log").read_text()[begin:].splitlines()


def count(words: str, said: list[str]) -> int:
    return sum(words in line for line in said)


def test_a_restart_of_postgresql_is_two_lines_a_process(up, provider, message):
    with servers.running_postgres() as server:
        host = up(DATABASE_URL=server.url(server.create()))
        photo = message(media=[provider.serve(picture(), content_type="image/jpeg")])
        provider.deliver(f"{host.url}/webhooks/quo", photo.payload(), secret=SECRET)
        staff.hire(host.environment, host.data_dir)
        host._browser = staff.enter(host.url)
        begin = len((host.data_dir / "log").read_text())

        server.stop()
        statuses = ask_for_everything(host, message)
        log = str(server.folder / "log")
        server._run("pg_ctl", "-D", str(server.data), "-w", "-l", log, "restart")

        def is_over() -> bool:
            """In each process; a web process says so when it is asked."""
            requests.get(f"{host.url}/healthz", timeout=30)
            said = lines(host, begin)
            return count(AWAY, said) == count(BACK, said)

        wait_until(is_over, 60)
        said = lines(host, begin)

    assert set(statuses) == {503}
    assert not [line for line in said if "Traceback" in line]
    # At most: two web processes, two workers, the scheduler.
    assert 2 <= count(AWAY, said) <= 5, said
    assert len(said) <= 20, "\n".join(said)
