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
. "${BASH_SOURCE%/*}/lib.sh"
cd "${BASH_SOURCE%/*}/.."

readonly places=32 ahead=6 behind=8 kept_releases=3

project=$(confirmed_project)
edge='' # the proxy's network, by the name that the engine has for it
old=() new=() # replicas, by id
replacing=''  # 1: from the first new replica until all are in rotation
work=''       # a folder for what is passed on between parts of a run
reason=''     # a file there: why replicas did not become ready
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
  all=$(replicas) || return
  serving=$(replicas --filter "network=$edge") || return
  comm -23 <(printf '%s\n' "$all") <(printf '%s\n' "$serving") | sed '/^$/d'
}

# find_edge: the proxy's network, and the proxy: without them nobody knows who serves, so nothing may be removed.
find_edge() {
  edge=$(docker network ls --format '{{.Name}}' --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.network=rotation)
  [[ -n $edge && $edge != *$'\n'* ]] ||
    die "the network of the proxy is not there, so nobody knows which replicas serve; nothing was changed" 'make it and the proxy: docker compose up --detach --force-recreate proxy; then again'
  [[ -n $(admin 'show info' 2>/dev/null) ]] ||
    die 'the proxy does not say which replicas serve; nothing was changed' 'see make logs s=proxy; docker compose restart proxy'
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

# until_true SECONDS COMMAND...: status 1 if it has not come true by then.
until_true() {
  local end=$(($(now) + $1 * 1000))
  shift
  until "$@"; do
    (($(now) < end)) || return 1
    sleep 0.2
  done
}

# start_new NUMBER: made, taken off the proxy's network, and only then started.
start_new() {
  local before id made=()
  before=$(replicas)
  docker compose up --no-start --no-deps --no-recreate --scale "api=$((${#old[@]} + $1))" api
  mapfile -t made < <(comm -13 <(printf '%s\n' "$before") <(replicas))
  for id in "${made[@]}"; do docker network disconnect "$edge" "$id"; done
  docker start "${made[@]}"
}

# trouble_of REPLICA: why it will not become ready; nothing if it may.
trouble_of() {
  local status restarts said
  read -r status restarts < <(docker inspect --format '{{.State.Status}} {{.RestartCount}}' "$1")
  if [[ $status == running && $restarts == 0 ]]; then return; fi
  said=$(docker logs "$1" 2>&1 | sed -n 's/^error: //p' | tail -n 1)
  printf 'it crashes: %s' "${said:-$(docker logs --tail 1 "$1" 2>&1)}"
}

# answer_of REPLICA: what /readyz said last, as the health check has noted it.
answer_of() {
  local answer
  answer=$(docker inspect --format '{{range .State.Health.Log}}{{json .Output}}{{"\n"}}{{end}}' "$1" | grep . | tail -n 1)
  answer=${answer#\"} answer=${answer%\"} answer=${answer%\\n}
  if [[ $answer =~ \\\"detail\\\":\\\"([^\\]+)\\\" ]]; then answer=${BASH_REMATCH[1]}; fi
  printf '/readyz: %s' "${answer:-no answer}"
}

# Status 0: all are ready, or one never will be, and $reason has the cause.
decided() {
  local id
  for id in "${new[@]}"; do
    trouble_of "$id" >"$reason"
    [[ ! -s $reason ]] || return 0
  done
  for id in "${new[@]}"; do [[ $(docker inspect --format '{{.State.Health.Status}}' "$id") == healthy ]] || return 1; done
}

wait_ready() {
  local id
  until_true "$(setting DEPLOY_TIMEOUT 60)" decided ||
    for id in "${new[@]}"; do
      [[ $(docker inspect --format '{{.State.Health.Status}}' "$id") == healthy ]] || answer_of "$id" >"$reason"
    done
  [[ ! -s $reason ]]
}

all_up() { [[ $(places_of "$@" | grep -cE ' UP L7OK ') == "$#" ]]; }
idle() {
  local said
  said=$(places_of "$@") || return
  [[ -z $said ]] || ! grep -qv ' 0$' <<<"$said"
}
gone() {
  local said
  said=$(places_of "$@") && [[ -z $said ]]
}

take_in() {
  local id at
  for id in "${new[@]}"; do docker network connect --alias api "$edge" "$id"; done
  mapfile -t at < <(addresses "${new[@]}")
  until_true 15 all_up "${at[@]}" || { echo 'the proxy does not find them well'; return 1; }
}

# drain REPLICA...: the proxy sends them nothing new, what is under way ends, then they go. No request meets one that stops.
# Where the proxy cannot be asked, they stay.
drain() {
  local said at names
  said=$(addresses "$@") || return
  mapfile -t at < <(sed '/^$/d' <<<"$said")
  said=$(places_of "${at[@]}") || return
  mapfile -t names < <(cut -d ' ' -f 1 <<<"$said" | sed '/^$/d')
  set_places drain "${names[@]}" || return
  until_true "$(setting DRAIN_TIMEOUT 30)" idle "${at[@]}" || true
  set_places maint "${names[@]}" || return
  docker stop "$@" || return
  docker rm --force "$@" || return
  # A place keeps its state, so it is given back when nobody is there any more.
  until_true 10 gone "${at[@]}" || true
  set_places ready "${names[@]}"
}

# What a killed run has left: replicas that never came into rotation, places that take nobody.
tidy() {
  local left
  left=$(out_of_rotation)
  mapfile -t left < <(sed '/^$/d' <<<"$left")
  ((${#left[@]} == 0)) || docker rm --force "${left[@]}" >/dev/null
  mapfile -t left < <(seq --format 'api%g' "$places")
  set_places ready "${left[@]}"
}

# replace: from here on, TAG is what shall run.
replace() {
  local wanted
  wanted=$(setting API_REPLICAS 2)
  replacing=1
  step "start $wanted new replicas" start_new "$wanted" || die 'the new replicas could not be started' "see above. $serves"
  mapfile -t new < <(out_of_rotation)
  STEP_MAY_FAIL=1 step 'ready' wait_ready ||
    die "release $TAG does not become ready: $(<"$reason")" "mend it, then again: make deploy. $serves"
  step 'into rotation' take_in || die "release $TAG did not come into rotation" "see make logs s=proxy. $serves"
  replacing=''
  replaced "TAG=$TAG" | write_file .env
  ((${#old[@]} == 0)) || step "drain and remove ${#old[@]} old replicas" drain "${old[@]}"
}

# ---- Forward ---------------------------------------------------------------------------------------------------------

# new_tag: what git calls this state of the folder; where it has no name for it, the time.
new_tag() {
  local name=''
  [[ -n $(git status --porcelain 2>&1) ]] || name=$(git describe --tags --always)
  [[ -n $name ]] || name=$(date -u +%Y%m%dT%H%M%SZ)
  printf '%s' "${name//[^a-zA-Z0-9._-]/-}"
}

image_is_here() { docker image inspect "$project-api:$1" >/dev/null 2>&1; }

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
  local said
  said=$(docker logs "$(docker compose ps --all --quiet migrate)" 2>&1)
  die "the migration failed: $(sed -n 's/^error: //p' <<<"$said" | tail -n 1)" \
    "$(sed -n 's/^   do: //p' <<<"$said" | tail -n 1); then again: make deploy. $serves"
}

climb() {
  local status=0 found
  migrate current --check-heads >"$work/current" 2>&1 || status=$?
  case $status in
    0) return ;;
    "$ahead")
      say "  The schema is ahead of release $TAG; its replicas will say whether they can work on it."
      return
      ;;
    "$behind") ;;
    *)
      cat "$work/current" >&2
      die 'the database could not be asked where it is' "see above. $serves"
      ;;
  esac
  # A first start has nobody to hurt.
  if ((${#old[@]})); then
    STEP_QUIET=1 step 'build the linter' docker compose --progress plain build tools || die 'the linter could not be built' "see above. $serves"
    found=$(lint_pending) || {
      say "$found" >&2
      die 'pending steps would hurt the release that runs' "see above. $serves"
    }
  fi
  # Asks itself whether it is wanted (BACKUP_BEFORE_MIGRATE).
  if [[ -x scripts/backup.sh ]]; then
    scripts/backup.sh --before-migrate || die 'the backup failed, so nothing was migrated' "see above. $serves"
  fi
  STEP_MAY_FAIL=1 step 'migrate' docker compose up --no-deps --exit-code-from migrate migrate || migration_failed
}

# Of the releases that served the newest are kept, so that there is one to go back to; of those that did not, none.
forget_old_releases() {
  local image tried kept
  [[ -e .deploy/log.jsonl ]] || return 0
  tried=$(sed -nE 's/.*"action": "deploy".*"to": "([^"]+)".*/\1/p' .deploy/log.jsonl)
  kept=$(sed -nE 's/.*"action": "deploy".*"to": "([^"]+)".*"outcome": "ok".*/\1/p' .deploy/log.jsonl | tac |
    awk -v now="$TAG" -v others="$((kept_releases - 1))" '$0 != now && !seen[$0]++ && n++ < others')
  docker image ls --format '{{.Repository}}:{{.Tag}}' --filter "reference=$project-api" --filter "reference=$project-tools" |
    while read -r image; do
      grep -qxF -e "${image##*:}" <<<"$tried" || continue
      grep -qxF -e "${image##*:}" <<<"$TAG"$'\n'"$operation_from"$'\n'"$kept" || docker image rm "$image" >/dev/null 2>&1 || true
    done
}

forward() {
  local tag=$1 was before
  if ((${#old[@]})); then was=$(value_in .env TAG) operation_from=${was:-latest}; fi
  if [[ -n $tag ]]; then
    image_is_here "$tag" || die "there is no image $project-api:$tag here" "make deploy builds one; docker image ls $project-api shows those that are here"
  else
    tag=$(new_tag)
  fi
  export TAG=$tag
  operation_to=$tag
  # Its image takes the name of the one that serves, which is then none that could be gone back to.
  [[ $operation_from != "$tag" ]] || operation_from=''
  [[ -n $1 ]] || step "build $tag" docker compose --progress plain build migrate || die 'the build failed' "see above. $serves"
  climb
  replace
  operation_revision=$(migrate current 2>/dev/null | cut -d ' ' -f 1)
  forget_old_releases
  before=${operation_from:-$(release_before "${TAG//./\\.}" || true)}
  if [[ -z $before ]] || ! image_is_here "$before"; then before=''; fi
  say "Release $TAG serves, at revision $operation_revision.${before:+ The one before it, $before, is kept: make undeploy}"
}

# ---- Back ------------------------------------------------------------------------------------------------------------

# release_before TAG: from which release it was deployed.
release_before() {
  sed -nE "s/.*\"action\": \"deploy\", \"from\": \"([^\"]+)\", \"to\": \"$1\".*/\1/p" .deploy/log.jsonl 2>/dev/null | grep -vx -- "$1" | tail -n 1
}

back() {
  local newer to target current status
  newer=$(value_in .env TAG)
  newer=${newer:-latest}
  to=$(release_before "${newer//./\\.}") || true
  [[ -n $to ]] || die "nobody has noted which release came before $newer" 'name one: make deploy tag=...'
  operation_from=$newer operation_to=$to
  image_is_here "$to" || die "the image of release $to is not here any more" "check that release out, then: make deploy"
  target=$(TAG=$to migrate heads | cut -d ' ' -f 1)
  current=$(TAG=$newer migrate current 2>/dev/null | cut -d ' ' -f 1)
  if [[ $current != "$target" && -z $keep_schema ]]; then
    say "Release $to expects revision $target; the database is at $current and goes down when $to serves."
    TAG=$newer scripts/down.sh ${yes:+--yes} --ask-only "$target" || {
      status=$?
      died_of='nothing was changed: the steps down would lose data'
      exit "$status"
    }
  fi
  export TAG=$to
  replace
  if [[ $current != "$target" && -z $keep_schema ]]; then
    export TAG=$newer
    step "schema down to $target" migrate downgrade "$target" ||
      die "release $to serves, but the steps down failed" "mend the cause, then: TAG=$newer make rollback to=$target"
    current=$target
  fi
  operation_revision=$current
  say "Release $to serves, at revision $current. Forward again: make deploy tag=$newer"
}

# ----------------------------------------------------------------------------------------------------------------------

clean_up() {
  local made
  rm -rf "$work"
  if [[ -n $replacing ]]; then
    made=$(replicas) || return
    mapfile -t made < <(comm -13 <(printf '%s\n' "${old[@]}") <(printf '%s\n' "$made") | sed '/^$/d')
    # Some may be in rotation, and have requests under way.
    ((${#made[@]} == 0)) || drain "${made[@]}" >/dev/null 2>&1 ||
      say 'Note: the proxy does not say who serves, so the new replicas were left; the next deploy removes them.'
  fi
}

_main() {
  local going_back='' proxy
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
  in_production || die 'this stack has no proxy, so a deploy would be noticed' \
    'in .env: COMPOSE_FILE=compose.yaml:compose.prod.yaml (docs/production.md), then: make up; without it, make up replaces the release'
  [[ $(setting API_REPLICAS 2) =~ ^([1-9]|1[0-6])$ ]] ||
    die "API_REPLICAS=$(setting API_REPLICAS 2) is not a number from 1 to 16" 'mend it in .env' # half of $places
  [[ -n $(docker compose ps --quiet --status running proxy 2>/dev/null) ]] || die 'the proxy does not run' 'make up'
  with_deploy_lock "$([[ -n $going_back ]] && echo undeploy || echo deploy)"
  work=$(mktemp -d)
  reason=$work/reason
  : >"$reason"
  proxy=$(docker ps --quiet --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.service=proxy \
    --filter "network=${project}_rotation") || die 'the engine does not say which networks the proxy is on; nothing was changed' 'see above'
  [[ -n $proxy ]] ||
    die "the proxy is not on the network ${project}_rotation: an older compose.prod.yaml started it" \
      'make up, which replaces database and proxy too: nobody is served for some seconds'
  find_edge
  tidy
  mapfile -t old < <(replicas)
  ((${#old[@]} == 0)) || serves='The old release goes on serving.'
  if [[ -n $going_back ]]; then back; else forward "${1:-}"; fi
}

_main "$@"
