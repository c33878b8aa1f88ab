# How jobs are run: one line for each kind of work, the only place to edit when moving to another machine or a cluster.
# Steps call it as `$cmd JOB=1:n LOG command…`; utils/submit.py is meant unless a full path says otherwise.
# A site's own run.pl, queue.pl or slurm.pl can stand here too, e.g. train_cmd="/opt/kaldi/utils/queue.pl --mem 4G".

export train_cmd="submit.py"  # features, extraction: many small jobs
export cuda_cmd="submit.py"   # training: one job
