"""Recordings to embeddings and decisions: pytorch/extractor.py, gallery.py, package.py, and the programs on top of them."""

import json
import shutil

import kaldiio
import numpy as np
import pytest
import soundfile
from experiments import call, write_experiment
from support import failure

from pytorch.backend.calibration import Calibration
from pytorch.backend.folder import Backend
from pytorch.backend.pairs import pair_scores
from pytorch.backend.plda import Plda
from pytorch.data.ark import ArkReader
from pytorch.data.data_dir import write_data_dir
from pytorch.extractor import Extractor
from pytorch.features.options import FeatureOptions
from pytorch.files import sha256, write_json
from pytorch.gallery import Gallery

FEATURES = FeatureOptions(num_mel_bins=24)
PACK = "../utils/package_model"
SINC = {"sinc_dim": "8", "conv_dim": "6", "frame_dim": "8", "stats_dim": "8", "embed_dim": "6"}
KINDS = "one channel of samples expected, integers of 16 or 32 bits or floats"
SPEAKERS = ("anna", "bert", "cleo")


@pytest.fixture(scope="module")
def wavs(tmp_path_factory):
    """{name: path} of nine recordings, noise of 0.5 to 1.1 s, of each speaker in a colour of its own; only to be read."""
    folder, chance, found = tmp_path_factory.mktemp("wavs"), np.random.default_rng(3), {}
    for spk in SPEAKERS:
        colour = chance.standard_normal(12)
        for number in range(3):
            found[f"{spk}{number}"] = path = folder / f"{spk}{number}.wav"
            samples = np.convolve(chance.standard_normal(8000 + 1300 * len(found)) * 800, colour)
            soundfile.write(path, samples.clip(-32768, 32767).astype(np.int16), 16000)
    return found


@pytest.fixture(scope="module")
def data(wavs, tmp_path_factory):
    """A data directory of them."""
    folder = tmp_path_factory.mktemp("data") / "all"
    write_data_dir(folder, wavs, {utt: utt[:-1] for utt in wavs})
    return folder


@pytest.fixture(scope="module")
def exp(tmp_path_factory):
    return write_experiment(tmp_path_factory.mktemp("exp") / "x", FEATURES.to_json(), voiced=False)


@pytest.fixture(scope="module")
def extracted(exp, data, tmp_path_factory):
    """Embeddings by steps/extract.py."""
    out = tmp_path_factory.mktemp("out") / "xv"
    call("extract", exp, data, out)
    return out


@pytest.fixture(scope="module")
def vectors(extracted):
    return {utt: np.array(vector) for utt, vector in kaldiio.load_scp(str(extracted / "xvector.scp")).items()}


@pytest.fixture(scope="module")
def backend(vectors, tmp_path_factory):
    """A back-end with a PLDA of chance."""
    folder, chance = tmp_path_factory.mktemp("backend") / "b", np.random.default_rng(0)
    mean = np.mean(list(vectors.values()), 0)
    Backend(mean, chance.standard_normal((4, 6)), True, Plda(np.zeros(4), np.eye(4), np.array([4.0, 3.0, 2.0, 1.0]))).save(folder, {})
    return folder


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    path = tmp_path_factory.mktemp("calibration") / "c.json"
    Calibration(["scores"], [], [10.0], -4.0, 0.5, {}).save(path)
    return path


@pytest.fixture(scope="module")
def extractor(exp):
    return Extractor(exp, threshold=0.5)


def cosine(one, other):
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def close(one, other, atol=1e-4):
    np.testing.assert_allclose(one, other, atol=atol, rtol=atol)


# ---- embeddings


def test_a_recordings_embedding_is_the_one_that_extraction_gives(extractor, wavs, vectors):
    assert extractor.embed(wavs["bert1"]).dtype == np.float32
    close(extractor.embed_all(wavs.values()), np.stack([vectors[utt] for utt in wavs]))


def test_networks_of_waveforms_and_other_batches_make_no_difference(wavs, data, tmp_path):
    exp = write_experiment(tmp_path / "x", {"input": "wave", "sample_frequency": 16000.0}, "sinctdnn", SINC, 1, "none", False)
    call("extract", exp, data, tmp_path / "xv")
    expected = kaldiio.load_scp(str(tmp_path / "xv/xvector.scp"))
    for batch_frames in (20000, 1):
        close(Extractor(exp, batch_frames=batch_frames).embed_all(wavs.values()), np.stack([expected[utt] for utt in wavs]))


def test_voiced_frames_are_found_as_compute_vad_finds_them(wavs, tmp_path):
    options = FeatureOptions(num_mel_bins=23, use_energy=True)
    exp = write_experiment(tmp_path / "x", options.to_json())
    own, names = tmp_path / "data", list(wavs)
    for utt, path in wavs.items():
        samples, rate = soundfile.read(path, dtype="int16")
        samples[len(samples) // 2 :] //= 200  # the second half is hardly heard
        soundfile.write(tmp_path / f"{utt}.wav", samples, rate)
    write_data_dir(own, {utt: tmp_path / f"{utt}.wav" for utt in names}, {utt: utt[:-1] for utt in names})
    call("make_feats", "--num-mel-bins", 23, "--use-energy", "true", "--compress", 0, own)
    call("compute_vad", "--vad-energy-threshold", 5.5, own)
    call("extract", exp, own, tmp_path / "xv")
    expected = kaldiio.load_scp(str(tmp_path / "xv/xvector.scp"))
    recordings = [tmp_path / f"{utt}.wav" for utt in names]
    close(Extractor(exp, vad=own / "vad.json").embed_all(recordings), np.stack([expected[utt] for utt in names]))
    knows = write_experiment(tmp_path / "knows", options.to_json(), vad=json.loads((own / "vad.json").read_text()))
    close(Extractor(knows).embed_all(recordings), np.stack([expected[utt] for utt in names]))
    write_json(tmp_path / "other.json", {**json.loads((own / "vad.json").read_text()), "vad_energy_threshold": 3.0})
    found, told = (Extractor(one, vad=tmp_path / "other.json").embed_all(recordings) for one in (knows, exp))
    np.testing.assert_array_equal(found, told)
    assert not np.allclose(found, np.stack([expected[utt] for utt in names]), atol=1e-3)


@pytest.mark.parametrize("vad", [None, {"vad_energy_threshold": 5.0}, {"made_by": "another program"}, [5.0]])
def test_a_network_that_does_not_tell_how_voiced_frames_are_found_asks_for_it(tmp_path, vad):
    exp = write_experiment(tmp_path / "x", FeatureOptions(use_energy=True).to_json(), vad=vad)
    remedy = "say it with a vad.json of steps/compute_vad.py (--vad FILE), best that of the training data"
    assert failure(Extractor, exp) == f"{exp}: was trained on voiced frames and does not tell how they are found; {remedy}"


def test_samples_at_hand_are_recordings_too(extractor, wavs, vectors):
    for dtype in ("int16", "float32", "float64", "int32"):
        samples, rate = soundfile.read(wavs["cleo2"], dtype=dtype)
        close(extractor.embed((samples, rate)), vectors["cleo2"])


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (
            (np.zeros((2, 8000), dtype=np.int16), 16000),
            f"recording 0: {KINDS}, not int16 (2, 8000)",
        ),
        ((np.zeros(8000, dtype=np.uint8), 16000), f"recording 0: {KINDS}, not uint8 (8000,)"),
        ((np.zeros(0), 16000), f"recording 0: {KINDS}, not float64 (0,)"),
        ((np.zeros(8000), 8000), "recording 0: 8000 Hz, 16000 Hz expected; convert it with --resample true, or set --sample-frequency where a program has it"),
        ((np.full(8000, np.nan), 16000), "recording 0: samples that are not finite"),
        (3, "recording 0: a path or (samples, rate) expected"),
        ("/nowhere/a.wav", "/nowhere/a.wav: No such file or directory"),
        ((np.ones(800, dtype=np.int16), 16000), "recording 0: 3 frames, but the network takes no less than 15"),
    ],
)
def test_what_is_no_recording_is_refused(audio, message, extractor):
    assert failure(extractor.embed, audio) == message


def test_recordings_of_another_rate_are_converted_where_that_is_asked_for(exp, tmp_path):
    tone = np.sin(np.arange(24000) / 20) * 8000 + np.random.default_rng(0).standard_normal(24000) * 500
    soundfile.write(tmp_path / "a.wav", tone.astype(np.int16), 8000)
    assert Extractor(exp, resample=True).embed(tmp_path / "a.wav").shape == (6,)
    message = f"{tmp_path}/a.wav: 8000 Hz, 16000 Hz expected; convert it with --resample true, or set --sample-frequency where a program has it"
    assert failure(Extractor(exp).embed, tmp_path / "a.wav") == message


# ---- steps/embed.py


def test_embeddings_are_printed_beside_their_files(exp, wavs, vectors, program):
    done = program("steps/embed.py", exp, wavs["anna0"], wavs["bert0"])
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    assert [(line[0], line[1], line[-1]) for line in lines] == [(str(wavs[name]), "[", "]") for name in ("anna0", "bert0")]
    close(np.array([line[2:-1] for line in lines], dtype=float), np.stack([vectors["anna0"], vectors["bert0"]]))


@pytest.mark.parametrize("name", ["x.npy", "x.ark", "x.txt"])
def test_embeddings_are_written_in_the_form_that_is_named(name, exp, wavs, vectors, tmp_path):
    files = [wavs["bert0"], wavs["anna0"]]
    assert call("embed", "--out", tmp_path / name, exp, *files) == f"embed: 2 embeddings of 6 dimensions in {tmp_path / name}\n"
    if name == "x.npy":
        found = np.load(tmp_path / name, allow_pickle=False)
    else:
        by_id = kaldiio.load_scp(str(tmp_path / "x.scp")) if name == "x.ark" else {utt: ArkReader(tmp_path / "x.scp")[utt] for utt in ("anna0", "bert0")}
        assert list(by_id) == ["anna0", "bert0"]
        found = [by_id["bert0"], by_id["anna0"]]
    close(found, [vectors["bert0"], vectors["anna0"]])


def test_two_files_of_one_id_are_refused(exp, wavs, tmp_path):
    other = shutil.copy(wavs["anna0"], tmp_path / "anna0.flac")
    remedy = "write a .npy, or make a data directory with utils/import_list.py"
    message = f"{other}: has the id 'anna0', as {wavs['anna0']} has; {remedy}"
    assert failure(call, "embed", "--out", tmp_path / "x.ark", exp, wavs["anna0"], other) == message


def test_a_file_that_is_not_there_is_named_before_torch_is_loaded(exp, program):
    done = program("steps/embed.py", exp, "/nowhere/a.wav")
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "embed.py: /nowhere/a.wav: no such file\n")


def test_a_form_that_is_not_known_ends_with_status_2(exp, wavs, program):
    done = program("steps/embed.py", "--out", "x.pkl", exp, wavs["anna0"])
    assert (done.returncode, done.stderr) == (2, "embed.py: argument --out: x.pkl: a name that ends in .npy, .ark or .txt expected; see --help\n")


# ---- steps/verify.py


def test_two_recordings_are_compared_by_their_cosine(exp, wavs, vectors, extractor):
    score = cosine(vectors["anna0"], vectors["bert0"])
    assert float(call("verify", exp, wavs["anna0"], wavs["bert0"]).removeprefix("score ")) == pytest.approx(score, abs=1e-4)
    decision = extractor.verify(wavs["anna0"], wavs["bert0"])
    assert decision.score == pytest.approx(score, abs=1e-4)
    assert (decision.threshold, decision.accepted, decision.llr, decision.probability) == (0.5, score >= 0.5, None, None)


def test_several_recordings_of_the_claimed_speaker_count_by_their_mean(extractor, wavs, vectors):
    mean = (vectors["anna0"] + vectors["anna1"] + vectors["anna2"]) / 3
    enrolled = [wavs[f"anna{number}"] for number in range(3)]
    assert extractor.verify(enrolled, wavs["cleo0"]).score == pytest.approx(cosine(mean, vectors["cleo0"]), abs=1e-4)


def test_a_plda_scores_as_the_scoring_of_trials_does(exp, backend, wavs, vectors):
    loaded = Backend.load(backend)
    prepared = loaded.prepare(np.stack([(vectors["anna0"] + vectors["anna1"]) / 2, vectors["bert0"]]), ["a", "b"], "x")
    expected = pair_scores(loaded.plda.models(prepared[:1], np.array([2])), loaded.plda.tests(prepared[1:], np.array([2])), [0], [0])
    found = Extractor(exp, backend=backend).verify([wavs["anna0"], wavs["anna1"]], wavs["bert0"])
    assert found.score == pytest.approx(float(expected[0]), abs=1e-3)


def test_scores_agree_with_those_of_the_steps(exp, backend, extracted, wavs, tmp_path):
    (tmp_path / "trials").write_text("anna0 bert0 nontarget\nanna0 anna1 target\n")
    for scoring, step in (("cosine", "score_cosine"), ("plda", "score_plda")):
        words = [backend] if scoring == "plda" else []
        options = ["--backend", backend] if scoring == "cosine" else []
        call(step, *options, *words, tmp_path / "trials", extracted / "xvector.scp", tmp_path / scoring)
        scores = [float(line.split()[2]) for line in (tmp_path / scoring).read_text().splitlines()]
        extractor = Extractor(exp, backend=backend, scoring=scoring)
        assert [extractor.verify(wavs["anna0"], wavs[test]).score for test in ("bert0", "anna1")] == pytest.approx(scores, abs=1e-3)


def test_a_calibration_gives_a_ratio_a_probability_and_a_threshold(exp, calibration, wavs):
    decision = Extractor(exp, calibration=calibration).verify(wavs["anna0"], wavs["bert0"])
    assert decision.threshold == pytest.approx(0.4)
    assert decision.llr == pytest.approx(10 * decision.score - 4)
    assert decision.probability == pytest.approx(1 / (1 + np.exp(-decision.llr)))
    assert decision.accepted == (decision.score >= 0.4)
    assert Extractor(exp, calibration=calibration, threshold=0.9).threshold == 0.9


def test_the_answer_is_in_words_or_json(exp, calibration, wavs, program):
    done = program("steps/verify.py", "--threshold", -1, "--calibration", calibration, exp, wavs["anna0"], wavs["anna0"])
    assert (done.returncode, done.stderr) == (0, "")
    same = "score 1; at or above the threshold -1: the same speaker; log-likelihood ratio 6, probability of one speaker 0.9975 (prior 0.5)\n"
    assert done.stdout == same
    found = json.loads(call("verify", "--json", "true", "--threshold", 2, exp, wavs["anna0"], wavs["bert0"]))
    assert list(found) == ["score", "threshold", "accepted", "llr", "probability", "prior"]
    assert (found["threshold"], found["accepted"], found["llr"]) == (2, False, None)
    assert "; below the threshold 2: another speaker\n" in call("verify", "--threshold", 2, exp, wavs["anna0"], wavs["bert0"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"scoring": "plda"}, "scoring plda: . has none; train one with steps/train_backend.py, or score by cosine"),
        ({"scoring": "svm"}, "scoring svm: cosine, plda expected"),
        ({"layer": "fc3"}, "--layer fc3: segment6, segment7 are what embeddings can be taken from"),
        ({"vad": "v.json"}, "v.json: {exp} was not trained on voiced frames; leave out what decides on them"),
        ({"epoch": "7"}, "{exp}: no weights of epoch 7; there are 1, 2"),
        ({"device": "gpu"}, "--device gpu: auto, cpu, cuda or cuda:N expected"),
    ],
)
def test_an_extractor_that_cannot_be_is_refused(words, message, exp):
    assert failure(Extractor, exp, **words) == message.format(exp=exp)


def test_calibrations_of_other_scores_are_refused(exp, tmp_path):
    path = tmp_path / "c.json"
    Calibration(["a", "b"], [], [1.0, 1.0], 0.0, 0.5, {}).save(path)
    what = "fuses several systems or asks for measures of quality, but here is one score; train a calibration of it alone"
    assert failure(Extractor, exp, calibration=path) == f"{path}: {what}"
    Calibration(["a"], [], [-1.0], 0.0, 0.5, {}).save(path)
    assert failure(Extractor, exp, calibration=path) == f"{path}: higher scores mean lower ratios in it; train it anew"


def test_one_recording_alone_ends_with_status_2(exp, wavs, program):
    done = program("steps/verify.py", exp, wavs["anna0"])
    assert (done.returncode, done.stderr) == (2, "verify.py: two recordings or more are needed; see --help\n")


# ---- galleries


@pytest.fixture
def gallery(exp, wavs, tmp_path):
    path = tmp_path / "staff.gallery"
    said = call("enrol", exp, path, f"anna={wavs['anna0']}", f"anna={wavs['anna1']}", f"bert={wavs['bert0']}")
    assert said == f"enrol: 3 utterances of 2 speakers enrolled; 2 are in {path}\n"
    return path


def test_a_gallery_has_the_mean_of_each_speakers_utterances(gallery, vectors):
    speakers = Gallery.load(gallery).speakers
    assert {spk: count for spk, (_, count) in speakers.items()} == {"anna": 2, "bert": 1}
    close(speakers["anna"][0], (vectors["anna0"] + vectors["anna1"]) / 2)


def test_speakers_are_added_replaced_and_removed(exp, gallery, wavs, vectors):
    call("enrol", exp, gallery, f"cleo={wavs['cleo0']}")
    assert sorted(Gallery.load(gallery).speakers) == ["anna", "bert", "cleo"]
    before = gallery.read_bytes()
    message = f"{gallery}: 'cleo' is enrolled already; pass --overwrite true to enrol the speaker anew"
    assert failure(call, "enrol", exp, gallery, f"dora={wavs['bert2']}", f"cleo={wavs['cleo1']}") == message
    assert gallery.read_bytes() == before
    call("enrol", "--overwrite", "true", exp, gallery, f"cleo={wavs['cleo1']}")
    close(Gallery.load(gallery).speakers["cleo"][0], vectors["cleo1"])
    assert call("enrol", "--remove", "true", exp, gallery, "bert", "cleo") == f"enrol: 2 speakers removed; 1 are in {gallery}\n"
    assert failure(call, "enrol", "--remove", "true", exp, gallery, "bert") == f"{gallery}: 'bert' is not enrolled"


def test_who_speaks_is_told_and_who_is_nobody_of_the_gallery_is_unknown(exp, gallery, wavs, vectors, program):
    models = {"anna": (vectors["anna0"] + vectors["anna1"]) / 2, "bert": vectors["bert0"]}
    tests = ("anna2", "bert1", "cleo1")
    best = {test: max((cosine(models[spk], vectors[test]), spk) for spk in models) for test in tests}
    threshold = np.mean(sorted(score for score, _ in best.values())[:2])
    done = program("steps/identify.py", "--threshold", threshold, exp, gallery, *(wavs[test] for test in tests))
    assert (done.returncode, done.stderr) == (0, "")
    lines = [line.split() for line in done.stdout.splitlines()]
    worst = min(best, key=best.get)
    assert [line[:2] for line in lines] == [[str(wavs[test]), "unknown" if test == worst else best[test][1]] for test in tests]
    assert [float(line[2]) for line in lines] == pytest.approx([best[test][0] for test in tests], abs=1e-4)


def test_the_best_speakers_follow_one_another(exp, gallery, calibration, wavs):
    said = call("identify", "--top", 5, "--calibration", calibration, "--threshold", 3, exp, gallery, wavs["anna2"]).splitlines()
    assert sorted(line.split()[1] for line in said) == ["anna", "bert"]
    scores, chances = ([float(line.split()[place]) for line in said] for place in (2, 3))
    assert scores == sorted(scores, reverse=True)
    assert chances == pytest.approx([1 / (1 + np.exp(4 - 10 * score)) for score in scores], abs=1e-4)
    assert [line.split()[4] for line in said] == ["below", "below"]


def test_in_a_closed_set_nobody_is_unknown(exp, gallery, wavs):
    said = call("identify", "--closed-set", "true", exp, gallery, wavs["cleo1"])
    assert said.split()[1] in ("anna", "bert")
    message = "no threshold: say one with --threshold or --calibration, or that the speaker is one of the gallery with --closed-set true"
    assert failure(call, "identify", exp, gallery, wavs["cleo1"]) == message


def test_data_directories_are_enrolled_and_identified_by_recordings_or_embeddings(exp, data, extracted, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    assert call("enrol", exp, one, data) == f"enrol: 9 utterances of 3 speakers enrolled; 3 are in {one}\n"
    call("enrol", "--xvectors", extracted / "xvector.scp", exp, other, data)
    for spk in SPEAKERS:
        close(Gallery.load(one).speakers[spk][0], Gallery.load(other).speakers[spk][0])
    words = ["--threshold", -2, "--out", tmp_path / "found"]
    assert call("identify", *words, exp, one, data) == f"identify: 9 recordings, 0 of them of unknown speakers, in {tmp_path / 'found'}\n"
    found = [line.split() for line in (tmp_path / "found").read_text().splitlines()]
    call("identify", *words, "--xvectors", extracted / "xvector.scp", exp, one, data)
    again = [line.split() for line in (tmp_path / "found").read_text().splitlines()]
    assert [line[:2] for line in found] == [line[:2] for line in again]
    assert len(found) == 9


def test_an_utterance_that_cannot_be_embedded_is_named(exp, wavs, tmp_path):
    soundfile.write(tmp_path / "short.wav", np.ones(900, dtype=np.int16), 16000)
    write_data_dir(tmp_path / "data", {"a-0": wavs["anna0"], "a-1": tmp_path / "short.wav"}, {"a-0": "a", "a-1": "a"})
    message = f"{tmp_path}/data: 'a-1': 4 frames, but the network takes no less than 15"
    assert failure(call, "enrol", exp, tmp_path / "g", tmp_path / "data") == message
    assert not (tmp_path / "g").exists()


def test_thousands_of_speakers_are_told_apart_at_once(extractor):
    chance = np.random.default_rng(0)
    gallery, own = Gallery.of(extractor), chance.standard_normal((5000, 6)).astype(np.float32)
    for number, vector in enumerate(own):
        gallery.enrol(f"s{number:04d}", vector[None])
    found = extractor.identify_vectors(gallery, own[::7])
    assert [entries[0][0] for entries in found] == [f"s{number:04d}" for number in range(0, 5000, 7)]
    assert all(entries[0][1].score == pytest.approx(1, abs=1e-5) for entries in found)


def test_an_empty_gallery_knows_nobody(extractor, vectors, tmp_path):
    gallery = Gallery.of(extractor)
    message = "nobody is enrolled in the gallery; do that first, with steps/enrol.py"
    assert failure(extractor.identify_vectors, gallery, np.stack(list(vectors.values()))) == message
    gallery.save(tmp_path / "g")
    assert Gallery.load(tmp_path / "g").speakers == {}


def test_a_gallery_of_another_extractor_is_refused(gallery, wavs, tmp_path):
    other = write_experiment(tmp_path / "other", FEATURES.to_json(), voiced=False, seed=2)
    message = f"{gallery}: enrolled with another extractor than {other}, not alike: weights; enrol with this one"
    assert failure(call, "enrol", other, gallery, f"dora={wavs['cleo0']}") == message
    assert failure(call, "identify", "--threshold", 0, other, gallery, wavs["cleo0"]) == message


def test_embeddings_of_another_network_are_not_enrolled(data, extracted, tmp_path):
    other = write_experiment(tmp_path / "other", FEATURES.to_json(), voiced=False, seed=2)
    message = f"{extracted}/xvector.scp: of another network or layer than {other}; extract them with it"
    assert failure(call, "enrol", "--xvectors", extracted / "xvector.scp", other, tmp_path / "g", data) == message


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda content: content[:-5], "damaged, its checksum is another; make or copy it anew"),
        (lambda content: content[:-5] + bytes([content[-5] ^ 1]) + content[-4:], "damaged, its checksum is another; make or copy it anew"),
        (lambda content: content.replace(b"anna", b"anne"), "damaged, its checksum is another; make or copy it anew"),
        (lambda content: b"", "no gallery of steps/enrol.py"),
        (lambda content: b"RIFF" + content, "no gallery of steps/enrol.py"),
        (lambda content: content.replace(b"embark gallery 1", b"embark gallery 9"), "no gallery of steps/enrol.py"),
    ],
    ids=["cut off", "one bit", "another name", "empty", "something else", "another form"],
)
def test_a_damaged_gallery_is_refused(spoil, message, gallery):
    gallery.write_bytes(spoil(gallery.read_bytes()))
    assert failure(Gallery.load, gallery) == f"{gallery}: {message}"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "the following arguments are required: speaker=file"),
        (["a=1.wav", "x"], "argument speaker=file: x: SPEAKER=FILE expected, or one data directory"),
        (["=1.wav", "b=2"], "argument speaker=file: =1.wav: SPEAKER=FILE expected, or one data directory"),
        (["--xvectors", "x.scp", "a=1.wav"], "argument --xvectors: the embeddings of a data directory; name that in place of recordings"),
    ],
)
def test_wrong_words_to_enrol_end_with_status_2(words, message, exp, tmp_path, program):
    done = program("steps/enrol.py", exp, tmp_path / "g", *words)
    assert (done.returncode, done.stderr) == (2, f"enrol.py: {message}; see --help\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--closed-set", "true", "--threshold", 1, "a.wav"], "argument --closed-set: there is no threshold in it; leave one of the two out"),
        (["--xvectors", "x.scp", "a.wav"], "argument --xvectors: the embeddings of a data directory; name that in place of recordings"),
    ],
)
def test_wrong_words_to_identify_end_with_status_2(words, message, exp, tmp_path, program):
    done = program("steps/identify.py", exp, tmp_path / "g", *words)
    assert (done.returncode, done.stderr) == (2, f"identify.py: {message}; see --help\n")


# ---- one file


@pytest.fixture(scope="module")
def package(exp, backend, calibration, tmp_path_factory):
    path = tmp_path_factory.mktemp("package") / "x.safetensors"
    said = call(PACK, "--backend", backend, "--calibration", calibration, "--threshold", 1.5, exp, path)
    assert said.startswith(f"package_model: {exp}, epoch 2, back-end, calibration, threshold 1.5 in {path}, ")
    return path


def test_a_package_decides_as_its_experiment_with_all_its_parts(package, exp, backend, calibration, wavs):
    one = Extractor(exp, backend=backend, calibration=calibration, threshold=1.5)
    other = Extractor(package)
    for test in ("anna1", "bert0"):
        assert one.verify(wavs["anna0"], wavs[test]) == other.verify(wavs["anna0"], wavs[test])
    assert one.identity == other.identity
    assert Extractor(package, scoring="cosine", threshold=0.1).decide(0.2).accepted


def test_a_package_takes_the_place_of_an_experiment_in_all_steps(package, exp, data, extracted, wavs, tmp_path):
    def arks(out):
        return (out / "xvector.sha256").read_text()

    call("extract", package, data, tmp_path / "xv")
    assert arks(tmp_path / "xv") == arks(extracted)
    words = ["--window", 0.4, "--period", 0.2]
    call("extract_windows", *words, package, data, tmp_path / "w")
    call("extract_windows", *words, exp, data, tmp_path / "v")
    assert arks(tmp_path / "w") == arks(tmp_path / "v")
    assert call("embed", package, wavs["anna0"]) == call("embed", exp, wavs["anna0"])
    call("enrol", package, tmp_path / "g", f"anna={wavs['anna0']}")
    assert call("identify", package, tmp_path / "g", wavs["anna0"]).split()[1] in ("anna", "unknown")
    call("identify", "--threshold", 0, exp, tmp_path / "g", wavs["anna0"])


def test_a_package_is_safetensors_with_the_settings_in_json(package, exp):
    import safetensors

    with safetensors.safe_open(package, "numpy") as file:
        facts = json.loads(file.metadata()["facts"])
        assert sorted(name for name in file.keys() if name.startswith("backend.")) == [  # noqa: SIM118
            "backend.mean", "backend.plda.mean", "backend.plda.psi", "backend.plda.transform", "backend.transform",
        ]  # fmt: skip
    assert facts["settings"] == json.loads((exp / "model.json").read_text())
    assert facts["identity"]["weights"] == sha256(exp / "epoch-002.safetensors")
    assert (facts["epoch"], facts["threshold"], facts["scoring"]) == (2, 1.5, "plda")


def test_a_package_remembers_layer_and_voiced_frames(exp, data, wavs, tmp_path):
    write_json(tmp_path / "vad.json", {"vad_energy_threshold": 5.0, "vad_energy_mean_scale": 0.5, "vad_frames_context": 0, "vad_proportion_threshold": 0.6})
    voiced = write_experiment(tmp_path / "x", FeatureOptions(use_energy=True).to_json())
    call(PACK, "--layer", "segment7", "--vad", tmp_path / "vad.json", voiced, tmp_path / "p")
    knows = write_experiment(tmp_path / "y", FeatureOptions(use_energy=True).to_json(), vad=json.loads((tmp_path / "vad.json").read_text()))
    call(PACK, "--layer", "segment7", knows, tmp_path / "q")
    np.testing.assert_array_equal(Extractor(tmp_path / "p").embed(wavs["anna0"]), Extractor(tmp_path / "q").embed(wavs["anna0"]))
    one, other = Extractor(voiced, layer="segment7", vad=tmp_path / "vad.json"), Extractor(tmp_path / "p")
    np.testing.assert_array_equal(one.embed(wavs["anna0"]), other.embed(wavs["anna0"]))
    assert not np.allclose(other.embed(wavs["anna0"]), Extractor(voiced, vad=tmp_path / "vad.json").embed(wavs["anna0"]), atol=1e-3)


def test_what_a_package_does_not_hold_is_refused(package, data, tmp_path):
    message = f"{package}: holds epoch 2 alone, not '1'; leave --epoch out, or name the experiment directory"
    assert failure(call, "extract", "--epoch", 1, package, data, tmp_path / "xv") == message
    message = f"{package}: holds no loss, so no scores of classes; name the experiment directory"
    assert failure(call, "extract", "--layer", "classes", package, data, tmp_path / "xv") == message


def test_a_damaged_package_is_refused(package, tmp_path, program):
    content = package.read_bytes()
    path = tmp_path / "p"
    for spoilt, message in (
        (content[:-1], "damaged, its checksum is another; make or copy it anew"),
        (content[:200], "no extractor of utils/package_model.py; give one, or an experiment directory"),
        (b"\x00" * 50, "no extractor of utils/package_model.py; give one, or an experiment directory"),
    ):
        path.write_bytes(spoilt)
        assert failure(Extractor, path) == f"{path}: {message}"
    done = program("steps/embed.py", path, __file__)
    assert (done.returncode, done.stderr) == (1, f"embed.py: {path}: {message}\n")


def test_a_package_is_not_replaced_unless_that_is_said(package, exp, tmp_path):
    path = shutil.copy(package, tmp_path / "p")
    assert failure(call, PACK, exp, path) == f"{path}: is there; move it away, or pass --overwrite true to replace it"
    call(PACK, "--overwrite", "true", exp, path)
    assert Extractor(path).threshold is None
    assert failure(call, PACK, path, tmp_path / "q") == f"{path}: is a file of an extractor already; name the experiment directory"
    message = "--layer classes: an extractor in a file has no loss; name a layer of the network"
    assert failure(call, PACK, "--layer", "classes", exp, tmp_path / "q") == message


# ---- real recordings


def test_real_recordings_agree_with_extraction_and_name_their_speaker(corpora, tmp_path):
    paths = sorted((corpora / "an4/wav").glob("*/*/*.wav"))
    speakers = sorted({path.parent.name for path in paths})[:4]
    chosen = {f"{path.parent.name}-{path.stem}": path for spk in speakers for path in [p for p in paths if p.parent.name == spk][:3]}
    write_data_dir(tmp_path / "data", chosen, {utt: utt.partition("-")[0] for utt in chosen})
    exp = write_experiment(tmp_path / "x", FEATURES.to_json(), voiced=False)
    call("extract", exp, tmp_path / "data", tmp_path / "xv")
    extractor = Extractor(exp)
    vectors = kaldiio.load_scp(str(tmp_path / "xv/xvector.scp"))
    close(extractor.embed_all(chosen.values()), np.stack([vectors[utt] for utt in chosen]), 1e-3)
    call("enrol", exp, tmp_path / "g", tmp_path / "data")
    utt = next(iter(chosen))
    said = call("identify", "--closed-set", "true", "--top", 4, exp, tmp_path / "g", chosen[utt]).splitlines()
    assert sorted(line.split()[1] for line in said) == speakers


def test_a_gallery_written_to_a_full_disk_leaves_the_old_one(gallery, monkeypatch):
    import pytorch.package

    before = gallery.read_bytes()

    def full(path, mode):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr(pytorch.package, "whole_file", full)
    with pytest.raises(OSError, match="No space left"):
        Gallery.load(gallery).save(gallery)
    assert gallery.read_bytes() == before
