# shellcheck shell=bash
# shellcheck disable=SC2154 # checks.sh sets what a run knows
# Releases: their images, and what the log of operations says of them. Sourced.

readonly kept_releases=3

# noted_releases: "ACTION FROM TO OUTCOME" of each operation, with tabs between them, the oldest first.
noted_releases() { [[ ! -e $operations_log ]] || json_rows action from to outcome <"$operations_log"; }

# tag_that_serves: as .env has it, whatever the environment says.
tag_that_serves() {
  local tag
  tag=$(value_in .env TAG)
  printf '%s' "${tag:-latest}"
}

# new_tag: what git calls this state of the folder.
new_tag() {
  local name=''
  [[ -n $(git status --porcelain 2>&1) ]] || name=$(git describe --tags --always)
  tag_from "$name" "$(date -u +%Y%m%dT%H%M%SZ)"
}

# need_image TAG WHAT REMEDY
need_image() {
  asked docker image ls --quiet "$project-api:$1"
  [[ -n $answer ]] || die "$2" "$3"
}

# forget_old_releases TAG BEFORE: a release that serves is deployed, whether or not old images go; the next one asks again.
forget_old_releases() {
  local image forget
  [[ -e $operations_log ]] || return 0
  attempt docker image ls --format '{{.Repository}}:{{.Tag}}' --filter "reference=$project-api" --filter "reference=$project-tools"
  ((tried == 0)) || return 0
  forget=$(noted_releases | tags_to_forget "$kept_releases" "$1" "$2")
  while read -r image; do
    docker image rm "$image" >/dev/null 2>&1 || true
  done < <(images_with "$forget" <<<"$answer")
}
