#!/usr/bin/env bash
# usage: scripts/deploy.sh [--outage] [TAG]
#
# Replaces the release in production, and nobody notices: builds (or takes TAG), lints the pending steps, backs up,
# migrates, starts new replicas beside the old ones, waits until they are ready, takes them into the proxy's rotation,
# drains the old ones and removes them. Whatever fails before that, the new replicas are removed, and the old ones go on
# serving. --outage: also with a step that breaks the running release.
#
# A replica is in rotation if it is on the network `rotation`, where the proxy finds it (services/proxy/haproxy.cfg), so a run
# that is killed leaves none in rotation that was not ready. What it leaves besides, the next run removes.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/deploy/all.sh"
cd "${BASH_SOURCE%/*}/.."

# choose_release [TAG]: the one that shall run, in TAG; the one that runs, in operation_from.
choose_release() {
  local tag
  if ((${#old[@]})); then
    asked tag_that_serves
    operation_from=$answer
  fi
  if [[ -n $1 ]]; then
    need_image "$1" "there is no image $project-api:$1 here" "make deploy builds one; docker image ls $project-api shows those that are here"
    tag=$1
  else
    tag=$(new_tag)
  fi
  export TAG=$tag
  read_settings
  operation_to=$tag
  # Its image takes the name of the one that serves, which is then none that could be gone back to.
  [[ $operation_from != "$tag" ]] || operation_from=''
}

build() {
  step --or 'the build failed' --do "mend that, then again: make deploy. $serves" "build $TAG" docker compose --progress plain build migrate
}

# say_it_serves: and which one can be gone back to.
say_it_serves() {
  local before=$operation_from
  [[ -n $before ]] || before=$(noted_releases | release_before "$TAG")
  attempt docker image ls --quiet "$project-api:$before"
  [[ -n $before && -n $answer ]] || before=''
  say "Release $TAG serves${operation_revision:+, at revision $operation_revision}.${before:+ The one before it, $before, is kept: make undeploy}"
}

_main() {
  local outage=''
  while [[ ${1:-} == --* ]]; do
    case $1 in
      --outage) outage=1 ;;
      *) die "unknown option $1" 'scripts/deploy.sh [--outage] [TAG]' ;;
    esac
    shift
  done
  begin deploy
  choose_release "${1:-}"
  [[ -n ${1:-} ]] || build
  climb "$outage"
  replace ""
  # It serves, whether or not that can be asked.
  attempt migrate current
  operation_revision=${answer%%[[:space:]]*}
  forget_old_releases "$TAG" "$operation_from"
  say_it_serves
}

_main "$@"
