"""Commands in wav.scp (`sox x.flac -t wav - speed 0.9 |`), run without a shell.

A data directory may come from somebody else, so its commands may only turn files into sound on standard output: the programs are those of a short list,
and their arguments such as write nothing else and start nothing else. A program named with --allow-cmd is run with whatever arguments the entry has.
"""

import errno
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
from contextlib import ExitStack

from pytorch.program import Fail

_TOKEN = re.compile(r"""\\.|'[^']*'|"(?:\\.|[^"\\])*"|[^'"\\]""", re.DOTALL)
_OF_THE_SHELL = set("$`;&<>()*?")  # anywhere outside quotes
_AT_THE_START = set("~#")  # of a word
_MOST_BYTES = 1 << 32  # of one recording, as in a WAV file
# statuses of a program whose reader had enough (sox … trim 0 5) or failed itself: of a signal, of a shell script's, of ffmpeg's that ignores it
_PIPE_BROKE = (-signal.SIGPIPE, 128 + signal.SIGPIPE, 256 - errno.EPIPE)


class _Refused(Exception):
    """Arguments that a listed program is not run with."""


def output_of(entry, allow=()):
    """Run an entry of wav.scp that ends in | -> bytes, what its last program wrote to standard output.

    allow: programs that may be run besides those of PROGRAMS, or with other arguments than these may have
    Fails, without naming the recording, where it needs a shell, where a program is not listed, not installed or ends in failure, or nothing comes out.
    Nested commands, which Kaldi's programs open with a shell themselves (`wav-reverberate --impulse-response='sox … |'`), are refused.
    """
    stages = stages_of(entry)
    for words in stages:
        _check(words, allow)
    return _run([(_installed(words[0]), words) for words in stages])


def stages_of(entry):
    """`sox 'a b.wav' -t wav - | wav-copy - - |` -> [["sox", "a b.wav", "-t", "wav", "-"], ["wav-copy", "-", "-"]]"""
    text = entry.rstrip().removesuffix("|")
    tokens = _TOKEN.findall(text)
    if "".join(tokens) != text:
        raise Fail("a quote that is not closed, or a backslash at the end")
    stages, before = [""], " "
    for token in tokens:
        quoted = token[0] == '"' and re.search(r"[$`]", token)
        if quoted or token in _OF_THE_SHELL or (token in _AT_THE_START and before.isspace()):
            sign = quoted[0] if quoted else token
            raise Fail(f"{sign} is the shell's, and no shell runs this; write the command without it, or run it once and name its output")
        if token == "|":
            stages.append("")
        else:
            stages[-1] += token
        before = token
    words = [shlex.split(stage) for stage in stages]
    if not all(words):
        raise Fail("no program where one was expected, before or between |")
    return words


def files_of(entry):
    """The words of a command, among them the files that it reads; those of one that cannot be split are not known."""
    try:
        return [word for words in stages_of(entry) for word in words]
    except Fail:
        return []


def _check(words, allow):
    program = words[0]
    if program in allow:
        return
    trust = f"if you trust it, pass --allow-cmd {shlex.quote(program)}"
    if program not in PROGRAMS:
        raise Fail(f"'{program}' is not among the programs that wav.scp may run, {' '.join(PROGRAMS)}; {trust}")
    try:
        PROGRAMS[program](words[1:])
    except _Refused as refused:
        raise Fail(f"{program}: {refused}; {trust}") from None


def _installed(program):
    found = shutil.which(program)
    if found is None:
        raise Fail(f"the program '{program}' is not installed, or not on PATH")
    return found


def _run(commands):
    """Connect the programs, read what the last one writes. Whatever happens, none of them outlives this call."""
    processes = []
    with ExitStack() as stack:
        stack.callback(_end, processes)
        source = subprocess.DEVNULL
        for path, words in commands:
            trouble = stack.enter_context(tempfile.TemporaryFile())
            try:
                process = subprocess.Popen(words, executable=path, stdin=source, stdout=subprocess.PIPE, stderr=trouble)
            except (OSError, ValueError) as error:  # ValueError: a null byte in a word
                raise Fail(f"{words[0]}: {getattr(error, 'strerror', None) or error}") from None
            processes.append((process, trouble))
            if source is not subprocess.DEVNULL:
                source.close()  # the reader's end is the next program's alone
            source = process.stdout
        output = _read_all(source)
        source.close()
        for place, (process, trouble) in enumerate(processes):
            status, last_line = process.wait(), _last_line(trouble)
            left_alone = place + 1 < len(processes) and (status in _PIPE_BROKE or "roken pipe" in last_line)
            if status and not left_alone:
                raise Fail(f"{commands[place][1][0].rpartition('/')[2]} {_ended(status)}{last_line}")
        if not output:
            raise Fail(f"nothing came out{_last_line(processes[-1][1])}")
    return output


def _read_all(stream):
    parts, size = [], 0
    while part := stream.read(1 << 20):
        size += len(part)
        if size > _MOST_BYTES:
            raise Fail("more than 4 GiB came out, and no end; is there one?")
        parts.append(part)
    return b"".join(parts)


def _end(processes):
    for process, _ in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


def _ended(status):
    return f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"


def _last_line(trouble):
    trouble.seek(0, 2)
    trouble.seek(max(0, trouble.tell() - 4096))
    lines = [line for line in trouble.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return f": {''.join(char for char in lines[-1].strip() if char.isprintable())[:200]}" if lines else ", and said nothing"


# ---- what the listed programs may be asked to do


def _parse(args, flags, values):
    """-> the words that are no options, and [(option, its value)]; Refused where an option is not listed.

    flags: a pattern of options without a value; values: options with one, behind a blank or =, or attached where the option has one letter
    """
    files, given, words = [], [], iter(args)
    for word in words:
        name, equals, value = word.partition("=")
        if word == "-" or not word.startswith("-"):
            files.append(word)
        elif word in values:
            given.append((word, next(words, "")))
        elif re.fullmatch(flags, word):
            given.append((word, ""))
        elif equals and word.startswith("--") and name in values:
            given.append((name, value))
        elif word[:2] in values and not word.startswith("--"):
            given.append((word[:2], word[2:]))
        else:
            raise _Refused(f"the option {word} is not one it may have here")
    return files, given


def _need_stdout(writes_to):
    if writes_to not in ("-", "-p", "pipe:", "pipe:1"):
        raise _Refused("it must write to standard output, and to no file")


def _cat(args):
    _parse(args, r"(?!)", ())


def _gunzip(args):
    _, given = _parse(args, r"-[cdfkq]+|--(stdout|to-stdout|decompress|uncompress|force|keep|quiet)", ())
    if not any(option in ("--stdout", "--to-stdout") or (option[1] != "-" and "c" in option) for option, _ in given):
        raise _Refused("it must write to standard output, with -c")


def _zcat(args):
    _parse(args, r"-[cdfq]+", ())


def _flac(args):
    _, given = _parse(args, r"-[cdsfF]+|--(stdout|decode|silent|totally-silent|force)", ("--skip", "--until", "--channel-map"))
    if not any(option == "--stdout" or (option[1] != "-" and "c" in option) for option, _ in given):
        raise _Refused("it must write to standard output, with -c")


def _sph2pipe(args):
    files, _ = _parse(args, r"-[pua]", ("-f", "-c", "-t", "-s"))
    if len(files) != 1:
        raise _Refused("it must read one file and write to standard output")


def _kaldi(args):
    if any("|" in word for word in args):
        raise _Refused("Kaldi's programs hand a command among their arguments to a shell; run that command once and name its output")
    if any(word.startswith("--config") for word in args):
        raise _Refused("the option --config is not one it may have here")
    files = [word for word in args if word == "-" or not word.startswith("-")]
    _need_stdout(files[-1] if len(files) == 2 else None)


_SOX_VALUES = tuple(
    "-t --type -r --rate -c --channels -b --bits -e --encoding -v --volume -C --compression --endian --buffer --input-buffer --combine -V".split()
)
_SOX_FLAGS = r"-[qSRDGLBxXNsufUAnpmMT12348]|-V[0-6]?|--(no-dither|guard|ignore-length|norm(=\S+)?|single-threaded|multi-threaded|no-glob|no-show-progress)"
_SOX_EFFECTS = frozenset(
    "allpass band bandpass bandreject bass bend biquad channels chorus compand contrast dcshift deemph delay dft_filter dither divide downsample earwax echo "
    "echos equalizer fade flanger gain highpass hilbert loudness lowpass mcompand norm oops overdrive pad phaser pitch rate remix repeat reverb reverse riaa "
    "silence sinc softvol speed splice stat stats stretch swap synth tempo treble tremolo trim upsample vad vol".split()
)
_SOX_TOUCHES_FILES = frozenset("noiseprof noisered spectrogram ladspa fir firfit input output newfile restart :".split())


def _sox(args):
    """sox opens |commands, playlists and addresses (by wget, through a shell), and some of its effects write files."""
    end = next((place for place, word in enumerate(args) if word in _SOX_EFFECTS | _SOX_TOUCHES_FILES), len(args))  # where sox takes effects to begin
    files, _ = _parse(args[:end], _SOX_FLAGS, _SOX_VALUES)
    _need_stdout("-p" if args[end - 1 : end] == ["-p"] else files[-1] if files else None)
    for word in files:
        if word.startswith("|") or "://" in word or word.lower().endswith((".m3u", ".pls")):
            raise _Refused(f"'{word}' is no audio file but a command, an address or a playlist")
    for word in args[end:]:
        if word in _SOX_TOUCHES_FILES or "/" in word or word[0] in "|@":
            raise _Refused(f"'{word}' among its effects may read or write files")


_FFMPEG_VALUES = tuple(
    "-i -f -c -c:a -codec -codec:a -acodec -ar -ac -ss -t -to -v -loglevel -map -map_channel -map_metadata -af -filter:a -sample_fmt -threads "
    "-channel_layout -fflags -flags -b:a -ab".split()
)
_FFMPEG_FLAGS = r"-(y|n|nostdin|hide_banner|nostats|vn|sn|dn|bitexact)"
_FFMPEG_FORMATS = frozenset(
    "aac ac3 aiff alaw amr au caf f32le f64le flac m4a matroska mov mp3 mp4 mulaw nistsphere ogg s16be s16le s24le s32le u8 w64 wav webm".split()
)
_FFMPEG_FILTERS = frozenset(
    "acompressor aecho afade afftdn aformat alimiter allpass anull apad aphaser aresample areverse asetrate atempo atrim bandpass bass channelmap dynaudnorm "
    "equalizer highpass loudnorm lowpass pan silenceremove speechnorm treble volume".split()
)


def _ffmpeg(args):
    """ffmpeg opens addresses and devices, writes any number of files, and some of its filters read and write them."""
    files, given = _parse(args, _FFMPEG_FLAGS, _FFMPEG_VALUES)
    _need_stdout(files[0] if len(files) == 1 else None)
    for option, value in given:
        if option == "-i" and re.match(r"(?!file:|pipe:)[\w+.,-]+:", value, re.ASCII):
            raise _Refused(f"'{value}' is no file")
        if option == "-f" and value not in _FFMPEG_FORMATS:
            raise _Refused(f"-f {value} is not one of the formats of sound it may read and write here")
        if option in ("-af", "-filter:a"):
            for name in re.split(r"[,;]", value):
                if re.split(r"[=@]", name.strip())[0] not in _FFMPEG_FILTERS:
                    raise _Refused(f"the filter '{name}' is not one it may have here")


PROGRAMS = {
    "cat": _cat,
    "ffmpeg": _ffmpeg,
    "flac": _flac,
    "gunzip": _gunzip,
    "gzip": _gunzip,
    "sox": _sox,
    "sph2pipe": _sph2pipe,
    "wav-copy": _kaldi,
    "wav-reverberate": _kaldi,
    "zcat": _zcat,
}
