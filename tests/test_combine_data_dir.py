"""utils/combine_data_dir.py: what several directories have in common becomes one."""

import pytest
from data_dirs import files, refuse, succeed, with_segments, write

A, B = "1" * 64, "2" * 64


@pytest.fixture
def sources(tmp_path):
    """Two directories of two utterances each; speaker s is in both."""
    one = write(tmp_path / "one", utt2spk="a-1 a\ns-1 s\n", wav__scp="a-1 /a1\ns-1 /s1\n", spk2gender="a m\ns f\n")
    two = write(tmp_path / "two", utt2spk="s-2 s\nz-1 z\n", wav__scp="s-2 /s2\nz-1 /z1\n", spk2gender="s f\nz m\n")
    return one, two


@pytest.fixture
def combine(sources, tmp_path):
    """combine() -> what was said, without the program's name"""

    def run(*options):
        return succeed("combine_data_dir", *options, tmp_path / "new", *sources).replace("combine_data_dir: ", "")

    return run


def both(sources, **tables):
    """The same table in both: one line, whose key's place a {} takes, for each utterance."""
    for folder in sources:
        utts = [line.split()[0] for line in (folder / "utt2spk").read_text().splitlines()]
        write(folder, **{name: "".join(f"{utt} {value}\n" for utt in utts) for name, value in tables.items()})


def test_tables_are_joined_and_a_speaker_of_both_is_one(combine, sources, tmp_path):
    both(sources, utt2label="x", utt2mood="glad to be here")
    assert combine() == f"{tmp_path}/new: 4 utterances of 3 speakers\n"
    assert files(tmp_path / "new") == {
        "utt2spk": "a-1 a\ns-1 s\ns-2 s\nz-1 z\n",
        "spk2utt": "a a-1\ns s-1 s-2\nz z-1\n",
        "wav.scp": "a-1 /a1\ns-1 /s1\ns-2 /s2\nz-1 /z1\n",
        "spk2gender": "a m\ns f\nz m\n",
        "utt2label": "a-1 x\ns-1 x\ns-2 x\nz-1 x\n",
        "utt2mood": "a-1 glad to be here\ns-1 glad to be here\ns-2 glad to be here\nz-1 glad to be here\n",
    }
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "new")


def test_the_order_of_the_sources_does_not_matter_to_the_tables(combine, sources, tmp_path):
    combine()
    succeed("combine_data_dir", tmp_path / "turned", *sources[::-1])
    assert files(tmp_path / "turned") == files(tmp_path / "new")


def test_tables_that_are_not_everywhere_are_left_out_and_named(combine, sources, tmp_path):
    write(sources[0], utt2age="a-1 3\ns-1 4\n", text="a-1 x\ns-1 x\n", frame_shift="0.01\n", trials="a-1 s-1 nontarget\n")
    write(sources[1], spk2shoes="s 4\nz 5\n")
    assert combine().splitlines()[:3] == [
        "left out, as not every directory has it: spk2shoes, text, utt2age",
        "left out, as not every directory has it: frame_shift",
        "left out, as not every directory has it: trials",
    ]
    assert sorted(files(tmp_path / "new")) == ["spk2gender", "spk2utt", "utt2spk", "wav.scp"]


def test_utt2uniq_is_written_out_where_it_lacks(combine, sources, tmp_path):
    write(sources[1], utt2uniq="s-2 s-1\nz-1 z-0\n")
    combine()
    assert files(tmp_path / "new")["utt2uniq"] == "a-1 a-1\ns-1 s-1\ns-2 s-1\nz-1 z-0\n"


def test_segments_are_written_out_where_they_lack(sources, tmp_path):
    cut = with_segments(tmp_path / "cut", reco2dur="r1 5\nr2 5\n")
    write(sources[1], utt2dur="s-2 1.25\nz-1 3\n", reco2dur="s-2 1.25\nz-1 3\n")
    (sources[1] / "spk2gender").unlink()
    succeed("combine_data_dir", tmp_path / "new", cut, sources[1])
    found = files(tmp_path / "new")
    assert found["segments"].splitlines() == ["a-1 r1 0 1.5", "a-2 r1 2 3", "b-1 r1 3 4", "b-2 r2 0.25 1", "s-2 s-2 0 1.250000", "z-1 z-1 0 3.000000"]
    assert found["wav.scp"] == "r1 /r1.wav\nr2 /r2.wav\ns-2 /s2\nz-1 /z1\n"
    assert found["reco2dur"] == "r1 5\nr2 5\ns-2 1.25\nz-1 3\n"
    succeed("validate_data_dir", "--check-files", "false", tmp_path / "new")


def test_segments_cannot_be_written_out_without_durations(sources, tmp_path):
    cut = with_segments(tmp_path / "cut")
    message = f"{sources[1]}: no segments and no utt2dur, but the other directories have segments; run utils/get_utt2dur.py {sources[1]} first"
    assert refuse("combine_data_dir", tmp_path / "new", cut, sources[1]) == message


def test_a_recording_may_be_in_both(tmp_path):
    cut = with_segments(tmp_path / "cut")
    more = write(tmp_path / "more", utt2spk="c-1 c\n", segments="c-1 r1 4 5\n", wav__scp="r1 /r1.wav\n")
    succeed("combine_data_dir", tmp_path / "new", cut, more)
    assert files(tmp_path / "new")["wav.scp"] == "r1 /r1.wav\nr2 /r2.wav\n"
    write(more, wav__scp="r1 /other.wav\n")
    message = f"{more}/wav.scp: 'r1' has '/other.wav', but '/r1.wav' in {cut}/wav.scp; mend one of them"
    assert refuse("combine_data_dir", tmp_path / "newer", cut, more) == message


def test_an_utterance_in_two_directories_is_refused(sources, tmp_path):
    third = write(tmp_path / "third", utt2spk="a-1 a\ns-1 s\n")
    remedy = "give one other ids with utils/copy_data_dir.py, or leave it out"
    assert refuse("combine_data_dir", tmp_path / "new", *sources, third) == f"'a-1' is in {sources[0]} and in {third} (and 1 more); {remedy}"
    assert refuse("combine_data_dir", tmp_path / "new", third, third) == f"'a-1' is in {third} and in {third} (and 1 more); {remedy}"


def test_a_speaker_of_whom_two_things_are_said_is_refused(sources, tmp_path):
    write(sources[1], spk2gender="s m\nz m\n")
    message = f"{sources[1]}/spk2gender: 's' has 'm', but 'f' in {sources[0]}/spk2gender; mend one of them"
    assert refuse("combine_data_dir", tmp_path / "new", *sources) == message


def test_statistics_of_a_speaker_in_both_are_left_out_and_named(combine, sources, tmp_path):
    write(sources[0], cmvn__scp="a /c.ark:1\ns /c.ark:2\n")
    write(sources[1], cmvn__scp="s /d.ark:1\nz /d.ark:2\n")
    assert combine().splitlines()[0] == "left out, as its speakers' values are not the same everywhere: cmvn.scp"
    assert not (tmp_path / "new/cmvn.scp").exists()


def test_trials_are_joined(combine, sources, tmp_path):
    write(sources[0], trials="a-1 s-1 nontarget\ns s-1 target\n")
    write(sources[1], trials="z-1 s-2 nontarget\ns s-2 target\n")
    combine()
    assert files(tmp_path / "new")["trials"] == "a-1 s-1 nontarget\ns s-1 target\nz-1 s-2 nontarget\ns s-2 target\n"


def test_further_trial_lists_are_joined_where_both_have_them(combine, sources, tmp_path):
    write(sources[0], trials_hard="a-1 s-1 nontarget\n", trials_easy="a-1 s-1 nontarget\n")
    write(sources[1], trials_hard="z-1 s-2 nontarget\n")
    assert combine().splitlines()[0] == "left out, as not every directory has it: trials_easy"
    assert files(tmp_path / "new")["trials_hard"] == "a-1 s-1 nontarget\nz-1 s-2 nontarget\n"


def test_what_import_programs_left_out_is_not_carried_and_hinders_no_replacement(combine, sources, tmp_path):
    dropped = {"import_list.dropped": "1 x\n", "trials_hard.dropped": "2 x\n"}
    write(sources[0], **dropped)
    assert combine().splitlines()[0] == f"not carried, being no tables: {sources[0]}/import_list.dropped, {sources[0]}/trials_hard.dropped"
    write(tmp_path / "new", **dropped)
    combine("--overwrite", "true")
    assert not (tmp_path / "new/import_list.dropped").exists()


# ---- features


def test_features_are_combined_with_a_line_of_hash_for_each_source(combine, sources, tmp_path):
    both(sources, feats__scp="/f.ark:1", utt2num_frames="7")
    for folder, value in zip(sources, (A, B), strict=True):
        write(folder, feats__json='{"dim": 3}\n', feats__sha256=f"{value}\n", frame_shift="0.01\n")
    combine()
    found = files(tmp_path / "new")
    assert found["feats.sha256"] == f"{A} {sources[0].resolve()}\n{B} {sources[1].resolve()}\n"
    assert found["feats.json"] == '{\n "dim": 3\n}\n'
    assert found["frame_shift"] == "0.01\n"
    third = write(tmp_path / "third", utt2spk="c-1 c\n", wav__scp="c-1 /c\n", feats__scp="c-1 /c.ark:1\n", feats__json='{"dim": 3}')
    succeed("combine_data_dir", tmp_path / "newer", third, tmp_path / "new")
    assert files(tmp_path / "newer")["feats.sha256"] == found["feats.sha256"]


@pytest.mark.parametrize(
    "here, there, message",
    [
        ('{"dim": 3, "x": true}', '{"dim": 4, "y": 1}', "dim 4, x unset, y 1, but dim 3, x true, y unset in {one}"),
        ('{"dim": 3}', None, "missing, but {one} is there"),
        (None, '{"dim": 3}', "there, but {one} is missing"),
        ("[1]", "[2]", "other settings than {one}"),
    ],
)
def test_other_settings_of_features_are_refused_and_both_sides_shown(combine, sources, tmp_path, here, there, message):
    both(sources, feats__scp="/f.ark:1", utt2num_frames="7")
    for folder, content in zip(sources, (here, there), strict=True):
        write(folder, **({"feats__json": content} if content else {}))
    expected = (
        f"{sources[1]}/feats.json: {message.format(one=f'{sources[0]}/feats.json')}; make the features of both alike, or leave them out with --feats false"
    )
    assert refuse("combine_data_dir", tmp_path / "new", *sources) == expected
    combine("--feats", "false")
    assert sorted(files(tmp_path / "new")) == ["spk2gender", "spk2utt", "utt2spk", "wav.scp"]


def test_other_decisions_are_refused(sources, tmp_path):
    both(sources, vad__scp="/v.ark:1")
    for folder, content in zip(sources, ('{"threshold": 5.0}', '{"threshold": 5.5}'), strict=True):
        write(folder, vad__json=content)
    message = refuse("combine_data_dir", tmp_path / "new", *sources)
    assert message.startswith(f"{sources[1]}/vad.json: threshold 5.5, but threshold 5.0 in {sources[0]}/vad.json; ")


def test_another_distance_of_frames_is_refused(sources, tmp_path):
    write(sources[0], frame_shift="0.01\n")
    write(sources[1], frame_shift="0.005\n")
    message = (
        f"{sources[1]}/frame_shift: 0.005, but 0.01 in {sources[0]}/frame_shift; frames of two distances cannot be together, leave them out with --feats false"
    )
    assert refuse("combine_data_dir", tmp_path / "new", *sources) == message


def test_features_of_one_only_are_left_out_with_their_settings(combine, sources, tmp_path):
    write(sources[0], feats__scp="a-1 /f:1\ns-1 /f:2\n", feats__json="{}", feats__sha256=f"{A}\n")
    assert combine().splitlines()[0] == "left out, as not every directory has it: feats.scp"
    assert not {"feats.scp", "feats.json", "feats.sha256"} & files(tmp_path / "new").keys()
