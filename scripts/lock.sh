#!/usr/bin/env bash
# Resolve the requirements anew: `make lock`, or `make lock ARGS=--upgrade` to move what may move.
#
# What is locked stays locked unless a requirement asks for another version. The lists hold for every
# Python and platform we support (--universal), and are complete: with the packages that extras bring
# and with the extras' names, so that pip installs them with --no-deps and resolves nothing.
# uv resolves here, in an environment of its own; whoever installs needs only pip.
set -euo pipefail
cd "$(dirname "$0")/.."

uv_version=0.13.9
python=${PYTHON:-python3}
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
"$python" -m venv "$tools"
"$tools/bin/python" -m pip install -q --disable-pip-version-check "uv==$uv_version"

compile() {
  "$tools/bin/uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes \
    --no-strip-extras --custom-compile-command "make lock" "${@}" >/dev/null
}

extra=(${ARGS:-})
compile "${extra[@]}" -o requirements.txt pyproject.toml --extra postgres --extra s3
compile "${extra[@]}" -o requirements-dev.txt pyproject.toml --extra postgres --extra s3 --extra dev --group build
# The same versions in all lists: one environment takes the second and the third.
compile "${extra[@]}" -o requirements-build.txt --group build -c requirements-dev.txt
