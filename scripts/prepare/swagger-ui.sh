#!/usr/bin/env bash
# usage: scripts/prepare/swagger-ui.sh [VERSION INTEGRITY]
#
# Fetches Swagger UI from the npm registry into services/api/docs/swagger-ui, compressed, with its licences. Without
# arguments: the version that is there, to see that the files are the published ones (`git status` then shows no
# change). For another version, INTEGRITY is what `npm view swagger-ui-dist@VERSION dist.integrity` says.
set -Eeuo pipefail
. "${BASH_SOURCE%/*}/../lib/common.sh"
cd "${BASH_SOURCE%/*}/../.."

_main() {
  local target=services/api/docs/swagger-ui version integrity work archive file
  read -r version integrity < <(if (($# == 2)); then echo "$@"; else cat $target/VERSION; fi)
  command -v npm >/dev/null || die 'there is no npm here' 'install Node.js'
  work=$(mktemp -d)
  # shellcheck disable=SC2064 # the name as it is now
  trap "rm -rf '$work'" EXIT
  archive=$(cd "$work" && npm pack --silent "swagger-ui-dist@$version")
  [[ sha512-$(openssl dgst -sha512 -binary "$work/$archive" | base64 --wrap=0) == "$integrity" ]] ||
    die "swagger-ui-dist $version is not what was published under $integrity" "compare with: npm view swagger-ui-dist@$version dist.integrity"
  tar --extract --gzip --file="$work/$archive" --directory="$work"
  mkdir -p $target
  for file in swagger-ui-bundle.js swagger-ui.css; do
    # Another gzip would write other bytes for the same text.
    cmp --quiet <(gzip -dc "$target/$file.gz" 2>/dev/null) "$work/package/$file" ||
      gzip --best --no-name <"$work/package/$file" >"$target/$file.gz"
  done
  cp "$work/package/LICENSE" "$work/package/NOTICE" "$work/package/swagger-ui-bundle.js.LICENSE.txt" $target
  chmod 644 $target/*
  echo "$version $integrity" >$target/VERSION
}

_main "$@"
