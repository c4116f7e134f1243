"""The ways of explaining by name: one file each, and one line here."""

from typing import Literal

from utils.explanations.explained import Explainer
from utils.explanations.margin import Margin
from utils.explanations.scout import Scout

Method = Literal["margin", "scout"]
EXPLAINERS: dict[str, type[Explainer]] = {"margin": Margin, "scout": Scout}
