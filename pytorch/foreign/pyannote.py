"""pyannote.audio's embeddings (github.com/pyannote/pyannote-audio): pytorch_model.bin of pyannote/wespeaker-voxceleb-resnet34-LM and its like.

    theirs                                     ours
    WeSpeakerResNet34, 152, 221, 293           resnet std_eps=0

Features are wespeaker's: 80 mel filters of a Hamming window without dither, the mean of the utterance subtracted. What the file says of tasks and
versions is not looked at. Networks on waveforms (XVectorSincNet, SincTDNN) are not here: data directories hold features.
"""

from pytorch.foreign import Network, Peer
from pytorch.foreign.families import resnet_rows, resnet_sizes
from pytorch.foreign.wespeaker import FEATURES


def resnet(shapes):
    feat_dim, args = resnet_sizes(shapes, "resnet.", "resnet.seg_1")
    return feat_dim, {**args, "std_eps": 0.0}


PEER = Peer(
    networks={
        "wespeaker_resnet": Network("resnet", ("resnet.seg_1.weight",), (*resnet_rows("resnet."), ("resnet.seg_1.*", "embedding.*")), resnet, FEATURES, "mean")
    },
    inside=("state_dict",),
    classes=(
        "pyannote.audio.core.task.Specifications",
        "pyannote.audio.core.task.Problem",
        "pyannote.audio.core.task.Resolution",
        "torch.torch_version.TorchVersion",
    ),
)
