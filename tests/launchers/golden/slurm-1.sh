# sbatch --parsable
#!/bin/sh
#SBATCH --job-name=mirai
#SBATCH --output=~/.mirai/jobs/…/log.1
#SBATCH --mem=8G
#SBATCH --time=1:00:00
module load python/3.11
export MIRAI_UNTIL=${SLURM_JOB_END_TIME:-$(date -d "$(squeue -h -j "$SLURM_JOB_ID" -o %e)" +%s 2>/dev/null)}
eval "$(printf '%s\n' "$SLURM_MIRAI_SECRETS" | sed -n 1p)"
unset SLURM_MIRAI_SECRETS
exec ~/env/bin/python -m mirai.launch daemon tls+tcp://node1:5555 --idletime 60
