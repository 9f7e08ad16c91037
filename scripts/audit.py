"""Known vulnerabilities of what is locked, asked of the package registry.

Where the registry has no advisories to give (a mirror often has none), it says how many packages
could not be asked for, and `make check` goes on: an audit that could not run is not a clean one.

Run it: python -m scripts.audit
"""

import json
import subprocess
import sys


def main() -> None:
    answer = subprocess.run(
        ["pip-audit", "--no-deps", "--disable-pip", "--progress-spinner", "off",
         "-f", "json", "-r", "requirements-dev.txt"],
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    try:
        packages = json.loads(answer.stdout)["dependencies"]
    except (ValueError, KeyError):
        lines = answer.stderr.strip().splitlines() or ["no answer"]
        print(f"audit: the registry did not answer ({lines[-1][:100]})")
        return
    skipped = sum("skip_reason" in package for package in packages)
    found = [
        f"{package['name']} {package['version']}: {flaw['id']}, fixed in {flaw['fix_versions']}"
        for package in packages
        for flaw in package.get("vulns", ())
    ]
    print(
        f"audit: {len(packages) - skipped} packages asked for, {len(found)} known vulnerabilities;"
        f" the registry knew nothing of {skipped}"
    )
    sys.exit("\n".join(found) if found else 0)


if __name__ == "__main__":
    main()
