#!/usr/bin/env bash
# Fetch axe-core, which looks at pages in tests, checked against its hash, into tests/console, where it is committed
# (licence MPL-2.0, https://github.com/dequelabs/axe-core). To take another version, change both lines below.
set -euo pipefail
cd "$(dirname "$0")/.."
version=4.14.1
integrity=sha512-FHfa+lmNjQZfJz1q8wKqIDwC6DExcHt/pkjNQb09a3NPjCKg2rhu5qb2S4r76ASyFNNtuFooJpZe37OgudVGtQ==

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm pack --silent --pack-destination "$folder" "axe-core@$version" >/dev/null
file=$(ls "$folder"/*.tgz)
found=sha512-$(openssl dgst -sha512 -binary "$file" | base64 -w0)
[ "$found" = "$integrity" ] || { echo "axe: $version has another hash: $found" >&2; exit 1; }
tar xzf "$file" -C "$folder" package/axe.min.js
gzip -9 -n -c "$folder/package/axe.min.js" >tests/console/axe.min.js.gz
sha256sum tests/console/axe.min.js.gz
