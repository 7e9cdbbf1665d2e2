#!/usr/bin/env bash
# usage: NUMBER=… comment.sh
# Writes report.md into the pull request: over the comment of an earlier run, where there is one.
set -euo pipefail

comments=repos/$GITHUB_REPOSITORY/issues
MARKER=$(head -n 1 report.md)
export MARKER
own=$(gh api --paginate "$comments/$NUMBER/comments" --jq '.[]
  | select(.user.login == "github-actions[bot]" and (.body | startswith(env.MARKER))) | .id' | tail -n 1)

if [ -n "$own" ]; then
  gh api --silent --method PATCH "$comments/comments/$own" --field body=@report.md
else
  gh api --silent --method POST "$comments/$NUMBER/comments" --field body=@report.md
fi
