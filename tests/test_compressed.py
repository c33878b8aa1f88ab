"""pytorch/data/compressed.py: Kaldi's own bytes and values, and kaldiio's where it agrees with Kaldi."""

import io

import kaldiio
import numpy as np
import pytest
from arks import RNG
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as any_arrays
from kaldi_outputs import GOLDEN
from support import failure

from pytorch.data.ark import read_ark
from pytorch.data.ark_objects import look, read
from pytorch.data.compressed import METHODS, check_range, encode

AUTOMATIC = (1, 2, 3, 5)  # that take their range from the values


def decoded(matrix, method):
    """Encoded and decoded again."""
    data = b"\0B" + encode(matrix, method)
    form, shape, end = look(data, 0, "array")
    assert end == len(data)
    return read(data, 0, form, shape)


def kaldiios(matrix, method):
    file = io.BytesIO()
    kaldiio.matio.write_array(file, matrix, compression_method=method)
    return file.getvalue()


@pytest.mark.parametrize("method", METHODS)
def test_kaldis_features_are_encoded_to_kaldis_bytes(method):
    """The clipping of methods 4, 6 and 7 is among them."""
    encoded = b"".join(f"{utt} \0B".encode() + encode(matrix, method) for utt, matrix in read_ark(GOLDEN / "mfcc30_d0.ark"))
    assert encoded == (GOLDEN / f"mfcc30_cm{method}.ark").read_bytes()


@pytest.mark.parametrize("method", METHODS)
def test_kaldis_bytes_are_decoded_to_kaldis_values(method):
    expected = dict(read_ark(GOLDEN / f"mfcc30_cm{method}.txt"))
    for utt, matrix in read_ark(GOLDEN / f"mfcc30_cm{method}.ark"):
        np.testing.assert_allclose(matrix, expected[utt], rtol=0, atol=7e-6)  # half of the text's last digit is 5e-6
    assert utt == "s2-u0"


@pytest.mark.parametrize("rows, token", [(1, b"CM2 "), (8, b"CM2 "), (9, b"CM ")])
def test_method_1_takes_two_bytes_for_few_rows(rows, token):
    assert encode(RNG.standard_normal((rows, 3), dtype=np.float32), 1).startswith(token)


@pytest.mark.parametrize("shape", [(0, 0), (0, 3), (3, 0)])
@pytest.mark.parametrize("method", METHODS)
def test_a_matrix_of_no_values_is_the_same_in_all_methods(shape, method):
    assert encode(np.empty(shape, dtype=np.float32), method) == b"CM " + bytes(16)
    assert decoded(np.empty(shape, dtype=np.float32), method).shape == (0, 0)


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 9, 30])
@pytest.mark.parametrize("value", [0.0, 1.0, -3.5, 1e30, -1e30, 1e-40])
@pytest.mark.parametrize("method", AUTOMATIC)
def test_a_constant_matrix_stays_what_it_was(rows, value, method):
    """Its range is made up: from the value on, as wide as the value is large."""
    matrix = np.full((rows, 3), value, dtype=np.float32)
    np.testing.assert_allclose(decoded(matrix, method), matrix, rtol=1e-4, atol=2e-5)
    header = encode(matrix, method)[:20]
    assert header == kaldiios(matrix, method)[2:22]


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 7])
def test_few_rows_and_constant_columns_are_near_what_they_were(rows):
    matrix = np.stack([np.zeros(rows), np.arange(rows), -np.arange(rows) * 7.5, np.full(rows, 3.25)], axis=1).astype(np.float32)
    for method, share in ((2, 0.02), (3, 1 / 65535), (5, 1 / 255)):
        np.testing.assert_allclose(decoded(matrix, method), matrix, rtol=0, atol=share * max(1, np.ptp(matrix)))


@pytest.mark.parametrize("method", AUTOMATIC)
def test_a_span_beyond_float32_is_refused(method):
    assert "their span is beyond" in failure(encode, np.float32([[-3e38, 3e38]]), method)
    assert "their span is beyond" in failure(encode, np.float32([[3e38, 3e38]]), method)


@pytest.mark.parametrize("method, least, greatest", [(4, -32768, 32767), (6, 0, 255), (7, 0, 1)])
def test_values_within_a_fixed_range_are_taken_and_kept(method, least, greatest):
    matrix = np.float32([[least, greatest, 1]])
    check_range(matrix, method)
    np.testing.assert_array_equal(decoded(matrix, method), matrix)
    for beyond in (least - 1, greatest + 1):
        assert f"method {method} keeps {least} to {greatest}" in failure(check_range, np.float32([[beyond, 1]]), method)


NUMBERS = st.floats(-(2.0**100), 2.0**100, width=32)
MATRICES = any_arrays(np.float32, st.tuples(st.integers(1, 40), st.integers(1, 5)), elements=NUMBERS)


@settings(max_examples=100, deadline=None)
@given(MATRICES)
def test_any_matrix_is_as_near_as_its_bytes_allow_and_read_alike_by_kaldiio(matrix):
    span = float(np.ptp(matrix)) or 1 + abs(float(matrix[0, 0]))
    for method, share in ((2, 1 / 125), (3, 1 / 65535), (5, 1 / 255)):  # 63 steps lie between the upper quartile and the greatest
        found = decoded(matrix, method)
        np.testing.assert_allclose(found, matrix, rtol=1e-6, atol=share * span + 1e-40)
        theirs = kaldiio.matio.read_kaldi(io.BytesIO(b"\0B" + encode(matrix, method)))
        np.testing.assert_allclose(found, theirs, rtol=1e-6, atol=1e-6 * span + 1e-40)


@settings(max_examples=100, deadline=None)
@given(MATRICES)
def test_any_matrix_of_kaldiios_making_is_read_as_it_reads_it(matrix):
    span = float(np.ptp(matrix)) or 1 + abs(float(matrix[0, 0]))
    for method in (2, 3, 5):
        with np.errstate(all="ignore"):
            data = kaldiios(matrix, method)
            theirs = kaldiio.matio.read_kaldi(io.BytesIO(data))
        form, shape, _ = look(data, 0, "array")
        np.testing.assert_allclose(read(data, 0, form, shape), theirs, rtol=1e-6, atol=1e-6 * span + 1e-40)


@pytest.mark.parametrize("method", (2, 3, 5))
def test_features_are_encoded_nearly_as_kaldiio_does(method):
    """kaldiio rounds elsewhere: a code may be the next one."""
    matrix = (RNG.standard_normal((200, 20)) * RNG.uniform(0.1, 30, 20)).astype(np.float32)
    ours, theirs = b"\0B" + encode(matrix, method), kaldiios(matrix, method)
    assert len(ours) == len(theirs)
    start = 5 + (method != 2) + 16
    kind = np.uint16 if method == 3 else np.uint8
    assert ours[:start] == theirs[:start]
    if method != 2:
        assert np.abs(np.frombuffer(ours, kind, offset=start).astype(int) - np.frombuffer(theirs, kind, offset=start)).max() <= 1
