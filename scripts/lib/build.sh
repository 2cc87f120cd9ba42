# shellcheck shell=bash
# Building an image, unless nothing that it is made of has changed: Compose takes half a second to find that out. Sourced.

# What .dockerignore lets through for everything but the tests, and what says how it is built.
image_files=(.dockerignore Dockerfile alembic.ini compose.yaml migrations pyproject.toml requirements.lock requirements-dev.lock services)

# build_if_changed SERVICE IMAGE: builds what a service of compose.yaml runs, PROJECT-IMAGE. After read_stack. What an overlay may
# have changed of it, Compose finds out.
build_if_changed() {
  local image base stamp ids changed
  if [[ -n $overlaid ]]; then
    docker compose --progress plain build "$1"
    return
  fi
  image=$(setting COMPOSE_PROJECT_NAME)-$2:$(setting TAG latest)
  base=$(setting PYTHON_IMAGE "$(default_image PYTHON_IMAGE)")
  stamp=.cache/built/${image//[:\/]/_}
  ids=$(docker image inspect --format '{{.Id}}' "$image" "$base" 2>/dev/null) || ids=''
  if [[ -n $ids && -e $stamp && $(<"$stamp") == "$ids" ]]; then
    # By the time of the last change of a file, its name or its mode (ctime): unlike that of its content, nobody sets it back.
    changed=$(find "${image_files[@]}" -newercm "$stamp" -print -quit) || changed=unknown
    [[ -n $changed ]] || return 0
  fi
  mkdir -p .cache/built
  # Its time is when the build began: what changes in the meantime is built the next time.
  : >"$stamp.begun"
  docker compose --progress plain build "$1"
  ids=$(docker image inspect --format '{{.Id}}' "$image" "$base" 2>/dev/null) || ids='' # built the next time, too
  printf '%s\n' "$ids" >"$stamp"
  touch -r "$stamp.begun" "$stamp"
}
