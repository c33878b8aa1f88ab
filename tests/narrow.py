"""A narrow network of each kind, and something for it to take."""

import torch

from pytorch.models import build_model

SMALL = {  # the narrow one of each: columns of its features, arguments
    "xvector": (12, {"frame_dim": 8, "stats_dim": 12, "embed_dim": 8}),
    "xvector_wide": (12, {"frame_dim": 8, "stats_dim": 12, "embed_dim": 8}),
    "etdnn": (12, {"frame_dim": 8, "stats_dim": 12, "embed_dim": 8}),
    "ftdnn": (12, {"first_dim": 8, "frame_dim": 8, "inner_dim": 4, "stats_dim": 12, "embed_dim": 8}),
    "ecapa": (12, {"channels": 16, "out_dim": 16, "embed_dim": 8, "parts": 4, "se_dim": 4, "attention_dim": 8}),
    "resnet": (12, {"depth": 18, "width": 4, "embed_dim": 8}),
    "campplus": (12, {"front_dim": 4, "channels": 8, "growth": 4, "layer_dim": 8, "blocks": "2,3,2", "embed_dim": 8}),
    "eres2netv2": (12, {"width": 4, "base_width": 32, "embed_dim": 8}),
    "redimnet": (24, {"size": "b0", "channels": 4, "embed_dim": 8}),
    "redimnet2": (16, {"size": "b0", "channels": 4, "embed_dim": 8}),
    "mfa_conformer": (12, {"blocks": 2, "dim": 8, "heads": 2, "feedforward_dim": 16, "kernel": 5, "embed_dim": 8, "attention_dim": 8}),
    "vgg3l": (12, {"channels": 16, "heads": 4, "embed_dim": 8}),
    "vgg4l": (12, {"channels": 16, "heads": 4, "embed_dim": 8}),
    "sinctdnn": (1, {"stride": 10, "sinc_dim": 8, "conv_dim": 8, "frame_dim": 8, "stats_dim": 12, "embed_dim": 8}),
    "xvector_sincnet": (1, {"stride": 10, "sinc_dim": 8, "conv_dim": 8, "frame_dim": 8, "stats_dim": 12, "embed_dim": 8}),
    "xvector_mfcc": (1, {"num_ceps": 10, "frame_dim": 8, "stats_dim": 12, "embed_dim": 8}),
    "cnn_transformer": (32, {"channels": 4, "layers": 2, "feedforward_dim": 16}),
    "image_resnet": (12, {"width": 4}),
    "age_resnet": (12, {"channels": 32, "heads": 4, "embed_dim": 8}),
    "gelu_resnet": (16, {"channels": 32, "embed_dim": 8}),
}
WITHOUT_NORMS = ("vgg3l", "vgg4l", "sinctdnn")  # between their layers


def small(name, more=None):
    torch.manual_seed(0)
    feat_dim, args = SMALL[name]
    return build_model(name, feat_dim, {**args, **(more or {})})


def trained(name, more=None):
    """A narrow network in evaluation mode through which signals pass: statistics of what comes, weights of He's size where there are no norms."""
    network = small(name, more)
    with torch.no_grad():
        for weight in network.parameters():
            weight.mul_(6**0.5 if weight.dim() > 1 and name in WITHOUT_NORMS else 1)
    for norm in network.modules():
        if isinstance(norm, torch.nn.modules.batchnorm._BatchNorm):
            norm.momentum = None  # an average of all batches
    network.train()
    with torch.no_grad():
        for _ in range(4):
            network(inputs(name, network, 8, network.min_frames + more_frames(network, 40)))
    return network.eval()


def inputs(name, network, batch, length):
    """What the network takes, utterances of different loudness; lengths of waveforms are scaled up."""
    feat_dim = SMALL[name][0]
    x = torch.randn(batch, length, feat_dim) + torch.arange(float(batch))[:, None, None] * torch.randn(feat_dim)
    return 1000 * x if network.input == "wave" else x


def more_frames(network, few):
    """So many frames, or as many as that of samples."""
    return few * 100 if network.input == "wave" else few
