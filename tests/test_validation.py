"""pytorch/training/validation.py: what is measured on a validation set, and what is no validation set."""

import hashlib
import multiprocessing

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
import torch
from support import failure, write_feats, write_vad
from torch import nn

from pytorch.data.data_dir import DataDir, write_data_dir, write_table
from pytorch.data.frames import stored_frames
from pytorch.data.targets import read_targets
from pytorch.data.trials import read_trials
from pytorch.features.front import Front
from pytorch.files import sha256
from pytorch.losses import build_loss
from pytorch.metrics import eer, min_dcf
from pytorch.models import build_model
from pytorch.network import Network
from pytorch.training.validation import MEASURES, WORST, Validation, find_valid_trials, validation_targets

CPU, FRONT = torch.device("cpu"), Front("mean")
TDNN = {"frame_dim": 8, "stats_dim": 8, "embed_dim": 6}
ARGS = {"xvector": TDNN, "xvector_wide": TDNN, "resnet": {"depth": 18, "width": 4, "embed_dim": 6}}
TRAINED = {"what": "utt2label", "kind": "classes"}
SETTINGS = {"targets": TRAINED, "classes": ["a", "b", "c"], "loss": {"name": "softmax"}}


def write_data(folder, speakers=("p", "q", "r"), utts=4):
    """Utterances of many lengths, a class and an age of each, and all their pairs as trials."""
    chance = np.random.default_rng(1)
    utt2spk = {f"{spk}-{number}": spk for spk in speakers for number in range(utts)}
    label = {utt: "abc"[place % 3] for place, utt in enumerate(utt2spk)}
    age = {utt: f"{20 + 7 * place % 50}.5" for place, utt in enumerate(utt2spk)}
    path = {utt: f"{spk}/{utt[-1]}.wav" for utt, spk in utt2spk.items()}
    write_data_dir(folder, {utt: f"/corpus/{path[utt]}" for utt in utt2spk}, utt2spk, utt2label=label, utt2age=age, utt2path=path)
    write_feats(folder, {utt: 10 + 3 * chance.standard_normal((chance.integers(30, 90), 24)) for utt in utt2spk})
    write_vad(folder, {utt: np.ones(len(frames), dtype=bool) for utt, frames in feats_of(folder).items()})
    pairs = [(one, other) for one in utt2spk for other in utt2spk if one < other]
    lines = [f"{one} {other} {'target' if utt2spk[one] == utt2spk[other] else 'nontarget'}\n" for one, other in pairs]
    (folder / "trials").write_text("".join(lines))
    return DataDir(folder)


def feats_of(folder):
    frames = stored_frames(DataDir(folder), False)
    return {utt: frames.whole(index) for index, utt in enumerate(frames.utts)}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Only to be read."""
    return write_data(tmp_path_factory.mktemp("data") / "dev")


@pytest.fixture
def own(tmp_path):
    """Data that a test may spoil."""
    return write_data(tmp_path / "own")


def make_network(loss="softmax", model="xvector", num_classes=3, targets=None):
    torch.manual_seed(1)
    network = build_model(model, 24, ARGS[model])
    with torch.no_grad():
        for module in network.modules():  # running statistics of a network that has seen something
            if isinstance(module, nn.BatchNorm1d):
                module.running_mean.normal_()
        width = network.eval()(torch.zeros(1, 60, 24)).shape[1]
    return Network(network, build_loss(loss, width, num_classes, {}, targets))


def validation_of(data, targets=None, trials=None, select=None, batch_frames=200):
    source = stored_frames(data, True)
    return Validation(data, source, targets, trials, select, source.settings, 15, batch_frames)


def one_by_one(data, call):
    """What `call` makes of the mean-subtracted frames of each utterance alone: (N, dim)"""
    with torch.no_grad():
        return torch.cat([call(torch.from_numpy(frames - frames.mean(0)[None])[None]) for frames in feats_of(data.path).values()]).numpy()


def cosines(vectors, data, enrols, tests):
    vectors = dict(zip(data.utt2spk, vectors - vectors.mean(0), strict=True))
    return [
        float(vectors[one] @ vectors[other] / np.linalg.norm(vectors[one]) / np.linalg.norm(vectors[other])) for one, other in zip(enrols, tests, strict=True)
    ]


# ---- what is measured


def test_trials_are_judged_by_cosines_of_embeddings_of_whole_utterances(data):
    network = make_network()
    enrols, tests, labels = read_trials(data / "trials")
    found = validation_of(data, None, find_valid_trials(data)).measure(network, FRONT, CPU)
    scores = cosines(one_by_one(data, network.model.embed), data, enrols, tests)
    assert found == {"valid_eer": pytest.approx(eer(scores, labels)[0]), "valid_min_dcf": pytest.approx(min_dcf(scores, labels, 0.01))}


@pytest.mark.parametrize("model", ARGS)
def test_classes_are_those_the_loss_finds_in_what_it_was_trained_on(model, data):
    network = make_network(model=model)
    targets = read_targets(data, "utt2label", "classes", ["a", "b", "c"])
    found = validation_of(data, targets, find_valid_trials(data)).measure(network, FRONT, CPU)
    outputs = torch.from_numpy(one_by_one(data, network.model))
    classes = network.loss.linear(outputs).argmax(1).numpy()
    assert list(found) == [f"valid_{name}" for name in ("eer", "min_dcf", "loss", "accuracy", "macro_f1", "uar")]
    assert found["valid_accuracy"] == pytest.approx(sklearn.metrics.accuracy_score(targets.values, classes))
    assert found["valid_macro_f1"] == pytest.approx(sklearn.metrics.f1_score(targets.values, classes, average="macro"))
    assert found["valid_uar"] == pytest.approx(sklearn.metrics.balanced_accuracy_score(targets.values, classes))
    wanted = nn.functional.cross_entropy(network.loss.linear(outputs), torch.from_numpy(targets.values))
    assert found["valid_loss"] == pytest.approx(wanted.item(), rel=1e-5)
    alone = validation_of(data, targets).measure(network, FRONT, CPU)
    assert alone == {name: pytest.approx(value) for name, value in found.items() if name not in ("valid_eer", "valid_min_dcf")}


def test_numbers_are_those_the_loss_tells(data):
    targets = read_targets(data, "utt2age", "numbers", [])
    network = make_network("regression", num_classes=0, targets=targets.values)
    found = validation_of(data, targets).measure(network, FRONT, CPU)
    outputs = torch.from_numpy(one_by_one(data, network.model))
    ages = (targets.values.mean() + targets.values.std() * network.loss.linear(outputs).squeeze(1)).detach().numpy()
    assert list(found) == ["valid_loss", "valid_mae", "valid_spearman"]
    assert found["valid_mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(targets.values, ages), rel=1e-5)
    assert found["valid_spearman"] == pytest.approx(scipy.stats.spearmanr(ages, targets.values).statistic)
    assert found["valid_loss"] == pytest.approx((((ages - targets.values) / targets.values.std()) ** 2).mean(), rel=1e-5)


def test_of_both_classes_and_numbers_all_is_measured(data):
    targets = read_targets(data, "utt2label,utt2age", "both", ["a", "b", "c"])
    network = make_network("joint", targets=targets.values)
    validation = validation_of(data, targets, find_valid_trials(data))
    found = validation.measure(network, FRONT, CPU)
    assert list(found) == validation.columns == [f"valid_{name}" for name in ("eer", "min_dcf", "loss", "accuracy", "macro_f1", "uar", "mae", "spearman")]
    outputs = torch.from_numpy(one_by_one(data, network.model))
    assert found["valid_accuracy"] == pytest.approx((network.loss.classes.linear(outputs).argmax(1).numpy() == targets.of_classes).mean())
    assert found["valid_mae"] == pytest.approx(np.abs(network.loss.numbers.predict(outputs).detach().numpy() - targets.values[:, 1]).mean(), rel=1e-5)
    assert set(MEASURES) == set(WORST) == {name.removeprefix("valid_") for name in found}


def test_no_utterance_is_embedded_twice_where_the_loss_sees_the_embedding(data, monkeypatch):
    network = make_network(model="resnet")
    seen, embed = [], network.model.embed
    monkeypatch.setattr(network.model, "embed", lambda x, lengths=None: (seen.extend(range(len(x))), embed(x, lengths))[1])
    validation_of(data, read_targets(data, "utt2label", "classes", ["a", "b", "c"]), find_valid_trials(data)).measure(network, FRONT, CPU)
    assert len(seen) == len(data.utt2spk) + 2  # two by which it is found out


def test_numbers_that_are_all_alike_have_no_correlation(own):
    write_table(own / "utt2age", dict.fromkeys(own.utt2spk, 30))
    validation = validation_of(own, read_targets(own, "utt2age", "numbers", []))
    assert validation.measures == ["loss", "mae"]


@pytest.mark.parametrize(
    ("targets", "trials", "select"),
    [(None, True, "eer"), (("utt2label", "classes"), True, "uar"), (("utt2age", "numbers"), True, "mae"), (("utt2label,utt2age", "both"), False, "uar")],
)
def test_the_figure_that_chooses_is_of_what_was_trained(targets, trials, select, data):
    targets = read_targets(data, *targets, ["a", "b", "c"]) if targets else None
    assert validation_of(data, targets, find_valid_trials(data) if trials else None).select == select


def test_another_figure_can_be_chosen_if_it_is_measured(data):
    assert validation_of(data, None, find_valid_trials(data), "min_dcf").select == "min_dcf"
    message = failure(validation_of, data, None, find_valid_trials(data), "uar")
    assert message == f"--select uar: not measured on {data.path}, where there are eer, min_dcf"


def test_a_network_in_training_is_left_as_it_was(data):
    network = make_network().train()
    network.model.frames[1].eval()  # frozen
    before = {name: module.training for name, module in network.named_modules()}
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    validation_of(data, read_targets(data, "utt2label", "classes", ["a", "b", "c"]), find_valid_trials(data)).measure(network, FRONT, CPU)
    assert {name: module.training for name, module in network.named_modules()} == before
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [float("nan"), float("inf"), 0.0])
def test_a_network_that_went_astray_has_the_worst_figures(value, data):
    network = make_network("joint", targets=read_targets(data, "utt2label,utt2age", "both", ["a", "b", "c"]).values)
    with torch.no_grad():
        network.model.segment6.weight.fill_(value)
        network.model.segment6.bias.fill_(value)
    found = validation_of(data, read_targets(data, "utt2label,utt2age", "both", ["a", "b", "c"]), find_valid_trials(data)).measure(network, FRONT, CPU)
    if value == 0:  # embeddings that are all alike: trials cannot be judged, one class is told of all
        assert (found["valid_eer"], found["valid_spearman"]) == (1.0, 0.0)
        assert found["valid_uar"] == pytest.approx(1 / 3)
    else:
        assert found == {f"valid_{name}": worst for name, worst in WORST.items()}


def test_outputs_so_large_that_numbers_overflow_are_the_worst_too(data):
    targets = read_targets(data, "utt2age", "numbers", [])
    network = make_network("regression", num_classes=0, targets=targets.values)
    with torch.no_grad():
        network.loss.linear.weight.fill_(3e38)
    found = validation_of(data, targets).measure(network, FRONT, CPU)
    assert found == {"valid_loss": float("inf"), "valid_mae": float("inf"), "valid_spearman": -1.0}


def _share(rank, world, folder, store, queue):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", store=torch.distributed.FileStore(store, world), rank=rank, world_size=world)
    data = DataDir(folder)
    validation = validation_of(data, read_targets(data, "utt2label", "classes", ["a", "b", "c"]), find_valid_trials(data))
    network = make_network()
    if rank:
        dict(network.named_buffers())["model.segment7.1.running_mean"].normal_()  # of the batches it has seen
    queue.put(validation.measure(network, FRONT, CPU))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def test_processes_that_share_the_work_have_the_figures_of_the_first_one(data, tmp_path):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    world = 2
    processes = [context.Process(target=_share, args=(rank, world, data.path, str(tmp_path / "store"), queue)) for rank in range(world)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=60) for _ in processes]
    for process in processes:
        process.join(60)
    targets = read_targets(data, "utt2label", "classes", ["a", "b", "c"])
    assert found == [validation_of(data, targets, find_valid_trials(data)).measure(make_network(), FRONT, CPU)] * world


# ---- trials


def test_the_trials_of_a_directory_are_its_file_of_that_name(data):
    trials = find_valid_trials(data)
    assert (trials.name, trials.sha256) == (str(data / "trials"), sha256(data / "trials"))
    assert (trials.enrols, trials.tests, trials.labels) == read_trials(data / "trials")
    assert len(trials.labels) == 66


def test_a_file_of_trials_can_be_given(data, tmp_path):
    (tmp_path / "some, trials").write_text("p-0 p-1 target\np-0 q-1 nontarget\n")
    trials = find_valid_trials(data, str(tmp_path / "some, trials"))
    assert (trials.enrols, trials.tests, trials.labels) == (["p-0", "p-0"], ["p-1", "q-1"], [True, False])


def test_clients_and_impostors_are_found_by_their_paths(data, tmp_path):
    clients, impostors = tmp_path / "clients.ndx", tmp_path / "impostors.ndx"
    clients.write_text("\np/0 p/1\n\nq/0.wav q/3.wav\r\n")
    impostors.write_text("p-0 q-0\n/corpus/r/2 p/1\n")
    trials = find_valid_trials(data, f"{clients},{impostors}")
    assert (trials.enrols, trials.tests) == (["p-0", "q-0", "p-0", "r-2"], ["p-1", "q-3", "q-0", "p-1"])
    assert trials.labels == [True, True, False, False]
    as_imported = "p-0 p-1 target\nq-0 q-3 target\np-0 q-0 nontarget\nr-2 p-1 nontarget\n"
    assert trials.sha256 == hashlib.sha256(as_imported.encode()).hexdigest()
    assert trials.name == f"{clients},{impostors}"


def lists(folder, clients, impostors):
    for name, text in (("clients", clients), ("impostors", impostors)):
        (folder / name).write_text(text)
    return f"{folder / 'clients'},{folder / 'impostors'}"


@pytest.mark.parametrize(
    ("clients", "impostors", "message"),
    [
        ("p/0 p/7\n", "p/0 q/0\n", "{clients}:1: 'p/7' is not in {data}; say where its path begins (--root), complete the data directory, or make trials of "),
        ("p/0 p/1\np-0 p/1.wav\n", "p/0 q/0\n", "{clients}:2: 'p-0 p/1.wav' stands in {clients}:1 too; keep one, or make trials of "),
        ("p/0 p/1\n", "p/0 q/0\np/0 p/1\n", "{impostors}:2: 'p/0 p/1' is nontarget here and target in {clients}:1; correct one"),
        ("p/0 p/1 1\n", "p/0 q/0\n", "{clients}:1: `enrol test` expected, not 'p/0 p/1 1'"),
        ("p/0 p/1\n", "\n\n", "{impostors}: no entry in it"),
        ("p/0 p/1", "p/0 q/0\n", "{clients}:1: the last line lacks its newline"),
    ],
)
def test_wrong_lists_are_told_with_file_and_line(clients, impostors, message, data, tmp_path):
    found = failure(find_valid_trials, data, lists(tmp_path, clients, impostors))
    assert found.startswith(message.format(data=data.path, clients=tmp_path / "clients", impostors=tmp_path / "impostors"))


def test_lists_the_wrong_way_round_are_told_by_the_speakers(data, tmp_path):
    message = failure(find_valid_trials, data, lists(tmp_path, "p/0 q/0\n", "p/0 p/1\n"))
    assert message == (
        f"{tmp_path / 'clients'}: 'p-0' and 'q-0' are of two speakers by {data / 'utt2spk'} (2 such); clients stand before impostors; "
        "correct it, or see utils/import_trials.py --check-speakers false"
    )


def test_lists_are_not_held_against_speakers_that_are_not_known(own, tmp_path):
    write_table(own / "utt2spk", {utt: utt for utt in own.utt2spk})
    assert find_valid_trials(DataDir(own.path), lists(tmp_path, "p/0 q/0\n", "p/0 p/1\n")).labels == [True, False]


@pytest.mark.parametrize("given", ["none", "a,b,c", "a,b"])
def test_trials_that_are_not_there_are_told(given, data, tmp_path):
    given = ",".join(str(tmp_path / name) for name in given.split(","))
    message = failure(find_valid_trials, data, given)
    assert message in (
        f"{given}: no such file",
        f"{tmp_path / 'a'}: no such file",
        f"--valid-trials {given}: a file, or two, CLIENTS,IMPOSTORS, expected, not 3",
    )


def test_trials_of_one_kind_or_of_other_utterances_are_told(own):
    (own / "trials").write_text("p-0 p-1 target\n")
    assert failure(find_valid_trials, own) == f"{own / 'trials'}: target and nontarget trials are both needed"
    (own / "trials").write_text("p-0 p-1 target\np-0 x-1 nontarget\n")
    assert failure(find_valid_trials, own) == f"{own / 'trials'}: 'x-1' is not in {own.path}; draw the trials anew"


def test_data_without_trials_are_no_validation_set_of_speakers(own):
    (own / "trials").unlink()
    assert find_valid_trials(own) is None
    assert failure(validation_of, own) == f"{own / 'trials'}: no such file; draw it with utils/make_trials.py {own.path}"


# ---- targets


@pytest.mark.parametrize(
    "settings",
    [
        {"loss": None, "classes": []},
        {**SETTINGS, "targets": {"what": "utt2spk", "kind": "classes"}},
        {**SETTINGS, "targets": {"what": "utterance", "kind": "classes"}},
        {**SETTINGS, "loss": {"name": "triplet"}},
        {**SETTINGS, "targets": {"what": "utt2accent", "kind": "classes"}},
    ],
)
def test_networks_that_tell_nothing_of_held_out_data_are_judged_by_trials(settings, data):
    assert validation_targets(data, settings, find_valid_trials(data)) is None


def test_the_classes_are_those_of_the_training_in_their_order(data):
    assert validation_targets(data, {**SETTINGS, "classes": ["c", "b", "a"]}, None).values.tolist() == [2, 1, 0] * 4
    assert "'c'" in failure(validation_targets, data, {**SETTINGS, "classes": ["a", "b"]}, None)


def test_data_without_what_was_trained_nor_trials_are_told(data):
    message = failure(validation_targets, data, {**SETTINGS, "targets": {"what": "utt2accent", "kind": "classes"}}, None)
    path = data / "utt2accent"
    assert message == f"{path}: no such file; the network was trained on it: write it, or draw trials with utils/make_trials.py {data.path}"


def test_other_features_and_short_utterances_are_told(data):
    source = stored_frames(data, True)
    message = failure(Validation, data, source, None, find_valid_trials(data), None, {**source.settings, "num_mel_bins": 3}, 15)
    assert message == f"{data / 'feats.json'}: other feature settings than the training data's; make the features of both alike"
    assert "fewer than 50 voiced frames" in failure(Validation, data, source, None, find_valid_trials(data), None, source.settings, 50)


def test_a_loss_is_not_needed_where_there_are_trials_only(data):
    found = validation_of(data, None, find_valid_trials(data)).measure(Network(make_network().model, None), FRONT, CPU)
    assert found == validation_of(data, None, find_valid_trials(data)).measure(make_network(), FRONT, CPU)
