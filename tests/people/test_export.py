"""The researcher's side of the collecting server: progress, and exports of what was answered."""

import csv
import io
import re
import stat
from contextlib import closing

import pytest

import collect_labels
from tests.helpers.collecting import SECRET, build_page, joined, post_trials, rows_of, sent_trial, study_of
from utils.people import export, server
from utils.people.built_page import read_built_page
from utils.people.store import Store
from utils.people.trials import FIELDS


@pytest.mark.parametrize("address", ["/progress", "/export.json", "/export.csv"])
def test_progress_and_exports_are_behind_the_token(client, address):
    for token in (
        "",
        "x",
        SECRET[:-1],
        SECRET + "0",
        SECRET.upper(),
        "é",
        "%00",
        "\ud800".encode("utf-8", "surrogatepass").hex(),
    ):
        answer = client.get(address, query_string={"token": token})
        assert (answer.status_code, list(answer.get_json())) == (403, ["error"]), token
    assert client.get(address).status_code == client.get(f"{address}?Token={SECRET}").status_code == 403
    assert client.get(f"{address}?token={SECRET}").status_code == 200


def test_the_token_is_made_once_for_its_owner_alone(tmp_path):
    token = server.access_token(tmp_path)
    assert re.fullmatch("[0-9a-f]{32}", token) and server.access_token(tmp_path) == token
    assert stat.S_IMODE((tmp_path / "answers.token").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["answers.token"]


def test_progress_counts(client, page, store):
    people = [joined(client) for _ in range(4)]
    # two pairs of labels: one agrees; a third image has one label
    for person, answers in zip(people, [{0: 1, 1: 1}, {0: 1, 1: 2, 2: 0}], strict=False):
        post_trials(
            client, person, *(sent_trial(page, page.label[place], response) for place, response in answers.items())
        )
    post_trials(
        client,
        people[2],
        sent_trial(page, page.test[0]),
        sent_trial(page, page.lesson[0]),
        sent_trial(page, page.lesson[1]),
    )
    now = store.progress()
    assert (now.joined, now.answered, now.answers) == (4, 3, {"lesson": 2, "test": 1, "label": 5})
    assert (now.images_by_labels, now.agreement) == ([3, 1, 2], 0.5)
    shown = client.get(f"/progress?token={SECRET}").get_data(as_text=True)
    cells = re.findall(r"<tr><th scope=\"row\">(.*?)</th>\s*<td>(.*?)</td></tr>", shown)
    assert dict(cells) == {
        "people who opened the course": "4",
        "people who answered": "3",
        "answers, lesson": "2",
        "answers, test": "1",
        "answers, label": "5",
        "images with all their labels": "2 of 6",
        "images with 0 labels": "3",
        "images with 1 labels": "1",
        "images with 2 labels": "2",
        "pairs of labels of one image that agree": "50.0 %",
    }


def test_script_in_names_stays_text(tmp_path, clock):
    name = "<script>alert('x')</script>"
    page = build_page(tmp_path, dataset=name, classes=[name, '"><img src=x onerror=alert(1)>'])
    with closing(Store(tmp_path / "answers.sqlite", study_of(page), clock)) as store:
        client = server.create_app(read_built_page(tmp_path), store, SECRET).test_client()
        shown = client.get(f"/progress?token={SECRET}").get_data(as_text=True)
        assert "<script" not in shown and "<img" not in shown and "&lt;script&gt;" in shown
        assert client.get(f"/export.json?token={SECRET}").get_json()["dataset"] == name


def test_no_cell_is_a_formula():
    hostile = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x")', 'a,"b"\n=c']
    (row,) = csv.reader(io.StringIO(export.csv_line((*hostile, -1, 1.5, None, True)), newline=""))
    assert row == [*(f"'{text}" for text in hostile[:-1]), hostile[-1], "-1", "1.5", "", "true"]
    assert not [cell for cell in row[: len(hostile)] if cell.startswith(export.FORMULA_SIGNS)]


def collect_some(client, page):
    """Answers of three people, the second of whom answers nothing; what the export must hold."""
    wanted = []
    for number in range(3):
        person = joined(client)
        if number != 1:
            images = [page.lesson[0], page.test[number], page.label[number]]
            trials = [sent_trial(page, image, number % 3, index=index) for index, image in enumerate(images)]
            post_trials(client, person, *reversed(trials))
            wanted.append({"participant": f"p{number + 1:04d}", "trials": trials})
    return wanted


def as_csv(participants):
    """The rows that a CSV must have, as text."""
    return [
        {
            "participant": one["participant"],
            **{field: "" if trial.get(field) is None else str(trial[field]) for field in FIELDS},
        }
        for one in participants
        for trial in one["trials"]
    ]


def test_exports_hold_what_was_sent(client, page, store, monkeypatch, capsys):
    wanted = collect_some(client, page)
    expected = {"build_id": page.build_id, "dataset": "butterflies_s300", "participants": wanted}
    downloads = {suffix: client.get(f"/export{suffix}?token={SECRET}") for suffix in (".json", ".csv")}
    got = downloads[".json"].get_json()
    assert got == expected
    assert [list(trial) for one in got["participants"] for trial in one["trials"]] == [
        [field for field in FIELDS if field in trial] for one in wanted for trial in one["trials"]
    ]
    table = list(csv.DictReader(io.StringIO(downloads[".csv"].get_data(as_text=True))))
    assert [{**row, "correct": row["correct"].capitalize()} for row in table] == as_csv(wanted)
    assert list(table[0]) == ["participant", *FIELDS]
    for suffix, download in downloads.items():
        assert download.headers["Content-Disposition"] == f'attachment; filename="answers{suffix}"'
        monkeypatch.setattr(
            "sys.argv", ["collect_labels.py", "--out", str(page.out), "--export", str(page.out / f"a{suffix}")]
        )
        collect_labels.launch(collect_labels.main, collect_labels.Config, "")
        assert (page.out / f"a{suffix}").read_bytes() == download.data
    assert not list(page.out.glob(".*")) and "Answers: " in capsys.readouterr().out


def test_an_export_holds_no_secret(client, page, store):
    people = [row[0] for row in (collect_some(client, page), rows_of(store.path, "SELECT secret FROM participant"))[1]]
    for suffix in (".json", ".csv"):
        text = client.get(f"/export{suffix}?token={SECRET}").get_data(as_text=True)
        assert len(people) == 3 and not [person for person in people if person in text]
        assert SECRET not in text


def test_an_empty_study_exports_nothing_but_its_name(client, page):
    assert client.get(f"/export.json?token={SECRET}").get_json()["participants"] == []
    assert (
        client.get(f"/export.csv?token={SECRET}").get_data(as_text=True) == ",".join(["participant", *FIELDS]) + "\r\n"
    )
