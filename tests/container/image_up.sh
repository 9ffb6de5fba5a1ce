#!/usr/bin/env bash
# The image of this project, built as a user builds it, on real engines: for the tests, which wait for it.
#   bash tests/container/image_up.sh FOLDER     FOLDER/isonet2-VERSION-cpu.sif and .cdx.json, and FOLDER/built when done
set -euo pipefail
FOLDER=${1:?in which folder?}
HERE=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$FOLDER"
trap '[ $? = 0 ] || echo "image_up: $(tail -n 1 "$FOLDER/log")" > "$FOLDER/failed"' EXIT
exec > "$FOLDER/log" 2>&1
bash "$HERE/engines_up.sh" "$FOLDER/engines"
# shellcheck disable=SC1091
. "$FOLDER/engines/environment"

# The wheel of torch for CPUs and the authorities that pip trusts here are what a site without internet would bring.
PROJECT=$FOLDER/project
mkdir "$PROJECT"
tar -C "$HERE/../.." --exclude=__pycache__ -c pyproject.toml README.md LICENSE isonet2 launch slurm containers |
  tar -C "$PROJECT" -x
OFFLINE=$PROJECT/containers/offline
python3 -m pip download --quiet --no-deps --dest "$OFFLINE/wheels" "torch==$(sed -n 's/^torch==\([^ ]*\).*/\1/p' \
  "$PROJECT/containers/torch-cpu.lock")" || echo "image_up: torch comes from its own index"
cp /etc/ssl/certs/ca-certificates.crt "$OFFLINE/certificates/host.crt"
cd "$FOLDER"
time bash "$PROJECT/containers/build.sh" cpu --sif --base isonet2-base:bookworm
touch "$FOLDER/built"
