#!/usr/bin/env python3
"""Train a network to tell the speakers of a data directory apart.

Reads   <data>/{utt2spk,feats.scp,feats.json,vad.scp}   features, by memory map; --valid: the same of other speakers, and `trials`
Writes  <exp>/{cmd,opts.json,model.json}                what is trained, on what, how
        <exp>/epoch-NNN.safetensors, best, final        weights after each epoch; the epoch with the lowest validation EER; the last
        <exp>/train.tsv, tensorboard/, state/           figures of each epoch; the state from which a killed training goes on
e.g.    steps/train.py --valid data/valid --loss aam --epochs 30 data/train exp/xvector
        steps/train.py --online-feats conf/fbank.conf --voiced false data/train exp/xvector      features computed from wav.scp while training
        tensorboard --logdir exp/xvector/tensorboard
"""

import argparse
import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.recordings import add_audio_options, audio_options_of
from pytorch.features.options import add_feature_options, feature_options_of
from pytorch.files import need_file, sha256, whole_file, write_json
from pytorch.jobs import submit_alone
from pytorch.losses import parse_loss_args
from pytorch.marker import Marker, options_of
from pytorch.models import MODELS, parse_model_args
from pytorch.program import Fail, Parser, boolean, commit, count, fraction, non_negative_float, positive_float, positive_int, run
from pytorch.progress import clock

SPEAKER_LOSSES = ("softmax", "am", "aam", "coco", "centre")


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="training data directory")
    parser.add_argument("exp", type=Path, help="experiment directory, made")
    parser.add_argument("--valid", type=Path, help="validation data directory: held-out speakers, with trials")
    parser.add_argument("--model", choices=MODELS, default="xvector", help="network")
    parser.add_argument("--model-args", default="", help="arguments of the network, 'name=value name=value'; a wrong one lists them all")
    parser.add_argument("--loss", choices=SPEAKER_LOSSES, default="aam", help="aam: additive angular margin; am: additive margin; coco: congenerous cosine")
    parser.add_argument("--loss-args", default="", help="arguments of the loss, 'scale=30 margin=0.2'; a wrong one lists them all")
    parser.add_argument("--margin-warmup-epochs", type=non_negative_float, default=5.0, help="aam, am: epochs over which the margin grows from 0")
    parser.add_argument("--cmn", choices=("mean", "none"), default="mean", help="subtract the mean of what the network sees (crop, utterance)")
    parser.add_argument("--voiced", type=boolean, default=True, help="only frames that vad.scp calls voiced")
    parser.add_argument("--online-feats", type=Path, help="file of feature options (see make_feats.py): compute the features from wav.scp while training")
    parser.add_argument("--save-feats", type=Path, help="with --online-feats: folder that keeps what was computed, for the next epoch and the next training")
    add_audio_options(parser)
    parser.add_argument("--epochs", type=positive_int, default=30, help="number of epochs")
    parser.add_argument("--steps-per-epoch", type=count, default=0, help="steps of an epoch; 0: as many as the utterances fill")
    parser.add_argument("--batch-size", type=positive_int, default=64, help="crops in a batch; lower it when memory runs out")
    parser.add_argument("--min-frames", type=positive_int, default=200, help="shortest crop, frames; each batch has one length")
    parser.add_argument("--max-frames", type=positive_int, default=400, help="longest crop, frames; shorter utterances are repeated")
    parser.add_argument("--sampler", choices=("utterance", "speaker"), default="utterance", help="each utterance, or each speaker, equally often")
    parser.add_argument("--optimizer", choices=("adamw", "adam", "sgd", "rmsprop"), default="adamw", help="optimiser")
    parser.add_argument("--lr", type=positive_float, default=1e-3, help="peak learning rate")
    parser.add_argument("--weight-decay", type=non_negative_float, default=1e-2, help="weight decay")
    parser.add_argument("--momentum", type=fraction, default=0.9, help="sgd: momentum")
    parser.add_argument("--schedule", choices=("cosine", "exponential", "constant", "one-cycle"), default="cosine", help="learning rate over the steps")
    parser.add_argument("--warmup-steps", type=count, default=50, help="steps over which the learning rate grows")
    parser.add_argument("--final-lr-share", type=fraction, default=0.01, help="learning rate at the end, share of the peak")
    parser.add_argument("--pct-start", type=fraction, default=0.15, help="one-cycle: share of the steps over which the learning rate rises to its peak")
    parser.add_argument("--div-factor", type=positive_float, default=5.0, help="one-cycle: how many times less than the peak it is at the start")
    parser.add_argument("--final-div-factor", type=positive_float, default=1000.0, help="one-cycle: how many times less than at the start it is at the end")
    parser.add_argument("--clip-grad", type=non_negative_float, default=5.0, help="largest norm of the gradient; 0: any")
    parser.add_argument("--max-bad-steps", type=positive_int, default=10, help="steps in a row without a finite loss and gradient that end the training")
    parser.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 autocast where the hardware has it, else fp32")
    parser.add_argument("--keep-last", type=count, default=0, help="weights of how many epochs to keep beside the best; 0: all")
    parser.add_argument("--seed", type=count, default=1, help="of the initial weights and the batches")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--num-workers", type=count, default=0, help="processes that read batches ahead; 0: none")
    parser.add_argument("--num-threads", type=count, default=0, help="threads on a CPU; 0: one a core; 1 for small networks on a busy machine")
    parser.add_argument("--overwrite", type=boolean, default=False, help="begin anew where other options or data were trained on")
    parser.add_argument("--cmd", help="runner: train as a job of its own, log in <exp>/log/train.log")
    parser.add_argument("--job", type=positive_int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = parse_args()
    model_args, loss_args = parse_model_args(args.model_args), parse_loss_args(args.loss_args)
    data = DataDir(args.data)
    valid = DataDir(args.valid) if args.valid else None
    check(args, data, valid)
    online = online_options(args)
    options = options_of(args, without=("data", "exp", "valid", "online_feats"))
    if online:
        options["features"] = online.to_json()
    marker = Marker(args.exp / ".done" / "train.json", options, fingerprints(args, data, valid), True)
    alone = args.job is not None or not args.cmd
    if alone:
        marker.lock()
    if marker.is_done(args.overwrite):
        print(f"train: {args.exp} is trained already")
        return
    if not alone:
        submit_alone(args, args.exp / "log")
        return

    import torch

    from pytorch.device import choose_device
    from pytorch.training.loop import train

    device = choose_device(args.device)
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    network, crops, validation = prepare(args, model_args, loss_args, data, valid, online)
    begin(args, marker)
    write_json(args.exp / "model.json", settings_of(args, model_args, loss_args, crops.frames, sorted(data.spk2utt)))
    print(f"train: {describe(args, network, crops)}, on {device}", flush=True)
    try:
        rows = train(args.exp, network, crops, validation, args, device)
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and "memory" not in str(error):
            raise
        raise Fail(f"out of memory on {device}: lower --batch-size or --max-frames, or the widths in --model-args") from None
    best = int((args.exp / "best").read_text())
    marker.finish([args.exp / name for name in ("model.json", "final", "best", f"epoch-{best:03d}.safetensors")])
    shutil.rmtree(args.exp / "state")
    eer = rows[best - 1]["valid_eer"]
    found = f", valid EER {100 * eer:.2f} %" if eer is not None else ""
    print(f"train: {args.exp} done, {clock(sum(row['seconds'] for row in rows))}, best epoch {best}{found}")


def check(args, data, valid):
    """What can be said to be wrong before torch is there."""
    if args.min_frames > args.max_frames:
        raise Fail(f"--min-frames {args.min_frames}: more than --max-frames {args.max_frames}")
    if args.batch_size < 2:
        raise Fail("--batch-size 1: 2 or more are needed, a batch is normalised by its own statistics")
    if args.seed >= 1 << 32:
        raise Fail(f"--seed {args.seed}: less than 2^32 is needed")
    if len(data.spk2utt) < 2:
        raise Fail(f"{data / 'utt2spk'}: one speaker only; two or more are needed to tell apart")
    if valid and (shared := data.spk2utt.keys() & valid.spk2utt.keys()):
        raise Fail(f"{valid.path}: the speaker '{min(shared)}' is also in {data.path} ({len(shared)} such); validation needs speakers of its own")


def prepare(args, model_args, loss_args, data, valid, online):
    """-> network (model and loss), training crops, validation or None"""
    import torch

    from pytorch.losses import build_loss
    from pytorch.models import build_model, network_class
    from pytorch.training.batches import Crops
    from pytorch.training.loop import Network
    from pytorch.training.validation import Validation

    if network_class(args.model).input == "wave":
        raise Fail(f"--model {args.model}: takes waveforms, and steps/train.py has features only; choose another network")
    frames = open_frames(args, data, online)
    torch.manual_seed(args.seed)
    model = build_model(args.model, frames.dim, model_args)
    frames.need_length(model.min_frames)
    if args.min_frames < model.min_frames:
        raise Fail(f"--min-frames {args.min_frames}: {args.model} needs {model.min_frames} or more")
    number = {spk: place for place, spk in enumerate(sorted(data.spk2utt))}
    targets = [number[data.utt2spk[utt]] for utt in frames.utts]
    crops = Crops(frames, targets, args.batch_size, args.min_frames, args.max_frames, args.sampler, args.steps_per_epoch, args.seed)
    validation = Validation(valid, open_frames(args, valid, online), args.cmn, frames.settings, model.min_frames) if valid else None
    with torch.no_grad():
        in_dim = model.eval()(torch.zeros(1, args.min_frames, frames.dim)).shape[1]
    return Network(model, build_loss(args.loss, in_dim, len(number), loss_args, targets)), crops, validation


def online_options(args):
    """The FeatureOptions in the file --online-feats, None without."""
    if args.online_feats is None:
        for name, given in (("--save-feats", args.save_feats), ("--channel", args.channel is not None), ("--resample", args.resample)):
            if given:
                raise Fail(f"{name}: only with --online-feats; stored features have been computed already")
        return None
    parser = Parser("")
    add_feature_options(parser)
    return feature_options_of(parser.parse_args(["--config", str(args.online_feats)]))


def open_frames(args, data, online):
    from pytorch.data.frames import stored_frames
    from pytorch.data.recordings import Recordings
    from pytorch.features.online import computed_frames

    if online is None:
        return stored_frames(data, args.voiced)
    recordings = Recordings(data, online.sample_frequency, **audio_options_of(args))
    return computed_frames(data, args.voiced, online, recordings, args.save_feats)


def describe(args, network, crops):
    short = int((crops.frames.lengths < args.max_frames).sum())
    return (
        f"{args.model}, {sum(weight.numel() for weight in network.model.parameters()):,} parameters; {len(crops.targets)} utterances of "
        f"{int(crops.targets.max()) + 1} speakers, {short} shorter than {args.max_frames} frames (repeated where a crop is longer); "
        f"{args.epochs} epochs of {crops.steps_per_epoch} steps"
    )


def fingerprints(args, data, valid):
    """What the result depends on: hashes of all tables read; where features are computed, the sizes of the recordings."""
    files = {f"training {name}": path for name, path in tables_of(args, data).items()}
    if valid:
        files |= {f"validation {name}": path for name, path in tables_of(args, valid).items()}
        files["trials"] = need_file(valid / "trials", f"draw them with utils/make_trials.py {valid.path}")
    prints = {what: sha256(path) for what, path in files.items()}
    if args.online_feats:
        from pytorch.data.recordings import Recordings

        for what, side in (("training", data), ("validation", valid)):
            if side:
                prints[f"{what} audio"] = Recordings(side, None, **audio_options_of(args)).fingerprint(side.utt2spk)
    return prints


def tables_of(args, data):
    if args.online_feats is None:
        return data.feature_tables(args.voiced)
    return data.recording_tables(args.voiced)


def begin(args, marker):
    """Take up a training under way with the same options and data, or clear the folder and start one."""
    if not marker.is_begun():
        marker.claim([args.exp / "model.json"], args.overwrite)
        for old in (args.exp / "best", args.exp / "final", args.exp / "train.tsv", *args.exp.glob("epoch-*.safetensors")):
            old.unlink(missing_ok=True)
        for folder in ("state", "tensorboard"):
            shutil.rmtree(args.exp / folder, ignore_errors=True)
        made_by = {"commit": commit(), "python": sys.version.split()[0], "torch": version("torch")}
        write_json(args.exp / "opts.json", {**made_by, **marker.asked})
        with whole_file(args.exp / "cmd") as file:
            file.write(shlex.join(sys.argv[:-2] if args.job else sys.argv) + "\n")  # without --job 1
        marker.begin()


def settings_of(args, model_args, loss_args, frames, classes):
    return {
        "model": args.model,
        "args": model_args,
        "feat_dim": frames.dim,
        "features": frames.settings,
        "cmn": args.cmn,
        "voiced": args.voiced,
        "loss": {"name": args.loss, **loss_args},
        "classes": classes,
        "commit": commit(),
    }


if __name__ == "__main__":
    run(main)
