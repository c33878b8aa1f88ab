"""Data directories to draw trials from, and what holds of every list drawn."""

from pytorch.data.data_dir import DataDir, write_data_dir


def speakers(*numbers):
    """{utt: spk}, the n-th speaker with numbers[n] utterances."""
    return {f"s{spk:02d}-u{utt:02d}": f"s{spk:02d}" for spk, number in enumerate(numbers) for utt in range(number)}


def make_data(folder, utt2spk, **tables):
    write_data_dir(folder, dict.fromkeys(utt2spk, "/none.wav"), utt2spk, **tables)
    return DataDir(folder)


def check(trials, utt2spk):
    """What holds of every list drawn: right labels, both ids in order, no trial twice, sorted. -> (target trials, others)"""
    assert all((utt2spk[one] == utt2spk[other]) == label for one, other, label in trials)
    assert all(one < other for one, other, _ in trials)
    assert len({(one, other) for one, other, _ in trials}) == len(trials)
    assert trials == sorted(trials)
    return [trial for trial in trials if trial[2]], [trial for trial in trials if not trial[2]]
