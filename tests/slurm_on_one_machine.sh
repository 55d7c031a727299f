#!/bin/bash
# A Slurm of one node on this machine (Debian or Ubuntu, as root: apt-get install -y slurm-wlm munge), and the tests
# that need one: six metals run through it, a job is cancelled in mid-run, and every array is compared bit for bit with
# an undisturbed run. Start it from the root of the repository.
set -eu
mkdir -p /run/munge && chown munge:munge /run/munge && su -s /bin/sh munge -c munged
D=$(mktemp -d) H=$(hostname)
mkdir "$D/state" "$D/spool" "$D/run"
cat > "$D/slurm.conf" <<END
ClusterName=loop
SlurmctldHost=$H(127.0.0.1)
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SlurmctldPidFile=$D/run/ctld.pid
SlurmdPidFile=$D/run/d.pid
SlurmdSpoolDir=$D/spool
StateSaveLocation=$D/state
SlurmUser=root
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
NodeName=$H NodeAddr=127.0.0.1 CPUs=2 RealMemory=4000 State=UNKNOWN
PartitionName=debug Nodes=$H Default=YES MaxTime=INFINITE State=UP
END
export SLURM_CONF=$D/slurm.conf
trap 'kill $(cat "$D/run/d.pid") $(cat "$D/run/ctld.pid")' EXIT
slurmctld; sleep 2; slurmd -N "$H"; sleep 3; sinfo # one idle node
python -m pytest -m slurm tests/test_resilience.py
