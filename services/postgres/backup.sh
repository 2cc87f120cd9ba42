#!/usr/bin/env bash
# usage: services/postgres/backup.sh COMMAND [ARGUMENT...]
#
#   list [--json]        the backups, newest first
#   name FILE|newest     its name, if there is one
#   dump                 make one; keep only the newest $keep (or BACKUP_KEEP)
#   check FILE           compare its checksum; print its name, revision, image, and the size of the database
#   load FILE DATABASE   restore it into a new database, and compare that with the manifest
#   verified FILE        note in the manifest that it was restored and compared
#   drop DATABASE
#   live                 how large the live database is, if it holds rows
#   swap DATABASE        give it the live one's name; the live one is kept as <name>_before_<time>
#   undo | confirm       swap the newest that is kept with the live one | drop all that are kept
#   schedule | fresh     make one every BACKUP_EVERY | fail if the newest is too old
#
# Runs in the container `backup`, which has the database's own client and the folder of backups; see scripts/backup.sh and
# scripts/restore.sh. `list` and `name` need only the folder, and run anywhere.
#
# A backup is two files: <database>-<UTC>-<revision>.dump, and beside it .json, its manifest. The manifest is written last:
# a dump without one is no backup.
set -Eeuo pipefail
here=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
. "$here/../../scripts/lib/ui.sh"
. "$here/../../scripts/lib/json.sh"
. "$here/client.sh"
. "$here/backup/folder.sh"
. "$here/backup/dump.sh"
. "$here/backup/load.sh"
. "$here/backup/swap.sh"
. "$here/backup/clock.sh"

readonly folder=${BACKUPS:-/backups} database=${DB_NAME:-}

# The migrator's group (Dockerfile): BACKUP_BEFORE_MIGRATE reads the manifests. Nobody on the host has it.
readonly group=10001

_main() {
  (($#)) || die 'no command' "${BASH_SOURCE[0]} list, dump, ..."
  "$@"
}

_main "$@"
