#!/usr/bin/env bash
# Build the image isonet2:VERSION-BUILD with docker, podman or buildah (the first that works, or $ENGINE), and beside it,
# in this folder, its bill of materials (CycloneDX); print digest and size.
#   bash containers/build.sh [cpu|cuda|rocm|cu126] [--sif] [--base IMAGE]
# --sif: isonet2-VERSION-BUILD.sif too, from that image, with Apptainer.
# Without internet: wheels in containers/offline/wheels, for all of the lock files, and an authority of the site's proxy as
# containers/offline/certificates/NAME.crt.
set -euo pipefail
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
TORCH=cpu
BASE=debian:bookworm-slim
SIF=
fail() { echo "build.sh: $1" >&2; exit "${2:-64}"; }
while [ $# -gt 0 ]; do
  case $1 in
    cpu | cu126) TORCH=$1 ;;
    cuda) TORCH=cu130 ;;
    rocm) TORCH=rocm7.2 ;;
    --sif) SIF=yes ;;
    --base) [ $# -ge 2 ] || fail "--base needs an image"; BASE=$2; shift ;;
    --base=*) BASE=${1#*=} ;;
    *) fail "$1: take cpu, cuda, rocm or cu126, and --sif, --base IMAGE" ;;
  esac
  shift
done
if [ -z "${ENGINE:-}" ]; then
  for ENGINE in docker podman buildah none; do
    "$ENGINE" info > /dev/null 2>&1 && break
  done
fi
[ "$ENGINE" != none ] || fail "neither docker nor podman nor buildah works here (does its daemon run?)" 69
[ -z "$SIF" ] || command -v apptainer > /dev/null || fail "--sif: no apptainer in the PATH" 69

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$PROJECT/pyproject.toml")
REVISION=$(git -C "$PROJECT" describe --always --dirty 2> /dev/null || echo unknown)
SOURCE=$(git -C "$PROJECT" config --get remote.origin.url 2> /dev/null | grep '^https://' || echo unknown)
IMAGE=isonet2:$VERSION-$TORCH
FILE=isonet2-$VERSION-$TORCH
CONTEXT=$(mktemp -d)
trap 'rm -rf "$CONTEXT"' EXIT
tar -C "$PROJECT" --exclude=__pycache__ -c pyproject.toml README.md LICENSE isonet2 containers | tar -C "$CONTEXT" -x

OPTIONS=(--file "$CONTEXT/containers/Dockerfile" --tag "$IMAGE" --network=host --build-arg "BASE=$BASE" --build-arg "TORCH=$TORCH"
  --build-arg "VERSION=$VERSION" --build-arg "REVISION=$REVISION" --build-arg "SOURCE=$SOURCE")
BILL=(/opt/isonet2/bin/python /opt/isonet2/share/sbom.py /opt/isonet2/share/requirements.lock isonet2 "$VERSION-$TORCH")
if [ "$ENGINE" = buildah ]; then
  buildah build --format docker "${OPTIONS[@]}" "$CONTEXT"
  ONE=$(buildah from --pull-never "$IMAGE")
  buildah run "$ONE" -- "${BILL[@]}" > "$FILE.cdx.json.new"
  buildah rm "$ONE" > /dev/null
  DIGEST=$(buildah images --no-trunc --format '{{.ID}}' "$IMAGE")
  SIZE=$(buildah images --format '{{.Size}}' "$IMAGE")
else
  if [ "$ENGINE" = podman ]; then OPTIONS+=(--format docker); fi
  "$ENGINE" build "${OPTIONS[@]}" "$CONTEXT"
  "$ENGINE" run --rm --network=none --entrypoint "${BILL[0]}" "$IMAGE" "${BILL[@]:1}" > "$FILE.cdx.json.new"
  DIGEST=$("$ENGINE" image inspect --format '{{.Id}}' "$IMAGE")
  SIZE="$(($("$ENGINE" image inspect --format '{{.Size}}' "$IMAGE") / 1000000)) MB"
fi
mv "$FILE.cdx.json.new" "$FILE.cdx.json"
echo "$IMAGE ($ENGINE): $SIZE, $DIGEST; bill of materials: $FILE.cdx.json"

if [ -n "$SIF" ]; then
  case $ENGINE in
    buildah) buildah push "$IMAGE" "docker-archive:$CONTEXT/image.tar:$IMAGE" ;;
    *) "$ENGINE" save --output "$CONTEXT/image.tar" "$IMAGE" ;;
  esac
  apptainer build --force --build-arg "FROM=$CONTEXT/image.tar" --build-arg "VERSION=$VERSION" \
    --build-arg "REVISION=$REVISION" "$FILE.new.sif" "$PROJECT/containers/isonet2.def"
  mv "$FILE.new.sif" "$FILE.sif"
  echo "$FILE.sif: $(($(stat -c %s "$FILE.sif") / 1000000)) MB, sha256:$(sha256sum "$FILE.sif" | cut -d' ' -f1)"
fi
