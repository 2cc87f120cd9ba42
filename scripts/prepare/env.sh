#!/usr/bin/env bash
# usage: scripts/prepare/env.sh
#
# Makes .env from .env.example, with random secrets and mode 0600, if there is none; never overwrites one. Refuses a
# secret that is still the placeholder, naming the variable. In production, writes the secrets of .env into files.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../lib/common.sh"
cd "${BASH_SOURCE%/*}/../.."

readonly placeholder=change-me
readonly secrets=(DB_PASS DB_OWNER_PASS POSTGRES_PASSWORD TOKEN_KEY)

generate() {
  local line target temporary
  target=$(readlink -f .env) || die '.env is a link into a folder that does not exist' "make it: $(readlink .env)"
  # Complete before it has its name, and private before it has content.
  temporary=$(umask 077 && mktemp "$target.XXXXXX")
  while IFS= read -r line; do
    case $line in
      *"=$placeholder") line="${line%%=*}=$(random_secret)" ;;
      '#TANGGA_UID='*) line="TANGGA_UID=$(id -u)" ;;
      '#TANGGA_GID='*) line="TANGGA_GID=$(id -g)" ;;
    esac
    printf '%s\n' "$line"
  done <.env.example >"$temporary"
  mv -n "$temporary" "$target"
  rm -f "$temporary"
  say '  .env made from .env.example, with random secrets (mode 0600)'
}

# put FILE VALUE: into a file that containers have mounted, so in place, and only if that changes it. Any user of a
# container may read it; on this machine the folder is closed.
put() {
  [[ -e secrets/$1 && $(<"secrets/$1") == "$2" ]] || printf '%s' "$2" >"secrets/$1"
  chmod 644 "secrets/$1"
}

write_files() {
  local name
  mkdir -p -m 700 secrets
  for name in "${secrets[@]}" TOKEN_KEY_PREVIOUS; do put "${name,,}" "$(setting "$name")"; done
  # Only a rotation has one (scripts/rotate-secrets.sh).
  [[ -e secrets/db_pass_previous ]] || put db_pass_previous ''
}

# Docker would make it for root, and open.
backup_folder() {
  local folder said
  folder=$(backup_dir)
  # shellcheck disable=SC2174 # the folder alone is closed, not those on the way to it
  [[ -d $folder ]] || said=$(mkdir -p -m 0700 -- "$folder" 2>&1) ||
    die "the folder for backups cannot be made: ${said#mkdir: }" 'make it, or name another one in .env: BACKUP_DIR=...'
}

# Containers run as users of their own, and have these folders mounted; under umask 077, git made them for nobody else. What
# git records of a file's mode does not change by this.
make_readable() {
  [[ -n $(find services migrations \( ! -perm -004 -o -type d ! -perm -001 \) -print -quit) ]] || return 0
  chmod -R o+rX services migrations || die 'containers cannot read all of services and migrations, which are mounted' "as the owner of these files: chmod -R o+rX $PWD/{services,migrations}"
  say '  services and migrations made readable for containers (chmod o+rX)'
}

# The CA bundles that containers have mounted are somebody's, so they are only named.
check_bundles() {
  local name file
  for name in DB_SSLROOTCERT ACME_CA_FILE; do
    file=$(setting "$name")
    [[ ! -e $file || $(stat -L -c %A -- "$file") == ???????r* ]] ||
      die "$name=$file cannot be read by containers, which run as users of their own" "chmod o+r $file"
  done
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
_main() {
  make_readable
  [[ -e .env ]] || generate
  read_stack
  backup_folder
  check_bundles
  local name
  for name in "${secrets[@]}"; do
    [[ $(setting "$name") != *"$placeholder"* ]] ||
      die "$name is still the placeholder of .env.example" "put a secret of your own into .env, for example: $name=$(random_secret)"
    [[ -n $(setting "$name") ]] || die "$name is not set" "put it into .env, for example: $name=$(random_secret)"
  done
  # A rotation that was cut off has gone further than .env: it is finished by the next one, and undone by nobody.
  if [[ -n $in_production && ! -e .env.rotating ]]; then write_files; fi
}

_main "$@"
