"""The small tools on tables: filter_table, utt2spk_to_spk2utt, spk2utt_to_utt2spk, get_utt2num_frames."""

import numpy as np
import pytest
from data_dirs import call, files, refuse, small, succeed, with_segments, write
from support import write_feats

TABLE = "a-1 a x\nb-1 b  y\nc-1 c\n"


# ---- filter_table


@pytest.mark.parametrize(
    "ids, options, kept",
    [
        ("c-1\na-1 whatever\n", [], "a-1 a x\nc-1 c\n"),
        ("c-1\na-1\n", ["--exclude", "true"], "b-1 b  y\n"),
        ("b\n", ["--field", "2"], "b-1 b  y\n"),
        ("b\n", ["-f", "2", "--exclude", "true"], "a-1 a x\nc-1 c\n"),
        ("a\n", [], ""),
        ("a-1\r\n", [], "a-1 a x\n"),
    ],
)
def test_lines_are_kept_by_a_list(tmp_path, ids, options, kept):
    write(tmp_path, ids=ids, table=TABLE)
    assert succeed("filter_table", *options, tmp_path / "ids", tmp_path / "table") == kept
    assert succeed("filter_table", *options, tmp_path / "ids", stdin=TABLE) == kept
    assert succeed("filter_table", *options, tmp_path / "ids", tmp_path / "table", tmp_path / "out") == ""
    assert (tmp_path / "out").read_text() == kept


@pytest.mark.parametrize("options", [[], ["--exclude", "true"]])
def test_an_empty_list_is_refused(tmp_path, options):
    write(tmp_path, ids="", table=TABLE)
    assert refuse("filter_table", *options, tmp_path / "ids", tmp_path / "table", tmp_path / "out") == f"{tmp_path}/ids: no id in it"
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("options, kept, said", [([], "", "none is kept"), (["--exclude", "true"], TABLE, "all are kept")])
def test_a_list_of_which_nothing_matches_is_warned_of(tmp_path, options, kept, said):
    write(tmp_path, ids="a\nb\n", table=TABLE)
    for words, stdin, place in (([tmp_path / "table"], "", f"{tmp_path}/table"), ([], TABLE, "standard input")):
        done = call("filter_table", *options, tmp_path / "ids", *words, stdin=stdin)
        warning = f"warning: {tmp_path}/ids: none of its 2 ids is field 1 of one of the 3 lines of {place}; {said}\n"
        assert (done.status, done.out, done.err) == (0, kept, warning)
    assert call("filter_table", *options, "--field", 2, tmp_path / "ids", tmp_path / "table").err == ""


def test_bytes_that_are_no_text_and_a_missing_newline_are_nobodys_trouble(tmp_path):
    (tmp_path / "ids").write_bytes(b"\xff\nb")
    (tmp_path / "table").write_bytes(b"\xff \xfe\nb x")
    succeed("filter_table", tmp_path / "ids", tmp_path / "table", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == b"\xff \xfe\nb x\n"


@pytest.mark.parametrize(
    "ids, table, message",
    [
        ("a\n\nb\n", "a 1\n", "{folder}/ids:2: blank line; remove it"),
        ("a\n", "a 1\nb\n", "{folder}/table:2: no field 2 in 'b'"),
    ],
)
def test_lines_without_what_is_compared_are_refused(tmp_path, ids, table, message):
    write(tmp_path, ids=ids, table=table)
    assert refuse("filter_table", "--field", 2, tmp_path / "ids", tmp_path / "table", tmp_path / "out") == message.format(folder=tmp_path)
    assert not (tmp_path / "out").exists()
    if "table" in message:
        assert "standard input:2: no field 2 in 'b'\n" in call("filter_table", "--field", 2, tmp_path / "ids", stdin=table).err


# ---- utt2spk and spk2utt


def test_utt2spk_is_turned_into_spk2utt_and_back(tmp_path):
    write(tmp_path, utt2spk="a-1 a\na-2 a\nb-1 b\n")
    spk2utt = succeed("utt2spk_to_spk2utt", tmp_path / "utt2spk")
    assert spk2utt == "a a-1 a-2\nb b-1\n"
    succeed("utt2spk_to_spk2utt", tmp_path / "utt2spk", tmp_path / "spk2utt")
    assert (tmp_path / "spk2utt").read_text() == spk2utt
    assert succeed("spk2utt_to_utt2spk", tmp_path / "spk2utt") == "a-1 a\na-2 a\nb-1 b\n"
    succeed("spk2utt_to_utt2spk", tmp_path / "spk2utt", tmp_path / "back")
    assert (tmp_path / "back").read_text() == (tmp_path / "utt2spk").read_text()


def test_any_table_of_two_columns_can_be_turned(tmp_path):
    write(tmp_path, utt2label="a-1 sleepy\na-2 awake\nb-1 sleepy\n")
    assert succeed("utt2spk_to_spk2utt", tmp_path / "utt2label") == "awake a-2\nsleepy a-1 b-1\n"


def test_tables_come_from_standard_input_too(program):
    done = program("utils/utt2spk_to_spk2utt.py", input="a-1 a\na-2 a\n")
    assert (done.returncode, done.stdout) == (0, "a a-1 a-2\n")
    done = program("utils/spk2utt_to_utt2spk.py", input="a a-1 a-2\n")
    assert (done.returncode, done.stdout) == (0, "a-1 a\na-2 a\n")
    done = program("utils/utt2spk_to_spk2utt.py", input="a-2 a\na-1 a\n")
    assert done.returncode == 1
    assert done.stderr.startswith("utt2spk_to_spk2utt.py: /dev/stdin:2: not sorted, 'a-1' after 'a-2'")


def test_an_utterance_of_two_speakers_is_refused(tmp_path):
    write(tmp_path, spk2utt="a a-1 x\nb b-1 x\n")
    message = f"{tmp_path}/spk2utt:2: 'x' of speaker 'b' is there already, of speaker 'a'; it can have one only"
    assert refuse("spk2utt_to_utt2spk", tmp_path / "spk2utt") == message


# ---- get_utt2num_frames


def test_frames_are_counted_in_the_archives(tmp_path):
    data = small(tmp_path / "data", utt2dur="a-1 100\na-2 100\nb-1 100\nb-2 100\n")
    write_feats(data, {utt: np.zeros((number, 24), np.float32) for number, utt in enumerate(("a-1", "a-2", "b-1", "b-2"), 3)})
    assert succeed("get_utt2num_frames", data) == f"get_utt2num_frames: {data}/utt2num_frames: 18 frames of 4 utterances\n"
    assert files(data)["utt2num_frames"] == "a-1 3\na-2 4\nb-1 5\nb-2 6\n"


@pytest.mark.parametrize("seconds, frames", [(0.025, 1), (0.0349, 1), (0.035, 2), (1, 98), (1.015, 100), (3600, 359998)])
def test_without_features_frames_follow_from_durations_as_kaldi_has_it(tmp_path, seconds, frames):
    data = small(tmp_path / "data", utt2dur=f"a-1 {seconds}\na-2 1\nb-1 1\nb-2 1\n")
    succeed("get_utt2num_frames", data)
    assert files(data)["utt2num_frames"] == f"a-1 {frames}\na-2 98\nb-1 98\nb-2 98\n"


@pytest.mark.parametrize("snip_edges, frames", [("true", [1, 98]), ("false", [3, 100])])
def test_the_settings_in_feats_json_are_followed(tmp_path, snip_edges, frames):
    import torch

    from pytorch.features.kaldi import Features
    from pytorch.features.options import FeatureOptions

    data = with_segments(tmp_path / "data", segments="a-1 r1 1 1.025\na-2 r1 2 3\nb-1 r1 3 4\nb-2 r2 0.25 1.25\n")
    options = FeatureOptions(sample_frequency=8000.0, snip_edges=snip_edges == "true")
    write(data, feats__json=f'{{"feature": "fbank", "sample_frequency": 8000.0, "snip_edges": {snip_edges}}}')
    succeed("get_utt2num_frames", data)
    assert files(data)["utt2num_frames"].split()[1:4:2] == [str(number) for number in frames]
    assert [len(Features(options)(torch.zeros(samples), "a")) for samples in (200, 8000)] == frames


def test_a_table_that_is_there_is_kept_and_one_that_says_otherwise_replaced_when_told_so(tmp_path):
    data = small(tmp_path / "data", utt2dur="a-1 1\na-2 1\nb-1 1\nb-2 1\n")
    succeed("get_utt2num_frames", data)
    assert succeed("get_utt2num_frames", data) == f"get_utt2num_frames: {data}/utt2num_frames is there\n"
    write(data, utt2dur="a-1 1\na-2 2\nb-1 1\nb-2 1\n")
    message = f"{data}/utt2num_frames: 'a-2' has 98 frames there, 198 by what was found now (1 such); pass --overwrite true to replace it"
    assert refuse("get_utt2num_frames", data) == message
    succeed("get_utt2num_frames", "--overwrite", "true", data)
    assert "a-2 198\n" in files(data)["utt2num_frames"]


@pytest.mark.parametrize(
    "tables, message",
    [
        ({}, "{data}: neither feats.scp nor utt2dur; run utils/get_utt2dur.py {data} first"),
        (
            {"utt2dur": "a-1 0.02\na-2 1\nb-1 1\nb-2 0.01\n"},
            "{data}: 2 utterances have no frame: a-1, b-2; leave them out with utils/subset_data_dir.py --min-dur",
        ),
        (
            {"utt2dur": "a-1 1\na-2 1\nb-1 1\nb-2 1\n", "feats__json": '{"wings": 2}'},
            "{data}/feats.json: not the settings of features that are made here; make the features first",
        ),
    ],
)
def test_what_cannot_be_counted_is_refused(tmp_path, tables, message):
    data = small(tmp_path / "data", **tables)
    assert refuse("get_utt2num_frames", data) == message.format(data=data)
