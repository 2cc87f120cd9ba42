#!/usr/bin/env bash
# usage: [yes=1] scripts/db-upgrade.sh MAJOR|IMAGE | --back | --confirm
#
# Moves the data to another major version of PostgreSQL: into a new server on a volume of its own, compared with the old one,
# which then takes the old one's place. Meanwhile the old one answers reads; writers get an error. --back returns to the old
# volume, --confirm deletes it.
#
# Which volume and image are the database's stands in .env and nowhere else, and changes there by a rename, while no server
# runs. So a run that is killed before leaves the old one serving.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/lib/operation.sh"
cd "${BASH_SOURCE%/*}/.."

read_settings # here, so that those who run in a part of this need not ask
project=$(confirmed_project)
readonly project next=$project-db-next transfer=$project-db-transfer

new_volume='' # until it is the database's
stopped=''    # between the two servers
held=''       # writers are kept out

# shellcheck disable=SC2329 # with_deploy_lock calls it
clean_up() {
  [[ -z $stopped ]] || docker compose up --detach --wait db >/dev/null 2>&1 || say '       the database does not run: make up'
  [[ -z $new_volume ]] || remove_leftovers
}

volume_name() { printf '%s_%s' "$project" "$1"; }
current() {
  local volume
  volume=$(setting DB_VOLUME db-data)
  volume_name "$volume"
}

# Of a run that failed or was killed: its containers, and the volumes that neither serve nor are kept.
remove_leftovers() {
  local name serves keeps volumes ours=(--filter "label=com.docker.compose.project=$project")
  serves=$(current)
  keeps=$(setting DB_VOLUME_PREVIOUS)
  docker ps --all --quiet "${ours[@]}" --filter "name=^/?($next|$transfer)\$" | xargs -r docker rm --force --volumes >/dev/null
  volumes=$(docker volume ls --quiet "${ours[@]}" --filter label=com.docker.compose.volume=db-data)
  # If the one that serves is not among them, they are not what they seem to be.
  grep -qxF -e "$serves" <<<"$volumes" || return 0
  while read -r name; do
    [[ $name == "$serves" || $name == "${project}_$keeps" ]] || docker volume rm "$name" >/dev/null
  done <<<"$volumes"
}

major_of_image() { docker image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$1" | sed -n 's/^PG_MAJOR=//p'; }
# described IMAGE VOLUME: for the log; an image that is gone has no version.
described() {
  attempt major_of_image "$1"
  printf 'PostgreSQL %s (%s)' "${answer:-?}" "$2"
}
on_db() { docker compose exec -T db "$@"; }
ask_db() { on_db psql -XqAt -v ON_ERROR_STOP=1 -U "$(setting POSTGRES_USER postgres)" -d "$(setting DB_NAME tangga)" "$@"; }

start_next() {
  local tries
  # wal_level: nobody has to follow this server yet.
  POSTGRES_IMAGE=$1 DB_VOLUME=$2 docker compose run --detach --no-deps --name "$next" db-next postgres -c max_locks_per_transaction=256 -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=4GB
  for tries in {1..600}; do
    case $(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$next") in
      'running healthy') return ;;
      exited*) break ;;
    esac
    sleep 0.2
  done
  docker logs --tail 15 "$next"
  echo "it did not become healthy (looked $tries times)"
  return 1
}

# Keeps writers and migrators out for as long as this script lives: the session reads from this script's pipe.
hold_writers() {
  local answer
  # shellcheck disable=SC2310 # two settings
  # If psql ends early, somebody still reads: what it said is what `expect` finds, not a broken pipe.
  coproc HOLD {
    docker compose exec -T -e PGAPPNAME=tangga-db-upgrade db psql -XqAt -v ON_ERROR_STOP=1 -U "$(setting POSTGRES_USER postgres)" -d "$(setting DB_NAME tangga)" 2>&1 || true
    exec cat >/dev/null
  }
  # The migrators' lock (tangga/guard/lock.py), then every table. A reader does not notice.
  cat >&"${HOLD[1]}" <<'SQL'
SELECT CASE WHEN pg_try_advisory_lock(('x' || encode('tanggami', 'hex'))::bit(64)::bigint) THEN 'ready' ELSE 'a migration is running' END;
SET lock_timeout = '10s';
BEGIN;
SELECT 'LOCK TABLE ' || string_agg(format('%I.%I', nspname, relname), ', ') || ' IN SHARE MODE'
FROM pg_class JOIN pg_namespace AS n ON n.oid = relnamespace
WHERE relkind IN ('r', 'p') AND nspname !~ '^pg_' AND nspname <> 'information_schema' \gexec
SELECT 'held';
SQL
  expect ready 'wait for its end, then again'
  expect held 'end the session that holds one, then again'
  held=1
}

# A session that was lost has let writers in: what they wrote is not on the new server.
still_held() {
  [[ -n $held ]] || return 0
  [[ -z ${HOLD_PID:-} ]] || printf '%s\n' "SELECT 'held';" >&"${HOLD[1]}"
  expect held 'again; the old server serves as before'
}

# expect ANSWER REMEDY: of the session that keeps writers out.
expect() {
  local answer=''
  [[ -z ${HOLD_PID:-} ]] || read -r answer <&"${HOLD[0]}" || true
  [[ $answer == "$1" ]] || die "the tables cannot be kept locked: ${answer:-the database does not answer}" "$2"
}

# By the client of the newer of the two versions. Runs in a process of `step`; if it outlives this script, it harms nobody,
# and the next run may begin and end it.
copy() {
  exec {deploy_lock}>&-
  POSTGRES_IMAGE=$1 docker compose --progress quiet run --rm -T --no-deps --name "$transfer" --entrypoint 'bash /app/services/postgres/transfer.sh' backup db "$next"
}

start_db() {
  read_settings # .env has changed
  docker compose up --detach --wait db
}

# switch IMAGE VOLUME: makes them the database's, and keeps what was.
switch() {
  local was_image was_volume before
  was_image=$(setting POSTGRES_IMAGE)
  was_volume=$(setting DB_VOLUME db-data)
  before=$(cat .env && printf .)
  still_held
  stopped=1
  STEP_QUIET=1 step --or 'the old server did not stop' --do 'make up brings it back' 'stop the old server' docker compose stop db
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

upgrade() {
  local image from_image from to_major client rows began volume
  [[ -z ${POSTGRES_IMAGE:-}${DB_VOLUME:-} ]] || die 'POSTGRES_IMAGE or DB_VOLUME is set in the environment, which wins over .env' 'unset them'
  volume=$(setting DB_VOLUME_PREVIOUS)
  [[ -z $volume ]] || die "the volume of the last upgrade, $volume, is still kept" 'make db-upgrade confirm=1 deletes it, make db-upgrade back=1 returns to it'
  asked docker compose ps --quiet --status running db
  [[ -n $answer ]] || die 'the database of this stack does not run here' 'start it: make up; an external one is upgraded where it is'
  image=$(scripts/prepare/images.sh --postgres "$1" | tee >(cat >&2) | tail -n 1)
  asked docker inspect --format '{{.Config.Image}}' "$answer"
  from_image=$answer
  asked major_of_image "$from_image"
  from=$answer
  asked major_of_image "$image"
  to_major=$answer
  operation_from="PostgreSQL $from ($(setting DB_VOLUME db-data))"
  [[ -n $to_major ]] || die "$image does not say which version it is (PG_MAJOR)" 'take an official image, such as postgres:17'
  [[ $from != "$to_major" ]] || die "the database is PostgreSQL $from already" "for another image of it: POSTGRES_IMAGE=$image in .env, then make up"
  attempt remove_leftovers
  ((tried == 0)) || give_up 'what an earlier run has left could not be removed; nothing was changed'
  new_volume=db-data-$to_major-$(date -u +%Y%m%d%H%M%S)
  operation_to="PostgreSQL $to_major ($new_volume)"
  client=$image
  ((to_major > from)) || client=$from_image
  step --or 'the new server did not start; the old one serves as before' "new server, PostgreSQL $to_major" start_next "$image" "$new_volume"
  began=$(now)
  hold_writers
  told "copy and compare, from $from to $to_major" copy "$client"
  rows=$told
  step --or 'the new server did not stop; the old one serves as before' 'stop it' docker stop "$next"
  asked docker rm "$next"
  switch "$image" "$new_volume"
  new_volume=''
  say "The database is PostgreSQL $to_major now: $rows rows, equal table by table. Writers were kept out for $(seconds $(($(now) - began))) s."
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
