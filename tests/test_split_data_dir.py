"""utils/split_data_dir.py: pieces of even size, speakers whole."""

import pytest
from data_dirs import call, files, refuse, small, succeed, with_segments, write
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch.data.data_dir import read_table
from utils.split_data_dir import by_speaker


class Data:
    """As much of a DataDir as the split looks at."""

    path = "data"

    def __init__(self, sizes):
        self.spk2utt = {f"s{number:03d}": [f"s{number:03d}-{utt}" for utt in range(size)] for number, size in enumerate(sizes)}


def sizes_of(sizes, number):
    return [len(utts) for utts in by_speaker(Data(sizes), number)]


@pytest.mark.parametrize(
    "sizes, number, pieces",
    [
        ([1, 1, 1, 1], 2, [2, 2]),
        ([5, 1, 1, 1], 2, [5, 3]),
        ([1, 1, 1, 5], 2, [3, 5]),
        ([1, 1, 1, 1, 1], 2, [2, 3]),
        ([9, 1, 1, 1, 9, 1], 3, [9, 3, 10]),
        ([3, 3, 3], 3, [3, 3, 3]),
    ],
)
def test_speakers_at_a_border_change_sides_while_that_evens_out_the_pieces(sizes, number, pieces):
    assert sizes_of(sizes, number) == pieces


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=40), st.data())
def test_any_split_keeps_all_speakers_whole_and_in_order(sizes, draw):
    number = draw.draw(st.integers(1, len(sizes)))
    pieces = by_speaker(Data(sizes), number)
    assert len(pieces) == number and all(pieces)
    assert [utt for piece in pieces for utt in piece] == [utt for utts in Data(sizes).spk2utt.values() for utt in utts]
    speakers = [{utt[:4] for utt in piece} for piece in pieces]
    assert all(not one & other for place, one in enumerate(speakers) for other in speakers[place + 1 :])


def test_pieces_are_data_directories(tmp_path):
    data = with_segments(tmp_path / "data", reco2dur="r1 5\nr2 5\n", spk2gender="a m\nb f\n", utt2label="a-1 x\na-2 y\nb-1 x\nb-2 y\n")
    write(data, trials="a-1 b-1 nontarget\n", feats__scp="a-1 /f:1\na-2 /f:2\nb-1 /f:3\nb-2 /f:4\n", feats__json="{}", feats__sha256="1" * 64 + "\n")
    assert succeed("split_data_dir", data, 2) == f"split_data_dir: {data}/split2: 2 pieces of 2 to 2 utterances\n"
    assert files(data / "split2/1") == {
        "utt2spk": "a-1 a\na-2 a\n",
        "spk2utt": "a a-1 a-2\n",
        "segments": "a-1 r1 0 1.5\na-2 r1 2 3\n",
        "wav.scp": "r1 /r1.wav\n",
        "reco2dur": "r1 5\n",
        "spk2gender": "a m\n",
        "utt2label": "a-1 x\na-2 y\n",
        "feats.scp": "a-1 /f:1\na-2 /f:2\n",
        "feats.json": "{}\n",
        "feats.sha256": f"{'1' * 64} {data.resolve()}\n",
    }
    for piece in (1, 2):
        succeed("validate_data_dir", "--check-files", "false", data / f"split2/{piece}")


def test_utterances_can_be_split_anywhere(tmp_path):
    data = small(tmp_path / "data")
    succeed("split_data_dir", "--per-utt", "true", data, 3)
    assert [list(read_table(data / f"split3utt/{piece}/utt2spk")) for piece in (1, 2, 3)] == [["a-1", "a-2"], ["b-1"], ["b-2"]]


@pytest.mark.parametrize(
    "words, message",
    [
        ([3], "2 speakers cannot be split into 3 pieces; ask for fewer, or pass --per-utt true"),
        ([5, "--per-utt", "true"], "4 utterances cannot be split into 5 pieces; ask for fewer"),
    ],
)
def test_more_pieces_than_there_is_to_split_are_refused(tmp_path, words, message):
    data = small(tmp_path / "data")
    assert refuse("split_data_dir", data, *words) == f"{data}: {message}"
    assert sorted(files(data)) == ["spk2utt", "utt2spk", "wav.scp"]


def test_a_split_that_is_there_is_kept_and_one_of_a_changed_directory_made_anew_when_told_so(tmp_path):
    data = small(tmp_path / "data")
    succeed("split_data_dir", data, 2)
    assert succeed("split_data_dir", data, 2) == f"split_data_dir: {data}/split2 is there\n"
    write(data, utt2spk="a-1 a\na-2 b\nb-1 b\nb-2 b\n")
    assert "utt2spk has changed" in refuse("split_data_dir", data, 2)
    succeed("split_data_dir", "--overwrite", "true", data, 2)
    assert files(data / "split2/1")["utt2spk"] == "a-1 a\n"


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    data = small(tmp_path / "data")
    succeed("split_data_dir", data, 2)
    write(data / "split2", notes="mine")
    expected = f"{data}/split2/notes: not made by a program here, so {data}/split2 is not replaced; move it away, or remove the folder yourself"
    assert refuse("split_data_dir", "--overwrite", "true", data, 2) == expected


def test_a_split_does_not_make_the_directory_invalid(tmp_path):
    data = small(tmp_path / "data")
    succeed("split_data_dir", data, 2)
    succeed("validate_data_dir", data)
    succeed("copy_data_dir", data, tmp_path / "new")
    assert not (tmp_path / "new/split2").exists()


@pytest.mark.parametrize("words", [[], [0], ["x"], [2, "--per-utt", 1]])
def test_wrong_command_lines_exit_with_2(tmp_path, words):
    assert call("split_data_dir", small(tmp_path / "data"), *words).status == 2
