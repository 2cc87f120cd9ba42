#!/usr/bin/env bash
# usage: scripts/bench-floods.sh [--rounds N] [--seconds N] [--connections N] [--strict]
#
# What others notice of one address that floods with searches, registrations, log-ins or new connections: directly at the
# API, and behind the proxy, on stacks of its own that are removed at the end. --strict: a missed target is the exit code
# too. Needs what the stack tests need.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

_main() {
  scripts/prepare/preflight.sh
  scripts/prepare/env.sh
  scripts/prepare/images.sh
  scripts/prepare/venv.sh
  exec .venv/bin/python -m tests.load.floods "$@"
}

_main "$@"
