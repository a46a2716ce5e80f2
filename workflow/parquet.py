"""Write a table as parquet: python workflow/parquet.py FILE < COLUMNS, by an interpreter that has pyarrow.

COLUMNS is JSON, {name: [kind, values]} with the kinds of TYPES and null for a gap. Exit code 3: there is no pyarrow.
"""

import json
import os
import sys


def main(path, columns):
    """Write ``columns`` to ``path``: whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    types = {"number": pyarrow.float64(), "count": pyarrow.int64(), "flag": pyarrow.bool_(), "text": pyarrow.string()}
    arrays = {name: pyarrow.array(values, types[kind]) for name, (kind, values) in columns.items()}
    unfinished = f"{path}.part"
    pyarrow.parquet.write_table(pyarrow.table(arrays), unfinished)
    os.replace(unfinished, path)


if __name__ == "__main__":
    try:
        main(sys.argv[1], json.load(sys.stdin))
    except ImportError:
        sys.exit(3)
