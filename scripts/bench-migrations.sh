#!/usr/bin/env bash
# usage: scripts/bench-migrations.sh [--pairs N] [--strict]
#
# What the protection costs beside stock Alembic: an upgrade that has nothing to do, 500 revisions, the linter, generated rows; in turns, in
# the test container, against a database that is deleted afterwards. --strict: a missed target is the exit code too.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

clean_up() { docker compose --profile '*' down --volumes --remove-orphans >/dev/null 2>&1 || true; }

_main() {
  scripts/prepare/preflight.sh
  scripts/prepare/env.sh
  scripts/prepare/images.sh
  COMPOSE_PROJECT_NAME="$(setting COMPOSE_PROJECT_NAME tangga)-bench-migrations"
  export COMPOSE_PROJECT_NAME COMPOSE_FILE=compose.yaml DB_HOSTNAME=db DB_PORT=5432
  trap clean_up EXIT
  STEP_QUIET=1 step 'build' docker compose build test
  docker compose run --rm test python3 -m tests.load.migrations "$@"
}

_main "$@"
