"""The engine: everything that is asked of a model, batched, with shared beginnings run once.

Token ids in, log-likelihoods and text out; it knows no task, no file and no tokenizer but for decoding.
"""

from stages.core.scoring.engine.answer import replies
from stages.core.scoring.engine.asks import Ask, Reply, Said, Scored, Stop
from stages.core.scoring.engine.decoding import Speech
from stages.core.scoring.engine.modes import mode_of
from stages.core.scoring.engine.network import Mode, Network

__all__ = ["Ask", "Mode", "Network", "Reply", "Said", "Scored", "Speech", "Stop", "mode_of", "replies"]
