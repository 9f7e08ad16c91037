"""Drill: prove that a backup can be restored, by restoring it and looking at photos in it.

`run.drill` does it beside the running viewer, in a scratch folder, by the real commands.
"""
