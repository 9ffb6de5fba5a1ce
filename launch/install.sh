#!/usr/bin/env bash
# Make .venv beside this project and install isonet2 into it, with the versions of containers/packages.lock.
#   bash launch/install.sh [LOCK]        another Python than python3: PYTHON=python3.12 bash launch/install.sh
# Of torch pip takes the build for CPUs where an index or a folder of wheels offers one, else that for CUDA (for CPUs too).
set -euo pipefail
cd "$(dirname "$0")/.."
LOCK=${1:-containers/packages.lock}
PYTHON=${PYTHON:-python3}

"$PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null ||
  { echo "install: $PYTHON is not Python 3.10 or newer; name one: PYTHON=python3.12 bash launch/install.sh" >&2; exit 69; }
"$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
  { echo "install: $PYTHON has no venv; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 69; }

# Installed before from the same files: nothing to do.
TORCH=$(grep -o '^torch==[0-9.]*' containers/torch-cu130.lock)
WANTED=$(cat "$LOCK" pyproject.toml <(echo "$TORCH") | sha256sum | cut -c1-16)
if [ "$(cat .venv/.installed 2>/dev/null)" = "$WANTED" ]; then exit 0; fi

echo "install: isonet2 and the packages of $LOCK into .venv (a minute or two)"
[ -x .venv/bin/python ] || "$PYTHON" -m venv .venv
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
  --requirement "$LOCK"
.venv/bin/python -m pip install --quiet --disable-pip-version-check "$TORCH"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
echo "$WANTED" > .venv/.installed
echo "install: done; next: source .venv/bin/activate"
