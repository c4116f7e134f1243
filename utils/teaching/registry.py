"""Registry of selections and students. A new one is one file and one line here."""

from typing import Literal

from utils.base.randomness import generator
from utils.teaching.cmaxgrad import CMaxGrad
from utils.teaching.explain import EXPLAIN
from utils.teaching.kmaxgrad import KMaxGrad
from utils.teaching.maxgrad import MaxGrad
from utils.teaching.maxherding import MaxHerding
from utils.teaching.optimal import OptimalStudent
from utils.teaching.random_pairs import Balanced, RandomPairs
from utils.teaching.selector import Selector
from utils.teaching.sgd import SGDStudent
from utils.teaching.strict import STRICT

Selection = Literal["CMaxGrad", "EXPLAIN", "KMaxGrad", "MaxGrad", "MaxHerding", "STRICT", "balanced", "random"]
StudentKind = Literal["optimal", "sgd"]

SELECTORS: dict[str, type[Selector]] = {
    "CMaxGrad": CMaxGrad,
    "EXPLAIN": EXPLAIN,
    "KMaxGrad": KMaxGrad,
    "MaxGrad": MaxGrad,
    "MaxHerding": MaxHerding,
    "STRICT": STRICT,
    "balanced": Balanced,
    "random": RandomPairs,
}
STUDENTS = {"optimal": OptimalStudent, "sgd": SGDStudent}


def make_selector(selection: str, alpha: float, seed: int, draw: int = 0) -> Selector:
    """Returns a selector for a new course. Draw 0 has the same random numbers as the main course."""
    return SELECTORS[selection](generator(seed, draw), alpha)
