#!/usr/bin/env bash
# usage: services/api/health/probe.sh [--once]   (in the API's container)
#
# Container health check: exit 0 if /readyz answers 200; prints the status and the answer. --once: after it has been ready
# once, it is healthy as long as /healthz answers; this is for schedulers that end whatever is unhealthy, which mends no
# database. Bash alone: it runs five times a second while the API starts, and a probe in Python costs 25 times as much
# (docs/decisions/0042-health-check-in-bash.md).
set -Eeuo pipefail

# In the container's own memory, gone with it.
readonly was_ready=/tmp/tangga-was-ready patience=4

_main() {
  local path=/readyz status='' line body=''
  [[ ${1:-} != --once || ! -e $was_ready ]] || path=/healthz
  { exec 3<>/dev/tcp/127.0.0.1/8000; } 2>/dev/null || {
    echo 'no answer: nothing listens on port 8000'
    exit 1
  }
  trap '' PIPE # of one that ends the connection meanwhile; a line is a write
  printf 'GET %s HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nConnection: close\r\n\r\n' "$path" 2>/dev/null >&3 || true
  read -r -t "$patience" _ status _ <&3 || {
    echo "no answer: the connection ended, or $patience s were over"
    exit 1
  }
  while read -r -t 1 line <&3 && [[ $line != $'\r' ]]; do :; done
  read -r -t 1 -N 1000 body <&3 || true # to the end, or as much as a log should hold
  printf '%s %s\n' "$status" "$body"
  [[ $status == 200 ]] || exit 1
  [[ ${1:-} != --once ]] || : >"$was_ready"
}

_main "$@"
