"""axe-core, which checks a page for what keeps people out: fetched from npm once, by its hash, and never committed."""

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path

VERSION = "4.10.3"
SHA256 = "0f2b4d7dcdf7d1219df8d1959ad68e565f51d14c3f0d88bb71cd59abeb956292"  # of the archive
TIMEOUT = 60  # seconds
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]
COLOUR_RULES = ["color-contrast", "link-in-text-block"]  # what depends on the mode; it takes four fifths of the time
# The pages of the code have hundreds of entries. Their colours are checked in those that show a new one: an entry in which every
# element has colours, font and place (the elements around it) that occurred before is taken out for that check, and for no other.
RUN = """(async (everything) => {
  const seen = new Set(), alike = [];
  const looks = (one, around) => {
    const {color, backgroundColor, opacity, fontSize, fontWeight, textDecorationLine} = getComputedStyle(one);
    const here = [around, one.tagName, color, backgroundColor, opacity, fontSize, fontWeight, textDecorationLine].join(' ');
    return [here, ...[...one.children].flatMap(inner => looks(inner, here))];
  };
  for (const entry of document.querySelectorAll('.aps-reference > dl')) {
    const its = looks(entry, '');
    if (its.every(look => seen.has(look))) alike.push(entry);
    its.forEach(look => seen.add(look));
  }
  const run = (runOnly, without) => axe.run({include: [['html']]}, {resultTypes: ['violations'], preload: false, runOnly,
    rules: Object.fromEntries(without.map(one => [one, {enabled: false}]))});
  const places = alike.map(() => document.createComment(''));
  alike.forEach((entry, i) => entry.replaceWith(places[i]));
  const found = [await run(COLOUR_RULES, [])];
  places.forEach((place, i) => place.replaceWith(alike[i]));
  if (everything) found.push(await run(TAGS, COLOUR_RULES));
  return found.flatMap(one => one.violations)
    .filter(one => ['serious', 'critical'].includes(one.impact))
    .map(one => one.id + ' (' + one.nodes.length + '): ' + one.nodes[0].html.slice(0, 200));
})""".replace("COLOUR_RULES", json.dumps(COLOUR_RULES)).replace("TAGS", json.dumps(TAGS))
EVERYTHING, COLOURS = f"{RUN}(true)", f"{RUN}(false)"


def script(folder):
    """The text of axe.min.js, kept in ``folder``; None where npm cannot be had. Raises ValueError for another archive."""
    kept = Path(folder) / f"axe-core-{VERSION}.js"
    if not kept.exists():
        archive = _archive()
        if archive is None:
            return None
        if hashlib.sha256(archive).hexdigest() != SHA256:
            raise ValueError(f"axe-core {VERSION} from npm has another sha256 than {SHA256}")
        with tarfile.open(fileobj=io.BytesIO(archive)) as members:
            text = members.extractfile("package/axe.min.js").read()
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(text)
    return kept.read_text("utf-8")


def _archive():
    with tempfile.TemporaryDirectory() as folder:
        command = ["npm", "pack", "--silent", f"axe-core@{VERSION}", "--pack-destination", folder]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
        except (OSError, subprocess.SubprocessError):
            return None
        return next(Path(folder).glob("*.tgz")).read_bytes()
