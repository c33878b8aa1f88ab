#!/usr/bin/env python3
"""Train a network on a data directory: to tell its speakers, or what else its utterances are labelled with, apart.

Reads   <data>/{utt2spk,feats.scp,feats.json,vad.scp}   features, by memory map; or wav.scp, for networks on waveforms and with --online-feats
        <data>/utt2label, utt2age, …                    with --targets; --valid: the same of other speakers, and `trials`
Writes  <exp>/{cmd,opts.json,model.json}                what is trained, on what, how
        <exp>/epoch-NNN.safetensors, best, final        weights after each epoch; the epoch with the best validation; the last
        <exp>/train.tsv, tensorboard/, state/           figures of each epoch; the state from which a killed training goes on
        <exp>/left_out, bad/                            utterances that are never drawn, and why; batches without a finite loss and gradient
e.g.    steps/train.py --valid data/valid --loss aam --epochs 30 data/train exp/xvector
        steps/train.py --model sinctdnn --sampler speaker --batch-size 256 --days-per-epoch 5 --schedule constant --lr 0.01 data/train exp/sinc
        steps/train.py --targets utt2age --loss regression --schedule one-cycle data/train exp/age
        steps/train.py --init exp/resnet --model resnet --min-frames 600 --max-frames 600 --loss-args margin=0.5 --margin-warmup-epochs 0 \\
          --lr 1e-4 --epochs 5 --valid data/valid data/train exp/resnet_lm
        tensorboard --logdir exp/xvector/tensorboard
"""

import argparse
import contextlib
import math
import os
import re
import shlex
import shutil
import sys
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pytorch.data.data_dir import DataDir
from pytorch.data.recordings import add_audio_options, audio_options_of
from pytorch.experiment import Experiment
from pytorch.features.wave_input import WaveInput
from pytorch.files import need_file, read_json, sha256, whole_file, write_json
from pytorch.jobs import submit_alone
from pytorch.launch import LAUNCHED, is_part, launch, locks, one_of_many
from pytorch.losses import LOSSES, parse_loss_args
from pytorch.marker import Marker, options_of
from pytorch.models import MODELS, ON_WAVES, parse_model_args
from pytorch.program import Fail, Parser, boolean, commit, count, fraction, is_out_of_memory, non_negative_float, positive_float, positive_int, run
from pytorch.progress import clock

RANGE_TEST_STEPS = 300
# compared by what is in them, or not at all
NOT_COMPARED = ("data", "exp", "valid", "online_feats", "epochs", "range_test", "init", "classes", "valid_trials")


def parse_args():
    parser = Parser(__doc__)
    parser.add_argument("data", type=Path, help="training data directory")
    parser.add_argument("exp", type=Path, help="experiment directory, made")

    what = parser.add_argument_group("what is learnt")
    what.add_argument("--model", choices=MODELS, default="xvector", help="network")
    what.add_argument("--model-args", default="", help="arguments of the network, 'name=value name=value'; a wrong one lists them all")
    what.add_argument("--targets", default="utt2spk", help="utt2spk, any utt2X, `utterance` (each its own class); 'utt2label,utt2age' for --loss joint")
    what.add_argument("--classes", type=Path, help="file with the names of the classes in their order, one a line")
    what.add_argument("--loss", choices=LOSSES, default="aam", help="aam: additive angular margin; am: additive margin; coco: congenerous cosine")
    what.add_argument("--loss-args", default="", help="arguments of the loss, 'scale=30 margin=0.2'; a wrong one lists them all")
    what.add_argument("--margin-warmup-epochs", type=non_negative_float, default=5.0, help="aam, am: epochs over which the margin grows from 0")
    what.add_argument("--margin-start-epoch", type=non_negative_float, default=0.0, help="aam, am: epochs before it begins to grow")
    what.add_argument("--margin-shape", choices=("linear", "exponential"), default="linear", help="aam, am: how it grows")
    what.add_argument("--init", type=Path, metavar="EXP", help="begin with the weights of another experiment")
    what.add_argument("--init-epoch", default="best", help="--init: best, final, average or a number")
    what.add_argument("--freeze", type=lambda text: text.split(","), default=[], metavar="PART,…", help="parts of the network that stay as they are")

    seen = parser.add_argument_group("what is seen")
    seen.add_argument("--cmn", choices=("mean", "none"), default="mean", help="subtract the mean of what the network sees (crop, utterance)")
    seen.add_argument("--voiced", type=boolean, help="only frames that vad.scp calls voiced (default: true; false where recordings are read)")
    seen.add_argument("--online-feats", type=Path, metavar="CONF", help="file of feature options (see make_feats.py): compute features while training")
    add_audio_options(seen)
    seen.add_argument("--sampler", choices=("utterance", "class", "speaker", "windows"), default="utterance", help="what is drawn equally often")
    seen.add_argument("--batch-size", type=positive_int, default=64, help="crops in a batch; lower it when memory runs out")
    seen.add_argument("--accumulate", type=positive_int, default=1, help="parts in which a batch is computed, one after the other, to save memory")
    seen.add_argument("--min-frames", type=positive_int, default=200, help="shortest crop, frames (10 ms of a waveform); each batch has one length")
    seen.add_argument("--max-frames", type=positive_int, default=400, help="longest crop, frames")
    seen.add_argument("--short", choices=("repeat", "pad", "drop"), default="repeat", help="utterances shorter than a crop")
    seen.add_argument("--spk-per-batch", type=count, default=0, help="sampler speaker: speakers in a batch; 0: as many as fill --batch-size")
    seen.add_argument("--utts-per-spk", type=positive_int, default=1, help="sampler speaker: utterances of each")
    seen.add_argument("--chunks-per-utt", type=positive_int, default=1, help="sampler speaker: crops of each utterance, whose embeddings are averaged")
    seen.add_argument("--by-duration", type=boolean, default=True, help="sampler speaker: draw a speaker's utterances by duration; false: evenly")
    seen.add_argument("--min-spk-sec", type=non_negative_float, default=0.0, help="sampler speaker: leave out speakers with less")

    course = parser.add_argument_group("how long, how fast")
    course.add_argument("--epochs", type=positive_int, default=30, help="number of epochs; a finished training goes on where more are asked for")
    course.add_argument("--steps-per-epoch", type=count, default=0, help="steps after which weights are kept and validated; 0: one pass over the data")
    course.add_argument("--passes-per-epoch", type=non_negative_float, default=0.0, help="the same in passes over the data")
    course.add_argument("--days-per-epoch", type=non_negative_float, default=0.0, help="the same in days of audio")
    course.add_argument("--optimizer", choices=("adamw", "adam", "sgd", "rmsprop"), default="adamw", help="optimiser")
    course.add_argument("--lr", type=positive_float, default=1e-3, help="peak learning rate")
    course.add_argument("--range-test", type=boolean, default=False, help=f"suggest a --lr by {RANGE_TEST_STEPS} steps from 1e-6 to 10; nothing is trained")
    course.add_argument("--weight-decay", type=non_negative_float, default=1e-2, help="weight decay")
    course.add_argument("--momentum", type=fraction, default=0.9, help="sgd: momentum (Nesterov's)")
    schedules = ("cosine", "exponential", "constant", "one-cycle", "cyclic", "plateau")
    course.add_argument("--schedule", choices=schedules, default="cosine", help="learning rate over the steps")
    course.add_argument("--warmup-steps", type=count, default=50, help="steps over which the learning rate grows; not for one-cycle")
    course.add_argument("--final-lr-share", type=fraction, default=0.01, help="cosine, exponential: at the end; cyclic: at the least; share of the peak")
    course.add_argument("--pct-start", type=fraction, default=0.15, help="one-cycle: share of the steps over which the learning rate rises to its peak")
    course.add_argument("--div-factor", type=positive_float, default=5.0, help="one-cycle: how many times less than the peak it is at the start")
    course.add_argument("--final-div-factor", type=positive_float, default=1000.0, help="one-cycle: how many times less than at the start it is at the end")
    course.add_argument("--cycle-epochs", type=positive_float, default=10.0, help="cyclic: epochs of a cycle")
    course.add_argument("--cycle-decay", type=fraction, default=1.0, help="cyclic: how the height of a cycle shrinks from one to the next")
    course.add_argument("--patience", type=positive_int, default=15, help="plateau: validations (without: epochs) in a row without a new best")
    course.add_argument("--lr-factor", type=fraction, default=0.5, help="plateau: what the learning rate is then multiplied with")
    course.add_argument("--clip-grad", type=non_negative_float, default=5.0, help="largest norm of the gradient; 0: any")
    course.add_argument("--max-bad-steps", type=positive_int, default=10, help="steps in a row without a finite loss and gradient that end the training")
    course.add_argument("--ema", type=fraction, default=0.0, help="keep and validate a running average of the weights with this decay, e.g. 0.999; 0: none")
    course.add_argument("--average-last", type=count, default=0, help="at the end, average the weights of so many last epochs into average.safetensors")
    course.add_argument("--seed", type=count, default=1, help="of the initial weights and the batches")

    judged = parser.add_argument_group("validation")
    judged.add_argument("--valid", type=Path, help="validation data directory: held-out speakers, with trials or the table of --targets")
    judged.add_argument("--valid-trials", help="its trials: a file in Kaldi's form, or CLIENTS,IMPOSTORS (default: its file `trials`)")
    judged.add_argument("--select", help="what chooses the best epoch: eer, min_dcf, loss, accuracy, macro_f1, uar, mae, spearman (default: uar, mae or eer)")
    judged.add_argument("--validate-every", type=positive_int, default=1, help="epochs; the last one always")
    judged.add_argument("--early-stop", type=count, default=0, help="end after so many validations in a row without a new best; 0: never")
    judged.add_argument("--keep-last", type=count, default=0, help="weights of how many epochs to keep beside the best; 0: all")

    machine = parser.add_argument_group("the machine")
    machine.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    machine.add_argument("--num-gpus", type=positive_int, default=1, help="processes that share each batch, one a card (on a CPU: so many processes)")
    machine.add_argument("--num-nodes", type=positive_int, default=1, help="machines of a Slurm job with so many cards each")
    machine.add_argument("--precision", choices=("auto", "fp32", "bf16"), default="auto", help="auto: bf16 autocast where the hardware has it, else fp32")
    machine.add_argument("--channels-last", choices=("auto", "true", "false"), default="auto", help="layout of 2-D networks; auto: where it is faster")
    machine.add_argument("--compile", type=boolean, default=False, help="torch.compile: a slow start, faster steps")
    machine.add_argument("--num-workers", type=count, default=0, help="processes that read batches ahead, for each card; 0: none")
    machine.add_argument("--num-threads", type=count, default=0, help="threads on a CPU; 0: one a core; 1 for small networks on a busy machine")
    machine.add_argument("--save-minutes", type=non_negative_float, default=30.0, help="save the state within long epochs too, every so often; 0: not")
    overwrite = "begin anew what is finished, or was begun with other options or data; what was interrupted with the same ones goes on as without it"
    machine.add_argument("--overwrite", type=boolean, default=False, help=overwrite)
    machine.add_argument("--cmd", help="runner: train as a job of its own, log in <exp>/log/train.log")
    machine.add_argument("--job", type=positive_int, help=argparse.SUPPRESS)
    return parser.parse_args()


def main():
    args = parse_args()
    model_args, loss_args = parse_model_args(args.model_args), parse_loss_args(args.loss_args)
    data = DataDir(args.data)
    valid = DataDir(args.valid) if args.valid else None
    check(args, data, valid)
    wave_input = wave_input_of(args, model_args)
    if wave_input and args.voiced:
        raise Fail("--voiced true: only of stored features; recordings are read with all their frames")
    args.voiced = wave_input is None if args.voiced is None else args.voiced
    options = {**options_of(args, without=NOT_COMPARED), "features": wave_input.settings if wave_input else None}
    marker = Marker(args.exp / ".done" / "train.json", options, fingerprints(args, data, valid, wave_input), True)
    alone, launched = args.job is not None or not args.cmd, LAUNCHED in os.environ
    if alone and locks():
        marker.lock()
    if not args.range_test and not launched and is_trained(args, marker):
        print(f"train: {args.exp} is trained already")
        return 0
    if not alone:
        submit_alone(args, args.exp / "log", resources(args))
        return 0
    if args.num_gpus * args.num_nodes > 1 and not is_part():
        return launch(args.num_gpus, args.num_nodes, args.num_threads)

    import torch

    from pytorch.device import choose_device, keep_memory
    from pytorch.training.assemble import assemble
    from pytorch.training.parallel import Processes

    processes = Processes()
    device = processes.device(choose_device(args.device))
    if args.num_threads:
        torch.set_num_threads(args.num_threads)
    keep_memory()
    training = assemble(args, model_args, loss_args, data, valid, wave_input, device, processes)
    if processes.first:
        print(f"train: {describe(args, training)}, on {device}{f' and {processes.world - 1} more' if processes.world > 1 else ''}", flush=True)
    processes.join(device, marker.asked)
    with advice(args, device):
        work(args, training, device, processes, marker)
    processes.leave()
    return 0


def resources(args):
    """What a runner is asked for beside what --cmd says"""
    cards = ["--gpu", str(args.num_gpus)] if args.num_gpus > 1 and args.device != "cpu" else []
    return [*cards, *(["--nodes", str(args.num_nodes)] if args.num_nodes > 1 else [])]


def check(args, data, valid):
    """What can be said to be wrong before torch is there."""
    if args.min_frames > args.max_frames:
        raise Fail(f"--min-frames {args.min_frames}: more than --max-frames {args.max_frames}")
    if args.batch_size < 2 * args.num_gpus * args.num_nodes:
        raise Fail(f"--batch-size {args.batch_size}: 2 or more are needed for each process, a batch is normalised by its own statistics")
    if args.num_gpus > 1 and ":" in args.device:
        raise Fail(f"--device {args.device}: with --num-gpus {args.num_gpus} each process takes a card of its own; pass --device cuda")
    if args.seed >= 1 << 32:
        raise Fail(f"--seed {args.seed}: less than 2^32 is needed")
    for name, value in (("--ema", args.ema), ("--momentum", args.momentum)):
        if value == 1:
            raise Fail(f"{name} 1: would never learn anything; less than 1 is needed")
    if args.online_feats:
        need_file(args.online_feats, "--online-feats names a file of feature options, one --name=value a line")
    if args.keep_last and args.keep_last < args.average_last:
        raise Fail(f"--keep-last {args.keep_last}: --average-last {args.average_last} needs as many")
    if args.init and args.init.resolve() == args.exp.resolve():
        raise Fail(f"--init {args.init}: is what is trained here; train into another folder")
    for name, given in (("--valid-trials", args.valid_trials), ("--select", args.select), ("--early-stop", args.early_stop)):
        if given and not valid:
            raise Fail(f"{name}: only with --valid")
    if valid and (shared := data.spk2utt.keys() & valid.spk2utt.keys()):
        raise Fail(f"{valid.path}: the speaker '{min(shared)}' is also in {data.path} ({len(shared)} such); validation needs speakers of its own")


def wave_input_of(args, model_args):
    """-> WaveInput where the network is given recordings, or features that are computed from them; None where they are stored"""
    if args.model in ON_WAVES:
        from pytorch.features.wave_input import raw_input_of
        from pytorch.models import network_class

        if args.online_feats:
            raise Fail(f"--online-feats: {args.model} takes waveforms, not features; leave it out")
        return raw_input_of(network_class(args.model), model_args)
    if args.online_feats is None:
        for name, given in (("--channel", args.channel is not None), ("--resample", args.resample)):
            if given:
                raise Fail(f"{name}: only with --online-feats, or a network on waveforms; stored features have been computed already")
        return None
    from pytorch.features.online import read_feature_options

    options = read_feature_options(args.online_feats)
    return WaveInput(options.sample_frequency, options)


def fingerprints(args, data, valid, wave_input):
    """What the result depends on: hashes of all tables read; where recordings are read, their sizes."""
    files = {}
    for what, side in (("training", data), ("validation", valid)):
        if side:
            tables = side.recording_tables(False) if wave_input else side.feature_tables(args.voiced)
            labels = [*args.targets.split(","), *(["utt2window"] if args.sampler == "windows" and side is data else [])]
            tables |= {name: side / name for name in labels if name.startswith("utt2") and side.has(name)}
            files |= {f"{what} {name}": path for name, path in tables.items()}
    for number, path in enumerate(trial_files(args, valid)):
        files["trials" if number == 0 else "impostor trials"] = path
    if args.classes:
        files["the list of classes"] = need_file(args.classes)
    if args.init:
        other = Experiment(args.init)
        files["the weights of --init"] = other.weights(other.epoch(args.init_epoch))
    prints = {what: sha256(path) for what, path in files.items()}
    if wave_input:
        from pytorch.data.recordings import Recordings

        for what, side in (("training", data), ("validation", valid)):
            if side:
                prints[f"{what} audio"] = Recordings(side, None, **audio_options_of(args)).fingerprint(side.utt2spk)
    return prints


def trial_files(args, valid):
    if not valid:
        return []
    if args.valid_trials:
        given = [args.valid_trials] if Path(args.valid_trials).is_file() else args.valid_trials.split(",")
        return [need_file(path, "--valid-trials names a file, or CLIENTS,IMPOSTORS") for path in given]
    return [valid / "trials"] if valid.has("trials") else []


def is_trained(args, marker):
    """Whether there is nothing to do. Fails where something else was trained, or for longer, or what was is lost in part."""
    if not args.overwrite:
        restore(args.exp, marker.outputs())
    done = marker.is_done(args.overwrite)
    if args.overwrite or not (done or marker.is_begun()):
        return False
    epochs = epochs_before(args)
    if args.epochs < epochs:
        raise Fail(f"{args.exp}: --epochs was {epochs}, now {args.epochs}; a training can only be made longer. Pass --overwrite true to begin anew")
    if done and args.epochs > epochs:
        need_file(args.exp / "state/state.safetensors", "it is what a longer training would go on from; put it back, or pass --overwrite true to begin anew")
    return done and args.epochs == epochs


def restore(exp, outputs):
    """Of a finished training, write `best` and `final` anew where one is lost; fail where anything else is, which only a new training would bring back."""
    lost = [name for name in outputs if not (exp / name).exists()]
    for name in lost:
        if name not in ("best", "final"):
            raise Fail(f"{exp / name}: is missing, though the training was finished; put it back, or pass --overwrite true to train anew")
    for name in lost:
        if name == "best":
            epoch = next(int(found[1]) for found in (re.fullmatch(r"epoch-(\d+)\.safetensors", other) for other in outputs) if found)
        else:
            remedy = "`final` cannot be written anew without it; put it back, or pass --overwrite true to train anew"
            epoch = need_file(exp / "train.tsv", remedy).read_text().splitlines()[-1].split("\t")[0]
        with whole_file(exp / name) as file:
            file.write(f"{epoch}\n")
        print(f"train: {exp / name} was missing, it names epoch {epoch} again")


def epochs_before(args):
    """--epochs of the training that is in the folder"""
    return read_json(args.exp / "opts.json")["options"]["epochs"]


def describe(args, training):
    model, sampler, targets = training.network.model, training.batches.sampler, training.settings["targets"]
    learnt = {
        "classes": f"{len(training.settings['classes'])} classes",
        "numbers": "numbers",
        "both": f"{len(training.settings['classes'])} classes and numbers",
    }
    return (
        f"{args.model}, {sum(weight.numel() for weight in model.parameters()):,} parameters; {learnt[targets['kind']]} of {targets['what']}; "
        f"{sampler.summary}; {args.epochs} epochs of {sampler.steps_per_epoch} steps"
        + (f"; kept and validated is a running average of the weights, decay {args.ema:g}" if args.ema else "")
    )


@contextlib.contextmanager
def advice(args, device):
    """Memory that runs out becomes one line with the options to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if "DataLoader worker" in str(error):
            raise Fail(f"a process that read data died ({str(error).splitlines()[0]}): was an archive cut short meanwhile, or memory full?") from None
        if not is_out_of_memory(error):
            raise
        lower = f"--batch-size (now {args.batch_size}) or --max-frames (now {args.max_frames}), or the widths in --model-args; or raise --accumulate"
        raise Fail(f"out of memory on {device}: lower {lower}") from None


def work(args, training, device, processes, marker):
    """Try the largest batch, then train, or do the range test."""
    from pytorch.training.assemble import update_of
    from pytorch.training.log import figure_in_words
    from pytorch.training.loop import train
    from pytorch.training.rehearsal import range_test, rehearse

    update = update_of(training, args, device, processes)
    start = rehearse(update, training.batches)
    if processes.first:
        guess = math.log(max(1, len(training.settings["classes"])))
        said = "" if start is None else f"; the loss at margin 0 and scale 1 is {start:.2f}, that of guessing {guess:.2f}"
        print(f"train: the largest batch fits{said}", flush=True)
        steps = args.epochs * training.batches.sampler.steps_per_epoch
        if args.warmup_steps >= steps and args.schedule != "one-cycle":
            print(f"train: --warmup-steps {args.warmup_steps} of {steps} steps in all: the learning rate will not reach its peak; lower it", flush=True)
        warmup = args.margin_start_epoch + args.margin_warmup_epochs
        if training.network.loss.has_margin and warmup > args.epochs:
            given = f"--margin-start-epoch {args.margin_start_epoch:g} " if args.margin_start_epoch else ""
            given += f"--margin-warmup-epochs {args.margin_warmup_epochs:g}"
            print(f"train: {given} of {args.epochs} epochs: the margin will not be reached; lower it", flush=True)
    if args.range_test:
        suggested = range_test(args.exp / "range_test.tsv", update, training.batches, args.seed, RANGE_TEST_STEPS)
        if not processes.first:
            return
        said = f"--lr {suggested:.2g}" if suggested else "nothing, the loss fell at none; look at the data or the loss"
        print(f"train: the range test suggests {said}; its curve is in {args.exp}/range_test.tsv", flush=True)
        return
    if processes.first:
        begin(args, marker, training)
    rows = train(args.exp, update, training.batches, training.validation, args)
    if processes.first:
        best = int((args.exp / "best").read_text())
        marker.finish([args.exp / name for name in ("model.json", "final", "best", f"epoch-{best:03d}.safetensors")])
        select = training.validation and training.validation.select
        found = f", {figure_in_words(f'valid_{select}', rows[best - 1][f'valid_{select}'])}" if select else ""
        print(f"train: {args.exp} done, {clock(sum(row['seconds'] for row in rows))}, best epoch {best}{found}{skipped_in_words(rows, args.exp)}")


def skipped_in_words(rows, exp):
    skipped, steps = (sum(row[name] for row in rows) for name in ("skipped", "step"))
    return f"; {skipped} of {steps} steps were skipped, see {exp}/bad; lower --lr if they were many" if skipped else ""


def begin(args, marker, training):
    """Take up a training of the same options and data, under way or finished after fewer epochs, or clear the folder and start one."""
    before = epochs_before(args) if marker.is_begun() or (marker.matches() and not args.overwrite) else math.inf
    if args.epochs >= before:
        if args.epochs > before and args.schedule in ("cosine", "exponential", "one-cycle"):
            print(f"train: {args.epochs} epochs in place of {before}: from here on the {args.schedule} schedule is that of {args.epochs} epochs", flush=True)
        marker.begin()
        for old in ("best", "final", "average.safetensors"):  # of fewer epochs; who follows the training is to wait for those to come
            (args.exp / old).unlink(missing_ok=True)
    else:
        marker.claim([args.exp / "model.json"], args.overwrite)
        for folder in ("state", "tensorboard", "bad"):
            shutil.rmtree(args.exp / folder, ignore_errors=True)
        for old in ("model.json", "best", "final", "train.tsv", "average.safetensors", "left_out"):
            (args.exp / old).unlink(missing_ok=True)
        for old in args.exp.glob("epoch-*.safetensors"):
            old.unlink()
    if args.epochs != before:
        with whole_file(args.exp / "cmd") as file:
            file.write(shlex.join(command_line()) + "\n")
    made_by = {"commit": commit(), "python": sys.version.split()[0], "torch": version("torch")}
    write_json(args.exp / "opts.json", {**made_by, **marker.asked, "options": {**marker.asked["options"], "epochs": args.epochs}})
    write_left_out(args.exp / "left_out", training.batches)
    if not marker.is_begun():
        marker.begin()
    if not (args.exp / "model.json").exists():  # after the marker: one that lies there without it was made by somebody else
        write_json(args.exp / "model.json", {**training.settings, "commit": commit()})


def write_left_out(path, batches):
    """Lines of `utterance why` for the utterances that are never drawn; no file where there are none."""
    dropped = [(batches.source.utts[index], why) for why, indices in batches.sampler.dropped.items() for index in indices.tolist()]
    if dropped:
        with whole_file(path) as file:
            file.writelines(f"{utt} {why}\n" for utt, why in dropped)


def command_line():
    """That of the user, without the --job of a runner"""
    words = list(sys.argv)
    if "--job" in words:
        del words[words.index("--job") : words.index("--job") + 2]
    return words


if __name__ == "__main__":
    run(one_of_many(main))
