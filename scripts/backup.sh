#!/usr/bin/env bash
# usage: [keep=N] scripts/backup.sh [--list [--json] | --verify FILE | --before-migrate]
#
# Makes a backup of the database, while it is in use, in BACKUP_DIR. --verify restores one into a throwaway database and
# compares every table. --before-migrate makes one only if BACKUP_BEFORE_MIGRATE is set and steps are pending. What happens
# in the container: services/postgres/backup.sh.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/backup/decisions.sh"
. "${BASH_SOURCE%/*}/backup/before_migrate.sh"
. "${BASH_SOURCE%/*}/backup/verify.sh"
cd "${BASH_SOURCE%/*}/.."

# The list needs only the folder, so no container.
list() {
  local folder
  folder=$(backup_dir)
  BACKUPS=$folder bash services/postgres/backup.sh list "$@"
}

make_one() {
  told backup docker compose --progress quiet run --rm -T -e BACKUP_KEEP="${keep:-$(setting BACKUP_KEEP)}" backup dump
  say "$told"
}

_main() {
  read_stack
  case ${1:-} in
    '') make_one ;;
    --list) list "${@:2}" ;;
    --verify) verify "$2" ;;
    --before-migrate) before_migrate ;;
    *) die "unknown option $1" 'scripts/backup.sh [--list [--json] | --verify FILE | --before-migrate]' ;;
  esac
}

_main "$@"
