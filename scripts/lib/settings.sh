# shellcheck shell=bash
# The settings of this stack, as Compose resolves them. Sourced, never run.
#
# Compose alone reads .env: every line, quote and ${...} in it has one meaning. It is asked once, and what it said is kept in
# .env.read (0600) with what that hung on, so that the scripts of one make target, and the next one, need not ask again.

declare -A _settings=() # what Compose has said
_settings_names=()      # of which names, in the order of .env.read
_settings_state=''      # and of which state of things

# setting NAME [DEFAULT]: the value that Compose uses, or the default where it is unset or empty, as ${NAME:-DEFAULT} has it.
setting() {
  read_settings "$1" || return
  local value=${_settings[$1]}
  printf '%s' "${value:-${2:-}}"
}

# read_settings [NAME]: makes the settings known to this shell, or ends it with the cause: a line that Compose cannot read.
read_settings() {
  local wanted=${1:-COMPOSE_PROJECT_NAME}
  ! _settings_hold "$wanted" || return 0
  _load_settings || true
  ! _settings_hold "$wanted" || return 0
  mapfile -t _settings_names < <(_names_of_settings "$wanted" "${_settings_names[@]}")
  _ask_compose "${_settings_names[@]}" -- docker compose || return
  _find_state
  _settings_state=$_state
  _save_settings || true
}

# value_in FILE NAME: the value that Compose reads in a file like .env, whatever the environment says; nothing if there is none.
value_in() {
  [[ -e $1 ]] || return 0
  local -A _settings=()
  _ask_compose "$2" -- env -u "$2" docker compose --env-file "$1" || return
  printf '%s' "${_settings[$2]}"
}

# ---- Asking Compose --------------------------------------------------------------------------------------------------

# The variables that scripts may ask for: those of the manual, and a few that only scripts write.
_names_of_settings() {
  {
    printf '%s\n' "$@" COMPOSE_PROJECT_NAME COMPOSE_FILE COMPOSE_PROFILES DB_VOLUME_PREVIOUS POSTGRES_IMAGE_PREVIOUS
    sed -nE 's/^#?([A-Z][A-Z0-9_]*)=.*/\1/p' .env.example
  } | sort -u
}

# The project's name where nobody chooses one; Compose reads it in compose.yaml, which is not asked here.
_default_project() {
  local line
  while IFS= read -r line; do
    if [[ $line == name:* ]]; then
      printf '%s' "$line"
      return
    fi
  done <compose.yaml
}

# _ask_compose NAME... -- COMMAND...: asks Compose with a file of its own, into _settings. So nothing has to be set yet.
_ask_compose() {
  local probe answer pair pairs value missing=0 names=()
  probe=$(_default_project)$'\nservices: {}\nx-settings:\n'
  while [[ $1 != -- ]]; do
    names+=("$1")
    probe+="  $1: \"\${$1:-}\""$'\n'
    shift
  done
  answer=$("${@:2}" --project-directory . --file - config --format json 2>&1 <<<"$probe") || _not_read "$answer"
  _settings=()
  # What Compose has to say besides comes before the JSON.
  mapfile -d '' -t pairs < <(sed -n '/^{/,$p' <<<"$answer" | json_pairs x-settings '*' 2>/dev/null)
  # In which Compose doubles each $.
  for ((pair = 0; pair + 1 < ${#pairs[@]}; pair += 2)); do _settings[${pairs[pair]}]=${pairs[pair + 1]//'$$'/'$'}; done
  ((${#names[@]})) || missing=1
  for value in "${names[@]}"; do [[ -n ${_settings[$value]+x} ]] || missing=1; done
  ((missing == 0)) || die "Compose does not say what the settings are: $(tail -n 1 <<<"$answer")" 'see docker compose version: this stack needs 2.24'
}

# _line_with TEXT: the number of the line in .env that has it; without a text, of the first that gives nothing a value.
_line_with() {
  local line number=0
  while IFS= read -r line || [[ -n $line ]]; do
    number=$((number + 1))
    if [[ -n $1 ]]; then
      [[ $line != *"$1"* ]] || break
    elif [[ $line =~ ^[[:space:]]*[=:] || $line =~ ^[[:space:]]*[^#[:space:]][^=:]*$ ]]; then
      break
    fi
  done <.env
  printf '%s' "$number"
}

# _not_read ANSWER: why Compose could not read .env, in one line. What it quotes may be a secret; the line's number is not.
_not_read() {
  local cause quoted=''
  cause=$(grep -v level=warning <<<"$1" | tail -n 1)
  if [[ $cause == *'failed to read '* ]]; then
    cause=${cause#*failed to read *: }
    case $cause in
      'Invalid template: '*) quoted=${cause#*: \"} quoted=${quoted%\"} cause="a \${...} that is none" ;;
      *'unterminated quoted value'*) quoted=${cause#*value } cause='a quote that is not closed' ;;
      *) cause=${cause%% in variable name*} ;;
    esac
    cause=".env, ${quoted:+line $(_line_with "$quoted"): }$cause"
  elif [[ $cause == 'setenv: invalid argument' ]]; then
    cause=".env, line $(_line_with ''): no NAME=value"
  fi
  die "Compose cannot read the settings: ${cause:-it said nothing}" 'mend that (.env.example is the manual; a value with $, # or a quote in it belongs in '\''single quotes'\'')'
}

# _find_state: into _state, what the answer hangs on: .env, the project's default name, and what the environment has of the
# names asked and of those that values in .env refer to.
_find_state() {
  local _name _rest=''
  [[ ! -r .env ]] || _rest=$(cat .env)
  _state=$(_default_project)$'\n'$_rest
  # For other files than .env, Compose is asked each time.
  [[ -z ${COMPOSE_ENV_FILES:-} ]] || _state+=$'\n'$EPOCHREALTIME
  local _names=("${_settings_names[@]}")
  while [[ $_rest =~ \$\{?([A-Za-z][A-Za-z0-9_]*)(.*) ]]; do
    _names+=("${BASH_REMATCH[1]}")
    _rest=${BASH_REMATCH[2]}
  done
  for _name in "${_names[@]}"; do
    if [[ -n ${!_name+x} && ${!_name@a} == *x* ]]; then _state+=$'\n'"$_name=${!_name}"; fi
  done
}

_settings_hold() {
  [[ -n ${_settings[$1]+x} ]] || return
  _find_state
  [[ $_state == "$_settings_state" ]]
}

_load_settings() {
  local field fields=()
  # Nobody else's word is taken for it.
  [[ -O .env.read && -r .env.read && ! -L .env.read ]] || return
  mapfile -d '' -t fields <.env.read
  _settings_state=${fields[0]:-} _settings_names=() _settings=()
  for ((field = 1; field + 1 < ${#fields[@]}; field += 2)); do
    _settings_names+=("${fields[field]}")
    _settings[${fields[field]}]=${fields[field + 1]}
  done
}

_save_settings() {
  local name fields=("$_settings_state")
  for name in "${_settings_names[@]}"; do fields+=("$name" "${_settings[$name]}"); done
  printf '%s\0' "${fields[@]}" | write_file .env.read 2>/dev/null
}
