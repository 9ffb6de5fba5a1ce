#!/usr/bin/env bash
# Build the image isonet2:VERSION-BUILD with docker, podman or buildah (the first that works, or $ENGINE), and beside it,
# in this folder, its bill of materials (CycloneDX); print digest and size.
#   bash containers/build.sh [cpu|cuda|rocm|cu126] [--sif] [--base IMAGE] [--offline]
# --sif: isonet2-VERSION-BUILD.sif too, from that image, with Apptainer. It needs room in TMPDIR for the image, twice.
# --offline: packages from containers/offline/wheels alone, where those of all lock files must lie, and on a base that has
# python3, python3-venv and ca-certificates.
# Proxies are those of the environment; what signs their certificates is containers/offline/certificates/NAME.crt.
set -euo pipefail
unset CDPATH
PROJECT=$(cd "$(dirname "$0")/.." && pwd)
TORCH=cpu
BASE=debian:bookworm-slim
SIF=
MORE=()
fail() { echo "build.sh: $1" >&2; exit "${2:-64}"; }
while [ $# -gt 0 ]; do
  case $1 in
    cpu | cu126) TORCH=$1 ;;
    cuda) TORCH=cu130 ;;
    rocm) TORCH=rocm7.2 ;;
    --sif) SIF=yes ;;
    --offline) MORE+=(--build-arg PIP_NO_INDEX=1) ;;
    --base) [ $# -ge 2 ] || fail "--base needs an image"; BASE=$2; shift ;;
    --base=*) BASE=${1#*=} ;;
    *) fail "$1: take cpu, cuda, rocm or cu126, and --sif, --base IMAGE, --offline" ;;
  esac
  shift
done
if [ -z "${ENGINE:-}" ]; then
  for ENGINE in docker podman buildah none; do
    "$ENGINE" info > /dev/null 2>&1 && break
  done
fi
if [ "$ENGINE" = docker ] && [[ $(docker --version) = podman* ]]; then ENGINE=podman; fi # by another name
[ "$ENGINE" != none ] || fail "neither docker nor podman nor buildah works here (does its daemon run?)" 69
[ -z "$SIF" ] || command -v apptainer > /dev/null || fail "--sif: no apptainer in the PATH" 69

VERSION=$(sed -n 's/^version = "\(.*\)"/\1/p' "$PROJECT/pyproject.toml")
REVISION=$(git -C "$PROJECT" describe --always --dirty --abbrev=40 2> /dev/null || echo unknown)
SOURCE=$(git -C "$PROJECT" config --get remote.origin.url 2> /dev/null | grep '^https://' | sed 's#//[^/@]*@#//#' || echo unknown)
IMAGE=isonet2:$VERSION-$TORCH
FILE=isonet2-$VERSION-$TORCH
CONTEXT=$(mktemp -d)
trap 'rm -rf "$CONTEXT"' EXIT
tar -C "$PROJECT" --exclude=__pycache__ --exclude=site.env --exclude=demo.png -c pyproject.toml README.md LICENSE \
  isonet2 launch slurm containers | tar -C "$CONTEXT" -x
sed -n 's/^# \(UNVERIFIED.*\)/build.sh: \1/p' "$PROJECT/containers/torch-$TORCH.lock"
for NAME in {http,https,no}_proxy {HTTP,HTTPS,NO}_PROXY; do
  if [ -n "${!NAME:-}" ]; then MORE+=(--build-arg "$NAME"); fi
done

OPTIONS=(--file "$CONTEXT/containers/Dockerfile" --tag "$IMAGE" --network=host --build-arg "BASE=$BASE" --build-arg "TORCH=$TORCH"
  --build-arg "VERSION=$VERSION" --build-arg "REVISION=$REVISION" --build-arg "SOURCE=$SOURCE" "${MORE[@]}")
BILL=(/isonet2/bin/python /isonet2/share/sbom.py /isonet2/share/requirements.lock isonet2 "$VERSION-$TORCH")
if [ "$ENGINE" = buildah ]; then
  buildah build --format docker "${OPTIONS[@]}" "$CONTEXT"
  DIGEST=$(buildah inspect --type image --format '{{.FromImageID}}' "$IMAGE")
  SIZE=$(buildah images --format '{{.Size}}' "$IMAGE")
  ONE=$(buildah from --pull-never "$IMAGE")
  buildah run "$ONE" -- "${BILL[@]}" "sha256:$DIGEST" > "$FILE.cdx.json.new"
  buildah rm "$ONE" > /dev/null
else
  if [ "$ENGINE" = podman ]; then OPTIONS+=(--format docker); fi
  "$ENGINE" build "${OPTIONS[@]}" "$CONTEXT"
  DIGEST=$("$ENGINE" image inspect --format '{{.Id}}' "$IMAGE")
  SIZE="$(($("$ENGINE" image inspect --format '{{.Size}}' "$IMAGE") / 1000000)) MB"
  "$ENGINE" run --rm --network=none --entrypoint "${BILL[0]}" "$IMAGE" "${BILL[@]:1}" "sha256:${DIGEST#sha256:}" \
    > "$FILE.cdx.json.new"
fi
mv "$FILE.cdx.json.new" "$FILE.cdx.json"
echo "$IMAGE ($ENGINE): $SIZE, sha256:${DIGEST#sha256:}; bill of materials: $FILE.cdx.json"

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
