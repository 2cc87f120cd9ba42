# shellcheck shell=bash
# shellcheck disable=SC2034 # what is set here is used by the scripts that source it
# Words, colours and time. Sourced, never run; containers have it mounted as well, so it needs nothing else.

# A function in $(...) ends at its first line that fails, as everywhere else.
shopt -s inherit_errexit

if [[ -t 1 && -z ${NO_COLOR:-} && ${TERM:-dumb} != dumb ]]; then
  bold=$'\e[1m' dim=$'\e[2m' red=$'\e[31m' green=$'\e[32m' reset=$'\e[0m'
else
  bold='' dim='' red='' green='' reset=''
fi

say() { printf '%s\n' "$*"; }

# die WHAT [REMEDY]: one line with what happened, one with what to do next; exit 1.
die() {
  note_refusal "$@"
  printf '%serror:%s %s\n' "$red" "$reset" "$1" >&2
  [[ -z ${2:-} ]] || printf '   do: %s\n' "$2" >&2
  exit 1
}

# note_refusal WHAT [REMEDY]: hands both on to whoever runs this as a part and reads the file $REFUSAL then: a step
# (lib/steps.sh), an operation (lib/operation.sh). Each ended by a NUL.
note_refusal() { [[ -z ${REFUSAL:-} ]] || printf '%s\0%s\0' "$1" "${2:-}" >"$REFUSAL"; }

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

# utc: this moment, as RFC 3339 writes it.
utc() { date -u +%Y-%m-%dT%H:%M:%SZ; }

# confirm QUESTION: asks on a terminal; without one (CI, a pipe) the answer is yes.
confirm() {
  [[ -t 0 && -t 1 ]] || return 0
  local answer
  read -r -p "$1 [Y/n] " answer
  [[ -z $answer || $answer == [Yy]* ]]
}

# set_off TEXT: its end, set off from what the scripts say themselves.
set_off() { tail -n 15 <<<"$1" | sed 's/^/    | /' >&2; }
