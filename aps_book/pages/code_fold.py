"""The code of a notebook's page in one fold at its end, in the place of a bar at every cell; cells with the tag
"show-code" stay as they are.
"""

from __future__ import annotations

from docutils import nodes

SHOWN = "tag_show-code"  # cells whose code belongs to the text stay where they are
HIDDEN = ("tag_hide-input", "tag_hide-output", "tag_hide-cell")


def gather(doctree: nodes.document) -> int:
    """Move the input of every cell into a fold at the end of the page; a cell without output goes with it.

    Returns how many there are.
    """
    moved = []
    for cell in list(doctree.findall(lambda node: isinstance(node, nodes.container) and "cell" in node["classes"])):
        if SHOWN in cell["classes"]:
            continue
        inputs = [node for node in cell.children if "cell_input" in node.get("classes", ())]
        for node in inputs:
            cell.remove(node)
        moved += inputs
        cell["classes"] = [name for name in cell["classes"] if name not in HIDDEN]
        cell.attributes.pop("hide_mode", None)
        if not cell.children:
            cell.parent.remove(cell)
    if moved:
        title = f"Code of this page: {len(moved)} cells"
        opening = f'<details class="aps-code"><summary>{title}</summary>'
        doctree += [nodes.raw("", opening, format="html"), *moved, nodes.raw("", "</details>", format="html")]
    return len(moved)
