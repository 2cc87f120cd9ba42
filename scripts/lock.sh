#!/usr/bin/env bash
# usage: scripts/lock.sh   (in the tools container: make lock)
#
# Writes both lock files from pyproject.toml: exact versions with hashes, for every platform, without the addresses
# that they were downloaded from.
set -Eeuo pipefail
cd "${BASH_SOURCE%/*}/.."

_main() {
  local options=(--universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --quiet --upgrade)
  uv pip compile pyproject.toml "${options[@]}" --output-file requirements.lock
  uv pip compile pyproject.toml "${options[@]}" --group dev --constraints requirements.lock --output-file requirements-dev.lock
}

_main "$@"
