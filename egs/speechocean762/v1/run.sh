#!/usr/bin/env bash
# Speaker verification on speechocean762: English read by 250 speakers of Mandarin, half of them children, a few minutes on two cores.
# An x-vector (or with --network another) of the training speakers beside a training-free baseline, on trials of the corpus' own test speakers.
# Scores: cosine and PLDA, with and without adaptive S-norm, calibrated on the validation speakers. Results: RESULTS.md.
# The corpus is public: https://www.openslr.org/101 (unpack it anywhere, half a gigabyte) and pass its folder as --corpus.
set -euo pipefail
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"

stage=1                # first stage to run
stop_stage=6           # last stage to run
corpus=                # folder of speechocean762, with WAVE/, train/ and test/
data=$here/data        # data directories
exp=$here/exp          # experiments
nj=2                   # parallel jobs of features and extraction
network=xvector        # what is trained: NETWORK of a conf/train_NETWORK.conf
seed=1                 # of its weights and its batches
epochs=                # of the training; without it those of the conf
weights=final          # weights to extract with: final, a number, or best, which among few validation speakers is chance
lda_dim=51             # dimensions of the back-end; fewer than training speakers
top_n=100              # training utterances that count in adaptive S-norm
device=auto            # auto, cpu or cuda
overwrite=false        # do steps anew whose options or inputs have changed
. "$here/../../../utils/parse_options.sh"
. "$here/../../../path.sh"
. "$ROOT/cmd.sh"
. "$utils/stage.sh"

dir="$exp/${network}_seed$seed"
baseline="$exp/stats"
conf="$here/conf"
if [ ! -f "$conf/train_$network.conf" ]; then
  networks=("$conf"/train_*.conf) networks=("${networks[@]##*/train_}")
  echo "run.sh: --network $network: no such conf/train_NETWORK.conf; there are ${networks[*]%.conf}" >&2
  exit 2
fi

if stage 1 "prepare data directories and trials"; then
  if [ -z "$corpus" ]; then
    echo "run.sh: --corpus DIR is needed: the folder of speechocean762 with WAVE/, train/ and test/; get it from https://www.openslr.org/101" >&2
    exit 1
  fi
  "$local/make_speechocean762.py" --overwrite "$overwrite" --valid-list "$conf/valid_speakers" "$corpus" "$data"
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

if stage 3 "train the network"; then
  "$steps/train.py" --config "$conf/train_$network.conf" ${epochs:+--epochs "$epochs"} --valid "$data/valid" --seed "$seed" --device "$device" \
    --overwrite "$overwrite" --cmd "$cuda_cmd" "$data/train" "$dir"
fi

if stage 4 "extract embeddings"; then
  for set in train valid test; do
    "$steps/extract.py" --epoch "$weights" --device "$device" --overwrite "$overwrite" --cmd "$train_cmd" --nj "$nj" "$dir" "$data/$set" "$dir/$set"
    "$steps/extract_stats.py" --overwrite "$overwrite" --cmd "$train_cmd" --nj "$nj" "$data/$set" "$baseline/$set"
  done
fi

if stage 5 "score the trials"; then
  "$steps/train_backend.py" --overwrite "$overwrite" --lda-dim "$lda_dim" "$data/train" "$dir/train/xvector.scp" "$dir/backend"
  for system in "$baseline" "$dir"; do
    "$steps/score_cosine.py" --overwrite "$overwrite" "$data/test/trials" "$system/test/xvector.scp" "$system/test/scores_raw"
    for set in valid test; do
      "$steps/score_cosine.py" --overwrite "$overwrite" --mean "$system/train/xvector.scp" "$data/$set/trials" "$system/$set/xvector.scp" "$system/$set/scores"
    done
    for variant in _raw ""; do
      echo "$(basename "$system"), training mean ${variant:+not }subtracted:"
      "$steps/eer.py" --brief true --data "$data/test" "$data/test/trials" "$system/test/scores$variant" "$system/test/eer$variant.json"
    done
  done

  for set in valid test; do
    "$steps/score_plda.py" --overwrite "$overwrite" "$dir/backend" "$data/$set/trials" "$dir/$set/xvector.scp" "$dir/$set/scores_plda"
    for kind in "" _plda; do
      "$steps/normalise_scores.py" --overwrite "$overwrite" --cohort utterances --top-n "$top_n" \
        "$dir/$set/scores$kind" "$data/train" "$dir/train/xvector.scp" "$dir/$set/scores${kind}_asnorm"
    done
  done
  for kind in "" _asnorm _plda _plda_asnorm; do
    "$steps/train_calibration.py" --overwrite "$overwrite" "$data/valid/trials" "$dir/valid/scores$kind" "$dir/calibration$kind.json"
    "$steps/apply_calibration.py" --overwrite "$overwrite" "$dir/calibration$kind.json" \
      "$data/test/trials" "$dir/test/scores$kind" "$dir/test/scores${kind}_cal"
  done
  for kind in cal asnorm asnorm_cal plda plda_cal plda_asnorm plda_asnorm_cal; do
    echo "$(basename "$dir"), $kind:"
    "$steps/eer.py" --brief true --data "$data/test" "$data/test/trials" "$dir/test/scores_$kind" "$dir/test/eer_$kind.json"
  done
  "$utils/collect_results.py" --brief true "$baseline"/test/eer{_raw,}.json "$dir"/test/eer{_raw,{,_asnorm,_plda,_plda_asnorm}{,_cal}}.json
fi

if stage 6 "report"; then
  "$steps/report.py" --data "$data/train" --data "$data/valid" --data "$data/test" --compare "mean and deviation=$baseline/test/eer.json" "$dir"
fi
