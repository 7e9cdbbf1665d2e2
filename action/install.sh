#!/usr/bin/env bash
# usage: LOCK=… install.sh
# Installs the reconcile of this tree, and its dependencies in the versions, and with the hashes, of a lock.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
pip install --quiet --require-hashes --requirement "${LOCK:-$root/requirements/runtime.lock}"
pip install --quiet --no-deps "$root"
reconcile --version
