"""Studies with several teaching conditions: who sees which page, shared labels, and the comparison."""

import itertools
import json
import random
from collections import Counter
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats

import collect
from tests.helpers.collecting import CONSENT, SECRET, build_page, sent_trial
from tests.helpers.runs import call
from utils.data.outputs import Layout
from utils.people import conditions, server
from utils.people.answers import Answer, read_answers
from utils.people.export import write_export
from utils.people.page_key import join_keys, read_page_key
from utils.people.store import Store

SILENT = 1000.0


@pytest.fixture
def study(tmp_path):
    """A study with three pages, and a clock to set."""
    built = [build_page(tmp_path / f"page{n}", build=str(n), gold=2) for n in range(3)]
    pages = {page.build_id: page for page in built}
    key, now = join_keys([read_page_key(Layout(page.out)) for page in pages.values()]), [1e9]
    cfg = replace(collect.Config(), labels_per_image=3, gold_every=2, silent_seconds=SILENT)
    with closing(Store(tmp_path / "a.sqlite", key, cfg, lambda: now[0])) as store:
        yield SimpleNamespace(pages=pages, key=key, store=store, now=now, app=server.create_app(key, store, SECRET, {}))


class Visitor:
    """A person with a browser."""

    def __init__(self, study, **parameters):
        self.study, self.parameters, self.client = study, parameters, study.app.test_client()
        self.build_id = self.visit()
        self.page = study.pages[self.build_id]

    def visit(self):
        """Opens the address of the study; returns the build id of the page to which it leads."""
        answer = self.client.get("/", query_string=self.parameters)
        assert answer.status_code == 302 and self.client.get(f"/{answer.location}").status_code == 200
        return answer.location.split("/")[0]

    def post(self, path, page=None, **body):
        return self.client.post(f"/{page or self.build_id}/api/{path}", json=body)

    def join(self):
        joined = self.post("join", parameters=self.parameters, consent=CONSENT).get_json()
        self.secret, self.trials = joined["participant"], joined["trials"]
        return self

    def answer(self, image, page=None):
        """Answers an image; returns the reasons for a refusal."""
        trial = sent_trial(page or self.page, image)
        sent = self.post("trials", page and page.build_id, participant=self.secret, trials=[trial])
        return [*sent.get_json()["refused"].values()]


def test_groups_of_two_hundred_people_are_balanced(study):
    """A third of the people leave at some moment. A plain second implementation counts who finished or is active."""
    draw, people, last_seen = random.Random(0), [], {}

    def sizes():
        active = [one.build_id for one in people if last_seen[one] > study.now[0] - SILENT]
        return {page: active.count(page) for page in study.pages}

    def arrive(leaves):
        before, identity = sizes(), {"PROLIFIC_PID": f"a{len(people)}"} if draw.random() < 0.5 else {}
        people.append(one := Visitor(study, **identity))
        assert before[one.build_id] == min(before.values())
        last_seen[one] = study.now[0]
        if not leaves or draw.random() < 0.5:
            one.join()
            study.now[0] += draw.uniform(0, 30)
            assert one.answer(one.page.lesson[0]) == []
            last_seen[one] = study.now[0] if leaves else float("inf")
        if not leaves:
            study.store.finish(one.secret, True, "")

    for _ in range(200):
        study.now[0] += draw.uniform(0, 60)
        arrive(leaves=draw.random() < 1 / 3)
    study.now[0] += SILENT
    while max(sizes().values()) - min(sizes().values()) > 1:
        arrive(leaves=False)
    assert len(people) < 220 and sum(sizes().values()) < 160
    shown = study.store.progress()
    assert [shown[f"people in {page.out.as_posix()}"] for page in study.pages.values()] == [*sizes().values()]
    for one in draw.sample(people, 30):  # comes back, also if the place was filled
        assert one.visit() == one.build_id
        assert not one.parameters or Visitor(study, **one.parameters).join().build_id == one.build_id  # other device
    assert study.store.progress()["people who opened the course"] == len(people)


def test_people_of_all_conditions_label_the_same_images(study, tmp_path):
    people, given = [Visitor(study).join() for _ in range(9)], Counter()
    assert Counter(one.build_id for one in people) == dict.fromkeys(study.pages, 3)
    for one in people * 6:
        if image := one.post("next", participant=one.secret).get_json()["image"]:
            assert image in one.page.label + one.page.gold and one.answer(image) == []
            given[one.page.key["images"][image]["path"]] += 1
    assert sorted(given.values()) == 6 * [3] + [4, 5]  # as many labels as with one page; the second answer is gold
    write_export(study.store.path, tmp_path / "a.json")
    groups = {f"p{number:04d}": one.page.out.as_posix() for number, one in enumerate(people, start=1)}
    for entry, one in zip(json.loads((tmp_path / "a.json").read_text())["participants"], people, strict=True):
        assert entry["condition"] == groups[entry["participant"]] and entry["trials"] == one.join().trials
        assert {trial["stimulus"] for trial in entry["trials"]} <= set(one.page.label + one.page.gold)
    answers, left_out = read_answers([tmp_path / "a.json"], study.key)
    assert Counter(answer.image for answer in answers) == given and left_out == []
    assert {(answer.person, answer.group) for answer in answers} == set(groups.items())


def test_nobody_takes_part_in_two_conditions(study):
    one = Visitor(study, workerId="w1").join()
    other = next(page for page in study.pages.values() if page is not one.page)
    assert one.post("join", other.build_id, parameters=one.parameters, consent=None).status_code == 403
    assert one.answer(other.label[0], other) == ["build_id must be that of this person's page"]
    assert one.client.post("/api/next", json={"participant": one.secret}).status_code == 404


def test_pages_that_do_not_fit_are_refused(tmp_path):
    page, other = build_page(tmp_path / "one"), build_page(tmp_path / "other", labels=5, build="1")
    for pages in ((page, page), (page, other)):
        done = call("collect", "--out", page.out, "--pages", *(one.out for one in pages), cwd=tmp_path)
        assert done.status == 2 and "must be different pages with the same images to label" in done.err


def simulated(rng, skills, count=67):
    """People with a test of 20 pictures. Their skills have the mean `skills` and differ about as those of real ones."""
    for name, skill in skills.items():
        right = 5.0 * rng.binomial(20, rng.beta(4 * skill, 4 * (1 - skill), count))
        yield from (SimpleNamespace(group=name, test_accuracy=one, seconds=1.0) for one in right.tolist())


def test_intervals_cover_the_true_difference_in_95_percent_of_studies(monkeypatch):
    monkeypatch.setattr(conditions, "PERMUTATIONS", 1)
    rng, skills, covered = np.random.default_rng(0), {"borders": 0.75, "plain": 0.7, "random": 0.6}, Counter()
    for _ in range(200):
        for row in conditions.compare_conditions([*simulated(rng, skills)], 0)["differences"]:
            pair = row["condition"], row["baseline"]
            covered[pair] += row["low"] <= 100 * (skills[pair[0]] - skills[pair[1]]) <= row["high"]
    error = (200 * 0.95 * 0.05) ** 0.5
    assert len(covered) == 3 and all(abs(count - 190) < 3 * error for count in covered.values())


def test_second_tests_do_not_count():
    course = {"ann": "lesson lesson test test lesson test label", "bob": "lesson test label"}
    answers = [Answer(name, phase, "a.png", 0, 1.0, 0) for name in course for phase in course[name].split()]
    assert conditions.first_tests(answers) == answers[:4] + answers[-3:]


def test_the_comparison_equals_scipy_and_all_permutations():
    people = [*simulated(np.random.default_rng(1), {"a": 0.8, "b": 0.5}, 7)]
    one, other = ([person.test_accuracy for person in people if person.group == group] for group in "ab")
    (row,) = conditions.compare_conditions(people, 0)["differences"]
    expected = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    assert [row["low"], row["high"]] == pytest.approx([*expected])
    sums = [sum(chosen) for chosen in itertools.combinations(one + other, 7)]
    middle = sum(one + other) / 2
    p = np.mean([abs(total - middle) >= abs(sum(one) - middle) for total in sums])
    assert 0.01 < p < 0.5 and row["p"] == pytest.approx(p, abs=4 * (p * (1 - p) / conditions.PERMUTATIONS) ** 0.5)
    assert conditions.compare_conditions(people[:8], 0) == {}  # one person has no spread


def test_the_power_is_that_of_simulated_studies(tmp_path):
    rng, count = np.random.default_rng(0), conditions.people_needed(15)
    one, other = (rng.normal(mean, conditions.SPREAD, (4000, count)) for mean in (15, 0))
    assert (stats.ttest_ind(one, other, axis=1).pvalue < 0.05).mean() == pytest.approx(0.8, abs=0.025)
    assert conditions.people_needed(conditions.SPREAD / 2) == 64  # a medium effect (Cohen, 1988)
    assert "of 10 points needs 75 people per condition" in call("collect", "--power", 10, cwd=tmp_path).out
