"""Export what AI and statistics need: a manifest of all originals, and the originals beside it.

lines    one line for each original, as a model whose JSON Schema goes with the manifest
reading  the lines, from one state of the database, in the order of ids
folder   the folder of an export: whose it is, its links, its manifest
run      all of it
"""

from viewer.upkeep.export.folder import CannotExport
from viewer.upkeep.export.run import Result, run

__all__ = ["CannotExport", "Result", "run"]
