# shellcheck shell=bash
# shellcheck disable=SC2154 # lib/steps.sh sets $tried and $answer
# A backup before a migration, if one is wanted and steps are pending. Sourced.

ask_alembic() { docker compose --progress quiet run --rm -T migrate alembic "$@" </dev/null; }

# If nothing was ever migrated, there is nothing to back up.
before_migrate() {
  local wanted where
  # compose.prod.yaml has another default.
  wanted=$(setting BACKUP_BEFORE_MIGRATE "$([[ -n $in_production ]] && echo true || echo false)")
  # shellcheck disable=SC2310 # one command
  says_yes "$wanted" || return 0
  attempt ask_alembic current --check-heads
  where=$(schema_after_check "$tried")
  case $where in
    here | ahead) return ;;
    behind) ;;
    *) give_up 'the database could not be asked whether steps are pending, so there is no backup, and nothing was migrated' ;;
  esac
  asked ask_alembic current
  [[ -z $answer ]] || make_one
}
