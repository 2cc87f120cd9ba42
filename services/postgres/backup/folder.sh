# shellcheck shell=bash
# shellcheck disable=SC2154 # backup.sh sets $folder, $database, $here and $group
# The folder of backups: what is there, by its manifests, and who may change it. Sourced.

# manifest NAME: the text; nothing, if it is not there (any more: another container may just take an old backup away).
manifest() { cat "$folder/$1.json" 2>/dev/null || true; }

# value NAME KEY: of a manifest; nothing, if that is no whole one.
value() { manifest "$1" | json_values "$2" 2>/dev/null || true; }

# names [DATABASE]: of all backups, or of those of one database; newest first.
names() {
  local file name
  for file in "$folder"/*.{json,dump}; do
    name=${file##*/}
    name=${name%.*}
    [[ ! $name =~ ^(.+)-([0-9]{8}T[0-9]{6}Z)-[^-]+$ || (-n ${1:-} && ${BASH_REMATCH[1]} != "$1") ]] ||
      printf '%s\t%s\n' "${BASH_REMATCH[2]}" "$name"
  done | sort -ru | cut -f 2
}

# By the size alone: reading everything is for `check`.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
state() {
  local bytes
  if [[ ! -e $folder/$1.json ]]; then
    say 'no manifest'
  elif ! bytes=$(stat -c %s "$folder/$1.dump" 2>/dev/null); then
    say 'no dump'
  elif [[ $bytes != "$(value "$1" bytes)" ]]; then
    say 'damaged'
  else
    say 'whole'
  fi
}

# whole [DATABASE]: those that are, newest first.
# shellcheck disable=SC2310,SC2120 # each line that a condition calls fails by itself; other parts name a database
whole() {
  local name
  while read -r name; do
    [[ $(state "$name") != whole ]] || say "$name"
  done < <(names "$@")
}

moment() { date -u -d "$1" '+%Y-%m-%d %H:%M:%S'; }
size() { numfmt --to=iec-i --suffix=B --format=%.1f "$1" | sed -E 's/[KMGT]?i?B$/ &/'; }
rows() { json_values tables '*' rows | sum | sed -E ':a; s/\B[0-9]{3}\b/,&/; ta'; }

# list [--json]: a manifest that is none says nothing of its dump.
list() {
  if [[ ${1:-} == --json ]]; then
    each as_json | paste -sd, | sed 's/.*/[&]/'
  else
    in_line 'made (UTC)' size rows 'verified (UTC)' state file
    each as_line
  fi
}

# each SHOW: of every backup, but for those that another container takes away meanwhile.
each() {
  local name shown
  while read -r name; do
    shown=$("$1" "$name")
    [[ ! -e $folder/$name.json && ! -e $folder/$name.dump ]] || say "$shown"
  done < <(names)
}

in_line() { printf '%-19s  %9s  %13s  %-19s  %-11s  %s\n' "$@"; }

as_line() {
  local text created='' bytes='' verified=''
  text=$(manifest "$1")
  IFS=$'\t' read -r created bytes verified < <(json_fields created_at bytes verified_at <<<"$text" 2>/dev/null) || true
  if [[ -n $bytes ]]; then
    in_line "$(moment "$created")" "$(size "$bytes")" "$(rows <<<"$text")" "$(if [[ -n $verified ]]; then moment "$verified"; else echo 'not yet'; fi)" "$(state "$1")" "$1.dump"
  else
    in_line '' '' '' '' "$(state "$1")" "$1.dump"
  fi
}

# as_json NAME: the manifest with the state behind it; all on one line.
as_json() {
  local text bytes
  text=$(manifest "$1")
  bytes=$(json_values bytes <<<"$text" 2>/dev/null) || true
  if [[ -n $bytes ]]; then sed -z 's/[[:space:]]*$//; s/}$//; s/[[:space:]]*$//; s/\n */ /g' <<<"$text"; else printf '{ "file": "%s.dump"' "$1"; fi
  printf ', "state": "%s" }\n' "$(state "$1")"
}

# name FILE: what a person calls it, with or without folder and ending.
name() {
  local name=${1##*/}
  name=${name%.dump}
  name=${name%.json}
  if [[ $name == newest ]]; then
    # Not by `head`: a program that writes to it after its end fails.
    # shellcheck disable=SC2119 # of any database
    name=$(whole)
    name=${name%%$'\n'*}
    [[ -n $name ]] || die 'there is no whole backup' 'make backup'
  fi
  [[ -e $folder/$name.dump || -e $folder/$name.json ]] || die "there is no backup called $name" 'make backups lists them'
  [[ -e $folder/$name.json ]] || die "$name.dump has no manifest ($name.json), so nobody can tell whether it is whole" 'bring the manifest back, or take another: make backups'
  [[ -e $folder/$name.dump ]] || die "$name.json is there, its dump is not" 'bring it back, or take another: make backups'
  say "$name"
}

# One at a time, across containers; gone with the process.
lock() {
  [[ -w $folder ]] || die "the folder of backups cannot be written to by uid $(id -u)" 'on the host: chown it (BACKUP_DIR, by default ./backups) to whoever calls make'
  exec {lock}>"$folder/.lock"
  flock --nonblock "$lock" || {
    say 'another backup or restore is running; waiting for it (10 minutes at most)'
    flock --wait 600 "$lock" || die 'another backup or restore has been running for 10 minutes' 'wait for it to end; docker ps shows its container'
  }
}
