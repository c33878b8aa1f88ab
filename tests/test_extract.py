"""steps/extract.py and steps/extract_stats.py: one vector for each utterance, the same however the work is split."""

import hashlib
import json
import shutil

import kaldiio
import numpy as np
import pytest
from support import write_feats, write_vad

from pytorch.data.ark import ArkReader
from pytorch.data.data_dir import DataDir, read_table, write_data_dir
from pytorch.features.options import FeatureOptions
from pytorch.files import write_json

STEP = "steps/extract.py"
STATS = "steps/extract_stats.py"
TRAIN = ["--model-args", "frame_dim=8 stats_dim=8 embed_dim=6", "--min-frames", 20, "--max-frames", 30, "--batch-size", 8, "--num-threads", 1]
TRAIN += ["--epochs", 2, "--steps-per-epoch", 5]


def write_data(folder, speakers, seed):
    """A data directory of features and decisions, 4 utterances of each speaker, 30 to 150 frames of which most are voiced."""
    chance = np.random.default_rng(seed)
    utt2spk = {f"{spk}-{number}": spk for spk in speakers for number in range(4)}
    write_data_dir(folder, {utt: f"/nowhere/{utt}.wav" for utt in utt2spk}, utt2spk)
    feats = {utt: chance.standard_normal((chance.integers(30, 150), 24)) * 3 + 10 for utt in utt2spk}
    write_feats(folder, feats)
    write_vad(folder, {utt: chance.random(len(matrix)) < 0.8 for utt, matrix in feats.items()})
    return folder


@pytest.fixture(scope="module")
def exp(tmp_path_factory, program):
    """A finished experiment; only to be read."""
    folder = tmp_path_factory.mktemp("exp")
    data = write_data(folder / "train", ["t0", "t1", "t2"], 1)
    done = program("steps/train.py", *TRAIN, data, folder / "x")
    assert done.returncode == 0, done.stderr
    return folder / "x"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Test data; only to be read."""
    return write_data(tmp_path_factory.mktemp("data") / "test", ["s0", "s1", "s2"], 2)


@pytest.fixture(scope="module")
def extracted(tmp_path_factory, exp, data, program):
    """Embeddings made in place, of several batches; only to be read."""
    out = tmp_path_factory.mktemp("out") / "xv"
    done = program(STEP, "--batch-frames", 200, exp, data, out)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"extract: 12 embeddings of {data} in {out}, by epoch 2 of {exp}\n"
    return out


@pytest.fixture
def own(tmp_path):
    """Test data that a test may spoil."""
    return write_data(tmp_path / "own", ["s0", "s1"], 3)


@pytest.fixture
def lent(exp, tmp_path):
    """A copy of the experiment that a test may change."""
    return shutil.copytree(exp, tmp_path / "lent")


def vectors_in(out):
    """As kaldiio reads them, copied out of the archives."""
    return {utt: np.array(vector) for utt, vector in kaldiio.load_scp(str(out / "xvector.scp")).items()}


def voiced_frames(data):
    feats, vad = (kaldiio.load_scp(str(data / name)) for name in ("feats.scp", "vad.scp"))
    return {utt: feats[utt][vad[utt] > 0] for utt in feats}


def assert_refused(done, program, message):
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"{program}: {message}\n")


# ---- embeddings


def test_embeddings_are_those_of_the_network_applied_to_each_utterance_alone(extracted, exp, data):
    import torch

    from pytorch.experiment import Experiment

    model = Experiment(exp).load(2, torch.device("cpu"))
    found = vectors_in(extracted)
    assert list(found) == list(read_table(data / "utt2spk"))
    for utt, frames in voiced_frames(data).items():
        with torch.inference_mode():
            alone = model.embed(torch.from_numpy(frames - frames.mean(0))[None])[0].numpy()
        assert found[utt].dtype == np.float32
        np.testing.assert_allclose(found[utt], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("nj", [2, 4])
def test_jobs_make_the_same_embeddings_bit_for_bit(nj, extracted, exp, data, tmp_path, program):
    out = tmp_path / "x v"
    done = program(STEP, "--batch-frames", 200, "--nj", nj, exp, data, out)
    assert (done.returncode, done.stderr) == (0, "")
    one, other = vectors_in(extracted), vectors_in(out)
    assert list(one) == list(other)
    for utt in one:
        np.testing.assert_array_equal(one[utt], other[utt], strict=True)
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [".done", "log", "xvector.json", "xvector.scp", "xvector.sha256", *(f"xvector.{job + 1}.ark" for job in range(nj))]
    )


def test_the_embeddings_say_of_which_network_they_are(extracted, exp):
    facts = json.loads((extracted / "xvector.json").read_text())
    assert facts["experiment"] == str(exp)
    assert facts["epoch"] == 2
    assert facts["weights_sha256"] == hashlib.sha256((exp / "epoch-002.safetensors").read_bytes()).hexdigest()


def test_a_second_run_does_nothing(extracted, exp, data, program):
    before = {path: path.stat().st_mtime_ns for path in extracted.iterdir() if path.is_file()}
    for words in ([], ["--nj", 3], ["--epoch", "final"], ["--epoch", 2], ["--device", "cpu"]):
        done = program(STEP, "--batch-frames", 200, *words, exp, data, extracted)
        assert (done.returncode, done.stdout, done.stderr) == (0, f"extract: the embeddings in {extracted} are there\n", "")
    assert {path: path.stat().st_mtime_ns for path in extracted.iterdir() if path.is_file()} == before


def test_another_epoch_stops_until_overwrite(exp, data, tmp_path, extracted, program):
    out = shutil.copytree(extracted, tmp_path / "out")
    done = program(STEP, "--batch-frames", 200, "--epoch", 1, exp, data, out)
    assert_refused(done, "extract.py", f"{out}: extract was done otherwise: folder has changed; weights has changed. Pass --overwrite true to do it anew")
    assert program(STEP, "--batch-frames", 200, "--epoch", 1, "--overwrite", "true", exp, data, out).returncode == 0
    assert json.loads((out / "xvector.json").read_text())["epoch"] == 1
    one, other = vectors_in(extracted), vectors_in(out)
    assert not np.allclose(np.stack(list(one.values())), np.stack(list(other.values())), atol=1e-4)


def test_a_network_trained_anew_stops_until_overwrite(lent, exp, data, tmp_path, extracted, program):
    out = shutil.copytree(extracted, tmp_path / "out")
    assert program("steps/train.py", *TRAIN, "--seed", 2, "--overwrite", "true", exp.parent / "train", lent).returncode == 0
    done = program(STEP, "--batch-frames", 200, lent, data, out)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"extract.py: {out}: extract was done otherwise: ")
    assert "weights has changed" in done.stderr
    assert done.stderr.endswith(". Pass --overwrite true to do it anew\n")
    before = vectors_in(out)
    assert program(STEP, "--batch-frames", 200, "--overwrite", "true", lent, data, out).returncode == 0
    assert not np.allclose(np.stack(list(before.values())), np.stack(list(vectors_in(out).values())), atol=1e-4)


def test_validation_decides_which_epoch_is_best(lent):
    from pytorch.experiment import Experiment

    (lent / "best").write_text("1\n")
    assert [Experiment(lent).epoch(which) for which in ("best", "final", "1", "2")] == [1, 2, 1, 2]
    (lent / "best").unlink()
    assert Experiment(lent).epoch("best") == 2


# ---- what it refuses


@pytest.mark.parametrize(
    ("which", "message"),
    [
        ("3", "no weights of epoch 3; there are 1, 2"),
        ("0", "no weights of epoch 0; there are 1, 2"),
        ("last", "'last' is no epoch; best, final or a number is expected"),
        ("-1", "'-1' is no epoch; best, final or a number is expected"),
        ("²", "'²' is no epoch; best, final or a number is expected"),
        ("1.0", "'1.0' is no epoch; best, final or a number is expected"),
    ],
)
def test_an_epoch_that_is_not_there_is_refused(which, message, exp, data, tmp_path, program):
    assert_refused(program(STEP, "--epoch", which, exp, data, tmp_path / "out"), "extract.py", f"{exp}: {message}")
    assert not (tmp_path / "out").exists()


def test_features_with_other_settings_are_refused_with_both_sides(exp, own, tmp_path, program):
    write_json(own / "feats.json", FeatureOptions(use_energy=True, low_freq=100).to_json())
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{own}/feats.json: made with --low-freq 100, {exp} was trained on 20.0; make the features anew")
    write_json(own / "feats.json", FeatureOptions(feature="mfcc").to_json())
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{own}/feats.json: made with --feature mfcc, {exp} was trained on fbank; make the features anew")
    write_json(own / "feats.json", FeatureOptions().to_json())
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{own}/feats.json: made with --use-energy false, {exp} was trained on true; make the features anew")


def test_feature_settings_without_names_are_refused(exp, own, tmp_path, program):
    (own / "feats.json").write_text("[]")
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{own}/feats.json: made with --feature null, {exp} was trained on fbank; make the features anew")


def test_too_short_utterances_are_refused_by_name(exp, own, tmp_path, program):
    vad = {utt: np.arange(len(matrix)) < (14 if utt in ("s0-2", "s1-0") else 15) for utt, matrix in kaldiio.load_scp(str(own / "feats.scp")).items()}
    write_vad(own, vad)
    done = program(STEP, exp, own, tmp_path / "out")
    remedy = "leave them out with utils/subset_data_dir.py --min-voiced-frames 15"
    message = f"{own}/feats.scp: 2 utterances have fewer than 15 voiced frames, the least the network takes: s0-2, s1-0; {remedy}"
    assert_refused(done, "extract.py", message)
    assert not (tmp_path / "out" / "xvector.scp").exists()


def test_an_unfinished_training_is_refused_but_for_a_named_epoch(lent, data, tmp_path, program):
    from pytorch.experiment import Experiment

    (lent / "final").unlink()
    done = program(STEP, lent, data, tmp_path / "out")
    assert_refused(done, "extract.py", f"{lent}: the training is not finished; go on with it, or name an epoch: --epoch N")
    assert Experiment(lent).epoch("1") == 1


@pytest.mark.parametrize(
    "spoil",
    [lambda weights: weights[:-10], lambda weights: b"", lambda weights: b"\x80\x04" + weights[2:]],
    ids=["cut off", "empty", "not safetensors"],
)
def test_damaged_weights_are_refused(spoil, lent):
    import torch

    from pytorch.experiment import Experiment
    from pytorch.program import Fail

    path = lent / "epoch-002.safetensors"
    path.write_bytes(spoil(path.read_bytes()))
    with pytest.raises(Fail, match=rf"^{path}: damaged, or of another network \("):
        Experiment(lent).load(2, torch.device("cpu"))


def test_weights_of_another_network_fail_the_step_and_leave_what_was_there(lent, data, extracted, tmp_path, program):
    out = shutil.copytree(extracted, tmp_path / "out")
    settings = json.loads((lent / "model.json").read_text())
    settings["args"]["embed_dim"] = "7"
    write_json(lent / "model.json", settings)
    before = (out / "xvector.scp").read_bytes(), (out / "xvector.ark").read_bytes(), (out / "xvector.json").read_bytes()
    done = program(STEP, "--overwrite", "true", "--nj", 2, lent, data, out)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"extract.py: {lent}/epoch-002.safetensors: damaged, or of another network (Error(s) in loading state_dict for XVector:)" in done.stderr
    assert done.stderr.endswith(f"extract.py: jobs failed, see {out}/log/extract.*.log; started again, only what is missing is done\n")
    assert ((out / "xvector.scp").read_bytes(), (out / "xvector.ark").read_bytes(), (out / "xvector.json").read_bytes()) == before


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda exp, data: (exp / "model.json").unlink(), "{exp}: no experiment (model.json is missing); train one with steps/train.py"),
        (lambda exp, data: (exp / "best").write_text("x\n"), "{exp}: 'x' is no epoch; best, final or a number is expected"),
        (lambda exp, data: (data / "feats.scp").unlink(), "{data}/feats.scp: no such file; make it with steps/make_feats.py {data}"),
        (
            lambda exp, data: (data / "vad.scp").unlink(),
            "{data}/vad.scp: no such file; voiced frames are asked for; make it with steps/compute_vad.py {data}",
        ),
        (lambda exp, data: shutil.rmtree(data), "{data}: no such data directory"),
    ],
    ids=["no model.json", "nonsense in best", "no features", "no decisions", "no data"],
)
def test_what_is_missing_is_named_with_the_remedy(spoil, message, lent, own, tmp_path, program):
    spoil(lent, own)
    done = program(STEP, lent, own, tmp_path / "out")
    assert_refused(done, "extract.py", message.format(exp=lent, data=own))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            lambda data: (data / "feats.ark").write_bytes((data / "feats.ark").read_bytes()[:-100]),
            "{}/feats.scp: 's1-3': {}/feats.ark, offset ",
        ),
        (lambda data: write_feats(data, {utt: np.ones((200, 24)) for utt in read_table(data / "utt2spk")}), "{}/vad.scp: 's0-0' has "),
        (
            lambda data: write_feats(data, {utt: np.ones((200, 24)) for utt in ["s0-0", "s0-1"]}),
            "{}/feats.scp: 's0-2' is in utt2spk but has no entry in it; make the features anew",
        ),
    ],
    ids=["archive cut off", "features newer than decisions", "features of other utterances"],
)
def test_tables_that_do_not_fit_are_refused(spoil, message, own):
    from pytorch.data.frames import stored_frames
    from pytorch.program import Fail

    spoil(own)
    with pytest.raises(Fail) as failure:
        stored_frames(DataDir(own), True)
    assert str(failure.value).startswith(message.format(own, own))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--batch-frames", "0"], "argument --batch-frames: a whole number above 0 expected, not '0'"),
        (["--epochs", "1"], "unrecognized arguments: --epochs"),
        (["--num-mel-bins", "40"], "unrecognized arguments: --num-mel-bins"),
    ],
)
def test_a_wrong_option_ends_with_status_2(words, message, exp, data, tmp_path, program):
    done = program(STEP, *words, exp, data, tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.replace(" 1\n", "\n").replace(" 40\n", "\n")


# ---- the plan of batches


def test_batches_hold_each_utterance_once_and_no_more_frames_than_allowed():
    from pytorch.extraction import plan_batches

    lengths = np.random.default_rng(0).integers(15, 900, 300)
    batches = plan_batches(lengths, 2000)
    assert sorted(index for batch in batches for index in batch) == list(range(300))
    for batch in batches:
        longest = max(lengths[index] for index in batch)
        assert len(batch) * longest <= 2000
        assert all(lengths[index] >= 0.8 * longest for index in batch)


def test_an_utterance_longer_than_a_batch_has_one_of_its_own():
    from pytorch.extraction import plan_batches

    assert plan_batches(np.array([50, 5000, 60]), 100) == [[1], [2], [0]]


# ---- statistics


def test_statistics_are_the_mean_and_standard_deviation_of_the_voiced_frames(data, tmp_path, program):
    done = program(STATS, data, tmp_path / "one")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"extract_stats: 12 vectors of {data} in {tmp_path / 'one'}\n"
    assert program(STATS, "--nj", 3, data, tmp_path / "three").returncode == 0
    one, three = vectors_in(tmp_path / "one"), vectors_in(tmp_path / "three")
    assert list(one) == list(three) == list(read_table(data / "utt2spk"))
    for utt, frames in voiced_frames(data).items():
        np.testing.assert_allclose(one[utt], np.concatenate([np.mean(frames, 0), np.std(frames, 0)]), rtol=1e-5)
        np.testing.assert_array_equal(one[utt], three[utt], strict=True)


def test_statistics_of_all_frames_need_no_decisions(own, tmp_path, program):
    (own / "vad.scp").unlink()
    done = program(STATS, own, tmp_path / "out")
    message = f"{own}/vad.scp: no such file; voiced frames are asked for; make it with steps/compute_vad.py {own}"
    assert_refused(done, "extract_stats.py", message)
    assert program(STATS, "--voiced", "false", own, tmp_path / "out").returncode == 0
    found = vectors_in(tmp_path / "out")
    for utt, frames in kaldiio.load_scp(str(own / "feats.scp")).items():
        np.testing.assert_allclose(found[utt], np.concatenate([np.mean(frames, 0), np.std(frames, 0)]), rtol=1e-5)


def test_statistics_are_not_made_again_and_stop_where_the_features_changed(own, tmp_path, program):
    words = ["--voiced", "false", own, tmp_path / "out"]
    assert program(STATS, *words).returncode == 0
    assert program(STATS, *words).stdout == f"extract_stats: the vectors in {tmp_path / 'out'} are there\n"
    write_feats(own, {utt: np.array(ArkReader(own / "feats.scp")[utt])[:-1] for utt in read_table(own / "utt2spk")})
    message = f"{tmp_path / 'out'}: extract_stats was done otherwise: feats.scp has changed. Pass --overwrite true to do it anew"
    assert_refused(program(STATS, *words), "extract_stats.py", message)
    assert program(STATS, "--overwrite", "true", *words).returncode == 0


def test_statistics_of_one_frame_are_refused_by_name(own, tmp_path, program):
    write_vad(own, {utt: np.arange(len(matrix)) < 1 for utt, matrix in kaldiio.load_scp(str(own / "feats.scp")).items()})
    done = program(STATS, own, tmp_path / "out")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"extract_stats.py: {own}/feats.scp: 8 utterances have fewer than 2 voiced frames, ")
    assert done.stderr.endswith(": s0-0, s0-1, s0-2, s0-3, s1-0, …; leave them out with utils/subset_data_dir.py --min-voiced-frames 2\n")


def test_a_network_that_sees_padding_gets_batches_of_one_length():
    from pytorch.extraction import plan_batches

    lengths = np.array([50, 49, 50, 30, 50])
    assert plan_batches(lengths, 1000) == [[0, 2, 4, 1], [3]]
    assert plan_batches(lengths, 1000, masks_padding=False) == [[0, 2, 4], [1], [3]]
