#!/usr/bin/env bash
# usage: scripts/swarm-deploy.sh
#
# Deploys to the Docker Swarm of which this machine is a manager, from the files that .env chooses and deploy/swarm.yaml:
# build, secrets, then the migration as a job, and only when that has completed, a rolling update of the API, each new task
# ready before an old one ends. A job that fails leaves the API alone; an update that fails is rolled back by the swarm.
# Either ends this with exit 1 and the reason.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib/common.sh"
cd "${BASH_SOURCE%/*}/.."

readonly pending_seconds=60 converge_seconds=900 not_done=64

stack='' # its name in the swarm; not the project's, whose network has the other name already

swarm_fact() { docker info --format "{{.Swarm.$1}}"; }

check() {
  asked swarm_fact ControlAvailable
  [[ $answer == true ]] ||
    die 'this engine is no manager of a swarm' 'run this on a manager, or make a swarm of this machine: docker swarm init'
  [[ -n $database_elsewhere ]] ||
    die 'the database of this stack is a container with a volume on this machine; a swarm would start it anywhere, without its data' \
      'put it elsewhere: COMPOSE_FILE=compose.yaml:deploy/external-db.yaml in .env (docs/scaling.md)'
  [[ $COMPOSE_FILE != *compose.prod.yaml* ]] ||
    die 'compose.prod.yaml is for one machine: proxy, file secrets' 'take it out of COMPOSE_FILE; deploy/swarm.yaml has what a swarm needs'
  [[ -z $pooled ]] ||
    die 'deploy/pooler.yaml is for one machine: the swarm has no such service' \
      'name a pooler elsewhere by DB_HOSTNAME, with DB_POOLER=true and MIGRATE_DB_HOSTNAME (docs/scaling.md)'
  [[ ${TAG:-latest} != latest ]] ||
    die 'TAG=latest names whatever was built last, so a roll-back could not go back' 'name the release in .env: TAG=...'
  asked swarm_fact Nodes
  ((answer == 1)) || [[ $SWARM_IMAGE == */* ]] ||
    die "the other nodes cannot get the image $SWARM_IMAGE:$TAG from this machine" \
      'name it with a registry that they reach, in .env: SWARM_IMAGE=registry.example.org/tangga-api'
}

build() {
  docker compose build migrate
  [[ $SWARM_IMAGE != */* ]] || docker compose push migrate
}

# keep secret|config NAME VALUE: under a name that only this value has; prints the name. What the name tells of a value is
# worth nothing without the token key.
keep() {
  local name
  name="${stack}_$2_$(printf '%s' "$(setting TOKEN_KEY)|$2|$3" | sha256sum | cut -c1-12)"
  docker "$1" inspect "$name" >/dev/null 2>&1 ||
    printf '%s\n' "$3" | docker "$1" create --label "tangga.stack=$stack" "$name" - >/dev/null
  printf '%s' "$name"
}

keep_secrets() {
  asked keep secret db_owner_pass "$(setting DB_OWNER_PASS)"
  export SWARM_DB_OWNER_PASS=$answer
  asked keep secret db_pass "$(setting DB_PASS)"
  export SWARM_DB_PASS=$answer
  asked keep secret token_key "$(setting TOKEN_KEY)"
  export SWARM_TOKEN_KEY=$answer
  asked keep secret token_key_previous "$(setting TOKEN_KEY_PREVIOUS)"
  export SWARM_TOKEN_KEY_PREVIOUS=$answer
  asked keep config db_ca "$(<"$(setting DB_SSLROOTCERT)")"
  export SWARM_DB_CA=$answer
  asked docker image inspect --format '{{.Id}}' "$SWARM_IMAGE:$TAG"
  export SWARM_IMAGE_ID=$answer
}

# deploy SERVICE: this one alone; a service that the file does not name is left as it is.
deploy() {
  local resolve=never
  [[ $SWARM_IMAGE != */* ]] || resolve=always
  docker compose config --format json |
    docker run --rm --interactive --network none "$SWARM_IMAGE:$TAG" python3 -Ic "$(<scripts/swarm/stack.py)" "$1" |
    docker stack deploy --detach=true --with-registry-auth --resolve-image "$resolve" --compose-file - "$stack"
}

# job_task: "ITERATION STATE ID ERROR" of the job's task; nothing while there is none.
job_task() {
  local iteration
  iteration=$(docker service inspect --format '{{.JobStatus.JobIteration.Index}}' "${stack}_migrate")
  docker service ps --quiet --no-trunc "${stack}_migrate" |
    xargs -r docker inspect --format '{{.JobIteration.Index}} {{.Status.State}} {{.ID}} {{.Status.Err}}' |
    grep "^$iteration " || true
}

# A deploy makes the job run again, whether it has changed or not. A migration may take hours; a task that nobody starts
# may not. A swarm that does not answer is asked again. Status $not_done: the job has not completed.
run_job() {
  local state deadline
  deploy migrate
  deadline=$((SECONDS + pending_seconds))
  while ((SECONDS < deadline)); do
    read -r _ state _ <<<"$(job_task)"
    case $state in
      complete) return 0 ;;
      failed | rejected | shutdown | orphaned | remove) return "$not_done" ;;
      running) deadline=$((SECONDS + pending_seconds)) ;;
    esac
    sleep 0.5
  done
  return "$not_done"
}

# The cause in one line, the end of the log, and what to do next.
job_failed() {
  local state id error log
  ((tried == not_done)) || give_up 'the migration was not begun; the API was not touched' 'mend that, then: make swarm-deploy'
  read -r _ state id error <<<"$(job_task)"
  log=$(docker service logs --raw --no-trunc --tail 15 "$id" 2>&1 || true)
  words_of "$log" last
  set_off "$log"
  die "the migration did not complete (its task is $state): ${refused:-${error:-no node has taken it}}; the API was not touched" \
    "${refused_remedy:-see docker service ps --no-trunc ${stack}_migrate}; then: make swarm-deploy"
}

# ready_tasks: how many tasks of the API run as the service now asks for.
ready_tasks() {
  local spec='{{with .ContainerSpec}}{{.Image}} {{.Labels}} {{.Env}} {{json .Secrets}} {{json .Configs}}{{end}} {{json .Resources}}' wanted
  wanted=$(docker service inspect --format "{{with .Spec.TaskTemplate}}$spec{{end}}" "${stack}_api") || return
  docker service ps --quiet --no-trunc --filter desired-state=running "${stack}_api" |
    xargs -r docker inspect --format "{{.Status.State}} {{with .Spec}}$spec{{end}}" | grep -cxF "running $wanted" || true
}

# "ID ERROR" of tasks that ended by themselves, the newest first (service ps lists them by slot). One that the swarm ended as
# unhealthy is complete, if its program then ended as it should.
failed_tasks() {
  docker service ps --quiet --no-trunc --filter desired-state=shutdown "${stack}_api" |
    xargs -r docker inspect --format '{{json .CreatedAt}} {{.Status.State}} {{.ID}} {{.Status.Err}}' |
    sort -r | sed -nE 's/^[^ ]+ (failed|rejected|complete) //p' || true
}

# Every deploy empties UpdateStatus; the swarm fills it when there is something to update, and rolls back by itself. A
# swarm that does not answer has said nothing of either, and is asked again. Status $not_done: it has not come about.
# shellcheck disable=SC2310 # each line of ready_tasks fails by itself
update_api() {
  local first='' state ready failed wanted deadline=$((SECONDS + converge_seconds))
  wanted=$(setting API_REPLICAS 2)
  asked docker service ls --quiet --filter "name=${stack}_api"
  [[ -n $answer ]] || first=1
  deploy api
  while ((SECONDS < deadline)); do
    state=$(docker service inspect --format '{{with .UpdateStatus}}{{.State}}{{end}}' "${stack}_api") || state=unknown
    case $state in
      rollback_completed | rollback_paused | paused) return "$not_done" ;;
      '' | completed)
        ready=$(ready_tasks) || ready=0
        ((ready < wanted)) || return 0
        failed=$(failed_tasks)
        [[ -z $first || -z $failed ]] || return "$not_done"
        ;;
    esac
    sleep 0.5
  done
  return "$not_done"
}

# Why the newest task failed: what its health checks said, if it ran on this node, else what the swarm says; and its log's end.
update_failed() {
  local state id error container health after='the API has not run before, so there is nothing to go back to'
  ((tried == not_done)) || give_up 'the API was not updated' 'mend that, then: make swarm-deploy'
  read -r id error <<<"$(failed_tasks)"
  state=$(docker service inspect --format '{{with .UpdateStatus}}{{.State}}{{end}}' "${stack}_api")
  [[ -z $state ]] || after="the swarm has rolled back ($state): the release before it serves"
  docker service logs --raw --no-trunc --tail 15 "$id" 2>&1 | sed 's/^/    | /' >&2 || true
  container=$(docker inspect --format '{{.Status.ContainerStatus.ContainerID}}' "$id" 2>/dev/null || true)
  health=$(checks_of "$container")
  health=$(reason_in "$health")
  die "the new tasks did not become ready: ${health:-${error:-it says nothing}}; $after" \
    'mend the release, give it another TAG, then: make swarm-deploy'
}

# Secrets and configs that neither the service nor its last spec uses any more; the latter is what a roll-back goes to.
tidy() {
  local kind used name names=()
  used=$(docker service inspect "${stack}_migrate" "${stack}_api")
  for kind in secret config; do
    listed names docker "$kind" ls --filter "label=tangga.stack=$stack" --format '{{.Name}}'
    for name in "${names[@]}"; do
      [[ $used == *"\"$name\""* ]] || docker "$kind" rm "$name"
    done
  done
}

_main() {
  read_stack
  stack="$(setting COMPOSE_PROJECT_NAME tangga)-swarm"
  COMPOSE_FILE="$(setting COMPOSE_FILE compose.yaml)"
  TAG=$(setting TAG latest)
  SWARM_IMAGE=$(setting SWARM_IMAGE "$(setting COMPOSE_PROJECT_NAME tangga)-api")
  check
  export TAG SWARM_IMAGE COMPOSE_FILE="$COMPOSE_FILE:deploy/swarm.yaml"
  read_settings
  step --or 'the build failed' 'build' build
  keep_secrets
  try 'migrate' run_job
  ((tried == 0)) || job_failed
  try 'api' update_api
  ((tried == 0)) || update_failed
  attempt tidy
  ((tried == 0)) || say "Note: secrets that nobody uses any more are left, until the next deploy: $(tail -n 1 <<<"$said")"
  say "$SWARM_IMAGE:$TAG is what the swarm runs: docker stack ps ${stack}"
}

_main "$@"
