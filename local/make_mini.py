#!/usr/bin/env python3
"""Make the embedded corpus: synthetic speakers in two sessions each, nothing to download.

espeak-ng reads digits, letters and short phrases. A speaker is a voice, an accent, a length of the vocal tract, a pitch and a rate;
a session is a room, a channel, a noise and a level, so that the same speaker sounds different from one session to the other.
The same options give the same bytes, whatever the number of processes.

Writes  OUT/wav/<spk>/<utt>.wav    16 kHz, one channel, 16 bits
        OUT/{train,valid,test}/    data directories of disjoint speakers: wav.scp, utt2spk, spk2utt, spk2gender, utt2session, utt2dur, text
e.g.    local/make_mini.py data
"""

import ctypes
import functools
import multiprocessing
import os
import re
import signal
import sys
import threading
import time
import wave
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pytorch.data.data_dir import write_data_dir
from pytorch.files import whole_file
from pytorch.marker import Marker, options_of
from pytorch.program import Fail, Parser, boolean, count, positive_int, run
from pytorch.progress import track

SESSIONS = "ab"
RATE_HZ = 16000

# How hard the task is: the spread of the sessions' equalisers (each of four cosines), of speech over noise, and of the room's tail against the direct sound
EQUALISER_DB = 2.5
SNR_DB = (12, 28)
TAIL_DB = (-12, 0)

# espeak-ng's variants that sound like people and differ from each other
VARIANTS = {
    "m": "m1 m2 m3 m4 m5 m6 m7 m8 Alex Denis Gene Mario Michael Mike Reed benjamin edward2 max miguel pedro robert victor",
    "f": "f1 f2 f3 f4 f5 Alicia Annie aunty linda shelby steph",
}
ACCENTS = "en-US en-US-nyc en-GB-x-rp en-GB-scotland en-029"

DIGITS = "zero one two three four five six seven eight nine"
LETTERS = "B C D E F G H J K L M N O P Q R S T U V W X Y Z"  # A and I would be read as words
PHRASES = """
open the window please
the train leaves at noon
we walked along the river
turn on the kitchen light
my sister plays the piano
a cup of coffee with milk
the children are asleep
call me back tomorrow
they moved to a new house
put the book on the shelf
it was raining all morning
the shop closes at seven
he forgot his umbrella
bread and butter and jam
where did you park the car
the garden needs some water
read the first page again
nobody answered the door
she painted the fence green
the bus stops near the school
keep the change
winter came early this year
a small boat on the lake
this is not what I ordered
leave your shoes outside
the doctor will see you now
both answers are correct
he laughed and said goodbye
send the letter by air mail
what a beautiful evening
"""

# espeak-ng's interface (speak_lib.h)
ESPEAK_RATE_HZ = 22050
SYNCHRONOUS, DONT_EXIT, UTF8 = 2, 0x8000, 1
WORDS_PER_MINUTE, VOLUME, PITCH, PITCH_RANGE = 1, 2, 3, 4  # numbers of parameters
HALF_VOLUME = 50  # some variants clip at 100

# A vocal tract: so many of espeak-ng's samples become TRACT_BLOCK samples of 16 kHz. 353 leave the voice as it is, more of them shorten the tract
TRACT_BLOCK = 256
TRACTS = {"m": (315, 375), "f": (330, 390)}


@dataclass
class Speaker:
    spk: str
    sex: str  # m or f
    index: int
    voice: str  # espeak-ng's name: accent+variant
    tract: int
    pitch: float  # 0 to 99, 50 is the variant's own; ten more are a tenth more Hz
    pitch_range: int  # of the intonation; 50 is the usual one
    rate: float  # words per minute


@dataclass
class Session:
    name: str
    pitch: float  # added to the speaker's
    rate: float  # times the speaker's
    room: object  # impulse response
    equaliser_db: object  # amplitudes of cosines over the mel scale
    low_hz: float  # the channel passes what lies between these
    high_hz: float
    noise_slope_db: float  # per octave
    snr_db: float
    level_db: float  # RMS; full scale is 0


@dataclass
class Utterance:
    utt: str
    speaker: Speaker
    session: str
    text: str
    wav: Path
    num_samples: int


def main():
    parser = Parser(__doc__)
    parser.add_argument("out", metavar="OUT", type=Path, help="folder for the corpus, usually data")
    parser.add_argument("--num-speakers", type=positive_int, default=80, help="12 or more: a tenth of them, but at least 4, are for valid, a fifth for test")
    parser.add_argument("--utts-per-session", type=positive_int, default=6, help="utterances of about three seconds; a speaker has two sessions")
    parser.add_argument("--seed", type=count, default=1, help="another seed gives other speakers, rooms and words")
    parser.add_argument("--num-workers", type=positive_int, default=os.cpu_count(), help="processes; cannot change the result")
    parser.add_argument("--overwrite", type=boolean, default=False, help="make the corpus anew even where it was made with other options")
    args = parser.parse_args()
    if args.num_speakers < 12:
        parser.error(f"argument --num-speakers: 12 or more expected, not '{args.num_speakers}'")
    out = args.out.resolve()

    marker = Marker(out / ".done" / "make_mini.json", options_of(args, without=("out",)), {"folder": str(out)})
    marker.lock()
    if marker.is_done(args.overwrite):
        print(f"make_mini: {args.out} is there already")
        return

    global np  # not above, so that --help answers at once; the workers are forks and have it as well
    import numpy as np

    check_espeak()
    sets = describe_speakers(args.num_speakers, args.seed)
    marker.claim([out / name / "utt2spk" for name in sets], args.overwrite)
    marker.begin()
    withdraw_tables(out, sets)
    utterances = make_wavs(out, sets, args)
    remove_strays(out, {utterance.wav for utterance in utterances})
    tables = [path for name, speakers in sets.items() for path in write_tables(out / name, speakers, utterances)]
    marker.finish(tables + [utterance.wav for utterance in utterances])
    hours = sum(utterance.num_samples for utterance in utterances) / RATE_HZ / 3600
    print(f"make_mini: {args.num_speakers} speakers, {len(utterances)} utterances, {hours:.1f} h in {args.out / 'wav'}")


# ---- who speaks, where, what: every choice comes from the seed and the place of the thing chosen


def describe_speakers(num_speakers, seed):
    """-> {set: [Speaker, ...]}; men and women take turns, and each variant is used before one is used again."""
    rng = np.random.default_rng([seed, 0])
    decks = {sex: rng.permutation(variants.split()) for sex, variants in VARIANTS.items()}
    speakers = []
    for index in range(num_speakers):
        rng = np.random.default_rng([seed, 1, index])
        sex = "mf"[index % 2]
        variant = decks[sex][index // 2 % len(decks[sex])]
        speakers.append(
            Speaker(
                spk=f"{sex}{index + 1:03d}",
                sex=sex,
                index=index,
                voice=f"gmw/{rng.choice(ACCENTS.split())}+{variant}",
                tract=int(rng.integers(*TRACTS[sex], endpoint=True)),
                pitch=rng.uniform(32, 68),
                pitch_range=int(rng.integers(25, 75)),
                rate=rng.uniform(140, 200),
            )
        )
    num_valid, num_test = max(4, num_speakers // 10), max(4, num_speakers // 5)
    num_train = num_speakers - num_valid - num_test
    return {"train": speakers[:num_train], "valid": speakers[num_train:-num_test], "test": speakers[-num_test:]}


def describe_session(speaker, number, seed):
    rng = np.random.default_rng([seed, 2, speaker.index, number])
    return Session(
        name=SESSIONS[number],
        pitch=rng.normal(0, 4),
        rate=rng.uniform(0.92, 1.08),
        room=make_room(rng),
        equaliser_db=rng.normal(0, EQUALISER_DB, 4),
        low_hz=rng.uniform(60, 300),
        high_hz=rng.uniform(3400, 8000),
        noise_slope_db=rng.uniform(-6, 0),
        snr_db=rng.uniform(*SNR_DB),
        level_db=rng.uniform(-38, -22),
    )


def draw_text(rng):
    """Words for about three seconds."""
    kind = rng.choice(("digits", "letters", "phrases"))
    if kind == "digits":
        return " ".join(rng.choice(DIGITS.split(), rng.integers(8, 11)))
    if kind == "letters":
        return " ".join(rng.choice(LETTERS.split(), rng.integers(9, 13)))
    words = []
    while len(words) < 9:
        words += str(rng.choice(PHRASES.strip().split("\n"))).split()
    return " ".join(words)


# ---- the sound


def check_espeak():
    """Fail unless espeak-ng is there with all the voices: for one it lacks it would silently take its default."""
    import espeakng_loader

    voices = Path(espeakng_loader.get_data_path()) / "voices" / "!v"
    accents = Path(espeakng_loader.get_data_path()) / "lang" / "gmw"
    for path in [voices / name for names in VARIANTS.values() for name in names.split()] + [accents / name for name in ACCENTS.split()]:
        if not path.is_file():
            raise Fail(f"{path}: espeak-ng lacks this voice; install the package anew with: {sys.executable} -m pip install espeakng-loader==0.2.4")


def synthesise(voice, text, parameters):
    """Read text with espeak-ng -> (samples,) at ESPEAK_RATE_HZ.

    espeak-ng seeds its noise by the clock, and its flutter goes on from one utterance to the next, even over espeak_Terminate.
    Here the seeds are set and the library is loaded afresh each time (half a millisecond): the sound depends on the arguments alone.
    """
    import espeakng_loader

    libc = ctypes.CDLL(None)
    libc.dlclose.argtypes = [ctypes.c_void_p]
    try:
        espeak = ctypes.CDLL(espeakng_loader.get_library_path())
    except OSError as error:
        raise Fail(f"espeak-ng cannot be loaded ({error}); install the package espeakng-loader anew") from None
    pieces = []

    @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
    def receive(samples, num_samples, events):
        if samples and num_samples > 0:
            pieces.append(ctypes.string_at(samples, 2 * num_samples))
        return 0

    rate = espeak.espeak_Initialize(SYNCHRONOUS, 0, b".", DONT_EXIT)  # "." is the data's folder, see start_worker
    if rate != ESPEAK_RATE_HZ:
        raise Fail(f"espeak-ng does not start (status {rate}); install the package espeakng-loader anew")
    libc.srand(1)
    espeak.espeak_ng_SetRandSeed(ctypes.c_long(1))
    espeak.espeak_SetSynthCallback(receive)
    words = text.encode()
    statuses = [espeak.espeak_SetVoiceByName(voice.encode())]
    statuses += [espeak.espeak_SetParameter(number, value, 0) for number, value in parameters.items()]
    statuses += [espeak.espeak_Synth(words, ctypes.c_size_t(len(words) + 1), 0, 1, 0, UTF8, None, None), espeak.espeak_Terminate()]
    libc.dlclose(espeak._handle)
    if any(statuses) or not pieces:
        raise Fail(f"espeak-ng fails to say '{text}' as {voice} (statuses {statuses})")
    return np.frombuffer(b"".join(pieces), np.int16).astype(np.float64)


def change_tract(samples, tract):
    """Resample by Fourier transform, tract samples to TRACT_BLOCK: formants, pitch and rate go up together -> samples at RATE_HZ"""
    blocks = 32 * -(-len(samples) // (32 * tract))  # a multiple of 32 keeps the transform fast
    spectrum = np.fft.rfft(samples, blocks * tract)
    return np.fft.irfft(spectrum[: blocks * TRACT_BLOCK // 2 + 1], blocks * TRACT_BLOCK)[: len(samples) * TRACT_BLOCK // tract]


def make_room(rng):
    """The impulse response of a room: the direct sound, a few early reflections, an exponential tail."""
    decay_sec = rng.uniform(0.2, 0.6)  # by 60 dB
    time_sec = np.arange(int(0.4 * RATE_HZ)) / RATE_HZ
    early = np.zeros(len(time_sec))
    delays_sec = rng.uniform(0.002, 0.03, 8)
    early[(delays_sec * RATE_HZ).astype(int)] = rng.uniform(-0.5, 0.5, 8) * 10 ** (-3 * delays_sec / decay_sec)
    tail = rng.normal(0, 1, len(time_sec)) * 10 ** (-3 * time_sec / decay_sec) * (time_sec > 0.01)
    room = early + tail * 10 ** (rng.uniform(*TAIL_DB) / 20) / np.sqrt(np.sum(tail**2))
    room[0] = 1
    return room


def channel_gain(session, hz):
    """The gain of the session's microphone and line at frequencies in Hz."""
    mel = np.log1p(hz / 700) / np.log1p(RATE_HZ / 2 / 700)  # 0 to 1
    gain_db = sum(amplitude * np.cos(np.pi * order * mel) for order, amplitude in enumerate(session.equaliser_db, 1))
    return 10 ** (gain_db / 20) / np.sqrt((1 + (session.low_hz / np.maximum(hz, 1)) ** 4) * (1 + (hz / session.high_hz) ** 8))


def record(speech, session, rng):
    """What the session's microphone makes of clean speech: (room + noise) through the channel, at the session's level -> int16"""
    length = len(speech) + len(session.room)
    length += -length % 4096  # for the transform
    hz = np.fft.rfftfreq(length, 1 / RATE_HZ)
    heard = np.fft.rfft(speech, length) * np.fft.rfft(session.room, length)
    noise = np.fft.rfft(rng.normal(0, 1, length)) * (np.maximum(hz, 50) / 1000) ** (session.noise_slope_db / 6.02)
    noise *= np.sqrt(np.sum(abs(heard) ** 2) / np.sum(abs(noise) ** 2)) * 10 ** (-(session.snr_db + rng.normal(0, 1)) / 20)
    samples = np.fft.irfft((heard + noise) * channel_gain(session, hz), length)[: len(speech)]
    samples *= 32768 * 10 ** ((session.level_db + rng.normal(0, 1)) / 20) / np.sqrt(np.mean(samples**2))
    return np.clip(np.rint(samples), -32768, 32767).astype("<i2")


# ---- the files


def start_worker(parent):
    """Make a process of the pool quiet, able to find espeak-ng's data, and mortal."""
    import espeakng_loader

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent hears it too, and ends the work
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(espeakng_loader.get_data_path())  # espeak-ng cuts a path after 160 characters; "." always fits
    threading.Thread(target=leave_with, args=(parent,), daemon=True).start()


def leave_with(parent):
    """End this process soon after its parent was killed: it would wait for work, and hold the marker's lock, for ever."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def make_wavs(out, sets, args):
    """Write all the recordings -> [Utterance, ...]"""
    speakers = [speaker for members in sets.values() for speaker in members]
    make = functools.partial(make_speaker, out, args.utts_per_session, args.seed)
    workers = min(args.num_workers, len(speakers))
    utterances = []
    try:
        with ProcessPoolExecutor(workers, multiprocessing.get_context("fork"), start_worker, (os.getpid(),)) as pool:
            for made in track(pool.map(make, speakers), len(speakers) * len(SESSIONS) * args.utts_per_session, "utterances", weight=len):
                utterances += made
    except BrokenProcessPool:
        raise Fail("a worker process was killed, perhaps for want of memory; start again, perhaps with a smaller --num-workers") from None
    return utterances


def make_speaker(out, utts_per_session, seed, speaker):
    """Write the recordings of one speaker -> [Utterance, ...]"""
    utterances = []
    for number in range(len(SESSIONS)):
        session = describe_session(speaker, number, seed)
        for take in range(utts_per_session):
            rng = np.random.default_rng([seed, 3, speaker.index, number, take])
            text = draw_text(rng)
            samples = record(speak(speaker, session, text, rng), session, rng)
            utt = f"{speaker.spk}-{session.name}-{take + 1:02d}"
            wav = out / "wav" / speaker.spk / f"{utt}.wav"
            write_wav(wav, samples)
            utterances.append(Utterance(utt, speaker, session.name, text, wav, len(samples)))
    return utterances


def speak(speaker, session, text, rng):
    """Clean speech of one utterance, with a little silence at both ends."""
    parameters = {
        VOLUME: HALF_VOLUME,
        WORDS_PER_MINUTE: round(speaker.rate * session.rate * rng.uniform(0.97, 1.03)),
        PITCH: round(min(99, max(0, speaker.pitch + session.pitch + rng.normal(0, 2)))),
        PITCH_RANGE: speaker.pitch_range,
    }
    speech = change_tract(synthesise(speaker.voice, text, parameters), speaker.tract)
    return np.pad(speech, rng.integers(0.05 * RATE_HZ, 0.25 * RATE_HZ, 2))


def write_wav(path, samples):
    with whole_file(path, "wb") as file:
        with wave.open(file, "wb") as wav:
            wav.setparams((1, 2, RATE_HZ, len(samples), "NONE", ""))
            wav.writeframes(samples.tobytes())


def withdraw_tables(out, sets):
    """Take away the tables of an older corpus while its recordings are replaced: who finds them can trust them."""
    for name in sets:
        for table in ("utt2spk", "spk2utt", "wav.scp"):
            (out / name / table).unlink(missing_ok=True)


def remove_strays(out, wavs):
    """Remove recordings of an older corpus, and unfinished ones of a run that was killed."""
    for path in (out / "wav").glob("[mf][0-9]*/*"):
        if path not in wavs and re.fullmatch(r"[mf]\d+-[ab]-\d+\.wav|\.[mf]\d+-[ab]-\d+\.wav\..*tmp", path.name):
            path.unlink()
    for folder in (out / "wav").glob("[mf][0-9]*"):
        if not any(folder.iterdir()):
            folder.rmdir()


def write_tables(path, speakers, utterances):
    """Write the data directory of a set -> its files"""
    names = {speaker.spk for speaker in speakers}
    members = [utterance for utterance in utterances if utterance.speaker.spk in names]
    tables = {
        "spk2gender": {speaker.spk: speaker.sex for speaker in speakers},
        "utt2session": {utterance.utt: f"{utterance.speaker.spk}-{utterance.session}" for utterance in members},
        "utt2dur": {utterance.utt: f"{utterance.num_samples / RATE_HZ:.4f}" for utterance in members},
        "text": {utterance.utt: utterance.text for utterance in members},
    }
    wav_scp = {utterance.utt: utterance.wav for utterance in members}
    utt2spk = {utterance.utt: utterance.speaker.spk for utterance in members}
    write_data_dir(path, wav_scp, utt2spk, **tables)
    return [path / name for name in (*tables, "wav.scp", "spk2utt", "utt2spk")]


if __name__ == "__main__":
    run(main)
