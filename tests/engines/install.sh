#!/usr/bin/env bash
# Install Slurm and Grid Engine from Debian's packages, as root, for the tests that start them (slurm.sh, sge.sh). Does nothing where they are there.
# The packages' own services are of no use to the tests; on a machine with systemd they may begin to run: meant for test machines and containers.
set -euo pipefail
if command -v sbatch qsub sge_qmaster > /dev/null && [ -d /var/lib/gridengine/default/common ]; then
  exit
fi
export DEBIAN_FRONTEND=noninteractive
debconf-set-selections << END
gridengine-master shared/gridenginemaster string $(hostname)
gridengine-master shared/gridenginecell string default
gridengine-master shared/gridengineconfig boolean true
END
apt-get update -q
apt-get install -y -q --no-install-recommends slurm-wlm gridengine-master gridengine-exec gridengine-client
