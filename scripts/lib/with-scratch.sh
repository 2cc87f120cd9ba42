#!/usr/bin/env bash
# usage: scripts/lib/with-scratch.sh COMMAND [ARGUMENT...]
#
# Runs one of Alembic's commands in the container `proof`, which has a throwaway server (`scratch`) beside it to try steps
# out on; removes that server afterwards. Exits with the command's own code.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/common.sh"
cd "${BASH_SOURCE%/*}/../.."

clean_up() { docker compose rm --stop --force scratch >/dev/null 2>&1 || true; }

_main() {
  trap clean_up EXIT
  docker compose --progress quiet run --rm proof alembic "$@"
}

_main "$@"
