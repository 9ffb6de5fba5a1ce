#!/usr/bin/env bash
# RANKS processes on this machine, started and watched by torchrun: if one ends badly, all end. For several nodes it is
# started once on each: NODE_RANK=0 (1, 2, …) MASTER_ADDR=<address of node 0> bash launch/run.sh job.yaml
HERE=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=launch/address.sh
. "$HERE/address.sh"

WHERE=(--standalone --local-addr=127.0.0.1) # a host may not know its own name
if [ "$NODES" -gt 1 ]; then
  [ -n "${NODE_RANK:-}" ] && [ -n "${MASTER_ADDR:-}" ] || {
    echo "torchrun.sh: the job asks for $NODES nodes: start this on each, with its number from 0 on in NODE_RANK and the" \
      "address of number 0 in MASTER_ADDR" >&2
    exit 70
  }
  master_address "$MASTER_ADDR"
  WHERE=(--rdzv-backend=static --nnodes="$NODES" --node-rank="$NODE_RANK"
    --master-addr="$MASTER_ADDR" --master-port="$MASTER_PORT")
fi
# Left alone, torchrun gives each of several ranks one thread.
SHARE=$(($(nproc) / RANKS))
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-$((SHARE > 0 ? SHARE : 1))}"
exec "$PYTHON" -m torch.distributed.run "${WHERE[@]}" --nproc-per-node="$RANKS" --no-python bash "$HERE/rank.sh" "$@"
