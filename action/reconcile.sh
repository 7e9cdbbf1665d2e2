#!/usr/bin/env bash
# usage: reconcile.sh COMMAND ARGUMENT…
# Runs reconcile, writes report.md, puts it into the summary of the job, and says what the exit code means.
set -euo pipefail

code=0
reconcile "$1" --format markdown "${@:2}" > report.md 2> errors.txt || code=$?
cat errors.txt >&2

if [ ! -s report.md ]; then              # no document: 64, or something before the first segment
  {
    echo "<!-- reconcile $1 -->"
    echo "### reconcile $1: no result, exit code $code"
    echo
    head -c 20000 errors.txt | sed 's/^/    /'      # indented: nothing in it is Markdown
  } > report.md
fi
cat report.md >> "${GITHUB_STEP_SUMMARY:-/dev/null}"
echo "exit-code=$code" >> "${GITHUB_OUTPUT:-/dev/null}"

case $code in
  0) ;;
  2) echo "::notice::Changes are pending, or there is drift: see the report."; code=0 ;;      # information, no failure
  3) echo "::error::A guard stopped a segment, and nothing was sent for it. The report has the numbers." ;;
  4) echo "::error::The plan file is stale, spent or expired; nothing was sent. Make a new plan." ;;
  5) echo "::error::Another run holds the lock; nothing was sent. Try again later." ;;
  6) echo "::error::Partly done. The next run sends what is left; the report says what is wrong." ;;
  64) echo "::error::The spec or the command line is wrong; nothing was run. The report has file and line." ;;
  *) echo "::error::Failed with exit code $code: see the report." ;;
esac
exit "$code"
