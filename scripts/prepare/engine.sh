#!/usr/bin/env bash
# usage: scripts/prepare/engine.sh
#
# Finds a Docker Engine; starts one that is installed but not running; on Debian and Ubuntu installs one from the
# distribution's own packages. Asks first on a terminal. INSTALL_ENGINE=no forbids both, with the remedy in words.
# The machine's apt sources stay as they are: the packages are looked up through a private list of sources.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../lib/common.sh"
. "${BASH_SOURCE%/*}/../lib/machine.sh"

readonly apt_dir=/var/cache/tangga/apt

engine_answers() { docker version --format '{{.Server.Version}}' >/dev/null 2>&1; }

# A private apt: own lists and cache; the installed packages and the keys are the machine's.
private_apt() {
  as_root env DEBIAN_FRONTEND=noninteractive "$@" \
    -o Dir::Etc::SourceList="$apt_dir/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences="$apt_dir/preferences" -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State::Lists="$apt_dir/lists" -o Dir::Cache="$apt_dir/cache"
}

# Debian 12's own engine (20.10) and Compose (1.29) are too old. Those of Debian 13 need nothing newer than Debian 12's
# C library, so they are taken from there, and only they: the pin keeps everything else at the machine's release.
prepare_sources() {
  local mirror=$1 release=$2 suites=("$2")
  [[ $release == bookworm ]] && suites+=(trixie)
  as_root mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial"
  printf "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror %s main\n" "${suites[@]}" |
    as_root tee "$apt_dir/sources.list" >/dev/null
  printf 'Package: *\nPin: release n=trixie\nPin-Priority: %s\n' "$([[ $release == trixie ]] && echo 500 || echo 100)" |
    as_root tee "$apt_dir/preferences" >/dev/null
}

install_debian() {
  local release=$1 mirror
  mirror=$(debian_mirror debian)
  [[ -n $mirror ]] || { echo "no Debian mirror in /etc/apt"; return 1; }
  prepare_sources "$mirror" "$release"
  private_apt apt-get update -qq
  no_autostart
  local new=(docker.io docker-cli docker-compose docker-buildx) target=()
  [[ $release == bookworm ]] && target=("${new[@]/%//trixie}") || target=("${new[@]}")
  private_apt apt-get install -y -qq --no-install-recommends "${target[@]}" containerd runc iptables tini mmdebstrap
}

install_ubuntu() {
  as_root apt-get update -qq
  no_autostart
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    docker.io docker-compose-v2 docker-buildx
}

# Where systemd runs, it starts the engine; elsewhere the packages must not try to.
no_autostart() {
  [[ -d /run/systemd/system || -e /usr/sbin/policy-rc.d ]] && return 0
  printf '#!/bin/sh\nexit 101\n' | as_root tee /usr/sbin/policy-rc.d >/dev/null
  as_root chmod 755 /usr/sbin/policy-rc.d
  trap 'as_root rm -f /usr/sbin/policy-rc.d' EXIT
}

# A killed engine leaves pid files behind, and the next one refuses to start because of them. A file goes only if its
# process is not an engine any more.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
remove_stale_pid_files() {
  local file pid
  for file in /var/run/docker.pid /var/run/docker/containerd/containerd.pid; do
    pid=$(as_root cat "$file" 2>/dev/null) || continue
    case $(cat "/proc/$pid/comm" 2>/dev/null) in
      dockerd | containerd) ;;
      *) as_root rm -f "$file" ;;
    esac
  done
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
start_engine() {
  if [[ -d /run/systemd/system ]]; then
    as_root systemctl start docker
  else
    remove_stale_pid_files
    as_root sh -c 'setsid dockerd >>/var/log/dockerd.log 2>&1 </dev/null &'
  fi
  local tries
  for tries in {1..150}; do
    engine_answers && return
    sleep 0.2
  done
  echo "the engine did not answer within ${tries:+30} s; its log: /var/log/dockerd.log or journalctl -u docker"
  as_root tail -n 5 /var/log/dockerd.log 2>/dev/null || true
  return 1
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
_main() {
  if engine_answers; then return; fi
  local by_hand='install Docker Engine 25 or newer with Compose 2.24 or newer (https://docs.docker.com/engine/install/) and start it'
  [[ -z ${DOCKER_HOST:-} ]] ||
    die "no Docker Engine answers at DOCKER_HOST=$DOCKER_HOST" 'start that engine, or unset DOCKER_HOST to use the local one'
  if [[ $(docker version 2>&1) == *"permission denied"* ]]; then
    die "the Docker Engine's socket is closed to $(id -un)" "run: sudo usermod -aG docker $(id -un), then log in again"
  fi
  if command -v dockerd >/dev/null 2>&1 || [[ -x /usr/sbin/dockerd ]]; then
    [[ ${INSTALL_ENGINE:-yes} != no ]] || die 'the Docker Engine is not running, and INSTALL_ENGINE=no' 'start it: systemctl start docker'
    may_be_root || die 'the Docker Engine is not running' 'start it: sudo systemctl start docker'
    say 'The Docker Engine is installed but not running.'
    confirm 'Start it now?' || die 'no Docker Engine' "$by_hand"
    step 'start the Docker Engine' start_engine
    return
  fi
  [[ ${INSTALL_ENGINE:-yes} != no ]] || die 'no Docker Engine on this machine, and INSTALL_ENGINE=no' "$by_hand"
  local ID='' VERSION_CODENAME=''
  # shellcheck disable=SC1091
  [[ -r /etc/os-release ]] && . /etc/os-release
  [[ $ID == debian || $ID == ubuntu ]] || die "no Docker Engine on this machine ($(uname -s) ${ID:-unknown})" "$by_hand"
  may_be_root || die 'no Docker Engine on this machine, and installing one needs root' "$by_hand, or run make up as root"
  say "No Docker Engine on this machine: installing one from ${ID^}'s packages (no change to your apt sources)."
  confirm 'Install it now?' || die 'no Docker Engine' "$by_hand"
  step 'install the Docker Engine' "install_$ID" "$VERSION_CODENAME"
  step 'start the Docker Engine' start_engine
}

_main "$@"
