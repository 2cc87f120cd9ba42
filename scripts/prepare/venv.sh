#!/usr/bin/env bash
# usage: scripts/prepare/venv.sh
#
# Makes .venv, which the stack tests need: they run outside the containers. Once for each state of the lock file. On
# Debian and Ubuntu installs python3-venv if it is missing and that is possible.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../lib/common.sh"
. "${BASH_SOURCE%/*}/../lib/machine.sh"
cd "${BASH_SOURCE%/*}/../.."

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
install_python() { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; }

make_venv() {
  rm -rf .venv
  python3 -m venv .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: --no-compile -r requirements-dev.lock
  cp requirements-dev.lock .venv/made-from.lock
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
_main() {
  if cmp -s requirements-dev.lock .venv/made-from.lock; then return; fi
  if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
    { command -v apt-get >/dev/null && may_be_root; } || die 'the stack tests need python3 with venv' 'install Python 3.11 or newer'
    step 'install python3-venv' install_python
  fi
  python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || die "the stack tests need Python 3.11, this is $(python3 -V)" 'install a newer Python'
  step 'make .venv' make_venv
}

_main "$@"
