#!/usr/bin/env bash
# Every check and every test, on a fresh clone of a fresh machine: installs what it needs into .venv first.
#   bash tests/run.sh [pytest's arguments, to run less]
# The image is built meanwhile, where this may start a Docker daemon; the tests of it come last.
set -euo pipefail
cd "$(dirname "$0")/.."
STARTED=$SECONDS
step() { echo; echo "== $1 ($((SECONDS - STARTED)) s)"; }

if [ $# = 0 ]; then
  ISONET2_IMAGE_FOLDER=$(mktemp -d /var/tmp/isonet2-image-XXXXXX)
  export ISONET2_IMAGE_FOLDER
  setsid bash tests/container/image_up.sh "$ISONET2_IMAGE_FOLDER" &
  BUILDER=$!
  remove_image() {
    kill -- "-$BUILDER" 2> /dev/null || true
    bash tests/container/engines_down.sh "$ISONET2_IMAGE_FOLDER/engines"
    rm -rf "$ISONET2_IMAGE_FOLDER"
  }
  trap remove_image EXIT
fi
bash launch/install.sh containers/dev.lock
export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1
if [ $# -gt 0 ]; then exec python -m pytest "$@"; fi

step "ruff: lint and format"
ruff check .
ruff format --check .
step "mypy: types"
mypy
mypy containers/sbom.py
step "import-linter: imports only go down"
lint-imports
step "shellcheck and hadolint: scripts and the Dockerfile"
git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck -x
hadolint containers/Dockerfile
step "pytest: unit"
python -m pytest -q --durations=10 --numprocesses=2 --dist=worksteal tests/unit
step "pytest: several ranks, pipeline, cluster, image"
python -m pytest -q --durations=10 tests/multiprocess tests/pipeline tests/cluster tests/container
step "done"
