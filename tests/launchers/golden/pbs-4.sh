# qsub -J 1-4 -j oe -o /dev/null SCRIPT
#!/bin/sh
#PBS -N mirai
#PBS -S /bin/sh
#PBS -l mem=8gb
#PBS -l walltime=1:00:00
MIRAI_TASK=${PBS_ARRAY_INDEX:-$PBS_ARRAYID}
exec >~/.mirai/jobs/…/log.${MIRAI_TASK} 2>&1
module load python/3.11
export MIRAI_UNTIL=$(($(date +%s) + 3600))
secrets=~/.mirai/jobs/…/secrets.${MIRAI_TASK}
if [ ! -r "$secrets" ]; then
    echo "$secrets is not there: is the home directory shared, or was this job run before?" >&2
    exit 10
fi
. "$secrets"
rm -f "$secrets"
exec ~/env/bin/python -m mirai.launch daemon tls+tcp://node1:5555 --idletime 60
