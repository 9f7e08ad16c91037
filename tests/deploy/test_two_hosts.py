"""deploy/two-hosts/: a dead host costs one attempt, and no form is sent twice."""

import configparser
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from click.testing import CliRunner

from tests.deploy.conftest import DEPLOY, HOST, program
from tests.support.servers import free_port, wait_until
from tests.support.sites import replaced
from viewer.commands import viewer

FOLDER = DEPLOY / "two-hosts"
HOSTS: dict[str, Any] = yaml.safe_load((FOLDER / "host.yaml").read_text())
SHARED: dict[str, Any] = yaml.safe_load((FOLDER / "shared.yaml").read_text())


@pytest.mark.parametrize("name", sorted(HOSTS["services"]))
def test_each_part_of_a_host_is_a_command_of_ours_under_the_hosts_own_name(name):
    part = HOSTS["services"][name]
    ours, *words = part["command"]

    said = CliRunner().invoke(viewer, [*words, "--help"])

    assert (ours, said.exit_code) == ("viewer", 0)
    assert part["hostname"].startswith("${HOST_NAME:?")
    assert part["volumes"] == ["data:/data"]
    assert (part["read_only"], part["cap_drop"]) == (True, ["ALL"])


def test_every_part_runs_on_every_host_and_what_is_shared_on_none():
    commands = {tuple(one["command"][1:3]) for one in HOSTS["services"].values()}

    assert {words[0] for words in commands} == {"web", "work", "schedule"}
    assert {"intake", "copies"} <= {words[1] for words in commands if len(words) > 1}
    assert set(SHARED["services"]) == {"postgres", "valkey"}
    for service in (*HOSTS["services"].values(), *SHARED["services"].values()):
        for port in service.get("ports", []):
            assert port.startswith("${LISTEN:?")  # never on every address of the machine


def test_the_example_of_pgbackrest_is_one_file_of_options():
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(DEPLOY / "pgbackrest" / "pgbackrest.conf")

    assert parser.sections() == ["global", "viewer"]
    assert parser["global"]["repo1-cipher-type"] == "aes-256-cbc"
    assert parser["viewer"]["pg1-path"]


# --- The balancer --------------------------------------------------------------------------


@dataclass
class Stub:
    """A host that answers as it is told, and notes what it was asked."""

    port: int
    answer: int | None = 200  # None: it hangs up in the middle
    asked: list[str] = field(default_factory=list)

    def handler(self) -> type[BaseHTTPRequestHandler]:
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                stub.asked.append(f"{self.command} {self.path}")
                if stub.answer is None:
                    self.close_connection = True
                    return
                self.send_response(stub.answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_words: Any) -> None:
                """Nobody reads it."""

        return Handler


@pytest.fixture
def hosts() -> Iterator[list[Stub]]:
    stubs, servers = [Stub(free_port()), Stub(free_port())], []
    for stub in stubs:
        server = ThreadingHTTPServer(("127.0.0.1", stub.port), stub.handler())
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
    yield stubs
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def balancer(
    hosts: list[Stub], start: Callable[..., Any], certificate: Path, tmp_path: Path
) -> str:
    folder, secure = tmp_path / "nginx", free_port()
    folder.mkdir()
    (folder / "site.conf").write_text(
        replaced(
            (FOLDER / "balancer.conf").read_text(),
            ("server 10.0.0.11:8000", f"server 127.0.0.1:{hosts[0].port}"),
            ("server 10.0.0.12:8000", f"server 127.0.0.1:{hosts[1].port}"),
            ("listen 80;", f"listen 127.0.0.1:{free_port()};"),
            ("listen [::]:80;", f"listen 127.0.0.1:{free_port()};"),
            ("listen 443 ", f"listen 127.0.0.1:{secure} "),
            ("listen [::]:443 ", f"listen 127.0.0.1:{free_port()} "),
            ("/etc/letsencrypt/live/viewer.example.com", str(certificate)),
            ("viewer.example.com", HOST),
        )
    )
    (folder / "nginx.conf").write_text(
        f"daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;"
        "events { worker_connections 64; } http { access_log off;"
        f" client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path"
        f" {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;"
        f" include {folder}/site.conf; }}"
    )
    command = [program("nginx"), "-c", str(folder / "nginx.conf"), "-p", str(folder)]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr
    start(*command)
    url = f"https://{HOST}:{secure}"
    wait_until(lambda: _answers(url))
    for host in hosts:
        host.asked.clear()
    return url


def _answers(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=5).ok
    except requests.RequestException:
        return False


@pytest.mark.proof
def test_a_host_that_hangs_up_is_passed_over_for_pages_and_deliveries(balancer, hosts):
    hosts[0].answer = None

    pages = [requests.get(f"{balancer}/", timeout=9).status_code for _ in range(6)]
    sent = [
        requests.post(f"{balancer}/webhooks/quo", data=b"{}", timeout=9).status_code
        for _ in range(6)
    ]

    assert pages == sent == [200] * 6
    assert hosts[0].asked  # it was tried, and then left out


@pytest.mark.proof
def test_a_delivery_is_sent_again_and_a_form_is_not(balancer, hosts):
    for host in hosts:
        host.answer = None

    delivery = requests.post(f"{balancer}/webhooks/quo", data=b"{}", timeout=9)
    sent = [one for host in hosts for one in host.asked]
    for host in hosts:
        host.asked.clear()
    form = requests.post(f"{balancer}/media/1/links", data=b"x", timeout=9)
    forms = [one for host in hosts for one in host.asked]

    assert (delivery.status_code, form.status_code) == (502, 502)
    assert sent == ["POST /webhooks/quo"] * 2
    assert forms == ["POST /media/1/links"]


@pytest.mark.proof
def test_a_file_that_only_the_other_host_has_is_asked_there_and_nobody_is_left_out(balancer, hosts):
    hosts[0].answer = 503

    files = [requests.get(f"{balancer}/media/1", timeout=9).status_code for _ in range(8)]
    shares = [requests.get(f"{balancer}/s/secret/1", timeout=9).status_code for _ in range(2)]
    hosts[0].answer = 200
    hosts[0].asked.clear()
    pages = [requests.get(f"{balancer}/", timeout=9).status_code for _ in range(4)]

    assert files == [200] * 8
    assert shares == [200] * 2
    assert pages == [200] * 4
    assert "GET /" in hosts[0].asked


@pytest.mark.proof
def test_what_both_say_of_themselves_is_not_asked_twice(balancer, hosts):
    for host in hosts:
        host.answer = 503

    answer = requests.get(f"{balancer}/healthz", timeout=9)

    assert answer.status_code == 503
    assert sum(len(host.asked) for host in hosts) == 1
