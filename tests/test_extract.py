"""steps/extract.py and steps/extract_stats.py: one vector for each utterance, the same however the work is split."""

import hashlib
import json
import re
import shutil

import kaldiio
import numpy as np
import pytest
import soundfile
from experiments import call, write_experiment
from support import failure, write_feats, write_vad

from pytorch.data.ark import ArkReader
from pytorch.data.data_dir import REST, DataDir, read_table, write_data_dir, write_table
from pytorch.features.options import FeatureOptions
from pytorch.files import write_json
from pytorch.program import Fail

STEP = "steps/extract.py"
STATS = "steps/extract_stats.py"

EPOCHS = "best, final, average, a number, or the folder of a validation (validate_NAME of steps/validate.py)"
REMEDY = "make the features anew, or leave feats.scp out: they are then computed from wav.scp"


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
def exp(tmp_path_factory):
    """A finished experiment; only to be read."""
    return write_experiment(tmp_path_factory.mktemp("exp") / "x", FeatureOptions(use_energy=True).to_json())


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


def assert_alike(one, other, atol=1e-5):
    assert list(one) == list(other)
    for utt in one:
        np.testing.assert_allclose(one[utt], other[utt], atol=atol, rtol=atol)


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


def test_xvector_json_says_what_the_embeddings_are_of(extracted, data):
    facts = json.loads((extracted / "xvector.json").read_text())
    assert facts["data"] == str(data)
    tables = ("utt2spk", "feats.scp", "feats.json", "vad.scp", "vad.json")
    assert facts["inputs"] == {name: hashlib.sha256((data / name).read_bytes()).hexdigest() for name in tables}


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


def test_a_network_trained_anew_stops_until_overwrite(lent, data, tmp_path, extracted, program):
    out = shutil.copytree(extracted, tmp_path / "out")
    write_experiment(lent, FeatureOptions(use_energy=True).to_json(), seed=2)
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
        ("last", f"'last' is no epoch; {EPOCHS} is expected"),
        ("-1", f"'-1' is no epoch; {EPOCHS} is expected"),
        ("²", f"'²' is no epoch; {EPOCHS} is expected"),
        ("1.0", f"'1.0' is no epoch; {EPOCHS} is expected"),
    ],
)
def test_an_epoch_that_is_not_there_is_refused(which, message, exp, data, tmp_path, program):
    assert_refused(program(STEP, "--epoch", which, exp, data, tmp_path / "out"), "extract.py", f"{exp}: {message}")
    assert not (tmp_path / "out").exists()


def test_features_with_other_settings_are_refused_with_both_sides(exp, own, tmp_path, program):
    write_json(own / "feats.json", FeatureOptions(use_energy=True, low_freq=100).to_json())
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{own}/feats.json: made with --low-freq 100, {exp} was trained on 20.0; {REMEDY}")
    write_json(own / "feats.json", FeatureOptions(feature="mfcc").to_json())
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{own}/feats.json: made with --feature mfcc, {exp} was trained on fbank; {REMEDY}")
    (own / "vad.scp").unlink()
    assert program(STEP, exp, own, tmp_path / "out").stderr == done.stderr, "decisions would be of no use"
    write_json(own / "feats.json", FeatureOptions().to_json())
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{own}/feats.json: made with --use-energy false, {exp} was trained on true; {REMEDY}")


def test_feature_settings_without_names_are_refused(exp, own, tmp_path, program):
    (own / "feats.json").write_text("[]")
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{own}/feats.json: made with --feature null, {exp} was trained on fbank; {REMEDY}")


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
        (lambda exp, data: (exp / "best").write_text("x\n"), f"{{exp}}: 'x' is no epoch; {EPOCHS} is expected"),
        (
            lambda exp, data: [(data / name).unlink() for name in ("feats.scp", "wav.scp")],
            "{data}/feats.scp: no such file; make it with steps/make_feats.py {data}",
        ),
        (
            lambda exp, data: (data / "vad.scp").unlink(),
            "{data}/vad.scp: no such file; {exp} was trained on voiced frames, which are not decided on here; make it with steps/compute_vad.py {data}",
        ),
        (lambda exp, data: shutil.rmtree(data), "{data}: no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py"),
    ],
    ids=["no model.json", "nonsense in best", "no features", "no decisions", "no data"],
)
def test_what_is_missing_is_named_with_the_remedy(spoil, message, lent, own, tmp_path, program):
    spoil(lent, own)
    done = program(STEP, lent, own, tmp_path / "out")
    assert_refused(done, "extract.py", message.format(exp=lent, data=own))
    assert not (tmp_path / "out").exists()


def test_voiced_frames_that_were_found_otherwise_than_in_training_are_refused(own, tmp_path, program):
    settings = json.loads((own / "feats.json").read_text())
    exp = write_experiment(tmp_path / "x", settings, vad={"vad_energy_threshold": 5.5, "vad_energy_mean_scale": 0.5})
    what = f"{own}/vad.json: decided with --vad-energy-threshold 5.0, {exp} was trained on 5.5"
    done = program(STEP, exp, own, tmp_path / "out")
    assert_refused(done, "extract.py", f"{what}; decide anew as there, with steps/compute_vad.py --overwrite true")
    write_json(own / "vad.json", {"made_by": "another program"})
    assert program(STEP, exp, own, tmp_path / "out").returncode == 0


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
        (["--epochs", "1"], "unknown option --epochs (is --epoch meant?)"),
        (["--num-mel-bins", "40"], "unknown option --num-mel-bins"),
    ],
)
def test_a_wrong_option_ends_with_status_2(words, message, exp, data, tmp_path, program):
    done = program(STEP, *words, exp, data, tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr.replace(" 1\n", "\n").replace(" 40\n", "\n")


# ---- from recordings


WAVE = {"input": "wave", "sample_frequency": 16000.0}
SINC = {"sinc_dim": "8", "conv_dim": "6", "frame_dim": "8", "stats_dim": "8", "embed_dim": "6"}
FEATURES = FeatureOptions(num_mel_bins=24)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    """{utt: (samples,) int16}: noise of 0.5 to 1.2 s, each with a colour of its own"""
    chance = np.random.default_rng(5)
    return {f"s{number}-0": np.convolve(chance.standard_normal(8000 + 1700 * number) * 3000, chance.random(9)).astype(np.int16) for number in range(7)}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, sounds):
    """A data directory of WAV files without features; only to be read, but for what is packed."""
    return write_recordings(tmp_path_factory.mktemp("recorded"), sounds)


def write_recordings(folder, sounds):
    for utt, samples in sounds.items():
        soundfile.write(folder / f"{utt}.wav", samples, 16000)
    write_data_dir(folder / "data", {utt: folder / f"{utt}.wav" for utt in sounds}, {utt: utt[:2] for utt in sounds})
    return folder / "data"


@pytest.fixture(scope="module")
def raw_exp(tmp_path_factory):
    """A network of waveforms; only to be read."""
    return write_experiment(tmp_path_factory.mktemp("raw") / "x", WAVE, "sinctdnn", SINC, 1, "none", False)


@pytest.fixture(scope="module")
def feature_exp(tmp_path_factory):
    """A network of features, all frames; only to be read."""
    return write_experiment(tmp_path_factory.mktemp("features") / "x", FEATURES.to_json(), voiced=False)


def embedded(*words):
    assert call("extract", *words).endswith(f" by epoch 2 of {words[-3]}\n")
    return vectors_in(words[-1])


@pytest.mark.parametrize(("name", "args"), [("sinctdnn", SINC), ("xvector_mfcc", {"frame_dim": "8", "stats_dim": "8", "embed_dim": "6"})])
def test_networks_of_waveforms_embed_each_recording_as_if_it_were_alone(name, args, recorded, sounds, tmp_path):
    import torch

    from pytorch.experiment import Experiment

    exp = write_experiment(tmp_path / "x", WAVE, name, args, 1, "none", False)
    found = embedded("--batch-frames", 300, exp, recorded, tmp_path / "xv")
    model = Experiment(exp).load(2, torch.device("cpu"))
    with torch.inference_mode():
        alone = {utt: model.embed(torch.from_numpy(samples).float()[None])[0].numpy() for utt, samples in sounds.items()}
    assert_alike(found, alone, 1e-4)


@pytest.mark.parametrize("which", ["raw_exp", "feature_exp"])
def test_embeddings_of_recordings_are_the_same_however_they_are_batched_and_shared_out(which, recorded, tmp_path, program, request):
    exp = request.getfixturevalue(which)
    alone = embedded("--batch-frames", 1, exp, recorded, tmp_path / "alone")
    one = embedded("--batch-frames", 350, exp, recorded, tmp_path / "one")
    done = program(STEP, "--batch-frames", 350, "--nj", 2, exp, recorded, tmp_path / "two")
    assert (done.returncode, done.stderr) == (0, "")
    two = vectors_in(tmp_path / "two")
    assert_alike(one, alone, 1e-4)
    for utt in one:
        np.testing.assert_array_equal(one[utt], two[utt], strict=True)
    assert call("extract", "--batch-frames", 350, exp, recorded, tmp_path / "one") == f"extract: the embeddings in {tmp_path / 'one'} are there\n"


def test_features_come_from_recordings_where_none_are_stored_which_is_said(recorded, feature_exp, tmp_path, program):
    done = program(STEP, feature_exp, recorded, tmp_path / "from_recordings")
    assert (done.returncode, done.stderr) == (0, "")
    said = f"extract: {recorded} has no feats.scp: the features are computed from its recordings, with the settings of {feature_exp}\n"
    assert done.stdout.startswith(said)
    shutil.copytree(recorded, tmp_path / "data")
    call("make_feats", "--num-mel-bins", 24, "--compress", 0, tmp_path / "data")
    said = f"extract: 7 embeddings of {tmp_path / 'data'} in {tmp_path / 'from_features'}, by epoch 2 of {feature_exp}\n"
    assert call("extract", feature_exp, tmp_path / "data", tmp_path / "from_features") == said
    assert_alike(vectors_in(tmp_path / "from_recordings"), vectors_in(tmp_path / "from_features"), 1e-4)


@pytest.mark.parametrize("options", [{"dither": 1.0}, {"snip_edges": False, "delta_order": 1, "num_mel_bins": 12}], ids=["dither", "derivatives"])
def test_features_of_recordings_are_made_with_all_settings(options, recorded, tmp_path):
    options = FeatureOptions(**{"num_mel_bins": 24, **options})
    exp = write_experiment(tmp_path / "x", options.to_json(), voiced=False)
    data = shutil.copytree(recorded, tmp_path / "data")
    words = [f"--{name.replace('_', '-')}={str(value).lower()}" for name, value in options.to_json().items()]
    call("make_feats", *words, "--compress", 0, data)
    stored = embedded(exp, data, tmp_path / "stored")
    (data / "feats.scp").unlink()
    assert_alike(embedded(exp, data, tmp_path / "computed"), stored, 1e-4)


def test_voiced_frames_are_selected_from_the_features_of_recordings(recorded, tmp_path):
    exp = write_experiment(tmp_path / "x", FEATURES.to_json())
    data = shutil.copytree(recorded, tmp_path / "data")
    call("make_feats", "--num-mel-bins", 24, "--compress", 0, data)
    chance = np.random.default_rng(1)
    write_vad(data, {utt: chance.random(len(matrix)) < 0.7 for utt, matrix in kaldiio.load_scp(str(data / "feats.scp")).items()})
    stored = embedded(exp, data, tmp_path / "stored")
    (data / "feats.scp").unlink()
    assert_alike(embedded(exp, data, tmp_path / "computed"), stored, 1e-4)


def test_embeddings_of_real_recordings_and_of_their_features_agree(corpora, feature_exp, raw_exp, tmp_path):
    paths = dict(sorted((f"{path.parent.name}-{path.stem}", path) for path in (corpora / "an4/wav").glob("*/*/*.wav"))[::90])
    write_data_dir(tmp_path / "data", paths, {utt: utt.partition("-")[0] for utt in paths})
    computed = embedded(feature_exp, tmp_path / "data", tmp_path / "computed")
    one = embedded(raw_exp, tmp_path / "data", tmp_path / "one")
    assert_alike(embedded("--batch-frames", 1, raw_exp, tmp_path / "data", tmp_path / "other"), one, 1e-4)
    call("make_feats", "--num-mel-bins", 24, "--compress", 0, tmp_path / "data")
    assert_alike(embedded(feature_exp, tmp_path / "data", tmp_path / "stored"), computed, 1e-3)


def test_recordings_that_changed_stop_until_overwrite(raw_exp, sounds, tmp_path, program):
    data, out = write_recordings(tmp_path, sounds), tmp_path / "xv"
    before = embedded(raw_exp, data, out)
    soundfile.write(tmp_path / "s0-0.wav", sounds["s0-0"][::2], 16000)
    message = f"{out}: extract was done otherwise: audio has changed. Pass --overwrite true to do it anew"
    assert_refused(program(STEP, raw_exp, data, out), "extract.py", message)
    after = embedded("--overwrite", "true", raw_exp, data, out)
    assert [utt for utt in after if not np.allclose(after[utt], before[utt], atol=1e-4)] == ["s0-0"]


def test_the_channel_of_recordings_is_an_option(raw_exp, sounds, tmp_path, program):
    stereo = {utt: np.stack([np.zeros_like(samples), samples], axis=1) for utt, samples in sounds.items()}
    data = write_recordings(tmp_path, stereo)
    done = program(STEP, raw_exp, data, tmp_path / "xv")
    assert done.returncode == 1
    assert f"extract.py: {data}: its recordings were not packed, see above; mend them, or leave up to N out with `steps/pack_wavs.py " in done.stderr
    mono = tmp_path / "mono"
    mono.mkdir()
    expected = embedded(raw_exp, write_recordings(mono, sounds), tmp_path / "expected")
    assert_alike(embedded("--channel", 1, raw_exp, data, tmp_path / "xv"), expected)


@pytest.mark.parametrize("words", [["--channel", 0], ["--resample", "true"], ["--allow-cmd", "x"]])
def test_options_of_recordings_are_refused_where_features_are_stored(words, exp, data, tmp_path, program):
    message = f"{words[0]}: of recordings, but {data}/feats.scp has features that are computed already; leave it out"
    assert_refused(program(STEP, *words, exp, data, tmp_path / "out"), "extract.py", message)


def test_decisions_on_voiced_frames_are_not_made_on_the_fly(recorded, exp, tmp_path, program):
    remedy = f"make it with steps/make_feats.py and steps/compute_vad.py {recorded}"
    message = f"{recorded}/vad.scp: no such file; {exp} was trained on voiced frames, which are not decided on here; {remedy}"
    assert_refused(program(STEP, exp, recorded, tmp_path / "out"), "extract.py", message)


def test_features_made_in_several_steps_are_not_computed_on_the_fly(recorded, tmp_path, program):
    exp = write_experiment(tmp_path / "x", FEATURES.to_json() | {"cmn": "sliding", "cmn_window": 300}, voiced=False)
    message = f"{exp}/model.json: its features were made with cmn, cmn_window, which cannot be computed from recordings here; make them by the same steps"
    assert_refused(program(STEP, exp, recorded, tmp_path / "out"), "extract.py", message)


def test_recordings_too_short_for_the_network_are_refused_by_name(raw_exp, sounds, tmp_path):
    data = write_recordings(tmp_path, sounds | {"s8-0": sounds["s0-0"][:2510]})
    wav_scp, remedy = data / "packed/16000/wav.scp", "leave them out with utils/subset_data_dir.py --min-dur 0.157"
    message = f"{wav_scp}: 1 utterances have fewer than 2511 samples, the least the network takes: s8-0; {remedy}"
    assert failure(call, "extract", raw_exp, data, tmp_path / "xv") == message


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


def test_a_cpu_takes_small_batches_and_a_card_large_ones_unless_it_is_told():
    import torch

    from pytorch.extraction import frames_at_once

    assert [frames_at_once(asked, torch.device(name)) for name in ("cpu", "cuda") for asked in (None, 77)] == [500, 77, 20000, 77]


# ---- precision


def test_in_bf16_embeddings_are_nearly_the_same_and_say_so(exp, data, extracted, tmp_path):
    out = tmp_path / "bf16"
    call("extract", "--batch-frames", 200, "--precision", "bf16", exp, data, out)
    found, exact = vectors_in(out), vectors_in(extracted)
    differences = [np.linalg.norm(found[utt] - exact[utt]) / np.linalg.norm(exact[utt]) for utt in exact]
    assert 1e-5 < max(differences) < 0.05
    facts = [json.loads((folder / "xvector.json").read_text()) for folder in (out, extracted)]
    assert [one.get("precision") for one in facts] == ["bf16", None]


def test_embeddings_of_another_precision_are_not_taken_for_those_asked_for(exp, data, tmp_path):
    out = tmp_path / "xv"
    call("extract", exp, data, out)
    message = failure(call, "extract", "--precision", "bf16", exp, data, out)
    assert "precision" in message and "--overwrite true" in message


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
    message = f"{own}/vad.scp: no such file; only voiced frames are read unless --voiced false; for those make it with steps/compute_vad.py {own}"
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


# ---- layers, chunks, forms


@pytest.fixture(scope="module")
def kaldi_toy(tmp_path_factory, golden, program):
    """Kaldi's toy network as an experiment, and a data directory of its features; only to be read."""
    folder = tmp_path_factory.mktemp("kaldi")
    text = (golden / "xvector_toy_feats.txt").read_text()
    feats = {key: np.array([row.split() for row in body.strip().split("\n")], dtype=np.float32) for key, body in re.findall(r"(\S+)  \[(.*?)\]", text, re.S)}
    write_data_dir(folder / "data", {utt: f"/nowhere/{utt}.wav" for utt in feats}, {utt: utt[:2] for utt in feats})
    write_feats(folder / "data", feats)
    done = program("utils/import_kaldi_nnet3.py", "--voiced", "false", golden / "xvector_toy_final.txt", folder / "data", folder / "exp")
    assert (done.returncode, done.stderr) == (0, "")
    return folder / "exp", folder / "data"


def test_chunks_give_kaldis_embeddings(kaldi_toy, golden, tmp_path):
    """nnet3-xvector-compute --chunk-size 50 --min-chunk-size 25"""
    call("extract", "--chunk-size", 50, "--min-chunk-size", 25, *kaldi_toy, tmp_path / "xv")
    found = vectors_in(tmp_path / "xv")
    text = (golden / "xvector_toy_chunk50_min25.txt").read_text()
    expected = {key: np.array(words.split(), dtype=np.float32) for key, words in re.findall(r"(\S+)  \[(.*?)\]", text, re.S)}
    assert sorted(found) == sorted(expected)
    for utt in expected:
        np.testing.assert_allclose(found[utt], expected[utt], rtol=0, atol=1e-4)
    facts = json.loads((tmp_path / "xv/xvector.json").read_text())
    assert (facts["chunk_size"], facts["min_chunk_size"]) == (50, 25)


@pytest.mark.parametrize("which", ["raw_exp", "feature_exp"])
def test_chunks_of_recordings_are_the_same_however_they_are_batched(which, recorded, tmp_path, request):
    exp, words = request.getfixturevalue(which), ["--chunk-size", 40, "--min-chunk-size", 25]
    alone = embedded(*words, "--batch-frames", 1, exp, recorded, tmp_path / "alone")
    assert_alike(embedded(*words, "--batch-frames", 350, exp, recorded, tmp_path / "one"), alone, 1e-4)
    whole = embedded("--min-chunk-size", 25, exp, recorded, tmp_path / "whole")
    assert_alike(whole, embedded(exp, recorded, tmp_path / "uncut"), 1e-4)
    assert not np.allclose(whole["s6-0"], alone["s6-0"], atol=1e-6, rtol=0)


def test_chunks_are_cut_from_utterances_whose_mean_is_subtracted_already(exp, data, tmp_path):
    import torch

    from pytorch.experiment import Experiment

    found = embedded("--chunk-size", 30, exp, data, tmp_path / "xv")
    model = Experiment(exp).load(2, torch.device("cpu"))
    for utt, frames in voiced_frames(data).items():
        frames = torch.from_numpy(frames - frames.mean(0))
        pieces = list(frames.split(30))
        lengths = [len(piece) for piece in pieces]
        missing = max(0, 15 - lengths[-1])
        last = pieces[-1]
        pieces[-1] = torch.cat([last[:1].repeat(missing // 2, 1), last, last[-1:].repeat(missing - missing // 2, 1)])
        with torch.inference_mode():
            expected = sum(model.embed(piece[None])[0] * length for piece, length in zip(pieces, lengths, strict=True)) / sum(lengths)
        np.testing.assert_allclose(found[utt], expected.numpy(), atol=1e-4, rtol=1e-4)


def test_utterances_shorter_than_the_network_takes_are_padded_where_that_is_asked_for(exp, own, tmp_path):
    write_vad(own, {utt: np.arange(len(matrix)) < (3 if utt == "s0-2" else 20) for utt, matrix in kaldiio.load_scp(str(own / "feats.scp")).items()})
    with pytest.raises(Fail):
        call("extract", exp, own, tmp_path / "out")
    assert read_table(tmp_path / "out/log/extract.failed", REST) == {"s0-2": "3 of at least 15"}
    assert len(embedded("--min-chunk-size", 15, exp, own, tmp_path / "out")) == 8
    assert not (tmp_path / "out/log/extract.failed").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--chunk-size", 14], "--chunk-size: 14 frames, but the network takes no less than 15"),
        (["--chunk-size", 20, "--min-chunk-size", 10], "--min-chunk-size: 10 frames, but the network takes no less than 15"),
        (["--layer", "fc3"], "--layer fc3: segment6, segment7 are what embeddings can be taken from"),
        (["--layer", "classes"], "{exp}: the weights of its loss were not kept; an experiment trained here has them"),
    ],
)
def test_what_the_network_cannot_do_is_refused(words, message, exp, data, tmp_path):
    assert failure(call, "extract", *words, exp, data, tmp_path / "out") == message.format(exp=exp)
    assert not (tmp_path / "out/xvector.scp").exists()


def test_a_least_length_above_the_greatest_ends_with_status_2(exp, data, tmp_path, program):
    done = program(STEP, "--chunk-size", 20, "--min-chunk-size", 30, exp, data, tmp_path / "out")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "extract.py: argument --min-chunk-size: 30 is more than --chunk-size 20; see --help\n"


def test_a_layer_by_its_name_is_the_networks(exp, data, tmp_path, program):
    import torch

    from pytorch.experiment import Experiment

    done = program(STEP, "--layer", "segment7", "--nj", 2, exp, data, tmp_path / "seven")
    assert (done.returncode, done.stderr) == (0, "")
    found = vectors_in(tmp_path / "seven")
    model = Experiment(exp).load(2, torch.device("cpu"))
    for utt, frames in voiced_frames(data).items():
        with torch.inference_mode():
            expected = model.embed(torch.from_numpy(frames - frames.mean(0))[None], layer="segment7")[0].numpy()
        np.testing.assert_allclose(found[utt], expected, atol=1e-5, rtol=1e-5)
    assert json.loads((tmp_path / "seven/xvector.json").read_text())["layer"] == "segment7"
    message = f"{tmp_path / 'seven'}: extract was done otherwise: --layer was segment7, now unset. Pass --overwrite true to do it anew"
    assert_refused(program(STEP, exp, data, tmp_path / "seven"), "extract.py", message)


@pytest.fixture(scope="module")
def classifier(tmp_path_factory):
    """An experiment with the weights of its loss, over three classes; only to be read."""
    import torch

    from pytorch.experiment import save_tensors
    from pytorch.losses import build_loss
    from pytorch.models import build_model
    from pytorch.network import Network

    folder = write_experiment(tmp_path_factory.mktemp("classes") / "x", FeatureOptions(use_energy=True).to_json())
    settings = json.loads((folder / "model.json").read_text()) | {"loss": {"name": "aam", "in_dim": 6}, "classes": ["a", "b", "c"]}
    write_json(folder / "model.json", settings)
    torch.manual_seed(0)
    network = Network(build_model("xvector", 24, settings["args"]), build_loss("aam", 6, 3, {}))
    save_tensors(folder / "epoch-002.safetensors", network.state_dict())
    return folder


def test_cosines_of_classes_are_those_of_the_loss(classifier, data, tmp_path):
    import torch

    from pytorch.experiment import Experiment

    found = embedded("--layer", "classes", classifier, data, tmp_path / "xv")
    network = Experiment(classifier).load_network(2, torch.device("cpu"))
    for utt, frames in voiced_frames(data).items():
        with torch.inference_mode():
            expected = network.loss.scores(network.model(torch.from_numpy(frames - frames.mean(0))[None]))[0].numpy()
        assert np.abs(expected).max() <= 1
        np.testing.assert_allclose(found[utt], expected, atol=1e-5, rtol=1e-5)
    assert json.loads((tmp_path / "xv/xvector.json").read_text())["classes"] == ["a", "b", "c"]


def test_a_network_that_was_not_trained_on_classes_has_no_scores_of_them(classifier, data, tmp_path):
    import torch

    from pytorch.experiment import save_tensors
    from pytorch.losses import build_loss
    from pytorch.models import build_model
    from pytorch.network import Network

    exp = shutil.copytree(classifier, tmp_path / "x")
    settings = json.loads((exp / "model.json").read_text()) | {"loss": {"name": "regression", "in_dim": 6}, "classes": []}
    write_json(exp / "model.json", settings)
    network = Network(build_model("xvector", 24, settings["args"]), build_loss("regression", 6, 0, {}, torch.arange(9.0)))
    save_tensors(exp / "epoch-002.safetensors", network.state_dict())
    message = f"--layer classes: {exp} was not trained to tell classes; name a layer of its network"
    assert failure(call, "extract", "--layer", "classes", exp, data, tmp_path / "out") == message


def test_text_and_numpy_hold_the_same_values(extracted, exp, data, tmp_path):
    out, expected = tmp_path / "out", vectors_in(extracted)
    found = embedded("--text", "true", "--npy", "true", "--batch-frames", 200, exp, data, out)
    assert (out / "xvector.ark").read_text().startswith("s0-0  [ ")
    assert_alike(found, expected, 1e-6)
    matrix = np.load(out / "xvector.npy", allow_pickle=False)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix, np.stack([expected[utt] for utt in read_table(out / "xvector.scp", REST)]), rtol=1e-5, atol=1e-6)
    (out / "xvector.npy").unlink()
    words = ["--text", "true", "--npy", "true", "--batch-frames", 200, exp, data, out]
    assert call("extract", *words) == f"extract: the embeddings in {out} are there\n"
    np.testing.assert_array_equal(np.load(out / "xvector.npy", allow_pickle=False), matrix)
    call("extract", "--overwrite", "true", *words[:2], *words[4:])
    assert not (out / "xvector.npy").exists()


def test_an_embedding_that_is_not_finite_fails_the_step_with_a_list(lent, data, tmp_path):
    import safetensors.torch

    tensors = safetensors.torch.load_file(lent / "epoch-002.safetensors")
    tensors["model.segment6.bias"][:] = float("nan")
    safetensors.torch.save_file(tensors, lent / "epoch-002.safetensors")
    failed = tmp_path / "out/log/extract.failed"
    what = f"the embedding of 's0-0' is zero or not finite (12 such, listed in {failed})"
    assert failure(call, "extract", lent, data, tmp_path / "out") == f"{data}: {what}; look at its recording, and at the network's training"
    assert read_table(failed, REST) == dict.fromkeys(read_table(data / "utt2spk"), "not finite")


# ---- means of speakers


def test_speakers_have_the_mean_of_their_utterances_and_their_number(extracted, data, tmp_path, program):
    done = program("steps/average_speakers.py", data, extracted / "xvector.scp", tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"average_speakers: means of 3 speakers, of 12 embeddings, in {tmp_path / 'out'}\n"
    vectors, means = vectors_in(extracted), kaldiio.load_scp(str(tmp_path / "out/spk_xvector.scp"))
    assert list(means) == ["s0", "s1", "s2"]
    for spk in means:
        np.testing.assert_allclose(means[spk], np.mean([vectors[f"{spk}-{number}"] for number in range(4)], 0), rtol=1e-5, atol=1e-6)
    assert (tmp_path / "out/num_utts.ark").read_text() == "s0 4\ns1 4\ns2 4\n"
    again = program("steps/average_speakers.py", data, extracted / "xvector.scp", tmp_path / "out")
    assert again.stdout == f"average_speakers: the means in {tmp_path / 'out'} are there\n"


def test_a_speakers_utterance_without_an_embedding_is_named(extracted, own, tmp_path, program):
    write_table(own / "utt2spk", {**read_table(own / "utt2spk"), "s9-0": "s9"})
    done = program("steps/average_speakers.py", own, extracted / "xvector.scp", tmp_path / "out")
    message = f"{own}/utt2spk: 's9-0' has no embedding in {extracted}/xvector.scp (1 such); extract them, or leave them out"
    assert_refused(done, "average_speakers.py", message)
