"""The options of the features, by Kaldi's names; light to import, so that --help is quick."""

from dataclasses import dataclass, field, fields

from pytorch.program import Fail, boolean, count, finite_float, fraction, non_negative_float, positive_float, positive_int

KALDI = ("fbank", "mfcc", "spectrogram")
TORCHAUDIO = ("melspec", "mfsc")
MEL = (*TORCHAUDIO, "sbfbank")
KINDS = (*KALDI, *MEL, "tfmel")
WINDOWS = ("povey", "hamming", "hanning", "sine", "rectangular", "blackman")
FILTERED = ("fbank", "mfcc", *MEL, "tfmel")
ZERO_EDGES = ("sbfbank", "tfmel")  # beyond the edges of a recording lie zeros, elsewhere its reflection
FLOOR = 2.0**-23  # below which Kaldi lets no energy fall before its logarithm


def _option(kind, default, text, of=KINDS, choices=None, **default_of):
    """A field of FeatureOptions and the option of that name.

    of: the features it says something about; default_of: the defaults that differ, by feature
    """
    meta = {"kind": kind, "default": default, "text": text, "of": of, "choices": choices, "default_of": default_of}
    return field(default=None if default_of else default, metadata=meta)


@dataclass(frozen=True)
class FeatureOptions:
    """Settings of one feature set; they travel in feats.json beside feats.scp.

    fbank, mfcc, spectrogram: Kaldi's. Names and meanings are Kaldi's; defaults too, but for dither, which is 0 here (Kaldi: 1.0)
    melspec: torchaudio's MelSpectrogram, of which snip_edges is `center` turned round
    mfsc: the same with the settings of the double-attention systems: magnitudes, Slaney's scale, log(max(1, x))
    sbfbank: SpeechBrain's Fbank: zeros beyond the edges, filters of one width to both sides, decibels of samples between -1 and 1
    tfmel: TFMelBanks of ReDimNet2 and wespeaker: the whole recording at mean 0 and deviation 1, then emphasised; a symmetric window; half a shift of zeros
        beyond the edges; filters over bins without the one at half the sample rate, as if the others reached there; log_floor and its inverse bound powers
    None, where it is the default, becomes the feature's own default.
    """

    feature: str = _option(str, "fbank", "which features", choices=KINDS)
    sample_frequency: float = _option(positive_float, 16000.0, "sample rate of the recordings, Hz; others are refused")
    frame_length: float = _option(positive_float, 25.0, "length of a frame, ms")
    frame_shift: float = _option(positive_float, 10.0, "distance of frames, ms")
    dither: float = _option(non_negative_float, 0.0, "standard deviation of noise added to the samples (Kaldi's default is 1.0)")
    preemphasis_coefficient: float = _option(
        fraction, 0.97, "pre-emphasis, of each frame; of the whole signal for melspec, mfsc, tfmel", of=(*KALDI, *TORCHAUDIO, "tfmel"), melspec=0.0, sbfbank=0.0
    )
    reflect_preemphasis: bool = _option(boolean, False, "take the second sample off the first, not the first itself", of=(*TORCHAUDIO, "tfmel"), tfmel=True)
    normalise_samples: bool = _option(boolean, False, "bring each recording to mean 0 and deviation 1 first", of=(*TORCHAUDIO, "tfmel"), tfmel=True)
    remove_dc_offset: bool = _option(boolean, True, "subtract the mean of each frame", of=KALDI)
    window_type: str = _option(
        str, "povey", "window, periodic for melspec, mfsc, sbfbank", choices=WINDOWS, melspec="hanning", mfsc="hamming", sbfbank="hamming", tfmel="hamming"
    )
    blackman_coeff: float = _option(non_negative_float, 0.42, "constant of the blackman window")
    round_to_power_of_two: bool = _option(boolean, True, "zero-pad frames to a power of two for the FFT", sbfbank=False)
    fft_samples: int = _option(count, 0, "length of the FFT, frames in its middle; 0: of a frame, padded or not", of=(*MEL, "tfmel"))
    snip_edges: bool = _option(
        boolean, True, "only whole frames; false: over the edges too, where samples are reflected, or 0 for sbfbank and tfmel", melspec=False, sbfbank=False,
        tfmel=False,
    )  # fmt: skip
    num_mel_bins: int = _option(positive_int, 23, "number of triangular mel filters", of=FILTERED, melspec=80, mfsc=80, sbfbank=80, tfmel=72)
    low_freq: float = _option(non_negative_float, 20.0, "lower edge of the filters, Hz", of=FILTERED, melspec=0.0, mfsc=0.0, sbfbank=0.0)
    high_freq: float = _option(finite_float, 0.0, "upper edge, Hz; 0 or less: counted from half the sample rate", of=FILTERED, tfmel=7600.0)
    mel_scale: str = _option(str, "htk", "formula of the scale", of=TORCHAUDIO, choices=("htk", "slaney"), mfsc="slaney")
    mel_norm: str = _option(str, "none", "slaney: filters of one area instead of one height", of=TORCHAUDIO, choices=("none", "slaney"))
    vtln_warp: float = _option(positive_float, 1.0, "warp factor of the filters (vocal tract length)", of=("fbank", "mfcc"))
    vtln_low: float = _option(positive_float, 100.0, "lower inflection point of the warping, Hz", of=("fbank", "mfcc"))
    vtln_high: float = _option(finite_float, -500.0, "upper inflection point, Hz; below 0: counted from half the sample rate", of=("fbank", "mfcc"))
    use_energy: bool = _option(boolean, False, "log energy as first column of fbank, in place of C0 of mfcc", of=("fbank", "mfcc"), mfcc=True)
    raw_energy: bool = _option(boolean, True, "energy before pre-emphasis and window", of=KALDI)
    energy_floor: float = _option(non_negative_float, 0.0, "floor of the energy, not its logarithm", of=KALDI)
    use_log_fbank: bool = _option(boolean, True, "take the logarithm", of=("fbank", *TORCHAUDIO))
    log_floor: float = _option(
        positive_float, FLOOR, "floor below the logarithm; tfmel: of powers too, its inverse is their ceiling", of=("fbank", *MEL, "tfmel"), mfsc=1.0,
        sbfbank=1e-10, tfmel=1e-8,
    )  # fmt: skip
    log_offset: float = _option(non_negative_float, 0.0, "added to what the logarithm is taken of", of=TORCHAUDIO)
    top_db: float = _option(positive_float, 80.0, "how far below the loudest value of the utterance any may lie, dB", of=("sbfbank",))
    use_power: bool = _option(boolean, True, "power spectrum; false: magnitudes", of=("fbank", "mfcc", *TORCHAUDIO), mfsc=False)
    num_ceps: int = _option(positive_int, 13, "number of cepstra, C0 included", of=("mfcc",))
    cepstral_lifter: float = _option(non_negative_float, 22.0, "constant of the lifter, 0 for none", of=("mfcc",))
    htk_compat: bool = _option(boolean, False, "energy or C0 in the last column, C0 scaled as HTK does", of=("fbank", "mfcc"))
    min_duration: float = _option(non_negative_float, 0.0, "seconds below which a recording counts as too short for a frame")
    subtract_mean: bool = _option(boolean, False, "subtract from each column its mean over the utterance")
    norm_vars: bool = _option(boolean, False, "divide by the standard deviation too, where it is above 0.01; needs --subtract-mean true")
    delta_order: int = _option(int, 0, "append derivatives in time: 1, of first order; 2, of first and second; after the mean", choices=(0, 1, 2))
    delta_window: int = _option(positive_int, 2, "frames to each side that a derivative is made of")
    seed: int = _option(count, 0, "of the dither; each utterance has its own stream")

    def __post_init__(self):
        for one in fields(self):
            default = one.metadata["default_of"].get(self.feature, one.metadata["default"])
            if getattr(self, one.name) is None:
                object.__setattr__(self, one.name, default)
            if self.feature not in one.metadata["of"] and getattr(self, one.name) != default:
                raise Fail(f"--{one.name.replace('_', '-')}: no option of --feature {self.feature}; leave it out")
        self._check_frames()
        if self.feature != "spectrogram":
            self._check_filters()
        if self.norm_vars and not self.subtract_mean:
            raise Fail("--norm-vars true: needs --subtract-mean true")
        if self.seed >= 1 << 32:
            raise Fail(f"--seed {self.seed}: less than 2^32 is needed")

    def _check_frames(self):
        if self.frame_length < self.frame_shift:
            raise Fail(f"--frame-length {self.frame_length:g}: shorter than --frame-shift {self.frame_shift:g}")
        if self.window_samples % 2 and not self.round_to_power_of_two and self.feature in KALDI:
            raise Fail(f"--frame-length {self.frame_length:g}: {self.window_samples} samples, an even number is needed with --round-to-power-of-two false")
        if self.window_samples < 2 or self.shift_samples < 1:
            raise Fail(f"--frame-length {self.frame_length:g} --frame-shift {self.frame_shift:g}: less than a sample at {self.sample_frequency:g} Hz")
        if 0 < self.fft_samples < self.window_samples:
            raise Fail(f"--fft-samples {self.fft_samples}: less than a frame, which has {self.window_samples} samples")

    def _check_filters(self):
        nyquist = self.sample_frequency / 2
        if not 0 <= self.low_freq < self.top_freq <= nyquist:
            raise Fail(f"--low-freq {self.low_freq:g} --high-freq {self.high_freq:g}: 0 <= low < high <= {nyquist:g} Hz (half of --sample-frequency) is needed")
        if self.num_mel_bins < 4:
            raise Fail(f"--num-mel-bins {self.num_mel_bins}: 4 or more are needed")
        if self.feature == "mfcc" and self.num_ceps > self.num_mel_bins:
            raise Fail(f"--num-ceps {self.num_ceps}: more than --num-mel-bins {self.num_mel_bins}")
        if self.feature == "tfmel" and self.log_floor >= 1:
            raise Fail(f"--log-floor {self.log_floor:g}: less than 1 is needed, for its inverse is the ceiling")
        self.check_warp(self.vtln_warp)

    def check_warp(self, warp):
        """Fail where the filters cannot be warped by this factor."""
        low, high = self.vtln_low, self.vtln_high + (self.sample_frequency / 2 if self.vtln_high < 0 else 0)
        if warp != 1 and not (self.low_freq < low and low * max(1, warp) < high * min(1, warp) and high < self.top_freq):
            edges = f"--vtln-low {low:g} --vtln-high {high:g}"
            raise Fail(f"--vtln-warp {warp:g} {edges}: both must lie, before and after the warping and in this order, inside the filters' edges")

    @property
    def top_freq(self):
        return self.high_freq if self.high_freq > 0 else self.sample_frequency / 2 + self.high_freq

    @property
    def window_samples(self):
        return int(self.sample_frequency * 0.001 * self.frame_length)

    @property
    def shift_samples(self):
        return int(self.sample_frequency * 0.001 * self.frame_shift)

    @property
    def padded_samples(self):
        """Length of the FFT."""
        rounded = 1 << (self.window_samples - 1).bit_length() if self.round_to_power_of_two else self.window_samples
        return self.fft_samples or rounded

    @property
    def static_dim(self):
        """Columns before derivatives are appended."""
        own = {"mfcc": self.num_ceps, "fbank": self.num_mel_bins + self.use_energy, "spectrogram": self.padded_samples // 2 + 1}
        return own.get(self.feature, self.num_mel_bins)

    @property
    def dim(self):
        return self.static_dim * (1 + self.delta_order)

    @property
    def least_samples(self):
        """Of a recording of one frame; each shift more gives another one. 0: one sample is enough, and a shift gives two frames."""
        if self.snip_edges:
            return self.padded_samples if self.feature in MEL else self.window_samples
        if self.feature == "tfmel":
            return self.window_samples + 2 * self.first_sample
        return 0 if self.feature in MEL else self.shift_samples - self.shift_samples // 2

    @property
    def first_sample(self):
        """Where the first frame begins; below 0: before the recording."""
        if self.feature in MEL:
            return (self.padded_samples - self.window_samples) // 2 - (0 if self.snip_edges else self.padded_samples // 2)
        if self.snip_edges:
            return 0
        return self.shift_samples // 2 - self.window_samples // 2 if self.feature in KALDI else -(self.shift_samples // 2)

    def num_frames(self, samples):
        """How many frames `samples` samples give."""
        if samples < max(1, self.least_samples, self.min_duration * self.sample_frequency):
            return 0
        return 1 + (samples - self.least_samples) // self.shift_samples

    def to_json(self):
        """The settings that say something about this feature: what feats.json holds."""
        silent = {
            "blackman_coeff": self.window_type != "blackman",
            "round_to_power_of_two": self.fft_samples > 0,
            "fft_samples": self.fft_samples == 0,
            "vtln_warp": self.vtln_warp == 1,
            "vtln_low": self.vtln_warp == 1,
            "vtln_high": self.vtln_warp == 1,
            "log_floor": not self.use_log_fbank or (self.feature == "fbank" and self.log_floor == FLOOR),  # Kaldi has no such option
            "log_offset": self.log_offset == 0,
            "reflect_preemphasis": not self.reflect_preemphasis and self.feature in TORCHAUDIO,
            "normalise_samples": not self.normalise_samples and self.feature in TORCHAUDIO,
            "htk_compat": not self.htk_compat,
            "min_duration": True,
            "subtract_mean": not self.subtract_mean,
            "norm_vars": not self.norm_vars,
            "delta_order": self.delta_order == 0,
            "delta_window": self.delta_order == 0,
            "seed": self.dither == 0,
        }
        return {one.name: getattr(self, one.name) for one in fields(self) if self.feature in one.metadata["of"] and not silent.get(one.name)}


def add_feature_options(parser):
    """Declare the options above in a parser."""
    for one in fields(FeatureOptions):
        meta = one.metadata
        text = meta["text"] if meta["of"] == KINDS else f"{', '.join(meta['of'])}: {meta['text']}"
        if meta["default_of"]:
            others = "".join(f"; {feature}: {_shown(value)}" for feature, value in meta["default_of"].items())
            text = f"{text} (default: {_shown(meta['default'])}{others})"
        parser.add_argument("--" + one.name.replace("_", "-"), type=meta["kind"], default=one.default, help=text, choices=meta["choices"])


def _shown(value):
    return str(value).lower() if isinstance(value, bool) else value


def feature_options_of(args):
    return FeatureOptions(**{field.name: getattr(args, field.name) for field in fields(FeatureOptions)})


def has_energy_first(settings):
    """Whether column 0 is an energy (or C0) as it was measured, which an energy VAD needs.

    settings: feats.json
    """
    kind = settings.get("feature")
    energy = settings.get("use_energy") or kind in ("mfcc", "spectrogram")
    return bool(energy) and not any(settings.get(name) for name in ("htk_compat", "subtract_mean", "cmn"))
