#!/usr/bin/env bash
# usage: scripts/prepare/images.sh [--postgres MAJOR|IMAGE]
#
# Makes sure that the two base images are here: present, else pulled, else (no registry answers) built from the mirror
# that this Debian or Ubuntu machine installs its own packages from. A stand-in is announced, cached under a name of its
# own, and written to .env as PYTHON_IMAGE / POSTGRES_IMAGE, so that Dockerfile and compose.yaml stay the same.
#
# --postgres: makes sure of another version of PostgreSQL, and prints the image's name as the last line.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../lib/common.sh"
. "${BASH_SOURCE%/*}/../lib/machine.sh"
. "${BASH_SOURCE%/*}/stand_ins.sh"
cd "${BASH_SOURCE%/*}/../.."

# Compose pulls no stand-in. One with its old name gets its new one in .env, but not while it serves: that would restart the
# database in the middle of something else.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
settle_names() {
  local name value changes=()
  for name in PYTHON_IMAGE POSTGRES_IMAGE; do
    value=$(setting "$name")
    # A value from the environment is not in .env.
    if [[ -n ${!name:-} ]] || ! stand_in "$value"; then continue; fi
    if [[ $value == tangga/* ]] && { [[ $name == PYTHON_IMAGE ]] || ! present "$value"; }; then
      have "localhost/$value" || true
      changes+=("$name=localhost/$value")
    fi
    if [[ $name == POSTGRES_IMAGE && $(setting POSTGRES_PULL_POLICY) != never ]]; then changes+=(POSTGRES_PULL_POLICY=never); fi
  done
  ((${#changes[@]})) || return 0
  replaced "${changes[@]}" | write_file .env
  say "  .env: no registry is asked for a stand-in: ${changes[*]}"
}

# only_buildable NAME IMAGE STAND-IN: a stand-in that is not here, and that cannot be made, ends this: nobody is asked for it.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
only_buildable() {
  [[ $2 == "$3" ]] || ! stand_in "$2" || die "$1=$2 is not here, and not what is built on this machine ($3)" "$by_hand"
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
use_stand_in() {
  local name=$1 image=$2
  # Never in place of one that somebody chose.
  [[ -z $(setting "$name") ]] || return 0
  printf '\n# Added by scripts/prepare/images.sh: no image registry answered, so this stand-in was built from Debian packages.\n%s=%s\n' \
    "$name" "$image" >>.env
}

# other_postgres MAJOR|IMAGE: of a major version, the official image or a stand-in.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
other_postgres() {
  local image=$1 release=${release_of[$1]:-} stand_in
  if [[ $1 =~ ^[0-9]+$ ]]; then
    image=$(default_image POSTGRES_IMAGE)
    [[ $image == "postgres:$1"[.-]* ]] || image=postgres:$1-trixie
  fi
  [[ -z $release ]] || stand_in=$(postgres_stand_in "$1")
  if present "$image"; then
    say "$image"
    return
  elif [[ -n $release ]] && have "$stand_in"; then
    say "$stand_in"
    return
  fi
  tried=1
  stand_in "$image" || try "pull $image" docker pull --quiet "$image" 2>/dev/null
  if ((tried == 0)); then
    say "$image"
  elif [[ -n $release && -n $(mirror_lines "$release") ]] && may_be_root; then
    command -v mmdebstrap >/dev/null 2>&1 || step 'install mmdebstrap' install_mmdebstrap
    step --or 'the stand-in was not built' "build a stand-in for $image" build_postgres "$1" "$stand_in"
    say "$stand_in"
  else
    die "$image is neither here nor to be pulled" "pull or load it; where root and a Debian mirror are, there are stand-ins for PostgreSQL $(printf '%s\n' "${!release_of[@]}" | sort -n | paste -sd ' ')"
  fi
}

# The stand-in of .env, with the packages that are asked for now.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
settle_packages() {
  local packages
  packages=$(setting POSTGRES_PACKAGES)
  if ! stand_in "$postgres"; then
    [[ -z $packages ]] || ! present "$postgres" ||
      die "POSTGRES_PACKAGES is for the stand-in, and $postgres is an image of somebody else" 'name one that has them in POSTGRES_IMAGE, and take POSTGRES_PACKAGES away'
    return 0
  fi
  # If this version cannot be built, the image stays as it is.
  [[ -n ${release_of[$(major_of "$postgres")]:-} && ${postgres##*:} != "${stand_in_postgres##*:}" ]] || return 0
  if ! have "$stand_in_postgres"; then
    step --or 'the stand-in was not built' --do 'POSTGRES_PACKAGES in .env names packages of Debian' \
      "build a stand-in with ${packages:-no other packages}" build_postgres "$(major_of "$postgres")" "$stand_in_postgres"
  fi
  # A value from the environment is not in .env.
  [[ -n ${POSTGRES_IMAGE:-} ]] || replaced "POSTGRES_IMAGE=$stand_in_postgres" | write_file .env
  postgres=$stand_in_postgres
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
_main() {
  local python postgres by_hand stand_in_postgres
  if [[ ${1:-} == --postgres ]]; then
    other_postgres "$2"
    return
  fi
  settle_names
  python=$(setting PYTHON_IMAGE "$(default_image PYTHON_IMAGE)")
  postgres=$(setting POSTGRES_IMAGE "$(default_image POSTGRES_IMAGE)")
  stand_in_postgres=$(postgres_stand_in "$(supported_major "$postgres")")
  settle_packages
  if present "$python" "$postgres"; then return; fi
  by_hand="pull or load $python and $postgres, or set PYTHON_IMAGE and POSTGRES_IMAGE in .env to images that you have"
  present "$python" || only_buildable PYTHON_IMAGE "$python" "$stand_in_python"
  present "$postgres" || only_buildable POSTGRES_IMAGE "$postgres" "$stand_in_postgres"
  if ! stand_in "$python" && ! present "$python"; then
    try "pull $python" docker pull --quiet "$python"
    ((tried == 0)) || python=''
  fi
  if ! stand_in "$postgres" && ! present "$postgres"; then
    try "pull $postgres" docker pull --quiet "$postgres"
    ((tried == 0)) || postgres=''
  fi
  if [[ -n $python && -n $postgres ]] && present "$python" "$postgres"; then return; fi
  # An image that somebody chose is never silently replaced by another.
  [[ -n $python || -z $(setting PYTHON_IMAGE) ]] || die "PYTHON_IMAGE=$(setting PYTHON_IMAGE) is neither here nor to be pulled" "$by_hand"
  [[ -n $postgres || -z $(setting POSTGRES_IMAGE) ]] || die "POSTGRES_IMAGE=$(setting POSTGRES_IMAGE) is neither here nor to be pulled" "$by_hand"

  [[ -n $(mirror_lines trixie) ]] || die 'no image registry answers, and this machine has no Debian mirror to build stand-ins from' "$by_hand"
  may_be_root || die 'no image registry answers, and building stand-ins needs root' "$by_hand"
  if have "$stand_in_python" && have "$stand_in_postgres"; then
    say 'No image registry answers: using the stand-ins for both base images that were built earlier.'
  else
    say 'No image registry answers: building stand-ins for both base images from Debian packages (once).'
    command -v mmdebstrap >/dev/null 2>&1 || step 'install mmdebstrap' install_mmdebstrap
    step 'build stand-in base images' build_stand_ins
  fi
  use_stand_in PYTHON_IMAGE "$stand_in_python"
  use_stand_in POSTGRES_IMAGE "$stand_in_postgres"
  settle_names >/dev/null
}

_main "$@"
