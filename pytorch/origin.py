"""Where embeddings and scores come from: of which network those are, of what kind these. What is known of both sides must be alike. Light to import."""

from pathlib import Path

from pytorch.files import read_json
from pytorch.program import Fail

NETWORK = ("weights_sha256", "layer", "features")  # of xvector.json: what two sets of embeddings of one network have alike


def network_of(path):
    """What is known of the network behind embeddings (an scp), a back-end (its folder) or the mean.vec in it; {} where nothing is."""
    path = Path(path)
    if path.suffix == ".scp":
        return network_in(_json(path.with_suffix(".json")))
    folder = path.parent if path.name == "mean.vec" else path
    facts = _json(folder / "backend.json")
    return network_in(facts.get("network")) if isinstance(facts, dict) else {}


def network_in(facts):
    """The part of some facts that tells of the network."""
    return {name: facts[name] for name in NETWORK if name in facts} if isinstance(facts, dict) else {}


def check_network(path, network, where, remedy="extract both with one"):
    """Fail where what lies at `path` comes from another network than that of `where`, as far as both are known."""
    if odd := other_network(network_of(path), network):
        raise Fail(f"{path}: of another network than {where} ({odd} of {_teller(path)} differs); {remedy}")


def other_network(one, other):
    """The name of what two networks do not have alike, None where they may be one. Where the weights are known, no layer means the usual one."""
    names = one.keys() & other.keys()
    if "weights_sha256" in names:
        names |= {"layer"}
    return next((name for name in NETWORK if name in names and one.get(name) != other.get(name)), None)


def _teller(path):
    return "xvector.json" if Path(path).suffix == ".scp" else "backend.json"


def _json(path):
    return read_json(path) if path.exists() else {}


# ---- the kind of a score


def score_kind(plda, digests, network, mean=None, smoothing=0.0, length_norm=False, where=None):
    """What scores must have alike to be mapped by one calibration, as a JSON object.

    plda: whether they are a PLDA's, else they are cosines; digests: {file of the back-end: its hash}, {} without one; network: of the embeddings
    mean: hash of what is subtracted, None: nothing; where: the back-end's folder, to be named in messages
    """
    return {
        "scoring": "plda" if plda else "cosine",
        "mean": mean,
        "lda": digests.get("transform.mat"),
        "plda": digests.get("plda") if plda else None,
        "length_norm": bool(length_norm) if plda else None,  # a cosine does not ask for it
        "smoothing": float(smoothing) if plda else None,
        "normalisation": None,
        "network": network,
        "backend": str(where) if where else None,
    }


def ratio_kind(calibration, where):
    """The same of what a calibration made of scores. calibration: its hash; where: its file"""
    return {"scoring": "ratio", "calibration": calibration, "backend": str(where)}


def kind_differences(one, other):
    """Names of what two kinds of scores do not have alike, as far as both are known."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return []
    names = [name for name in one if name in other and name not in ("network", "backend") and one[name] != other[name]]
    return names + ["network"] * bool(other_network(network_in(one.get("network")), network_in(other.get("network"))))


def check_kind(where, kind, path, other):
    """Fail where a calibration `where` of scores of this kind is to be applied to those of `path`, which are of another."""
    if not (odd := kind_differences(kind, other)):
        return
    one, two = words_of(kind), words_of(other)
    alike = f" (not alike: {', '.join(odd)})" if one == two else ""
    raise Fail(f"{where}: of {one}, but the scores of {path} are {two}{alike}; train one on such scores, or take the one that was")


def words_of(kind):
    """What kind of scores these are, in words."""
    place = f" of {kind['backend']}" if kind.get("backend") else ""
    if kind.get("scoring") == "ratio":
        return f"log-likelihood ratios{place}"
    if kind.get("scoring") == "plda":
        words = [f"PLDA scores{place}"] + [f"smoothing {kind.get('smoothing'):g}"] * bool(kind.get("smoothing"))
    else:
        words = ["cosines, the mean " + ("subtracted" if kind.get("mean") else "not subtracted")] + [f"LDA{place}"] * bool(kind.get("lda"))
    normalised = kind.get("normalisation")
    if isinstance(normalised, dict):
        words.append(f"{normalised.get('norm')}-norm by {normalised.get('top_n') or 'all'} {normalised.get('cohort')}")
    return ", ".join(words)
