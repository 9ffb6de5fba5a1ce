#!/usr/bin/env bash
# One process on this machine.
[ "$((NODES * RANKS))" = 1 ] || {
  echo "local.sh: the job asks for $NODES × $RANKS ranks, and this launcher starts one: take another" >&2
  exit 70
}
export PYTHONFAULTHANDLER=1 # what kills a rank also says where
exec "$PYTHON" -m isonet2 "$@"
