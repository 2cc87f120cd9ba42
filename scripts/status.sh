#!/usr/bin/env bash
# usage: scripts/status.sh [--json | --html FILE]
#
# How the stack is, on one page: containers, schema, connections, the newest backups, the last deploys. Gathers what only
# this machine knows and hands it to `alembic status`, which asks the database. --html writes a page for a browser.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

readonly shown=5

joined() { paste -sd, -; }

# A name as JSON: what Compose allows in a project's name or a tag needs no escape.
facts() {
  local folder file backups=()
  folder=$(backup_dir)
  for file in "$folder"/*.json; do [[ ! -e $file ]] || backups=("$file" "${backups[@]}"); done
  printf '{"project": "%s", "tag": "%s", "services": [' "$(setting COMPOSE_PROJECT_NAME tangga)" "$(setting TAG latest)"
  # Not those of single commands, such as this one.
  docker compose ps --all --format json | json_lines Labels '*com.docker.compose.oneoff=True*' | joined
  # Names of one database sort by time, so the newest comes last.
  printf '], "backups": ['
  ((${#backups[@]} == 0)) || for file in "${backups[@]:0:shown}"; do tr -d '\n' <"$file"; echo; done | json_lines file | joined
  printf '], "operations": ['
  { tail -n "$shown" .deploy/log.jsonl 2>/dev/null || true; } | json_lines action | joined
  printf ']}\n'
}

ask() { facts | docker compose --progress quiet run --rm -T --no-deps migrate alembic status "$@"; }

_main() {
  local page
  read_settings
  case ${1:-} in
    --html)
      page=$(ask --html)
      printf '%s\n' "$page" >"$2"
      say "$2"
      ;;
    *) ask "$@" ;;
  esac
}

_main "$@"
