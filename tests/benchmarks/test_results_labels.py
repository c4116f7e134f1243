"""The part of the results on people's labels: its tables say what the scripts measured, and are the same from run to run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.results import labels
from benchmarks.results.parts import PARTS
from tests.helpers.working import HereWork
from utils.base.files import write_table
from utils.data.outputs import Layout
from utils.people.study import ANNOTATORS, EXPERT, SELF_TRAINED


@pytest.fixture
def work(data_root, weights, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(data_root, tmp_path / "work/moths", copy_function=shutil.copyfile)
    for path in [tmp_path / "work/moths", *(tmp_path / "work/moths").rglob("*")]:
        path.chmod(0o755)
    return HereWork(str(tmp_path / "work/moths"), str(weights), Path("work"), 0, "cpu", 1, 1, quick=True)


def test_the_part_from_beginning_to_end_and_once_more(work, tmp_path):
    assert PARTS["labels"] is labels.tables
    made = labels.tables(work)
    assert [table.name for table in made] == ["labels", "labels_self_training", "labels_chain"]
    for table in made:
        table.write(tmp_path)
        assert (tmp_path / f"{table.name}.png").stat().st_size > 1000
    study, rounds, chain = (table.rows for table in made)
    record = json.loads(Path("work/toy/annotators/run_study_annotators.json").read_text())["measured"]
    assert [row["test_accuracy"] for row in study] == [
        record["expert_alone"],
        *record["annotators"].values(),
        *(
            one["test_accuracy"]
            for name, one in record["without_people"].items()
            if name != "the expert's images alone"
        ),
    ]
    assert [row["people"] for row in study[:4]] == ["", 20.0, 60.0, 100.0]
    assert [row["round"] for row in rounds] == [1, 2] * 2 and rounds[0]["own_labels"] == 20  # any answer counts
    assert [row["people"] for row in chain] == ["", 60.0, 80.0, 100.0] and chain[-1]["label_accuracy"] == 100
    for row, folder in zip(chain, ("teacher", *(f"people/people_{share}" for share in (60, 80, 100))), strict=True):
        trained = json.loads(Path(f"work/toy/{folder}/run_train_butterflies_resnet18.json").read_text())
        assert row["test_accuracy"] == round(trained["measured"]["test_accuracy"], 2)
    rows = [table.rows for table in made]
    assert [table.rows for table in labels.tables(work)] == rows  # of finished scripts, which are not run again
    shutil.move("work/moths", "again/moths")
    assert [table.rows for table in labels.tables(replace(work, folder=Path("again"), data_root="again/moths"))] == rows


def test_seeds_are_merged_by_hand(tmp_path):
    def row(source, quality, seed, right, share=""):
        return {
            "labels": source,
            "annotator_accuracy": quality,
            "seed": seed,
            "label_accuracy": share,
            "test_accuracy": right,
        }

    files = Layout(tmp_path)
    rows = [row(EXPERT, "", 0, 60.0), row(EXPERT, "", 1, 50.0)]
    rows += [row(ANNOTATORS, 0.5, 0, 50.0, 48.0), row(ANNOTATORS, 0.5, 1, 40.0, 53.0)]
    rows += [row(ANNOTATORS, 1.0, 0, 70.0, 100.0), row(ANNOTATORS, 1.0, 1, 80.0, 100.0)]
    rows += [row(SELF_TRAINED, "", 0, 75.0, ""), row(SELF_TRAINED, "", 1, 70.0, 90.0)]
    write_table(files.annotator_study(".csv"), rows)
    of_round = {"labels": SELF_TRAINED, "round": 1, "changed": 7}
    of_seeds = [of_round | {"seed": 0, "own_labels": 0, "label_accuracy": "", "test_accuracy": 75.0}]
    of_seeds += [of_round | {"seed": 1, "own_labels": 7, "label_accuracy": 90.0, "test_accuracy": 70.0}]
    write_table(files.annotator_study("_rounds.csv"), of_seeds)
    study, rounds = labels.study_tables(files, "moths")
    columns = (
        "labels",
        "people",
        "label_accuracy",
        "test_accuracy",
        "deviation",
        "people_pay_above",
        "lowest",
        "highest",
    )
    assert [tuple(one.values()) for one in study.rows] == [
        (EXPERT, "", "", 55.0, 7.07, 66.7, 62.5, 75.0),
        (ANNOTATORS, 50.0, 50.5, 45.0, 7.07, "", "", ""),
        (ANNOTATORS, 100.0, 100.0, 75.0, 7.07, "", "", ""),
        (SELF_TRAINED, "", 90.0, 72.5, 3.54, 95.8, 87.5, "never"),
    ]
    assert tuple(study.rows[0]) == columns
    assert study.text.startswith("On moths, a linear head") and rounds.text.startswith("On moths, a classifier")
    assert (
        "Against self-training (72.5 % right), annotators pay if they are right on more than 96 % of the images"
        in study.text
    )
    assert [tuple(one.values()) for one in rounds.rows] == [(SELF_TRAINED, 1, 3.5, 7.0, 90.0, 72.5)]


def test_without_the_pictures_the_tables_say_so(work, tmp_path):
    made = labels.tables(replace(work, data_root=str(tmp_path / "elsewhere"), quick=False))
    assert [table.rows for table in made] == [[]] * 3
    assert {table.text for table in made} == {
        "The dataset butterflies_s300 was not in the data root, so nothing was measured on it."
    }
