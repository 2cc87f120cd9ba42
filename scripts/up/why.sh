# shellcheck shell=bash
# shellcheck disable=SC2154 # lib/steps.sh sets what was tried and what a log says
# Why a link of the chain has failed: the cause in one line, the end of the log, and what to do next. Sourced.
#
# Only a container's log says it: `docker compose up` hands on no more than its status.

container() { docker compose ps --all --quiet "$1" 2>/dev/null; }

# What becomes of the API when the migration has failed.
fate_of_api() {
  local id state=''
  id=$(container api)
  [[ -z $id ]] || state=$(docker inspect --format '{{.State.Status}}' "$id")
  if [[ $state == running ]]; then say 'The API that was running goes on serving.'; else say 'The API was not started.'; fi
}

migration_failed() {
  local exit_code
  exit_code=$tried
  log_of migrate
  [[ -n $log ]] || give_up 'the migration was not run' "mend that, then: make up. $(fate_of_api)"
  printf '%serror:%s migration failed (exit %s): %s\n' "$red" "$reset" "$exit_code" "${log_cause:-$(tail -n 1 <<<"$log")}" >&2
  set_off "$log"
  printf '   do: %s; then: make up\n       %s\n' "${log_remedy:-mend the step}" "$(fate_of_api)" >&2
  exit 1
}

database_failed() {
  local of_volume of_image cause remedy
  log_of db
  # Setting the roles anew has said it itself.
  [[ -n $log || $said != *psql:* ]] || log=$said
  [[ -n $log ]] || give_up 'the database was not started' 'mend that, then: make up'
  read -r of_volume of_image < <(versions_in_log <<<"$log") || true
  [[ -z $of_volume ]] ||
    die "the volume $(setting DB_VOLUME db-data) holds the data of PostgreSQL $of_volume, and $(docker inspect --format '{{.Config.Image}}' "$(container db)") is PostgreSQL $of_image" \
      "put POSTGRES_IMAGE with an image of PostgreSQL $of_volume into .env (postgres:$of_volume-trixie), then: make up; make db-upgrade to=$of_image moves the data"
  cause=$(cause_in_log <<<"$log")
  remedy=$(remedy_of_database "$cause" "$log_remedy")
  printf '%serror:%s the database did not become healthy: %s\n' "$red" "$reset" "${cause:-$(tail -n 1 <<<"$log")}" >&2
  set_off "$log"
  printf '   do: %s; then: make up\n' "$remedy" >&2
  exit 1
}

# The API says itself why it is not ready; if it does not even run, its log does.
api_failed() {
  local reason
  log_of api
  [[ -n $log ]] || give_up 'the API was not started' 'mend that, then: make up'
  reason=$(docker compose exec -T api bash services/api/health/probe.sh 2>/dev/null) || true
  reason=$(detail_of "$reason")
  reason=${reason:-$log_cause}
  printf '%serror:%s the API did not become ready: %s\n' "$red" "$reset" "${reason:-$(tail -n 1 <<<"$log")}" >&2
  set_off "$log"
  printf '   do: see make logs s=api, and what GET /readyz answers\n' >&2
  exit 1
}
