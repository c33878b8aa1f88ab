"""pytorch/data/ids.py: different paths have different ids, ids tell their paths, begin with their speaker and sort by speaker."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytorch.data.data_dir import REST, read_table, write_table
from pytorch.data.ids import is_id, path_of, spk_id, stem_of, utt_id

# Names as file systems have them, and as nobody would wish for: made of what could be mixed up
ODD = st.text(st.sampled_from("ab-~=_. %+2D|é\u0301日\u00a0\u2003\u200b\x7f\x1f"), min_size=1, max_size=6)
NAMES = st.one_of(ODD, st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=6))
NAMES = NAMES.filter(lambda name: name != ".")
PATHS = st.builds(lambda root, parts: root + "/".join(parts), st.sampled_from(["", "/"]), st.lists(NAMES, min_size=1, max_size=4))


@pytest.mark.parametrize(
    "path, spk, utt",
    [
        ("id10270/5r0dWxy17C8/00001.wav", None, "id10270-5r0dWxy17C8-00001"),
        ("id10270/5r0dWxy17C8/00001.wav", "id10270", "id10270-5r0dWxy17C8-00001"),
        ("id00012/21Uxsk56VDQ/00001.m4a", "id00012", "id00012-21Uxsk56VDQ-00001"),
        ("./id10270//-x_-y/00001", None, "id10270-~x_~y-00001"),
        ("audio/0001.WAV", "7", "7--audio-0001"),
        ("7.wav", "7", "7--7"),
        ("anna b/a.b.flac", "anna b", "anna=20b-a.b"),
        ("/corpus/é~=.wav", None, "=2Fcorpus-é=7E=3D"),
        ("a\u00a0b.wav", None, "a=C2=A0b"),
        ("a/.wav", None, "a-.wav"),
        ("../a.wav.wav", None, "..-a.wav"),
    ],
)
def test_ids_are_made_as_documented(path, spk, utt):
    assert utt_id(path, spk) == utt
    assert path_of(utt) == stem_of(path)


@settings(max_examples=400, deadline=None)
@given(PATHS, PATHS, st.none() | NAMES, st.none() | NAMES)
def test_different_paths_have_different_ids_whoever_speaks(one, other, spk, other_spk):
    assert (utt_id(one, spk) == utt_id(other, other_spk)) <= (stem_of(one) == stem_of(other))


@settings(max_examples=400, deadline=None)
@given(PATHS, st.none() | NAMES)
def test_an_id_tells_its_path_and_can_stand_in_a_table(path, spk):
    utt = utt_id(path, spk)
    assert path_of(utt) == stem_of(path)
    assert is_id(utt) and utt.split() == [utt]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(NAMES, PATHS), min_size=2, max_size=12))
def test_ids_begin_with_their_speaker_and_sort_by_speaker(pairs):
    spk_of = {utt_id(path, spk): spk_id(spk) for spk, path in pairs}
    assert all(utt.startswith(f"{spk}-") for utt, spk in spk_of.items())
    speakers = [spk_of[utt].encode() for utt in sorted(spk_of, key=str.encode)]
    assert speakers == sorted(speakers)


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab-~=2D."), max_size=8))
def test_what_tells_a_path_is_the_id_of_that_path(text):
    path, spk = path_of(text), text.partition("--")[0]
    if path is not None:
        assert text in (utt_id(f"{path}.wav"), utt_id(f"{path}.wav", path_of(spk)))


@pytest.mark.parametrize("text", ["a=2d", "a=2", "=C3", "a--a-b", "a---b", "-a", "", "--a", "a=C3=A9"])
def test_ids_that_are_nearly_those_of_a_path_tell_none(text):
    assert path_of(text) is None


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(PATHS.map(utt_id), st.just("x"), min_size=1, max_size=8))
def test_tables_keyed_by_ids_are_read_back(tmp_path_factory, table):
    path = tmp_path_factory.getbasetemp() / "table"
    write_table(path, table)
    assert read_table(path, REST) == table


@pytest.mark.parametrize(
    "text, fits", [("a-b~c.é", True), ("", False), ("a b", False), ("a/b", False), ("a\u00a0b", False), ("a\tb", False), ("\ufeffa", False)]
)
def test_words_of_others_are_ids_where_nothing_in_them_is_blank_or_unseen(text, fits):
    assert is_id(text) == fits
