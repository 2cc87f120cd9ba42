#!/usr/bin/env bash
# usage: scripts/loadtest.sh [--minutes N] [--rate N] [--users N] [--no-kill]
#
# Holds mixed traffic through the containers for a set time, on a stack of its own that is removed at the end; kills
# PostgreSQL in the middle (SIGKILL) and brings it back; then looks for every acknowledged write, row by row. Exits with 1
# if one was lost or done twice, on any 5xx but 503 (a write: 504) in the outage, if memory grew or connections leaked.
# Needs what the stack tests need.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

_main() {
  scripts/prepare/preflight.sh
  scripts/prepare/env.sh
  scripts/prepare/images.sh
  scripts/prepare/venv.sh
  exec .venv/bin/python -m tests.load.loadtest "$@"
}

_main "$@"
