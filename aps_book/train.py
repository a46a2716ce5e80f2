"""Command line of all recipes, those of networks that only a page needs too: ``python -m aps_book.train recipes/NAME.toml``."""

from aps_book.experiments.flow_prior_training import FLOW_PRIOR
from aps_book.experiments.gaussian16_score import DRAWS
from aps_book.experiments.sphere_prior import MODAL_PRIOR
from aps_book.experiments.toy2d_flows import TOYS
from aps_core.train import command
from aps_core.training import TRAINERS

ALL = {**TRAINERS, "modal-prior": MODAL_PRIOR, "flow-prior": FLOW_PRIOR, "score-on-draws": DRAWS, "toys": TOYS}

if __name__ == "__main__":
    command(trainers=ALL, prog="python -m aps_book.train")
