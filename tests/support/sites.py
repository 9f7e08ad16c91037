"""What a web server in front of the viewer needs: a site with our names in it, a certificate."""

import subprocess
from pathlib import Path


def replaced(text: str, *pairs: tuple[str, str]) -> str:
    """The text with a name, a port or a path replaced; each of them must be in it."""
    for known, ours in pairs:
        assert known in text, f"{known} is not in it"
        text = text.replace(known, ours)
    return text


def certify(folder: Path, host: str, openssl: str = "openssl") -> Path:
    """Make fullchain.pem and privkey.pem of this host in the folder. The former."""
    made = folder / "fullchain.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-subj", f"/CN={host}", "-addext", f"subjectAltName=DNS:{host}",
         "-keyout", str(folder / "privkey.pem"), "-out", str(made)],
        check=True, capture_output=True,
    )  # fmt: skip
    return made
