"""Another host on a loopback port: OpenSSH's own server, with a key of its own."""

import contextlib
import getpass
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers import free_ports, wait_until


@dataclass(frozen=True, slots=True)
class SSHHost:
    """A running server, and the client's configuration with which it can be reached."""

    port: int
    config: Path
    programs: Path  # searched first over there; empty

    def url(self, folder: Path) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{folder}"


@contextlib.contextmanager
def running_sshd() -> Iterator[SSHHost]:
    sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin")
    if sshd is None:
        pytest.skip("needs OpenSSH's server")
    Path("/run/sshd").mkdir(exist_ok=True)  # where it locks its unprivileged part up
    with tempfile.TemporaryDirectory(prefix="sshd") as name:
        folder = Path(name)
        for key in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True
            )
        (folder / "bin").mkdir()
        [port] = free_ports(1)
        host_key = (folder / "host.pub").read_text()
        (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
        server, client = folder / "sshd_config", folder / "ssh_config"
        server.write_text(
            f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder / 'host'}\nPidFile none\n"
            f"AuthorizedKeysFile {folder / 'user.pub'}\nStrictModes no\nUsePAM no\n"
            f"PasswordAuthentication no\nPermitRootLogin prohibit-password\n"
            f"SetEnv PATH={folder / 'bin'}:/usr/bin:/bin HOME={folder}\n"  # no .bashrc
        )
        client.write_text(
            f"IdentityFile {folder / 'user'}\nIdentitiesOnly yes\n"
            f"UserKnownHostsFile {folder / 'known_hosts'}\nGlobalKnownHostsFile /dev/null\n"
        )
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([sshd, "-D", "-e", "-f", server], stdout=log, stderr=log)
        try:
            wait_until(lambda: _answers(port))
            yield SSHHost(port, client, folder / "bin")
        finally:
            process.terminate()
            process.wait()


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as found:
            return found.recv(4) == b"SSH-"
    except OSError:
        return False
