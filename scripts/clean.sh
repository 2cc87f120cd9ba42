#!/usr/bin/env bash
# usage: [yes=1] scripts/clean.sh
#
# Deletes this stack: containers, network, images and the volumes with all data; backups stay. Asks on a terminal for the
# stack's name to be typed; elsewhere goes ahead only with yes=1.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

_main() {
  local name answer
  name=$(confirmed_project)
  if [[ ${yes:-} != 1 ]]; then
    [[ -t 0 ]] || die "this deletes all data of the stack \"$name\", and there is no terminal to ask on" 'make clean yes=1'
    read -r -p "This deletes the database of \"$name\" for good. Type the stack's name to go on: " answer
    [[ $answer == "$name" ]] || die 'nothing was deleted' 'type the name exactly, or: make clean yes=1'
  fi
  docker compose --profile '*' down --volumes --rmi local --remove-orphans
  # And those that an upgrade of PostgreSQL has kept.
  docker volume ls --quiet --filter "label=com.docker.compose.project=$name" | xargs -r docker volume rm >/dev/null
}

_main "$@"
