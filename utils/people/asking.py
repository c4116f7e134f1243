"""Keeps the certainties of labels in the answers database up to date, so that people see the least certain image first.

New answers count at once. A thread fits the model of utils/people/aggregation.py again. All state is in the database.
"""

import math
import sqlite3
import threading
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np
from scipy.special import softmax

from utils.base.errors import InputError
from utils.people.aggregation import DISCOUNT, SHRINK, Crowd, Votes, fit_crowd, taught_prior
from utils.people.labelling import choose_aggregator, known_weight
from utils.people.page_key import Key
from utils.people.store import Store

PAUSE = 60.0  # seconds between fits
UNSEEN = 0.3  # added to the answers per class from which EM starts without a teacher
ANSWERS = "SELECT rowid, participant, stimulus, response, trial_index FROM trial WHERE rowid > ? ORDER BY rowid"


class Asking:
    """Writes certainties to the database of `store`; as a context manager, also in the background."""

    def __init__(self, store: Store, key: Key, features: Path, fixed_teacher: bool = False) -> None:
        self._store, self._classes = store, len(key.classes)
        self._place = {name: row for row, name in enumerate(key.of_phase("label"))}
        self._paths = [key.images[name].path for name in self._place]
        self._images = key.images
        self._teacher = choose_aggregator("auto", features, key, 0, fixed_teacher).teacher
        if self._teacher is None:
            print(f"{features} is missing or of other images: there is no teacher. Run teach.py again to get one.")
            self._prior = np.full((len(self._paths), self._classes), 1 / self._classes)
        else:
            self._prior = self._teacher.prior(self._paths)
        self._taught = math.inf  # number of labels that the teacher learned; inf: it learns none
        self.fit()
        self._taught = math.inf if fixed_teacher else 0
        self._new, store.heard = True, self.hear
        self._stop, self._thread = threading.Event(), threading.Thread(target=self._keep_fitting)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _keep_fitting(self) -> None:
        while not self._stop.wait(PAUSE):
            if self._new:
                self._new = False
                try:
                    self.fit()
                except (InputError, sqlite3.Error) as error:
                    print(f"The answers could not be fitted; the next try is in a minute: {error}", flush=True)
                    self._new = True

    def fit(self) -> None:
        """Fits the model to all answers. After each n/2 new labels of n images, the teacher learns them."""
        with self._store.transaction("BEGIN") as database:
            rows = database.execute(ANSWERS, (0,)).fetchall()
        labels, known = [], []
        for _, person, name, answer, index in rows:
            image = self._images[name]
            if image.phase == "label":
                labels.append((self._place[name], person, answer))
            elif weight := known_weight(image.phase, image.label, index):  # a person's lessons come first
                known.append((person, image.label, answer, weight))
        people = [str(number) for number in range(max((row[1] for row in rows), default=0) + 1)]
        votes = Votes(self._paths, people, *np.array(labels, dtype=np.int64).reshape(-1, 3).T)
        crowd, prior = Crowd(votes, np.array(known, dtype=np.float64).reshape(-1, 4), self._classes), self._prior
        if self._teacher and len(labels) - self._taught >= len(self._paths) / 2:
            prior, self._taught = taught_prior(crowd, self._teacher), len(labels)
        start = prior if self._teacher else votes.counts(self._classes) + UNSEEN
        posterior = fit_crowd(crowd, prior, start).posterior
        counts = crowd.counts(posterior)
        believed = defaultdict[object, np.ndarray](partial(np.zeros, self._classes))
        for someone, said, given in zip(crowd.person.tolist(), crowd.answer.tolist(), counts, strict=True):
            believed[someone, said] += given
            believed[someone] += given
        certainties = zip(posterior.max(1).tolist(), self._place, strict=True)
        with self._store.transaction() as database:
            database.executemany("UPDATE image SET certainty = ? WHERE id = ?", certainties)
            # N_p + K_p by person, and by person and answer; and m Pooled.
            self._prior, self._counts, self._crowd = prior, believed, crowd.shrunk_to(counts)
            self._last = rows[-1][0] if rows else 0
            self.hear(database)  # answers that came during the fit

    def hear(self, database: sqlite3.Connection) -> None:
        """Lets new answers count, in the transaction that stores them. If it fails, the next fit puts things right."""
        for number, person, name, answer, index in database.execute(ANSWERS, (self._last,)).fetchall():
            self._last, self._new = number, True
            image = self._images[name]
            if weight := known_weight(image.phase, image.label, index):
                for counts in (self._counts[person, answer], self._counts[person]):
                    counts[image.label] += weight
            elif image.phase == "label":
                logits = np.log(self._prior[self._place[name]])
                answers = "SELECT participant, response FROM trial WHERE stimulus = ?"
                for someone, said in database.execute(answers, (name,)):
                    given = self._crowd[:, said] + self._counts[someone, said]
                    logits += DISCOUNT * np.log(given / (SHRINK + self._counts[someone]))
                certainty = float(softmax(logits).max())
                database.execute("UPDATE image SET certainty = ? WHERE id = ?", (certainty, name))
