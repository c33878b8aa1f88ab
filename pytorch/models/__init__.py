"""The networks: one file each. MODELS says which there are; a network is imported when it is built.

What every network has: embed(x, lengths=None) -> (B, embed_dim); forward(x), what the loss classifies; and the attributes
    input           "feats": x is (B, T, feat_dim); "wave": (B, samples, 1) in the range of 16-bit integers, feat_dim 1, frames being samples
    min_frames      the least T, below which there is nothing to embed
    embed_dim       columns of an embedding
    masks_padding   whether embeddings of a padded batch, given lengths, are those one by one; else batches need utterances of one length
    outputs         where there are several layers to take embeddings from: their names; `output` is the one embed gives
"""

import importlib

from pytorch.arguments import parse_pairs, typed

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
}


def build_model(name, feat_dim, args):
    """Build the network `name` for features of `feat_dim` columns; args: {argument of its constructor: str or value}."""
    constructor = network_class(name)
    return constructor(feat_dim, **typed("--model-args", name, constructor, args))


def network_class(name):
    """The class of a network: what it takes (`input`) can be asked before it is built."""
    file, cls = MODELS[name]
    return getattr(importlib.import_module(f"pytorch.models.{file}"), cls)


def parse_model_args(text):
    """'width=128 stats=true' -> {'width': '128', 'stats': 'true'}"""
    return parse_pairs("--model-args", text)
