#!/usr/bin/env bash
# usage: SINCE=base|all|COMMIT ARGUMENTS='--baseline FILE' PYTHON=python3 run.sh   (by action.yml, in the project's folder)
#
# Installs tangga, from the repository that this file is in, beside what the project has, and lints with annotations.
set -Eeuo pipefail

# since: the commit after which steps are new; nothing, if all are to be looked at, as on a push.
since() {
  case $SINCE in
    base) printf %s "${GITHUB_BASE_REF:+origin/$GITHUB_BASE_REF}" ;;
    all) ;;
    *) printf %s "$SINCE" ;;
  esac
}

_main() {
  local package commit options=()
  package=$(cd "${BASH_SOURCE%/*}/../../../services/migrate" && pwd)
  "$PYTHON" -m pip install --quiet --disable-pip-version-check "${package}[lint]"
  commit=$(since)
  read -ra options <<<"$ARGUMENTS"
  "$PYTHON" -c 'from tangga.cli import tangga; tangga()' lint --format github ${commit:+--since="$commit"} "${options[@]}"
}

_main "$@"
