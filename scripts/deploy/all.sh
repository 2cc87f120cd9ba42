# shellcheck shell=bash
# What deploy.sh and undeploy.sh consist of. Sourced.

# shellcheck source=scripts/lib/common.sh
. "${BASH_SOURCE%/*}/../lib/common.sh"
# shellcheck source=scripts/lib/operation.sh
. "${BASH_SOURCE%/*}/../lib/operation.sh"
# shellcheck source=scripts/deploy/decisions.sh
. "${BASH_SOURCE%/*}/decisions.sh"
# shellcheck source=scripts/deploy/checks.sh
. "${BASH_SOURCE%/*}/checks.sh"
# shellcheck source=scripts/deploy/rotation.sh
. "${BASH_SOURCE%/*}/rotation.sh"
# shellcheck source=scripts/deploy/releases.sh
. "${BASH_SOURCE%/*}/releases.sh"
# shellcheck source=scripts/deploy/schema.sh
. "${BASH_SOURCE%/*}/schema.sh"
# shellcheck source=scripts/deploy/replace.sh
. "${BASH_SOURCE%/*}/replace.sh"
