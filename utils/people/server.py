"""The collecting server: serves the course pages, hands out images to label, stores answers, shows progress.

Nothing that it sends depends on a true label, except the lessons in the page itself. All state is in the database.
Bodies and connections are limited. It speaks plain HTTP: on the internet, put an HTTPS proxy in front of it.
"""

import hmac
import json
import logging
import re
import secrets
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import waitress
from flask import Blueprint, Flask, Response, abort, jsonify, render_template_string, request, send_from_directory
from werkzeug.exceptions import HTTPException

from utils.base.errors import InputError
from utils.base.files import replacing
from utils.data.outputs import Layout
from utils.people.export import FORMATS, export_text
from utils.people.page_key import DATA, ID_DIGITS, Key
from utils.people.store import Store, UnknownParticipant, is_secret_id, refusal

MOST_TRIALS = 50  # per request
MOST_PARAMETERS, LONGEST_PARAMETER, LONGEST_COMMENT = 20, 200, 2000
CONSENT = re.compile(r'\{"sha256": "[0-9a-f]{64}", "time": "[0-9T:.Z+-]{10,40}"\}|null')
LONGEST_BODY = 64 * 1024  # bytes; 50 trials take about 20 KB
CONNECTIONS = 500
IDLE = 60  # seconds until a silent connection is closed
COOKIE, COOKIE_SECONDS = "person", 365 * 24 * 3600  # only of studies with several pages

# Nothing else in the page's folder is served.
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


def create_app(key: Key, store: Store, token: str, links: dict[str, str]) -> Flask:
    """Builds the server of a study. `token` opens progress and exports; `links` are those of the last screen.

    A single page is at /. Several pages are at /<build id>/, and / leads each person to one of them.
    """
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = LONGEST_BODY
    app.url_map.merge_slashes = False
    for page in key.pages:
        app.register_blueprint(_page(page, store, links), url_prefix=f"/{page.build_id}" * bool(key.joined))

    app.register_blueprint(_research(key, store, token))

    if key.joined:

        @app.get("/")
        def front():
            """Leads people to their page. People without an identity are recognized by a cookie."""
            person = store.join(request.args.to_dict(), browser=request.cookies.get(COOKIE, ""))
            page = store.place(person)[2] if person else key.build_id  # if the study is full, any page says so
            response = app.redirect(f"{page}/?{request.query_string.decode(errors='replace')}")
            if person:
                response.set_cookie(COOKIE, person, max_age=COOKIE_SECONDS, path=None, samesite="Lax")
            return response

    @app.errorhandler(UnknownParticipant)
    def unknown(_: Exception) -> tuple[Response, int]:
        return jsonify(error="This participant is unknown; join first."), 403

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        return jsonify(error=error.description), error.code or 500

    @app.errorhandler(InputError)
    @app.errorhandler(sqlite3.Error)
    def not_stored(error: Exception) -> tuple[Response, int]:
        """Nothing was acknowledged, so the page sends it again. Details are only logged."""
        print(f"An answer could not be stored: {error}", flush=True)
        return jsonify(error="The server cannot store answers now. Try again later."), 503

    @app.after_request
    def add_headers(response: Response) -> Response:
        response.headers.setdefault("Content-Security-Policy", CLOSED_POLICY)
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Referrer-Policy"] = "no-referrer"
        return response

    return app


def _page(key: Key, store: Store, links: dict[str, str]) -> Blueprint:
    """Returns the addresses of a page."""
    folder = Layout(Path(key.path).parent).course_page.absolute()
    page = Blueprint(key.build_id, __name__)

    @page.get("/")
    @page.get("/<path:name>")
    def page_file(name: str = "index.html"):
        if not PAGE_FILE.fullmatch(name):
            abort(404, "There is no such page.")
        response = send_from_directory(folder, name, conditional=False, etag=key.build_id)
        del response.headers["Last-Modified"]  # the order of writing might reveal classes
        response.headers["Content-Security-Policy"] = PAGE_POLICY
        return response.make_conditional(request)

    @page.get("/api/hello")
    def hello() -> Response:
        """Lets the page check that this server collects answers to its build."""
        return jsonify(build_id=key.build_id, study=True)

    @page.post("/api/join")
    def join() -> Response:
        parameters, consent = ({}, None) if request.get_json() == {} else _body("parameters", "consent")
        texts = [*parameters, *parameters.values()] if isinstance(parameters, dict) else [None]
        valid = all(isinstance(one, str) and len(one) <= LONGEST_PARAMETER for one in texts)
        if not valid or len(parameters) > MOST_PARAMETERS or not CONSENT.fullmatch(json.dumps(consent, sort_keys=True)):
            limits = f"at most {MOST_PARAMETERS} names and values of up to {LONGEST_PARAMETER} characters"
            abort(400, f"parameters must be {limits}, and consent must be null or have time and sha256.")
        participant = store.join(parameters, consent, key.build_id, request.cookies.get(COOKIE, ""))
        if not participant:
            abort(403, "This study takes no more people.")
        code, trials, _ = store.place(participant)
        return jsonify(participant=participant, code=code, trials=trials)

    @page.post("/api/finish")
    def finish() -> Response:
        participant, passed, comment = _body("participant", "passed", "comment")
        if not isinstance(passed, bool) or not isinstance(comment, str) or len(comment) > LONGEST_COMMENT:
            abort(400, f"passed must be true or false, and comment a text of up to {LONGEST_COMMENT} characters.")
        code, passed = store.finish(participant, passed, comment)
        return jsonify(url=links["completion" if passed else "screen_out"], code=code)

    @page.post("/api/next")
    def next_image() -> Response:
        (participant,) = _body("participant")
        return jsonify(image=store.next_image(participant), lease_seconds=store.cfg.lease_seconds)

    @page.post("/api/trials")
    def trials() -> Response:
        """Stores a person's trials; only trials on the disk are acknowledged."""
        participant, sent = _body("participant", "trials")
        if not isinstance(sent, list) or not 1 <= len(sent) <= MOST_TRIALS:
            abort(400, f"trials must be a list of 1 to {MOST_TRIALS} trials.")
        checked: dict[str, dict | str] = {}
        for trial in sent:
            if not isinstance(trial, dict) or not is_secret_id(trial.get("trial_id")):
                abort(400, "Each trial must be an object with a trial_id of 32 hexadecimal digits.")
            checked.setdefault(trial["trial_id"], refusal(trial, key) or trial)
        stored, refused = store.add_trials(participant, checked)
        return jsonify(stored=stored, refused=refused)

    return page


def _research(key: Key, store: Store, token: str) -> Blueprint:
    """Returns the addresses for the researchers who know the token."""
    research = Blueprint("research", __name__)

    @research.before_request
    def check_token() -> None:
        """Compares in constant time: response times reveal nothing about the token."""
        if not hmac.compare_digest(request.args.get("token", "").encode(), token.encode()):
            abort(403, "The token is missing or wrong. Use the whole address that collect.py printed.")

    @research.get("/progress")
    def progress() -> str:
        return render_template_string(PROGRESS, dataset=key.dataset, now=store.progress(), token=token)

    @research.get("/export<any(.json, .csv):suffix>")
    def export(suffix: str) -> Response:
        headers = {"Content-Disposition": f"attachment; filename=answers{suffix}"}
        return Response(export_text(store.path, suffix), mimetype=FORMATS[suffix], headers=headers)

    @research.errorhandler(InputError)
    def trouble(error: InputError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 503

    return research


def _body(*names: str) -> list:
    """Returns the values of a JSON body with exactly the fields `names`. Forms on other sites cannot send JSON."""
    value = request.get_json()
    if not isinstance(value, dict) or set(value) != set(names):
        abort(400, f"The body must be an object with the fields: {', '.join(names)}.")
    if "participant" in names and not is_secret_id(value["participant"]):
        abort(400, "participant must be the 32 hexadecimal digits that /api/join returned.")
    return [value[name] for name in names]


def access_token(path: Path) -> str:
    """Returns the token for progress and exports from the file `path`, created at the first start (owner only)."""
    if not path.exists():
        with replacing(path) as temporary:
            temporary.touch(mode=0o600)
            temporary.write_text(secrets.token_hex(16) + "\n")
    token = path.read_text(errors="replace").strip()
    if not is_secret_id(token):
        raise InputError(f"{path} contains no token. Remove it; the next start creates a new one.")
    return token


def serve(app: Flask, host: str, port: int, threads: int, announce: Callable[[str], None]) -> None:
    """Answers requests until Ctrl-C or SIGTERM; `announce` is called with the address once the server listens."""
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
    # Waitress' loop sends short replies. It spins while a thread sends, and the thread then waits for it.
    server.adj.send_bytes = 18_000
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # waiting requests are normal
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    # A name such as localhost may resolve to several addresses; waitress then listens on each.
    listening = getattr(server, "effective_listen", None) or [(server.effective_host, server.effective_port)]
    announce(f"http://{f'[{host}]' if ':' in host else host}:{listening[0][1]}")
    server.run()
    server.close()
