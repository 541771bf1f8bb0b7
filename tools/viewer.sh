#!/usr/bin/env bash
# Fetch Scalar's viewer of OpenAPI documents, checked against its hash, into docs/site/viewer, which is committed:
# pages load nothing from elsewhere. To take another version, change both lines below.
set -euo pipefail
cd "$(dirname "$0")/.."
version=1.46.4
integrity=sha512-EpCcOG15Ry8DKNs/f5AdRA97s1B5kGPekzANpnK0j1IpyU4Sb/mfdyfB00WC+vUo7hfc4BFRSkkiPa5SSM7fng==

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
npm pack --silent --pack-destination "$folder" "@scalar/api-reference@$version" >/dev/null
file=$(ls "$folder"/*.tgz)
found=sha512-$(openssl dgst -sha512 -binary "$file" | base64 -w0)
[ "$found" = "$integrity" ] || { echo "viewer: $version has another hash: $found" >&2; exit 1; }
tar xzf "$file" -C "$folder" package/dist/browser/standalone.js package/package.json
mkdir -p docs/site/viewer
gzip -9 -n -c "$folder/package/dist/browser/standalone.js" >docs/site/viewer/api-reference.js.gz
sed -n 's/.*"license": "\(.*\)".*/Scalar @scalar\/api-reference '"$version"', licence \1, https:\/\/github.com\/scalar\/scalar/p' \
    "$folder/package/package.json" | head -1 >docs/site/viewer/NOTICE
sha256sum docs/site/viewer/api-reference.js.gz
