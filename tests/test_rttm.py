"""RTTM and UEM (pytorch/data/rttm.py) through utils/import_list.py and export_list.py."""

import csv

import pytest
from data_dirs import files, refuse, succeed
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch.data.rttm import Turn, cut, rttm_line, uem_line

RTTM = """\
;; who speaks when
SPKR-INFO m-1 1 <NA> <NA> <NA> unknown anna <NA> <NA>
SPEAKER m-1 1 0.000 1.500 <NA> <NA> anna <NA> <NA>
SPEAKER m-1 1 1.250 2.750 <NA> <NA> Bért-2 <NA> <NA>
SPEAKER x/m2 1 10.1 0.2 <NA> <NA> anna <NA>
"""


def imported(tmp_path, content, *options, kind="rttm", out="d"):
    (tmp_path / "list").write_bytes(content if isinstance(content, bytes) else content.encode())
    succeed("import_list", "--from", kind, "--check-files", "false", "--root", "/none", *options, tmp_path / "list", tmp_path / out)
    return files(tmp_path / out)


def not_imported(tmp_path, content, *options, kind="rttm"):
    (tmp_path / "list").write_text(content)
    words = ["--from", kind, "--check-files", "false", *options, tmp_path / "list", tmp_path / "d"]
    return refuse("import_list", *words).replace(str(tmp_path / "list"), "L")


def exported(kind, data):
    succeed("export_list", "--to", kind, "--overwrite", "true", data, data.parent / "out")
    return (data.parent / "out").read_text()


def test_turns_become_utterances(tmp_path):
    assert imported(tmp_path, RTTM) == {
        "segments": "Bért~2--m~1-00001250-00004000 m~1 1.25 4.0\nanna--m~1-00000000-00001500 m~1 0.0 1.5\nanna--x-m2-00010100-00010300 x-m2 10.1 10.3\n",
        "utt2spk": "Bért~2--m~1-00001250-00004000 Bért~2\nanna--m~1-00000000-00001500 anna\nanna--x-m2-00010100-00010300 anna\n",
        "spk2utt": "Bért~2 Bért~2--m~1-00001250-00004000\nanna anna--m~1-00000000-00001500 anna--x-m2-00010100-00010300\n",
        "wav.scp": "m~1 /none/m-1.wav\nx-m2 /none/x/m2.wav\n",
        "reco2uri": "m~1 m-1\nx-m2 x/m2\n",
        "spk2name": "Bért~2 Bért-2\nanna anna\n",
    }
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "d")


def test_recordings_may_lie_where_a_template_says(tmp_path):
    tables = imported(tmp_path, RTTM, "--audio", "{uri}/audio/{uri}.Mix-Headset.flac")
    assert tables["wav.scp"] == "m~1 /none/m-1/audio/m-1.Mix-Headset.flac\nx-m2 /none/x/m2/audio/x/m2.Mix-Headset.flac\n"


def test_an_rttm_comes_back_turn_for_turn(tmp_path):
    imported(tmp_path, RTTM)
    assert exported("rttm", tmp_path / "d").splitlines() == [
        "SPEAKER m-1 1 0.000 1.500 <NA> <NA> anna <NA> <NA>",
        "SPEAKER m-1 1 1.250 2.750 <NA> <NA> Bért-2 <NA> <NA>",
        "SPEAKER x/m2 1 10.100 0.200 <NA> <NA> anna <NA> <NA>",
    ]


@pytest.mark.parametrize(
    "options, names",
    [
        ([], ["m-1.wav", "x/m2.wav"]),
        (["--ext", "false"], ["m-1", "x/m2"]),
        (["--root", "/none"], ["m-1.wav", "x/m2.wav"]),
    ],
)
def test_csv_names_the_files_of_an_rttm(tmp_path, options, names):
    imported(tmp_path, RTTM)
    words = ["--to", "csv", *options, tmp_path / "d", tmp_path / "out"]
    succeed("export_list", *words)
    assert sorted({row["file_name"] for row in csv.DictReader((tmp_path / "out").read_text().splitlines())}) == names


def test_csv_names_files_that_are_called_otherwise_than_in_the_rttm_by_their_paths(tmp_path):
    imported(tmp_path, RTTM, "--audio", "{uri}.Mix-Headset.flac")
    rows = list(csv.DictReader(exported("csv", tmp_path / "d").splitlines()))
    assert {row["file_name"] for row in rows} == {"/none/m-1.Mix-Headset.flac", "/none/x/m2.Mix-Headset.flac"}


def test_the_rttm_of_ami_comes_back_byte_for_byte(tmp_path, corpora):
    folder = corpora / "musan_like/speech/ami"
    succeed("import_list", "--from", "rttm", "--root", folder, folder / "ami.rttm", tmp_path / "d")
    succeed("validate_data_dir", tmp_path / "d")
    assert exported("rttm", tmp_path / "d") == (folder / "ami.rttm").read_text()


def test_turns_are_cut_to_the_regions_of_a_uem(tmp_path):
    (tmp_path / "uem").write_text(";; what counts\nm-1 NA 0.5 1\nm-1 NA 1.4 3\nother NA 0 9\n")
    tables = imported(tmp_path, RTTM, "--uem", tmp_path / "uem")
    assert [line.split()[1:] for line in tables["segments"].splitlines()] == [["m~1", "1.4", "3.0"], ["m~1", "0.5", "1.0"], ["m~1", "1.4", "1.5"]]
    (tmp_path / "uem").write_text("other NA 0 9\n")
    assert not_imported(tmp_path, RTTM, "--overwrite", "true", "--uem", tmp_path / "uem") == f"L: no turn of it lies in a region of {tmp_path}/uem"


def test_regions_become_utterances_of_their_recording_and_come_back(tmp_path):
    tables = imported(tmp_path, "m-1 1 0.5 1.000\nm-1 1 2.000 3.250\nn 1 0 4\n", kind="uem")
    assert tables["utt2spk"] == "m~1--m~1-00000500-00001000 m~1\nm~1--m~1-00002000-00003250 m~1\nn--n-00000000-00004000 n\n"
    assert exported("uem", tmp_path / "d") == "m-1 1 0.500 1.000\nm-1 1 2.000 3.250\nn 1 0.000 4.000\n"
    assert imported(tmp_path, exported("uem", tmp_path / "d"), kind="uem", out="e") == tables


def test_utterances_that_overlap_are_one_region(tmp_path):
    imported(tmp_path, RTTM)
    assert exported("uem", tmp_path / "d") == "m-1 1 0.000 4.000\nx/m2 1 10.100 10.300\n"


def test_whole_recordings_are_turns_of_their_duration(tmp_path):
    (tmp_path / "d").mkdir()
    for name, value in (("wav.scp", "/a.wav"), ("utt2spk", "anna"), ("utt2dur", "2.5"), ("utt2path", "x/1.wav")):
        (tmp_path / "d" / name).write_text(f"anna-1 {value}\n")
    assert exported("rttm", tmp_path / "d") == "SPEAKER x/1 1 0.000 2.500 <NA> <NA> anna <NA> <NA>\n"
    (tmp_path / "d/utt2dur").unlink()
    message = f"{tmp_path}/d/utt2dur: no such file; make it with utils/get_utt2dur.py {tmp_path}/d"
    assert refuse("export_list", "--to", "rttm", tmp_path / "d", tmp_path / "o") == message


@pytest.mark.parametrize("table, value, what", [("utt2path", "x y.wav", "a recording"), ("spk2name", "x y", "a speaker")])
def test_names_with_blanks_cannot_stand_in_rttm(tmp_path, table, value, what):
    (tmp_path / "d").mkdir()
    for name, words in {"wav.scp": "a /a.wav", "utt2spk": "a a", "utt2dur": "a 1", table: f"a {value}"}.items():
        (tmp_path / "d" / name).write_text(f"{words}\n")
    shown = value.removesuffix(".wav")
    message = f"{tmp_path}/d: '{shown}': {what} with a blank cannot stand in this kind of list; use csv or nemo"
    assert refuse("export_list", "--to", "rttm", tmp_path / "d", tmp_path / "o") == message


@pytest.mark.parametrize(
    "line, message",
    [
        ("SPEAKER m 1 0 1 <NA> <NA>", "`SPEAKER recording 1 start duration <NA> <NA> speaker <NA> <NA>` expected, not 'SPEAKER m 1 0 1 <NA> <NA>'"),
        ("m 1 0 1", "`SPEAKER recording 1 start duration <NA> <NA> speaker <NA> <NA>` expected, not 'm 1 0 1'"),
        ("SPEAKER m 1 x 1 <NA> <NA> a <NA> <NA>", "times in seconds expected, not 'x 1'"),
        ("SPEAKER m 1 -1 1 <NA> <NA> a <NA> <NA>", "times of 0 s or more expected, not '-1 1'"),
        ("SPEAKER m 1 0 nan <NA> <NA> a <NA> <NA>", "times of 0 s or more expected, not '0 nan'"),
        ("SPEAKER m 1 0 1 <NA> <NA> <NA> <NA> <NA>", "no speaker"),
        (
            "SPEAKER m 2 0 1 <NA> <NA> a <NA> <NA>",
            "channel '2'; recordings of one channel are understood here alone: split the list and the recordings by channel",
        ),
        (
            "SPEAKER m 0 0 1 <NA> <NA> a <NA> <NA>",
            "channel '0'; recordings of one channel are understood here alone: split the list and the recordings by channel",
        ),
        ("SPEAKER m 1 1 0.0004 <NA> <NA> a <NA> <NA>", "'m' from 1.0 to 1.0004 s is empty; remove it, or pass --drop empty"),
        ("SPEAKER ok 1 0 1 <NA> <NA> a <NA> <NA>", "'ok' stands in line 1 too; keep one of them, or pass --drop double"),
    ],
)
def test_broken_rttm_is_refused_with_its_line(tmp_path, line, message):
    assert not_imported(tmp_path, f"SPEAKER ok 1 0 1 <NA> <NA> a <NA> <NA>\n{line}\n") == f"L:2: {message}"


@pytest.mark.parametrize(
    "line, message",
    [
        ("m 1 0", "`recording channel start end` expected, not 'm 1 0'"),
        ("m 1 2 1", "the end 1 is before the start 2"),
        ("m 1 1 1", "'m' from 1.0 to 1.0 s is empty; remove it, or pass --drop empty"),
        ("m 1 a 1", "times in seconds expected, not 'a 1'"),
    ],
)
def test_broken_uem_is_refused_with_its_line(tmp_path, line, message):
    assert not_imported(tmp_path, f"ok 1 0 1\n{line}\n", kind="uem") == f"L:2: {message}"


@pytest.mark.parametrize("kind, content, message", [("rttm", "SPKR-INFO m 1\n", "L: no SPEAKER line in it"), ("uem", ";; x\n", "L: no region in it")])
def test_lists_of_nothing_are_refused(tmp_path, kind, content, message):
    assert not_imported(tmp_path, content, kind=kind) == message


def test_two_speakers_may_speak_at_the_same_time_and_empty_turns_be_left_out(tmp_path):
    content = "".join(f"SPEAKER m 1 0 {seconds} <NA> <NA> {spk} <NA> <NA>\n" for spk, seconds in (("a", 1), ("b", 1), ("c", 0)))
    tables = imported(tmp_path, content, "--drop", "empty")
    assert tables["utt2spk"] == "a--m-00000000-00001000 a\nb--m-00000000-00001000 b\n"
    assert tables["import_list.dropped"] == f"empty {tmp_path}/list:3: 'm' from 0.0 to 0.0 s is empty\n"


MILLISECONDS = st.lists(st.tuples(st.sampled_from("mn"), st.integers(0, 40), st.integers(1, 20)), max_size=6)


@settings(max_examples=200, deadline=None)
@given(MILLISECONDS, MILLISECONDS)
def test_what_is_kept_of_turns_is_what_a_clock_would_keep(turns, regions):
    """Each hundredth of a second by itself is the other implementation."""

    def make(rows):
        return [Turn("", uri, start / 100, (start + length) / 100, str(place)) for place, (uri, start, length) in enumerate(rows)]

    def ticks(turn):
        return {(turn.uri, turn.speaker, tick) for tick in range(round(turn.start * 100), round(turn.end * 100))}

    inside = {(uri, tick) for uri, start, length in regions for tick in range(start, start + length)}
    expected = {(uri, spk, tick) for turn in make(turns) for uri, spk, tick in ticks(turn) if (uri, tick) in inside}
    pieces = cut(make(turns), make(regions))
    assert set().union(*map(ticks, pieces)) == expected
    assert sum(len(ticks(piece)) for piece in pieces) == len(expected)
    touching = {(piece.uri, piece.speaker, piece.start) for piece in pieces} & {(piece.uri, piece.speaker, piece.end) for piece in pieces}
    assert not touching


def test_lines_are_rounded_so_that_start_and_duration_give_the_end():
    assert rttm_line("m", 0.0004, 1.0006, "a") == "SPEAKER m 1 0.000 1.001 <NA> <NA> a <NA> <NA>\n"
    assert rttm_line("m", 2.977, 2.977 + 0.391, "a") == "SPEAKER m 1 2.977 0.391 <NA> <NA> a <NA> <NA>\n"
    assert uem_line("m", 0, 12.3456) == "m 1 0.000 12.346\n"
