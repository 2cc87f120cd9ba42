# shellcheck shell=bash
# What an upgrade of PostgreSQL decides: from values, or from text on stdin, and no more. Sourced.

# leftovers SERVES [KEEPS] <VOLUMES: those that neither serve nor are kept. None, if the one that serves is not among them:
# then they are not what they seem to be.
leftovers() {
  awk -v serves="$1" -v keeps="${2:-}" '
    $0 == serves { known = 1 }
    $0 != serves && $0 != keeps && $0 != "" { left[++n] = $0 }
    END { for (i = 1; known && i <= n; i++) print left[i] }'
}

# newer MAJOR IMAGE MAJOR IMAGE: the image of the newer version: its client knows both.
newer() { if (($3 > $1)); then say "$4"; else say "$2"; fi; }

# major_in <ENVIRONMENT: of an image, a variable a line: which version it is.
major_in() { sed -n 's/^PG_MAJOR=//p'; }

# course_of_start STATE: of "STATUS HEALTH" of the new server: up, over, or wait.
course_of_start() {
  case $1 in
    'running healthy') say up ;;
    exited*) say over ;;
    *) say wait ;;
  esac
}
