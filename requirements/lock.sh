#!/usr/bin/env bash
# Write the locked requirements anew from pyproject.toml. Needs `uv` on the PATH.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

compile() {
    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
        --no-emit-index-url --no-header --no-annotate "$@"
}

# One Django on every Python that we support. An old rich keeps the demo at 32 packages: the new one brings one more.
compile pyproject.toml --extra cli --group demo -c <(printf 'Django<5.3\nrich<13\n') -o requirements/demo.txt
compile pyproject.toml --extra cli --group test -c <(printf 'Django<5.3\n') -o requirements/test.txt
compile --group docs -o requirements/docs.txt
echo 'hatchling>=1.27' | compile - -o requirements/build.txt
