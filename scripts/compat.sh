#!/usr/bin/env bash
# usage: scripts/compat.sh [REF]
#
# Runs the API tests of an older release (default: the last tag) on the schema that the steps of this folder make, in
# containers of its own: what the release that still serves meets once this one has migrated. Exits with 12 if one fails.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

readonly database=compat

release='' # the folder with the older release

# of_release ARGUMENT...: Compose, with the older release's compose.yaml; same project, so same network.
of_release() { docker compose --project-directory "$release" --file "$release/compose.yaml" "$@"; }

clean_up() {
  docker compose --profile '*' down --volumes --remove-orphans >/dev/null 2>&1 || true
  [[ -z $release ]] || rm -rf "$release"
}

# export_release REF: puts the files of REF into $release.
export_release() {
  git rev-parse --verify --quiet "$1^{commit}" >/dev/null ||
    die "git knows no \"$1\"" 'git fetch --tags, or name a tag, branch or commit: make compat ref=...'
  git grep --quiet TEST_DATABASE "$1" -- tests/api/conftest.py ||
    die "$1 is older than make compat: its tests cannot be given a database" 'name a newer one: make compat ref=...'
  release=$(mktemp -d)
  git archive "$1" | tar -x -C "$release"
  cp -p .env "$release/.env"
}

# A copy of the pristine database, so that the tests also find the pristine one.
make_database() {
  docker compose exec -T -e DATABASE="$database" scratch sh -euc '
    createdb -U "$POSTGRES_USER" -T "$POSTGRES_DB" -O "$DB_OWNER_USERNAME" "$DATABASE"
    psql -Xq -U "$POSTGRES_USER" -d "$DATABASE" -v ON_ERROR_STOP=1 \
      -c "REVOKE ALL ON DATABASE \"$DATABASE\" FROM PUBLIC" -c "GRANT CONNECT ON DATABASE \"$DATABASE\" TO \"$DB_USERNAME\""'
}

migrate() {
  docker compose run --rm --no-deps -T -e DB_HOSTNAME=scratch -e DB_NAME="$database" migrate alembic upgrade head
}

# pytest of the older release, on the migrated database; what it prints goes to the file $1.
run_tests() {
  of_release run --rm --no-deps -T -e DB_HOSTNAME=scratch -e TEST_DATABASE="$database" test \
    pytest tests/api -m 'not own_schema' --maxfail=20 --tb=short --show-capture=log --color=no >"$1" 2>&1 </dev/null
}

# report_failures REF FILE: which tests, and what the database had said.
report_failures() {
  grep -E '^(FAILED|ERROR) tests/' "$2" | sed 's/^[A-Z]* //; s/ - .*//; s/^/    | /' >&2
  say '    the database said:' >&2
  { grep -oE 'psycopg2\.errors\.[A-Za-z]+: .*' "$2" || true; } | sort | uniq -c | sort -rn | sed -n 's/^/    | /; 1,3p' >&2
  printf '%serror:%s the code of %s breaks on the new schema: %s\n' "$red" "$reset" "$1" "$(tail -n 1 "$2")" >&2
  printf '   do: keep what %s uses until no release that runs uses it: "Rename, drop" in docs/authors.md\n' "$1" >&2
  exit "$exit_findings"
}

_main() {
  local ref=${1:-} output
  [[ -n $ref ]] || ref=$(git describe --tags --abbrev=0 2>/dev/null) ||
    die 'there is no tag, so no last release' 'name what to compare with: make compat ref=<tag, branch or commit>'
  COMPOSE_PROJECT_NAME="$(setting COMPOSE_PROJECT_NAME tangga)-compat"
  # Nothing here is on another server than `scratch`, whatever .env chooses.
  export COMPOSE_PROJECT_NAME COMPOSE_FILE=compose.yaml DB_PORT=5432
  trap clean_up EXIT
  export_release "$ref"
  step "build the tests of $ref" of_release --progress plain build test
  step 'build the steps of this folder' docker compose --progress plain build migrate
  step 'database' docker compose up --detach --wait scratch
  step 'make a database' make_database
  step 'migrate it to head' migrate
  output=$release/pytest.log
  try "API tests of $ref" run_tests "$output"
  case $tried in
    0) say "$ref works on the new schema: $(tail -n 1 "$output")" ;;
    1) report_failures "$ref" "$output" ;;
    *)
      tail -n 15 "$output" | sed 's/^/    | /' >&2
      die "the tests of $ref did not run (exit $tried)" 'see above'
      ;;
  esac
}

_main "$@"
