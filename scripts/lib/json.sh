# shellcheck shell=bash
# JSON, read as JSON (json.awk has the grammar), and strings for it. Sourced, never run. What is no JSON has status 65.

_json_program=$(realpath "${BASH_SOURCE%/*}")/json.awk

# In bytes: what escapes stand for is written byte by byte.
_json() { LC_ALL=C awk -v want="$1" -v path="$2" -f "$_json_program"; }

# json_values KEY...: of the JSON on stdin, the values at this path, a line each; * stands for every key.
json_values() { _json values "$*"; }

# json_pairs KEY... '*': the last keys and their values, each ended by a NUL.
json_pairs() { _json pairs "$*"; }

# json_fields KEY...: of the object on stdin, the values of these keys, with a tab between them.
json_fields() { _json fields "$*"; }

# json_rows KEY...: of each object on stdin (JSON Lines), the values of these keys, with a tab between them.
json_rows() { _json rows "$*"; }

# json_lines KEY [PATTERN]: of JSON Lines on stdin, those whose value at KEY is not of this pattern; what is no JSON is left out.
json_lines() {
  local line value
  while IFS= read -r line; do
    value=$(json_values "$1" <<<"$line" 2>/dev/null) || continue
    # shellcheck disable=SC2053 # a pattern
    [[ -n ${2:-} && $value == $2 ]] || printf '%s\n' "$line"
  done
}

# json_string TEXT: as JSON has it; no control characters.
json_string() {
  local text=${1//\\/\\\\}
  text=${text//\"/\\\"}
  printf '"%s"' "${text//[[:cntrl:]]/ }"
}
