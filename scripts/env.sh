#!/usr/bin/env bash
# usage: scripts/env.sh
#
# Makes .env from .env.example, with random secrets and mode 0600, if there is none; never overwrites one. Refuses a
# secret that is still the placeholder, naming the variable. In production, writes the secrets of .env into files.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib.sh"
cd "${BASH_SOURCE%/*}/.."

readonly placeholder=change-me
readonly secrets=(DB_PASS DB_OWNER_PASS POSTGRES_PASSWORD TOKEN_KEY)

generate() {
  local line temporary
  # Complete before it has its name, and private before it has content.
  temporary=$(umask 077 && mktemp .env.XXXXXX)
  while IFS= read -r line; do
    case $line in
      *"=$placeholder") line="${line%%=*}=$(random_secret)" ;;
      '#TANGGA_UID='*) line="TANGGA_UID=$(id -u)" ;;
      '#TANGGA_GID='*) line="TANGGA_GID=$(id -g)" ;;
    esac
    printf '%s\n' "$line"
  done <.env.example >"$temporary"
  mv -n "$temporary" .env
  say '  .env made from .env.example, with random secrets (mode 0600)'
}

# put FILE VALUE: into a file that containers have mounted, so in place, and only if that changes it. Any user of a
# container may read it; on this machine the folder is closed.
put() {
  [[ -e secrets/$1 && $(<"secrets/$1") == "$2" ]] || printf '%s' "$2" >"secrets/$1"
  chmod 644 "secrets/$1"
}

write_files() {
  local name
  mkdir -p -m 700 secrets
  for name in "${secrets[@]}" TOKEN_KEY_PREVIOUS; do put "${name,,}" "$(setting "$name")"; done
  # Only a rotation has one (scripts/rotate-secrets.sh).
  [[ -e secrets/db_pass_previous ]] || put db_pass_previous ''
}

_main() {
  [[ -e .env ]] || generate
  # Docker would make it for root, and open.
  [[ -d $(setting BACKUP_DIR ./backups) ]] || mkdir -m 0700 "$(setting BACKUP_DIR ./backups)"
  local name
  for name in "${secrets[@]}"; do
    [[ $(setting "$name") != *"$placeholder"* ]] ||
      die "$name is still the placeholder of .env.example" "put a secret of your own into .env, for example: $name=$(random_secret)"
    [[ -n $(setting "$name") ]] || die "$name is not set" "put it into .env, for example: $name=$(random_secret)"
  done
  # A rotation that was cut off has gone further than .env: it is finished by the next one, and undone by nobody.
  if in_production && [[ ! -e .env.rotating ]]; then write_files; fi
}

_main "$@"
