"""Settings of the third parties in this room: no network, no threads of their own. Import it before them.

They read these variables once, when they are first imported.
"""

import os

os.environ.update(
    HF_HUB_OFFLINE="1",
    HF_DATASETS_OFFLINE="1",
    HF_HUB_DISABLE_TELEMETRY="1",
    TOKENIZERS_PARALLELISM="false",
    OMP_NUM_THREADS="1",  # two threads cost a tiny model eight times the processor time on a busy machine
)
