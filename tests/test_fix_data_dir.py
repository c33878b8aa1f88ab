"""utils/fix_data_dir.py: what it mends, what goes, and what it leaves alone."""

import os

import pytest
from data_dirs import call, files, refuse, small, succeed, with_segments, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st


@pytest.fixture
def data(tmp_path):
    return small(tmp_path / "data")


def lines(data, *options):
    """What a repair that succeeds says, without the program's name and the folder."""
    return [line.removeprefix("fix_data_dir: ").replace(str(data), "D") for line in succeed("fix_data_dir", *options, data).splitlines()]


def is_valid(data):
    succeed("validate_data_dir", "--check-files", "false", data)
    return True


# ---- the text of tables

SOUND = "a-1 20\na-2 21\nb-1 22\nb-2 23\n"


@pytest.mark.parametrize(
    "content, mended",
    [
        ("b-2 23\na-2 21\nb-1 22\na-1 20\n", "sorted"),
        ("a-1 20\r\na-2 21\r\nb-1 22\r\nb-2 23\r\n", "Windows line endings removed"),
        ("a-1 20\ra-2 21\rb-1 22\rb-2 23\r", "Windows line endings removed"),
        ("\ufeff" + SOUND, "byte order mark removed"),
        (SOUND[:-1], "a newline added at the end (look whether the last line is whole)"),
        ("\na-1 20\n \t\na-2 21\nb-1 22\nb-2 23\n\n", "blank lines removed: 3"),
        ("a-1 20\na-1 20\na-2 21\nb-1 22\nb-2 23\nb-2  23 \n", "doubled lines removed: 2"),
        ("b-1 22\na-1 20\na-2 21\nb-1 22\nb-2 23", "a newline added at the end (look whether the last line is whole), sorted, doubled lines removed: 1"),
    ],
)
@pytest.mark.parametrize("name", ["utt2age", "utt2spk"])
def test_the_text_of_a_table_is_mended(data, name, content, mended):
    sound = SOUND
    if name == "utt2spk":
        sound, content = (text.replace(" 20", " a").replace(" 21", " a").replace(" 22", " b").replace("23", "b") for text in (SOUND, content))
    write(data, **{name: content})
    assert lines(data) == [f"{name}: {mended}", "D: kept all 4 utterances; old files are kept in D/.backup"]
    assert (data / name).read_text() == sound
    assert (data / ".backup" / name).read_bytes() == content.encode()
    assert is_valid(data)


def test_a_sound_directory_is_left_alone(data):
    write(data, utt2age="a-1\t20\na-2  21\nb-1 22\nb-2 23\n")
    before = files(data)
    assert lines(data) == ["D: kept all 4 utterances; nothing was changed"]
    assert files(data) == before
    assert not (data / ".backup").exists()


@pytest.mark.parametrize("content", [None, "a a-1\n", "b b-1 b-2\na a-1 a-2\n"])
def test_spk2utt_is_made_anew(data, content):
    (data / "spk2utt").unlink() if content is None else write(data, spk2utt=content)
    lines(data)
    assert (data / "spk2utt").read_text() == "a a-1 a-2\nb b-1 b-2\n"


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("utt2age", "a-1 20\nb-1 4\na-1 21\n", "utt2age:3: 'a-1' stands twice, with '21' here and '20' before; keep one line of it"),
        ("utt2age", "b-1 4\nc-1 5\na-1 21\nb-1 5\n", "utt2age:4: 'b-1' stands twice, with '5' here and '4' before; keep one line of it"),
        ("utt2spk", "a-1 a\na-1 b\n", "utt2spk:2: 'a-1' stands twice, with 'b' here and 'a' before; keep one line of it"),
        ("utt2spk", "a-1 a x\n", "utt2spk:1: two fields expected, 3 found: 'a-1 a x'; mend or remove the line"),
        ("utt2spk", "", "utt2spk: empty; make it anew, or remove it"),
        ("utt2spk", None, "utt2spk: no such file; make it with: utils/spk2utt_to_utt2spk.py {data}/spk2utt {data}/utt2spk"),
        ("utt2age", "", "utt2age: empty; make it anew, or remove it"),
        ("utt2age", "a-1\n\n", "utt2age: no usable line in it; make it anew, or remove it"),
        ("utt2age", b"a-1 \xff\n", "utt2age: not a text file (byte 4 is not UTF-8)"),
        ("trials", "", "trials: empty; make it anew, or remove it"),
        ("trials", "a-1 b-1\n", "trials:1: `enrol-utt test-utt target|nontarget` expected, not 'a-1 b-1'"),
    ],
)
def test_what_cannot_be_mended_is_refused_and_nothing_is_changed(data, name, content, message):
    write(data, spk2gender="b f\na m\n")
    (data / name).unlink() if content is None else write(data, **{name: content})
    before = files(data) if content != b"a-1 \xff\n" else None
    assert refuse("fix_data_dir", data) == f"{data}/{message.format(data=data)}"
    assert before is None or files(data) == before
    assert not list(data.glob(".*"))


# ---- who goes


@pytest.mark.parametrize(
    "name", ["feats.scp", "vad.scp", "text", "wav.scp", "utt2dur", "utt2num_frames", "utt2lang", "utt2uniq", "utt2label", "utt2mood", "reco2dur"]
)
def test_an_utterance_that_a_table_lacks_goes_from_all(data, name):
    """Kaldi's own leaves those that vad.scp and others lack, and its validator then refuses the directory."""
    tables = {
        "feats__scp": "x.ark:1",
        "vad__scp": "v.ark:1",
        "text": "so so",
        "utt2dur": "1.5",
        "utt2num_frames": "150",
        "utt2label": "x",
        "utt2mood": "3",
        "reco2dur": "1.5",
    }
    utts = ("a-1", "a-2", "b-1", "b-2")
    write(data, **{table: "".join(f"{utt} {value}\n" for utt in utts) for table, value in tables.items()})
    write(data, **{name.replace(".", "__"): "a-1 1\nb-1 1\nb-2 1\n"})
    said = lines(data)
    assert f"utterances that went, having no usable line in {name}: 1 (a-2)" in said
    assert said[-1] == "D: kept 3 of 4 utterances; old files are kept in D/.backup"
    assert (data / "utt2spk").read_text() == "a-1 a\nb-1 b\nb-2 b\n"
    assert (data / "spk2utt").read_text() == "a a-1\nb b-1 b-2\n"
    assert (data / ".backup/dropped").read_text() == f"a-2 {name}\n"
    assert is_valid(data)


@pytest.mark.parametrize("name", ["spk2gender", "spk2age", "spk2shoes", "cmvn.scp"])
def test_a_speaker_that_a_table_lacks_goes_with_all_utterances(data, name):
    write(data, **{name.replace(".", "__"): "b 1\n"}, utt2age=SOUND)
    assert f"utterances that went, having no usable line in {name}: 2 (a-1, a-2)" in lines(data)
    assert (data / "utt2age").read_text() == "b-1 22\nb-2 23\n"


def test_recordings_must_be_in_segments_and_in_wav_scp(tmp_path):
    data = with_segments(tmp_path / "data", wav__scp="r1 /r1.wav\nr3 /r3.wav\n", reco2dur="r1 5\nr2 5\nr3 5\n")
    assert lines(data) == [
        "reco2dur: entries removed, as their recordings are not in segments: 1 (r3)",
        "wav.scp: entries removed, as their recordings are not in segments: 1 (r3)",
        "utterances that went, having no usable line in wav.scp: 1 (b-2)",
        "all that went are listed in D/.backup/dropped",
        "D: kept 3 of 4 utterances; old files are kept in D/.backup",
    ]
    assert files(data)["wav.scp"] == "r1 /r1.wav\n"
    assert files(data)["reco2dur"] == "r1 5\n"
    assert files(data)["segments"] == "a-1 r1 0 1.5\na-2 r1 2 3\nb-1 r1 3 4\n"


def test_a_recording_none_of_whose_segments_is_left_goes(tmp_path):
    data = with_segments(tmp_path / "data", segments="a-1 r1 0 1.5\na-2 r1 2 3\nb-1 r1 3 4\n")
    lines(data)
    assert files(data)["wav.scp"] == "r1 /r1.wav\n"
    assert files(data)["utt2spk"] == "a-1 a\na-2 a\nb-1 b\n"


@pytest.mark.parametrize(
    "name, bad",
    [
        ("utt2dur", ["0", "-1", "nan", "1 s", ""]),
        ("utt2num_frames", ["0", "1.5", "-3", "x", ""]),
        ("segments", ["r1 1 1", "r1 2 1", "r1 0", "r1 x 1", ""]),
        ("utt2age", [""]),
        ("wav.scp", [""]),
    ],
)
def test_a_line_that_says_nothing_usable_is_one_that_is_missing(tmp_path, name, bad):
    for number, value in enumerate(bad):
        data = (with_segments if name == "segments" else small)(tmp_path / str(number))
        good = "r1 0 1" if name == "segments" else "7"
        write(data, **{name.replace(".", "__"): f"a-1 {value}\na-2 {good}\nb-1 {good}\nb-2 {good}\n"})
        said = lines(data)
        assert f"{name}: useless lines removed: 1" in said
        assert f"utterances that went, having no usable line in {name}: 1 (a-1)" in said


def test_an_utterance_without_a_speaker_goes_and_is_listed(data):
    write(data, utt2spk="a-1 a\na-2 a\na-3\nb-1 b\nb-2 b\n")
    assert lines(data) == [
        "utt2spk: useless lines removed: 1",
        "utterances that went, having no usable line in utt2spk: 1 (a-3)",
        "all that went are listed in D/.backup/dropped",
        "D: kept 4 of 5 utterances; old files are kept in D/.backup",
    ]
    assert (data / ".backup/dropped").read_text() == "a-3 utt2spk\n"


def test_entries_of_others_are_removed_and_named(data):
    write(data, utt2age=SOUND + "c-1 5\nc-2 6\n", spk2gender="a m\nb f\nc f\n")
    assert lines(data) == [
        "spk2gender: entries removed, as their speakers are not in utt2spk: 1 (c)",
        "utt2age: entries removed, as their utterances are not in utt2spk: 2 (c-1, c-2)",
        "D: kept all 4 utterances; old files are kept in D/.backup",
    ]
    assert (data / "utt2age").read_text() == SOUND


def test_with_no_utterance_left_nothing_is_changed(data):
    write(data, utt2age="x-1 3\n", spk2gender="b f\na m\n")
    before = files(data)
    reason = "utterances that went, having no usable line in utt2age: 4 (a-1, a-2, b-1, b-2); utt2age has x-1 instead"
    expected = f"{data}: no utterance would be left, so nothing is changed; {reason}"
    assert refuse("fix_data_dir", data) == expected
    assert files(data) == before
    assert not list(data.glob(".*"))


def test_many_ids_are_shown_by_a_few(tmp_path):
    utts = [f"a-{number}" for number in range(9)]
    data = write(tmp_path / "data", utt2spk="".join(f"{utt} a\n" for utt in utts), utt2age="a-8 3\n")
    assert "utterances that went, having no usable line in utt2age: 8 (a-0, a-1, a-2, a-3, a-4, …)" in lines(data)
    assert len((data / ".backup/dropped").read_text().splitlines()) == 8


def test_trials_lose_the_lines_of_utterances_that_went(data):
    write(data, utt2age="a-1 3\na-2 3\nb-1 3\n", trials="b-2 a-1 nontarget\na-1 a-2 target\nmodel7 b-1 target\na b-2 nontarget\nb b-1 target\n")
    assert "trials: 2 of 5 went with their utterances" in lines(data)
    assert (data / "trials").read_text() == "a-1 a-2 target\nmodel7 b-1 target\nb b-1 target\n"


def test_trials_lose_the_lines_of_speakers_that_went(data):
    write(data, spk2gender="b f\n", trials="a b-1 nontarget\nb b-1 target\n")
    lines(data)
    assert (data / "trials").read_text() == "b b-1 target\n"


def test_trials_of_which_none_is_left_are_put_away(data):
    write(data, utt2age="a-1 3\n", trials="a-1 a-2 target\n")
    assert "trials: 1 of 1 went with their utterances" in lines(data)
    assert not (data / "trials").exists()
    assert (data / ".backup/trials").read_text() == "a-1 a-2 target\n"


@pytest.mark.parametrize("name", ["trials_hard", "trials.2"])
def test_further_trial_lists_lose_lines_too(data, name):
    write(data, utt2age="a-1 3\na-2 3\nb-1 3\n", **{name: "b-2 a-1 nontarget\na-1 a-2 target\n"})
    assert f"{name}: 1 of 2 went with their utterances" in lines(data)
    assert (data / name).read_text() == "a-1 a-2 target\n"
    assert (data / ".backup" / name).read_text() == "b-2 a-1 nontarget\na-1 a-2 target\n"
    assert is_valid(data)


def test_trials_lose_the_lines_of_utterances_that_never_were(data):
    write(data, trials="a-1 c-1 nontarget\na-1 a-2 target\n")
    assert "trials: 1 of 2 went with their utterances" in lines(data)
    assert is_valid(data)


@pytest.mark.parametrize(
    "content", ["a-1 a-2 target\r\na-1 b-1 nontarget\r\n", "\ufeffa-1 a-2 target\na-1 b-1 nontarget\n", "a-1 a-2 target\na-1 b-1 nontarget"]
)
def test_the_text_of_a_trial_list_is_mended(data, content):
    write(data, trials=content)
    lines(data)
    assert (data / "trials").read_bytes() == b"a-1 a-2 target\na-1 b-1 nontarget\n"
    assert is_valid(data)


@pytest.mark.parametrize("name", ["trials.dropped", "trials_notes"])
def test_what_is_named_like_a_trial_list_but_is_none_is_left_alone(data, name):
    write(data, utt2age="a-1 3\n", **{name: "b-2 a-1 so so\r\n"})
    lines(data)
    assert (data / name).read_bytes() == b"b-2 a-1 so so\r\n"


# ---- options


def test_extra_tables_are_filtered_but_drop_nobody(data):
    write(data, ages="a-1 3\na-2 4\n", shoes="c 3\nb 4\n", utt2age="a-1 3\nb-1 3\nb-2 3\n")
    said = lines(data, "--utt-extra-files", "ages", "--spk-extra-files", "shoes")
    assert said[-1] == "D: kept 3 of 4 utterances; old files are kept in D/.backup"
    assert (data / "ages").read_text() == "a-1 3\n"
    assert (data / "shoes").read_text() == "b 4\n"


def test_an_extra_table_of_which_nothing_is_left_is_put_away(data):
    write(data, ages="a-2 4\n", utt2age="a-1 3\nb-1 3\nb-2 3\n")
    lines(data, "--utt-extra-files", "ages")
    assert not (data / "ages").exists()
    assert (data / ".backup/ages").read_text() == "a-2 4\n"


def test_an_extra_table_must_be_there(data):
    assert refuse("fix_data_dir", "--utt-extra-files", "ages", data) == f"{data}/ages: no such file"


def test_utterances_that_do_not_sort_by_speaker_are_refused_with_the_remedy(data, tmp_path):
    write(data, utt2spk="1 b\n2 a\n", wav__scp="2 /y\n1 /x\n")
    (data / "spk2utt").unlink()
    assert refuse("fix_data_dir", data) == (
        f"{data}/utt2spk: sorted by utterance, speaker 'a' stands after 'b'; speaker ids must be prefixes of utterance ids: fix it with "
        "--spk-prefix false, and then make them so with utils/copy_data_dir.py --spk-as-prefix true"
    )
    lines(data, "--spk-prefix", "false")
    succeed("copy_data_dir", "--spk-as-prefix", "true", data, tmp_path / "new")
    assert files(tmp_path / "new")["utt2spk"] == "a-2 a\nb-1 b\n"
    assert is_valid(tmp_path / "new")


# ---- started again


def test_later_runs_keep_the_originals_and_the_list_of_who_went(data):
    for number, utts in enumerate((("a-1", "a-2", "b-1"), ("a-1", "b-1"), ("b-1",))):
        write(data, **{f"utt2x{number}": "".join(f"{utt} 1\n" for utt in utts)})
        lines(data)
    kept = files(data / ".backup")
    assert kept["utt2spk"] == "a-1 a\na-2 a\nb-1 b\nb-2 b\n"
    assert kept["utt2spk.1"] == "a-1 a\na-2 a\nb-1 b\n"
    assert kept["utt2spk.2"] == "a-1 a\nb-1 b\n"
    assert kept["dropped"] == "b-2 utt2x0\na-2 utt2x1\na-1 utt2x2\n"
    assert files(data)["utt2spk"] == "b-1 b\n"


def test_a_second_run_finds_nothing_to_do(data):
    write(data, utt2age="b-1 3\na-1 3\r\n\nb-2 5")
    lines(data)
    assert lines(data) == ["D: kept all 3 utterances; nothing was changed"]


def test_stopped_anywhere_and_started_again_the_same_is_left(tmp_path, monkeypatch):
    broken = {"utt2age": "b-1 3\na-1 3\nb-2 5\n", "feats__scp": "a-1 x.ark:1\na-2 x.ark:2\nb-2 x.ark:3\n", "trials": "a-1 b-1 nontarget\na-1 b-2 nontarget\n"}
    lines(small(tmp_path / "whole", **broken))
    rename, left = os.replace, 0

    def replace(*paths):
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        rename(*paths)

    for renames in range(100):
        data = small(tmp_path / str(renames), **broken)
        left = renames
        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            try:
                lines(data)
                break
            except KeyboardInterrupt:
                assert not list(data.glob(".fix*"))
        call("fix_data_dir", data)
        assert files(data) == files(tmp_path / "whole")
    assert renames > 15


def test_a_full_disk_leaves_the_directory_as_it_was(data, monkeypatch):
    write(data, utt2age="b-1 3\na-1 3\nb-2 5\n")
    before = files(data)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        call("fix_data_dir", data)
    assert files(data) == before
    assert not list(data.glob(".*"))


# ---- any mess

KEYS = {"utt": ["a-1", "a-2", "b-1", "b-2", "c-1"], "spk": ["a", "b", "c"]}
VALUES = {"utt2spk": None, "utt2age": "7", "utt2dur": "1.5", "text": "so it is", "spk2gender": "f", "reco2dur": "2"}


def messy(name):
    """The lines of a table in any order, some missing, some doubled, some blank, some without a value."""
    keys = KEYS["spk" if name.startswith("spk2") else "utt"]
    line = st.sampled_from(keys).map(lambda key: f"{key} {VALUES[name] or key[0]}")
    odd = st.sampled_from(["", "  ", "x-1 ", *(keys if name != "utt2spk" else [])])
    most = st.just([f"{key} {VALUES[name] or key[0]}" for key in keys])
    return st.tuples(most, st.lists(st.one_of(line, odd), max_size=4), st.sampled_from(["\n", "\r\n"]), st.booleans(), st.randoms()).map(joined)


def joined(parts):
    most, more, end, whole, chance = parts
    lines = chance.sample(most, chance.randint(1, len(most))) + more
    chance.shuffle(lines)
    return end.join(lines) + (end if whole else "")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.fixed_dictionaries({"utt2spk": messy("utt2spk")}, optional={name: messy(name) for name in VALUES if name != "utt2spk"}))
def test_what_is_mended_is_valid_and_needs_no_more_mending(tmp_path_factory, tables):
    data = write(tmp_path_factory.mktemp("mess"), **tables)
    before = files(data)
    done = call("fix_data_dir", data)
    if done.status:
        assert files(data) == before
        assert "no utterance would be left" in done.err
        return
    succeed("validate_data_dir", "--wav", "false", data)
    assert succeed("fix_data_dir", data).endswith("utterances; nothing was changed\n")
    everywhere = [set(text.replace("\r", "").split("\n")) for name, text in before.items() if name not in ("utt2spk", "spk2gender")]
    expected = [line for line in sorted(set(before["utt2spk"].replace("\r", "").split("\n"))) if len(line.split()) == 2]
    expected = [line for line in expected if all(any(other.startswith(f"{line.split()[0]} ") for other in lines) for lines in everywhere)]
    if "spk2gender" in before:
        expected = [line for line in expected if f"{line.split()[1]} f" in before["spk2gender"]]
    assert (data / "utt2spk").read_text() == "".join(f"{line}\n" for line in expected)
