"""What the pages call the samplers that iterate, by the word that stands for each in the keys of records, and the budgets
at which they are held side by side on faces.
"""

NAMES = {
    "dps": "DPS",
    "mcg": "MCG",
    "pigdm": "PiGDM",
    "ddrm": "DDRM",
    "sde_proj": "SDE+Proj",
    "score_ald": "Score-ALD",
    "daps": "DAPS",
    "red_diff": "RED-diff",
}

# evaluations of the network for one sample (``faces_budgets``)
FACE_BUDGETS = {"dps": (20, 50, 100), "ddrm": (20, 50, 100), "pigdm": (20, 50)}


def names(*words: str) -> dict[str, str]:
    """The names of some of them, in this order."""
    return {word: NAMES[word] for word in words}
