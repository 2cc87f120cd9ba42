# shellcheck shell=bash
# shellcheck disable=SC2034 # whoever asks alembic uses them
# The statuses of alembic that scripts go by (services/migrate/tangga/exits.py). Sourced, never run.

exit_ahead=6 exit_behind=8 exit_would_lose_data=11 exit_findings=12 exit_unknown_revision=13

# schema_after_check STATUS: of `alembic current --check-heads`: where the database is, seen from the image: here, behind,
# ahead or unknown.
schema_after_check() {
  case $1 in
    0) say here ;;
    "$exit_ahead") say ahead ;;
    "$exit_behind") say behind ;;
    *) say unknown ;;
  esac
}
