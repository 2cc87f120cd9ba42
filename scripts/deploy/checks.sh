# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154 # used, and set, by the other parts
# What must be true before a deploy changes anything. Sourced.
#
# A run knows afterwards, and does not change: $project, $wanted (how many replicas there shall be), $work (a folder of
# its own), $proxy (its container), $edge (its network, by the name that the engine has for it), $old (the replicas that there
# are, by id), $serves (what an error says of them).

readonly places=32 # in the proxy's rotation (services/proxy/haproxy.cfg)

project='' wanted='' work='' proxy='' edge='' serves=''
old=()

# check_stack: whether .env has a stack that can be deployed to.
check_stack() {
  read_stack # here, so that those who run in a part of this need not ask
  project=$(confirmed_project)
  [[ -n $in_production ]] || die 'this stack has no proxy, so a deploy would be noticed' \
    'in .env: COMPOSE_FILE=compose.yaml:compose.prod.yaml (docs/production.md), then: make up; without it, make up replaces the release'
  wanted=$(setting API_REPLICAS 2)
  # shellcheck disable=SC2310 # one command
  suitable_number "$wanted" "$places" || die "API_REPLICAS=$wanted is not a number from 1 to $((places / 2))" 'mend it in .env'
  asked docker compose ps --quiet --status running proxy
  [[ -n $answer ]] || die 'the proxy does not run' 'make up'
}

# check_rotation: whether proxy and engine say who serves: without that nothing may be removed.
check_rotation() {
  asked docker ps --quiet --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.service=proxy \
    --filter "network=${project}_rotation"
  [[ -n $answer ]] ||
    die "the proxy is not on the network ${project}_rotation: an older compose.prod.yaml started it" \
      'make up, which replaces database and proxy too: nobody is served for some seconds'
  proxy=${answer%%$'\n'*}
  asked docker network ls --format '{{.Name}}' --filter "label=com.docker.compose.project=$project" --filter label=com.docker.compose.network=rotation
  edge=$answer
  [[ -n $edge && $edge != *$'\n'* ]] ||
    die "the network of the proxy is not there, so nobody knows which replicas serve; nothing was changed" 'make it and the proxy: docker compose up --detach --force-recreate proxy; then again'
  attempt admin 'show info'
  ((tried == 0)) || give_up 'the proxy does not say which replicas serve; nothing was changed' 'see make logs s=proxy; docker compose restart proxy'
  [[ -n $answer ]] || die 'the proxy does not say which replicas serve; nothing was changed' 'see make logs s=proxy; docker compose restart proxy'
}

# begin ACTION: the checks, the lock, and the remains of an older run.
begin() {
  check_stack
  with_deploy_lock "$1"
  work=$(mktemp -d)
  check_rotation
  attempt tidy
  ((tried == 0)) || give_up 'what an earlier run may have left could not be removed; nothing was changed'
  listed old replicas
  ((${#old[@]} == 0)) || serves='The old release goes on serving.'
}
