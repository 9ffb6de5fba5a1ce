# shellcheck shell=bash
# Sourced: sets PYTHON to the one that isonet2 is installed for: $PYTHON, or .venv beside the project, or python3.
if [ -z "${PYTHON:-}" ]; then
  PYTHON=$(dirname "${BASH_SOURCE[0]}")/../.venv/bin/python
  [ -x "$PYTHON" ] || PYTHON=python3
fi
