#!/usr/bin/env bash
# Every check and every test, on a fresh clone of a fresh machine: installs what it needs into .venv first.
#   bash tests/run.sh [pytest's arguments, to run less]
set -euo pipefail
cd "$(dirname "$0")/.."
STARTED=$SECONDS
bash launch/install.sh containers/dev.lock
export PATH="$PWD/.venv/bin:$PATH" OMP_NUM_THREADS=1

step() { echo; echo "== $1 ($((SECONDS - STARTED)) s)"; }
if [ $# -gt 0 ]; then exec python -m pytest "$@"; fi

step "ruff: lint and format"
ruff check .
ruff format --check .
step "mypy: types"
mypy
step "import-linter: imports only go down"
lint-imports
step "shellcheck: scripts"
git ls-files -z '*.sh' .ci/run | xargs -0 shellcheck -x
step "pytest: unit, several ranks, pipeline"
python -m pytest -q --durations=10
step "done"
