"""The recipes from recording to EER, whole and stage by stage, interrupted and taken up again."""

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CONFS = sorted(ROOT.glob("egs/*/v1/conf/train*.conf"))
SMALL = ("--num-speakers", "16", "--epochs", "2")


def run(recipe, folder, *words, **more):
    command = ["bash", ROOT / "egs" / recipe / "run.sh", "--data", folder / "data", "--exp", folder / "exp", *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, **more)


def scores_of(folder, seed=1):
    return [(folder / "exp" / name / "test/scores").read_bytes() for name in (f"xvector_seed{seed}", "stats")]


def eer_of(folder, seed=1):
    return json.loads((folder / f"exp/xvector_seed{seed}/test/eer.json").read_text())["eer"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """egs/mini/v1 run once, small."""
    folder = tmp_path_factory.mktemp("mini")
    result = run("mini/v1", folder, *SMALL)
    assert result.returncode == 0, result.stderr
    return folder


def test_a_recipe_ends_its_scoring_with_all_error_rates_in_one_table(whole):
    result = run("mini/v1", whole, *SMALL, "--stage", "5", "--stop-stage", "5")
    *_, head, line, stats_raw, stats, raw, last, _ = result.stdout.splitlines()
    systems = ["stats eer_raw", "stats eer", "xvector_seed1 eer_raw", "xvector_seed1 eer"]
    assert [row.split("|")[1].strip() for row in (head, stats_raw, stats, raw, last)] == ["system", *systems]
    assert f"| {100 * eer_of(whole):.2f} " in last
    assert len(re.findall("^EER ", result.stdout, re.MULTILINE)) == 4


@pytest.mark.parametrize("name", ["an4", "speechocean762"])
def test_dimensions_that_a_back_end_cannot_have_stop_a_recipe_before_it_scores(name):
    stage = (ROOT / f"egs/{name}/v1/run.sh").read_text().partition("\nif stage 5 ")[2]
    assert re.findall(r"\$steps/(\w+)\.py", stage)[0] == "train_backend"


def test_mini_runs_from_nothing_to_a_report(whole):
    assert 0 < eer_of(whole) < 0.5
    assert (whole / "exp/xvector_seed1/report.html").stat().st_size > 10000
    speakers = [{line.split()[1] for line in (whole / f"data/{name}/utt2spk").read_text().splitlines()} for name in ("train", "valid", "test")]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 16


def collect(*paths):
    return subprocess.run([sys.executable, ROOT / "utils/collect_results.py", *map(str, paths)], capture_output=True, text=True)


def cells_of(done):
    assert done.returncode == 0, done.stderr
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in done.stdout.splitlines()]


def test_collected_results_show_the_figures_with_the_interval_and_the_mean(whole, tmp_path):
    json_path = whole / "exp/xvector_seed1/test/eer.json"
    found = json.loads(json_path.read_text())
    other = tmp_path / "xvector_seed2/test/eer.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps(found | {"eer": found["eer"] + 0.1, "seed": 2}))
    head, _, first, second, mean, baseline = cells_of(collect(json_path, other, whole / "exp/stats/test/eer.json"))
    assert head[:5] == ["system", "parameters", "seed", "EER %", "95 %"]
    assert len(head) == len(first) == len(second) == len(mean) == len(baseline)
    low, high = found["intervals"]["eer"]
    assert first[:5] == ["xvector_seed1 eer", "760,960", "1", f"{100 * found['eer']:.2f}", f"{100 * low:.2f} to {100 * high:.2f}"]
    assert first[head.index("Cllr")] == f"{found['cllr']:.4f}"
    assert (mean[0], mean[3]) == ("xvector eer, mean of 2", f"{100 * found['eer'] + 5:.2f}")
    assert baseline[:3] == ["stats eer", "-", "-"]


def test_collected_results_in_brief_are_the_figures_in_columns(whole):
    paths = [whole / f"exp/{name}/test/eer.json" for name in ("xvector_seed1", "stats")]
    done, brief = collect(*paths), collect(*paths, "--brief", "true")
    assert cells_of(brief)[2:] == [[cells[0], *cells[3:11]] for cells in cells_of(done)[2:]]
    assert len(set(map(len, brief.stdout.splitlines()))) == 1


def test_collected_results_of_several_networks_have_no_mean_in_common(whole, tmp_path):
    found = json.loads((whole / "exp/xvector_seed1/test/eer.json").read_text())
    paths = [tmp_path / name / "test/eer.json" for name in ("ecapa_seed1", "xvector_seed1", "ecapa_seed2")]
    for path in paths:
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(found | {"seed": int(path.parts[-3][-1])}))
    assert [row[0] for row in cells_of(collect(*paths))[2:]] == ["ecapa_seed1 eer", "ecapa_seed2 eer", "ecapa eer, mean of 2", "xvector_seed1 eer"]


@pytest.mark.parametrize(
    "change, message",
    [({"trials_sha256": "0"}, "scored on another trial list"), ({"cllr": None}, "measure the scores anew")],
)
def test_results_that_cannot_stand_in_one_table_are_refused(whole, tmp_path, change, message):
    json_path = whole / "exp/xvector_seed1/test/eer.json"
    found = {name: value for name, value in (json.loads(json_path.read_text()) | change).items() if value is not None}
    (tmp_path / "eer.json").write_text(json.dumps(found))
    result = collect(json_path, tmp_path / "eer.json")
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_second_run_does_nothing_and_a_stage_alone_gives_the_same(whole):
    before, stamps = scores_of(whole), {path: path.stat().st_mtime_ns for path in whole.rglob("*.ark")}
    assert run("mini/v1", whole, *SMALL).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("*.ark")} == stamps
    for name in ("test/xvector.scp", "test/scores", "test/eer.json"):
        (whole / "exp/xvector_seed1" / name).unlink()
    assert run("mini/v1", whole, *SMALL, "--stage", "4").returncode == 0
    assert scores_of(whole) == before


@pytest.mark.parametrize("nj", [1, 4])
def test_the_number_of_jobs_changes_no_score(whole, tmp_path, nj):
    assert run("mini/v1", tmp_path, *SMALL, "--nj", nj).returncode == 0
    assert scores_of(tmp_path) == scores_of(whole)


def test_a_changed_option_stops_until_overwrite(whole):
    result = run("mini/v1", whole, "--num-speakers", "16", "--epochs", "1", "--stage", "3", "--stop-stage", "3")
    assert result.returncode == 1
    assert "--epochs was 2, now 1; a training can only be made longer" in result.stderr + result.stdout
    assert eer_of(whole)


def test_a_mistyped_option_of_a_recipe_is_status_2(whole):
    for words in (["--epoch", "2"], ["--nj", "two"], ["--overwrite", "yes"], ["--seed"]):
        result = run("mini/v1", whole, *words)
        assert result.returncode == 2
        assert result.stderr.count("\n") == 1


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_killed_in_every_stage_and_started_again_it_ends_with_the_same_scores(whole, tmp_path, number):
    after_sec = {1: 0.8, 2: 3, 3: 6, 4: 4, 5: 0.4, 6: 0.4}  # into the stage: in the midst of its work
    stopped = 0
    for stage, pause in after_sec.items():
        words = [*SMALL, "--stage", str(stage)]
        command = ["bash", ROOT / "egs/mini/v1/run.sh", "--data", tmp_path / "data", "--exp", tmp_path / "exp", *words]
        process = subprocess.Popen(list(map(str, command)), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(pause)
        if number == signal.SIGTERM:
            process.terminate()  # run.sh alone; it ends its steps itself
        else:
            os.killpg(process.pid, number)
        stopped += process.wait() != 0
        result = run("mini/v1", tmp_path, *words, "--stop-stage", str(stage))
        assert result.returncode == 0, result.stderr
    assert stopped >= 4  # a quick machine may be done with one of the short stages
    assert scores_of(tmp_path) == scores_of(whole)


@pytest.mark.parametrize("recipe", ["an4/v1", "speechocean762/v1"])
def test_a_recipe_of_a_real_corpus_asks_for_it(tmp_path, recipe):
    result = run(recipe, tmp_path)
    assert result.returncode == 1
    assert "--corpus DIR is needed" in result.stderr


@pytest.mark.parametrize("recipe", ["an4/v1", "speechocean762/v1"])
def test_a_network_that_a_recipe_has_no_conf_for_is_status_2_and_those_there_are_are_named(tmp_path, recipe):
    result = run(recipe, tmp_path, "--network", "xvektor", "--stage", 3)
    assert (result.returncode, result.stdout) == (2, "")
    there = "ecapa redimnet2 resnet34 sinctdnn vgg4l xvector xvector_kaldi"
    assert result.stderr == f"run.sh: --network xvektor: no such conf/train_NETWORK.conf; there are {there}\n"


@pytest.mark.parametrize("conf", CONFS, ids=lambda conf: str(conf.relative_to(ROOT / "egs")))
def test_the_conf_of_a_network_has_what_its_recipe_needs(conf, monkeypatch):
    from pytorch.losses import build_loss
    from pytorch.models import build_model

    spec = importlib.util.spec_from_file_location("train", ROOT / "steps/train.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    monkeypatch.setattr(sys, "argv", ["train.py", "--config", str(conf), "data", "exp"])
    args = train.parse_args()
    model_args = train.parse_model_args(args.model_args)
    wave_input = train.wave_input_of(args, model_args)  # reads the options of the features
    assert wave_input is None or wave_input.rate == 16000
    model = build_model(args.model, wave_input.dim if wave_input else 30, model_args)
    assert model.min_frames <= (wave_input.units(wave_input.samples(args.min_frames)) if wave_input else args.min_frames)
    build_loss(args.loss, model.embed_dim, 7, train.parse_loss_args(args.loss_args))
    if lda_dim := re.search(r"^lda_dim=(\d+)", (conf.parents[1] / "run.sh").read_text(), re.MULTILINE):
        assert int(lda_dim[1]) <= model.embed_dim


def prepared(corpora, tmp_path_factory, name, stop_stage):
    if not (corpora / name).is_dir():
        pytest.skip(f"no {name} in {corpora}")
    folder = tmp_path_factory.mktemp(name)
    result = run(f"{name}/v1", folder, "--corpus", corpora / name, "--stop-stage", stop_stage)
    assert result.returncode == 0, result.stderr
    return folder


@pytest.fixture(scope="module")
def an4(corpora, tmp_path_factory):
    return prepared(corpora, tmp_path_factory, "an4", 2)


@pytest.fixture(scope="module")
def speechocean762(corpora, tmp_path_factory):
    return prepared(corpora, tmp_path_factory, "speechocean762", 1)


@pytest.mark.parametrize("name, valid, test", [("an4", 6, 20), ("speechocean762", 10, 62)])
def test_a_real_corpus_is_held_out_by_speaker_and_all_target_pairs_are_tried(name, valid, test, request):
    data = request.getfixturevalue(name) / "data"
    tables = {name: dict(line.split() for line in (data / name / "utt2spk").read_text().splitlines()) for name in ("train", "valid", "test")}
    speakers = {name: set(table.values()) for name, table in tables.items()}
    assert (len(speakers["valid"]), len(speakers["test"])) == (valid, test)
    assert len(set.union(*speakers.values())) == sum(map(len, speakers.values()))
    trials = [line.split() for line in (data / "test/trials").read_text().splitlines()]
    of = tables["test"]
    counts = {spk: list(of.values()).count(spk) for spk in speakers["test"]}
    targets = [trial for trial in trials if trial[2] == "target"]
    nontargets = [trial for trial in trials if trial[2] == "nontarget"]
    assert len(targets) == sum(n * (n - 1) // 2 for n in counts.values()) <= len(nontargets)
    assert all((of[a] == of[b]) == (label == "target") for a, b, label in trials)
    sex = dict(line.split() for line in (data / "test/spk2gender").read_text().splitlines())
    same_sex = sum(sex[of[a]] == sex[of[b]] for a, b, _ in nontargets)
    assert 0 < same_sex < len(nontargets)


@pytest.mark.parametrize("name", ["an4", "speechocean762"])
def test_the_back_end_of_a_real_corpus_fits_its_training_data(name, request):
    data = request.getfixturevalue(name) / "data"
    speakers = [line.split()[1] for line in (data / "train/utt2spk").read_text().splitlines()]
    recipe = (ROOT / "egs" / name / "v1/run.sh").read_text()
    lda_dim, top_n = (int(re.search(rf"^{option}=(\d+)", recipe, re.MULTILINE)[1]) for option in ("lda_dim", "top_n"))
    assert lda_dim < len(set(speakers))
    assert top_n <= len(speakers)


@pytest.mark.long
@pytest.mark.parametrize("name", ["an4", "speechocean762"])
def test_the_network_beats_the_baseline_on_a_real_corpus(name, request):
    folder = request.getfixturevalue(name)
    assert run(f"{name}/v1", folder, "--stage", "2").returncode == 0
    baselines = [json.loads((folder / f"exp/stats/test/eer{variant}.json").read_text())["eer"] for variant in ("", "_raw")]
    assert eer_of(folder) < min(baselines) - 0.01


@pytest.mark.long
@pytest.mark.parametrize("name", ["an4", "speechocean762"])
def test_calibration_on_a_real_corpus_makes_ratios_and_leaves_the_order_of_the_scores(name, request):
    folder = request.getfixturevalue(name)
    assert run(f"{name}/v1", folder, "--stage", "2", "--stop-stage", "5").returncode == 0
    for kind in ("", "_asnorm", "_plda", "_plda_asnorm"):
        before, after = (json.loads((folder / f"exp/xvector_seed1/test/eer{kind}{more}.json").read_text()) for more in ("", "_cal"))
        assert after["eer"] == pytest.approx(before["eer"], abs=1e-5)
        assert after["min_cllr"] <= after["cllr"] < 1
        if "asnorm" not in kind:  # whose scores may lie near ratios by chance
            assert after["act_dcf"]["0.05"] < before["act_dcf"]["0.05"]
            assert after["cllr"] < before["cllr"]
