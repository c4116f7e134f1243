"""Which course teaches a machine student best: every selection, with every kind of explanation, in random parts of the pool."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cache, partial
from statistics import fmean, stdev
from typing import Literal

import torch
from tqdm import tqdm

from benchmarks.results import stages
from benchmarks.results.curves import Curves, draw_panels, shortest
from benchmarks.results.overview import Group, overview
from benchmarks.results.table import Table
from benchmarks.results.work import Work
from train_butterflies_CMaxGrad import Config
from utils.base import machine
from utils.base.randomness import make_repeatable
from utils.data.images import eval_view, whole_view
from utils.data.lists import Example
from utils.data.loading import ImageSet, open_list
from utils.running.settings import pick
from utils.teaching.choice import Choice
from utils.teaching.compare_courses import REPORTED_LESSONS
from utils.teaching.draws import DrawSettings, draw_courses, drawn_rows
from utils.teaching.optimal import learn_head
from utils.teaching.pool import Pool
from utils.teaching.registry import SELECTORS, STUDENTS, SelectorSettings, make_selector
from utils.teaching.student import Student, StudentSettings

NONE, POOL, RANDOM = "none", "the whole pool", "random"
RIVALS = (RANDOM, "MaxHerding")  # with whom selections are compared: the paper's baseline, and the best of the others
TITLES = {
    NONE: "images alone",
    "scout": "explanations: scout",
    "margin": "explanations: margin",
    "disc": "a disc in the middle",
}
DATASETS = ("butterflies_s300", "chinese_chars", "CUBgull_standin")
DRAWS, LESSONS, QUICK_DRAWS, QUICK_LESSONS = 6, 20, 2, 3
QUICK_STEPS = 2  # of the student as published, after every lesson
SGD_SIZE = 112  # pixels: side of what a student sees that learns with its whole network

Key = tuple[str, str]  # selection, kind of explanation


@dataclass(frozen=True)
class Courses:
    """The courses of one table.

    Attributes:
        name: of the table.
        dataset: what is taught.
        title: the table's heading.
        text: whom the courses teach, as Markdown.
        size: side of what the student sees, in pixels.
        student: a name of `STUDENTS`.
        simclr: whether encoder and explanations are SimCLR's.
        view: how it sees explanations, as `--explanation-view`.
    """

    name: str
    dataset: str
    title: str
    text: str
    size: int = stages.EXPLANATION_SIZE
    student: str = "optimal"
    simclr: bool = False
    view: Literal["attention", "image"] = "attention"

    def keys(self) -> list[Key]:
        """What is taught, by selection and explanation: all of each, but to the student as published, whose courses take minutes, the
        published explanations alone, and by random pairs and those selections alone that score explanations. CMaxGrad without is MaxGrad.
        """
        if self.student == "optimal":
            return [(selection, kind) for kind in TITLES for selection in SELECTORS]
        scoring = [name for name in SELECTORS if make_selector(SelectorSettings(name, 0, 0)).explains]  # type: ignore[arg-type]
        without = [(selection, NONE) for selection in SELECTORS if selection != "CMaxGrad"]
        return [*without, *((selection, "scout") for selection in (RANDOM, *scoring))]

    def groups(self, table: Sequence[dict]) -> list[Group]:
        """What the overview has of this table: with the explanations that the student's scripts make, and without."""
        group = partial(Group, self.dataset, self.student, "SimCLR" if self.simclr else "pretrained")
        kinds = ("margin" if self.student == "optimal" else "scout", NONE)
        return [group(kind, [row for row in table if row["explanation"] == kind]) for kind in kinds]

    def kinds(self) -> list[str]:
        """The kinds of explanations that are taught, in order."""
        return [kind for kind in TITLES if kind in {kind for _, kind in self.keys()}]


OPTIMAL = (
    "The student keeps its generic features and learns its head to the end after every lesson (`--student optimal`). Each kind of "
    "explanations is taught with every selection, with those too that look at images alone."
)
POOL_TEXT = f"Of `{POOL}` a student was taught every image of the draw at once, with every explanation of the kind."
SIMCLR = (
    "The optimal student with the features of a SimCLR encoder, by whose linear head images are explained too. It was trained from nothing "
    f"on all training images without their labels ({stages.SIMCLR_EPOCHS} epochs, `{stages.SIMCLR}`), for minutes, not for the days that "
    "SimCLR is made for."
)
SGD = (
    "The student as published (`--student sgd`): the whole network takes some steps after every lesson. Explanations as published too: by "
    "scout, seen as images of their own (`--explanation-view image`), and taught by the selections that score them, CMaxGrad and KMaxGrad; "
    "random pairs with explanations are their control. CMaxGrad without is MaxGrad. Other than published: the size of the pictures "
    "(published: 224 x 224), the weights that networks start from, the teacher (published: 200 epochs, from nothing), the draws, and that "
    "batch norm keeps the statistics that it came with."
)


def all_courses(quick: bool) -> list[Courses]:
    """The tables: the optimal student on each dataset; on the butterflies the SimCLR variant and the student as published too."""
    size, simclr, sgd = (stages.QUICK_SIZE,) * 3 if quick else (stages.EXPLANATION_SIZE, stages.SIMCLR_SIZE, SGD_SIZE)
    datasets = (stages.MOTHS,) if quick else DATASETS
    first = datasets[0]
    return [
        *(Courses(f"courses_{name}", name, f"Courses on {name}", OPTIMAL, size) for name in datasets),
        Courses(f"courses_{first}_simclr", first, f"Courses on {first}, SimCLR features", SIMCLR, simclr, simclr=True),
        Courses(
            f"courses_{first}_sgd",
            first,
            f"Courses on {first}, the student as published",
            SGD,
            sgd,
            student="sgd",
            view="image",
        ),
    ]


def tables(work: Work) -> Iterator[Table]:
    """A table for each of `all_courses`, and one of what they come to."""
    courses, groups = all_courses(work.quick), list[Group]()
    reasons = {
        one.name: stages.absent(work, one.dataset) or (stages.absent_simclr(work) if one.simclr else "")
        for one in courses
    }
    for reason in sorted({*reasons.values()} - {""}):
        print(reason)
    made = [one for one in courses if not reasons[one.name]]
    total = sum(len(one.keys()) * _draws(work).draws for one in made)
    with tqdm(total=total, desc="courses", unit="course") as bar, ExitStack() as beside:
        ahead = {
            one.name: beside.enter_context(_taught_beside(work, one, bar)) for one in made if one.student != "optimal"
        }
        for one in courses:
            if one in made:
                for _ in ahead.get(one.name, ()):
                    bar.update()
                table = _table(work, one, _materials(work, one), bar)
                groups += one.groups(table.rows)
                yield table
            else:
                yield Table.empty(one.name, one.title, reasons[one.name], stages.command("courses"))
    if groups:
        yield overview(groups, stages.command("courses"))


def _draws(work: Work) -> DrawSettings:
    draws, lessons = (QUICK_DRAWS, QUICK_LESSONS) if work.quick else (DRAWS, LESSONS)
    return DrawSettings(draws=draws, iterations=lessons, seed=work.seed)


@dataclass(frozen=True)
class Materials:
    """What courses are made of: settings of the student, the number of classes, and the explanation list of each kind."""

    cfg: Config
    num_classes: int
    lists: dict[str, str]


def _materials(work: Work, courses: Courses) -> Materials:
    """Trains and explains what the courses of a table need."""
    explain = stages.simclr_explanations if courses.simclr else stages.explanations
    lists = {
        kind: str(explain(work, courses.dataset, kind).explanation_list()) for kind in courses.kinds() if kind != NONE
    }
    features = str(stages.simclr(work)) if courses.simclr else work.pretrained
    where = {"dataset": courses.dataset, "data_root": stages.root(work, courses.dataset)}
    how = {"image_size": courses.size, "seed": work.seed, "workers": work.workers, "device": work.device}
    how |= {"steps": QUICK_STEPS} if work.quick else {}
    cfg = Config(**where, **how, pretrained=features)  # type: ignore[arg-type]  # of several types
    return Materials(cfg, len(stages.found(work, courses.dataset).classes), lists)


def _table(work: Work, courses: Courses, materials: Materials, bar: tqdm) -> Table:
    """Teaches the courses of a table that an earlier run has not taught."""
    curves: dict[Key, Curves] = {}
    ceilings: dict[str, list[float]] = {}
    how, images = _draws(work), _images(work, courses)
    for kind in courses.kinds():
        # Opened when the first course needs it, and let go with the kind: the explanations of one take hundreds of megabytes.
        student = cache(partial(_student, courses, materials, *images, kind))
        for key in courses.keys():
            if key[1] == kind:
                curves[key] = [_curve(work, courses, materials, student, (key, draw)) for draw in range(how.draws)]
                bar.update(how.draws if courses.student == "optimal" else 0)
        if courses.student == "optimal":
            whole = partial(_ceilings, student, how, materials.cfg.ridge)
            ceilings[kind] = work.kept(
                f"{courses.name}/{kind}_whole_pool", whole, _depends_on(work, courses, materials)
            )
    levels = {TITLES[kind]: fmean(values) for kind, values in ceilings.items()}
    draw_figure = partial(draw_panels, panels=panels(curves), levels=levels)
    text = f"{courses.text} {columns_text(how, courses)} {POOL_TEXT if ceilings else ''}"
    return Table(courses.name, courses.title, text, stages.command("courses"), rows(curves, ceilings), draw_figure)


@contextmanager
def _taught_beside(work: Work, courses: Courses, bar: tqdm) -> Iterator[Iterator[None]]:
    """Teaches a table's courses, as far as no earlier run has, in other processes while this one goes on with other tables: each course of
    a student that learns with its whole network takes minutes of one processor."""
    materials = _materials(work, courses)
    # The long ones, with explanations, first: so no processor waits for the last of them.
    every = [
        (key, draw)
        for key in sorted(courses.keys(), key=lambda key: key[1] == NONE)
        for draw in range(_draws(work).draws)
    ]
    missing = [one for one in every if not work.keeps(_name(courses, *one), _depends_on(work, courses, materials))]
    bar.update(len(every) - len(missing))
    yield machine.side_by_side(partial(_teach_one, work, courses, materials), missing, 0)


def _teach_one(work: Work, courses: Courses, materials: Materials, one: tuple[Key, int]) -> None:
    """Teaches one course, perhaps in a process of its own."""
    with machine.threads(work.threads):
        make_repeatable(work.seed)
        _curve(work, courses, materials, partial(_student, courses, materials, *_images(work, courses), one[0][1]), one)


def _curve(
    work: Work, courses: Courses, materials: Materials, student: Callable[[], Student], one: tuple[Key, int]
) -> list[float]:
    """The curve of one course: test accuracy (%) after each lesson. An earlier run's is read."""
    (selection, _), draw = one
    how = replace(_draws(work), draws=draw + 1)

    def teach() -> list[float]:
        settings = SelectorSettings(selection, materials.cfg.alpha, materials.cfg.seed)  # type: ignore[arg-type]  # from SELECTORS
        return next(draw_courses(student(), partial(make_selector, settings), how, begin=draw))

    return work.kept(_name(courses, *one), teach, _depends_on(work, courses, materials))


def _name(courses: Courses, key: Key, draw: int) -> str:
    """What a course is kept as."""
    selection, kind = key
    return f"{courses.name}/{kind}_{selection}/{draw}"


def _depends_on(work: Work, courses: Courses, materials: Materials) -> dict:
    """What courses depend on, besides the pictures."""
    return asdict(_draws(work)) | _settings(courses, materials.cfg)


def _settings(courses: Courses, cfg: Config) -> dict:
    """What courses depend on, besides the pictures and the draws; of explanations, the scripts know what they depend on."""
    return {"student": courses.student, "view": courses.view, "alpha": cfg.alpha} | {
        name: value
        for name, value in asdict(pick(StudentSettings, cfg)).items()
        if name not in ("pretrained", "workers", "device")
    }


def _images(work: Work, courses: Courses) -> tuple[Callable[[], ImageSet[Example]], Callable[[], ImageSet[Example]]]:
    """What opens the training list and the test list; each is opened once."""
    dataset, root = stages.found(work, courses.dataset), stages.root(work, courses.dataset)
    train = cache(partial(open_list, dataset, "train", root, partial(whole_view, size=courses.size)))
    return train, cache(partial(open_list, dataset, "test", root, partial(eval_view, size=courses.size)))


def _student(courses: Courses, materials: Materials, train: Callable, test: Callable, kind: str) -> Student:
    """A student of the whole pool, who is taught explanations of one kind."""
    pool = Pool(train(), materials.lists.get(kind), materials.num_classes, courses.view, courses.size)
    return STUDENTS[courses.student](pool, test(), kind != NONE, pick(StudentSettings, materials.cfg))


def _ceilings(student: Callable[[], Student], how: DrawSettings, ridge: float) -> list[float]:
    """Of each draw, the test accuracy (%) of a student that was taught the whole of it."""
    whole = student()
    return [ceiling(whole.anew(drawn_rows(len(whole.labels), how.seed, draw)), ridge) for draw in range(how.draws)]


def ceiling(pupil: Student, ridge: float) -> float:
    """The test accuracy (%) of an untaught optimal student that learns its whole pool: every image, and every explanation if it has any.

    Args:
        pupil: the student.
        ridge: of its head.
    """
    seen = pupil.survey(pupil.explain)
    features, labels = [seen.features], [seen.labels]
    if seen.explained:
        image, counter = (seen.table >= 0).nonzero(as_tuple=True)
        features.append(seen.explained.features[seen.table[image, counter]])
        labels.append(seen.labels[image])
    head = learn_head(torch.cat(features).double(), torch.cat(labels), seen.num_classes, ridge)
    other = int((seen.labels != seen.labels[0]).nonzero()[0])
    pupil.add(
        Choice(0, other, int(seen.labels[other]), {}, None)
    )  # accuracies are also of what was taught, which must be something
    pupil.load_state_dict({"head": head})
    return pupil.accuracies()[1]


# ---------------------------------------------------------------- what it comes to


def rows(curves: Mapping[Key, Curves], ceilings: Mapping[str, Sequence[float]]) -> list[dict]:
    """The table's rows.

    Args:
        curves: by selection and explanation, of draw after draw, the test accuracies (%) after each lesson.
        ceilings: by explanation, of draw after draw, the test accuracy (%) after the whole pool.
    """
    lessons = [
        lesson for lesson in REPORTED_LESSONS if lesson <= max(shortest(some).shape[1] for some in curves.values())
    ]
    means = {key: [fmean(curve) for curve in some] for key, some in curves.items()}
    means |= {(POOL, kind): list(values) for kind, values in ceilings.items()}
    rivals = {
        rival: {kind: values for (selection, kind), values in means.items() if selection == rival} for rival in RIVALS
    }
    found = []
    for (selection, kind), values in means.items():
        table = shortest(curves[selection, kind]) if selection != POOL else None
        reached = [
            round(float(table[:, n - 1].mean()), 1) if table is not None and n <= table.shape[1] else ""
            for n in lessons
        ]
        to_none = means.get((selection, NONE)) if kind != NONE else None
        row = {"selection": selection, "explanation": kind} | dict(zip(map(str, lessons), reached, strict=True))
        row |= {"mean": round(fmean(values), 1), "sd": spread(values)}
        for rival, of_rival in rivals.items():
            row |= difference(values, of_rival.get(kind) if selection not in (rival, POOL) else None, rival)
        found.append(row | difference(values, to_none, "none"))
    return found


def spread(values: Sequence[float]) -> float | str:
    """The standard deviation, of draws; of a single one there is none."""
    return round(stdev(values), 1) if len(values) > 1 else ""


def difference(values: Sequence[float], others: Sequence[float] | None, name: str) -> dict:
    """Draw by draw, how much more: mean and standard deviation of the differences; empty where there is nothing to compare with."""
    if others is None:
        return {f"minus {name}": "", f"sd of minus {name}": ""}
    apart = [one - other for one, other in zip(values, others, strict=True)]
    return {f"minus {name}": round(fmean(apart), 1) + 0.0, f"sd of minus {name}": spread(apart)}


def panels(curves: Mapping[Key, Curves]) -> dict[str, dict[str, Curves]]:
    """What the figure's panels show: a panel for each kind of explanations."""
    kinds = list(dict.fromkeys(kind for _, kind in curves))
    return {TITLES[kind]: {selection: some for (selection, of), some in curves.items() if of == kind} for kind in kinds}


def columns_text(how: DrawSettings, courses: Courses) -> str:
    """What the columns and the rows are."""
    return (
        f"Pictures have {courses.size} x {courses.size} pixels. Test accuracy in percent after 1, 2, 3 ... lessons of a pair, the mean of "
        f"{how.draws} draws of 80 % of the training list, the same draws in all rows (seed {how.seed}); `mean` is that of all "
        f"{how.iterations} lessons, and `sd` its standard deviation over the draws. `minus random`, `minus MaxHerding` and `minus none` "
        "are differences of such means, draw by draw, to random pairs and to MaxHerding with the same explanations, and to the same "
        "selection with none; behind them their standard deviations. `margin` is this repository's way of explaining, `scout` the "
        "published one, `disc` a control: a disc of the area of margin's mask in the middle of the picture."
    )
