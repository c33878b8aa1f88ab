"""ReDimNet2 of its authors (github.com/PalabraAI/redimnet2): b0-vox2-lm.pt and the other files of its releases.

Ours is redimnet2 with the `out` and the group_norm that the file tells. Features are those that the network computes itself, see fronts.py: `--feature tfmel`,
the mean of the utterance subtracted. Where maps are pooled without a 1x1 after them, their values come channel by channel there and filter by filter here:
the weights of the pooling are put into our order. `dual_agg`, of the files of vb2+vox2_v0, is not here.
"""

from math import prod

from pytorch.foreign import Network, Peer
from pytorch.foreign.wespeaker import redimnet2, redimnet2_rows
from pytorch.program import Fail

UNKNOWN = ("pad_right_samples", "before_pool_offset", "use_freq_pos_enc", "emb_bn", "dual_agg")  # settings that make it another network


def sizes(shapes):
    odd = [name for name in UNKNOWN if shapes.settings.get(name)] + (["causal"] if shapes.settings.get("causal", "none") not in (False, "none") else [])
    if odd:
        raise Fail(f"{shapes.path}: its settings ask for '{odd[0]}', which is not here")
    groups = shapes.settings.get("agg_gnorm", False)
    if not isinstance(groups, bool) and groups != shapes.of("backbone.stem.0.weight", 4)[0]:
        raise Fail(f"{shapes.path}: its settings ask for norms over {groups!r} groups ('agg_gnorm'), one a channel are here")
    if not isinstance(shapes.settings.get("return_2d_output"), bool):
        raise Fail(f"{shapes.path}: its settings do not say whether it pools maps ('return_2d_output')")
    return redimnet2(shapes)


def by_filter(shapes, tensors):
    """{name: tensor} with the weights of the pooling, and of what follows, in our order"""
    if "backbone.head.weight" in shapes or not shapes.settings["return_2d_output"]:
        return tensors
    channels = shapes.of("backbone.stem.0.weight", 4)[0] * prod(shapes.of(f"backbone.stage{number}.2.weight", 4)[2] for number in range(6))
    filters = shapes.of("backbone.fin_wght1d.w", 4)[2] // channels

    def turned(name, x):
        of_columns = name in ("pool.linear1.weight", "linear.weight")
        if not (of_columns or name.startswith(("pool.linear2.", "bn."))):
            return x
        x = x.transpose(0, 1) if of_columns else x
        if len(x) % (channels * filters):
            raise Fail(f"{shapes.path}: '{name}' is of {len(x)} values, where a multiple of {channels * filters} was expected; damaged")
        x = x.unflatten(0, (-1, channels, filters)).transpose(1, 2).flatten(0, 2)
        return x.transpose(0, 1) if of_columns else x

    return {name: turned(name, x) for name, x in tensors.items()}


PEER = Peer(
    networks={"redimnet2": Network("redimnet2", ("backbone.fin_wght1d.w", "pool.linear1.weight"), redimnet2_rows, sizes, {}, "mean", prepare=by_filter)},
    inside=("state_dict",),
    settings="model_config",
    fronts=("spec.",),
    dead=("backbone.stage0.0.w",),
)
