"""What the programs that extract embeddings share: their options, and the work of a job. Light to import."""

from operator import itemgetter
from pathlib import Path

from pytorch.data.data_dir import write_table
from pytorch.data.recordings import add_audio_options
from pytorch.files import need_file, read_json
from pytorch.jobs import add_job_options
from pytorch.package import Package, identity, open_experiment, seed_of
from pytorch.program import Fail, boolean, finite_float, positive_int
from pytorch.progress import track


def add_extractor_options(parser):
    parser.add_argument("exp", type=Path, help="experiment directory of steps/train.py, or a file of utils/package_model.py")
    parser.add_argument("--epoch", default="best", help="best, final, average, a number, or the folder of a validation by steps/validate.py")
    parser.add_argument("--layer", help="a layer of the network (utils/show_model.py names them), or classes: the cosines or logits of its loss")


def add_batch_option(parser):
    frames = "frames, of 10 ms, in a batch; lower it when memory runs out (default: 20000 on a card, 500 on a CPU)"
    parser.add_argument("--batch-frames", type=positive_int, help=frames)


def add_extraction_options(parser):
    add_batch_option(parser)
    add_audio_options(parser)
    precision = "fp32, or bf16: faster where the hardware multiplies it, and embeddings a little different"
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help=precision)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--num-threads", type=positive_int, default=1, help="threads of each job on a CPU")
    parser.add_argument("--overwrite", type=boolean, default=False, help="extract anew where other embeddings are there")
    add_job_options(parser)


def add_recording_options(parser):
    """For programs that embed recordings by an Extractor."""
    add_extractor_options(parser)
    parser.add_argument("--vad", type=Path, metavar="FILE", help="vad.json: find voiced frames so, not as in training")
    add_audio_options(parser)
    add_batch_option(parser)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--num-threads", type=positive_int, default=1, help="threads on a CPU")


def add_decision_options(parser):
    parser.add_argument("--backend", type=Path, metavar="DIR", help="a back-end of steps/train_backend.py; without it plain cosines")
    parser.add_argument("--scoring", choices=("cosine", "plda"), help="how to score; PLDA where the back-end has one")
    parser.add_argument("--calibration", type=Path, metavar="JSON", help="a calibration of steps/train_calibration.py, of such scores")
    parser.add_argument("--threshold", type=finite_float, help="least score of one speaker; without it the calibration's, where costs are least")


def extractor_of(args):
    """-> Extractor by the options of a command line, that decides where there are such options"""
    open_experiment(args.exp)  # its mistakes need no torch
    for path in (vars(args).get("calibration"), args.vad):
        if path:
            need_file(path)
    import torch

    from pytorch.device import keep_memory
    from pytorch.extractor import Extractor

    torch.set_num_threads(args.num_threads)
    keep_memory()
    decision = {name: vars(args).get(name) for name in ("backend", "scoring", "calibration", "threshold")}
    audio = {"channel": args.channel, "resample": args.resample}
    return Extractor(args.exp, args.epoch, args.layer, args.device, vad=args.vad, batch_frames=args.batch_frames, **audio, **decision)


def need_recordings(paths):
    """Fail where one of the files is not there, before a network is loaded."""
    for path in paths:
        need_file(path)


def embed_recordings(data, extractor, args):
    """-> (N, dim) embeddings of the recordings of a DataDir, in the order of its utterances"""
    utts = list(data.utt2spk)
    return extractor.embed_all(_recordings(data, extractor, args), [f"{data.path}: '{utt}'" for utt in utts])


def _recordings(data, extractor, args):
    """Yield (samples, rate) of each utterance."""
    from pytorch.data.recordings import Recordings, audio_options_of

    recordings = Recordings(data, extractor.wanted.rate, **audio_options_of(args))
    for utt in track(data.utt2spk, len(data.utt2spk), "utterances"):
        yield recordings.read(utt) / 32768, extractor.wanted.rate


def embeddings_of(data, scp, extractor):
    """The utterances of a DataDir and their embeddings in an scp of steps/extract.py, made with this extractor, as the xvector.json beside it says."""
    from pytorch.backend.folder import read_labelled

    facts = read_json(scp.with_suffix(".json"))
    if not isinstance(facts, dict) or facts.get("weights_sha256") != extractor.identity["weights"] or facts.get("layer") != extractor.layer:
        raise Fail(f"{scp}: of another network or layer than {extractor.path}; extract them with it")
    vectors, _, utts, _ = read_labelled(data, scp)
    return utts, vectors


def layer_of(experiment, layer):
    """The layer that is asked for, or that a package names; None: the network's own choice."""
    return layer or (experiment.facts["layer"] if isinstance(experiment, Package) else None)


class Extraction:
    """The work of one job: the network and what it is given, loaded when the job knows that it has something to do.

    name: of the program; args: its options; given: the NetworkInput of data
    """

    def __init__(self, name, experiment, data, given, args):
        self.name, self.experiment, self.data, self.given, self.args = name, experiment, data, given, args
        self.epoch, self.layer = experiment.epoch(args.epoch), layer_of(experiment, args.layer)
        self.identity = identity(experiment, self.epoch)

    def prepare(self):
        """What is done once, before the jobs: ask the network for the layer, say where features come from, pack recordings."""
        args, given = self.args, self.given
        for old in (args.out / "log").glob(f"{self.name}*.failed"):
            old.unlink()
        if self.layer:
            import torch

            self.load(torch.device("cpu"))
        if given.recordings is None:
            return
        if self.experiment.settings["features"].get("input") != "wave" and not self.data.has("feats.scp"):
            print(f"{self.name}: {self.data.path} has no feats.scp: the features are computed from its recordings, with the settings of {self.experiment.path}")
        if not given.is_by_utterance():
            given.open()

    def load(self, device):
        from pytorch.extraction import Embedder

        return Embedder.load(self.experiment, self.epoch, device, self.layer, self.args.precision)

    def options(self):
        """What the marker compares of what all such programs have."""
        options = {"batch_frames": self.args.batch_frames, "layer": self.layer, **self.given.options}
        return options | ({"precision": self.args.precision} if self.args.precision != "fp32" else {})

    def facts(self):
        """What xvector.json says; the number of a class is that of its column."""
        facts = {"experiment": str(self.args.exp), "seed": seed_of(self.experiment), "epoch": self.epoch, "weights_sha256": self.identity["weights"]}
        facts |= {"features": self.experiment.settings["features"], "data": str(self.args.data), "inputs": self.given.inputs}
        facts |= {"layer": self.layer} if self.layer else {}
        facts |= {"precision": self.args.precision} if self.args.precision != "fp32" else {}
        return facts | ({"classes": self.experiment.settings["classes"]} if self.layer == "classes" else {})

    def batches(self):
        """Lists of indices of utterances; of all jobs, for jobs share out whole batches and so compute the same values however many they are."""
        import torch

        from pytorch.device import choose_device, keep_memory
        from pytorch.extraction import frames_at_once, plan_source

        args = self.args
        torch.set_num_threads(args.num_threads)
        keep_memory()
        self.device = choose_device(args.device)
        args.batch_frames = frames_at_once(args.batch_frames, self.device)
        self.model = self.load(self.device)
        self.source, self.front = self.open()
        self.chunks = self.choose_chunks()
        self.need_length(self.source.units(1) if self.chunks else self.source.least_of(self.model))
        return plan_source(self.source, self.front, args.batch_frames, self.model.masks_padding)

    def open(self):
        """-> a Frames or Waves of all that is to be embedded, and its Front"""
        return self.given.open()

    def choose_chunks(self):
        """-> Chunks, None where nothing is to be cut or padded. Fails where the network does not take what is asked for."""
        from pytorch.extraction import Chunks, units

        asked = {"--chunk-size": self.args.chunk_size, "--min-chunk-size": self.args.min_chunk_size}
        if not any(asked.values()):
            return None
        asked = {option: units(self.source, self.front, number) if number else None for option, number in asked.items()}
        least = self.model.min_frames
        for option, number in asked.items():
            if number and number < least:
                kind = "samples" if units(self.source, self.front, 1) > 1 else "frames"
                raise Fail(f"{option}: {number} {kind}, but the network takes no less than {least}")
        return Chunks(asked["--chunk-size"], asked["--min-chunk-size"] or least, units(self.source, self.front, self.args.batch_frames))

    def need_length(self, least):
        """Fail, with a list, where utterances are shorter than this."""
        short = {utt: f"{length} of at least {least}" for utt, length in zip(self.source.utts, self.source.lengths.tolist(), strict=True) if length < least}
        if short:
            write_table(self.args.out / f"log/{self.name}.failed", short)
        self.source.need_length(least)

    def vectors(self, batches):
        """Yield each utterance of the batches with its embedding, by utterance."""
        import numpy as np

        from pytorch.extraction import embed_utterances

        found = sorted(embed_utterances(self.model, self.source, batches, self.front, self.device, self.chunks), key=itemgetter(0))
        bad = {utt: "zero" if np.isfinite(vector).all() else "not finite" for utt, vector in found if not np.isfinite(vector).all() or not vector.any()}
        if bad:
            path = self.args.out / f"log/{self.name}{f'.{self.args.job}' if self.args.job else ''}.failed"
            write_table(path, bad)
            what = f"the embedding of '{next(iter(bad))}' is zero or not finite ({len(bad)} such, listed in {path})"
            raise Fail(f"{self.data.path}: {what}; look at its recording, and at the network's training")
        for utt, vector in found:
            yield utt, vector, {}
