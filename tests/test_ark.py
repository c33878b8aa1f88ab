"""pytorch/data/ark.py: archives that Kaldi and kaldiio read, and theirs read here; whatever is damaged is refused by name."""

import contextlib
import io
import pickle
import re
import struct
import tracemalloc
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from support import failure

from pytorch.data.ark import ArkReader, ArkWriter, read_matrix
from pytorch.program import Fail

GOLDEN = Path(__file__).parent / "kaldi_golden"
RNG = np.random.default_rng(0)
MATRIX = RNG.standard_normal((7, 5)).astype(np.float32)
VECTOR = RNG.standard_normal(9).astype(np.float32)


def write_ark(folder, arrays):
    with ArkWriter(folder / "x.ark", folder / "x.scp") as ark:
        for key, array in arrays.items():
            ark.write(key, array)
    return folder / "x.scp"


def write_scp(path, entry, key="a"):
    path.write_text(f"{key} {entry}\n")
    return path


def ark_of_bytes(folder, content):
    """A reader of the one object `content`, whose key is a."""
    (folder / "x.ark").write_bytes(b"a " + content)
    return ArkReader(write_scp(folder / "x.scp", f"{folder}/x.ark:2"))


@contextlib.contextmanager
def memory_below(limit):
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < limit
    finally:
        tracemalloc.stop()


def golden_arrays(name):
    """Kaldi's text archive -> {utt: (rows, columns) array}"""
    text = (GOLDEN / name).read_text()
    return {utt: np.array([row.split() for row in body.strip().split("\n")], dtype=np.float32) for utt, body in re.findall(r"(\S+)  \[\n(.*?) \]", text, re.S)}


def scp_of(archive, folder):
    """An scp of a binary archive of Kaldi's: the place after each key and its blank."""
    data = archive.read_bytes()
    places = {match[1].decode(): match.end(2) for match in re.finditer(rb"(s\d-u\d)( )\0B", data)}
    scp = folder / "golden.scp"
    scp.write_text("".join(f"{utt} {archive}:{place}\n" for utt, place in sorted(places.items())))
    return scp


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
    with np.errstate(over="ignore"):
        message = failure(write_ark, tmp_path, {"a": VECTOR, "b-7": np.array([1.0, bad])})
    assert message == f"{tmp_path}/x.ark: the values of 'b-7' are not all finite"
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
    for line in (GOLDEN / "vad.txt").read_text().splitlines():
        utt, words = line.split(None, 1)
        np.testing.assert_array_equal(reader[utt], np.array(words.strip("[ ]").split(), dtype=np.float32))


@pytest.mark.parametrize("method", range(1, 8))
def test_kaldis_compressed_archives_equal_their_text(tmp_path, method):
    reader = ArkReader(scp_of(GOLDEN / f"mfcc30_cm{method}.ark", tmp_path))
    expected = golden_arrays(f"mfcc30_cm{method}.txt")
    assert sorted(reader) == sorted(expected)
    for utt in expected:
        assert reader.shape(utt) == expected[utt].shape
        np.testing.assert_allclose(reader[utt], expected[utt], rtol=0, atol=2e-5)


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


@pytest.mark.parametrize("shape", [(0,), (0, 0), (0, 5), (5, 0)])
def test_empty_arrays_are_read_as_empty(tmp_path, shape):
    scp = write_ark(tmp_path, {"a": np.zeros(shape)})
    assert ArkReader(scp)["a"].shape == shape


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


# ---- damage: nothing but Fail, with scp, key and offset


def objects():
    """One small object of each type, as bytes."""
    double = np.float64
    kinds = {"FM": (MATRIX[:2, :3], None), "DM": (MATRIX[:2, :3].astype(double), None), "FV": (VECTOR[:3], None), "DV": (VECTOR[:3].astype(double), None)}
    kinds |= {"CM": (MATRIX, 2), "CM2": (MATRIX[:3], 3), "CM3": (MATRIX[:3], 5)}
    found = {}
    for name, (array, method) in kinds.items():
        file = io.BytesIO()
        kaldiio.matio.write_array(file, array, compression_method=method)
        found[name] = file.getvalue()
        assert found[name].startswith(b"\0B" + name.encode() + b" ")
    return found


OBJECTS = objects()


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_archive_cut_at_any_byte_is_refused_by_name(tmp_path, kind):
    content = OBJECTS[kind]
    assert ark_of_bytes(tmp_path, content)["a"].size
    for cut in range(len(content)):
        reader = ark_of_bytes(tmp_path, content[:cut])
        for ask in (reader.__getitem__, reader.shape, lambda key, reader=reader: reader.rows(key, 0, 1)):
            message = failure(ask, "a")
            assert message.startswith(f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: "), (cut, message)


def test_a_cut_archive_says_what_is_missing(tmp_path):
    reader = ark_of_bytes(tmp_path, OBJECTS["FM"][:-1])
    assert failure(reader.shape, "a").endswith("offset 2: 2 x 3 values are announced but the archive ends before; make it anew")


def test_only_the_utterance_that_is_cut_is_refused(tmp_path):
    scp = write_ark(tmp_path, {"a": MATRIX, "b": MATRIX})
    archive = tmp_path / "x.ark"
    archive.write_bytes(archive.read_bytes()[:-1])
    reader = ArkReader(scp)
    np.testing.assert_array_equal(reader["a"], MATRIX)
    assert f"'b': {archive}, offset " in failure(reader.shape, "b")


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_bit_flipped_in_a_header_is_refused_or_harmless(tmp_path, kind):
    """What a header says is believed where it fits the file; else it is refused. Nothing else happens."""
    content = OBJECTS[kind]
    header = {"FM": 15, "DM": 15, "FV": 10, "DV": 10, "CM": 21, "CM2": 22, "CM3": 22}[kind]
    refused = 0
    with memory_below(10e6), np.errstate(over="ignore"):
        for bit in range(8 * header):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            reader = ark_of_bytes(tmp_path, bytes(damaged))
            try:
                assert reader["a"].nbytes <= 4 * len(content), bit
            except Fail as error:
                assert str(error).startswith(f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: "), bit
                refused += 1
    sizes = {"FM": 2, "DM": 2, "FV": 1, "DV": 1, "CM": 2, "CM2": 2, "CM3": 2}[kind]
    assert refused >= 8 * 5 - 2 + sizes * 26  # all bits of marker and token but what makes FM of DM, and all of the sizes but their lowest


@pytest.mark.parametrize("rows, columns", [(2**31 - 1, 2**31 - 1), (2**31 - 1, 1), (1, 2**31 - 1), (65536, 65536), (-1, 3), (2, -3), (-2, -3), (-(2**31), 2)])
@pytest.mark.parametrize("kind", ["FM", "DM", "CM", "CM2", "CM3"])
def test_absurd_sizes_are_refused_without_allocating(tmp_path, kind, rows, columns):
    content = OBJECTS[kind]
    if kind in ("FM", "DM"):
        content = content[:5] + struct.pack("<BiBi", 4, rows, 4, columns) + content[15:]
    else:
        start = 3 + len(kind) + 8
        content = content[:start] + struct.pack("<ii", rows, columns) + content[start + 8 :]
    reader = ark_of_bytes(tmp_path, content)
    with memory_below(1e6):
        message = failure(reader.__getitem__, "a")
    expected = "damaged header" if min(rows, columns) < 0 else f"{rows} x {columns} values are announced but the archive ends before; make it anew"
    assert message == f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: {expected}"


@pytest.mark.parametrize("kind", ["CM2", "CM3"])
def test_no_rows_of_absurdly_many_columns_cost_nothing(tmp_path, kind):
    content = OBJECTS[kind]
    for shape in [(0, 2**31 - 1), (2**31 - 1, 0)]:
        reader = ark_of_bytes(tmp_path, content[:14] + struct.pack("<ii", *shape))
        with memory_below(1e6):
            assert reader["a"].size == 0


@pytest.mark.parametrize("place", [6, 10])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_compressed_matrix_whose_range_is_not_finite_is_refused(tmp_path, place, value):
    content = OBJECTS["CM2"]
    content = content[:place] + struct.pack("<f", value) + content[place + 4 :]
    assert failure(ark_of_bytes(tmp_path, content).shape, "a") == f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: damaged header"


def test_a_wrong_offset_is_refused(tmp_path):
    scp = write_ark(tmp_path, {"a": MATRIX})
    size = (tmp_path / "x.ark").stat().st_size
    for offset in [0, 1, *range(3, size + 40), 10**9, 10**17]:
        write_scp(scp, f"{tmp_path}/x.ark:{offset}")
        expected = f"{scp}: 'a': {tmp_path}/x.ark, offset {offset}: no binary object starts there; text archives are not read"
        assert failure(ArkReader(scp).__getitem__, "a") == expected


def test_a_missing_archive_is_refused(tmp_path):
    scp = write_scp(tmp_path / "x.scp", "/none/x.ark:2")
    assert failure(ArkReader(scp).__getitem__, "a") == f"{scp}: 'a': /none/x.ark: No such file or directory; make the archive anew"


def test_an_empty_archive_is_refused(tmp_path):
    (tmp_path / "x.ark").touch()
    scp = write_scp(tmp_path / "x.scp", f"{tmp_path}/x.ark:2")
    assert failure(ArkReader(scp).__getitem__, "a") == f"{scp}: 'a': {tmp_path}/x.ark: empty; make the archive anew"


def test_a_folder_in_place_of_an_archive_is_refused(tmp_path):
    scp = write_scp(tmp_path / "x.scp", f"{tmp_path}:2")
    assert failure(ArkReader(scp).__getitem__, "a") == f"{scp}: 'a': {tmp_path}: Is a directory; make the archive anew"


def test_a_text_archive_is_refused(tmp_path):
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": MATRIX}, scp=str(tmp_path / "x.scp"), text=True)
    message = failure(ArkReader(tmp_path / "x.scp").__getitem__, "a")
    assert message == f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: no binary object starts there; text archives are not read"


def test_an_integer_vector_is_refused(tmp_path):
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": np.arange(5, dtype=np.int32)}, scp=str(tmp_path / "x.scp"))
    message = failure(ArkReader(tmp_path / "x.scp").__getitem__, "a")
    assert re.search(r"offset 2: an object of type b'.*', a float vector or matrix was expected$", message)


def test_a_waveform_is_refused(tmp_path):
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": (16000, np.arange(50, dtype=np.int16))}, scp=str(tmp_path / "x.scp"))
    assert "offset 2: no binary object starts there" in failure(ArkReader(tmp_path / "x.scp").shape, "a")


def test_a_key_that_is_not_there_is_named(tmp_path):
    scp = write_ark(tmp_path, {"a": MATRIX})
    for ask in (ArkReader(scp).__getitem__, ArkReader(scp).shape):
        assert failure(ask, "c") == f"{scp}: no entry 'c'"


def test_a_broken_scp_is_refused_with_its_line(tmp_path):
    (tmp_path / "x.scp").write_text("a x.ark:2\na x.ark:3\n")
    assert failure(ArkReader, tmp_path / "x.scp") == f"{tmp_path}/x.scp:2: 'a' stands twice; keep one line of it"


# ---- nothing that stands in a file is run


class Touch:
    """Makes a file when unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_pickled_object_is_refused_and_not_loaded(tmp_path):
    ran = tmp_path / "ran"
    reader = ark_of_bytes(tmp_path, b"PKL" + pickle.dumps(Touch(ran)))
    for ask in (reader.__getitem__, reader.shape, lambda key: reader.rows(key, 0, 1)):
        assert "offset 2: no binary object starts there" in failure(ask, "a")
    assert not ran.exists()


def test_kaldiio_itself_would_have_loaded_it(tmp_path):
    """Holds the reason for the care taken here: if this fails, kaldiio has become safe."""
    (tmp_path / "x.ark").write_bytes(b"a PKL" + pickle.dumps(Touch(tmp_path / "ran")))
    list(kaldiio.load_ark(str(tmp_path / "x.ark")))
    assert (tmp_path / "ran").exists()


COMMANDS = ["touch {ran} |", "touch {ran}|", "| touch {ran}", "|touch {ran}:2", "touch {ran} |:2", "$(touch {ran}):1", "`touch {ran}`:2", "x; touch {ran}:2"]


@pytest.mark.parametrize("entry", [*COMMANDS, "-", "-:2"])
def test_a_command_in_an_scp_is_refused_and_not_run(tmp_path, entry):
    ran = tmp_path / "ran"
    scp = write_scp(tmp_path / "x.scp", entry.format(ran=ran))
    reader = ArkReader(scp)
    for ask in (reader.__getitem__, reader.shape, lambda key: reader.rows(key, 0, 1)):
        assert failure(ask, "a").startswith(f"{scp}: 'a': ")
    assert not ran.exists()


ENTRIES = ["x.ark", "x.ark:", "x.ark:-2", "x.ark:2.5", "x.ark:two", ":2", "x.ark:2[0:3]", "x.ark:" + "9" * 5000, "x\0.ark:2", "cat x.ark |"]


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_without_path_and_offset_is_refused(tmp_path, entry):
    scp = write_scp(tmp_path / "x.scp", entry)
    assert failure(ArkReader(scp).shape, "a") == f"{scp}: 'a': an entry path.ark:offset was expected, not '{entry[:80]}'"
