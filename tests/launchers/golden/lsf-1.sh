# bsub -J mirai
#!/bin/sh
#BSUB -o /dev/null
#BSUB -R "rusage[mem=8000]"
#BSUB -W 1:00
exec >~/.mirai/jobs/…/log.1 2>&1
module load python/3.11
export MIRAI_UNTIL=$(($(date +%s) + 3600))
secrets=~/.mirai/jobs/…/secrets.1
if [ ! -r "$secrets" ]; then
    echo "$secrets is not there: is the home directory shared, or was this job run before?" >&2
    exit 10
fi
. "$secrets"
rm -f "$secrets"
exec ~/env/bin/python -m mirai.launch daemon tls+tcp://node1:5555 --idletime 60
