#!/usr/bin/env bash
# usage: (command of the service `certificates`; see compose.prod.yaml)
#
# Keeps a certificate in /certs/site.pem. At first one of its own making, so that the proxy can start anywhere. With DOMAIN
# (names, separated by spaces) set, one from an ACME server (Let's Encrypt, unless ACME_SERVER says otherwise), renewed when two thirds of its life are
# over. The running proxy is handed the new one; it is not reloaded.
set -Eeuo pipefail

readonly folder=/certs file=/certs/site.pem socket=/run/haproxy/admin.sock
readonly look_again=$((12 * 3600)) first_pause=300 longest_pause=3600

say() { printf '{"time": "%s", "event": "certificates", "message": "%s"}\n' "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$*"; }

make_own() {
  local work
  work=$(mktemp -d)
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -keyout "$work/key" -out "$work/certificate" 2>/dev/null
  cat "$work/certificate" "$work/key" | put
  rm -r "$work"
}

# stdin as $file: complete before it has its name.
put() {
  umask 077
  cat >"$file.new" || return
  mv "$file.new" "$file"
}

admin() { socat -t 5 - "UNIX-CONNECT:$socket"; }

# obtain: asks for a certificate, or for a newer one if it is time; status 0 if there is a good one.
obtain() {
  local domains=() name options=()
  for name in $DOMAIN; do domains+=(--domain "$name"); done
  [[ -z ${ACME_EMAIL:-} ]] && options+=(--register-unsafely-without-email) || options+=(--email "$ACME_EMAIL")
  [[ ! -s ${ACME_CA_FILE:-/dev/null} ]] || export REQUESTS_CA_BUNDLE=$ACME_CA_FILE
  certbot certonly --non-interactive --quiet --agree-tos --keep-until-expiring --renew-with-new-domains \
    --server "$ACME_SERVER" --standalone --http-01-port 8402 --key-type ecdsa --cert-name site "${domains[@]}" "${options[@]}" \
    --config-dir "$folder/acme" --work-dir /tmp/certbot --logs-dir /tmp/certbot 2>/tmp/certbot.err
}

# install: hands the certificate to the proxy, if it is another one than before.
# shellcheck disable=SC2310 # each line that a condition calls fails by itself
install() {
  local pem answer
  # The proxy's command ends at the first empty line.
  pem=$(cat "$folder/acme/live/site/fullchain.pem" "$folder/acme/live/site/privkey.pem" | grep -v '^$') || return
  [[ $pem != "$(<"$file")" ]] || return 0
  answer=$(printf 'set ssl cert %s <<\n%s\n\n' "$file" "$pem" | admin) || return
  answer+=$(printf 'commit ssl cert %s\n' "$file" | admin) || return
  [[ $answer == *Success* ]] || { say "the proxy did not take the certificate: ${answer//[^a-zA-Z0-9 .,:]/ }"; return 1; }
  put <<<"$pem" || return
  say "the proxy has a new certificate for $DOMAIN"
}

# certbot's own words are many; the cause stands in few of them.
cause() { grep -E 'Detail:|Error|error|refused' /tmp/certbot.err | head -n 2 | tr -cd '[:alnum:] .,:/_\n-' | tr '\n' ' '; }

pause() {
  sleep "$1" &
  wait "$!"
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
_main() {
  local pause=$first_pause
  trap 'exit 0' TERM
  [[ -s $file ]] || make_own
  if [[ -z ${DOMAIN:-} ]]; then
    say 'DOMAIN is not set: the certificate is of our own making, and no browser believes it'
    while true; do pause "$look_again"; done
  fi
  # The ACME server's question comes through the proxy.
  until [[ -S $socket ]] && admin <<<'show info' >/dev/null 2>&1; do pause 1; done
  while true; do
    if obtain && install; then
      pause=$first_pause
      pause "$look_again"
    else
      say "no certificate for $DOMAIN yet; again in $pause s. $(cause)"
      pause "$pause"
      pause=$((pause * 2 < longest_pause ? pause * 2 : longest_pause))
    fi
  done
}

_main "$@"
