#!/usr/bin/env bash
# usage: scripts/under-load.sh [POSTS] [--strict] [--rate N] [--hold SECONDS] [--json FILE] [--plot FILE]
#
# Runs migrations under live traffic, each operation in its safe form and in its naive one, on a stack of its own that is
# removed at the end; prints a table, and what is missed of the targets. --strict: a missed target is the exit code too.
# Needs what the stack tests need.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

_main() {
  scripts/prepare/venv.sh
  exec .venv/bin/python -m tests.load.under_load --plot docs/under-load.svg "$@"
}

_main "$@"
