# shellcheck shell=bash
# shellcheck disable=SC2154 # lib/steps.sh sets $told
# Restores a backup into a throwaway database, and compares every table. Sourced.

# free_memory: in bytes; 0 where nobody says.
free_memory() { awk '/^MemAvailable/ { kib = $2 } END { printf "%.0f", kib * 1024 }' /proc/meminfo 2>/dev/null || printf 0; }

verify() {
  local name bytes free
  told checksum in_backup check "$1"
  read -r name _ _ bytes <<<"$told"
  free=$(free_memory)
  # shellcheck disable=SC2310 # one command
  if fits_in_memory "$bytes" "$free"; then in_memory "$name"; else beside_the_live_one "$name"; fi
  told 'note it' in_backup verified "$name"
  say "$name.dump restores: every table has the rows that it had"
}

# In a project of its own: make plan and make verify have a scratch server, too.
in_memory() {
  throwaway="$(setting COMPOSE_PROJECT_NAME tangga)-verify"
  trap 'docker compose --project-name "$throwaway" --profile "*" down --volumes >/dev/null 2>&1 || true' EXIT
  step --or 'the scratch server did not start' 'scratch server' docker compose --project-name "$throwaway" up --detach --wait scratch
  told 'restore and compare' docker compose --project-name "$throwaway" --progress quiet run --rm -T --no-deps -e PGHOST=scratch -e PGPORT=5432 backup load "$1" verify
  [[ -z $told ]] || say "  $told"
}

beside_the_live_one() {
  local database
  database="$(setting DB_NAME tangga)_verify"
  say '  it does not fit in memory, so it is restored into a database beside the live one'
  told 'restore and compare' in_backup load "$1" "$database"
  [[ -z $told ]] || say "  $told"
  told 'drop it' in_backup drop "$database"
}
