# shellcheck shell=bash
# shellcheck disable=SC2154 # images.sh sets $stand_in_postgres
# Stand-ins for the base images: how they are called, and how they are built from Debian packages. Sourced.

# The Debian release that has a version of PostgreSQL.
declare -rA release_of=([15]=bookworm [17]=trixie)
# Names that no public registry can have: whoever owned one there could put an image behind it, which would get the passwords.
readonly stand_ins=localhost/tangga stand_in_python=localhost/tangga/python-stand-in:3.13-trixie

present() { docker image inspect "$@" >/dev/null 2>&1; }

# Whether it is a stand-in's name; also as they were called before they had a registry's name.
stand_in() { [[ $1 == @("$stand_ins"|tangga)/@(python|postgres)-stand-in:* ]]; }

# packages_for MAJOR: those that the stand-in has besides, as they are called for that version of PostgreSQL.
packages_for() {
  setting POSTGRES_PACKAGES | tr -s ', \t' '\n' | sed -E "/^$/d; s/^postgresql-[0-9]+-/postgresql-$1-/" | LC_ALL=C sort -u
}

# postgres_stand_in MAJOR: its name. Other packages are another image.
postgres_stand_in() {
  local packages
  packages=$(packages_for "$1")
  [[ -z $packages ]] || packages=-$(sha256sum <<<"$packages" | cut -c 1-8)
  printf '%s' "$stand_ins/postgres-stand-in:$1-${release_of[$1]}$packages"
}

# major_of STAND-IN: of PostgreSQL, as its tag has it.
major_of() {
  local tag=${1##*:}
  printf '%s' "${tag%%-*}"
}

# supported_major IMAGE: of a stand-in that can be built; else of the one that there is by default.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
supported_major() {
  local major
  major=$(major_of "$1")
  if stand_in "$1" && [[ -n ${release_of[$major]:-} ]]; then printf '%s' "$major"; else printf 17; fi
}

# have STAND-IN: whether it is here; one that was built under its old name gets its new one.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
have() { present "$1" || docker image tag "${1#localhost/}" "$1" 2>/dev/null; }

# mirror_lines RELEASE: the machine's own Debian mirrors, with the suite that each carries, as lines for apt.
mirror_lines() {
  local name mirror
  for name in debian debian-security; do
    mirror=$(debian_mirror "$name")
    [[ -z $mirror ]] || say "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1${name#debian} main"
  done
}

# bootstrap RELEASE PACKAGES [OPTION...]: a Debian with these packages, as a tar archive on stdout.
bootstrap() {
  local release=$1 packages=$2 uris=()
  shift 2
  mapfile -t uris < <(mirror_lines "$release")
  ((${#uris[@]})) || { echo 'no Debian mirror in /etc/apt' >&2; return 1; }
  as_root mmdebstrap --quiet --variant=minbase --include="$packages" \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' --dpkgopt='force-unsafe-io' \
    "$@" "$release" - "${uris[@]}"
}

# What a bootstrap that failed half-way left must not be taken for an image the next time.
discard() {
  docker image rm --force "$1" || true
  return 1
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
build_python() {
  bootstrap trixie python3,python3-venv,ca-certificates | docker import \
    --change 'CMD ["python3"]' --change 'ENV LANG=C.UTF-8' \
    --change 'LABEL tangga.stand-in="python:3.13-slim-trixie"' - "$stand_in_python" ||
    discard "$stand_in_python"
}

# build_postgres MAJOR IMAGE. The official image gives `postgres` the uid 999; the account must exist before the package
# would make its own. It also has a /run/postgresql that all may write, whose mode a tmpfs mounted there takes over.
# shellcheck disable=SC2016 # "$1" in a hook is mmdebstrap's: the new root
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
build_postgres() {
  local release=${release_of[$1]}
  bootstrap "$release" "$(packages_for "$1" | cat <(printf '%s\n' "postgresql-$1" xz-utils zstd) - | paste -sd ,)" --skip=cleanup/run \
    --essential-hook='printf "postgres:x:999:999::/var/lib/postgresql:/bin/bash\n" >>"$1/etc/passwd"' \
    --essential-hook='printf "postgres:x:999:\n" >>"$1/etc/group"' \
    --essential-hook='mkdir -p "$1/etc/postgresql-common" && echo "create_main_cluster = false" >"$1/etc/postgresql-common/createcluster.conf"' \
    --customize-hook="copy-in services/postgres/stand-in-entrypoint.sh /usr/local/bin" \
    --customize-hook='chroot "$1" sh -ec "
        mkdir -p /docker-entrypoint-initdb.d /var/lib/postgresql/data /var/run/postgresql
        chown postgres:postgres /var/lib/postgresql /var/lib/postgresql/data /var/run/postgresql
        chmod 1777 /var/lib/postgresql/data
        chmod 3777 /var/run/postgresql
        sed -i \"s/^#listen_addresses.*/listen_addresses = '"'*'"'/\" /usr/share/postgresql/'"$1"'/postgresql.conf.sample"' |
    docker import \
      --change 'ENTRYPOINT ["stand-in-entrypoint.sh"]' --change 'CMD ["postgres"]' --change 'STOPSIGNAL SIGINT' \
      --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/usr/lib/postgresql/'"$1"'/bin LANG=C.UTF-8 PG_MAJOR='"$1"' PGDATA=/var/lib/postgresql/data' \
      --change 'VOLUME /var/lib/postgresql/data' --change 'EXPOSE 5432' \
      --change 'LABEL tangga.stand-in="postgres:'"$1-$release"'"' - "$2" ||
    discard "$2"
}

# Both at once: each is half download, half unpacking.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
build_stand_ins() {
  local pids=() pid
  if ! have "$stand_in_python"; then build_python & pids+=($!); fi
  if ! have "$stand_in_postgres"; then build_postgres "$(major_of "$stand_in_postgres")" "$stand_in_postgres" & pids+=($!); fi
  for pid in "${pids[@]}"; do wait "$pid"; done
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
install_mmdebstrap() { as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends mmdebstrap; }
