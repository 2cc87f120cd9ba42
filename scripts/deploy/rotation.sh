# shellcheck shell=bash
# shellcheck disable=SC2154 # checks.sh sets what a run knows
# The API's replicas, and the proxy's rotation: one call of Docker each. Sourced.
#
# A replica is in rotation if it is on the network `rotation`, where the proxy finds it (services/proxy/haproxy.cfg).

# replicas [FILTER...]: the API's containers, running or not.
replicas() {
  docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
    --filter label=com.docker.compose.service=api --filter label=com.docker.compose.oneoff=False "$@" | LC_ALL=C sort
}

# Where the engine does not answer, nobody is out of rotation: who is, may be removed.
out_of_rotation() {
  local all serving
  all=$(replicas)
  serving=$(replicas --filter "network=$edge")
  others "$all" "$serving"
}

# addresses REPLICA...: theirs on the network `rotation`.
addresses() { docker inspect --format "{{with index .NetworkSettings.Networks \"$edge\"}}{{.IPAddress}}{{end}}" "$@"; }

# leave_rotation REPLICA, join_rotation REPLICA
leave_rotation() { docker network disconnect "$edge" "$1"; }
join_rotation() { docker network connect --alias api "$edge" "$1"; }

health_of() { docker inspect --format '{{.State.Health.Status}}' "$1"; }
# course_of REPLICA: "STATUS RESTARTS"
course_of() { docker inspect --format '{{.State.Status}} {{.RestartCount}}' "$1"; }

# answer_of REPLICA: why it is not ready, else what its last health check said.
answer_of() {
  local checks reason
  checks=$(checks_of "$1")
  reason=$(reason_in "$checks")
  checks=${checks:-no answer}
  printf '/readyz: %s' "${reason:-${checks##*$'\n'}}"
}

# admin COMMAND: to the proxy, whose door is in its container.
admin() { docker exec --interactive "$proxy" socat -t 5 - UNIX-CONNECT:/run/haproxy/admin.sock <<<"$1"; }

# set_places STATE NAME...: of places in the rotation.
set_places() {
  local state=$1
  shift
  (($# == 0)) || admin "$(printf "set server api/%s state $state;" "$@")" >/dev/null
}

# places_of ADDRESS...: "NAME STATUS CHECK REQUESTS" of the places that have these addresses.
places_of() { admin 'show stat api 4 -1' | places_at "$@"; }

# all_up ADDRESS..., idle ADDRESS..., gone ADDRESS...: conditions, each for `until_true`; false where the proxy does not answer.
all_up() {
  local found
  found=$(places_of "$@") || return
  [[ $(how_many_are_up "$found") == "$#" ]]
}
idle() {
  local found
  found=$(places_of "$@") || return
  [[ $(how_many_work "$found") == 0 ]]
}
gone() {
  local found
  found=$(places_of "$@") || return
  [[ -z $found ]]
}

# until_true SECONDS COMMAND...: status 1 if it has not come true by then. The command is a condition: each line of it has to
# fail by itself, and who could not be asked is asked again.
until_true() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS <= end)) || return 1
    sleep 0.2
  done
}
