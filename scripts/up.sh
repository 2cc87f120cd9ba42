#!/usr/bin/env bash
# usage: scripts/up.sh
#
# From a bare machine to a serving API, checks before effects: engine and machine, .env, base images, build, database,
# migration, API. A failed migration stops here: the API is not started, or the running one goes on serving. In production,
# what comes after the database is a deploy: nobody notices that replicas are replaced.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib.sh"
cd "${BASH_SOURCE%/*}/.."

container() { docker compose ps --all --quiet "$1" 2>/dev/null; }

api_state() {
  local id
  id=$(container api)
  [[ -n $id ]] && docker inspect --format '{{.State.Status}}' "$id" || echo absent
}

# log_tail SERVICE: the end of its log, set off.
log_tail() { docker logs --tail 15 "$(container "$1")" 2>&1 | sed 's/^/    | /' >&2; }

# The cause in one line, the end of the log, and what to do next.
migration_failed() {
  local id log cause remedy state='The API was not started.'
  id=$(container migrate)
  log=$(docker logs "$id" 2>&1)
  cause=$(sed -n 's/^error: //p' <<<"$log" | tail -n 1)
  remedy=$(sed -n 's/^   do: //p' <<<"$log" | tail -n 1)
  [[ $(api_state) != running ]] || state='The API that was running goes on serving.'
  printf '%serror:%s migration failed (exit %s): %s\n' "$red" "$reset" \
    "$(docker inspect --format '{{.State.ExitCode}}' "$id")" "${cause:-see its log}" >&2
  log_tail migrate
  printf '   do: %s; then: make up\n       %s\n' "${remedy:-mend the step}" "$state" >&2
  exit 1
}

# The server itself says which version made the volume, and which it is.
other_major() {
  docker logs "$(container db)" 2>&1 |
    sed -nE 's/.*initialized by PostgreSQL version ([0-9]+).*not compatible with this version ([0-9]+).*/\1 \2/p' | tail -n 1
}

database_failed() {
  local of_volume of_image log cause remedy
  read -r of_volume of_image <<<"$(other_major)"
  [[ -z $of_volume ]] ||
    die "the volume $(setting DB_VOLUME db-data) holds the data of PostgreSQL $of_volume, and $(docker inspect --format '{{.Config.Image}}' "$(container db)") is PostgreSQL $of_image" \
      "put POSTGRES_IMAGE with an image of PostgreSQL $of_volume into .env (postgres:$of_volume-trixie), then: make up; make db-upgrade to=$of_image moves the data"
  # What start.sh says of the volume, or psql of roles.sql, has a cause; the latter is repeated with every health check.
  log=$(docker logs "$(container db)" 2>&1)
  cause=$(sed -nE 's/^error: //p; s/^psql:([^ ]*\/)?([^ ]+): +(ERROR|FATAL): +/\2: /p; s/^psql: error: //p' <<<"$log" | tail -n 1)
  remedy=$(sed -n 's/^   do: //p' <<<"$log" | tail -n 1)
  printf '%serror:%s the database did not become healthy%s\n' "$red" "$reset" "${cause:+: $cause}" >&2
  log_tail db
  case $cause in
    *'extension '*'is not available'*) remedy='correct EXTENSIONS in .env, or take a database image that has it (POSTGRES_PACKAGES, POSTGRES_IMAGE: docs/operators.md)' ;;
    *'database '*' does not exist'*) remedy='DB_NAME in .env is not what this volume was made with; put that back' ;;
  esac
  printf '   do: %s; then: make up\n' "${remedy:-see make logs s=db}" >&2
  exit 1
}

# The API says itself why it is not ready; if it does not even run, its log does.
api_failed() {
  local reason
  reason=$(docker compose exec -T api python3 -I services/api/health/probe.py 2>/dev/null |
    sed -n 's/.*"detail":"\([^"]*\)".*/\1/p') || true
  reason=${reason:-$(docker logs "$(container api)" 2>&1 | sed -n 's/^error: //p' | tail -n 1)}
  printf '%serror:%s the API did not become ready: %s\n' "$red" "$reset" "${reason:-see its log}" >&2
  log_tail api
  printf '   do: see make logs s=api, and what GET /readyz answers\n' >&2
  exit 1
}

# --wait goes by the last answer of the health check: an API that was behind until now is well by the next one.
start_api() {
  docker compose up --detach --wait --no-deps api && return
  docker compose exec -T api python3 -I services/api/health/probe.py || return
  local until=$((SECONDS + 7))
  while [[ $(docker inspect --format '{{.State.Health.Status}}' "$(container api)") != healthy ]] && ((SECONDS < until)); do sleep 0.2; done
  docker compose up --detach --wait --no-deps api
}

scheduled_backups() {
  [[ ,$(setting COMPOSE_PROFILES), == *,scheduled-backups,* ]] || return 0
  step 'scheduled backups' docker compose up --detach --no-deps scheduled-backups || die 'the scheduled backups did not start' 'see above'
}

# The rest of the way where a proxy stands before the API.
deploy() {
  local url
  step 'proxy' docker compose up --detach --wait proxy || die 'the proxy did not start' 'see make logs s=proxy, make logs s=certificates'
  scripts/deploy.sh
  scheduled_backups
  say
  url=https://$(setting DOMAIN localhost)
  printf '%sTangga is up%s in %s s: %s\n' "$bold" "$reset" "$(seconds "$(($(now) - started))")" "${url%% *}:$(setting HTTPS_PORT 443)"
}

# There is nothing to start of a database elsewhere; migrate says whether it answers.
start_database() { database_elsewhere || STEP_MAY_FAIL=1 step 'database' database || database_failed; }

# A server that ran already has set its roles at its start: what a role has done to itself since is taken back.
database() {
  docker compose up --detach --wait db || return
  docker exec "$(container db)" bash /etc/tangga/start.sh roles
}

revision() {
  if database_elsewhere; then
    docker compose --progress quiet run --rm --no-deps -T migrate alembic current 2>/dev/null | cut -d' ' -f1
  else
    docker compose exec -T db psql -U "$(setting DB_OWNER_USERNAME tangga_owner)" -d "$(setting DB_NAME tangga)" -qAtc 'SELECT version_num FROM alembic_version'
  fi
}

summary() {
  local url
  url="http://$(docker compose port api 8000)"
  say
  printf '%sTangga is up%s in %s s\n' "$bold" "$reset" "$(seconds "$(($(now) - started))")"
  printf '  API       %s\n  docs      %s/docs\n  ready     %s/readyz\n' "$url" "$url" "$url"
  printf '  revision  %s\n' "$(revision)"
  say
  say "${dim}next:${reset} make history   make logs s=api   make down"
}

_main() {
  local started built=()
  started=$(now)
  scripts/preflight.sh --port
  scripts/env.sh
  scripts/images.sh
  # In production a release is built by its deploy, under a tag of its own.
  if in_production; then built=(certificates); fi
  step 'build' docker compose --progress plain build "${built[@]}" || die 'the build failed' 'the lines above say where'
  start_database
  if in_production; then
    deploy
    return
  fi
  scripts/backup.sh --before-migrate
  # The chain of compose.yaml, a link at a time: on an update, `docker compose up` would replace the running API before
  # it knows whether the migration succeeds.
  STEP_MAY_FAIL=1 step 'migrate' docker compose up --no-deps --exit-code-from migrate migrate || migration_failed
  ! pooled || step 'pooler' docker compose up --detach --wait --no-deps pooler || die 'the pooler did not start' 'see make logs s=pooler'
  STEP_MAY_FAIL=1 step 'api' start_api || api_failed
  scheduled_backups
  summary
}

_main "$@"
