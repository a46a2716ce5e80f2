"""What Sphinx makes of the pages beside what the notebooks show: answer boxes, the table of claims, folds."""
