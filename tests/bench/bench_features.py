#!/usr/bin/env python3
"""Rates of the features beside kaldi-native-fbank and torchaudio, and of the whole step; all ratios are of one run, contestants in turn.

On one core the processor's time is compared, which other programs at work disturb less than the clock's; of jobs and cards the clock's.

Reads   tests/kaldi_golden/*.wav, repeated to utterances of 10 s, or those in --wavs
Writes  tables on standard output; its data lies in a temporary folder
e.g.    tests/bench/bench_features.py
        tests/bench/bench_features.py --utts 2000 --device cuda
"""

import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from pytorch.data.data_dir import DataDir, write_data_dir
from pytorch.features.options import FeatureOptions
from pytorch.program import ROOT, Fail, Parser, positive_int, run

RATE, SECONDS = 16000, 10
KINDS = {
    "fbank80": FeatureOptions(num_mel_bins=80),
    "mfcc30": FeatureOptions(feature="mfcc", num_mel_bins=30, num_ceps=30, low_freq=20.0, high_freq=7600.0),
}


def main():
    parser = Parser(__doc__)
    parser.add_argument("--wavs", type=Path, help="folder of 16 kHz WAV files to take the sound from")
    parser.add_argument("--utts", type=positive_int, default=2000, help="utterances of the whole step")
    parser.add_argument("--rounds", type=positive_int, default=15, help="turns of each contestant")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto", help="cpu: the comparison of a card and a core runs on the CPU, as a test")
    parser.add_argument("--jobs", type=positive_int, default=min(8, os.cpu_count()), help="processes that feed the card")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    load = os.getloadavg()[0]
    busy = "; others are at work, so ratios count more than times, and two jobs cannot be twice as fast" if load > 0.5 else ""
    print(f"{os.cpu_count()} cores, load {load:.1f}{busy}")
    pcm = sound(args.wavs)
    for kind, options in KINDS.items():
        bare_rates(kind, options, pcm, args.rounds)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        write_wavs(folder, pcm, args.utts)
        for kind, options in KINDS.items():
            whole_step(kind, options, folder / "data", pcm, args.rounds)
        programs(folder, args.utts)
        card(folder, args.device, args.jobs, args.utts)


def sound(wavs):
    """-> utterances of 10 s, int16"""
    import numpy as np
    import soundfile

    paths = sorted((wavs or ROOT / "tests/kaldi_golden").rglob("*.wav"))
    if not paths:
        raise Fail(f"{wavs}: no WAV file in it")
    whole = np.concatenate([soundfile.read(path, dtype="int16")[0] for path in paths[:400]])
    samples = RATE * SECONDS
    count = max(8, len(whole) // samples)
    return np.resize(whole, count * samples).reshape(count, samples)[:40]


# ---- samples to features, one core


def bare_rates(kind, options, pcm, rounds):
    """Every contestant makes (frames, columns) of 16-bit samples."""
    print(f"\n{kind}, 10 s of 16-bit samples to features, one core: ms an utterance")
    contestants = {
        "embark": embark(options),
        "kaldi-native-fbank": kaldi_native_fbanks(options),
        "torchaudio.compliance.kaldi": torchaudios(options),
        "its FFT and products alone": floor(options),
    }
    times = in_turn(contestants, pcm, rounds)
    show(times, "embark")
    own = median(times["embark"])
    for name, wanted in (("kaldi-native-fbank", 5), ("torchaudio.compliance.kaldi", 1.5)):
        print(f"{median(times[name]) / own:.1f} times {name}; {wanted} wanted")
    share = median(times["its FFT and products alone"]) / own
    print(f"{100 * share:.0f} % of the time are the FFT ({fft_flops(options) / 1e6:.1f} MFLOP) and the products ({product_flops(options) / 1e6:.1f} MFLOP)")


def embark(options):
    import torch

    from pytorch.features.kaldi import Features

    features = Features(options)
    return lambda pcm: features(torch.from_numpy(pcm).float()).numpy()


def kaldi_native_fbanks(o):
    import kaldi_native_fbank
    import numpy as np

    theirs = kaldi_native_fbank.MfccOptions() if o.feature == "mfcc" else kaldi_native_fbank.FbankOptions()
    theirs.frame_opts.dither = 0.0
    theirs.mel_opts.num_bins, theirs.mel_opts.low_freq, theirs.mel_opts.high_freq = o.num_mel_bins, o.low_freq, o.high_freq
    if o.feature == "mfcc":
        theirs.num_ceps = o.num_ceps
    kind = kaldi_native_fbank.OnlineMfcc if o.feature == "mfcc" else kaldi_native_fbank.OnlineFbank

    def compute(pcm):
        stream = kind(theirs)
        stream.accept_waveform(RATE, pcm.astype(np.float32).tolist())
        stream.input_finished()
        return np.array([stream.get_frame(number) for number in range(stream.num_frames_ready)])

    return compute


def torchaudios(o):
    import torch
    import torchaudio

    more = {"num_mel_bins": o.num_mel_bins, "low_freq": o.low_freq, "high_freq": o.high_freq, "energy_floor": 0.0}
    if o.feature == "mfcc":
        more |= {"num_ceps": o.num_ceps, "use_energy": True}
    compute = getattr(torchaudio.compliance.kaldi, o.feature)
    return lambda pcm: compute(torch.from_numpy(pcm).float()[None], **more).numpy()


def floor(o):
    """The arithmetic that no order of the rest can save."""
    import torch

    from pytorch.features.kaldi import BLOCK
    from pytorch.features.mel import Filters

    filters = Filters(o, 1.0, torch.device("cpu"), pairs=True)
    dct = torch.randn(o.num_mel_bins, o.num_ceps)
    blocks = torch.randn(o.num_frames(RATE * SECONDS), o.padded_samples).split(BLOCK)
    mel = torch.empty(BLOCK, o.num_mel_bins)

    def compute(pcm):
        for frames in blocks:
            out = filters(torch.view_as_real(torch.fft.rfft(frames)).flatten(1), mel[: len(frames)])
            if o.feature == "mfcc":
                out @ dct

    return compute


def fft_flops(o):
    length = o.padded_samples
    return o.num_frames(RATE * SECONDS) * 2.5 * length * (length.bit_length() - 1)


def product_flops(o):
    import torch

    from pytorch.features.mel import Filters

    elements = sum(matrix.numel() for _, _, matrix in Filters(o, 1.0, torch.device("cpu"), pairs=True).products)
    return 2 * o.num_frames(RATE * SECONDS) * (elements + (o.num_mel_bins * o.num_ceps if o.feature == "mfcc" else 0))


# ---- recordings to archives, one core


def write_wavs(folder, pcm, utts):
    import soundfile

    paths = []
    for number, samples in enumerate(pcm):
        paths.append(folder / f"{number}.wav")
        soundfile.write(paths[-1], samples, RATE)
    table = {f"s{number % 10}-{number:05d}": paths[number % len(paths)] for number in range(utts)}
    write_data_dir(folder / "data", table, {utt: utt[:2] for utt in table})
    two = dict(list(table.items())[:2])
    write_data_dir(folder / "two", two, {utt: utt[:2] for utt in two})


def whole_step(kind, options, data, pcm, rounds):
    """What a job of make_feats does, without its start: WAV files are read, features computed and written to an archive."""
    import torch

    from pytorch.data.ark import ArkWriter
    from pytorch.data.recordings import Recordings

    step = load(ROOT / "steps/make_feats.py")
    recordings = Recordings(DataDir(data), options.sample_frequency)
    utts = list(recordings.wav_scp)[: len(pcm)]

    def to_archive(compress):
        def compute(_):
            with ArkWriter(data / "bench.ark", data / "bench.scp", compress=compress) as ark:
                for utt, matrix, _ in step.compute(recordings, utts, options, torch.device("cpu"), {}):
                    ark.write(utt, matrix)

        return compute

    def bare(_):
        for samples in pcm:
            alone(samples)

    alone = embark(options)
    print(f"\n{kind}, the step from WAV file to archive, one core: ms an utterance")
    contestants = {"features alone": bare, "to archive, 4 bytes a value": to_archive(None), "to archive, 2 bytes a value": to_archive(3)}
    times = in_turn(contestants, [None], max(3, rounds // 3))
    times = {name: [(processor / len(utts), clock / len(utts)) for processor, clock in values] for name, values in times.items()}
    show(times, "features alone")
    print(f"the whole step runs at {100 * median(times['features alone']) / median(times['to archive, 2 bytes a value']):.0f} % of the bare rate; 50 % wanted")


def load(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def programs(folder, utts):
    """steps/make_feats.py itself with one job and with two; a run over two utterances is its start."""
    print("\nfbank80, steps/make_feats.py: seconds for the program, and without its start")
    found = {}
    for _ in range(3):
        for nj in (1, 2):
            for name in ("two", "data"):
                found.setdefault((nj, name), []).append(seconds_of(folder / name, nj))
    spent = {}
    for nj in (1, 2):
        start, whole = min(found[nj, "two"]), min(found[nj, "data"])
        spent[nj] = whole - start
        print(f"  --nj {nj}  {whole:6.2f}  {spent[nj]:6.2f}  {utts / spent[nj]:8.0f} utterances/s")
    print(f"two jobs are {spent[1] / spent[2]:.2f} times as fast as one; nearly 2 wanted")


def seconds_of(data, nj):
    start = time.monotonic()
    words = [sys.executable, ROOT / "steps/make_feats.py", "--num-mel-bins", 80, "--overwrite", "true", "--nj", nj, data]
    subprocess.run([str(word) for word in words], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - start


# ---- packed recordings to archives on a card


def card(folder, device, jobs, utts):
    """Archives of samples to archives of features: one core, then a card that several processes feed."""
    import torch

    print("\nfbank80, packed recordings to archives on a card")
    if device != "cpu" and not torch.cuda.is_available():
        if device == "cuda":
            raise Fail("--device cuda: torch finds no card")
        print("no card: not measured")
        return
    packed = folder / "packed"
    subprocess.run([sys.executable, str(ROOT / "steps/pack_wavs.py"), str(folder / "data"), str(packed)], check=True, stdout=subprocess.DEVNULL)
    rates = {}
    for name, where, processes in (("one core", "cpu", 1), ("card", "cpu" if device == "cpu" else "cuda", jobs)):
        with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
            shares = [(packed, where, job, processes) for job in range(processes)]
            list(pool.map(feed, shares))  # starts the processes, warms card and page cache
            spans = list(pool.map(feed, shares))
        rates[name] = utts / (max(end for _, end in spans) - min(start for start, _ in spans))
        print(f"  {name:10} {processes:2} processes  {rates[name]:9.0f} utterances/s")
    print(f"the card is {rates['card'] / rates['one core']:.1f} times as fast as one core; 10 wanted")


def feed(share):
    """Features of one process' share of the packed recordings. -> when it began and ended, seconds"""
    import torch

    from pytorch.data.ark import ArkWriter
    from pytorch.data.recordings import Recordings
    from pytorch.features.kaldi import Features

    data, device, job, jobs = share
    torch.set_num_threads(1)
    recordings = Recordings(DataDir(data), RATE)
    features = Features(KINDS["fbank80"], device)
    utts = list(recordings.wav_scp)[job::jobs]
    at_once = 1 if device == "cpu" else 64
    start = time.time()
    with ArkWriter(data / f"bench.{job}.ark", data / f"bench.{job}.scp") as ark:
        for first in range(0, len(utts), at_once):
            some = utts[first : first + at_once]
            for utt, matrix in zip(some, features.many([torch.from_numpy(recordings.read(utt)) for utt in some], some), strict=True):
                ark.write(utt, matrix.cpu().numpy())
    return start, time.time()


# ---- measuring


def in_turn(contestants, items, rounds):
    """{name: function(item)} -> {name: [(seconds of the processor an item, of the clock), one a round]}; every contestant runs once in each round."""
    times = {name: [] for name in contestants}
    for function in contestants.values():
        function(items[0])
    for turn in range(rounds):
        for name, function in contestants.items():
            few = [items[(4 * turn + place) % len(items)] for place in range(min(4, len(items)))]
            clock, processor = time.perf_counter(), time.process_time()
            for item in few:
                function(item)
            times[name].append(((time.process_time() - processor) / len(few), (time.perf_counter() - clock) / len(few)))
    return times


def show(times, reference):
    print(f"  {'':29}{'least':>8}{'median':>8}{'x real time':>13}{'ratio':>8}{'by the clock':>14}")
    for name, values in times.items():
        middle, clock = median(values), 1e3 * median([both[::-1] for both in values])
        print(f"  {name:29}{1e3 * min(values)[0]:8.2f}{1e3 * middle:8.2f}{SECONDS / middle:13.0f}{middle / median(times[reference]):8.2f}{clock:14.2f}")


def median(values):
    """Of the first number of each."""
    return sorted(values)[len(values) // 2][0]


if __name__ == "__main__":
    run(main)
