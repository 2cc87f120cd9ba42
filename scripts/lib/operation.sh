# shellcheck shell=bash
# One operation at a time, each with a line in the log. Sourced, never run.
#
# .deploy/lock, while one runs: ACTION STARTED_AT WHO PROCESS, in this order, on one line.
# .deploy/log.jsonl, an object a line, the newest last: started_at, seconds, who, action, from, to, revision, outcome (ok or
# failed), reason. Who reads it reads JSON (lib/json.sh, lib/releases.sh; services/migrate/status.py).

readonly operations_log=.deploy/log.jsonl

# with_deploy_lock ACTION: from here to the end of the script nobody else changes what runs. Refuses at once if somebody
# does. Whatever the end is, it is noted in the log; the script may set operation_from, _to and _revision for that, and a
# function `clean_up`, which is called first.
with_deploy_lock() {
  local holder
  operation=$1 operation_started=$(utc) operation_began=$(now) operation_from='' operation_to='' operation_revision=''
  mkdir -p -m 700 .deploy
  exec {deploy_lock}<>.deploy/lock
  if ! flock --nonblock "$deploy_lock"; then
    read -r -a holder <.deploy/lock || true
    die "${holder[0]:-something} is under way: started by ${holder[2]:-somebody} at ${holder[1]:-?}, process ${holder[3]:-?}" \
      'wait for its end, then try again'
  fi
  # A line that is left over belongs to one that could not note its own end.
  if read -r -a holder <.deploy/lock && [[ -n ${holder[3]:-} ]]; then
    say "Note: ${holder[0]}, started by ${holder[2]} at ${holder[1]}, was killed."
    log_operation "${holder[0]}" "${holder[1]}" 0 "${holder[2]}" '' '' '' failed 'killed'
  fi
  printf '%s %s %s %s\n' "$operation" "$operation_started" "$(operator)" "$$" >.deploy/lock
  # Whatever part of this run refuses to go on, its cause is the log's reason.
  export REFUSAL=$PWD/.deploy/refusal
  rm -f "$REFUSAL"
  trap _operation_ends EXIT
}

operator() { printf '%s' "${SUDO_USER:-$(id -un 2>/dev/null || id -u)}"; }

_operation_ends() {
  local status=$? outcome=ok reason=''
  if ((status)); then
    outcome=failed reason="ended with status $status"
    [[ ! -e $REFUSAL ]] || IFS= read -r -d '' reason <"$REFUSAL" || true
  fi
  rm -f "$REFUSAL"
  unset REFUSAL
  if declare -F clean_up >/dev/null; then
    clean_up &
    wait "$!" || printf '       what this run has left could not all be removed; the next run does it\n' >&2
  fi
  log_operation "$operation" "$operation_started" "$(seconds "$(($(now) - operation_began))")" "$(operator)" \
    "$operation_from" "$operation_to" "$operation_revision" "$outcome" "$reason"
  : >.deploy/lock
}

# log_operation ACTION STARTED_AT SECONDS WHO FROM TO REVISION OUTCOME REASON: a line for the log.
log_operation() {
  printf '{"started_at": "%s", "seconds": %s, "who": %s, "action": "%s", "from": %s, "to": %s, "revision": %s, "outcome": "%s", "reason": %s}\n' \
    "$2" "$3" "$(json_string "$4")" "$1" "$(json_string "$5")" "$(json_string "$6")" "$(json_string "$7")" "$8" "$(json_string "$9")" \
    >>"$operations_log"
}
