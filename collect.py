"""Serves the course page and collects people's answers in a database.

People label the least certain image first. Prints the address for people and the secret one of the progress page.
On the internet, add an HTTPS proxy.

    python collect.py
    python collect.py --dataset toy --port 8080 --certainty 0.9
    python collect.py --pages butterflies random plain
    python collect.py --dataset toy --export toy/answers.json
    python collect.py --dataset toy --delete CODE

Reads: <out>/course_page/ (or those of --pages), the key and teacher_features.npz, made by teach.py.
Writes: in <out>, answers.sqlite and answers.token (opens the progress page); with --export a .json or .csv file.
Takes: until Ctrl-C; an export or a deletion takes seconds. No GPU is used.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from utils.base.files import output_folder
from utils.data.outputs import Layout
from utils.people.export import write_export
from utils.people.page_key import join_keys, read_page_key
from utils.people.server import access_token, create_app, serve
from utils.people.store import Store, delete_person
from utils.running.launch import launch


@dataclass(frozen=True)
class Config:
    # study
    dataset: str = "butterflies_s300"  # a dataset of utils/data/catalog.py, or your own (datasets/prepare.py folder)
    data_root: str = "datasets"  # folder that contains the dataset's folder; it is only read
    out: str = "auto"  # output folder; auto: named after the dataset
    pages: tuple[str, ...] = ("{out}",)  # output folders of teach.py; people are assigned to one of several at random
    order: Literal["certainty", "even"] = "certainty"  # least certain images first; even: most answers first
    certainty: float = 0.95  # probability of a label at which its image is done; order certainty only
    labels_per_image: int = 5  # most people who label an image
    gold_every: int = 20  # every n-th label of a person is for a gold image (teach.py --gold-images)
    fixed_teacher: bool = False  # people's labels do not teach the teacher
    lease_seconds: int = 300  # seconds that an image stays reserved for the person who sees it
    silent_seconds: int = 3600  # several pages only: people who are silent so long before the end lose their place
    max_participants: int = 10_000  # number of people who may join
    completion_url: str = ""  # where people go at the end, such as Prolific's page with the completion code
    screen_out_url: str = ""  # where people go who do not reach the page's pass mark
    power: float = 0  # say how many people find a difference of so many percentage points, and serve nothing
    # server
    host: str = "127.0.0.1"  # address to listen on; 0.0.0.0: every address of this machine
    port: int = 8000  # port to listen on; 0: any free one
    threads: int = 8  # requests that are answered at the same time
    # export and deletion, also while a server runs
    export: str = ""  # write the answers to this .json or .csv file and serve nothing; empty: serve
    delete: str = ""  # delete the person with this deletion code and serve nothing; empty: serve


def main(cfg: Config) -> None:
    if cfg.power:
        from utils.people.conditions import SPREAD, people_needed  # loads torch

        test = f"two-sided t test at 5 %, power 80 %, standard deviation {SPREAD} as in public logs"
        print(f"A difference of {cfg.power:g} points needs {people_needed(cfg.power)} people per condition ({test}).")
        return
    layout = Layout(Path(cfg.out))
    database = layout.answers
    if cfg.delete:
        print(delete_person(database, cfg.delete))
    if cfg.export:
        write_export(database, Path(cfg.export))
        print(f"Answers: {cfg.export}")
    if cfg.delete or cfg.export:
        return
    key = join_keys([read_page_key(Layout(Path(page))) for page in cfg.pages])
    output_folder(cfg.out)
    store = Store(database, key, cfg)
    token = access_token(layout.answers_token)
    if store.damage:
        print(f"{store.damage} Until then the server takes no answers; the page keeps them and tries again.")

    def announce(address: str) -> None:
        print(f"Course page: {address}/")
        print(f"Progress:    {address}/progress?token={token}")
        print(f"Answers are kept in {database}. Stop with Ctrl-C.", flush=True)

    with contextlib.ExitStack() as stack:
        stack.callback(store.close)
        if cfg.order == "certainty" and not store.damage and key.of_phase("label"):
            from utils.people.asking import Asking  # loads torch, which an export does not need

            stack.enter_context(Asking(store, key, Layout(Path(cfg.pages[0])).teacher_features, cfg.fixed_teacher))
        links = {"completion": cfg.completion_url, "screen_out": cfg.screen_out_url}
        app = create_app(key, store, token, links)
        serve(app, cfg.host, cfg.port, cfg.threads, announce)
        now = store.progress()
    answers = sum(number for name, number in now.items() if name.startswith("answers"))
    print(f"Stopped. {database} contains {answers} answers of {now['people who answered']} people.")


if __name__ == "__main__":
    launch(main, Config, __doc__)
