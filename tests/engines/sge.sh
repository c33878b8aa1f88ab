#!/usr/bin/env bash
# A Grid Engine of one machine, in a network and mount namespace of its own, for as long as standard input stays open: for the tests, as root, in some seconds.
# It needs Debian's gridengine-master, gridengine-exec and gridengine-client, with a cluster configured (install.sh), and installs nothing.
# e.g. tests/engines/sge.sh DIR    then, elsewhere: nsenter -t $(cat DIR/pid) -n -m qsub …
set -euo pipefail
mkdir -p "$1"
dir="$(cd "$1" && pwd)"
slots=8
gpus=2 # counted only
root=/var/lib/gridengine

if [ "${2:-}" != inside ]; then
  for program in sge_qmaster sge_execd qsub ip pgrep unshare nsenter; do
    command -v "$program" > /dev/null || { echo "no program $program: tests/engines/install.sh installs it"; exit 3; }
  done
  [ "$(id -u)" = 0 ] || { echo "only root can start it: it has to have a network of its own"; exit 3; }
  [ -d "$root/default/common" ] || { echo "$root has no cluster 'default': tests/engines/install.sh makes it"; exit 3; }
  unshare -n -m true || { echo "no namespaces here"; exit 3; }
  unshare -n -m -p --fork --mount-proc --kill-child bash "$0" "$dir" inside <&0 &
  child=$!
  trap 'kill "$child"' TERM HUP INT
  while ! pgrep -P "$child" > "$dir/pid"; do sleep 0.1; done
  wait "$child"
  exit
fi

# What Debian's package has set up, in copies that vanish with the namespace; the host's name must be an address of this network.
host="$(hostname)"
ip link set lo up
work=/media
mount -t tmpfs -o mode=755 tmpfs "$work"
printf '127.0.0.1 %s localhost\n' "$host" > "$work/hosts"
mount --bind "$work/hosts" /etc/hosts
cp -a /var/spool/gridengine "$work/spool"
mount --bind "$work/spool" /var/spool/gridengine
cp -a "$root/default/." "$work/cell"
mount --bind "$work/cell" "$(readlink -f "$root/default")"
mkdir -p /var/run/gridengine
chown sgeadmin:sgeadmin /var/run/gridengine
export SGE_ROOT=$root SGE_CELL=default
echo "$host" > "$root/default/common/act_qmaster"
ulimit -n 1024

sge_qmaster
for ((round = 0; round < 100; round++)); do
  if qconf -sh &> /dev/null; then break; fi
  sleep 0.1
done
su sgeadmin -s /bin/sh -c "qconf -am root" > /dev/null || true
qconf -as "$host" > /dev/null
cat > "$work/host" << END
hostname              $host
load_scaling          NONE
complex_values        gpu=$gpus
user_lists            NONE
xuser_lists           NONE
projects              NONE
xprojects             NONE
usage_scaling         NONE
report_variables      NONE
END
{ qconf -sc | grep -v '^gpu '; echo "gpu gpu INT <= YES YES 0 0"; } > "$work/complex"
qconf -Mc "$work/complex" > /dev/null
qconf -Ae "$work/host" > /dev/null
printf 'group_name @allhosts\nhostlist %s\n' "$host" > "$work/group"
qconf -Ahgrp "$work/group" > /dev/null
cat > "$work/pe" << END
pe_name            smp
slots              999
user_lists         NONE
xuser_lists        NONE
start_proc_args    NONE
stop_proc_args     NONE
allocation_rule    \$pe_slots
control_slaves     FALSE
job_is_first_task  TRUE
urgency_slots      min
accounting_summary FALSE
qsort_args         NONE
END
qconf -Ap "$work/pe" > /dev/null
qconf -sq | sed -e 's/^qname .*/qname all.q/' -e 's/^hostlist .*/hostlist @allhosts/' -e "s/^slots  .*/slots $slots/" -e 's/^pe_list .*/pe_list smp/' \
  -e 's/^load_thresholds .*/load_thresholds NONE/' -e 's#^shell  .*#shell /bin/bash#' > "$work/queue"
qconf -Aq "$work/queue" > /dev/null
qconf -ssconf | sed -e 's/^schedule_interval .*/schedule_interval 0:0:1/' -e 's/^flush_submit_sec .*/flush_submit_sec 1/' \
  -e 's/^flush_finish_sec .*/flush_finish_sec 1/' -e 's/^job_load_adjustments .*/job_load_adjustments NONE/' > "$work/scheduler"
qconf -Msconf "$work/scheduler" > /dev/null
# min_uid: root may submit; login_shells: what the user's profile does has no part in the tests
qconf -sconf | sed -e '/^#/d' -e 's/^login_shells .*/login_shells none/' -e 's/^min_uid .*/min_uid 0/' -e 's/^min_gid .*/min_gid 0/' -e 's/^load_report_time .*/load_report_time 00:00:01/' \
  -e 's#^mailer .*#mailer /bin/true#' \
  -e 's/^reporting_params .*/reporting_params accounting=true reporting=false flush_time=00:00:01 joblog=false sharelog=00:00:00/' |
  awk '/^reporting_params/ {print; skip = 1; next} skip && /^ / {next} {skip = 0; print}' > "$work/global"
qconf -Mconf "$work/global" > /dev/null
sge_execd
for ((round = 0; round < 150; round++)); do
  if qstat -f -q all.q 2> /dev/null | awk '/^all.q@/ {ok = ($4 != "-NA-" && NF == 5)} END {exit !ok}'; then
    echo ready
    read -r _ || true # until standard input is closed; with this process end all others of the namespace
    exit 0
  fi
  sleep 0.1
done
echo "the queue does not come up"
exit 1
