"""The collecting server: gives out the course page, asks people for labels, takes their answers, shows the researcher how far it is.

Nothing that it sends depends on a true label, but the lessons in the page itself. Nothing is kept in memory per person: everything is
in the database. Bodies and connections are limited. It speaks plain HTTP; on the internet it belongs behind a proxy that speaks HTTPS.
"""

import contextlib
import hmac
import json
import logging
import secrets
import signal
import sqlite3
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import waitress
from flask import Flask, Response, abort, jsonify, render_template_string, request
from werkzeug.exceptions import HTTPException

from utils.base.errors import InputError
from utils.base.files import replacing
from utils.data.outputs import Layout
from utils.people.built_page import BuiltPage
from utils.people.database import DatabaseTrouble
from utils.people.export import FORMATS, pieces
from utils.people.store import Store, StudyFull, UnknownParticipant
from utils.people.trials import Refused, Trial, is_secret_id, read_trial

MOST_TRIALS = 50  # in one request
LONGEST_BODY = 64 * 1024  # bytes; 50 trials take about 20 KB
CONNECTIONS = 500  # at the same time; each may hold LONGEST_BODY and a page file in memory
PIECE = 64 * 1024  # bytes of a download that are in memory at a time
IDLE = 60  # seconds after which a silent connection is closed
BUILT_ANEW = "The course page was built anew; the server must be started again."

MECHANICAL_TURK = "https://*.mturk.com"  # shows the page in a frame and takes its form
PAGE_POLICY = (
    "default-src 'none'; img-src 'self'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; "
    f"form-action {MECHANICAL_TURK}; frame-ancestors 'self' {MECHANICAL_TURK}"
)
CLOSED_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

PROGRESS = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><meta http-equiv="refresh" content="10"><title>{{ dataset }}: answers</title></head>
<body>
<h1>{{ dataset }}</h1>
<table>
<tr><th scope="row">people who opened the course</th><td>{{ now.joined }}</td></tr>
<tr><th scope="row">people who answered</th><td>{{ now.answered }}</td></tr>
{% for phase in ("lesson", "test", "label") %}
<tr><th scope="row">answers, {{ phase }}</th><td>{{ now.answers.get(phase, 0) }}</td></tr>
{% endfor %}
<tr><th scope="row">images with all their labels</th><td>{{ now.images_by_labels[-1] }} of {{ now.images_by_labels | sum }}</td></tr>
{% for images in now.images_by_labels %}
<tr><th scope="row">images with {{ loop.index0 }} labels</th><td>{{ images }}</td></tr>
{% endfor %}
<tr><th scope="row">pairs of labels of one image that agree</th>
<td>{% if now.agreement is none %}none yet{% else %}{{ "%.1f" | format(100 * now.agreement) }} %{% endif %}</td></tr>
</table>
<p>All answers: <a href="export.json?token={{ token }}">JSON</a>, <a href="export.csv?token={{ token }}">CSV</a></p>
</body>
</html>
"""


class Collector:
    """What the server answers, address by address.

    Args:
        page: the course page.
        store: where the answers go.
        token: opens progress and exports.
    """

    def __init__(self, page: BuiltPage, store: Store, token: str):
        self.page, self.store, self.token = page, store, token

    def page_file(self, name: str = "index.html") -> Response:
        """A file of the page. The name is looked up among the built files; no other is made into a path.

        It carries no time of change: the order in which the images were written would tell their classes.
        """
        kind = self.page.files.get(name)
        if kind is None:
            abort(404, "There is no such page.")
        try:
            content = (self.page.folder / name).read_bytes()
        except FileNotFoundError:
            abort(503, BUILT_ANEW)
        self._check_page()
        response = Response(content, mimetype=kind)
        response.set_etag(self.page.build_id)
        response.cache_control.no_cache = True  # the browser asks whether its copy is of this build
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        response.make_conditional(request)
        return response

    def hello(self) -> Response:
        """Tells a page that this is its server."""
        self._check_page()
        return jsonify(build_id=self.page.build_id)

    def join(self) -> Response:
        """Takes in a new person."""
        _body()
        self._check_page()
        try:
            return jsonify(participant=self.store.join())
        except StudyFull:
            abort(403, "This study takes no more people.")

    def next_image(self) -> Response:
        """The next image that a person is to label."""
        (participant,) = _body("participant")
        return jsonify(image=self.store.next_image(_secret(participant)), lease_seconds=self.store.study.lease_seconds)

    def trials(self) -> Response:
        """Stores a person's trials; only what is on the disk is acknowledged."""
        participant, sent = _body("participant", "trials")
        if not isinstance(sent, list) or not 1 <= len(sent) <= MOST_TRIALS:
            abort(400, f"trials must be a list of 1 to {MOST_TRIALS} trials.")
        trials: dict[str, Trial | str] = {}
        for trial in sent:
            if not isinstance(trial, dict) or not is_secret_id(trial.get("trial_id")):
                abort(400, "Each trial must be an object with a trial_id of 32 hexadecimal digits.")
            trials.setdefault(trial["trial_id"], self._checked(trial))
        stored, refused = self.store.add_trials(_secret(participant), trials)
        return jsonify(stored=stored, refused=refused)

    def _checked(self, trial: dict) -> Trial | str:
        """The trial, or why it cannot be taken."""
        try:
            return read_trial(trial, self.page)
        except Refused as reason:
            return str(reason)

    def progress(self) -> str:
        """The researcher's page."""
        self._check_token()
        with _told_to_the_researcher():
            now = self.store.progress()
        return render_template_string(PROGRESS, dataset=self.page.dataset, now=now, token=self.token)

    def export(self, suffix: str) -> Response:
        """All answers as a download. They are gathered in a nameless file first: what begins as a download must not end as an error."""
        self._check_token()
        if suffix not in FORMATS:
            abort(404, "There is no such page.")
        gathered = tempfile.TemporaryFile()
        with contextlib.ExitStack() as stack, _told_to_the_researcher():
            stack.enter_context(gathered)
            gathered.writelines(text.encode() for text in pieces(self.store.path, suffix))
            stack.pop_all()
        gathered.seek(0)
        response = Response(
            iter(lambda: gathered.read(PIECE), b""), mimetype={".json": "application/json", ".csv": "text/csv"}[suffix]
        )
        response.call_on_close(gathered.close)
        response.headers["Content-Disposition"] = f'attachment; filename="answers{suffix}"'
        return response

    def _check_page(self) -> None:
        """Nobody new is taken in, and no file given out, of a page that was built anew; answers to this one are still taken."""
        if not self.page.still_there:
            abort(503, BUILT_ANEW)

    def _check_token(self) -> None:
        """Compared in constant time, so that response times tell nothing about how much of it is right."""
        if not hmac.compare_digest(request.args.get("token", "").encode(), self.token.encode()):
            abort(403, "The token is missing or wrong; take the whole address that collect_labels.py printed.")


def create_app(page: BuiltPage, store: Store, token: str) -> Flask:
    """The server as a WSGI application.

    Args:
        page: the course page.
        store: where the answers go.
        token: opens progress and exports.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LONGEST_BODY
    app.url_map.merge_slashes = False
    collector = Collector(page, store, token)
    for address, method, view in (
        ("/", "GET", collector.page_file),
        ("/<path:name>", "GET", collector.page_file),
        ("/api/hello", "GET", collector.hello),
        ("/api/join", "POST", collector.join),
        ("/api/next", "POST", collector.next_image),
        ("/api/trials", "POST", collector.trials),
        ("/progress", "GET", collector.progress),
        ("/export<suffix>", "GET", collector.export),
    ):
        app.add_url_rule(address, view_func=view, methods=[method])
    app.register_error_handler(HTTPException, _refusal)
    app.register_error_handler(UnknownParticipant, lambda _: _sentence(403, "This participant is unknown; join first."))
    for trouble in (DatabaseTrouble, sqlite3.Error):
        app.register_error_handler(trouble, _not_stored)
    app.after_request(_add_headers)
    return app


def _refusal(error: HTTPException) -> Response:
    return _sentence(error.code or 500, error.description or error.name)


def _not_stored(error: Exception) -> Response:
    """Something is wrong with the database: nothing was acknowledged, and the page sends it again. The sentence is for the log."""
    print(f"An answer could not be stored: {error}", flush=True)
    return _sentence(503, "The server cannot store answers now; try again later.")


@contextlib.contextmanager
def _told_to_the_researcher() -> Iterator[None]:
    """Whoever has the token is told what is wrong, and what to do."""
    try:
        yield
    except InputError as trouble:
        print(f"Answers could not be shown: {trouble}", flush=True)
        abort(503, str(trouble))
    except OSError as error:
        print(f"Answers could not be shown: {error}", flush=True)
        abort(503, f"The answers could not be gathered in {tempfile.gettempdir()} ({error.strerror}); make room there.")


def _sentence(status: int, text: str) -> Response:
    response = jsonify(error=text)
    response.status_code = status
    return response


def _add_headers(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CLOSED_POLICY)
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    return response


def _body(*names: str) -> list:
    """The values of a JSON object that has exactly the fields `names`. A form of another site cannot send the media type."""
    if request.mimetype != "application/json":
        abort(400, "Send JSON, as application/json.")
    try:
        value = json.loads(request.get_data(cache=False))
    except (ValueError, RecursionError):
        abort(400, "The body is not JSON.")
    if not isinstance(value, dict) or set(value) != set(names):
        abort(400, f"The body must be an object with the fields: {', '.join(names) or 'none'}.")
    return [value[name] for name in names]


def _secret(value: object) -> str:
    if not is_secret_id(value):
        abort(400, "participant must be the 32 hexadecimal digits that /api/join gave.")
    return value


def access_token(out: str | Path) -> str:
    """The token that opens progress and exports: made at the first start, kept in `<out>/answers.token` for its owner alone.

    Raises:
        InputError: the file holds no token.
    """
    path = Layout(Path(out)).answers_token
    if not path.exists():
        with replacing(path) as temporary:
            temporary.touch(mode=stat.S_IRUSR | stat.S_IWUSR)
            temporary.write_text(secrets.token_hex(16) + "\n")
    token = path.read_text(errors="replace").strip()
    if not is_secret_id(token):
        raise InputError(f"{path} holds no token; remove it, and the next start makes a new one.")
    return token


def serve(app: Flask, host: str, port: int, threads: int, announce) -> None:
    """Answers requests until Ctrl-C or SIGTERM; requests that are being answered are finished first.

    Args:
        app: the application.
        host: the address to listen at.
        port: the port; 0 takes a free one.
        threads: how many requests are answered at the same time.
        announce: called with the server's address, once it accepts connections.

    Raises:
        InputError: nobody can listen there.
    """
    try:
        server = waitress.create_server(
            app,
            host=host,
            port=port,
            threads=threads,
            ident=None,
            connection_limit=CONNECTIONS,
            channel_timeout=IDLE,
            cleanup_interval=IDLE // 4,
            max_request_header_size=16 * 1024,
            # What is a little too long gets this application's answer; what is far too long is not even read.
            max_request_body_size=2 * LONGEST_BODY,
            asyncore_use_poll=True,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"--host {host} --port {port}: cannot listen there ({error}); choose another.") from error
    logging.getLogger("waitress.queue").setLevel(
        logging.ERROR
    )  # that requests wait for a thread now and then is no news
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # A name such as localhost may stand for several addresses; waitress then listens at each.
    listening = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    announce(f"http://{f'[{host}]' if ':' in host else host}:{listening[0][1]}")
    server.run()
    server.close()
