#!/usr/bin/env bash
# usage: scripts/deploy.sh [--outage] [TAG]
#        scripts/deploy.sh --back [--yes] [--keep-schema]
#
# Replaces the release in production, and nobody notices: builds (or takes TAG), lints the pending steps, backs up,
# migrates, starts new replicas beside the old ones, waits until they are ready, takes them into the proxy's rotation,
# drains the old ones and removes them. Whatever fails before that, the new replicas are removed, and the old ones go on
# serving. --outage: also with a step that breaks the running release.
#
# --back returns to the release before: first its replicas, then the steps down, from the newer image, which knows them.
#
# A replica is in rotation if it is on the network `rotation`, where the proxy finds it (services/proxy/haproxy.cfg), so a run
# that is killed leaves none in rotation that was not ready. What it leaves besides, the next run removes.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
. "${BASH_SOURCE%/*}/lib/operation.sh"
cd "${BASH_SOURCE%/*}/.."

readonly places=32 ahead=6 behind=8 would_lose_data=11 findings=12 kept_releases=3

read_settings # here, so that those who run in a part of this need not ask
project=$(confirmed_project)
edge='' # the proxy's network, by the name that the engine has for it
old=() new=() # replicas, by id
wanted=''     # how many there shall be
replacing=''  # 1: from the first new replica until all are in rotation
work=''       # a folder for what is passed on between parts of a run
reason=''     # a file there: why replicas did not become ready
afterwards='' # what remains to be done by hand if this ends early
serves=''     # what an error says of those who are not touched by it
outage='' yes='' keep_schema=''

# ---- Replicas, and the proxy's rotation ------------------------------------------------------------------------------

# replicas [FILTER...]: the API's containers, running or not.
replicas() {
  docker ps --all --quiet --no-trunc --filter "label=com.docker.compose.project=$project" \
    --filter label=com.docker.compose.service=api --filter label=com.docker.compose.oneoff=False "$@" | sort
}

# Where the engine does not answer, nobody is out of rotation: who is, may be removed.
out_of_rotation() {
  local all serving
  all=$(replicas)
  serving=$(replicas --filter "network=$edge")
  comm -23 <(printf '%s\n' "$all") <(printf '%s\n' "$serving") | sed '/^$/d'
}

# find_edge: the proxy's network, and the proxy: without them nobody knows who serves, so nothing may be removed.
find_edge() {
  asked docker network ls --format '{{.Name}}' --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.network=rotation
  edge=$answer
  [[ -n $edge && $edge != *$'\n'* ]] ||
    die "the network of the proxy is not there, so nobody knows which replicas serve; nothing was changed" 'make it and the proxy: docker compose up --detach --force-recreate proxy; then again'
  attempt admin 'show info'
  ((tried == 0)) || give_up 'the proxy does not say which replicas serve; nothing was changed' 'see make logs s=proxy; docker compose restart proxy'
  [[ -n $answer ]] || die 'the proxy does not say which replicas serve; nothing was changed' 'see make logs s=proxy; docker compose restart proxy'
}

# addresses REPLICA...: theirs on the network `rotation`.
addresses() { docker inspect --format "{{with index .NetworkSettings.Networks \"$edge\"}}{{.IPAddress}}{{end}}" "$@"; }

# admin COMMAND: to the proxy, whose door is in its container.
admin() { docker compose exec -T proxy socat -t 5 - UNIX-CONNECT:/run/haproxy/admin.sock <<<"$1"; }

# set_places STATE NAME...: of places in the rotation.
set_places() {
  local state=$1
  shift
  (($# == 0)) || admin "$(printf "set server api/%s state $state;" "$@")" >/dev/null
}

# places_of ADDRESS...: "NAME STATUS CHECK REQUESTS" of the places that have these addresses.
places_of() {
  admin 'show stat api 4 -1' | awk -F, -v wanted=" $* " '
    NR == 1 { sub(/^# /, ""); for (i = 1; i <= NF; i++) column[$i] = i; next }
    { address = $column["addr"]; sub(/:[0-9]+$/, "", address) }
    address != "" && index(wanted, " " address " ") { print $column["svname"], $column["status"], $column["check_status"], $column["scur"] }'
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

# start_new NUMBER: made, taken off the proxy's network, and only then started.
start_new() {
  local before after id made=()
  before=$(replicas)
  docker compose up --no-start --no-deps --no-recreate --scale "api=$((${#old[@]} + $1))" api
  after=$(replicas)
  mapfile -t made < <(comm -13 <(printf '%s\n' "$before") <(printf '%s\n' "$after"))
  for id in "${made[@]}"; do docker network disconnect "$edge" "$id"; done
  docker start "${made[@]}"
}

# trouble_of REPLICA: why it will not become ready; nothing if it may.
trouble_of() {
  local state log cause
  state=$(docker inspect --format '{{.State.Status}} {{.RestartCount}}' "$1") || return
  if [[ $state == 'running 0' ]]; then return; fi
  log=$(docker logs "$1" 2>&1) || true
  cause=$(sed -n 's/^error: //p' <<<"$log" | tail -n 1)
  printf 'it crashes: %s' "${cause:-$(tail -n 1 <<<"$log")}"
}

# answer_of REPLICA: what /readyz said last, as the health check has noted it.
answer_of() {
  local answer
  answer=$(docker inspect --format '{{range .State.Health.Log}}{{json .Output}}{{"\n"}}{{end}}' "$1" | { grep . || true; } | tail -n 1) || true
  answer=${answer#\"} answer=${answer%\"} answer=${answer%\\n}
  if [[ $answer =~ \\\"detail\\\":\\\"([^\\]+)\\\" ]]; then answer=${BASH_REMATCH[1]}; fi
  printf '/readyz: %s' "${answer:-no answer}"
}

# shellcheck disable=SC2310 # each line fails by itself
# Status 0: all are ready, or one never will be, and $reason has the cause.
decided() {
  local id
  for id in "${new[@]}"; do
    trouble_of "$id" >"$reason" || return
    [[ ! -s $reason ]] || return 0
  done
  for id in "${new[@]}"; do [[ $(docker inspect --format '{{.State.Health.Status}}' "$id") == healthy ]] || return 1; done
}

# shellcheck disable=SC2310 # until_true
wait_ready() {
  local id
  until_true "$(setting DEPLOY_TIMEOUT 60)" decided ||
    for id in "${new[@]}"; do
      [[ $(docker inspect --format '{{.State.Health.Status}}' "$id") == healthy ]] || answer_of "$id" >"$reason"
    done
  [[ ! -s $reason ]]
}

all_up() { [[ $(places_of "$@" | grep -cE ' UP L7OK ') == "$#" ]]; }
# shellcheck disable=SC2310 # each line fails by itself
idle() {
  local found
  found=$(places_of "$@") || return
  [[ -z $found ]] || ! grep -qv ' 0$' <<<"$found"
}
# shellcheck disable=SC2310 # each line fails by itself
gone() {
  local found
  found=$(places_of "$@") || return
  [[ -z $found ]]
}

# shellcheck disable=SC2310 # until_true
take_in() {
  local id at=()
  for id in "${new[@]}"; do docker network connect --alias api "$edge" "$id"; done
  listed at addresses "${new[@]}"
  until_true 15 all_up "${at[@]}" || { echo 'the proxy does not find them well'; return 1; }
}

# drain REPLICA...: the proxy sends them nothing new, what is under way ends, then they go. No request meets one that stops.
# Where the proxy cannot be asked, they stay.
# shellcheck disable=SC2310 # until_true
drain() {
  local at=() found=() names=()
  read_settings # .env has another TAG
  listed at addresses "$@"
  mapfile -t at < <(printf '%s\n' "${at[@]}" | sed '/^$/d')
  listed found places_of "${at[@]}"
  names=("${found[@]%% *}")
  set_places drain "${names[@]}"
  until_true "$(setting DRAIN_TIMEOUT 30)" idle "${at[@]}" || true
  set_places maint "${names[@]}"
  docker stop "$@"
  docker rm --force "$@"
  # A place keeps its state, so it is given back when nobody is there any more.
  until_true 10 gone "${at[@]}" || true
  set_places ready "${names[@]}"
}

# What a killed run has left: replicas that never came into rotation, places that take nobody.
tidy() {
  local left=()
  listed left out_of_rotation
  ((${#left[@]} == 0)) || docker rm --force "${left[@]}" >/dev/null
  mapfile -t left < <(seq --format 'api%g' "$places")
  set_places ready "${left[@]}"
}

# replace: from here on, TAG is what shall run.
replace() {
  replacing=1
  step --or 'the new replicas could not be started' --do "mend that, then again: make deploy. $serves" \
    "start $wanted new replicas" start_new "$wanted"
  listed new out_of_rotation
  try 'ready' wait_ready
  ((tried == 0)) || [[ ! -s $reason ]] ||
    die "release $TAG does not become ready: $(<"$reason")" "mend it, then again: make deploy. $serves"
  ((tried == 0)) || give_up "release $TAG could not be asked whether it is ready" "mend that, then again: make deploy. $serves"
  step --or "release $TAG did not come into rotation" --do "see make logs s=proxy. $serves" 'into rotation' take_in
  replacing=''
  replaced "TAG=$TAG" | write_file .env
  ((${#old[@]} == 0)) || step --or "release $TAG serves, but not all replicas of the one before are removed" \
    --do "make deploy tag=$TAG replaces them all${afterwards:+; $afterwards}" "drain and remove ${#old[@]} old replicas" drain "${old[@]}"
}

# ---- Forward ---------------------------------------------------------------------------------------------------------

# new_tag: what git calls this state of the folder; where it has no name for it, the time.
new_tag() {
  local name=''
  [[ -n $(git status --porcelain 2>&1) ]] || name=$(git describe --tags --always)
  [[ -n $name ]] || name=$(date -u +%Y%m%dT%H%M%SZ)
  printf '%s' "${name//[^a-zA-Z0-9._-]/-}"
}

# need_image TAG WHAT REMEDY
need_image() {
  asked docker image ls --quiet "$project-api:$1"
  [[ -n $answer ]] || die "$2" "$3"
}

migrate() { docker compose --progress quiet run --rm -T --no-deps migrate alembic "$@" </dev/null; }

# Lints the steps that the image has and the database has not, by the rules of this folder.
lint_pending() {
  local id
  id=$(docker create "$project-api:$TAG")
  docker cp --quiet "$id:/app/migrations" "$work/migrations"
  docker rm "$id" >/dev/null
  docker compose --progress quiet run --rm -T --no-deps --volume "$work/migrations:/app/migrations:ro" tools \
    alembic lint --pending ${outage:+--outage} </dev/null
}

migration_failed() {
  log_of migrate
  [[ -n $log ]] || give_up 'the migration was not run' "mend that, then again: make deploy. $serves"
  die "the migration failed: ${log_cause:-$(tail -n 1 <<<"$log")}" "${log_remedy:-mend the step}; then again: make deploy. $serves"
}

climb() {
  attempt migrate current --check-heads
  case $tried in
    0) return ;;
    "$ahead")
      say "  The schema is ahead of release $TAG; its replicas will say whether they can work on it."
      return
      ;;
    "$behind") ;;
    *)
      give_up 'the database could not be asked where it is' "mend that, then again: make deploy. $serves"
      ;;
  esac
  # A first start has nobody to hurt.
  if ((${#old[@]})); then
    STEP_QUIET=1 step --or 'the linter could not be built' --do "mend that, then again: make deploy. $serves" \
      'build the linter' docker compose --progress plain build tools
    attempt lint_pending
    if ((tried == findings)); then
      say "$answer" >&2
      die 'pending steps would hurt the release that runs' "see above. $serves"
    fi
    ((tried == 0)) || give_up 'the pending steps could not be linted' "mend that, then again: make deploy. $serves"
  fi
  # Asks itself whether it is wanted (BACKUP_BEFORE_MIGRATE).
  if [[ -x scripts/backup.sh ]]; then
    scripts/backup.sh --before-migrate || die 'the backup failed, so nothing was migrated' "see above. $serves"
  fi
  try 'migrate' docker compose up --no-deps --exit-code-from migrate migrate
  ((tried == 0)) || migration_failed
}

# Of the releases that served the newest are kept, so that there is one to go back to; of those that did not, none.
forget_old_releases() {
  local image images deployed kept
  [[ -e .deploy/log.jsonl ]] || return 0
  # A release that serves is deployed, whether or not old images go; the next one asks again.
  images=$(docker image ls --format '{{.Repository}}:{{.Tag}}' --filter "reference=$project-api" --filter "reference=$project-tools" 2>/dev/null) || return 0
  deployed=$(sed -nE 's/.*"action": "deploy".*"to": "([^"]+)".*/\1/p' .deploy/log.jsonl)
  kept=$(sed -nE 's/.*"action": "deploy".*"to": "([^"]+)".*"outcome": "ok".*/\1/p' .deploy/log.jsonl | tac |
    awk -v now="$TAG" -v others="$((kept_releases - 1))" '$0 != now && !seen[$0]++ && n++ < others')
  while read -r image; do
    grep -qxF -e "${image##*:}" <<<"$deployed" || continue
    grep -qxF -e "${image##*:}" <<<"$TAG"$'\n'"$operation_from"$'\n'"$kept" || docker image rm "$image" >/dev/null 2>&1 || true
  done <<<"$images"
}

forward() {
  local tag=$1 before
  if ((${#old[@]})); then
    asked value_in .env TAG
    operation_from=${answer:-latest}
  fi
  if [[ -n $tag ]]; then
    need_image "$tag" "there is no image $project-api:$tag here" "make deploy builds one; docker image ls $project-api shows those that are here"
  else
    tag=$(new_tag)
  fi
  export TAG=$tag
  read_settings
  operation_to=$tag
  # Its image takes the name of the one that serves, which is then none that could be gone back to.
  [[ $operation_from != "$tag" ]] || operation_from=''
  [[ -n $1 ]] || step --or 'the build failed' --do "mend that, then again: make deploy. $serves" "build $tag" docker compose --progress plain build migrate
  climb
  replace
  # It serves, whether or not that can be asked.
  attempt migrate current
  operation_revision=${answer%%[[:space:]]*}
  forget_old_releases
  before=$operation_from
  # shellcheck disable=SC2310 # one pipeline
  [[ -n $before ]] || before=$(release_before "${TAG//./\\.}") || true
  attempt docker image ls --quiet "$project-api:$before"
  [[ -n $before && -n $answer ]] || before=''
  say "Release $TAG serves${operation_revision:+, at revision $operation_revision}.${before:+ The one before it, $before, is kept: make undeploy}"
}

# ---- Back ------------------------------------------------------------------------------------------------------------

# release_before TAG: from which release it was deployed.
release_before() {
  sed -nE "s/.*\"action\": \"deploy\", \"from\": \"([^\"]+)\", \"to\": \"$1\".*/\1/p" .deploy/log.jsonl 2>/dev/null | grep -vx -- "$1" | tail -n 1
}

back() {
  local newer to target current status
  asked value_in .env TAG
  newer=${answer:-latest}
  # shellcheck disable=SC2310 # one pipeline
  to=$(release_before "${newer//./\\.}") || true
  [[ -n $to ]] || die "nobody has noted which release came before $newer" 'name one: make deploy tag=...'
  operation_from=$newer operation_to=$to
  need_image "$to" "the image of release $to is not here any more" "check that release out, then: make deploy"
  TAG=$to asked migrate heads
  target=${answer%%[[:space:]]*}
  TAG=$newer asked migrate current
  current=${answer%%[[:space:]]*}
  if [[ $current != "$target" && -z $keep_schema ]]; then
    say "Release $to expects revision $target; the database is at $current and goes down when $to serves."
    TAG=$newer scripts/rollback.sh ${yes:+--yes} --ask-only "$target" || {
      status=$?
      died_of='nothing was changed: the steps down would lose data'
      ((status == would_lose_data)) || died_of='nothing was changed: what the steps down would lose could not be asked'
      exit "$status"
    }
  fi
  if [[ $current != "$target" && -z $keep_schema ]]; then afterwards="then, for the schema: TAG=$newer make rollback to=$target"; fi
  export TAG=$to
  read_settings
  replace
  if [[ $current != "$target" && -z $keep_schema ]]; then
    export TAG=$newer
    step --or "release $to serves, but the steps down failed" --do "mend the cause, then: TAG=$newer make rollback to=$target" \
      "schema down to $target" migrate downgrade "$target"
    current=$target
  fi
  operation_revision=$current
  say "Release $to serves, at revision $current. Forward again: make deploy tag=$newer"
}

# ----------------------------------------------------------------------------------------------------------------------

clean_up() {
  local made now_there
  rm -rf "$work"
  if [[ -n $replacing ]]; then
    now_there=$(replicas)
    mapfile -t made < <(comm -13 <(printf '%s\n' "${old[@]}") <(printf '%s\n' "$now_there") | sed '/^$/d')
    # Some may be in rotation, and have requests under way.
    ((${#made[@]} == 0)) || drain "${made[@]}" >/dev/null 2>&1
  fi
}

_main() {
  local going_back=''
  while [[ ${1:-} == --* ]]; do
    case $1 in
      --back) going_back=1 ;;
      --outage) outage=1 ;;
      --yes) yes=1 ;;
      --keep-schema) keep_schema=1 ;;
      *) die "unknown option $1" 'scripts/deploy.sh [--outage] [TAG] | --back [--yes] [--keep-schema]' ;;
    esac
    shift
  done
  # shellcheck disable=SC2310 # one command
  in_production || die 'this stack has no proxy, so a deploy would be noticed' \
    'in .env: COMPOSE_FILE=compose.yaml:compose.prod.yaml (docs/production.md), then: make up; without it, make up replaces the release'
  wanted=$(setting API_REPLICAS 2)
  [[ $wanted =~ ^([1-9]|1[0-6])$ ]] || die "API_REPLICAS=$wanted is not a number from 1 to 16" 'mend it in .env' # half of $places
  asked docker compose ps --quiet --status running proxy
  [[ -n $answer ]] || die 'the proxy does not run' 'make up'
  with_deploy_lock "$([[ -n $going_back ]] && echo undeploy || echo deploy)"
  work=$(mktemp -d)
  reason=$work/reason
  : >"$reason"
  asked docker ps --quiet --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.service=proxy \
    --filter "network=${project}_rotation"
  [[ -n $answer ]] ||
    die "the proxy is not on the network ${project}_rotation: an older compose.prod.yaml started it" \
      'make up, which replaces database and proxy too: nobody is served for some seconds'
  find_edge
  attempt tidy
  ((tried == 0)) || give_up 'what an earlier run may have left could not be removed; nothing was changed'
  listed old replicas
  ((${#old[@]} == 0)) || serves='The old release goes on serving.'
  if [[ -n $going_back ]]; then back; else forward "${1:-}"; fi
}

_main "$@"
