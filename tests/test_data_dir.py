"""pytorch/data/data_dir.py: Kaldi's tables, read strictly and written so that Kaldi reads them."""

import subprocess

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import failure

from pytorch.data.data_dir import REST, DataDir, key_of, read_table, spk2utt_of, write_data_dir, write_table


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# ---- reading what is right


@pytest.mark.parametrize(
    "content, fields, table",
    [
        ("a 1\nb 2\n", 2, {"a": "1", "b": "2"}),
        ("a 1 2\nb 3 4\n", 3, {"a": ("1", "2"), "b": ("3", "4")}),
        ("a one two  three\nb x\n", REST, {"a": "one two  three", "b": "x"}),
        ("a\t1\nb   2  \n", 2, {"a": "1", "b": "2"}),
        ("a\tone  two \n", REST, {"a": "one  two"}),
        ("A 1\nB 2\na 3\n", 2, {"A": "1", "B": "2", "a": "3"}),
        ("spk1-1 x\nspk10-1 y\nspk1_1 z\n", 2, {"spk1-1": "x", "spk10-1": "y", "spk1_1": "z"}),
    ],
)
def test_a_table_is_read_as_it_stands(tmp_path, content, fields, table):
    found = read_table(write(tmp_path / "table", content), fields)
    assert list(found.items()) == list(table.items())


def test_ids_beyond_ascii_are_sorted_by_their_bytes(tmp_path):
    ids = ["z", "ü-1", "愛-1", "𝒳-1", "�-1", "Z", "é-1", "é-1"]
    path = tmp_path / "table"
    write_table(path, dict.fromkeys(ids, "x"))
    lines = path.read_bytes().split(b"\n")[:-1]
    assert lines == sorted(lines)
    sort = subprocess.run(["sort", "-C", str(path)], env={"LC_ALL": "C"})
    assert sort.returncode == 0
    assert read_table(path).keys() == set(ids)


# ---- reading what is wrong


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "{path}: empty"),
        ("a 1\nb 2", "{path}:2: the last line lacks its newline, the file may be cut off; make it anew, or add one with: echo >> {path}"),
        ("a", "{path}:1: the last line lacks its newline, the file may be cut off; make it anew, or add one with: echo >> {path}"),
        ("\n", "{path}:1: blank line; remove it"),
        ("a 1\n\nb 2\n", "{path}:2: blank line; remove it"),
        ("a 1\nb 2\n\n", "{path}:3: blank line; remove it"),
        ("a 1\n \t \nb 2\n", "{path}:2: blank line; remove it"),
        ("a 1\nb\nc 3\n", "{path}:2: 2 fields expected, 1 found: 'b'"),
        ("a 1\nb 2 3\n", "{path}:2: 2 fields expected, 3 found: 'b 2 3'"),
        ("a 1\nc 2\nb 3\n", "{path}:3: not sorted, 'b' after 'c'; sort it with: LC_ALL=C sort -o {path} {path}"),
        ("a 1\nB 2\n", "{path}:2: not sorted, 'B' after 'a'; sort it with: LC_ALL=C sort -o {path} {path}"),
        ("ä 1\nb 2\n", "{path}:2: not sorted, 'b' after 'ä'; sort it with: LC_ALL=C sort -o {path} {path}"),
        ("a 1\nb 2\nb 3\n", "{path}:3: 'b' stands twice; keep one line of it"),
        ("a 1\nb 2\na 3\n", "{path}:3: not sorted, 'a' after 'b'; sort it with: LC_ALL=C sort -o {path} {path}"),
        ("a 1\r\nb 2\r\n", "{path}:1: Windows line ending; remove them with: sed -i 's/\\r$//' {path}"),
        ("a 1\nb 2\r\nc 3\n", "{path}:2: Windows line ending; remove them with: sed -i 's/\\r$//' {path}"),
        (b"a 1\nb \xff\xfe\n", "{path}: not a text file (byte 6 is not UTF-8)"),
        ("a 1\nü 2\n".encode("latin-1"), "{path}: not a text file (byte 4 is not UTF-8)"),
        ("a 1\nb 2\n".encode("utf-16"), "{path}: not a text file (byte 0 is not UTF-8)"),
        ("a 1\n".encode("utf-8-sig"), "{path}:1: starts with a byte order mark; remove it with: sed -i '1s/^\\xEF\\xBB\\xBF//' {path}"),
    ],
)
def test_a_broken_table_fails_with_file_line_and_remedy(tmp_path, content, message):
    path = write(tmp_path / "table", content)
    assert failure(read_table, path) == message.format(path=path)


@pytest.mark.parametrize("fields, found", [(REST, "two or more fields expected, 1 found: 'b'"), (3, "3 fields expected, 1 found: 'b'")])
def test_the_number_of_fields_asked_for_is_named(tmp_path, fields, found):
    path = write(tmp_path / "table", "a 1 2\nb\n")
    assert failure(read_table, path, fields) == f"{path}:2: {found}"


def test_a_long_line_is_shown_shortened(tmp_path):
    path = write(tmp_path / "table", "a " + "x " * 1000 + "\n")
    assert len(failure(read_table, path)) < len(str(path)) + 150


def test_a_missing_table_fails(tmp_path):
    assert failure(read_table, tmp_path / "none") == f"{tmp_path}/none: no such file"


def test_a_folder_in_place_of_a_table_fails(tmp_path):
    assert failure(read_table, tmp_path) == f"{tmp_path}: a folder, a file was expected"


@pytest.mark.parametrize(
    "content, remedy",
    [
        ("b 1\na 2\n", "LC_ALL=C sort -o {path} {path}"),
        ("a 1\r\nb 2\r\n", "sed -i 's/\\r$//' {path}"),
        ("a 1\nb 2", "echo >> {path}"),
        ("\ufeffa 1\nb 2\n", "sed -i '1s/^\\xEF\\xBB\\xBF//' {path}"),
    ],
)
def test_the_remedy_offered_is_a_command_that_helps(tmp_path, content, remedy):
    path = write(tmp_path / "table", content)
    command = remedy.format(path=path)
    assert failure(read_table, path).endswith(command)
    subprocess.run(["bash", "-c", command], check=True)
    assert list(read_table(path)) == ["a", "b"]


# ---- writing


def test_a_table_is_written_sorted_with_one_space(tmp_path):
    write_table(tmp_path / "sub/table", {"b": "x y", "a": 1.5, "B": ["u", "v"], "c": ("w",)})
    assert (tmp_path / "sub/table").read_bytes() == b"B u v\na 1.5\nb x y\nc w\n"


@pytest.mark.parametrize("key", ["", "a b", " a", "a\n", "a\t", "a\u00a0b", "a\u2003"])
def test_an_id_with_blanks_is_not_written(tmp_path, key):
    assert failure(write_table, tmp_path / "table", {key: "x"}) == f"{tmp_path}/table: {key!r} cannot be an id: empty or with blanks"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["", " ", [], [""], "one\ntwo", "one\rtwo", "one\n"])
def test_a_value_that_could_not_be_read_back_is_not_written(tmp_path, value):
    message = failure(write_table, tmp_path / "table", {"a": "x", "b": value})
    assert message == f"{tmp_path}/table: the value of 'b' cannot be written: empty, or with a line break"
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_table(tmp_path):
    write_table(tmp_path / "table", {"a": "old"})
    failure(write_table, tmp_path / "table", {"a": "new", "b c": "x"})
    assert read_table(tmp_path / "table") == {"a": "old"}


NOT_SURROGATES = st.characters(exclude_categories=["Cs"])
IDS = st.text(NOT_SURROGATES, min_size=1, max_size=8).filter(lambda text: text.split() == [text] and "\r" not in text and text[0] != "\ufeff")
LINES = st.text(NOT_SURROGATES, min_size=1, max_size=20).filter(lambda text: text.strip() == text and not {"\n", "\r"} & set(text))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(IDS, LINES, min_size=1, max_size=8))
@example({"a": "x | y", "a\0": "z", "ａ": "1", "𐀀": "2"})
def test_what_is_written_is_read_back(tmp_path, table):
    path = tmp_path / "table"
    write_table(path, table)
    found = read_table(path, REST)
    assert found == table
    assert list(found) == sorted(table, key=str.encode)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(IDS, st.lists(IDS, min_size=2, max_size=2), min_size=1, max_size=6))
def test_tables_of_three_fields_are_read_back(tmp_path, table):
    write_table(tmp_path / "table", table)
    assert read_table(tmp_path / "table", 3) == {key: tuple(words) for key, words in table.items()}


def test_spk2utt_lists_the_utterances_of_each_speaker_in_order():
    assert list(spk2utt_of({"b-2": "b", "a-1": "a", "b-1": "b"}).items()) == [("a", ["a-1"]), ("b", ["b-1", "b-2"])]


def test_a_data_directory_is_written_whole(tmp_path):
    write_data_dir(tmp_path / "d", {"b-1": "/b.wav", "a-1": "/a.wav"}, {"b-1": "b", "a-1": "a"}, spk2gender={"a": "f", "b": "m"})
    files = {path.name: path.read_text() for path in (tmp_path / "d").iterdir()}
    assert files == {
        "wav.scp": "a-1 /a.wav\nb-1 /b.wav\n",
        "utt2spk": "a-1 a\nb-1 b\n",
        "spk2utt": "a a-1\nb b-1\n",
        "spk2gender": "a f\nb m\n",
    }


# ---- DataDir


@pytest.fixture
def data(tmp_path):
    """Four utterances of two speakers, with recordings that are there (empty files)."""
    folder = tmp_path / "data"
    wavs = {utt: str(write(tmp_path / f"{utt}.wav", "")) for utt in ("a-1", "a-2", "b-1", "b-2")}
    write_data_dir(folder, wavs, {utt: utt[0] for utt in wavs})
    return folder


def test_a_data_directory_gives_its_tables(data, tmp_path):
    found = DataDir(data)
    assert found.utt2spk == {"a-1": "a", "a-2": "a", "b-1": "b", "b-2": "b"}
    assert found.spk2utt == {"a": ["a-1", "a-2"], "b": ["b-1", "b-2"]}
    assert found.wav_scp["b-1"] == f"{tmp_path}/b-1.wav"
    assert found.has("utt2spk")
    assert not found.has("feats.scp")
    assert found / "feats.scp" == data / "feats.scp"


def test_a_path_with_blanks_in_wav_scp_is_one_path(data):
    write(data / "wav.scp", "a-1 /x/my file.wav\na-2 /y\nb-1 /z\nb-2 /w\n")
    assert DataDir(data).wav_scp["a-1"] == "/x/my file.wav"


def test_a_missing_data_directory_fails(tmp_path):
    assert failure(DataDir, tmp_path / "none") == f"{tmp_path}/none: no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py"


def test_a_file_in_place_of_a_data_directory_fails(data):
    assert failure(DataDir, data / "utt2spk") == f"{data}/utt2spk: no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py"


def test_segments_say_which_piece_of_which_recording_an_utterance_is(data):
    assert DataDir(data).segments is None
    assert DataDir(data).recordings == ["a-1", "a-2", "b-1", "b-2"]
    write(data / "segments", "a-1 r2 0 1.5\na-2 r1 2 3\nb-1 r1 2.5 4e0\nb-2 r10 0 1\n")
    found = DataDir(data)
    assert found.segments == {"a-1": ("r2", 0.0, 1.5), "a-2": ("r1", 2.0, 3.0), "b-1": ("r1", 2.5, 4.0), "b-2": ("r10", 0.0, 1.0)}
    assert found.recordings == ["r1", "r10", "r2"]
    write(data / "reco2dur", "r1 4\nr10 1\nr2 2\n")
    assert found.per_rec("reco2dur") == {"r1": "4", "r10": "1", "r2": "2"}
    message = f"{data}/wav.scp: 'r1' is in segments as a recording but not in wav.scp (and 2 more); run utils/fix_data_dir.py"
    assert failure(lambda: found.wav_scp) == message


def test_commands_and_places_in_archives_are_handed_on_as_they_stand_and_nothing_is_run(data, tmp_path):
    write(data / "wav.scp", f"a-1 /x.wav\na-2 touch {tmp_path}/ran |\nb-1 wav.ark:17\nb-2 cat 'a  b.wav' |\n")
    assert DataDir(data).wav_scp == {"a-1": "/x.wav", "a-2": f"touch {tmp_path}/ran |", "b-1": "wav.ark:17", "b-2": "cat 'a  b.wav' |"}
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "key, names",
    [
        ("utt", "utt2spk utt2anything text segments feats.scp vad.scp anything.scp"),
        ("spk", "spk2utt spk2gender spk2anything cmvn.scp"),
        ("rec", "wav.scp reco2dur reco2file_and_channel reco2anything"),
        (None, "trials frame_shift feats.json feats.ark README log"),
    ],
)
def test_the_name_of_a_file_tells_what_it_is_keyed_by(key, names):
    assert {key_of(name) for name in names.split()} == {key}


@pytest.mark.parametrize(
    "lines, message",
    [
        ("a-1 /x\na-2 /x\nb-1 /x\n", "'b-2' is in utt2spk but not in wav.scp; run utils/fix_data_dir.py"),
        ("b-1 /x\n", "'a-1' is in utt2spk but not in wav.scp (and 2 more); run utils/fix_data_dir.py"),
        ("a-1 /x\na-2 /x\nb-1 /x\nb-2 /x\nb-3 /x\n", "'b-3' is in wav.scp but not in utt2spk; run utils/fix_data_dir.py"),
        ("a-0 /x\na-1 /x\na-2 /x\nb-1 /x\nb-2 /x\nb-3 /x\n", "'a-0' is in wav.scp but not in utt2spk (and 1 more); run utils/fix_data_dir.py"),
    ],
)
def test_tables_with_other_utterances_than_utt2spk_are_refused(data, lines, message):
    write(data / "wav.scp", lines)
    assert failure(lambda: DataDir(data).wav_scp) == f"{data}/wav.scp: {message}"


def test_a_speaker_table_with_other_speakers_is_refused(data):
    write(data / "spk2gender", "a m\n")
    expected = f"{data}/spk2gender: 'b' is in utt2spk as a speaker but not in spk2gender; run utils/fix_data_dir.py"
    assert failure(DataDir(data).per_spk, "spk2gender") == expected


def test_tables_of_utterances_and_speakers_are_checked_and_returned(data):
    write(data / "utt2age", "a-1 20\na-2 20\nb-1 31\nb-2 31\n")
    write(data / "spk2gender", "a m\nb f\n")
    assert DataDir(data).per_utt("utt2age")["b-1"] == "31"
    assert DataDir(data).per_spk("spk2gender") == {"a": "m", "b": "f"}
