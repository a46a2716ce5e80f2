"""What the pages call the samplers that iterate, by the word that stands for each in the keys of records."""

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


def names(*words: str) -> dict[str, str]:
    """The names of some of them, in this order."""
    return {word: NAMES[word] for word in words}
