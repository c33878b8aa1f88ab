"""utils/import_kaldi_nnet3.py: a network trained with Kaldi gives the embeddings that Kaldi gave, whole and in chunks."""

import json
import re
import shutil

import kaldiio
import numpy as np
import pytest
import torch
from support import failure, write_feats, write_vad

from pytorch.data.data_dir import write_data_dir
from pytorch.experiment import Experiment
from pytorch.kaldi_nnet3 import REMEDY, Nnet3

PROGRAM = "utils/import_kaldi_nnet3.py"


def kaldi_text(path):
    """A text archive of Kaldi's -> {key: (rows, columns) float32}"""
    return {
        key: np.array([row.split() for row in body.strip().split("\n")], dtype=np.float32)
        for key, body in re.findall(r"(\S+)  \[(.*?)\]", path.read_text(), re.S)
    }


@pytest.fixture(scope="module")
def feats(golden):
    return kaldi_text(golden / "xvector_toy_feats.txt")


@pytest.fixture(scope="module")
def data(tmp_path_factory, feats):
    """A data directory of the toy's features, already normalised and voiced; only to be read."""
    folder = tmp_path_factory.mktemp("data") / "toy"
    write_data_dir(folder, {utt: f"/nowhere/{utt}.wav" for utt in feats}, {utt: utt[:2] for utt in feats})
    write_feats(folder, feats)
    return folder


@pytest.fixture(scope="module")
def exp(tmp_path_factory, golden, data, program):
    """The imported toy; only to be read."""
    folder = tmp_path_factory.mktemp("exp") / "kaldi"
    done = program(PROGRAM, "--voiced", "false", golden / "xvector_toy_final.txt", data, folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"import_kaldi_nnet3: {folder}, xvector with 5,408 parameters; embeddings of 12 are the output of 'tdnn6.affine'\n"
    return folder


def test_extraction_gives_kaldis_embeddings(exp, data, golden, program, tmp_path):
    done = program("steps/extract.py", exp, data, tmp_path / "out")
    assert (done.returncode, done.stderr) == (0, "")
    found, expected = kaldiio.load_scp(str(tmp_path / "out/xvector.scp")), kaldi_text(golden / "xvector_toy_full.txt")
    assert sorted(found) == sorted(expected)
    for utt in expected:
        np.testing.assert_allclose(found[utt], expected[utt][0], rtol=0, atol=1e-4)


@torch.inference_mode()
def test_chunks_give_kaldis_embeddings(exp, feats, golden):
    """nnet3-xvector-compute --chunk-size 50 --min-chunk-size 25: short last pieces are padded with their first and last frame, the mean is weighted."""
    network = Experiment(exp).load(1, "cpu")
    for utt, expected in kaldi_text(golden / "xvector_toy_chunk50_min25.txt").items():
        total, lengths = 0, []
        for start in range(0, len(feats[utt]), 50):
            piece = feats[utt][start : start + 50]
            lengths.append(len(piece))
            missing = max(0, 25 - len(piece))
            piece = np.concatenate([piece[:1].repeat(missing // 2, 0), piece, piece[-1:].repeat(missing - missing // 2, 0)])
            total = total + lengths[-1] * network.embed(torch.from_numpy(piece)[None])[0].numpy()
        np.testing.assert_allclose(total / sum(lengths), expected[0], rtol=0, atol=1e-4)


def test_the_experiment_says_what_it_is(exp):
    settings = json.loads((exp / "model.json").read_text())
    assert {key: settings[key] for key in ("model", "args", "feat_dim", "cmn", "voiced")} == {
        "model": "xvector", "args": {"frame_dim": 16, "stats_dim": 24, "embed_dim": 12, "segment7": True}, "feat_dim": 30, "cmn": "none", "voiced": False,
    }  # fmt: skip
    assert Experiment(exp).epoch("best") == Experiment(exp).epoch("final") == 1


def test_the_experiment_remembers_how_voiced_frames_are_found(data, golden, program, tmp_path):
    words = (golden / "xvector_toy_final.txt", tmp_path / "data", tmp_path / "exp")
    shutil.copytree(data, tmp_path / "data")
    assert program(PROGRAM, *words).returncode == 0
    assert json.loads((tmp_path / "exp/model.json").read_text())["vad"] is None
    write_vad(tmp_path / "data", {})
    other = program(PROGRAM, *words)
    assert other.returncode == 1 and "vad.json has changed" in other.stderr
    assert program(PROGRAM, "--overwrite", "true", *words).returncode == 0
    assert json.loads((tmp_path / "exp/model.json").read_text())["vad"] == json.loads((tmp_path / "data/vad.json").read_text())


def test_a_second_import_is_free_and_another_one_stops(exp, data, golden, program):
    again = program(PROGRAM, "--voiced", "false", golden / "xvector_toy_final.txt", data, exp)
    assert (again.returncode, again.stdout) == (0, f"import_kaldi_nnet3: {exp} is there\n")
    other = program(PROGRAM, golden / "xvector_toy_final.txt", data, exp)
    assert other.returncode == 1
    assert "--voiced was false, now true" in other.stderr


def test_what_was_trained_is_not_replaced(golden, data, program, tmp_path):
    (tmp_path / "model.json").write_text("{}")
    done = program(PROGRAM, golden / "xvector_toy_final.txt", data, tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith(f"import_kaldi_nnet3.py: {tmp_path}/model.json: is there, but import_kaldi_nnet3 did not make it; move it away")
    assert done.stderr.count("\n") == 1
    assert (tmp_path / "model.json").read_text() == "{}"


def test_features_of_other_width_are_refused(golden, program, tmp_path):
    write_data_dir(tmp_path / "data", {"a-1": "/nowhere/a.wav"}, {"a-1": "a"})
    write_feats(tmp_path / "data", {"a-1": np.zeros((40, 24), np.float32)})
    write_vad(tmp_path / "data", {"a-1": np.ones(40)})
    done = program(PROGRAM, golden / "xvector_toy_final.txt", tmp_path / "data", tmp_path / "exp")
    assert done.returncode == 1
    assert "features of 24 columns, but" in done.stderr
    assert "takes 30; make them with the options of its recipe" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "exp/model.json").exists()


def test_a_missing_network_is_one_line(data, program, tmp_path):
    done = program(PROGRAM, tmp_path / "final.raw", data, tmp_path / "exp")
    assert (done.returncode, done.stderr) == (1, f"import_kaldi_nnet3.py: {tmp_path}/final.raw: no such file\n")


# ---- the file


@pytest.fixture
def text(golden):
    return (golden / "xvector_toy_final.txt").read_text()


def parsed(tmp_path, text):
    (tmp_path / "final.txt").write_text(text)
    return Nnet3(tmp_path / "final.txt").network()


def test_kaldis_epsilon_and_target_are_kept(tmp_path, text):
    other = text.replace("<BlockDim> 16 <Epsilon> 0.001 <TargetRms> 1 ", "<BlockDim> 16 <Epsilon> 0.01 <TargetRms> 0.5 ", 1)
    plain, scaled = parsed(tmp_path, text)[2], parsed(tmp_path, other)[2]
    var = plain["frames.0.2.running_var"].astype(np.float64)
    np.testing.assert_allclose(1 / np.sqrt(scaled["frames.0.2.running_var"] + 1e-3), 0.5 / np.sqrt(var + 0.01), rtol=1e-5)
    assert np.array_equal(plain["frames.1.2.running_var"], scaled["frames.1.2.running_var"])


def test_layers_that_classify_are_not_needed(tmp_path, text):
    short = re.sub(r"<ComponentName> output\.affine .*?</NaturalGradientAffineComponent> \n", "", text, flags=re.S)
    short = re.sub(r"<ComponentName> output\.log-softmax .*?</LogSoftmaxComponent> \n", "", short, flags=re.S)
    short = re.sub(r"component-node name=output.*\n", "", short).replace("input=output.log-softmax", "input=tdnn7.batchnorm").replace("> 25 ", "> 23 ")
    assert parsed(tmp_path, short)[1] == parsed(tmp_path, text)[1]


def test_the_extended_topology_is_known(tmp_path):
    """A chain as Kaldi's xconfig makes of the E-TDNN, of zeros."""

    def affine(name, inputs, outputs):
        rows = "\n".join("  " + "0 " * inputs for _ in range(outputs))
        return f"<ComponentName> {name}.affine <NaturalGradientAffineComponent> <LinearParams>  [\n{rows}]\n<BiasParams>  [ {'0 ' * outputs}]\n</X> "

    def norm(name, dim):
        stats = f"<StatsMean>  [ {'0 ' * dim}]\n<StatsVar>  [ {'1 ' * dim}]\n"
        return f"<ComponentName> {name}.batchnorm <BatchNormComponent> <Dim> {dim} <BlockDim> {dim} <Epsilon> 0.001 <TargetRms> 1 {stats}</X> "

    nodes, components, source, dim = ["input-node name=input dim=3"], [], "input", 3
    for number, step in enumerate([1, 0, 2, 0, 3, 0, 4, 0, 0, 0, None, 0, 0], 1):
        if step is None:
            nodes.append(f"component-node name=pool component=pool input={source}")
            components.append("<ComponentName> pool <StatisticsPoolingComponent> <NumLogCountFeatures> 0 <OutputStddevs> T </X> ")
            source, dim = "pool", 2 * dim
            continue
        reach = 2 if number == 1 else 1
        offsets = [step * place for place in range(-reach, reach + 1)] if step else [0]
        taken = ", ".join(f"Offset({source}, {offset})" if offset else source for offset in offsets)
        out = 5 if number == 10 else 4
        nodes += [f"component-node name=l{number}.affine component=l{number}.affine input={f'Append({taken})' if len(offsets) > 1 else taken}"]
        nodes += [f"component-node name=l{number}.batchnorm component=l{number}.batchnorm input=l{number}.affine"]
        components += [affine(f"l{number}", dim * len(offsets), out), norm(f"l{number}", out)]
        source, dim = f"l{number}.batchnorm", out
    body = "\n".join(components)
    name, args, tensors = parsed(tmp_path, f"<Nnet3> \n{chr(10).join(nodes)}\n\n<NumComponents> {len(components)} \n{body}</Nnet3> ")
    assert (name, args) == ("etdnn", {"frame_dim": 4, "stats_dim": 5, "embed_dim": 4, "segment12": True})
    from pytorch.models.etdnn import ETdnn

    ETdnn(3, **args).load_state_dict({key: torch.from_numpy(array) for key, array in tensors.items()})


BROKEN = [
    (lambda text: "\0B" + text, "in Kaldi's binary form; make it text first: nnet3-copy --binary=false {path} final.txt"),
    (lambda text: text[: len(text) // 2], "no nnet3 network in text form, or cut off (<Nnet3> … </Nnet3> expected)"),
    (lambda text: "", "no nnet3 network in text form, or cut off (<Nnet3> … </Nnet3> expected)"),
    (lambda text: text.replace("> 25 ", "> 26 "), "26 components are announced, 25 are there; it is damaged"),
    (lambda text: text.replace("name=input dim=30", "name=ivector dim=30"), f"one line 'input-node name=input dim=N' expected; {REMEDY}"),
    (lambda text: text.replace("component=tdnn1.relu", "component=tdnn0.relu"), ":4: the component 'tdnn0.relu' is not in the file; it is damaged"),
    (lambda text: text.replace("input=tdnn1.affine", "input=input"), f":4: 'tdnn1.relu' takes 'input', not 'tdnn1.affine' before it; {REMEDY}"),
    (lambda text: text.replace("component-node name=tdnn1.relu ", "component-node "), ":4: 'component-node name=… component=… input=…' expected"),
    (lambda text: text.replace("component-node name=tdnn1.relu", "dim-range-node name=tdnn1.relu"), f":4: 'dim-range-node'; {REMEDY}"),
    (lambda text: text.replace("Append(Offset(tdnn1.b", "Sum(Offset(tdnn1.b"), ":6: the input 'Sum(Offset(tdnn1.batchnorm, -2), tdnn1.batchnorm, "),
    (lambda text: text.replace("Offset(tdnn1.batchnorm, -2)", "Offset(tdnn1.relu, -2)"), ":6: the input 'Append(Offset(tdnn1.relu, -2), tdnn1"),
    (
        lambda text: text.replace("Offset(input, -2)", "Offset(input, -3)"),
        "layers over 5 frames 0 apart, 3 frames 2 apart, 3 frames 3 apart, 1 frames 1 apart, ",
    ),
    (lambda text: text.replace("RectifiedLinear", "Tanh"), f":4: a TanhComponent; {REMEDY}"),
    (lambda text: text.replace("<LinearParams>  [", "<Params>  [", 1), "'tdnn1.affine' has no <LinearParams>; it is damaged"),
    (
        lambda text: text.replace("<LinearParams>  [\n", "<LinearParams>  [\n 1 2\n", 1),
        "<LinearParams> of 'tdnn1.affine': rows of numbers, equally many in each, ",
    ),
    (
        lambda text: text.replace("<BiasParams>  [ 0.4805465 ", "<BiasParams>  [ nan ", 1),
        "<BiasParams> of 'tdnn1.affine': finite numbers expected; it is damaged",
    ),
    (lambda text: text.replace("<BiasParams>  [ 0.4805465 ", "<BiasParams>  [ ", 1), "'tdnn1.affine' has 16 x 150 weights; it is damaged"),
    (lambda text: text.replace("dim=30", "dim=31"), "'tdnn1.affine' has 16 x 150 weights; it is damaged"),
    (lambda text: text.replace("<StatsMean>  [ ", "<StatsMean>  [ 1 ", 1), f"'tdnn1.affine' has no normalisation of its 16 outputs after it; {REMEDY}"),
    (lambda text: text.replace("<BlockDim> 16", "<BlockDim> 8", 1), f"'tdnn1.batchnorm' normalises in blocks; {REMEDY}"),
    (lambda text: text.replace("<TargetRms> 1 ", "", 1), "'tdnn1.batchnorm' has no <TargetRms>; it is damaged"),
    *(
        (
            lambda text, word=word: text.replace("<TargetRms> 1 ", f"<TargetRms> {word} ", 1),
            f"'tdnn1.batchnorm' has <TargetRms> {word}; a number above 0 expected",
        )
        for word in ("0", "T", "nan", "1e39", "-1")
    ),
    (lambda text: re.sub("<Epsilon> \\S+", "<Epsilon> 1e400", text, count=1), "'tdnn1.batchnorm' has <Epsilon> 1e400; a number above 0 expected"),
    (lambda text: text.replace("<StatsVar>  [ ", "<StatsVar>  [ -", 1), "'tdnn1.batchnorm' has a variance of -"),
    (lambda text: text.replace("<OutputStddevs> T", "<OutputStddevs> F"), "'stats-pooling-0-10000' has <OutputStddevs> F; mean and standard deviation alone"),
]


@pytest.mark.parametrize("change, message", BROKEN, ids=[str(number) for number in range(len(BROKEN))])
def test_a_file_that_cannot_be_imported_is_one_line(tmp_path, text, change, message):
    path = tmp_path / "final.txt"
    found = failure(parsed, tmp_path, change(text))
    assert found.startswith(f"{path}{'' if message[0] == ':' else ': '}{message.format(path=path)}")


def test_a_file_cut_off_anywhere_is_one_line(tmp_path, text):
    needed = text.index("<ComponentName> output.affine")
    for end in range(0, len(text), len(text) // 40):
        failure(parsed, tmp_path, text[:end])
        if end < needed:
            failure(parsed, tmp_path, text[:end] + "</Nnet3> ")
