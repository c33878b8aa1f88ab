"""utils/copy_ark.py: Kaldi's copy-feats, copy-vector, copy-int-vector and their like."""

import os
import subprocess
import sys

import kaldiio
import numpy as np
import pytest
from arks import INTEGERS, MATRIX, VECTOR, write_ark
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_arrays

from pytorch.data.ark import ArkReader, read_ark

COPY = "utils/copy_ark.py"


def refused(result, status=1):
    """The line that copy_ark.py says when it fails."""
    assert result.returncode == status, result.stderr
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.rstrip("\n").removeprefix("copy_ark.py: ")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


# ---- Kaldi's own


@pytest.mark.parametrize("name", ["mfcc30_d0", "fbank80_d0", "vad", *(f"mfcc30_cm{method}" for method in range(1, 8))])
def test_kaldis_archives_become_kaldis_text_to_the_byte(program, golden, name):
    result = program(COPY, golden / f"{name}.ark", "-")
    assert result.stdout == (golden / f"{name}.txt").read_text()
    assert result.stderr == "copy_ark: 2 objects copied to standard output\n"


@pytest.mark.parametrize("name, kind", [("mfcc30_d0", "array"), ("vad", "array"), ("dur", "float"), ("len", "int")])
def test_kaldis_text_stays_the_same_through_a_binary_archive(program, golden, here, name, kind):
    assert program(COPY, "--kind", kind, golden / f"{name}.txt", "x.ark").returncode == 0
    text = program(COPY, "--kind", kind, "x.scp", "-").stdout
    assert text == (golden / f"{name}.txt").read_text()
    if name == "len":
        assert (here / "x.ark").read_bytes() == (golden / "len.ark").read_bytes()


@pytest.mark.parametrize("method", [1, 2, 3, 4, 5])
def test_kaldis_features_are_compressed_to_kaldis_bytes(program, golden, here, method):
    assert program(COPY, "--compress", method, golden / "mfcc30_d0.ark", "x.ark").returncode == 0
    assert (here / "x.ark").read_bytes() == (golden / f"mfcc30_cm{method}.ark").read_bytes()
    assert sorted(kaldiio.load_scp("x.scp")) == ["s0-u1", "s2-u0"]


def test_values_that_would_be_clipped_are_refused_and_nothing_is_written(program, golden, here):
    message = refused(program(COPY, "--compress", "6", golden / "mfcc30_d0.ark", "x.ark"))
    assert message == f"{here}/x.ark: 's0-u1': values from -40.7281 to 41.3351, but compression method 6 keeps 0 to 255; use method 3"
    assert list(here.iterdir()) == []


# ---- what goes in, what comes out


@pytest.mark.parametrize("options", [[], ["--text", "true"], ["--double", "true"], ["--double", "true", "--text", "true"]])
def test_vectors_and_matrices_are_copied_in_any_form(program, here, options):
    arrays = {"a": MATRIX.astype(np.float64) / 3, "b": VECTOR.astype(np.float64) / 3}
    write_ark(here, arrays, dtype=np.float64)
    result = program(COPY, *options, "x.scp", "y.ark")
    assert (result.returncode, result.stderr) == (0, "copy_ark: 2 objects copied to y.ark\n")
    found = ArkReader("y.scp", exact=True)
    for key, array in arrays.items():
        tolerance = 1e-6 if "--text" in options else 1e-7 if not options else 0
        np.testing.assert_allclose(found[key], array, rtol=tolerance)
        assert found[key].dtype == (np.float64 if options else np.float32)


def test_vectors_of_integers_stay_integers(program, here):
    write_ark(here, {"a": INTEGERS}, dtype=np.int32)
    assert program(COPY, "x.scp", "-").stdout == "a 0 5 -7 2147483647 -2147483648 \n"
    assert program(COPY, "--text", "true", "x.ark", "y.ark").returncode == 0
    assert program(COPY, "y.ark", "z.ark").returncode == 0
    assert (here / "z.ark").read_bytes() == (here / "x.ark").read_bytes()


@pytest.mark.parametrize("option", [["--compress", "3"], ["--double", "true"]])
def test_options_of_matrices_are_refused_for_integers(program, here, option):
    write_ark(here, {"a": INTEGERS}, dtype=np.int32)
    message = refused(program(COPY, *option, "x.ark", "y.ark"))
    assert message == "x.ark: 'a' is of integers, which --compress and --double are not for"


def test_integers_among_others_are_refused(program, here):
    kaldiio.save_ark("x.ark", {"a": MATRIX, "b": INTEGERS})
    message = refused(program(COPY, "x.ark", "y.ark"))
    assert message == "x.ark: of 'a' and 'b' one is of integers, the other is not; copy them by themselves, with --keys"
    assert sorted(path.name for path in here.iterdir()) == ["x.ark"]


def test_several_scp_files_become_one_archive_in_order(program, here):
    for name, keys in (("1", "ac"), ("2", "b")):
        (here / name).mkdir()
        write_ark(here / name, {key: VECTOR + ord(key) for key in keys})
    assert program(COPY, "1/x.scp,2/x.scp", "all.ark").returncode == 0
    found = dict(read_ark("all.ark"))
    assert list(found) == ["a", "b", "c"]
    for key, array in found.items():
        np.testing.assert_array_equal(array, VECTOR + ord(key))


def test_only_the_keys_that_are_listed_are_copied(program, here):
    write_ark(here, dict.fromkeys("abcd", VECTOR))
    (here / "list").write_text("d speaker-1\nb speaker-2\n")
    for source in ("x.scp", "x.ark"):
        assert program(COPY, "--keys", "list", "--overwrite", "true", source, "y.ark").stderr == "copy_ark: 2 objects copied to y.ark\n"
        assert [key for key, _ in read_ark("y.ark")] == ["b", "d"]
    (here / "list").write_text("b\ne\nf\n")
    for source in ("x.scp", "x.ark"):
        assert refused(program(COPY, "--keys", "list", source, "z.ark")) == f"list: 2 of 3 keys are not in {source}: e, f"
    (here / "list").write_text("e\nf\n")
    assert refused(program(COPY, "--keys", "list", "x.scp", "z.ark")) == "list: 2 of 2 keys are not in x.scp: e, f"
    assert not (here / "z.ark").exists()


@pytest.mark.parametrize(
    "content, message",
    [(None, "list: No such file or directory"), (b"", "list: empty"), (b"a\n\nb\n", "list:2: blank line; remove it"), (b"\xff\n", "list: not a text file")],
)
def test_a_list_of_keys_that_is_none_is_refused(program, here, content, message):
    write_ark(here, {"a": VECTOR})
    if content is not None:
        (here / "list").write_bytes(content)
    assert refused(program(COPY, "--keys", "list", "x.scp", "y.ark")) == message


def test_an_archive_in_another_order_is_copied_where_allowed_and_its_scp_is_sorted(program, here):
    kaldiio.save_ark("x.ark", {"b": VECTOR, "a": MATRIX})
    assert refused(program(COPY, "x.ark", "y.ark")).startswith("x.ark: 'a', offset 50: comes after 'b'; ")
    assert program(COPY, "--in-order", "false", "x.ark", "y.ark").returncode == 0
    assert (here / "y.ark").read_bytes() == (here / "x.ark").read_bytes()
    assert [line.split()[0] for line in (here / "y.scp").read_text().splitlines()] == ["a", "b"]
    kaldiio.save_ark("x.ark", {"b": VECTOR}, append=True)
    assert refused(program(COPY, "--in-order", "false", "x.ark", "z.ark")) == f"{here}/z.ark: 'b' comes twice"


def test_a_range_in_an_scp_is_copied_as_what_it_takes(program, here):
    write_ark(here, {"a": MATRIX})
    (here / "part.scp").write_text("a x.ark:2[1:2,0:2]\n")
    assert program(COPY, "part.scp", "y.ark").returncode == 0
    np.testing.assert_array_equal(ArkReader("y.scp")["a"], MATRIX[1:3, :3])


# ---- mistakes


@pytest.mark.parametrize("target", ["x.ark", "x.mat.ark/../x.ark"])
@pytest.mark.parametrize("source", ["x.ark", "x.scp", "sub/../x.scp"])
def test_what_is_read_is_not_replaced(program, here, source, target):
    write_ark(here, {"a": MATRIX})
    (here / "sub").mkdir()
    (here / "x.mat.ark").mkdir()
    before = (here / "x.ark").read_bytes(), (here / "x.scp").read_bytes()
    assert refused(program(COPY, source, target)) == f"{source}: is read, and would be replaced; write to another folder"
    (here / "y.scp").write_bytes(before[1])
    assert refused(program(COPY, "y.scp", "x.ark")) == f"{here}/x.ark: is read, and would be replaced; write to another folder"
    assert ((here / "x.ark").read_bytes(), (here / "x.scp").read_bytes()) == before


@pytest.mark.parametrize("there", ["y.ark", "y.scp"])
def test_what_is_there_is_replaced_only_when_told_so(program, here, there):
    write_ark(here, {"a": MATRIX})
    (here / there).write_text("precious")
    for source in ("x.ark", "x.scp"):
        assert refused(program(COPY, source, "y.ark")) == f"{there}: is there; move it away, or pass --overwrite true to replace it"
    assert sorted(path.name for path in here.iterdir()) == sorted(["x.ark", "x.scp", there])
    assert (here / there).read_text() == "precious"
    assert program(COPY, "--overwrite", "true", "x.scp", "y.ark").returncode == 0
    np.testing.assert_array_equal(ArkReader("y.scp")["a"], MATRIX)
    assert refused(program(COPY, "--overwrite", "true", "y.scp", "y.ark")) == "y.scp: is read, and would be replaced; write to another folder"


def test_numbers_by_themselves_are_refused_with_the_options_that_read_them(program, golden):
    message = refused(program(COPY, golden / "len.ark", "-"))
    assert message.endswith("of numbers by themselves say the kind (copy_ark.py: --kind int or --kind float)")
    assert refused(program(COPY, "--kind", "float", golden / "len.ark", "-")).endswith("read it as int (copy_ark.py: --kind int)")


@pytest.mark.parametrize("source", ["/dev/null", "fifo", "fifo.scp", "."])
def test_what_is_no_regular_file_is_refused(program, here, source):
    if "fifo" in source:
        os.mkfifo(source)
    assert refused(program(COPY, source, "-")) == f"{source}: not a regular file"


@pytest.mark.parametrize(
    "source, target, message",
    [
        ("none.scp", "y.ark", "none.scp: no such file"),
        ("none.ark", "-", "none.ark: no such file"),
        ("x.scp,none.scp", "y.ark", "none.scp: no such file"),
        ("empty.ark", "y.ark", "empty.ark: empty"),
        ("x.scp", "y", "y: the name of an archive to write must end in .ark; its scp is named after it"),
        ("x.scp,x.scp", "-", "x.scp:1: 'a' is in x.scp too; keep one of them"),
        ("text", "-", "text: 'a', offset 2: no vector, matrix or number begins there"),
        ("cut.ark", "y.ark", "cut.ark: 'a', offset 2: 7 x 5 values are announced but the archive ends before; make it anew"),
    ],
)
def test_a_mistake_is_one_line(program, here, source, target, message):
    write_ark(here, {"a": MATRIX})
    (here / "empty.ark").touch()
    (here / "text").write_text("a speaker\n")
    (here / "cut.ark").write_bytes((here / "x.ark").read_bytes()[:-1])
    assert refused(program(COPY, source, target)) == message
    assert not (here / "y.ark").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--compress", "8"], "argument --compress: invalid choice: 8"),
        (["--compress", "3", "--text", "true"], None),
        (["--compress", "3", "--double", "true"], None),
        (["--compress", "3", "--kind", "float"], None),
        (["--double", "yes"], "argument --double: true or false expected, not 'yes'; see --help"),
    ],
)
def test_wrong_options_are_status_2(program, here, options, message):
    write_ark(here, {"a": MATRIX})
    expected = message or "--compress is for matrices in a binary archive, not for text, double precision or numbers by themselves; see --help"
    assert refused(program(COPY, *options, "x.scp", "y.ark"), 2).startswith(expected)


def test_values_that_float32_cannot_have_are_refused_unless_double_is_asked_for(program, here):
    write_ark(here, {"a": [1e300]}, dtype=np.float64)
    assert refused(program(COPY, "x.ark", "y.ark")) == f"{here}/y.ark: 'a': the values are not all finite"
    assert program(COPY, "--double", "true", "x.ark", "y.ark").returncode == 0
    assert (here / "y.ark").read_bytes() == (here / "x.ark").read_bytes()


def test_a_reader_that_leaves_is_no_error(root, here):
    write_ark(here, {f"{key:04}": np.tile(MATRIX, (20, 1)) for key in range(200)})
    command = f"'{sys.executable}' '{root / COPY}' x.scp - | head -n 2"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert result.stdout.startswith("0000  [\n  ")
    assert result.stderr == ""


def test_a_full_disk_is_one_line(root, here):
    write_ark(here, {"a": MATRIX})
    with open("/dev/full", "w") as full:
        result = subprocess.run([sys.executable, root / COPY, "x.scp", "-"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert refused(result) == "output: No space left on device"


NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=30, deadline=None)
@given(st.lists(any_arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 4)), elements=NUMBERS), min_size=1, max_size=4))
def test_a_copy_by_way_of_text_is_the_text_again(tmp_path_factory, arrays):
    """Seven digits are read to the float32 that is written with the same seven digits."""
    folder = tmp_path_factory.mktemp("any")
    scp = write_ark(folder, {f"{number}": array for number, array in enumerate(arrays)}, text=True)
    text = (folder / "x.ark").read_bytes()
    reader = ArkReader(scp)
    write_ark(folder, {key: reader[key] for key in reader})
    reader = ArkReader(scp)
    write_ark(folder, {key: reader[key] for key in reader}, text=True)
    assert (folder / "x.ark").read_bytes() == text
