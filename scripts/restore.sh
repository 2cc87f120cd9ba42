#!/usr/bin/env bash
# usage: [yes=1] scripts/restore.sh FILE | --confirm | --undo
#
# Restores a backup into a new database beside the live one, compares it with the manifest, brings it to this image's
# revision, and gives it the live one's name, in one transaction: whenever this is killed, the live name leads to one whole
# database. The old one is kept until --confirm drops it; --undo swaps it back.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/lib/operation.sh"
cd "${BASH_SOURCE%/*}/.."

new='' # the database that is being made

# shellcheck disable=SC2329 # with_deploy_lock calls it
clean_up() { [[ -z $new ]] || in_backup drop "$new" >/dev/null 2>&1; }

# need_revision REVISION WHAT REMEDY: of this image.
need_revision() {
  [[ $1 != base ]] || return 0
  attempt docker compose --progress quiet run --rm -T --no-deps migrate alembic show "$1"
  ((tried != exit_unknown_revision)) || die "$2" "$3"
  ((tried == 0)) || give_up 'this image could not be asked for the revision; nothing was changed'
}

ask() {
  [[ ${yes:-} != 1 ]] || return 0
  STEP_QUIET=1 told 'live database' in_backup live
  [[ -n $told ]] || return 0
  [[ -t 0 ]] || die "the live database holds $told, and there is no terminal to ask on; nothing was changed" 'add yes=1: the live one is kept until make restore-confirm'
  # shellcheck disable=SC2310 # asks, no more
  confirm "The live database holds $told. It is kept under another name until make restore-confirm. Go on?" || die 'nothing was changed'
}

restore() {
  local name revision image bytes
  told checksum in_backup check "$1"
  # shellcheck disable=SC2034 # by position
  read -r name revision image bytes <<<"$told"
  operation_to=$name operation_revision=$revision
  need_revision "${revision%%+*}" \
    "$name.dump is at revision $revision, which this image does not have; nothing was changed" "deploy the image that made it (TAG=$image) or a newer one, then again"
  ask
  new=$(setting DB_NAME tangga)_restoring
  told 'restore into a new database' in_backup load "$name" "$new"
  [[ -z $told ]] || say "  $told"
  told 'migrate it' docker compose --progress quiet run --rm -T -e DB_NAME="$new" -e BACKUP_BEFORE_MIGRATE=false migrate alembic upgrade head
  told 'swap' in_backup swap "$new"
  new=''
  operation_from=$told
  say "$name.dump is live; what was live before is kept as $told"
  say "${dim}next:${reset} make restore-confirm drops that one   make restore-undo swaps them back"
}

undo() {
  told 'swap back' in_backup undo
  operation_from=$told
  say "What was live before the restore is live again; the other one is kept as $told"
}

confirm_all() {
  told 'drop' in_backup confirm
  say "${told:-No database from before a restore is kept.}"
}

_main() {
  read_settings
  case ${1:-} in
    --undo)
      with_deploy_lock restore-undo
      undo
      ;;
    --confirm)
      with_deploy_lock restore-confirm
      confirm_all
      ;;
    '' | --*) die 'which backup?' 'make restore f=newest, or a name of: make backups' ;;
    *)
      with_deploy_lock restore
      restore "$1"
      ;;
  esac
}

_main "$@"
