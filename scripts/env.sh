#!/usr/bin/env bash
# usage: scripts/env.sh
#
# Makes .env from .env.example, with random secrets and mode 0600, if there is none; never overwrites one. Refuses a
# secret that is still the placeholder, naming the variable.
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
}

_main "$@"
