# shellcheck shell=bash
# Sourced by submit.sh and, on the node, by batch.sh: what this site needs (slurm/site.env), if it needs anything. Modules
# and conda use variables that nobody set, and commands that fail on the way.
SITE=$(dirname "${BASH_SOURCE[0]}")/site.env
if [ -f "$SITE" ]; then
  set +eu
  # shellcheck source=slurm/sites/generic.env
  . "$SITE" || echo "site.sh: the last command of $SITE failed" >&2
  set -eu
fi
