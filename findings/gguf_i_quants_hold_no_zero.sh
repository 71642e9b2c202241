#!/usr/bin/env bash
# No i-quant of GGUF (IQ1 to IQ4) can store a zero beside anything else: what pruning made zero is read as nonzero.
#
# Versions:  gguf 0.19.0, numpy 2.4.6.
# Guess:     a format without an offset (w = scale * code) has a code for zero, as Q4_0, Q8_0, Q3_K and MXFP4 do.
# Behaviour: IQ4_NL and IQ4_XS read their 16 codes as -127 ... -10, 1, 13 ... 113. The magnitudes of IQ2 and IQ3 begin
#            above zero, with the sign apart, and IQ1 adds or subtracts an eighth. A zero exists only where all that
#            shares a scale is zero. Any other pruned weight is read as no less than `least` times the largest
#            magnitude among its 16 neighbours.
# Why it matters: what is unstructured or 2:4 sparse has no zeros left where llama-quantize makes its tensors i-quants,
#            whatever the importance matrix says: no sparsity to count or to use, and what was pruned is noise,
#            in IQ2 of a fifth of its neighbours' largest or more. Whole structures that were taken out stay out.
# Output:    every pattern of codes is drawn; groups are 16 neighbours that share a scale and are not all zero
#            Q4_0     groups with a zero: some
#            Q8_0     groups with a zero: some
#            Q3_K     groups with a zero: some
#            MXFP4    groups with a zero: some
#            IQ4_NL   groups with a zero: none   least 0.0079
#            IQ4_XS   groups with a zero: none   least 0.0079
#            IQ3_S    groups with a zero: none   least 0.0667
#            IQ3_XXS  groups with a zero: none   least 0.0645
#            IQ2_S    groups with a zero: none   least 0.1860
#            IQ2_XS   groups with a zero: none   least 0.1860
#            IQ2_XXS  groups with a zero: none   least 0.1860
#            IQ1_S    groups with a zero: none   least 0.1111
#            IQ1_M    groups with a zero: none   least 0.1111
#
# Needs a package index and nothing else. Exits with 1 if the behaviour has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check "gguf==0.19.0" "numpy==2.4.6"
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

rng = np.random.default_rng(0)
LEAST = {"Q4_0": None, "Q8_0": None, "Q3_K": None, "MXFP4": None, "IQ4_NL": 1 / 127, "IQ4_XS": 1 / 127}
LEAST |= {"IQ3_S": 1 / 15, "IQ3_XXS": 4 / 62, "IQ2_S": 8 / 43, "IQ2_XS": 8 / 43, "IQ2_XXS": 8 / 43}
LEAST |= {"IQ1_S": 1 / 9, "IQ1_M": 1 / 9}  # 0 +- 1/8 beside 1 + 1/8
print("every pattern of codes is drawn; groups are 16 neighbours that share a scale and are not all zero")
for name, expected in LEAST.items():
    kind = GGMLQuantizationType[name]
    raw = rng.integers(0, 256, size=(20000, GGML_QUANT_SIZES[kind][1]), dtype=np.uint8)
    with np.errstate(all="ignore"):  # some bytes are scales of NaN or infinity
        groups = np.abs(dequantize(raw, kind).reshape(-1, 16))
        groups = groups[np.isfinite(groups).all(1) & (groups.max(1) > 1e-9)]
    zeros = bool((groups == 0).any())
    least = float((groups.min(1) / groups.max(1)).min())
    print(f"{name:8} groups with a zero: " + ("some" if zeros else f"none   least {least:.4f}"))
    if zeros != (expected is None) or (expected is not None and abs(least - expected) > 1e-4):
        sys.exit("the behaviour has changed")
PYTHON
