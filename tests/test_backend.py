"""LDA, PLDA and score normalisation against Kaldi's outputs and against their formulas, written out in double precision."""

import struct

import numpy as np
import pytest
import scipy.stats
from kaldi_outputs import GOLDEN
from support import failure

from pytorch.backend.cosine import unit_length
from pytorch.backend.folder import Backend, files_of, read_labelled, read_mean, read_vector
from pytorch.backend.lda import train_lda
from pytorch.backend.normalisation import check_deviations, cohort_statistics, statistics_of_models, statistics_of_tests
from pytorch.backend.pairs import Cosine, all_scores, pair_scores
from pytorch.backend.plda import Plda, adapt_plda, train_plda
from pytorch.backend.plda_file import numbers_text, plda_text, read_plda
from pytorch.backend.speakers import Moments, moments, speaker_means
from pytorch.data.ark import ArkWriter, read_ark, read_object, write_object
from pytorch.data.data_dir import DataDir, read_table, write_data_dir


def golden_vectors():
    """-> (100, 5), labels, utterances"""
    table = dict(read_ark(GOLDEN / "x.txt"))
    utt2spk = read_table(GOLDEN / "x.utt2spk")
    return np.array(list(table.values())), np.unique(list(utt2spk.values()), return_inverse=True)[1], list(table)


def golden_scores(name, utts):
    """-> rows of the first, rows of the second, scores"""
    lines = [line.split() for line in (GOLDEN / name).read_text().splitlines()]
    place = {utt: row for row, utt in enumerate(utts)}
    return np.array([place[a] for a, _, _ in lines]), np.array([place[b] for _, b, _ in lines]), np.array([float(score) for *_, score in lines])


def ones(number):
    return np.ones(number, dtype=int)


def upright(rows, like):
    """An eigenvector can point both ways: each row as the other has it."""
    return rows * np.sign((rows * like).sum(1))[:, None]


def drawn(counts=(1, 2, 3, 5, 4, 2, 6, 3), dim=3, seed=0):
    """Labelled vectors of a two-covariance model -> vectors, labels"""
    chance = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    speakers = chance.normal(size=(len(counts), dim)) * [2, 1, 0.5][:dim] + 7
    return speakers[labels] + chance.normal(size=(len(labels), dim)) @ chance.normal(size=(dim, dim)), labels


@pytest.fixture(scope="module")
def plda():
    return train_plda(moments(*drawn(dim=3)))


# ---- Kaldi's outputs


def test_lda_equals_kaldis():
    vectors, labels, _ = golden_vectors()
    found = moments(vectors, labels)
    matrix, floored = train_lda(found, 3)
    kaldis = read_object(GOLDEN / "lda3.txt")
    np.testing.assert_allclose(upright(np.c_[matrix, -matrix @ found.mean], kaldis), kaldis, atol=7e-7)
    assert floored == 0


def test_plda_equals_kaldis():
    vectors, labels, _ = golden_vectors()
    found, kaldis = train_plda(moments(vectors, labels)), read_plda(GOLDEN / "plda.txt")
    np.testing.assert_allclose(found.mean, kaldis.mean, atol=6e-8)  # what seven digits leave
    np.testing.assert_allclose(upright(found.transform, kaldis.transform), kaldis.transform, atol=6e-7)
    np.testing.assert_allclose(found.psi, kaldis.psi, atol=6e-7)


def test_plda_scores_equal_kaldis():
    vectors, labels, utts = golden_vectors()
    first, second, kaldis = golden_scores("plda_scores.txt", utts)
    found = train_plda(moments(vectors, labels))
    scores = pair_scores(found.models(vectors, ones(100)), found.tests(vectors, ones(100)), first, second)
    np.testing.assert_allclose(scores, kaldis, atol=1e-5)


def test_cosine_scores_equal_kaldis():
    vectors, _, utts = golden_vectors()
    first, second, kaldis = golden_scores("cosine_scores.txt", utts)
    rows = unit_length(vectors, utts, "x")
    np.testing.assert_allclose(pair_scores(Cosine().models(rows, ones(100)), Cosine().tests(rows, ones(100)), first, second), kaldis, atol=3e-7)


# ---- LDA


@pytest.mark.parametrize("factor", [0.0, 0.3, 1.0])
def test_lda_makes_white_what_it_should_and_sorts_by_how_speakers_differ(factor):
    vectors, labels = drawn()
    found, _ = train_lda(moments(vectors, labels), 2, factor)
    centred = vectors - vectors.mean(0)
    means = np.array([centred[labels == label].mean(0) for label in labels])
    total, between = centred.T @ centred / len(vectors), means.T @ means / len(vectors)
    np.testing.assert_allclose(found @ (factor * total + (1 - factor) * (total - between)) @ found.T, np.eye(2), atol=1e-9)
    spread = found @ between @ found.T
    np.testing.assert_allclose(spread - np.diag(np.diag(spread)), 0, atol=1e-9)
    best = scipy.linalg.eigh(between, factor * total + (1 - factor) * (total - between), eigvals_only=True)[::-1][:2]
    np.testing.assert_allclose(np.diag(spread), best, rtol=1e-9)


def test_lda_floors_directions_that_do_not_vary_within_speakers():
    vectors, labels = drawn()
    vectors[:, 2] = labels
    found, floored = train_lda(moments(vectors, labels), 3)
    assert floored == 1
    assert np.isfinite(found).all()


def test_lda_refuses_speakers_that_do_not_vary():
    found = moments(np.array([[1.0, 0], [1, 0], [0, 1], [0, 1]]), np.array([0, 0, 1, 1]))
    message = "the embeddings of each speaker are all alike, so how one speaker varies cannot be seen; add other utterances"
    assert failure(train_lda, found, 1) == message


def test_lda_refuses_more_dimensions_than_speakers_differ_in():
    message = failure(train_lda, moments(*drawn(counts=(2, 2, 2))), 3)
    assert message == "LDA to 3 dimensions of 3, with 3 speakers: they differ in 2 at most; choose a lower --lda-dim"


@pytest.mark.parametrize("train", [lambda found: train_lda(found, 1), train_plda], ids=["LDA", "PLDA"])
def test_speakers_of_one_utterance_each_are_refused(train):
    message = failure(train, moments(*drawn(counts=(1, 1, 1, 1, 1))))
    assert message == "no speaker has two utterances, so how one speaker varies cannot be seen; add utterances"


@pytest.mark.parametrize("train", [lambda found: train_lda(found, 1), train_plda], ids=["LDA", "PLDA"])
def test_one_speaker_is_refused(train):
    assert failure(train, moments(*drawn(counts=(9,)))) == "one speaker only, so how speakers differ cannot be seen; add others"


# ---- PLDA


def test_plda_is_what_expectation_maximisation_written_out_comes_to():
    vectors, labels = drawn()
    found = train_plda(moments(vectors, labels), iterations=7)
    groups = [vectors[labels == label] for label in np.unique(labels)]
    centre = np.mean([group.mean(0) for group in groups], 0)
    within, between = np.eye(3), np.eye(3)
    for _ in range(7):
        of_speakers, of_rest = [], []
        for group in groups:
            n, m = len(group), group.mean(0) - centre
            spread = np.linalg.inv(np.linalg.inv(between) + n * np.linalg.inv(within))
            likely = spread @ np.linalg.inv(within) @ m * n
            of_speakers.append(spread + np.outer(likely, likely))
            rest = group - centre - likely
            of_rest.append(rest.T @ rest + n * spread)
        within, between = sum(of_rest) / len(vectors), sum(of_speakers) / len(groups)
    inverse = np.linalg.inv(found.transform)
    np.testing.assert_allclose(inverse @ inverse.T, within, rtol=1e-8)
    np.testing.assert_allclose(inverse @ np.diag(found.psi) @ inverse.T, between, atol=1e-8)
    np.testing.assert_allclose(found.mean, centre)


@pytest.mark.parametrize("n", [1, 2, 7])
def test_plda_scores_are_ratios_of_dense_gaussians(plda, n):
    """All utterances of both sides as one vector, with and without the same speaker."""
    inverse = np.linalg.inv(plda.transform)
    within, between = inverse @ inverse.T, inverse @ np.diag(plda.psi) @ inverse.T
    chance = np.random.default_rng(n)
    enrolled, test = chance.normal(size=(n, 3)) + plda.mean, chance.normal(size=3) + plda.mean

    def density(utts):
        number = len(utts)
        covariance = np.kron(np.eye(number), within) + np.kron(np.ones((number, number)), between)
        return scipy.stats.multivariate_normal(np.tile(plda.mean, number), covariance).logpdf(np.ravel(utts))

    expected = density([*enrolled, test]) - density(enrolled) - density([test])
    bare = Plda(plda.mean, plda.transform, plda.psi, length_norm=False)
    models, tests = bare.models(enrolled.mean(0)[None], np.array([n])), bare.tests(test[None], np.array([n]))
    assert pair_scores(models, tests, np.array([0]), np.array([0]))[0] == pytest.approx(expected, abs=2e-5)


def test_plda_gives_vectors_the_length_that_is_expected_of_a_mean_of_so_many_utterances(plda):
    projected = plda.project(np.random.default_rng(0).normal(size=(4, 3)), np.array([1, 5, 1, 9]))
    for row, n in zip(projected, (1, 5, 1, 9), strict=True):
        assert (row**2 / (plda.psi + 1 / n)).sum() == pytest.approx(3)


def test_models_of_different_numbers_of_utterances_are_scored_as_by_themselves(plda):
    chance, counts = np.random.default_rng(0), np.array([3, 1, 8, 3])
    vectors, others = chance.normal(size=(4, 3)), chance.normal(size=(5, 3))
    together = all_scores(plda.models(vectors, counts), plda.tests(others, counts))
    for row, n in enumerate(counts):
        alone = all_scores(plda.models(vectors[row : row + 1], counts[row : row + 1]), plda.tests(others, np.array([n])))
        np.testing.assert_allclose(together[row], alone[0], atol=1e-5)


def test_scores_of_pairs_are_those_of_the_whole_matrix_in_any_order(plda):
    chance = np.random.default_rng(0)
    counts = np.r_[ones(30), 2 * ones(10)]
    models, tests = plda.models(chance.normal(size=(40, 3)), counts), plda.tests(chance.normal(size=(50, 3)), counts)
    first, second = chance.integers(40, size=9000), chance.integers(50, size=9000)
    scores, order = pair_scores(models, tests, first, second), chance.permutation(9000)
    np.testing.assert_allclose(scores, all_scores(models, tests)[first, second], atol=1e-5)
    np.testing.assert_array_equal(pair_scores(models, tests, first[order], second[order]), scores[order])


def test_smoothing_adds_between_to_within(plda):
    smooth = plda.smoothed(0.2)
    inverse, before = np.linalg.inv(smooth.transform), np.linalg.inv(plda.transform)
    between = before @ np.diag(plda.psi) @ before.T
    np.testing.assert_allclose(inverse @ inverse.T, before @ before.T + 0.2 * between)
    np.testing.assert_allclose(inverse @ np.diag(smooth.psi) @ inverse.T, between, atol=1e-12)


@pytest.mark.parametrize("scale", [0.2, 3.0])
def test_adaptation_adds_the_excess_where_the_total_covariance_is_unit(plda, scale):
    """In the space where within plus between is unit, along the axes of the other covariance, as Kaldi's adaptor goes about it."""
    vectors = np.random.default_rng(1).normal(size=(50, 3)) * [scale, 1, 5] + 4
    found = adapt_plda(plda, vectors, 0.25, 0.6, 0.5)
    difference = vectors.mean(0) - plda.mean
    covariance = np.cov(vectors.T, bias=True) + 0.5 * np.outer(difference, difference)
    unit = plda.transform / np.sqrt(1 + plda.psi)[:, None]
    values, axes = np.linalg.eigh(unit @ covariance @ unit.T)
    excess = np.diag([max(value - 1, 0) for value in values])
    within = axes.T @ np.diag(1 / (1 + plda.psi)) @ axes + 0.25 * excess
    between = axes.T @ np.diag(plda.psi / (1 + plda.psi)) @ axes + 0.6 * excess
    back, inverse = np.linalg.inv(axes.T @ unit), np.linalg.inv(found.transform)
    np.testing.assert_allclose(inverse @ inverse.T, back @ within @ back.T)
    np.testing.assert_allclose(inverse @ np.diag(found.psi) @ inverse.T, back @ between @ back.T, atol=1e-9)
    np.testing.assert_allclose(found.mean, vectors.mean(0))


def test_plda_refuses_fewer_utterances_than_dimensions():
    found = Moments(np.zeros(4), np.array([2, 2]), np.zeros((2, 4)), np.eye(4))
    assert failure(train_plda, found) == "4 utterances are too few for a PLDA of 4 dimensions; add more, or choose a lower --lda-dim"


def test_plda_refuses_covariances_that_are_none():
    found = Moments(np.zeros(2), np.array([5, 5]), np.zeros((2, 2)), -9 * np.eye(2))
    message = "the embeddings do not vary in all their dimensions, so there is no PLDA of them; reduce these with a lower --lda-dim"
    assert failure(train_plda, found) == message


def test_moments_and_means_are_those_of_the_labels_in_any_order():
    vectors, labels = drawn(counts=(9000, 3, 9000), dim=2)
    order = np.random.default_rng(0).permutation(len(labels))
    found, (means, counts) = moments(vectors[order], labels[order]), speaker_means(vectors[order], labels[order])
    expected = np.array([vectors[labels == label].mean(0) for label in range(3)])
    np.testing.assert_allclose(means, expected, rtol=1e-6)
    np.testing.assert_allclose(found.means + found.mean, expected)
    np.testing.assert_allclose(found.scatter, np.cov(vectors.T, bias=True) * len(vectors))
    assert counts.tolist() == found.counts.tolist() == [9000, 3, 9000]


# ---- normalisation


def norm_by_hand(scores, top_n):
    """scores: (N, cohort) -> mean and deviation of the highest of each row"""
    top = np.sort(scores, axis=1)[:, ::-1][:, :top_n]
    return top.mean(1), top.std(1)


@pytest.mark.parametrize("top_n", [5, 40])
def test_cohort_statistics_are_those_of_the_highest_scores(top_n, monkeypatch):
    monkeypatch.setattr("pytorch.backend.normalisation.SCORES", 16000)  # several blocks, the last one short
    chance = np.random.default_rng(0)
    rows, cohort, offsets = chance.normal(size=(1500, 6)).astype(np.float32), chance.normal(size=(40, 6)).astype(np.float32), chance.normal(size=40)
    mean, deviation = cohort_statistics(rows, cohort, offsets, top_n)
    expected = norm_by_hand(rows.astype(float) @ cohort.T + offsets, top_n)
    np.testing.assert_allclose((mean, deviation), expected, atol=2e-5)


def test_plda_scores_are_normalised_by_the_scores_the_plda_gives_the_cohort(plda):
    chance, counts = np.random.default_rng(0), np.array([1, 4, 1])
    vectors, cohort = chance.normal(size=(3, 3)) + 7, chance.normal(size=(20, 3)) + 7
    models, tests = plda.models(vectors, counts), plda.tests(vectors, ones(1))
    found = statistics_of_models(models, plda.tests(cohort, counts), 6)
    np.testing.assert_allclose(found, norm_by_hand(all_scores(models, plda.tests(cohort, counts)).astype(float), 6), atol=1e-5)
    found = statistics_of_tests(tests, plda.models(cohort, ones(20)), 6)
    np.testing.assert_allclose(found, norm_by_hand(all_scores(plda.models(cohort, ones(20)), tests).T.astype(float), 6), atol=1e-5)


def test_a_cohort_that_scores_alike_is_refused():
    message = failure(check_deviations, np.array([1.0, 0.0, np.nan]), ["a", "b", "c"], "x.scp")
    assert message == "x.scp: the scores of 'b' against the cohort are all alike (2 such); take another cohort, or a greater --top-n"


# ---- files


def kaldi_binary(plda, kind):
    """A PLDA as Kaldi writes it without --binary=false. kind: F or D"""
    dtype = {"F": "<f4", "D": "<f8"}[kind]
    found = b"\0B<Plda> "
    for value in (plda.mean, plda.transform, plda.psi):
        found += f"{kind}{'V' if value.ndim == 1 else 'M'} ".encode() + b"".join(struct.pack("<bi", 4, size) for size in value.shape)
        found += value.astype(dtype).tobytes()
    return found + b"</Plda> "


@pytest.mark.parametrize("kind", ["F", "D", "text"])
def test_a_plda_is_read_as_it_was_written(plda, tmp_path, kind):
    (tmp_path / "plda").write_bytes(plda_text(plda).encode() if kind == "text" else kaldi_binary(plda, kind))
    found = read_plda(tmp_path / "plda")
    for name in ("mean", "transform", "psi"):
        expected = getattr(plda, name)
        np.testing.assert_array_equal(getattr(found, name), expected.astype(np.float32) if kind == "F" else expected)


def test_a_written_plda_has_the_lines_of_kaldis():
    kaldis = (GOLDEN / "plda.txt").read_text()
    ours = plda_text(read_plda(GOLDEN / "plda.txt"))
    assert [line.split() for line in ours.splitlines()] == [
        [word if word[0] in "<[]" else repr(float(word)) for word in line.split()] for line in kaldis.splitlines()
    ]


@pytest.mark.parametrize("cut", [1, 8, 20, 60, 130, -12])
@pytest.mark.parametrize("kind", ["D", "text"])
def test_a_plda_cut_off_is_refused(plda, tmp_path, kind, cut):
    whole = plda_text(plda).encode() if kind == "text" else kaldi_binary(plda, kind)
    (tmp_path / "plda").write_bytes(whole[:cut])
    assert failure(read_plda, tmp_path / "plda").startswith(f"{tmp_path}/plda: ")


@pytest.mark.parametrize(
    "text, message",
    [
        ("<Nnet> [ 1 ]", "no PLDA: it does not begin with <Plda>"),
        ("<Plda>  [ 1 2 ]\n [\n  1 0 ]\n [ 1 1 ]\n</Plda> ", "a mean of 2, a transform of 1 x 2 and 2 variances do not fit together; the file is damaged"),
        ("<Plda>  [ 1 ]\n [\n  1 ]\n [ -1 ]\n</Plda> ", "values that are not finite, or variances below 0; train it anew"),
        ("<Plda>  [ 1 ]\n [\n  nan ]\n [ 1 ]\n</Plda> ", "values that are not finite, or variances below 0; train it anew"),
        ("<Plda>  [ 1 ]\n [\n  1 ]\n [ 1 ]\n", "it does not end with </Plda>; it is damaged or cut off"),
        ("<Plda>  [ 1 ]\n [\n  1 ]\n [ 1 ]\n</Plda> more", "it does not end with </Plda>; it is damaged or cut off"),
        ("<Plda>  [ x ]\n", "'x' among the numbers of this object"),
    ],
)
def test_a_plda_that_is_none_is_refused(tmp_path, text, message):
    (tmp_path / "plda").write_text(text)
    assert failure(read_plda, tmp_path / "plda") == f"{tmp_path}/plda: {message}"


@pytest.mark.parametrize(
    "data, message",
    [
        (b"\0B<Nnet3> ", "no PLDA: it does not begin with <Plda>"),
        (b"\0B<Plda> FM \4\1\0\0\0", "a mean, a matrix and variances were expected; the file is damaged or cut off"),
        (b"\0B<Plda> FV \4\xff\xff\xff\x7f....", "its sizes do not fit the file; it is damaged or cut off"),
    ],
)
def test_a_damaged_binary_plda_is_refused(tmp_path, data, message):
    (tmp_path / "plda").write_bytes(data)
    assert failure(read_plda, tmp_path / "plda") == f"{tmp_path}/plda: {message}"


def test_a_missing_plda_is_refused(tmp_path):
    assert failure(read_plda, tmp_path / "plda") == f"{tmp_path}/plda: no such file; make it with steps/train_backend.py"


def test_numbers_are_written_with_all_their_digits(tmp_path):
    for value in (np.array([1 / 3, -2e-300]), np.array([[np.pi, 1.0], [0.0, -1 / 7]])):
        (tmp_path / "x").write_text(numbers_text(value))
        np.testing.assert_array_equal(read_object(tmp_path / "x"), value)


# ---- the folder


@pytest.fixture
def backend(plda, tmp_path):
    """A back-end of 4 dimensions, LDA to 3, saved in b."""
    made = Backend(np.array([1.0, 2, 3, 4]), np.arange(12.0).reshape(3, 4) / 7, True, plda)
    made.save(tmp_path / "b", {})
    return made


def test_a_back_end_does_the_same_when_read_again(backend, tmp_path):
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    found = Backend.load(tmp_path / "b").prepare(vectors, list("abcde"), "x")
    expected = (vectors - [1.0, 2, 3, 4]) @ (np.arange(12).reshape(3, 4) / 7).T
    expected *= np.sqrt(3) / np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    np.testing.assert_array_equal(found, backend.prepare(vectors, list("abcde"), "x"))


def test_a_folder_of_kaldis_is_a_back_end(backend, tmp_path):
    folder = tmp_path / "kaldi"
    folder.mkdir()
    write_object(folder / "mean.vec", backend.mean, text=True)
    write_object(folder / "transform.mat", np.c_[backend.transform, [0.0, 0.5, 0.0]])
    (folder / "plda").write_bytes(kaldi_binary(backend.plda, "D"))
    vectors = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    expected = (vectors - backend.mean) @ backend.transform.T + [0, 0.5, 0]
    found = Backend.load(folder).prepare(vectors, list("abcde"), "x")
    np.testing.assert_allclose(found, expected * np.sqrt(3) / np.linalg.norm(expected, axis=1, keepdims=True), rtol=1e-5)


def test_the_mean_is_not_subtracted_twice(tmp_path):
    matrix, mean = np.array([[1.0, 2, 0], [0, 1, 1]]), np.array([5.0, 4, 3])
    folder = tmp_path / "b"
    folder.mkdir()
    write_object(folder / "mean.vec", mean)
    write_object(folder / "transform.mat", np.c_[matrix, -matrix @ (mean + 0.1)])
    loaded, vectors = Backend.load(folder), np.eye(3, dtype=np.float32)
    message = failure(loaded.prepare, vectors, list("abc"), "x")
    what = "its last column subtracts the mean already, and mean.vec would once more"
    assert message == f"{folder}/transform.mat: {what}; pass --mean none, or train it on vectors less their mean"
    loaded.mean = None
    assert loaded.prepare(vectors, list("abc"), "x").shape == (3, 2)


def remove(name):
    return lambda folder: (folder / name).unlink()


def write(name, text):
    return lambda folder: (folder / name).write_text(text)


def kaldis(*steps):
    """The folder without backend.json, and what steps do to it."""
    return lambda folder: [step(folder) for step in (remove("backend.json"), *steps)]


@pytest.mark.parametrize(
    "harm, message",
    [
        (remove("mean.vec"), "/mean.vec: no such file; {b}/backend.json names it; bring it back, or train the back-end anew"),
        (remove("transform.mat"), "/transform.mat: no such file; {b}/backend.json names it; bring it back, or train the back-end anew"),
        (write("plda", "x"), "/plda: was changed since the back-end was made; bring it back, or train the back-end anew"),
        (write("backend.json", "{}"), "/backend.json: files and length_norm were expected; make it anew with steps/train_backend.py"),
        (write("backend.json", "{"), "/backend.json: not JSON (Expecting property name enclosed in double quotes: line 1 column 2 (char 1))"),
        (kaldis(remove("mean.vec")), "/mean.vec: no such file; it is what is subtracted; bring it, or say another with --mean, or --mean none"),
        (kaldis(remove("mean.vec"), remove("plda"), remove("transform.mat")), ": no back-end in it; make one with steps/train_backend.py"),
        (kaldis(write("mean.vec", " [\n  1 2\n  3 4 ]\n")), "/mean.vec: one finite vector was expected; make it anew"),
        (kaldis(write("transform.mat", " [ 1 2 ]\n")), "/transform.mat: one finite matrix was expected; train it anew"),
    ],
)
def test_a_back_end_that_is_not_whole_is_refused(backend, tmp_path, harm, message):
    harm(tmp_path / "b")
    assert failure(Backend.load, tmp_path / "b") == f"{tmp_path}/b" + message.format(b=tmp_path / "b")


def test_a_file_that_is_not_of_the_back_end_is_refused(tmp_path):
    Backend(np.ones(2)).save(tmp_path / "b", {})
    (tmp_path / "b/plda").write_text("x")
    assert failure(files_of, tmp_path / "b") == f"{tmp_path}/b/plda: is not of this back-end, {tmp_path}/b/backend.json does not name it; move it away"
    assert failure(files_of, tmp_path / "none") == f"{tmp_path}/none: no such folder; make it with steps/train_backend.py"


def test_a_back_end_saved_anew_leaves_nothing_of_the_old_one(backend, tmp_path):
    Backend(np.ones(2)).save(tmp_path / "b", {})
    assert sorted(path.name for path in (tmp_path / "b").iterdir()) == ["backend.json", "mean.vec"]
    assert Backend.load(tmp_path / "b").transform is None


def test_a_saving_that_was_stopped_is_not_taken_for_a_back_end(backend, plda, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("pytorch.backend.folder.whole_file", stop)
    other = Backend(np.zeros(4), None, True)
    with pytest.raises(KeyboardInterrupt):
        other.save(tmp_path / "b", {})
    assert "was changed since" in failure(Backend.load, tmp_path / "b")


@pytest.mark.parametrize(
    "dim, part, message",
    [
        (5, {}, "/mean.vec: dimension 4, but x has 5; both must come from one network"),
        (6, {"mean": None}, "/transform.mat: for embeddings of 4 dimensions, but x has 6; both must come from one network"),
        (4, {"transform": None}, "/plda: of 3 dimensions, but what comes to it has 4; train them together"),
    ],
)
def test_embeddings_that_do_not_fit_are_refused(backend, tmp_path, dim, part, message):
    loaded = Backend.load(tmp_path / "b")
    for name, value in part.items():
        setattr(loaded, name, value)
    assert failure(loaded.prepare, np.ones((1, dim)), ["a"], "x") == f"{tmp_path}/b{message}"


def test_an_embedding_that_is_the_mean_is_refused(backend):
    message = failure(backend.prepare, np.array([[1.0, 2, 3, 4], [0, 0, 0, 0], [np.nan] * 4]), ["a", "b", "c"], "x.scp")
    assert message == "x.scp: the embedding of 'a' is zero (2 such); look at its recording, extract anew"


def write_vectors(folder, table):
    with ArkWriter(folder / "x.ark", folder / "x.scp") as ark:
        for utt, vector in table.items():
            ark.write(utt, vector)
    return folder / "x.scp"


def test_means_are_of_embeddings_or_from_a_file(tmp_path):
    scp = write_vectors(tmp_path, {"a": [1.0, 2], "b": [3.0, 6]})
    assert read_mean(scp).tolist() == [2, 4]
    (tmp_path / "mean.vec").write_text(" [ 7 8 ]\n")
    assert read_mean(tmp_path / "mean.vec").tolist() == read_vector(tmp_path / "mean.vec").tolist() == [7, 8]


def test_labelled_embeddings_are_joined_by_name(tmp_path):
    scp = write_vectors(tmp_path, {"a": [1.0], "b": [2.0], "c": [3.0]})
    write_data_dir(tmp_path / "d", {"a": "x", "c": "x"}, {"a": "t", "c": "s"})
    vectors, labels, utts, spks = read_labelled(DataDir(tmp_path / "d"), scp)
    assert (vectors.tolist(), labels.tolist(), utts, spks) == ([[1], [3]], [1, 0], ["a", "c"], ["s", "t"])
    write_data_dir(tmp_path / "d", {"a": "x", "z": "x"}, {"a": "t", "z": "s"})
    message = failure(read_labelled, DataDir(tmp_path / "d"), scp)
    assert message == f"{tmp_path}/d/utt2spk: 'z' has no embedding in {scp} (1 such); extract them, or leave them out"


def test_embeddings_that_are_not_finite_are_refused(tmp_path):
    scp = write_vectors(tmp_path, {"a": [1.0], "b": [2.0]})
    data = (tmp_path / "x.ark").read_bytes()
    (tmp_path / "x.ark").write_bytes(data[:-4] + np.float32(np.nan).tobytes())
    write_data_dir(tmp_path / "d", {"a": "x", "b": "x"}, {"a": "t", "b": "s"})
    message = failure(read_labelled, DataDir(tmp_path / "d"), scp)
    assert message == f"{scp}: the embedding of 'b' is not finite; look at its recording, extract anew"
    assert failure(read_mean, scp) == f"{scp}: embeddings that are not finite; extract them anew"
