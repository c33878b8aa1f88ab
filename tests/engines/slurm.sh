#!/usr/bin/env bash
# A Slurm of one machine, on loopback alone, for as long as standard input stays open: for the tests, as any user, in about a second.
# It needs the programs of Debian's slurm-wlm (install.sh) and installs nothing.
# e.g. tests/engines/slurm.sh DIR 2     two nodes; then, elsewhere: export SLURM_CONF=DIR/slurm.conf, and sbatch, squeue, … work
set -euo pipefail
mkdir -p "$1"
dir="$(cd "$1" && pwd)"
nodes=${2:-1}  # each on a port of its own
cpus=16        # of each node, whatever this machine has; a task a second would start with one
gpus=2         # of each node, counted only
port=$((21000 + $$ % 1000 * 20))
export PATH="$PATH:/usr/sbin" SLURM_CONF="$dir/slurm.conf"
for program in slurmctld slurmd sbatch; do
  command -v "$program" > /dev/null || { echo "no program $program: tests/engines/install.sh installs it"; exit 3; }
done

mkdir -p "$dir"/{state,log,run}
names=node1 ports=$((port + 1))
((nodes == 1)) || names="node[1-$nodes]" ports="[$((port + 1))-$((port + nodes))]"
host="$(hostname -s)"
cat > "$SLURM_CONF" << END
ClusterName=test
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$(id -un)
SlurmdUser=$(id -un)
AuthType=auth/none
CredType=cred/none
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd.%n.pid
SlurmdSpoolDir=$dir/state/spool.%n
StateSaveLocation=$dir/state
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
MailProg=/bin/true
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
SlurmdParameters=config_overrides
ReturnToService=2
SchedulerParameters=sched_min_interval=0,batch_sched_delay=0,sched_interval=1,bf_interval=1
KillWait=10
MessageTimeout=5
GresTypes=gpu
NodeName=$names NodeHostname=$host NodeAddr=127.0.0.1 Port=$ports CPUs=$cpus RealMemory=16000 Gres=gpu:$gpus State=UNKNOWN
PartitionName=main Nodes=$names Default=YES MaxTime=INFINITE State=UP
END
# A card must be a character device, or CUDA_VISIBLE_DEVICES is not set; these two are everywhere, and without cgroups Slurm leaves them alone.
printf 'Name=gpu File=%s\n' /dev/zero /dev/full > "$dir/gres.conf"
echo CgroupAutomount=no > "$dir/cgroup.conf"

# shellcheck disable=SC2329 # the trap calls it
stop() {
  local pid file round
  scancel --quiet -u "$(id -un)" || true
  for ((round = 0; round < 40; round++)); do
    [ -n "$(squeue -h 2> /dev/null)" ] || break
    sleep 0.1
  done
  for file in "$dir"/run/*.pid; do
    read -r pid < "$file" && kill "$pid" || true
  done
  for pid in $(pgrep -x slurmstepd || true); do # of this Slurm: what outlived its job
    if tr '\0' '\n' < "/proc/$pid/environ" 2> /dev/null | grep -qxF "SLURM_CONF=$SLURM_CONF"; then
      kill -KILL "$pid" || true
    fi
  done
  for ((round = 0; round < 50; round++)); do
    [ -n "$(find "$dir/run" -name '*.pid')" ] || break
    sleep 0.1
  done
} 2> /dev/null
trap stop EXIT
trap 'exit 1' TERM HUP INT

slurmctld -c < /dev/null &> "$dir/log/start"
for ((i = 1; i <= nodes; i++)); do
  slurmd -N "node$i" < /dev/null &>> "$dir/log/start"
done
for ((round = 0; round < 100; round++)); do
  if [ "$(sinfo -h -t idle -o %D 2> /dev/null)" = "$nodes" ]; then
    echo ready
    read -r _ || true # until standard input is closed
    exit 0
  fi
  sleep 0.1
done
echo "the nodes do not come up, see $dir/log"
exit 1
