# shellcheck shell=bash
# What nearly every entry uses. Sourced, never run; who needs more names it: operation.sh, machine.sh.

# shellcheck source=scripts/lib/ui.sh
. "${BASH_SOURCE%/*}/ui.sh"
# shellcheck source=scripts/lib/json.sh
. "${BASH_SOURCE%/*}/json.sh"
# shellcheck source=scripts/lib/exits.sh
. "${BASH_SOURCE%/*}/exits.sh"
# shellcheck source=scripts/lib/settings.sh
. "${BASH_SOURCE%/*}/settings.sh"
# shellcheck source=scripts/lib/dotenv.sh
. "${BASH_SOURCE%/*}/dotenv.sh"
# shellcheck source=scripts/lib/stack.sh
. "${BASH_SOURCE%/*}/stack.sh"
# shellcheck source=scripts/lib/steps.sh
. "${BASH_SOURCE%/*}/steps.sh"
# shellcheck source=scripts/lib/build.sh
. "${BASH_SOURCE%/*}/build.sh"
