# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by the scripts that source it
# Words, colours, timing and settings for the other scripts. Sourced, never run.

# A function in $(...) ends at its first line that fails, as everywhere else.
shopt -s inherit_errexit

# Containers have this file alone mounted; their settings are in their environment.
# shellcheck source=scripts/lib/settings.sh
[[ ! -e ${BASH_SOURCE%/*}/settings.sh ]] || . "${BASH_SOURCE%/*}/settings.sh"

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' reset=$'\e[0m'
else
  bold='' dim='' red='' green='' reset=''
fi

say() { printf '%s\n' "$*"; }

# die WHAT [REMEDY]: one line with what happened, one with what to do next; exit 1.
die() {
  died_of=$1
  printf '%serror:%s %s\n' "$red" "$reset" "$1" >&2
  [[ -z ${2:-} ]] || printf '   do: %s\n' "$2" >&2
  exit 1
}

# now: milliseconds, from a clock that bash 5 has and older ones approximate.
now() {
  if [[ -n ${EPOCHREALTIME:-} ]]; then
    local micro=${EPOCHREALTIME/[.,]/}
    printf '%s' "${micro%???}"
  else
    printf '%s000' "$(date +%s)"
  fi
}

# seconds MILLISECONDS: 1234 -> 1.2
seconds() { printf '%d.%d' "$(($1 / 1000))" "$(($1 % 1000 / 100))"; }

# Whether .env chooses the overlay for production.
in_production() { _chosen compose.prod.yaml; }

# Whether .env chooses the overlay for a database elsewhere.
database_elsewhere() { _chosen deploy/external-db.yaml; }

# Whether .env chooses the overlay with a pooler.
pooled() { _chosen deploy/pooler.yaml; }

# The folder with the backups, as Compose resolves it: ~ is the caller's home, any other path begins at this folder.
backup_dir() {
  local folder
  folder=$(setting BACKUP_DIR ./backups)
  # shellcheck disable=SC2088 # as it stands in .env
  case $folder in
    '~' | '~/'*) folder=$HOME${folder#\~} ;;
    '~'*) die "BACKUP_DIR=$folder: nobody but a shell knows whose folder that is" 'write the whole path into .env' ;;
  esac
  printf '%s' "$folder"
}

_chosen() {
  local files
  files=$(setting COMPOSE_FILE) || exit
  [[ $files == *"$1"* ]]
}

# 192 random bits in characters that no file format or URL treats specially.
random_secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# confirm QUESTION: asks on a terminal; without one (CI, a pipe) the answer is yes.
confirm() {
  [[ -t 0 && -t 1 ]] || return 0
  local answer
  read -r -p "$1 [Y/n] " answer
  [[ -z $answer || $answer == [Yy]* ]]
}

# utc: this moment, as RFC 3339 writes it.
utc() { date -u +%Y-%m-%dT%H:%M:%SZ; }

json_string() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}

# with_deploy_lock ACTION: from here to the end of the script nobody else changes what runs. Refuses at once if somebody
# does. Whatever the end is, it is noted in .deploy/log.jsonl; the script may set operation_from, _to and _revision for
# that, and a function `clean_up`, which is called first.
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
  trap _operation_ends EXIT
}

operator() { printf '%s' "${SUDO_USER:-$(id -un 2>/dev/null || id -u)}"; }

_operation_ends() {
  local status=$? outcome=ok reason=''
  if declare -F clean_up >/dev/null; then
    clean_up &
    wait "$!" || printf '       what this run has left could not all be removed; the next run does it\n' >&2
  fi
  if ((status)); then outcome=failed reason=${died_of:-ended with status $status}; fi
  log_operation "$operation" "$operation_started" "$(seconds "$(($(now) - operation_began))")" "$(operator)" \
    "$operation_from" "$operation_to" "$operation_revision" "$outcome" "$reason"
  : >.deploy/lock
}

# log_operation ACTION STARTED_AT SECONDS WHO FROM TO REVISION OUTCOME REASON: a line for .deploy/log.jsonl.
log_operation() {
  printf '{"started_at": "%s", "seconds": %s, "who": %s, "action": "%s", "from": %s, "to": %s, "revision": %s, "outcome": "%s", "reason": %s}\n' \
    "$2" "$3" "$(json_string "$4")" "$1" "$(json_string "$5")" "$(json_string "$6")" "$(json_string "$7")" "$8" "$(json_string "$9")" \
    >>.deploy/log.jsonl
}

# as_root COMMAND...: the command as root; fails if that needs a password.
as_root() { if ((EUID == 0)); then "$@"; else sudo -n -- "$@"; fi; }
may_be_root() { ((EUID == 0)) || sudo -n true 2>/dev/null; }

# debian_mirror debian|debian-security: that mirror, as the machine's own apt sources name it (deb822 or one-line form);
# nothing when they name none.
debian_mirror() {
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } | awk -v ending="/$1/?$" '
    $1 == "deb" { sub(/\[[^]]*\]/, ""); uri = $2 }
    $1 == "URIs:" { uri = $2 }
    uri ~ ending && !found { print uri; found = 1 }'
}

# --- Commands that may fail -------------------------------------------------------------------------------------------
#
# bash ignores errexit in whatever a condition calls: in `f || die`, `if f` and `! f` the function f goes on after a line
# that failed, and its last line alone decides; in subshells and background jobs of it, too. So those below are called
# plainly, never in a condition. Each runs its command in a job, where errexit is on, and has the status from `wait`.

# try LABEL COMMAND...: runs the command with its output kept aside, shows progress once it takes over two seconds, notes
# how long it took. Never fails: the status, in $tried, is the caller's to judge, with the output, in $said.
# STEP_QUIET=1: says nothing of a command that succeeds within two seconds.
try() {
  local label=$1 log start shown=0 pid elapsed pause=0.01
  what_failed="$1 failed"
  shift
  _not_in_a_condition
  log=$(mktemp)
  start=$(now)
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # Ctrl-C must end the command too, not only this script.
  trap 'kill "$pid" 2>/dev/null; rm -f "$log"; exit 130' INT TERM
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
  what_failed="$1${2:+ $2}${3:+ $3} failed"
  _not_in_a_condition
  output=$(mktemp)
  "$@" >"$output" 2>"$output.err" </dev/null &
  tried=0
  wait "$!" || tried=$?
  answer=$(<"$output") said=$(<"$output.err")
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

# log_of SERVICE: after a `docker compose up` that failed: what its container said, in $log, its own error, in $log_cause, and
# its remedy, in $log_remedy. Nothing, if Compose did not get as far as to run it: then the log is of an older run.
log_of() {
  local id own
  log='' log_cause='' log_remedy=''
  own=$(sed '/ | /d' <<<"$said") # Compose's own words, without the containers'
  [[ $own =~ (exited|unhealthy|not healthy) ]] || return 0
  id=$(docker compose ps --all --quiet "$1" 2>/dev/null) || return 0
  log=$(docker logs --tail 200 "$id" 2>&1) || log=''
  log_cause=$(sed -n 's/^error: //p' <<<"$log" | tail -n 1)
  log_remedy=$(sed -n 's/^   do: //p' <<<"$log" | tail -n 1)
}

# give_up WHAT [REMEDY]: ends the script with the cause of what was tried: the command's own error, or else the last line that
# it said, with those before it above. WHAT may be empty, where the command's own error says all, and its remedy does.
give_up() {
  local own cause remedy=${2:-}
  own=$(sed -n '/^error: /{ s///p; q }' <<<"$said")
  if [[ -n $own ]]; then
    cause=${1:+$1: }$own
    [[ -n $remedy ]] || remedy=$(sed -n '/^   do: /{ s///p; q }' <<<"$said")
  else
    sed '/^[[:space:]]*$/d' <<<"$said" | tail -n 15 | sed '$d; s/^/    | /' >&2
    cause=$(sed '/^[[:space:]]*$/d; s/^ERROR:  //' <<<"$said" | tail -n 1)
    own=$(remedy_for "$cause")
    remedy=${own:-$remedy}
    cause="${1:-$what_failed}: ${cause:-it says nothing, exit $tried}"
  fi
  died_of=$cause
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

# in_backup COMMAND...: services/postgres/backup.sh in its container; for `told`.
in_backup() { docker compose --progress quiet run --rm -T backup "$@"; }
