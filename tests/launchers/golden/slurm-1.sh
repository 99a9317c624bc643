# sbatch --parsable
#!/bin/sh
#SBATCH --job-name=mirai
#SBATCH --output=~/.mirai/jobs/…/log.1
#SBATCH --mem=8G
#SBATCH --time=1:00:00
module load python/3.11
end=${SLURM_JOB_END_TIME:-$(squeue -h -j "${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID}" -o %e 2>/dev/null)}
case $end in
    ????-??-??T*) export MIRAI_UNTIL=$(date -d "$end" +%s) ;;
    [0-9]*) export MIRAI_UNTIL=$end ;;
esac
eval "$(printf '%s\n' "$SLURM_MIRAI_SECRETS" | sed -n 1p)"
unset SLURM_MIRAI_SECRETS
exec ~/env/bin/python -m mirai.launch daemon tls+tcp://node1:5555 --idletime 60
