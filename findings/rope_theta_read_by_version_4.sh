#!/usr/bin/env bash
# A configuration saved by transformers 5 is read by transformers 4 with rotary embeddings of base 10000, silently.
#
# Versions:  written with transformers 5.24.0, read with transformers 4.57.1.
# Behaviour: version 5 writes `rope_parameters: {"rope_theta": 500000.0, "rope_type": "default"}` into config.json and no
#            `rope_theta`. Version 4 looks for `rope_theta` alone, keeps the other entry as an attribute that nothing
#            reads, and computes with its default. The same happens to `rope_scaling`, and to GPT-NeoX' `rotary_pct`.
# Output:    (besides a line each that PyTorch is not there)
#            written: theta 500000.0
#            read:    theta 10000.0, 0 warnings
#            read with rope_theta beside rope_parameters: theta 500000.0
# What Secateur does about it: it writes both (tools/model/configuration.py).
#
# Needs a package index and nothing else. Exits with 1 if the behaviour has changed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export HF_HUB_OFFLINE=1 HF_HOME="$work/hf"

python3 -m venv "$work/new"
python3 -m venv "$work/old"
"$work/new/bin/pip" install --quiet "transformers==5.24.0"
"$work/old/bin/pip" install --quiet "transformers==4.57.1"

cat > "$work/write.py" <<'PYTHON'
import sys

from transformers import LlamaConfig

config = LlamaConfig(hidden_size=32, num_attention_heads=4, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
config.save_pretrained(sys.argv[1])
print("written: theta", config.rope_parameters["rope_theta"])
PYTHON

cat > "$work/read.py" <<'PYTHON'
import json
import logging
import sys
import warnings
from pathlib import Path

from transformers import AutoConfig

seen = []
handler = logging.Handler()
handler.emit = seen.append
logging.getLogger("transformers").addHandler(handler)
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    config = AutoConfig.from_pretrained(sys.argv[1])
said = [str(warning.message) for warning in caught] + [record.getMessage() for record in seen]
about = [text for text in said if "rope" in text or "theta" in text]
print(f"read:    theta {config.rope_theta}, {len(about)} warnings")
if config.rope_theta != 10000.0 or about:
    sys.exit("the behaviour has changed")
file = Path(sys.argv[1], "config.json")
file.write_text(json.dumps(json.loads(file.read_text()) | {"rope_theta": 500000.0}))
theta = AutoConfig.from_pretrained(sys.argv[1]).rope_theta
print("read with rope_theta beside rope_parameters: theta", theta)
if theta != 500000.0:
    sys.exit("the behaviour has changed")
PYTHON

"$work/new/bin/python" "$work/write.py" "$work/model"
"$work/old/bin/python" "$work/read.py" "$work/model"
