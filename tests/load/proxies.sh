#!/usr/bin/env bash
# usage: tests/load/proxies.sh [ROUNDS]
#
# HAProxy, as compose.prod.yaml has it, beside Caddy, both before the replicas of a stack that runs (COMPOSE_FILE in .env):
# rate and processor time of a request, memory, and what clients who keep their connections see of a reload.
# docs/decisions/0026-proxy.md has the figures. Caddy is Debian's package, in an image of its own that is removed.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../../scripts/lib/common.sh"
cd "${BASH_SOURCE%/*}/../.."

project=$(setting COMPOSE_PROJECT_NAME tangga)
image=$project-proxies caddy=$project-caddy load=$project-load

# Waits for an answer, then for up to 0.8 s, on each of 60 connections; counts requests that got none.
readonly clients='
import asyncio, random, ssl, sys, time
from collections import Counter
host, seconds = sys.argv[1], float(sys.argv[2])
context = ssl._create_unverified_context()
context.set_alpn_protocols(["http/1.1"])
seen = Counter()
async def client(number, end):
    chance, writer = random.Random(number), None
    while time.monotonic() < end:
        try:
            if writer is None: reader, writer = await asyncio.open_connection(host, 8443, ssl=context)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            seen[head.split()[1].decode()] += 1
            if b"connection: close" in head: writer.close(); writer = None
        except (OSError, asyncio.IncompleteReadError) as problem:
            seen["no answer"] += 1
            writer = None
        await asyncio.sleep(chance.uniform(0.02, 0.8))
async def main():
    end = time.monotonic() + seconds
    await asyncio.gather(*(client(number, end) for number in range(60)))
asyncio.run(main())
print(", ".join(f"{what}: {count}" for what, count in sorted(seen.items())))
'

# processor_time CONTAINER: of its cgroup, in nanoseconds (v1, then v2).
processor_time() {
  local id
  id=$(docker inspect --format '{{.Id}}' "$1")
  cat "/sys/fs/cgroup/cpuacct/docker/$id/cpuacct.usage" 2>/dev/null ||
    awk '/^usage_usec/ { print $2 * 1000 }' "/sys/fs/cgroup/system.slice/docker-$id.scope/cpu.stat"
}

start() {
  docker build --quiet --tag "$image" --build-arg "PYTHON_IMAGE=$(setting PYTHON_IMAGE python:3.13.9-slim-trixie)" - <<'EOF'
ARG PYTHON_IMAGE
FROM $PYTHON_IMAGE
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends caddy wrk
RUN printf '%s\n' '{' ' admin 127.0.0.1:2019' ' auto_https disable_redirects' ' log {' '  level ERROR' ' }' '}' \
    ':8443 {' ' tls /certs/site.pem /certs/site.pem' ' reverse_proxy {' '  dynamic a api 8000 {' '   refresh 500ms' '  }' \
    '  lb_policy least_conn' '  lb_try_duration 2s' '  fail_duration 2s' ' }' '}' >/Caddyfile
EOF
  docker run --detach --name "$caddy" --network "${project}_rotation" --cpus "$(setting PROXY_CPUS 1)" --memory "$(setting PROXY_MEMORY 512m)" \
    --volume "${project}_certificates:/certs:ro" "$image" caddy run --config /Caddyfile --adapter caddyfile
  docker run --detach --name "$load" --network "${project}_rotation" "$image" sleep infinity
}

clean_up() {
  docker rm --force "$caddy" "$load" >/dev/null 2>&1 || true
  docker image rm --force "$image" >/dev/null 2>&1 || true
}

# rate NAME CONTAINER HOST PATH [HEADER]: a line with requests a second and processor time a request.
rate() {
  local before after printed
  before=$(processor_time "$2")
  printed=$(docker exec "$load" wrk -t 1 -c 32 -d 3s ${5:+-H "$5"} "https://$3:8443$4")
  after=$(processor_time "$2")
  awk -v what="$1 $4 ${5:+new connections}" -v used="$((after - before))" '
    /requests in/ { count = $1 } /Requests\/sec/ { rate = $2 } /Socket errors|Non-2xx/ { trouble = trouble $0 }
    END { printf "%-34s %5d/s %6.0f us a request %s\n", what, rate, used / count / 1000, trouble }' <<<"$printed"
}

# reloads NAME HOST COMMAND...: three in ten seconds.
reloads() {
  local name=$1 host=$2
  shift 2
  docker exec "$load" python3 -c "$clients" "$host" 10 >"$seen" &
  for _ in 1 2 3; do
    sleep 2
    "$@" >/dev/null 2>&1
  done
  wait "$!"
  printf '%-34s %s\n' "$name, three reloads" "$(<"$seen")"
}

reload_caddy() { docker exec "$caddy" sh -c 'sed -i "s/^:8443 {/:8443 {\n header X-Reload again/" /Caddyfile && caddy reload --config /Caddyfile --adapter caddyfile --force'; }

_main() {
  local path header proxy
  proxy=$(docker compose ps --quiet proxy)
  [[ -n $proxy ]] || die 'the proxy does not run' 'in .env: COMPOSE_FILE=compose.yaml:compose.prod.yaml, then: make up'
  trap clean_up EXIT
  clean_up
  step 'Caddy and wrk' start
  seen=$(mktemp)
  for ((round = 0; round < ${1:-5}; round++)); do
    for path in /healthz /posts/5; do
      for header in '' 'Connection: close'; do
        rate haproxy "$proxy" proxy "$path" "$header"
        rate caddy "$caddy" "$caddy" "$path" "$header"
      done
    done
  done
  docker stats --no-stream --format '{{.Name}} {{.MemUsage}}' "$proxy" "$caddy"
  reloads haproxy proxy scripts/proxy-reload.sh
  reloads caddy "$caddy" reload_caddy
}

_main "$@"
