"""Serves the course page and collects people's answers: one command, one database.

Run teach_butterflies.py or teach_gull.py first: it builds `<out>/course_page/`. Each image of the labelling part goes to as many
people as it needs labels. Every answer is on the disk before it is acknowledged, so the server may be stopped, or killed, at any time.

    python collect_labels.py
    python collect_labels.py --out toy --port 8080
    python collect_labels.py --out toy --export toy/answers.json

Reads: <out>/course_page/, which teach_butterflies.py or teach_gull.py built, and its key beside it.

Writes: <out>/answers.sqlite, the answers, and <out>/answers.token, which opens the progress page; with --export a .json or .csv file, of a
damaged database what can still be read, saying how much cannot.

Takes: until Ctrl-C; an export takes seconds. No GPU is used.

It prints the address for people and that of the progress page, which nobody else can open. To reach people on the internet, put a proxy
that speaks HTTPS before it.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from utils.base.errors import InputError
from utils.base.files import output_folder
from utils.data.outputs import Layout
from utils.people.built_page import BuiltPage, read_built_page
from utils.people.export import write_export
from utils.people.server import access_token, create_app, serve
from utils.people.store import Store, Study
from utils.running.launch import launch


@dataclass(frozen=True)
class Config:
    # study
    out: str = "butterflies"  # output folder that holds course_page/; the answers go there too
    labels_per_image: int = 3  # how many people label each image
    lease_seconds: int = 300  # how long an image stays reserved for the person who sees it
    max_participants: int = 10_000  # how many may join
    # server
    host: str = "127.0.0.1"  # address to listen at; 0.0.0.0: every address of this machine
    port: int = 8000  # port to listen at; 0: any free one
    threads: int = 8  # requests that are answered at the same time
    # export
    export: str = ""  # write the answers to this .json or .csv file, serve nothing; empty: serve


def page_if_built(out: str) -> BuiltPage | None:
    """The page that was answered; None where it is not there any more, which an export can do without."""
    try:
        return read_built_page(out)
    except InputError:
        return None


def main(cfg: Config) -> None:
    database = Layout(Path(cfg.out)).answers
    if cfg.export:
        write_export(database, Path(cfg.export), page_if_built(cfg.out))
        print(f"Answers: {cfg.export}")
        return
    page = read_built_page(cfg.out)
    output_folder(cfg.out)
    study = Study(
        page.build_id, page.dataset, page.phases, cfg.labels_per_image, cfg.lease_seconds, cfg.max_participants
    )
    store, token = Store(database, study), access_token(cfg.out)
    if store.damage:
        print(f"{store.damage} Until then no answers are taken: the page keeps them and tries again.")

    def announce(address: str) -> None:
        print(f"Course page: {address}/")
        print(f"Progress:    {address}/progress?token={token}")
        print(f"Answers are kept in {database}. Stop with Ctrl-C.", flush=True)

    with contextlib.closing(store):
        serve(create_app(page, store, token), cfg.host, cfg.port, cfg.threads, announce)
        now = store.progress()
    print(f"Stopped. {database} holds {sum(now.answers.values())} answers of {now.answered} people.")


if __name__ == "__main__":
    launch(main, Config, __doc__)
