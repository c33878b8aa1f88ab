"""pytorch/data/audio.py: recordings come as samples in the range of 16-bit integers, or not at all."""

import struct

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile

from pytorch.data.audio import read_audio
from pytorch.program import Fail

RATE = 16000
INTEGERS = np.random.default_rng(0).integers(-32768, 32768, 800).astype(np.int16)
INTEGERS[:2] = [-32768, 32767]
TONE = (8000 * np.sin(2 * np.pi * 200 * np.arange(8000) / RATE)).astype(np.int16)


def failure(path, rate=RATE):
    with pytest.raises(Fail) as caught:
        read_audio(path, rate)
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    return message.removeprefix(f"{path}: ")


def chunk(name, content):
    return name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2)


def wav_of(*chunks, form=b"RIFF"):
    body = b"WAVE" + b"".join(chunks)
    return form + struct.pack("<I", len(body)) + body


FMT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
PCM_GUID = b"\x01\x00\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71"
FMT_EXTENSIBLE = chunk(b"fmt ", struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 2 * RATE, 2, 16, 22, 16, 4) + PCM_GUID)
DATA = chunk(b"data", INTEGERS.tobytes())
HEADERS = {
    "plain": wav_of(FMT, DATA),
    "odd LIST before": wav_of(chunk(b"LIST", b"INFOISFT\x05\0\0\0abcde"), FMT, DATA),
    "odd LIST between": wav_of(FMT, chunk(b"LIST", b"INFOISFT\x05\0\0\0abcde"), DATA),
    "LIST behind": wav_of(FMT, DATA, chunk(b"LIST", b"INFOISFT\x06\0\0\0abcdef")),
    "fact and JUNK": wav_of(chunk(b"JUNK", b"\0" * 27), FMT, chunk(b"fact", struct.pack("<I", 800)), DATA),
    "WAVEX": wav_of(FMT_EXTENSIBLE, DATA),
    "WAVEX with odd LIST": wav_of(FMT_EXTENSIBLE, chunk(b"LIST", b"INFOISFT\x05\0\0\0abcde"), DATA),
}


# ---- the scale


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_16_bit_samples_come_as_they_are(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, INTEGERS, RATE, subtype="PCM_16")
    samples = read_audio(path, RATE)
    assert samples.dtype == np.float32
    assert samples.shape == (800,)
    np.testing.assert_array_equal(samples, INTEGERS.astype(np.float32))


@pytest.mark.parametrize("ending", ["aiff", "au", "w64", "rf64", "caf"])
def test_formats_whose_cut_off_files_would_pass_for_whole_are_refused(tmp_path, ending):
    soundfile.write(tmp_path / f"x.{ending}", INTEGERS, RATE, subtype="PCM_16")
    with pytest.raises(Fail, match="files are not read, WAV, WAVEX, FLAC, OGG, MP3 are; convert it to WAV or FLAC"):
        read_audio(tmp_path / f"x.{ending}", RATE)


def test_samples_equal_scipys(tmp_path, golden):
    for path in [golden / "s0-u1.wav", golden / "s2-u0.wav"]:
        rate, expected = scipy.io.wavfile.read(path)
        np.testing.assert_array_equal(read_audio(path, rate), expected.astype(np.float32))


@pytest.mark.parametrize("ending, subtype", [("wav", "PCM_24"), ("wav", "PCM_32"), ("flac", "PCM_24")])
def test_deeper_integers_keep_their_lower_bits_as_fractions(tmp_path, ending, subtype):
    path = tmp_path / f"x.{ending}"
    deep = INTEGERS.astype(np.int32) * 65536 + 0x4000  # a quarter of a 16-bit step
    soundfile.write(path, deep, RATE, subtype=subtype)
    np.testing.assert_allclose(read_audio(path, RATE), INTEGERS + 0.25, rtol=0, atol=2e-3)


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_float_samples_are_scaled_from_1_to_32768(tmp_path, subtype):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.array([-1.0, -0.5, 0.0, 0.25, 1.0, 1.5]), RATE, subtype=subtype)
    np.testing.assert_array_equal(read_audio(path, RATE), [-32768, -16384, 0, 8192, 32768, 49152])


def test_8_bit_samples_are_scaled(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.array([-1.0, 0.0, 0.5]), RATE, subtype="PCM_U8")
    np.testing.assert_array_equal(read_audio(path, RATE), [-32768, 0, 16384])


@pytest.mark.parametrize("ending, subtype", [("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", "MPEG_LAYER_III"), ("wav", "ULAW"), ("wav", "ALAW")])
def test_lossy_formats_have_the_same_scale(tmp_path, ending, subtype):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, TONE, RATE, subtype=subtype)
    samples = read_audio(path, RATE)
    assert len(samples) >= len(TONE) - 1
    loudness = np.sqrt(np.square(samples[2000:6000]).mean())
    assert loudness == pytest.approx(8000 / np.sqrt(2), rel=0.05)


@pytest.mark.parametrize("header", HEADERS)
def test_headers_of_all_kinds_are_read(tmp_path, header):
    path = tmp_path / "x.wav"
    path.write_bytes(HEADERS[header])
    np.testing.assert_array_equal(read_audio(path, RATE), INTEGERS.astype(np.float32))


@pytest.mark.parametrize("size", [0x7FFFF000, 0xFFFFFFFF])
def test_a_stream_whose_header_leaves_the_length_open_is_read_to_its_end(tmp_path, size):
    path = tmp_path / "x.wav"
    path.write_bytes(b"RIFF" + struct.pack("<I", min(size + 36, 0xFFFFFFFF)) + b"WAVE" + FMT + b"data" + struct.pack("<I", size) + INTEGERS.tobytes())
    np.testing.assert_array_equal(read_audio(path, RATE), INTEGERS.astype(np.float32))


def test_a_path_beyond_ascii_is_read(tmp_path):
    path = tmp_path / "ü 愛.wav"
    soundfile.write(path, INTEGERS, RATE)
    assert len(read_audio(str(path), RATE)) == 800


# ---- what is refused


def test_a_missing_file_is_refused(tmp_path):
    assert failure(tmp_path / "x.wav") == "No such file or directory"


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "x.wav").touch()
    assert failure(tmp_path / "x.wav") == "empty file"


def test_a_folder_is_refused(tmp_path):
    assert failure(tmp_path).startswith("not readable as audio (")


GARBAGE = [b"no sound", b"RIFF", b"RIFF\0\0\0\0WAVE", b"OggS" + b"\0" * 100, b"fLaC" + b"\xff" * 100, b"\0" * 5000, bytes(range(256)) * 20]


@pytest.mark.parametrize("content", GARBAGE)
@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "sph"])
def test_garbage_is_refused(tmp_path, content, ending):
    path = tmp_path / f"x.{ending}"
    path.write_bytes(content)
    assert failure(path).startswith("not readable as audio (")


def test_samples_without_a_header_are_refused(tmp_path):
    path = tmp_path / "x.raw"
    path.write_bytes(INTEGERS.tobytes())
    assert failure(path) == "not readable as audio (samplerate must be specified)"


def test_a_format_without_seeking_is_refused(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, TONE, RATE, subtype="GSM610")
    assert failure(path).startswith("not readable as audio (")


@pytest.mark.parametrize("header", HEADERS)
def test_a_wav_cut_at_any_byte_is_refused(tmp_path, header):
    path = tmp_path / "x.wav"
    content = HEADERS[header]
    data = content.index(b"data") + 8
    for cut in [*range(1, data + 9), data + 777, data + 1598, data + 1599]:
        path.write_bytes(content[:cut])
        message = failure(path)
        if cut >= data:
            assert message == f"cut off, {(cut - data) // 2} of 800 samples are there; copy or make it anew"
        else:
            assert message == "no samples in it" or message.startswith("not readable as audio ("), cut


@pytest.mark.parametrize("subtype, width", [("PCM_24", 3), ("FLOAT", 4), ("ULAW", 1)])
def test_a_cut_wav_of_other_samples_is_refused(tmp_path, subtype, width):
    path = tmp_path / "x.wav"
    soundfile.write(path, INTEGERS, RATE, subtype=subtype)
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"data") + 8 + 500 * width])
    assert failure(path) == "cut off, 500 of 800 samples are there; copy or make it anew"


@pytest.mark.parametrize("ending, subtype", [("flac", "PCM_16"), ("ogg", "VORBIS"), ("ogg", "OPUS"), ("mp3", "MPEG_LAYER_III")])
@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9, 0.99])
def test_a_cut_compressed_file_is_refused(tmp_path, ending, subtype, share):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, np.tile(INTEGERS, 20), RATE, subtype=subtype)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert failure(path).startswith(("not readable as audio (", "cut off, "))


@pytest.mark.parametrize("missing", [1, 2, 100])
def test_an_ogg_file_without_its_last_bytes_is_refused(tmp_path, missing):
    path = tmp_path / "x.ogg"
    soundfile.write(path, np.tile(INTEGERS, 20), RATE, subtype="VORBIS")
    path.write_bytes(path.read_bytes()[:-missing])
    assert failure(path) == "cut off, the end of the Ogg stream is missing; copy or make it anew"


def test_an_ogg_file_without_its_last_page_is_refused(tmp_path):
    path = tmp_path / "x.ogg"
    soundfile.write(path, np.tile(INTEGERS, 200), RATE, subtype="VORBIS")
    content = path.read_bytes()
    path.write_bytes(content[: content.rindex(b"OggS")])
    assert failure(path) == "cut off, the end of the Ogg stream is missing; copy or make it anew"


@pytest.mark.parametrize("ending", ["wav", "flac"])
def test_another_rate_is_refused(tmp_path, ending):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, INTEGERS, 44100)
    assert failure(path) == "44100 Hz, 16000 Hz expected; resample the recording, or set --sample-frequency"
    assert len(read_audio(path, 44100.0)) == 800


@pytest.mark.parametrize("channels", [2, 6])
def test_several_channels_are_refused(tmp_path, channels):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.stack([INTEGERS] * channels, axis=1), RATE)
    assert failure(path) == f"{channels} channels, one expected; take one channel first"


@pytest.mark.parametrize("subtype", ["PCM_16", "FLOAT"])
def test_no_samples_are_refused(tmp_path, subtype):
    path = tmp_path / "x.wav"
    soundfile.write(path, INTEGERS[:0], RATE, subtype=subtype)
    assert failure(path) == "no samples in it"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_float_samples_that_are_not_finite_are_refused(tmp_path, bad):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.array([0.0, bad, 0.5], dtype=np.float32), RATE, subtype="FLOAT")
    assert failure(path) == "samples that are not finite"
