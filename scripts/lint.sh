#!/usr/bin/env bash
# usage: scripts/lint.sh
#
# Every check that CI makes: Compose reads its files here, all else runs in the tools container (scripts/lint/all.sh).
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/lib/side_by_side.sh"
cd "${BASH_SOURCE%/*}/.."

own() { docker compose config --quiet; }
dev() { docker compose -f compose.yaml -f compose.dev.yaml config --quiet; }
bench() { docker compose -f compose.yaml -f compose.bench.yaml config --quiet; }
prod() { docker compose -f compose.yaml -f compose.prod.yaml config --quiet; }
elsewhere() {
  DB_HOSTNAME=db.example.org DB_SSLROOTCERT=/dev/null \
    docker compose -f compose.yaml -f deploy/external-db.yaml -f deploy/pooler.yaml config --quiet
}

# As the caller: the caches in .cache are theirs.
linters() {
  isolated --tmpfs /tmp --mount "type=bind,source=$PWD,target=/app" --user "$(id -u):$(id -g)" \
    "$(setting COMPOSE_PROJECT_NAME tangga)-tools:$(setting TAG latest)" scripts/lint/all.sh
}

_main() { side_by_side own dev bench prod elsewhere linters; }

_main "$@"
