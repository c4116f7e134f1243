"""The collecting server: serves the course page, hands out images to label, stores answers, shows progress.

Nothing that it sends depends on a true label, except the lessons in the page itself. All state is in the database.
Bodies and connections are limited. It speaks plain HTTP: on the internet, put an HTTPS proxy in front of it.
"""

import hmac
import logging
import re
import secrets
import signal
import sqlite3
import tempfile
from collections.abc import Callable
from pathlib import Path

import waitress
from flask import Flask, Response, abort, jsonify, render_template_string, request, send_file, send_from_directory
from werkzeug.exceptions import HTTPException

from utils.base.errors import InputError
from utils.base.files import replacing
from utils.data.outputs import Layout
from utils.people.export import FORMATS, pieces
from utils.people.page_key import DATA, ID_DIGITS, BuiltPage
from utils.people.store import Store, StudyFull, UnknownParticipant, is_secret_id, refusal

MOST_TRIALS = 50  # per request
LONGEST_BODY = 64 * 1024  # bytes; 50 trials take about 20 KB
CONNECTIONS = 500
IDLE = 60  # seconds until a silent connection is closed
REBUILT = "The course page was built again. Restart the server."

# By ending; the files of a page, and nothing else in its folder, may be served.
MEDIA_TYPES = {
    "html": "text/html",
    "js": "text/javascript",
    "css": "text/css",
    "png": "image/png",
    "jpg": "image/jpeg",
    "json": "application/json",
    "csv": "text/csv",
}
PAGE_FILE = re.compile(
    rf"index\.html|course\.js|style\.css|{re.escape(DATA)}|images/[0-9a-f]{{{ID_DIGITS}}}\.(?:png|jpg)"
)

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
{% for name, number in now.items() %}
<tr><th scope="row">{{ name }}</th><td>{{ number }}</td></tr>
{% endfor %}
</table>
<p>All answers: <a href="export.json?token={{ token }}">JSON</a>, <a href="export.csv?token={{ token }}">CSV</a></p>
</body>
</html>
"""


class Collector:
    """The views of the server.

    Args:
        page: the course page.
        store: the answers database.
        token: opens progress and exports.
    """

    def __init__(self, page: BuiltPage, store: Store, token: str):
        self.page, self.store, self.token = page, store, token

    def page_file(self, name: str = "index.html") -> Response:
        """Sends a file of the page without its modification time, because the order of writing might reveal classes."""
        if not PAGE_FILE.fullmatch(name):
            abort(404, "There is no such page.")
        self._check_page()
        kind = MEDIA_TYPES[name.rpartition(".")[2]]
        response = send_from_directory(
            self.page.folder.absolute(), name, mimetype=kind, conditional=False, etag=self.page.key.build_id
        )
        del response.headers["Last-Modified"]
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response.make_conditional(request)

    def hello(self) -> Response:
        """Lets the page check that this server collects answers to its build."""
        self._check_page()
        return jsonify(build_id=self.page.key.build_id)

    def join(self) -> Response:
        """Adds a participant."""
        _body()
        self._check_page()
        try:
            return jsonify(participant=self.store.join())
        except StudyFull:
            abort(403, "This study takes no more people.")

    def next_image(self) -> Response:
        """The next image for a person to label."""
        (participant,) = _body("participant")
        return jsonify(image=self.store.next_image(participant), lease_seconds=self.store.lease_seconds)

    def trials(self) -> Response:
        """Stores a person's trials; only trials on the disk are acknowledged."""
        participant, sent = _body("participant", "trials")
        if not isinstance(sent, list) or not 1 <= len(sent) <= MOST_TRIALS:
            abort(400, f"trials must be a list of 1 to {MOST_TRIALS} trials.")
        trials: dict[str, dict | str] = {}
        for trial in sent:
            if not isinstance(trial, dict) or not is_secret_id(trial.get("trial_id")):
                abort(400, "Each trial must be an object with a trial_id of 32 hexadecimal digits.")
            trials.setdefault(trial["trial_id"], refusal(trial, self.page) or trial)
        stored, refused = self.store.add_trials(participant, trials)
        return jsonify(stored=stored, refused=refused)

    def progress(self) -> str:
        """The progress page."""
        self._check_token()
        try:
            now = self.store.progress()
        except InputError as trouble:
            abort(503, str(trouble))
        return render_template_string(PROGRESS, dataset=self.page.key.dataset, now=now, token=self.token)

    def export(self, suffix: str) -> Response:
        """Sends all answers as a download, through a temporary file, so that no download ends in an error."""
        self._check_token()
        if suffix not in FORMATS:
            abort(404, "There is no such page.")
        gathered = tempfile.TemporaryFile()
        try:
            gathered.writelines(text.encode() for text in pieces(self.store.path, suffix))
        except InputError as trouble:
            gathered.close()
            abort(503, str(trouble))
        gathered.seek(0)
        kind = MEDIA_TYPES[suffix[1:]]
        response = send_file(gathered, kind, as_attachment=True, download_name=f"answers{suffix}")
        response.headers["Cache-Control"] = "no-store"
        return response

    def _check_page(self) -> None:
        """Refuses files and new participants after the page was built again. Answers to this build are still stored."""
        if not self.page.still_there:
            abort(503, REBUILT)

    def _check_token(self) -> None:
        """Compares in constant time, so that response times say nothing about the token."""
        if not hmac.compare_digest(request.args.get("token", "").encode(), self.token.encode()):
            abort(403, "The token is missing or wrong. Use the whole address that collect.py printed.")


def create_app(page: BuiltPage, store: Store, token: str) -> Flask:
    """Builds the server as a WSGI application.

    Args:
        page: the course page.
        store: the answers database.
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
    app.register_error_handler(HTTPException, lambda error: _error(error.code or 500, error.description or error.name))
    app.register_error_handler(UnknownParticipant, lambda _: _error(403, "This participant is unknown; join first."))
    for trouble in (InputError, sqlite3.Error):
        app.register_error_handler(trouble, _not_stored)
    app.after_request(_add_headers)
    return app


def _not_stored(error: Exception) -> Response:
    """Handles a database error. Nothing was acknowledged, so the page sends it again. Details are only logged."""
    print(f"An answer could not be stored: {error}", flush=True)
    return _error(503, "The server cannot store answers now. Try again later.")


def _error(status: int, text: str) -> Response:
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
    """Returns the values of a JSON body with exactly the fields `names`. Forms on other sites cannot send JSON."""
    try:
        value = request.get_json()
    except RecursionError:
        abort(400, "The body is not JSON.")
    if not isinstance(value, dict) or set(value) != set(names):
        abort(400, f"The body must be an object with the fields: {', '.join(names)}.")
    if "participant" in names and not is_secret_id(value["participant"]):
        abort(400, "participant must be the 32 hexadecimal digits that /api/join returned.")
    return [value[name] for name in names]


def access_token(out: str | Path) -> str:
    """Returns the token for progress and exports, created at the first start in `<out>/answers.token` (owner only).

    Raises:
        InputError: the file contains no token.
    """
    path = Layout(Path(out)).answers_token
    if not path.exists():
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(16) + "\n")
    token = path.read_text(errors="replace").strip()
    if not is_secret_id(token):
        raise InputError(f"{path} contains no token. Remove it; the next start creates a new one.")
    return token


def serve(app: Flask, host: str, port: int, threads: int, announce: Callable[[str], None]) -> None:
    """Answers requests until Ctrl-C or SIGTERM; requests in progress are finished first.

    Args:
        app: the application.
        host: the address to listen on.
        port: the port; 0 takes a free one.
        threads: number of requests answered at the same time.
        announce: called with the server's address once it accepts connections.

    Raises:
        InputError: the server cannot listen there.
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
            max_request_body_size=2 * LONGEST_BODY,  # slightly longer bodies get the application's own error
            asyncore_use_poll=True,
        )
    except (OSError, ValueError) as error:
        raise InputError(f"--host {host} --port {port}: cannot listen there ({error}). Choose another.") from error
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # waiting requests are normal
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # A name such as localhost may resolve to several addresses; waitress then listens on each.
    listening = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    announce(f"http://{f'[{host}]' if ':' in host else host}:{listening[0][1]}")
    server.run()
    server.close()
