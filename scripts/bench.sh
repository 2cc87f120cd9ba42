#!/usr/bin/env bash
# usage: scripts/bench.sh [--quick] [--strict] [--rebuild] [--rounds N] [--seconds N] [--json FILE] [--svg FILE] [--markdown PAGE]
#
# Measures the API beside a tutorial-style baseline, raw psycopg2, a constant answer and pgbench, in turns, on a stack of
# its own (project name + -bench) whose data stays for the next time; prints ratios with their spread and the targets
# beside them. Needs what the stack tests need. To delete the data: scripts/bench.sh --remove
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

_main() {
  local name
  scripts/prepare/preflight.sh
  scripts/prepare/env.sh
  scripts/prepare/images.sh
  name="$(setting COMPOSE_PROJECT_NAME tangga)"
  export COMPOSE_PROJECT_NAME="${name%-bench}-bench" COMPOSE_FILE=compose.yaml:compose.bench.yaml
  if [[ ${1:-} == --remove ]]; then
    exec docker compose --profile '*' down --volumes --rmi local --remove-orphans
  fi
  # The same for everybody, and no more than there is.
  BENCH_CPUS=$(($(nproc) < 2 ? $(nproc) : 2))
  export BENCH_CPUS
  scripts/prepare/venv.sh
  exec .venv/bin/python -m tests.load.bench "$@"
}

_main "$@"
