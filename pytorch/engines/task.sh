# shellcheck shell=bash
# A task of an array on a machine of a cluster. submit.py puts lines above these that say what is to be run, and submits both as one script:
# name log command folder spool (texts), threads gpu nodes (numbers), numbers (of the jobs, by task, where they differ), use_gpus (words).
# What $spool gets tells submit.py of the task: N.began, N.done (exit status, seconds), and N.out, what the engine itself has to say.

task=${SLURM_ARRAY_TASK_ID:-${SGE_TASK_ID:-}}
number=${numbers[task]:-$task}
if [ -n "$name" ]; then
  log=${log//"$name"/$number} command=${command//"$name"/$number}
fi
if [ -n "${SLURM_JOB_ID:-}" ]; then
  id="${SLURM_ARRAY_JOB_ID}_$task"
else
  id="${JOB_ID:-}.$task"
fi

cd -- "$folder" || exit 1
began=$(date +%s)
echo "$began" > "$spool/$number.began" || exit 1
((${SLURM_RESTART_COUNT:-${RESTARTED:-0}} > 0)) || : > "$log" # a task that its engine starts again goes on with its log
printf '# %s\n# Started at %s\n# Running on %s as %s\n#\n' "$command" "$(date '+%a %b %e %H:%M:%S %Z %Y')" "$(hostname)" "$id" >> "$log" || exit 1

export OMP_NUM_THREADS=${threads:-${SLURM_CPUS_PER_TASK:-${NSLOTS:-1}}}
unset SLURM_EXPORT_ENV # an srun of the command shall hand on what is set here
start=()
if ((gpu == 0)); then
  export CUDA_VISIBLE_DEVICES=${CUDA_VISIBLE_DEVICES:-} # no card was asked for: none is seen, unless the engine gave one
else
  start=(${use_gpus[@]+"${use_gpus[@]}"})
fi
if ((nodes > 1)); then
  head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
  address=$(scontrol -o show node "$head" | sed -E 's/.* NodeAddr=([^ ]+).*/\1/')
  export PET_NNODES=$nodes PET_RDZV_BACKEND=c10d PET_RDZV_ID=$SLURM_JOB_ID PET_RDZV_ENDPOINT=${address:-$head}:$((20000 + SLURM_JOB_ID % 20000))
  [ -z "${SLURM_CPUS_PER_TASK:-}" ] || export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
  start=(srun --ntasks="$nodes" --ntasks-per-node=1 --kill-on-bad-exit=1)
fi

# Slurm sends TERM to all processes of a task; this one stays to write down how the command ended.
trap : TERM USR1 USR2
${start[@]+"${start[@]}"} "$BASH" -o pipefail -c "$command" < /dev/null >> "$log" 2>&1 &
child=$!
status=0
while :; do
  wait "$child"
  status=$?
  kill -0 "$child" 2> /dev/null || break
done

elapsed=$(($(date +%s) - began))
how="code $status"
((status <= 128 || status > 192)) || how="code 0; signal $((status - 128))"
printf '# Accounting: time=%d threads=%d\n# Ended (%s) at %s, elapsed time %d seconds\n' \
  "$elapsed" "$OMP_NUM_THREADS" "$how" "$(date '+%a %b %e %H:%M:%S %Z %Y')" "$elapsed" >> "$log" || exit 1
echo "$status $elapsed" > "$spool/.$number.done" && mv "$spool/.$number.done" "$spool/$number.done" || exit 1
((status == 0)) || exit 1 # to Grid Engine 99 and 100 would mean more than failure
