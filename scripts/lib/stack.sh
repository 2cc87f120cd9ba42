# shellcheck shell=bash
# shellcheck disable=SC2034 # whoever calls read_stack uses what it sets
# What this stack is: the overlays that .env chooses, its name, its folder of backups. Sourced, never run.

# read_stack: the settings, and which overlays .env chooses: for production, for a database elsewhere, with a pooler; any
# overlay at all. Each is 1 or nothing: a function in a condition would go on where a setting cannot be read.
read_stack() {
  local files
  read_settings
  files=$(setting COMPOSE_FILE)
  in_production='' database_elsewhere='' pooled='' overlaid=''
  [[ $files != *compose.prod.yaml* ]] || in_production=1
  [[ $files != *deploy/external-db.yaml* ]] || database_elsewhere=1
  [[ $files != *deploy/pooler.yaml* ]] || pooled=1
  [[ ${files:-compose.yaml} == compose.yaml && ! -e compose.override.yaml ]] || overlaid=1
}

# default_image PYTHON_IMAGE|POSTGRES_IMAGE: compose.yaml holds the one default of either.
default_image() { sed -nE "s/.*\\$\\{$1:-([^}]+)\\}.*/\\1/p" compose.yaml | head -n 1; }

# confirmed_project: the project's name, for whoever removes something by it: what the scripts go by, if Compose, asked now
# about the very files that it would use, says the same.
confirmed_project() {
  local name theirs
  name=$(setting COMPOSE_PROJECT_NAME) || return
  theirs=$(docker compose config --format json 2>&1) ||
    die "Compose cannot read this stack: $(tail -n 1 <<<"$theirs")" 'mend that; nothing was changed'
  # What Compose has to say besides comes before the JSON.
  theirs=$(sed -n '/^{/,$p' <<<"$theirs" | json_values name 2>/dev/null) || true
  [[ -n $name && $name == "$theirs" ]] ||
    die "this stack is called $name here, and \"$theirs\" by Compose" 'name it in .env alone: COMPOSE_PROJECT_NAME=...; nothing was changed'
  printf '%s' "$name"
}

# The folder with the backups, as Compose resolves it: ~ is the caller's home, any other path begins at this folder.
backup_dir() {
  local folder
  folder=$(setting BACKUP_DIR ./backups)
  # shellcheck disable=SC2088 # as it stands in .env
  case $folder in
    '~' | '~/'*) folder=$HOME${folder#\~} ;;
    '~'*) die "BACKUP_DIR=$folder: nobody but a shell knows whose folder that is" 'write the whole path into .env' ;;
  esac
  printf '%s' "$folder"
}

# 192 random bits in characters that no file format or URL treats specially.
random_secret() { od -An -N24 -tx1 /dev/urandom | tr -d ' \n'; }

# detail_of ANSWER: the reason that /readyz gives, in what the API's health check prints ("503 {...}"); else nothing.
detail_of() { json_values detail 2>/dev/null <<<"${1#* }" || true; }

# checks_of CONTAINER: what its last health checks said, a line each; of a container that is gone, nothing.
checks_of() {
  docker inspect --format '{{with .State.Health}}{{range .Log}}{{println .Output}}{{end}}{{end}}' "$1" 2>/dev/null | sed '/^[[:space:]]*$/d' || true
}

# reason_in CHECKS: the last reason that /readyz gave. On a busy machine, and while a replica ends, later checks get no answer.
reason_in() {
  local check
  while IFS= read -r check; do detail_of "$check"; done <<<"$1" | tail -n 1
}

# in_backup COMMAND...: services/postgres/backup.sh in its container; for `told`.
in_backup() { docker compose --progress quiet run --rm -T backup "$@"; }

# isolated OPTION... IMAGE COMMAND...: runs it as hardened as the services are, and without network, settings and volumes.
isolated() { docker run --rm --init --network none --read-only --cap-drop ALL --security-opt no-new-privileges "$@"; }
