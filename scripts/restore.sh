#!/usr/bin/env bash
# usage: [yes=1] scripts/restore.sh FILE | --confirm | --undo
#
# Restores a backup into a new database beside the live one, compares it with the manifest, brings it to this image's
# revision, and gives it the live one's name, in one transaction: whenever this is killed, the live name leads to one whole
# database. The old one is kept until --confirm drops it; --undo swaps it back.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib.sh"
cd "${BASH_SOURCE%/*}/.."

readonly UNKNOWN_REVISION=13
new=$(setting DB_NAME tangga)_restoring

# knows REVISION: whether this image has it.
knows() {
  local status=0
  [[ $1 == base ]] || docker compose --progress quiet run --rm -T --no-deps migrate alembic show "$1" >/dev/null 2>&1 </dev/null || status=$?
  ((status != UNKNOWN_REVISION))
}

ask() {
  local live
  [[ ${yes:-} != 1 ]] || return 0
  told 'live database' in_backup live
  live=$told
  [[ -n $live ]] || return 0
  [[ -t 0 ]] || die "the live database holds $live, and there is no terminal to ask on; nothing was changed" 'add yes=1: the live one is kept until make restore-confirm'
  confirm "The live database holds $live. It is kept under another name until make restore-confirm. Go on?" || die 'nothing was changed'
}

ended() {
  local status=$?
  ((status == 0)) || {
    log_operation failed '' "$file" '' 'see the terminal'
    in_backup drop "$new" >/dev/null 2>&1 || true
  }
}

restore() {
  local file=$1 revision image bytes
  with_deploy_lock restore
  told checksum in_backup check "$file"
  # shellcheck disable=SC2034 # by position
  read -r file revision image bytes <<<"$told"
  knows "${revision%%+*}" ||
    die "$file.dump is at revision $revision, which this image does not have; nothing was changed" "deploy the image that made it (TAG=$image) or a newer one, then again"
  ask
  trap ended EXIT
  told 'restore into a new database' in_backup load "$file" "$new"
  told 'migrate it' docker compose --progress quiet run --rm -T -e DB_NAME="$new" -e BACKUP_BEFORE_MIGRATE=false migrate alembic upgrade head
  told 'swap' in_backup swap "$new"
  log_operation ok "$told" "$file" "$revision"
  trap - EXIT
  say "$file.dump is restored and live; what was live is kept as $told"
  say "${dim}next:${reset} make restore-confirm drops that one   make restore-undo swaps them back"
}

undo() {
  with_deploy_lock restore
  told 'swap back' in_backup undo
  log_operation ok "$told" '' '' 'make restore-undo'
  say "What was live before the restore is live again; the restored one is kept as $told"
}

confirm_all() {
  with_deploy_lock restore
  told 'drop what is kept' in_backup confirm
  say "${told:-No database from before a restore is kept.}"
}

_main() {
  case ${1:-} in
    --undo) undo ;;
    --confirm) confirm_all ;;
    '' | --*) die 'which backup?' 'make restore f=newest, or a name of: make backups' ;;
    *) restore "$1" ;;
  esac
}

_main "$@"
