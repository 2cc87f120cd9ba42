#!/usr/bin/env bash
# usage: scripts/images.sh
#
# Makes sure that the two base images are here: present, else pulled, else (no registry answers) built from the mirror
# that this Debian or Ubuntu machine installs its own packages from. A stand-in is announced, cached under a name of its
# own, and written to .env as PYTHON_IMAGE / POSTGRES_IMAGE, so that Dockerfile and compose.yaml stay the same.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/lib.sh"
cd "${BASH_SOURCE%/*}/.."

readonly stand_in_python=tangga/python-stand-in:3.13-trixie stand_in_postgres=tangga/postgres-stand-in:17-trixie

# compose.yaml holds the one default of either variable.
default_image() { sed -nE "s/.*\\$\\{$1:-([^}]+)\\}.*/\\1/p" compose.yaml | head -n 1; }

present() { docker image inspect "$@" >/dev/null 2>&1; }

# bootstrap PACKAGES [OPTION...]: a Debian 13 with these packages, as a tar archive on stdout.
bootstrap() {
  local packages=$1 uris=()
  shift
  mapfile -t uris < <(mirror_lines)
  ((${#uris[@]})) || { echo 'no Debian mirror in /etc/apt' >&2; return 1; }
  as_root mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io' \
    "$@" trixie - "${uris[@]}"
}

# The machine's own Debian mirrors, with the trixie suite that each carries, as lines for apt.
mirror_lines() {
  local name mirror
  for name in debian debian-security; do
    mirror=$(debian_mirror "$name")
    [[ -z $mirror ]] || say "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror trixie${name#debian} main"
  done
}

# What a bootstrap that failed half-way left must not be taken for an image the next time.
discard() {
  docker image rm --force "$1" || true
  return 1
}

build_python() {
  bootstrap python3,python3-venv,ca-certificates | docker import \
    --change 'CMD ["python3"]' --change 'ENV LANG=C.UTF-8' \
    --change 'LABEL tangga.stand-in="python:3.13-slim-trixie"' - "$stand_in_python" ||
    discard "$stand_in_python"
}

# The official image gives `postgres` the uid 999; the account must exist before the package would make its own. It also
# has a /run/postgresql that all may write, whose mode a tmpfs mounted there takes over.
# shellcheck disable=SC2016 # "$1" in a hook is mmdebstrap's: the new root
build_postgres() {
  bootstrap postgresql-17,xz-utils,zstd --skip=cleanup/run \
    --essential-hook='printf "postgres:x:999:999::/var/lib/postgresql:/bin/bash\n" >>"$1/etc/passwd"' \
    --essential-hook='printf "postgres:x:999:\n" >>"$1/etc/group"' \
    --essential-hook='mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
    --customize-hook="copy-in services/postgres/stand-in-entrypoint.sh /usr/local/bin" \
    --customize-hook='chroot "$1" sh -ec "
        mkdir -p /docker-entrypoint-initdb.d /var/lib/postgresql/data /var/run/postgresql
        chown postgres:postgres /var/lib/postgresql /var/lib/postgresql/data /var/run/postgresql
        chmod 1777 /var/lib/postgresql/data
        chmod 3777 /var/run/postgresql
        sed -i \"s/^#listen_addresses.*/listen_addresses = '"'*'"'/\" /usr/share/postgresql/17/postgresql.conf.sample"' |
    docker import \
      --change 'ENTRYPOINT ["stand-in-entrypoint.sh"]' --change 'CMD ["postgres"]' --change 'STOPSIGNAL SIGINT' \
      --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/17/bin LANG=C.UTF-8 PG_MAJOR=17 PGDATA=/var/lib/postgresql/data' \
      --change 'VOLUME /var/lib/postgresql/data' --change 'EXPOSE 5432' \
      --change 'LABEL tangga.stand-in="postgres:17-trixie"' - "$stand_in_postgres" ||
    discard "$stand_in_postgres"
}

# Both at once: each is half download, half unpacking.
build_stand_ins() {
  local pids=() pid
  if ! present "$stand_in_python"; then build_python & pids+=($!); fi
  if ! present "$stand_in_postgres"; then build_postgres & pids+=($!); fi
  for pid in "${pids[@]}"; do wait "$pid"; done
}

install_mmdebstrap() { as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends mmdebstrap; }

use_stand_in() {
  local name=$1 image=$2
  [[ $(setting "$name") == "$image" ]] && return
  printf '\n# Added by scripts/images.sh: no image registry answered, so this stand-in was built from Debian packages.\n%s=%s\n' \
    "$name" "$image" >>.env
}

_main() {
  local python postgres by_hand
  python=$(setting PYTHON_IMAGE "$(default_image PYTHON_IMAGE)")
  postgres=$(setting POSTGRES_IMAGE "$(default_image POSTGRES_IMAGE)")
  if present "$python" "$postgres"; then return; fi
  by_hand="pull or load $python and $postgres, or set PYTHON_IMAGE and POSTGRES_IMAGE in .env to images that you have"
  if [[ $python != "$stand_in_python" ]] && ! present "$python"; then
    STEP_MAY_FAIL=1 step "pull $python" docker pull --quiet "$python" || python=''
  fi
  if [[ $postgres != "$stand_in_postgres" ]] && ! present "$postgres"; then
    STEP_MAY_FAIL=1 step "pull $postgres" docker pull --quiet "$postgres" || postgres=''
  fi
  if [[ -n $python && -n $postgres ]] && present "$python" "$postgres"; then return; fi
  # An image that somebody chose is never silently replaced by another.
  [[ -n $python || -z $(setting PYTHON_IMAGE) ]] || die "PYTHON_IMAGE=$(setting PYTHON_IMAGE) is neither here nor to be pulled" "$by_hand"
  [[ -n $postgres || -z $(setting POSTGRES_IMAGE) ]] || die "POSTGRES_IMAGE=$(setting POSTGRES_IMAGE) is neither here nor to be pulled" "$by_hand"

  [[ -n $(mirror_lines) ]] || die 'no image registry answers, and this machine has no Debian mirror to build stand-ins from' "$by_hand"
  may_be_root || die 'no image registry answers, and building stand-ins needs root' "$by_hand"
  if present "$stand_in_python" "$stand_in_postgres"; then
    say 'No image registry answers: using the stand-ins for both base images that were built earlier.'
  else
    say 'No image registry answers: building stand-ins for both base images from Debian packages (once).'
    command -v mmdebstrap >/dev/null 2>&1 || step 'install mmdebstrap' install_mmdebstrap
    step 'build stand-in base images' build_stand_ins
  fi
  use_stand_in PYTHON_IMAGE "$stand_in_python"
  use_stand_in POSTGRES_IMAGE "$stand_in_postgres"
}

_main "$@"
