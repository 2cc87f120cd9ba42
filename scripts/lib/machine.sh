# shellcheck shell=bash
# What the machine is asked for beside Docker: root, and its own Debian mirror. Sourced, never run.

# as_root COMMAND...: the command as root; fails if that needs a password.
as_root() { if ((EUID == 0)); then "$@"; else sudo -n -- "$@"; fi; }
may_be_root() { ((EUID == 0)) || sudo -n true 2>/dev/null; }

# debian_mirror debian|debian-security: that mirror, as the machine's own apt sources name it (deb822 or one-line form);
# nothing when they name none.
debian_mirror() {
  { cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null || true; } | awk -v ending="/$1/?$" '
    $1 == "deb" { sub(/\[[^]]*\]/, ""); uri = $2 }
    $1 == "URIs:" { uri = $2 }
    uri ~ ending && !found { print uri; found = 1 }'
}
