"""The options of the features, by Kaldi's names; light to import, so that --help is quick."""

from dataclasses import asdict, dataclass, fields

from pytorch.program import Fail, boolean, count, finite_float, non_negative_float, positive_float, positive_int

KINDS = ("fbank", "mfcc")
WINDOWS = ("povey", "hamming", "hanning", "rectangular", "blackman")


@dataclass(frozen=True)
class FeatureOptions:
    """Settings of one feature set; they travel in feats.json beside feats.scp.

    Names and meanings are Kaldi's; defaults too, but for dither, which is 0 here (Kaldi: 1.0).
    """

    feature: str = "fbank"
    sample_frequency: float = 16000.0
    frame_length: float = 25.0
    frame_shift: float = 10.0
    dither: float = 0.0
    preemphasis_coefficient: float = 0.97
    remove_dc_offset: bool = True
    window_type: str = "povey"
    blackman_coeff: float = 0.42
    round_to_power_of_two: bool = True
    snip_edges: bool = True
    num_mel_bins: int = 23
    low_freq: float = 20.0
    high_freq: float = 0.0
    use_energy: bool | None = None  # None: true for mfcc, false for fbank
    raw_energy: bool = True
    energy_floor: float = 0.0
    use_log_fbank: bool = True
    use_power: bool = True
    num_ceps: int = 13
    cepstral_lifter: float = 22.0
    seed: int = 0  # of the dither

    def __post_init__(self):
        if self.use_energy is None:
            object.__setattr__(self, "use_energy", self.feature == "mfcc")
        nyquist = self.sample_frequency / 2
        top = self.high_freq if self.high_freq > 0 else nyquist + self.high_freq
        if not 0 <= self.low_freq < top <= nyquist:
            raise Fail(
                f"--low-freq {self.low_freq:g} --high-freq {self.high_freq:g}: 0 <= low < high <= {nyquist:g} Hz (half of --sample-frequency) is needed"
            )
        if self.feature == "mfcc" and self.num_ceps > self.num_mel_bins:
            raise Fail(f"--num-ceps {self.num_ceps}: more than --num-mel-bins {self.num_mel_bins}")
        if self.frame_length < self.frame_shift:
            raise Fail(f"--frame-length {self.frame_length:g}: shorter than --frame-shift {self.frame_shift:g}")
        if self.num_mel_bins < 4:
            raise Fail(f"--num-mel-bins {self.num_mel_bins}: 4 or more are needed")
        if self.seed >= 1 << 32:
            raise Fail(f"--seed {self.seed}: less than 2^32 is needed")
        if self.window_samples % 2 and not self.round_to_power_of_two:
            raise Fail(f"--frame-length {self.frame_length:g}: {self.window_samples} samples, an even number is needed with --round-to-power-of-two false")
        if self.window_samples < 2 or self.shift_samples < 1:
            raise Fail(f"--frame-length {self.frame_length:g} --frame-shift {self.frame_shift:g}: less than a sample at {self.sample_frequency:g} Hz")

    @property
    def window_samples(self):
        return int(self.sample_frequency * 0.001 * self.frame_length)

    @property
    def shift_samples(self):
        return int(self.sample_frequency * 0.001 * self.frame_shift)

    @property
    def dim(self):
        return self.num_ceps if self.feature == "mfcc" else self.num_mel_bins + self.use_energy

    def num_frames(self, samples):
        """How many frames `samples` samples give."""
        if self.snip_edges:
            return 0 if samples < self.window_samples else 1 + (samples - self.window_samples) // self.shift_samples
        return (samples + self.shift_samples // 2) // self.shift_samples

    def to_json(self):
        """The settings that say something about this feature: what feats.json holds."""
        unused = {"fbank": {"num_ceps", "cepstral_lifter"}, "mfcc": {"use_log_fbank"}}[self.feature]
        if self.window_type != "blackman":
            unused = unused | {"blackman_coeff"}
        if self.dither == 0:
            unused = unused | {"seed"}
        return {name: value for name, value in asdict(self).items() if name not in unused}


def add_feature_options(parser):
    """Declare the options above, with Kaldi's names, in a parser."""
    default = {field.name: field.default for field in fields(FeatureOptions)}

    def add(name, kind, text, **more):
        parser.add_argument("--" + name.replace("_", "-"), type=kind, default=default[name], help=text, **more)

    add("feature", str, "which features", choices=KINDS)
    add("sample_frequency", positive_float, "sample rate of the recordings, Hz; others are refused")
    add("frame_length", positive_float, "length of a frame, ms")
    add("frame_shift", positive_float, "distance of frames, ms")
    add("dither", non_negative_float, "standard deviation of noise added to the samples (Kaldi's default is 1.0)")
    add("seed", count, "of the dither; each utterance has its own stream")
    add("preemphasis_coefficient", non_negative_float, "pre-emphasis")
    add("remove_dc_offset", boolean, "subtract the mean of each frame")
    add("window_type", str, "window", choices=WINDOWS)
    add("blackman_coeff", non_negative_float, "constant of the blackman window")
    add("round_to_power_of_two", boolean, "zero-pad frames to a power of two for the FFT")
    add("snip_edges", boolean, "only whole frames; false: as many frames as shifts, reflected at the edges")
    add("num_mel_bins", positive_int, "number of triangular mel filters")
    add("low_freq", non_negative_float, "lower edge of the filters, Hz")
    add("high_freq", finite_float, "upper edge, Hz; 0 or less: counted from half the sample rate")
    parser.add_argument("--use-energy", type=boolean, help="energy as first fbank column, or in place of C0 (default: true for mfcc, false for fbank)")
    add("raw_energy", boolean, "energy before pre-emphasis and window")
    add("energy_floor", non_negative_float, "floor of the energy, not its logarithm")
    add("use_log_fbank", boolean, "fbank: take the logarithm")
    add("use_power", boolean, "power spectrum; false: magnitudes")
    add("num_ceps", positive_int, "mfcc: number of cepstra, C0 included")
    add("cepstral_lifter", non_negative_float, "mfcc: constant of the lifter, 0 for none")


def feature_options_of(args):
    return FeatureOptions(**{field.name: getattr(args, field.name) for field in fields(FeatureOptions)})
