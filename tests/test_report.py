"""steps/report.py: one page of an experiment that needs nothing else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from reports import Page, make_scores, program
from support import failure

from pytorch.report.page import Report, make_page
from pytorch.report.sources import read_model, read_opts
from pytorch.report.training import read_training, read_validations

STEPS = Path(__file__).resolve().parents[1] / "steps"
HEADER = ["epoch", "step", "loss", "accuracy", "lr", "margin_share", "skipped", "utts_per_sec", "data_wait", "seconds"]


@pytest.fixture(autouse=True)
def work_in_tmp_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def make_training(exp, epochs=3, valid=True, skipped=0, asked=3, **columns):
    """valid: an EER in each row; columns: others, {name: [value of the first epoch, …]}; select: the option, best: the file of that name"""
    exp = Path(exp)
    exp.mkdir(parents=True, exist_ok=True)
    select, best = columns.pop("select", None), columns.pop("best", None)
    columns = {**({"valid_eer": (0.3, 0.123, 0.2)} if valid else {}), **columns}
    rows = [[n, 15, 5 / n**4, 0.3 * n, 1e-3 / n, 1, skipped, 100, 0.01, 20, *(values[n - 1] for values in columns.values())] for n in range(1, epochs + 1)]
    (exp / "train.tsv").write_text("".join("\t".join(map(str, row)) + "\n" for row in [[*HEADER, *columns], *rows]))
    features = {"feature": "mfcc", "num_ceps": 30}
    (exp / "model.json").write_text(json.dumps({"model": "xvector", "args": {"embed_dim": 16}, "features": features, "classes": ["p<1>", "q&2"]}))
    options = {"epochs": asked, "voiced": True, "select": select}
    (exp / "opts.json").write_text(json.dumps({"commit": "0123abcd", "options": options, "inputs": {"data/<train>/utt2spk": "ff"}}))
    (exp / "cmd").write_text("steps/train.py 'data/<train>' exp/x && true\n")
    if best:
        (exp / "best").write_text(f"{best}\n")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of an experiment with two systems and a training, and a system of another trial list beside."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("page"))
        return make_report()


def page_of(exp):
    """The page of a training without scores."""
    exp = Path(exp)
    report = Report("x", training=read_training(exp), validations=read_validations(exp), settings=read_model(exp), opts=read_opts(exp))
    (exp / "page.html").write_text(make_page(report))
    return Page(exp / "page.html")


def make_report():
    make_training("exp/x<&>")
    make_scores("exp/x<&>/test")
    make_scores("exp/x<&>/test2", targets=(5.0, 6.0))
    words = "--compare", f"base <i> & 'co'={make_scores('exp/stats/test', speaker='b')}", "exp/x<&>"
    done = program("report", *words)
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout == "report: exp/x<&>/report.html: 3 systems, 3 epochs\n"
    page = Page("exp/x<&>/report.html")
    page.words, page.folder = words, Path.cwd()
    page.facts = json.loads(Path("exp/x<&>/test/eer.json").read_text())
    return page


def test_the_page_asks_nothing_of_any_other_place(page):
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "img", "iframe", "object", "image"} & set(page.tags)
    assert not re.search(r"https?:|@import|url\((?!#)", page.source)


def test_every_tag_of_the_page_is_closed(page):
    assert page.open == [] and page.faults == []


def test_ids_of_the_page_are_unique_and_each_reference_finds_one(page):
    assert len(page.ids) == len(set(page.ids))
    assert page.references and {reference.strip("#") for reference in page.references} <= set(page.ids)


def test_the_page_shows_the_figures_of_the_json(page):
    assert page.facts["eer"] == 0.25
    for figure in ("25.00", *(f"{value:.4f}" for value in page.facts["min_dcf"].values()), page.facts["trials_sha256"][:12]):
        assert f"\n{figure}\n" in page.text


def test_the_page_shows_what_was_run(page):
    for word in ("steps/train.py 'data/<train>' exp/x && true", "0123abcd", "embed_dim", "num_ceps", "voiced", "data/<train>/utt2spk", "torch", "platform"):
        assert word in page.text


def test_names_are_escaped(page):
    assert "base <i> & 'co'" in page.text and "x<&>/test" in page.text
    assert "i" not in page.tags and "base <i>" not in page.source and "x<&>" not in page.source


def test_the_page_has_det_histograms_and_training_curves(page):
    assert page.source.count('role="img"') == 1 + 3 + 1 + 4  # DET, histograms, Bayes errors, training
    assert "best epoch 2 with a validation EER of 12.30 %" in page.text
    assert "\n0.0010\n" in page.text  # a learning rate at its axis: shortening the coordinates leaves the words alone


def test_systems_of_different_trial_lists_are_warned_of(page):
    assert "Different trial lists:" in page.text


def test_systems_of_one_trial_list_are_not_warned_of():
    make_scores("exp/x/test")
    assert program("report", "--compare", f"again={make_scores('exp/y/test')}", "exp/x").returncode == 0
    assert "Different trial lists" not in Path("exp/x/report.html").read_text()


def test_an_experiment_without_training_still_gets_a_page():
    make_scores("exp/x/test")
    done = program("report", "exp/x")
    assert (done.returncode, done.stdout) == (0, "report: exp/x/report.html: 1 system, 0 epochs\n")


def test_an_experiment_without_scores_still_gets_a_page_and_out_names_its_place():
    make_training("exp/x", epochs=1, valid=False)
    done = program("report", "--out", "pages/one.html", "exp/x")
    assert (done.returncode, done.stdout) == (0, "report: pages/one.html: 0 systems, 1 epoch\n")
    assert "no validation" in Page("pages/one.html").text and not Path("exp/x/report.html").exists()


def test_a_training_under_way_and_skipped_steps_are_told():
    make_training("exp/x", epochs=2, skipped=2, asked=9)
    assert program("report", "exp/x").returncode == 0
    text = " ".join(Page("exp/x/report.html").text.split())
    assert "Not finished: 2 of 9 epochs." in text and "Skipped: 4 steps" in text


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"valid": False, "valid_uar": (0.3, 0.6, 0.5)}, "best epoch 2 with a validation UAR of 60.00 %"),
        ({"valid_uar": (0.3, 0.5, 0.6)}, "best epoch 3 with a validation UAR of 60.00 %"),
        ({"valid_uar": (0.3, 0.5, 0.6), "select": "eer"}, "best epoch 2 with a validation EER of 12.30 %"),
        ({"valid": False, "valid_mae": (9.25, 9, 12)}, "best epoch 2 with a validation mean absolute error of 9"),
        ({"valid": False, "valid_loss": (1, 2, 3)}, "no validation, so the last epoch counts as the best"),
        ({"best": 1}, "best epoch 1 with a validation EER of 30.00 %"),
        ({"valid_eer": ("", 0.25, "")}, "best epoch 2 with a validation EER of 25.00 %"),
        ({"valid": False, "valid_mae": ("inf", "inf", 12)}, "best epoch 3 with a validation mean absolute error of 12"),
    ],
)
def test_the_best_epoch_is_by_the_file_best_or_the_figure_that_chooses(given, told):
    make_training("exp/x", **given)
    assert told in page_of("exp/x").text


def test_there_is_a_curve_for_each_figure_of_the_validation():
    make_training("exp/x", valid_min_dcf=("", 0.9, ""), valid_spearman=(-0.5, 0.2, 0.1), **{"valid_<odd>": (1, 2, "inf")})
    page = page_of("exp/x")
    assert page.source.count('role="img"') == 3 + 4
    names = ["EER, %", "minDCF(0.01)", "Spearman correlation", "&lt;odd&gt;"]
    assert re.findall("<figcaption>(.*?)</figcaption>", page.source)[3:] == [f"Validation {name}" for name in names]
    assert page.open == [] and page.faults == [] and len(page.ids) == len(set(page.ids)) and not re.search(r"\b(nan|inf)\b", page.text)


@pytest.mark.parametrize("text", ["9", "two", ""])
def test_a_best_that_is_no_epoch_is_one_line(text):
    make_training("exp/x")
    Path("exp/x/best").write_text(text)
    assert failure(read_training, Path("exp/x")).startswith(f"exp/x/best: '{text}' is no epoch of exp/x/train.tsv")


@pytest.mark.parametrize(
    ("targets", "told"), [({"what": "utt2spk"}, "2 speakers"), ({"what": "utt2label"}, "2 classes of utt2label"), ({"what": "utt2age"}, "mfcc, utt2age")]
)
def test_the_page_says_what_was_learnt(targets, told):
    make_training("exp/x")
    settings = json.loads(Path("exp/x/model.json").read_text())
    Path("exp/x/model.json").write_text(json.dumps({**settings, "targets": targets, "classes": [] if "age" in told else settings["classes"]}))
    assert told in page_of("exp/x").text


@pytest.mark.parametrize("scores", [((1, 2), (-1, 0)), ((1, 1), (1, 1)), ((0,), (1,))])
def test_perfect_constant_and_inverted_scores_get_a_page(scores):
    make_scores("exp/x/test", *scores)
    done = program("report", "exp/x")
    assert done.returncode == 0 and done.stderr == ""
    assert not re.search(r"\b(nan|inf)\b", Path("exp/x/report.html").read_text())


def test_scores_and_trials_are_found_from_any_folder(monkeypatch):
    make_training("exp/x")
    make_scores("exp/x/test")
    Path("elsewhere").mkdir()
    monkeypatch.chdir("elsewhere")
    assert program("report", "../exp/x").returncode == 0


def test_scores_of_an_experiment_moved_since_are_found_beside_their_figures():
    make_scores("exp/x/test")
    Path("exp/x").rename("exp/moved")
    assert program("report", "exp/moved").returncode == 0


def fails_with(done, *words):
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and all(word in done.stderr for word in words), done.stderr
    assert not list(Path().rglob("report.html"))


@pytest.mark.parametrize("name", ["scores", "trials"])
def test_a_system_whose_scores_or_trials_are_gone_is_told_but_not_drawn(name):
    make_scores("exp/x/test")
    Path("exp/x/test", name).unlink()
    done = program("report", "exp/x")
    assert done.returncode == 0 and done.stderr == "report: exp/x/test/eer.json: its scores or trials are not there any more, so they are not drawn\n"
    page = Page("exp/x/report.html")
    assert "\n25.00\n" in page.text and "Not drawn:" in page.text and 'role="img"' not in page.source


def test_epochs_measured_beside_the_training_are_drawn_beside_its_own():
    make_training("exp/x")
    make_validation("exp/x/validate_dev")
    page = page_of("exp/x")
    assert "validate_dev, best epoch 3" in page.text and page.source.count('role="img"') == 4
    eer = page.source[page.source.index("Validation EER, %</figcaption>") :].partition("</figure>")[0]
    assert "var(--s0)" in eer and "var(--s1)" in eer


def test_a_validation_of_a_network_trained_elsewhere_is_drawn_by_itself():
    make_validation("exp/x/validate_dev")
    done = program("report", "exp/x")
    assert (done.returncode, done.stdout) == (0, "report: exp/x/report.html: 0 systems, 0 epochs\n")
    assert "No train.tsv here" in Page("exp/x/report.html").text


def make_validation(folder, best="3"):
    folder = Path(folder)
    folder.mkdir(parents=True)
    (folder / "valid.tsv").write_text("epoch\tvalid_eer\tweights_sha256\n1\t0.4\tab\n3\t0.2\tcd\n")
    (folder / "best").write_text(f"{best}\n")


@pytest.mark.parametrize(("old", "new", "place"), [("\t0.4", "\tlow", "valid.tsv:2:"), ("epoch", "round", "valid.tsv:1:"), ("\n3\t", "\n\t", "valid.tsv:3:")])
def test_a_malformed_valid_tsv_is_one_line(old, new, place):
    make_validation("exp/x/validate_dev")
    path = Path("exp/x/validate_dev/valid.tsv")
    path.write_text(path.read_text().replace(old, new))
    message = failure(read_validations, Path("exp/x"))
    assert place in message and "steps/validate.py --overwrite true" in message


def test_a_best_that_was_not_measured_is_one_line():
    make_validation("exp/x/validate_dev", best="2")
    assert failure(read_validations, Path("exp/x")).startswith("exp/x/validate_dev/best: '2' is no epoch")


@pytest.mark.parametrize("name", ["scores", "trials"])
def test_scores_or_trials_changed_since_are_one_line(name):
    make_scores("exp/x/test")
    path = Path("exp/x/test", name)
    path.write_text(path.read_text().replace("a-0", "a-9"))
    fails_with(program("report", "exp/x"), f"exp/x/test/{name}: not the file", "steps/eer.py exp/x/test/trials exp/x/test/scores exp/x/test/eer.json")


def test_figures_that_the_scores_do_not_give_are_one_line():
    path = make_scores("exp/x/test")
    path.write_text(path.read_text().replace('"eer": 0.25', '"eer": 0.05'))
    fails_with(program("report", "exp/x"), "exp/x/test/eer.json", "steps/eer.py")


def test_the_same_inputs_give_the_same_page(page, monkeypatch):
    again = Path(page.path).with_name("again.html")
    monkeypatch.chdir(page.folder)
    done = program("report", "--out", again, *page.words)
    assert done.returncode == 0, done.stderr
    assert again.read_text() == page.source


@pytest.mark.parametrize("text", ["[]", "{", '{"eer": 0.1}', '{"eer": "low"}'])
def test_a_json_of_something_else_is_one_line(text):
    path = make_scores("exp/x/test")
    path.write_text(text)
    fails_with(program("report", "exp/x"), "exp/x/test/eer.json: no")


@pytest.mark.parametrize("name", ["model.json", "opts.json"])
def test_a_training_json_of_something_else_is_one_line(name):
    make_training("exp/x")
    for text, told in (("[1]", "{name: value, …} expected"), ('{"features": 1, "options": [2]}', "is malformed")):
        Path("exp/x", name).write_text(text)
        fails_with(program("report", "exp/x"), f"exp/x/{name}: ", told)


def test_an_empty_experiment_is_one_line():
    Path("exp/x").mkdir(parents=True)
    fails_with(program("report", "exp/x"), "exp/x: nothing to report", "steps/train.py", "steps/eer.py")


def test_a_missing_experiment_is_one_line_and_status_1():
    done = subprocess.run([sys.executable, STEPS / "report.py", "exp/none"], capture_output=True, text=True, timeout=120)
    fails_with(done, "exp/none: no such folder")


@pytest.mark.parametrize(
    ("old", "new", "place"),
    [("\t20\t0.3\n", "\t20\n", "train.tsv:2:"), ("\n1\t", "\n\t", "train.tsv:2:"), ("\t15\t", "\tmany\t", "train.tsv:2:"), ("loss", "lost", "train.tsv:1:")],
)
def test_a_malformed_train_tsv_is_one_line(old, new, place):
    make_training("exp/x")
    path = Path("exp/x/train.tsv")
    path.write_text(path.read_text().replace(old, new))
    fails_with(program("report", "exp/x"), place)


@pytest.mark.parametrize("words", ["--compare eer.json", "--compare =eer.json", "--compare base=", "--compare=a=1 --compare=a=2", "--compared a=1"])
def test_a_wrong_compare_is_a_wrong_option(words):
    make_scores("exp/x/test")
    done = program("report", *words.split(), "exp/x")
    assert done.returncode == 2 and "compar" in done.stderr


def test_a_name_that_an_own_system_has_is_a_wrong_option():
    done = program("report", "--compare", f"x/test={make_scores('exp/x/test')}", "exp/x")
    assert done.returncode == 2 and "x/test" in done.stderr


def test_help_imports_neither_numpy_nor_matplotlib():
    code = f"import runpy, sys; sys.argv = ['report.py', '--help']\ntry: runpy.run_path({str(STEPS / 'report.py')!r}, run_name='__main__')\nfinally: "
    code += "assert not {'numpy', 'matplotlib', 'sklearn', 'torch'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "--compare" in done.stdout


def test_a_det_curve_of_many_points_is_thinned_along_the_true_curve_with_the_exact_eer():
    from scipy.special import ndtri

    from pytorch.metrics import eer, error_rates
    from pytorch.report.plots import det_points

    chance = np.random.default_rng(1)
    labels = np.arange(200_000) % 10 == 0
    scores = chance.normal(size=len(labels)) + 2 * labels
    rate, _ = eer(scores, labels)
    p_fa, p_miss = det_points(scores, labels, rate)
    assert len(p_fa) < 4000
    assert ((p_fa == rate) & (p_miss == rate)).sum() == 1
    assert (np.diff(p_fa) <= 0).all() and (np.diff(p_miss) >= 0).all()
    all_miss, all_fa, _ = error_rates(scores, labels)
    inside = (all_fa > 1e-4) & (all_fa < 0.9) & (all_miss > 1e-3) & (all_miss < 0.9)
    drawn = np.interp(-ndtri(all_fa[inside]), -ndtri(p_fa), ndtri(p_miss))
    assert np.abs(drawn - ndtri(all_miss[inside])).max() < 0.06  # of a scale about 7 wide
