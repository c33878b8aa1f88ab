"""pytorch/data/commands.py: commands of wav.scp are run without a shell, and only such as turn files into sound."""

import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from sounds import NOISE, RATE, put_first, tone, wav_stream, write_program
from support import failure

from pytorch.data.commands import PROGRAMS, files_of, output_of, stages_of
from pytorch.program import ROOT

COPY = "import sys, shutil; shutil.copyfileobj(sys.stdin.buffer, sys.stdout.buffer)"


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """A folder at the front of PATH; write_program puts programs there."""
    put_first(monkeypatch, tmp_path / "bin")
    return tmp_path / "bin"


# ---- splitting


@pytest.mark.parametrize(
    "entry, stages",
    [
        ("cat a.wav |", [["cat", "a.wav"]]),
        ("cat a.wav|", [["cat", "a.wav"]]),
        ("  cat   'a b.wav'   |  ", [["cat", "a b.wav"]]),
        ("sox a.flac -t wav - | wav-copy - - |", [["sox", "a.flac", "-t", "wav", "-"], ["wav-copy", "-", "-"]]),
        (r"cat a\ b\|c 'd|e' \"f\" |", [["cat", "a b|c", "d|e", '"f"']]),
        ('cat "it\'s" \'say "x"\' |', [["cat", "it's", 'say "x"']]),
        ("cat '$HOME;*' a#b a~b ü.wav x[1].wav {a,b} |", [["cat", "$HOME;*", "a#b", "a~b", "ü.wav", "x[1].wav", "{a,b}"]]),
    ],
)
def test_a_command_is_split_into_words_as_a_shell_would(entry, stages):
    assert stages_of(entry) == stages


@pytest.mark.parametrize(
    "text, sign",
    [("cat $HOME/a", "$"), ('cat "$HOME/a"', "$"), ("cat `ls`", "`"), ('cat "`ls`"', "`"), ("cat a; rm b", ";"), ("cat a && rm b", "&"), ("cat a &", "&"),
     ("cat a > b", ">"), ("cat a 2>/dev/null", ">"), ("cat < a", "<"), ("cat *.wav", "*"), ("cat a?.wav", "?"), ("(cat a)", "("), ("cat ~/a", "~"),
     ("cat a # b", "#")],
)  # fmt: skip
def test_what_only_a_shell_understands_is_refused(text, sign):
    expected = f"{sign} is the shell's, and no shell runs this; write the command without it, or run it once and name its output"
    assert failure(output_of, f"{text} |") == expected


@pytest.mark.parametrize("text", ["cat 'a", 'cat "a', "cat a\\"])
def test_a_quote_that_is_not_closed_is_refused(text):
    assert failure(stages_of, text) == "a quote that is not closed, or a backslash at the end"


@pytest.mark.parametrize("entry", ["|", " | ", "| cat a |", "cat a | | cat b |", "cat a || cat b |"])
def test_a_missing_program_is_refused(entry):
    assert failure(output_of, entry) == "no program where one was expected, before or between |"


def test_the_files_of_a_command_are_among_its_words():
    assert files_of("sox a.wav -t wav - | cat 'b c' |") == ["sox", "a.wav", "-t", "wav", "-", "cat", "b c"]
    assert files_of("cat 'a |") == []


# ---- which programs, with which arguments


@pytest.mark.parametrize("program", ["rm", "bash", "python3", "/usr/bin/sox", "./cat", "A=1"])
def test_a_program_that_is_not_listed_is_refused_with_the_option_that_would_allow_it(program):
    message = failure(output_of, f"cat a | {program} x |")
    assert message == f"'{program}' is not among the programs that wav.scp may run, {' '.join(PROGRAMS)}; if you trust it, pass --allow-cmd {program}"


def test_an_allowed_program_is_run_with_whatever_it_has(programs):
    path = write_program(programs, "mine", "import sys; print(*sys.argv[1:])")
    assert output_of("mine -o 'a b' |", allow=("mine",)) == b"-o a b\n"
    assert output_of(f"{path} x | cat |", allow=(str(path),)) == b"x\n"


GOOD = [
    "cat a.wav |",
    "cat a.wav - |",
    "ffmpeg -v 8 -i a.m4a -f wav -acodec pcm_s16le - |",
    "ffmpeg -nostdin -hide_banner -loglevel error -ss 1.5 -i 'a b.mp4' -vn -ac 1 -ar 16000 -af 'highpass=f=50,volume=2' -f wav pipe:1 |",
    "ffmpeg -i file:a.m4a -map 0:a:0 -c:a pcm_s16le -f wav pipe: |",
    "flac -c -d -s a.flac |",
    "flac -cds --skip=10 a.flac |",
    "flac --decode --stdout --silent --until 20 a.flac |",
    "gunzip -c a.wav.gz |",
    "gzip -dc a.wav.gz |",
    "zcat a.wav.gz |",
    "sox a.flac -t wav - |",
    "sox -t wav - -t wav - speed 0.9 |",
    "sox -v 0.5 a.wav -r 16k -c1 -b 16 -e signed-integer -t wav - remix 1 gain -3 trim 0 =5 |",
    "sox -G --norm=-1 -V1 -D -R -m a.wav b.wav -p |",
    "sox -t sph a.sph -b 16 -t wav - channels 1 rate -h 16000 |",
    "sox -r 8000 -n -t wav - synth 3 sine 300 |",
    "sph2pipe -f wav -p -c 1 -t 1:2.5 a.sph |",
    "wav-copy a.ark:123 - |",
    "wav-reverberate --shift-output=true --additive-signals='a.wav,b.wav' --start-times='0,3' --snrs='5,10' in.wav - |",
]
BAD = [
    ("cat -n a |", "cat: the option -n is not one it may have here"),
    ("ffmpeg -i a.wav out.wav |", "ffmpeg: it must write to standard output, and to no file"),
    ("ffmpeg -i a.wav -f wav - out.wav |", "ffmpeg: it must write to standard output, and to no file"),
    ("ffmpeg -i http://a/b -f wav - |", "ffmpeg: 'http://a/b' is no file"),
    ("ffmpeg -i 'concat:a|b' -f wav - |", "ffmpeg: 'concat:a|b' is no file"),
    ("ffmpeg -i 'subfile,,start,0,end,9,,:a' -f wav - |", "ffmpeg: 'subfile,,start,0,end,9,,:a' is no file"),
    ("ffmpeg -f lavfi -i sine -f wav - |", "ffmpeg: -f lavfi is not one of the formats of sound it may read and write here"),
    ("ffmpeg -i a -f tee - |", "ffmpeg: -f tee is not one of the formats of sound it may read and write here"),
    ("ffmpeg -i a -af 'volume=1,ametadata=print:file=b' -f wav - |", "ffmpeg: the filter 'ametadata=print:file=b' is not one it may have here"),
    ("ffmpeg -i a -af 'amovie=b' -f wav - |", "ffmpeg: the filter 'amovie=b' is not one it may have here"),
    ("ffmpeg -dump_attachment:t x -i a -f wav - |", "ffmpeg: the option -dump_attachment:t is not one it may have here"),
    ("ffmpeg -report -i a -f wav - |", "ffmpeg: the option -report is not one it may have here"),
    ("flac -d a.flac |", "flac: it must write to standard output, with -c"),
    ("flac -cd -o b.wav a.flac |", "flac: the option -o is not one it may have here"),
    ("flac -cd --output-name=b a.flac |", "flac: the option --output-name=b is not one it may have here"),
    ("flac -cd --delete-input-file a.flac |", "flac: the option --delete-input-file is not one it may have here"),
    ("gunzip a.wav.gz |", "gunzip: it must write to standard output, with -c"),
    ("gzip -cd -S x a |", "gzip: the option -S is not one it may have here"),
    ("sox a.wav b.wav |", "sox: it must write to standard output, and to no file"),
    ("sox - b.wav gain -3 |", "sox: it must write to standard output, and to no file"),
    ("sox a.wav b.wav gain - |", "sox: it must write to standard output, and to no file"),
    ("sox a.wav b.wav -t - |", "sox: it must write to standard output, and to no file"),
    ("sox a.wav b.wav --comment - |", "sox: the option --comment is not one it may have here"),
    ("sox --plot octave a.wav - |", "sox: the option --plot is not one it may have here"),
    ("sox '|rm x' -t wav - |", "sox: '|rm x' is no audio file but a command, an address or a playlist"),
    ("sox http://a/b.wav -t wav - |", "sox: 'http://a/b.wav' is no audio file but a command, an address or a playlist"),
    ("sox a.M3U -t wav - |", "sox: 'a.M3U' is no audio file but a command, an address or a playlist"),
    ("sox a.wav -t wav - noiseprof x |", "sox: 'noiseprof' among its effects may read or write files"),
    ("sox a.wav -t wav - gain -3 spectrogram -o x.png |", "sox: 'spectrogram' among its effects may read or write files"),
    ("sox a.wav -t wav - trim 0 1 : newfile |", "sox: ':' among its effects may read or write files"),
    ("sox a.wav -t wav - sinc /etc/x |", "sox: '/etc/x' among its effects may read or write files"),
    ("sph2pipe -f wav a.sph b.wav |", "sph2pipe: it must read one file and write to standard output"),
    ("sph2pipe -f wav |", "sph2pipe: it must read one file and write to standard output"),
    ("wav-copy a.wav b.wav |", "wav-copy: it must write to standard output, and to no file"),
    ("wav-copy - |", "wav-copy: it must write to standard output, and to no file"),
    ("wav-reverberate --config=x a.wav - |", "wav-reverberate: the option --config is not one it may have here"),
]  # fmt: skip
NESTED = [
    """wav-reverberate --impulse-response="sox rir.wav -r 16000 -t wav - |" - - |""",
    "wav-reverberate --additive-signals='a.wav,sox b.wav -t wav - |,c.wav' a.wav - |",
    "wav-copy 'rm x |' - |",
    "wav-copy - '| rm x' |",
]


@pytest.mark.parametrize("entry", GOOD)
def test_the_usual_commands_of_recipes_may_run(programs, entry):
    """They are handed to the program as they stand; here to one that ends with its arguments."""
    program = entry.split()[0]
    write_program(programs, program, "import sys; print(repr(sys.argv[1:]))")
    assert output_of(entry).decode() == f"{stages_of(entry)[0][1:]}\n"


@pytest.mark.parametrize("entry, message", BAD)
def test_arguments_that_write_files_or_start_something_are_refused(tmp_path, monkeypatch, entry, message):
    monkeypatch.chdir(tmp_path)
    assert failure(output_of, entry) == f"{message}; if you trust it, pass --allow-cmd {entry.split()[0]}"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("entry", NESTED)
def test_a_command_inside_an_argument_which_kaldis_program_would_hand_to_a_shell_is_refused(entry):
    program = entry.split()[0]
    assert failure(output_of, entry) == (
        f"{program}: Kaldi's programs hand a command among their arguments to a shell; run that command once and name its output; "
        f"if you trust it, pass --allow-cmd {program}"
    )


def test_a_nested_command_reaches_an_allowed_program_as_one_word(programs):
    write_program(programs, "wav-reverberate", "import sys; print(sys.argv[1:])")
    assert output_of(NESTED[0], allow=("wav-reverberate",)).decode() == "['--impulse-response=sox rir.wav -r 16000 -t wav - |', '-', '-']\n"


# ---- running


def test_programs_are_connected(programs, tmp_path):
    write_program(programs, "sox", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read()[::-1])")
    (tmp_path / "a b").write_bytes(b"abc" * 100000)
    assert output_of(f"cat '{tmp_path}/a b' | sox -t wav - -t wav - | cat |") == b"cba" * 100000


def test_a_program_that_is_not_installed_is_named(programs, monkeypatch):
    programs.mkdir()
    monkeypatch.setenv("PATH", str(programs))
    assert failure(output_of, "sph2pipe -f wav a.sph |") == "the program 'sph2pipe' is not installed, or not on PATH"


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_program_that_fails_is_an_error_wherever_it_stands(programs, place):
    write_program(programs, "mine", COPY)
    write_program(programs, "broken", COPY + "; sys.stderr.write('much\\n\\tdisk \\x1bon fire\\n\\n'); sys.exit(3)")
    names = ["mine", "mine", "mine"]
    names[place] = "broken"
    message = failure(output_of, f"cat /etc/hostname | {' | '.join(names)} |", allow=("mine", "broken"))
    assert message == "broken ended with status 3: disk on fire"


def test_a_program_that_is_killed_is_an_error(programs):
    write_program(programs, "mine", "import os; print('sound', flush=True); os.kill(os.getpid(), 9)")
    assert failure(output_of, "mine |", allow=("mine",)) == "mine was ended by signal 9, and said nothing"


def test_a_program_without_output_is_an_error(programs):
    write_program(programs, "mine", "import sys; sys.stderr.write('nothing to do')")
    assert failure(output_of, "mine |", allow=("mine",)) == "nothing came out: nothing to do"


ENDLESS = "import signal, sys\nsignal.signal(signal.SIGPIPE, signal.SIG_DFL)\nwhile True: sys.stdout.buffer.write(b'x' * 65536)"


def test_a_program_that_fails_is_named_before_the_one_that_wrote_to_it(programs):
    write_program(programs, "endless", ENDLESS)
    write_program(programs, "broken", "import sys; sys.exit('no room')")
    assert failure(output_of, "endless | broken |", allow=("endless", "broken")) == "broken ended with status 1: no room"


def test_a_program_whose_reader_had_enough_is_no_error(programs):
    write_program(programs, "endless", ENDLESS)
    write_program(programs, "first", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read(10))")
    assert output_of("endless | first |", allow=("endless", "first")) == b"x" * 10


@pytest.mark.parametrize("code", ["sys.exit(224)", "sys.exit('ffmpeg: Broken pipe')", "sys.exit(141)"])
def test_a_program_that_ignores_the_signal_of_a_broken_pipe_is_no_error_either(programs, code):
    write_program(programs, "stubborn", f"import os, sys\ntry:\n  while True: os.write(1, b'x' * 65536)\nexcept BrokenPipeError: {code}")
    write_program(programs, "first", "import sys; sys.stdout.buffer.write(sys.stdin.buffer.read(10))")
    assert output_of("stubborn | first |", allow=("stubborn", "first")) == b"x" * 10


def test_a_program_without_end_is_stopped(programs, monkeypatch):
    monkeypatch.setattr("pytorch.data.commands._MOST_BYTES", 10_000_000)
    write_program(programs, "endless", ENDLESS)
    assert failure(output_of, "endless | cat |", allow=("endless",)) == "more than 4 GiB came out, and no end; is there one?"


def test_a_null_byte_is_refused():
    assert failure(output_of, "cat a\0b |") == "cat: embedded null byte"


def test_much_on_stderr_blocks_nothing(programs):
    write_program(programs, "mine", "import sys; sys.stderr.write('x' * 1000000); print('sound')")
    assert output_of("mine | cat |", allow=("mine",)) == b"sound\n"


def test_a_program_has_no_standard_input_of_ours(programs):
    assert failure(output_of, "cat - |") == "nothing came out, and said nothing"


def test_programs_end_when_we_are_terminated(programs, tmp_path):
    write_program(programs, "endless", f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()) + '.')\ntime.sleep(600)")
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from pytorch.program import run\nfrom pytorch.data.commands import output_of\n"
        "run(lambda: output_of('endless | cat |', allow=('endless',)))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE)
    pid = tmp_path / "pid"
    while not (pid.exists() and pid.read_text().endswith(".")):
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    process.stderr.close()
    assert subprocess.run(["kill", "-0", pid.read_text()[:-1]], capture_output=True).returncode != 0


# ---- the real programs, where they are installed


@pytest.mark.parametrize(
    "ending, entry",
    [
        ("flac", "flac -c -d -s {} |"),
        ("wav", "sox {} -t wav - |"),
        ("wav", "sox {} -p | sox -p -t wav - |"),
        ("flac", "ffmpeg -v error -i {} -f wav - |"),
        ("wav", "cat {} | sox -t wav - -t wav - |"),
        ("wav", "cat {} |"),
    ],
)
def test_real_programs_give_the_very_samples(tmp_path, ending, entry):
    import soundfile

    from pytorch.data.audio import decode, in_16_bit_range, open_audio
    from pytorch.data.source import bytes_source

    if missing := [words[0] for words in stages_of(entry) if shutil.which(words[0]) is None]:
        pytest.skip(f"no {missing[0]}")
    path = tmp_path / f"x y.{ending}"
    soundfile.write(path, np.concatenate([NOISE, tone(0.5)]), RATE)
    with open_audio(bytes_source("x", output_of(entry.format(f"'{path}'")))) as audio:
        assert audio.rate == RATE
        np.testing.assert_array_equal(in_16_bit_range(decode(audio), audio.name), np.concatenate([NOISE, tone(0.5)]))


def test_a_stream_of_open_length_comes_through_a_pipe(tmp_path):
    (tmp_path / "x.wav").write_bytes(wav_stream(NOISE))
    assert output_of(f"cat {tmp_path}/x.wav |") == wav_stream(NOISE)
