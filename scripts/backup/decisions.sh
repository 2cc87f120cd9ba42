# shellcheck shell=bash
# What the backups of this stack decide: from values, and no more, so that it can be tried without Docker. Sourced.

# says_yes VALUE: whether a setting that is a switch is on.
says_yes() { [[ $1 =~ ^(1|true|yes|on)$ ]]; }

# fits_in_memory BYTES FREE: whether a database of this size may be restored there: if it fits twice, beside what else needs
# memory. Then nothing of it touches the live server.
fits_in_memory() { (($1 * 2 + (512 << 20) < $2 / 2)); }
