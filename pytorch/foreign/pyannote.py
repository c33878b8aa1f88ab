"""pyannote.audio's embeddings (github.com/pyannote/pyannote-audio): pytorch_model.bin of pyannote/wespeaker-voxceleb-resnet34-LM, pyannote/embedding and
their like; NNNN.pt of trainings with pyannote.audio 1.1.

    theirs                                     ours
    WeSpeakerResNet34, 152, 221, 293           resnet std_eps=0
    XVectorSincNet, XVectorMFCC                xvector_sincnet, xvector_mfcc
    SincTDNN of 1.1                            sinctdnn

Features are wespeaker's: 80 mel filters of a Hamming window without dither, the mean of the utterance subtracted; the last three take waveforms of
16 kHz. What the file says of tasks, versions and settings is not looked at: the stride of the sinc filters is 10 in XVectorSincNet and 5 in SincTDNN,
unless --model-args stride=N says otherwise; `scale=unit`, which has no weights, must be said too. segment7 of SincTDNN, which embeddings do not depend
on, is left out.
"""

from pytorch.foreign import Network, Peer
from pytorch.foreign.families import resnet_rows, resnet_sizes
from pytorch.foreign.wespeaker import FEATURES

TAIL = (("tdnns.<i>.*", "tdnn.<i>.*"), ("embedding.*", "embedding.*"))
SINCNET = (
    ("sincnet.wav_norm1d.*", "sincnet.waveform_norm.*"),
    ("sincnet.conv1d.0.filterbank.low_hz_", "sincnet.filters.low_hz", lambda x: x.flatten()),
    ("sincnet.conv1d.0.filterbank.band_hz_", "sincnet.filters.band_hz", lambda x: x.flatten()),
    ("sincnet.conv1d.<i+1>.*", "sincnet.convs.<i>.*"),
    ("sincnet.norm1d.<i>.*", "sincnet.norms.<i>.*"),
)
MFCC = (("mfcc.dct_mat", "mfcc.dct_mat"), ("mfcc.MelSpectrogram.mel_scale.fb", "mfcc.MelSpectrogram.mel_scale.fb"))
SINCTDNN = (
    ("sincnet_.waveform_normalize_.*", "sincnet.waveform_norm.*"),
    ("sincnet_.conv1d_.0.low_hz_", "sincnet.filters.low_hz", lambda x: x.flatten()),
    ("sincnet_.conv1d_.0.band_hz_", "sincnet.filters.band_hz", lambda x: x.flatten()),
    ("sincnet_.conv1d_.<i+1>.*", "sincnet.convs.<i>.*"),
    ("sincnet_.instance_norm1d_.<i>.*", "sincnet.norms.<i>.*"),
    ("tdnn_.tdnn.<i>.temporal_conv.weight_g", "tdnn.<i>.parametrizations.weight.original0"),
    ("tdnn_.tdnn.<i>.temporal_conv.weight_v", "tdnn.<i>.parametrizations.weight.original1"),
    ("tdnn_.tdnn.<i>.temporal_conv.bias", "tdnn.<i>.bias"),
    ("tdnn_.segment6.*", "segment6.*"),
    ("embedding_.batch_normalize_.*", "normalise.*"),
    ("embedding_.scaling.batch_norm.*", "length_norm.*"),
)


def resnet(shapes):
    feat_dim, args = resnet_sizes(shapes, "resnet.", "resnet.seg_1")
    return feat_dim, {**args, "std_eps": 0.0}


def _tdnn_sizes(shapes, first, last, embedding):
    return {"frame_dim": shapes.of(first, 3)[0], "stats_dim": shapes.of(last, 3)[0], "embed_dim": shapes.of(embedding, 2)[0]}


def xvector_sincnet(shapes):
    sinc = {"sinc_dim": 2 * shapes.of("sincnet.conv1d.0.filterbank.low_hz_", 2)[0], "conv_dim": shapes.of("sincnet.conv1d.1.weight", 3)[0]}
    return 1, {**sinc, **_tdnn_sizes(shapes, "tdnns.0.weight", "tdnns.12.weight", "embedding.weight")}


def xvector_mfcc(shapes):
    return 1, {"num_ceps": shapes.of("mfcc.dct_mat", 2)[1], **_tdnn_sizes(shapes, "tdnns.0.weight", "tdnns.12.weight", "embedding.weight")}


def sinctdnn(shapes):
    first, last = ("tdnn_.tdnn.0.temporal_conv.weight_v", "tdnn_.tdnn.4.temporal_conv.weight_v")
    return 1, {
        "sinc_dim": shapes.of("sincnet_.conv1d_.0.low_hz_", 2)[0],
        "conv_dim": shapes.of("sincnet_.conv1d_.1.weight", 3)[0],
        **_tdnn_sizes(shapes, first, last, "tdnn_.segment6.weight"),
        "waveform_normalize": "sincnet_.waveform_normalize_.weight" in shapes,
        "instance_normalize": "sincnet_.instance_norm1d_.0.weight" in shapes,
        "batch_normalize": "embedding_.batch_normalize_.running_mean" in shapes,
        "scale": "logistic" if "embedding_.scaling.batch_norm.weight" in shapes else "none",
    }


PEER = Peer(
    networks={
        "wespeaker_resnet": Network("resnet", ("resnet.seg_1.weight",), (*resnet_rows("resnet."), ("resnet.seg_1.*", "embedding.*")), resnet, FEATURES, "mean"),
        "xvector_sincnet": Network("xvector_sincnet", ("sincnet.conv1d.0.filterbank.low_hz_", "tdnns.0.weight"), SINCNET + TAIL, xvector_sincnet, None, "none"),
        "xvector_mfcc": Network("xvector_mfcc", ("mfcc.dct_mat", "tdnns.0.weight"), MFCC + TAIL, xvector_mfcc, None, "none"),
        "sinctdnn": Network("sinctdnn", ("sincnet_.conv1d_.0.low_hz_", "tdnn_.segment6.weight"), SINCTDNN, sinctdnn, None, "none"),
    },
    inside=("state_dict",),
    bare=True,
    dead=(
        "sincnet.conv1d.0.filterbank.window_",
        "sincnet.conv1d.0.filterbank.n_",
        "mfcc.MelSpectrogram.spectrogram.window",
        "tdnn_.segment7.*",
        "linear_.*",
        "loss_func.**",
        "validation_metric.**",
    ),
    classes=(
        "pyannote.audio.core.task.Specifications",
        "pyannote.audio.core.task.Problem",
        "pyannote.audio.core.task.Resolution",
        "torch.torch_version.TorchVersion",
    ),
)
