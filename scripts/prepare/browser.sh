#!/usr/bin/env bash
# usage: scripts/prepare/browser.sh
#
# Prints the path of a Chromium without a window, which one stack test needs. On Debian installs it if it is missing and
# that is possible.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../lib/common.sh"
. "${BASH_SOURCE%/*}/../lib/machine.sh"

find_browser() { command -v chromium-headless-shell || command -v chromium || command -v google-chrome; }

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
install_browser() {
  as_root apt-get update -qq &&
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium-headless-shell
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
_main() {
  if find_browser; then return; fi
  { command -v apt-get >/dev/null && may_be_root; } || die 'there is no Chromium here' 'install chromium'
  step 'install chromium-headless-shell' install_browser >&2
  find_browser
}

_main "$@"
