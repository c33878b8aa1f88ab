"""pytorch/origin.py and its callers: means, back-ends and cohorts of another network, and calibrations of other scores, are refused."""

import json
import shutil

import numpy as np
import pytest
import soundfile
from experiments import call, write_experiment
from support import failure

from pytorch.backend.calibration import Calibration
from pytorch.data.ark import ArkWriter
from pytorch.data.data_dir import write_data_dir
from pytorch.extractor import Extractor
from pytorch.features.options import FeatureOptions
from pytorch.files import sha256, write_json
from pytorch.origin import kind_differences, network_of, other_network
from pytorch.package import PACKAGE, read_facts, read_tensors, write_checked
from pytorch.scoring import kind_of_scores

PACK = "../utils/package_model"
DIM = 6  # of the network's embeddings


def write_set(folder, prefix, seed, network="x", speakers=12, utts=4):
    """Embeddings of a few speakers with the xvector.json of a network, their data directory and trials of all pairs."""
    chance, table = np.random.default_rng(seed), {}
    folder.mkdir(parents=True)
    for spk in range(speakers):
        own = chance.normal(size=DIM) * 2 + 5
        table |= {f"{prefix}{spk:02d}-{utt}": (own + chance.normal(size=DIM)).astype(np.float32) for utt in range(utts)}
    with ArkWriter(folder / "xvector.ark", folder / "xvector.scp") as ark:
        for utt, vector in table.items():
            ark.write(utt, vector)
    write_data_dir(folder, dict.fromkeys(table, "x"), {utt: utt.partition("-")[0] for utt in table})
    pairs = [(one, other) for one in table for other in table if one < other]
    (folder / "trials").write_text("".join(f"{a} {b} {'target' if a[:3] == b[:3] else 'nontarget'}\n" for a, b in pairs))
    of_network(folder, network)


def of_network(folder, network, **more):
    write_json(folder / "xvector.json", {"weights_sha256": network, "features": {"feature": "fbank"}, "inputs": str(folder), **more})


@pytest.fixture
def home(tmp_path):
    """train, valid and test of the network x; other: of the network y."""
    for number, name in enumerate(("train", "valid", "test", "other")):
        write_set(tmp_path / name, "abcd"[number], number, "y" if name == "other" else "x")
    return tmp_path


def backend_of(home, name="train", folder="b"):
    call("train_backend", "--lda-dim", 3, home / name, home / name / "xvector.scp", home / folder)
    return home / folder


def score(home, name, out, *words, plda=None):
    first = ("score_plda", plda) if plda else ("score_cosine",)
    call(*first, *words, home / name / "trials", home / name / "xvector.scp", home / name / out)
    return home / name / out


def calibrate(home, scores, name="cal.json"):
    call("train_calibration", home / "valid/trials", scores, home / name)
    return home / name


def apply(home, calibration, scores):
    """To a file of its own for each pair: a step that has failed in this process may hold its lock."""
    return call("apply_calibration", calibration, home / "test/trials", scores, home / f"test/llrs_{calibration.stem}_{scores.name}")


# ---- networks


@pytest.mark.parametrize(
    ("words", "at"),
    [
        (("score_cosine", "--mean", "{t}/other/xvector.scp", "{t}/test/trials", "{t}/test/xvector.scp", "{t}/s"), "{t}/other/xvector.scp"),
        (("score_cosine", "--mean", "{t}/b/mean.vec", "{t}/test/trials", "{t}/test/xvector.scp", "{t}/s"), "{t}/b/mean.vec"),
        (("score_cosine", "--backend", "{t}/b", "{t}/test/trials", "{t}/test/xvector.scp", "{t}/s"), "{t}/b"),
        (("score_plda", "{t}/b", "{t}/test/trials", "{t}/test/xvector.scp", "{t}/s"), "{t}/b"),
        (("score_cosine", "--enrol", "{t}/other/xvector.scp", "{t}/test/trials", "{t}/test/xvector.scp", "{t}/s"), "{t}/other/xvector.scp"),
    ],
)
def test_what_is_of_another_network_than_the_embeddings_scores_nothing(home, words, at):
    backend_of(home, "other")
    message = failure(call, *(word.format(t=home) for word in words))
    file = "xvector" if at.endswith("scp") else "backend"
    remedy = "train one of this network" if at.endswith("/b") else "extract both with one"
    assert message == f"{at.format(t=home)}: of another network than {home}/test/xvector.scp (weights_sha256 of {file}.json differs); {remedy}"
    assert not (home / "s").exists()


def test_a_cohort_of_another_network_is_refused(home):
    scores = score(home, "test", "s")
    message = failure(call, "normalise_scores", "--top-n", 5, scores, home / "other", home / "other/xvector.scp", home / "test/n")
    where = f"{home}/other/xvector.scp: of another network than {home}/test/xvector.scp"
    assert message == f"{where} (weights_sha256 of xvector.json differs); extract both with one"


def test_a_back_end_knows_its_network_and_is_adapted_to_embeddings_of_it_alone(home):
    backend = backend_of(home)
    assert network_of(backend) == network_of(backend / "mean.vec") == {"weights_sha256": "x", "features": {"feature": "fbank"}}
    call("adapt_backend", backend, home / "test/xvector.scp", home / "b2")
    assert network_of(home / "b2") == network_of(backend)
    message = failure(call, "adapt_backend", backend, home / "other/xvector.scp", home / "b3")
    what = "(weights_sha256 of xvector.json differs); adapt it to embeddings of its own"
    assert message == f"{home}/other/xvector.scp: of another network than {backend} {what}"


def test_where_a_side_does_not_know_its_network_it_is_taken(home):
    backend = backend_of(home, "other")
    (home / "test/xvector.json").unlink()
    score(home, "test", "s", plda=backend)
    of_network(home / "test", "x")
    kaldis = home / "kaldi"
    kaldis.mkdir()
    for name in ("mean.vec", "transform.mat", "plda"):
        shutil.copy(backend / name, kaldis)
    score(home, "test", "s2", plda=kaldis)
    score(home, "test", "s3", "--mean", kaldis / "mean.vec")


def test_another_layer_is_another_network():
    one = {"weights_sha256": "x", "features": {}}
    assert other_network(one, one | {"layer": "fc2"}) == "layer"
    assert other_network(one | {"layer": "fc2"}, one | {"layer": "fc2"}) is None
    assert other_network({}, one) is None
    assert other_network({"features": {}}, one | {"layer": "fc2"}) is None


# ---- kinds of scores


KINDS = {
    "raw": "cosines, the mean not subtracted",
    "mean": "cosines, the mean subtracted",
    "lda": "cosines, the mean subtracted, LDA of {t}/b",
    "plda": "PLDA scores of {t}/b",
    "smooth": "PLDA scores of {t}/b, smoothing 0.1",
    "norm": "cosines, the mean subtracted, s-norm by 5 speakers",
}


def of_kind(home, kind, name):
    """Scores of this kind of the set `name`."""
    if kind == "norm":
        scores = score(home, name, "mean_of_norm", "--mean", home / "train/xvector.scp")
        call("normalise_scores", "--top-n", 5, scores, home / "train", home / "train/xvector.scp", home / name / "norm")
        return home / name / "norm"
    words = {"mean": ("--mean", home / "train/xvector.scp"), "lda": ("--backend", home / "b"), "smooth": ("--smoothing", 0.1)}.get(kind, ())
    return score(home, name, kind, *words, plda=home / "b" if kind in ("plda", "smooth") else None)


def test_a_calibration_is_applied_to_scores_of_its_kind_and_refused_for_all_others(home):
    backend_of(home)
    calibrations = {kind: calibrate(home, of_kind(home, kind, "valid"), f"{kind}.json") for kind in KINDS}
    scores = {kind: of_kind(home, kind, "test") for kind in KINDS}
    for kind, calibration in calibrations.items():
        call("apply_calibration", calibration, home / "test/trials", scores[kind], home / f"test/{kind}_own")
        for other in KINDS.keys() - {kind}:
            one, two = KINDS[kind].format(t=home), KINDS[other].format(t=home)
            what = "train one on such scores, or take the one that was"
            assert failure(apply, home, calibration, scores[other]) == f"{calibration}: of {one}, but the scores of {scores[other]} are {two}; {what}"
    assert not list(home.glob("test/llrs*"))


def test_a_calibration_of_another_mean_back_end_cohort_or_network_is_refused(home):
    def refused(scores, calibration):
        return failure(apply, home, calibration, scores).partition("(not alike: ")[2].partition(")")[0]

    cal = calibrate(home, score(home, "valid", "m", "--mean", home / "train/xvector.scp"))
    assert refused(score(home, "test", "m", "--mean", home / "valid/xvector.scp"), cal) == "mean"
    backend = backend_of(home)
    cal = calibrate(home, score(home, "valid", "p", plda=backend), "plda.json")
    shutil.move(backend, home / "first")
    call("train_backend", "--lda-dim", 2, home / "train", home / "train/xvector.scp", backend)
    assert refused(score(home, "test", "p", plda=backend), cal) == "lda, plda"
    cal = calibrate(home, of_kind(home, "norm", "valid"), "norm.json")
    scores = of_kind(home, "mean", "test")
    call("normalise_scores", "--top-n", 5, scores, home / "valid", home / "valid/xvector.scp", home / "test/norm")
    assert refused(home / "test/norm", cal) == "normalisation"
    cal = calibrate(home, score(home, "valid", "r"), "raw.json")
    of_network(home / "test", "z")
    assert refused(score(home, "test", "r"), cal) == "network"


def test_scores_of_other_programs_are_calibrated_as_ever(home):
    ours = {name: score(home, name, "s") for name in ("valid", "test")}
    foreign = {name: shutil.copy(path, path.with_name("f")) for name, path in ours.items()}
    apply(home, calibrate(home, foreign["valid"]), ours["test"])
    call("apply_calibration", calibrate(home, ours["valid"], "ours.json"), home / "test/trials", foreign["test"], home / "test/other")
    (home / "test/f.json").write_text("of somebody else\n")
    assert kind_of_scores(home / "test/f") is None
    shutil.copy(home / "test/s.json", home / "test/f.json")
    assert kind_of_scores(home / "test/f") == kind_of_scores(home / "test/s")
    (home / "test/f").write_text("a b 1\n")  # not what that file tells of
    assert kind_of_scores(home / "test/f") is None


def test_what_is_calibrated_already_is_not_calibrated_again(home):
    cal = calibrate(home, of_kind(home, "raw", "valid"))
    raw = of_kind(home, "raw", "test")
    call("apply_calibration", cal, home / "test/trials", raw, home / "test/llrs")
    assert kind_of_scores(home / "test/llrs")["scoring"] == "ratio"
    message = failure(call, "apply_calibration", cal, home / "test/trials", home / "test/llrs", home / "test/again")
    what = "train one on such scores, or take the one that was"
    assert message == f"{cal}: of {KINDS['raw']}, but the scores of {home}/test/llrs are log-likelihood ratios of {cal}; {what}"
    call("apply_calibration", cal, home / "valid/trials", home / "valid/raw", home / "valid/llrs")
    second = calibrate(home, home / "valid/llrs", "second.json")
    call("apply_calibration", second, home / "test/trials", home / "test/llrs", home / "test/again")
    assert failure(apply, home, second, raw).startswith(f"{second}: of log-likelihood ratios of {cal}, but the scores of {raw} are {KINDS['raw']}; ")
    message = failure(call, "normalise_scores", "--top-n", 5, home / "test/llrs", home / "train", home / "train/xvector.scp", home / "test/n")
    assert "only their scores can be normalised" in message


def test_means_of_speakers_know_their_network(home):
    call("average_speakers", home / "other", home / "other/xvector.scp", home / "means")
    assert network_of(home / "means/spk_xvector.scp") == network_of(home / "other/xvector.scp") != {}
    (home / "test/spk_trials").write_text("d00 c00-0 target\nd01 c00-0 nontarget\n")
    words = ("--enrol", home / "means/spk_xvector.scp", home / "test/spk_trials", home / "test/xvector.scp", home / "test/s")
    assert failure(call, "score_cosine", *words).startswith(f"{home}/means/spk_xvector.scp: of another network than {home}/test/xvector.scp ")


def test_of_a_fusion_each_system_must_be_of_its_kind(home):
    raw, mean = ({name: of_kind(home, kind, name) for name in ("valid", "test")} for kind in ("raw", "mean"))
    call("train_calibration", home / "valid/trials", f"a={raw['valid']}", f"b={mean['valid']}", home / "fusion.json")
    call("apply_calibration", home / "fusion.json", home / "test/trials", f"b={mean['test']}", f"a={raw['test']}", home / "test/fused")
    swapped = (f"a={mean['test']}", f"b={raw['test']}")
    message = failure(call, "apply_calibration", home / "fusion.json", home / "test/trials", *swapped, home / "test/llrs")
    assert message.startswith(f"{home}/fusion.json: of {KINDS['raw']}, but the scores of {mean['test']} are {KINDS['mean']}; ")


def test_kinds_that_are_not_known_do_not_differ():
    assert kind_differences(None, {"scoring": "plda"}) == kind_differences("x", None) == kind_differences({"scoring": "plda"}, {"mean": None}) == []


def test_a_calibration_whose_facts_are_none_is_refused(tmp_path):
    Calibration(["scores"], [], [1.0], 0.0, 0.5, {}).save(tmp_path / "c.json")
    assert Calibration.load(tmp_path / "c.json").kind("scores") is None
    write_json(tmp_path / "c.json", json.loads((tmp_path / "c.json").read_text()) | {"facts": []})
    assert failure(Calibration.load, tmp_path / "c.json") == f"{tmp_path}/c.json: no calibration; make it with steps/train_calibration.py"


# ---- extractors


@pytest.fixture
def exp(home):
    """An untrained network, with whose xvector.json the embeddings are."""
    exp = write_experiment(home / "x", FeatureOptions(num_mel_bins=24).to_json(), voiced=False)
    features = json.loads((exp / "model.json").read_text())["features"]
    for name in ("train", "valid"):
        of_network(home / name, sha256(exp / "epoch-002.safetensors"), features=features)
    return exp


def test_an_extractor_refuses_back_ends_of_another_network_and_calibrations_of_other_scores(home, exp):
    backend, other = backend_of(home), backend_of(home, "other", "b_other")
    message = f"{other}: its back-end is of another network than {exp}, epoch 2 (weights_sha256 differs); "
    remedy = "name its epoch, with --epoch final for instance, or train a back-end of this network"
    assert failure(Extractor, exp, backend=other) == message + remedy
    assert failure(Extractor, exp, backend=backend, epoch="1").startswith(f"{backend}: its back-end is of another network than {exp}, epoch 1 (")
    assert failure(Extractor, exp, backend=backend, layer="segment7").startswith(f"{backend}: its back-end is of another network than {exp}, epoch 2 (layer")
    calibrations = {kind: calibrate(home, of_kind(home, kind, "valid"), f"{kind}.json") for kind in KINDS}
    fits = {"raw": {}, "lda": {"backend": backend, "scoring": "cosine"}, "plda": {"backend": backend}}
    for kind, words in fits.items():
        for name, calibration in calibrations.items():
            if name == kind:
                assert Extractor(exp, calibration=calibration, **words).calibration.p_target == 0.05
            else:
                one, two = KINDS[name].format(t=home), KINDS[kind].format(t=home)
                what = "train one on such scores, or take the one that was"
                assert failure(Extractor, exp, calibration=calibration, **words) == f"{calibration}: of {one}, but the scores of {exp} are {two}; {what}"


def test_a_package_drops_its_calibration_and_threshold_where_other_scores_are_asked_for(home, exp):
    backend = backend_of(home)
    calibration = calibrate(home, of_kind(home, "plda", "valid"))
    message = f"{calibration}: of PLDA scores of {backend}, but the scores of {exp} are cosines"
    assert failure(call, PACK, "--calibration", calibration, exp, home / "p").startswith(message)
    call(PACK, "--backend", backend, "--calibration", calibration, "--threshold", 1.5, exp, home / "p")
    for words in ({}, {"backend": backend}, {"scoring": "plda"}):
        own = Extractor(home / "p", **words)
        assert (own.threshold, own.calibration.p_target, own.backend.network) == (1.5, 0.05, network_of(backend))
    for words in ({"scoring": "cosine"}, {"layer": "segment7"}):
        other = Extractor(home / "p", **words)
        assert (other.threshold, other.calibration) == (None, None)
    vectors = np.ones((1, DIM), dtype=np.float32)
    message = f"{home}/p: its back-end is of another network than {home}/p, epoch 2 (layer differs); "
    assert failure(other.scores, vectors, [1], vectors).startswith(message)
    assert failure(Extractor, home / "p", scoring="cosine", calibration=calibration).startswith(f"{calibration}: of PLDA scores")


def test_a_package_that_does_not_tell_its_back_end_is_taken(home, exp):
    backend = backend_of(home)
    calibration = calibrate(home, of_kind(home, "lda", "valid"))
    call(PACK, "--backend", backend, exp, home / "p")
    facts, tensors = read_facts(home / "p", PACKAGE, ""), read_tensors(home / "p")
    write_checked(home / "q", tensors, {**facts, "kind": None, "backend": {"length_norm": True}}, PACKAGE)
    old = Extractor(home / "q", calibration=calibration)
    assert (old.kind, old.calibration.p_target, old.scoring) == (None, 0.05, "plda")


def test_the_prior_of_a_probability_is_told(home, exp, capsys):
    chance = np.random.default_rng(0)
    for name in "ab":
        soundfile.write(home / f"{name}.wav", (chance.standard_normal(16000) * 3000).astype(np.int16), 16000)
    Calibration(["scores"], [], [10.0], -4.0, 0.05, {}).save(home / "c.json")
    words = ("--calibration", home / "c.json", exp)
    assert call("verify", *words, home / "a.wav", home / "b.wav").endswith(" (prior 0.05)\n")
    assert json.loads(call("verify", "--json", "true", *words, home / "a.wav", home / "b.wav"))["prior"] == 0.05
    call("enrol", exp, home / "g", f"a={home}/a.wav")
    said = call("identify", *words, home / "g", home / "b.wav")
    assert len(said.split()) == 4
    assert capsys.readouterr().err == "identify: probabilities of one speaker are told for the calibration's own prior (prior 0.05)\n"
