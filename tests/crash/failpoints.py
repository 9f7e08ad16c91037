"""Where a process may die on a file's way home, row by row of `docs/faults.md`."""

import pytest

PLACEMENT = [
    pytest.param("collect.claimed", id="11-claimed"),
    pytest.param("test.written", id="13-written"),
    pytest.param("storage.sealed", id="14-sealed"),
    pytest.param("collect.sealed", id="14-sealed-outside"),
    pytest.param("collect.intended", id="14-intended"),
    *(pytest.param(f"storage.mkdir@{n}", id=f"18-mkdir-{n}") for n in (1, 3, 5)),
    pytest.param("storage.folders", id="18-folders"),
    pytest.param("storage.linked", id="15-17-19-linked"),
    pytest.param("storage.placed", id="16-20-placed"),
    pytest.param("collect.placed", id="16-20-placed-part-gone"),
    pytest.param("collect.stored", id="21-stored"),
]
