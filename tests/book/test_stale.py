"""Which records are older than their weights and code: on a small repository whose history is known, and on this one."""

import json
import re
import subprocess

import pytest

from aps_book.record import stale

CORE = """\
\"\"\"What it is for.\"\"\"

import math


def used(x):
    \"\"\"Doc.\"\"\"
    return helper(x) + math.pi


def helper(x):
    return 2 * x


def other(x):
    return x


class Thing:
    size: int = 1

    def area(self):
        return self.size
"""
MOVED = """\
from math import pi as turn


def helper(x):  # a comment
    return 2 * x
"""
BOOK = "from aps_core import core\n\n\ndef study(x):\n    return core.used(x)\n"
NOTEBOOK = """\
# %% [markdown]
# Text.

# %%
from aps_book import study

value = study.study(1)
run.say("One {value}.")
"""


@pytest.fixture
def repository(tmp_path):
    """(root, change): a repository with a notebook, a module of each package, weights and a record; change(path, text)
    writes a file.
    """

    def change(path, text):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)

    def git(*words):
        command = ["git", "-C", tmp_path, "-c", "user.name=a", "-c", "user.email=a@b", *words]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    git("init", "-q")
    change("aps_core/__init__.py", "")
    change("aps_core/core.py", CORE)
    change("aps_book/__init__.py", "")
    change("aps_book/study.py", BOOK)
    change("notebooks/chapter.py", NOTEBOOK)
    change("weights/flow.json", json.dumps({"sha256": "ab"}))
    change("book/build.toml", "[chapter]\nfull = { n = 1 }\n[later]\nfull = { n = 1 }\n[small]\nbuild = { n = 1 }\n")
    git("add", "-A"), git("commit", "-q", "-m", "one")
    made = {"commit": git("rev-parse", "HEAD").strip(), "date": "2026-01-02T00:00:00", "modified": False}
    record = {"provenance": {**made, "weights": {"flow": "ab"}, "data": {}}}
    change("weights/results/chapter.json", json.dumps(record))
    change("weights/results/chapter.search.json", json.dumps({"dps": {}}))  # no record
    return tmp_path, change


def age(root):
    (found,) = stale.ages(root=root)
    return found


def test_a_record_of_the_code_as_it_is(repository):
    root, _ = repository
    assert not age(root).stale and str(age(root)).endswith("as it was")
    assert stale.without_record(root) == ["later"]


def test_what_was_moved_described_or_laid_out_anew_is_as_it_was(repository):
    root, change = repository
    change("aps_core/parts.py", MOVED)
    moved = CORE.replace("def helper(x):\n    return 2 * x\n", "").replace("Doc.", "Other words.")
    moved = moved.replace("import math", "import math as m\n\nfrom aps_core.parts import helper as twice")
    change("aps_core/core.py", moved.replace("return helper(x) + math.pi", "return twice(\n        x\n    ) + m.pi"))
    change(
        "notebooks/chapter.py", NOTEBOOK.replace("One {value}.", "It is {value}.").replace("# Text.", "# More text.")
    )
    assert age(root).code == []


@pytest.mark.parametrize(
    ("path", "before", "after", "found"),
    [
        ("aps_core/core.py", "math.pi", "math.e", ["aps_core.core.used"]),
        ("aps_core/core.py", "2 * x", "3 * x", ["aps_core.core.helper"]),
        ("aps_core/core.py", "return x", "return -x", []),  # nothing that the notebook reaches
        ("aps_book/study.py", "core.used(x)", "core.used(x + 1)", ["aps_book.study.study"]),
        ("notebooks/chapter.py", "study.study(1)", "study.study(2)", ["notebook"]),
    ],
)
def test_changed_code_is_named_where_the_notebook_reaches_it(repository, path, before, after, found):
    root, change = repository
    change(path, (root / path).read_text().replace(before, after))
    assert age(root).code == found and age(root).stale == bool(found)


def test_other_weights_and_an_unknown_commit_are_named(repository):
    root, change = repository
    change("weights/flow.json", json.dumps({"sha256": "cd"}))
    assert age(root).weights == ["flow"] and "weights flow" in str(age(root))
    path = root / "weights/results/chapter.json"
    record = json.loads(path.read_text())
    record["provenance"] |= {"commit": "0" * 40, "modified": True}
    path.write_text(json.dumps(record))
    assert "not in this checkout" in age(root).unknown and "made in a modified checkout" in str(age(root))
    with pytest.raises(FileNotFoundError, match="no record 'chapters'"):
        stale.ages(["chapters"], root)


def test_records_of_no_commit_are_named(repository):
    root, change = repository
    assert stale.of_no_commit(root) == {}
    path = root / "weights/results/chapter.json"
    record = json.loads(path.read_text())
    added = {"provenance": {"commit": "0" * 40, "modified": False}}
    change("weights/results/chapter.added-more.json", json.dumps(added))
    record["provenance"]["modified"] = True
    path.write_text(json.dumps(record))
    commit = record["provenance"]["commit"]
    assert stale.of_no_commit(root) == {"chapter": commit, "chapter.added-more": "0" * 40}


RECORDS = stale.ROOT / "weights" / "results"
OLD = {  # of before this was asked, by commit: from a modified checkout, or one whose commits were left behind
    "any_mask": "84c9479f6",
    "blind_impute": "76dc7ef66",
    "cost": "72f7b6f76",
    "noisy_samples": "0ff4fdcfd",
    "protocol.added-family": "72015b22d",
    "protocol.added-mean": "c826aebe2",
    "protocol.added-step": "15b1331a6",
    "sensor": "0ff4fdcfd",
    "trust": "8bce5aa92",
}


def test_new_records_are_of_a_commit_of_this_history():
    """A full run is made from a clean checkout of a commit that stays: every record says so, and where there is a history,
    not in what was unpacked from an archive or cloned without its past, the commit is asked for in it.
    """
    made = {p.stem: json.loads(p.read_text("utf-8")).get("provenance") for p in RECORDS.glob("*.json")}
    made = {name: one for name, one in made.items() if one is not None}
    odd = {
        name for name, one in made.items() if one["modified"] or not re.fullmatch("[0-9a-f]{40}", one["commit"] or "")
    }
    assert made and odd <= set(OLD)
    if not (stale.ROOT / ".git").exists() or (stale.ROOT / ".git/shallow").exists():
        return
    found = stale.of_no_commit()
    assert {name for name, commit in found.items() if not (commit or "").startswith(OLD.get(name, "none"))} == set()


def test_no_record_stands_on_other_weights_than_those_that_are_shipped():
    """Of this project: the full runs were made with the weights that lie beside them."""
    folder = stale.ROOT / "weights" / "results"
    for path in sorted(folder.glob("*.json")):
        record = json.loads(path.read_text("utf-8"))
        weights = record.get("provenance", {}).get("weights", {})
        assert {name: stale._digest(name, stale.ROOT) for name in weights} == weights, path.name
