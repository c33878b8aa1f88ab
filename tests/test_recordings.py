"""pytorch/data/recordings.py and wav_ark.py: the sound of utterances, out of files, archives and commands, whole or in segments."""

import os
import pickle
import struct
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from sounds import NOISE, RATE, put_first, tone, wav_stream, write_m4a, write_program
from support import failure

from pytorch.data.data_dir import DataDir, write_data_dir, write_table
from pytorch.data.recordings import Recordings, add_audio_options, audio_options_of
from pytorch.data.source import CutOff, NoSamples
from pytorch.data.wav_ark import WavArkReader, WavArkWriter
from pytorch.program import Fail, Parser

LONG = np.concatenate([NOISE, tone(1), NOISE[::-1], tone(0.5, hz=400)])


def data_of(folder, wav_scp, segments=None):
    """A data directory of one speaker; segments: {utt: "rec start end"}"""
    utts = segments or wav_scp
    write_data_dir(folder, wav_scp, dict.fromkeys(utts, "spk"), **({"segments": segments} if segments else {}))
    return DataDir(folder)


def recordings_of(folder, wav_scp, segments=None, rate=RATE, **options):
    return Recordings(data_of(folder, wav_scp, segments), rate, **options)


def in_file(folder, ending):
    """LONG as an audio file -> its path, and what soundfile or PyAV's own inverse says is in it"""
    path = folder / f"long.{ending}"
    if ending == "m4a":
        write_m4a(path, LONG, codec="alac")
        return path, LONG
    soundfile.write(path, LONG, RATE)
    exact = ending in ("wav", "flac")
    with soundfile.SoundFile(path) as file:
        return path, file.read(dtype="int16" if exact else "float32") * (1 if exact else np.float32(32768))


def in_ark(folder, kind):
    """LONG in an archive, behind something else -> its entry"""
    path, more = folder / f"{kind}.ark", {"first": (RATE, NOISE), "long": (RATE, LONG)}
    if kind == "kaldiio":
        kaldiio.save_ark(str(path), more, scp=str(folder / "kaldiio.scp"))
    elif kind.startswith("kaldiio"):
        kind_of = {"format": kind.removeprefix("kaldiio-"), "subtype": "PCM_16"}
        kaldiio.save_ark(str(path), more, scp=str(folder / "kaldiio.scp"), write_function="soundfile", write_kwargs=kind_of)
    else:
        with WavArkWriter(path, folder / "kaldiio.scp", RATE, kind) as ark:
            ark.write("first", NOISE)
            ark.write("long", LONG)
    return (folder / "kaldiio.scp").read_text().split()[3]


ARKS = ["pcm", "flac", "kaldiio", "kaldiio-flac", "kaldiio-wav"]


# ---- whole recordings


@pytest.mark.parametrize("ending", ["wav", "flac", "ogg", "mp3", "m4a"])
def test_a_file_is_read(tmp_path, ending):
    path, sound = in_file(tmp_path, ending)
    recordings = recordings_of(tmp_path / "data", {"a": path})
    np.testing.assert_array_equal(recordings.read("a"), sound)
    assert recordings.read("a").dtype == np.float32
    assert recordings.samples("a") == len(sound)
    assert recordings.seconds("a") == len(sound) / RATE


@pytest.mark.parametrize("kind", ARKS)
def test_a_place_in_an_archive_is_read(tmp_path, kind):
    recordings = recordings_of(tmp_path / "data", {"a": in_ark(tmp_path, kind)})
    np.testing.assert_array_equal(recordings.read("a"), LONG)
    assert recordings.samples("a") == len(LONG)


@pytest.mark.parametrize("sizes", [{}, {"riff": 0, "data": 0}, {"riff": 0x7FFFF024, "data": 0x7FFFF000}, {"riff": 36 + LONG.nbytes, "data": LONG.nbytes}])
def test_a_command_is_read(tmp_path, sizes):
    (tmp_path / "a b.wav").write_bytes(wav_stream(LONG, **sizes))
    recordings = recordings_of(tmp_path / "data", {"a": f"cat '{tmp_path}/a b.wav' | cat - |"})
    np.testing.assert_array_equal(recordings.read("a"), LONG)
    assert recordings.samples("a") == len(LONG)


def test_float_samples_come_through_a_command(tmp_path):
    (tmp_path / "x.wav").write_bytes(wav_stream((LONG / 32768).astype(np.float32), 0, 0, tag=3))
    np.testing.assert_array_equal(recordings_of(tmp_path / "data", {"a": f"cat {tmp_path}/x.wav |"}).read("a"), LONG)


def test_a_program_of_ones_own_is_run_where_it_is_allowed(tmp_path, monkeypatch):
    put_first(monkeypatch, tmp_path / "bin")
    (tmp_path / "x.wav").write_bytes(wav_stream(LONG))
    write_program(tmp_path / "bin", "mine", "import sys; sys.stdout.buffer.write(open(sys.argv[1], 'rb').read())")
    entry = {"a": f"mine {tmp_path}/x.wav |"}
    np.testing.assert_array_equal(recordings_of(tmp_path / "data", entry, allow_cmd=("mine",)).read("a"), LONG)
    assert failure(recordings_of(tmp_path / "other", entry).read, "a").endswith("; if you trust it, pass --allow-cmd mine")


def test_what_cannot_be_read_comes_with_file_line_and_id(tmp_path):
    soundfile.write(tmp_path / "x.wav", NOISE, RATE)
    cut = tmp_path / "cut.wav"
    cut.write_bytes((tmp_path / "x.wav").read_bytes()[:-2])
    (tmp_path / "empty.wav").touch()
    entries = {
        "a": tmp_path / "x.wav",
        "b": cut,
        "c": tmp_path / "no.wav",
        "d": f"cat {tmp_path}/no.wav |",
        "e": f"{tmp_path}/no.ark:7",
        "f": f"{cut}:9999",
        "g": "| cat x",
        "h": tmp_path / "empty.wav",
        "i": f"cat {cut} |",
    }
    recordings = recordings_of(tmp_path / "data", entries)
    expected = {
        "b": f":2: 'b': {cut}: cut off, 799 of 800 samples are there; copy or make it anew",
        "c": f":3: 'c': {tmp_path}/no.wav: No such file or directory",
        "d": f":4: 'd': cat {tmp_path}/no.wav |: cat ended with status 1: cat: {tmp_path}/no.wav: No such file or directory",
        "e": f":5: 'e': {tmp_path}/no.ark: No such file or directory",
        "f": f":6: 'f': {cut}, offset 9999: the archive ends before, at 1642 bytes; make it anew",
        "g": ":7: 'g': | cat x: a command that is written to; one that is read from ends in |",
        "h": f":8: 'h': {tmp_path}/empty.wav: empty file",
        "i": f":9: 'i': cat {cut} |: cut off, 799 of 800 samples are there; copy or make it anew",
    }
    for utt, message in expected.items():
        assert failure(recordings.read, utt) == f"{tmp_path}/data/wav.scp{message}"
        assert failure(recordings.samples, utt) == f"{tmp_path}/data/wav.scp{message}"
    for utt, kind in [("b", CutOff), ("f", CutOff), ("h", NoSamples), ("i", CutOff)]:
        with pytest.raises(kind):
            recordings.read(utt)
    assert recordings.place("b") == f"{tmp_path}/data/wav.scp:2: 'b': {cut}"


def test_another_rate_is_refused_or_converted_and_counted(tmp_path):
    soundfile.write(tmp_path / "x.wav", tone(0.5, rate=8000), 8000)
    soundfile.write(tmp_path / "y.wav", tone(0.5), RATE)
    entries = {"a": tmp_path / "x.wav", "b": tmp_path / "y.wav"}
    strict = recordings_of(tmp_path / "data", entries)
    remedy = "convert it with --resample true, or set --sample-frequency where a program has it"
    expected = f"{tmp_path}/data/wav.scp:1: 'a': {tmp_path}/x.wav: 8000 Hz, 16000 Hz expected; {remedy}"
    assert failure(strict.read, "a") == failure(strict.samples, "a") == expected
    lenient = Recordings(strict.data, RATE, resample=True)
    assert len(lenient.read("a")) == lenient.samples("a") == len(lenient.read("b")) == lenient.samples("b") == 8000
    assert lenient.resampled == {"a"}
    any_rate = Recordings(strict.data, None)
    assert [len(any_rate.read(utt)) for utt in "ab"] == [any_rate.samples(utt) for utt in "ab"] == [4000, 8000]
    assert [any_rate.seconds(utt) for utt in "ab"] == [0.5, 0.5]


def test_a_channel_is_taken(tmp_path):
    soundfile.write(tmp_path / "x.wav", np.stack([NOISE, NOISE[::-1]], axis=1), RATE)
    recordings = recordings_of(tmp_path / "data", {"a": tmp_path / "x.wav"})
    message = "2 channels, one expected; say which to take with --channel, 0 is the first"
    assert failure(recordings.read, "a") == f"{tmp_path}/data/wav.scp:1: 'a': {tmp_path}/x.wav: {message}"
    np.testing.assert_array_equal(Recordings(recordings.data, RATE, channel=1).read("a"), NOISE[::-1])


def test_the_options_of_a_command_line_are_those_of_recordings():
    parser = Parser("x")
    add_audio_options(parser)
    assert audio_options_of(parser.parse_args([])) == {"channel": None, "resample": False, "allow_cmd": ()}
    words = ["--channel", "1", "--resample", "true", "--allow-cmd", "lame", "--allow-cmd=/opt/x"]
    assert audio_options_of(parser.parse_args(words)) == {"channel": 1, "resample": True, "allow_cmd": ("lame", "/opt/x")}


# ---- archives that are not what they should be


def ark_failure(folder, content, place):
    (folder / "x.ark").write_bytes(content)
    recordings = recordings_of(folder / "data", {"a": f"{folder}/x.ark:{place}"})
    message = failure(recordings.read, "a")
    start = f"{folder}/data/wav.scp:1: 'a': {folder}/x.ark, offset {place}: "
    assert message.startswith(start)
    write_table(folder / "wav.scp", {"a": f"{folder}/x.ark:{place}"})
    for look in (lambda: WavArkReader(folder / "wav.scp")["a"], lambda: WavArkReader(folder / "wav.scp").crop("a", 0, 10)):
        assert failure(look).startswith(f"{folder}/wav.scp: 'a': {folder}/x.ark")
    return message.removeprefix(start)


@pytest.mark.parametrize(
    "content", [b"a \0BFM \4\1\0\0\0\4\1\0\0\0abcd", b"a PKLcos\nsystem\n(S'touch hacked'\ntR.", b"a NPYxxxx", b"a  [ 1 2 3 ]\n", b"a fLaCxxxxxxxxx"]
)
def test_an_object_that_is_no_recording_is_refused_unopened(tmp_path, monkeypatch, content):
    monkeypatch.chdir(tmp_path)
    assert ark_failure(tmp_path, content, 2) == f"no recording begins there, WAV or AUDIO was expected, {content[2:7]!r} found"
    assert not (tmp_path / "hacked").exists()


def test_a_recording_of_open_length_in_an_archive_is_refused(tmp_path):
    message = ark_failure(tmp_path, b"a " + wav_stream(NOISE) + b"b " + wav_stream(NOISE), 2)
    assert message == "a WAV header that leaves the length open, so that its end in the archive is not known; make it anew"


def test_a_damaged_header_in_an_archive_is_refused(tmp_path):
    assert ark_failure(tmp_path, b"a RIFF" + bytes(200), 2) == "damaged WAV header"
    assert ark_failure(tmp_path, b"a AUDIO" + bytes(200), 2) == "damaged header"
    assert ark_failure(tmp_path, b"a AUDIO\x04\x01", 2) == "damaged header"


def test_sizes_are_held_against_the_archive_before_memory_is_taken(tmp_path):
    huge = ark_failure(tmp_path, b"a " + wav_stream(NOISE, 36, 0x7FFFEFFE), 2)
    assert huge == f"cut off, 800 of {0x7FFFEFFE // 2} samples are there; copy or make it anew"
    assert ark_failure(tmp_path, b"a AUDIO\x08" + b"\xff" * 7 + b"\x0fxyz", 2) == f"cut off, 3 of {2**60 - 1} bytes are there; make the archive anew"


@pytest.mark.parametrize("kind", ["pcm", "flac", "kaldiio-wav"])
def test_an_archive_cut_at_any_byte_is_refused(tmp_path, kind):
    place = int(in_ark(tmp_path, kind).rpartition(":")[2])
    content = (tmp_path / f"{kind}.ark").read_bytes()
    recordings = recordings_of(tmp_path / "data", {"a": f"{tmp_path}/{kind}.ark:{place}"})
    for cut in [*range(place + 1, place + 60), *range(place + 60, len(content), 997), len(content) - 1]:
        (tmp_path / f"{kind}.ark").write_bytes(content[:cut])
        assert failure(recordings.read, "a").startswith(f"{tmp_path}/data/wav.scp:1: 'a': {tmp_path}/{kind}.ark, offset {place}: ")


@pytest.fixture(scope="module")
def archived(tmp_path_factory):
    """{kind: (Recordings of LONG in an archive, the archive, its content, the place of LONG)}"""
    made = {}
    for kind in ("pcm", "flac"):
        folder = tmp_path_factory.mktemp(kind)
        archive, _, place = in_ark(folder, kind).rpartition(":")
        made[kind] = recordings_of(folder / "data", {"a": f"{archive}:{place}"}), Path(archive), Path(archive).read_bytes(), int(place)
    return made


@given(st.sampled_from(["pcm", "flac"]), st.lists(st.tuples(st.integers(0, 300), st.integers(1, 255)), min_size=1, max_size=3))
@settings(deadline=None)
def test_a_damaged_archive_gives_an_error_or_sound_and_never_a_crash(archived, kind, flips):
    recordings, archive, content, place = archived[kind]
    content = bytearray(content)
    for where, bits in flips:
        content[place + where] ^= bits
    archive.write_bytes(content)
    try:
        assert recordings.read("a").ndim == 1
    except Fail as error:
        assert str(error).startswith(f"{recordings.data.path}/wav.scp:1: 'a': {archive}, offset {place}: ")


# ---- segments

SEGMENTS = {"u0": "long 0 0.05", "u1": "long 0.05 0.5", "u2": "long 0.3 1.6", "u3": "long 1.2345 1.6"}


@pytest.fixture(params=["wav", "flac", "ogg", "mp3", "m4a", "ark pcm", "ark flac", "ark kaldiio-wav", "command wav", "command flac", "command m4a"])
def kept(request, tmp_path):
    """LONG in any of the ways -> its entry in wav.scp, and what is in it"""
    way, _, kind = request.param.rpartition(" ")
    if way.startswith("ark"):
        return in_ark(tmp_path, request.param.removeprefix("ark ")), LONG
    path, sound = in_file(tmp_path, kind)
    return (f"cat {path} |" if way == "command" else str(path)), sound


def test_segments_are_pieces_of_their_recording(tmp_path, kept):
    entry, sound = kept
    recordings = recordings_of(tmp_path / "data", {"long": entry}, SEGMENTS)
    for utt, words in SEGMENTS.items():
        start, end = (int(float(word) * RATE + 1e-4) for word in words.split()[1:])
        piece = recordings.read(utt)
        np.testing.assert_array_equal(piece, sound[start:end])
        assert recordings.samples(utt) == len(piece)
        assert recordings.recording(utt) == "long"
    assert recordings.seconds("long") == len(sound) / RATE


def test_segments_in_any_order_and_of_several_recordings_are_the_same(tmp_path):
    paths = {"r1": in_file(tmp_path, "wav")[0], "r2": in_file(tmp_path, "flac")[0], "r3": in_file(tmp_path, "m4a")[0]}
    times = {f"u{number}-{rec}": f"{rec} 0.{number} 0.{number + 2}" for number in range(6) for rec in paths}
    recordings = recordings_of(tmp_path / "data", paths, times)
    for utt in [*times, *sorted(times, key=hash), *reversed(times)]:
        start = int(utt[1]) * 1600
        np.testing.assert_array_equal(recordings.read(utt), LONG[start : start + 3200])


def test_a_command_is_run_once_for_the_utterances_of_a_recording_that_follow_each_other(tmp_path, monkeypatch):
    put_first(monkeypatch, tmp_path / "bin")
    (tmp_path / "x.wav").write_bytes(wav_stream(LONG))
    code = f"import sys; open({str(tmp_path / 'runs')!r}, 'a').write('.'); sys.stdout.buffer.write(open({str(tmp_path / 'x.wav')!r}, 'rb').read())"
    write_program(tmp_path / "bin", "mine", code)
    times = {"a1": "a 0 0.5", "a2": "a 0.5 1", "a3": "a 0.1 0.2", "b1": "b 0 1", "b2": "b 0.7 1"}
    recordings = recordings_of(tmp_path / "data", {"a": "mine |", "b": "mine |"}, times, allow_cmd=("mine",))
    for utt in times:
        recordings.read(utt)
    assert (tmp_path / "runs").read_text() == ".."


@pytest.mark.parametrize("rate, time, place", [(16000, "0.29", 4640), (16000, "1.1", 17600), (16000, "4.35", 69600), (100, "4.35", 435), (8000, "0.00019", 1)])
def test_a_time_falls_on_the_sample_it_names_and_else_before_it_as_in_kaldi(tmp_path, rate, time, place):
    recordings = recordings_of(tmp_path / "data", {"r": "x.wav"}, {"u": f"r {time} 9"}, rate=rate)
    assert recordings.span("u", rate, 10 * rate) == (place, 9 * rate)


def test_a_segment_may_end_half_a_second_late_and_is_cut_and_counted(tmp_path):
    path = in_file(tmp_path, "wav")[0]
    end = len(LONG) / RATE
    recordings = recordings_of(tmp_path / "data", {"r": path}, {"a": f"r 1 {end:.4f}", "b": f"r 1 {end + 0.5:.4f}"})
    np.testing.assert_array_equal(recordings.read("a"), LONG[16000:])
    np.testing.assert_array_equal(recordings.read("b"), LONG[16000:])
    assert recordings.shortened == {"b": pytest.approx(0.5)}


def test_a_segment_that_ends_later_is_refused(tmp_path):
    path = in_file(tmp_path, "wav")[0]
    recordings = recordings_of(tmp_path / "data", {"r": path}, {"a": "r 0 1", "b": "r 1 2.11"})
    expected = f"{tmp_path}/data/segments:2: 'b': ends at 2.11 s, but its recording 'r' at 1.60 s; mend its times or remove it"
    assert failure(recordings.read, "b") == failure(recordings.samples, "b") == expected
    assert recordings.place("b") == f"{tmp_path}/data/segments:2: 'b'"


@pytest.mark.parametrize("times", ["1.6 1.9", "1.0 1.00001"])
def test_a_segment_without_a_sample_is_refused(tmp_path, times):
    path = in_file(tmp_path, "wav")[0]
    recordings = recordings_of(tmp_path / "data", {"r": path}, {"a": f"r {times}"})
    start, end = times.split()
    expected = f"{tmp_path}/data/segments:1: 'a': from {float(start):g} to {float(end):g} s there is no sample of 'r', which ends at 1.60 s"
    assert failure(recordings.read, "a") == expected


def test_a_recording_of_segments_that_cannot_be_read_is_named_by_its_own_line(tmp_path):
    path = in_file(tmp_path, "wav")[0]
    recordings = recordings_of(tmp_path / "data", {"r": path, "s": "no.wav"}, {"a": "r 0 1", "b": "s 0 1"})
    recordings.read("a")
    assert failure(recordings.read, "b") == f"{tmp_path}/data/wav.scp:2: 's': no.wav: No such file or directory"
    np.testing.assert_array_equal(recordings.read("a"), LONG[:16000])


def test_a_flac_damaged_in_its_middle_is_noticed_by_the_segments_behind(tmp_path):
    path = tmp_path / "x.flac"
    soundfile.write(path, np.tile(NOISE, 100), RATE)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    recordings = recordings_of(tmp_path / "data", {"r": path}, {"a": "r 0 1", "b": "r 4 5"})
    assert failure(recordings.read, "b").startswith(f"{tmp_path}/data/wav.scp:1: 'r': {path}: ")


def test_segments_are_cut_before_their_rate_is_converted(tmp_path):
    from pytorch.data.audio import at_rate

    soundfile.write(tmp_path / "x.wav", tone(2, rate=8000), 8000)
    recordings = recordings_of(tmp_path / "data", {"r": tmp_path / "x.wav"}, {"a": "r 0.5 1.25"}, resample=True)
    np.testing.assert_array_equal(recordings.read("a"), at_rate(tone(2, rate=8000)[4000:10000].astype(np.float32), 8000, RATE))
    assert recordings.samples("a") == 12000
    assert recordings.resampled == {"r"}


def test_a_channel_of_segments_is_taken(tmp_path):
    soundfile.write(tmp_path / "x.flac", np.stack([LONG, LONG[::-1]], axis=1), RATE)
    recordings = recordings_of(tmp_path / "data", {"r": tmp_path / "x.flac"}, {"a": "r 0.5 1"}, channel=1)
    np.testing.assert_array_equal(recordings.read("a"), LONG[::-1][8000:16000])


def test_recordings_go_to_other_processes_in_the_middle_of_a_file(tmp_path, kept):
    entry, sound = kept
    recordings = recordings_of(tmp_path / "data", {"long": entry}, SEGMENTS)
    recordings.read("u0")
    other = pickle.loads(pickle.dumps(recordings))  # noqa: S301
    np.testing.assert_array_equal(other.read("u1"), sound[800:8000])
    child = os.fork()
    if child == 0:
        for _ in range(200):
            recordings.read("u2")
        os._exit(0)
    assert all(np.array_equal(recordings.read("u1"), sound[800:8000]) for _ in range(200 if "|" not in entry else 1))
    assert os.waitpid(child, 0)[1] == 0


# ---- fingerprints and sizes


def test_a_fingerprint_changes_with_what_is_heard_and_with_nothing_else(tmp_path):
    path, other = in_file(tmp_path, "wav")[0], in_file(tmp_path, "flac")[0]
    ark = in_ark(tmp_path, "pcm")
    entries = {"a": path, "b": ark, "c": f"cat '{path}' |", "d": "cat no.wav |", "e": "no.wav", "f": "cat 'x |"}

    def prints(entries=entries, segments=None):
        return recordings_of(tmp_path / "data", entries, segments).fingerprint(segments or entries)

    first = prints()
    assert len(first) == 64
    os.utime(path)
    assert prints() == first
    with open(ark.rpartition(":")[0], "ab") as file:
        file.write(b"x")
    with_longer_ark = prints()
    soundfile.write(path, LONG[:-1], RATE)
    with_shorter_file = prints()
    found = [first, with_longer_ark, with_shorter_file, prints({**entries, "a": other}), prints({**entries, "c": f"cat '{path}' | cat |"})]
    assert len(set(found)) == len(found)
    times = {"u": "a 0 1", "v": "a 0.5 1"}
    assert prints({"a": other}, times) != prints({"a": other}, {**times, "v": "a 0.5 1.1"})


def test_only_a_changed_recording_changes_the_source_of_its_utterances(tmp_path):
    path, other = in_file(tmp_path, "wav")[0], in_file(tmp_path, "flac")[0]
    recordings = recordings_of(tmp_path / "data", {"r": path, "s": other}, {"a": "r 0 1", "b": "s 0 1"})
    before = {utt: recordings.source(utt) for utt in "ab"}
    soundfile.write(path, LONG[:-1], RATE)
    assert recordings.source("a") != before["a"]
    assert recordings.source("b") == before["b"]


def test_the_size_of_an_utterance_is_told_cheaply(tmp_path):
    path = in_file(tmp_path, "wav")[0]
    entries = {"a": path, "b": f"cat {path} |", "c": "no.wav"}
    data = data_of(tmp_path / "data", entries)
    size = path.stat().st_size
    assert [Recordings(data, RATE).size(utt) for utt in entries] == [size, size, 1]
    write_table(tmp_path / "data/utt2dur", {"a": 1.5, "b": 2, "c": 3})
    assert [Recordings(data, RATE).size(utt) for utt in entries] == [1.5, 2, 3]
    cut = data_of(tmp_path / "cut", {"a": path}, {"u": "a 0.25 1"})
    assert Recordings(cut, RATE).size("u") == 0.75


# ---- WavArkReader


@pytest.mark.parametrize("kind", ARKS)
def test_a_crop_of_an_archive_is_a_crop_of_the_whole(tmp_path, kind):
    in_ark(tmp_path, kind)
    reader = WavArkReader(tmp_path / "kaldiio.scp")
    assert list(reader) == ["first", "long"]
    assert len(reader) == 2
    assert "long" in reader
    assert reader.header("long") == (RATE, len(LONG))
    np.testing.assert_array_equal(reader["long"], LONG)
    for start, num in [(0, 1), (0, len(LONG)), (12345, 8000), (len(LONG) - 3, 3)]:
        crop = reader.crop("long", start, num)
        assert crop.dtype == np.float32
        np.testing.assert_array_equal(crop, LONG[start : start + num])
    other = pickle.loads(pickle.dumps(reader))  # noqa: S301
    np.testing.assert_array_equal(other.crop("first", 0, 800), NOISE)


@pytest.mark.parametrize("kind", ["pcm", "flac"])
def test_a_crop_behind_the_end_is_refused(tmp_path, kind):
    in_ark(tmp_path, kind)
    reader = WavArkReader(tmp_path / "kaldiio.scp")
    assert failure(reader.crop, "first", 700, 101) == f"{tmp_path}/kaldiio.scp: 'first': samples 700 to 801 were asked for, it has 800"


def test_an_scp_of_other_things_is_refused(tmp_path):
    (tmp_path / "empty.ark").touch()
    write_table(tmp_path / "wav.scp", {"a": "x.wav", "b": "no.ark:3", "c": f"{tmp_path}/empty.ark:3", "d": "cat x.ark:3 |"})
    reader, scp = WavArkReader(tmp_path / "wav.scp"), tmp_path / "wav.scp"
    remedy = "pack the recordings with steps/pack_wavs.py"
    assert failure(reader.header, "a") == f"{scp}: 'a': an entry path.ark:offset was expected, not 'x.wav'; {remedy}"
    assert failure(reader.header, "b") == f"{scp}: 'b': no.ark: No such file or directory; make the archive anew"
    assert failure(reader.header, "c") == f"{scp}: 'c': {tmp_path}/empty.ark: empty; make the archive anew"
    assert failure(reader.header, "d") == f"{scp}: 'd': an entry path.ark:offset was expected, not 'cat x.ark:3 |'; {remedy}"
    assert failure(reader.header, "e") == f"{scp}: 'e': no such entry"


def test_a_recording_too_long_for_wav_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("pytorch.data.wav_ark._MOST_BYTES", 100)
    with WavArkWriter(tmp_path / "x.ark", tmp_path / "x.scp", RATE) as ark:
        expected = f"{tmp_path}/x.ark: 'a': 1600 bytes of samples, a WAV file holds 4 GiB; cut it with segments, or pack as flac"
        assert failure(ark.write, "a", NOISE) == expected
        ark.write("b", NOISE[:10])


def test_an_id_with_blanks_is_not_written(tmp_path):
    with WavArkWriter(tmp_path / "x.ark", tmp_path / "x.scp", RATE) as ark:
        assert failure(ark.write, "a b", NOISE) == f"{tmp_path}/x.ark: 'a b' cannot be an id: empty or with blanks"
        ark.write("ü", NOISE)
    np.testing.assert_array_equal(kaldiio.load_scp(str(tmp_path / "x.scp"))["ü"][1], NOISE)


def test_the_digests_of_both_forms_are_those_of_the_samples(tmp_path):
    digests = []
    for form, rate in [("pcm", RATE), ("flac", RATE), ("pcm", 8000)]:
        with WavArkWriter(tmp_path / "x.ark", tmp_path / "x.scp", rate, form) as ark:
            ark.write("a", NOISE)
        digests.append(ark.digests["a"])
    assert digests[0] == digests[1] != digests[2]


def test_an_archive_is_there_as_a_whole_or_not_at_all(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        with WavArkWriter(tmp_path / "x.ark", tmp_path / "x.scp", RATE) as ark:
            ark.write("a", NOISE)
            raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_an_archive_is_byte_for_byte_kaldiios(tmp_path):
    in_ark(tmp_path, "pcm")
    in_ark(tmp_path, "kaldiio")
    assert (tmp_path / "pcm.ark").read_bytes() == (tmp_path / "kaldiio.ark").read_bytes()
    content = (tmp_path / "pcm.ark").read_bytes()
    assert content.startswith(b"first RIFF" + struct.pack("<I", 36 + 1600) + b"WAVEfmt ")
