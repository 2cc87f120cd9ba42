# shellcheck shell=bash
# Commands that do not wait for each other. Sourced, never run.

# side_by_side FUNCTION...: runs them at once, prints what each has said, in this order; fails if one has failed.
side_by_side() {
  local name number=0 status=0 folder running=()
  folder=$(mktemp -d)
  for name in "$@"; do
    "$name" >"$folder/$name" 2>&1 </dev/null &
    running+=("$!")
  done
  for name in "$@"; do
    wait "${running[number++]}" || status=1
    cat "$folder/$name"
  done
  rm -r "$folder"
  return "$status"
}
