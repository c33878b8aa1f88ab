"""What the network of an experiment is given of a data directory: stored features, or its recordings. Light to import."""

from pytorch.data.recordings import Recordings, audio_options_of
from pytorch.features.wave_input import wave_input_of
from pytorch.files import need_file, read_json, sha256
from pytorch.program import Fail


class NetworkInput:
    """Recordings are read where the network takes waveforms, where its features were computed in training, or there is no feats.scp: features are
    then computed as in training.

    experiment: an Experiment; data: a DataDir; args: a command line with the options of add_audio_options()
    options: those of them that can change a result; inputs: {what it is: fingerprint}; both for a done-marker
    Fails where the data have not what is needed, or other features than the training's.
    """

    def __init__(self, experiment, data, args):
        self.settings, self.data, self.audio = experiment.settings, data, audio_options_of(args)
        self.voiced, self.recordings, self.options = self.settings["voiced"], None, {}
        computed = data.has("wav.scp") and (self.settings.get("online") or not data.has("feats.scp"))
        if self.settings["features"].get("input") == "wave" or computed:
            self.wanted = wave_input_of(self.settings["features"], experiment.path / "model.json")
            self.recordings = Recordings(data, self.wanted.rate, **self.audio)
            self._need_decisions(experiment, ["vad.scp"], "steps/make_feats.py and steps/compute_vad.py")
            tables = data.recording_tables(self.voiced)
            self.options = {name: self.audio[name] for name in ("channel", "resample")}
        else:
            for name, given in (("--channel", args.channel is not None), ("--resample", args.resample), ("--allow-cmd", args.allow_cmd)):
                if given:
                    raise Fail(f"{name}: of recordings, but {data / 'feats.scp'} has features that are computed already; leave it out")
            data.feature_tables(voiced=False)
            experiment.check_features(read_json(data / "feats.json"), data / "feats.json")  # first: of other features, decisions are of no use
            self._need_decisions(experiment, ["vad.scp", "vad.json"], "steps/compute_vad.py")
            tables = data.feature_tables(self.voiced)
        if self.voiced and data.has("vad.json"):
            experiment.check_decisions(read_json(data / "vad.json"), data / "vad.json")
        self.inputs = {name: sha256(path) for name, path in tables.items()}
        if self.recordings:
            self.inputs["audio"] = self.recordings.fingerprint(data.utt2spk)

    def _need_decisions(self, experiment, names, steps):
        """Fail where the network wants voiced frames and one of these files, which `steps` make, is not there."""
        what = f"{experiment.path} was trained on voiced frames, which are not decided on here"
        for name in names if self.voiced else ():
            need_file(self.data / name, f"{what}; make it with {steps} {self.data.path}")

    def open(self):
        """-> a Frames or Waves, and the Front between it and the network. Recordings that do not lie in archives are packed first, which is said."""
        from pytorch.data.frames import stored_frames
        from pytorch.data.waves import open_waves
        from pytorch.features.front import Front
        from pytorch.features.online import computed_frames

        if self.recordings is None:
            source = stored_frames(self.data, self.voiced)
        elif self.is_by_utterance():
            source = computed_frames(self.data, self.voiced, self.wanted.options, self.recordings)
        else:
            source = open_waves(self.data, self.wanted, **self.audio)
        return source, Front(self.settings["cmn"], None if source.row_shape else source.wanted.options)

    def is_by_utterance(self):
        """Whether features of recordings are those of whole utterances by name: voiced frames are selected from them, and dither is drawn by the name."""
        return self.voiced or bool(self.settings["features"].get("dither"))
