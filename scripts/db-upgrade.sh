#!/usr/bin/env bash
# usage: [yes=1] scripts/db-upgrade.sh MAJOR|IMAGE | --back | --confirm
#
# Moves the data to another major version of PostgreSQL: into a new server on a volume of its own, compared with the old one,
# which then takes the old one's place. Meanwhile the old one answers reads; writers get an error. --back returns to the old
# volume, --confirm deletes it.
#
# Only .env says which volume and image are the database's. It changes by a rename, while no server runs. So a run that is
# killed before that leaves the old server serving.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/lib/operation.sh"
. "${BASH_SOURCE%/*}/db-upgrade/decisions.sh"
. "${BASH_SOURCE%/*}/db-upgrade/servers.sh"
. "${BASH_SOURCE%/*}/db-upgrade/writers.sh"
cd "${BASH_SOURCE%/*}/.."

read_settings # here, so that those who run in a part of this need not ask
project=$(confirmed_project)
readonly project next=$project-db-next transfer=$project-db-transfer

new_volume='' # until it is the database's
stopped=''    # between the two servers

# shellcheck disable=SC2329 # with_deploy_lock calls it
clean_up() {
  [[ -z $stopped ]] || docker compose up --detach --wait db >/dev/null 2>&1 || say '       the database does not run: make up'
  [[ -z $new_volume ]] || remove_leftovers
}

# switch IMAGE VOLUME: makes them the database's, and keeps what was.
switch() {
  local was_image was_volume before
  was_image=$(setting POSTGRES_IMAGE)
  was_volume=$(setting DB_VOLUME db-data)
  before=$(cat .env && printf .)
  still_held
  stopped=1
  STEP_QUIET=1 step --or 'the old server did not stop' --do 'make up brings it back' 'stop the old server' stop_old
  replaced "POSTGRES_IMAGE=$1" "DB_VOLUME=$2" "POSTGRES_IMAGE_PREVIOUS=$was_image" "DB_VOLUME_PREVIOUS=$was_volume" | write_file .env
  try 'server' start_db
  if ((tried)); then
    printf '%s' "${before%.}" | write_file .env
    give_up 'the other server did not start; back to the one before' 'make up, if that one does not run'
  fi
  stopped=''
}

# .env without what was kept.
forget_previous() { replaced -POSTGRES_IMAGE_PREVIOUS -DB_VOLUME_PREVIOUS | write_file .env; }

# check: whether there is a database here that can be upgraded; its container in $answer.
check() {
  local volume
  [[ -z ${POSTGRES_IMAGE:-}${DB_VOLUME:-} ]] || die 'POSTGRES_IMAGE or DB_VOLUME is set in the environment, which wins over .env' 'unset them'
  volume=$(setting DB_VOLUME_PREVIOUS)
  [[ -z $volume ]] || die "the volume of the last upgrade, $volume, is still kept" 'make db-upgrade confirm=1 deletes it, make db-upgrade back=1 returns to it'
  asked docker compose ps --quiet --status running db
  [[ -n $answer ]] || die 'the database of this stack does not run here' 'start it: make up; an external one is upgraded where it is'
}

# choose_versions MAJOR|IMAGE: sets $image and $to, $from_image and $from, of the caller.
choose_versions() {
  local container=$answer
  image=$(scripts/prepare/images.sh --postgres "$1" | tee >(cat >&2) | tail -n 1)
  asked docker inspect --format '{{.Config.Image}}' "$container"
  from_image=$answer
  asked major_of_image "$from_image"
  from=$answer
  asked major_of_image "$image"
  to=$answer
  operation_from="PostgreSQL $from ($(setting DB_VOLUME db-data))"
  [[ -n $to ]] || die "$image does not say which version it is (PG_MAJOR)" 'take an official image, such as postgres:17'
  [[ $from != "$to" ]] || die "the database is PostgreSQL $from already" "for another image of it: POSTGRES_IMAGE=$image in .env, then make up"
}

upgrade() {
  local image from_image from to client rows began
  check
  choose_versions "$1"
  attempt remove_leftovers
  ((tried == 0)) || give_up 'what an earlier run has left could not be removed; nothing was changed'
  new_volume=db-data-$to-$(date -u +%Y%m%d%H%M%S)
  operation_to="PostgreSQL $to ($new_volume)"
  client=$(newer "$from" "$from_image" "$to" "$image")
  step --or 'the new server did not start; the old one serves as before' "new server, PostgreSQL $to" start_next "$image" "$new_volume"
  began=$(now)
  hold_writers
  told "copy and compare, from $from to $to" copy "$client"
  rows=$told
  step --or 'the new server did not stop; the old one serves as before' 'stop it' docker stop "$next"
  asked docker rm "$next"
  switch "$image" "$new_volume"
  new_volume=''
  say "The database is PostgreSQL $to now: $rows rows, equal table by table. Writers were kept out for $(seconds $(($(now) - began))) s."
  say "  The old volume is kept:  make db-upgrade back=1 returns to it   make db-upgrade confirm=1 deletes it"
}

kept() {
  local volume
  volume=$(setting DB_VOLUME_PREVIOUS)
  [[ -n $volume ]] || die 'no volume from before an upgrade is kept' 'make db-upgrade to=...'
}

back() {
  local image volume
  kept
  image=$(setting POSTGRES_IMAGE_PREVIOUS)
  volume=$(setting DB_VOLUME_PREVIOUS)
  operation_from=$(described "$(setting POSTGRES_IMAGE)" "$(setting DB_VOLUME db-data)")
  operation_to=$(described "$image" "$volume")
  if [[ ${yes:-} != 1 ]]; then
    [[ -t 0 ]] || die "what was written since the upgrade is not on the volume $volume, and there is no terminal to ask on; nothing was changed" 'add yes=1'
    # shellcheck disable=SC2310 # asks, no more
    confirm "What was written since the upgrade is not on the volume $volume. Go back to it?" || die 'nothing was changed'
  fi
  switch "$image" "$volume"
  say "The database is as it was before the upgrade, on the volume $volume."
  say "  The other one, $(setting DB_VOLUME_PREVIOUS), is kept:  make db-upgrade back=1 returns to it   make db-upgrade confirm=1 deletes it"
  say '  If steps were run or passwords changed since: make up, make rotate-secrets apply=1'
}

confirm_upgrade() {
  local volume
  kept
  volume=$(volume_name "$(setting DB_VOLUME_PREVIOUS)")
  operation_to="without $volume"
  attempt docker volume rm "$volume"
  ((tried == 0)) || give_up "the volume $volume was not deleted"
  forget_previous
  say "deleted the volume $volume"
}

_main() {
  case ${1:-} in
    '') die 'to which version?' 'make db-upgrade to=17' ;;
    --back)
      with_deploy_lock db-upgrade-back
      back
      ;;
    --confirm)
      with_deploy_lock db-upgrade-confirm
      confirm_upgrade
      ;;
    *)
      with_deploy_lock db-upgrade
      upgrade "$1"
      ;;
  esac
}

_main "$@"
