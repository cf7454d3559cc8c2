#!/bin/sh
# Install Corkage from the clone that this file is in: install.sh FOLDER
# The same command upgrades. It writes to FOLDER only, needs Python 3.11 or newer with venv, and no root.
set -eu

folder=${1:?usage: install.sh FOLDER}
clone=$(cd "$(dirname "$0")/../.." && pwd)
source=$(mktemp -d)
trap 'rm -rf "$source"' EXIT

tar -C "$clone" --exclude=.git --exclude=.venv --exclude=.env --exclude='*.db*' -cf - . | tar -C "$source" --no-same-owner -xf -
mkdir -p "$folder"
[ -x "$folder/.venv/bin/python" ] || python3 -m venv "$folder/.venv"
grep -v '^-e' "$source/requirements.txt" >"$source/pinned.txt"
"$folder/.venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir -r "$source/pinned.txt"
"$folder/.venv/bin/pip" install -q --disable-pip-version-check --no-cache-dir --no-deps --force-reinstall "$source"
"$folder/.venv/bin/python" -m compileall -q "$folder/.venv/lib"  # who runs it may not write there
"$folder/.venv/bin/corkage" --help >/dev/null
