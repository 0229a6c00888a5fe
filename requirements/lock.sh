#!/bin/sh
# Writes the pinned requirements from the .in files, for every Python that Slipway supports (markers per version).
# openvino-telemetry stays out: it reports to a third party, and openvino and nncf do without it.
# The CUDA packages that torch depends on stay out: torch itself pins them where its build needs them, and a build for
# the CPU does not.
set -eu
cd "$(dirname "$0")"
for name in tools triton; do
    cp "$name.txt" "$name.raw"  # pins that still fit are kept; delete the .txt for the newest of everything
    uv pip compile --quiet --universal --python-version 3.10 --no-header --no-annotate --no-emit-index-url \
        --no-emit-find-links "$name.in" -o "$name.raw"
    { echo "# Written by lock.sh from $name.in; do not edit."; grep -vE '^(nvidia-|cuda-|triton==|openvino-telemetry==)' "$name.raw" | sed 's/+cpu//'; } > "$name.txt"
    rm "$name.raw"
done
