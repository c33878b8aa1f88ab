"""utils/relocate_data_dir.py: paths of files that have moved."""

import pytest
from data_dirs import call, files, refuse, succeed, write


@pytest.fixture
def data(tmp_path):
    """A directory whose files have moved from /old to <tmp>/new place."""
    for name in ("a.wav", "b c.wav", "f.ark", "v.ark", "d.sph"):
        write(tmp_path / "new", **{name: ""})
    return write(
        tmp_path / "data",
        utt2spk="a a\nb b\nc c\nd d\n",
        wav__scp="a /old/a.wav\nb /old/b c.wav\nc /older/a.wav\nd sph2pipe -f wav '/old/d.sph' | sox - --x=/old/a.wav /older/old -t wav - |\n",
        feats__scp="a /old/f.ark:1\nb /old/f.ark:2[0:4]\nc /old/f.ark:3\nd /old/f.ark:4\n",
        vad__scp="a /x/v.ark:1\nb /x/v.ark:2\nc /x/v.ark:3\nd /x/v.ark:4\n",
        feats__sha256=f"{'1' * 64} /old\n{'2' * 64} /older\n",
        text="a /old/a.wav\nb x\nc x\nd x\n",
    )


def relocate(data, *options):
    return succeed("relocate_data_dir", "--from", "/old", "--to", data.parent / "new", *options, data)


def test_paths_are_changed_wherever_they_begin_so(data, tmp_path):
    out = relocate(data)
    new = tmp_path / "new"
    found = files(data)
    assert found["wav.scp"].splitlines() == [
        f"a {new}/a.wav",
        f"b {new}/b c.wav",
        "c /older/a.wav",
        f"d sph2pipe -f wav '{new}/d.sph' | sox - --x={new}/a.wav /older/old -t wav - |",
    ]
    assert found["feats.scp"] == f"a {new}/f.ark:1\nb {new}/f.ark:2[0:4]\nc {new}/f.ark:3\nd {new}/f.ark:4\n"
    assert found["feats.sha256"] == f"{'1' * 64} {new}\n{'2' * 64} /older\n"
    assert found["vad.scp"].startswith("a /x/v.ark:1\n")
    assert found["text"].startswith("a /old/a.wav\n")
    assert out == (
        f"relocate_data_dir: {data}/feats.scp: 4 of 4 entries were changed\n"
        f"relocate_data_dir: {data}/vad.scp: 0 of 4 entries were changed\n"
        f"relocate_data_dir: {data}/vad.scp: 4 lie elsewhere and stay, the first is /x/v.ark:1\n"
        f"relocate_data_dir: {data}/wav.scp: 3 of 4 entries were changed\n"
        f"relocate_data_dir: {data}/wav.scp: 1 lie elsewhere and stay, the first is /older/a.wav\n"
        f"relocate_data_dir: {data}/feats.sha256: 1 of 2 entries were changed\n"
        f"relocate_data_dir: {data}/feats.sha256: 1 lie elsewhere and stay, the first is /older\n"
    )


def test_a_dry_run_says_the_same_and_writes_nothing(data):
    before = files(data)
    dry = relocate(data, "--dry-run", "true")
    assert files(data) == before
    assert relocate(data) == dry.replace("would be", "were")


def test_a_slash_at_the_end_means_nothing(data):
    succeed("relocate_data_dir", "--from", "/old/", "--to", f"{data.parent}/new/", data)
    assert files(data)["wav.scp"].startswith(f"a {data.parent}/new/a.wav\n")


@pytest.mark.parametrize("name, path", [("a.wav", "a.wav"), ("f.ark", "f.ark"), ("d.sph", "d.sph")])
def test_with_a_file_missing_nothing_is_written(data, name, path):
    (data.parent / "new" / name).unlink()
    before = files(data)
    message = f"{data}: {data.parent}/new/{path} would be named, but is not there; nothing was changed"
    assert refuse("relocate_data_dir", "--from", "/old", "--to", data.parent / "new", data) == message
    assert files(data) == before
    relocate(data, "--check-files", "false")


def test_run_again_there_is_nothing_to_do(data):
    for name in ("vad.scp", "feats.sha256"):
        (data / name).unlink()
    write(data, wav__scp="a /old/a.wav\nb /old/b c.wav\nc cat b.wav |\nd sph2pipe -f wav '/old/d.sph' |\n")
    relocate(data)
    before = files(data)
    assert relocate(data) == f"relocate_data_dir: {data}: nothing to do, 7 paths are as they should be\n"
    assert files(data) == before


def test_with_nothing_to_move_and_files_elsewhere_it_is_refused(data, tmp_path):
    relocate(data)
    before = files(data)
    found = "no path in feats.scp, vad.scp, wav.scp, feats.sha256 begins with /old"
    message = f"{data}: {found}; 8 lie under {tmp_path}/new already, but 6 lie elsewhere, the first is /x/v.ark:1; nothing was changed"
    assert refuse("relocate_data_dir", "--from", "/old", "--to", tmp_path / "new", data) == message
    assert files(data) == before


def test_a_run_that_was_stopped_is_taken_up_again_even_into_a_folder_below(tmp_path):
    old, new = tmp_path, tmp_path / "new"
    write(new, a="", b="")
    data = write(tmp_path / "data", utt2spk="a a\nb b\n", wav__scp=f"a {new}/a\nb {new}/b\n", feats__scp=f"a {old}/a:1\nb {old}/b:2\n")
    succeed("relocate_data_dir", "--from", old, "--to", new, data)
    assert files(data)["wav.scp"] == f"a {new}/a\nb {new}/b\n"
    assert files(data)["feats.scp"] == f"a {new}/a:1\nb {new}/b:2\n"


def test_a_beginning_that_no_path_has_is_refused_and_an_example_shown(data):
    found = "no path in feats.scp, vad.scp, wav.scp, feats.sha256 begins with /olde"
    message = f"{data}: {found}; 14 lie elsewhere, the first is /old/f.ark:1; nothing was changed"
    assert refuse("relocate_data_dir", "--from", "/olde", "--to", "/new", data) == message


def test_a_new_place_with_blanks_cannot_stand_in_a_command(data, tmp_path):
    message = f"--to {tmp_path}/new place: has blanks, which commands in wav.scp would take for the end of a word"
    assert refuse("relocate_data_dir", "--from", "/old", "--to", tmp_path / "new place", data) == message


def test_relative_paths_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "wav", **{"a.wav": "", "b c.wav": "", "d.sph": ""})
    data = write(tmp_path / "data", utt2spk="a a\nb b\nc c\nd d\n", wav__scp="a wav/a.wav\nb ./wav/b c.wav\nc /x/c.wav\nd sph2pipe -f wav wav/d.sph |\n")
    assert "3 of 4 entries were changed" in succeed("relocate_data_dir", "--absolute", "true", data)
    assert files(data)["wav.scp"] == f"a {tmp_path}/wav/a.wav\nb {tmp_path}/wav/b c.wav\nc /x/c.wav\nd sph2pipe -f wav {tmp_path}/wav/d.sph |\n"
    assert "nothing to do" in succeed("relocate_data_dir", "--absolute", "true", data)


@pytest.mark.parametrize("words", [[], ["--from", "/x"], ["--to", "/x"], ["--absolute", "true", "--from", "/x", "--to", "/y"], ["--absolute", "false"]])
def test_wrong_command_lines_exit_with_2(data, words):
    done = call("relocate_data_dir", data, *words)
    assert (done.status, done.out) == (2, "")
