"""utils/validate_data_dir.py: every rule of Kaldi's validator, and those it lacks."""

import json

import numpy as np
import pytest
import soundfile
from data_dirs import call, module, refuse, small, succeed, with_segments, write
from sounds import RATE, tone
from support import write_feats, write_vad

FIX = "run utils/fix_data_dir.py"


@pytest.fixture
def data(tmp_path):
    return small(tmp_path / "data")


def troubles(data, *options):
    """The lines on stderr of a validation that fails, without the program's name and the folder."""
    done = call("validate_data_dir", *options, data)
    assert (done.status, done.out) == (1, "")
    return [line.removeprefix("validate_data_dir.py: ").replace(str(data), "D") for line in done.err.splitlines() if "warning" not in line]


# ---- what is right


def test_a_valid_directory_ends_in_a_short_table(data):
    write(
        data,
        utt2dur="a-1 1.5\na-2 2\nb-1 0.001\nb-2 1e3\n",
        utt2num_frames="a-1 150\na-2 200\nb-1 1\nb-2 3\n",
        text="a-1 hello world\na-2 so\nb-1 what\nb-2 é\n",
        spk2gender="a m\nb f\n",
        trials="a-1 a-2 target\na b-2 nontarget\n",
        trials_notes="nor these\n",
        README="nor this\n",
        **{".hidden": "nor this"},
    )
    (data / "log").mkdir()
    done = call("validate_data_dir", data)
    assert (done.status, done.err) == (0, "")
    assert done.out.splitlines() == [
        f"validate_data_dir: {data} is valid",
        "  utterances  4",
        "  speakers    2 (2 to 2 utterances, median 2)",
        "  recordings  4",
        "  hours       0.28",
        "  tables      spk2gender text utt2dur utt2num_frames",
    ]


def test_tables_nobody_has_heard_of_are_known_by_their_names(data):
    write(data, utt2mood="a-1 glad to be here\na-2 x\nb-1 x\nb-2 x\n", spk2shoes="a 43\nb 38\n", reco2room="a-1 k\na-2 k\nb-1 k\nb-2 k\n")
    assert "tables      reco2room spk2shoes utt2mood\n" in succeed("validate_data_dir", data)


def test_a_directory_with_segments_is_valid(tmp_path):
    more = {"reco2dur": "r1 10\nr2 2\n", "reco2file_and_channel": "r1 r1 A\nr2 r1 B\n"}
    data = with_segments(tmp_path / "data", **more)
    out = succeed("validate_data_dir", "--check-files", "false", data)
    assert "  recordings  2\n" in out
    assert "  tables      reco2dur reco2file_and_channel segments\n" in out


def test_segments_may_overlap(tmp_path):
    data = with_segments(tmp_path / "data", segments="a-1 r1 0 5\na-2 r1 1 3\nb-1 r1 1 3\nb-2 r2 0 1\n")
    succeed("validate_data_dir", "--check-files", "false", data)


def test_without_spk2utt_utt2spk_is_enough(data):
    (data / "spk2utt").unlink()
    succeed("validate_data_dir", data)


def test_fields_may_be_apart_by_tabs_and_several_blanks(data):
    write(data, utt2age="a-1\t20\na-2   20\nb-1 31 \nb-2 31\n")
    succeed("validate_data_dir", data)


def test_commands_in_wav_scp_are_not_looked_into(data, tmp_path):
    write(data, wav__scp=f"a-1 touch {tmp_path}/ran |\na-2 sph2pipe x |\nb-1 a|b|\nb-2 cat x |\n")
    succeed("validate_data_dir", data)
    assert not (tmp_path / "ran").exists()


def test_a_recording_may_lie_in_an_archive(data, tmp_path):
    (tmp_path / "x.ark").write_bytes(bytes(100))
    write(data, wav__scp=f"a-1 {tmp_path}/x.ark:5\na-2 {tmp_path}/x.ark:99\nb-1 {tmp_path}/x.ark:0\nb-2 {data}/utt2spk\n")
    succeed("validate_data_dir", data)


# ---- warnings


def test_one_speaker_only_is_a_warning(data):
    write(data, wav__scp=f"a-1 {data}/utt2spk\n", utt2spk="a-1 a\n", spk2utt="a a-1\n")
    done = call("validate_data_dir", data)
    assert done.status == 0
    assert done.err == f"validate_data_dir: warning: {data} has one speaker only\n"


def test_a_channel_1_is_a_warning(data):
    write(data, reco2file_and_channel="a-1 x A\na-2 x 1\nb-1 x A\nb-2 x A\n")
    done = call("validate_data_dir", data)
    assert done.status == 0
    assert done.err == f"validate_data_dir: warning: {data}/reco2file_and_channel: channel 1 where A or B is usual\n"


def test_a_model_of_a_trial_that_is_not_here_is_a_warning(data):
    write(data, trials="model7 a-1 target\n")
    done = call("validate_data_dir", data)
    assert done.status == 0
    assert done.err == f"validate_data_dir: warning: {data}/trials: 1 ids to be tested against are not in utt2spk, so enrolled elsewhere: model7\n"


@pytest.mark.parametrize("name", ["feats", "vad"])
def test_features_without_their_settings_are_a_warning(data, name):
    write(data, **{f"{name}__scp": "a-1 x.ark:4\na-2 x.ark:5\nb-1 x.ark:6\nb-2 x.ark:7\n"})
    done = call("validate_data_dir", "--check-files", "false", data)
    assert done.status == 0
    remedy = f"utils/adopt_feats.py {data}" if name == "feats" else f"steps/compute_vad.py {data}"
    assert done.err == f"validate_data_dir: warning: {data}/{name}.json: no such file; it holds the settings of {name}.scp, see {remedy}\n"


# ---- what is wrong


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("utt2spk", None, "utt2spk: no such file"),
        ("utt2spk", "", "utt2spk: empty"),
        ("utt2spk", "a-1 a\na-2 a x\n", "utt2spk:2: 2 fields expected, 3 found: 'a-2 a x'"),
        ("utt2spk", "a-1 a\na-2\n", "utt2spk:2: 2 fields expected, 1 found: 'a-2'"),
        ("utt2spk", "a-2 a\na-1 a\n", "utt2spk:2: not sorted, 'a-1' after 'a-2'; sort it with: LC_ALL=C sort -o D/utt2spk D/utt2spk"),
        ("utt2spk", "a-1 a\na-1 a\n", "utt2spk:2: 'a-1' stands twice; keep one line of it"),
        ("utt2spk", "a-1 a\r\na-2 a\r\n", "utt2spk:1: Windows line ending; remove them with: sed -i 's/\\r$//' D/utt2spk"),
        (
            "utt2spk",
            "a-1 a\na-2 a",
            "utt2spk:2: the last line lacks its newline, the file may be cut off; make it anew, or add one with: echo >> D/utt2spk",
        ),
        ("spk2utt", "", "spk2utt: empty"),
        ("spk2utt", "a a-1 a-2\nb\n", "spk2utt:2: two or more fields expected, 1 found: 'b'"),
        ("wav.scp", None, "wav.scp: no such file"),
        ("wav.scp", "a-1\n", "wav.scp:1: two or more fields expected, 1 found: 'a-1'"),
        ("wav.scp", "a-1 x\n", "wav.scp: 'a-2' is in utt2spk but not in wav.scp (and 2 more); run utils/fix_data_dir.py"),
        ("wav.scp", "a-1 /none.wav\na-2 x\nb-1 x\nb-2 x\n", "wav.scp:1: 'a-1': /none.wav: no such file"),
        ("wav.scp", "a-1 D/utt2spk\na-2 /x.ark:9\nb-1 x\nb-2 x\n", "wav.scp:2: 'a-2': /x.ark:9: no such file"),
        ("wav.scp", "a-1 ~/a.wav\na-2 x\nb-1 x\nb-2 x\n", "wav.scp:1: 'a-1': ~/a.wav: ~ is not understood here; write the whole path"),
        (
            "wav.scp",
            "a-1 D/utt2spk:3\na-2 D/utt2spk:999\nb-1 x\nb-2 x\n",
            "wav.scp:2: 'a-2': D/utt2spk:999: the archive ends before, at 24 bytes; make it anew",
        ),
        (
            "wav.scp",
            "a-1 |tee /x\na-2 x\nb-1 x\nb-2 x\n",
            "wav.scp:1: 'a-1': |tee /x: a command that is written to; one that is read from ends in |",
        ),
        ("feats.scp", "a-1 x\n", "feats.scp: 'a-2' is in utt2spk but not in feats.scp (and 2 more); run utils/fix_data_dir.py"),
        ("feats.scp", "a-1 /x.ark:1\na-2 x\nb-1 x\nb-2 x\n", "feats.scp:1: 'a-1': /x.ark:1: no such file"),
        (
            "feats.scp",
            "a-1 D/utt2spk:3[0:4]\na-2 D/utt2spk:99[0:1,2:3]\nb-1 x\nb-2 x\n",
            "feats.scp:2: 'a-2': D/utt2spk:99[0:1,2:3]: the archive ends before, at 24 bytes; make it anew",
        ),
        (
            "feats.scp",
            "a-1 copy-feats x - |\na-2 x\nb-1 x\nb-2 x\n",
            "feats.scp:1: 'a-1': an entry path.ark:offset was expected, not 'copy-feats x - |'; commands are not run here, write what it prints to an archive",
        ),
        ("vad.scp", "", "vad.scp: empty"),
        ("vad.scp", "a-1 ~/v.ark:4\na-2 x\nb-1 x\nb-2 x\n", "vad.scp:1: 'a-1': ~/v.ark:4: ~ is not understood here; write the whole path"),
        ("cmvn.scp", "a-1 x\n", "cmvn.scp: 'a' is in utt2spk as a speaker but not in cmvn.scp (and 1 more); run utils/fix_data_dir.py"),
        ("text", "a-1 hello\n\n", "text:2: blank line; remove it"),
        ("text", "a-1 so\na-2 \u200bso\nb-1 x\nb-2 x\n", "text:2: 'a-2': the character U+200B cannot be printed; remove it, or pass --non-print true"),
        ("text", "a-1 so\na-2 a <s> b\nb-1 x\nb-2 x\n", "text:2: 'a-2': the word <s> is Kaldi's own; remove it"),
        ("text", "a-1 so\na-2 x\nb-1 #0\nb-2 x\n", "text:3: 'b-1': the word #0 is Kaldi's own; remove it"),
        ("utt2lang", "a-1 en\na-2 en\nb-1 en\nb-2 en\nb-3 en\n", "utt2lang: 'b-3' is in utt2lang but not in utt2spk; run utils/fix_data_dir.py"),
        ("utt2lang", "a-1 en\na-2 en\nb-1 en us\nb-2 en\n", "utt2lang:3: 'b-1': one word expected, not 'en us'"),
        ("utt2label", "a-1 x\na-2 x\nb-1 x y\nb-2 x\n", "utt2label:3: 'b-1': one word expected, not 'x y'"),
        ("utt2uniq", "a-1 a b\na-2 x\nb-1 x\nb-2 x\n", "utt2uniq:1: 'a-1': one word expected, not 'a b'"),
        ("spk2gender", "a m\n", "spk2gender: 'b' is in utt2spk as a speaker but not in spk2gender; run utils/fix_data_dir.py"),
        ("spk2gender", "a m\nb male\n", "spk2gender:2: 'b': m or f expected, not 'male'"),
        ("spk2age", "a 31.5\nb old\n", "spk2age:2: 'b': a number, 0 or more, expected, not 'old'"),
        ("utt2age", "a-1 31\na-2 -1\nb-1 4\nb-2 5\n", "utt2age:2: 'a-2': a number, 0 or more, expected, not '-1'"),
        ("spk2warp", "a 0.9\nb 1.5\n", "spk2warp:2: 'b': a factor between 0.5 and 1.5 expected, not '1.5'"),
        ("utt2warp", "a-1 0.5\na-2 1\nb-1 1\nb-2 1\n", "utt2warp:1: 'a-1': a factor between 0.5 and 1.5 expected, not '0.5'"),
        ("utt2dur", "a-1 1\na-2 1\nb-1 0\nb-2 1\n", "utt2dur:3: 'b-1': seconds above 0 expected, not '0'"),
        ("utt2dur", "a-1 1\na-2 nan\nb-1 1\nb-2 1\n", "utt2dur:2: 'a-2': seconds above 0 expected, not 'nan'"),
        ("utt2dur", "a-1 1 s\na-2 1\nb-1 1\nb-2 1\n", "utt2dur:1: 'a-1': seconds above 0 expected, not '1 s'"),
        ("utt2dur", "a-1 1_0\na-2 1\nb-1 1\nb-2 1\n", "utt2dur:1: 'a-1': seconds above 0 expected, not '1_0'"),
        ("reco2dur", "a-1 1\na-2 1\nb-1 1\nb-2 inf\n", "reco2dur:4: 'b-2': seconds above 0 expected, not 'inf'"),
        ("reco2dur", "a-1 1\n", "reco2dur: 'a-2' is in utt2spk but not in reco2dur (and 2 more); run utils/fix_data_dir.py"),
        ("reco2file_and_channel", "a-1 x A\na-2 x C\nb-1 x A\nb-2 x A\n", "reco2file_and_channel:2: 'a-2': a file and A or B expected, not 'x C'"),
        ("utt2num_frames", "a-1 1\na-2 1\nb-1 1.5\nb-2 1\n", "utt2num_frames:3: 'b-1': a whole number above 0 expected, not '1.5'"),
        ("utt2num_frames", "a-1 0\na-2 1\nb-1 1\nb-2 1\n", "utt2num_frames:1: 'a-1': a whole number above 0 expected, not '0'"),
        ("utt2num_frames", "a-1 -1\na-2 1\nb-1 1\nb-2 1\n", "utt2num_frames:1: 'a-1': a whole number above 0 expected, not '-1'"),
        ("utt2num_frames", "a-1 ٣\na-2 1\nb-1 1\nb-2 1\n", "utt2num_frames:1: 'a-1': a whole number above 0 expected, not '٣'"),
        ("frame_shift", "ten\n", "frame_shift: one number of seconds above 0 expected"),
        ("trials", "", "trials: empty; make it anew, or remove it"),
        ("trials", "a-1 a-2\n", "trials:1: `enrol-utt test-utt target|nontarget` expected, not 'a-1 a-2'"),
        ("trials", "a-1 a-2 yes\n", "trials:1: target or nontarget expected, not 'yes'"),
        ("trials", "a-1 a-2 target\na-1 c-1 nontarget\n", "trials:2: 'c-1' is neither an utterance nor a speaker of utt2spk (1 such lines); " + FIX),
        ("trials", "a-1 a-2 target\r\n", "trials:1: Windows line ending; remove them with utils/fix_data_dir.py D"),
        ("trials", "\ufeffa-1 a-2 target\n", "trials:1: starts with a byte order mark; remove it with utils/fix_data_dir.py D"),
        ("trials", "a-1 a-2 target", "trials: the last line lacks its newline, the list may be cut off; make it anew"),
        ("trials_hard", "a-1 a-2 target\na-1 b-1 no\n", "trials_hard:2: target or nontarget expected, not 'no'"),
        ("utt2mood", "a-1 glad\n", "utt2mood: 'a-2' is in utt2spk but not in utt2mood (and 2 more); run utils/fix_data_dir.py"),
        ("spk2shoes", "c 3\n", "spk2shoes: 'a' is in utt2spk as a speaker but not in spk2shoes (and 1 more); run utils/fix_data_dir.py"),
    ],
)
def test_a_broken_directory_is_refused_in_one_line(data, name, content, message):
    if content is None:
        (data / name).unlink()
    else:
        (data / name).write_text(content.replace(" x\n", " D/utt2spk\n").replace("D/", f"{data}/") if name.endswith(".scp") else content)
    assert troubles(data) == [f"D/{message}"]


@pytest.mark.parametrize(
    "content, speaker",
    [
        ("a a-1 a-2\nb b-1\n", "b"),
        ("a a-2 a-1\nb b-1 b-2\n", "a"),
        ("a a-1 a-2\n", "b"),
        ("a a-1 a-2\nb b-1 b-2\nc c-1\n", "c"),
    ],
)
def test_an_spk2utt_that_says_otherwise_is_refused(data, content, speaker):
    write(data, spk2utt=content)
    remedy = "make it anew with: utils/utt2spk_to_spk2utt.py D/utt2spk D/spk2utt"
    assert troubles(data) == [f"D/spk2utt: not what utt2spk says of speaker '{speaker}'; {remedy}"]


def test_utterances_that_do_not_sort_by_speaker_are_refused(data):
    write(data, utt2spk="a-1 b\na-2 a\nb-1 b\nb-2 b\n", spk2utt="a a-2\nb a-1 b-1 b-2\n")
    assert troubles(data) == [
        "D/utt2spk:2: speaker 'a' after 'b'; speaker ids must be prefixes of utterance ids, as <spk>-<utt>: "
        "utils/copy_data_dir.py --spk-as-prefix true makes them so, or pass --spk-prefix false"
    ]
    succeed("validate_data_dir", "--spk-prefix", "false", data)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("segments", "a-1 r1 0 1\n", "segments: 'a-2' is in utt2spk but not in segments (and 2 more); run utils/fix_data_dir.py"),
        ("segments", "a-1 r1 0\n", "segments:1: 4 fields expected, 3 found: 'a-1 r1 0'"),
        ("segments", "a-1 r1 1 1\na-2 r1 0 1\nb-1 r2 0 1\nb-2 r2 0 1\n", "segments:1: 'a-1': from 1 to 1 s; 0 <= start < end is needed"),
        ("segments", "a-1 r1 0 1\na-2 r1 -1 1\nb-1 r2 0 1\nb-2 r2 0 1\n", "segments:2: 'a-2': from -1 to 1 s; 0 <= start < end is needed"),
        (
            "segments",
            "a-1 r1 0 1\na-2 r1 x 1\nb-1 r2 0 1\nb-2 r2 0 1\n",
            "segments:2: 'a-2': `utterance recording start end` with times in seconds expected, not 'r1 x 1'",
        ),
        ("wav.scp", None, "wav.scp: no such file"),
        ("wav.scp", "r1 /r1.wav\n", "wav.scp: 'r2' is in segments as a recording but not in wav.scp; run utils/fix_data_dir.py"),
        ("wav.scp", "r1 /r1.wav\nr2 /r\nr3 /r\n", "wav.scp: 'r3' is in wav.scp but not in segments as a recording; run utils/fix_data_dir.py"),
        ("reco2dur", "r1 1\n", "reco2dur: 'r2' is in segments as a recording but not in reco2dur; run utils/fix_data_dir.py"),
    ],
)
def test_broken_segments_are_refused_in_one_line(tmp_path, name, content, message):
    data = with_segments(tmp_path / "data", reco2dur="r1 5\nr2 5\n")
    if content is None:
        (data / name).unlink()
    else:
        write(data, **{name.replace(".", "__"): content})
    assert troubles(data, "--check-files", "false", "--wav", "false") == [f"D/{message}"]


def test_each_broken_table_is_told(data):
    write(data, utt2age="a-1 x\n", utt2dur="a-1 0\na-2 1\nb-1 1\nb-2 1\n", spk2gender="a m\r\nb f\r\n")
    assert troubles(data) == [
        "D/spk2gender:1: Windows line ending; remove them with: sed -i 's/\\r$//' D/spk2gender",
        "D/utt2age: 'a-2' is in utt2spk but not in utt2age (and 2 more); run utils/fix_data_dir.py",
        "D/utt2dur:1: 'a-1': seconds above 0 expected, not '0'",
    ]


def test_with_a_broken_utt2spk_the_other_tables_are_read_nevertheless(data):
    write(data, utt2spk="a-1\n", utt2age="b-1 4\na-1 3\n")
    assert troubles(data) == [
        "D/utt2spk:1: 2 fields expected, 1 found: 'a-1'",
        "D/utt2age:2: not sorted, 'a-1' after 'b-1'; sort it with: LC_ALL=C sort -o D/utt2age D/utt2age",
    ]


# ---- features and their settings


def test_features_asked_for_need_their_settings(data):
    utts = ("a-1", "a-2", "b-1", "b-2")
    write_feats(data, {utt: np.zeros((3, 24), np.float32) for utt in utts})
    write_vad(data, {utt: np.ones(3, np.float32) for utt in utts})
    succeed("validate_data_dir", "--feats", "true", data)
    (data / "feats.json").unlink()
    assert troubles(data, "--feats", "true") == ["D/feats.json: no such file; it holds the settings of feats.scp, see utils/adopt_feats.py D"]


@pytest.fixture
def featured(data):
    """A directory with features of 3 frames."""
    write_feats(data, {utt: np.zeros((3, 24), np.float32) for utt in ("a-1", "a-2", "b-1", "b-2")})
    return data


def test_frames_that_are_not_those_of_the_features_are_refused(featured):
    write(featured, utt2num_frames="a-1 3\na-2 5\nb-1 2\nb-2 3\n")
    remedy = "make it anew with utils/get_utt2num_frames.py --overwrite true D"
    assert troubles(featured, "--feats", "true") == [f"D/utt2num_frames: 'a-2' has 5 frames there, but 3 by feats.scp (2 such); {remedy}"]
    succeed("get_utt2num_frames", "--overwrite", "true", featured)
    succeed("validate_data_dir", "--feats", "true", featured)


def test_decisions_that_are_not_as_many_as_the_frames_are_refused(featured):
    write_vad(featured, {utt: np.ones(4 if utt == "b-1" else 3, np.float32) for utt in ("a-1", "a-2", "b-1", "b-2")})
    message = "D/vad.scp: 'b-1' has 4 decisions but 3 frames (1 such); run steps/compute_vad.py --overwrite true D"
    assert troubles(featured, "--feats", "true") == [message]


def test_features_that_are_cut_off_are_refused(featured):
    archive = featured / "feats.ark"
    archive.write_bytes(archive.read_bytes()[:-8])
    (line,) = troubles(featured, "--feats", "true")
    assert line.startswith("D/feats.scp: 'b-2': ") and line.endswith("3 x 24 values are announced but the archive ends before; make it anew")


@pytest.mark.parametrize("content, message", [("[]", "the settings of feats.scp as name and value were expected; make feats.scp anew"), ("{", "not JSON")])
def test_settings_that_are_none_are_refused(data, content, message):
    write(data, feats__json=content, feats__scp="a-1 x.ark:4\na-2 x.ark:5\nb-1 x.ark:6\nb-2 x.ark:7\n")
    (line,) = troubles(data, "--check-files", "false")
    assert line.startswith(f"D/feats.json: {message}")


def test_missing_tables_are_refused_where_asked_for(data):
    assert troubles(data, "--feats", "true", "--text", "true") == [
        "D/text: no such file",
        "D/feats.scp: no such file; make it with steps/make_feats.py D",
    ]


# ---- recordings


@pytest.fixture
def heard(tmp_path):
    """A directory of four sound recordings."""
    utts = ("a-1", "a-2", "b-1", "b-2")
    for number, utt in enumerate(utts):
        soundfile.write(tmp_path / f"{utt}.wav", tone(0.5, hz=200 + number), RATE, "PCM_16")
    return write(small(tmp_path / "data"), wav__scp="".join(f"{utt} {tmp_path}/{utt}.wav\n" for utt in utts))


def test_every_recording_can_be_opened(heard, tmp_path):
    out = succeed("validate_data_dir", "--check-audio", "true", "--report", tmp_path / "report.json", heard)
    assert f"validate_data_dir: the recordings of {heard}\n  recordings  4\n" in out
    assert "  no trouble " in out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["audio"]["rates"] == {"16000": 4}
    assert report["hours"] == 0.0006


def test_recordings_that_stop_a_step_are_troubles(heard, tmp_path):
    whole = (tmp_path / "a-2.wav").read_bytes()
    (tmp_path / "a-2.wav").write_bytes(whole[:5000])
    (tmp_path / "b-1.wav").write_bytes(b"")
    (tmp_path / "b-2.wav").write_bytes(b"no sound")
    done = call("validate_data_dir", "--check-audio", "true", "--report", tmp_path / "report.json", heard)
    assert done.status == 1
    lines = done.err.splitlines()
    for line, utt, number in zip(lines, ("a-2", "b-1", "b-2"), (2, 3, 4), strict=True):
        assert line.startswith(f"validate_data_dir.py: {heard}/wav.scp:{number}: '{utt}': {tmp_path}/{utt}.wav: ")
    assert "is valid" not in done.out
    assert json.loads((tmp_path / "report.json").read_text())["audio"]["found"]["cut_off"] == ["a-2"]


def test_durations_that_are_not_those_of_the_recordings_are_refused(heard):
    write(heard, utt2dur="a-1 0.59\na-2 0.61\nb-1 7\nb-2 0.5\n")
    done = call("validate_data_dir", "--check-audio", "true", heard)
    remedy = f"make it anew with utils/get_utt2dur.py --overwrite true {heard}"
    assert done.status == 1
    assert done.err == f"validate_data_dir.py: {heard}/utt2dur: 'a-2' has 0.61 s there, but 0.50 s by its recording (2 such); {remedy}\n"


def test_durations_are_held_against_segments_where_there_are_some(heard, tmp_path):
    cut = "a-1 a-1 0 0.3\na-2 a-2 0 0.3\nb-1 b-1 0 0.3\nb-2 b-2 0 0.9\n"
    write(heard, segments=cut, utt2dur="a-1 0.3\na-2 0.3\nb-1 0.3\nb-2 0.9\n")
    succeed("validate_data_dir", "--check-audio", "true", heard)
    write(heard, utt2dur="a-1 0.5\na-2 0.3\nb-1 0.3\nb-2 0.9\n")
    assert "'a-1' has 0.5 s there, but 0.30 s by segments (1 such)" in call("validate_data_dir", "--check-audio", "true", heard).err


def test_of_many_bad_recordings_the_first_are_told(heard, monkeypatch):
    monkeypatch.setattr(module("validate_data_dir"), "MOST_SHOWN", 2)
    write(heard, wav__scp="".join(f"{utt} {heard}/utt2spk\n" for utt in ("a-1", "a-2", "b-1", "b-2")))
    lines = call("validate_data_dir", "--check-audio", "true", heard).err.splitlines()
    assert len(lines) == 3
    assert lines[2] == f"validate_data_dir.py: {heard}: and 2 more such; --report lists all"


def test_recordings_that_are_only_odd_are_warnings(heard, tmp_path):
    soundfile.write(tmp_path / "a-1.wav", np.zeros(8000, np.int16), RATE, "PCM_16")
    (tmp_path / "b-1.wav").write_bytes((tmp_path / "a-2.wav").read_bytes())
    done = call("validate_data_dir", "--check-audio", "true", heard)
    assert done.status == 0
    warnings = done.err.splitlines()
    assert f"validate_data_dir: warning: {heard}: 1 silent, below -60 dB of full scale: a-1" in warnings
    assert any("a-2 = b-1" in warning for warning in warnings)


def test_a_program_in_wav_scp_needs_to_be_allowed(heard, tmp_path):
    lines = (heard / "wav.scp").read_text().splitlines()
    lines[0] = f"a-1 head -c 1000000 {tmp_path}/a-1.wav |"
    write(heard, wav__scp="\n".join(lines) + "\n")
    done = call("validate_data_dir", "--check-audio", "true", heard)
    assert done.status == 1 and "--allow-cmd head" in done.err
    succeed("validate_data_dir", "--check-audio", "true", "--allow-cmd", "head", heard)


# ---- options


def test_wav_scp_may_be_absent_where_allowed(data):
    (data / "wav.scp").unlink()
    assert "  recordings  no wav.scp\n" in succeed("validate_data_dir", "--wav", "false", data)


def test_files_need_not_be_there_where_allowed(data):
    write(data, wav__scp="a-1 /none\na-2 /none\nb-1 /none.ark:4\nb-2 /none\n")
    succeed("validate_data_dir", "--check-files", "false", data)


def test_characters_that_cannot_be_printed_are_allowed_where_asked_for(data):
    write(data, text="a-1 so\na-2 \u200bso\nb-1 x\nb-2 x\n")
    succeed("validate_data_dir", "--non-print", "true", data)


def test_hours_come_from_segments_or_frames_where_there_is_no_utt2dur(data, tmp_path):
    assert "unknown, make utt2dur with utils/get_utt2dur.py" in succeed("validate_data_dir", data)
    write(data, utt2num_frames="a-1 360000\na-2 1\nb-1 1\nb-2 1\n", feats__json='{"frame_shift": 10.0}')
    assert "  hours       1.00\n" in succeed("validate_data_dir", data)
    segmented = with_segments(tmp_path / "segmented", segments="a-1 r1 0 3600\na-2 r1 2 3\nb-1 r1 3 4\nb-2 r2 0.25 7200.25\n")
    assert "  hours       3.00\n" in succeed("validate_data_dir", "--check-files", "false", segmented)


def test_the_report_is_json(data, tmp_path):
    write(data, utt2dur="a-1 900\na-2 900\nb-1 900\nb-2 900\n")
    succeed("validate_data_dir", "--report", tmp_path / "report.json", data)
    assert json.loads((tmp_path / "report.json").read_text()) == {
        "data": str(data),
        "valid": True,
        "troubles": [],
        "warnings": [],
        "utterances": 4,
        "speakers": 2,
        "utterances_per_speaker": {"least": 2, "median": 2, "most": 2},
        "recordings": 4,
        "hours": 1.0,
        "tables": {"utt2dur": 4, "wav.scp": 4},
    }


def test_the_report_of_a_broken_directory_holds_its_troubles(data, tmp_path):
    write(data, utt2age="a-1 x\n")
    assert call("validate_data_dir", "--report", tmp_path / "report.json", data).status == 1
    report = json.loads((tmp_path / "report.json").read_text())
    assert not report["valid"]
    assert len(report["troubles"]) == 1


def test_a_directory_that_is_not_there_is_refused(tmp_path):
    message = "no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py"
    assert refuse("validate_data_dir", tmp_path / "none") == f"{tmp_path}/none: {message}"


@pytest.mark.parametrize("words", [[], ["x", "y"], ["--none", "1", "x"], ["--wav", "no", "x"], ["x", "--feats"]])
def test_wrong_command_lines_exit_with_2(words):
    done = call("validate_data_dir", *words)
    assert (done.status, done.out) == (2, "")
    assert done.err.count("\n") == 1 and done.err.endswith("; see --help\n")


def test_the_program_exits_with_1_where_kaldis_exits_with_0(program, data):
    write(data, utt2spk="a-1 a\na-2 a x\n")
    done = program("utils/validate_data_dir.py", data)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"validate_data_dir.py: {data}/utt2spk:2: 2 fields expected, 3 found: 'a-2 a x'\n"


def test_an4_is_valid(corpora, tmp_path, program, root):
    conf = root / "egs/an4/v1/conf"
    lists = ["--valid-list", conf / "valid_speakers", "--test-list", conf / "test_speakers"]
    assert program("local/make_an4.py", *lists, corpora / "an4", tmp_path).returncode == 0
    for name, utterances in (("train", 460), ("valid", 79), ("test", 255)):
        assert f"  utterances  {utterances}\n" in succeed("validate_data_dir", "--text", "true", tmp_path / name)
