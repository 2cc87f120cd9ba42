#!/usr/bin/env bash
# usage: scripts/rotate-secrets.sh [--apply | --finish]
#
# Gives the three database roles new passwords and the API a new key for tokens, in the database and in .env together. What
# the old key has signed stays good until --finish takes it away, once TOKEN_MINUTES have passed. --apply invents nothing:
# it gives the database the passwords that stand in .env, for whoever has changed them there.
#
# The new values stand in .env.rotating before anything else knows them, so a run that was killed is finished by the next.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/lib/operation.sh"
cd "${BASH_SOURCE%/*}/.."

readonly next=.env.rotating passwords=(DB_PASS DB_OWNER_PASS POSTGRES_PASSWORD)

files='' # 1: services have their secrets from files
apis=()
declare -A old=() new=() # secrets, by name

# A file is written in place: a container has it mounted itself, not the name that leads to it.
put() { printf '%s' "$2" >"secrets/$1"; }

# shellcheck disable=SC2034 # the array is used by its own name
# read_secrets ARRAY FILE NAME...: one by one, for what fails in an argument ends nothing, and the password would be empty.
read_secrets() {
  local -n into=$1
  local name
  for name in "${@:3}"; do
    asked value_in "$2" "$name"
    into["$name"]=$answer
  done
}

# alter_roles ARRAY: gives the roles their passwords, in one transaction. On psql's standard input, so that they are in no
# process list; nor may they show in the server's log, or in a line that psql quotes.
alter_roles() {
  local -n given=$1
  {
    printf "SET log_statement = 'none';\nSET log_min_error_statement = 'panic';\nBEGIN;\n"
    alter_role "$(setting DB_USERNAME tangga_app)" "${given[DB_PASS]}"
    alter_role "$(setting DB_OWNER_USERNAME tangga_owner)" "${given[DB_OWNER_PASS]}"
    alter_role "$(setting POSTGRES_USER postgres)" "${given[POSTGRES_PASSWORD]}"
    printf 'COMMIT;\n'
  } | docker compose exec -T db psql -XqAt -v ON_ERROR_STOP=1 -v VERBOSITY=terse -U "$(setting POSTGRES_USER postgres)" -d postgres
}

# log_in ARRAY: whether each of the roles can log in with its password. By the container's name in its network: over the
# socket, and in some images on 127.0.0.1, nobody is asked for one.
log_in() {
  local -n secrets=$1
  printf '%s\n' "$(setting DB_USERNAME tangga_app)" "${secrets[DB_PASS]}" \
    "$(setting DB_OWNER_USERNAME tangga_owner)" "${secrets[DB_OWNER_PASS]}" \
    "$(setting POSTGRES_USER postgres)" "${secrets[POSTGRES_PASSWORD]}" |
    docker compose exec -T -e DATABASE="$(setting DB_NAME tangga)" db sh -c '
      while IFS= read -r PGUSER && IFS= read -r PGPASSWORD; do
        export PGUSER PGPASSWORD
        psql -XqAt -h "$(hostname)" -d "$DATABASE" -c "SELECT 1" </dev/null >/dev/null || exit
      done'
}

# alter_role ROLE PASSWORD: the statement; doubled quotes are SQL's way of one.
alter_role() { printf 'ALTER ROLE "%s" PASSWORD '\''%s'\'';\n' "${1//\"/\"\"}" "${2//\'/\'\'}"; }

prepare() {
  local name pairs=()
  for name in "${passwords[@]}" TOKEN_KEY; do new[$name]=$(random_secret); done
  new[TOKEN_KEY_PREVIOUS]=${old[TOKEN_KEY]}
  for name in "${!new[@]}"; do pairs+=("$name=${new[$name]}"); done
  replaced "${pairs[@]}" | write_file "$next"
}

# From here on, only what $next says; each part may be done twice.
complete() {
  if [[ -n $files ]]; then
    # A running API tries both, whichever of them the database has at the moment.
    put db_pass_previous "${old[DB_PASS]}"
    put db_pass "${new[DB_PASS]}"
  fi
  alter_roles new
  log_in new
  if [[ -n $files ]]; then
    put db_owner_pass "${new[DB_OWNER_PASS]}"
    put postgres_password "${new[POSTGRES_PASSWORD]}"
    # First the keys that are believed, then the key that signs: no worker meets a token whose key it cannot find.
    put token_key_previous "${new[TOKEN_KEY_PREVIOUS]}"
    put token_key "${new[TOKEN_KEY]}"
  fi
  write_file .env <"$next" # which may be a link
  rm "$next"
}

# not_complete PREVIOUS: if the database has the old passwords, all is made as it was; else only another run knows how to go on.
not_complete() {
  # shellcheck disable=SC2310 # one pipeline
  if log_in old >/dev/null 2>&1; then
    rm -f "$next"
    if [[ -n $files ]]; then
      put db_pass "${old[DB_PASS]}"
      put db_pass_previous "$1"
    fi
    give_up 'the database did not take the new passwords; nothing was changed' 'mend that, then again: make rotate-secrets'
  fi
  give_up "the secrets are not changed everywhere: .env is as it was, the new ones stand in $next" \
    'mend that, then again: make rotate-secrets, which goes on with them'
}

# Where a service has its secrets from its environment, only a new container gets new ones; the pooler always has it from there.
renew_api() {
  local id
  read_settings
  if [[ -n $pooled ]]; then docker compose up --detach --wait --no-deps pooler; fi
  if [[ -z $files ]]; then
    docker compose up --detach --wait --no-deps api
    asked docker compose ps --quiet scheduled-backups
    if [[ -n $answer ]]; then docker compose up --detach --no-deps scheduled-backups; fi
  fi
  # Each for itself: one answer of several says nothing of the others.
  listed apis docker compose ps --quiet api
  for id in "${apis[@]}"; do docker exec "$id" bash services/api/health/probe.sh; done
}

rotate() {
  local previous=''
  [[ ! -e secrets/db_pass_previous ]] || previous=$(<secrets/db_pass_previous)
  read_secrets old .env "${passwords[@]}" TOKEN_KEY
  if [[ -e $next ]]; then read_secrets new "$next" "${passwords[@]}" TOKEN_KEY TOKEN_KEY_PREVIOUS; else prepare; fi
  try 'database and .env' complete
  ((tried == 0)) || not_complete "$previous"
  step --or 'the secrets are changed, but the API is not ready with them' --do 'see make logs s=api, then: make up' 'API' renew_api
  say "Passwords and token key are new. What the old key has signed stays good until: make rotate-secrets finish=1"
  say "  (wait $(setting TOKEN_MINUTES 60) minutes with that, TOKEN_MINUTES, so that nobody has to log in again)"
}

give_database() {
  read_secrets old .env "${passwords[@]}"
  alter_roles old
  log_in old
}

apply() {
  step --or 'the database did not take the passwords of .env' --do 'mend that, then again: make rotate-secrets apply=1' 'database' give_database
  step --or 'the database has the passwords of .env, but the API is not ready with them' --do 'see make logs s=api, then: make up' 'API' renew_api
}

finish() {
  if [[ -n $files ]]; then
    put token_key_previous ''
    put db_pass_previous ''
  fi
  replaced TOKEN_KEY_PREVIOUS= | write_file .env
  step --or 'the old token key is in no file any more, but the API is not ready' --do 'see make logs s=api, then: make up' 'API' renew_api
  say 'The old token key is believed no longer.'
}

_main() {
  read_stack
  asked docker compose ps --quiet --status running db
  [[ -n $answer ]] ||
    die 'the database of this stack does not run here' 'start it: make up; an external one: see docs/secrets.md'
  if [[ -d secrets && -n $in_production ]]; then files=1; fi
  with_deploy_lock rotate-secrets
  case ${1:-} in
    '') rotate ;;
    --apply) apply ;;
    --finish) finish ;;
    *) die "unknown option $1" 'scripts/rotate-secrets.sh [--apply | --finish]' ;;
  esac
}

_main "$@"
