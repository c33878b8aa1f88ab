"""pytorch/data/ark.py on what is damaged or hostile: one line with scp, key, archive and offset, or the right shape; nothing is run, nothing crashes."""

import io
import itertools
import os
import pickle
import random
import struct
from itertools import product
from pathlib import Path

import kaldiio
import numpy as np
import pytest
from arks import MATRIX, VECTOR, ark_of_bytes, memory_below, write_ark, write_scp
from support import failure

from pytorch.data import ark as ark_module
from pytorch.data.ark import ArkReader, read_ark, read_object
from pytorch.data.ark_text import text_of
from pytorch.program import Fail

KINDS = {"int": "int", "float": "float", "double": "float", "text int": "int", "text float": "float"}  # others are arrays


def objects():
    """One small object of each type, as bytes of kaldiio's making, or by Kaldi's documentation where kaldiio does not make it."""
    double = np.float64
    kinds = {"FM": (MATRIX[:2, :3], None), "DM": (MATRIX[:2, :3].astype(double), None), "FV": (VECTOR[:3], None), "DV": (VECTOR[:3].astype(double), None)}
    kinds |= {"CM": (MATRIX, 2), "CM2": (MATRIX[:3], 3), "CM3": (MATRIX[:3], 5)}
    found = {}
    for name, (array, method) in kinds.items():
        file = io.BytesIO()
        kaldiio.matio.write_array(file, array, compression_method=method)
        found[name] = file.getvalue()
        assert found[name].startswith(b"\0B" + name.encode() + b" ")
    found["integers"] = b"\0B\4\3\0\0\0" + b"".join(b"\4" + struct.pack("<i", number) for number in (7, -1, 300))
    found["int"], found["float"], found["double"] = b"\0B\4" + struct.pack("<i", 300), b"\0B\4" + struct.pack("<f", 1.5), b"\0B\x08" + struct.pack("<d", 1.5)
    found["text matrix"] = b" [\n  1.25 -2 1e-05 \n  10 205 0.5 ]\n"
    found["text vector"] = b" [ 1.25 -2 1e-05 ]\n"
    found["text integers"], found["text int"], found["text float"] = b"7 -1 300 \n", b"300 \n", b"1.5 \n"
    return found


OBJECTS = objects()
SHAPES = {
    "FM": (2, 3),
    "DM": (2, 3),
    "FV": (3,),
    "DV": (3,),
    "CM": (7, 5),
    "CM2": (3, 5),
    "CM3": (3, 5),
    "integers": (3,),
    "int": (),
    "float": (),
    "double": (),
}
SHAPES |= {"text matrix": (2, 3), "text vector": (3,), "text integers": (3,), "text int": (), "text float": ()}
HEADERS = {"FM": 15, "DM": 15, "FV": 10, "DV": 10, "CM": 21, "CM2": 22, "CM3": 22, "integers": 8, "int": 3, "float": 3, "double": 3}
WITHOUT_SIZES = ("text vector", "text integers", "text int", "text float")  # a flipped bit can make one number of two there, and nothing tells


def asks(reader):
    return reader.__getitem__, reader.shape, lambda key: reader.rows(key, 0, 1)


def ask_all(reader, place):
    """The shape that reading tells, or None where all was refused in a line that names the place."""
    shapes = set()
    for ask in (reader.shape, lambda key: reader[key].shape):
        try:
            shapes.add(ask("a"))
        except Fail as error:
            assert str(error).startswith(place), error
            assert "\n" not in str(error)
    assert len(shapes) < 2
    return shapes.pop() if shapes else None


# ---- cut


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_archive_cut_at_any_byte_is_refused_by_name(tmp_path, kind):
    content, options = OBJECTS[kind], {"kind": KINDS.get(kind, "array")}
    assert ark_of_bytes(tmp_path, content, **options)["a"].shape == SHAPES[kind]
    whole = len(content) - ("]" in content.decode("latin1"))  # behind the ] of a text, the newline may lack
    for cut in range(whole):
        reader = ark_of_bytes(tmp_path, content[:cut], **options)
        for ask in asks(reader):
            message = failure(ask, "a")
            assert message.startswith(f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: "), (cut, message)


@pytest.mark.parametrize("kind", OBJECTS)
def test_an_archive_cut_at_any_byte_is_read_to_the_end_or_refused_by_name(tmp_path, kind):
    path = tmp_path / "x.ark"
    content = b"".join(key + b" " + OBJECTS[kind] for key in (b"a", b"bc", b"d"))
    ends = [len(OBJECTS[kind]) + 2, 2 * len(OBJECTS[kind]) + 5, len(content)]
    for cut in range(1, len(content)):
        path.write_bytes(content[:cut])
        found = []
        try:
            for key, array in read_ark(path, KINDS.get(kind, "array")):
                found.append(key)
                assert array.shape == SHAPES[kind]
            assert cut in [*ends, *(end - 1 for end in ends if content[end - 2 : end] == b"]\n")]
        except Fail as error:
            assert str(error).startswith((f"{path}: '", f"{path}, offset ")), error
            assert "\n" not in str(error)
        assert sum(end <= cut for end in ends) - 1 <= len(found) <= sum(end - 1 <= cut for end in ends)  # one less where the next key is cut


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
    found = read_ark(archive)
    assert next(found)[0] == "a"
    expected = f"{archive}: 'b', offset {len(archive.read_bytes()) + 1 - len(OBJECTS['FM']) - 4 * 29}: 7 x 5 values are announced but the archive ends before"
    assert failure(next, found) == expected + "; make it anew"


@pytest.mark.parametrize("way", ["by key", "from end to end"])
def test_an_archive_that_is_cut_while_it_is_read_ends_nothing(tmp_path, way, monkeypatch):
    """To touch a mapped page beyond the end of its file would kill the process (SIGBUS)."""
    monkeypatch.setattr(ark_module.time, "monotonic", itertools.count().__next__)
    scp = write_ark(tmp_path, {key: np.ones((100, 80)) for key in "abc"})
    reader, found = ArkReader(scp), read_ark(tmp_path / "x.ark")
    reader["a"], next(found)
    os.truncate(tmp_path / "x.ark", 100)
    message = failure(reader.__getitem__, "c") if way == "by key" else failure(next, found)
    assert message.endswith(": the archive has been cut since it was opened; make it anew")


# ---- bits


@pytest.mark.parametrize("kind", OBJECTS)
def test_a_flipped_bit_is_refused_or_the_shape_is_right(tmp_path, kind):
    """All bits of a header, some of the values; alone in its archive, and with another object behind that the scp names too."""
    content, scp = OBJECTS[kind], tmp_path / "x.scp"
    header = HEADERS.get(kind, min(12, len(content)))
    bits = [*range(8 * header), *range(8 * header, 8 * len(content), 7)]
    refused = 0
    with memory_below(10e6), np.errstate(over="ignore", invalid="ignore"):
        for bit, behind in product(bits, (b"", b"neighbour-with-a-long-key " + content)):
            damaged = bytearray(content)
            damaged[bit // 8] ^= 1 << bit % 8
            (tmp_path / "x.ark").write_bytes(b"a " + damaged + behind)
            neighbour = f"neighbour-with-a-long-key {tmp_path}/x.ark:{len(content) + 28}\n" if behind else ""
            scp.write_text(f"a {tmp_path}/x.ark:2\n{neighbour}")
            reader = ArkReader(scp, kind=KINDS.get(kind, "array"))
            shape = ask_all(reader, f"{scp}: 'a': {tmp_path}/x.ark, offset 2: ")
            refused += shape is None
            if kind not in WITHOUT_SIZES:
                assert shape in (None, SHAPES[kind]), (bit, behind)
    if kind in HEADERS:
        assert refused >= 2 * (8 * header - (63 if "CM" in kind else 0))  # the least value and the span may be anything, but that not negative


@pytest.mark.parametrize("kind", OBJECTS)
def test_bits_flipped_anywhere_in_an_archive_do_no_other_harm(tmp_path, kind):
    """Read from end to end: a line with the file, or arrays of the right shape under keys in order."""
    path, chance = tmp_path / "x.ark", random.Random(kind)
    content = b"".join(key + b" " + OBJECTS[kind] for key in (b"a", b"bc", b"d"))
    with memory_below(10e6), np.errstate(over="ignore", invalid="ignore"):
        for _ in range(300):
            damaged = bytearray(content)
            for bit in chance.sample(range(8 * len(content)), chance.choice((1, 1, 2, 5))):
                damaged[bit // 8] ^= 1 << bit % 8
            path.write_bytes(damaged)
            try:
                for _, array in read_ark(path, KINDS.get(kind, "array")):
                    assert array.nbytes <= 8 * len(content)
            except Fail as error:
                assert str(error).startswith((f"{path}: '", f"{path}, offset ")), error
                assert "\n" not in str(error)


def test_a_header_that_announces_less_than_is_there_is_refused(tmp_path):
    """All sizes lie within the file: only what follows the object tells."""
    scp = write_ark(tmp_path, {"a": MATRIX, "b": MATRIX})
    archive = tmp_path / "x.ark"
    archive.write_bytes(archive.read_bytes().replace(b"\4\7\0\0\0", b"\4\5\0\0\0", 1))
    expected = "offset 2: no other key follows its 5 x 5 values: a damaged header; make the archive anew"
    assert failure(ArkReader(scp).__getitem__, "a") == f"{scp}: 'a': {archive}, {expected}"
    assert failure(lambda: list(read_ark(archive))) == f"{archive}: 'a', {expected}"
    np.testing.assert_array_equal(ArkReader(scp)["b"], MATRIX)


# ---- sizes


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


NO_ARRAY = "neither a vector of integers nor a matrix; of numbers by themselves say the kind (copy_ark.py: --kind int or --kind float)"


@pytest.mark.parametrize("size", [4, 2**31 - 1, -1])
def test_absurdly_many_integers_are_refused_without_allocating(tmp_path, size):
    reader = ark_of_bytes(tmp_path, b"\0B\4" + struct.pack("<i", size) + OBJECTS["integers"][7:])
    with memory_below(1e6):
        message = failure(reader.__getitem__, "a")
    assert message.endswith(f"offset 2: {NO_ARRAY}")


@pytest.mark.parametrize("kind", ["CM2", "CM3"])
def test_no_rows_of_absurdly_many_columns_cost_nothing(tmp_path, kind):
    content = OBJECTS[kind]
    for shape in [(0, 2**31 - 1), (2**31 - 1, 0)]:
        reader = ark_of_bytes(tmp_path, content[:14] + struct.pack("<ii", *shape))
        with memory_below(1e6):
            assert reader["a"].size == 0


@pytest.mark.parametrize("place, value", [*product([6, 10], [np.nan, np.inf, -np.inf]), (10, -1.0), (10, 3.4e38)])
def test_a_compressed_matrix_whose_range_is_none_is_refused(tmp_path, place, value):
    content = OBJECTS["CM2"][:6] + struct.pack("<f", 1e38) + OBJECTS["CM2"][10:]
    content = content[:place] + struct.pack("<f", value) + content[place + 4 :]
    assert failure(ark_of_bytes(tmp_path, content).shape, "a") == f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: damaged header"


# ---- text


@pytest.mark.parametrize(
    "text, what",
    [
        (" [\n 1 2\n 3 ]\n", "rows of 1 and 2 values in one matrix"),
        (" [ 1 2_0 ]\n", "'_' among the numbers of this object"),
        (" [ 1 two ]\n", "'t' among the numbers of this object"),
        (" [ 1 [ 2 ]\n", "'[' among the numbers of this object"),
        (" [ 1.2.3 ]\n", "what stands there are no numbers"),
        (" [\r\n 1 2 ]\r\n", "Windows line endings; remove them with: sed -i 's/\\r$//'"),
        (" [ 1 2 ]\r\n", "Windows line endings; remove them with: sed -i 's/\\r$//'"),
        (" [ 1 2 ] 3\n", "the ] of this object does not end its line"),
        (" [ 1 2 \n", "the archive ends before the ] of this object; make it anew"),
        ("1 2.5 \n", "whole numbers were expected, not '2.5'"),
        ("1 2_0 \n", "whole numbers were expected, not '2_0'"),
        ("1 2147483648 \n", "'2147483648' is beyond a whole number of 32 bits"),
        (f"{'9' * 5000} \n", f"'{'9' * 40}' is beyond a whole number of 32 bits"),
        ("1 2\r\n", "Windows line endings; remove them with: sed -i 's/\\r$//'"),
        ("1 2", "the last line lacks its newline, the archive may be cut off; make it anew"),
        ("anna\n", "no vector, matrix or number begins there"),
    ],
)
def test_text_that_is_no_vector_or_matrix_is_refused(tmp_path, text, what):
    assert failure(ark_of_bytes(tmp_path, text.encode()).__getitem__, "a") == f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: {what}"
    assert failure(lambda: list(read_ark(tmp_path / "x.ark"))) == f"{tmp_path}/x.ark: 'a', offset 2: {what}"


@pytest.mark.parametrize(
    "kind, text, what",
    [
        ("int", "1.5 \n", "whole numbers were expected, not '1.5'"),
        ("int", "1 2 \n", "one number was expected, 2 words are there"),
        ("float", "\n", "one number was expected, 0 words are there"),
        ("float", "1_0 \n", "'_' in a number"),
        ("float", "1-2 \n", "what stands there are no numbers"),
        ("float", "[ 1 ]\n", "no vector, matrix or number begins there"),
    ],
)
def test_text_that_is_no_number_is_refused(tmp_path, kind, text, what):
    assert failure(ark_of_bytes(tmp_path, text.encode(), kind=kind).__getitem__, "a") == f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: {what}"


def test_a_wrong_offset_into_numbers_is_refused(tmp_path):
    scp = write_ark(tmp_path, {"a": [12, 13], "b": [14, 15]}, dtype=np.int32, text=True)
    content = (tmp_path / "x.ark").read_bytes()
    for offset in range(1, len(content) + 3):
        write_scp(scp, f"{tmp_path}/x.ark:{offset}")
        if offset not in (2, 11):
            assert failure(ArkReader(scp).__getitem__, "a").endswith(f"offset {offset}: no vector, matrix or number begins there")


# ---- types


@pytest.mark.parametrize(
    "kind, asked, what",
    [
        ("int", "array", NO_ARRAY),
        ("double", "array", r"an object of type b'\x08\x00\x00', a vector or a matrix was expected"),
        ("double", "int", r"an object of type b'\x08\x00\x00', an integer was expected"),
        ("FM", "float", "an object of type b'FM ', a number was expected"),
        ("int", "float", "a number that only an integer looks like; read it as int (copy_ark.py: --kind int)"),
        ("integers", "int", "no other key follows its 1 values: a damaged header; make the archive anew"),
    ],
)
def test_another_type_than_expected_is_refused(tmp_path, kind, asked, what):
    assert failure(ark_of_bytes(tmp_path, OBJECTS[kind], kind=asked).__getitem__, "a") == f"{tmp_path}/x.scp: 'a': {tmp_path}/x.ark, offset 2: {what}"


def test_a_waveform_is_refused(tmp_path):
    kaldiio.save_ark(str(tmp_path / "x.ark"), {"a": (16000, np.arange(50, dtype=np.int16))}, scp=str(tmp_path / "x.scp"))
    assert "offset 2: no vector, matrix or number begins there" in failure(ArkReader(tmp_path / "x.scp").shape, "a")


# ---- places


def test_a_wrong_offset_is_refused(tmp_path):
    scp = write_ark(tmp_path, {"a": MATRIX})
    size = (tmp_path / "x.ark").stat().st_size
    for offset in [0, 1, *range(3, size + 40), 10**9, 10**17]:
        write_scp(scp, f"{tmp_path}/x.ark:{offset}")
        message = failure(ArkReader(scp).__getitem__, "a")
        assert message.startswith(f"{scp}: 'a': {tmp_path}/x.ark, offset {offset}: "), message


def make_fifo(path):
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make, what",
    [
        (Path.touch, "empty; make the archive anew"),
        (Path.mkdir, "Is a directory; make the archive anew"),
        (make_fifo, "not a file that can be mapped into memory, as archives are"),
        (lambda path: path.write_bytes(b"\x1f\x8b\x08..."), "packed with gzip; unpack it first"),
    ],
)
def test_what_is_no_archive_is_refused(tmp_path, make, what):
    make(tmp_path / "x.ark")
    scp = write_scp(tmp_path / "x.scp", f"{tmp_path}/x.ark:2")
    assert failure(ArkReader(scp).__getitem__, "a") == f"{scp}: 'a': {tmp_path}/x.ark: {what}"
    assert failure(lambda: list(read_ark(tmp_path / "x.ark"))) == f"{tmp_path}/x.ark: {what}"
    assert failure(read_object, tmp_path / "x.ark") == f"{tmp_path}/x.ark: {what}"


def test_an_archive_that_is_missing_may_have_moved_if_an_scp_names_it(tmp_path):
    scp = write_scp(tmp_path / "x.scp", f"{tmp_path}/x.ark:2")
    what = f"{tmp_path}/x.ark: No such file or directory; make the archive anew"
    assert failure(ArkReader(scp).__getitem__, "a") == f"{scp}: 'a': {what} or, if it has moved, run utils/relocate_data_dir.py"
    assert failure(lambda: list(read_ark(tmp_path / "x.ark"))) == what
    assert failure(read_object, tmp_path / "x.ark") == what


@pytest.mark.parametrize("start", [b"", b"b", b" a", b"\x01a ", b"a\0 ", b"\xff ", b"k" * 5000 + b" "])
def test_what_does_not_begin_with_a_key_is_no_archive(tmp_path, start):
    (tmp_path / "x.ark").write_bytes(start + OBJECTS["FM"])
    assert failure(lambda: list(read_ark(tmp_path / "x.ark"))) == f"{tmp_path}/x.ark, offset 0: a key and a blank were expected: no archive, or a damaged one"


def test_a_blank_line_in_an_archive_is_refused(tmp_path):
    (tmp_path / "x.ark").write_text("a [ 1 ]\n\nb [ 2 ]\n")
    assert failure(lambda: list(read_ark(tmp_path / "x.ark"))) == f"{tmp_path}/x.ark, offset 8: blank line; remove it"


def test_a_key_that_is_not_there_is_named(tmp_path):
    scp = write_ark(tmp_path, {"a": MATRIX})
    for ask in asks(ArkReader(scp)):
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
    for ask in asks(reader):
        assert "offset 2: no vector, matrix or number begins there" in failure(ask, "a")
    assert "offset 2: no vector, matrix or number begins there" in failure(lambda: list(read_ark(tmp_path / "x.ark")))
    assert not ran.exists()


def test_kaldiio_itself_would_have_loaded_it(tmp_path):
    """Holds the reason for the care taken here: if this fails, kaldiio has become safe."""
    (tmp_path / "x.ark").write_bytes(b"a PKL" + pickle.dumps(Touch(tmp_path / "ran")))
    list(kaldiio.load_ark(str(tmp_path / "x.ark")))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("entry", ["touch {ran} |", "touch {ran}|", "| touch {ran}", "|touch {ran}:2", "gunzip -c x.ark.gz |"])
def test_a_command_in_an_scp_is_refused_with_its_line_and_not_run(tmp_path, entry):
    ran = tmp_path / "ran"
    entry = entry.format(ran=ran)
    scp = write_scp(tmp_path / "x.scp", entry)
    message = f"an entry path.ark:offset was expected, not '{entry[:80]}'; commands are not run here, write what it prints to an archive"
    assert failure(ArkReader, scp) == f"{scp}:1: 'a': {message}"
    assert not ran.exists()


@pytest.mark.parametrize("entry", ["touch {ran} |:2", "$(touch {ran}):1", "`touch {ran}`:2", "x; touch {ran}:2", "x.ark:", "x.ark:-2", "x.ark:" + "9" * 5000])
def test_whatever_else_stands_in_an_scp_is_taken_for_a_path(tmp_path, entry):
    ran = tmp_path / "ran"
    reader = ArkReader(write_scp(tmp_path / "x.scp", entry.format(ran=ran)))
    for ask in asks(reader):
        assert failure(ask, "a").startswith(f"{tmp_path}/x.scp: 'a': ")
    assert not ran.exists()


@pytest.mark.parametrize("entry", ["-", ":2", "x\0.ark:2"])
def test_an_entry_without_a_path_is_refused_with_its_line(tmp_path, entry):
    scp = write_scp(tmp_path / "x.scp", entry)
    assert failure(ArkReader, scp) == f"{scp}:1: 'a': an entry path.ark:offset was expected, not '{entry}'"


def test_text_of_numbers_that_are_none_is_read_back():
    assert text_of(np.float32([np.nan, np.inf])) == " [ nan inf ]\n"
