"""Features that networks of others compute themselves: told by the tensors of their front ends, and refused where our filters and window are not theirs.

    theirs                                        ours
    TFMelBanks (wespeaker's `frontend: tfmel`)    --feature tfmel
    MelBanks (`feat_type: pt`)                    --feature melspec, normalised and emphasised as theirs

What no tensor tells, the shift and whether samples are normalised, is in the settings that the files of ReDimNet2's authors hold. wespeaker's hold none:
they are taken to be of its recipe, which normalises and has a frame each 10 ms.
"""

from pytorch.foreign import Shapes
from pytorch.program import Fail

TF, PT = "torchfbank.2.melbanks_pt", "torchfbank.2.mel_scale.fb"
EMPHASIS = "torchfbank.1.flipped_filter"
NAMES = {  # of the filters: all that the front end holds
    TF: (TF, EMPHASIS, "torchfbank.2.real_kernel_pt", "torchfbank.2.image_kernel_pt"),
    PT: (PT, EMPHASIS, "torchfbank.2.spectrogram.window"),
}


def features_of(shapes, tensors, feat_dim):
    """shapes: Shapes of the file, with its settings; tensors: {name: tensor} of the front end -> options of FeatureOptions but for num_mel_bins"""
    from pytorch.features.kaldi import window_of
    from pytorch.features.mel import mel_banks
    from pytorch.features.options import FeatureOptions

    path, kind = shapes.path, next((kind for kind in NAMES if kind in tensors), None)
    odd = [name for name in tensors if name not in NAMES.get(kind, ())]
    if odd or kind is None:
        how = f"with '{odd[0]}'" if odd else "but holds no filters"
        raise Fail(f"{path}: computes features {how}; they cannot be made here")
    front = Shapes(path, tensors)
    window, filters, fft = _measured(front, tensors, kind)
    options = _options(path, kind, shapes.settings, len(window), fft, _emphasis(front, tensors))
    try:
        made = FeatureOptions(**options, num_mel_bins=feat_dim)
    except Fail as error:
        raise Fail(f"{path}: its features cannot be made here: {error}") from None
    scale = 1 if made.normalise_samples or kind == PT else 2**15  # of the window: for samples between -1 and 1
    for name, ours, theirs in (("filters are", mel_banks(made), filters), ("window is", window_of(made) * scale, window)):
        if ours.shape != theirs.shape or (ours - theirs).abs().max() > 1e-3:  # half precision has this much
            raise Fail(f"{path}: computes features whose {name} not as {made.feature}'s here, with {feat_dim} filters; they cannot be made")
    return options


def _measured(front, tensors, kind):
    """-> window, filters (bins, columns), length of the FFT"""
    if kind == PT:
        (_,), (bins, _) = front.of("torchfbank.2.spectrogram.window", 1), front.of(PT, 2)
        return tensors["torchfbank.2.spectrogram.window"], tensors[PT], 2 * bins - 2
    bins, *_ = front.of("torchfbank.2.real_kernel_pt", 3)
    front.of(TF, 3)
    return tensors["torchfbank.2.real_kernel_pt"][0, 0], tensors[TF][:, :, 0].T, 2 * bins  # the wave of 0 Hz has the window's shape


def _emphasis(front, tensors):
    """-> coefficient of the pre-emphasis"""
    if EMPHASIS not in front:
        return 0.0
    front.of(EMPHASIS, 3)
    before, own = tensors[EMPHASIS].flatten()[[0, -1]].tolist()
    if not -1 < before <= 0 or own != 1:
        raise Fail(f"{front.path}: '{EMPHASIS}' is no pre-emphasis; damaged, or of another version")
    return round(-before, 3)


def _options(path, kind, settings, window, fft, emphasis):
    spec = settings.get("spec_params") if settings else {"norm_signal": True}
    if not isinstance(spec, dict):
        raise Fail(f"{path}: its settings do not say how features are computed ('spec_params')")
    if spec.get("spec_norm", "mn") != "mn":
        raise Fail(f"{path}: its features are normalised by '{spec['spec_norm']}', not by their mean, which is not done here")

    def number(values, name, default):
        value = values.get(name, default)
        if not isinstance(value, int | float) or not 0 < value < 1e6:
            raise Fail(f"{path}: its settings hold {name} {value!r}, where a number was expected")
        return value

    rate = number(spec, "sample_rate", 16000)
    normalise = bool(spec.get("norm_signal", False))
    options = {
        "feature": "tfmel" if kind == TF else "melspec", "sample_frequency": float(rate), "frame_length": 1000 * window / rate,
        "frame_shift": 1000 * number(settings, "hop_length", 160) / rate, "window_type": "hamming", "normalise_samples": normalise, "reflect_preemphasis": True,
        "low_freq": float(number(spec, "f_min", 20)), "high_freq": float(number(spec, "f_max", 7600)),
        "preemphasis_coefficient": emphasis,
    }  # fmt: skip
    if fft != 1 << max(0, window - 1).bit_length():
        options["fft_samples"] = fft
    if kind == TF:
        return {**options, "log_floor": float(number(spec, "eps", 1e-8))}
    return {**options, "log_offset": 1e-6 * (1 if normalise else 2**30)}
