"""The networks: one file each. MODELS says which there are; a network is imported when it is built.

What every network has: embed(x, lengths=None, layer=None) -> (B, embed_dim); forward(x, lengths=None), what the loss classifies; and the attributes
    input           "feats": x is (B, T, feat_dim); "wave": (B, samples, 1) in the range of 16-bit integers, feat_dim 1, frames being samples
    min_frames      the least T, below which there is nothing to embed
    embed_dim       columns of an embedding
    masks_padding   whether a padded batch, given lengths, comes out as its utterances one by one; else batches need utterances of one length
    layers          names of the layers that embed can give: "embedding", where there is one; several are told apart by their names in the paper.
                    The segments of x-vector networks are taken before their non-linearity. What a loss makes of an embedding is the loss' (scores)
    output          the one of them that it gives where none is named
"""

import importlib

from pytorch.arguments import parse_pairs, typed
from pytorch.program import Fail

MODELS = {  # name: (file, class)
    "xvector": ("xvector", "XVector"),
    "xvector_wide": ("xvector_wide", "WideXVector"),
    "etdnn": ("etdnn", "ETdnn"),
    "ftdnn": ("ftdnn", "FTdnn"),
    "ecapa": ("ecapa", "Ecapa"),
    "resnet": ("resnet", "ResNet"),
    "campplus": ("campplus", "CamPlusPlus"),
    "eres2netv2": ("eres2netv2", "ERes2NetV2"),
    "redimnet": ("redimnet", "ReDimNet"),
    "redimnet2": ("redimnet", "ReDimNet2"),
    "mfa_conformer": ("mfa_conformer", "MfaConformer"),
    "vgg3l": ("vgg", "VGG3L"),
    "vgg4l": ("vgg", "VGG4L"),
    "sinctdnn": ("sinctdnn", "SincTDNN"),
    "xvector_sincnet": ("sinctdnn", "XVectorSincNet"),
    "xvector_mfcc": ("sinctdnn", "XVectorMFCC"),
    "cnn_transformer": ("cnn_transformer", "CnnTransformer"),
    "image_resnet": ("image_resnet", "ImageResNet"),
    "age_resnet": ("age_resnet", "AgeResNet"),
    "gelu_resnet": ("gelu_resnet", "GeluResNet"),
}

ON_WAVES = ("sinctdnn", "xvector_sincnet", "xvector_mfcc")  # whose input is "wave", to be known without importing them


def build_model(name, feat_dim, args):
    """Build the network `name` for features of `feat_dim` columns; args: {argument of its constructor: str or value}."""
    constructor = network_class(name)
    return constructor(feat_dim, **typed("--model-args", name, constructor, args))


def network_class(name):
    """The class of a network: what it takes (`input`) can be asked before it is built."""
    file, cls = MODELS[name]
    return getattr(importlib.import_module(f"pytorch.models.{file}"), cls)


def check_layer(model, layer, option="--layer"):
    """Fail unless `layer` is None or one of those that the network's embed can give."""
    if layer not in (None, *model.layers):
        raise Fail(f"{option} {layer}: {', '.join(model.layers)} {'are' if len(model.layers) > 1 else 'is'} what embeddings can be taken from")


def parse_model_args(text):
    """'width=128 stats=true' -> {'width': '128', 'stats': 'true'}"""
    return parse_pairs("--model-args", text)
