#!/usr/bin/env bash
# usage: scripts/undeploy.sh [--yes] [--keep-schema]
#
# Returns to the release before, and nobody notices: first its replicas, then the steps down, from the newer image, which
# knows them. --yes: also if the steps down would lose data; --keep-schema: without them.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/deploy/all.sh"
cd "${BASH_SOURCE%/*}/.."

# choose_release: the one that serves, in operation_from; the one that it was deployed in place of, in operation_to.
choose_release() {
  asked tag_that_serves
  operation_from=$answer
  operation_to=$(noted_releases | release_before "$operation_from")
  [[ -n $operation_to ]] || die "nobody has noted which release came before $operation_from" 'name one: make deploy tag=...'
  need_image "$operation_to" "the image of release $operation_to is not here any more" "check that release out, then: make deploy"
}

# revision_of TAG heads|current: what that release says of its newest step, or of the database.
revision_of() {
  TAG=$1 asked migrate "$2"
  answer=${answer%%[[:space:]]*}
}

# ask_for_losses TARGET [YES]: nothing is changed if the steps down would lose data, and nobody agrees.
ask_for_losses() {
  local status=0
  say "Release $operation_to expects revision $1; the database is at $current and goes down when $operation_to serves."
  TAG=$operation_from scripts/rollback.sh ${2:+--yes} --ask-only "$1" || status=$?
  case $status in
    0) return ;;
    "$exit_would_lose_data") note_refusal 'nothing was changed: the steps down would lose data' ;;
    *) note_refusal 'nothing was changed: what the steps down would lose could not be asked' ;;
  esac
  exit "$status"
}

_main() {
  local yes='' keep_schema='' target current down by_hand
  while [[ ${1:-} == --* ]]; do
    case $1 in
      --yes) yes=1 ;;
      --keep-schema) keep_schema=1 ;;
      *) die "unknown option $1" 'scripts/undeploy.sh [--yes] [--keep-schema]' ;;
    esac
    shift
  done
  begin undeploy
  choose_release
  revision_of "$operation_to" heads
  target=$answer
  revision_of "$operation_from" current
  current=$answer
  down=$(goes_down "$current" "$target" "$keep_schema")
  by_hand="TAG=$operation_from make rollback to=$target"
  [[ -z $down ]] || ask_for_losses "$target" "$yes"
  export TAG=$operation_to
  read_settings
  replace "${down:+then, for the schema: $by_hand}"
  if [[ -n $down ]]; then
    export TAG=$operation_from
    step --or "release $operation_to serves, but the steps down failed" --do "mend the cause, then: $by_hand" \
      "schema down to $target" migrate downgrade "$target"
    current=$target
  fi
  operation_revision=$current
  say "Release $operation_to serves, at revision $current. Forward again: make deploy tag=$operation_from"
}

_main "$@"
