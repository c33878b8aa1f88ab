"""pytorch/data/audio.py: recordings come as samples in the range of 16-bit integers, or not at all."""

import os
import struct
import sys

import numpy as np
import pytest
import scipy.io.wavfile
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from sounds import tone, wav_stream, write_m4a
from support import failure as failure_of

from pytorch.data.audio import at_rate, decode, open_audio, read_audio
from pytorch.data.riff import pcm_16_header, riff_of
from pytorch.data.source import bytes_source, file_source

RATE = 16000
INTEGERS = np.random.default_rng(0).integers(-32768, 32768, 800).astype(np.int16)
INTEGERS[:2] = [-32768, 32767]
TONE = (8000 * np.sin(2 * np.pi * 200 * np.arange(8000) / RATE)).astype(np.int16)


def failure(path, rate=RATE, **options):
    message = failure_of(read_audio, path, rate, **options)
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


@pytest.mark.parametrize("ending", ["aiff", "au", "w64", "caf"])
def test_formats_whose_cut_off_files_would_pass_for_whole_are_refused(tmp_path, ending):
    soundfile.write(tmp_path / f"x.{ending}", INTEGERS, RATE, subtype="PCM_16")
    expected = f"{ending.upper()} files are not read, WAV, WAVEX, RF64, FLAC, OGG, MP3 and M4A are; convert it to WAV or FLAC"
    assert failure(tmp_path / f"x.{ending}") == expected


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


@pytest.mark.parametrize("riff, data", [(0, 0), (36, 0), (0xFFFFFFFF, 0), (0, 0xFFFFFFFF)])
@pytest.mark.parametrize("tag", [1, 3])
def test_a_stream_that_announces_no_samples_is_read_to_its_end_as_kaldi_does(tmp_path, riff, data, tag):
    samples = INTEGERS if tag == 1 else (INTEGERS / 32768).astype(np.float32)
    path = tmp_path / "x.wav"
    path.write_bytes(wav_stream(samples, riff, data, tag=tag))
    np.testing.assert_array_equal(read_audio(path, RATE), INTEGERS.astype(np.float32))


def test_no_samples_and_a_list_behind_them_are_no_stream(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav_of(FMT, chunk(b"data", b""), chunk(b"LIST", b"INFOISFT\x06\0\0\0abcdef")))
    assert failure(path) == "no samples in it"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "PCM_32", "PCM_U8", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
@pytest.mark.parametrize("kind, endian", [("WAV", "BIG"), ("WAVEX", "FILE"), ("RF64", "FILE")])
def test_big_endian_extensible_and_64_bit_wav_hold_the_samples_of_plain_wav(tmp_path, kind, endian, subtype):
    sound = INTEGERS / 32768
    soundfile.write(tmp_path / "plain.wav", sound, RATE, subtype=subtype)
    soundfile.write(tmp_path / "x.wav", sound, RATE, subtype=subtype, format=kind, endian=endian)
    np.testing.assert_array_equal(read_audio(tmp_path / "x.wav", RATE), read_audio(tmp_path / "plain.wav", RATE))


@pytest.mark.parametrize("subtype", ["IMA_ADPCM", "MS_ADPCM", "GSM610", "G721_32", "NMS_ADPCM_16", "NMS_ADPCM_24", "NMS_ADPCM_32"])
def test_the_rarer_kinds_of_wav_are_read_as_soundfile_reads_them(tmp_path, subtype):
    path = tmp_path / "x.wav"
    soundfile.write(path, TONE, RATE, subtype=subtype)
    with soundfile.SoundFile(path) as file:
        expected = file.read(file.frames, dtype="float32")
    np.testing.assert_array_equal(read_audio(path, RATE), expected * 32768)


def test_24_bit_samples_lose_nothing(tmp_path):
    deep = np.random.default_rng(1).integers(-(2**23), 2**23, 500).astype(np.int32)
    for ending in ("wav", "flac"):
        soundfile.write(tmp_path / f"x.{ending}", deep * 256, RATE, subtype="PCM_24")
        np.testing.assert_array_equal(read_audio(tmp_path / f"x.{ending}", RATE), deep / 256)


@given(st.integers(1, 9), st.integers(1, 2**31 - 1), st.lists(st.binary(min_size=4, max_size=9), max_size=3), st.sampled_from([b"RIFF", b"RIFX"]), st.data())
def test_any_header_of_16_bit_wav_is_understood(channels, rate, others, form, data):
    order = "<" if form == b"RIFF" else ">"
    samples = data.draw(st.binary(max_size=40).map(lambda some: some[: len(some) // (2 * channels) * 2 * channels]))
    fmt = struct.pack(order + "HHIIHH", 1, channels, rate, 0, 2 * channels, 16)
    chunks = [(b"fmt ", fmt), *((b"x" + some[:3], some[4:]) for some in others), (b"data", samples)]
    body = b"".join(name + struct.pack(order + "I", len(some)) + some + b"\0" * (len(some) % 2) for name, some in chunks)
    content = form + struct.pack(order + "I", len(body) + 4) + b"WAVE" + body
    with open_audio(bytes_source("x", content)) as audio:
        assert (audio.rate, audio.channels, audio.frames) == (rate, channels, len(samples) // (2 * channels))
        found = [block.astype(order + "i2").tobytes() for block in audio.blocks()]
    assert b"".join(found) == samples


def test_our_header_is_what_scipy_and_soundfile_read(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(pcm_16_header(8000, INTEGERS.nbytes) + INTEGERS.tobytes())
    rate, samples = scipy.io.wavfile.read(path)
    assert rate == 8000
    np.testing.assert_array_equal(samples, INTEGERS)
    assert soundfile.info(path).frames == 800


def test_headers_without_end_are_given_up():
    endless = b"RIFF" + bytes(4) + b"WAVE" + b"abcd\0\0\0\0" * 2000
    assert riff_of(lambda place, num: endless[place : place + num]) is None


@pytest.mark.parametrize("ending, subtype", [("wav", "PCM_16"), ("wav", "PCM_24"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("flac", "PCM_24")])
def test_a_piece_is_cut_out_of_the_whole(tmp_path, ending, subtype):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, np.tile(INTEGERS, 50) / 32768, RATE, subtype=subtype)
    with file_source(path) as source, open_audio(source) as audio:
        assert audio.seekable
        whole = decode(audio)
        for start, num in [(0, 10), (39990, 10), (17, 20000), (39995, 10), (40000, 5), (50000, 1)]:
            np.testing.assert_array_equal(audio.read(start, num)[:, 0], whole[start : start + num])


@pytest.mark.parametrize("ending, subtype", [("wav", "PCM_16"), ("wav", "FLOAT"), ("flac", "PCM_16"), ("ogg", "VORBIS"), ("mp3", "MPEG_LAYER_III")])
def test_a_long_recording_is_the_same_block_by_block(tmp_path, monkeypatch, ending, subtype):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, np.tile(TONE, 2) / 32768, RATE, subtype=subtype)
    whole = read_audio(path, RATE)
    monkeypatch.setattr("pytorch.data.audio._BLOCK", 5000)
    np.testing.assert_array_equal(read_audio(path, RATE), whole)


def test_a_path_beyond_ascii_is_read(tmp_path):
    path = tmp_path / "ü 愛.wav"
    soundfile.write(path, INTEGERS, RATE)
    assert len(read_audio(str(path), RATE)) == 800


# ---- channels and rates


STEREO = np.stack([INTEGERS, INTEGERS[::-1]], axis=1)


@pytest.mark.parametrize("ending, subtype", [("wav", "PCM_16"), ("wav", "PCM_24"), ("flac", "PCM_16")])
def test_one_of_several_channels_is_taken(tmp_path, ending, subtype):
    path = tmp_path / f"x.{ending}"
    soundfile.write(path, STEREO, RATE, subtype=subtype)
    np.testing.assert_array_equal(read_audio(path, RATE, channel=0), INTEGERS)
    np.testing.assert_array_equal(read_audio(path, RATE, channel=1), INTEGERS[::-1])


def test_a_channel_that_is_not_there_is_refused(tmp_path):
    path = tmp_path / "x.wav"
    soundfile.write(path, STEREO, RATE)
    assert failure(path, channel=2) == "no channel 2, it has 2, 0 is the first"


@pytest.mark.parametrize("old, new", [(8000, 16000), (44100, 16000), (48000, 8000), (16000, 22050)])
def test_another_rate_is_converted_as_torchaudio_does(tmp_path, old, new):
    import torch
    import torchaudio

    path = tmp_path / "x.wav"
    sound = tone(0.5, hz=440, rate=old)
    soundfile.write(path, sound, old)
    found = read_audio(path, new, resample=True)
    assert found.dtype == np.float32
    kaiser_best = {"lowpass_filter_width": 64, "rolloff": 0.9475937167399596, "resampling_method": "sinc_interp_kaiser", "beta": 14.769656459379492}
    expected = torchaudio.functional.resample(torch.from_numpy(sound.astype(np.float64)), old, new, **kaiser_best)
    np.testing.assert_allclose(found, expected.numpy(), rtol=0, atol=0.02)
    middle = slice(new // 8, -new // 8)
    np.testing.assert_allclose(found[middle], tone(0.5, hz=440, rate=new)[middle], rtol=0, atol=3)


@pytest.mark.parametrize("num", [1, 159, 160, 161, 4801])
def test_a_converted_recording_has_the_length_its_rate_asks_for(num):
    assert len(at_rate(np.zeros(num, dtype=np.float32), 8000, 16000)) == 2 * num
    assert len(at_rate(np.zeros(num, dtype=np.float32), 48000, 16000)) == -(-num // 3)


@pytest.mark.parametrize("old, new", [(44101, 16000), (16000, 22051), (16000, 8000.5)])
def test_rates_without_a_common_measure_are_refused(tmp_path, old, new):
    path = tmp_path / "x.wav"
    soundfile.write(path, INTEGERS, old)
    expected = f"{old} Hz cannot be converted to {new:g} Hz here, their ratio takes too long a filter; convert it with sox first"
    assert failure(path, new, resample=True) == expected


# ---- M4A and AAC


@pytest.mark.parametrize("kind, options", [("ipod", {}), ("ipod", {"movflags": "+faststart"}), ("mp4", {"movflags": "frag_keyframe+empty_moov"}), ("adts", {})])
def test_aac_has_the_scale_of_all(tmp_path, kind, options):
    path = tmp_path / "x.m4a"
    write_m4a(path, TONE, kind=kind, **options)
    samples = read_audio(path, RATE)
    assert samples.dtype == np.float32
    assert len(TONE) <= len(samples) <= len(TONE) + 2048
    assert np.sqrt(np.square(samples[3000:6000]).mean()) == pytest.approx(8000 / np.sqrt(2), rel=0.05)


def test_lossless_m4a_is_exact(tmp_path):
    path = tmp_path / "x.m4a"
    write_m4a(path, np.tile(INTEGERS, 10), codec="alac")
    np.testing.assert_array_equal(read_audio(path, RATE), np.tile(INTEGERS, 10))


def test_what_the_decoder_adds_behind_the_end_of_m4a_is_left_out(tmp_path):
    path = tmp_path / "x.m4a"
    write_m4a(path, TONE)
    with file_source(path) as source, open_audio(source) as audio:
        announced = audio.frames
    assert announced == len(TONE) + 1024  # this encoder's lead, and no padding
    assert len(read_audio(path, RATE)) == announced


@pytest.mark.parametrize("options", [{}, {"movflags": "+faststart"}, {"movflags": "frag_keyframe+empty_moov"}])
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_a_cut_m4a_is_refused(tmp_path, options, share):
    path = tmp_path / "x.m4a"
    write_m4a(path, np.tile(INTEGERS, 20), **options)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    assert failure(path).startswith(("cut off, ", "not readable as audio ("))


def test_an_m4a_without_part_of_its_sound_is_refused(tmp_path):
    """A file whose boxes are whole but whose index announces sound that is not there."""
    path = tmp_path / "x.m4a"
    write_m4a(path, np.tile(INTEGERS, 20), movflags="+faststart")
    content = path.read_bytes()
    data = content.index(b"mdat") - 4
    half = (len(content) - data) // 2
    path.write_bytes(content[:data] + struct.pack(">I", half) + content[data + 4 : data + half])
    assert failure(path).startswith(("cut off, ", "not readable as audio ("))


@pytest.mark.parametrize("missing", [1, 5, 100])
def test_a_cut_aac_is_refused(tmp_path, missing):
    path = tmp_path / "x.aac"
    write_m4a(path, TONE, kind="adts")
    path.write_bytes(path.read_bytes()[:-missing])
    assert failure(path) == "cut off inside its last frame; copy or make it anew"


def test_an_aac_with_something_else_in_it_is_refused(tmp_path):
    path = tmp_path / "x.aac"
    write_m4a(path, TONE, kind="adts")
    path.write_bytes(path.read_bytes() + b"something else")
    assert failure(path).startswith("not readable as audio (no AAC frame where one was expected, at byte ")


def test_without_pyav_an_m4a_comes_with_the_remedy(tmp_path, monkeypatch):
    path = tmp_path / "x.m4a"
    write_m4a(path, TONE)
    monkeypatch.setitem(sys.modules, "av", None)
    remedy = f"install it with: {sys.executable} -m pip install av==18.1.0"
    assert failure(path) == f"M4A and AAC files are read with PyAV, which this Python lacks; {remedy}"


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


def test_a_pipe_of_the_file_system_is_refused(tmp_path):
    os.mkfifo(tmp_path / "x.wav")
    assert failure(tmp_path / "x.wav") == "not readable as audio (not a file)"


def test_a_flac_stream_of_unknown_length_is_refused(tmp_path):
    path = tmp_path / "x.flac"
    soundfile.write(path, np.tile(INTEGERS, 20), RATE)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # the number of samples in STREAMINFO, as an encoder leaves it that writes to a pipe
    content[22:26] = bytes(4)
    path.write_bytes(content)
    assert failure(path).startswith("its header does not say how long it is, so a cut-off one could not be told; ")


def test_a_flac_that_announces_more_than_memory_holds_is_refused(tmp_path):
    path = tmp_path / "x.flac"
    soundfile.write(path, np.tile(INTEGERS, 20), RATE)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert failure(path).startswith(("cut off, ", "not readable as audio ("))


def test_an_mp3_that_announces_more_than_its_bytes_can_hold_is_refused(tmp_path):
    path = tmp_path / "x.mp3"
    soundfile.write(path, np.tile(TONE, 5) / 32768, RATE)
    content = bytearray(path.read_bytes())
    place = max(content.find(b"Xing"), content.find(b"Info"))
    content[place + 8 : place + 12] = (10**6).to_bytes(4, "big")  # frames
    path.write_bytes(content)
    assert failure(path).startswith("cut off, 57")


def test_a_stream_that_ends_inside_a_sample_is_refused(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(wav_stream(INTEGERS)[:-1])
    assert failure(path) == "cut off, it ends inside a sample; copy or make it anew"


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("kind, endian", [("WAV", "BIG"), ("WAVEX", "FILE"), ("RF64", "FILE")])
@pytest.mark.parametrize("missing", [1, 4, 500])
def test_big_endian_extensible_and_64_bit_wav_are_refused_when_cut(tmp_path, kind, endian, subtype, missing):
    path = tmp_path / "x.wav"
    soundfile.write(path, INTEGERS, RATE, subtype=subtype, format=kind, endian=endian)
    path.write_bytes(path.read_bytes()[:-missing])
    assert failure(path).startswith("cut off, ")


def test_samples_without_a_header_are_refused(tmp_path):
    path = tmp_path / "x.raw"
    path.write_bytes(INTEGERS.tobytes())
    assert failure(path) == "not readable as audio (samplerate must be specified)"


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
    assert failure(path) == "44100 Hz, 16000 Hz expected; convert it with --resample true, or set --sample-frequency where a program has it"
    assert len(read_audio(path, 44100.0)) == 800


@pytest.mark.parametrize("channels", [2, 6])
def test_several_channels_are_refused(tmp_path, channels):
    path = tmp_path / "x.wav"
    soundfile.write(path, np.stack([INTEGERS] * channels, axis=1), RATE)
    assert failure(path) == f"{channels} channels, one expected; say which to take with --channel, 0 is the first"


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
