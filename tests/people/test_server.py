"""The server's requests (without a network): accepted and refused answers, exports, leaks."""

import csv
import io
import itertools
import json
import re
import secrets
import stat
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.collecting import (
    CLASSES,
    CONSENT,
    HEADERS,
    SECRET,
    build_page,
    client_of,
    joined,
    opened,
    post_trials,
    rows_of,
    sent_trial,
)
from tests.helpers.runs import call
from utils.data.outputs import Layout
from utils.people import server
from utils.people.answers import read_answers
from utils.people.asking import Asking
from utils.people.page_key import read_page_key


def test_every_file_of_the_page_is_served_with_its_policy(client, page):
    kinds = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".png": "image/png"}
    for path in [path for path in page.folder.rglob("*") if path.is_file()]:
        address = f"/{path.relative_to(page.folder)}"
        answer = client.get(address)
        assert (answer.status_code, answer.data) == (200, path.read_bytes())
        assert answer.mimetype == kinds.get(path.suffix, "image/jpeg")
        policy = answer.headers["Content-Security-Policy"]
        assert policy == server.PAGE_POLICY and "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-cache" and "Last-Modified" not in answer.headers
        assert client.get(address, headers={"If-None-Match": answer.headers["ETag"]}).status_code == 304


def test_only_files_of_the_page_are_served(client, page):
    (page.folder / "images/Monarch_0.png").write_bytes(b"\x89PNG")
    (page.folder / ".index.html.part").write_text("half")
    names = ["images", "images/Monarch_0.png", ".index.html.part", "answers.sqlite", f"images/{'f' * 16}.png"]
    names += ["../course_page_key.json", "images/../../course_page_key.json", "%2e%2e/course_page_key.json"]
    for name in names:
        answer = client.get(f"/{name}")
        assert (answer.status_code, list(answer.get_json())) == (404, ["error"]), name


BAD_BODIES = [
    (b'{"participant": "', 400),
    (b"[]", 400),
    (json.dumps({"participant": SECRET, "trials": []}).encode(), 400),
    (json.dumps({"participant": SECRET, "trials": [{"trial_id": "<script>"}]}).encode(), 400),
    (json.dumps({"participant": SECRET, "trials": [{"trial_id": SECRET}] * 51}).encode(), 400),
    (b" " * (server.LONGEST_BODY + 1), 413),
]


@pytest.mark.parametrize(("content", "status"), BAD_BODIES)
def test_a_bad_body_is_refused_in_a_sentence(client, content, status):
    answer = client.post("/api/trials", data=content, headers=HEADERS)
    assert answer.status_code == status and list(answer.get_json()) == ["error"] and b"script>" not in answer.data
    assert client.post("/api/trials", data=content, content_type="text/plain").status_code in (413, 415)


def forgeries(page):
    """Invalid trials, each with a word of the expected reason."""
    test, label, lesson = page.test[0], page.label[0], page.lesson[0]
    return [
        (sent_trial(page, test, phase="label", trial_type="label"), "stimulus"),
        (sent_trial(page, label, phase="test", trial_type="test"), "stimulus"),
        *((sent_trial(page, test, response=wrong), "response") for wrong in (None, True, -1, 3, 1.5, "0")),
        *((sent_trial(page, test, rt=wrong), "rt") for wrong in (None, -1, [0])),
        (sent_trial(page, test, trial_index="0"), "trial_index"),
        (sent_trial(page, test, stimulus="f" * 16), "stimulus"),
        (sent_trial(page, test, build_id="f" * 16), "build_id"),
        (sent_trial(page, test, correct=True), "exactly the fields"),
        (sent_trial(page, test, **{"<script>": 1}), "exactly the fields"),
        (sent_trial(page, lesson, response=0, correct=not sent_trial(page, lesson, 0)["correct"]), "correct"),
    ]


def test_forged_trials_are_refused_next_to_good_ones(client, page, store):
    good, forged = sent_trial(page, page.test[1]), forgeries(page)
    status, said = post_trials(client, joined(client), *(trial for trial, _ in forged), good)
    assert (status, said["stored"]) == (200, [good["trial_id"]]) and len(said["refused"]) == len(forged)
    for trial, words in forged:
        assert words in said["refused"][trial["trial_id"]]
    assert "script" not in json.dumps(said) and store.progress()["answers, test"] == 1


def test_participants_cannot_act_for_or_learn_about_others(client, page, store):
    a, b = joined(client), joined(client)
    trial = sent_trial(page, client.post("/api/next", json={"participant": a}).get_json()["image"])
    assert post_trials(client, a, trial)[0] == 200
    status, said = post_trials(client, b, {**trial, "response": 2})
    assert (status, said["stored"]) == (200, []) and a not in json.dumps(said)
    for wrong, code in (("f" * 32, 403), (f"{a}' OR '1'='1", 400), ([a], 400)):
        assert post_trials(client, wrong, sent_trial(page, page.test[0]))[0] == code
        assert client.post("/api/next", json={"participant": wrong}).status_code == code
    assert rows_of(store.path, "SELECT response FROM trial") == [(0,)]


def conversation(page, monkeypatch):
    """Statuses, headers and bodies that the server sends during a course with valid and forged answers."""
    numbers, heard = itertools.count(), []
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
    with closing(opened(page)) as store:
        client = client_of(page, store)
        Asking(store, read_page_key(Layout(page.out)), page.out / "teacher_features.npz")

        def hear(answer):
            headers = sorted(item for item in answer.headers if item[0] != "Date")
            content = re.sub(b'"finished": "[^"]*"', b"", answer.data)  # the time
            heard.append((answer.status_code, headers, content))
            return answer.get_json(silent=True)

        for path in sorted(page.folder.rglob("*")):
            hear(client.get(f"/{path.relative_to(page.folder)}"))
        for number in range(3):
            # The third is the first again.
            about = {"parameters": {"PROLIFIC_PID": f"p{number % 2}"}, "consent": CONSENT if number else None}
            person = hear(client.post("/api/join", json=about))["participant"]
            hear(client.post("/api/next", json={"participant": person}))
            heard[-1] = (*heard[-1][:2], re.sub(b'"image":"[0-9a-f]{16}"', b"", heard[-1][2]))  # the order may differ
            trials = [sent_trial(page, image, number) for image in [*page.lesson, *page.test, *page.label]]
            trials += [trial for trial, _ in forgeries(page)]
            hear(client.post("/api/trials", json={"participant": person, "trials": trials}))
            hear(client.post("/api/finish", json={"participant": person, "passed": number > 0, "comment": ""}))
        for asked in ("/progress", "/export.json", "/export.csv"):
            hear(client.get(f"{asked}?token={SECRET}"))
    monkeypatch.undo()
    return heard


def test_the_server_reveals_no_true_label_and_no_file_name(tmp_path, monkeypatch):
    """Other true labels and files of the test and labelling images: the server sends the same bytes, by certainty.

    Only the order of images may differ.
    """
    page, other = (build_page(tmp_path / str(truth), truth=truth) for truth in (0, 1))
    assert page.key != other.key and page.lesson == other.lesson
    first, second = (conversation(some, monkeypatch) for some in (page, other))
    assert len(first) > 25 and first == second
    data, *others = sorted((content for _, _, content in first), key=lambda content: b"window.COURSE" not in content)
    for image in page.key["images"].values():
        path = Path(image["path"])
        for word in (image["path"], path.name, path.stem, path.parts[1], str(page.out), "course_page_key"):
            assert word.encode() not in data and not [some for some in others if word.encode() in some]
    assert not [some for some in others for name in CLASSES if name.encode() in some]


def test_progress_and_exports_need_the_token(client, tmp_path):
    for address in ("/progress", "/export.json", "/export.csv"):
        for token in ("", SECRET[:-1], "é"):
            answer = client.get(address, query_string={"token": token})
            assert (answer.status_code, list(answer.get_json())) == (403, ["error"]), token
        assert client.get(f"{address}?token={SECRET}").status_code == 200
    path = tmp_path / "answers.token"
    token = server.access_token(path)
    assert re.fullmatch("[0-9a-f]{32}", token) and server.access_token(path) == token
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


PERSON = {"parameters": {"PROLIFIC_PID": "5f3a", "STUDY_ID": "s1"}, "consent": CONSENT}


def test_exports_contain_what_was_sent_and_no_secret(client, page, store):
    """label.py reads them. Tables contain nothing about people."""
    wanted = [PERSON, {**PERSON, "parameters": {"workerId": "W"}}, {}]
    for number, person in enumerate(wanted):
        participant = client.post("/api/join", json=person).get_json()["participant"]
        images = [page.lesson[0], page.test[number], page.label[number]] if number != 1 else []
        trials = [sent_trial(page, image, number % 3, index=index) for index, image in enumerate(images)]
        assert not trials or post_trials(client, participant, *reversed(trials))[0] == 200
        wanted[number] = {"participant": f"p{number + 1:04d}", **person, "trials": trials}
        if number == 0:
            client.post("/api/finish", json={"participant": participant, "passed": False, "comment": "=1+1"})
            wanted[0] |= {"comment": "=1+1", "passed": False}
    shown = client.get(f"/progress?token={SECRET}").get_data(as_text=True)
    assert re.findall(r"<td>(.*?)</td>", shown) == ["3", "2", "0", "1", "2", "2", "2", "0", "6", "0"]
    downloads = {suffix: client.get(f"/export{suffix}?token={SECRET}") for suffix in (".json", ".csv")}
    exported = downloads[".json"].get_json()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", exported["participants"][0].pop("finished"))
    assert exported == {"build_id": page.build_id, "dataset": "butterflies_s300", "participants": wanted}
    text = downloads[".csv"].get_data(as_text=True)
    rows = [{"participant": one["participant"]} | trial for one in wanted for trial in one["trials"]]
    for row, trial in zip(csv.DictReader(io.StringIO(text)), rows, strict=True):
        assert {**row, "correct": row["correct"].capitalize()} == {name: str(trial.get(name, "")) for name in row}
    assert "5f3a" not in text and "1+1" not in text
    secret = [SECRET, *(row[0] for row in rows_of(store.path, "SELECT secret FROM participant"))]
    secret += [row[0] for row in rows_of(store.path, "SELECT code FROM visitor")]
    assert len(secret) == 1 + 3 + 3
    for suffix, download in downloads.items():
        assert download.headers["Content-Disposition"] == f"attachment; filename=answers{suffix}"
        target = page.out / f"a{suffix}"
        assert call("collect", "--out", page.out, "--export", target, cwd=page.out).status == 0
        assert target.read_bytes() == download.data and stat.S_IMODE(target.stat().st_mode) == 0o600
        assert not [word for word in secret if word.encode() in download.data]
        answers, left_out = read_answers([target], read_page_key(Layout(page.out)))
        assert [(one.person, one.response) for one in answers] == [("p0001", 0)] * 3 + [("p0003", 2)] * 3
        assert left_out == []


def test_a_person_continues_on_another_device(client, page):
    assert client.get("/api/hello").get_json() == {"build_id": page.build_id, "study": True}
    first = client.post("/api/join", json=PERSON).get_json()
    assert sorted(first) == ["code", "participant", "trials"] and first["trials"] == []
    shown = [page.lesson[1], page.lesson[0], page.test[2], page.label[0]]
    trials = [sent_trial(page, image, index % 3, index=index) for index, image in enumerate(shown)]
    assert post_trials(client, first["participant"], *reversed(trials))[0] == 200
    post_trials(client, joined(client), sent_trial(page, page.test[0]))
    more = {"parameters": {"PROLIFIC_PID": "5f3a", "SESSION_ID": "2"}, "consent": None}
    for again in (PERSON, more):
        reply = client.post("/api/join", json=again).get_json()
        assert reply == {**first, "trials": trials} and json.dumps(reply["trials"][0]["correct"]) in ("true", "false")
    # The page sends the rest of the trials from either device.
    assert post_trials(client, first["participant"], *trials)[1]["refused"] == {}


TOO_MUCH = [
    {"parameters": [], "consent": None},
    {"parameters": None, "consent": None},
    {},
    {"parameters": {}, "consent": None, "identity": "a"},
    {"parameters": {"a": 1}, "consent": None},
    {"parameters": {"a": None}, "consent": None},
    {"parameters": {"a": ["<script>"]}, "consent": None},
    {"parameters": {"a": "<script>" * 26}, "consent": None},
    {"parameters": {"<script>" * 26: ""}, "consent": None},
    {"parameters": {f"a{number}": "" for number in range(21)}, "consent": None},
    *({"consent": wrong} for wrong in (True, "yes", {}, [CONSENT], {**CONSENT, "<script>": 1})),
    *({"consent": {**CONSENT, "sha256": wrong}} for wrong in (None, "0" * 63, "A" * 64, "0" * 64 + "\n")),
    *({"consent": {**CONSENT, "time": wrong}} for wrong in (0, "<script>alert", "2" * 41, "\ud800" * 20)),
]


@pytest.mark.parametrize("sent", TOO_MUCH)
def test_wrong_parameters_and_consents_are_refused(client, store, sent):
    answer = client.post("/api/join", json={"parameters": {}} | sent)
    assert answer.status_code == 400 and list(answer.get_json()) == ["error"] and b"script>" not in answer.data
    assert rows_of(store.path, "SELECT count(*) FROM participant") == [(0,)]


HOSTILE = [
    "' OR 1=1; DROP TABLE visitor; --",
    "\x00\ud800-\udfff",
    "=HYPERLINK('x')",
    "{{%PROLIFIC_PID%}}",
    "x" * 200,
    "日本 \u202e",
]


def test_hostile_parameters_are_only_text(client, page, store):
    """They are exported as they were sent, and nobody is taken for somebody else."""
    sent = [{name: value, "PROLIFIC_PID": value} for name, value in zip(HOSTILE, reversed(HOSTILE), strict=True)]
    sent += [{f"a{number}": "" for number in range(20)}]
    replies = [client.post("/api/join", json={"parameters": some, "consent": None}).get_json() for some in sent]
    assert len({reply["participant"] for reply in replies}) == len(sent)
    exported = client.get(f"/export.json?token={SECRET}").get_json()["participants"]
    assert [one["parameters"] for one in exported] == sent
    shown = client.get("/", query_string=sent[0])
    assert (shown.status_code, shown.data) == (200, (page.folder / "index.html").read_bytes())


def test_the_end_leads_somewhere(client, store):
    ends = {True: "https://example.org/in?cc=CODE", False: "https://example.org/out"}
    for passed, url in ends.items():
        person = client.post("/api/join", json={}).get_json()
        body = {"participant": person["participant"], "passed": passed, "comment": "x" * 2000}
        for _ in range(2):
            reply = client.post("/api/finish", json=body)
            assert (reply.status_code, reply.get_json()) == (200, {"url": url, "code": person["code"]})
    joined(client)
    for wrong in ({"passed": 1}, {"passed": None}, {"comment": None}, {"comment": "<script>" * 251}, {"url": "a"}):
        answer = client.post("/api/finish", json={**body, **wrong})
        assert (answer.status_code, list(answer.get_json())) == (400, ["error"]) and b"script>" not in answer.data
    assert client.post("/api/finish", json={**body, "participant": SECRET}).status_code == 403
    counts = {name: number for name, number in store.progress().items() if name.startswith("people")}
    assert list(counts.values()) == [3, 0, 1, 1]


def test_gold_images_look_like_those_to_label(tmp_path):
    """Answers differ only in the image's name, also after a return. Everybody answers a gold image once."""
    page = build_page(tmp_path, labels=5, gold=2)
    with closing(opened(page, gold_every=3)) as store:
        client, seen, replies = client_of(page, store), [], set()
        person = client.post("/api/join", json={"parameters": {"workerId": "W"}, "consent": None}).get_json()
        while image := (shown := client.post("/api/next", json={"participant": person["participant"]})).json["image"]:
            trial = sent_trial(page, image, index=len(seen))
            stored = client.post("/api/trials", json={"participant": person["participant"], "trials": [trial]})
            both = f"{shown.status} {shown.headers} {shown.text} {stored.status} {stored.headers} {stored.text}"
            replies.add(both.replace(image, "").replace(trial["trial_id"], ""))
            seen.append(image)
        assert [image in page.gold for image in seen] == [False, False, True, False, False, True, False]
        assert len(set(seen)) == 7 and len(replies) == 1
        again = client.post("/api/join", json={"parameters": {"workerId": "W"}, "consent": None}).get_json()
        assert {trial["phase"] for trial in again["trials"]} == {"label"} and "gold" not in json.dumps(again)
        now = store.progress()
        assert [now[name] for name in ("answers, label", "answers, gold", "images to label")] == [5, 2, 5]


@pytest.mark.parametrize(
    ("wrong", "words"),  # a setting, or a file and its content (None: removed)
    [
        (("course_page/data.js", None), "course_page is missing or is not the build"),
        (("course_page_key.json", None), "course_page_key.json not found. Build"),
        (("course_page_key.json", '{"b'), "is not the key of a course"),
        (("--export", "a.csv"), "not found: no answers were collected"),
        (("--delete", "abc"), "not found: no answers were collected"),
        (("--completion-url", "javascript:alert(1)"), "--completion-url 'javascript:alert(1)'"),
        (("--screen-out-url", "https:// x"), "is not an address"),
        (("--screen-out-url", "app.prolific.com"), "is not an address. Copy it whole"),
        (("--host", "no.such.host.invalid"), "cannot listen there"),
    ],
)
def test_a_failed_start_says_why(page, wrong, words):
    place, content = wrong
    if place[0] != "-":
        (page.out / place).write_text(content) if content else (page.out / place).unlink()
    done = call("collect", "--out", page.out, "--port", 0, *(wrong if place[0] == "-" else ()), cwd=page.out)
    assert done.status == 2 and words in done.err and done.err.count("\n") == 1, done.err
