"""Write into the cards of posteriors' weights what they were made for: ``python scripts/fingerprints.py weights/*.json``.

The task is that of the recipe in the card; arrays and their sha256 stay as they are.
"""

import json
import sys
from pathlib import Path

from aps_core.files import write_atomically
from aps_core.tasks import load_task
from aps_core.tasks.fingerprint import made_for


def main(paths):
    """Add ``made_for`` to every card of a posterior among ``paths``."""
    for path in map(Path, paths):
        card = json.loads(path.read_text("utf-8"))
        named = card.get("recipe", {}).get("task")
        if "flow" not in card or not named:
            continue
        task = load_task(named["name"], **named.get("parameters", {}))
        card["made_for"] = made_for(task)
        write_atomically(path, json.dumps(card, indent=2) + "\n")
        print(f"{path}: {card['made_for']}")


if __name__ == "__main__":
    main(sys.argv[1:])
