"""The parts of a report beside the figures of trials: embeddings, predictions, the worst trials, calibration; and what their pictures are drawn from."""

import html
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from reports import Page, make_scores, program
from support import failure

from pytorch.data.ark import ArkWriter
from pytorch.data.data_dir import DataDir, write_data_dir
from pytorch.files import sha256
from pytorch.metrics import Detection
from pytorch.report import dots, embeddings, plots, worst

SPEAKERS = ("ann", "bob", "cid")


@pytest.fixture(autouse=True)
def work_in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_data(folder="data", utts=4, **tables):
    """A data directory of three speakers with their recordings; those of cid are commands."""
    spk_of = {f"{spk}-{n}": spk for spk in SPEAKERS for n in range(utts)}
    Path("wav").mkdir(exist_ok=True)
    wav_scp = {}
    for utt, spk in spk_of.items():
        Path(f"wav/{utt} ü#.wav").write_bytes(b"RIFF" + struct.pack("<I", 0))
        wav_scp[utt] = "cat a.wav |" if spk == "cid" else f"wav/{utt} ü#.wav"
    genders = {"ann": "f", "bob": "m", "cid": "m"}
    ages = {utt: 20 + 3 * number for number, utt in enumerate(spk_of)}
    write_data_dir(folder, wav_scp, spk_of, spk2gender=genders, utt2age=ages, **tables)
    return DataDir(folder)


def make_embeddings(folder, data, dim=8):
    Path(folder).mkdir(parents=True, exist_ok=True)
    chance = np.random.default_rng(0)
    centres = {spk: chance.normal(size=dim) * 3 for spk in SPEAKERS}
    with ArkWriter(Path(folder, "xvector.ark"), Path(folder, "xvector.scp")) as ark:
        for utt, spk in data.utt2spk.items():
            ark.write(utt, (centres[spk] + chance.normal(size=dim)).astype(np.float32))


def make_trials(folder, data, scores_name="scores", json_name="eer", scale=1.0):
    """All pairs, their scores log-likelihood ratios of a kind -> the path of eer.json"""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    utts, chance = list(data.utt2spk), np.random.default_rng(1)
    pairs = [(a, b, data.utt2spk[a] == data.utt2spk[b]) for place, a in enumerate(utts) for b in utts[place + 1 :]]
    (data / "trials").write_text("".join(f"{a} {b} {'target' if same else 'nontarget'}\n" for a, b, same in pairs))
    values = [scale * chance.normal(2 if same else -2, 2) for *_, same in pairs]
    (folder / scores_name).write_text("".join(f"{a} {b} {value:.6f}\n" for (a, b, _), value in zip(pairs, values, strict=True)))
    words = "--data", data.path, "--resamples", 20, data / "trials", folder / scores_name, folder / f"{json_name}.json"
    assert program("eer", *words).returncode == 0
    return folder / f"{json_name}.json"


def report(*words):
    done = program("report", *words)
    assert done.returncode == 0, done.stderr
    page = Page("exp/x/report.html")
    assert page.open == [] and page.faults == [] and len(page.ids) == len(set(page.ids)) and not re.search(r"\b(nan|inf)\b", page.text)
    page.words = " ".join(page.text.split())
    page.told = done
    return page


def fails_with(done, *words):
    assert done.returncode == 1 and done.stdout == "" and done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words), done.stderr
    assert not Path("exp/x/report.html").exists()


# ---- trials


def test_intervals_subsets_and_costs_of_the_json_are_in_the_table():
    facts = json.loads(make_trials("exp/x/test", make_data()).read_text())
    page = report("exp/x")
    low, high = facts["intervals"]["cllr"]
    assert f"{low:.3f}–{high:.3f}" in page.words and f"{facts['cllr']:.4f}" in page.words
    assert "same sex" in page.words and "both m" in page.words and f"{100 * facts['subsets']['same sex']['eer']:.2f}" in page.words


def test_figures_made_before_there_were_intervals_still_get_a_row():
    path = make_scores("exp/x/test")
    facts = json.loads(path.read_text())
    old = {name: value for name, value in facts.items() if name not in ("act_dcf", "cllr", "min_cllr", "rocch_eer", "eer_threshold")}
    path.write_text(json.dumps(old))
    assert "25.00" in report("exp/x").words


@pytest.mark.parametrize(("name", "value"), [("intervals", {"eer": [0.1]}), ("intervals", 3), ("subsets", {"same sex": {"eer": 0.1}}), ("cllr", "low")])
def test_malformed_intervals_and_subsets_are_one_line(name, value):
    path = make_trials("exp/x/test", make_data())
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    fails_with(program("report", "exp/x"), f"exp/x/test/eer.json: no figures of steps/eer.py ({name} missing or malformed)")


def test_calibration_is_drawn_of_log_likelihood_ratios_only():
    make_trials("exp/x/test", make_data())
    assert "Not drawn: no scores are meant as log-likelihood ratios." in report("exp/x").words
    assert 'aria-label="Calibration' in report("--llrs", "x/test", "exp/x").source
    Path("exp/x/test/.done").mkdir()
    Path("exp/x/test/.done/apply_calibration.scores.json").write_text("{}")
    assert 'aria-label="Calibration' in report("exp/x").source


def test_log_likelihood_ratios_of_an_unknown_system_are_a_wrong_option():
    make_trials("exp/x/test", make_data())
    done = program("report", "--llrs", "y", "exp/x")
    assert done.returncode == 2 and "--llrs: no system is named 'y'; there are x/test" in done.stderr


def test_reliability_of_calibrated_scores_lies_on_the_diagonal():
    chance = np.random.default_rng(0)
    labels = np.arange(40000) % 4 == 0
    llrs = chance.normal(np.where(labels, 2, -2), 2)  # of two normal distributions with the variance 4: (x - 2)² - (x + 2)² over 8 is x
    said, found = plots.reliability(llrs, labels)
    assert len(said) == 15 and np.abs(said - found).max() < 0.35
    again, overdone = plots.reliability(2 * llrs, labels)
    np.testing.assert_allclose(again, 2 * said)
    np.testing.assert_allclose(overdone, found)


def test_least_bayes_errors_are_those_of_all_thresholds():
    chance = np.random.default_rng(0)
    labels = np.arange(200) % 3 == 0
    scores = np.round(chance.normal(labels * 1.5, 1), 1)
    priors = np.array([0.001, 0.05, 0.5, 0.9])
    wanted = [Detection(scores, labels).min_dcf(prior) for prior in priors]
    np.testing.assert_allclose(plots.least_bayes_errors(scores, labels, priors), wanted, atol=1e-12)


def test_the_threshold_of_the_least_cost_has_the_least_cost():
    chance = np.random.default_rng(0)
    labels = np.arange(200) % 3 == 0
    scores = chance.normal(labels * 1.5, 1)
    accepted = scores > plots.least_cost_threshold(scores, labels, 0.2)
    cost = 0.2 * np.mean(~accepted[labels]) + 0.8 * np.mean(accepted[~labels])
    assert cost / 0.2 == pytest.approx(Detection(scores, labels).min_dcf(0.2))


# ---- worst trials


def test_the_worst_trials_are_listed_from_the_worst_with_links_to_their_recordings():
    make_trials("exp/x/test", make_data())
    page = report("--worst", "3", "exp/x")
    labels = {tuple(line.split()[:2]): line.split()[2] for line in Path("data/trials").read_text().splitlines()}
    scores = sorted((float(score), first, second) for first, second, score in map(str.split, Path("exp/x/test/scores").read_text().splitlines()))
    lowest = [trial for trial in scores if labels[trial[1:]] == "target"][:3]
    highest = [trial for trial in reversed(scores) if labels[trial[1:]] == "nontarget"][:3]
    section = html.unescape(page.source[page.source.index('id="worst-trials"') :].partition("</section>")[0])
    rows = re.findall(r'<th scope="row">(\S+)</th><td>(.*?)</td><td>(.*?)</td>', section)
    assert [row[0] for row in rows] == [f"{score:.4g}" for score, *_ in lowest + highest]
    for row, (_, *utts) in zip(rows, lowest + highest, strict=True):
        for cell, utt in zip(row[1:], utts, strict=True):
            assert utt in cell and ("(f)" in cell) == (utt[:3] == "ann")
            assert (f'href="../../wav/{utt}%20%C3%BC%23.wav"' in cell) == (utt[:3] != "cid")
            assert ("href" in cell) == (utt[:3] != "cid")


def test_a_segment_is_linked_by_its_times():
    data = make_data()
    (data / "segments").write_text("".join(f"{utt} {utt} 1.5 2.25\n" for utt in data.utt2spk))
    assert worst.Voices(DataDir("data"), Path("exp")).side("ann-0").href == "../wav/ann-0%20%C3%BC%23.wav#t=1.5,2.25"


def test_a_recording_elsewhere_is_linked_by_its_whole_path():
    assert worst.address(Path("/corpus/a b.wav"), Path("/home/me/exp")) == "file:///corpus/a%20b.wav"
    assert worst.address(Path("/home/me/a:b.wav"), Path("/home/me/exp")) == "../a%3Ab.wav"


def test_a_speaker_of_a_trial_has_a_sex_but_no_recording():
    side = worst.Voices(make_data(), Path("exp")).side("ann")
    assert (side.what, side.href) == ("(f)", None) and worst.Voices(make_data(), Path("exp")).side("dan") is None


def test_no_worst_trials_are_listed_where_none_are_asked_for():
    make_trials("exp/x/test", make_data())
    assert "Worst trials" not in report("--worst", "0", "exp/x").words


# ---- embeddings


def test_each_embedding_is_a_point_with_its_name_and_what_is_known_of_it():
    data = make_data()
    make_trials("exp/x/test", data)
    make_embeddings("exp/x/test", data)
    page = report("exp/x")
    assert page.told.stdout == "report: exp/x/report.html: 1 system, 12 embeddings, 0 epochs\n"
    titles = [html.unescape(title) for title in re.findall("<circle[^>]*><title>(.*?)</title>", page.source, re.DOTALL)]
    assert sorted(titles)[0] == "ann-0\nspeaker ann\ngender: f\nage: 20" and len(titles) == 12
    assert re.findall('<label for="cloud0-.">(.*?)</label>', page.source) == ["speaker", "gender", "age"]
    assert "test: 12 embeddings of 3 speakers" in page.words and "t-SNE after a PCA to 8 dimensions" in page.words


def test_embeddings_without_a_data_directory_are_said_until_one_is_named():
    data = make_data()
    make_embeddings("exp/x/train", data)
    page = report("exp/x")
    word = "The 12 embeddings in exp/x/train/xvector.scp are not drawn: the data directory of their utterances is not known; name it with --data."
    assert word in page.words and page.told.stderr == f"report: {word}\n"
    assert "<circle" in report("--data", "data", "--embeddings", "pca", "exp/x").source


def test_embeddings_are_of_the_directory_that_their_json_names_unless_its_speakers_have_changed():
    data = make_data()
    make_embeddings("exp/x/train", data)
    facts = {"data": "data", "inputs": {"utt2spk": sha256(data / "utt2spk")}}
    Path("exp/x/train/xvector.json").write_text(json.dumps(facts))
    assert report("exp/x").source.count("<circle") == 12
    Path("exp/x/train/xvector.json").write_text(json.dumps({**facts, "inputs": {"utt2spk": "0"}}))
    assert "the data directory of their utterances is not known" in report("exp/x").words


def test_windows_are_of_their_own_folder():
    data = make_data("exp/x/windows")
    make_embeddings("exp/x/windows", data)
    assert report("exp/x").source.count("<circle") == 12


def test_embeddings_are_not_looked_at_where_none_are_asked_for():
    make_scores("exp/x/test")
    Path("exp/x/test/xvector.scp").write_text("broken")
    assert "Embeddings" not in report("--embeddings", "none", "exp/x").words
    Path("exp/x/report.html").unlink()
    fails_with(program("report", "exp/x"), "exp/x/test/xvector.scp:1: ")


def test_a_table_of_other_utterances_is_one_line():
    data = make_data()
    make_embeddings("exp/x/train", data)
    (data / "utt2age").write_text("ann-0 30\n")
    fails_with(program("report", "--data", "data", "exp/x"), "data/utt2age: 'ann-1' is in utt2spk but not in utt2age")


def test_a_data_directory_that_is_not_there_is_one_line():
    make_scores("exp/x/test")
    fails_with(program("report", "--data", "nowhere", "exp/x"), "nowhere: no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py")


def test_of_many_embeddings_some_are_drawn_and_it_is_said():
    data = make_data()
    make_embeddings("exp/x/train", data)
    page = report("--data", "data", "--points", "6", "exp/x")
    assert "train: 6 of 12 embeddings, of 2 speakers by chance" in page.words and page.source.count("<circle") == 6


def test_of_two_embeddings_no_picture_is_made():
    make_data()
    with ArkWriter(Path("xvector.ark"), Path("xvector.scp")) as ark:
        for utt in ("ann-0", "bob-0"):
            ark.write(utt, np.ones(3, dtype=np.float32))
    Path("exp/x/train").mkdir(parents=True)
    Path("xvector.scp").rename("exp/x/train/xvector.scp")
    assert "are not drawn: 2 of them are too few" in report("--data", "data", "exp/x").words


def test_the_pca_is_that_of_scikit_learn():
    from sklearn.decomposition import PCA

    vectors = np.random.default_rng(0).normal(size=(40, 6)) * [5, 4, 3, 2, 1, 1]
    unit = vectors - vectors.mean(0)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    wanted = PCA(2, svd_solver="full").fit(unit)
    points, told = embeddings.project(vectors.astype(np.float32), "pca", "x")
    found = points - points.mean(0)
    theirs = wanted.transform(unit)
    scale = np.abs(found[:, 0]).max() / np.abs(theirs[:, 0]).max()
    np.testing.assert_allclose(np.abs(found), scale * np.abs(theirs), atol=1e-5)
    assert told == f"PCA: the first two components, {100 * wanted.explained_variance_ratio_.sum():.0f} % of the variance"
    assert points.min() >= 0 and points.max() <= 1


@pytest.mark.parametrize("vectors", [np.ones((5, 4)), np.eye(3), np.arange(12.0).reshape(12, 1), np.array([[1.0, 2], [2, 4], [3, 6], [5, 9], [1, 1], [0, 1]])])
def test_embeddings_that_are_alike_or_few_still_have_places(vectors):
    for how in ("pca", "tsne"):
        points, _ = embeddings.project(vectors.astype(np.float32), how, "x")
        assert points.shape == (len(vectors), 2) and np.isfinite(points).all()


def test_an_embedding_that_is_not_finite_is_one_line():
    assert failure(embeddings.project, np.full((5, 2), np.nan), "pca", "x.scp") == "x.scp: an embedding that is not finite; extract anew"


def test_few_values_have_a_colour_each_many_numbers_a_scale():
    assert dots.colour_of_value(["m", "f", "m"]) == (["var(--s1)", "var(--s0)", "var(--s1)"], [("var(--s0)", "f"), ("var(--s1)", "m")])
    colours, legend = dots.colour_of_value([float(n) for n in range(9)])
    assert legend == (0.0, 8.0) and len(set(colours)) == 9
    assert dots.colour_of_value([f"v{n}" for n in range(30)])[1] is None


# ---- predictions


def make_measure(kind, wanted, found, name="measure", *words):
    Path("exp/x/test").mkdir(parents=True, exist_ok=True)
    for table, values in (("wanted", wanted), ("found", found)):
        Path("exp/x/test", table).write_text("".join(f"u{n:03d} {value}\n" for n, value in enumerate(values)))
    done = program("measure", "--kind", kind, *words, "exp/x/test/wanted", "exp/x/test/found", f"exp/x/test/{name}.json")
    assert done.returncode == 0, done.stderr
    return Path(f"exp/x/test/{name}.json")


def test_classes_get_figures_and_a_confusion_matrix():
    make_measure("classes", ["<a>", "<a>", "b", "b"], ["<a>", "b", "b", "b"], "measure-words")
    page = report("exp/x")
    assert page.told.stdout == "report: exp/x/report.html: 0 systems, 1 prediction, 0 epochs\n"
    assert "x/test words" in page.words and "75.00" in page.words
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>(.*?)</tr>', page.source[page.source.index('class="confusion"') :])
    assert [(html.unescape(name), re.findall(">([^<]+)<", cells)) for name, cells in rows[:2]] == [("<a>", ["1", "1", "50.0"]), ("b", ["0", "2", "100.0"])]
    assert "No trials are scored yet" not in page.words


def test_of_many_classes_the_most_frequent_confusions_are_told():
    wanted = [f"c{n % 25:02d}" for n in range(100)]
    make_measure("classes", wanted, ["c24" if n % 25 == 3 else value for n, value in enumerate(wanted)])
    page = report("exp/x")
    assert "most frequent confusions of 25 classes" in page.words and "c03 c24 4 4" in page.words


@pytest.mark.parametrize(("kind", "values", "name"), [("numbers", ([20, 30, 40], [25, 30.5, 34]), "mae"), ("classes", ("aab", "abb"), "uar")])
def test_intervals_stand_below_the_figures_of_predictions(kind, values, name):
    Path("data").mkdir()
    Path("data/utt2spk").write_text("".join(f"u{n:03d} s{n}\n" for n in range(3)))
    Path("data/spk2utt").write_text("".join(f"s{n} u{n:03d}\n" for n in range(3)))
    facts = json.loads(make_measure(kind, *values, "measure", "--data", "data").read_text())
    page = report("exp/x")
    between = "–".join(f"{end:.4g}" if kind == "numbers" else f"{100 * end:.2f}" for end in facts["intervals"][name])
    assert f"<small>{between}</small>" in page.source
    assert "its 95 % interval, were other speakers drawn" in page.words


def test_numbers_are_drawn_with_the_names_on_hover():
    make_measure("numbers", [20, 30, 40], [25, 30.5, 33])
    page = report("exp/x")
    assert "u001\ntrue 30, predicted 30.5" in html.unescape(page.source) and page.source.count("<circle") == 3
    assert "MAE of the mean" in page.words


def test_numbers_whose_tables_are_gone_are_told_but_not_drawn():
    make_measure("numbers", [20, 30, 40], [25, 30, 33])
    Path("exp/x/test/found").unlink()
    page = report("exp/x")
    assert "Not drawn: a table is not there any more" in page.words and "<circle" not in page.source
    assert page.told.stderr == "report: exp/x/test/measure.json: its tables are not there any more, so they are not drawn\n"


def test_numbers_whose_tables_changed_are_one_line():
    make_measure("numbers", [20, 30, 40], [25, 30, 33])
    Path("exp/x/test/found").write_text("u000 3\n")
    fails_with(program("report", "exp/x"), "exp/x/test/found: not the file", "steps/measure.py --kind numbers exp/x/test/wanted exp/x/test/found")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("kind", "words"),
        ("utts", 0),
        ("accuracy", "high"),
        ("confusion", [[1]]),
        ("confusion", [[1, -1], [0, 2]]),
        ("intervals", [1]),
        ("intervals", {"uar": [1, "2"]}),
    ],
)
def test_malformed_figures_of_classes_are_one_line(name, value):
    path = make_measure("classes", ["a", "a", "b"], ["a", "b", "b"])
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    fails_with(program("report", "exp/x"), "exp/x/test/measure.json: no figures of steps/measure.py", name)


def test_predictions_of_another_experiment_are_compared():
    make_scores("exp/x/test")
    path = make_measure("numbers", [20, 30, 40], [25, 30, 33], "other")
    page = report("--compare", f"theirs={path}", "exp/x")
    assert page.told.stdout == "report: exp/x/report.html: 1 system, 1 prediction, 0 epochs\n" and "theirs" in page.words
