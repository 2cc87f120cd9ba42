#!/usr/bin/env bash
# usage: scripts/rollback.sh [--yes] [--ask-only] REVISION
#
# Goes down to a revision (or by steps: -1). Says first what data that would lose, and then asks on a terminal for the
# database's name to be typed; elsewhere goes ahead only with --yes, else exit 11. What would be lost is saved first.
# Steps that lose nothing ask nothing. --ask-only: goes nowhere.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

_main() {
  local yes='' ask_only=''
  while [[ ${1:-} == --* ]]; do
    case $1 in
      --yes) yes=1 ;;
      --ask-only) ask_only=1 ;;
    esac
    shift
  done
  attempt docker compose --progress quiet run --rm -T migrate alembic losses "$1"
  case $tried in
    0) ;;
    "$exit_would_lose_data")
      say "$answer"
      [[ -n $yes ]] || _ask
      ;;
    *) give_up '' ;;
  esac
  [[ -n $ask_only ]] || docker compose run --rm migrate alembic downgrade "$1"
}

_ask() {
  local database answer
  database=$(setting DB_NAME tangga)
  [[ -t 0 ]] || _refuse 'this would lose data, and there is no terminal to ask on; nothing was changed' 'add yes=1: it is saved first, and make restore-data puts it back after the next upgrade'
  read -r -p "It is saved first. Type the database's name ($database) to go on: " answer
  [[ $answer == "$database" ]] || _refuse 'nothing was changed' 'type the name exactly, or add yes=1'
}

_refuse() {
  # shellcheck disable=SC2310 # one command
  (die "$@") || exit "$exit_would_lose_data"
}

_main "$@"
