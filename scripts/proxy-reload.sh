#!/usr/bin/env bash
# usage: scripts/proxy-reload.sh
#
# Makes the proxy read services/proxy/haproxy.cfg anew. A new process takes over the sockets, the old one ends when its
# requests have ended. Not in the middle of a deploy: the new process would not know which replicas are going.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/lib/operation.sh"
cd "${BASH_SOURCE%/*}/.."

proxy='' # its container

answers() { docker exec --interactive "$proxy" socat - UNIX-CONNECT:/run/haproxy/admin.sock <<<'show info' | grep '^Uptime_sec: [0-3]$'; }

reload() {
  local tries
  docker compose kill --signal SIGUSR2 proxy
  for tries in {1..50}; do
    # shellcheck disable=SC2310 # one pipeline
    if answers; then return; fi
    sleep 0.1
  done
  echo "the new process did not answer after ${tries:+5 s}"
  return 1
}

_main() {
  asked docker compose ps --quiet --status running proxy
  [[ -n $answer ]] || die 'the proxy does not run' 'make up'
  proxy=$answer
  with_deploy_lock proxy-reload
  step --or 'services/proxy/haproxy.cfg is not valid; the proxy goes on as it was' --do 'mend it, then again: make proxy-reload' \
    'check' docker compose exec -T proxy haproxy -c -f /etc/proxy/haproxy.cfg
  step --or 'the proxy was not reloaded' --do 'see make logs s=proxy' 'reload' reload
}

_main "$@"
