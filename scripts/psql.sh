#!/usr/bin/env bash
# usage: scripts/psql.sh [PSQL ARGUMENT...]
#
# SQL prompt as the owner of the schema; of a database elsewhere as well, by the client of the image of `scratch`.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

_main() {
  read_stack
  if [[ -n $database_elsewhere ]]; then
    # shellcheck disable=SC2016 # expanded there
    exec docker compose --progress quiet run --rm scratch sh -c 'PGPASSWORD=$DB_OWNER_PASS exec psql -d "$0" -U "$DB_OWNER_USERNAME" "$@"' \
      "host=$(setting MIGRATE_DB_HOSTNAME "$(setting DB_HOSTNAME)") port=$(setting MIGRATE_DB_PORT "$(setting DB_PORT 5432)") dbname=$(setting DB_NAME tangga) sslmode=$(setting DB_SSLMODE verify-full) sslrootcert=/db-ca.pem" "$@"
  fi
  # shellcheck disable=SC2016
  exec docker compose exec db sh -c 'exec psql -U "$DB_OWNER_USERNAME" -d "$POSTGRES_DB" "$@"' psql "$@"
}

_main "$@"
