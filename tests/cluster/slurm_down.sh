#!/usr/bin/env bash
# End the Slurm that slurm_up.sh started in FOLDER: its jobs, its processes by their id, what is left in its namespaces.
#   bash tests/cluster/slurm_down.sh FOLDER
set -uo pipefail
BASE=${1:?in which folder?}
PREFIX=$(cat "$BASE/prefix") || exit 0

namespaces() { ip netns list | cut -d' ' -f1 | grep "^$PREFIX-"; }
left() { for namespace in $(namespaces); do ip netns pids "$namespace"; done; }

timeout 10 "$BASE/on" login scancel --me 2> /dev/null
for _ in $(seq 25); do
  [ -z "$(timeout 5 "$BASE/on" login squeue -h 2> /dev/null)" ] && break
  sleep 0.2
done
for signal in TERM KILL; do
  for pid in $(left); do kill "-$signal" "$pid" 2> /dev/null; done
  for _ in $(seq 25); do
    [ -z "$(left)" ] && break
    sleep 0.2
  done
done
for namespace in $(namespaces); do
  ip netns delete "$namespace"
  rm -rf "/etc/netns/$namespace"
done
while read -r pid name; do # munged lives in no namespace
  if [ "$name" = munged ] && grep -qz munged "/proc/$pid/cmdline" 2> /dev/null; then kill "$pid"; fi
done < "$BASE/pids"
rmdir /etc/netns 2> /dev/null
cd "$BASE" && rm -rf state spool-* tmp-* munge dev
