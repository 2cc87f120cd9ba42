# shellcheck shell=bash
# shellcheck disable=SC2154 # checks.sh sets what a run knows
# The schema of a release: asked for, linted, climbed to. Sourced.

migrate() { docker compose --progress quiet run --rm -T --no-deps migrate alembic "$@" </dev/null; }

# climb [OUTAGE]: to the schema of the release TAG, if the database is behind it.
climb() {
  local where
  attempt migrate current --check-heads
  where=$(schema_after_check "$tried")
  case $where in
    here) return ;;
    ahead) say "  The schema is ahead of release $TAG; its replicas will say whether they can work on it." ;;
    behind)
      # A first start has nobody to hurt.
      ((${#old[@]} == 0)) || lint "${1:-}"
      # Asks itself whether it is wanted (BACKUP_BEFORE_MIGRATE).
      scripts/backup.sh --before-migrate || die 'the backup failed, so nothing was migrated' "see above. $serves"
      try 'migrate' docker compose up --no-deps --exit-code-from migrate migrate
      ((tried == 0)) || migration_failed
      ;;
    *) give_up 'the database could not be asked where it is' "mend that, then again: make deploy. $serves" ;;
  esac
}

lint() {
  STEP_QUIET=1 step --or 'the linter could not be built' --do "mend that, then again: make deploy. $serves" \
    'build the linter' docker compose --progress plain build tools
  attempt lint_pending "$1"
  # What was found, or which file is odd.
  if ((tried != 0)) && [[ -n $answer ]]; then say "$answer" >&2; fi
  ((tried != exit_findings)) || die 'pending steps would hurt the release that runs' "see above. $serves"
  ((tried == 0)) || give_up 'the pending steps could not be linted' "mend that, then again: make deploy. $serves"
}

# lint_pending [OUTAGE]: the steps that the image has and the database has not, by the rules of this folder.
lint_pending() {
  local id
  id=$(docker create "$project-api:$TAG")
  docker cp --quiet "$id:/app/migrations" "$work/migrations"
  docker rm "$id" >/dev/null
  docker compose --progress quiet run --rm -T --no-deps --volume "$work/migrations:/app/migrations:ro" tools \
    alembic lint --pending ${1:+--outage} </dev/null
}

# Only the log of the container says why: `up --exit-code-from` hands on no more than its status.
migration_failed() {
  log_of migrate
  [[ -n $log ]] || give_up 'the migration was not run' "mend that, then again: make deploy. $serves"
  die "the migration failed: ${log_cause:-$(tail -n 1 <<<"$log")}" "${log_remedy:-mend the step}; then again: make deploy. $serves"
}
