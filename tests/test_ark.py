"""pytorch/data/ark.py: archives that Kaldi and kaldiio read, and theirs read here, by key and from end to end. Damaged ones: test_ark_damage.py."""

import os
import pickle
from itertools import product
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from arks import INTEGERS, MATRIX, RNG, VECTOR, memory_below, scp_of, write_ark, write_scp
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_arrays
from kaldi_outputs import GOLDEN, golden_arrays, golden_vad
from support import failure

from pytorch.data import ark as ark_module
from pytorch.data.ark import ArkReader, ArkWriter, read_ark, read_matrix, read_object, write_object

# ---- what others make of what is written here


def test_an_archive_equals_kaldiios_to_the_byte(tmp_path):
    arrays = {"a": MATRIX, "ü-2": VECTOR, "z": MATRIX[:1]}
    scp = write_ark(tmp_path, arrays)
    kaldiio.save_ark(str(tmp_path / "theirs.ark"), arrays, scp=str(tmp_path / "theirs.scp"))
    assert (tmp_path / "x.ark").read_bytes() == (tmp_path / "theirs.ark").read_bytes()
    theirs = dict(line.split() for line in (tmp_path / "theirs.scp").read_text().splitlines())
    ours = dict(line.split() for line in scp.read_text().splitlines())
    assert ours == {key: place.replace("theirs.ark", "x.ark") for key, place in theirs.items()}


def test_kaldiio_reads_what_is_written(tmp_path):
    scp = write_ark(tmp_path, {"b": MATRIX, "a": VECTOR})
    found = kaldiio.load_scp(str(scp))
    assert sorted(found) == ["a", "b"]
    np.testing.assert_array_equal(found["a"], VECTOR)
    np.testing.assert_array_equal(found["b"], MATRIX)


def test_an_archive_of_kaldis_own_values_has_kaldis_bytes(tmp_path):
    reader = ArkReader(scp_of(GOLDEN / "fbank80_d0.ark", tmp_path))
    write_ark(tmp_path, {utt: reader[utt] for utt in reader})
    assert (tmp_path / "x.ark").read_bytes() == (GOLDEN / "fbank80_d0.ark").read_bytes()


def test_an_scp_is_sorted_and_names_the_archive_absolutely(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with ArkWriter("sub/x.ark", "x.scp") as ark:
        ark.write("b", VECTOR)
        ark.write("a", VECTOR)
    size = 2 + 2 + 3 + 5 + 4 * len(VECTOR)
    assert Path("x.scp").read_text() == f"a {tmp_path}/sub/x.ark:{size + 2}\nb {tmp_path}/sub/x.ark:2\n"


def test_values_are_written_as_float32(tmp_path):
    scp = write_ark(tmp_path, {"a": np.array([1, 2, 3]), "b": np.array([[0.1, 0.2]]), "c": np.asfortranarray(MATRIX)})
    found = kaldiio.load_scp(str(scp))
    assert {found[key].dtype for key in "abc"} == {np.dtype("float32")}
    np.testing.assert_array_equal(found["a"], [1, 2, 3])
    np.testing.assert_array_equal(found["b"], np.float32([[0.1, 0.2]]))
    np.testing.assert_array_equal(found["c"], MATRIX)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_values_that_are_not_finite_are_refused_by_name(tmp_path, bad):
    message = failure(write_ark, tmp_path, {"a": VECTOR, "b-7": np.array([1.0, bad])})
    assert message == f"{tmp_path}/x.ark: 'b-7': the values are not all finite"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("key", ["", "a b", "a\n"])
def test_a_key_with_blanks_is_refused_and_leaves_nothing(tmp_path, key):
    assert failure(write_ark, tmp_path, {"a": VECTOR, key: VECTOR}) == f"{tmp_path}/x.ark: {key!r} cannot be an id: empty or with blanks"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_half_written_archive_leaves_nothing(tmp_path, error):
    def stop_between():
        with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as ark:
            ark.write("a", MATRIX)
            raise error

    pytest.raises(error, stop_between)
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_archive_leaves_the_old_one(tmp_path):
    scp = write_ark(tmp_path, {"a": VECTOR})
    failure(write_ark, tmp_path, {"a": VECTOR + 1, "b": VECTOR * np.nan})
    np.testing.assert_array_equal(ArkReader(scp)["a"], VECTOR)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.ark", "x.scp"]


def test_nothing_is_there_before_the_end(tmp_path):
    with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as ark:
        ark.write("a", VECTOR)
        assert not (tmp_path / "x.ark").exists()
        assert not (tmp_path / "x.scp").exists()


def test_a_key_that_comes_twice_is_refused_and_leaves_nothing(tmp_path):
    def write_twice():
        with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp") as ark:
            ark.write("a", VECTOR)
            ark.write("a", VECTOR)

    assert failure(write_twice) == f"{tmp_path}/x.ark: 'a' comes twice"
    assert list(tmp_path.iterdir()) == []


def test_double_precision_is_written_where_asked_for(tmp_path):
    exact = {"a": np.array([0.1, 1e300]), "b": np.array([[np.pi]])}
    scp = write_ark(tmp_path, exact, dtype=np.float64)
    kaldiio.save_ark(str(tmp_path / "theirs.ark"), exact)
    assert (tmp_path / "x.ark").read_bytes() == (tmp_path / "theirs.ark").read_bytes()
    reader = ArkReader(scp, exact=True)
    for key, array in exact.items():
        np.testing.assert_array_equal(reader[key], array)


def test_vectors_of_integers_equal_kaldiios_to_the_byte(tmp_path):
    scp = write_ark(tmp_path, {"a": INTEGERS, "b": INTEGERS[:0]}, dtype=np.int32)
    kaldiio.save_ark(str(tmp_path / "theirs.ark"), {"a": INTEGERS, "b": INTEGERS[:0]})
    assert (tmp_path / "x.ark").read_bytes() == (tmp_path / "theirs.ark").read_bytes()
    reader = ArkReader(scp)
    assert reader["a"].dtype == np.int32
    np.testing.assert_array_equal(reader["a"], INTEGERS)
    assert reader.shape("b") == (0,)


@pytest.mark.parametrize("bad", [np.array([0.5]), np.array([1.0]), np.array([2**31]), np.array([2**63], dtype=np.uint64), np.array(["1"])])
def test_what_is_no_whole_number_of_32_bits_is_refused_where_those_are_written(tmp_path, bad):
    message = failure(write_ark, tmp_path, {"a": bad}, dtype=np.int32)
    assert message == f"{tmp_path}/x.ark: 'a': whole numbers of 32 bits were expected"


def test_a_vector_is_not_compressed(tmp_path):
    assert failure(write_ark, tmp_path, {"a": VECTOR}, compress=3) == f"{tmp_path}/x.ark: 'a': only matrices can be compressed"


@pytest.mark.parametrize(
    "method, matrix, message",
    [
        (4, [[0, 32768]], "values from 0 to 32768, but compression method 4 keeps -32768 to 32767; use method 3"),
        (6, [[-1, 3]], "values from -1 to 3, but compression method 6 keeps 0 to 255; use method 3"),
        (7, [[0.5, 1.5]], "values from 0.5 to 1.5, but compression method 7 keeps 0 to 1; use method 3"),
        (3, [[-3e38, 3e38]], "values from -3e+38 to 3e+38: their span is beyond what a compressed matrix can keep"),
    ],
)
def test_values_that_a_compression_would_clip_are_refused(tmp_path, method, matrix, message):
    assert failure(write_ark, tmp_path, {"a": np.array(matrix)}, compress=method) == f"{tmp_path}/x.ark: 'a': {message}"


def test_a_digest_is_of_the_values_as_they_are_read(tmp_path):
    for options in ({}, {"compress": 2}, {"compress": 3}, {"text": True}, {"dtype": np.float64}):
        with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp", **options) as ark:
            ark.write("a", MATRIX * 0.1)
        with ArkWriter(tmp_path / "y.ark", tmp_path / "y.scp") as again:
            again.write("other", MATRIX)
            again.write("a", ArkReader(tmp_path / "x.scp")["a"])
        assert ark.digests["a"] == again.digests["a"], options
        assert again.digests["other"] != again.digests["a"]


@pytest.mark.parametrize("options", [{}, {"compress": 2}, {"compress": 5}, {"text": True}])
def test_what_is_copied_stays_the_same_to_the_byte(tmp_path, options):
    arrays = {f"{key:03}": RNG.standard_normal((20, 3)).astype(np.float32) * 40 for key in range(30)}
    with ArkWriter(tmp_path / "x.ark", tmp_path / "x.scp", **options) as first:
        for key, array in arrays.items():
            first.write(key, array)
    reader = ArkReader(tmp_path / "x.scp")
    with ArkWriter(tmp_path / "y.ark", tmp_path / "y.scp") as second:
        for key in arrays:
            second.copy(key, reader)
    assert (tmp_path / "y.ark").read_bytes() == (tmp_path / "x.ark").read_bytes()
    assert second.digests == first.digests


# ---- what is made of what others wrote


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_kaldiios_matrices_and_vectors_are_read_in_both_precisions(tmp_path, dtype):
    arrays = {"m": MATRIX.astype(dtype) / 3, "v": VECTOR.astype(dtype) / 3}
    kaldiio.save_ark(str(tmp_path / "x.ark"), arrays, scp=str(tmp_path / "x.scp"))
    token = b"FM" if dtype == np.float32 else b"DM"
    assert token in (tmp_path / "x.ark").read_bytes()
    reader = ArkReader(tmp_path / "x.scp")
    for key, array in arrays.items():
        assert reader.shape(key) == array.shape
        assert reader[key].dtype == np.float32
        np.testing.assert_array_equal(reader[key], array.astype(np.float32))


def test_kaldis_fbank_archive_equals_its_text(tmp_path):
    reader = ArkReader(scp_of(GOLDEN / "fbank80_d0.ark", tmp_path))
    expected = golden_arrays("fbank80_d0.txt")
    assert sorted(reader) == sorted(expected) == ["s0-u1", "s2-u0"]
    for utt in expected:
        np.testing.assert_allclose(reader[utt], expected[utt], rtol=1e-6)  # text has 7 digits


def test_the_scp_that_kaldi_wrote_is_read_where_its_paths_lead(monkeypatch):
    monkeypatch.chdir(GOLDEN)
    reader = ArkReader("fbank80_d0.scp")
    np.testing.assert_allclose(reader["s2-u0"], golden_arrays("fbank80_d0.txt")["s2-u0"], rtol=1e-6)


def test_kaldis_vectors_equal_their_text(tmp_path):
    reader = ArkReader(scp_of(GOLDEN / "vad.ark", tmp_path))
    for utt, vector in golden_vad().items():
        np.testing.assert_array_equal(reader[utt], vector)


@pytest.mark.parametrize("method", range(1, 8))
def test_kaldis_compressed_archives_equal_their_text(tmp_path, method):
    reader = ArkReader(scp_of(GOLDEN / f"mfcc30_cm{method}.ark", tmp_path))
    expected = golden_arrays(f"mfcc30_cm{method}.txt")
    assert sorted(reader) == sorted(expected)
    for utt in expected:
        assert reader.shape(utt) == expected[utt].shape
        np.testing.assert_allclose(reader[utt], expected[utt], rtol=0, atol=7e-6)


@pytest.mark.parametrize("name", ["mfcc30_d0", "fbank80_d0", "fbank40e_d0", "voiced", "cmvn_vars", "mfcc30_cm2", "xvector_toy_feats"])
def test_kaldis_text_archives_of_matrices_are_read(name):
    found, expected = dict(read_ark(GOLDEN / f"{name}.txt")), golden_arrays(f"{name}.txt")
    assert list(found) == list(expected)
    for utt in expected:
        np.testing.assert_array_equal(found[utt].astype(np.float32), expected[utt])


def test_kaldis_text_archives_of_vectors_are_read():
    lines = dict(line.split(None, 1) for line in (GOLDEN / "x.txt").read_text().splitlines())
    found = dict(read_ark(GOLDEN / "x.txt"))
    assert list(found) == list(lines)
    for utt, line in lines.items():
        assert found[utt].tolist() == list(map(float, line.strip("[ ]").split()))


@pytest.mark.parametrize("name, kind, dtype", [("len", "int", np.int32), ("dur", "float", np.float64)])
def test_kaldis_tables_of_numbers_equal_their_text(name, kind, dtype):
    expected = dict(line.split() for line in (GOLDEN / f"{name}.txt").read_text().splitlines())
    for path in (GOLDEN / f"{name}.ark", GOLDEN / f"{name}.txt"):
        if path.exists():
            found = dict(read_ark(path, kind))
            assert {utt: f"{value:.7g}" for utt, value in found.items()} == expected
            assert {value.dtype for value in found.values()} == {np.dtype(dtype)}
            assert {value.shape for value in found.values()} == {()}


@pytest.mark.parametrize("dtype, content", [(np.float32, b"\0B\4\0\0\0\x3f"), (np.float64, b"\0B\x08\0\0\0\0\0\0\xe0\x3f")])
def test_numbers_by_themselves_are_as_kaldi_has_them(tmp_path, dtype, content):
    scp = write_ark(tmp_path, {"a": 0.5, "b": np.float32(2.25)}, dtype=dtype)
    assert (tmp_path / "x.ark").read_bytes().startswith(b"a " + content)
    reader = ArkReader(scp, kind="float")
    assert [float(reader[key]) for key in reader] == [0.5, 2.25]
    assert reader.shape("a") == ()
    write_ark(tmp_path, {"a": 0.5, "b": 1e-7}, dtype=dtype, text=True)
    assert (tmp_path / "x.ark").read_text() == "a 0.5 \nb 1e-07 \n"


@pytest.mark.parametrize("method", range(1, 8))
def test_what_kaldiio_compresses_is_read_as_kaldiio_reads_it(tmp_path, method):
    matrix = RNG.uniform(0, 1, (30, 4)).astype(np.float32)
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": matrix}, scp=str(tmp_path / "x.scp"), compression_method=method)
    np.testing.assert_allclose(ArkReader(tmp_path / "x.scp")["a"], kaldiio.load_scp(str(tmp_path / "x.scp"))["a"], rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("array", [MATRIX, MATRIX[:1], VECTOR, VECTOR[:1]])
def test_kaldiios_text_archives_are_read(tmp_path, array):
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": array, "b": array + 1}, scp=str(tmp_path / "x.scp"), text=True)
    reader = ArkReader(tmp_path / "x.scp")
    for key, expected in (("a", array), ("b", array + 1)):
        assert reader.shape(key) == expected.shape
        np.testing.assert_array_equal(reader[key], np.float32(kaldiio.load_scp(str(tmp_path / "x.scp"))[key]))


def test_integers_in_text_are_read_here_and_by_kaldiio(tmp_path):
    scp = write_ark(tmp_path, {"a": INTEGERS, "b": INTEGERS[:2]}, dtype=np.int32, text=True)
    assert (tmp_path / "x.ark").read_text() == "a 0 5 -7 2147483647 -2147483648 \nb 0 5 \n"
    for found in (ArkReader(scp), kaldiio.load_scp(str(scp)), dict(read_ark(tmp_path / "x.ark"))):
        assert found["b"].dtype == np.int32
        np.testing.assert_array_equal(found["a"], INTEGERS)
        np.testing.assert_array_equal(found["b"], INTEGERS[:2])


@pytest.mark.parametrize("text, shape", [(" [ ]\n", (0, 0)), ("[ 1\n2 ]", (2, 1)), ("\t[1 2]\n", (2,)), (" [\n\n 1 nan\n -inf 4e-3 ]\n", (2, 2)), ("\n", (0,))])
def test_text_is_read_in_any_layout_that_kaldi_reads(tmp_path, text, shape):
    (tmp_path / "x.ark").write_text(f"a {text}")
    assert ArkReader(write_scp(tmp_path / "x.scp", f"{tmp_path}/x.ark:2"))["a"].shape == shape


def test_text_and_binary_stand_in_one_archive(tmp_path):
    write_ark(tmp_path, {"a": MATRIX})
    binary = (tmp_path / "x.ark").read_bytes()
    (tmp_path / "x.ark").write_bytes(binary + b"b\t[ 1 2 ]\n" + binary.replace(b"a ", b"c ", 1))
    assert {key: array.shape for key, array in read_ark(tmp_path / "x.ark")} == {"a": (7, 5), "b": (2,), "c": (7, 5)}


# ---- any arrays at all, both ways


NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)
ARRAYS = any_arrays(np.float32, st.one_of(st.tuples(st.integers(0, 12)), st.tuples(st.integers(1, 12), st.integers(1, 4))), elements=NUMBERS)


@settings(max_examples=60, deadline=None)
@given(ARRAYS)
def test_any_array_is_read_as_it_was_written_here_and_by_kaldiio(tmp_path_factory, array):
    folder = tmp_path_factory.mktemp("any")
    for options in ({}, {"dtype": np.float64}, {"text": True}):
        scp = write_ark(folder, {"a": array}, **options)
        expected = np.float32([f"{value:.7g}" for value in array.flat]).reshape(array.shape) if "text" in options else array
        found = ArkReader(scp)["a"]
        np.testing.assert_array_equal(found, expected.reshape(found.shape))
        assert found.shape == (array.shape if array.size or "text" not in options else (0, 0))
        if array.size and (options != {"text": True} or "." in f"{array.flat[0]:.7g}"):  # else kaldiio takes the text for integers
            theirs = kaldiio.load_scp(str(scp))["a"]
            np.testing.assert_array_equal(np.float32(theirs), expected)
        [(key, sequential)] = read_ark(folder / "x.ark")
        np.testing.assert_array_equal(np.float32(sequential), found)
    kaldiio.save_ark(str(folder / "y.ark"), {"a": array}, scp=str(folder / "y.scp"))
    np.testing.assert_array_equal(ArkReader(folder / "y.scp")["a"], array)


# ---- parts of arrays


@pytest.mark.parametrize("archive", ["fbank80_d0", *(f"mfcc30_cm{method}" for method in range(1, 8))])
def test_rows_and_columns_equal_slices_of_the_whole(tmp_path, archive):
    reader = ArkReader(scp_of(GOLDEN / f"{archive}.ark", tmp_path))
    whole = reader["s2-u0"]
    for start, num in [(0, 1), (0, len(whole)), (3, 50), (len(whole) - 1, 1), (100, 0), (len(whole) - 2, 2)]:
        part = reader.rows("s2-u0", start, num)
        assert part.dtype == np.float32
        np.testing.assert_array_equal(part, whole[start : start + num])
    np.testing.assert_array_equal(reader.column("s2-u0", 0), whole[:, 0])
    np.testing.assert_array_equal(reader.column("s2-u0", 29), whole[:, 29])


def test_what_is_returned_can_be_changed_without_harm(tmp_path):
    reader = ArkReader(write_ark(tmp_path, {"a": MATRIX}))
    reader["a"][:] = 0
    reader.rows("a", 0, 2)[:] = 0
    np.testing.assert_array_equal(reader["a"], MATRIX)


def test_a_reader_can_be_asked_what_it_has(tmp_path):
    reader = ArkReader(write_ark(tmp_path, {"b": MATRIX, "a": VECTOR}))
    assert list(reader) == ["a", "b"]
    assert len(reader) == 2
    assert "a" in reader
    assert "c" not in reader
    assert reader.archives() == [f"{tmp_path}/x.ark"]


def test_a_reader_reaches_other_processes_without_its_maps(tmp_path):
    reader = ArkReader(write_ark(tmp_path, {"a": MATRIX}))
    reader["a"]
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(reader))["a"], MATRIX)  # noqa: S301


@pytest.mark.parametrize("shape", [(0, 0), (0, 5), (5, 0)])
@pytest.mark.parametrize("options, content", [({}, b"\0BFM \4\0\0\0\0\4\0\0\0\0"), ({"compress": 3}, b"\0BCM " + bytes(16)), ({"text": True}, b" [ ]\n")])
def test_a_matrix_of_no_values_is_written_as_kaldi_does(tmp_path, shape, options, content):
    scp = write_ark(tmp_path, {"a": np.zeros(shape)}, **options)
    assert (tmp_path / "x.ark").read_bytes() == b"a " + content
    assert ArkReader(scp)["a"].shape == (0, 0)


@pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0)])
def test_kaldiios_arrays_of_no_values_keep_their_shape(tmp_path, shape):
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": np.zeros(shape, dtype=np.float32)}, scp=str(tmp_path / "x.scp"))
    assert ArkReader(tmp_path / "x.scp")["a"].shape == shape


def test_an_archive_whose_path_has_blanks_and_colons_is_found(tmp_path):
    folder = tmp_path / "my: folder:3 ü"
    folder.mkdir()
    np.testing.assert_array_equal(ArkReader(write_ark(folder, {"a": VECTOR}))["a"], VECTOR)


def test_vectors_are_stacked_in_the_order_asked_for(tmp_path):
    scp = write_ark(tmp_path, {"a": VECTOR, "b": VECTOR + 1})
    np.testing.assert_array_equal(read_matrix(scp, ["b", "a"]), np.stack([VECTOR + 1, VECTOR]))


@pytest.mark.parametrize("odd, shape", [(VECTOR[:3], "(3,)"), (MATRIX, "(7, 5)"), (VECTOR[None], "(1, 9)")])
def test_vectors_of_several_dimensions_are_refused(tmp_path, odd, shape):
    scp = write_ark(tmp_path, {"a": VECTOR, "b": odd})
    assert failure(read_matrix, scp, ["a", "b"]) == f"{scp}: 'b' has the shape {shape}, 'a' (9,); all must be vectors of one dimension"


def test_matrices_in_place_of_vectors_are_refused(tmp_path):
    scp = write_ark(tmp_path, {"a": MATRIX, "b": MATRIX})
    assert failure(read_matrix, scp, ["a", "b"]) == f"{scp}: 'a' has the shape (7, 5), 'a' (7, 5); all must be vectors of one dimension"


def test_vectors_in_text_are_stacked_too(tmp_path):
    scp = write_ark(tmp_path, {"a": [1, 2], "b": [3, 4]}, text=True)
    np.testing.assert_array_equal(read_matrix(scp, ["b", "a"]), [[3, 4], [1, 2]])


@pytest.mark.parametrize("options", [{}, {"dtype": np.float64}, {"compress": 2}, {"compress": 3}, {"compress": 5}, {"text": True}])
def test_a_crop_goes_where_it_is_wanted(tmp_path, options):
    reader = ArkReader(write_ark(tmp_path, {"a": MATRIX}, **options))
    batch = np.zeros((2, 3, 5), dtype=np.float32)
    assert reader.rows("a", 2, 3, out=batch[1]).base is batch
    np.testing.assert_array_equal(batch, [np.zeros((3, 5)), reader["a"][2:5]])


@pytest.mark.parametrize("start, num", [(-1, 2), (0, 8), (7, 1), (8, 0), (3, -1)])
def test_rows_that_are_not_there_are_refused(tmp_path, start, num):
    reader = ArkReader(write_ark(tmp_path, {"a": MATRIX}))
    expected = f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2 has 7 rows, {start} to {start + num - 1} were asked for"
    assert failure(reader.rows, "a", start, num) == expected


@pytest.mark.parametrize("array, index", [(MATRIX, 5), (MATRIX, -1), (VECTOR, 0)])
def test_a_column_that_is_not_there_is_refused(tmp_path, array, index):
    reader = ArkReader(write_ark(tmp_path, {"a": array}))
    assert failure(reader.column, "a", index).endswith(f"offset 2 has the shape {array.shape}, column {index} was asked for")


@pytest.mark.parametrize("options", [{}, {"dtype": np.float64}, {"compress": 2}, {"compress": 3}, {"compress": 5}])
def test_a_crop_costs_the_crop(tmp_path, options):
    reader = ArkReader(write_ark(tmp_path, {"a": np.tile(MATRIX, (10000, 8))}, **options))
    assert reader.shape("a") == (70000, 40)
    with memory_below(200_000):  # the whole takes 11 MB
        reader.rows("a", 35000, 20)


# ---- ranges


SPANS = ["[0:6]", "[2:4]", "[3:3]", "[2:4,1:3]", "[:,0:0]", "[,1:2]", "[0:6,0:4]", "[4:5,:]", "[:]"]


@pytest.mark.parametrize("span", SPANS)
@pytest.mark.parametrize("options", [{}, {"dtype": np.float64}, {"compress": 2}, {"compress": 3}, {"compress": 5}, {"text": True}])
def test_a_range_takes_what_kaldiio_takes(tmp_path, span, options):
    write_ark(tmp_path, {"a": MATRIX}, **options)
    scp = write_scp(tmp_path / "y.scp", f"{tmp_path}/x.ark:2{span}")
    expected = kaldiio.load_scp(str(scp))["a"]
    reader = ArkReader(scp)
    assert reader.shape("a") == expected.shape
    np.testing.assert_allclose(reader["a"], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(reader.rows("a", len(expected) - 1, 1), reader["a"][-1:])
    np.testing.assert_array_equal(reader.column("a", 0), reader["a"][:, 0])


def test_a_range_of_a_vector_is_of_its_values(tmp_path):
    write_ark(tmp_path, {"a": VECTOR})
    np.testing.assert_array_equal(ArkReader(write_scp(tmp_path / "y.scp", f"{tmp_path}/x.ark:2[2:4]"))["a"], VECTOR[2:5])


@pytest.mark.parametrize("last", [7, 8, 9])
def test_a_range_a_little_beyond_the_last_row_is_clipped_and_said_once(tmp_path, last, capsys):
    write_ark(tmp_path, {"a": MATRIX})
    (tmp_path / "y.scp").write_text(f"a {tmp_path}/x.ark:2[5:{last}]\nb {tmp_path}/x.ark:2[6:{last},:]\n")
    reader = ArkReader(tmp_path / "y.scp")
    np.testing.assert_array_equal(reader["a"], MATRIX[5:])
    np.testing.assert_array_equal(reader["b"], MATRIX[6:])
    expected = f"warning: {tmp_path}/y.scp: 'a': {tmp_path}/x.ark, offset 2: the scp asks for rows beyond the last, 6; clipped (said once)\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    "array, span, message",
    [
        (MATRIX, "[5:10]", "rows 5 to 10 are asked for in the scp, there are 7, from 0 on"),
        (MATRIX, "[7:8]", "rows 7 to 8 are asked for in the scp, there are 7, from 0 on"),
        (MATRIX, "[4:3]", "rows 4 to 3 are asked for in the scp, there are 7, from 0 on"),
        (MATRIX, "[:,3:5]", "columns 3 to 5 are asked for in the scp, there are 5, from 0 on"),
        (VECTOR, "[2:4,0:0]", "the range in the scp does not suit the shape (9,)"),
    ],
)
def test_a_range_that_is_not_there_is_refused(tmp_path, array, span, message):
    write_ark(tmp_path, {"a": array})
    scp = write_scp(tmp_path / "y.scp", f"{tmp_path}/x.ark:2{span}")
    for ask in (ArkReader(scp).__getitem__, ArkReader(scp).shape):
        assert failure(ask, "a") == f"{scp}: 'a': {tmp_path}/x.ark, offset 2: {message}"


@pytest.mark.parametrize("span", ["[]x", "[1]", "[1:2:3]", "[-1:2]", "[a:b]", "[0:1,0:1,0:1]", "[0:99999999999]", "[0.5:2]"])
def test_what_is_no_range_is_refused_with_its_line(tmp_path, span):
    scp = write_scp(tmp_path / "y.scp", f"x.ark:2{span}")
    if not span.endswith("]"):
        assert failure(ArkReader(scp).shape, "a").startswith(f"{scp}: 'a': x.ark:2{span}: No such file or directory; make the archive anew")
    else:
        assert failure(ArkReader, scp) == f"{scp}:1: 'a': a range [first:last] or [first:last,first:last] was expected, not '{span}'"


# ---- keys that are not those of the archive


@pytest.mark.parametrize("names", [("p-{}", "q-{}"), ("{}-s", "{}-t"), ("2-{}", "1-{}"), ("{}", "same-{}")])
def test_an_scp_with_other_keys_than_the_archive_is_read(tmp_path, names):
    """Of a copy of a data directory with prefixes, or with one taken away; two keys for one object."""
    write_ark(tmp_path, {"s1-utt1": MATRIX, "s1-utt2": VECTOR, "s1-utt3": MATRIX})
    for key_of in (lambda key: key, lambda key: key.removeprefix("s1-"), lambda key: key[-1]):
        lines = [line.split(None, 1) for line in (tmp_path / "x.scp").read_text().splitlines()]
        (tmp_path / "y.scp").write_text("".join(sorted(f"{name.format(key_of(key))} {entry}\n" for key, entry in lines for name in names)))
        reader = ArkReader(tmp_path / "y.scp")
        assert [reader.shape(names[0].format(key_of(key))) for key, _ in lines] == [(7, 5), (9,), (7, 5)]
        assert [reader.shape(names[1].format(key_of(key))) for key, _ in lines] == [(7, 5), (9,), (7, 5)]


# ---- several scp files


def test_several_scp_files_are_read_as_one(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    scps = [write_ark(tmp_path / "1", {"a": MATRIX, "c": VECTOR}), write_ark(tmp_path / "2", {"b": MATRIX + 1})]
    reader = ArkReader(scps)
    assert sorted(reader) == ["a", "b", "c"]
    np.testing.assert_array_equal(reader["b"], MATRIX + 1)
    assert reader.archives() == [f"{tmp_path}/1/x.ark", f"{tmp_path}/2/x.ark"]
    assert failure(reader.shape, "d") == f"{scps[0]},{scps[1]}: no entry 'd'"
    (tmp_path / "2/x.ark").write_bytes(b"")
    assert failure(ArkReader(scps).shape, "b").startswith(f"{scps[1]}: 'b': ")


def test_a_key_in_two_scp_files_is_refused_with_both(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    scps = [write_ark(tmp_path / "1", {"a": MATRIX}), write_ark(tmp_path / "2", {"0": MATRIX, "a": MATRIX})]
    assert failure(ArkReader, scps) == f"{scps[1]}:2: 'a' is in {scps[0]} too; keep one of them"


def test_more_archives_than_can_be_open_at_a_time_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(ark_module, "_MOST_MAPPED", 3)
    for number in range(8):
        write_object(tmp_path / f"{number}.vec", [number])
    (tmp_path / "x.scp").write_text("".join(f"{number} {tmp_path}/{number}.vec\n" for number in range(8)))
    reader, before = ArkReader(tmp_path / "x.scp"), len(os.listdir("/proc/self/fd"))
    assert [float(reader[key][0]) for key in [*reader, *reader]] == [*range(8), *range(8)]
    assert len(os.listdir("/proc/self/fd")) <= before + 3


@pytest.mark.parametrize("options", [{}, {"compress": 2}, {"compress": 3}, {"compress": 5}])
def test_archives_larger_than_memory_are_read_ahead_to_the_same_values(tmp_path, monkeypatch, options):
    scp = write_ark(tmp_path, {"a": MATRIX, "b": np.tile(MATRIX, (999, 2))}, **options)
    expected = ArkReader(scp)
    monkeypatch.setattr(ark_module, "_MEMORY", 1)
    reader = ArkReader(scp)
    for start, num in product((0, 1, 6000), (0, 1, 993)):
        np.testing.assert_array_equal(reader.rows("b", start, num), expected.rows("b", start, num))


# ---- from end to end


def test_an_archive_is_read_from_end_to_end_as_kaldiio_does(tmp_path):
    arrays = {"a": MATRIX, "b": VECTOR.astype(np.float64), "c": INTEGERS}
    kaldiio.save_ark(str(tmp_path / "x.ark"), arrays)
    found = dict(read_ark(tmp_path / "x.ark"))
    assert list(found) == ["a", "b", "c"]
    for key, theirs in kaldiio.load_ark(str(tmp_path / "x.ark")):
        assert found[key].dtype == theirs.dtype
        np.testing.assert_array_equal(found[key], theirs)


@pytest.mark.parametrize("keys, message", [(["b", "a"], "'a', offset {0}: comes after 'b'"), (["a", "a"], "'a', offset {0}: comes twice")])
def test_the_keys_of_an_archive_must_be_in_order_and_differ(tmp_path, keys, message):
    write_ark(tmp_path, {"a": VECTOR})
    content = (tmp_path / "x.ark").read_bytes()
    (tmp_path / "x.ark").write_bytes(b"".join(content.replace(b"a ", f"{key} ".encode(), 1) for key in keys))
    expected = f"{tmp_path}/x.ark: {message.format(len(content) + 2)}; the keys of an archive must be in byte order, each once"
    assert failure(lambda: list(read_ark(tmp_path / "x.ark"))) == expected
    assert [key for key, _ in read_ark(tmp_path / "x.ark", in_order=False)] == keys


def test_keys_are_ordered_by_their_bytes(tmp_path):
    keys = ["B", "a", "a-1", "a_1", "b", "é", "日本", "🎤"]
    write_ark(tmp_path, dict.fromkeys(keys, VECTOR))
    assert [key for key, _ in read_ark(tmp_path / "x.ark")] == keys


# ---- one object, no key


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("array", [np.float32([[1.5, 2.5], [3, 4]]), np.float32([1.5, 2, -3.25])])
def test_an_object_without_a_key_is_read_here_and_by_kaldiio(tmp_path, array, text):
    write_object(tmp_path / "x.mat", array, text=text)
    np.testing.assert_array_equal(read_object(tmp_path / "x.mat"), array)
    np.testing.assert_array_equal(kaldiio.load_mat(str(tmp_path / "x.mat")), array)
    np.testing.assert_array_equal(ArkReader(write_scp(tmp_path / "x.scp", f"{tmp_path}/x.mat"))["a"], array)


def test_a_transform_of_kaldis_is_read_and_written_to_the_byte(tmp_path):
    transform = read_object(GOLDEN / "lda3.txt")
    assert transform.shape == (3, 6)
    write_object(tmp_path / "lda3.txt", transform, text=True)
    assert (tmp_path / "lda3.txt").read_bytes() == (GOLDEN / "lda3.txt").read_bytes()
    write_object(tmp_path / "lda3.mat", transform, dtype=np.float64)
    assert kaldiio.load_mat(str(tmp_path / "lda3.mat")).tolist() == transform.tolist()


def test_an_archive_in_place_of_one_object_is_refused(tmp_path):
    write_ark(tmp_path, {"a": VECTOR})
    assert failure(read_object, tmp_path / "x.ark") == f"{tmp_path}/x.ark: no vector, matrix or number begins there"


def test_more_than_one_object_in_a_file_of_one_is_refused(tmp_path):
    (tmp_path / "x.vec").write_text(" [ 1 2 ]\n [ 3 ]\n")
    assert failure(read_object, tmp_path / "x.vec") == f"{tmp_path}/x.vec: one object without a key was expected, more is there"


def test_an_object_that_cannot_be_written_is_refused(tmp_path):
    assert failure(write_object, tmp_path / "x.vec", [np.nan]) == f"{tmp_path}/x.vec: the values are not all finite"
    assert list(tmp_path.iterdir()) == []
