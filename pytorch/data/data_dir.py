"""Data directories: the one reader and writer of Kaldi's tables (wav.scp, utt2spk, spk2utt, feats.scp, utt2X, spk2X)."""

from functools import cached_property
from pathlib import Path

from pytorch.files import need_file, whole_file
from pytorch.program import Fail

REST = None  # for read_table: the value is the rest of the line, blanks included


def read_table(path, fields=2):
    """Read a table whose lines are `key value`, sorted by key in byte order, each key once.

    fields: how many fields a line has, 2 (-> {key: str}), more (-> {key: tuple of str}) or REST (-> {key: rest of the line})
    Returns a dict in file order. Fails with file, line and remedy where the file breaks a rule of Kaldi's tables.
    """
    path = Path(path)
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise Fail(f"{path}: no such file") from None
    except IsADirectoryError:
        raise Fail(f"{path}: a folder, a file was expected") from None
    except UnicodeDecodeError as error:
        raise Fail(f"{path}: not a text file (byte {error.start} is not UTF-8)") from None
    if not text:
        raise Fail(f"{path}: empty")
    if text.startswith("\ufeff"):
        raise Fail(f"{path}:1: starts with a byte order mark; remove it with: sed -i '1s/^\\xEF\\xBB\\xBF//' {path}")
    lines = text.split("\n")
    if "\r" in text:
        number = next(number for number, line in enumerate(lines, 1) if "\r" in line)
        raise Fail(f"{path}:{number}: Windows line ending; remove them with: sed -i 's/\\r$//' {path}")
    if lines.pop() != "":
        raise Fail(f"{path}:{len(lines) + 1}: the last line lacks its newline, the file may be cut off; make it anew, or add one with: echo >> {path}")
    table = {}
    previous = ""
    for number, line in enumerate(lines, 1):
        words = line.split(None, 1) if fields is REST else line.split()
        if len(words) != (fields or 2):
            raise _malformed(path, number, line, words, fields)
        key = words[0]
        if key <= previous and table:
            raise _disorder(path, number, key, previous)
        table[key] = words[1].rstrip() if fields is REST else words[1] if fields == 2 else tuple(words[1:])
        previous = key
    return table


def _malformed(path, number, line, words, fields):
    if not line.strip():
        return Fail(f"{path}:{number}: blank line; remove it")
    return Fail(f"{path}:{number}: {fields or 'two or more'} fields expected, {len(words)} found: '{line[:80]}'")


def _disorder(path, number, key, previous):
    if key == previous:
        return Fail(f"{path}:{number}: '{key}' stands twice; keep one line of it")
    return Fail(f"{path}:{number}: not sorted, '{key}' after '{previous}'; sort it with: LC_ALL=C sort -o {path} {path}")


def write_table(path, table):
    """Write {key: value} sorted in byte order; a value is a string, a number, or a list of words. The file appears whole or not at all."""
    with whole_file(path) as file:
        for key in sorted(table):
            value = table[key]
            if not key or key.split() != [key]:
                raise Fail(f"{path}: {key!r} cannot be an id: empty or with blanks")
            words = " ".join(value) if isinstance(value, (list, tuple)) else str(value)
            if not words.strip() or "\n" in words or "\r" in words:
                raise Fail(f"{path}: the value of '{key}' cannot be written: empty, or with a line break")
            file.write(f"{key} {words}\n")


def spk2utt_of(utt2spk):
    """{utt: spk} -> {spk: [utt, ...]}, both in byte order."""
    spk2utt = {}
    for utt in sorted(utt2spk):
        spk2utt.setdefault(utt2spk[utt], []).append(utt)
    return dict(sorted(spk2utt.items()))


def key_of(name):
    """What the lines of a data directory's file are keyed by, told by the file's name: "utt", "spk", "rec" (recording), or None for no table of it.

    Without segments, recordings are utterances.
    """
    if name == "wav.scp" or name.startswith("reco2"):
        return "rec"
    if name == "cmvn.scp" or name.startswith("spk2"):
        return "spk"
    if name.startswith("utt2") or name.endswith(".scp") or name in ("text", "segments"):
        return "utt"
    return None


def write_data_dir(path, wav_scp, utt2spk, **tables):
    """Write a data directory: wav.scp, utt2spk, spk2utt and any further table by its name (spk2gender=…, utt2age=…)."""
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        write_table(path / name, table)
    write_table(path / "wav.scp", wav_scp)
    write_table(path / "spk2utt", spk2utt_of(utt2spk))
    write_table(path / "utt2spk", utt2spk)


class DataDir:
    """A data directory for reading. Tables are read when asked for and checked against utt2spk."""

    def __init__(self, path):
        self.path = Path(path)
        if not self.path.is_dir():
            raise Fail(f"{self.path}: no such data directory; it is made by stage 1 of a recipe, or with local/make_X.py")

    def __truediv__(self, name):
        return self.path / name

    def has(self, name):
        return (self.path / name).exists()

    @cached_property
    def utt2spk(self):
        return read_table(self.path / "utt2spk")

    @cached_property
    def spk2utt(self):
        return spk2utt_of(self.utt2spk)

    @cached_property
    def segments(self):
        """{utt: (recording, start, end)} in seconds; None where the utterances are the recordings."""
        if not self.has("segments"):
            return None
        return {utt: self._segment(number, utt, words) for number, (utt, words) in enumerate(self.per_utt("segments", 4).items(), 1)}

    @cached_property
    def recordings(self):
        """The ids of the recordings in byte order: the utterances, or what segments names."""
        return list(self.utt2spk) if self.segments is None else sorted({rec for rec, _, _ in self.segments.values()})

    @cached_property
    def wav_scp(self):
        """{recording: path, archive.ark:offset or command |}; pytorch/data/recordings.py opens them."""
        return self.per_rec("wav.scp", REST)

    def per_utt(self, name, fields=2):
        """The table `name`, whose keys must be exactly the utterances of utt2spk."""
        return self._matching(name, fields, self.utt2spk, "utt2spk")

    def per_spk(self, name, fields=2):
        """The table `name`, whose keys must be exactly the speakers."""
        return self._matching(name, fields, self.spk2utt, "utt2spk as a speaker")

    def per_rec(self, name, fields=2):
        """The table `name`, whose keys must be exactly the recordings."""
        return self._matching(name, fields, dict.fromkeys(self.recordings), "utt2spk" if self.segments is None else "segments as a recording")

    def feature_tables(self, voiced):
        """{name: path} of what a network reads here, with vad.scp where it wants voiced frames. Fails where one is not there, with the remedy."""
        remedies = {
            "utt2spk": "",
            "feats.scp": f"make it with steps/make_feats.py {self.path}",
            "feats.json": f"it holds the settings of the features: for those made elsewhere, say them with utils/adopt_feats.py {self.path}",
        }
        if voiced:
            remedy = f"only voiced frames are read unless --voiced false; for those make it with steps/compute_vad.py {self.path}"
            remedies["vad.scp"] = remedies["vad.json"] = remedy
        tables = {name: need_file(self.path / name, remedy) for name, remedy in remedies.items()}
        hashes = ["feats.sha256"] + (["vad.sha256"] if voiced else [])  # of the archives' values; Kaldi's own have none
        for name in hashes:
            self._check_sources(name)
        return tables | {name: self.path / name for name in hashes if self.has(name)}

    def recording_tables(self, voiced):
        """{name: path} of the tables by which features are computed from recordings, with vad.scp where only voiced frames are wanted."""
        tables = {name: need_file(self.path / name) for name in ("utt2spk", "wav.scp")}
        if self.has("segments"):
            tables["segments"] = self.path / "segments"
        if voiced:
            remedy = f"voiced frames are asked for; pass --voiced false, or make it with steps/make_feats.py and steps/compute_vad.py {self.path}"
            tables["vad.scp"] = need_file(self.path / "vad.scp", remedy)
        return tables

    def _check_sources(self, name):
        """A directory made from others names in feats.sha256 whose values it refers to: Fail where these were made anew since."""
        if not self.has(name):
            return
        for line in (self.path / name).read_text().splitlines():
            value, _, source = line.partition(" ")
            if source:
                now = Path(source.strip()) / name
                if not now.is_file() or value not in now.read_text().split():
                    raise Fail(f"{self.path / name}: the values in {source.strip()} were changed since {self.path} was made from it; make it anew")

    def _segment(self, number, utt, words):
        place = f"{self.path / 'segments'}:{number}: '{utt}'"
        try:
            start, end = float(words[1]), float(words[2])
        except ValueError:
            raise Fail(f"{place}: `utterance recording start end` with times in seconds expected, not '{' '.join(words)[:80]}'") from None
        if not 0 <= start < end < float("inf"):
            raise Fail(f"{place}: from {words[1]} to {words[2]} s; 0 <= start < end is needed")
        return words[0], start, end

    def _matching(self, name, fields, expected, where):
        table = read_table(self.path / name, fields)
        if table.keys() != expected.keys():
            missing = [key for key in expected if key not in table]
            extra = [key for key in table if key not in expected]
            key = (missing or extra)[0]
            here, there = (f"is in {where} but not in {name}", missing) if missing else (f"is in {name} but not in {where}", extra)
            more = f" (and {len(there) - 1} more)" if len(there) > 1 else ""
            raise Fail(f"{self.path}/{name}: '{key}' {here}{more}; run utils/fix_data_dir.py")
        return table
