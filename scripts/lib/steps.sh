# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # used, and set, by the other parts
# Commands that may fail. Sourced, never run.
#
# bash ignores errexit in whatever a condition calls: in `f || die`, `if f` and `! f` the function f goes on after a line
# that failed, and its last line alone decides; in subshells and background jobs of it, too. So those below are called
# plainly, never in a condition. Each runs its command in a job, where errexit is on, and has the status from `wait`.
#
# A command says why it has refused: by its status and, if it is of this folder, in the file $REFUSAL (`die` writes it). A
# program in a container has no file of this machine: it says so on its standard error, in the two lines of `die`.

# try LABEL COMMAND...: runs the command with its output kept aside, shows progress once it takes over two seconds, notes
# how long it took. Never fails: the status, in $tried, is the caller's to judge, with the output, in $said.
# STEP_QUIET=1: says nothing of a command that succeeds within two seconds.
try() {
  local label=$1 log start shown=0 pid elapsed pause=0.01
  local -x REFUSAL
  what_failed="$1 failed"
  shift
  _not_in_a_condition
  log=$(mktemp) REFUSAL=$log.refusal
  start=$(now)
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # Ctrl-C must end the command too, not only this script.
  trap 'kill "$pid" 2>/dev/null; rm -f "$log" "$REFUSAL"; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep "$pause"
    elapsed=$(($(now) - start))
    ((elapsed < 100)) || pause=0.1
    if ((elapsed >= 2000)); then
      if [[ -t 1 ]]; then
        printf '\r  %s…%s %s %ss ' "$dim" "$reset" "$label" "$((elapsed / 1000))"
      elif ((elapsed / 15000 >= shown)); then
        say "  … $label ($((elapsed / 1000)) s)"
        shown=$((elapsed / 15000 + 1))
      fi
    fi
  done
  tried=0
  wait "$pid" || tried=$?
  trap - INT TERM
  elapsed=$(($(now) - start))
  said=$(tail -c 100000 "$log")
  read_refusal "$REFUSAL"
  rm -f "$log"
  if [[ -t 1 ]]; then printf '\r\e[K'; fi
  if ((tried)); then
    printf '  %s✗%s %-34s %7s s\n' "$red" "$reset" "$label" "$(seconds "$elapsed")" >&2
  elif [[ -z ${STEP_QUIET:-} ]] || ((elapsed >= 2000)); then
    printf '  %s✓%s %-34s %7s s\n' "$green" "$reset" "$label" "$(seconds "$elapsed")"
  fi
}

# step [--or WHAT] [--do REMEDY] LABEL COMMAND...: `try`; if the command fails, the script ends with its cause.
step() {
  local what='' remedy=''
  while [[ $1 == --* ]]; do
    if [[ $1 == --or ]]; then what=$2; else remedy=$2; fi
    shift 2
  done
  try "$@"
  ((tried == 0)) || give_up "$what" "$remedy"
}

# told LABEL COMMAND...: a step whose command says itself what is to be said: afterwards that stands in $told.
told() {
  try "$@"
  told=$said
  ((tried == 0)) || give_up ''
}

# attempt COMMAND...: what it prints, in $answer, and what it says besides, in $said. Never fails: $tried is the status.
attempt() {
  local output
  local -x REFUSAL
  what_failed="$1${2:+ $2}${3:+ $3} failed"
  _not_in_a_condition
  output=$(mktemp) REFUSAL=$output.refusal
  "$@" >"$output" 2>"$output.err" </dev/null &
  tried=0
  wait "$!" || tried=$?
  answer=$(<"$output") said=$(<"$output.err")
  read_refusal "$REFUSAL"
  rm -f "$output" "$output.err"
}

# asked COMMAND...: what it prints, in $answer. If it fails, the script ends with the cause.
asked() {
  attempt "$@"
  ((tried == 0)) || give_up ''
}

# listed NAME COMMAND...: the lines that it prints, as an array of this name; else as `asked`.
listed() {
  local -n list=$1
  asked "${@:2}"
  list=()
  [[ -z $answer ]] || mapfile -t list <<<"$answer"
}

# read_refusal FILE: why the command that was tried has refused, in $refused, and its remedy, in $refused_remedy; removes it.
read_refusal() {
  local fields=()
  if [[ -e $1 ]]; then
    mapfile -d '' -t fields <"$1"
    rm -f "$1"
  fi
  refused=${fields[0]:-} refused_remedy=${fields[1]:-}
}

# words_of TEXT: the same of a program in a container, from what it has printed: the first two lines of `die` in it. Its log may
# be of several runs: then the last ones count (`words_of "$text" last`).
words_of() {
  local first='q;'
  [[ ${2:-} != last ]] || first=''
  refused=$(sed -n "/^error: /{ s///p; $first }" <<<"$1" | tail -n 1)
  refused_remedy=$(sed -n "/^   do: /{ s///p; $first }" <<<"$1" | tail -n 1)
}

# log_of SERVICE: after a `docker compose up` that failed: what its container said, in $log, its own error, in $log_cause, and
# its remedy, in $log_remedy. Nothing, if Compose did not get as far as to run it: then the log is of an older run.
log_of() {
  local id own
  log='' log_cause='' log_remedy=''
  own=$(sed '/ | /d' <<<"$said") # Compose's own words, without the containers'
  [[ $own =~ (exited|unhealthy|not healthy) ]] || return 0
  id=$(docker compose ps --all --quiet "$1" 2>/dev/null) || return 0
  log=$(docker logs --tail 200 "$id" 2>&1) || log=''
  words_of "$log" last
  log_cause=$refused log_remedy=$refused_remedy
}

# give_up WHAT [REMEDY]: ends the script with the cause of what was tried: the command's own error, or else the last line that
# it said, with those before it above. WHAT may be empty, where the command's own error says all, and its remedy does.
give_up() {
  local cause remedy=${2:-} known
  [[ -n $refused ]] || words_of "$said"
  if [[ -n $refused ]]; then
    cause=${1:+$1: }$refused
    remedy=${remedy:-$refused_remedy}
  else
    sed '/^[[:space:]]*$/d' <<<"$said" | tail -n 15 | sed '$d; s/^/    | /' >&2
    cause=$(sed '/^[[:space:]]*$/d; s/^ERROR:  //' <<<"$said" | tail -n 1)
    known=$(remedy_for "$cause")
    remedy=${known:-$remedy}
    cause="${1:-$what_failed}: ${cause:-it says nothing, exit $tried}"
  fi
  (die "$cause" "${remedy:-mend that, then try again}") || exit "$tried"
}

# remedy_for CAUSE: where Docker's words tell what to do; else nothing.
remedy_for() {
  case $1 in
    *'container name'*'already in use'*)
      say "if nobody needs that container (docker ps --all), remove it: docker rm $(sed -nE 's/.*container name "\/?([^"]+)".*/\1/p' <<<"$1"); if another make is at work here, wait for its end; then again"
      ;;
    *'address pool'*)
      say 'docker network prune removes networks that nobody uses; or give the engine more default-address-pools (daemon.json); then again'
      ;;
    *'invalid volume specification'* | *'invalid spec'* | *'too many colons'*)
      say "a path with a colon cannot be mounted: move this folder ($PWD), or what .env names, to one without; then again"
      ;;
    *'page not found'* | *'o such container'* | *'already in progress'* | *'marked for removal'*)
      say 'another make seems to be at work here: wait for its end, then again'
      ;;
    *'port is already allocated'* | *'address already in use'*)
      say 'end what uses that port, or choose another in .env; then again'
      ;;
  esac
}

# A subshell whose first command fails tells whether errexit is on: 1, or else the second command's status.
_not_in_a_condition() {
  local status=0
  (
    false
    exit 2
  ) &
  wait "$!" || status=$?
  ((status == 1)) || die "${FUNCNAME[*]:1}: called in a condition, where errexit is off" 'a fault of this script: report it'
}
