# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by the scripts that source it
# Words, colours, timing and settings for the other scripts. Sourced, never run: . "${BASH_SOURCE%/*}/lib.sh"

# Containers have this file alone mounted; their settings are in their environment.
# shellcheck source=scripts/settings.sh
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
  folder=$(setting BACKUP_DIR ./backups) || return
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

operator() { printf '%s' "${SUDO_USER:-$(id -un)}"; }

_operation_ends() {
  local status=$? outcome=ok reason=''
  if declare -F clean_up >/dev/null; then clean_up || true; fi
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

# step LABEL COMMAND...: runs the command with its output kept aside, shows progress once it takes over two seconds,
# notes how long it took, and on failure shows the end of the output. Returns the command's status.
# STEP_QUIET=1: says nothing of a step that succeeds within two seconds.
# STEP_MAY_FAIL=1: the failure is the caller's to explain, so its output is not shown.
step() {
  local label=$1 log start status=0 shown=0 pid elapsed
  shift
  log=$(mktemp)
  start=$(now)
  "$@" >"$log" 2>&1 </dev/null &
  pid=$!
  # Ctrl-C must end the command too, not only this script.
  trap 'kill "$pid" 2>/dev/null; rm -f "$log"; exit 130' INT TERM
  while kill -0 "$pid" 2>/dev/null; do
    sleep 0.1
    elapsed=$(($(now) - start))
    if ((elapsed >= 2000)); then
      if [[ -t 1 ]]; then
        printf '\r  %s…%s %s %ss ' "$dim" "$reset" "$label" "$((elapsed / 1000))"
      elif ((elapsed / 15000 >= shown)); then
        say "  … $label ($((elapsed / 1000)) s)"
        shown=$((elapsed / 15000 + 1))
      fi
    fi
  done
  wait "$pid" || status=$?
  trap - INT TERM
  elapsed=$(($(now) - start))
  [[ -t 1 ]] && printf '\r\e[K'
  if ((status == 0)); then
    if [[ -z ${STEP_QUIET:-} ]] || ((elapsed >= 2000)); then
      printf '  %s✓%s %-34s %7s s\n' "$green" "$reset" "$label" "$(seconds "$elapsed")"
    fi
  else
    printf '  %s✗%s %-34s %7s s\n' "$red" "$reset" "$label" "$(seconds "$elapsed")" >&2
    [[ -n ${STEP_MAY_FAIL:-} ]] || tail -n 15 "$log" | sed 's/^/    | /' >&2
  fi
  rm -f "$log"
  return "$status"
}

# told LABEL COMMAND...: a step whose command says itself what is to be said: afterwards that stands in $told. If it fails,
# the script ends with the command's own error, or with the end of what it printed.
told() {
  local label=$1 output status=0
  shift
  output=$(mktemp)
  STEP_MAY_FAIL=1 step "$label" into "$output" "$@" || status=$?
  told=$(<"$output")
  rm -f "$output"
  ((status)) || return 0
  died_of="$label failed: $(tail -n 1 <<<"$told")"
  if grep -q '^error: ' <<<"$told"; then
    died_of=$(sed -n 's/^error: //p' <<<"$told" | head -n 1)
    sed -n '/^error: /,$p' <<<"$told" >&2
  else
    printf '%serror:%s %s\n' "$red" "$reset" "$died_of" >&2
    tail -n 15 <<<"$told" | sed '$d; s/^/    | /' >&2
    printf '   do: mend that, then try again\n' >&2
  fi
  exit "$status"
}
into() { "${@:2}" >"$1" 2>&1; }

# in_backup COMMAND...: services/postgres/backup.sh in its container; for `told`.
in_backup() { docker compose --progress quiet run --rm -T backup "$@"; }
