# shellcheck shell=bash
# What a deploy decides: from values, or from text on stdin, and no more, so that it can be tried without Docker. Sourced.

# others ALL KNOWN: of the lines of ALL, those that KNOWN has not: which replicas are new, which are out of rotation.
others() { comm -23 <(_sorted "$1") <(_sorted "$2"); }
_sorted() { printf '%s\n' "$1" | sed '/^$/d' | LC_ALL=C sort; }

# suitable_number COUNT PLACES: whether so many replicas fit: while they are replaced, old and new have a place each.
suitable_number() { [[ $1 =~ ^[1-9][0-9]?$ && $1 -le $(($2 / 2)) ]]; }

# tag_from NAME TIME: of what git calls this state of the folder; where it has no name for it, of the time.
tag_from() {
  local name=${1:-$2}
  printf '%s' "${name//[^a-zA-Z0-9._-]/-}"
}

# goes_down CURRENT TARGET [KEEP]: 1 if the schema has to go down for the release before; nothing if it stays.
goes_down() { [[ $1 == "$2" || -n ${3:-} ]] || say 1; }

# crash_of STATE LOG_CAUSE LOG: of "STATUS RESTARTS" of a replica: why it will not become ready; nothing if it may.
crash_of() { [[ $1 == 'running 0' ]] || printf 'it crashes: %s' "${2:-$(tail -n 1 <<<"$3")}"; }

# ---- Places in the proxy's rotation: "NAME STATUS CHECK REQUESTS", a line each -----------------------------------------

# places_at ADDRESS...: of the proxy's `show stat` (CSV with a heading, in whatever order), those with these addresses.
places_at() {
  awk -F, -v wanted=" $* " '
    NR == 1 { sub(/^# /, ""); for (i = 1; i <= NF; i++) column[$i] = i; next }
    { address = $column["addr"]; sub(/:[0-9]+$/, "", address) }
    address != "" && index(wanted, " " address " ") { print $column["svname"], $column["status"], $column["check_status"], $column["scur"] }'
}

# how_many_are_up PLACES, how_many_work PLACES: a number.
how_many_are_up() { awk '$2 == "UP" && $3 == "L7OK" { n++ } END { print n + 0 }' <<<"$1"; }
how_many_work() { awk 'NF && $NF != 0 { n++ } END { print n + 0 }' <<<"$1"; }

# ---- Releases: "ACTION FROM TO OUTCOME" with tabs between them, oldest first (noted_releases) --------------------------

# release_before TAG <RELEASES: from which other release it was deployed last; nothing if nobody has noted it.
release_before() { awk -F '\t' -v tag="$1" '$1 == "deploy" && $3 == tag && $2 != "" && $2 != tag { before = $2 } END { if (before != "") print before }'; }

# tags_to_forget NUMBER NOW BEFORE <RELEASES: of those that were deployed all but NOW, BEFORE, and the newest others that
# served, so that NUMBER stay to go back to. Of those that never served none stays.
tags_to_forget() {
  awk -F '\t' -v number="$1" -v now="$2" -v before="$3" '
    $1 != "deploy" || $3 == "" { next }
    { if (!seen[$3]++) tags[++count] = $3 }
    $4 == "ok" { served[++good] = $3 }
    END {
      stays[now]; stays[before]
      for (i = good; i > 0 && others < number - 1; i--) if (served[i] != now && !(served[i] in kept)) { kept[served[i]]; stays[served[i]]; others++ }
      for (i = 1; i <= count; i++) if (!(tags[i] in stays)) print tags[i]
    }'
}

# images_with TAG... <IMAGES: of REPOSITORY:TAG, a line each, those with these tags.
images_with() {
  local image
  while read -r image; do [[ $'\n'$1$'\n' != *$'\n'"${image##*:}"$'\n'* ]] || say "$image"; done
}
