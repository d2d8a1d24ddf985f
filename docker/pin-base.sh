#!/bin/sh
# pin-base.sh [TAG]: ask the registry for the digest that TAG has now, and write it to docker/base.lock. A build by digest
# (make release-images) gives the same base each time; run this again to take up Debian's corrections, and commit the file.
set -eu
cd "$(dirname "$0")"
tag=${1:-debian:bookworm-slim}
digest=$(docker buildx imagetools inspect "$tag" --format '{{.Manifest.Digest}}') || {
    echo "the registry did not say which digest $tag has; docker/base.lock stays as it was" >&2; exit 1; }
case $digest in
    sha256:????????????????????????????????????????????????????????????????) ;;
    *) echo "$tag: '$digest' is no digest; docker/base.lock stays as it was" >&2; exit 1 ;;
esac
printf '%s@%s\n' "$tag" "$digest" > base.lock.new && mv base.lock.new base.lock
cat base.lock
