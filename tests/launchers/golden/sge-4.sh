# qsub -terse SCRIPT
#!/bin/sh
#$ -N mirai
#$ -S /bin/sh
#$ -j y
#$ -o ~/.mirai/jobs/…/log.$TASK_ID
#$ -t 1-4
#$ -l h_vmem=8G
#$ -l h_rt=1:00:00
module load python/3.11
export MIRAI_UNTIL=$(($(date +%s) + 3600))
secrets=~/.mirai/jobs/…/secrets.${SGE_TASK_ID}
if [ ! -r "$secrets" ]; then
    echo "$secrets is not there: is the home directory shared, or was this job run before?" >&2
    exit 10
fi
. "$secrets"
rm -f "$secrets"
exec ~/env/bin/python -m mirai.launch daemon tls+tcp://node1:5555 --idletime 60
