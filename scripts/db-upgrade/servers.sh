# shellcheck shell=bash
# shellcheck disable=SC2154 # db-upgrade.sh sets $project, $next and $transfer; lib/steps.sh what was answered
# The two servers and their volumes. Sourced.

volume_name() { printf '%s_%s' "$project" "$1"; }
current() {
  local volume
  volume=$(setting DB_VOLUME db-data)
  volume_name "$volume"
}

# remove_leftovers: of a run that failed or was killed: its containers, and the volumes that neither serve nor are kept.
remove_leftovers() {
  local name serves keeps volumes ours=(--filter "label=com.docker.compose.project=$project")
  serves=$(current)
  keeps=$(setting DB_VOLUME_PREVIOUS)
  docker ps --all --quiet "${ours[@]}" --filter "name=^/?($next|$transfer)\$" | xargs -r docker rm --force --volumes >/dev/null
  volumes=$(docker volume ls --quiet "${ours[@]}" --filter label=com.docker.compose.volume=db-data)
  for name in $(leftovers "$serves" "${project}_$keeps" <<<"$volumes"); do docker volume rm "$name" >/dev/null; done
}

major_of_image() { docker image inspect --format '{{range .Config.Env}}{{println .}}{{end}}' "$1" | major_in; }
# described IMAGE VOLUME: for the log; an image that is gone has no version.
described() {
  attempt major_of_image "$1"
  printf 'PostgreSQL %s (%s)' "${answer:-?}" "$2"
}

# start_next IMAGE VOLUME: the new server, beside the old one. No wal_level: nobody has to follow it yet.
start_next() {
  local tries state
  POSTGRES_IMAGE=$1 DB_VOLUME=$2 docker compose run --detach --no-deps --name "$next" db-next postgres -c max_locks_per_transaction=256 -c wal_level=minimal -c max_wal_senders=0 -c max_wal_size=4GB
  for tries in {1..600}; do
    # Asked again if that fails.
    state=$(docker inspect --format '{{.State.Status}} {{.State.Health.Status}}' "$next") || state=''
    case $(course_of_start "$state") in
      up) return ;;
      over) break ;;
    esac
    sleep 0.2
  done
  docker logs --tail 15 "$next"
  echo "it did not become healthy (looked $tries times)"
  return 1
}

# By the client of the newer of the two versions. Runs in a process of `step`; if it outlives this script, it harms nobody,
# and the next run may begin and end it.
copy() {
  exec {deploy_lock}>&-
  POSTGRES_IMAGE=$1 docker compose --progress quiet run --rm -T --no-deps --name "$transfer" --entrypoint 'bash /app/services/postgres/transfer.sh' backup db "$next"
}

# stop_old: told to stop, a server ends the session that holds the tables before those that wait for them: one of these then
# writes, and is told so, to a volume that nobody will read. Killed, it ends all at once, and nobody gets a lock. What was
# acknowledged is on its disk, where it is read again by whoever goes back.
stop_old() { if [[ -n $held ]]; then docker compose kill db; else docker compose stop db; fi; }

start_db() {
  read_settings # .env has changed
  docker compose up --detach --wait db
}
