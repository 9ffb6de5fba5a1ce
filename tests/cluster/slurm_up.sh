#!/usr/bin/env bash
# A real Slurm of four nodes on this machine: login and n1…n4, each with its own network and host name, in namespaces.
#   bash tests/cluster/slurm_up.sh FOLDER      installs what Debian has of it, if need be (root, some 15 s)
#   FOLDER/on HOST COMMAND…                    runs a command there (sbatch and its like on login)
#   bash tests/cluster/slurm_down.sh FOLDER    ends what this started, and nothing else
# Outside FOLDER it writes /etc/netns/<prefix>-* alone. FOLDER/pids lists what runs, FOLDER/prefix names the namespaces.
set -euo pipefail
BASE=${1:?in which folder?}
NODES=(n1 n2 n3 n4)
CPUS=4 # of a node, for the scheduler: more than there are
NET=10.213.7
PREFIX=iso$$
[ "$(id -u)" = 0 ] || { echo "slurm_up: needs root, for namespaces" >&2; exit 2; }

NEEDED=(slurmctld slurmd slurm-client munge iproute2)
missing() { for program in slurmctld slurmd sbatch munged ip; do command -v "$program" > /dev/null || return 0; done; false; }
if missing; then
  mkdir -p "$BASE"
  export DEBIAN_FRONTEND=noninteractive
  { apt-get update -qq && apt-get install -y --no-install-recommends "${NEEDED[@]}"; } > "$BASE/apt.log" 2>&1 ||
    { echo "slurm_up: apt-get install ${NEEDED[*]} failed: $(tail -n 1 "$BASE/apt.log")" >&2; exit 3; }
fi
install -d -m 755 "$BASE" "$BASE"/{state,log,dev,munge}
echo "$PREFIX" > "$BASE/prefix"
: > "$BASE/pids"
trap '[ $? = 0 ] || bash "$(dirname "$0")/slurm_down.sh" "$BASE" >&2' EXIT

HOSTS="127.0.0.1 localhost"$'\n'"$NET.1 login"$'\n'
for n in "${!NODES[@]}"; do HOSTS+="$NET.$((11 + n)) ${NODES[n]}"$'\n'; done

for gpu in 0 1 2 3; do mknod "$BASE/dev/gpu$gpu" c 1 3; done # Slurm wants device nodes; not named nvidia, for torch's sake
cat > "$BASE/slurm.conf" <<CONF
ClusterName=ci
SlurmctldHost=login($NET.1)
AuthType=auth/munge
AuthInfo=socket=$BASE/munge/socket,cred_expire=5
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$BASE/state
SlurmdSpoolDir=$BASE/spool-%n
TmpFS=$BASE/tmp-%n
SlurmctldPidFile=$BASE/slurmctld.pid
SlurmdPidFile=$BASE/slurmd-%n.pid
SlurmctldLogFile=$BASE/log/slurmctld.log
SlurmdLogFile=$BASE/log/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=200000,batch_sched_delay=0
GresTypes=gpu
MpiDefault=none
ReturnToService=2
KillWait=20
MinJobAge=900
MessageTimeout=20
$(for n in "${!NODES[@]}"; do echo "NodeName=${NODES[n]} NodeAddr=$NET.$((11 + n)) CPUs=$CPUS RealMemory=16000 Gres=gpu:4"; done)
PartitionName=main Nodes=n[1-4] Default=YES MaxTime=INFINITE DefaultTime=10 DefMemPerCPU=100 State=UP
CONF
echo "NodeName=n[1-4] Name=gpu File=$BASE/dev/gpu[0-3]" > "$BASE/gres.conf"
echo "CgroupPlugin=cgroup/v1" > "$BASE/cgroup.conf" # 22.05 knows no "disabled"

for host in login "${NODES[@]}"; do
  ip netns add "$PREFIX-$host"
  mkdir -p "/etc/netns/$PREFIX-$host"
  printf '%s' "$HOSTS" > "/etc/netns/$PREFIX-$host/hosts"
  ip -n "$PREFIX-$host" link set lo up
done
ip -n "$PREFIX-login" link add eth0 type bridge
ip -n "$PREFIX-login" addr add "$NET.1/24" dev eth0
ip -n "$PREFIX-login" link set eth0 up
for n in "${!NODES[@]}"; do
  node=${NODES[n]}
  ip -n "$PREFIX-login" link add "to-$node" type veth peer name eth0 netns "$PREFIX-$node"
  ip -n "$PREFIX-login" link set "to-$node" master eth0 up
  ip -n "$PREFIX-$node" addr add "$NET.$((11 + n))/24" dev eth0
  ip -n "$PREFIX-$node" link set eth0 up
done

cat > "$BASE/on" <<ON
#!/usr/bin/env bash
# on HOST COMMAND…
export SLURM_CONF=$BASE/slurm.conf
exec ip netns exec $PREFIX-"\$1" unshare --uts bash -c 'hostname "\$1"; exec "\${@:2}"' bash "\$@"
ON
chmod 755 "$BASE/on"

start() { # start NAME COMMAND…
  "${@:2}" < /dev/null > "$BASE/log/$1.out" 2>&1 &
  echo "$! $1" >> "$BASE/pids"
}
await() { # await SECONDS COMMAND…
  for _ in $(seq $(($1 * 5))); do
    if "${@:2}"; then return; fi
    sleep 0.2
  done
  tail -n 5 "$BASE"/log/* >&2
  echo "slurm_up: did not come up: ${*:2}" >&2
  exit 1
}
all_idle() { [ "$("$BASE/on" login sinfo -h -N -o %t 2> /dev/null | grep -c '^idle$')" = "${#NODES[@]}" ]; }

head -c 128 /dev/urandom > "$BASE/munge/key"
chmod 600 "$BASE/munge/key"
start munged munged --foreground --key-file="$BASE/munge/key" --socket="$BASE/munge/socket" --pid-file="$BASE/munge/pid" \
  --log-file="$BASE/log/munged.log" --seed-file="$BASE/munge/seed" --num-threads=4
await 10 test -S "$BASE/munge/socket"
start slurmctld "$BASE/on" login slurmctld -D -c -f "$BASE/slurm.conf"
for node in "${NODES[@]}"; do
  mkdir -p "$BASE/spool-$node" "$BASE/tmp-$node"
  start "slurmd-$node" "$BASE/on" "$node" slurmd -D -N "$node" -f "$BASE/slurm.conf"
done
await 30 all_idle
