#!/usr/bin/env bash
# usage: (entrypoint of the pooler; see deploy/pooler.yaml)
#
# Writes PgBouncer's configuration from the environment, into memory and for its own eyes only, and becomes PgBouncer.
set -Eeuo pipefail

# quoted TEXT: as a word of the list of users.
quoted() { printf '"%s"' "${1//\"/\"\"}"; }

configuration() {
  printf '%s\n' \
    '[databases]' "* = host=$DB_HOSTNAME port=$DB_PORT" \
    '[pgbouncer]' 'listen_addr = *' 'listen_port = 6432' \
    'unix_socket_dir = /tmp' \
    'auth_type = scram-sha-256' 'auth_file = /tmp/users.txt' \
    'pool_mode = transaction' "default_pool_size = $POOLER_CONNECTIONS" "max_client_conn = $POOLER_CLIENTS"
  # What a client sets for its session would be everybody's: refused, instead of dropped without a word.
  printf '%s\n' 'ignore_startup_parameters ='
  # Who waits in vain hears of it while the client still listens; a server that is back is tried at once.
  printf '%s\n' "query_wait_timeout = $DB_STATEMENT_TIMEOUT" 'server_connect_timeout = 3' 'server_login_retry = 1' 'dns_max_ttl = 5' \
    'tcp_keepidle = 5' 'tcp_keepintvl = 2' 'tcp_keepcnt = 3'
  printf '%s\n' 'log_connections = 0' 'log_disconnections = 0' 'log_stats = 0'
  printf '%s\n' "server_tls_sslmode = ${DB_SSLMODE:-prefer}"
  [[ ! -s /db-ca.pem ]] || printf '%s\n' 'server_tls_ca_file = /db-ca.pem'
}

_main() {
  umask 077
  printf '%s %s\n' "$(quoted "$DB_USERNAME")" "$(quoted "$DB_PASS")" >/tmp/users.txt
  configuration >/tmp/pgbouncer.ini
  exec pgbouncer /tmp/pgbouncer.ini
}

_main "$@"
