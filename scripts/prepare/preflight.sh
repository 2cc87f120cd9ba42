#!/usr/bin/env bash
# usage: scripts/prepare/preflight.sh [--port]
#
# Checks what the stack needs before anything is changed: Docker Engine, Compose, memory, disk, and with --port that the
# published ports are free or ours. Finds, starts or installs an engine first (scripts/prepare/engine.sh). Silent when all is well;
# otherwise one line, a remedy, exit 1.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../lib/common.sh"
cd "${BASH_SOURCE%/*}/../.."

readonly min_engine=25 min_compose=2.24 min_memory_mib=512 min_disk_mib=2048

at_least() { [[ $(printf '%s\n%s\n' "$2" "$1" | sort -V | head -n 1) == "$2" ]]; }

# "ENGINE VERSION|PLUGIN=VERSION PLUGIN=VERSION ", in one question to the engine.
ask_docker() {
  docker info --format '{{.ServerVersion}}|{{range .ClientInfo.Plugins}}{{.Name}}={{.Version}} {{end}}' 2>/dev/null || true
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
check_versions() {
  local engine plugins compose by_hand='install Docker Engine with its compose and buildx plugins: https://docs.docker.com/engine/install/'
  IFS='|' read -r engine plugins <<<"$(ask_docker)"
  if [[ -z $engine ]]; then
    scripts/prepare/engine.sh
    IFS='|' read -r engine plugins <<<"$(ask_docker)"
  fi
  at_least "$engine" "$min_engine" ||
    die "Docker Engine $engine is too old: start_interval of health checks needs $min_engine" "install Docker Engine $min_engine or newer"
  [[ $plugins =~ (^| )compose=v?([^ ]+) ]] || die 'the docker compose plugin is missing' "$by_hand"
  compose=${BASH_REMATCH[2]}
  at_least "$compose" "$min_compose" ||
    die "Docker Compose $compose is too old: this stack needs $min_compose" "install Docker Compose $min_compose or newer"
  [[ $plugins == *buildx=* ]] || die 'the docker buildx plugin is missing' "$by_hand"
}

# check_port NAME DEFAULT: the port is ours already, free, or somebody else's.
check_port() {
  local port ours
  port=$(setting "$1" "$2")
  [[ $port =~ ^[1-9][0-9]{0,4}$ && $port -le 65535 ]] || die "$1=$port is not a port" 'put a number from 1 to 65535 into .env'
  (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || return 0
  # By what the container asks for, not by what it has: between two tries to start, it has no port.
  ours=$(docker ps --quiet --filter "label=com.docker.compose.project=$(setting COMPOSE_PROJECT_NAME tangga)" |
    xargs -r docker inspect --format '{{range .HostConfig.PortBindings}}{{range .}}{{println .HostPort}}{{end}}{{end}}')
  [[ $'\n'$ours$'\n' == *$'\n'"$port"$'\n'* ]] ||
    die "port $port is in use by something else" "stop it, or choose another: $1=$((port < 1024 ? port + 8000 : port + 1)) make up"
}

check_ports() {
  if [[ -n $in_production ]]; then
    check_port HTTP_PORT 80
    check_port HTTPS_PORT 443
  else
    check_port API_PORT 8000
  fi
}

check_room() {
  local memory='' disk root
  [[ -r /proc/meminfo ]] && memory=$(awk '/^MemAvailable/ { print int($2 / 1024) }' /proc/meminfo)
  [[ -z $memory ]] || ((memory >= min_memory_mib)) ||
    die "only $memory MiB of memory are free; the stack needs $min_memory_mib" 'free some, or use a larger machine'
  root=/var/lib/docker
  [[ -d $root ]] || root=.
  disk=$(df -Pm "$root" | awk 'NR == 2 { print $4 }')
  ((disk >= min_disk_mib)) || die "only $disk MiB are free under $root; images and data need $min_disk_mib" 'free some: docker system prune'
}

_main() {
  check_versions
  check_room
  read_stack # or the line of .env that cannot be read
  if [[ ${1:-} == --port ]]; then check_ports; fi
}

_main "$@"
