"""Write sbom.cdx.json: what runs with the viewer, as a software bill of materials (CycloneDX 1.6).

It says for each package that requirements.txt locks: version, licence (of docs/licenses.md), and
which package asked for it. Their hashes are in requirements.txt. `make lock` writes it.
"""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.license import License, LicenseAcknowledgement
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from scripts import licenses

ROOT = licenses.ROOT
FILE = ROOT / "sbom.cdx.json"
# A package of the lock, its version, and the comment that names who asked for it.
LOCKED = re.compile(r"^([a-z0-9-]+)(?:\[\w+\])?==([^ ;\\]+).*\n((?:    .*\n)*)", re.MULTILINE)
ASKED = re.compile(r"^    #(?: via| {2,})\s*([a-z0-9-]+)(?:\[\w+\])?", re.MULTILINE)


def main() -> None:
    FILE.write_text(render())


def render() -> str:
    """The same text for the same lock: without a time and without a serial number."""
    said = {name: licence for name, _, licence in licenses.ROW.findall(licenses.PAGE.read_text())}
    bom = Bom()
    bom.serial_number = bom.metadata.timestamp = None  # type: ignore[assignment]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    bom.metadata.component = Component(
        type=ComponentType.APPLICATION, name=project["name"], bom_ref=project["name"]
    )
    components = {project["name"]: bom.metadata.component}
    asked: list[tuple[str, str]] = []
    for name, version, by in _locked(licenses.LOCK):
        components[name] = Component(
            name=name, version=version, bom_ref=name, purl=PackageURL("pypi", None, name, version),
            licenses=[_license(said[name])] if name in said else [],
        )  # fmt: skip
        bom.components.add(components[name])
        asked += [(one, name) for one in by]
    for who, what in asked:
        bom.register_dependency(components[who], [components[what]])
    return JsonV1Dot6(bom).output_as_string(indent=1) + "\n"


def _license(words: str) -> License:
    factory = LicenseFactory()
    return factory.make_from_string(words, license_acknowledgement=LicenseAcknowledgement.DECLARED)


def _locked(lock: Path) -> Iterator[tuple[str, str, list[str]]]:
    for name, version, comment in LOCKED.findall(lock.read_text()):
        yield name, version, ASKED.findall(comment)


if __name__ == "__main__":
    main()
