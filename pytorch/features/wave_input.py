"""What a network is given of recordings: features, or the samples themselves. Light to import."""

from dataclasses import dataclass

from pytorch.arguments import typed
from pytorch.features.options import MEL, FeatureOptions
from pytorch.program import Fail

RAW_SHIFT_SEC = 0.01  # frames by which crops and batches of samples are counted


@dataclass(frozen=True)
class WaveInput:
    """rate: of the recordings, Hz; options: of the features computed from them, FeatureOptions; None: the network takes the samples"""

    rate: float
    options: FeatureOptions | None = None

    @property
    def dim(self):
        """Columns of what the network is given."""
        return 1 if self.options is None else self.options.dim

    @property
    def settings(self):
        """As model.json holds them, and feats.json, for features."""
        return {"input": "wave", "sample_frequency": self.rate} if self.options is None else self.options.to_json()

    def samples(self, num_frames):
        """How many samples a crop of num_frames frames has: as many as give these frames; num_frames * 10 ms where the network takes samples."""
        o = self.options
        if o is None:
            return round(num_frames * RAW_SHIFT_SEC * self.rate)
        if o.snip_edges or o.feature == "tfmel":
            return o.least_samples + (num_frames - 1) * o.shift_samples
        return max(1, (num_frames - 1) * o.shift_samples) if o.feature in MEL else num_frames * o.shift_samples

    def units(self, samples):
        """Of how many frames, or samples, what the network is given of so many samples is long."""
        return samples if self.options is None else self.options.num_frames(samples)


def wave_input_of(features, where):
    """features: of a model.json, or of a feats.json -> WaveInput; where: the file that holds them, for messages."""
    if features.get("input") == "wave":
        return WaveInput(features["sample_frequency"])
    try:
        options = FeatureOptions(**features)
    except TypeError:
        known = FeatureOptions.__dataclass_fields__
        odd = ", ".join(name for name in features if name not in known)
        raise Fail(f"{where}: its features were made with {odd}, which cannot be computed from recordings here; make them by the same steps") from None
    return WaveInput(options.sample_frequency, options)


def raw_input_of(network, args):
    """WaveInput of a network that takes waveforms: of the sample rate it is built for. network: its class; args: of its constructor, as in model.json"""
    return WaveInput(float(typed("--model-args", network.__name__, network, args)["sample_rate"]))
