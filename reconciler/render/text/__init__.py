"""Results as text for people: tables that fit the terminal, then what needs a word, then one summary sentence.

Every function takes the width in columns and whether to use colour; `verbose` shows unchanged segments one by one.
`shared_names`: names for which flags need `workspace/NAME`, beside those that occur twice in the result itself.
`sqlite_unattended`: the state is a SQLite file and nobody sits at a terminal.
"""

from reconciler.render.text.documents import past_run
from reconciler.render.text.plans import plan, run
from reconciler.render.text.reports import drift, history, refresh, status

__all__ = ["drift", "history", "past_run", "plan", "refresh", "run", "status"]
