"""Batches of Mechanical Turk, and tables as spreadsheets of other countries write them."""

import csv
import io
import itertools
import json
import re
from collections import Counter

import pytest

from tests.helpers.answering import batch, csv_text, download, export, make_trial, mturk_row
from utils.base.errors import InputError
from utils.people.answers import read_answers, read_files
from utils.people.tables import csv_rows, parsed_number


def labels_of(key, person, number=2):
    return [make_trial(key, "label", place, place % 5, person) for place in range(number)]


def people_and_left_out(paths, key):
    """Number of answers by person, and what is left out: line or place, person, reason's first words, number."""
    reading = read_files(paths, key, 5)
    left_out = [
        (part.where.split(", ")[-1], part.person, " ".join(part.reason.split()[:3]), part.answers)
        for part in reading.left_out
    ]
    return dict(Counter(answer.person for answer in reading.answers)), left_out


def test_a_rejection_counts_in_whichever_column_it_stands(key, tmp_path):
    rows = [mturk_row(f"W{number}", labels_of(key, f"W{number}")) for number in range(6)]
    decisions = [
        {"Approve": "x"},
        {},
        {"Reject": "x"},
        {"Reject": " Clicked the same button "},
        {"AssignmentStatus": "Rejected"},
    ]
    decisions.append({"AssignmentStatus": " rejected ", "Reject": "late", "Approve": " "})
    path = batch(tmp_path / "a.csv", *(row | decision for row, decision in zip(rows, decisions, strict=True)))
    lines = [line for line, _ in csv_rows(path.read_text(), path)][1:]
    kept, left_out = people_and_left_out([path], key)
    assert kept == {"W0": 2, "W1": 2}
    assert [(where, person) for where, person, *_ in left_out] == [(f"line {lines[n]}", f"W{n}") for n in (2, 3, 4, 5)]
    reasons = [part.reason for part in read_files([path], key, 5).left_out]
    assert reasons == ["rejected in the column Reject"] * 2 + ["rejected in the column AssignmentStatus"] * 2


@pytest.mark.parametrize(
    "decision", [{"Approve": "x", "Reject": "bad"}, {"Approve": "x", "AssignmentStatus": "Rejected"}]
)
def test_decisions_that_contradict_each_other_are_asked_about(key, tmp_path, decision):
    path = batch(tmp_path / "a.csv", mturk_row("W", labels_of(key, "W")) | decision)
    with pytest.raises(InputError, match="line 2: Approve is filled, and yet .*; decide, and empty one of the columns"):
        read_answers([path], key, 5)


def test_an_assignment_rejected_in_one_download_is_left_out_of_all(key, tmp_path):
    rows = [mturk_row(name, labels_of(key, name)) for name in ("ann", "bob")]
    before = batch(tmp_path / "before.csv", *rows)
    after = batch(tmp_path / "after.csv", rows[0], rows[1] | {"AssignmentStatus": "Rejected"})
    for paths in ([before, after], [after, before]):
        kept, left_out = people_and_left_out(paths, key)
        assert kept == {"ann": 2}
        assert sorted(reason for _, person, reason, _ in left_out if person == "bob") == [
            "rejected in another",
            "rejected in the",
        ]


def test_rows_without_answers_or_cut_by_a_spreadsheet_are_counted(key, tmp_path):
    whole = mturk_row("ann", labels_of(key, "ann"))
    long = json.dumps([trial | {"trial_id": f"{n:032x}"} for n, trial in enumerate(labels_of(key, "bob", 1) * 300)])
    assert len(long) > 32_767
    cells = ["", "  ", "[]", long[:32_767], whole["Answer.trials"][:100]]
    rows = [mturk_row(f"W{number}", []) | {"Answer.trials": cell} for number, cell in enumerate(cells)]
    kept, left_out = people_and_left_out([batch(tmp_path / "a.csv", whole, *rows)], key)
    assert kept == {"ann": 2}
    assert [(person, reason) for _, person, reason, _ in left_out] == [
        ("W0", "no answers"),
        ("W1", "no answers"),
        ("W2", "no answers"),
        ("W3", "answers cut short,"),
        ("W4", "answers cut short,"),
    ]
    with pytest.raises(InputError, match=r"there is no answer in it \(left out: .*line 2: no answers"):
        read_answers([batch(tmp_path / "b.csv", rows[0])], key, 5)


def test_rows_without_a_worker_are_people_of_their_own(key, tmp_path):
    rows = [mturk_row("", labels_of(key, name)) | {"AssignmentId": name} for name in ("A1", "A2", "")]
    path = batch(tmp_path / "a.csv", *rows)
    lines = [line for line, _ in csv_rows(path.read_text(), path)]
    expected = {"assignment A1": 2, "assignment A2": 2, f"{path}, line {lines[3]}": 2}
    assert people_and_left_out([path], key) == (expected, [])
    nameless = [{name: cell for name, cell in row.items() if name != "WorkerId"} for row in rows]
    (tmp_path / "b.csv").write_text(
        csv_text(nameless)
    )  # made anonymous by leaving out the column; the same trials are the same people
    assert people_and_left_out([path, tmp_path / "b.csv"], key) == (expected, [])


def test_a_worker_is_one_person_over_batches_and_assignments(key, tmp_path):
    first = mturk_row("W", labels_of(key, "first", 3))
    second = mturk_row(" W ", labels_of(key, "second", 4)) | {"AssignmentId": "A2"}
    expected = {"W": 4}, [("A2", "W", "answered again by", 3)]
    one = batch(tmp_path / "one.csv", first, second)
    two = [batch(tmp_path / "first.csv", first), batch(tmp_path / "second.csv", second)]
    for paths in ([one], two):
        kept, left_out = people_and_left_out(paths, key)
        assert kept == expected[0] and [part[1:] for part in left_out] == [part[1:] for part in expected[1]]


def test_two_workers_who_hand_in_the_same_are_two_people(key, tmp_path):
    """Else everything that the second ever did would be the first's."""
    same, own = labels_of(key, "same"), make_trial(key, "label", 5, 1, "own")
    one = batch(tmp_path / "one.csv", mturk_row("W1", same))
    two = batch(tmp_path / "two.csv", mturk_row("W2", [*same, own]))
    kept, left_out = people_and_left_out([one, two], key)
    assert kept == {"W1": 2, "W2": 1} and [part[1:] for part in left_out] == [("W2", "handed in by", 2)]
    (tmp_path / "mine.json").write_text(json.dumps(download(same, "00ff")))
    for paths in itertools.permutations([tmp_path / "mine.json", one]):
        assert people_and_left_out(paths, key) == ({"W1": 2}, [])  # a download and the batch: one person


def test_a_download_of_a_second_assignment_is_the_worker_s_in_any_order(key, tmp_path):
    """What the worker answered first counts; else whoever hands in a download too would label each image twice."""
    first, second = (
        [make_trial(key, phase, 3, answer, f"{answer}") for phase in ("test", "label")] for answer in (0, 1)
    )
    both = batch(tmp_path / "b.csv", mturk_row("W1", first), mturk_row("W1", second) | {"AssignmentId": "B2"})
    (tmp_path / "d.json").write_text(json.dumps(download(second, "00ff")))
    for paths in itertools.permutations([both, tmp_path / "d.json"]):
        reading = read_files(paths, key, 5)
        assert [(answer.person, answer.phase, answer.response) for answer in reading.answers] == [
            ("W1", "test", 0),
            ("W1", "label", 0),
        ]
        assert [(part.person, part.answers) for part in reading.left_out] == [("W1", 2)]


def test_what_joins_two_people_counts_wherever_it_stands(key, tmp_path):
    """Two downloads of one person, before and after she changed the browser, and the export that knows both; p0002 is somebody else."""
    ann, bob = labels_of(key, "ann", 2), [make_trial(key, "label", 0, 3, "bob")]
    files = {
        "one": download(ann[:1], "aa"),
        "two": download(ann[1:], "bb"),
        "all": export({"p0001": ann, "p0002": bob}),
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    for names in itertools.permutations(files):
        kept, left_out = people_and_left_out([tmp_path / name for name in names], key)
        assert sorted(kept.values()) == [1, 2] and left_out == [], names


def test_what_several_handed_in_makes_no_two_of_them_one(key, tmp_path):
    """A download in common joins neither two workers nor two numbers of an export, in any order."""
    same = labels_of(key, "same")
    mine = tmp_path / "mine.json"
    mine.write_text(json.dumps(download(same, "00ff")))
    one = batch(tmp_path / "one.csv", mturk_row("W1", [*same, make_trial(key, "label", 4, 1, "W1")]))
    two = batch(tmp_path / "two.csv", mturk_row("W2", [*same, make_trial(key, "label", 5, 1, "W2")]))
    for paths in itertools.permutations([mine, one, two]):
        assert sorted(people_and_left_out(paths, key)[0].values()) == [1, 3]
    (tmp_path / "all.json").write_text(
        json.dumps(export({"p0001": same, "p0002": [*same, make_trial(key, "label", 5, 1, "p0002")]}))
    )
    for paths in itertools.permutations([mine, tmp_path / "all.json"]):
        assert sorted(people_and_left_out(paths, key)[0].values()) == [1, 2]


TABLES = {
    "as it comes": (",", "utf-8", ""),
    "byte-order mark": (",", "utf-8-sig", ""),
    "semicolons": (";", "utf-8-sig", ""),
    "semicolons, named": (";", "utf-8", "sep=;\n"),
    "Unicode text": ("\t", "utf-16", ""),
    "Unicode text, big": ("\t", "utf-16-be", "\ufeff"),
    "UTF-16 without mark": (";", "utf-16-le", ""),
    "Western Windows": (";", "cp1252", ""),
    "empty rows": (",", "utf-8", "\n"),
}


@pytest.mark.parametrize("table", TABLES)
def test_tables_of_other_countries_hold_the_same(key, tmp_path, trials, table):
    separator, encoding, before = TABLES[table]
    row = mturk_row("ann", trials) | {"HITId": "Wer trägt das Grün?"}
    path = batch(tmp_path / "a.csv", row, mturk_row("bob", trials) | {"Reject": "schläft"}, delimiter=separator)
    text = before + path.read_text() + separator * (len(row) + 1) + "\n"
    path.write_bytes(text.encode(encoding))
    expected = (tmp_path / "a.json", path)
    expected[0].write_text(json.dumps(download(trials)))
    assert read_answers([path], key, 5) == read_answers([expected[0]], key, 5)
    point = "." if separator == "," else ","
    answers = [
        {"participant": "ann"} | {"correct": ""} | trial | {"rt": str(trial["rt"]).replace(".", point)}
        for trial in trials
    ]
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(answers[0]), delimiter=separator)
    writer.writeheader()
    writer.writerows(answers)
    path.write_bytes((before + text.getvalue()).encode(encoding))
    assert read_answers([path], key, 5) == read_answers([expected[0]], key, 5)


@pytest.mark.parametrize("written", ["1,234", "1234,5", "1,234.5", "1,234,567"])
def test_a_comma_in_a_number_between_commas_is_asked_about(key, tmp_path, trials, written):
    """1,234 milliseconds, with thousands set apart, are not 1.234."""
    rows = [{"participant": "ann"} | {"correct": ""} | trial for trial in trials]
    rows[1]["rt"] = written
    (tmp_path / "a.csv").write_text(csv_text(rows))
    told = f"a.csv, line 3: rt {written} must be milliseconds, 0 .. 1e+12, without separators of thousands; correct it."
    with pytest.raises(InputError, match=re.escape(told)):
        read_answers([tmp_path / "a.csv"], key, 5)


def test_numbers_in_tables():
    found = {
        separator: [parsed_number(text, float, separator) for text in ("1,25", "1.25", "7", "1,234,567", "1.234,5")]
        for separator in ",;\t"
    }
    assert found[","] == ["1,25", 1.25, 7, "1,234,567", "1.234,5"]
    assert found[";"] == found["\t"] == [1.25, 1.25, 7, "1,234,567", "1.234,5"]
    assert parsed_number("3", int, ",") == 3 and parsed_number("3,0", int, ";") == "3,0"


@pytest.mark.parametrize(
    ("column", "value"), [("trial_id", "1.23457E+31"), ("stimulus", "1.23457E+15"), ("participant", " ")]
)
def test_ids_that_a_spreadsheet_rounded_are_named(key, tmp_path, trials, column, value):
    rows = [{"participant": "ann"} | {"correct": ""} | trial for trial in trials]
    rows[1][column] = value
    (tmp_path / "a.csv").write_text(csv_text(rows))
    with pytest.raises(InputError, match=rf"a.csv, line 3: {column} "):
        read_answers([tmp_path / "a.csv"], key, 5)


def test_people_without_a_name_are_not_one_person(key, tmp_path, trials):
    for name, content in (("a.json", download(trials, "")), ("b.json", export({" ": trials}))):
        (tmp_path / name).write_text(json.dumps(content))
        with pytest.raises(InputError, match=f"{name}.*: participant is empty"):
            read_answers([tmp_path / name], key, 5)
