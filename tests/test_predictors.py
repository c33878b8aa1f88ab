"""pytorch/backend/predictors.py, steps/train_predictor.py and steps/predict.py: predictions as scikit-learn's, chosen and mapped as asked."""

import gc
import importlib.util
import json
from functools import cache

import numpy as np
import pytest
import scipy.stats
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import recall_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC, LinearSVC, NuSVR
from support import failure, write_archive

from pytorch.backend import predictors
from pytorch.backend.predictors import Design, Finish, Predictor, check_memory, fits, mapping
from pytorch.data.data_dir import read_table, write_table
from pytorch.files import read_json, write_json
from pytorch.program import ROOT

DIM = 6
LINEAR = ["1e-6", "1e-5", "1e-4", "1e-3", "1e-2", "1e-1"]


def sample(number, seed, classes=0):
    """Embeddings, and numbers (or one of so many classes) that go with them but for chance."""
    chance = np.random.default_rng(seed)
    vectors = (chance.standard_normal((number, DIM)) * 3 + 5).astype(np.float32)
    vectors[:, -1] = 0.1  # a dimension without a deviation
    numbers = 30 + 4 * (vectors[:, 0] - 5) + (vectors[:, 1] - 5) ** 2 / 3 + 6 * chance.standard_normal(number)
    if not classes:
        return vectors, numbers.round(1)
    return vectors, np.digitize(numbers, np.linspace(15, 45, classes + 1)[1:-1]).astype(np.int64)


def fitted(design, vectors, targets, cost, gamma=0.1):
    classes = [f"c{number}" for number in range(targets.max() + 1)] if design.kind == "classes" else []
    [(_, _, predictor)] = fits(design, vectors, targets, classes, [cost], [gamma])
    return predictor


def peer_of(model, vectors, wanted):
    return make_pipeline(StandardScaler(), model).fit(vectors.astype(np.float64), wanted)


# ---- as scikit-learn


@pytest.mark.parametrize(
    "design, peer",
    [
        (Design("numbers", "svm"), NuSVR(kernel="linear", C=0.1)),
        (Design("numbers", "svm", nu=0.2), NuSVR(kernel="linear", C=0.1, nu=0.2)),
        (Design("numbers", "svm", "rbf"), NuSVR(kernel="rbf", C=0.1, gamma=0.1)),
        (Design("numbers", "ridge"), Ridge(alpha=10)),
    ],
)
def test_numbers_are_those_of_scikit_learn(design, peer):
    vectors, wanted = sample(150, 1)
    others, _ = sample(2500, 2)
    expected = peer_of(peer, vectors, wanted).predict(others.astype(np.float64))
    np.testing.assert_allclose(fitted(design, vectors, wanted, 0.1).outputs(others), expected, rtol=1e-6)


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize(
    "name, kernel, cost, peer, outputs_of",
    [
        ("svm", "linear", 0.1, LinearSVC(C=0.1, dual=False), "decision_function"),
        ("svm", "rbf", 1.0, SVC(C=1, gamma=0.1, break_ties=True), "decision_function"),
        ("logistic", "linear", 0.1, LogisticRegression(C=0.1, tol=1e-6, max_iter=10000), "predict_proba"),
    ],
)
def test_classes_are_those_of_scikit_learn(classes, balanced, name, kernel, cost, peer, outputs_of):
    vectors, wanted = sample(150, 1, classes)
    others = sample(400, 2)[0]
    peer = peer_of(peer.set_params(class_weight="balanced" if balanced else None), vectors, wanted)
    predictor = fitted(Design("classes", name, kernel, balanced=balanced), vectors, wanted, cost)
    outputs = predictor.outputs(others)
    assert predictor.decide(outputs).tolist() == peer.predict(others.astype(np.float64)).tolist()
    expected = getattr(peer, outputs_of)(others.astype(np.float64))
    if expected.ndim == 1:  # of two classes, how much it is the later one
        outputs, expected = np.sign(outputs[:, 1] - outputs[:, 0]), np.sign(expected)
    np.testing.assert_allclose(outputs, expected, atol=1e-3)  # libsvm stops within 1e-3 of the optimum


def test_weights_of_classes_raise_the_recall_of_the_rare_one():
    chance = np.random.default_rng(0)
    wanted = np.repeat([0, 1], [190, 10])
    vectors = (chance.standard_normal((200, DIM)) + wanted[:, None] * 0.6).astype(np.float32)
    recalls = [
        recall_score(wanted, (one := fitted(Design("classes", "svm", balanced=balanced), vectors, wanted, 0.01)).decide(one.outputs(vectors)))
        for balanced in (False, True)
    ]
    assert recalls[0] < recalls[1]


# ---- what is done to numbers


def test_mapping_gives_the_mean_and_the_deviation_asked_for():
    found, wanted = np.array([1.0, 2, 4]), np.array([10.0, 30, 20, 60])
    scale, shift = mapping(found, wanted)
    mapped = scale * found + shift
    assert (mapped.mean(), mapped.std()) == pytest.approx((wanted.mean(), wanted.std()))
    assert mapping(np.array([3.0, 3.0]), wanted) == (0, 30)  # what is constant becomes the mean


def test_numbers_are_rounded_and_kept_in_range():
    assert Finish(whole=True, low=1, high=9)(np.array([-3, 1.4, 2.5, 8.6, 9.7])).tolist() == [1, 1, 2, 9, 9]
    assert Finish(low=1, high=9)(np.array([-3, 1.4, 9.7])).tolist() == [1, 1.4, 9]
    assert Finish()(np.array([-3, 1.4])).tolist() == [-3, 1.4]


# ---- files


@pytest.mark.parametrize(
    "design, classes",
    [
        (Design("numbers", "svm", "rbf", nu=0.3), 0),
        (Design("numbers", "ridge"), 0),
        (Design("classes", "svm", "rbf"), 3),
        (Design("classes", "logistic", balanced=False), 2),
    ],
)
def test_a_predictor_read_back_predicts_the_same(tmp_path, design, classes):
    vectors, wanted = sample(60, 1, classes)
    made = fitted(design, vectors, wanted, 0.5)
    made.save(tmp_path)
    found = Predictor.load(tmp_path)
    assert (found.design, found.classes, found.finish, found.gamma) == (made.design, made.classes, made.finish, made.gamma)
    assert found.outputs(vectors).tobytes() == made.outputs(vectors).tobytes()


def test_a_predictor_whose_files_do_not_belong_together_is_refused(tmp_path):
    for number, name in enumerate(("one", "two")):
        fitted(Design("numbers", "ridge"), *sample(60, number), 0.1).save(tmp_path / name)
    weights, facts = tmp_path / "one/predictor.safetensors", tmp_path / "one/predictor.json"
    good, told = weights.read_bytes(), read_json(facts)
    weights.write_bytes((tmp_path / "two/predictor.safetensors").read_bytes())
    changed = f"{weights}: is not what {facts} was written with; bring it back, or train the predictor anew"
    assert failure(Predictor.load, tmp_path / "one") == changed
    weights.write_bytes(good[:-1])
    assert failure(Predictor.load, tmp_path / "one") == changed
    weights.unlink()
    assert failure(Predictor.load, tmp_path / "one") == f"{weights}: no such file; {facts} belongs to it; bring it back, or train the predictor anew"
    weights.write_bytes(good)
    changes = [("kind", "words", "neither of numbers nor of classes"), ("kernel", "rbf", "support vectors"), ("finish", None, ""), ("finish", {}, "'low'")]
    for name, value, why in changes:
        write_json(facts, told | {name: value})
        message = failure(Predictor.load, tmp_path / "one")
        assert message.startswith(f"{facts}: no predictor of steps/train_predictor.py (")
        assert message.endswith("; train it anew")
        assert why in message
    write_json(facts, [])
    assert failure(Predictor.load, tmp_path / "one") == changed
    facts.unlink()
    assert failure(Predictor.load, tmp_path / "one") == f"{facts}: no such file; make it with steps/train_predictor.py"


def test_weights_of_another_shape_are_refused(tmp_path):
    import hashlib

    import safetensors.numpy

    fitted(Design("numbers", "ridge"), *sample(60, 1), 0.1).save(tmp_path)
    arrays = safetensors.numpy.load((tmp_path / "predictor.safetensors").read_bytes())
    data = safetensors.numpy.save(arrays | {"weights": arrays["weights"][:, 1:].copy()})
    (tmp_path / "predictor.safetensors").write_bytes(data)
    write_json(tmp_path / "predictor.json", read_json(tmp_path / "predictor.json") | {"weights_sha256": hashlib.sha256(data).hexdigest()})
    assert "(weights of another shape than the rest); train it anew" in failure(Predictor.load, tmp_path)


def test_a_kernel_too_large_for_the_machine_is_refused():
    assert failure(check_memory, 10**7).startswith("this svm needs 745058 GB for the kernel's matrix of 10000000 utterances, the machine has ")


# ---- the programs


@cache
def module(name):
    spec = importlib.util.spec_from_file_location(f"steps_{name}", ROOT / f"steps/{name}.py")
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


@pytest.fixture
def step(monkeypatch):
    """step("predict", …) runs steps/predict.py in this process"""

    def call(name, *words):
        monkeypatch.setattr("sys.argv", [f"{name}.py", *map(str, words)])
        gc.collect()  # the frames of a call that failed hold the lock of its step
        module(name).main()

    return call


def make_set(folder, number, seed, classes=0, prefix="", network="x"):
    """A data directory with utt2value, and its embeddings beside -> embeddings, targets"""
    vectors, wanted = sample(number, seed, classes)
    utts = [f"{prefix or folder.name}{place:03d}" for place in range(number)]
    folder.mkdir(parents=True)
    write_table(folder / "utt2spk", {utt: utt[:-1] for utt in utts})
    write_table(folder / "utt2value", {utt: f"c{value}" if classes else value for utt, value in zip(utts, wanted, strict=True)})
    write_archive(folder, "xvector", dict(zip(utts, vectors, strict=True)), {"weights_sha256": network})
    return vectors, wanted


@pytest.fixture
def sets(tmp_path):
    """Numbers: {name: (embeddings, targets)} of train, dev and test"""
    return {name: make_set(tmp_path / name, number, seed) for seed, (name, number) in enumerate({"train": 80, "dev": 40, "test": 30}.items())}


def paths(folder, dev=True, out="out"):
    more = ["--dev", folder / "dev", "--dev-xvectors", folder / "dev/xvector.scp"] if dev else []
    return [*more, "--targets", "utt2value", folder / "train", folder / "train/xvector.scp", folder / out]


def predicted(step, folder, out="out"):
    step("predict", folder / out, folder / "test/xvector.scp", folder / out / "found")
    return read_table(folder / out / "found")


@pytest.mark.parametrize("refit", [True, False])
def test_c_is_chosen_by_spearman_and_the_best_fitted_once_more(sets, tmp_path, step, capsys, refit):
    step("train_predictor", "--kind", "numbers", "--clip", "false", "--refit", str(refit).lower(), *paths(tmp_path))
    (x, y), (dev, dev_wanted), (test, _) = (sets[name] for name in ("train", "dev", "test"))
    expected = {}
    for cost in map(float, LINEAR):
        scores = peer_of(NuSVR(kernel="linear", C=cost), x, y.astype(np.float32)).predict(dev.astype(np.float64))
        expected[cost] = scipy.stats.spearmanr(dev_wanted, scores)[0]
    told = read_json(tmp_path / "out/predictor.json")["facts"]
    assert [one["C"] for one in told["tried"]] == list(expected)
    assert [one["spearman"] for one in told["tried"]] == pytest.approx(list(expected.values()), abs=1e-6)
    best = max(expected, key=expected.get)
    assert told["chosen"]["C"] == best
    assert told["fitted_to"] == ["training", "development"][: 1 + refit]
    data = (np.concatenate([x, dev]), np.concatenate([y, dev_wanted]).astype(np.float32)) if refit else (x, y.astype(np.float32))
    wanted = peer_of(NuSVR(kernel="linear", C=best), *data).predict(test.astype(np.float64))
    found = predicted(step, tmp_path)
    assert list(found) == [f"test{place:03d}" for place in range(30)]
    np.testing.assert_allclose([float(value) for value in found.values()], wanted, rtol=1e-5)
    assert f"chosen by Spearman on {tmp_path}/dev, in {tmp_path}/out" in capsys.readouterr().out


def svr(cost, *sets):
    """scikit-learn's, fitted to these -> its predictions of embeddings"""
    x, y = (np.concatenate(column) for column in zip(*sets, strict=True))
    peer = peer_of(NuSVR(kernel="linear", C=cost), x, y)
    return lambda vectors: peer.predict(vectors.astype(np.float64))


def test_numbers_can_have_the_mean_deviation_and_range_of_those_learnt(sets, tmp_path, step):
    words = ["--kind", "numbers", "--c-grid", "1e-4", "--map", "true", "--round", "true", "--refit", "false"]
    step("train_predictor", *words, *paths(tmp_path))
    (x, y), (dev, _), (test, _) = (sets[name] for name in ("train", "dev", "test"))
    peer = svr(1e-4, (x, y))
    mapped = np.rint((peer(test) - peer(dev).mean()) / peer(dev).std() * y.std() + y.mean())
    found = [float(value) for value in predicted(step, tmp_path).values()]
    assert found == pytest.approx(np.clip(mapped, y.min(), y.max()).tolist(), abs=1e-4)
    assert len(set(found)) > 10


@pytest.mark.parametrize("cost", [1e-6, 1e-2])
def test_a_mapping_holds_for_what_is_fitted_once_more(sets, tmp_path, step, cost):
    step("train_predictor", "--kind", "numbers", "--c-grid", cost, "--map", "true", *paths(tmp_path))
    old, new = svr(cost, sets["train"]), svr(cost, sets["train"], sets["dev"])
    (_, y), (dev, dev_wanted), (test, _) = (sets[name] for name in ("train", "dev", "test"))
    scale, shift = mapping(old(dev), y)
    both = np.concatenate([sets["train"][0], dev])
    again = mapping(new(both), scale * old(both) + shift)
    learnt = np.concatenate([y, dev_wanted])
    expected = np.clip(again[0] * new(test) + again[1], learnt.min(), learnt.max())
    np.testing.assert_allclose([float(value) for value in predicted(step, tmp_path).values()], expected, rtol=1e-3)
    assert 0.5 < expected.std() / y.std() < 2


def test_predictions_stay_in_the_range_learnt_unless_they_may_leave_it(sets, tmp_path, step):
    _, wanted = sets["train"]
    write_archive(tmp_path / "test", "xvector", {"far": np.full(DIM, 500.0), "other": np.full(DIM, -500.0)}, {})
    for clip, out in (("true", "kept"), ("false", "free")):
        step("train_predictor", "--kind", "numbers", "--model", "ridge", "--c-grid", "0.1", "--clip", clip, *paths(tmp_path, dev=False, out=out))
    kept, free = ([float(value) for value in predicted(step, tmp_path, out).values()] for out in ("kept", "free"))
    assert kept == pytest.approx([wanted.max(), wanted.min()])
    assert free[0] > wanted.max() + 100
    assert free[1] < wanted.min() - 100


@pytest.mark.parametrize("select, expected", [("spearman", max), ("mae", min)])
def test_the_figure_that_is_asked_for_chooses(sets, tmp_path, step, select, expected):
    step("train_predictor", "--kind", "numbers", "--kernel", "rbf", "--gamma-grid", "0.1,1", "--select", select, *paths(tmp_path))
    told = read_json(tmp_path / "out/predictor.json")
    assert len(told["facts"]["tried"]) == 10
    assert told["facts"]["chosen"] == expected(told["facts"]["tried"], key=lambda one: one[select])
    assert told["gamma"] == told["facts"]["chosen"]["gamma"]


@pytest.mark.parametrize("words", [["--model", "svm"], ["--model", "logistic", "--select", "macro_f1"], ["--kernel", "rbf"]])
def test_classes_are_told_by_name(tmp_path, step, capsys, words):
    for seed, (name, number) in enumerate({"train": 80, "dev": 40, "test": 30}.items()):
        _, wanted = make_set(tmp_path / name, number, seed, classes=3)
    step("train_predictor", *words, *paths(tmp_path))
    found = predicted(step, tmp_path)
    assert set(found.values()) <= {"c0", "c1", "c2"}
    assert recall_score(wanted, [int(value[1:]) for value in found.values()], average="macro") > 0.5
    assert "predict: utt2value of 30 utterances in " in capsys.readouterr().out


def test_classes_keep_the_order_of_a_list(tmp_path, step):
    make_set(tmp_path / "train", 80, 0, classes=3)
    (tmp_path / "names").write_text("c2\nc0\nc1\n")
    step("train_predictor", "--c-grid", "0.01", "--classes", tmp_path / "names", *paths(tmp_path, dev=False))
    assert read_json(tmp_path / "out/predictor.json")["classes"] == ["c2", "c0", "c1"]


def test_fused_predictors_tell_their_mean(sets, tmp_path, step):
    for out, words in (("a", ["--model", "ridge"]), ("b", ["--kernel", "rbf"])):
        step("train_predictor", "--kind", "numbers", "--c-grid", "0.1", "--clip", "false", *words, *paths(tmp_path, dev=False, out=out))
    a, b = (np.array([float(value) for value in predicted(step, tmp_path, out).values()]) for out in ("a", "b"))
    scp = tmp_path / "test/xvector.scp"
    step("predict", tmp_path / "a", scp, tmp_path / "found", "--fuse", tmp_path / "b", scp)
    np.testing.assert_allclose([float(value) for value in read_table(tmp_path / "found").values()], (a + b) / 2, rtol=1e-5)


def test_what_is_done_is_not_done_again(sets, tmp_path, step, capsys):
    words = ["--kind", "numbers", "--model", "ridge", *paths(tmp_path)]
    step("train_predictor", *words)
    predicted(step, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir() if path.is_file()}
    assert len(before) == 3
    capsys.readouterr()
    step("train_predictor", *words)
    predicted(step, tmp_path)
    assert capsys.readouterr().out == f"train_predictor: {tmp_path}/out is there\npredict: {tmp_path}/out/found is there\n"
    assert before == {path: path.stat().st_mtime_ns for path in before}
    message = failure(step, "train_predictor", "--clip", "false", *words)
    assert message == f"{tmp_path}/out: train_predictor was done otherwise: --clip was true, now false. Pass --overwrite true to do it anew"
    step("train_predictor", "--clip", "false", "--overwrite", "true", *words)
    assert failure(predicted, step, tmp_path).endswith("predict.found was done otherwise: predictor has changed. Pass --overwrite true to do it anew")


def test_two_trainings_give_the_same_bytes(sets, tmp_path, step):
    for out in ("a", "b"):
        step("train_predictor", "--kind", "numbers", "--kernel", "rbf", *paths(tmp_path, out=out))
    assert (tmp_path / "a/predictor.safetensors").read_bytes() == (tmp_path / "b/predictor.safetensors").read_bytes()


def test_a_best_value_at_an_end_of_the_grid_and_a_known_speaker_are_said(sets, tmp_path, step, capsys):
    write_table(tmp_path / "dev/utt2spk", dict.fromkeys(read_table(tmp_path / "dev/utt2spk"), "train00"))
    step("train_predictor", "--kind", "numbers", "--model", "ridge", "--c-grid", "1e-9,1e-8", *paths(tmp_path))
    said = capsys.readouterr()
    assert "is at an end of --c-grid; a wider one may have a better\n" in said.out
    assert f"warning: {tmp_path}/dev/utt2spk: 'train00' is a speaker of {tmp_path}/train too (1 such)" in said.err


def test_a_solver_that_gives_up_is_said(tmp_path, step, capsys, monkeypatch):
    make_set(tmp_path / "train", 80, 0, classes=3)
    monkeypatch.setattr(predictors, "MAX_ITER", 1)
    step("train_predictor", "--model", "logistic", "--c-grid", "0.1", *paths(tmp_path, dev=False))
    assert capsys.readouterr().err == "train_predictor: warning: C 0.1: the solver gave up before its end; a smaller C would help\n"


# ---- what is refused


@pytest.mark.parametrize(
    "words, message",
    [
        (["--model", "ridge"], "argument --model: ridge does not predict classes; choose one of svm, logistic"),
        (["--model", "logistic", "--kind", "numbers"], "argument --model: logistic does not predict numbers; choose one of svm, ridge"),
        (["--kernel", "rbf", "--model", "logistic"], "argument --kernel: logistic is linear"),
        (["--gamma-grid", "1,2"], "argument --gamma-grid: goes with --kernel rbf"),
        (["--select", "mae"], "argument --select: mae is not of classes; choose one of uar, macro_f1"),
        (["--dev", "x"], "--dev and --dev-xvectors go together"),
        ([], "several values to choose from need --dev and --dev-xvectors, on which the best is chosen; without, say one: --c-grid C"),
        (
            ["--map", "true", "--kind", "numbers", "--c-grid", "1"],
            "argument --map: needs --dev and --dev-xvectors, whose predictions tell the mean and the deviation",
        ),
        (["--map", "true", "--dev", "x", "--dev-xvectors", "y"], "argument --map: classes are not numbers"),
        (["--round", "true", "--c-grid", "1"], "argument --round: classes are not numbers"),
        (["--classes", "x", "--kind", "numbers", "--c-grid", "1"], "argument --classes: numbers have no classes"),
        (["--c-grid", "1,0"], "argument --c-grid: a number above 0 expected, not '0'"),
        (["--c-grid", "1,1.0"], "argument --c-grid: numbers that differ expected, not '1,1.0'"),
        (["--nu", "1.5"], "argument --nu: a number above 0 and at most 1 expected, not '1.5'"),
    ],
)
def test_options_that_do_not_go_together_are_status_2(step, capsys, words, message):
    with pytest.raises(SystemExit) as left:
        step("train_predictor", *words, "data", "xvector.scp", "out")
    assert left.value.code == 2
    assert capsys.readouterr().err == f"train_predictor.py: {message}; see --help\n"


def spoil(folder, what):
    """Break one thing of what make_set made."""
    table, scp = folder / "dev/utt2value", folder / "dev/xvector.scp"
    if what == "no targets":
        table.unlink()
    elif what == "no embeddings":
        scp.unlink()
    elif what == "an embedding missing":
        scp.write_text(scp.read_text().split("\n", 1)[1])
    elif what == "a word":
        table.write_text(table.read_text().replace(" ", " x", 1))
    elif what == "one number":
        write_table(table, dict.fromkeys(read_table(table), 3))
    elif what == "same utterances":
        for name in ("utt2spk", "utt2value", "xvector.scp"):
            (folder / "dev" / name).write_text((folder / "train" / name).read_text())
    elif what == "other dimension":
        write_archive(folder / "dev", "xvector", dict.fromkeys(read_table(table), np.ones(3)), {"weights_sha256": "x"})
    elif what == "other network":
        write_json(folder / "dev/xvector.json", {"weights_sha256": "y"})


@pytest.mark.parametrize(
    "what, message",
    [
        ("no targets", "{t}/dev/utt2value: no such file; --targets names the table of what is learnt"),
        ("no embeddings", "{t}/dev/xvector.scp: no such file; make it with steps/extract.py"),
        ("an embedding missing", "{t}/dev/utt2spk: 'dev000' has no embedding in {t}/dev/xvector.scp (1 such); extract them, or leave them out"),
        ("a word", "{t}/dev/utt2value:1: 'dev000': a number expected, not 'x"),
        ("one number", "{t}/dev/utt2value: one number only, 3, so how numbers are ranked cannot be seen; choose on other data"),
        ("same utterances", "{t}/dev/utt2spk: 'train000' is in {t}/train too (80 such); choose on other utterances than are learnt from"),
        ("other dimension", "{t}/dev/xvector.scp: embeddings of 3 dimensions, but {t}/train/xvector.scp has 6; both must come from one network"),
        ("other network", "{t}/dev/xvector.scp: of another network than {t}/train/xvector.scp (weights_sha256 of xvector.json differs); extract both with one"),
    ],
)
def test_development_data_that_will_not_do_are_refused(sets, tmp_path, step, what, message):
    spoil(tmp_path, what)
    assert failure(step, "train_predictor", "--kind", "numbers", *paths(tmp_path)).startswith(message.format(t=tmp_path))
    assert not (tmp_path / "out/predictor.json").exists()


def test_a_class_that_was_not_learnt_is_refused(tmp_path, step):
    make_set(tmp_path / "train", 80, 0, classes=2)
    make_set(tmp_path / "dev", 40, 1, classes=3)
    message = failure(step, "train_predictor", *paths(tmp_path))
    assert message.endswith("the class 'c2' is not among those of the training: c0, c1")


def test_numbers_taken_for_classes_name_the_option_for_numbers(sets, tmp_path, step):
    message = failure(step, "train_predictor", *paths(tmp_path))
    assert "is not among those of the training: " in message and message.endswith("; if the values are numbers, pass --kind numbers")


def test_embeddings_that_a_predictor_does_not_know_are_refused(sets, tmp_path, step):
    step("train_predictor", "--kind", "numbers", "--model", "ridge", "--c-grid", "1", *paths(tmp_path, dev=False))
    scp = tmp_path / "test/xvector.scp"
    write_json(tmp_path / "test/xvector.json", {"weights_sha256": "y"})
    message = f"{scp}: of another network than {tmp_path}/out (weights_sha256 of xvector.json differs); extract both with one"
    assert failure(predicted, step, tmp_path) == message
    write_archive(tmp_path / "test", "xvector", {"a": np.ones(3)}, {})
    message = f"{scp}: embeddings of 3 dimensions, but {tmp_path}/out was trained on 6; both must come from one network"
    assert failure(predicted, step, tmp_path) == message


def test_predictors_that_differ_are_not_fused(sets, tmp_path, step):
    make_set(tmp_path / "more/train", 80, 0, classes=3)
    step("train_predictor", "--kind", "numbers", "--model", "ridge", "--c-grid", "1", *paths(tmp_path, dev=False))
    step("train_predictor", "--c-grid", "1", *paths(tmp_path / "more", dev=False))
    scp, found = tmp_path / "test/xvector.scp", tmp_path / "found"
    message = failure(step, "predict", tmp_path / "out", scp, found, "--fuse", tmp_path / "more/out", scp)
    assert message == f"{tmp_path}/more/out: predicts margins, {tmp_path}/out numbers; only what is alike has a mean"
    other = tmp_path / "dev/xvector.scp"
    message = failure(step, "predict", tmp_path / "out", scp, found, "--fuse", tmp_path / "out", other)
    assert message == f"{scp}: 'dev000' of {other} is not there; predictors are fused over the same utterances"


def test_the_programs_end_as_programs_do(sets, tmp_path, program):
    done = program("steps/train_predictor.py", "--kind", "numbers", "--model", "ridge", *paths(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    done = program("steps/predict.py", tmp_path / "out", tmp_path / "none.scp", tmp_path / "found")
    assert (done.returncode, done.stderr) == (1, f"predict.py: {tmp_path}/none.scp: no such file; make it with steps/extract.py\n")
    done = program("steps/predict.py", tmp_path / "out", tmp_path / "test/xvector.scp", tmp_path / "found")
    assert done.returncode == 0
    done = program("steps/measure.py", "--kind", "numbers", tmp_path / "test/utt2value", tmp_path / "found", tmp_path / "measure.json")
    assert done.returncode == 0
    assert json.loads((tmp_path / "measure.json").read_text())["spearman"] > 0.5
