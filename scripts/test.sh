#!/usr/bin/env bash
# usage: scripts/test.sh unit|api|migrations|stack [PYTEST ARGUMENT...]   (with a path: tests/api/test_x.py: just that)
#
# Runs one tier of tests under a project name of its own, so that a running stack is left alone. The first three run in
# the test container, against a database that is deleted afterwards; the stack tier runs pytest here, from outside.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

in_container() {
  local tier=$1 options=(--rm) paths=()
  shift
  [[ " $*" == *" tests/"* ]] || paths=("tests/$tier")
  [[ $tier == unit ]] && options+=(--no-deps)
  # Each test has a database of its own; half of its time is spent waiting for the server.
  [[ $tier == migrations && " $* " != *" -s "* ]] && set -- --numprocesses 2 --dist loadfile "$@"
  STEP_QUIET=1 step 'build' docker compose build test
  docker compose run "${options[@]}" test pytest "${paths[@]}" "$@"
}

# The stacks' tests mostly wait, so two modules run at a time; those that measure, or disturb the engine, come after them.
in_stacks() {
  local status=0
  if [[ " $*" == *" tests/"* ]]; then exec .venv/bin/pytest "$@"; fi
  (($# == 0)) || exec .venv/bin/pytest tests/stack "$@"
  .venv/bin/pytest tests/stack -m 'not alone' --numprocesses 2 --dist loadfile --no-loadscope-reorder || status=$?
  .venv/bin/pytest tests/stack -m alone || status=$?
  return "$status"
}

clean_up() { docker compose --profile '*' down --volumes --remove-orphans >/dev/null 2>&1 || true; }

_main() {
  local tier=$1
  shift
  scripts/prepare/preflight.sh
  scripts/prepare/env.sh
  scripts/prepare/images.sh
  # CI may name its tests' project itself; the running stack's name is never used.
  COMPOSE_PROJECT_NAME="$(setting COMPOSE_PROJECT_NAME tangga)-test"
  # The tests make and drop databases: on a server of their own, whatever .env chooses.
  export COMPOSE_PROJECT_NAME COMPOSE_FILE=compose.yaml DB_HOSTNAME=db DB_PORT=5432
  if [[ $tier == stack ]]; then
    scripts/prepare/venv.sh
    scripts/prepare/browser.sh >/dev/null
    in_stacks "$@"
    return
  fi
  trap clean_up EXIT
  in_container "$tier" "$@"
}

_main "$@"
