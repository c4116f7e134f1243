"""Asking by certainty: answers count at once, fits against plain loops, restarts, and people at the same time."""

import random
import signal
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import numpy as np
import pytest

from tests.helpers.collecting import Process, build_page, opened, rows_of, sent_trial
from utils.data.outputs import Layout
from utils.people import asking
from utils.people.asking import Asking
from utils.people.page_key import read_page_key
from utils.people.teacher import load_teacher, make_teacher, save_teacher

CLASSES = 3


def add_teacher(page):
    """Writes features that tell something about the classes."""
    draw = np.random.default_rng(0)
    images = [image for image in page.key["images"].values() if image["phase"] != "lesson"]
    centers, labels = draw.normal(size=(CLASSES, 8)), np.repeat(np.arange(CLASSES), 6)
    expert, others = (
        centers[some] + draw.normal(size=(len(some), 8)) for some in (labels, [one["label"] for one in images])
    )
    teacher, _ = make_teacher(expert, labels, [image["path"] for image in images], others, CLASSES)
    save_teacher(page.out / "teacher_features.npz", teacher)


def started(page, store, fixed=False):
    layout = Layout(page.out)
    return Asking(store, read_page_key(layout), layout.teacher_features, fixed)


def answer(store, page, person, image, response, index=0):
    """Stores an answer of a person."""
    trial = sent_trial(page, image, response, index=index)
    assert store.add_trials(person, {trial["trial_id"]: trial}) == ([trial["trial_id"]], {})


def take_course(store, page, draw):
    """A new person who answers lessons, test and some of the images to label."""
    person = store.join()
    images = [*page.lesson, *page.test, *draw.sample(page.label, 4), *draw.sample(page.gold, min(2, len(page.gold)))]
    for index, image in enumerate(images):
        truth = page.key["images"][image]["label"]
        answer(store, page, person, image, truth if draw.random() < 0.7 else draw.randrange(CLASSES), index)
    return person


def certainties(page):
    return dict(rows_of(page.out / "answers.sqlite", "SELECT id, certainty FROM image WHERE phase = 'label'"))


def written(page):
    """All answers in the database, in their order."""
    query = "SELECT participant, stimulus, response, trial_index FROM trial ORDER BY rowid"
    return rows_of(page.out / "answers.sqlite", query)


class PlainModel:
    """The model of labels.md in dictionaries and loops; `prior` is None without a teacher."""

    def __init__(self, page, prior=None):
        self.images, self.label = page.key["images"], page.label
        self.uniform, self.prior = prior is None, prior or {name: [1 / CLASSES] * CLASSES for name in page.label}

    def add(self, counts, rows):
        """Adds known answers, and answers to images to label by `posterior`."""
        for person, image, response, index in rows:
            phase, truth = self.images[image]["phase"], self.images[image]["label"]
            own = counts.setdefault(person, [[0.0] * CLASSES for _ in range(CLASSES)])
            for c in range(CLASSES):
                weight = {"lesson": 0.5 * (index >= 5), "test": 1.0, "gold": 1.0}.get(phase, 0) * (c == truth)
                own[c][response] += self.posterior[image][c] if phase == "label" else weight

    def step(self, rows):
        """Fits people's counts and the crowd to the posterior, then the posterior to these."""
        self.counts = {}
        self.add(self.counts, rows)
        self.base = []
        for c in range(CLASSES):
            row = [sum(one[c][r] for one in self.counts.values()) + (5 if c == r else 1) for r in range(CLASSES)]
            self.base.append([20 * value / sum(row) for value in row])
        return {image: self.judge(image, rows) for image in self.label}

    def judge(self, image, rows):
        """The probabilities of the classes of an image."""
        joint = list(self.prior[image])
        for person, _, response, _ in (row for row in rows if row[1] == image):
            own = self.counts.get(person, [[0.0] * CLASSES] * CLASSES)
            for c in range(CLASSES):
                row = [own[c][r] + self.base[c][r] for r in range(CLASSES)]
                joint[c] *= (row[response] / sum(row)) ** 0.8
        return [value / sum(joint) for value in joint]

    def fit(self, rows):
        self.posterior = dict(self.prior)
        if self.uniform:
            for image in self.label:
                votes = [0.3 + sum(row[1:3] == (image, c) for row in rows) for c in range(CLASSES)]
                self.posterior[image] = [value / sum(votes) for value in votes]
        for _ in range(100):
            before, self.posterior = self.posterior, self.step(rows)
            change = [abs(a - b) for i in self.label for a, b in zip(before[i], self.posterior[i], strict=True)]
            if max(change) <= 1e-6:
                break
        self.step(rows)
        return {image: max(probabilities) for image, probabilities in self.posterior.items()}


def plain_model(page):
    """The model with the page's teacher, if it has one."""
    teacher = load_teacher(Layout(page.out).teacher_features)
    paths = [page.key["images"][name]["path"] for name in page.label]
    return PlainModel(page, teacher and dict(zip(page.label, teacher.prior(paths).tolist(), strict=True)))


@pytest.fixture(params=["teacher", "no teacher"])
def studied(request, tmp_path):
    """A page with eight lessons and the answers of six people, and its store."""
    page = build_page(tmp_path / "out", lessons=8, tests=5, labels=9, gold=3)
    if request.param == "teacher":
        add_teacher(page)
    with closing(opened(page, labels_per_image=20)) as store:
        for number in range(6):
            take_course(store, page, random.Random(number))
        yield page, store


def test_the_fit_at_the_start_equals_plain_loops(studied, capsys):
    page, store = studied
    started(page, store)
    assert certainties(page) == pytest.approx(plain_model(page).fit(written(page)), abs=1e-9)
    assert capsys.readouterr().out.count("there is no teacher") == (not (page.out / "teacher_features.npz").exists())


def test_answers_count_at_once(studied):
    """A new person and known ones answer after the fit: lessons, test and labels. Other certainties do not change."""
    page, store = studied
    plain = plain_model(page)
    started(page, store)
    expected, fitted = plain.fit(written(page)), len(written(page))
    people = [take_course(store, page, random.Random(7)), store.join()]
    answer(store, page, people[1], page.test[0], 1)
    answer(store, page, people[1], page.label[0], 2)
    rows = written(page)
    for seen in range(fitted, len(rows)):
        if rows[seen][1] in page.label:
            expected[rows[seen][1]] = max(plain.judge(rows[seen][1], rows[: seen + 1]))
        else:
            plain.add(plain.counts, rows[seen : seen + 1])
    assert certainties(page) == pytest.approx(expected, abs=1e-9)


def test_an_answer_by_hand(page):
    """Nobody answered before: the first label is judged by the crowd's prior, 5/7 right, and by two test answers."""
    with closing(opened(page)) as store:
        started(page, store)
        a, b = store.join(), store.join()
        answer(store, page, a, page.label[0], 0)
        likely = np.array([5 / 7, 1 / 7, 1 / 7]) ** 0.8
        assert certainties(page)[page.label[0]] == pytest.approx(likely.max() / likely.sum())
        for image in (page.test[0], page.test[3]):  # both of class 0
            answer(store, page, b, image, 0)
        answer(store, page, b, page.label[1], 0)
        likely = np.array([(20 * 5 / 7 + 2) / 22, 1 / 7, 1 / 7]) ** 0.8
        assert certainties(page)[page.label[1]] == pytest.approx(likely.max() / likely.sum())


def test_answers_during_a_fit_are_not_lost(studied, monkeypatch):
    page, store = studied
    model, person, real = started(page, store, fixed=True), store.join(), asking.fit_crowd
    before = written(page)

    def slow(*arguments):
        for index, image in enumerate([page.test[0], page.label[0]]):
            answer(store, page, person, image, page.key["images"][page.test[0]]["label"], index)
        return real(*arguments)

    monkeypatch.setattr(asking, "fit_crowd", slow)
    model.fit()
    plain, rows = plain_model(page), written(page)
    expected = plain.fit(before)
    plain.add(plain.counts, rows[-2:-1])
    assert certainties(page) == pytest.approx(expected | {page.label[0]: max(plain.judge(page.label[0], rows))})


@pytest.mark.parametrize("fixed", [False, True])
def test_labels_teach_the_heads_after_half_as_many_answers_as_images(tmp_path, fixed):
    page = build_page(tmp_path / "out", lessons=1, tests=1, labels=9)
    add_teacher(page)
    plain = plain_model(page)
    with closing(opened(page, labels_per_image=20)) as store:
        model, people = started(page, store, fixed), [store.join() for _ in range(3)]
        for number in range(5):  # 4 are less than 9 / 2
            answer(store, page, people[number % 3], page.label[number], number % CLASSES)
            model.fit()
            found, expected = certainties(page), plain.fit(written(page))
            assert (found == pytest.approx(expected, abs=1e-9)) == (fixed or number < 4)
        if not fixed:
            posterior = np.array([plain.posterior[name] for name in page.label])
            teacher = load_teacher(Layout(page.out).teacher_features)
            paths = [page.key["images"][name]["path"] for name in page.label]
            taught = teacher.taught_prior(paths, posterior, np.arange(9) < 5)
            again = PlainModel(page, dict(zip(page.label, taught.tolist(), strict=True))).fit(written(page))
            assert found == pytest.approx(again, abs=1e-4)
            model.fit()  # no new labels: the same heads
            assert certainties(page) == pytest.approx(found, abs=1e-9)
        store.heard = None
        started(page, store, fixed)  # after a restart, the heads learn in the background
        assert certainties(page) == pytest.approx(plain.fit(written(page)), abs=1e-9)


def test_the_thread_fits_after_new_answers_only_and_tries_again(studied, monkeypatch, capsys):
    page, store = studied
    monkeypatch.setattr(asking, "PAUSE", 0.01)
    model, fits, real = started(page, store), [], Asking.fit

    def fit(self):
        fits.append(len(fits))
        if len(fits) == 2:
            raise sqlite3.OperationalError("database is locked")
        real(self)

    monkeypatch.setattr(Asking, "fit", fit)
    with model:
        for wanted in (1, 3):  # after the start, and after an answer
            deadline = time.monotonic() + 20
            while len(fits) < wanted and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(0.1)
            assert len(fits) == wanted
            answer(store, page, store.join(), page.label[0], 1)
    assert capsys.readouterr().out.count("database is locked") == 1


def test_order_and_certainty_change_between_starts(studied):
    page, store = studied
    started(page, store)
    values = certainties(page)
    least = min(values, key=lambda image: (values[image], image))
    assert store.next_image(store.join()) == least
    store.close()
    with closing(opened(page, labels_per_image=20, certainty=min(values.values()))) as strict:
        started(page, strict)
        assert strict.next_image(strict.join()) is None
        assert strict.progress()["images that are certain or have all their labels"] == 9
    with closing(opened(page, labels_per_image=20)) as even:
        counts = rows_of(page.out / "answers.sqlite", "SELECT id FROM image WHERE wanted ORDER BY answers DESC, id")
        assert even.next_image(even.join()) == counts[0][0]


def test_people_at_the_same_time_see_different_images(tmp_path):
    """While there are enough. Then they share, and all end with nothing open that they did not answer."""
    page = build_page(tmp_path / "out", lessons=1, tests=6, labels=12)
    process, draws = Process(page, "--labels-per-image", 3), [random.Random(number) for number in range(15)]
    people = [process.post("/api/join")["participant"] for _ in draws]
    shown = [process.post("/api/next", participant=person)["image"] for person in people]
    assert len(set(shown[:12])) == 12 and None not in shown[12:]

    def label(person, image, draw):
        while image is not None:
            truth = page.key["images"][image]["label"]
            trial = sent_trial(page, image, truth if draw.random() < 0.9 else draw.randrange(CLASSES))
            assert process.post("/api/trials", participant=person, trials=[trial])["refused"] == {}
            image = process.post("/api/next", participant=person)["image"]

    with ThreadPoolExecutor(15) as pool:
        list(pool.map(label, people, shown, draws))
    done = rows_of(page.out / "answers.sqlite", "SELECT answers, certainty FROM image WHERE phase = 'label'")
    assert all(answers == 3 or certainty >= 0.95 for answers, certainty in done)
    progress = process.request("GET", f"/progress?token={process.token}")[1].decode()
    assert "<td>12</td></tr>" in "".join(progress.split("have all their labels")[1].split("\n")[0])
    assert process.stop(signal.SIGINT)[0] == 0
