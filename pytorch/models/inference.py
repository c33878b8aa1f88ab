"""A network as it extracts: the same embeddings to rounding, in fewer passes over memory.

In evaluation a BatchNorm multiplies and adds what it has learnt, so where it follows a convolution directly that can be done to the weights instead, once:
Jacob et al., CVPR 2018, section 3.2. A network that is fused cannot be trained any more, and its state_dict is another.
"""

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fused(model):
    """The model, in evaluation mode, without the norms that directly follow a convolution: those named in `fused_norms` of a module, pairs of attributes
    (a convolution and its norm, or a ModuleList of each), and those behind one another in an nn.Sequential. Changes the model in place."""
    assert not model.training
    for module in list(model.modules()):
        for conv, norm in getattr(module, "fused_norms", ()):
            convs, norms = getattr(module, conv), getattr(module, norm)
            if isinstance(convs, nn.ModuleList):
                for number in range(len(convs)):
                    _fuse(convs, str(number), norms, str(number))
            else:
                _fuse(module, conv, module, norm)
        if isinstance(module, nn.Sequential):
            names = list(module._modules)
            for conv, norm in zip(names, names[1:], strict=False):
                if isinstance(module._modules[conv], (nn.Conv1d, nn.Conv2d)) and isinstance(module._modules[norm], nn.modules.batchnorm._BatchNorm):
                    _fuse(module, conv, module, norm)
    return model


def _fuse(place, conv, norm_place, norm):
    """Put place.conv, with what norm_place.norm does, in place of itself, and the identity in that of the norm."""
    setattr(place, conv, fuse_conv_bn_eval(getattr(place, conv), getattr(norm_place, norm)))
    setattr(norm_place, norm, nn.Identity())
