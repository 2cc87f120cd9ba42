# shellcheck shell=bash
# shellcheck disable=SC2154 # backup.sh sets $folder, $database, $here and $group
# Backups by the clock. Sourced.

# every: BACKUP_EVERY in seconds.
every() {
  local each
  [[ $BACKUP_EVERY =~ ^([1-9][0-9]*)([smhd])$ ]] || die "BACKUP_EVERY=$BACKUP_EVERY is not a duration" 'a number with s, m, h or d, such as 24h'
  case ${BASH_REMATCH[2]} in s) each=1 ;; m) each=60 ;; h) each=3600 ;; d) each=86400 ;; esac
  say $((BASH_REMATCH[1] * each))
}

# age: of the newest whole backup, in seconds; nothing if there is none.
age() {
  local newest
  newest=$(whole "$database")
  newest=${newest%%$'\n'*}
  [[ -z $newest ]] || say $(($(date +%s) - $(date -d "$(value "$newest" created_at)" +%s)))
}

# Goes by the newest backup, whoever made it, so a restart makes none twice.
schedule() {
  local every age
  every=$(every)
  while :; do
    age=$(age)
    if [[ -n $age ]] && ((age < every)); then
      sleep $((every - age))
    else
      # In a process of its own: one that fails ends there, and is tried again.
      bash "$here/backup.sh" dump || sleep $((every < 300 ? every : 300))
    fi
  done
}

# shellcheck disable=SC2310 # each line that a condition calls fails by itself
fresh() {
  local age
  age=$(age)
  [[ -n $age ]] || die 'there is no whole backup' 'see make logs s=scheduled-backups'
  ((age < 2 * $(every))) || die "the newest backup is $((age / 3600)) hours old, with BACKUP_EVERY=$BACKUP_EVERY" 'see make logs s=scheduled-backups'
}
