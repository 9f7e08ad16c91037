"""Werkzeug's rules, taken apart."""

import re

# A place in a rule: `<id>`, `<uuid:id>`, `<any(thumbnail,preview):copy>`.
PLACE = re.compile(r"<(?:(?P<kind>\w+)(?:\((?P<words>[^)]*)\))?:)?\w+>")
