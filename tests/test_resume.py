"""Runs killed at random moments and resumed write the same files as undisturbed runs."""

import json
import random
import shutil
import signal
from types import SimpleNamespace

import pytest
import torch

from tests.helpers import runs
from tests.helpers.runs import forker
from utils.data.lists import read_examples
from utils.running import resuming

KILLS = {"teacher": 3, "linear": 2, "simclr": 2, "CE": 6, "CE_simclr": 2, "CMaxGrad": 2, "optimal": 3, "study": 2}
ROOM = 100_000  # bytes per file on a full disk: enough for lists and pictures, not for a network


@pytest.fixture(scope="module")
def fork():
    with forker() as run:
        yield run


@pytest.fixture(scope="module")
def commands(data_root, tools):
    """One command per kind of run, each on what the earlier ones made."""
    tiny, generic = tools.common(data_root), ["--pretrained", "./toy/simclr_checkpoint_3.tar"]
    training = ["--epochs", 3, "--batch-size", 8, "--lr", 0.01, "--milestones", 1, "--eval-every", 2]
    lessons = [*tiny, *generic, "--iterations", 3, "--steps", 2, "--batch-size", 16]
    sgd, optimal = [*lessons, "--student", "sgd"], ["--out", "optimal", "--ce-list", "./toy/toy_gt_CE.txt"]
    study = ["--accuracy", 0.5, "--repeats", 2, "--probe-epochs", 30, "--confidence", 0.3]
    probe = ["--checkpoint", "{out}/simclr_checkpoint_3.tar", "--probe-epochs", 30, "--batch-size", 7]
    return {
        "simclr": ["train_gull_simclr", *tiny, "--epochs", 3, "--batch-size", 8],
        "teacher": ["train_butterflies_resnet18", *tiny, *generic, *training],
        "linear": ["train_gull_resnet18_linear", *tiny, *generic, *training],
        "CE": ["get_all_CE_butterflies", *tiny, "--mask-sizes", 0.3, 0.05, "--batch-size", 3],
        "CE_simclr": ["get_all_CE_gull_simclr", *tiny, *probe],
        "CMaxGrad": ["train_butterflies_CMaxGrad", *sgd, "--save-students"],
        "random": ["train_butterflies_CMaxGrad", *sgd, "--selection", "random"],
        "optimal": ["train_gull_CMaxGrad", *lessons, *optimal, "--save-students", "--draws", 3],
        "study": ["study_annotators", *tiny, *generic, *study, "--simclr-checkpoint", generic[1]],
    }


def content_of(folder):
    """Name -> bytes of every file below a folder; of run records, all but the seconds."""
    found = {name: content for name, content in runs.content_of(folder).items() if not name.endswith(".lock")}
    for path in folder.rglob("run_*.json"):
        record = found[str(path.relative_to(folder))] = runs.load(path)
        assert record["measured"].pop("seconds") >= 0
    return found


def differing(one, other):
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.fixture(scope="module")
def reference(fork, commands, tmp_path_factory):
    """Every run undisturbed: the folder, what was there before each run and what it made, and how long it took."""
    folder = tmp_path_factory.mktemp("reference")
    found = SimpleNamespace(folder=folder, before={}, made={}, seconds={})
    before = {}
    for name, command in commands.items():
        done = fork(command, folder)
        assert done.status == 0, done.err
        after = content_of(folder)
        made = {file: after[file] for file in differing(before, after)}
        found.before[name] = {file: content for file, content in before.items() if file not in made}
        found.made[name], found.seconds[name], before = made, done.seconds, after
    found.after = lambda name: found.before[name] | found.made[name]
    return found


@pytest.fixture
def prepared(reference, tmp_path):
    """A working folder with everything that the run `name` needs, and nothing that it makes."""

    def prepare(name):
        for file in reference.before[name]:
            (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(reference.folder / file, tmp_path / file)
        return tmp_path

    return prepare


@pytest.mark.parametrize("name", KILLS)
def test_a_run_that_is_killed_again_and_again_ends_with_the_same_files(name, fork, commands, reference, prepared):
    draw, folder, kills, resume = random.Random(name), prepared(name), 0, []
    seconds = reference.seconds[name]
    for _ in range(4 * KILLS[name]):
        done = fork([*commands[name], *resume], folder, after=draw.uniform(0.02, 0.7) * seconds)
        assert done.status in (0, -signal.SIGKILL), done.err
        kills += done.status < 0
        resume = ["--resume"]
        if done.status == 0:  # too late; once more from the beginning
            seconds *= 0.7
            assert differing(content_of(folder), reference.after(name)) == []
            for file in reference.made[name]:
                (folder / file).unlink()
        if kills == KILLS[name]:
            break
    done = fork([*commands[name], "--resume"], folder)
    assert done.status == 0, done.err
    assert kills == KILLS[name]
    assert differing(content_of(folder), reference.after(name)) == []


def state_file(command):
    """Path of an unfinished run's state."""
    selection = {"--selection": command[-1]}.get(command[-2], "CMaxGrad")
    return f"toy/.unfinished_{command[0]}{f'_{selection}' if 'CMaxGrad' in command[0] else ''}/state.pt"


@pytest.fixture
def stopped(fork, commands, prepared):
    """A working folder in which the run `name` was killed when its state had been saved a number of times."""

    def stop(name, versions=1):
        folder = prepared(name)
        done = fork(commands[name], folder, watched=state_file(commands[name]), versions=versions)
        assert done.status == -signal.SIGKILL, done.err
        return folder

    return stop


@pytest.mark.parametrize(("name", "key"), [("teacher", "history"), ("simclr", "history"), ("random", "lessons")])
def test_what_was_learned_is_not_learned_again(name, key, fork, commands, reference, stopped):
    folder = stopped(name, versions=3)  # at the start, after one epoch or lesson, after two
    learned = len(torch.load(folder / state_file(commands[name]), weights_only=True)["state"][key])
    done = fork([*commands[name], "--resume"], folder)
    assert done.status == 0 and learned >= 2 and "Resuming the unfinished run" in done.out, done.err
    assert name == "random" or f" {20 * learned}/60 " in done.err.split("\r")[1], done.err
    assert differing(content_of(folder), reference.after(name)) == []


OTHER_SETTINGS = [
    ("teacher", ["--lr", 0.02], ["lr (was 0.01, is 0.02)"]),
    ("simclr", ["--seed", 3, "--temperature", 0.4], ["seed (was 0, is 3)", "temperature (was 0.5, is 0.4)"]),
    ("CE", ["--mask-sizes", 0.05], ["mask_sizes (was [0.05, 0.3], is [0.05])"]),
    ("CMaxGrad", ["--explanation-view", "image"], ["explanation_view (was attention, is image)"]),
]


@pytest.mark.parametrize(("name", "changes", "says"), OTHER_SETTINGS)
def test_a_run_with_other_settings_is_not_resumed(name, changes, says, fork, commands, stopped):
    folder = stopped(name)
    before = content_of(folder)
    done = fork([*commands[name], *changes, "--resume"], folder)
    assert done.status == 2 and all(words in done.err for words in says), done.err
    assert done.err.count("(was") == len(says)
    after = content_of(folder)
    assert differing(before, after) == []
    if name == "simclr":  # threads change nothing
        assert fork([*commands[name], "--workers", 0, "--resume"], folder).status == 0
        assert differing(before, content_of(folder)) != []


OTHER_FILES = [
    ("CE", "toy/checkpoint_pretrain_resnet18_s300.pth.tar", "content of checkpoint"),
    ("CMaxGrad", "toy/toy_gt_CE.txt", "content of ce_list"),
    ("CMaxGrad", "toy/toy_gt_CE.json", "content of explanation record"),
]


@pytest.mark.parametrize(("name", "file", "says"), OTHER_FILES)
def test_a_run_from_other_files_is_not_resumed(name, file, says, fork, commands, stopped):
    folder = stopped(name)
    path = folder / file
    if path.suffix == ".txt":
        for one in (path, path.with_name("toy_gt_CE_HTML.txt")):  # the same rows in another order
            one.write_text("".join(reversed(one.read_text().splitlines(keepends=True))))
    elif path.suffix == ".json":  # explained again by another teacher: list and names are the same
        path.write_text(json.dumps(json.loads(path.read_text()) | {"image_size": 65}))
    else:
        content = torch.load(path, weights_only=True)
        content["state_dict_m"]["fc.bias"] += 1
        torch.save(content, path)
    done = fork([*commands[name], "--resume"], folder)
    assert done.status == 2 and says in done.err and done.err.count("(was") == 1, done.err


def test_the_state_of_another_run_is_replaced(fork, commands, reference, prepared):
    folder, command = prepared("CE_simclr"), commands["CE_simclr"]
    state = state_file(command)
    for changes in (["--probe-epochs", 1], []):  # the state of another run, then its own
        done = fork([*command, *changes], folder, watched=state, versions=2)
        assert done.status == -signal.SIGKILL, done.err
    assert fork([*command, "--resume"], folder).status == 0
    assert differing(content_of(folder), reference.after("CE_simclr")) == []


def test_an_error_leaves_what_was_done(fork, prepared, tools, small_root):
    folder = prepared("CE")
    command = ["get_all_CE_butterflies", *tools.common(small_root, workers=0), "--mask-sizes", 0.05, "--batch-size", 3]
    rows = read_examples(small_root / "toy/toy_gt_tr.txt", 5)
    for row, kept in ((rows[0], False), (rows[-1], True)):
        picture = small_root / row.path.removeprefix("./datasets/")
        content = picture.read_bytes()
        picture.write_bytes(content[: len(content) // 2])
        done = fork(command, folder)
        assert done.status == 2 and "cannot be decoded" in done.err, done.err
        assert (folder / state_file(command)).exists() == kept
        picture.write_bytes(content)
    done = fork([*command, "--resume"], folder)
    assert done.status == 0 and "Resuming" in done.out, done.err
    resumed = content_of(folder)
    assert fork(command, folder).status == 0
    assert differing(content_of(folder), resumed) == []


def test_a_finished_run_says_so_and_changes_nothing(fork, commands, reference, tools):
    for name in ("teacher", "simclr", "CE", "CE_simclr", "CMaxGrad", "random"):
        before = tools.snapshot(reference.folder / "toy")
        done = fork([*commands[name], "--resume"], reference.folder)
        assert done.status == 0 and "This run has finished" in done.out and done.out.count("\n") == 1, done.out
        changed = differing(before, tools.snapshot(reference.folder / "toy"))
        assert changed in ([], ["."]), changed  # the proof that the output folder can be written to changes its time


def test_two_selections_in_one_folder_have_their_own_records(reference):
    """Random pairs came last."""
    files = [f"toy/run_train_butterflies_CMaxGrad{name}.json" for name in ("", "_CMaxGrad", "_random")]
    last, *both = (runs.load(reference.folder / file) for file in files)
    assert last == both[1] and [record["settings"]["selection"] for record in both] == ["CMaxGrad", "random"]


def test_a_run_starts_from_scratch_without_resume_or_an_unfinished_run(fork, commands, reference, stopped):
    folder = stopped("CE")
    done = fork(commands["CE"], folder)
    assert done.status == 0 and "Resuming" not in done.out
    assert differing(content_of(folder), reference.after("CE")) == []
    for file in reference.made["CE"]:
        (folder / file).unlink()
    done = fork([*commands["CE"], "--resume"], folder)
    assert done.status == 0 and "no unfinished run" in done.out
    assert differing(content_of(folder), reference.after("CE")) == []


def test_a_finished_run_whose_output_is_gone_runs_again(fork, commands, reference, tmp_path):
    finished = shutil.copytree(reference.folder, tmp_path / "finished")
    before = content_of(finished)
    (finished / "toy/course_random.json").unlink()
    assert fork([*commands["random"], "--resume"], finished).status == 0
    assert differing(before, content_of(finished)) == []


FULL_DISKS = [(name, ROOM) for name in ("teacher", "linear", "simclr", "CMaxGrad")]
FULL_DISKS += [("CE", 3_000), ("CE", 12_000), ("CE_simclr", 4_500)]


@pytest.mark.parametrize(("name", "room"), FULL_DISKS)
def test_a_run_on_a_full_disk_is_resumed_when_there_is_room(name, room, fork, commands, reference, prepared):
    folder = prepared(name)
    before = content_of(folder)
    done = fork(commands[name], folder, file_limit=room)
    sentences = [line for line in done.err.replace("\r", "\n").split("\n") if line.strip() and "%|" not in line]
    assert done.status == 1 and len(sentences) == 1, done.err
    assert "Continue with: " in sentences[0] and sentences[0].endswith("--resume"), sentences
    after = content_of(folder)
    assert [file for file in before if after[file] != before[file]] == []
    new = [file for file in after if file not in before]
    assert [file for file in new if ".part" in file] == []
    assert [file for file in new if "/.unfinished" not in file and after[file] != reference.after(name)[file]] == []
    done = fork([*commands[name], "--resume"], folder)
    assert done.status == 0, done.err
    assert differing(content_of(folder), reference.after(name)) == []


def test_ctrl_c_says_how_to_continue(fork, commands, reference, prepared):
    folder = prepared("teacher")
    done = fork(commands["teacher"], folder, watched=state_file(commands["teacher"]), versions=2, signal=signal.SIGINT)
    words = " ".join(map(str, commands["teacher"][1:]))
    script = "train_butterflies_resnet18.py"
    line = f"{script}: stopped by Ctrl-C. Continue with: python {script} {words} --resume"
    lines = [text for text in done.err.replace("\r", "\n").split("\n") if text.strip() and "%|" not in text]
    assert done.status == 130 and lines == [line], done.err
    assert fork([*commands["teacher"], "--resume"], folder).status == 0
    assert differing(content_of(folder), reference.after("teacher")) == []


def test_saving_takes_no_more_than_its_share(tmp_path, monkeypatch):
    now, saved = [100.0], []
    monkeypatch.setattr(resuming.time, "monotonic", lambda: now[0])
    unfinished = resuming.Unfinished(tmp_path / "unfinished", {})
    monkeypatch.setattr(unfinished, "save", lambda state: (saved.append(state), now.__setitem__(0, now[0] + 2)))
    for epoch in range(60):
        now[0] += 1
        unfinished.save_when_due(lambda epoch=epoch: epoch)
    assert saved[:3] == [0, 18, 36]
