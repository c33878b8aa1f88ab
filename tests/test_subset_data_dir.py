"""utils/subset_data_dir.py: who is chosen."""

import numpy as np
import pytest
from data_dirs import call, files, refuse, small, succeed, with_segments, write
from hypothesis import given, settings
from hypothesis import strategies as st
from support import write_vad

from pytorch.data.data_dir import read_table
from utils.subset_data_dir import spread

SPEAKERS = {"a": 5, "b": 1, "c": 4}  # utterances of each


@pytest.fixture
def data(tmp_path):
    utts = [f"{spk}-{number}" for spk, most in SPEAKERS.items() for number in range(1, most + 1)]
    frames = [300, 100, 200, 500, 400, 250, 100, 600, 700, 50]
    return write(
        tmp_path / "data",
        utt2spk="".join(f"{utt} {utt[0]}\n" for utt in utts),
        spk2utt="a a-1 a-2 a-3 a-4 a-5\nb b-1\nc c-1 c-2 c-3 c-4\n",
        utt2num_frames="".join(f"{utt} {number}\n" for utt, number in zip(utts, frames, strict=True)),
        utt2dur="".join(f"{utt} {number / 100}\n" for utt, number in zip(utts, frames, strict=True)),
    )


@pytest.fixture
def chosen(data, tmp_path):
    """chosen(option, …) -> the utterances, in words"""

    def run(*options):
        succeed("subset_data_dir", *options, "--overwrite", "true", data, tmp_path / "new")
        return " ".join(read_table(tmp_path / "new/utt2spk"))

    return run


@pytest.mark.parametrize(
    "options, utts",
    [
        (("--num", 10), "a-1 a-2 a-3 a-4 a-5 b-1 c-1 c-2 c-3 c-4"),
        (("--num", 5), "a-2 a-4 b-1 c-2 c-4"),
        (("--num", 1), "b-1"),
        (("--first", 2), "a-1 a-2"),
        (("--last", 2), "c-3 c-4"),
        (("--shortest", 3), "a-2 c-1 c-4"),
        (("--longest", 2), "c-2 c-3"),
        (("--per-spk", 2), "a-2 a-4 b-1 c-2 c-4"),
        (("--per-spk", 1), "a-3 b-1 c-3"),
        (("--min-frames", 400), "a-4 a-5 c-2 c-3"),
        (("--max-frames", 100), "a-2 c-1 c-4"),
        (("--min-dur", 3, "--max-dur", 5), "a-1 a-4 a-5"),
        (("--min-utts-per-spk", 2), "a-1 a-2 a-3 a-4 a-5 c-1 c-2 c-3 c-4"),
        (("--min-frames", 400, "--min-utts-per-spk", 2, "--first", 3), "a-4 a-5 c-2"),
        (("--min-frames", 250, "--min-utts-per-spk", 3), "a-1 a-4 a-5"),
        (("--min-dur", 2, "--shortest", 1), "a-3"),
    ],
)
def test_utterances_are_chosen(chosen, options, utts):
    assert chosen(*options) == utts


def test_without_frames_durations_tell_the_shortest(chosen, data):
    (data / "utt2num_frames").unlink()
    assert chosen("--shortest", 3) == "a-2 c-1 c-4"


def test_segments_tell_durations(tmp_path):
    data = with_segments(tmp_path / "data")
    succeed("subset_data_dir", "--longest", 1, data, tmp_path / "new")
    assert files(tmp_path / "new")["utt2spk"] == "a-1 a\n"


def test_voiced_frames_can_be_asked_for(tmp_path):
    data = small(tmp_path / "data")
    write_vad(data, {utt: np.array([1] * voiced + [0] * 9, np.float32) for utt, voiced in (("a-1", 3), ("a-2", 5), ("b-1", 4), ("b-2", 8))})
    out = succeed("subset_data_dir", "--min-voiced-frames", 5, data, tmp_path / "new")
    assert "subset_data_dir: left out, with fewer than 5 voiced frames: 2 utterances\n" in out
    assert files(tmp_path / "new")["utt2spk"] == "a-2 a\nb-2 b\n"


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 500), st.data())
def test_evenly_spread_is_even(size, draw):
    number = draw.draw(st.integers(1, size))
    places = spread(range(size), number)
    gaps = [after - before for before, after in zip([-1, *places], [*places, size], strict=True)]
    assert len(set(places)) == number
    assert max(gaps[1:-1], default=1) - min(gaps[1:-1], default=1) <= 1
    assert abs(gaps[0] - gaps[-1]) <= 1 and max(gaps[0], gaps[-1]) <= size // number // 2 + 2


def test_chance_is_a_matter_of_the_seed(chosen):
    found = [chosen("--random", 4, "--seed", seed) for seed in (0, 0, 1, 2, 3)]
    assert found[0] == found[1]
    assert len(set(found)) > 2
    assert all(len(utts.split()) == 4 for utts in found)


def test_whole_speakers_are_drawn_until_there_are_enough_utterances(chosen):
    found = {chosen("--speakers", 5, "--seed", seed) for seed in range(6)}
    assert len(found) > 1
    for utts in found:
        speakers = {utt[0] for utt in utts.split()}
        assert len(utts.split()) == sum(SPEAKERS[spk] for spk in speakers) >= 5


def test_a_list_names_utterances_or_speakers(chosen, tmp_path):
    write(tmp_path, utts="c-1 and more\n\n# not these:\n#a-2\na-1\n", spks="c\nb\n")
    assert chosen("--utt-list", tmp_path / "utts") == "a-1 c-1"
    assert chosen("--spk-list", tmp_path / "spks") == "b-1 c-1 c-2 c-3 c-4"
    assert chosen("--spk-list", tmp_path / "spks", "--min-frames", 600) == "c-2 c-3"


@pytest.mark.parametrize(
    "option, message",
    [
        ("--utt-list", "has no utterance 'x' (and 1 more); take those that are there with utils/filter_table.py {data}/utt2spk {list}"),
        ("--spk-list", "has no speaker 'x' (and 1 more); take those that are there with utils/filter_table.py {data}/spk2utt {list}"),
    ],
)
def test_a_list_that_names_others_is_refused_with_the_remedy(data, tmp_path, option, message):
    names = tmp_path / "list"
    names.write_text("a-1\na\nx\n" if option == "--utt-list" else "a\nx\na-1\n")
    expected = f"{names}:{3 if option == '--utt-list' else 2}: {data} {message.format(data=data, list=names)}"
    if option == "--utt-list":
        names.write_text("a-1\na-2\nx\ny\n")
    assert refuse("subset_data_dir", option, names, data, tmp_path / "new") == expected
    kept = succeed("filter_table", data / ("utt2spk" if option == "--utt-list" else "spk2utt"), names)
    names.write_text(kept)
    succeed("subset_data_dir", option, names, data, tmp_path / "new")


def test_a_list_may_come_from_windows_and_must_be_text(chosen, data, tmp_path):
    (tmp_path / "list").write_bytes("\ufeffa-1\r\nb-1\r\n".encode())
    assert chosen("--utt-list", tmp_path / "list") == "a-1 b-1"
    (tmp_path / "list").write_bytes(b"\xff")
    assert refuse("subset_data_dir", "--utt-list", tmp_path / "list", data, tmp_path / "x") == f"{tmp_path}/list: not a text file (not UTF-8)"


@pytest.mark.parametrize(
    "options, name, message",
    [
        (("--min-dur", 1), "utt2dur", "seconds above 0"),
        (("--min-frames", 1), "utt2num_frames", "a whole number above 0"),
    ],
)
def test_a_length_that_is_none_is_refused(data, tmp_path, options, name, message):
    text = (data / name).read_text().replace("a-1 3", "a-1 x")
    write(data, **{name: text})
    value = text.split()[1]
    assert refuse("subset_data_dir", *options, data, tmp_path / "new") == f"{data}/{name}:1: 'a-1': {message} expected, not '{value}'"


def test_what_is_left_out_is_counted(data, tmp_path):
    out = succeed("subset_data_dir", "--min-frames", 150, "--max-frames", 600, "--min-utts-per-spk", 2, data, tmp_path / "new")
    assert out == (
        "subset_data_dir: left out, with fewer than 150 or more than 600 frames: 4 utterances\n"
        "subset_data_dir: left out, with fewer than 2 utterances: 2 speakers, 2 utterances\n"
        f"subset_data_dir: {tmp_path}/new: 4 of 10 utterances, 1 of 3 speakers\n"
    )


def test_speakers_with_fewer_utterances_than_asked_for_are_counted(data, tmp_path):
    out = succeed("subset_data_dir", "--per-spk", 5, data, tmp_path / "new")
    assert "subset_data_dir: all of theirs are taken of those with fewer than 5 utterances: 2 of 3 speakers\n" in out


@pytest.mark.parametrize("option", ["--num", "--first", "--last", "--random", "--shortest", "--longest", "--speakers"])
def test_more_than_there_are_is_refused(data, tmp_path, option):
    assert refuse("subset_data_dir", option, 11, data, tmp_path / "new") == "11 utterances are asked for, but there are 10"


@pytest.mark.parametrize(
    "options, name, message",
    [
        (("--min-frames", 3), "utt2num_frames", "utt2num_frames: no such file; make it with utils/get_utt2num_frames.py {data}"),
        (("--min-dur", 3), "utt2dur", "utt2dur: no such file; make it with utils/get_utt2dur.py {data}"),
        (("--min-voiced-frames", 3), "spk2utt", "vad.scp: no such file; make it with steps/compute_vad.py {data}"),
    ],
)
def test_a_length_that_is_not_known_is_refused_with_the_remedy(data, tmp_path, options, name, message):
    (data / name).unlink()
    assert refuse("subset_data_dir", *options, data, tmp_path / "new") == f"{data}/{message.format(data=data)}"


def test_with_nobody_left_it_is_refused(data, tmp_path):
    message = refuse("subset_data_dir", "--min-frames", 9999, data, tmp_path / "new")
    assert message == f"{data}: no utterance is left (left out, with fewer than 9999 frames: 10 utterances)"


@pytest.mark.parametrize("words", [[], ["--num", 2, "--first", 1], ["--num", 0], ["--min-dur", "x"], ["--overwrite", "true"]])
def test_wrong_command_lines_exit_with_2(data, tmp_path, words):
    done = call("subset_data_dir", *words, data, tmp_path / "new")
    assert (done.status, done.out) == (2, "")
    assert done.err.endswith("; see --help\n")
