# How jobs are run: one line for each kind of work, the only place to edit when moving to another machine or a cluster.
# Steps call it as `$cmd JOB=1:n LOG command…`; utils/submit.py is meant unless a full path says otherwise. docs/slurm.md, docs/gridengine.md.

export train_cmd="submit.py"  # features, extraction: many small jobs
export cuda_cmd="submit.py"   # training: one job

# This machine, a free graphics card for the training:
# export train_cmd="submit.py" cuda_cmd="submit.py --gpu 1"

# Slurm:
# export train_cmd="submit.py --engine slurm --mem 4G" cuda_cmd="submit.py --engine slurm --gpu 1 --num-threads 4 --mem 16G --time 1-0"

# Grid Engine:
# export train_cmd="submit.py --engine sge --mem 4G" cuda_cmd="submit.py --engine sge --gpu 1 --mem 16G"

# A site's own runner with the command line of Kaldi's:
# export train_cmd="/opt/kaldi/utils/queue.pl --mem 4G" cuda_cmd="/opt/kaldi/utils/queue.pl --gpu 1 --mem 16G"
