"""Utterance and speaker ids from paths and names, and back: different paths have different ids, and an id tells its path."""

import re

# What a file name may end in to be a recording; ids leave it out
AUDIO_EXTENSIONS = frozenset(
    ".aac .aif .aifc .aiff .amr .au .caf .flac .m4a .mka .mkv .mov .mp2 .mp3 .mp4 .nist .oga .ogg .opus .rf64 .snd .sph .w64 .wav .wave .webm .wma .wv".split()
)

# Blanks and invisible characters beyond ASCII. Listed, so that the same path has the same id in every version of Unicode
_INVISIBLE = "\u0080-\u00a0\u00ad\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff\ufff0-\ufffb"
_ESCAPED = re.compile(f"[^A-Za-z0-9_.\u0080-\U0010ffff]|[{_INVISIBLE}]")
_CODES = re.compile("(?:=[0-9A-F]{2})+")
_ID = re.compile(f"[^\x00-\x20\x7f/{_INVISIBLE}]+")


def stem_of(path):
    """A path without the extension of a recording, `.` and doubled slashes: the same for all spellings of it in lists."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if not parts:
        return ""
    name, dot, extension = parts[-1].rpartition(".")
    if name and f"{dot}{extension}".lower() in AUDIO_EXTENSIONS:
        parts[-1] = name
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def utt_id(path, spk=None):
    """The utterance id of a path: `id10270/5r0dWxy17C8/00001.wav` -> `id10270-5r0dWxy17C8-00001`.

    The parts of the path are joined by `-`. Inside a part a `-` is written `~`, and any other character that is not a letter of some
    script, a digit, `_` or `.` as `=` and two hexadecimal digits for each of its bytes in UTF-8. A speaker (the name, as for spk_id) whose
    name is not the first part goes before them with `--`. So ids begin with the id of the speaker, and sort by speaker.
    """
    parts = _parts(path)
    first = [] if spk is None or (len(parts) > 1 and parts[0] == spk) else [spk_id(spk), ""]
    return "-".join(first + [_escape(part) for part in parts])


def spk_id(name):
    """The speaker id of a name: the name itself, but for characters that ids cannot have, see utt_id."""
    return _escape(name)


def path_of(utt):
    """The path, without its extension, that utt_id has made this id of; None where it has made none."""
    spk, marked, tail = utt.partition("--")
    path = "/".join(_unescape(part) for part in (tail if marked else utt).split("-"))
    whole = f"{path}.wav"  # so that what looks like an extension inside the id is kept as it is
    made = utt_id(whole, _unescape(spk) if marked else None)
    return path if stem_of(whole) == path and made == utt and (spk or not marked) else None


def is_id(text):
    """True where a word of somebody else's can be an id as it stands: no blanks, nothing invisible, no slash."""
    return _ID.fullmatch(text) is not None


def _parts(path):
    stem = stem_of(path)
    parts = stem.lstrip("/").split("/")
    if stem.startswith("/"):
        parts[0] = "/" + parts[0]  # an absolute path: escaped with its slash, and so unlike any relative one
    return parts


def _escape(text):
    return _ESCAPED.sub(lambda match: "~" if match[0] == "-" else "".join(f"={byte:02X}" for byte in match[0].encode()), text)


def _unescape(text):
    return _CODES.sub(lambda match: bytes.fromhex(match[0].replace("=", "")).decode(errors="replace"), text.replace("~", "-"))
