#!/usr/bin/env bash
# Everything, in a few minutes on two cores: speakers synthesised on the spot, features, an x-vector, embeddings, EER, a report.
# Each speaker has two sessions with their own room, channel and noise; the trials are across sessions, of speakers the network never saw.
# Beside it runs the same training-free baseline as in the other recipes. Results: RESULTS.md. To see your own corpus here, copy this folder.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

stage=1                # first stage to run
stop_stage=6           # last stage to run
data=$here/data        # data directories
exp=$here/exp          # experiments
num_speakers=80        # speakers to synthesise
nj=2                   # parallel jobs of features and extraction
seed=1                 # of the network and its batches
epochs=20              # of the training
weights=final          # weights to extract with: final, a number, or best, which among few validation speakers is chance
device=auto            # auto, cpu or cuda
overwrite=false        # do steps anew whose options or inputs have changed
. "$here/../../../utils/parse_options.sh"
. "$here/../../../path.sh"
. "$ROOT/cmd.sh"
. "$utils/stage.sh"

dir="$exp/xvector_seed$seed"
baseline="$exp/stats"
conf="$here/conf"

if stage 1 "make the corpus and the trials"; then
  "$local/make_mini.py" --num-speakers "$num_speakers" --overwrite "$overwrite" "$data"
  for set in valid test; do
    "$utils/make_trials.py" --overwrite "$overwrite" "$data/$set"
  done
fi

if stage 2 "features and voice activity"; then
  for set in train valid test; do
    "$steps/make_feats.py" --feature mfcc --config "$conf/mfcc.conf" --overwrite "$overwrite" --cmd "$train_cmd" --nj "$nj" "$data/$set"
    "$steps/compute_vad.py" --config "$conf/vad.conf" --overwrite "$overwrite" --cmd "$train_cmd" --nj "$nj" "$data/$set"
    "$utils/validate_data_dir.py" --feats true "$data/$set"
  done
fi

if stage 3 "train the x-vector"; then
  "$steps/train.py" --config "$conf/train.conf" --valid "$data/valid" --epochs "$epochs" --seed "$seed" --device "$device" \
    --overwrite "$overwrite" --cmd "$cuda_cmd" "$data/train" "$dir"
fi

if stage 4 "extract embeddings"; then
  for set in train test; do
    "$steps/extract.py" --epoch "$weights" --device "$device" --overwrite "$overwrite" --cmd "$train_cmd" --nj "$nj" "$dir" "$data/$set" "$dir/$set"
    "$steps/extract_stats.py" --overwrite "$overwrite" --cmd "$train_cmd" --nj "$nj" "$data/$set" "$baseline/$set"
  done
fi

if stage 5 "score the trials"; then
  for system in "$baseline" "$dir"; do
    "$steps/score_cosine.py" --overwrite "$overwrite" "$data/test/trials" "$system/test/xvector.scp" "$system/test/scores_raw"
    "$steps/score_cosine.py" --overwrite "$overwrite" --mean "$system/train/xvector.scp" "$data/test/trials" "$system/test/xvector.scp" "$system/test/scores"
    for variant in _raw ""; do
      echo "$(basename "$system"), training mean ${variant:+not }subtracted:"
      "$steps/eer.py" --brief true --data "$data/test" "$data/test/trials" "$system/test/scores$variant" "$system/test/eer$variant.json"
    done
  done
  "$utils/collect_results.py" --brief true {"$baseline","$dir"}/test/eer{_raw,}.json
fi

if stage 6 "report"; then
  "$steps/report.py" --data "$data/train" --data "$data/test" --compare "mean and deviation=$baseline/test/eer.json" "$dir"
fi
