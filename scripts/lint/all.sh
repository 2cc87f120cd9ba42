#!/usr/bin/env bash
# usage: scripts/lint/all.sh   (in the tools container)
#
# All linters at once. What mypy and shellcheck have found clean is kept in .cache, which is safe to delete.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../lib/side_by_side.sh"
cd "${BASH_SOURCE%/*}/../.."

lines() { ruff check --no-cache .; }
form() { ruff format --no-cache --check .; }
# A cache that somebody else has made is not to be written.
types() {
  local cache=.cache/mypy
  if ! mkdir -p "$cache" || [[ ! -w $cache ]]; then cache=/tmp/mypy; fi
  mypy --cache-dir "$cache"
}
arrows() { lint-imports --no-cache --no-logo; }
steps() { alembic lint; }
shells() { scripts/lint/shells.py; }
stages() { hadolint Dockerfile; }

_main() { side_by_side lines form types arrows steps shells stages; }

_main "$@"
