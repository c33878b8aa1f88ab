"""What several test files do alike."""

import pytest

from pytorch.data.ark import ArkWriter
from pytorch.features.options import FeatureOptions
from pytorch.files import write_json
from pytorch.program import Fail


def failure(call, *args, **more):
    """The one line with which call(*args, **more) fails."""
    with pytest.raises(Fail) as caught:
        call(*args, **more)
    message = str(caught.value)
    assert "\n" not in message
    return message


def write_archive(folder, name, arrays, settings):
    with ArkWriter(folder / f"{name}.ark", folder / f"{name}.scp") as ark:
        for utt, array in arrays.items():
            ark.write(utt, array)
    write_json(folder / f"{name}.json", settings)


def write_feats(folder, feats, **options):
    write_archive(folder, "feats", feats, FeatureOptions(use_energy=True, **options).to_json())


def write_vad(folder, decisions):
    write_archive(folder, "vad", decisions, {"vad_energy_threshold": 5.0})
