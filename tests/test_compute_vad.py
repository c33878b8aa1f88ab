"""steps/compute_vad.py: voiced frames of a data directory by their energy."""

import json

import kaldiio
import numpy as np
import pytest

from pytorch.data.ark import ArkWriter
from pytorch.data.data_dir import read_table, write_table
from pytorch.features.options import FeatureOptions
from pytorch.features.vad import energy_vad
from pytorch.files import write_json

STEP = "steps/compute_vad.py"
UTTS = [f"s{number}-{part}" for number in range(4) for part in "ab"]


@pytest.fixture
def data(tmp_path):
    """A data directory with features of eight utterances; column 0 is a log energy that comes and goes."""
    folder = tmp_path / "data"
    write_feats(folder, {utt: energies(place) for place, utt in enumerate(UTTS)}, FeatureOptions(use_energy=True))
    return folder


def energies(place):
    chance = np.random.default_rng(place)
    matrix = chance.standard_normal((40 + 7 * place, 4)).astype(np.float32)
    matrix[:, 0] = 12 + 6 * np.sin(np.arange(len(matrix)) / 5) + matrix[:, 0]
    return matrix


def write_feats(folder, feats, options):
    with ArkWriter(folder / "feats.ark", folder / "feats.scp") as ark:
        for utt, matrix in feats.items():
            ark.write(utt, matrix)
    write_json(folder / "feats.json", options.to_json())
    write_table(folder / "utt2spk", {utt: utt[:2] for utt in feats})


def vad_in(folder):
    return {utt: np.array(vector) for utt, vector in kaldiio.load_scp(str(folder / "vad.scp")).items()}


def assert_vad(folder, **settings):
    found = vad_in(folder)
    assert list(found) == UTTS
    for utt, matrix in kaldiio.load_scp(str(folder / "feats.scp")).items():
        np.testing.assert_array_equal(found[utt], energy_vad(matrix[:, 0], **settings), strict=True)


def test_decisions_are_those_of_the_library_and_kaldiio_reads_them(data, program):
    done = program(STEP, data)
    assert (done.returncode, done.stderr) == (0, "")
    assert_vad(data)
    voiced = np.concatenate(list(vad_in(data).values()))
    assert 0 < voiced.mean() < 1
    assert done.stdout == f"compute_vad: {data}: {100 * voiced.mean():.1f} % of {len(voiced)} frames are voiced\n"


def test_options_change_the_decisions_and_lie_beside_them(data, program):
    config = data.parent / "vad.conf"
    config.write_text("# as in the recipe\n--vad-energy-threshold=5.5\n--vad-proportion-threshold=0.12\n--vad-frames-context=2\n")
    assert program(STEP, "--config", config, "--vad-energy-mean-scale", "0.6", data).returncode == 0
    assert_vad(data, threshold=5.5, mean_scale=0.6, context=2, proportion=0.12)
    assert json.loads((data / "vad.json").read_text()) == {
        "vad_energy_mean_scale": 0.6,
        "vad_energy_threshold": 5.5,
        "vad_frames_context": 2,
        "vad_proportion_threshold": 0.12,
    }


@pytest.mark.parametrize("nj", [1, 3, 10])
def test_jobs_make_the_same_decisions(nj, data, program):
    assert program(STEP, "--nj", nj, data).returncode == 0
    assert_vad(data)
    assert len(list(data.glob("vad*.ark"))) == min(nj, 8)  # never more jobs than utterances


@pytest.mark.parametrize("words", [[], ["--nj", 2]], ids=["in place", "in jobs"])
def test_a_folder_named_like_an_option_can_be_given_after_two_hyphens(words, tmp_path, program):
    folder = tmp_path / "--my_data"
    write_feats(folder, {utt: energies(place) for place, utt in enumerate(UTTS)}, FeatureOptions(use_energy=True))
    done = program(STEP, *words, "--", "--my_data", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert_vad(folder)


def test_mfcc_without_energy_are_taken_for_their_first_cepstrum(data, program):
    write_json(data / "feats.json", FeatureOptions(feature="mfcc", use_energy=False).to_json())
    assert program(STEP, data).returncode == 0
    assert_vad(data)


def test_a_second_run_does_nothing(data, program):
    program(STEP, data)
    before = {path: path.stat().st_mtime_ns for path in data.iterdir() if path.is_file()}
    done = program(STEP, "--nj", 2, data)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"compute_vad: the decisions of {data} are there\n", "")
    assert {path: path.stat().st_mtime_ns for path in data.iterdir() if path.is_file()} == before


def test_a_changed_option_stops_until_overwrite(data, program):
    program(STEP, data)
    words = ["--vad-energy-threshold", "7", data]
    done = program(STEP, *words)
    assert (done.returncode, done.stdout) == (1, "")
    message = "compute_vad was done otherwise: --vad-energy-threshold was 5.0, now 7.0. Pass --overwrite true to do it anew"
    assert done.stderr == f"compute_vad.py: {data}: {message}\n"
    assert_vad(data)
    assert program(STEP, *words, "--overwrite", "true").returncode == 0
    assert_vad(data, threshold=7.0)


def test_other_features_stop_until_overwrite(data, program):
    program(STEP, data)
    write_feats(data, {utt: energies(place + 8) for place, utt in enumerate(UTTS)}, FeatureOptions(use_energy=True, low_freq=100))
    done = program(STEP, data)
    assert done.returncode == 1
    assert done.stderr.startswith(f"compute_vad.py: {data}: compute_vad was done otherwise: feats.json has changed; feats.scp has changed.")
    assert program(STEP, "--overwrite", "true", data).returncode == 0
    assert_vad(data)


def test_a_silent_utterance_is_warned_about(data, program):
    feats = {utt: energies(place) for place, utt in enumerate(UTTS)}
    feats["s1-a"][:, 0] = feats["s3-b"][:, 0] = 2
    write_feats(data, feats, FeatureOptions(use_energy=True))
    done = program(STEP, data)
    assert (done.returncode, done.stderr) == (0, "compute_vad: warning: 2 utterances have no voiced frame: s1-a, s3-b\n")
    assert not vad_in(data)["s1-a"].any()


# ---- bad input


def test_fbank_without_energy_is_refused(data, program):
    write_json(data / "feats.json", FeatureOptions().to_json())
    done = program(STEP, data)
    assert (done.returncode, done.stdout) == (1, "")
    remedy = "make them with --use-energy true, or use mfcc, or train on all frames: steps/train.py --voiced false"
    assert done.stderr == f"compute_vad.py: {data}/feats.json: column 0 of these features is no energy; {remedy}\n"
    assert not (data / "vad.scp").exists()


@pytest.mark.parametrize("text", ["{}", "[]"])
def test_settings_that_say_nothing_of_an_energy_are_refused(text, data, program):
    (data / "feats.json").write_text(text)
    done = program(STEP, data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"compute_vad.py: {data}/feats.json: ")
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda data: (data / "feats.scp").unlink(), "{0}/feats.scp: no such file; make it with steps/make_feats.py {0}"),
        (lambda data: (data / "feats.scp").write_text(""), "{0}/feats.scp: empty; make it with steps/make_feats.py {0}"),
        (
            lambda data: (data / "feats.json").unlink(),
            "{0}/feats.json: no such file; it holds the settings of the features: for those made elsewhere, say them with utils/adopt_feats.py {0}",
        ),
        (lambda data: (data / "utt2spk").unlink(), "{0}/utt2spk: no such file"),
        (
            lambda data: (data / "feats.ark").unlink(),
            "{0}/feats.scp: 's0-a': {0}/feats.ark: No such file or directory; make the archive anew or, if it has moved, run utils/relocate_data_dir.py",
        ),
        (
            lambda data: (data / "feats.ark").write_bytes((data / "feats.ark").read_bytes()[:-50]),
            "{0}/feats.scp: 's3-b': {0}/feats.ark, offset 6977: 89 x 4 values are announced but the archive ends before; make it anew",
        ),
        (lambda data: write_table(data / "utt2spk", dict.fromkeys([*UTTS, "s9"], "x")), "{0}/feats.scp: no entry 's9'"),
    ],
    ids=["no feats.scp", "empty feats.scp", "no feats.json", "no utt2spk", "no archive", "archive cut off", "utterance without features"],
)
def test_a_bad_data_directory_ends_with_one_line(spoil, message, data, program):
    spoil(data)
    done = program(STEP, data)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", f"compute_vad.py: {message.format(data)}\n")
    assert not (data / "vad.scp").exists()
    assert not list(data.glob("vad*.ark"))


def test_vectors_in_place_of_matrices_end_with_one_line(data, program):
    with ArkWriter(data / "feats.ark", data / "feats.scp") as ark:
        for utt in UTTS:
            ark.write(utt, np.ones(20))
    done = program(STEP, data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"compute_vad.py: {data}/feats.scp: 's0-a' has the shape (20,), features with an energy in column 0 were expected\n"


def test_a_failing_job_fails_the_step_and_shows_its_log(data, program):
    (data / "feats.ark").write_bytes((data / "feats.ark").read_bytes()[:-50])
    done = program(STEP, "--nj", 2, data)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"compute_vad.py: {data}/feats.scp: 's3-b': {data}/feats.ark, offset 6977: 89 x 4 values are announced" in done.stderr
    assert done.stderr.endswith(f"compute_vad.py: jobs failed, see {data}/log/compute_vad.*.log; started again, only what is missing is done\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--vad-proportion-threshold", "1.5"], "argument --vad-proportion-threshold: a number from 0 to 1 expected, not '1.5'"),
        (["--vad-energy-threshold", "nan"], "argument --vad-energy-threshold: a number expected, not 'nan'"),
        (["--vad-frames-context", "-1"], "argument --vad-frames-context: a whole number, 0 or more expected, not '-1'"),
        (["--threshold", "5"], "unknown option --threshold"),
    ],
)
def test_a_wrong_option_ends_with_status_2(words, message, data, program):
    done = program(STEP, data, *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_what_is_written_has_a_line_for_each_utterance(data, program):
    assert program(STEP, "--nj", 3, data).returncode == 0
    assert read_table(data / "utt2spk").keys() == read_table(data / "vad.scp").keys()
