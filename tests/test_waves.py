"""pytorch/data/waves.py: crops of packed recordings are the samples that others read; what is not packed is packed first."""

import copy
import re

import kaldiio
import numpy as np
import pytest
import soundfile
from sounds import NOISE, RATE, tone
from support import failure

from pytorch.data.data_dir import DataDir, read_table, write_data_dir, write_table
from pytorch.data.waves import open_waves, packed
from pytorch.features.options import FeatureOptions
from pytorch.features.wave_input import WaveInput
from pytorch.program import Terminated

SOUNDS = {f"s{number // 3}-{number}": np.roll(np.concatenate([NOISE, tone(0.05 * (number + 1))]), number) for number in range(6)}
RAW = WaveInput(16000.0)


def data_of(folder, wav_scp, **tables):
    write_data_dir(folder, wav_scp, {utt: utt[:2] for utt in tables.get("segments", wav_scp)}, **tables)
    return DataDir(folder)


@pytest.fixture
def plain(tmp_path):
    """A data directory of WAV files."""
    paths = {utt: tmp_path / f"{utt}.wav" for utt in SOUNDS}
    for utt, path in paths.items():
        soundfile.write(path, SOUNDS[utt], RATE)
    return data_of(tmp_path / "plain", paths)


@pytest.fixture(scope="module")
def ready(tmp_path_factory, program):
    """A data directory that steps/pack_wavs.py made, two archives; only to be read."""
    folder = tmp_path_factory.mktemp("ready")
    paths = {utt: folder / f"{utt}.wav" for utt in SOUNDS}
    for utt, path in paths.items():
        soundfile.write(path, SOUNDS[utt], RATE)
    data_of(folder / "plain", paths)
    done = program("steps/pack_wavs.py", "--nj", 2, folder / "plain", folder / "ready")
    assert done.returncode == 0, done.stderr
    return DataDir(folder / "ready")


@pytest.fixture
def own(tmp_path):
    """Two archives as Kaldi's wav-copy writes them, and wav.scp of them: a data directory that a test may spoil."""
    for archive in "01":
        sounds = {utt: (RATE, SOUNDS[utt]) for utt in SOUNDS if utt[1] == archive}
        kaldiio.save_ark(str(tmp_path / f"{archive}.ark"), sounds, scp=str(tmp_path / f"{archive}.scp"))
    places = {}
    for archive in "01":
        places |= read_table(tmp_path / f"{archive}.scp")
    return data_of(tmp_path / "own", places)


def assert_whole(waves):
    """All samples are there, whole and in crops."""
    for index, utt in enumerate(waves.utts):
        whole = waves.whole(index)
        assert whole.dtype == np.int16
        np.testing.assert_array_equal(whole, SOUNDS[utt])
        out = np.full((2, 70), 7, dtype=np.int16)
        waves.crop(index, 3, out[0])
        waves.crop(index, len(whole) - 70, out[1])
        np.testing.assert_array_equal(out, [SOUNDS[utt][3:73], SOUNDS[utt][-70:]])


# ---- archives


def test_packed_recordings_are_used_as_they_are_and_no_header_is_read_before_the_samples(ready, capfd):
    waves = open_waves(ready, RAW)
    assert waves.utts == list(SOUNDS) and waves.lengths.tolist() == [len(samples) for samples in SOUNDS.values()]
    assert (waves.row_shape, waves.dtype, waves.dim, waves.sec_per_unit, waves.settings) == ((), np.int16, 1, 1 / 16000, RAW.settings)
    assert not waves._starts.any() and waves.name == ready / "wav.scp"
    assert_whole(waves)
    assert not (ready / "packed").exists() and capfd.readouterr() == ("", "")


def test_archives_of_others_are_used_as_they_are(own, capfd):
    assert not own.has("utt2dur")
    waves = open_waves(own, RAW)
    assert waves.lengths.tolist() == [len(samples) for samples in SOUNDS.values()]
    assert_whole(waves)
    assert not (own / "packed").exists() and capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "durations",
    [
        {utt: f"{len(samples) / RATE:.2f}" for utt, samples in SOUNDS.items()},
        {utt: f"{len(samples) / RATE + 2e-5:.7f}" for utt, samples in SOUNDS.items()},
        dict.fromkeys(SOUNDS, "about.1000000"),
        dict.fromkeys(SOUNDS, "nan.1000000"),
    ],
    ids=["rounded", "between samples", "words", "not numbers"],
)
def test_durations_that_do_not_tell_samples_exactly_are_not_believed(durations, own):
    write_table(own / "utt2dur", durations)
    assert_whole(open_waves(own, RAW))


def test_a_duration_that_is_not_the_recordings_is_refused_when_it_is_read(own):
    write_table(own / "utt2dur", {utt: f"{(len(samples) - (utt == 's1-4')) / RATE:.6f}" for utt, samples in SOUNDS.items()})
    waves, place = open_waves(own, RAW), read_table(own / "wav.scp")["s1-4"].replace(":", ", offset ")
    waves.whole(3)
    counts = f"{len(SOUNDS['s1-4'])} samples, but {len(SOUNDS['s1-4']) - 1} by {own / 'utt2dur'}"
    remedy = f"remove {own / 'utt2dur'}, or write it anew with utils/get_utt2dur.py"
    assert failure(waves.whole, 4) == f"{own / 'wav.scp'}: 's1-4': {place}: {counts}; {remedy}"


def test_waves_go_to_worker_processes(ready):
    waves = open_waves(ready, RAW)
    waves.whole(2)
    assert_whole(copy.copy(waves))


def test_more_archives_than_may_be_mapped_at_once_are_read_in_turn(own, monkeypatch):
    monkeypatch.setattr("pytorch.data.waves._MOST_MAPPED", 1)
    waves = open_waves(own, RAW)
    for _ in range(2):
        assert_whole(waves)
    assert len(waves._maps) == 1


def test_archives_larger_than_the_memory_are_read_ahead(own, monkeypatch):
    monkeypatch.setattr("pytorch.data.waves._MEMORY", 1000)
    waves = open_waves(own, RAW)
    assert_whole(waves)
    assert all(archive.ahead for archive in waves._maps.values())


# ---- units


def test_units_are_samples():
    options = FeatureOptions()
    for wanted, crop in ((RAW, 32000), (WaveInput(16000.0, options), 400 + 199 * 160), (WaveInput(16000.0, FeatureOptions(snip_edges=False)), 32000)):
        assert wanted.samples(200) == crop


def test_the_least_length_is_counted_in_samples(ready):
    class Network:
        min_frames = 15

    assert open_waves(ready, RAW).least_of(Network) == 15
    waves = open_waves(ready, WaveInput(16000.0, FeatureOptions()))
    assert waves.least_of(Network) == waves.units(15) == 400 + 14 * 160
    assert (waves.dim, waves.settings) == (23, FeatureOptions().to_json())
    waves.need_length(1600)
    names = "s0-0, s0-1, s0-2, s1-3, s1-4, …"
    message = f"{ready / 'wav.scp'}: 6 utterances have fewer than 99999 samples, the least the network takes: {names}; leave them out with "
    assert failure(waves.need_length, 99999) == message + "utils/subset_data_dir.py --min-dur 6.25"
    assert failure(waves.need_length, 1601).endswith("takes: s0-0; leave them out with utils/subset_data_dir.py --min-dur 0.101")


# ---- archives that are damaged


def test_an_archive_that_is_missing_is_named(own, tmp_path):
    (tmp_path / "1.ark").unlink()
    assert failure(open_waves, own, RAW) == f"{own / 'wav.scp'}: 's1-3': {tmp_path / '1.ark'}: No such file or directory"


def test_an_archive_that_goes_meanwhile_is_named(own, tmp_path):
    write_table(own / "utt2dur", {utt: f"{len(samples) / RATE:.6f}" for utt, samples in SOUNDS.items()})
    waves = open_waves(own, RAW)
    (tmp_path / "1.ark").unlink()
    remedy = "pack the recordings anew or, if it has moved, run utils/relocate_data_dir.py"
    assert failure(waves.whole, 3) == f"{own / 'wav.scp'}: 's1-3': {tmp_path / '1.ark'}: No such file or directory; {remedy}"


def test_a_recording_that_is_cut_off_is_named(own, tmp_path):
    archive = tmp_path / "1.ark"
    archive.write_bytes(archive.read_bytes()[:-100])
    message = rf"{own / 'wav.scp'}: 's1-5': {archive}, offset \d+: cut off, \d+ of {len(SOUNDS['s1-5'])} samples are there; copy or make it anew"
    assert re.fullmatch(message, failure(open_waves, own, RAW))


def test_an_archive_that_is_cut_while_it_is_mapped_ends_no_process(own, tmp_path):
    waves, archive = open_waves(own, RAW), tmp_path / "0.ark"
    waves.whole(2)
    with open(archive, "r+b") as file:
        file.truncate(1000)
    waves._maps[0]._due = 0
    assert failure(waves.whole, 2) == f"{own / 'wav.scp'}: 's0-2': {archive}: the archive has been cut since it was opened; make it anew"


@pytest.mark.parametrize(
    ("odd", "trouble"),
    [
        (lambda path: soundfile.write(path, SOUNDS["s1-5"], 8000), "8000 Hz, 16000 Hz expected"),
        (lambda path: soundfile.write(path, np.stack([SOUNDS["s1-5"]] * 2, axis=1), RATE), "2 channels, one expected"),
        (lambda path: soundfile.write(path, SOUNDS["s1-5"], RATE, subtype="PCM_24"), "not 16-bit WAV"),
        (lambda path: soundfile.write(path, SOUNDS["s1-5"], RATE, endian="BIG"), "not 16-bit WAV"),
    ],
    ids=["another rate", "two channels", "24 bits", "the other byte order"],
)
def test_a_recording_unlike_the_others_of_an_archive_is_refused(odd, trouble, own, tmp_path):
    odd(tmp_path / "odd.wav")
    archive, places = tmp_path / "1.ark", read_table(own / "wav.scp")
    place = archive.stat().st_size + 5
    archive.write_bytes(archive.read_bytes() + b"s1-5 " + (tmp_path / "odd.wav").read_bytes())
    write_table(own / "wav.scp", places | {"s1-5": f"{archive}:{place}"})
    message = f"{own / 'wav.scp'}: 's1-5': {archive}, offset {place}: {trouble}; pack the recordings with steps/pack_wavs.py"
    assert failure(open_waves, DataDir(own.path), RAW) == message


# ---- packing


def test_files_are_packed_first_which_is_said_and_done_once(plain, capfd):
    assert_whole(open_waves(plain, RAW))
    folder = plain / "packed/16000"
    out, err = capfd.readouterr()
    said = f"the recordings of {plain.path} are no archives of 16-bit samples at 16000 Hz: they are packed first, in {folder}\n"
    assert out.startswith(said) and f"pack_wavs: {folder}: 6 utterances, 16000 Hz, " in out and err == ""
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    waves = open_waves(DataDir(plain.path), RAW)
    assert (waves.name, capfd.readouterr()) == (folder / "wav.scp", ("", ""))
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert_whole(waves)


def test_recordings_that_changed_are_packed_anew_and_other_tables_matter_not(plain, tmp_path, capfd):
    packed(plain, 16000)
    write_table(plain / "utt2age", dict.fromkeys(SOUNDS, 30))
    capfd.readouterr()
    packed(DataDir(plain.path), 16000)
    assert capfd.readouterr().out == ""
    soundfile.write(tmp_path / "s0-1.wav", SOUNDS["s0-1"][:1000], RATE)
    waves = open_waves(DataDir(plain.path), RAW)
    assert waves.lengths[1] == 1000 and "packed first" in capfd.readouterr().out
    (plain / "utt2age").unlink()
    wav_scp = read_table(plain / "wav.scp") | {"s2-0": tmp_path / "s0-0.wav"}
    assert len(open_waves(data_of(plain.path, wav_scp), RAW).utts) == 7


def test_packing_that_was_interrupted_is_gone_on_with(plain, capfd):
    packed(plain, 16000)
    folder = plain / "packed/16000"
    marker = folder / ".done/packed.json"
    marker.write_text(re.sub(r'"outputs": \{.*\}', '"outputs": null', marker.read_text(), flags=re.DOTALL) + "}")
    before = (folder / "wav.ark").stat().st_mtime_ns
    capfd.readouterr()
    assert_whole(open_waves(DataDir(plain.path), RAW))
    assert capfd.readouterr().out.endswith(f"pack_wavs: the recordings of {plain.path} are packed in {folder}\n")
    assert (folder / "wav.ark").stat().st_mtime_ns == before


def test_a_packed_folder_that_lost_its_archive_is_made_anew(plain):
    packed(plain, 16000)
    (plain / "packed/16000/wav.ark").unlink()
    assert_whole(open_waves(DataDir(plain.path), RAW))


def test_a_data_directory_that_cannot_be_written_to_is_named_with_the_remedy(plain, monkeypatch):
    def hold(path, what):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pytorch.marker.hold", hold)
    assert failure(packed, plain, 16000) == f"{plain / 'packed/16000'}: Permission denied; pack the recordings elsewhere with steps/pack_wavs.py"


def test_a_data_directory_that_has_moved_is_packed_anew(plain, tmp_path):
    packed(plain, 16000)
    plain.path.rename(tmp_path / "moved")
    assert_whole(open_waves(DataDir(tmp_path / "moved"), RAW))


def test_packing_that_was_ended_by_a_signal_is_done_by_the_next_run(plain, monkeypatch):
    def interrupted(process):
        monkeypatch.undo()
        raise Terminated

    monkeypatch.setattr("pytorch.data.waves.subprocess.Popen.wait", interrupted)
    with pytest.raises(Terminated):
        packed(plain, 16000)
    assert not (plain / "packed/16000/wav.scp").exists()
    assert_whole(open_waves(plain, RAW))


def test_segments_are_cut_when_they_are_packed(plain, tmp_path):
    pieces = {"s0-a": ["s0-1", "0.01", "0.05"], "s0-b": ["s0-1", "0.02", "0.0625"]}
    segments = data_of(tmp_path / "segments", {"s0-1": tmp_path / "s0-1.wav"}, segments=pieces)
    waves = open_waves(segments, RAW)
    assert waves.utts == ["s0-a", "s0-b"] and waves.lengths.tolist() == [640, 680]
    np.testing.assert_array_equal(waves.whole(1), SOUNDS["s0-1"][320:1000])


def test_the_channel_is_the_one_asked_for(tmp_path, capfd):
    stereo = np.stack([tone(0.1, 300), tone(0.1)], axis=1)
    soundfile.write(tmp_path / "x.wav", stereo, RATE)
    data = data_of(tmp_path / "stereo", {"s0-0": tmp_path / "x.wav"})
    place = f"{data / 'wav.scp'}:1: 's0-0': {tmp_path / 'x.wav'}"
    remedy = f"leave up to N out with `steps/pack_wavs.py --sample-frequency 16000 --max-fail N {data.path} {data.path}_packed` and take that directory"
    assert failure(open_waves, data, RAW) == f"{data.path}: its recordings were not packed, see above; mend them, or {remedy}"
    assert f"pack_wavs: {place}: 2 channels, one expected; say which to take with --channel, 0 is the first\n" in capfd.readouterr().err
    waves = open_waves(data, RAW, channel=1)
    assert waves.name.parent == data / "packed/16000_channel1"
    np.testing.assert_array_equal(waves.whole(0), stereo[:, 1])
    assert failure(packed, data, 8000.5) == f"{data.path}: its recordings cannot be packed at 8000.5 Hz; a whole number is needed"


def test_what_recordings_are_read_with_is_passed_on(tmp_path, monkeypatch):
    seen = []

    class Process:
        def __init__(self, words, **more):
            seen.extend(words[2:])

        def wait(self):
            return 1

    monkeypatch.setattr("pytorch.data.waves.subprocess.Popen", Process)
    data = data_of(tmp_path / "data", {"s0-0": "mytool x |"})
    failure(packed, data, 8000.0, 1, True, ("mytool", "other"))
    assert seen == [
        "--sample-frequency", "8000", "--resample", "true", "--channel", "1", "--allow-cmd", "mytool", "--allow-cmd", "other", "--overwrite", "false",
        str(data.path), str(data / "packed/8000_channel1_resampled"),
    ]  # fmt: skip


def test_archives_of_another_form_are_packed_too(plain, tmp_path, program):
    assert program("steps/pack_wavs.py", "--format", "flac", plain.path, tmp_path / "other").returncode == 0
    waves = open_waves(DataDir(tmp_path / "other"), RAW)
    assert waves.name.parent == tmp_path / "other/packed/16000"
    assert_whole(waves)


def test_archives_of_another_rate_are_refused_unless_they_are_to_be_converted(own, capfd):
    failure(open_waves, own, WaveInput(8000.0))
    assert "16000 Hz, 8000 Hz expected; convert it with --resample true, or set --sample-frequency where a program has it (and " in capfd.readouterr().err


def test_a_channel_that_archives_of_one_do_not_have_is_refused(ready, own, capfd):
    assert open_waves(own, RAW, channel=0).name == own / "wav.scp"
    failure(open_waves, own, RAW, channel=1)
    assert "no channel 1, it has 1, 0 is the first" in capfd.readouterr().err


def test_the_folder_of_packed_recordings_does_not_disturb_the_data_directory(plain, tmp_path, program):
    packed(plain, 16000)
    for words in (["utils/validate_data_dir.py", plain.path], ["utils/copy_data_dir.py", plain.path, tmp_path / "copy"], ["utils/fix_data_dir.py", plain.path]):
        assert program(*words).returncode == 0
    assert not (tmp_path / "copy/packed").exists()


# ---- real recordings


def test_crops_of_real_recordings_are_those_soundfile_reads(corpora, tmp_path):
    paths = dict(sorted((f"{path.parent.name}-{path.stem}", path) for path in (corpora / "an4/wav").glob("*/*/*.wav"))[::60])
    data = data_of(tmp_path / "an4", paths)
    waves = open_waves(data, WaveInput(16000.0, FeatureOptions()))
    for index, path in enumerate(paths.values()):
        samples = soundfile.read(path, dtype="int16")[0]
        out = np.empty(waves.units(50), dtype=np.int16)
        waves.crop(index, 1234, out)
        np.testing.assert_array_equal(out, samples[1234 : 1234 + 400 + 49 * 160])
        assert waves.lengths[index] == len(samples)
