# shellcheck shell=bash
# shellcheck disable=SC2154 # checks.sh sets what a run knows
# Puts the replicas of a release in the place of those of another one. Sourced.

readonly not_ready=75 # the status of a release that does not become ready

replacing='' # 1: from the first new replica until all are in rotation

# replace [AFTERWARDS]: the old replicas by $wanted of the release TAG, which is what .env names from then on. AFTERWARDS is
# what remains to be done by hand if the old ones cannot be removed.
replace() {
  local new=()
  replacing=1
  step --or 'the new replicas could not be started' --do "mend that, then again: make deploy. $serves" \
    "start $wanted new replicas" start_new "$wanted"
  listed new out_of_rotation
  try 'ready' wait_ready "${new[@]}"
  ((tried != not_ready)) || die "release $TAG does not become ready: $refused" "mend it, then again: make deploy. $serves"
  ((tried == 0)) || give_up "release $TAG could not be asked whether it is ready" "mend that, then again: make deploy. $serves"
  step --or "release $TAG did not come into rotation" --do "see make logs s=proxy. $serves" 'into rotation' take_in "${new[@]}"
  replacing=''
  replaced "TAG=$TAG" | write_file .env
  ((${#old[@]} == 0)) || step --or "release $TAG serves, but not all replicas of the one before are removed" \
    --do "make deploy tag=$TAG replaces them all${1:+; $1}" "drain and remove ${#old[@]} old replicas" drain "${old[@]}"
}

# start_new NUMBER: made, taken off the proxy's network, and only then started.
start_new() {
  local before after id made=()
  before=$(replicas)
  docker compose up --no-start --no-deps --no-recreate --scale "api=$((${#old[@]} + $1))" api
  after=$(replicas)
  mapfile -t made < <(others "$after" "$before")
  for id in "${made[@]}"; do leave_rotation "$id"; done
  docker start "${made[@]}"
}

# wait_ready REPLICA...: until all are ready; if one never will be, or none in time, status $not_ready with the cause.
wait_ready() {
  local id trouble=''
  # shellcheck disable=SC2310 # until_true
  if ! until_true "$(setting DEPLOY_TIMEOUT 60)" decided "$@"; then
    for id in "$@"; do [[ $(health_of "$id") == healthy ]] || trouble=$(answer_of "$id"); done
  fi
  [[ -n $trouble ]] || return 0
  note_refusal "$trouble"
  exit "$not_ready"
}

# decided REPLICA...: a condition: all are ready, or one never will be, and $trouble is why.
# shellcheck disable=SC2310 # each line fails by itself
decided() {
  local id health
  for id in "$@"; do
    trouble=$(trouble_of "$id") || return
    [[ -z $trouble ]] || return 0
  done
  for id in "$@"; do
    health=$(health_of "$id") || return
    [[ $health == healthy ]] || return 1
  done
}

# trouble_of REPLICA: why it will not become ready; nothing if it may. Only its log can say why it crashes.
trouble_of() {
  local course log
  course=$(course_of "$1") || return
  [[ $course != 'running 0' ]] || return 0
  log=$(docker logs "$1" 2>&1) || true
  words_of "$log" last
  crash_of "$course" "$refused" "$log"
}

take_in() {
  local id at=()
  for id in "$@"; do join_rotation "$id"; done
  listed at addresses "$@"
  # shellcheck disable=SC2310 # until_true
  until_true 15 all_up "${at[@]}" || { echo 'the proxy does not find them well'; return 1; }
}

# drain REPLICA...: the proxy sends them nothing new, what is under way ends, then they go. No request meets one that stops.
# If the proxy cannot be asked, they stay.
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

# Of a run that has failed (with_deploy_lock calls it). Some of the new ones may be in rotation, and have requests under way.
clean_up() {
  local made now_there
  rm -rf "$work"
  if [[ -n $replacing ]]; then
    now_there=$(replicas)
    mapfile -t made < <(others "$now_there" "$(printf '%s\n' "${old[@]}")")
    ((${#made[@]} == 0)) || drain "${made[@]}" >/dev/null 2>&1
  fi
}
