from .cloud_events import CloudEvent as CloudEvent
from .cloud_events import event_of as event_of
from .cloud_events import message_id as message_id
from .port import Broker as Broker
from .port import Depth as Depth
from .port import Leased as Leased
