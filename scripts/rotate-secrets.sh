#!/usr/bin/env bash
# usage: scripts/rotate-secrets.sh [--apply | --finish]
#
# Gives the three database roles new passwords and the API a new key for tokens, in the database and in .env together. What
# the old key has signed stays good until --finish takes it away, once TOKEN_MINUTES have passed. --apply invents nothing:
# it gives the database the passwords that stand in .env, for whoever has changed them there.
#
# The new values stand in .env.rotating before anything else knows them, so a run that was killed is finished by the next.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib.sh"
cd "${BASH_SOURCE%/*}/.."

readonly next=.env.rotating passwords=(DB_PASS DB_OWNER_PASS POSTGRES_PASSWORD)

# A file is written in place: a container has it mounted itself, not the name that leads to it.
file_secrets() { [[ -d secrets ]] && in_production; }
put() { printf '%s' "$2" >"secrets/$1"; }

# The passwords in a file, given to the roles in one transaction. On psql's standard input, so that they are in no
# process list; nor may they show in the server's log.
alter_roles() {
  {
    printf "SET log_statement = 'none';\nSET log_min_error_statement = 'panic';\nBEGIN;\n"
    alter_role "$(setting DB_USERNAME tangga_app)" "$(value_in "$1" DB_PASS)"
    alter_role "$(setting DB_OWNER_USERNAME tangga_owner)" "$(value_in "$1" DB_OWNER_PASS)"
    alter_role "$(setting POSTGRES_USER postgres)" "$(value_in "$1" POSTGRES_PASSWORD)"
    printf 'COMMIT;\n'
  } | docker compose exec -T db psql -XqAt -v ON_ERROR_STOP=1 -U "$(setting POSTGRES_USER postgres)" -d postgres
}

# alter_role ROLE PASSWORD: the statement; doubled quotes are SQL's way of one.
alter_role() { printf 'ALTER ROLE "%s" PASSWORD '\''%s'\'';\n' "${1//\"/\"\"}" "${2//\'/\'\'}"; }

prepare() {
  local name new=() old
  for name in "${passwords[@]}"; do new+=("$name=$(random_secret)"); done
  old=$(setting TOKEN_KEY)
  replaced "${new[@]}" "TOKEN_KEY=$(random_secret)" "TOKEN_KEY_PREVIOUS=$old" | write_file "$next"
}

# From here on, only what $next says; each part may be done twice.
complete() {
  if file_secrets; then
    # A running API tries both, whichever of them the database has at the moment.
    put db_pass_previous "$(value_in .env DB_PASS)"
    put db_pass "$(value_in "$next" DB_PASS)"
  fi
  alter_roles "$next"
  if file_secrets; then
    put db_owner_pass "$(value_in "$next" DB_OWNER_PASS)"
    put postgres_password "$(value_in "$next" POSTGRES_PASSWORD)"
    # First what is believed, then what signs: no worker meets a token whose key it cannot find.
    put token_key_previous "$(value_in "$next" TOKEN_KEY_PREVIOUS)"
    put token_key "$(value_in "$next" TOKEN_KEY)"
  fi
  write_file .env <"$next" # which may be a link
  rm "$next"
}

# Where a service has its secrets from its environment, only a new container gets new ones; the pooler always has it from there.
renew_api() {
  ! pooled || docker compose up --detach --wait --no-deps pooler
  if ! file_secrets; then
    docker compose up --detach --wait --no-deps api
    [[ -z $(docker compose ps --quiet scheduled-backups 2>/dev/null) ]] || docker compose up --detach --no-deps scheduled-backups
  fi
}

rotate() {
  [[ -e $next ]] || prepare
  step 'database and .env' complete || die 'the secrets were not changed everywhere' 'see above, then again: make rotate-secrets'
  step 'API' renew_api || die 'the secrets are changed, but the API did not become ready with them' 'see make logs s=api, then: make up'
  say "Passwords and token key are new. What the old key has signed stays good until: make rotate-secrets finish=1"
  say "  (wait $(setting TOKEN_MINUTES 60) minutes with that, TOKEN_MINUTES, so that nobody has to log in again)"
}

apply() {
  step 'database' alter_roles .env || die 'the database did not take the passwords of .env' 'see above'
  step 'API' renew_api || die 'the API did not become ready' 'see make logs s=api'
}

finish() {
  if file_secrets; then
    put token_key_previous ''
    put db_pass_previous ''
  fi
  replaced TOKEN_KEY_PREVIOUS= | write_file .env
  step 'API' renew_api || die 'the API did not become ready' 'see make logs s=api'
  say 'The old token key is believed no longer.'
}

_main() {
  [[ -n $(docker compose ps --quiet --status running db 2>/dev/null) ]] ||
    die 'the database of this stack does not run here' 'start it: make up; an external one: see docs/secrets.md'
  with_deploy_lock rotate-secrets
  case ${1:-} in
    '') rotate ;;
    --apply) apply ;;
    --finish) finish ;;
    *) die "unknown option $1" 'scripts/rotate-secrets.sh [--apply | --finish]' ;;
  esac
}

_main "$@"
