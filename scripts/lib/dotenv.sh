# shellcheck shell=bash
# Changes to .env that keep its other lines. Sourced, never run.

# replaced NAME=VALUE|-NAME...: .env on stdout with these values, or without these variables. A variable keeps its place and
# the form of its line; one that is not there comes last; every other line stays as it is. Prints nothing if it fails.
replaced() {
  local LC_ALL=C text ending pieces=()
  local -A at=() all=()
  text=$(cat .env && printf .) || return
  _take_apart "${text%.}"
  _put_in "$@"
  printf -v text '%s' "${pieces[@]}"
  _reads_back "$text" "$@" || return
  printf '%s' "$text"
}

# _take_apart TEXT: into the caller's $pieces: a statement's head, its value, what follows, or a line that is none; in $at, where
# a variable's last value is, in $all, where all are; in $ending, how a line ends.
_take_apart() {
  local rest=$1 line head name value
  ending=$'\n'
  [[ ${rest%%$'\n'*} != *$'\r' ]] || ending=$'\r\n'
  [[ -z $rest || $rest == *$'\n' ]] || rest+=$ending
  while [[ -n $rest ]]; do
    line=${rest%%$'\n'*}
    if [[ $line =~ $_statement ]]; then
      head=${BASH_REMATCH[0]} name=${BASH_REMATCH[4]}
      value=$(_value_at "${rest:${#head}}")
      value=${value%.}
      pieces+=("$head" "$value")
      at[$name]=$((${#pieces[@]} - 1)) all[$name]+=" ${at[$name]}"
      rest=${rest:${#head}+${#value}}
      # The rest of a line is a comment or its end, except after a quote.
      [[ $value == [\'\"]* ]] || { pieces+=("${rest%%$'\n'*}"$'\n') rest=${rest#*$'\n'}; }
    else
      pieces+=("$line"$'\n')
      rest=${rest#*$'\n'}
    fi
  done
}

# _put_in NAME=VALUE|-NAME...: into the caller's $pieces.
_put_in() {
  local pair name value number
  for pair in "$@"; do
    name=${pair%%=*} value=${pair#*=}
    if [[ $pair == -* ]]; then
      for number in ${all[${name#-}]:-}; do
        pieces[number - 1]='' pieces[number]=''
        [[ -n ${pieces[number + 1]//[[:space:]]/} ]] || pieces[number + 1]=''
      done
    elif [[ -n ${at[$name]:-} ]]; then
      number=${at[$name]}
      pieces[number]=$(_quoted "$value")
      # A comment behind nothing would be the value.
      [[ -n $value || ${pieces[number + 1]:-} != *'#'* ]] || pieces[number]="''"
    else
      pieces+=("$name=$(_quoted "$value")$ending")
    fi
  done
}

# The beginning of a line up to its value, in every form that Compose takes.
_statement=$'^(\xef\xbb\xbf)?([ \t\r\v\f]*)(export[ \t]+)?([A-Za-z0-9_.-]+)[ \t\r\v\f]*[=:][ \t\r\v\f]*'

# _value_at TEXT: the value that it begins with, as it is written; and a full stop, so that a line end at its end is kept.
_value_at() {
  local value=$1 double='^"([^"\\]|\\.)*"' single="^'([^'\\\\]|\\\\.)*'"
  if [[ $value =~ $double || $value =~ $single ]]; then
    value=${BASH_REMATCH[0]}
  else
    value=${value%%$'\n'*} value=${value%%' #'*}
    value=${value%"${value##*[![:space:]]}"}
  fi
  printf '%s.' "$value"
}

# _quoted VALUE: written so that Compose reads the same.
_quoted() {
  local value=$1
  case $value in
    *[\'\\]*)
      value=${value//\\/\\\\} value=${value//\"/\\\"} value=${value//\$/\\\$}
      value="\"$value\""
      ;;
    *[!A-Za-z0-9_./:@%+,=-]*) value="'$value'" ;;
  esac
  printf '%s' "$value"
}

# _reads_back TEXT NAME=VALUE|-NAME...: whether Compose reads these values in it. Not asked of values that need no quotes.
_reads_back() {
  local file pair text=$1 names=() unset=()
  local -A _settings=()
  shift
  for pair in "$@"; do
    if [[ $pair == *[!A-Za-z0-9_./:@%+,=-]* ]]; then names+=("${pair%%=*}") unset+=(-u "${pair%%=*}"); fi
  done
  ((${#names[@]})) || return 0
  file=$(mktemp) || return
  printf '%s' "$text" >"$file" || return
  _ask_compose "${names[@]}" -- env "${unset[@]}" docker compose --env-file "$file"
  rm -f "$file"
  for pair in "$@"; do
    [[ -z ${_settings[${pair%%=*}]+x} || ${_settings[${pair%%=*}]} == "${pair#*=}" ]] ||
      die "the value of ${pair%%=*} cannot be written into .env" 'write it there by hand'
  done
}

# write_file NAME: stdin as this file, or as the file that this link leads to; complete before it has its name, and private
# before it has content. Nothing in, nothing written: whoever should have made the content has failed.
write_file() {
  local target temporary
  target=$(readlink -f -- "$1") || return
  temporary=$(umask 077 && mktemp "$target.XXXXXX") || return
  if ! cat >"$temporary" || [[ ! -s $temporary ]] || ! mv -- "$temporary" "$target"; then
    rm -f "$temporary"
    echo "$1 was not written" >&2
    return 1
  fi
}
