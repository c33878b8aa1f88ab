"""From the options of steps/train.py to what the loop works with."""

import argparse

import torch

from pytorch.arguments import shown, typed
from pytorch.data.frames import stored_frames
from pytorch.data.recordings import audio_options_of
from pytorch.data.targets import read_targets
from pytorch.data.waves import open_waves
from pytorch.device import channels_last, compile_model
from pytorch.experiment import Experiment
from pytorch.features.front import Front
from pytorch.files import read_json
from pytorch.losses import build_loss, has_order, targets_of
from pytorch.models import build_model, network_class
from pytorch.network import Network
from pytorch.program import Fail
from pytorch.training.batches import Batches
from pytorch.training.optimizers import build_optimizer, weight_groups
from pytorch.training.sampler import build_sampler
from pytorch.training.step import Update
from pytorch.training.validation import Validation, find_valid_trials, validation_targets
from pytorch.training.weights import RunningAverage, freeze, need_parts


class Training(argparse.Namespace):
    """What is trained, on what: network (on its device), front, batches, validation (or None), settings (model.json)"""


def assemble(args, model_args, loss_args, data, valid, wave_input, device, processes):
    """Build a Training; all is checked that can be before the first step.

    model_args, loss_args: {name: str}; data, valid: DataDirs, valid may be None; wave_input: a WaveInput where recordings are read, None for stored features
    """
    source = None if wave_input else open_source(args, data, None)
    torch.manual_seed(args.seed)
    model = build_model(args.model, (wave_input or source).dim, model_args)
    need_parts(model, args.freeze)
    source = source or open_source(args, data, wave_input)  # which can take hours where recordings are packed first: what the network knows comes before
    front = Front(args.cmn, wave_input and wave_input.options)
    check_lengths(args, source, model)
    kind = targets_of(args.loss)
    targets = read_targets(data, args.targets, kind, args.classes, has_order(args.loss, loss_args))
    groups = targets.of_classes if kind != "numbers" else read_targets(data, "utt2spk", "classes").values if args.sampler == "speaker" else None
    sampler = build_sampler(
        args.sampler, source, args.batch_size, args.min_frames, args.max_frames, args.seed, args.short, steps_per_epoch=args.steps_per_epoch,
        passes=args.passes_per_epoch, days=args.days_per_epoch, groups=groups, spk_per_batch=args.spk_per_batch,
        utts_per_spk=args.utts_per_spk, chunks_per_utt=args.chunks_per_utt, min_spk_sec=args.min_spk_sec, by_duration=args.by_duration, data=data,
    )  # fmt: skip
    check_parts(args, sampler, processes)
    batches = Batches(source, targets.values, sampler, args.short, (processes.rank, processes.world))
    network = Network(model, build_loss(args.loss, width_of(model, front, source, args), len(targets.classes), loss_args, targets.values))
    if network.loss.needs_pairs and (args.sampler != "speaker" or args.utts_per_spk < 2):
        raise Fail(f"--loss {args.loss}: learns from pairs of one class in a batch; add --sampler speaker --utts-per-spk 2, or more")
    if network.loss.needs_pairs and args.accumulate > 1:
        raise Fail(f"--accumulate {args.accumulate}: --loss {args.loss} learns from all pairs of a batch, which its parts do not have; leave it at 1")
    settings = {
        "model": args.model,
        "args": model_args,
        "feat_dim": source.dim,
        "features": source.settings,
        "online": wave_input is not None,
        "cmn": args.cmn,
        "voiced": args.voiced,
        "vad": read_json(data / "vad.json") if args.voiced else None,
        "loss": {"name": args.loss, "in_dim": width_of(model, front, source, args), **loss_args},
        "targets": {"what": targets.what, "kind": targets.kind},
        "classes": targets.classes,
    }
    if args.init:
        said = initialise(network, settings, args.init, args.init_epoch)
        if processes.first:
            print(f"train: {said}", flush=True)
    validation = None
    if valid:
        trials = find_valid_trials(valid, args.valid_trials)
        judged = open_source(args, valid, wave_input)
        wanted = validation_targets(valid, settings, trials)
        validation = Validation(valid, judged, wanted, trials, args.select, source.settings, judged.least_of(model))
    if channels_last(model, device, args.channels_last):
        model.to(memory_format=torch.channels_last)
    if args.compile:
        compile_model(model)
    return Training(network=network.to(device), front=front, batches=batches, validation=validation, settings=settings)


def update_of(training, args, device, processes):
    """-> the Update by which a Training is trained"""
    network = training.network.train()
    freeze(network.model, args.freeze)
    optimizer = build_optimizer(args.optimizer, weight_groups(network, True), args.lr, args.weight_decay, args.momentum)
    average = RunningAverage(network, args.ema) if args.ema else None
    return Update(network, training.front, optimizer, args, device, processes, average)


def open_source(args, data, wave_input):
    """-> Frames of stored features, or Waves"""
    if wave_input:
        return open_waves(data, wave_input, **audio_options_of(args))
    return stored_frames(data, args.voiced)


def check_lengths(args, source, model):
    least = source.least_of(model)
    if source.units(args.min_frames) < least:
        needed = next(frames for frames in range(1, least + 1) if source.units(frames) >= least)
        raise Fail(f"--min-frames {args.min_frames}: {args.model} needs {needed} or more")
    if args.short == "repeat":  # more would be said of them than is there
        source.need_length(least)


def check_parts(args, sampler, processes):
    """Fail where a part of a batch would be one crop alone, of which batch normalisation has no deviation."""
    examples = sampler.batch_size // sampler.chunks // processes.world
    if examples // min(args.accumulate, examples) * sampler.chunks < 2:
        raise Fail(f"--accumulate {args.accumulate}: some of the parts would be one crop alone, of {examples} for each process; 2 or more are needed in each")


def width_of(model, front, source, args):
    """Columns of what the loss is given, found by trying"""
    with torch.no_grad():
        x, _ = front(torch.zeros(1, source.units(args.min_frames), *source.row_shape))
        return model.eval()(x).shape[1]


def initialise(network, settings, exp, which):
    """Take over the weights of another experiment; a head over other classes begins anew. -> what was done, in words"""
    other = Experiment(exp)
    for name in ("model", "feat_dim", "features", "cmn"):
        if other.settings[name] != settings[name]:
            remedy = f": pass --{name} {other.settings[name]}" if name in ("model", "cmn") else ""
            raise Fail(f"--init {exp}: its {name} is {other.settings[name]}, here it is {settings[name]}; both must be alike{remedy}")
    theirs, own = (typed("--model-args", side["model"], network_class(side["model"]), side["args"]) for side in (other.settings, settings))
    for name, value in own.items():
        if theirs[name] != value:
            other_side, remedy = shown(name, theirs[name]), f"pass --model-args {shown(name, theirs[name])}"
            raise Fail(f"--init {exp}: its --model-args have {other_side}, here it is {shown(name, value)}; both must be alike: {remedy}")
    epoch = other.epoch(which)
    network.model.load_state_dict(other.load(epoch, torch.device("cpu")).state_dict())
    said = "the loss begins anew"
    if other.settings.get("classes") == settings["classes"] and "in_dim" in (other.settings["loss"] or {}):
        theirs, own = other.load_network(epoch, torch.device("cpu")).loss.state_dict(), network.loss.state_dict()
        if {name: tensor.shape for name, tensor in theirs.items()} == {name: tensor.shape for name, tensor in own.items()}:
            network.loss.load_state_dict(theirs)
            said = "with its loss"
    return f"begins with epoch {epoch} of {exp}, {said}"
