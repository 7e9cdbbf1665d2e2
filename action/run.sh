#!/usr/bin/env bash
# usage: COMMAND=… SPEC=… ARGUMENTS=… SEAL=… PLAN=… FAIL=… run.sh
# Runs a command of reconcile. What it is given comes in variables, a value a line, and is never read as shell.
set -euo pipefail

outputs=${GITHUB_OUTPUT:-/dev/null}
refuse() {
  echo "::error::$1 Nothing was run."
  echo "exit-code=64" >> "$outputs"
  [ "${FAIL:-true}" != false ] || exit 0
  exit 64
}

words=() specs=()
while IFS= read -r line; do [ -z "$line" ] || words+=("$line"); done <<< "${ARGUMENTS:-}"
while IFS= read -r line; do [ -z "$line" ] || specs+=("$line"); done <<< "${SPEC:-segments/}"

[ "${COMMAND:=plan}" = plan ] || [ -z "${SEAL:-}" ] || refuse "Only a plan is sealed."
[ "$COMMAND" = apply ] || [ -z "${PLAN:-}" ] || refuse "Only apply takes a plan."
case $COMMAND in
  plan) words+=(--detailed-exitcode) ;;
  apply | drift) ;;
  *) refuse "command is plan, apply or drift." ;;
esac
case ${SEAL:-} in
  "") ;;
  state:) words+=(--out=state:) ;;
  artifact) words+=(--out=segments.plan) ;;
  *) refuse "seal is state:, artifact or empty." ;;
esac
case ${PLAN:-} in
  "") ;;
  plan:*) specs=("$PLAN" "${specs[@]}") ;;
  *) specs=("$PLAN") ;;              # a plan file names its specs itself
esac

code=0
bash "$(dirname "$0")/reconcile.sh" "$COMMAND" "${words[@]}" -- "${specs[@]}" || code=$?

echo "report=report.md" >> "$outputs"
if [ "${SEAL:-}" = artifact ] && [ -e segments.plan ]; then
  echo "sealed=segments.plan" >> "$outputs"
fi
sealed=$(sed -n 's/^.*Sealed into the state as \(plan:[0-9A-Za-z-]*\).*$/\1/p' errors.txt)
if [ -n "$sealed" ]; then
  echo "plan=$sealed" >> "$outputs"
  echo "::notice::Sealed as $sealed. apply with it sends exactly this, once, within 24 hours."
  printf '\nSealed as `%s`: apply with it sends exactly this, once, within 24 hours.\n' "$sealed" >> report.md
fi
[ "${FAIL:-true}" != false ] || exit 0
exit "$code"
