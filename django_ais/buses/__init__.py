"""The contract of a bus driver: it carries hints about what is already committed. Pure: no Django.

**What a driver promises.** `BaseBus.publish` may be called from any thread and process, before and after a fork, blocks
for at most a moment and never raises for a broker's failure: it counts, logs and goes on. `BaseBus.subscribe` returns
only after the broker acknowledged the subscription, and yields `Reconnected` before the next item whenever the link was
down, for whatever reason.

**What it need not promise.** Delivery, order, or once only. The reader numbers, repairs and deduplicates from the rows,
so a bus may lose, repeat and reorder. Permission and encoding are the core's too: a driver sees topics and bytes.

**A frame is not trusted.** Whoever can write to the broker could write anything, so a frame that carries an event is
signed (over its topic and its bytes, which hold the run and the number) with a key of the project's ``SECRET_KEY``. A
frame without a right signature only says that there may be rows to read.
"""

from django_ais.buses.base import BaseBus, Subscription
from django_ais.buses.frames import Hint, Reconnected, decode, sign
from django_ais.buses.linked import LinkedSubscription
from django_ais.buses.threads import LoopThread

__all__ = ["BaseBus", "Hint", "LinkedSubscription", "LoopThread", "Reconnected", "Subscription", "decode", "sign"]
