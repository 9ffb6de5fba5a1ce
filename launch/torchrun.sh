#!/usr/bin/env bash
# RANKS processes on this machine, started and watched by torchrun: if one ends badly, all end.
[ "$NODES" = 1 ] ||
  { echo "torchrun.sh: the job asks for $NODES nodes, and this launcher starts ranks on one: take srun" >&2; exit 70; }
: "${OMP_NUM_THREADS:=$(($(nproc) / RANKS > 0 ? $(nproc) / RANKS : 1))}" # torchrun would take 1, without a word for why
export OMP_NUM_THREADS
exec "$PYTHON" -m torch.distributed.run --standalone --nproc-per-node="$RANKS" -m isonet2 "$@"
