"""The commands that make the records under weights/results which no notebook makes; ``aps show`` says them.

A record that was made since it keeps its own command (``provenance.command``) stands here no more; a test holds each command
against the options of its program. Searches and other files without provenance stand here for good.
"""

MODULE = "python -m aps_book.experiments"
COMMANDS = {
    "bunny_inpaint.flows": f"{MODULE}.bunny_flows",
    "bunny_inpaint.search": f"{MODULE}.bunny_inpaint",
    "cost.added-bench": "python benchmarks/bench.py --size middle --record weights/results/cost.added-bench.json",
    "default_flows": f"{MODULE}.default_flows",
    "faces.added-budgets": f"{MODULE}.faces_budgets",
    "faces.search": f"{MODULE}.faces_rivals",
    "faces_budgets.search": f"{MODULE}.faces_budgets",
    "pairs.search": f"{MODULE}.pairs",
    "perception.draws": f"{MODULE}.perception",
    "protocol.added-family": f"{MODULE}.family --steps 600",
    "protocol.added-mean": f"{MODULE}.objective_faces --chains bound score coarse",
    "protocol.added-noise": "python benchmarks/gradient_noise.py --record weights/results/protocol.added-noise.json",
    "protocol.added-step": f"{MODULE}.objective_faces --chains fine --chains-only --out weights/results/protocol.added-step.json",
    "protocol.realnvp": f"{MODULE}.faces_realnvp --budget 3700",
    "samplers.search": f"{MODULE}.samplers",
    "sensor.search": f"{MODULE}.sensor",
    "sphere_impute.search": f"{MODULE}.sphere_rivals",
}
# read off by hand, from what no program keeps
BY_HAND = {
    "bunny_inpaint.networks": "two trainings (`aps train`) that were stopped half way; their recipes stand in it"
}
