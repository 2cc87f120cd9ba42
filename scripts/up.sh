#!/usr/bin/env bash
# usage: scripts/up.sh
#
# From a bare machine to a serving API, checks before effects: engine and machine, .env, base images, build, database,
# migration, API. A failed migration stops here: the API is not started, or the running one goes on serving. In production,
# what comes after the database is a deploy: nobody notices that replicas are replaced.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/up/decisions.sh"
. "${BASH_SOURCE%/*}/up/why.sh"
cd "${BASH_SOURCE%/*}/.."

# --wait goes by the last answer of the health check: an API that was behind until now is well by the next one.
start_api() {
  local output until=$((SECONDS + 7))
  output=$(docker compose up --detach --wait --no-deps api 2>&1) && return
  printf '%s\n' "$output"
  [[ $output == *unhealthy* ]] || return 1
  docker compose exec -T api bash services/api/health/probe.sh >/dev/null 2>&1 || return 1
  while [[ $(docker inspect --format '{{.State.Health.Status}}' "$(docker compose ps --quiet api)") != healthy ]] && ((SECONDS < until)); do sleep 0.2; done
  docker compose up --detach --wait --no-deps api
}

scheduled_backups() {
  local profiles
  profiles=$(setting COMPOSE_PROFILES)
  [[ ,$profiles, == *,scheduled-backups,* ]] || return 0
  step --or 'the scheduled backups did not start' 'scheduled backups' docker compose up --detach --no-deps scheduled-backups
}

# The rest of the way where a proxy stands before the API.
deploy() {
  local url
  step --or 'the proxy did not start' --do 'see make logs s=proxy, make logs s=certificates' 'proxy' docker compose up --detach --wait proxy
  scripts/deploy.sh
  scheduled_backups
  say
  url=https://$(setting DOMAIN localhost)
  printf '%sTangga is up%s in %s s: %s\n' "$bold" "$reset" "$(seconds "$(($(now) - started))")" "${url%% *}:$(setting HTTPS_PORT 443)"
}

# What overlays build, too.
build_stack() {
  if [[ -n $in_production ]]; then
    docker compose --progress plain build certificates
  elif [[ -n $overlaid ]]; then
    docker compose --progress plain build
  else
    build_if_changed migrate api
  fi
}

# There is nothing to start of a database elsewhere; migrate says whether it answers.
start_database() {
  if [[ -n $database_elsewhere ]]; then return; fi
  try 'database' database
  ((tried == 0)) || database_failed
}

# A server that ran already has set its roles at its start: what a role has done to itself since is taken back.
database() {
  local id
  docker compose up --detach --wait db
  id=$(docker compose ps --all --quiet db)
  docker exec "$id" bash /etc/tangga/start.sh roles
}

# revision: the revisions that the database is at, in one line.
revision() {
  if [[ -n $database_elsewhere ]]; then
    docker compose --progress quiet run --rm --no-deps -T migrate alembic current 2>/dev/null | cut -d' ' -f1 | paste -sd ' '
    return
  fi
  docker compose exec -T db psql -XqAt -v ON_ERROR_STOP=1 -U "$(setting DB_OWNER_USERNAME tangga_owner)" -d "$(setting DB_NAME tangga)" -f /etc/tangga/revision.sql | sed 's/+/ /g; s/^base$//'
}

summary() {
  local url revision
  asked revision
  revision=$answer
  asked docker compose port api 8000
  url=http://$answer
  say
  printf '%sTangga is up%s in %s s\n' "$bold" "$reset" "$(seconds "$(($(now) - started))")"
  printf '  API       %s\n  docs      %s/docs\n  ready     %s/readyz\n' "$url" "$url" "$url"
  printf '  revision  %s\n' "${revision:-none: no step has run (make revision m=\"...\" writes one)}"
  say
  say "${dim}next:${reset} make history   make logs s=api   make down"
}

_main() {
  local started
  started=$(now)
  scripts/prepare/preflight.sh --port
  scripts/prepare/env.sh
  scripts/prepare/images.sh
  read_stack
  # In production a release is built by its deploy, under a tag of its own.
  step --or 'the build failed' 'build' build_stack
  start_database
  if [[ -n $in_production ]]; then
    deploy
    return
  fi
  scripts/backup.sh --before-migrate
  # The chain of compose.yaml, a link at a time: on an update, `docker compose up` would replace the running API before
  # it knows whether the migration succeeds.
  try 'migrate' docker compose up --no-deps --exit-code-from migrate migrate
  ((tried == 0)) || migration_failed
  if [[ -n $pooled ]]; then step --or 'the pooler did not start' --do 'see make logs s=pooler' 'pooler' docker compose up --detach --wait --no-deps pooler; fi
  try 'api' start_api
  ((tried == 0)) || api_failed
  scheduled_backups
  summary
}

_main "$@"
