#!/usr/bin/env bash
# Runs a real Slurm of one node on this machine for as long as standard input stays open:
#
#   cluster.sh FOLDER    then PATH=FOLDER/bin:$PATH SLURM_CONF=FOLDER/slurm.conf sbatch, squeue, ...
#
# Prints "ready" when jobs can be submitted. Needs root, and installs Debian's packages if they are
# missing. Everything else that it makes is in FOLDER, so it does not disturb an existing Slurm.
set -euo pipefail

mkdir -p "$1"/{bin,state,spool}
cd "$1"
export SLURM_CONF="$PWD/slurm.conf" PATH="$PATH:/usr/sbin:/sbin"
node=$(hostname -s)

installed() { command -v slurmctld slurmd sbatch munged; }
install() {
  # Debian starts the services of a package unless this file forbids it.
  local policy=/usr/sbin/policy-rc.d
  if [[ ! -e $policy ]]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f /usr/sbin/policy-rc.d' RETURN
  fi
  export DEBIAN_FRONTEND=noninteractive
  local packages=(slurmctld slurmd slurm-client munge)
  apt-get install -qy --no-install-recommends "${packages[@]}" && return
  apt-get update -q && apt-get install -qy --no-install-recommends "${packages[@]}"
}
installed >/dev/null || install >apt.log 2>&1 || { tail apt.log; exit 1; }

# The daemons look up their own host name.
getent hosts "$node" >/dev/null || echo "127.0.0.1 $node" >>/etc/hosts
address=$(getent ahostsv4 "$node" | awk '{ print $1; exit }')
# The daemons should listen only on the address of the host name. But srun is called back at
# 127.0.0.1, so this works only if that is the address of the host name.
listen="CommunicationParameters=NoInAddrAny,NoCtldInAddrAny"
if [[ $address != 127.0.0.1 ]]; then
  listen=""
  echo "$node is $address, not 127.0.0.1: the daemons listen on all addresses" >&2
fi
free_port() { python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

# slurmd 22.05 looks for cgroups even if nothing uses them, unless a plugin is set.
printf 'CgroupPlugin=cgroup/v1\n' >cgroup.conf
# CPUs: more than the machine may have, so that two jobs of eight threads run at once. MinJobAge:
# how long finished jobs are listed. OverMemoryKill: limits the memory of jobs without cgroups.
# cred_expire: how long a job waits that is requeued.
cat >slurm.conf <<END
ClusterName=test
SlurmctldHost=$node(127.0.0.1)
SlurmctldPort=$(free_port)
SlurmdPort=$(free_port)
$listen
SlurmUser=root
AuthInfo=socket=$PWD/munge.socket,cred_expire=20
StateSaveLocation=$PWD/state
SlurmdSpoolDir=$PWD/spool
SlurmctldPidFile=$PWD/slurmctld.pid
SlurmdPidFile=$PWD/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerParameters=batch_sched_delay=0,sched_interval=2
EnforcePartLimits=ALL
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
KillWait=2
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
AccountingStorageType=accounting_storage/none
NodeName=$node NodeAddr=127.0.0.1 CPUs=16 RealMemory=16000
PreemptType=preempt/partition_prio
PreemptMode=CANCEL
PartitionName=test Nodes=$node Default=YES PriorityTier=1
PartitionName=first Nodes=$node PriorityTier=2 PreemptMode=off
END
# Snakemake's plugin removes SLURM_CONF from the environment of the srun in a job.
printf '#!/bin/sh\nSLURM_CONF="%s" exec %s "$@"\n' "$SLURM_CONF" "$(command -v srun)" >bin/srun
chmod +x bin/srun
(umask 077 && head -c 1024 /dev/urandom >munge.key)

daemons=()
stop() {
  if scontrol ping | grep -q UP; then
    scancel --partition test || true
    for _ in {1..100}; do
      [[ $(squeue --noheader) ]] || break
      sleep 0.1
    done
  fi >>stop.log 2>&1
  for ((i = ${#daemons[@]} - 1; i >= 0; i--)); do
    kill "${daemons[i]}" 2>/dev/null || true
    wait "${daemons[i]}" 2>/dev/null || true
  done
}
trap stop EXIT
start() {
  "$@" </dev/null >"$1.log" 2>&1 &
  daemons+=($!)
}
wait_for() {
  for _ in {1..300}; do
    "$@" >/dev/null 2>&1 && return
    sleep 0.1
  done
  tail -n 20 munged.log slurmctld.log slurmd.log
  exit 1
}
start munged --foreground --force --key-file="$PWD/munge.key" --socket="$PWD/munge.socket" \
  --pid-file="$PWD/munged.pid" --seed-file="$PWD/munge.seed" --log-file="$PWD/munge.log"
wait_for munge --no-input --socket="$PWD/munge.socket"
start slurmctld -D
start slurmd -D
idle() { [[ $(sinfo --noheader --format %T) == idle ]]; }
wait_for idle

echo ready
cat >/dev/null
