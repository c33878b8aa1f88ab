"""Numbers computed from arrays by several jobs, the same whatever their number."""

import contextlib
import shutil

from pytorch.files import read_json, whole_file, write_json
from pytorch.jobs import check_came_back, hash_of, is_found_again, submit
from pytorch.marker import Marker
from pytorch.program import Fail


class Pieces:
    """A parallel step that computes numbers from arrays: each job those of a range of units, then all as one array, the same bytes for any number of jobs.

    One process prepares the arrays, since products of matrices of other shapes are rounded otherwise, and lays them out for the jobs in
    <folder>/.parts/<step>/<hash of what was asked>. Their pieces lie there too, each with a marker of its own, until the step is finished.

    marker: of the step; log_folder: for <log_folder>/<step>.JOB.log
    """

    def __init__(self, args, marker, log_folder):
        self.args, self.marker, self.log_folder = args, marker, log_folder
        self.is_worker = args.job is not None
        self.folder = marker.path.parents[1] / ".parts" / marker.path.stem / hash_of(marker.asked["options"], marker.asked["inputs"])

    def is_done(self, outputs):
        """For the step as a whole: lock it, then True where nothing is to be done. Fail where outputs are there that are somebody else's."""
        self.marker.lock()
        done = self.marker.is_done(self.args.overwrite)
        if not done:
            self.marker.claim(outputs, self.args.overwrite)
        if done or (self.args.overwrite and not is_found_again(self.log_folder, self.marker.path.stem)):
            self.clear()
        return done

    def values(self, arrays, number, compute):
        """compute(arrays, 0, number), in place or by jobs.

        arrays: {name: array}; number: of units; compute(arrays, start, stop) -> (…, values of these units), whose bytes do not depend on the range
        """
        if not self.args.nj:
            return compute(arrays, 0, number)
        import numpy as np

        for name, array in arrays.items():
            if not self._array(name).exists():  # else jobs of an earlier start have begun with it
                self._save(self._array(name), array)
        write_json(self.folder / "arrays.json", {"number": number, "names": list(arrays)})
        self.args.nj = min(self.args.nj, number)
        submit(self.args, self.log_folder, self.marker.path.stem)
        check_came_back(self.folder, self.args.nj, self._piece_marker, self.log_folder)
        return np.concatenate([np.load(self._piece(job)) for job in range(1, self.args.nj + 1)], axis=-1)

    def work(self, compute):
        """A job's share."""
        import numpy as np

        if not (self.folder / "arrays.json").exists():
            raise Fail(f"{self.folder}: no such folder; what the step reads has changed since it was started, or it has ended: start it again")
        found = read_json(self.folder / "arrays.json")
        nj = self.args.nj = min(self.args.nj, found["number"])
        marker, path = self._piece_marker(self.args.job), self._piece(self.args.job)
        marker.lock()
        if marker.matches():
            return
        arrays = {name: np.asarray(np.load(self._array(name), mmap_mode="r")) for name in found["names"]}
        start, stop = (found["number"] * job // nj for job in (self.args.job - 1, self.args.job))
        self._save(path, compute(arrays, start, stop))
        marker.finish([path])

    def clear(self):
        """Remove arrays and pieces, whatever was asked."""
        shutil.rmtree(self.folder.parent, ignore_errors=True)
        with contextlib.suppress(OSError):
            self.folder.parents[1].rmdir()

    def _save(self, path, array):
        import numpy as np

        with whole_file(path, "wb") as file:
            np.save(file, array, allow_pickle=False)

    def _array(self, name):
        return self.folder / f"{name}.npy"

    def _piece(self, job):
        return self.folder / f"piece.{job}-of-{self.args.nj}.npy"

    def _piece_marker(self, job):
        return Marker(self.folder / ".done" / f"{self.marker.path.stem}.{job}-of-{self.args.nj}.json", **self.marker.asked)
