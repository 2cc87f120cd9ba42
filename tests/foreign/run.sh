#!/usr/bin/env bash
# usage: tests/foreign/run.sh FOLDER [--with "PACKAGE ..."] [--lock FILE] [--python VERSION] [--set NAME=VALUE ...] [MATRIX OPTION ...]
#
# Takes a checkout of any project with Alembic and prints what each command of tangga is on it (right, wrong, refused with
# the reason), and its processor time. Everything happens on a copy, in an environment with --with (and what --lock names, a
# list of all that it wants) and a throwaway server of its own; each command has a bound. tests/foreign/matrix.py says what
# is right and wrong, and its options.
set -Eeuo pipefail
readonly from=$PWD
cd "${BASH_SOURCE%/*}/../.."

# What tangga needs, and both drivers: which of them postgresql:// means is SQLAlchemy's to say.
readonly ours=(alembic sqlalchemy psycopg2-binary "psycopg[binary]" rich pglast squawk-cli setuptools)

_main() {
  local folder packages=() lock='' python=3.11 rest=()
  (($#)) && folder=$(cd "$from" && realpath -e "$1") && [[ -d $folder ]] || { sed -n 2p tests/foreign/run.sh | cut -c 3- >&2; return 2; }
  shift
  while (($#)); do
    case $1 in
      --with) read -ra packages <<<"$2" ;;
      --lock) lock=$(cd "$from" && realpath -e "$2") ;;
      --python) python=$2 ;;
      *)
        rest+=("$1")
        shift
        continue
        ;;
    esac
    shift 2
  done
  place=$(mktemp --directory)
  trap 'rm -rf "$place"' EXIT
  cp -r "$folder" "$place/project"
  rm -rf "$place/project/.git"
  # From there: no pyproject.toml of ours says what may be installed.
  (
    uv=$PWD/.venv/bin/uv
    cd "$place"
    "$uv" venv --quiet --no-project --python "$python" "$place/venv"
    timeout 600 "$uv" pip install --quiet --python "$place/venv/bin/python" "${ours[@]}" "${packages[@]}"
    [[ -z $lock ]] || timeout 600 "$uv" pip install --quiet --python "$place/venv/bin/python" --no-deps -r "$lock"
  )
  PYTHONPATH=services/migrate:. .venv/bin/python -m tests.foreign.matrix "$place/project" "$place/venv/bin/python" "${rest[@]}"
}

_main "$@"
