"""A corpus of somebody's own through all steps, and what later steps make of a change in earlier ones."""

import json
import shutil

import numpy as np
import pytest
import soundfile

RATE = 16000
WIDTHS = "frame_dim=8 stats_dim=8 embed_dim=8 segment7=false"
NETWORK = ("--model-args", WIDTHS, "--epochs", "2", "--batch-size", "8", "--min-frames", "20", "--max-frames", "30")


def write_corpus(folder, speakers, seed=0, utts=3):
    """wav.scp and utt2spk alone, as the README asks for; each speaker a noise of its own colour."""
    chance = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for place, spk in enumerate(speakers):
        for number in range(utts):
            samples = np.convolve(chance.normal(size=RATE), np.ones(1 + place % 4) / (1 + place % 4), "same") * 3000
            path = folder / f"{spk}-{number}.wav"
            soundfile.write(path, samples.astype(np.int16), RATE, subtype="PCM_16")
            rows.append((f"{spk}-{number}", spk, path))
    (folder / "wav.scp").write_text("".join(f"{utt} {path}\n" for utt, _, path in rows))
    (folder / "utt2spk").write_text("".join(f"{utt} {spk}\n" for utt, spk, _ in rows))
    return folder


def features(program, folder, *words):
    for step in (("steps/make_feats.py", "--use-energy", "true"), ("steps/compute_vad.py", "--vad-energy-threshold", "0")):
        yield program(*step, *words, folder)


def extract_and_score(program, exp, folder, *words):
    yield program("steps/extract.py", *words, exp, folder, exp / "test")
    yield program("steps/score_cosine.py", *words, folder / "trials", exp / "test/xvector.scp", exp / "test/scores")


def good(results):
    for done in results:
        assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory, program):
    """data/{train,valid,test} and a network, scored."""
    home = tmp_path_factory.mktemp("own")
    for place, (name, speakers) in enumerate({"train": "abcd", "valid": "ef", "test": "gh"}.items()):
        folder = write_corpus(home / name, speakers, seed=place)
        good([program("utils/validate_data_dir.py", folder)])
        good(features(program, folder))
        if name != "train":
            good([program("utils/make_trials.py", folder)])
    good([program("steps/train.py", *NETWORK, "--valid", home / "valid", home / "train", home / "x")])
    good(extract_and_score(program, home / "x", home / "test"))
    return home


@pytest.fixture
def own(trained, tmp_path):
    """The module's folder, put back afterwards as it was."""
    shutil.copytree(trained, tmp_path / "kept")
    yield trained
    shutil.rmtree(trained)
    shutil.copytree(tmp_path / "kept", trained)


def test_a_corpus_of_two_tables_goes_through_all_steps(trained, program):
    done = program("steps/eer.py", trained / "test/trials", trained / "x/test/scores", trained / "x/test/eer.json")
    assert done.returncode == 0
    assert 0 <= json.loads((trained / "x/test/eer.json").read_text())["eer"] <= 1
    assert program("steps/report.py", trained / "x").returncode == 0


def test_features_with_other_values_in_the_same_places_stop_every_later_step(own, program):
    recordings = sorted((own / "test").glob("*.wav"))
    for path in recordings:
        soundfile.write(path, np.random.default_rng(9).normal(size=RATE + 1).astype(np.float32) / 9, RATE, subtype="PCM_16")
    scp = (own / "test/feats.scp").read_text()
    make, vad = features(program, own / "test", "--overwrite", "true")
    assert make.returncode == vad.returncode == 0
    assert (own / "test/feats.scp").read_text() == scp
    done = list(extract_and_score(program, own / "x", own / "test"))
    assert done[0].returncode == 1
    assert "feats.sha256 has changed" in done[0].stderr
    good([program("steps/extract.py", "--overwrite", "true", own / "x", own / "test", own / "x/test")])
    done = program("steps/score_cosine.py", own / "test/trials", own / "x/test/xvector.scp", own / "x/test/scores")
    assert done.returncode == 1
    assert "xvector.scp (values) has changed" in done.stderr


def test_features_made_anew_with_the_same_values_stop_nothing(own, program):
    good(features(program, own / "train", "--overwrite", "true"))
    done = program("steps/train.py", *NETWORK, "--valid", own / "valid", own / "train", own / "x")
    assert (done.returncode, done.stdout) == (0, f"train: {own}/x is trained already\n")


def test_a_moved_folder_is_not_taken_for_done(own, program, tmp_path):
    moved = shutil.copytree(own / "test", tmp_path / "moved")
    done = program("steps/make_feats.py", "--use-energy", "true", moved)
    assert done.returncode == 1
    assert "folder has changed" in done.stderr


def test_a_corpus_that_shrank_goes_through_with_overwrite(own, program):
    for name in ("wav.scp", "utt2spk"):
        lines = (own / "test" / name).read_text().splitlines(keepends=True)
        (own / "test" / name).write_text("".join(lines[:-1]))
    good(features(program, own / "test", "--overwrite", "true"))
    good([program("utils/fix_data_dir.py", own / "test")])  # the trials of the one that went
    good([program("utils/validate_data_dir.py", "--feats", "true", own / "test")])


def test_a_network_from_a_file_that_was_changed_is_not_used_silently(own, program):
    best = own / "x" / f"epoch-{int((own / 'x/best').read_text()):03d}.safetensors"
    best.write_bytes(best.read_bytes()[:-1])
    done = program("steps/train.py", *NETWORK, "--valid", own / "valid", own / "train", own / "x")
    assert done.returncode == 1
    assert "was changed since train made it" in done.stderr
