"""A look into every recording of a data directory: can it be read to its end, and is it worth training on."""

import hashlib
import math

from pytorch.data.recordings import OVERSHOOT_SEC, Recordings
from pytorch.data.rules import check_values
from pytorch.data.source import CutOff, NoSamples
from pytorch.program import Fail
from pytorch.progress import clock, track

SHORT_SEC = 0.25
DURATION_SEC, DURATION_SHARE = 0.1, 0.01  # utt2dur may be wrong by so much, or so large a share, whichever is more
SILENT_DB = -60  # level of the whole, relative to full scale
ZERO_SHARE = 0.5  # of samples that are exactly 0: gaps, a microphone that was off
CLIPPED_SHARE, CLIPPED_RUN = 0.001, 10  # of samples at full scale; or so many one after the other
DC_SHARE = 0.01  # of full scale

ERRORS = {  # what stops a step that reads the recordings, or misleads one that goes by utt2dur
    "unreadable": "cannot be read",
    "cut_off": "cut off",
    "empty": "without samples",
    "beyond_end": f"segments that end more than {OVERSHOOT_SEC} s behind their recording, or begin behind it",
    "other_duration": "of another length than utt2dur says",
}
WARNINGS = {
    "other_rate": "of another rate than most",
    "other_channels": "of another number of channels than most",
    "short": f"utterances shorter than {SHORT_SEC} s",
    "silent": f"silent, below {SILENT_DB} dB of full scale",
    "mostly_zero": f"with more than {100 * ZERO_SHARE:.0f} % of their samples exactly 0",
    "clipped": f"clipped: more than {100 * CLIPPED_SHARE:g} % of their samples at full scale, or {CLIPPED_RUN} of them in a row",
    "dc_offset": f"with a mean above {100 * DC_SHARE:g} % of full scale",
    "duplicates": "with the very samples of another",
}


def check_audio(data, allow_cmd=()):
    """Open and decode every recording of a DataDir, block by block -> a report that JSON can hold.

    rates, channels, forms: {what: number of recordings}; seconds: {shortest, median, longest, total} of the recordings
    found: {kind of ERRORS and WARNINGS: [ids]}, of duplicates [[ids that are the same]]; of utterances for short and beyond_end, of recordings else
    levels: {recording: {db, peak_db, zero, full, run, dc}} of those found silent, mostly zero, clipped or with an offset
    errors, warnings: a line for each thing found, with file, line and id for errors
    """
    recordings = Recordings(data, None, allow_cmd=allow_cmd)
    found, errors, heard = {kind: [] for kind in (*ERRORS, *WARNINGS)}, [], {}
    for rec in track(recordings.wav_scp, len(recordings.wav_scp), "recordings"):
        try:
            heard[rec] = _listen(recordings, rec)
        except Fail as error:
            found["cut_off" if isinstance(error, CutOff) else "empty" if isinstance(error, NoSamples) else "unreadable"].append(rec)
            errors.append(str(error))
    levels = _judge(heard, found)
    errors += _check_utterances(recordings, heard, found) + _check_durations(recordings, heard, found)
    seconds = sorted(one["frames"] / one["rate"] for one in heard.values())
    return {
        "recordings": len(recordings.wav_scp),
        "rates": _counts(heard, "rate"),
        "channels": _counts(heard, "channels"),
        "forms": _counts(heard, "form"),
        "seconds": {"shortest": seconds[0], "median": seconds[len(seconds) // 2], "longest": seconds[-1], "total": sum(seconds)} if seconds else None,
        "found": found,
        "levels": levels,
        "errors": errors,
        "warnings": [f"{_number(kind, found[kind])} {_line(kind, found[kind])}" for kind in WARNINGS if found[kind]],
    }


def report_lines(report):
    """The report as a short table, line by line."""
    seconds = report["seconds"]
    yield f"  recordings  {report['recordings']}"
    if seconds:
        spread = f"{seconds['shortest']:.2f} to {seconds['longest']:.2f} s, median {seconds['median']:.2f} s"
        yield f"  length      {clock(seconds['total'])} together, {spread}"
        for name, unit in (("rates", " Hz"), ("channels", ""), ("forms", "")):
            yield f"  {name:<11} {', '.join(f'{value}{unit}: {number}' for value, number in report[name].items())}"
    for kind in (*ERRORS, *WARNINGS):
        if report["found"][kind]:
            yield f"  {_number(kind, report['found'][kind]):<11} {_line(kind, report['found'][kind])}"
    if not any(report["found"].values()):
        yield "  no trouble  all can be read, none is silent, clipped, of another kind, or there twice"


def _number(kind, ids):
    return sum(map(len, ids)) if kind == "duplicates" else len(ids)


def _line(kind, ids):
    names = [" = ".join(entry) if kind == "duplicates" else entry for entry in ids[:5]]
    return f"{(ERRORS | WARNINGS)[kind]}: {', '.join(names)}{', …' if len(ids) > 5 else ''}"


def _counts(heard, name):
    """{value as text: number}, the commonest first"""
    counts = {}
    for one in heard.values():
        counts[str(one[name])] = counts.get(str(one[name]), 0) + 1
    return dict(sorted(counts.items(), key=lambda entry: -entry[1]))


def _listen(recordings, rec):
    """What there is to say of one recording, all channels together."""
    import numpy as np

    from pytorch.data.audio import in_16_bit_range

    digest, frames, total, square, peak, zeros, full, run = hashlib.sha256(), 0, 0.0, 0.0, 0.0, 0, 0, 0
    with recordings.open(rec) as audio:
        for block in audio.blocks():
            samples = in_16_bit_range(block, audio.name)
            digest.update(samples.tobytes())
            frames += len(samples)
            flat = samples.ravel()
            total += float(flat.sum(dtype=np.float64))
            square += float(np.dot(flat, flat))
            peak = max(peak, float(np.abs(flat).max()))
            zeros += flat.size - int(np.count_nonzero(flat))
            if peak >= 32767:
                at_top = np.abs(samples) >= 32767
                full += int(np.count_nonzero(at_top))
                run = max(run, _longest_run(at_top))
        if frames == 0:
            raise NoSamples(f"{audio.name}: no samples in it")
    size = frames * audio.channels
    return {
        "rate": audio.rate, "channels": audio.channels, "form": audio.form, "frames": frames, "sha256": digest.hexdigest(),
        "db": _db(math.sqrt(square / size)), "peak_db": _db(peak), "zero": zeros / size, "full": full / size, "run": run, "dc": total / size / 32768,
    }  # fmt: skip


def _longest_run(flags):
    """The longest run of true values in any column of (num, channels)."""
    import numpy as np

    edge = np.zeros((1, flags.shape[1]), dtype=np.int8)
    steps = np.diff(np.concatenate([edge, flags.astype(np.int8), edge]), axis=0).T
    starts, ends = (np.nonzero(steps == sign)[1] for sign in (1, -1))  # one behind the other in each column
    return int((ends - starts).max(initial=0))


def _db(value):
    """Level relative to full scale, rounded; -200 for nothing at all, as JSON has no infinity."""
    return round(20 * math.log10(max(value / 32768, 1e-10)), 2)


def _judge(heard, found):
    """Sort the recordings into `found` -> the levels of those that stand out."""
    levels, same = {}, {}
    common = {name: next(iter(_counts(heard, name)), None) for name in ("rate", "channels")}
    for rec, one in heard.items():
        kinds = {
            "silent": one["db"] < SILENT_DB,
            "mostly_zero": one["zero"] > ZERO_SHARE,
            "clipped": one["full"] > CLIPPED_SHARE or one["run"] >= CLIPPED_RUN,
            "dc_offset": abs(one["dc"]) > DC_SHARE,
        }
        if any(kinds.values()):
            levels[rec] = {name: one[name] for name in ("db", "peak_db", "zero", "full", "run", "dc")}
        kinds |= {"other_rate": str(one["rate"]) != common["rate"], "other_channels": str(one["channels"]) != common["channels"]}
        for kind, is_so in kinds.items():
            if is_so:
                found[kind].append(rec)
        same.setdefault((one["rate"], one["channels"], one["sha256"]), []).append(rec)
    found["duplicates"] += [recs for recs in same.values() if len(recs) > 1]
    return levels


def _check_utterances(recordings, heard, found):
    """Sort the utterances into `found` -> a line for each whose times are wrong."""
    errors = []
    for utt in recordings.data.utt2spk:
        if (rec := recordings.recording(utt)) in heard:
            rate, frames = heard[rec]["rate"], heard[rec]["frames"]
            try:
                first, last = (0, frames) if recordings.segments is None else recordings.span(utt, rate, frames)
            except Fail as error:
                found["beyond_end"].append(utt)
                errors.append(str(error))
                continue
            if (last - first) / rate < SHORT_SEC:
                found["short"].append(utt)
    return errors


def _check_durations(recordings, heard, found):
    """Hold utt2dur against the recordings, or segments where there are some -> a line if any utterance has another length."""
    data = recordings.data
    if not data.has("utt2dur"):
        return []
    path, table = data / "utt2dur", data.per_utt("utt2dur")
    check_values(path, table)
    if recordings.segments is None:
        measured = {rec: one["frames"] / one["rate"] for rec, one in heard.items()}
    else:
        measured = {utt: end - start for utt, (_, start, end) in recordings.segments.items()}
    wrong = [utt for utt, sec in measured.items() if abs(float(table[utt]) - sec) > max(DURATION_SEC, DURATION_SHARE * sec)]
    found["other_duration"] += wrong
    if not wrong:
        return []
    first = f"'{wrong[0]}' has {table[wrong[0]]} s there, but {measured[wrong[0]]:.2f} s by {'segments' if recordings.segments else 'its recording'}"
    return [f"{path}: {first} ({len(wrong)} such); make it anew with utils/get_utt2dur.py --overwrite true {data.path}"]
