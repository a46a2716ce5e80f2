"""What the theme loads on every page and no page needs: two thousand icons of Font Awesome, of which a dozen are shown."""

from __future__ import annotations

import re
from pathlib import Path

SCRIPT = Path("_static/scripts/fontawesome.js")
# name:[width, height, [other names], "code", path or paths], as the script writes its icons
ICON = re.compile(r'("[a-z0-9-]+"|[a-z0-9]+):\[\d+,\d+,\[([^\]]*)\],"[0-9a-f]+",(?:"[^"]*"|\[[^\]]*\])\],?')
USED = re.compile(r"fa-([a-z0-9-]+)")


def used(folder: Path) -> set[str]:
    """Names of the icons that pages and scripts of a built book speak of; the theme's style names all there are."""
    found: set[str] = set()
    for path in folder.rglob("*"):
        ours = path.suffix == ".html" or (path.suffix == ".js" and path.name != SCRIPT.name)
        if ours and "vendor" not in path.parts and "mathjax" not in path.parts and path.is_file():
            found |= set(USED.findall(path.read_text("utf-8", errors="ignore")))
    return found


def only(script: str, names: set[str]) -> str:
    """The script with the icons of these names alone; as it is where it is written in another way."""

    def kept(match: re.Match[str]) -> str:
        others = re.findall(r'"([^"]+)"', match.group(2))
        return match.group() if names & {match.group(1).strip('"'), *others} else ""

    return ICON.sub(kept, script)


def lighten(folder: Path) -> None:
    """Leave in the script of a built book only the icons that it shows."""
    script = folder / SCRIPT
    if script.is_file():
        script.write_text(only(script.read_text("utf-8"), used(folder)), "utf-8")
