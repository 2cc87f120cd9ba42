# shellcheck shell=bash
# What the words of a database that did not start mean. Sourced; tried without Docker.

# versions_in_log <LOG: "MAJOR MAJOR", of the volume and of the server, where the server says that they do not go together.
versions_in_log() { sed -nE 's/.*initialized by PostgreSQL version ([0-9]+).*not compatible with this version ([0-9]+).*/\1 \2/p' | tail -n 1; }

# cause_in_log <LOG: what start.sh says of the volume, or psql of roles.sql; the latter is repeated with every health check.
cause_in_log() { sed -nE 's/^error: //p; s/^psql:([^ ]*\/)?([^ ]+): +(ERROR|FATAL): +/\2: /p; s/^psql: error: //p' | tail -n 1; }

# remedy_of_database CAUSE OTHERWISE
remedy_of_database() {
  case $1 in
    *'extension '*'is not available'*) say 'correct EXTENSIONS in .env, or take a database image that has it (POSTGRES_PACKAGES, POSTGRES_IMAGE: docs/operators.md)' ;;
    *'database '*' does not exist'*) say 'DB_NAME in .env is not what this volume was made with; put that back' ;;
    *) say "${2:-see make logs s=db}" ;;
  esac
}
