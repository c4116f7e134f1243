"""The part of the results on real people, on made-up logs of the toy moths."""

import csv
import dataclasses
import json
import re

import numpy as np
import pytest

from benchmarks.results import people
from benchmarks.results.work import Work
from tests.helpers.shown_logs import write_logs
from utils.data.catalog import MOTHS
from utils.data.lists import read_examples

LESSONS, QUESTIONS = 8, 6


@pytest.fixture
def work(data_root, weights, tmp_path):
    """Work whose logs tell of six people with lists of their own, and two who were shown the same list."""
    rows = [row for split in ("tr", "te") for row in read_examples(data_root / f"toy/toy_gt_{split}.txt", 5)]
    count = len(read_examples(data_root / "toy/toy_gt_tr.txt", 5))
    rng, person = np.random.default_rng(0), []
    for name in range(8):
        lessons = rng.permutation(count)[:LESSONS].tolist() if name < 6 else list(range(LESSONS))
        tests = (count + rng.permutation(len(rows) - count)[:QUESTIONS]).tolist()
        answers = [rows[n].label if rng.random() < 0.6 else int(rng.integers(5)) for n in tests]
        person.append((f"p{name}", "random" if name < 6 else "picked", lessons, tests, answers))
    table = write_logs(tmp_path / "logs/toy", [row.path.removeprefix("./datasets/") for row in rows], person, MOTHS)
    (tmp_path / "work").mkdir()
    return Work(str(data_root), str(weights), tmp_path / "work", 0, "cpu", 1, 1, True, str(table))


def test_tables_and_figures(work, tmp_path):
    """Every predictor and every course has a row; the same bytes twice; what is known by hand is there; the text says what is not known."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        again = dataclasses.replace(work, folder=folder / "work")
        predicted, courses = people.tables(again)
        for table in (predicted, courses):
            table.write(folder)
    for name in ("people.csv", "people.png", "people_courses.csv", "people_courses.png"):
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()
    with open(folders[0] / "people.csv", newline="") as file:
        rows = {(row["people"], row["predictor"]): row for row in csv.DictReader(file)}
    predictors = [f"{kind}{way}" for kind in ("optimal", "sgd", "exemplar") for way in ("", ", attention")]
    predictors += ["network taught all images", "other people's answers to the image", "confusion table", "chance"]
    assert [name for whose, name in rows if whose == "all"] == predictors
    assert rows["all", "chance"]["log_likelihood"] == "-1.6094" and rows["all", "chance"]["count"] == "8"
    assert {row["auc"] for (_, name), row in rows.items() if name in ("confusion table", "chance")} == {"0.5"}
    with open(folders[0] / "people_courses.csv", newline="") as file:
        taken = {row["course"]: row for row in csv.DictReader(file)}
    assert [row["courses"] for row in taken.values()] == ["2", "2", "2", "1", "6"]
    logs = json.loads((tmp_path / "logs/toy/results.json").read_text())
    right = [np.mean(np.array(log["response"][LESSONS:]) == log["gt_label"][LESSONS:]) for log in logs]
    assert float(taken["picked, one list"]["reached"]) == pytest.approx(100 * np.mean(right[6:]), abs=0.05)
    assert float(taken["random, their own lists"]["reached"]) == pytest.approx(100 * np.mean(right[:6]), abs=0.05)
    assert f"On toy 8 people gave {8 * QUESTIONS} answers" in predicted.text
    number = r"([+-]?0\.\d+)"
    sentence = rf"Of all people .*? is {number} \((.*?)\), .*? and {number} of the network .*?: {number} fold by fold"
    told = re.search(sentence, predicted.text)
    best, network = (float(rows["all", name]["auc"]) for name in (told[2], "network taught all images"))
    assert [float(number) for number in told.group(1, 3, 4)] == pytest.approx(
        [best, network, best - network], abs=0.001
    )
    assert (
        "gain is not known to carry over to people" in courses.text and "nobody has taken these courses" in courses.text
    )


def test_what_is_absent_or_disagrees_is_said_and_left_out(work, tmp_path):
    """No table; and one that belongs to another log: sentences with counts, and tables without rows."""
    absent = people.tables(dataclasses.replace(work, teaching_images=str(tmp_path / "nowhere/none.json")))
    assert [table.rows for table in absent] == [[], []]
    assert all("Left out: " in table.text and "none.json is absent" in table.text for table in absent)
    path = tmp_path / "logs/toy/teaching_images.json"
    path.write_text(json.dumps(json.loads(path.read_text())[::-1]))
    (other,) = {table.text.split("Left out: ")[1] for table in people.tables(work)}
    assert f"of {8 * (LESSONS + QUESTIONS)} answers are to images whose folder is of another class" in other
