#!/usr/bin/env bash
# usage: scripts/test.sh unit|api|migrations|stack [PYTEST ARGUMENT...]   (with a path: tests/api/test_x.py: just that)
#
# Runs one tier of tests under a project name of its own, so that a running stack is left alone. The first three run in
# the test container: unit reaches nothing, and the others have a server in memory that is gone afterwards. The stack tier
# runs pytest here, from outside.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

# arguments TIER ARGUMENT...: those of pytest, a line each. Two processes share a tier, or several modules of it: each has
# databases of its own. A single module is done before a second process has started, and -s shows nothing through two.
arguments() {
  local tier=$1 named
  shift
  [[ " $*" == *" tests/"* ]] || printf '%s\n' "tests/$tier"
  named=$(printf '%s\n' "$@" | grep -c '^tests/.*\.py') || true
  if [[ $named != 1 && " $* " != *" -s "* ]]; then
    # A module of unit is long or short; in the others, its tests share what they have made.
    printf '%s\n' --numprocesses=2 "--dist=$([[ $tier == unit ]] && echo worksteal || echo loadfile)" --no-loadscope-reorder
  fi
  (($# == 0)) || printf '%s\n' "$@"
}

# Without a network there is nothing to make and to remove besides.
in_unit() {
  local terminal=()
  [[ ! -t 0 || ! -t 1 ]] || terminal=(--interactive --tty)
  build_image
  isolated "${terminal[@]}" --tmpfs /tmp:exec "$COMPOSE_PROJECT_NAME-test:$(setting TAG latest)" pytest "$@"
}

# The server makes its cluster while the image is built.
with_server() {
  local server
  trap clean_up EXIT
  docker compose --progress quiet up --detach test-db &
  server=$!
  build_image
  wait "$server"
  docker compose --progress quiet run --rm test pytest "$@"
}

build_image() { STEP_QUIET=1 step 'build' docker compose build test; }

# They mostly wait, so three modules run at a time (tests/stack/conftest.py: which share a process, and what comes first).
in_stacks() {
  # Where that is set, each of some hundred programs would compile what it imports anew, for three seconds.
  unset PYTHONDONTWRITEBYTECODE
  if [[ " $*" == *" tests/"* ]]; then exec .venv/bin/pytest "$@"; fi
  (($# == 0)) || exec .venv/bin/pytest tests/stack "$@"
  exec .venv/bin/pytest tests/stack --numprocesses 3 --no-loadscope-reorder
}

clean_up() {
  wait # what is still being started could not be removed
  docker compose --profile '*' down --volumes --remove-orphans --timeout 0 >/dev/null 2>&1 || true
}

_main() {
  local tier=$1 arguments
  shift
  scripts/prepare/preflight.sh
  scripts/prepare/env.sh
  scripts/prepare/images.sh
  # CI may name its tests' project itself; the running stack's name is never used.
  COMPOSE_PROJECT_NAME="$(setting COMPOSE_PROJECT_NAME tangga)-test"
  # Whatever .env chooses: no other server, no overlay.
  export COMPOSE_PROJECT_NAME COMPOSE_FILE=compose.yaml
  if [[ $tier == stack ]]; then
    scripts/prepare/venv.sh
    scripts/prepare/browser.sh >/dev/null
    in_stacks "$@"
    return
  fi
  mapfile -t arguments < <(arguments "$tier" "$@")
  if [[ $tier == unit ]]; then in_unit "${arguments[@]}"; else with_server "${arguments[@]}"; fi
}

_main "$@"
