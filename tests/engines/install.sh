#!/usr/bin/env bash
# Install Slurm and Grid Engine from Debian's packages, as root, for the tests that start them (slurm.sh, sge.sh). Does nothing where they are there.
# The packages' own services are of no use to the tests; on a machine with systemd they may begin to run: meant for test machines and containers.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin" DEBIAN_FRONTEND=noninteractive
missing=()
for program in slurmctld slurmd sbatch sge_qmaster sge_execd qsub ip pgrep; do
  command -v "$program" > /dev/null || missing+=("$program")
done
if ((${#missing[@]} == 0)) && [ -d /var/lib/gridengine/default/common ]; then
  exit
fi
debconf-set-selections << END
gridengine-master shared/gridenginemaster string $(hostname)
gridengine-master shared/gridenginecell string default
gridengine-master shared/gridengineconfig boolean true
END
exec < /dev/null # nothing is asked: configuration that lies there of an earlier installation is kept
apt-get update -q
apt-get install -y -q --no-install-recommends -o Dpkg::Options::=--force-confold \
  slurm-wlm gridengine-master gridengine-exec gridengine-client iproute2 procps
