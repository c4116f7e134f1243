"""Registry of selections and students. A new one is one file and one line here."""

from dataclasses import dataclass
from typing import Literal

from utils.base.randomness import generator
from utils.teaching.balanced import Balanced
from utils.teaching.choice import Selector
from utils.teaching.cmaxgrad import CMaxGrad
from utils.teaching.kmaxgrad import KMaxGrad
from utils.teaching.maxgrad import MaxGrad
from utils.teaching.maxherding import MaxHerding
from utils.teaching.optimal import OptimalStudent
from utils.teaching.random_pairs import RandomPairs
from utils.teaching.sgd import SGDStudent

Selection = Literal["CMaxGrad", "KMaxGrad", "MaxGrad", "MaxHerding", "balanced", "random"]
StudentKind = Literal["optimal", "sgd"]

SELECTORS = {
    "CMaxGrad": CMaxGrad,
    "KMaxGrad": KMaxGrad,
    "MaxGrad": MaxGrad,
    "MaxHerding": MaxHerding,
    "balanced": Balanced,
    "random": RandomPairs,
}
STUDENTS = {
    "optimal": OptimalStudent,
    "sgd": SGDStudent,
}


@dataclass(frozen=True)
class SelectorSettings:
    """Settings of a selector: its name, the weight of an image against its explanation (CMaxGrad), and the seed of its draws."""

    selection: Selection
    alpha: float
    seed: int


def make_selector(how: SelectorSettings, *key: int) -> Selector:
    """A selector at the beginning of a course; `key` tells its randomness from that of other courses of the same seed;
    a key of 0, as the first draw has, is that of the course without a key."""
    return SELECTORS[how.selection](generator(how.seed, *key), how.alpha)
