"""The collecting server's requests, without a network: what is taken, what is refused, and that nothing leaks."""

import itertools
import json
import secrets
from contextlib import closing
from pathlib import Path

import pytest

from tests.helpers.collecting import (
    CLASSES,
    HEADERS,
    SECRET,
    Clock,
    build_page,
    joined,
    post_trials,
    rows_of,
    sent_trial,
    study_of,
)
from utils.people import server
from utils.people.built_page import read_built_page
from utils.people.store import Store
from utils.people.trials import FIELDS


def test_a_person_takes_the_course(client, page, clock):
    assert client.get("/").data == (page.folder / "index.html").read_bytes()
    assert client.get("/api/hello").get_json() == {"build_id": page.build_id}
    person = joined(client)
    trials = [sent_trial(page, name, 1, index=index) for index, name in enumerate([*page.lesson, *page.test])]
    assert post_trials(client, person, *trials) == (
        200,
        {"stored": [trial["trial_id"] for trial in trials], "refused": {}},
    )
    for image in page.label:
        following = client.post("/api/next", json={"participant": person})
        assert following.get_json() == {"image": image, "lease_seconds": 60.0}
        assert post_trials(client, person, sent_trial(page, image))[1]["refused"] == {}
    assert client.post("/api/next", json={"participant": person}).get_json()["image"] is None


def test_every_file_of_the_page_is_served_with_its_type_and_policy(client, page):
    files = [path for path in page.folder.rglob("*") if path.is_file()]
    assert len(files) == 4 + 13
    types = {
        ".html": "text/html; charset=utf-8",
        ".js": "text/javascript; charset=utf-8",
        ".css": "text/css; charset=utf-8",
    }
    types |= {".png": "image/png", ".jpg": "image/jpeg"}
    for path in files:
        answer = client.get(f"/{path.relative_to(page.folder)}")
        assert (answer.status_code, answer.data) == (200, path.read_bytes())
        assert answer.headers["Content-Type"] == types[path.suffix]
        policy = answer.headers["Content-Security-Policy"]
        for directive in (
            "default-src 'none'",
            "img-src 'self'",
            "script-src 'self'",
            "style-src 'self'",
            "connect-src 'self'",
        ):
            assert directive in policy.split("; ")
        for directive in (
            "form-action https://*.mturk.com",
            "frame-ancestors 'self' https://*.mturk.com",
            "base-uri 'none'",
        ):
            assert directive in policy.split("; ")
        assert "unsafe" not in policy
        assert answer.headers["Cache-Control"] == "no-cache" and "Last-Modified" not in answer.headers
        again = client.get(f"/{path.relative_to(page.folder)}", headers={"If-None-Match": answer.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")


def test_a_page_built_anew_beside_the_server_is_noticed(client, page, store):
    """Files of the new build, pictures of the old one, hello and join: none is given; an answer to the old build is still stored."""
    person, names = joined(client), [path.relative_to(page.folder) for path in page.folder.rglob("*") if path.is_file()]
    build_page(page.out)  # the same build again, byte by byte
    assert client.get("/").status_code == client.get("/api/hello").status_code == 200
    assert build_page(page.out, build="1").build_id != page.build_id
    asked = [client.get(f"/{name}") for name in ("", *names)] + [
        client.get("/api/hello"),
        client.post("/api/join", json={}),
    ]
    said = {"error": "The course page was built anew; the server must be started again."}
    assert [(answer.status_code, answer.get_json()) for answer in asked] == [(503, said)] * (1 + 17 + 2)
    assert post_trials(client, person, sent_trial(page, page.test[0]))[0] == 200
    assert (store.progress().joined, store.progress().answers["test"]) == (1, 1)


@pytest.mark.parametrize("lost", ["images/{picture}.png", "data.js"])
def test_a_page_that_is_being_built_anew_is_noticed(client, page, lost):
    """A file is away for a moment."""
    name = lost.format(picture=page.test[0])
    (page.folder / name).unlink()
    answer = client.get(f"/{name}")
    assert answer.status_code == 503 and "must be started again" in answer.get_json()["error"]


def test_every_answer_has_the_closed_headers(client):
    person = joined(client)
    answers = [
        client.get("/api/hello"),
        client.post("/api/join", json={}),
        client.post("/api/next", json={"participant": person}),
        client.post("/api/trials", json={"participant": person, "trials": []}),
        client.get(f"/progress?token={SECRET}"),
        client.get(f"/export.json?token={SECRET}"),
        client.get("/nothing"),
        client.put("/api/join"),
    ]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 400, 200, 200, 404, 405]
    for answer in answers:
        assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert (answer.headers["X-Content-Type-Options"], answer.headers["Referrer-Policy"]) == (
            "nosniff",
            "no-referrer",
        )
        assert answer.headers["Cache-Control"] == "no-store"


def test_only_built_files_are_served(client, page):
    """Not what else lies in the folder, links out of it, or beside it."""
    (page.folder / "images/notes.txt").write_text("Monarch")
    (page.folder / "images/ffffffffffffffff.png").symlink_to(page.out / "course_page_key.json")
    (page.folder / "images/Monarch_0.png").write_bytes(b"\x89PNG")
    (page.folder / ".index.html.part").write_text("half")
    again = server.create_app(read_built_page(page.out), None, SECRET).test_client()
    names = [
        "images",
        "images/",
        "images/notes.txt",
        "images/Monarch_0.png",
        "images/ffffffffffffffff.png",
        ".index.html.part",
    ]
    names += ["index.html/", "INDEX.HTML"]
    names += [
        "course_page_key.json",
        "../course_page_key.json",
        "images/../../course_page_key.json",
        "%2e%2e/course_page_key.json",
    ]
    names += [
        "..%2fcourse_page_key.json",
        "..\\course_page_key.json",
        "images/%00.png",
        "/etc/passwd",
        "//etc/passwd",
        "./index.html",
    ]
    names += [
        "answers.sqlite",
        "answers.token",
        "static/x",
        "api",
        "api/",
        "api/join",
        "export.sqlite",
        "export",
        "%ff%fe",
        "x" * 5000,
    ]
    for name in names:
        for asked in (client, again):
            answer = asked.get(f"/{name}")
            wanted = 403 if name == "export.sqlite" else 404
            assert (answer.status_code, list(answer.get_json())) == (wanted, ["error"]), name
    assert again.get("/export.sqlite?token=" + SECRET).status_code == 404


BAD_BODIES = {
    "empty": b"",
    "cut": b'{"participant": "',
    "not JSON": b"participant=1",
    "not UTF-8": b'{"participant": "\xff\xfe"}',
    "deep lists": b"[" * 30000 + b"]" * 30000,
    "deep objects": b'{"a":' * 10000 + b"1" + b"}" * 10000,
    "a list": b"[]",
    "a number": b"1" * 10000,
    "null": b"null",
    "no field": b"{}",
    "one field more": json.dumps({"participant": SECRET, "trials": [{"trial_id": SECRET}], "admin": True}).encode(),
    "a participant that is a number": b'{"participant": 1, "trials": [{}]}',
    "a participant that is an object": b'{"participant": {"$ne": 1}, "trials": [{}]}',
    "no trials": json.dumps({"participant": SECRET, "trials": []}).encode(),
    "trials that are text": json.dumps({"participant": SECRET, "trials": "x"}).encode(),
    "trials that are an object": json.dumps({"participant": SECRET, "trials": {"0": {}}}).encode(),
    "a trial that is no object": json.dumps({"participant": SECRET, "trials": [[]]}).encode(),
    "a trial without an id": json.dumps({"participant": SECRET, "trials": [{}]}).encode(),
    "a trial id that is script": json.dumps(
        {"participant": SECRET, "trials": [{"trial_id": "<script>alert(1)</script>"}]}
    ).encode(),
    "a trial id with a line's end": json.dumps(
        {"participant": SECRET, "trials": [{"trial_id": SECRET + "\n"}]}
    ).encode(),
    "too many trials": json.dumps({"participant": SECRET, "trials": [{"trial_id": SECRET}] * 51}).encode(),
    "a half character": b'{"participant": "\\ud800", "trials": [{}]}',
}


@pytest.mark.parametrize("body", BAD_BODIES)
def test_a_bad_body_is_refused_in_a_sentence(client, body):
    answer = client.post("/api/trials", data=BAD_BODIES[body], headers=HEADERS)
    said = answer.get_json()
    assert answer.status_code == 400 and list(said) == ["error"] and said["error"].endswith("."), said
    assert "script>" not in said["error"] and len(said["error"]) < 200


def test_bodies_are_limited_and_must_be_json(client, page, store):
    person = joined(client)
    trials = [sent_trial(page, page.test[0], time_elapsed=1e11 + 1 / 3, rt=1e11 + 1 / 3) for _ in range(50)]
    assert (
        len(json.dumps({"participant": person, "trials": trials})) < server.LONGEST_BODY / 2
    )  # what the page may send fits
    for address in ("/api/join", "/api/next", "/api/trials"):
        answer = client.post(address, data=b" " * (server.LONGEST_BODY + 1), headers=HEADERS)
        assert (answer.status_code, list(answer.get_json())) == (413, ["error"])
        for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", None):
            answer = client.post(address, data=b"{}", content_type=kind)
            assert answer.status_code == 400 and "application/json" in answer.get_json()["error"]
    assert store.progress().joined == 1


def test_wrong_methods_are_refused(client):
    for method, address in itertools.product(
        ("get", "put", "delete", "patch"), ("/api/join", "/api/next", "/api/trials")
    ):
        assert getattr(client, method)(address, json={}).status_code == (
            404 if method == "get" else 405
        )  # no page of that name
    for method, address in itertools.product(
        ("post", "put", "delete", "patch"), ("/", "/api/hello", "/progress", "/export.csv", "/data.js")
    ):
        assert getattr(client, method)(address, json={}).status_code == 405


def strange_values():
    """What is neither text, number nor truth as a field wants it."""
    return [
        None,
        True,
        False,
        -1,
        10**400,
        1.5,
        1e400,
        -0.5,
        "",
        "0",
        "x" * 20000,
        [],
        [0],
        {},
        {"a": 1},
        "=1+1",
        "\x00",
        "\ud800",
    ]


FIELD_VALUES = [(field, value) for field in FIELDS if field != "trial_id" for value in strange_values()]


def test_every_field_is_checked_by_type_and_range(client, page, store):
    person, images = joined(client), [page.lesson[0], page.test[0], page.label[0]]
    proper = (
        [("time_elapsed", 1.5, image) for image in images]
        + [("rt", 1.5, image) for image in images]
        + [("correct", True, images[0])]
    )
    for (field, value), stimulus in itertools.product(FIELD_VALUES, images):
        trial = sent_trial(page, stimulus, **{field: value})
        body = json.dumps({"participant": person, "trials": [trial]})
        answer = client.post("/api/trials", data=body, headers=HEADERS)
        if (field, value, stimulus) in proper:
            continue
        reason = answer.get_json()["refused"].get(trial["trial_id"])
        assert answer.status_code == 200 and reason and len(reason) < 250, (field, value)
        assert field in reason or "exactly the fields" in reason
    assert {row[0] for row in rows_of(store.path, "SELECT DISTINCT stimulus FROM trial")} == set(images)


def forgeries(page):
    """Trials that are well-formed and wrong, with a word of the reason."""
    test, label, lesson = page.test[0], page.label[0], page.lesson[0]
    return [
        (sent_trial(page, test, phase="label", trial_type="label"), "stimulus"),  # a test image as a label
        (sent_trial(page, label, phase="test", trial_type="test"), "stimulus"),
        (sent_trial(page, test, phase=None, trial_type=None, stimulus="f" * 16), "stimulus"),
        (sent_trial(page, test, stimulus="f" * 16), "stimulus"),
        (sent_trial(page, test, stimulus="../" + test), "stimulus"),
        (sent_trial(page, test, stimulus=test.upper()), "stimulus"),
        (sent_trial(page, test, trial_type="label"), "trial_type"),
        (sent_trial(page, test, response=3), "response must be a class, 0 .. 2"),
        (sent_trial(page, test, trial_index=10**9), "trial_index"),
        (sent_trial(page, test, rt=1e13), "rt"),
        (sent_trial(page, test, build_id="f" * 16), "build_id"),
        (sent_trial(page, test, correct=True), "exactly the fields"),  # nobody may claim to know
        (sent_trial(page, label, correct=None), "exactly the fields"),
        (sent_trial(page, test, participant="p0001"), "exactly the fields"),
        (sent_trial(page, test, **{"<script>": 1}), "exactly the fields"),
        (sent_trial(page, lesson, response=0, correct=not sent_trial(page, lesson, 0)["correct"]), "correct"),
        ({name: value for name, value in sent_trial(page, test).items() if name != "rt"}, "exactly the fields"),
    ]


def test_forged_trials_are_refused_beside_good_ones(client, page, store):
    person = joined(client)
    good, forged = sent_trial(page, page.test[1]), forgeries(page)
    status, said = post_trials(client, person, *(trial for trial, _ in forged), good)
    assert (status, said["stored"]) == (200, [good["trial_id"]])
    assert len(said["refused"]) == len(forged)
    for trial, words in forged:
        assert words in said["refused"][trial["trial_id"]]
    assert "script" not in json.dumps(said) and store.progress().answers == {"lesson": 0, "test": 1, "label": 0}


def test_not_a_number_and_infinity_are_refused(client, page, store):
    person = joined(client)
    for word in ("NaN", "Infinity", "-Infinity", "1e999"):
        trial = json.dumps(sent_trial(page, page.test[0])).replace("731.5", word)
        said = client.post(
            "/api/trials", data=f'{{"participant": "{person}", "trials": [{trial}]}}', headers=HEADERS
        ).get_json()
        assert said["stored"] == [] and list(said["refused"].values()) == ["rt must be a number of milliseconds from 0"]
    assert store.progress().answers["test"] == 0


def test_replays_are_answered_as_the_first_time(client, page, store):
    person = joined(client)
    first = sent_trial(page, page.test[0], 1)
    for trial in (first, {**first, "response": 2}, {**first, "response": "x"}, {"trial_id": first["trial_id"]}):
        assert post_trials(client, person, trial, trial) == (200, {"stored": [first["trial_id"]], "refused": {}})
    assert rows_of(store.path, "SELECT response FROM trial") == [(1,)]


def test_a_trial_sent_twice_in_one_request_has_its_first_content(client, page, store):
    trial = sent_trial(page, page.test[0], 1)
    assert post_trials(client, joined(client), trial, {**trial, "response": 2})[1]["stored"] == [trial["trial_id"]]
    assert rows_of(store.path, "SELECT response FROM trial") == [(1,)]


def test_nobody_acts_for_another_or_learns_of_them(client, page, store):
    a, b = joined(client), joined(client)
    image = client.post("/api/next", json={"participant": a}).get_json()["image"]
    trial = sent_trial(page, image)
    assert post_trials(client, a, trial)[0] == 200
    status, said = post_trials(client, b, {**trial, "response": 2})
    assert (status, said["stored"]) == (200, []) and a not in json.dumps(said)
    for stranger in ("f" * 32, a[:-1] + ("0" if a[-1] != "0" else "1")):
        assert post_trials(client, stranger, sent_trial(page, page.test[0]))[0] == 403
        assert client.post("/api/next", json={"participant": stranger}).status_code == 403
    for malformed in (a.upper(), a + "0", a[:-1], f"{a}' OR '1'='1", "p0001", 1, None, [a], {"participant": a}):
        assert post_trials(client, malformed, sent_trial(page, page.test[0]))[0] == 400
        assert client.post("/api/next", json={"participant": malformed}).status_code == 400
    assert store.progress().answers == {"lesson": 0, "test": 0, "label": 1}


def test_a_full_disk_acknowledges_nothing_and_keeps_what_was(client, page, store, capsys):
    people, kept = [joined(client) for _ in range(30)], []
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    failed = None
    for person, image in itertools.product(people, page.test):
        trial = sent_trial(page, image)
        status, said = post_trials(client, person, trial)
        if status != 200:
            failed = person, trial
            break
        kept += said["stored"]
    assert (status, list(said)) == (
        503,
        ["error"],
    ) and "cannot be written to: the disk is full" in capsys.readouterr().out
    assert sorted(row[0] for row in rows_of(store.path, "SELECT trial_id FROM trial")) == sorted(kept)
    store._database.execute("PRAGMA max_page_count = 1000000")
    assert post_trials(client, *failed)[1]["stored"] == [failed[1]["trial_id"]]


def test_a_study_takes_only_so_many_people(page, clock):
    with closing(Store(page.out / "answers.sqlite", study_of(page, max_participants=1), clock)) as store:
        client = server.create_app(read_built_page(page.out), store, SECRET).test_client()
        joined(client)
        answer = client.post("/api/join", json={})
        assert (answer.status_code, answer.get_json()) == (403, {"error": "This study takes no more people."})


def conversation(page, clock, monkeypatch):
    """Everything that the server sends in a course with good, late and forged answers: status, headers and bodies."""
    numbers = itertools.count()
    monkeypatch.setattr(secrets, "token_hex", lambda size: f"{next(numbers):0{2 * size}x}")
    heard = []
    with closing(Store(page.out / "answers.sqlite", study_of(page), clock)) as store:
        client = server.create_app(read_built_page(page.out), store, SECRET).test_client()

        def hear(answer):
            heard.append(
                (answer.status_code, sorted(item for item in answer.headers if item[0] != "Date"), answer.data)
            )
            return answer.get_json(silent=True)

        for path in sorted(page.folder.rglob("*")):
            hear(client.get(f"/{path.relative_to(page.folder)}"))
        for asked in ("/", "/api/hello", "/nothing", "/progress", "/../course_page_key.json"):
            hear(client.get(asked))
        for number in range(3):
            person = hear(client.post("/api/join", json={}))["participant"]
            images = [*page.lesson, *page.test]
            hear(
                client.post(
                    "/api/trials",
                    json={"participant": person, "trials": [sent_trial(page, image, number) for image in images]},
                )
            )
            while image := hear(client.post("/api/next", json={"participant": person}))["image"]:
                hear(
                    client.post(
                        "/api/trials", json={"participant": person, "trials": [sent_trial(page, image, number)]}
                    )
                )
                clock.now += 40
            wrong = [trial for trial, _ in forgeries(page)] + [sent_trial(page, image, number) for image in page.label]
            hear(client.post("/api/trials", json={"participant": person, "trials": wrong}))
        for asked in ("/progress", "/export.json", "/export.csv"):
            hear(client.get(f"{asked}?token={SECRET}"))
    monkeypatch.undo()
    return heard


def test_what_is_sent_does_not_depend_on_the_truth(tmp_path, monkeypatch):
    """The same people, the same answers, other true labels and files of the test and labelling images: the same bytes."""
    one, other = (build_page(tmp_path / str(truth), truth=truth) for truth in (0, 1))
    assert one.key != other.key and one.lesson == other.lesson
    first, second = (conversation(page, Clock(), monkeypatch) for page in (one, other))
    assert len(first) > 60 and first == second


def test_what_is_sent_names_no_class_file_or_folder(page, clock, monkeypatch):
    data, *others = sorted(
        (body for _, _, body in conversation(page, clock, monkeypatch)), key=lambda body: b"window.COURSE" not in body
    )
    for image in page.key["images"].values():
        path = Path(image["path"])
        for word in (image["path"], path.name, path.stem, path.parts[1], str(page.out), "course_page_key"):
            assert word.encode() not in data and not [body for body in others if word.encode() in body]
    assert not [body for body in others for name in CLASSES if name.encode() in body]
    course = json.loads(data.decode().removeprefix("window.COURSE = ").rstrip(";\n"))
    assert (course["test"], course["label"]) == (page.test, page.label)
